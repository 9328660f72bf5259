"""Real people's poses with labels of form or action: seven published sets in one folder, as one list of records.

A set NAME is NAME.npz (arrays by clip) and NAME.csv (labels). Most sources state no licence: the folder stays outside
the project, and what is published are scores and predictions. Sources and original authors stand in `SETS`.

Three sets give image coordinates as shares of a picture of unknown size. Its shape is read off the people: arms that
turn in the picture keep their length best at 16:9 in five of seven yoga exercises (deviation .07-.10, against .13-.23
for a square); in the front squats shoulders of 0.70 trunk lengths, as in the clips with metres, ask for a width of 0.62
heights, so 9:16. The repetitions come from many cameras (jumping jacks upright, push-ups wide): there a square is
assumed, and angles in the picture plane are off by as much as the true picture differs from it.
"""

import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from efa.data.landmarks import Landmarks
from efa.utils.errors import InputError
from efa_datasets.ui_prmd_markers import check_markers, find_repetitions, fit_body, movements, read_markers
from formsim.body import PROPORTIONS
from formsim.motion import JOINTS
from formsim.shapes import unit

Array = np.ndarray

SETS = {
    "front_squat": "github.com/michaelltao/FrontSquat",
    "push_up": "github.com/riyer8/cs231n-pushfit",
    "deadlift": "github.com/lyronctk/pose-trainer",
    "plank": "github.com/Vollkorn01/Deep-Learning-Fitness-Exercise-Correction-Keras",
    "boxing": "github.com/MotionXperts/MotionExpert (CoachMe, ACL 2025)",
    "yoga": "github.com/Ak010504/yoga (PosePilot, arXiv 2505.19186)",
    "repetitions": "github.com/DanielC-MST/RepCount-Using-Skeleton-Information",
}
ACTIONS = {  # their name of an exercise -> FormSim's; what is not here, FormSim does not have
    "front_squat": "Squat", "deadlift": "Barbell Deadlift", "plank": "Plank", "push_up": "Push-Up", "squat": "Squat",
    "chair": "Chair Pose", "downdog": "Downward Dog", "warrior": "Warrior II", "bench_press": "Barbell Bench Press",
    "pull_up": "Pull Up", "sit_up": "Crunch", "jumping_jack": "Jumping Jack", "front_raise": "Cable Front Raise",
}  # fmt: skip
SIZES = {"front_squat": (1080, 1920), "yoga": (1920, 1080), "repetitions": (1080, 1080)}  # of the picture, assumed
OPENPOSE = (
    "nose", "neck", *(f"{joint}_{side}" for side in "rl" for joint in ("shoulder", "elbow", "wrist")),
    *(f"{joint}_{side}" for side in "rl" for joint in ("hip", "knee", "ankle")), "eye_r", "eye_l", "ear_r", "ear_l",
)  # fmt: skip
_SMPL = {
    "pelvis": 0, "hip_l": 1, "hip_r": 2, "knee_l": 4, "knee_r": 5, "chest": 6, "ankle_l": 7, "ankle_r": 8, "toe_l": 10,
    "toe_r": 11, "neck": 12, "shoulder_l": 16, "shoulder_r": 17, "elbow_l": 18, "elbow_r": 19, "wrist_l": 20,
    "wrist_r": 21,
}  # fmt: skip
_DOWN = np.array([0.0, 0.83, 0.56])  # neck to toes in the boxing clips, mean of all: how far the camera was tilted
_HEIGHT = 1.725  # metres, FormSim's average performer


@dataclass(frozen=True)
class Record:
    """One clip. Exactly one of the three kinds of pose is there."""

    set: str
    clip: str
    group: str  # what a fair split keeps together: session, scene, subject or a file's prefix
    exercise: str  # as the source calls it
    action: str  # FormSim's name of it; '' where FormSim has none
    label: int | None = None  # 0 correct, 1 incorrect; None where nobody judged the form
    fault: str = ""  # as the source calls it; '' where there is none or it is not named
    landmarks: Landmarks | None = None  # BlazePose
    keypoints: Array | None = None  # float32 [1, 18, 2], OpenPose, x and y in pixels, order `OPENPOSE`; NaN: not found
    joints: Array | None = None  # float64 [T, 20, 3], `motion.JOINTS`, x forward, y left, z up, metres
    extra: dict[str, Any] = field(default_factory=dict)  # kaggle (bool), reps (int), view, comments (list of texts)

    @property
    def pose(self) -> Landmarks | Array:
        """Whichever kind of pose it has."""
        found = [one for one in (self.landmarks, self.keypoints, self.joints) if one is not None]
        return found[0]


