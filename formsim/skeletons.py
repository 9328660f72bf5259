"""FormSim's performances as skeletons, and what a camera and a pose estimator would make of them.

A pose encoder is trained on `imitate` and then reads people: the noise, the wrong depth and the lost limbs are those
that estimators show. Only training needs it; nothing here is rendered.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from formsim.dataset import Clip, performance, sample_phases
from formsim.motion import INDEX, JOINTS
from formsim.streams import SWAPPED_JOINTS

PHASES = 48  # of one performance, from which windows are taken
_LIMBS = [
    [INDEX[f"{joint}_{side}"] for joint in joints]
    for joints in (("elbow", "wrist", "hand"), ("knee", "ankle", "toe"))
    for side in "lr"
]
_ENDS = [INDEX[f"{joint}_{side}"] for joint in ("elbow", "wrist", "hand", "ankle", "toe") for side in "lr"]
# The arms have no part in these movements.
FREE_ARMS = {"Squat", "Jump Squat", "Barbell Back Squat", "Dumbbell Lunge", "Crunch", "High Knees", "Leg Swings"}
# Skeletons do not tell them apart: what is held in the hands is not seen.
ALIKE = ({"Squat", "Barbell Back Squat"}, {"Glute Bridge", "Barbell Glute Bridge"})
HELD = {"Chair Pose", "Downward Dog", "Plank", "Quadriceps Stretch", "Warrior II", "Warrior III"}
_LEG = {"knee": 0.43, "ankle": 0.86, "toe": 0.92}  # metres below the hip, of a leg that hangs straight


def skeleton(clip: Clip) -> np.ndarray:
    """One performance as joints float32 [48, 20, 3], metres, x forward, y left, z up."""
    return performance(clip, sample_phases(PHASES))[0].astype(np.float32)


def take(cycles: Tensor, frames: int, draw: torch.Generator | None = None, repeats: bool = True) -> Tensor:
    """`frames` of each performance [B, P, 20, 3] -> [B, frames, 20, 3].

    Without `draw` the whole movement once. With it, windows as of a longer video, mirrored half of the time: one to
    two and a half repetitions from any moment, or a part of one.

    Args:
        repeats: the end of a performance joins its beginning; else windows are whole clips or parts of them.
    """
    count = len(cycles)
    phase = ((torch.arange(frames) + 0.5) / frames).expand(count, -1)  # [B, frames]
    if draw is not None:
        chance = torch.rand(4, count, generator=draw)
        more, shifted, part, mirrored = (drawn < p for drawn, p in zip(chance, (0.4, 0.4, 0.2, 0.5), strict=True))
        length, start, share, at = torch.rand(4, count, generator=draw)
        length = torch.where(more & repeats, 1 + 1.5 * length, 1.0)
        start = torch.where(shifted & repeats, start, 0.0)
        share = 0.35 + 0.6 * share
        length, start = torch.where(part, share, length), torch.where(part, at * (1 - share), start)
        phase = (start[:, None] + length[:, None] * phase) % 1.0
    position = phase * (cycles.shape[1] - 1)
    low = position.long().clamp(max=cycles.shape[1] - 2)
    weight, row = (position - low)[..., None, None], torch.arange(count)[:, None]
    joints = cycles[row, low] * (1 - weight) + cycles[row, low + 1] * weight
    if draw is not None:
        other = joints[:, :, SWAPPED_JOINTS] * torch.tensor([1.0, -1.0, 1.0])
        joints = torch.where(mirrored.view(-1, 1, 1, 1), other, joints)
    return joints


def vary(joints: Tensor, actions: Sequence[str], draw: torch.Generator) -> Tensor:
    """How people differ from the action files: [B, T, 20, 3], clips of these actions.

    They hold their arms as they like where the legs do the work, and they walk into a position that they then hold.
    """
    upright = _up(joints)[..., 2].mean(1) > 0.8
    other = torch.randperm(len(joints), generator=draw)
    chance = torch.rand(2, len(joints), generator=draw)
    free = torch.tensor([action in FREE_ARMS for action in actions])
    swap = (free & upright[other] & (chance[0] < 0.5)).view(-1, 1, 1, 1)
    first, joints = joints[other, :1], joints.clone()  # of another clip
    for side in "lr":
        arm = [INDEX[f"{joint}_{side}"] for joint in ("elbow", "wrist", "hand")]
        shoulder = [INDEX[f"shoulder_{side}"]]
        held = first[:, :, arm] - first[:, :, shoulder]
        joints[:, :, arm] = torch.where(swap, joints[:, :, shoulder] + held, joints[:, :, arm])
    likely = torch.tensor([0.4 if action in HELD else 0.1 for action in actions])
    walks = upright[other] & (chance[1] < likely)
    length = 2 + 6 * torch.rand(len(joints), 1, generator=draw)  # frames
    standing = ((length - torch.arange(joints.shape[1])) / 2).clamp(0, 1)[..., None, None]  # 1, and 0 two frames later
    return torch.where(walks.view(-1, 1, 1, 1), joints * (1 - standing) + first * standing, joints)


def imitate(joints: Tensor, draw: torch.Generator, level: float = 1.0, people: bool = False) -> Tensor:
    """What a pose estimator reports of skeletons [B, T, 20, 3]: any heading, tilt, noise, flat depth, lost limbs.

    Args:
        level: 1 is an ordinary estimator's; 0 only turns the skeletons about the vertical.
        people: also the errors of `_misread`, which recordings of people show.
    """
    count, frames = joints.shape[:2]

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=draw)

    def happens(chance: float) -> Tensor:
        return torch.rand(count, generator=draw) < chance * level

    joints = _rotate(joints, 0, 1, uniform(0, 2 * math.pi))  # the camera looks along x
    if level <= 0:
        return joints
    pelvis = joints[:, :, 0, 2]  # [B, T]; travel is read off the picture, whatever the tilt
    if people:
        joints = _misread(joints, draw, level)
    for side in "lr":  # an arm that points at the camera comes out flat, reversed or sideways
        wrong = torch.where(happens(0.25), uniform(-0.3, 0.9), 1.0).view(-1, 1, 1)
        start = end = joints[:, :, INDEX[f"shoulder_{side}"]]
        for name in ("elbow", "wrist", "hand"):
            part = joints[:, :, INDEX[f"{name}_{side}"]] - start
            start = joints[:, :, INDEX[f"{name}_{side}"]].clone()
            bent = torch.cat([part[..., :1] * wrong, part[..., 1:]], -1)
            end = end + F.normalize(bent, dim=-1) * part.norm(dim=-1, keepdim=True)
            joints[:, :, INDEX[f"{name}_{side}"]] = end
    lean = torch.where(happens(0.35), uniform(-0.6, 0.6), uniform(-0.25, 0.25))  # to or from the camera
    joints = _rotate(_rotate(joints, 0, 2, level * lean), 1, 2, level * uniform(-0.2, 0.2))
    # noise: a constant part, a slow one and a fast one; the depth and the ends of limbs are the least certain
    scale = torch.ones(len(JOINTS), 3)
    scale[_ENDS] = 1.4
    scale = scale * torch.tensor([2.0, 1.0, 1.0]) * level
    shape = (count, frames, len(JOINTS), 3)
    noise = 0.6 * torch.randn(count, 1, len(JOINTS), 3, generator=draw) + 0.7 * _slow(shape, 6, draw)
    noise = noise + 0.2 * torch.randn(shape, generator=draw)
    joints = joints + uniform(0.015, 0.05).view(-1, 1, 1, 1) * scale * noise
    flat = (1 - 0.4 * level * uniform(0, 1)).view(-1, 1, 1)  # estimators regress the depth towards the mean
    depth = joints[..., 0]
    joints = torch.cat([((depth - depth[:, :, :1]) * flat + depth[:, :, :1])[..., None], joints[..., 1:]], -1)
    for limb in _LIMBS:  # a hidden limb stands still somewhere
        still = joints[:, :, limb].mean(1, keepdim=True) + 0.05 * torch.randn(count, 1, 3, 3, generator=draw)
        joints[:, :, limb] = torch.where(happens(0.06).view(-1, 1, 1, 1), still, joints[:, :, limb])
    cut = happens(0.08).view(-1, 1, 1)  # legs outside the picture
    for (name, length), side in ((leg, side) for leg in _LEG.items() for side in "lr"):
        straight = joints[:, :, INDEX[f"hip_{side}"]] - length * _up(joints)
        joints[:, :, INDEX[f"{name}_{side}"]] = torch.where(cut, straight, joints[:, :, INDEX[f"{name}_{side}"]])
    travel = pelvis * (uniform(0, 1) > 0.2)[:, None] + 0.03 * level * _slow((count, frames), 5, draw)
    joints = joints + F.pad((travel - joints[:, :, 0, 2])[..., None], (2, 0))[:, :, None]
    at, begin, end = torch.arange(frames), frames * uniform(0, 1), 1 + 3 * uniform(0, 1)
    lost = happens(0.15)[:, None] & (at >= begin[:, None]) & (at < (begin + end)[:, None])  # another body for a moment
    return torch.where(lost[..., None, None], joints[torch.randperm(count, generator=draw)], joints)


def _misread(joints: Tensor, draw: torch.Generator, level: float) -> Tensor:
    """[B, T, 20, 3] seen along x: feet that point at the camera look pitched; both arms come out at one wrong depth;
    the body tilts to and from a camera that is near or low; a picture of unknown aspect has wrong proportions."""
    count, frames = joints.shape[:2]

    def happens(chance: float) -> Tensor:
        return (torch.rand(count, generator=draw) < chance * level).view(-1, 1)

    joints = joints.clone()
    pitch = torch.where(happens(0.5), -0.9 + 1.1 * torch.rand(count, 1, generator=draw), 0.0) * level  # radians
    for side in "lr":
        ankle, toe = INDEX[f"ankle_{side}"], INDEX[f"toe_{side}"]
        foot = joints[:, :, toe] - joints[:, :, ankle]
        at_camera = foot[..., 0].abs() / foot.norm(dim=-1).clamp(min=1e-3)  # [B, T]
        joints[:, :, toe] = joints[:, :, ankle] + _rotate(foot[:, :, None], 0, 2, pitch * at_camera)[:, :, 0]
    flat = torch.where(happens(0.2), -0.3 + 1.2 * torch.rand(count, 1, generator=draw), 1.0)[..., None]
    for side in "lr":
        arm = [INDEX[f"{name}_{side}"] for name in ("elbow", "wrist", "hand")]
        start = joints[:, :, [INDEX[f"shoulder_{side}"]], 0]
        joints[:, :, arm, 0] = start + (joints[:, :, arm, 0] - start) * flat
    tilt = torch.where(happens(0.3), 0.35 * level, 0.0) * _slow((count, frames), 4, draw)  # [B, T]
    root = joints[:, :, :1]
    joints = root + _rotate(joints - root, 0, 2, tilt)
    shape = torch.where(happens(0.3)[..., None], 0.2 * level, 0.0) * torch.randn(count, 1, 3, generator=draw)
    return joints * shape.exp()[:, :, None]


def _up(joints: Tensor) -> Tensor:
    return F.normalize(joints[:, :, INDEX["neck"]] - joints[:, :, 0], dim=-1)  # [B, T, 3]


def _rotate(joints: Tensor, i: int, j: int, angle: Tensor) -> Tensor:
    """Rotate [B, T, 20, 3] from axis i to axis j by radians [B] or [B, T]."""
    c, s = angle.cos().view(len(joints), -1, 1), angle.sin().view(len(joints), -1, 1)
    axes = list(joints.unbind(-1))
    axes[i], axes[j] = c * axes[i] - s * axes[j], s * axes[i] + c * axes[j]
    return torch.stack(axes, -1)


def _slow(shape: tuple[int, ...], knots: int, draw: torch.Generator) -> Tensor:
    """Noise of deviation about 1 that changes slowly over time: [B, T, ...]."""
    coarse = torch.randn(shape[0], math.prod(shape[2:]), knots, generator=draw)
    fine = F.interpolate(coarse, size=shape[1], mode="linear", align_corners=True)
    return fine.transpose(1, 2).reshape(shape)
