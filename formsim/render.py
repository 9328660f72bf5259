"""Frames from solids by exact ray casting (`raycast.cast`), in NumPy alone; only what wins a pixel is shaded.

The same routine, looking along the light, gives the shadow map. Pixels are the same bytes on every machine: the camera
is rounded to 2**-20, and after it come only + - * / sqrt, comparisons and an integer hash, element by element (no BLAS,
no libm, no reductions of floats other than minimum and maximum).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from formsim.raycast import Vector, View, cast, in_view, turn
from formsim.scene import Background, Scene, background
from formsim.shapes import BOX, DISC, Array, Primitives, cross, dot, hashed, unit

VIEWS = ("front", "side", "back")
SUPERSAMPLING = 2  # rays per pixel and axis

_BIAS = 0.015  # metres a point must lie behind the shadow map's surface to be in its shade


def _grid(value: Array | float) -> Array:
    """Round to a multiple of 2**-20, exact in float64: hides the last bits in which libms differ."""
    return np.round(np.asarray(value, float) * 2**20) / 2**20


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera that stands still for a clip.

    A world point p is at `rotation` (p - position) in camera axes (x right, y down, z into the picture), and in the
    frame at centre + focal * (x, y) / z, in units of the frame's side with (0, 0) in the upper left corner.
    """

    rotation: Array  # [3, 3] world -> camera axes, multiples of 2**-20
    position: Array  # [3] metres
    focal: float
    centre: tuple[float, float]
    forward: tuple[float, float]  # horizontal direction of the view without jitter, world x and y
    back: float  # how far the content reaches along `forward`, metres: walls stand beyond

    @classmethod
    def sample(cls, view: str, joints_extent: Array, rng: np.random.RandomState) -> Camera:
        """A camera for `view` (front, side, back) that frames the whole clip; ValueError for any other.

        `joints_extent`: points to keep in the frame, [..., 3] metres: `Primitives.points()`. Bare joints would cut off
        flesh and equipment.
        """
        if view not in VIEWS:
            raise ValueError(f"unknown view {view!r}; known: {', '.join(VIEWS)}")
        draw = rng.random_sample(7)
        heading = {"front": 0.0, "back": 180.0, "side": 90.0 if draw[0] < 0.5 else -90.0}[view]
        azimuth, elevation = math.radians(heading + 24.0 * (draw[1] - 0.5)), math.radians(-2.0 + 17.0 * draw[2])
        ca, sa, ce, se = (float(_grid(f(a))) for a in (azimuth, elevation) for f in (math.cos, math.sin))
        rotation = _grid(np.array([[-sa, ca, 0.0], [ca * se, sa * se, -ce], [-ca * ce, -sa * ce, -se]]))
        forward = {0.0: (-1.0, 0.0), 180.0: (1.0, 0.0), 90.0: (0.0, -1.0), -90.0: (0.0, 1.0)}[heading]

        points = np.asarray(joints_extent, float).reshape(-1, 3)
        low, high = points.min(axis=0), points.max(axis=0)
        target = 0.5 * (low + high)
        x, y, z = turn(rotation, points - target)
        reach = float(_grid(0.22 + 0.14 * draw[3]))  # tangent of half the field of view
        distance = float(np.max(np.maximum(np.abs(x), np.abs(y)) / reach - z))
        distance = max(distance, float(1.8 - z.min()))  # nearer, perspective would swell what points at the camera
        position = target - rotation[2] * distance
        position = _grid(np.array([position[0], position[1], max(position[2], 0.3)]))

        x, y, z = turn(rotation, points - position)
        px, py = x / z, y / z
        left, right, top, bottom = px.min(), px.max(), py.min(), py.max()
        fill = 0.78 + 0.14 * draw[4]
        focal = float(_grid(fill / max(right - left, bottom - top)))
        slack = 0.5 * (1.0 - fill) - 0.02
        shift = [2.0 * slack * (d - 0.5) for d in draw[5:7]]
        middles = (0.5 * (left + right), 0.5 * (top + bottom))
        across, down = (float(_grid(0.5 + s - focal * m)) for s, m in zip(shift, middles, strict=True))
        back = float(_grid((points[:, 0] * forward[0] + points[:, 1] * forward[1]).max()))
        return cls(rotation, position, focal, (across, down), forward, back)

    def rays(self, side: int) -> View:
        """Rays through the centres of side x side cells of the frame."""
        ticks = (np.arange(side) + 0.5) / side
        across, along = ((ticks - c) / self.focal for c in self.centre)
        return View(self.rotation, self.position, across.astype(np.float32), along.astype(np.float32), False)


def render(prims: Primitives, scene: Scene, camera: Camera, size: int) -> Array:
    """Draw a clip: uint8 [T, size, size, 3] RGB."""
    fine = size * SUPERSAMPLING
    view = camera.rays(fine)
    room = background(scene, camera.forward, camera.back, view)
    frames = prims.start.shape[0]
    depth, index = cast(prims, view, np.broadcast_to(room.depth, (frames, fine, fine)))
    side = fine * 3 // 4
    light = _light_view(prims, room.light, side)
    shade, _ = cast(prims, light, np.full((frames, side, side), np.inf, np.float32))
    image = np.repeat(room.image[:, None], frames, axis=1)  # [3, T, H, W]
    _cast_shadow(image, room, camera, light, shade)
    hit = np.flatnonzero(index >= 0)
    colors = _shade(prims, view, room, light, shade, hit, depth.reshape(-1)[hit], index.reshape(-1)[hit])
    for plane, color in zip(image, colors, strict=True):
        plane.reshape(-1)[hit] = color
    return _develop(image, scene)


