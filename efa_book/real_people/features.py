"""What the references know of a clip: joint angles over time, and the geometric rules."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from efa.data.landmarks import INDEX as BLAZEPOSE
from efa_datasets.real_people import OPENPOSE, Record
from formsim.motion import INDEX as FORMSIM

Array = np.ndarray

PERCENTILES = (5, 25, 50, 75, 95)
CHAINS = {  # the angle at the middle joint of three: the body alone, from wherever it is seen
    "elbow": ("shoulder", "elbow", "wrist"),
    "shoulder": ("hip", "shoulder", "elbow"),
    "hip": ("shoulder", "hip", "knee"),
    "knee": ("hip", "knee", "ankle"),
}
DIRECTIONS = {"thigh": ("knee", "hip"), "trunk": ("hip", "shoulder")}  # the angle of a segment to the vertical
JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def limbs(record: Record, flat: bool = False) -> dict[str, Array]:
    """Shoulder to ankle of both sides, [T, 2 or 3] each, in any unit, the last axis up; NaN where nothing was found.

    In three dimensions and metres where the record has them; `flat`: as the picture shows them, [T, 2].
    """
    names = [f"{joint}_{side}" for joint in JOINTS for side in "lr"]
    if record.joints is not None:
        return {name: record.joints[:, FORMSIM[name], 1 if flat else 0 :] for name in names}
    if record.keypoints is not None:
        points, index = record.keypoints, {name: i for i, name in enumerate(OPENPOSE)}
        return {name: points[:, index[name]] * (1, -1) for name in names}
    assert record.landmarks is not None
    points, index = record.landmarks.image, BLAZEPOSE
    if flat:
        return {name: points[:, index[name], :2] * (1, -1) for name in names}
    if record.landmarks.world is not None:
        points = record.landmarks.world
    return {name: points[:, index[name]][:, [0, 2, 1]] * (1, 1, -1) for name in names}


def in_metres(record: Record) -> bool:
    """Whether the pose has a depth to measure angles in; a picture's own z is a guess of another scale."""
    return record.joints is not None or (record.landmarks is not None and record.landmarks.world is not None)


def angles(record: Record, directions: bool = False) -> Array:
    """Degrees over time [T, 8], in space where there are metres, else in the picture and with the back's angle [T, 9].

    `directions`: four more, thighs and trunk against the vertical, which also tell how the camera was held. NaN where a
    joint was not found.
    """
    flat = not in_metres(record)
    at, found = limbs(record, flat), [back_angle(record)] if flat else []
    for side in "lr":
        for names in CHAINS.values():
            a, middle, b = (at[f"{joint}_{side}"] for joint in names)
            found.append(angle_between(a - middle, b - middle))
        for low, high in DIRECTIONS.values() if directions else ():
            segment = at[f"{high}_{side}"] - at[f"{low}_{side}"]
            found.append(angle_between(segment, np.eye(segment.shape[1])[-1]))
    return np.stack(found, 1)


def angle_between(a: Array, b: Array) -> Array:
    """Degrees between vectors, [..., D] and [..., D] -> [...]; NaN where one has no length."""
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def percentiles(records: Sequence[Record], directions: bool = False) -> Array:
    """One row a clip: the percentiles of every angle over time, float [N, 5 x angles]; a single frame gives the angles
    themselves. NaN where a joint was never found."""
    rows = []
    for record in records:
        over_time = angles(record, directions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column without a number stays NaN
            wanted = PERCENTILES if len(over_time) > 1 else (50,)
            rows.append(np.nanpercentile(over_time, wanted, axis=0).ravel())
    return np.stack(rows)


def surroundings(records: Sequence[Record]) -> Array:
    """What a clip tells before anybody moves, float [N, 5]: number of frames, the picture's size, and of the first
    frame which way the trunk points and how wide the shoulders are seen. A reference that should not score."""
    rows = []
    for record in records:
        at = limbs(record, flat=True)
        trunk, wide = at["shoulder_l"] - at["hip_l"], at["shoulder_l"] - at["shoulder_r"]
        first = np.flatnonzero(np.isfinite(trunk + wide).all(1))[0]
        size = record.landmarks.size if record.landmarks is not None else (0, 0)
        width = np.linalg.norm(wide[first]) / (np.linalg.norm(trunk[first]) + 1e-9)
        rows.append((len(trunk), *size, np.degrees(np.arctan2(*trunk[first])), width))
    return np.array(rows, float)


def squat_depth(record: Record) -> float:
    """How far the hip stays above the knee at the lowest point, in thigh lengths as seen standing: higher is worse."""
    at = limbs(record, flat=True)
    above = np.stack([(at[f"hip_{side}"] - at[f"knee_{side}"])[:, -1] for side in "lr"]).mean(0)
    above = above[np.isfinite(above)]
    return float(np.percentile(above, 2) / max(np.percentile(above, 95), 1e-9))


def push_up_form(record: Record) -> float:
    """Degrees that the elbows fail to reach 90, plus degrees by which the body is bent at the hip: higher is worse."""
    at = limbs(record)
    elbow, bend = [], []
    for side in "lr":
        shoulder, hip, ankle = at[f"shoulder_{side}"], at[f"hip_{side}"], at[f"ankle_{side}"]
        elbow.append(angle_between(shoulder - at[f"elbow_{side}"], at[f"wrist_{side}"] - at[f"elbow_{side}"]))
        bend.append(180 - angle_between(shoulder - hip, ankle - hip))
    depth = float(np.nanpercentile(np.mean(elbow, 0), 5))
    return max(0.0, depth - 90) + float(np.nanmedian(np.mean(bend, 0)))


def back_angle(record: Record) -> Array:
    """Shoulder-hip-ankle in the picture, degrees [T]: 180 is straight, more where the hip is off the floor's side.

    The floor is where the elbows are, whichever way the picture is turned.
    """
    at = limbs(record, flat=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # neither side was found
        names = ("shoulder", "hip", "ankle", "elbow")
        shoulder, hip, ankle, elbow = (np.nanmean([at[f"{n}_l"], at[f"{n}_r"]], axis=0) for n in names)
    body = ankle - shoulder
    inner = angle_between(shoulder - hip, ankle - hip)
    return np.where(_cross(body, hip - shoulder) * _cross(body, elbow - shoulder) < 0, 360 - inner, inner)


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def plank_form(record: Record) -> float:
    """Degrees between the back angle and a straight line: higher is worse. NaN where a joint was not found."""
    return float(np.nanmean(np.abs(back_angle(record) - 180)))


RULES: dict[str, Callable[[Record], float]] = {
    "front_squat": squat_depth, "push_up": push_up_form, "push_up_kaggle": push_up_form, "plank": plank_form,
}  # fmt: skip
