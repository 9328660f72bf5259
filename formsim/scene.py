"""The room: wall, floor, what hangs on the wall, and the light, drawn once per clip behind the person."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from formsim.raycast import View
from formsim.shapes import Array, Color, hashed, unit
from formsim.tables import TABLES

FLOORS, WALLS = ("plain", "planks", "chevron", "tiles"), ("plain", "brick", "panels", "wainscot")
DECOR = ("picture", "window", "panel", "rack", "plant", "bars", "band")
COLORS: dict[str, list[Color]] = TABLES["colors"]


@dataclass(frozen=True)
class Scene:
    """Everything in a clip that is not the person or the equipment. Colours are RGB in 0..1, lengths metres."""

    wall: Color
    wall_second: Color
    wall_pattern: str  # one of WALLS
    floor: Color
    floor_second: Color
    floor_pattern: str  # one of FLOORS
    floor_scale: float  # width of a plank or tile
    floor_turn: tuple[float, float]  # direction of the planks, unit
    gap: float  # from the content to the wall
    decor: tuple[tuple[str, float, float, float, float, Color, Color], ...]  # kind, centre x and z, half sizes, colours
    light: tuple[float, float, float]  # towards the light: right, towards the camera, up
    sun: float
    ambient: float
    exposure: float
    noise: float  # amplitude of the sensor's grain in 8-bit steps
    seed: int

    @classmethod
    def sample(cls, rng: np.random.RandomState, clutter: float = 1.0) -> Scene:
        """Draw a room: colours, patterns, clutter, light and noise.

        `clutter` in [0, 1] is a knob of difficulty: the share of things on the wall that stay, and of the contrast of
        patterns and grain. The rest of the room is the same for every value.
        """

        def within(low: float, high: float) -> float:
            return round((low + (high - low) * rng.random_sample()) * 2**20) / 2**20

        def tint(name: str, spread: float) -> Color:
            r, g, b = COLORS[name][rng.randint(len(COLORS[name]))]
            r, g, b = (min(1.0, max(0.02, c + within(-spread, spread))) for c in (r, g, b))
            return r, g, b

        wall, floor = tint("wall", 0.06), tint("floor", 0.06)
        contrast, share = within(0.72, 0.92), within(0.55, 0.85)
        turn_x, turn_y = within(-1.0, 1.0), within(0.15, 1.0)
        size = math.sqrt(turn_x * turn_x + turn_y * turn_y)
        other_wall = rng.random_sample() < 0.4
        wall_second = tint("wall", 0.06) if other_wall else (wall[0] * share, wall[1] * share, wall[2] * share)
        decor = []
        for slot in range(rng.randint(1, 6)):
            kind = DECOR[rng.randint(len(DECOR))]
            x = within(-0.5, 0.5) + (-1.0, 1.0, -2.1, 2.1, 0.0)[slot]
            place = (x, within(1.2, 2.2), within(0.2, 0.55), within(0.2, 0.5))
            decor.append((kind, *place, tint("decor", 0.1), tint("decor", 0.1)))
        light = (within(-0.75, 0.75), within(0.1, 0.9), within(0.95, 1.5))
        wr, wg, wb = (w + clutter * (s - w) for w, s in zip(wall, wall_second, strict=True))
        contrast = 1.0 - clutter * (1.0 - contrast)
        return cls(
            wall=wall, wall_second=(wr, wg, wb), wall_pattern=WALLS[rng.randint(len(WALLS))],
            floor=floor, floor_second=(floor[0] * contrast, floor[1] * contrast, floor[2] * contrast),
            floor_pattern=FLOORS[rng.randint(len(FLOORS))], floor_scale=within(0.14, 0.4),
            floor_turn=(turn_x / size, turn_y / size), gap=within(0.5, 1.8),
            decor=tuple(decor[: round(clutter * len(decor))]), light=light,
            sun=within(0.65, 1.0), ambient=within(0.4, 0.6), exposure=within(0.7, 1.15),
            noise=(0.25 + 0.75 * clutter) * within(2.0, 8.0), seed=int(rng.randint(2**31 - 1)),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Background:
    """The empty room as the camera sees it, and its light."""

    image: Array  # float32 [3, H, W], linear light
    depth: Array  # float32 [H, W]
    point: tuple[Array, Array, Array]  # what each ray meets, in camera axes, float32 [H, W] each
    light: Array  # [3] towards the light, world, unit
    sun: float
    ambient: float
    shadow: float  # share of the light that a cast shadow takes away


def background(scene: Scene, forward: tuple[float, float], back: float, view: View) -> Background:
    """Draw wall and floor: `view` are the camera's rays, `forward` is its horizontal direction, world x and y, `back`
    how far the content reaches along that; the wall stands across it, `scene.gap` beyond.
    """
    x, y = view.across[None, :], view.along[:, None]
    rotation = view.rotation.astype(np.float32)
    position = [np.float32(p) for p in view.position]
    way = [rotation[0, i] * x + rotation[2, i] + rotation[1, i] * y for i in range(3)]  # world, [H, W]
    ahead = way[0] * np.float32(forward[0]) + way[1] * np.float32(forward[1])
    start = view.position[0] * forward[0] + view.position[1] * forward[1]
    wall_depth = np.float32(back + scene.gap - start) / ahead
    down = np.minimum(way[2], np.float32(-1e-6))
    floor_depth = -position[2] / down
    depth = np.minimum(wall_depth, floor_depth)
    px, py, pz = (p + depth * w for p, w in zip(position, way, strict=True))
    on_floor = floor_depth < wall_depth
    right = (-forward[1], forward[0])  # the wall's own left-right axis; mirror images do no harm
    across = px * np.float32(right[0]) + py * np.float32(right[1])
    wall, floor = _wall(scene, across, pz), _floor(scene, px, py)
    image = np.where(on_floor, floor, wall)
    sideways, towards = scene.light[0] * np.array([*right, 0.0]), scene.light[1] * np.array([*forward, 0.0])
    light = unit(sideways - towards + np.array([0.0, 0.0, scene.light[2]]))
    on_wall = max(-float(light[0] * forward[0] + light[1] * forward[1]), 0.0)
    floor_power = scene.ambient + scene.sun * float(light[2])
    wall_power = scene.ambient + 0.15 + scene.sun * (0.25 + 0.75 * on_wall)
    power = np.where(on_floor, np.float32(floor_power), np.float32(wall_power))
    distance = across * across + (depth - wall_depth) * (depth - wall_depth)
    fade = 1 - np.minimum(distance * np.float32(0.02), np.float32(0.3))
    near = np.minimum(np.where(on_floor, wall_depth - depth, pz) * np.float32(4), 1)  # the corner is dim
    image = image * (power * fade * (np.float32(0.82) + np.float32(0.18) * near))
    share = 0.9 * scene.sun * float(light[2]) / floor_power
    return Background(image, depth, (x * depth, y * depth, depth), light, scene.sun, scene.ambient, share)


def _squared(color: Color) -> Array:
    """Linear light of a display colour (gamma 2), float32 [3, 1, 1]."""
    value = np.array(color, np.float32)
    return (value * value)[:, None, None]


def _cells(value: Array, size: float) -> tuple[Array, Array]:
    """Number of the cell that holds each value, and the place in it in 0..1."""
    scaled = value / np.float32(size)
    cell = np.floor(scaled)
    return cell.astype(np.int32), scaled - cell


def _vary(*cells: Array) -> Array:
    """A number in -1..1 per cell, float32."""
    mixed = np.zeros((1, 1), np.uint32)
    for cell in cells:
        mixed = hashed(cell.astype(np.uint32) + mixed)
    return (mixed >> np.uint32(16)).astype(np.float32) / np.float32(32768) - 1


def _floor(scene: Scene, x: Array, y: Array) -> Array:
    """Linear colour of the floor [3, H, W]."""
    first, second = _squared(scene.floor), _squared(scene.floor_second)
    cx, cy = scene.floor_turn
    u, v = np.float32(cx) * x + np.float32(cy) * y, np.float32(cx) * y - np.float32(cy) * x
    scale = scene.floor_scale
    if scene.floor_pattern == "planks":
        row, at = _cells(u, 0.6 * scale)
        column, end = _cells(v + _vary(row) * np.float32(2.0), 6.0 * scale)
        shade = np.float32(0.5) + np.float32(0.5) * _vary(row, column)
        return np.where((at < 0.05) | (end < 0.006), second * np.float32(0.6), first * (1 - shade) + second * shade)
    if scene.floor_pattern == "chevron":
        column, at = _cells(u, 1.6 * scale)
        row, _ = _cells(v + np.abs(at - np.float32(0.5)) * np.float32(1.6 * scale), 0.5 * scale)
        return np.where((row & 1) == 0, first, second)
    if scene.floor_pattern == "tiles":
        row, at = _cells(u, 2.0 * scale)
        column, end = _cells(v, 2.0 * scale)
        shade = np.float32(0.25) + np.float32(0.25) * _vary(row, column)
        return np.where((at < 0.025) | (end < 0.025), second * np.float32(0.75), first * (1 - shade) + second * shade)
    row, _ = _cells(x, 0.02)
    column, _ = _cells(y, 0.02)
    return first * (1 + np.float32(0.06) * _vary(row, column))  # rubber granules


def _wall(scene: Scene, x: Array, z: Array) -> Array:
    """Linear colour of the wall [3, H, W]; x runs along it, z upwards."""
    first, second = _squared(scene.wall), _squared(scene.wall_second)
    image = np.broadcast_to(first, (3, *x.shape))
    if scene.wall_pattern == "brick":
        row, at = _cells(z, 0.09)
        column, end = _cells(x + np.float32(0.12) * (row & 1).astype(np.float32), 0.24)
        shade = np.float32(0.1) * _vary(row, column)
        image = np.where((at < 0.12) | (end < 0.05), first * np.float32(1.12), first * (np.float32(0.88) + shade))
    elif scene.wall_pattern == "panels":
        column, at = _cells(x + np.float32(0.3), 1.2)
        image = np.where(at < 0.02, first * np.float32(0.6), first * (1 + np.float32(0.05) * _vary(column)))
    elif scene.wall_pattern == "wainscot":
        image = np.where(z < 1.0, second, first)
        image = np.where((z > 0.98) & (z < 1.03), second * np.float32(0.6), image)
    for kind, centre, height, half_x, half_z, color, other in scene.decor:
        own_x, own_z = x - np.float32(centre), z - np.float32(height)
        image = _hang(image, kind, own_x, own_z, z, half_x, half_z, _squared(color), _squared(other))
    return np.where(z < 0.09, second * np.float32(0.5), image)  # skirting board


def _hang(
    image: Array, kind: str, x: Array, z: Array, ground: Array, half_x: float, half_z: float, color: Array, other: Array
) -> Array:
    """Paint one piece of clutter on the wall; x and z from its centre, `ground` from the floor."""
    ax, az = np.abs(x), np.abs(z)
    if kind == "picture":
        image = np.where((ax < half_x + 0.04) & (az < half_z + 0.04), np.float32(0.05), image)
        hill = z < np.float32(0.3) * x - np.float32(0.2 * half_z)
        return np.where((ax < half_x) & (az < half_z), np.where(hill, color, other), image)
    if kind == "window":
        image = np.where((ax < half_x + 0.07) & (az < half_z + 0.17), np.float32(0.75), image)
        sky = np.array([0.42, 0.62, 0.88], np.float32)[:, None, None] * (1 - np.float32(0.4) * z)
        glass = (ax < half_x) & (az < half_z + 0.1) & (ax > 0.02) & (np.abs(z - np.float32(0.15)) > 0.02)
        return np.where(glass, sky, image)
    if kind == "panel":  # a mirror or an acoustic panel
        sheen = 1 + np.float32(0.25) * np.minimum(np.maximum(x + z, -1), 1)
        return np.where((ax < half_x + 0.15) & (az < half_z + 0.2), color * sheen, image)
    if kind == "rack":  # dumbbells on shelves
        reach = half_x + 0.35
        shelf = (ground > 0.2) & (ground < 1.25)
        _, at = _cells(ground - np.float32(0.25), 0.32)
        image = np.where((ax < reach) & shelf & (at < 0.12), np.float32(0.06), image)
        _, ball = _cells(x, 0.21)
        dx, dz = (ball - np.float32(0.5)) * np.float32(0.21), (at - np.float32(0.36)) * np.float32(0.32)
        weights = (ax < reach - 0.04) & (ground > 0.28) & (ground < 1.2) & (dx * dx + dz * dz < 0.0056)
        image = np.where(weights, color * np.float32(0.4), image)
        return np.where((np.abs(ax - np.float32(reach)) < 0.03) & (ground < 1.32), np.float32(0.04), image)
    if kind == "plant":
        pot = (ax < 0.13 + 0.12 * ground) & (ground < 0.36)
        green = np.array([0.06, 0.22, 0.07], np.float32)[:, None, None]
        for k, (lean, tall) in enumerate(((-0.42, 0.8), (-0.2, 1.1), (0.02, 1.25), (0.24, 1.05), (0.45, 0.75))):
            share = np.minimum(np.maximum((ground - np.float32(0.3)) / np.float32(tall - 0.3), 0), 1)
            leaf = np.abs(x - np.float32(lean) * share * share) < np.float32(0.3) * share * (1 - share)
            image = np.where(leaf, green * np.float32(0.8 + 0.25 * (k % 3)), image)
        return np.where(pot, color, image)
    if kind == "bars":  # wall bars
        _, at = _cells(ground, 0.14)
        image = np.where((ax < 0.45) & (ground > 0.15) & (ground < 2.4) & (at < 0.28), other, image)
        return np.where((np.abs(ax - np.float32(0.45)) < 0.03) & (ground < 2.5), other * np.float32(0.6), image)
    return np.where(az < 0.3 * half_z, color, image)  # a painted band along the wall