def _light_view(prims: Primitives, light: Array, side: int) -> View:
    """Parallel rays along the light that hold every solid of the clip, `side` texels a side."""
    right = unit(np.array([light[1], -light[0], 0.0]))
    rotation = np.stack([right, cross(light, right), -light])
    centre = 0.5 * (prims.corners.min(axis=(0, 1, 2)) + prims.corners.max(axis=(0, 1, 2)))
    x, y, _ = turn(rotation, prims.corners - centre)
    bound = prims.bound[:, None]
    ticks = []
    for value in (x, y):
        low, high = (value - bound).min() - 0.05, (value + bound).max() + 0.05
        ticks.append((low + (high - low) * (np.arange(side) + 0.5) / side).astype(np.float32))
    return View(rotation, centre + 5.0 * light, ticks[0], ticks[1], True)


def _dot(a: Any, b: Any) -> Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _texel(light: View, point: Vector, rotation: Array, position: Array) -> tuple[Array, Array, Array]:
    """Column, row (fractional) and depth in the light's view of points given in axes `rotation` round `position`."""
    start = turn(light.rotation, position - light.position)
    axes = [turn(rotation, row) for row in light.rotation]  # the light's axes in those of the points
    x, y, z = (
        np.float32(s) + np.float32(a[0]) * point[0] + np.float32(a[1]) * point[1] + np.float32(a[2]) * point[2]
        for s, a in zip(start, axes, strict=True)
    )
    step_x, step_y = light.across[1] - light.across[0], light.along[1] - light.along[0]
    return (x - light.across[0]) / step_x, (y - light.along[0]) / step_y, z


def _cast_shadow(image: Array, room: Background, camera: Camera, light: View, shade: Array) -> None:
    """Darken the background [3, T, H, W] where a solid stands between it and the light."""
    rows, columns = shade.shape[1:]
    cover = np.isfinite(shade).astype(np.float32)
    for _ in range(2):  # along the rows, then along the columns
        for _ in range(2):  # a soft edge: two passes of a three-tap box
            padded = np.pad(cover, ((0, 0), (1, 1), (0, 0)))
            cover = (padded[:, 2:] + padded[:, :-2] + cover) / np.float32(3)
        cover = cover.swapaxes(1, 2)
    x, y, _ = _texel(light, room.point, camera.rotation, camera.position)
    inside = np.flatnonzero((x > 0) & (y > 0) & (x < columns - 1) & (y < rows - 1))
    x, y = x.reshape(-1)[inside], y.reshape(-1)[inside]
    left, top = x.astype(np.int32), y.astype(np.int32)
    fx, fy = x - left, y - top
    place = top.astype(np.int64) * columns + left
    for t in range(len(cover)):
        flat = cover[t].reshape(-1)
        upper = flat[place] * (1 - fx) + flat[place + 1] * fx
        lower = flat[place + columns] * (1 - fx) + flat[place + columns + 1] * fx
        lit = 1 - room.shadow * (upper * (1 - fy) + lower * fy)
        for plane in image[:, t].reshape(3, -1):
            plane[inside] *= lit


def _normals(prims: Primitives, view: View, frame: Array, number: Array, point: Vector) -> Vector:
    """Unit normals in view axes at `point` on solid `number` in `frame`, three float32 [P]."""
    start, end, warp = in_view(prims, view)
    count = len(prims.kind)
    axis = end - start
    ra, rb = prims.radii[:, 0].astype(np.float32), prims.radii[:, 1].astype(np.float32)
    slope, size = ra - rb, dot(axis, axis)
    hull = np.where(prims.kind == DISC, size, size - slope * slope)
    table = np.concatenate([start, axis, warp.reshape(*warp.shape[:2], 9)], axis=2)  # [T, N, 15]
    extra = np.stack([np.broadcast_to(slope * ra, hull.shape), np.maximum(hull, np.float32(1e-9))], axis=2)
    table = np.concatenate([table, extra], axis=2).reshape(-1, 17).T.copy()
    column = table[:, frame * count + number]  # [17, P]
    local = [_dot(column[6 + 3 * i : 9 + 3 * i], point) - column[i] for i in range(3)]
    along = (_dot(column[3:6], local) - column[15]) / column[16]
    rolled = np.minimum(np.maximum(along, 0), 1)
    normal = [p - rolled * a for p, a in zip(local, column[3:6], strict=True)]
    some = np.flatnonzero(prims.kind[number] == DISC)
    at = along[some]
    flat = (at < 0.01) | (at > 0.99)  # where the point lies on an end
    for i in range(3):
        normal[i][some] = np.where(flat, column[3 + i][some] * np.where(at > 0.5, 1, -1), normal[i][some])
    some = np.flatnonzero(prims.kind[number] == BOX)
    p = [q[some] for q in local]
    away = [np.abs(q) for q in p]
    first = (away[0] >= away[1]) & (away[0] >= away[2])
    second = ~first & (away[1] >= away[2])
    for i, face in enumerate((first, second, ~first & ~second)):
        normal[i][some] = np.where(face, np.where(p[i] > 0, 1, -1), 0)
    out = [_dot(column[6 + i : 15 : 3], normal) for i in range(3)]
    scale = 1 / np.sqrt(np.maximum(_dot(out, out), np.float32(1e-20)))
    return out[0] * scale, out[1] * scale, out[2] * scale