def read_real_people(folder: str | Path, sets: Iterable[str] = tuple(SETS)) -> list[Record]:
    """All clips of the named sets, set by set, in the order of their tables.

    Raises:
        InputError: an unknown set, a file that is missing or cannot be read, nobody in a clip, or a wrong shape.
    """
    records: list[Record] = []
    for name in sets:
        if name not in SETS:
            raise InputError(f"there is no set '{name}'", hint=f"one of {', '.join(SETS)}")
        table, arrays = _table(Path(folder) / f"{name}.csv"), Path(folder) / f"{name}.npz"
        try:
            with np.load(arrays, allow_pickle=False) as file:
                kept: dict[str, Array] = {key: file[key] for key in file.files}
            records += [_READERS[name](row, kept) for row in table]
        except FileNotFoundError:
            raise InputError("no such file", file=arrays, hint="the folder holds NAME.npz and NAME.csv") from None
        except (KeyError, ValueError, TypeError, IndexError, OSError, EOFError, zipfile.BadZipFile) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
            raise InputError(f"cannot be read: {reason}", file=arrays, hint="get the set again") from error
    return records


def read_ui_prmd(root: str | Path) -> list[Record]:
    """UI-PRMD's repetitions (`efa_datasets.ui_prmd`) as records of the set 'ui_prmd', grouped by person, 12.5 frames a
    second; files that `efa data ui-prmd` leaves out are left out.

    Raises:
        InputError: not the original layout, or no repetition can be used.
    """
    records = []
    for one in find_repetitions(root)[0]:
        who, exercise = f"s{one.subject:02d}", movements()[one.movement][0]
        try:
            markers = read_markers(one.file)[::8]  # of 100 frames a second
            check_markers(markers, one.file)
        except InputError:
            continue
        joints = fit_body(markers, who)[0]
        records.append(Record("ui_prmd", one.name, who, exercise, "", one.quality, joints=joints))
    if not records:
        raise InputError("no repetition can be used", file=root)
    return records


