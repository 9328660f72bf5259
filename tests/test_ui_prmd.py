"""UI-PRMD: files to markers, markers to FormSim's body, and the data set that comes out. Made-up people in tmp_path."""

import gzip
import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from checkpoints import call, said
from hypothesis import given, settings
from hypothesis import strategies as st

from efa.data.manifest import check_dataset, load_dataset
from efa.utils.errors import InputError
from efa_book import people
from efa_datasets import loso, ui_prmd, ui_prmd_markers
from efa_datasets.ui_prmd import Export, export, split_of
from efa_datasets.ui_prmd_markers import DRAWN, MARKERS, PLACE, check_markers, fill_gaps, fit_body
from formsim.motion import INDEX

# A person standing at the origin who faces +x: millimetres of the left side and the middle, the right side mirrored.
_MIDDLE = {"C7": (-80, 0, 1440), "T10": (-90, 0, 1180), "CLAV": (50, 0, 1375), "STRN": (90, 0, 1135)}
_LEFT = {
    "FHD": (110, 60, 1600), "BHD": (-50, 55, 1600), "SHO": (-20, 165, 1420), "UPA": (-20, 230, 1260),
    "ELB": (-20, 245, 1090), "FRM": (0, 250, 960), "WRA": (40, 225, 860), "WRB": (-10, 245, 860), "FIN": (30, 240, 780),
    "ASI": (110, 125, 970), "PSI": (-100, 45, 980), "THI": (0, 190, 700), "KNE": (10, 150, 520), "TIB": (0, 150, 300),
    "ANK": (-20, 145, 85), "HEE": (-70, 110, 62), "TOE": (130, 120, 47),
}  # fmt: skip


def person(frames: int = 20) -> np.ndarray:
    """Markers [T, 39, 3] in metres of somebody who stands still and raises the left arm forward."""
    point = dict(_MIDDLE) | {"RBAK": (-90, -70, 1300)}
    for name, (x, y, z) in _LEFT.items():
        point["L" + name], point["R" + name] = (x, y, z), (x, -y, z)
    markers = np.repeat(np.array([point[name] for name in MARKERS], float)[None], frames, axis=0) / 1000
    arm = [PLACE[f"L{name}"] for name in ("UPA", "ELB", "FRM", "WRA", "WRB", "FIN")]
    pivot = markers[0, PLACE["LSHO"]] - [0, 0, 0.05]
    for t, angle in enumerate(np.linspace(0, np.pi / 2, frames)):
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        markers[t, arm] = (markers[t, arm] - pivot) @ turn + pivot
    return markers


