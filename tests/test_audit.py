"""The audit's list, its page and its notebook say the same; what needs no model is counted rightly."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest
from efa_book.audit.measured import Measured, Quantity

from efa import cli
from efa.config import Config, FormSimData
from efa.data.manifest import StepText
from efa.utils.errors import InputError
from efa_book import audit_tables as audit
from efa_book.audit import cuts, practice
from efa_book.audit.findings import FINDINGS, finding
from efa_book.collect import collect
from formsim.dataset import some_actions

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "audit.md").read_text(encoding="utf-8")
HEADINGS = re.compile(r"^### (\d+)\. (.+)$", flags=re.MULTILINE)
WITHOUT_MEASURE = {1, 18, 19, 20, 21}  # shown from results, a model or the annotations; 21 is Table VII


def sections() -> dict[int, str]:
    """Number of a finding -> its text on the page, in one line."""
    parts = re.split(r"^#{2,3} .*$", PAGE, flags=re.MULTILINE)
    heads = re.findall(r"^#{2,3} .*$", PAGE, flags=re.MULTILINE)
    found = {}
    for head, text in zip(heads, parts[1:], strict=True):
        if match := HEADINGS.match(head):
            found[int(match[1])] = " ".join(text.split())
    return found


def cells() -> list[dict]:
    return json.loads((ROOT / "notebooks" / "audit.ipynb").read_text())["cells"]


# list, page, notebook -------------------------------------------------------------------------------------------------


def test_findings_are_numbered_without_a_gap():
    assert [one.number for one in FINDINGS] == list(range(1, len(FINDINGS) + 1))
    assert len({one.title for one in FINDINGS}) == len(FINDINGS) >= 20
    assert finding(7).where == "eq. 4"
    with pytest.raises(KeyError):
        finding(len(FINDINGS) + 1)


def test_the_page_has_the_same_numbers_and_titles():
    assert [(int(n), title) for n, title in HEADINGS.findall(PAGE)] == [(one.number, one.title) for one in FINDINGS]


@pytest.mark.parametrize("one", FINDINGS, ids=lambda one: str(one.number))
def test_the_page_names_the_same_settings_and_code(one):
    text = sections()[one.number]
    line = re.search(r"Setting: (.*?)\. Code: (.*)\.$", text)
    assert line, "a section ends in its setting and its code"
    assert tuple(re.findall(r"`([^`]+)`", line[1])) == one.settings
    assert (line[1] == "none") == (not one.settings)
    assert tuple(re.findall(r"\{source\}`([^`]+)`", line[2])) == one.code


def test_the_page_types_no_measurement():
    assert re.findall(r"\d+\.\d+ ?(?:%|M\b|million|GFLOP|TFLOP|points|times|s\b)", PAGE) == []
    assert re.findall(r"\d ?(?:M\b|million|GFLOP|TFLOP|points|times)", PAGE) == []


@pytest.mark.parametrize("one", FINDINGS, ids=lambda one: str(one.number))
def test_code_that_is_named_exists(one):
    assert one.code
    for reference in one.code:
        file, _, name = reference.partition("#")
        scope = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        for part in name.split("."):
            known = {node.name: node for node in scope if isinstance(node, ast.ClassDef | ast.FunctionDef)}
            known |= {
                target.id: node
                for node in scope
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            assert part in known, reference
            scope = getattr(known[part], "body", [])


@pytest.mark.parametrize("one", FINDINGS, ids=lambda one: str(one.number))
def test_settings_that_are_named_exist(one):
    assert bool(one.settings) != bool(one.unswitched)
    settings = Config().to_dict()
    for setting in one.settings:
        key, equals, value = setting.partition("=")
        section, _, name = key.partition(".")
        assert name in settings[section]
        if equals:
            assert str(Config().with_({key: value}).to_dict()[section][name]) == value


def test_the_notebook_has_a_section_for_every_finding_that_shows_something():
    texts = {cell["id"]: "".join(cell["source"]) for cell in cells()}
    for one in FINDINGS[:-1]:
        assert texts[f"finding-{one.number}"].startswith(f"## {one.number}. {one.title}\n")
        code = texts[f"measured-{one.number}"]
        assert (code == f"audit_tables.section({one.number})") == (one.number not in WITHOUT_MEASURE)
        assert bool(one.measures) == (one.number not in WITHOUT_MEASURE)
    assert "annotations.shortcuts_table()" in texts["measured-18"]
    assert "annotations.contradictions_table()" in texts["measured-19"]
    assert "annotations.blind_table()" in texts["measured-20"]


def test_the_releases_optimizer_is_our_default():
    training = Config().training
    assert (training.lr, training.head_lr, training.weight_decay) == (2e-5, 5e-4, 1e-3)
    assert (training.warmup, training.batch, training.clip, training.betas) == (0.1, 24, 1.0, (0.9, 0.98))
    assert training.weight_class == 3
    assert not Config().encoder.frozen
    assert Config().encoder.temporal_stride == 1


# as HTML --------------------------------------------------------------------------------------------------------------


def test_the_overview_shows_every_finding_with_its_setting():
    shown = audit.overview()
    for one in FINDINGS:
        assert f"{one.number}. {one.title}" in shown.text
        assert (one.settings[0] if one.settings else one.unswitched.rstrip(".")) in shown.text


def test_a_section_has_a_stamp_and_a_command():
    shown = audit.section(15)
    assert "[Computed here]" in shown.text
    assert "efa/data/loader.py, EpochSampler; efa/train.py, build_optimizer" in shown.text
    assert "Again: papermill notebooks/audit.ipynb" in shown.text


def test_a_section_without_its_numbers_says_so(home):
    shown = audit.section(10)
    assert "Not measured" in shown.text
    assert "cuts.csv" in shown.text
    assert "<table" not in shown.source


def test_the_protocols_come_from_the_results():
    found = collect("6", "laptop", (0, 1, 2))
    shown = audit.protocols(found).text
    mean = np.mean(list(found.values("EFA", "cider_d", "wrong").values()))
    assert re.search(rf"^wrong .*\| {mean:.1f} \[", shown, flags=re.MULTILINE)
    assert "efa run 6 --preset laptop --seeds 0,1,2" in shown


def test_protocols_without_results(home):
    assert "No results of Table VI yet" in audit.protocols(collect("6", "smoke", (0,))).text


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (Quantity(0.0243, "%"), "2.4 %"),
        (Quantity(0.0006, "%"), "0.06 %"),
        (Quantity(0.0, "%"), "0.0 %"),
        (Quantity(7_087_104, "M"), "7.1 M"),
        (Quantity(2.592e12, "TFLOP"), "2.592 TFLOP"),
        (Quantity(68.3e9, "GFLOP"), "68.3 GFLOP"),
        (Quantity(-0.04, "points"), "+0.0 points"),
        (Quantity(3392), "3,392"),
        (Quantity(0.0, "small"), "0"),
        (Quantity(2.3e-7, "small"), "2.3e-07"),
        (Quantity(0.9087, "ratio"), "0.909"),
    ],
)
def test_quantities(quantity, text):
    assert str(quantity) == text


def test_numbers_are_found_by_row():
    found = Measured(("", "a", "b"), (("x", Quantity(1), "word"), ("y", Quantity(2), Quantity(3))), "")
    assert (found.value("y"), found.value("y", 2)) == (2, 3)
    for row, column in (("z", 1), ("x", 2)):
        with pytest.raises(KeyError):
            found.value(row, column)


# what is cut off ------------------------------------------------------------------------------------------------------


def test_cut_share():
    assert cuts.cut_share(["a" * 256, "a" * 512], 256) == (0.5, 256 / 768)
    assert cuts.cut_share(["a"], 256) == (0.0, 0.0)


def test_headings_count():
    texts = cuts.texts_of([StepText(("a", "b", "c", "d", "e"), "f")])
    assert texts["steps"][4] == "action step 5: e"
    assert texts["instructions"] == ["general instruction: f"]


@pytest.mark.parametrize(("frames", "unseen", "repeats"), [(1, 0, 5), (91, 0, 0), (216, 0.5, 0), (19, 0, 4)])
def test_coverage_of_a_clip(frames, unseen, repeats):
    assert cuts.unseen_share(frames) == unseen
    assert cuts.repeated(frames) == repeats


def test_coverage_of_clips():
    found = cuts.coverage([1.0, 10.0], 25)
    assert found["clips longer than the window"] == 0.5
    assert found["clips that repeat frames"] == 0.5
    assert found["mean share of a clip behind the window"] == pytest.approx((1 - 108 / 250) / 2)
    assert found[cuts.REPEATS] == cuts.repeated(25) / 2


def test_word_pieces_are_counted_in_what_is_left():
    assert cuts.pieces(["squat squat squat"], 5) == 1
    assert cuts.pieces(["squat squat squat", "squat"], 256) == cuts.pieces(["squat"], 256) * 2


def test_published_numbers_are_complete():
    found = cuts.published()
    assert set(found) == set(cuts.formsim())
    assert all(0 <= value <= 1 for name, value in found.items() if "share" in name)


def test_published_numbers_that_are_missing_or_broken(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        cuts.published(tmp_path / "cuts.csv")
    (tmp_path / "cuts.csv").write_text("what,number\nsteps,1\n")
    with pytest.raises(InputError, match="cannot be read"):
        cuts.published(tmp_path / "cuts.csv")
    (tmp_path / "cuts.csv").write_text("what,value\nsteps,many\n")
    with pytest.raises(InputError, match="cannot be read"):
        cuts.published(tmp_path / "cuts.csv")


def efa(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["efa", "audit", "cuts", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def test_the_command_counts_the_release_again(shared, tmp_path, monkeypatch):
    if not (shared / "cot-afa").is_dir():
        pytest.skip("no annotations")
    assert efa(monkeypatch, str(shared / "cot-afa"), "--to", str(tmp_path / "cuts.csv")) == 0
    assert (tmp_path / "cuts.csv").read_text() == (ROOT / "results" / "cot-afa" / "cuts.csv").read_text()


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, monkeypatch, capsys):
    assert efa(monkeypatch, str(tmp_path / "absent")) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "no such file or folder" in said[0]


# practice -------------------------------------------------------------------------------------------------------------


def test_what_is_masked_twice_is_partly_without_a_target():
    found = practice.masked_twice()
    twice, once = "masked twice, re-created", "masked once, our LAVENDER"
    for column in (1, 2):
        assert found.value(twice, column) == pytest.approx(found.value(twice, column + 2), abs=0.005)
    assert found.value(once) == pytest.approx(0.15, abs=0.005)
    assert found.value(twice, 1) < found.value(once) < found.value("our decoder: every token but the first")


def test_more_looks_are_more_optimistic_and_alike_ones_less():
    by_looks = [practice.optimism(looks, 0.0) for looks in (1, 10, 100)]
    assert abs(by_looks[0]) < 0.005
    assert by_looks[0] + 0.01 < by_looks[1] < by_looks[2] - 0.005
    assert practice.optimism(33, 0.9) < practice.optimism(33, 0.5) < practice.optimism(33, 0.0)
    assert practice.optimism(33, 1.0) == pytest.approx(0, abs=0.005)
    assert practice.optimism(33, 0.0, clips=5100) < practice.optimism(33, 0.0) / 2


def test_only_what_is_drawn_per_frame_moves_a_body():
    seen = practice.places()
    shape = seen.shape[:2]
    once, each = np.zeros(shape, bool), np.arange(shape[1]) % 2 * np.ones(shape, int) == 1
    assert practice.motion(practice.flipped(seen, ~once)) == pytest.approx(practice.motion(seen))
    assert practice.motion(practice.flipped(seen, each)) > 2 * practice.motion(seen)
    still = np.repeat(seen[:, :1], shape[1], 1)
    assert practice.motion(practice.cropped(still, np.zeros(shape))) == 0
    jumping = practice.cropped(still, each.astype(float))
    assert practice.motion(jumping) == pytest.approx((398 - 224) / 224)
    found = practice.augmentation()
    assert found.value("flip and crop once a clip (ours)", 2) < 1.25
    assert found.value("stretched, flip and crop once a frame (release)", 2) > 5
    assert found.value("height that the middle crop keeps") == pytest.approx(0.563, abs=0.001)


def test_the_largest_crop_of_ours_enlarges_motion_no_further():
    seen = practice.places()
    cut = practice.trimmed(seen, np.full((len(seen), 4), FormSimData().crop))
    assert practice.motion(cut) == pytest.approx(practice.motion(seen) / 0.8)


def test_frames_apart_are_not_alike():
    frames = np.zeros((6, 32, 32, 3), np.uint8)
    frames[:, 4, 8] = 255
    out = practice.apart(frames)
    assert out.shape == (6, 224, 224, 3)
    assert len({frame.tobytes() for frame in out}) > 1
    assert np.array_equal(out, practice.apart(frames))


def test_batches_repeat_only_where_nobody_tells_the_epoch():
    found = practice.batches()
    assert found.value("no set_epoch (release)") == 1
    assert found.value("with set_epoch") == found.value("EpochSampler (ours)") == 0
    assert practice.same_batches([1, 2, 3, 4], [2, 1, 4, 3], 2) == 1
    assert practice.same_batches([1, 2, 3, 4], [1, 3, 2, 4], 2) == 0


def test_pictures_have_words_beside_them():
    shown = audit.pictures()
    assert shown.source.count("<img") == 3
    assert shown.source.count('alt="Six frames of one clip, ') == 3
    assert any(name in shown.text for name in some_actions(32))
