"""The explorer's document: which clips, what is said of each, and that nothing of the data becomes markup."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import explorer_samples as samples
import numpy as np
import pandas as pd
import pytest
from explorer_samples import DATA, FRAMES, NASTY
from PIL import Image
from typer.testing import CliRunner

import formsim
from efa.data.loader import formsim_clips, open_dataset
from efa.metrics import FaultParser
from efa.utils.errors import InputError
from efa_book import attention, explorer
from efa_book.cli import explore_app
from efa_book.explorer import FaultMarker
from efa_book.published import folder_of, read_provenance

CLIPS = {"id", "action", "view", "quality", "fault", "reference", "sprite", "pictures", "seen", "answers", "attention"}
ROOT = Path(__file__).resolve().parents[1]
LIMIT = 4_000_000  # characters


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project folder without anything published."""
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def made(folder):
    samples.publish_attention(folder / "results" / "formsim-smoke")
    return samples.document(folder)


def words(parts: list) -> str:
    return "".join(part for part, _ in parts)


def test_the_document_has_what_the_module_reads(made):
    assert [(s["id"], s["writes"]) for s in made["systems"]] == [("EFA", True), ("SwinBERT", True), ("TSM", False)]
    assert len({s["group"] for s in made["systems"]}) == 3
    assert made["about"]["attention"]
    assert made["about"]["faults"]
    assert made["actions"] == sorted({clip["action"] for clip in made["clips"]})
    for clip in made["clips"]:
        assert set(clip) == CLIPS
        assert set(clip["answers"]) == {"EFA", "SwinBERT", "TSM"}
        for name, answer in clip["answers"].items():
            assert {"action", "top5", "wrong"} <= set(answer)
            assert all(0 <= number < len(made["names"]) for number in (answer["action"], *answer["top5"]))
            assert ("text" in answer) == (name != "TSM")
        assert made["names"][clip["answers"]["EFA"]["action"]] == clip["action"]
        assert len(made["steps"][clip["action"]]) == 5
    assert json.loads(explorer.to_json(made)) == made


def test_the_truth_is_formsims(made):
    known = {clip.clip_id: clip for clip in formsim_clips(DATA)}
    for clip in made["clips"]:
        true = known[clip["id"]]
        assert (clip["action"], clip["view"], clip["quality"]) == (true.action, true.view, true.quality)
        assert words(clip["reference"]) == formsim.record(true)["explanation"]
        if true.fault:
            assert clip["fault"]["name"] == true.fault.replace("_", " ")
            assert clip["fault"]["clause"] in formsim.fault_phrases()[true.action][true.fault]
            assert clip["fault"]["step"] == formsim.record(true)["fault_step"]
        else:
            assert clip["fault"] is None
    assert {clip["quality"] for clip in made["clips"]} == {0, 1}


def test_the_pictures_are_the_clips_own(made):
    clip = made["clips"][0]
    strip = Image.open(io.BytesIO(base64.b64decode(clip["sprite"].partition(",")[2])))
    assert strip.size == (48 * clip["pictures"], 48)
    assert clip["pictures"] == 3 * FRAMES
    (true,) = [one for one in formsim_clips(DATA) if one.clip_id == clip["id"]]
    pixels = np.asarray(strip.convert("RGB")).reshape(48, -1, 48, 3).swapaxes(0, 1).astype(float)  # [n, 48, 48, 3]
    seen = formsim.render_clip(true, 48, FRAMES, DATA.clutter).astype(float)  # what a model sees
    for i, place in enumerate(clip["seen"]):
        apart = [np.abs(pixels[place] - frame).mean() for frame in seen]
        assert apart[i] < 6  # lossy
        assert apart[i] == min(apart)


