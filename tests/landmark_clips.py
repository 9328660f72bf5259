"""Landmarks of FormSim's figures: clips of n repetitions with pauses and a walk into position, the truth known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from efa.data.landmarks import INDEX, NAMES, Landmarks
from formsim import motion
from formsim.body import Subject
from formsim.dataset import performance, stream_clip
from formsim.motion import JOINTS
from formsim.schema import load_actions

Array = np.ndarray


def sequence(
    action: str,
    tempos: list[float],
    *,
    rate: float = 12.0,
    pause: float = 0.0,
    walk: float = 0.0,
    still: float = 0.0,
    noise: float = 0.0,
    view: float = 35.0,
    seed: int = 0,
) -> Landmarks:
    """Repetitions of `tempos[i]` seconds each, by somebody with a style and perhaps faults of their own.

    `pause`: seconds between them; `walk`: seconds of walking into position; `still`: seconds of standing before the
    first and after the last one; `noise`: standard deviation in metres; `view`: degrees of the camera from ahead.
    """
    clip = replace(stream_clip(list(load_actions()).index(action), seed), executed=1.0)
    pieces = [np.zeros(round(still * rate))]
    for i, seconds in enumerate(tempos):
        pieces += [np.zeros(round(pause * rate))] if i else []
        pieces += [np.arange(max(round(seconds * rate), 2)) / max(round(seconds * rate), 2)]
    phase = np.concatenate([*pieces, np.zeros(round(still * rate) + 1)])
    joints = performance(clip, phase)[0]
    if walk:
        joints = np.concatenate([_walk(round(walk * rate), rate), joints])
    rng = np.random.default_rng(seed)
    return project(joints + rng.normal(0, noise or 1e-9, joints.shape), rate, view)


def joined(*clips: Landmarks) -> Landmarks:
    """One clip after the other, all of the same rate."""
    image, visibility = (np.concatenate([getattr(clip, name) for clip in clips]) for name in ("image", "visibility"))
    return Landmarks(image, visibility, np.arange(len(image)) * clips[0].times[1], clips[0].size)


def _walk(frames: int, rate: float) -> Array:
    """Somebody who walks to where the exercise begins, from two metres away."""
    stride = np.sin(2 * np.pi * 0.9 * np.arange(frames) / rate)
    pose = {angle: np.zeros(frames) for angle in motion.ANGLES}
    for side, sign in (("l", 1.0), ("r", -1.0)):
        pose[f"thigh_{side}"] = 24 * sign * stride
        pose[f"shank_{side}"] = 24 * sign * stride - 18 * (1 + sign * stride)
        pose[f"upper_arm_{side}"] = -18 * sign * stride
        pose[f"forearm_{side}"] = 15 - 18 * sign * stride
    joints = motion.joints(pose, Subject.sample(np.random.RandomState(0)), motion.ANCHORS["stand"])
    joints[..., 1] += np.linspace(2, 0, frames)[:, None]
    return joints


def project(joints: Array, rate: float, view: float = 35.0, distance: float = 4.0) -> Landmarks:
    """Joints [T, 20, 3] in metres as a camera at `view` degrees and `distance` metres away sees them."""
    turn = np.deg2rad(view)
    right = joints[..., 1] * np.cos(turn) - joints[..., 0] * np.sin(turn)
    away = -joints[..., 0] * np.cos(turn) - joints[..., 1] * np.sin(turn)
    scale = 250 * distance / (distance + away)
    seen = np.stack([640 + scale * right, 360 - scale * (joints[..., 2] - 1), scale * away], axis=-1)
    image = np.repeat(seen[:, JOINTS.index("head")][:, None], len(NAMES), axis=1)
    like = {"pinky": "hand", "index": "hand", "thumb": "hand", "heel": "ankle"}
    for name, i in INDEX.items():
        part, _, side = name.rpartition("_")
        joint = f"{like.get(part, part)}_{side}"
        if joint in JOINTS:
            image[:, i] = seen[:, JOINTS.index(joint)]
    shape = image.shape[:2]
    return Landmarks(image.astype(np.float32), np.ones(shape, np.float32), np.arange(shape[0]) / rate, (1280, 720))


HOLDS = ("Chair Pose", "Downward Dog", "Plank", "Quadriceps Stretch", "Warrior II", "Warrior III")
REPEATED = tuple(name for name in load_actions() if name not in HOLDS)


SQUATS = sequence("Squat", [2.0, 2.0], rate=12.5, still=0.5)  # in the middle of a picture of 320 x 180
SQUATS = SQUATS._replace(image=SQUATS.image / 4, size=(320, 180))
NOBODY = SQUATS._replace(image=np.full_like(SQUATS.image, np.nan), visibility=SQUATS.visibility * 0)
GROUND = 90, 120, 90


def blank_frames(folder: Path) -> Path:
    """A folder with as many frames as `SQUATS` has, which show nothing."""
    folder.mkdir()
    for i in range(len(SQUATS.times)):
        Image.new("RGB", SQUATS.size, GROUND).save(folder / f"{i:03d}.png")
    return folder
