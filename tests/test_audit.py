"""The audit's list, its page and its notebook say the same; what needs no model is counted correctly."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

from efa.cli import app as cli
from efa.config import Config, FormSimData, build
from efa.data.manifest import StepText
from efa.utils.errors import InputError
from efa_book import audit_tables
from efa_book.audit import Measurement, Quantity, costs, cuts, practice
from efa_book.audit.findings import FINDINGS
from efa_book.collect import collect
from formsim.dataset import some_actions

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "audit.md").read_text(encoding="utf-8")
WITHOUT_MEASURE = {1, 18, 19, 20, 21}  # shown from results, a model or the annotations; 21 is Table VII
each_finding = pytest.mark.parametrize("one", FINDINGS, ids=lambda one: str(one.number))


def page_sections() -> dict[str, str]:
    """Heading of a section of the page -> its text, in one line."""
    parts = re.split(r"^#{2,3} (.*)$", PAGE, flags=re.MULTILINE)[1:]
    return {head: " ".join(text.split()) for head, text in zip(parts[::2], parts[1::2], strict=True)}


# list, page, notebook -------------------------------------------------------------------------------------------------


def test_page_has_the_same_numbers_and_titles():
    titles = [f"{one.number}. {one.title}" for one in FINDINGS]
    assert [head for head in page_sections() if re.match(r"\d+\. ", head)] == titles
    assert [one.number for one in FINDINGS] == list(range(1, len(FINDINGS) + 1))
    assert len(set(titles)) == len(FINDINGS) >= 20


@each_finding
def test_page_names_the_same_settings_and_code(one):
    line = re.search(r"Setting: (.*?)\. Code: (.*)\.$", page_sections()[f"{one.number}. {one.title}"])
    assert line, "a section ends in its setting and its code"
    assert tuple(re.findall(r"`([^`]+)`", line[1])) == one.settings
    assert (line[1] == "none") == (not one.settings)
    assert tuple(re.findall(r"\{source\}`([^`]+)`", line[2])) == one.code


def test_page_types_no_measurement():
    assert re.findall(r"\d+\.\d+ ?(?:%|M\b|million|GFLOP|TFLOP|points|times|s\b)", PAGE) == []
    assert re.findall(r"\d ?(?:M\b|million|GFLOP|TFLOP|points|times)", PAGE) == []


@each_finding
def test_named_code_exists(one):
    assert one.code
    for reference in one.code:
        file, _, name = reference.partition("#")
        scope = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        for part in name.split("."):
            known = {node.name: node for node in scope if isinstance(node, ast.ClassDef | ast.FunctionDef)}
            assigned = [node for node in scope if isinstance(node, ast.Assign)]
            known |= {target.id: node for node in assigned for target in node.targets if isinstance(target, ast.Name)}
            assert part in known, reference
            scope = getattr(known[part], "body", [])


@each_finding
def test_named_settings_exist(one):
    assert bool(one.settings) != bool(one.unswitched)
    settings = Config().to_dict()
    for setting in one.settings:
        key, equals, value = setting.partition("=")
        section, _, name = key.partition(".")
        assert name in settings[section]
        if equals:
            assert str(Config().with_({key: value}).to_dict()[section][name]) == value


def test_notebook_has_a_section_for_every_finding():
    cells = json.loads((ROOT / "notebooks" / "audit.ipynb").read_text())["cells"]
    texts = {cell["id"]: "".join(cell["source"]) for cell in cells}
    for one in FINDINGS[:-1]:
        assert texts[f"finding-{one.number}"].startswith(f"## {one.number}. {one.title}\n")
        code = texts[f"measured-{one.number}"]
        assert (f"audit_tables.measured({one.number}, " in code) == (one.number not in WITHOUT_MEASURE)
    for number, table in ((18, "shortcuts"), (19, "contradictions"), (20, "blind")):
        assert f"annotations.{table}_table()" in texts[f"measured-{number}"]


def test_release_optimizer_is_our_default():
    training = Config().training
    assert (training.lr, training.head_lr, training.weight_decay) == (2e-5, 5e-4, 1e-3)
    assert (training.warmup, training.batch, training.clip, training.betas) == (0.1, 24, 1.0, (0.9, 0.98))
    assert training.weight_class == 3
    assert not Config().encoder.frozen
    assert Config().encoder.temporal_stride == 1


# as HTML --------------------------------------------------------------------------------------------------------------


def test_overview_shows_every_finding_with_its_setting():
    table = audit_tables.overview()
    for one in FINDINGS:
        assert f"{one.number}. {one.title}" in table.text
        assert (one.settings[0] if one.settings else one.unswitched.rstrip(".")) in table.text


def test_section_has_a_stamp_and_a_command():
    text = audit_tables.measured(16, costs.temporal_stride, strides=(2,), frames=8).text
    assert "stride 2 | 4 x 7 x 7" in text
    assert "stride 1" not in text
    assert "[Counted here, nothing run] code: efa/model/swin.py, PatchEmbed; efa/model/swin.py, VideoSwin.grid" in text
    assert "Again: papermill notebooks/audit.ipynb" in text


def test_section_without_its_file(home):
    section = audit_tables.measured(10, cuts.texts)
    assert "Not measured" in section.text
    assert "cuts.csv" in section.text
    assert "<table" not in section.source


def test_protocols_come_from_the_results():
    results = collect("6", "laptop", (0, 1, 2))
    text = audit_tables.protocols(results).text
    mean = np.mean(list(results.values("EFA", "cider_d", "wrong").values()))
    assert re.search(rf"^wrong .*\| {mean:.1f}\b", text, flags=re.MULTILINE)
    assert "efa run 6 --preset laptop --seeds 0,1,2" in text


def test_protocols_without_results(home):
    assert "No results of Table VI yet" in audit_tables.protocols(collect("6", "smoke", (0,))).text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        *((0.0243, "%", "2.4 %"), (0.0006, "%", "0.06 %"), (0.0, "%", "0.0 %"), (7_087_104, "M", "7.1 M")),
        *((2.592e12, "TFLOP", "2.592 TFLOP"), (68.3e9, "GFLOP", "68.3 GFLOP"), (-0.04, "points", "+0.0 points")),
        *((3392, "count", "3,392"), (0.0, "small", "0"), (2.3e-7, "small", "2.3e-07"), (0.9087, "ratio", "0.909")),
    ],
)
def test_quantity(value, unit, text):
    assert str(Quantity(value, unit)) == text


def test_value_is_found_by_row():
    found = Measurement(("", "a", "b"), (("x", Quantity(1), "word"), ("y", Quantity(2), Quantity(3))), "")
    assert (found.value("y"), found.value("y", 2)) == (2, 3)
    for row, column in (("z", 1), ("x", 2)):
        with pytest.raises(KeyError):
            found.value(row, column)


# what is cut off ------------------------------------------------------------------------------------------------------


def test_cut_share():
    assert cuts.cut_share(["a" * 256, "a" * 512], 256) == (0.5, 256 / 768)
    assert cuts.cut_share(["a"], 256) == (0.0, 0.0)


def test_prompts_have_headings():
    texts = cuts.prompts([StepText(("a", "b", "c", "d", "e"), "f")])
    assert texts["steps"][4] == "action step 5: e"
    assert texts["instructions"] == ["general instruction: f"]


@pytest.mark.parametrize(("frames", "unseen", "repeats"), [(1, 0, 5), (91, 0, 0), (216, 0.5, 0), (19, 0, 4)])
def test_coverage_of_a_clip(frames, unseen, repeats):
    assert cuts.unseen_share(frames) == unseen
    assert cuts.repeats(frames) == repeats


def test_coverage_of_clips():
    found = cuts.coverage([1.0, 10.0], 25)
    assert found["clips longer than the window"] == found["clips that repeat frames"] == 0.5
    assert found["mean share of a clip behind the window"] == pytest.approx((1 - 108 / 250) / 2)
    assert found[cuts.REPEATS] == cuts.repeats(25) / 2


def test_word_pieces_are_counted_after_the_cut():
    assert cuts.mean_pieces(["squat squat squat"], 5) == 1
    assert cuts.mean_pieces(["squat squat squat", "squat"], 256) == cuts.mean_pieces(["squat"], 256) * 2


def test_published_cuts_are_complete():
    found = cuts.published()
    assert set(found) == set(cuts.formsim_cuts())
    assert all(0 <= value <= 1 for name, value in found.items() if "share" in name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("what,number\nsteps,1\n", "missing column"),
        ("what,value\nsteps,many\n", "cannot be read"),
    ],
)
def test_bad_file_of_cuts(tmp_path, content, message):
    if content:
        (tmp_path / "cuts.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        cuts.published(tmp_path / "cuts.csv")


def run_command(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["efa", "audit", "cuts", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def test_command_counts_the_release_again(shared, tmp_path, monkeypatch):
    if not (shared / "cot-afa").is_dir():
        pytest.skip("no annotations")
    assert run_command(monkeypatch, str(shared / "cot-afa"), "--to", str(tmp_path / "cuts.csv")) == 0
    assert (tmp_path / "cuts.csv").read_text() == (ROOT / "results" / "cot-afa" / "cuts.csv").read_text()


def test_command_names_a_missing_folder_in_one_line(tmp_path, monkeypatch, capsys):
    assert run_command(monkeypatch, str(tmp_path / "absent")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no such file or folder" in line


# practice -------------------------------------------------------------------------------------------------------------


def test_masking_twice_leaves_tokens_without_a_target():
    found = practice.masked_twice()
    twice, once = "masked twice, re-created", "masked once, our LAVENDER"
    for column in (1, 2):
        assert found.value(twice, column) == pytest.approx(found.value(twice, column + 2), abs=0.005)
    assert found.value(once) == pytest.approx(0.15, abs=0.005)
    assert found.value(twice, 1) < found.value(once) < found.value("our decoder: every token but the first")


def test_optimism_grows_with_looks_and_independence():
    by_looks = [practice.optimism(looks, 0.0) for looks in (1, 10, 100)]
    assert abs(by_looks[0]) < 0.005
    assert by_looks[0] + 0.01 < by_looks[1] < by_looks[2] - 0.005
    assert practice.optimism(33, 0.9) < practice.optimism(33, 0.5) < practice.optimism(33, 0.0)
    assert practice.optimism(33, 1.0) == pytest.approx(0, abs=0.005)
    assert practice.optimism(33, 0.0, clips=5100) < practice.optimism(33, 0.0) / 2


def test_only_augmentation_per_frame_moves_a_body():
    joints = practice.joint_positions()
    shape = joints.shape[:2]
    each = np.arange(shape[1]) % 2 * np.ones(shape, int) == 1
    assert practice.motion(practice.flip(joints, np.ones(shape, bool))) == pytest.approx(practice.motion(joints))
    assert practice.motion(practice.flip(joints, each)) > 2 * practice.motion(joints)
    still = np.repeat(joints[:, :1], shape[1], 1)
    assert practice.motion(practice.stretch_and_crop(still, np.zeros(shape))) == 0
    assert practice.motion(practice.stretch_and_crop(still, each.astype(float))) == pytest.approx((398 - 224) / 224)
    found = practice.augmentation()
    assert found.value("flip and crop once a clip (ours)", 2) < 1.25
    assert found.value("stretched, flip and crop once a frame (release)", 2) > 5
    assert found.value("height that the middle crop keeps") == pytest.approx(0.563, abs=0.001)
    largest = practice.crop(joints, np.full((len(joints), 4), FormSimData().crop))
    assert practice.motion(largest) == pytest.approx(practice.motion(joints) / 0.8)


def test_frames_are_augmented_apart():
    frames = np.zeros((6, 32, 32, 3), np.uint8)
    frames[:, 4, 8] = 255
    out = practice.augment_per_frame(frames)
    assert out.shape == (6, 224, 224, 3)
    assert len({frame.tobytes() for frame in out}) > 1
    assert np.array_equal(out, practice.augment_per_frame(frames))


def test_repeated_batches_have_the_same_clips():
    assert practice.repeated_batches([1, 2, 3, 4], [2, 1, 4, 3], 2) == 1
    assert practice.repeated_batches([1, 2, 3, 4], [1, 3, 2, 4], 2) == 0


def test_pictures_have_alternative_texts():
    pictures = audit_tables.pictures()
    assert pictures.source.count("<img") == pictures.source.count('alt="Six frames of one clip, ') == 3
    assert any(name in pictures.text for name in some_actions(build("laptop").data.actions))
