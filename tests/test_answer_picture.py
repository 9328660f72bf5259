"""The picture of an assessment: frames of a repetition with the limb marked, and the limbs that faults concern."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from landmark_clips import sequence
from PIL import Image

from efa.cli.answer_picture import WIDTH, draw_answer, limbs_of
from efa.data.drawing import MARKED
from efa.data.landmarks import INDEX, Landmarks
from efa.utils.errors import InputError
from formsim.dataset import all_faults
from formsim.motion import JOINTS, concerned_joints
from formsim.schema import load_actions

ANSWER = {"action": "Squat", "quality": "non-standard", "fault": "The knees collapse inward.", "start": 1.0, "end": 3.0}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Landmarks]:
    """Two squats of a skeleton alone: frames that show nothing, and where its landmarks are in them."""
    folder = tmp_path_factory.mktemp("frames")
    landmarks = sequence("Squat", [2.0, 2.0], rate=12.5, still=0.5)
    for i in range(len(landmarks.times)):
        Image.new("RGB", (320, 180), (90, 120, 90)).save(folder / f"{i:03d}.png")
    return folder, landmarks._replace(image=landmarks.image / 4, size=(320, 180))


def test_every_fault_of_every_action_concerns_a_limb() -> None:
    for action in load_actions().values():
        for name, fault in all_faults(action).items():
            joints = concerned_joints(action, fault)
            for found, known in ((joints, JOINTS), (limbs_of(joints), INDEX)):
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
    assert limbs_of({"knee_l"}) == {"knee_l", "knee_r"}
    assert limbs_of({"chest"}) == {"shoulder_l", "shoulder_r", "hip_l", "hip_r"}
    assert limbs_of({"neck", "head"}) == {"nose", "ear_l", "ear_r"}


def _marked(file: Path) -> int:
    with Image.open(file) as picture:
        return int((np.asarray(picture) == MARKED).all(-1).sum())


def test_picture_and_alt_text(clip: tuple[Path, Landmarks], tmp_path: Path) -> None:
    limbs = limbs_of(["knee_l", "ankle_l"])
    alt = draw_answer(*clip, ANSWER | {"limbs": limbs}, tmp_path / "a.png")
    assert alt == (
        "6 frames from 1.0 to 3.0 s of Squat: non-standard, a skeleton drawn over the person. Marked: ankles, knees. "
        "The knees collapse inward."
    )
    plain = draw_answer(*clip, ANSWER, tmp_path / "b.png")
    assert "Marked" not in plain
    assert _marked(tmp_path / "a.png") > 500
    assert _marked(tmp_path / "b.png") == 0
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == WIDTH
        assert picture.height < WIDTH


def test_long_sentences_are_wrapped(clip: tuple[Path, Landmarks], tmp_path: Path) -> None:
    draw_answer(*clip, ANSWER, tmp_path / "short.png")
    draw_answer(*clip, ANSWER | {"fault": "The knees collapse inward. " * 20}, tmp_path / "long.png")
    with Image.open(tmp_path / "short.png") as short, Image.open(tmp_path / "long.png") as long:
        assert long.width == short.width
        assert long.height > short.height + 60
        assert (np.asarray(long)[-16:] == 255).all()


def test_what_cannot_be_drawn_is_said(clip: tuple[Path, Landmarks], tmp_path: Path) -> None:
    folder, landmarks = clip
    nobody = landmarks._replace(image=np.full_like(landmarks.image, np.nan))
    with pytest.raises(InputError, match=r"nobody is seen from 1.0 to 3.0 s"):
        draw_answer(folder, nobody, ANSWER, tmp_path / "a.png")
    with pytest.raises(InputError, match="no frames at the landmarks' times"):
        draw_answer(folder, landmarks._replace(times=landmarks.times + 0.03), ANSWER, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_a_compensating_angle_is_no_fault() -> None:
    """The trunk gives way most when swinging; the legs only make up for it."""
    action = load_actions()["Standing Barbell Curl"]
    fault = action.faults["swinging"]
    assert {"thigh_l", "shank_l"} <= set(fault.change)
    assert concerned_joints(action, fault) == {"pelvis", "chest", "neck"}
    alone = replace(fault, change={name: change for name, change in fault.change.items() if name.startswith("shank")})
    assert concerned_joints(action, alone) == {"knee_l", "knee_r", "ankle_l", "ankle_r"}