def _shade(
    prims: Primitives, view: View, room: Background, light: View, shade: Array, hit: Array, z: Array, number: Array
) -> Array:
    """Linear colour [3, P] of the pixels `hit`: hemisphere ambient, Lambert under the shadow map, rim and gloss."""
    height, width = len(view.along), len(view.across)
    frame, pixel = hit // (height * width), hit % (height * width)
    point = (view.across[pixel % width] * z, view.along[pixel // width] * z, z)
    normal = _normals(prims, view, frame, number, point)
    sun = [np.float32(v) for v in turn(view.rotation, room.light)]
    up = [np.float32(v) for v in view.rotation[:, 2]]
    lifted = tuple(p + np.float32(_BIAS) * n for p, n in zip(point, normal, strict=True))  # off its own surface
    x, y, depth = _texel(light, lifted, view.rotation, view.position)
    rows, columns = shade.shape[1:]
    lit = np.zeros_like(z)
    for dx, dy in ((-0.1, 0.4), (0.4, 1.1), (1.1, 0.6), (0.6, -0.1)):  # four taps soften the edge
        column = np.clip((x + np.float32(dx)).astype(np.int32), 0, columns - 1)
        row = np.clip((y + np.float32(dy)).astype(np.int32), 0, rows - 1)
        lit += shade.reshape(-1)[(frame * rows + row) * columns + column] > depth - np.float32(_BIAS)
    direct = np.maximum(_dot(normal, sun), 0) * lit * np.float32(0.25)
    ambient = np.float32(0.7) + np.float32(0.3) * _dot(normal, up)
    edge = 1 + normal[2]
    edge = edge * edge * edge
    half = np.array(sun) - np.array((0.0, 0.0, 1.0), np.float32)
    half = half / np.sqrt(dot(half, half))
    shine = np.maximum(_dot(normal, half), 0)
    for _ in range(4):
        shine = shine * shine
    shine = shine * prims.gloss.astype(np.float32)[number] * lit * np.float32(0.25)
    power = room.ambient * ambient + room.sun * direct + np.float32(0.12) * edge
    return power * _albedo(prims, view, frame, number, point) + np.float32(0.5) * shine


def _albedo(prims: Primitives, view: View, frame: Array, number: Array, point: Vector) -> Array:
    """Linear colour of the inputs [3, P]: the solid's own, or its paint."""
    axis = np.stack(turn(view.rotation, prims.paint_axis[..., :3]), axis=-1)
    offset = prims.paint_axis[..., 3] + dot(prims.paint_axis[..., :3], view.position)
    table = np.concatenate([axis, offset[..., None]], axis=2).astype(np.float32).reshape(-1, 4).T.copy()
    column = table[:, frame * len(prims.kind) + number]
    along = _dot(column, point) + column[3]
    width, period = prims.paint_width.astype(np.float32).T
    period = period[number]
    painted = (along > 0) & (along - period * np.floor(along / period) < width[number])
    both = np.stack([prims.color, prims.paint_color]).astype(np.float32)  # [2, N, 3]
    both = (both * both).transpose(2, 0, 1).reshape(3, -1).copy()
    return both[:, painted * len(prims.kind) + number]


def _develop(image: Array, scene: Scene) -> Array:
    """Average the rays of every pixel, expose, add sensor noise: linear [3, T, H, W] -> uint8 [T, H / 2, W / 2, 3]."""
    image = (image[:, :, 0::2, 0::2] + image[:, :, 0::2, 1::2]) + (image[:, :, 1::2, 0::2] + image[:, :, 1::2, 1::2])
    image = np.sqrt(image * np.float32(0.25 * scene.exposure))
    frames, side = image.shape[1], image.shape[2]
    noise = hashed(np.arange(frames * side * side, dtype=np.uint32) + np.uint32(scene.seed)).reshape(frames, side, side)
    out = np.empty((frames, side, side, 3), np.uint8)
    for c in range(3):  # twelve bits of grain all channels share, six of each channel's own
        grain = (noise >> np.uint32(20)).astype(np.float32) / np.float32(4096)
        own = ((noise >> np.uint32(6 * c)) & np.uint32(63)).astype(np.float32) / np.float32(64)
        value = image[c] * np.float32(255) + (grain + own - np.float32(1)) * np.float32(scene.noise)
        out[..., c] = np.minimum(np.maximum(value + np.float32(0.5), 0), 255).astype(np.uint8)
    return out
