"""Real people's poses: from the files of seven sets to records. Made-up people; the real ones where they are."""

from collections import Counter

import numpy as np
import pytest
from people_poses import squat, write_folder

from efa.data.landmarks import INDEX as BLAZEPOSE
from efa.utils.errors import InputError
from efa_datasets.real_people import SETS, read_real_people, smpl_joints
from formsim.motion import INDEX
from formsim.schema import load_actions


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "people")


def test_every_set_is_read_with_labels_groups_and_names(folder):
    records = read_real_people(folder)
    assert Counter(record.set for record in records) == dict.fromkeys(SETS, 12) | {"boxing": 13}
    first = {record.set: record for record in reversed(records)}
    second = {name: next(r for r in records if r.set == name and r.clip != first[name].clip) for name in SETS}
    assert (first["front_squat"].label, second["front_squat"].label) == (0, 1)
    assert (second["deadlift"].fault, second["plank"].fault) == ("rounded_back", "back_too_high")
    assert (first["push_up"].extra, second["push_up"].extra) == ({"kaggle": False}, {"kaggle": True})
    assert second["repetitions"].extra == {"reps": 1}
    assert second["boxing"].extra["comments"] == ["Keep your guard up.", "Your hips aren't rotating."]
    assert [record.group for record in records if record.set == "boxing"][::4] == ["boxer0", "boxer1", "boxer2", ""]
    assert (first["yoga"].action, second["yoga"].action, second["yoga"].exercise) == ("Chair Pose", "", "tree")
    assert {record.action for record in records} <= {"", *load_actions()}
    assert first["plank"].pose.shape == (1, 18, 2)
    assert first["boxing"].pose.shape == (9, 20, 3)


def test_shares_of_a_picture_become_pixels_of_its_assumed_shape(folder):
    (one, *_) = read_real_people(folder, ["front_squat"])
    assert one.landmarks.size == (1080, 1920)
    assert list(one.landmarks.found) == [False] + 11 * [True]
    assert (one.landmarks.visibility[0] == 0).all()
    with np.load(folder / "front_squat.npz") as file:
        share = file["clip0"][5, BLAZEPOSE["knee_l"], :3].astype(float)
    assert one.landmarks.image[5, BLAZEPOSE["knee_l"]] == pytest.approx(share * (1080, 1920, 1080), rel=1e-3)


def test_pixels_and_metres_stay_what_they_are(folder):
    (one, *_) = read_real_people(folder, ["push_up"])
    assert one.landmarks.size == (640, 480)
    assert np.diff(one.landmarks.times) == pytest.approx(1 / 12.5)
    with np.load(folder / "push_up.npz") as file:
        assert one.landmarks.image == pytest.approx(file["clip0/image"][..., :3])
        assert one.landmarks.world == pytest.approx(file["clip0/world"])


def change(folder, name, **arrays):
    with np.load(folder / f"{name}.npz") as file:
        kept = {key: file[key] for key in file.files}
    np.savez(folder / f"{name}.npz", **(kept | arrays))


def write(folder, table):
    (folder / "yoga.csv").write_text(table)


BAD = {
    "no arrays": (lambda folder: (folder / "yoga.npz").unlink(), "yoga.npz: no such file"),
    "no table": (lambda folder: (folder / "yoga.csv").unlink(), "yoga.csv: no such file"),
    "not an archive": (lambda folder: (folder / "yoga.npz").write_text("x"), "yoga.npz: cannot be read"),
    "pickled": (lambda folder: change(folder, "yoga", clip0=np.array([{}], object)), "yoga.npz: cannot be read"),
    "another shape": (lambda folder: change(folder, "yoga", clip0=np.ones((4, 5, 3))), r"an array is \[4, 5, 3\]"),
    "nobody": (lambda folder: change(folder, "yoga", clip0=np.zeros((4, 33, 4))), "nobody was found"),
    "a clip less": (lambda folder: write(folder, "clip,action,subject,view\nnew,tree,P1,v"), "yoga.npz.*: no 'new'"),
    "a column less": (lambda folder: write(folder, "clip,subject,view\nclip0,P1,v"), "no 'action'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_one_line_that_names_the_file(folder, name):
    spoil, said = BAD[name]
    spoil(folder)
    with pytest.raises(InputError, match=said) as caught:
        read_real_people(folder, ["yoga"])
    assert "\n" not in str(caught.value)


def test_an_unknown_set_is_refused(folder):
    with pytest.raises(InputError, match="there is no set 'tennis'"):
        read_real_people(folder, ["tennis"])


SMPL = ("pelvis", "hip_l", "hip_r", "pelvis", "knee_l", "knee_r", "chest", "ankle_l", "ankle_r", "chest", "toe_l",
        "toe_r", "neck", "shoulder_l", "shoulder_r", "head", "shoulder_l", "shoulder_r", "elbow_l", "elbow_r",
        "wrist_l", "wrist_r")  # fmt: skip


@pytest.mark.parametrize("heading", [0, 70, 180, 250])
@pytest.mark.parametrize("scale", [0.4, 1.0])
def test_smpl_joints_stand_upright_and_face_forward_however_they_were_seen(heading, scale):
    """A known person, turned and seen by a camera that looks down on him by as much as those of the boxers."""
    true = squat(0.3)
    turn = np.radians(heading)
    x, y = (
        true[..., 0] * np.cos(turn) - true[..., 1] * np.sin(turn),
        true[..., 0] * np.sin(turn) + true[..., 1] * np.cos(turn),
    )
    tilt = np.arctan2(0.56, 0.83)
    right, down, away = y, -true[..., 2], -x
    down, away = np.cos(tilt) * down - np.sin(tilt) * away, np.sin(tilt) * down + np.cos(tilt) * away
    seen = scale * np.stack([right, down, away], -1)[:, [INDEX[name] for name in SMPL]]
    found = smpl_joints(seen)
    legs = [np.linalg.norm(np.diff(j[:, [INDEX[n] for n in ("hip_l", "knee_l", "ankle_l")]], axis=1), axis=-1).sum(1)
            for j in (found, true)]  # fmt: skip
    size = np.median(legs[0]) / np.median(legs[1])
    body = [INDEX[name] for name in sorted(set(SMPL) - {"head"})]
    moved = true - [*true[:, 0, :2].mean(0), true[..., 2].min()]
    assert np.abs(found[:, body] - size * moved[:, body]).max() < 0.01
    assert found[..., 2].min() == 0


def test_the_real_sets_have_the_counts_that_their_source_states(shared):
    records = read_real_people(shared / "real-people")
    counts = Counter((record.set, record.label) for record in records if record.label is not None)
    assert counts == {
        ("front_squat", 0): 120, ("front_squat", 1): 120, ("push_up", 0): 139, ("push_up", 1): 122,
        ("deadlift", 0): 18, ("deadlift", 1): 71, ("plank", 0): 3434, ("plank", 1): 3488,
    }  # fmt: skip
    groups = {name: len({record.group for record in records if record.set == name} - {""}) for name in SETS}
    assert groups == {"front_squat": 32, "push_up": 102, "deadlift": 3, "plank": 73, "boxing": 10, "yoga": 8,
                      "repetitions": 12}  # fmt: skip
    assert sum(record.extra.get("kaggle", False) for record in records) == 100
    boxers = [record.joints for record in records if record.set == "boxing" and record.group]
    heads = np.array([joints[:, INDEX["head"], 2].mean() for joints in boxers])
    assert (heads > 1.2).all()
    assert (heads < 1.95).all()
