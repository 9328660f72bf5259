"""The picture of an assessment: frames of a repetition with the limb marked, and the limbs that faults concern."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from landmark_clips import NOBODY, SQUATS, blank_frames
from PIL import Image

from efa.data.landmarks import INDEX, Landmarks
from efa.utils.errors import InputError
from efa_book.pictures import COLORS, MARKED, WIDTH, draw_answer, limbs_of_faults, overlays
from formsim.dataset import all_faults
from formsim.motion import JOINTS, concerned_joints
from formsim.schema import load_actions

REPETITIONS = [
    {"start": start, "end": start + 2.0, "quality": "non-standard", "quality_probability": p}
    for start, p in ((1.0, 0.9), (3.0, 0.7))
]
ANSWER = {
    "action": "Squat", "abstained": "", "quality": "non-standard", "quality_probability": 0.8, "validated": None,
    "explanation": "The knees collapse inward.", "faults": [], "repetitions": REPETITIONS, "explained": 0,
    "warnings": [],
}  # fmt: skip
NONE = {"action": None, "quality": None, "quality_probability": None, "explanation": "", "repetitions": []}
NONE |= {"explained": None, "abstained": "nobody is seen"}
KNEES = {"faults": ["Squat/knees_in"]}
# Machado, Oliveira and Fernandes 2009: linear RGB as people without one of the three cones see it
BLIND = {
    "red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Landmarks]:
    """Two squats of a skeleton alone: frames that show nothing, and where its landmarks are in them."""
    return blank_frames(tmp_path_factory.mktemp("clip") / "frames"), SQUATS


def test_every_fault_of_every_action_concerns_a_limb() -> None:
    for action in load_actions().values():
        for name, fault in all_faults(action).items():
            marked = limbs_of_faults([f"{action.name}/{name}"])
            for found, known in ((concerned_joints(action, fault), JOINTS), (marked, INDEX)):
                assert set() < found <= set(known), (action.name, name)


@pytest.mark.parametrize(
    ("action", "fault", "joints"),
    [
        ("Squat", "knees_in", "hip_l hip_r knee_l knee_r ankle_l ankle_r"),
        ("Squat", "heels_up", "ankle_l ankle_r toe_l toe_r"),
        ("Squat", "leaning", "pelvis chest neck"),
        ("Squat", "range_short", "hip_l hip_r knee_l knee_r"),
        ("Push-Up", "head_down", "neck head"),
        ("Barbell Overhead Press", "uneven", "shoulder_r elbow_r"),
    ],
)
def test_the_limb_is_the_one_that_the_fault_names(action: str, fault: str, joints: str) -> None:
    known = load_actions()[action]
    assert concerned_joints(known, all_faults(known)[fault]) == set(joints.split())


def test_both_sides_and_trunk_become_landmarks() -> None:
    shoulders = {"shoulder_l", "shoulder_r"}
    assert limbs_of_faults(["Barbell Overhead Press/uneven"]) == shoulders | {"elbow_l", "elbow_r"}
    assert limbs_of_faults(["Squat/leaning"]) == shoulders | {"hip_l", "hip_r"}
    both = limbs_of_faults(["Squat/heels_up", "Push-Up/head_down"])
    assert both == {"ankle_l", "ankle_r", "toe_l", "toe_r", "nose", "ear_l", "ear_r"}


def _lab(color: tuple[int, int, int], matrix: object = np.eye(3)) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour seen through a matrix of linear RGB."""
    part = np.array(color) / 255
    linear = np.clip(matrix @ np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4), 0, 1)
    to_xyz = [(0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505)]
    x, y, z = np.cbrt(np.maximum(to_xyz @ linear / (0.9505, 1, 1.089), 1e-4))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("missing", BLIND)
def test_what_is_marked_looks_different_to_colour_blind_readers(missing: str) -> None:
    for color in COLORS.values():
        for matrix in (np.eye(3), np.array(BLIND[missing])):
            assert np.linalg.norm(_lab(MARKED, matrix) - _lab(color, matrix)) > 45


def _marked(file: Path, color: tuple[int, int, int] = MARKED) -> int:
    with Image.open(file) as picture:
        return int((np.asarray(picture) == color).all(-1).sum())


