"""From landmarks of a person in a video to FormSim's twenty joints, as FormSim itself would hand them out.

The direction of each limb is put onto a figure of average proportions, so that nothing depends on who is seen, and
how far away. The joints stand in FormSim's axes (x forward, y left, z up, metres); the pelvis rises and sinks as the
hips do in the picture, because landmarks in metres start at the hips and so do not tell.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from efa.data.landmarks import INDEX as LANDMARK
from efa.data.landmarks import UNSEEN, Landmarks, load_landmarks
from efa.utils.errors import InputError
from formsim.body import PROPORTIONS
from formsim.motion import JOINTS
from formsim.skeletons import PHASES

Array = np.ndarray
HEIGHT = 1.72  # of the figure, metres
LENGTH = {name: share * HEIGHT for name, share in PROPORTIONS.items()}
TORSO = LENGTH["lower_trunk"] + LENGTH["upper_trunk"]
SMOOTHING = 0.08  # seconds, deviation of the Gaussian over time: one frame of twelve a second


def to_joints(landmarks: Landmarks) -> Array:
    """Joints float32 [T, 20, 3] in metres, in the order of `formsim.motion.JOINTS`.

    The heading is left as it is; gaps in time are filled by straight lines; legs that are not seen hang straight down
    from the trunk. All NaN where nobody is found in any frame.
    """
    if not landmarks.found.any():
        return np.full((len(landmarks.image), len(JOINTS), 3), np.nan, np.float32)
    rate = 1 / max(1e-3, float(np.median(np.diff(landmarks.times)))) if len(landmarks.times) > 1 else 12.0
    smooth = SMOOTHING * rate
    image = gaussian_filter1d(_fill(landmarks.image), smooth, axis=0, mode="nearest")
    if landmarks.world is None:
        world = image * (1, 1, _depth_scale(image))
    else:
        world = gaussian_filter1d(_fill(landmarks.world), smooth, axis=0, mode="nearest")
    p = np.stack([-world[..., 2], world[..., 0], -world[..., 1]], -1)  # right, down, away -> forward, left, up
    legs = np.median(landmarks.visibility[landmarks.found][:, [LANDMARK[n] for n in _LEGS]])
    joints = _retarget(p, legs_seen=bool(legs >= UNSEEN))
    hips, shoulders = (image[:, [LANDMARK[f"{part}_{side}"] for side in "lr"]].mean(1) for part in ("hip", "shoulder"))
    torso = np.median(np.linalg.norm(shoulders - hips, axis=-1))  # pixels
    joints[..., 2] -= ((hips[:, 1] - hips[:, 1].mean()) * TORSO / max(1e-6, torso))[:, None]
    return joints.astype(np.float32)


_RIGID = (("shoulder", "elbow"), ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle"))
_LEGS = ("knee_l", "knee_r", "ankle_l", "ankle_r")


def _depth_scale(image: Array) -> float:
    """The factor on the depth of [T, 33, 3] with which limbs keep their lengths best: a picture gives it no scale."""
    ends = [[LANDMARK[f"{a}_{side}"], LANDMARK[f"{b}_{side}"]] for a, b in _RIGID for side in "lr"]
    limbs = image[:, [b for _, b in ends]] - image[:, [a for a, _ in ends]]  # [T, 8, 3]
    scales = np.linspace(0.2, 1.2, 11)
    lengths = np.stack([np.linalg.norm(limbs * (1, 1, scale), axis=-1) for scale in scales])  # [11, T, 8]
    return float(scales[np.median(lengths.std(1) / lengths.mean(1).clip(1e-9), axis=1).argmin()])


def _fill(points: Array) -> Array:
    """Frames without a person, NaN [T, 33, 3], by linear interpolation in time."""
    flat, at = points.reshape(len(points), -1).astype(np.float64), np.arange(len(points))
    known = np.isfinite(flat).all(1)
    return np.stack([np.interp(at, at[known], column[known]) for column in flat.T], 1).reshape(points.shape)


def _retarget(p: Array, legs_seen: bool) -> Array:
    """Landmarks [T, 33, 3] in FormSim's axes -> joints [T, 20, 3], the pelvis at the origin."""
    at = {name: p[:, i] for name, i in LANDMARK.items()}
    hips, shoulders = (at["hip_l"] + at["hip_r"]) / 2, (at["shoulder_l"] + at["shoulder_r"]) / 2
    up = _unit(shoulders - hips)
    out = {"pelvis": np.zeros_like(up), "chest": LENGTH["lower_trunk"] * up, "neck": TORSO * up}
    ears = (at["ear_l"] + at["ear_r"]) / 2
    # the ears lie in front of the top of the head, to which FormSim's joint belongs
    out["head"] = out["neck"] + (LENGTH["neck"] + LENGTH["head"]) * _unit(_unit(ears - shoulders) + 0.6 * up)
    across = {part: _unit(at[f"{part}_l"] - at[f"{part}_r"]) for part in ("hip", "shoulder")}
    collar = _unit(across["shoulder"] - 0.5 * (across["shoulder"] * up).sum(-1, keepdims=True) * up)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        hand = (at[f"pinky_{side}"] + at[f"index_{side}"]) / 2
        forearm = _unit(at[f"wrist_{side}"] - at[f"elbow_{side}"])
        foot = _unit(at[f"toe_{side}"] - at[f"heel_{side}"])
        thigh, shank = (
            _unit(at[f"{end}_{side}"] - at[f"{start}_{side}"]) if legs_seen else -up
            for start, end in (("hip", "knee"), ("knee", "ankle"))
        )
        out[f"shoulder_{side}"] = out["neck"] - 0.05 * up + sign * LENGTH["shoulder_half_width"] * collar
        out[f"hip_{side}"] = sign * LENGTH["hip_half_width"] * across["hip"]
        for start, end, length, way in (
            ("shoulder", "elbow", "upper_arm", _unit(at[f"elbow_{side}"] - at[f"shoulder_{side}"])),
            ("elbow", "wrist", "forearm", forearm),
            ("wrist", "hand", "hand", _unit(forearm + _unit(hand - at[f"wrist_{side}"]))),
            ("hip", "knee", "thigh", thigh),
            ("knee", "ankle", "shank", shank),
        ):
            out[f"{end}_{side}"] = out[f"{start}_{side}"] + LENGTH[length] * way
        sole = _unit(shank - (shank * foot).sum(-1, keepdims=True) * foot)  # square to the foot, away from the knee
        out[f"toe_{side}"] = out[f"ankle_{side}"] + LENGTH["foot"] * foot + 0.06 * sole
    return np.stack([out[name] for name in JOINTS], 1)


def _unit(v: Array) -> Array:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def read_skeleton(path: Path) -> Array:
    """The whole clip of a file of landmarks as joints float32 [48, 20, 3], evenly spaced in time.

    Raises:
        InputError: not such a file, or nobody is found in any frame.
    """
    joints = to_joints(load_landmarks(path))
    if not np.isfinite(joints).all():
        raise InputError("nobody is found in any frame", file=path, hint="leave this clip out")
    return resample(joints, np.linspace(0, len(joints) - 1, PHASES))


def resample(joints: Array, positions: Array) -> Array:
    """Joints [T, 20, 3] at positions in frames (between frames: straight lines), [len(positions), 20, 3]."""
    at = np.clip(np.asarray(positions, np.float64), 0, len(joints) - 1)
    low = np.minimum(at.astype(np.int64), max(0, len(joints) - 2))
    part = (at - low)[:, None, None]
    return (joints[low] * (1 - part) + joints[np.minimum(low + 1, len(joints) - 1)] * part).astype(np.float32)
