"""Solids in world space: the vocabulary between a moving skeleton and the renderer.

Only + - * / sqrt and comparisons, element by element, so that a clip has the same bytes on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
Color = tuple[float, float, float]
Pair = tuple[Array, Array]  # left and right

CONE, BALL, DISC, BOX = 0, 1, 2, 3  # hull of two spheres; sphere; cylinder with flat ends; oriented box

_CORNERS = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])  # [8, 3]


def dot(a: Array, b: Array) -> Array:
    """Inner product over the last axis, summed in a fixed order: [..., 3], [..., 3] -> [...]."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def cross(a: Array, b: Array) -> Array:
    """Vector product over the last axis."""
    a0, a1, a2, b0, b1, b2 = a[..., 0], a[..., 1], a[..., 2], b[..., 0], b[..., 1], b[..., 2]
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=-1)


def length(a: Array) -> Array:
    """Euclidean length over the last axis."""
    return np.sqrt(dot(a, a))


def unit(a: Array, fallback: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> Array:
    """`a` at length 1; `fallback` where `a` is nearly nothing."""
    size = length(a)[..., None]
    return np.where(size > 1e-6, a / np.maximum(size, 1e-6), np.array(fallback))


def square_to(a: Array, axis: Array, fallback: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> Array:
    """The part of `a` square to the unit vector `axis`, at length 1."""
    return unit(a - dot(a, axis)[..., None] * axis, fallback)


def mean(points: Array) -> Array:
    """Mean over the frames, added one by one: [T, ...] -> [...]."""
    total = points[0]
    for point in points[1:]:
        total = total + point
    return total / len(points)


def hashed(value: Array) -> Array:
    """A well-mixed 32-bit hash (Wellons' lowbias32) of uint32 values."""
    value = (value ^ (value >> np.uint32(16))) * np.uint32(0x7FEB352D)
    value = (value ^ (value >> np.uint32(15))) * np.uint32(0x846CA68B)
    return value ^ (value >> np.uint32(16))


@dataclass(frozen=True)
class Paint:
    """A second colour where the distance `s` from `origin` along `axis` has 0 < s and s mod period < width (metres)."""

    color: Color
    origin: Array  # [T, 3]
    axis: Array  # [T, 3], unit
    width: float = 1e3
    period: float = 1e6


@dataclass(frozen=True)
class Primitives:
    """N solids over T frames, all positions in world metres.

    A cone may be warped: `warp` maps world directions into a space where its ends are spheres of `radii`, which makes
    ellipsoids and flattened limbs. A box is the cube of half-side 1 around `start` in its warped space.
    """

    kind: Array  # int [N]
    start: Array  # [T, N, 3]
    end: Array  # [T, N, 3]
    radii: Array  # [N, 2], in warped space
    bound: Array  # [N], radius of spheres around the two ends (the eight corners of a box: 0) that hold the solid
    warped: Array  # bool [N]
    warp: Array  # [T, N, 3, 3]
    color: Array  # [N, 3]
    paint_color: Array  # [N, 3]
    paint_axis: Array  # [T, N, 4]: s = axis . x + offset
    paint_width: Array  # [N, 2]: width, period
    gloss: Array  # [N]
    corners: Array  # [T, N, 8, 3]: of a box; both ends four times over for the others

    def points(self) -> Array:
        """Points whose convex hull holds every solid in every frame, [M, 3]: what a camera has to frame."""
        low, high = self.corners - self.bound[:, None, None], self.corners + self.bound[:, None, None]
        low, high = low.min(axis=2).reshape(-1, 3), high.max(axis=2).reshape(-1, 3)
        return np.concatenate([np.where(corner < 0, low, high) for corner in _CORNERS])


@dataclass(frozen=True)
class Pose:
    """Named joints of a clip, [T, 3] each; pairs are (left, right). Axes are unit vectors."""

    pelvis: Array
    chest: Array
    neck: Array
    head: Array
    shoulder: Pair
    elbow: Pair
    wrist: Pair
    hand: Pair
    hip: Pair
    knee: Pair
    ankle: Pair
    toe: Pair
    spine: Array  # pelvis to chest
    back: Array  # chest to neck
    left_low: Array  # of the pelvis
    left: Array  # of the shoulders
    front_low: Array
    front: Array
    joints: Array  # [T, 20, 3]

    @classmethod
    def from_joints(cls, joints: Array) -> Pose:
        """Name the joints, [T, 20, 3]: pelvis, chest, neck, head, then eight of the left side, eight of the right."""
        pelvis, chest, neck, head = (joints[:, i] for i in range(4))
        shoulder, elbow, wrist, hand, hip, knee, ankle, toe = ((joints[:, i], joints[:, i + 8]) for i in range(4, 12))
        spine, back = unit(chest - pelvis, (0.0, 0.0, 1.0)), unit(neck - chest, (0.0, 0.0, 1.0))
        left_low = square_to(hip[0] - hip[1], spine, (0.0, 1.0, 0.0))
        left = square_to(shoulder[0] - shoulder[1], back, (0.0, 1.0, 0.0))
        return cls(
            pelvis, chest, neck, head, shoulder, elbow, wrist, hand, hip, knee, ankle, toe,
            spine, back, left_low, left, cross(left_low, spine), cross(left, back), joints,
        )  # fmt: skip

    def grip(self, side: int) -> Array:
        """Where the fist closes, [T, 3]."""
        return self.wrist[side] + 0.6 * (self.hand[side] - self.wrist[side])

    def foot(self, side: int) -> tuple[Array, Array]:
        """Directions along the sole to the toes and down through it; the toe joint lies 6 cm below the ankle."""
        way, shank = self.toe[side] - self.ankle[side], self.ankle[side] - self.knee[side]
        reach = length(way)[:, None]
        along = unit(way)
        down = square_to(shank, along, (0.0, 0.0, -1.0))
        drop = np.minimum(0.06 / np.maximum(reach, 0.06), 0.9)
        run = np.sqrt(1.0 - drop * drop)
        return run * along - drop * down, drop * along + run * down


Squash = tuple[tuple[Array, float], ...]  # (unit axis, factor): the solid is stretched by factor along axis


class Builder:
    """Collects solids one by one over `frames` frames; points may be [3] (fixed) or [T, 3].

    `accent` is the colour of equipment that comes in any colour.
    """

    def __init__(self, frames: int, accent: Color = (0.5, 0.5, 0.5)):
        self.frames, self.accent = frames, accent
        self.rows: list[tuple] = []

    def _spread(self, value: Array) -> Array:
        return np.broadcast_to(np.asarray(value, float), (self.frames, *np.shape(value)[-1:]))

    def cone(
        self, start: Array, end: Array, r0: float, r1: float, color: Color, squash: Squash = (), **look: Any
    ) -> None:
        """The hull of two spheres. `look`: `paint` and `gloss`."""
        start, end = self._spread(start), self._spread(end)
        way = end - start
        size, gap = length(way)[:, None], 1.02 * abs(r0 - r1) + 1e-3
        end = np.where(size > gap, end, start + unit(way) * gap)  # one sphere inside the other would have no hull
        self._add(CONE, start, end, (r0, r1), color, squash, **look)

    def ball(self, centre: Array, radius: float, color: Color, squash: Squash = (), **look: Any) -> None:
        """A sphere, or with `squash` an ellipsoid."""
        centre = self._spread(centre)
        self._add(BALL, centre, centre, (radius, radius), color, squash, **look)

    def disc(self, start: Array, end: Array, radius: float, color: Color, **look: Any) -> None:
        """A cylinder with flat ends."""
        self._add(DISC, self._spread(start), self._spread(end), (radius, radius), color, **look)

    def box(self, centre: Array, axes: Array, half: tuple[float, float, float], color: Color, **look: Any) -> None:
        """An oriented box: rows of `axes` [3, 3] or [T, 3, 3] are its unit axes, `half` its half sides in metres."""
        centre, size = self._spread(centre), np.array(half)
        axes = np.broadcast_to(np.asarray(axes, float), (self.frames, 3, 3))
        edges = axes * size[:, None]  # [T, 3, 3]
        corners = [centre + c[0] * edges[:, 0] + c[1] * edges[:, 1] + c[2] * edges[:, 2] for c in _CORNERS]
        self._add(BOX, centre, centre, (1.0, 1.0), color, box=(axes / size[:, None], corners), **look)

    def _add(
        self, kind: int, start: Array, end: Array, radii: tuple[float, float], color: Color, squash: Squash = (),
        paint: Paint | None = None, gloss: float = 0.0, box: tuple[Array, list[Array]] | None = None,
    ) -> None:  # fmt: skip
        """Add a row in the order of the fields of `Primitives`; `box` is the warp and the corners of a box."""
        warp, corners = np.broadcast_to(np.eye(3), (self.frames, 3, 3)), [start, end] * 4
        bound = max([1.0, *(factor for _, factor in squash)]) * max(radii)
        for axis, factor in squash:  # undo stretches along axes that are square to each other
            axis = self._spread(axis)
            warp = warp + (1.0 / factor - 1.0) * axis[:, :, None] * axis[:, None, :]
        if box is not None:
            (warp, corners), bound = box, 0.0
        axis = np.zeros((self.frames, 4))
        if paint is not None:
            way = self._spread(paint.axis)
            axis = np.concatenate([way, -dot(way, self._spread(paint.origin))[:, None]], axis=1)
        second = (color, (0.0, 1.0)) if paint is None else (paint.color, (paint.width, paint.period))
        warped, both = bool(squash) or box is not None, np.stack(corners, axis=1)
        self.rows.append((kind, start, end, radii, bound, warped, warp, color, second[0], axis, second[1], gloss, both))

    def build(self) -> Primitives:
        """All solids as arrays, in the order in which they were added."""
        columns = zip(*self.rows, strict=True)
        by_frame = (1, 2, 6, 9, 12)
        return Primitives(*(np.stack(column, axis=1 if i in by_frame else 0) for i, column in enumerate(columns)))