def turned(markers: np.ndarray, degrees: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return markers @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + [x, y, 0]


def text(markers: np.ndarray) -> str:
    rows = (1000 * markers).reshape(len(markers), -1)
    return "\n".join(",".join(f"{value:.1f}" for value in row) for row in rows) + "\n"


def put(root: Path, name: str, content: str | bytes | np.ndarray) -> Path:
    """A file of bytes, text or markers in the folder that its name belongs to; .gz is packed."""
    content = text(content) if isinstance(content, np.ndarray) else content
    folder = root / ui_prmd_markers.FOLDERS[int("_inc" in name)] / "Vicon" / "Positions"
    folder.mkdir(parents=True, exist_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") and isinstance(content, str) else raw)
    return folder / name


@pytest.fixture
def command(monkeypatch, capfd):
    return partial(call, monkeypatch, capfd, "data", "ui-prmd")


@pytest.fixture
def root(tmp_path) -> Path:
    """Subjects 1, 7 and 9, one correct and one incorrect repetition each of two movements."""
    folder = tmp_path / "UI-PRMD"
    for subject in (1, 7, 9):
        for movement in (1, 5):
            stem = f"m{movement:02d}_s{subject:02d}_e01_positions"
            put(folder, f"{stem}.txt", person(12))
            put(folder, f"{stem}_inc.txt.gz", turned(person(9), 70, 2, -1))
    return folder


def joint(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[:, INDEX[name]]


def limb_lengths(joints: np.ndarray) -> dict[str, np.ndarray]:
    limbs = ("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("ankle", "toe")
    pairs = [(f"{a}_{side}", f"{b}_{side}") for a, b in limbs for side in "lr"]
    return {a: np.linalg.norm(joint(joints, a) - joint(joints, b), axis=1) for a, b in pairs}


def test_the_figure_stands_upright_and_faces_forward():
    joints, subject = fit_body(person(), "s01")
    assert joints.shape == (20, 20, 3)
    assert 1.55 < subject.height < 1.85
    order = ["head", "neck", "chest", "pelvis", "knee_l", "ankle_l", "toe_l"]
    heights = np.stack([joint(joints, name)[:, 2] for name in order])
    assert (np.diff(heights, axis=0) < 0).all()
    assert np.allclose(joint(joints, "ankle_l")[:, 2], 0.08, atol=0.01), "feet flat on the floor"
    for side in "lr":
        assert (joint(joints, f"toe_{side}")[:, 0] > joint(joints, f"ankle_{side}")[:, 0] + 0.1).all()
    assert joint(joints, "hand_l")[-1, 0] > 0.4, "the arm that was raised forward"
    assert abs(joint(joints, "hand_r")[-1, 0]) < 0.15
    for name in ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "toe"):  # left stays left
        assert (joint(joints, f"{name}_l")[:, 1] > 0.02).all(), name
        assert (joint(joints, f"{name}_r")[:, 1] < -0.02).all(), name


@settings(max_examples=20, deadline=None)
@given(st.floats(-180, 180), st.floats(-3, 3), st.floats(-3, 3))
def test_position_and_direction_do_not_matter(degrees, x, y):
    here, there = (fit_body(markers, "s01")[0] for markers in (person(6), turned(person(6), degrees, x, y)))
    np.testing.assert_allclose(here, there, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(0, 0.004))
def test_limbs_keep_their_length(seed, noise):
    markers = person() + np.random.RandomState(seed).normal(size=(20, 39, 3)) * noise
    joints, _ = fit_body(markers, "s01")
    assert np.isfinite(joints).all()
    for name, length in limb_lengths(joints).items():
        assert length.std() < 0.004 + 3 * noise, name
        assert 0.1 < length.mean() < 0.6, name
    assert (joint(joints, "pelvis")[:, 2] > 0.6).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(MARKERS), st.integers(0, 19), st.integers(1, 8))
def test_gaps_are_interpolated(name, start, count):
    whole = person()
    holed = whole.copy()
    holed[start : start + count, PLACE[name]] = 0
    # The arm moves on a circle; the chord over 8 of 19 steps stays within 7 cm of it, at an end it stays where it was.
    assert np.abs(fill_gaps(holed) - whole).max() < 0.55
    still = [i for i, n in enumerate(MARKERS) if n[0] != "L"]
    np.testing.assert_allclose(fill_gaps(holed)[:, still], whole[:, still])


@pytest.mark.parametrize("name", ["LFHD", "RBHD", "CLAV", "STRN", "C7", "T10", "LASI", "RASI", "RPSI", "LWRA", "RWRB"])
def test_missing_markers_are_rebuilt(name):
    holed = person()
    holed[:, PLACE[name]] = 0
    filled = fill_gaps(holed)
    assert np.abs(filled - person())[:, PLACE[name]].max() < 0.07
    check_markers(filled, Path("x"))


def test_feet_are_required_and_thighs_are_not():
    holed = person()
    holed[:, PLACE["RTHI"]] = 0
    check_markers(fill_gaps(holed), Path("x"))
    holed[:, PLACE["LTOE"]] = 0
    with pytest.raises(InputError, match="LTOE seen in less"):
        check_markers(fill_gaps(holed), Path("x"))


@pytest.mark.parametrize("name", ["m01_s02_e03_positions.txt", "m01_s02_e03_positions_inc.txt.gz"])
def test_a_file_is_read(tmp_path, name):
    markers = ui_prmd_markers.read_markers(put(tmp_path, name, person()))
    np.testing.assert_allclose(markers, person(), atol=1e-4)


GOOD = text(person(8))
CELLS = {"nan": "nan is no position", "inf": "inf is no position", "1e9": r"1e\+09 is no position"}
CELLS |= {"high": "not a row of numbers"}
BAD = {cell: (GOOD.replace("1440.0", cell, 1), f"row 1: {why}") for cell, why in CELLS.items()} | {
    "short row": (GOOD.replace(",62.0,", ",", 1), "row 1: 116 numbers instead of 117"),
    "long row": (GOOD + "1," * 117 + "1\n", "row 9: 118 numbers"),
    "empty": ("", "too few frames: 0"), "one frame": (person(8)[:1], "too few frames: 1"),
    "bytes": (b"\xff\xfe\x00\x01" * 40, "instead of 117"), "metres": (person(8) / 1000, "not a person"),
    "upside down": (person(8) * [1, 1, -1], "neck is not above"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_skipped_with_a_reason(root, tmp_path, case):
    content, message = BAD[case]
    file = put(root, "m01_s01_e02_positions.txt", content)
    count, (problem,) = export(root, Export(tmp_path / "out", 16, 4, 25, images=True))
    assert count == 24
    assert str(problem).startswith(str(file))
    assert problem.hint
    with pytest.raises(InputError, match=message):
        raise problem


TOO_SHORT = r"row \d+: the compressed file ends too early|too few frames: 0"
PACKED = gzip.compress(GOOD.encode(), mtime=0)
DAMAGED = [(PACKED[:cut], TOO_SHORT) for cut in (0, 5, 300, -4)]
DAMAGED += [(b"plain text, not packed", "not gzip"), (PACKED[:40] + bytes(80) + PACKED[120:], "positions")]


@pytest.mark.parametrize(("content", "message"), DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_gz(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        ui_prmd_markers.read_markers(put(tmp_path, "m01_s01_e02_positions.txt.gz", content))


def test_huge_unpacked_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ui_prmd_markers, "_MAX_BYTES", 1 << 16)
    with pytest.raises(InputError, match="of text"):
        ui_prmd_markers.read_markers(put(tmp_path, "m01_s01_e02_positions.txt.gz", "1,2,3\n" * 100_000))


def test_odd_names_and_duplicates_are_listed(root):
    put(root, "m01_s01_e01_positions.txt.gz", GOOD)
    put(root, "m11_s01_e01_positions.txt", GOOD)
    put(root, "notes.txt", "hello")
    found, skipped = ui_prmd.find_repetitions(root)
    assert (len(found), len(skipped)) == (12, 3)
    assert sum("is there already" in str(problem) for problem in skipped) == 1


def test_exported_videos_are_a_data_set(root, tmp_path):
    pytest.importorskip("av")
    assert export(root, Export(tmp_path, 32, 8, 25)) == (24, [])
    assert [str(p) for p in check_dataset(tmp_path, probe=True)] == []
    data = load_dataset(tmp_path)
    assert data.actions == ["Deep Squat", "Sit to Stand"]
    assert set(data.table["explanation"]) == set(data.table["fault"]) == {""}
    assert sorted(data.table["view"].unique()) == ["front", "side"]
    assert data.table.groupby("quality").size().tolist() == [12, 12]
    assert subject_splits(data) == {"s01": "train", "s07": "val", "s09": "test"}


def subject_splits(data) -> dict[str, str]:
    """Subject -> its one split."""
    pairs = data.table[["subject", "split"]].drop_duplicates()
    assert pairs["subject"].is_unique
    return dict(pairs.to_numpy().tolist())


def test_frame_folders_and_a_test_subject(root, tmp_path):
    export(root, Export(tmp_path, 16, 4, 25, images=True), test_subject=9)
    data = load_dataset(tmp_path)
    assert subject_splits(data) == {"s01": "val", "s07": "train", "s09": "test"}
    assert [str(p) for p in check_dataset(tmp_path, probe=True)] == []
    assert len(list((tmp_path / data.table["path"][0]).glob("*.png"))) == 6
    with pytest.raises(InputError, match="there is no subject 3"):
        export(root, Export(tmp_path / "other"), test_subject=3)


def test_subjects_are_in_one_split():
    for left_out in (None, *range(1, 11)):
        splits = [split_of(subject, left_out) for subject in range(1, 11)]
        assert set(splits) == {"train", "val", "test"}
        assert left_out is None or splits[left_out - 1] == "test"


def test_frames_are_reproducible_and_show_the_figure(root):
    one = ui_prmd.find_repetitions(root)[0][0]
    first, second = (ui_prmd.draw(one, ui_prmd.read_markers(one.file), "front", 6, 32) for _ in range(2))
    assert (first.dtype, first.shape) == (np.uint8, (6, 32, 32, 3))
    assert (first == second).all()
    assert (first[0] != first[-1]).any(), "the arm moves"
    assert sorted(ui_prmd.movements()) == list(range(1, 11))
    for name, steps in ui_prmd.movements().values():
        assert name
        assert len(steps.steps) == 5
        assert all(step.endswith(".") for step in (*steps.steps, steps.instruction))


def test_the_command_continues_after_a_bad_file(root, tmp_path, command):
    put(root, "m10_s09_e09_positions_inc.txt", person(8)[:1])
    options = ["--size", "16", "--rate", "25", "--fps", "4", "--images", "--repetitions", "1"]
    status, out, err = command(str(root), str(tmp_path / "out"), *options)
    assert status == 0
    assert "24 clips" in out
    assert [line for line in err.splitlines() if "left out" in line and "m10_s09_e09" in line and "frames: 1" in line]


OPTIONS = {
    ("--test-subject", "4"): "subjects there: 1, 7, 9", ("--size", "3"): "16 to 4096", ("--rate", "0"): "above 0",
    ("--fps", "nan"): "above 0", ("--repetitions", "-1"): "0 for all",
}  # fmt: skip
FOLDERS = dict.fromkeys(("absent", "file", "."), "Segmented Movements") | {"bad": "no sequence can be used"}
REFUSED = [*((("UI-PRMD", *o), why) for o, why in OPTIONS.items()), *(((f,), why) for f, why in FOLDERS.items())]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_wrong_options_and_folders_are_refused(root, tmp_path, command, arguments, message):
    (tmp_path / "file").write_text("x")
    for name in ("m01_s01_e01_positions.txt", "m01_s01_e01_positions_inc.txt"):
        put(tmp_path / "bad", name, "")
    folder, *options = arguments
    status, _, err = command(str(tmp_path / folder), str(tmp_path / "out"), *options)
    assert status == 2
    assert message in said(err)


def test_the_marker_baseline_finds_a_clear_difference(tmp_path):
    """An incorrect repetition raises the arm half as far."""
    random = np.random.RandomState(0)
    for subject, repetition in itertools.product(range(1, 5), range(1, 5)):
        for end, motion in (("", person(8)), ("_inc", person(16)[:8])):
            name = f"m07_s{subject:02d}_e{repetition:02d}_positions{end}.txt"
            put(tmp_path, name, motion + random.normal(size=(8, 39, 3)) * 0.003)
    predictions, skipped = ui_prmd.predict_from_markers(tmp_path)
    assert (len(predictions), skipped) == (32, [])
    assert all((probability >= 0.5) == bool(one.quality) for one, probability in predictions)
    assert {one.movement for one, _ in predictions} == {7}


@pytest.fixture
def real(shared) -> Path:
    if not (shared / "ui-prmd").is_dir():
        pytest.skip("no UI-PRMD there")
    return shared / "ui-prmd"


@pytest.mark.slow
def test_marker_baseline_on_real_data(real):
    found, _ = loso.judge_markers(real)[loso.MARKERS]
    assert len(found) == 1979
    one = people.estimate(found, loso.MARKERS, "acc")
    assert one.low < 75 < one.high
    assert one.value == pytest.approx(75.45, abs=0.5)


def test_real_people_stand_upright(real):
    chosen, _ = ui_prmd.find_repetitions(real)
    for one in chosen[::60]:
        markers = ui_prmd_markers.read_markers(one.file)
        if np.isnan(markers[:, [PLACE[name] for name in DRAWN]]).any():
            continue
        joints, subject = fit_body(markers, "s01")
        assert 1.45 < subject.height < 2.0, one.name
        for side in "lr":
            assert (joint(joints, "pelvis")[:, 2] > joint(joints, f"ankle_{side}")[:, 2]).all() or one.movement == 6
            assert joint(joints, f"hip_{side}")[:, 1].mean() * (1 if side == "l" else -1) > 0 or one.movement == 4
        assert np.isfinite(joints).all()
        for name, length in limb_lengths(joints).items():
            assert length.std() < 0.12 * length.mean(), (one.name, name)