def test_clips_are_picked_by_rule_and_from_the_test_split():
    tests = samples.predictions("EFA")
    most = tests.groupby(["action", "quality"]).size()
    picked = explorer.sample_clips(tests, len(most))
    shuffled = tests.sample(frac=1, random_state=3)
    again = explorer.sample_clips(shuffled.assign(quality_prob=0.5, explanation="other"), len(most))
    assert list(picked["clip_id"]) == list(again["clip_id"])  # neither order nor answers matter
    assert len(most) > 4
    assert (picked.groupby(["action", "quality"]).size() == 1).all()  # a clip of each action and verdict
    more = explorer.sample_clips(tests, 2 * len(most)).groupby(["action", "quality"]).size()
    assert set(more) <= {1, 2, 3}  # groups that are used up leave their turn to others
    assert set(explorer.sample_clips(tests, 4)["clip_id"]) < set(picked["clip_id"])
    assert len(explorer.sample_clips(tests, 1000)) == len(tests)


def test_no_clip_of_another_split_gets_in(folder):
    found = samples.results(folder)
    path = found.predictions["EFA", 0]
    both = [pd.read_parquet(path), samples.predictions("EFA", split="train")]
    pd.concat(both, ignore_index=True).to_parquet(path)
    ids = {clip["id"] for clip in explorer.build_document([found], 1000, size=16)["clips"]}
    table = open_dataset(DATA).table
    assert ids == set(table["clip_id"][table["split"] == "test"])


def test_a_clip_that_is_not_the_one_that_was_judged_is_left_out(folder):
    found = samples.results(folder)
    path = found.predictions["EFA", 0]
    table = pd.read_parquet(path)
    table.loc[0, "reference"] = "Another clip had this id when the run was made."
    table.to_parquet(path)
    made = explorer.build_document([found], 1000, size=16)
    assert made["about"]["left_out"] == 1
    assert table["clip_id"][0] not in {clip["id"] for clip in made["clips"]}


def test_hostile_text_stays_text(folder):
    made = samples.document(folder, hostile=NASTY)
    assert all(words(clip["answers"]["SwinBERT"]["text"]) == NASTY.strip() for clip in made["clips"])
    made["systems"].reverse()  # the plain table shows the first system
    made["systems"].sort(key=lambda system: system["id"] != "SwinBERT")
    source = explorer.static_html(made).source
    assert "<img" not in source
    assert "&lt;img src=x" in source
    assert source.count("</script") == 2  # the document's and the module's own
    assert "\u2028" not in explorer.to_json({"text": "\u2028\u2029<&>"})
    assert "<" not in explorer.to_json(made)


def test_faults_are_marked_where_the_parser_finds_them():
    phrases = {"Squat": {"knees_in": ("the knees fall inward",), "heels_up": ("the heels lift off the floor",)}}
    marker = FaultMarker(phrases)
    text = "It is not standard. In step two, The knees  fall inward. In step four the heels lift off the floor!"
    said = marker.mark(text, "Squat", "Squat/knees_in")
    assert words(said["text"]) == " ".join(text.split())
    assert [part for part in said["text"] if part[1]] == [
        ["The knees fall inward", 1],
        ["the heels lift off the floor", -1],
    ]
    assert said["names"] == [{"name": "heels up", "right": False}, {"name": "knees in", "right": True}]
    assert said["step"] == 2
    assert marker.mark("The knees do not fall inward.", "Squat", "")["names"] == []
    assert FaultMarker({}).mark("Anything.", "Squat", "") == {"text": [["Anything.", 0]], "names": [], "step": None}


def test_marks_agree_with_the_parser_that_is_scored(made):
    parser = FaultParser(formsim.fault_phrases())
    marked = 0
    for clip in made["clips"]:
        named = parser.faults(words(clip["reference"]), clip["action"])
        right = [part for part, mark in clip["reference"] if mark == 1]
        assert bool(right) == bool(clip["quality"]) == bool(named)
        marked += len(right)
    assert marked


