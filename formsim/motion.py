"""Angles -> joints: keyframes, faults, forward kinematics and contact.

A pose is 35 angles in degrees (`ANGLES`; `lift` is in centimetres). Trunk, neck and limbs are absolute directions, not
a chain of rotations: a thigh of 90 points forward whatever the pelvis does; a fault on one segment leaves the others.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from formsim.body import Subject
from formsim.shapes import Array, cross, mean
from formsim.tables import TABLES

if TYPE_CHECKING:
    from formsim.schema import Action, Fault

_SIDE = ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "toe")
JOINTS = ("pelvis", "chest", "neck", "head", *(f"{joint}_{side}" for side in "lr" for joint in _SIDE))
INDEX = {name: i for i, name in enumerate(JOINTS)}

SIDED = ("shoulder", "upper_arm", "forearm", "thigh", "shank", "foot")  # 'thigh' in a YAML file means both sides
_BODY = ("yaw", "lift", "pelvis.roll", "pelvis.twist")
_TRUNK = ("trunk.lower", "trunk.upper", "trunk.side", "trunk.side_upper", "trunk.twist", "neck", "neck.side")
ANGLES = (*_BODY, *_TRUNK, *(f"{part}_{side}{out}" for part in SIDED for side in "lr" for out in ("", ".out")))
# yaw: whole body about z, left positive          trunk.lower, trunk.upper: lean, forward positive (absolute)
# trunk.side: bend of both parts to the left      trunk.side_upper: the upper part's extra bend
# neck: relative to the upper trunk
# thigh, shank, upper_arm, forearm: 0 = down, 90 = forward, 180 = up; .out: away from the body
# foot: toes up positive; foot.out: turn-out      shoulder: shrug upwards in degrees of the collar; shoulder.out unused

# What an angle moves, by its first word: the joints at the ends of that part of the body, without their side.
ENDS = {
    "shoulder": ("neck", "shoulder"), "upper_arm": ("shoulder", "elbow"), "forearm": ("elbow", "wrist"),
    "thigh": ("hip", "knee"), "shank": ("knee", "ankle"), "foot": ("ankle", "toe"), "neck": ("neck", "head"),
    "trunk": ("pelvis", "chest", "neck"), "pelvis": ("pelvis", "hip_l", "hip_r"), "yaw": ("pelvis", "chest", "neck"),
    "lift": ("pelvis", "hip_l", "hip_r"),
}  # fmt: skip
_CONCERNED = 0.7  # an angle is part of the fault, not of how the body makes up for it, from this share of the largest

_ANKLE = 0.08  # height of the ankle over the sole, metres
_FLESH: dict[str, float] = TABLES["flesh"]  # between a joint and the skin below it, metres


@dataclass(frozen=True)
class Anchor:
    """How the body rests. `pitch`: degrees about the left-right axis before contact (90: face down, -90: face up);
    `roll`: about the forward axis. The lowest of `low` touches `height`; with `other` a rotation levels both groups.
    """

    low: tuple[str, ...]
    other: tuple[str, ...] = ()
    pitch: float = 0.0
    roll: float = 0.0
    height: float = 0.0  # metres, of what `low` rests on
    seat: bool = False  # that thing is chosen to fit: `height` is for a shank of 0.426 m and grows with the subject's
    other_height: float = 0.0
    fixed: tuple[str, ...] = ()  # joints whose mean stays over the origin; default: low


def _anchor(entry: dict[str, Any]) -> Anchor:
    both = {joint: (f"{joint}_l", f"{joint}_r") for joint in (*_SIDE, "sole")}
    joints = {key: entry.get(key, ()) for key in ("low", "other", "fixed")}
    full = {key: tuple(name for joint in names for name in both.get(joint, (joint,))) for key, names in joints.items()}
    return Anchor(**entry | full)


ANCHORS = {name: _anchor(entry) for name, entry in TABLES["anchors"].items()}


def ease(keys: tuple[tuple[float, dict[str, float]], ...], base: dict[str, float], phase: Array) -> dict[str, Array]:
    """Cosine-eased keyframes: the excursion of every angle from `base` at each phase, degrees [T]."""
    times = np.array([at for at, _ in keys])
    moving = dict.fromkeys(angle for _, pose in keys for angle in pose)
    segment = np.clip(np.searchsorted(times, phase, side="right") - 1, 0, len(times) - 2)  # [T]
    part = (phase - times[segment]) / (times[segment + 1] - times[segment])
    blend = 0.5 - 0.5 * np.cos(np.pi * np.clip(part, 0, 1))
    excursion = {}
    for angle in moving:
        values = np.array([pose.get(angle, base.get(angle, 0.0)) for _, pose in keys]) - base.get(angle, 0.0)
        excursion[angle] = values[segment] * (1 - blend) + values[segment + 1] * blend
    return excursion


def angles(
    action: Action, phase: Array, faults: tuple[tuple[Fault, float, float], ...] = (), scale: float = 1.0
) -> dict[str, Array]:
    """Angles of one performance, degrees [T] each, at `phase` [T] in [0, 1] of the movement.

    `faults`: (fault, magnitude, onset): magnitude 1 is the fault as written, onset the phase at which it sets in.
    `scale`: factor on the excursion of `action.range_angles`: how far the movement goes.
    """
    excursion = ease(action.keys, action.base, phase)
    for angle in action.range_angles:
        if angle in excursion:
            excursion[angle] = excursion[angle] * scale
    total = np.zeros(len(phase))
    for values in excursion.values():  # a fixed order of additions, so that the sum is the same everywhere
        total = total + np.abs(values)
    held = total.max() <= 1e-6
    on = np.ones(len(phase)) if held else total / total.max()  # how far the movement is on, [T] in [0, 1]
    pose = {angle: np.full(len(phase), action.base.get(angle, 0.0)) for angle in ANGLES}
    offset = {angle: np.zeros(len(phase)) for angle in ANGLES}
    for fault, magnitude, onset in faults:
        begun = np.clip((phase - onset) / 0.08, 0, 1) * magnitude if onset > 0 else np.full(len(phase), magnitude)
        for angle, (operator, amount) in fault.change.items():
            if operator == "*":
                factor = np.maximum(1 + (amount - 1) * begun, 0)  # a severe fault stops a movement, never reverses it
                excursion[angle] = excursion.get(angle, np.zeros(len(phase))) * factor
            else:
                offset[angle] = offset[angle] + amount * begun * (on if operator == "+" else 1.0)
    for angle in ANGLES:
        pose[angle] = pose[angle] + excursion.get(angle, 0.0) + offset[angle]
    return pose


def concerned_joints(action: Action, fault: Fault) -> frozenset[str]:
    """Joints at the ends of the limbs that a fault concerns: those whose angles it changes most, compared in degrees.

    A fault without changes is one of range: then those of the angles that the action's range is about.
    """
    phase = np.linspace(0, 1, 21)
    right, wrong = angles(action, phase), angles(action, phase, ((fault, 1.0, 0.0),), 1.0 if fault.change else 0.5)
    change = {name: float(np.abs(wrong[name] - right[name]).max()) for name in ANGLES}
    found: set[str] = set()
    for name, amount in change.items():
        part, side = name.split(".")[0], ""
        if part.endswith(("_l", "_r")):
            part, side = part[:-2], part[-2:]
        if 0 < amount >= _CONCERNED * max(change.values()):
            found |= {end if end in JOINTS else end + side for end in ENDS[part]}
    return frozenset(found)


def joints(pose: dict[str, Array], subject: Subject, anchor: Anchor, arms: str = "world") -> Array:
    """Forward kinematics and contact: 35 angles [T] -> joints float64 [T, 20, 3], metres, x forward, y left, z up."""
    a = {name: np.deg2rad(values) for name, values in pose.items() if name != "lift"}
    zero, one = np.zeros_like(a["yaw"]), np.ones_like(a["yaw"])
    point: dict[str, Array] = {"pelvis": _stack(zero, zero, zero)}

    bend_low, bend_up = a["trunk.side"], a["trunk.side"] + a["trunk.side_upper"]
    low, up = _upward(a["trunk.lower"], bend_low), _upward(a["trunk.upper"], bend_up)
    point["chest"] = point["pelvis"] + subject.lower_trunk * low
    point["neck"] = point["chest"] + subject.upper_trunk * up
    neck = _upward(a["trunk.upper"] + a["neck"], bend_up + a["neck.side"])
    point["head"] = point["neck"] + (subject.neck + subject.head) * neck

    lean = a["trunk.upper"]  # across: to the left, square to the trunk before it twists
    across = _stack(-np.sin(lean) * np.sin(bend_up), np.cos(bend_up), -np.cos(lean) * np.sin(bend_up))
    along = cross(across, up)
    twist = a["trunk.twist"][:, None]
    left, front = np.cos(twist) * across - np.sin(twist) * along, np.cos(twist) * along + np.sin(twist) * across
    roll, turn = a["pelvis.roll"], a["pelvis.twist"]
    hip_left = _stack(-np.sin(turn) * np.cos(roll), np.cos(turn) * np.cos(roll), np.sin(roll))
    frames = {
        "trunk": (front, left, -up),
        "world": (_stack(one, zero, zero), _stack(zero, one, zero), _stack(zero, zero, -one)),
    }

    for side, sign in (("l", 1.0), ("r", -1.0)):
        shrug = a[f"shoulder_{side}"][:, None]
        collar = np.cos(shrug) * sign * left + np.sin(shrug) * up
        point[f"shoulder_{side}"] = point["neck"] - 0.05 * up + subject.shoulder_half_width * collar
        point[f"hip_{side}"] = point["pelvis"] + sign * subject.hip_half_width * hip_left
        for start, part, end, length, frame in (
            ("shoulder", "upper_arm", "elbow", subject.upper_arm, arms),
            ("elbow", "forearm", "wrist", subject.forearm, arms),
            ("wrist", "forearm", "hand", subject.hand, arms),
            ("hip", "thigh", "knee", subject.thigh, "world"),
            ("knee", "shank", "ankle", subject.shank, "world"),
        ):
            f, o = a[f"{part}_{side}"][:, None], a[f"{part}_{side}.out"][:, None]  # forward and out of straight down
            ahead, aside, down = frames[frame]
            way = np.sin(f) * np.cos(o) * ahead + sign * np.sin(o) * aside + np.cos(f) * np.cos(o) * down
            point[f"{end}_{side}"] = point[f"{start}_{side}"] + length * way
        pitch, out = a[f"foot_{side}"], a[f"foot_{side}.out"]  # a foot of 0 points straight ahead
        toe = _stack(np.cos(pitch) * np.cos(out), sign * np.cos(pitch) * np.sin(out), np.sin(pitch))
        down = _stack(np.sin(pitch) * np.cos(out), sign * np.sin(pitch) * np.sin(out), -np.cos(pitch))
        ankle = point[f"ankle_{side}"]
        point[f"toe_{side}"] = ankle + subject.foot * toe + (_ANKLE - 0.02) * down
        point[f"sole_{side}"] = ankle + _ANKLE * down

    names = [*JOINTS, "sole_l", "sole_r"]
    body = np.stack([point[name] for name in names], axis=1)  # [T, 22, 3]
    if anchor.seat:
        anchor = dataclasses.replace(anchor, height=anchor.height * subject.shank / 0.426)
    body = _rest(_turn(body, 0, 1, a["yaw"]), names, anchor)
    body[:, :, 2] += pose["lift"][:, None] / 100
    return np.round(body[:, : len(JOINTS)] * 2**20) / 2**20


def _rest(body: Array, names: list[str], anchor: Anchor) -> Array:
    """Pitch or roll the body, level its contacts, and set it down so that `anchor.fixed` stays over the origin."""
    axis = 1 if anchor.roll else 0  # of levelling: left-right for bodies that lie on their side

    def lowest(group: tuple[str, ...]) -> tuple[Array, Array]:
        index = [names.index(name) for name in group]
        flesh = np.array([0.0 if n.startswith("sole") else _FLESH.get(n.split("_")[0], 0.0) for n in group])
        heights = body[:, index, 2] - flesh  # [T, n]
        pick = heights.argmin(axis=1)
        return body[np.arange(len(body)), np.array(index)[pick], axis], heights.min(axis=1)

    body = _turn(body, 2, 0, np.full(len(body), np.deg2rad(anchor.pitch)))  # the head forward
    body = _turn(body, 1, 2, np.full(len(body), np.deg2rad(anchor.roll)))  # the head to the right
    if anchor.other:
        for _ in range(4):  # the lowest joint of a group can change as the body turns
            (x, z), (other_x, other_z) = lowest(anchor.low), lowest(anchor.other)
            rise = (z - anchor.height) - (other_z - anchor.other_height)
            distance = x - other_x
            tilt = np.arctan2(rise, np.abs(distance) + 1e-9) * np.where(distance >= 0, 1.0, -1.0)
            body = _turn(body, 2, axis, tilt)
    body[:, :, 2] -= (lowest(anchor.low)[1] - anchor.height)[:, None]
    fixed = [body[:, names.index(name), :2] for name in (anchor.fixed or anchor.low)]
    body[:, :, :2] -= mean(np.stack(fixed))[:, None]
    return body


def _turn(body: Array, i: int, j: int, angle: Array) -> Array:
    """Rotate [T, N, 3] from axis i to axis j by radians [T]."""
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    turned = body.copy()
    turned[..., i] = c * body[..., i] - s * body[..., j]
    turned[..., j] = c * body[..., j] + s * body[..., i]
    return turned


def _stack(x: Array, y: Array, z: Array) -> Array:
    return np.stack([x, y, z], axis=-1)


def _upward(lean: Array, bend: Array) -> Array:
    """A trunk segment's direction from lean (forward) and bend (to the left), radians [T] -> [T, 3]."""
    return _stack(np.sin(lean) * np.cos(bend), np.sin(bend), np.cos(lean) * np.cos(bend))


def sided(angles: dict[str, float]) -> dict[str, float]:
    """'thigh.out' -> 'thigh_l.out' and 'thigh_r.out'."""
    out: dict[str, float] = {}
    for name, value in angles.items():
        part, dot, rest = name.partition(".")
        out |= {f"{part}_{s}{dot}{rest}": value for s in "lr"} if part in SIDED else {name: value}
    return out