def _table(file: Path) -> list[dict[str, Any]]:
    """Rows by column, all text."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError("no such file", file=file, hint="the folder holds NAME.npz and NAME.csv") from None
    except (OSError, ValueError) as error:
        raise InputError(f"not a table: {' '.join(str(error).split())[:200]}", file=file) from error
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _checked(array: Array, *shape: int) -> Array:
    """float32 [T, *shape] with T > 0, or ValueError."""
    if array.ndim != len(shape) + 1 or array.shape[1:] != shape or not len(array):
        raise ValueError(f"an array is {list(array.shape)}, not [frames, {', '.join(map(str, shape))}]")
    return array.astype(np.float32)


def _landmarks(
    image: Array, size: tuple[int, int], fps: float, world: Array | None = None, share: bool = False
) -> Landmarks:
    """Landmarks from [T, 33, 3 or 4]; frames of zeros or NaN hold nobody. `share`: coordinates are shares of `size`,
    and z has the scale of x."""
    image = _checked(image, 33, image.shape[-1] if image.shape[-1] in (3, 4) else 4)
    points, seen = image[..., :3].copy(), image[..., 3] if image.shape[-1] == 4 else np.ones(image.shape[:2])
    nobody = ~np.isfinite(points).all((1, 2)) | (points == 0).all((1, 2))
    if nobody.all():
        raise ValueError("a clip in which nobody was found")
    points *= (size[0], size[1], size[0]) if share else 1
    points[nobody] = np.nan
    visibility = np.where(nobody[:, None], 0, np.clip(seen, 0, 1)).astype(np.float32)
    world = None if world is None else np.where(nobody[:, None, None], np.nan, _checked(world, 33, 3))
    if world is not None and len(world) != len(points):
        raise ValueError(f"{len(world)} frames in metres, {len(points)} in pixels")
    return Landmarks(points, visibility, np.arange(len(points)) / fps, size, world)


_Row = dict[str, Any]
_Arrays = dict[str, Array]


def _label(row: _Row) -> int:
    return {"correct": 0, "incorrect": 1}[row["label"]]


def _front_squat(row: _Row, arrays: _Arrays) -> Record:
    found = _landmarks(arrays[row["clip"]], SIZES["front_squat"], 25.0, share=True)
    name = "front_squat"
    return Record(name, row["clip"], row["session"], name, ACTIONS[name], _label(row), row["fault"], found)


def _push_up(row: _Row, arrays: _Arrays) -> Record:
    clip, size = row["clip"], (int(row["width"]), int(row["height"]))
    found = _landmarks(arrays[f"{clip}/image"], size, float(row["fps"]), arrays[f"{clip}/world"])
    extra = {"kaggle": row["kaggle"] == "1"}
    return Record("push_up", clip, row["scene"], "push_up", ACTIONS["push_up"], _label(row), "", found, extra=extra)


def _deadlift(row: _Row, arrays: _Arrays) -> Record:
    clip, size, name = row["clip"], (int(row["width"]), int(row["height"])), "deadlift"
    found = _landmarks(arrays[f"{clip}/image"], size, 10.0, arrays[f"{clip}/world"])  # the times are not known
    extra = {"view": row["view"]}
    return Record(name, clip, row["subject"], name, ACTIONS[name], _label(row), row["fault"], found, extra=extra)


def _plank(row: _Row, arrays: _Arrays) -> Record:
    points = _checked(arrays["keypoints"], 18, 2)[[int(row["index"])]]
    clip, name = f"frame{int(row['index']):05d}", "plank"
    return Record(name, clip, row["group"], name, ACTIONS[name], _label(row), row["fault"], keypoints=points)


def _boxing(row: _Row, arrays: _Arrays) -> Record:
    clip = Path(row["file"]).stem
    texts = [text.strip() for text in row["comments"].split("||") if text.strip()]
    group = f"boxer{float(row['subject']):.0f}" if row["subject"] else ""  # the two standards name nobody
    extra = {"comments": texts, "view": row["view"], "standard": row["label"] == "standard"}
    found = smpl_joints(_checked(arrays[clip], 22, 3))
    return Record("boxing", clip, group, row["action"], "", joints=found, extra=extra)


def _yoga(row: _Row, arrays: _Arrays) -> Record:
    found = _landmarks(arrays[row["clip"]], SIZES["yoga"], 25.0, share=True)
    action, extra = ACTIONS.get(row["action"], ""), {"view": row["view"]}
    return Record("yoga", row["clip"], row["subject"], row["action"], action, landmarks=found, extra=extra)


def _repetitions(row: _Row, arrays: _Arrays) -> Record:
    found = _landmarks(arrays[row["file"]], SIZES["repetitions"], 30.0, share=True)
    action, extra = ACTIONS.get(row["action"], ""), {"reps": int(row["reps"])}
    return Record("repetitions", row["file"], row["subject"], row["action"], action, landmarks=found, extra=extra)


_READERS: dict[str, Callable[[_Row, _Arrays], Record]] = {
    "front_squat": _front_squat, "push_up": _push_up, "deadlift": _deadlift, "plank": _plank, "boxing": _boxing,
    "yoga": _yoga, "repetitions": _repetitions,
}  # fmt: skip


def smpl_joints(joints: Array) -> Array:
    """SMPL's first 22 joints in a camera's axes [T, 22, 3] (x right, y down, z away; any unit) -> FormSim's 20 joints
    [T, 20, 3]: upright, facing +x on the whole, the mean pelvis over the origin, the lowest toe on the floor, metres.

    SMPL has no fists and no top of the head: they continue forearm and neck at FormSim's lengths.
    """
    down = unit(_DOWN)
    right = unit(np.cross(down, [0.0, 0.0, 1.0]))
    away = np.cross(right, down)
    upright = np.stack([-joints @ away, joints @ right, -joints @ down], -1)  # as if the person faced the camera
    leg = np.linalg.norm(np.diff(upright[:, [1, 4, 7]], axis=1), axis=-1).sum(1)
    upright = upright * _HEIGHT * (PROPORTIONS["thigh"] + PROPORTIONS["shank"]) / np.median(leg)
    left = (upright[:, 1] - upright[:, 2]).mean(0)
    cos, sin = np.array([left[1], -left[0]]) / max(np.hypot(left[0], left[1]), 1e-9)
    x, y = upright[..., 0], upright[..., 1]
    upright = np.stack([cos * x + sin * y, cos * y - sin * x, upright[..., 2]], -1)
    point = {name: upright[:, i] for name, i in _SMPL.items()}
    length = _HEIGHT * (PROPORTIONS["neck"] + PROPORTIONS["head"])
    point["head"] = point["neck"] + length * unit(upright[:, 15] - point["neck"])
    for side in "lr":
        along = unit(point[f"wrist_{side}"] - point[f"elbow_{side}"])
        point[f"hand_{side}"] = point[f"wrist_{side}"] + _HEIGHT * PROPORTIONS["hand"] * along
    found = np.stack([point[name] for name in JOINTS], 1).astype(float)
    return found - [*found[:, 0, :2].mean(0), found[..., 2].min()]