def test_attention_of_the_run_that_is_shown(folder):
    published = samples.publish_attention(folder / "results" / "formsim-smoke")
    for clip in samples.document(folder)["clips"]:
        weights = np.array(clip["attention"])
        assert weights.shape == (5, FRAMES)
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-3)
        mine = published[published["clip_id"] == clip["id"]]
        for step, frame, weight in mine[["step", "frame", "weight"]].itertuples(index=False):
            assert weights[step - 1, frame - 1] == pytest.approx(weight, abs=1e-4)


def test_attention_of_another_run_is_not_shown(folder):
    samples.publish_attention(folder / "results" / "formsim-smoke", finished="2020-01-01T00:00:00+00:00")
    found = [replace(samples.results(folder), states={("EFA", 0): "stale"})]
    made = explorer.build_document(found, 2, size=16)
    assert not made["about"]["attention"]
    assert {clip["attention"] is None for clip in made["clips"]} == {True}
    assert "not known" in attention.attention_table(found[0]).text


def test_the_published_attention_belongs_to_the_published_run():
    folder = folder_of("laptop")
    facts = read_provenance(folder)["6-EFA-0"]
    table = attention.read_published(folder, facts)
    assert table is not None
    assert tuple(table.columns) == attention.COLUMNS
    sums = table.groupby(["clip_id", "step"])["weight"].sum()
    np.testing.assert_allclose(sums, 1, atol=1e-4)
    clips = pd.read_parquet(folder / "predictions" / "6-EFA-0.parquet").query("protocol == 'predicted'")
    assert set(table["clip_id"]) == set(clips["clip_id"])
    assert (table.groupby("clip_id").size() == 30).all()


def test_broken_attention_is_a_mistake_with_its_mend(folder):
    place = folder / "results" / "formsim-smoke"
    samples.publish_attention(place)
    (place / "attention.json").write_text("{")
    with pytest.raises(InputError, match="efa explore attention writes it again"):
        samples.document(folder)
    samples.publish_attention(place).drop(columns="weight").to_parquet(place / "attention.parquet")
    with pytest.raises(InputError, match="missing column weight"):
        samples.document(folder)


@pytest.mark.slow
def test_the_page_of_the_book_stays_small(monkeypatch):
    """Real answers of all systems and real pictures, as the notebook asks for them."""
    monkeypatch.setenv("EFA_HOME", str(ROOT))
    made = explorer.build_document(explorer.find_results("laptop"))
    assert len(made["systems"]) == 19
    assert len(made["clips"]) == 128
    assert {clip["attention"] is not None for clip in made["clips"]} == {True}
    assert len(explorer.static_html(made).source) < LIMIT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("attention", "--preset", "smoke"), "is not finished"),
        (("page", "out.html", "--preset", "smoke"), "there are no predictions to explore"),
        (("page", "out.html", "--preset", "labtop"), "did you mean 'laptop'"),
    ],
)
def test_commands_report_mistakes(folder, arguments, message):
    result = CliRunner().invoke(explore_app, arguments)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_the_command_writes_a_self_contained_page(folder, monkeypatch, capsys):
    monkeypatch.setattr(explorer, "find_results", lambda preset, dataset: [samples.results(folder)])
    result = CliRunner().invoke(explore_app, ["page", str(folder / "out.html"), "--clips", "2"])
    assert result.exit_code == 0
    text = (folder / "out.html").read_text()
    assert text.startswith("<!doctype html>")
    assert not re.search(r"<(?:link|img|iframe|script[^>]* src)", text)
    assert len(re.findall(r'"sprite":', text)) == 2


def test_without_predictions_it_says_so(folder):
    made = explorer.build_document(explorer.find_results("smoke"), 4)
    assert made["clips"] == []
    assert "No predictions to explore yet" in explorer.show(made, live=True).text


def test_where_no_script_runs_a_plain_table_stays(made):
    source = explorer.static_html(made).source
    before = source[: source.index("<script")]
    assert before.count("<tr>") == len(made["clips"]) + 1
    for clip in made["clips"]:
        assert clip["id"] in before
    assert re.findall(r'https?://[^\s"<]+', source) == []