def test_picture_and_alt_text(clip: tuple[Path, Landmarks], tmp_path: Path) -> None:
    alt = draw_answer(*clip, ANSWER | KNEES, tmp_path / "a.png")
    assert alt == (
        "Squat: non-standard form (probability of non-standard 0.80, untested on people). 6 frames with a skeleton "
        "over the person: repetition 1 of 2, 1.0 to 3.0 s; marked: ankles, hips, knees. The knees collapse inward."
    )
    plain = draw_answer(*clip, ANSWER | {"validated": {"auc": 0.9}}, tmp_path / "b.png")
    assert "arked" not in plain
    assert "untested" not in plain
    assert _marked(tmp_path / "a.png") > 500
    assert _marked(tmp_path / "b.png") == 0
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == WIDTH
        assert picture.height < WIDTH


def test_a_verdict_of_standard_marks_nothing(clip: tuple[Path, Landmarks], tmp_path: Path) -> None:
    alt = draw_answer(*clip, ANSWER | KNEES | {"quality": "standard"}, tmp_path / "a.png")
    assert "arked" not in alt
    assert _marked(tmp_path / "a.png") == 0


def test_how_far_to_trust_it_stands_in_the_picture(clip: tuple[Path, Landmarks], tmp_path: Path) -> None:
    """A verdict that was compared with people's labels, and failed, is not 'untested': its note has to say it."""
    answer = ANSWER | KNEES | {"validated": {"auc": 0.51}}
    note = "verdicts on 'Squat' cannot be relied on: an AUC of 0.51"
    assert "Note:" not in draw_answer(*clip, answer, tmp_path / "plain.png")
    assert draw_answer(*clip, answer | {"warnings": [note]}, tmp_path / "noted.png").endswith(f"Note: {note}")
    with Image.open(tmp_path / "plain.png") as plain, Image.open(tmp_path / "noted.png") as noted:
        assert noted.height > plain.height


def test_an_abstention_shows_the_clip_and_the_reason(clip: tuple[Path, Landmarks], tmp_path: Path) -> None:
    folder, landmarks = clip
    last = landmarks.times[-1]
    alt = draw_answer(folder, landmarks, ANSWER | NONE, tmp_path / "a.png")
    assert alt == f"No answer: nobody is seen. 6 frames with a skeleton over the person: 0.0 to {last:.1f} s."
    assert "skeleton" not in draw_answer(folder, NOBODY, ANSWER | NONE, tmp_path / "b.png")
    assert [_marked(tmp_path / name, COLORS["l"]) > 0 for name in ("a.png", "b.png")] == [True, False]


def test_long_sentences_are_wrapped(clip: tuple[Path, Landmarks], tmp_path: Path) -> None:
    draw_answer(*clip, ANSWER, tmp_path / "short.png")
    draw_answer(*clip, ANSWER | {"explanation": "The knees collapse inward. " * 20}, tmp_path / "long.png")
    with Image.open(tmp_path / "short.png") as short, Image.open(tmp_path / "long.png") as long:
        assert long.width == short.width
        assert long.height > short.height + 60
        assert (np.asarray(long)[-16:] == 255).all()
        assert (np.asarray(long)[:, -16:][short.height :] == 255).all()


def test_what_cannot_be_drawn_is_said(clip: tuple[Path, Landmarks], tmp_path: Path) -> None:
    folder, landmarks = clip
    with pytest.raises(InputError, match="of another clip"):
        draw_answer(folder, landmarks._replace(times=landmarks.times + 99), ANSWER, tmp_path / "a.png")
    with pytest.raises(InputError, match="no frames at the landmarks' times"):
        draw_answer(folder, landmarks._replace(times=landmarks.times + 0.03), ANSWER, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_odd_sizes_are_cut_inside_the_frame(tmp_path: Path) -> None:
    """1777 x 1000 shrinks to 720 x 405.2: rounding must not put the box outside the picture."""
    for size in ((1777, 1000), (1000, 1777), (1083, 1921)):
        Image.new("RGB", size).save(tmp_path / "0.png")
        landmarks = Landmarks(np.full((1, 33, 3), np.nan, np.float32), np.zeros((1, 33), np.float32), np.zeros(1), size)
        ((_, picture),) = overlays(tmp_path, landmarks)
        assert max(picture.size) == 720


def test_a_compensating_angle_is_no_fault() -> None:
    """The trunk gives way most when swinging; the legs only make up for it."""
    action = load_actions()["Standing Barbell Curl"]
    fault = action.faults["swinging"]
    assert {"thigh_l", "shank_l"} <= set(fault.change)
    assert concerned_joints(action, fault) == {"pelvis", "chest", "neck"}
    alone = replace(fault, change={name: change for name, change in fault.change.items() if name.startswith("shank")})
    assert concerned_joints(action, alone) == {"knee_l", "knee_r", "ankle_l", "ankle_r"}
