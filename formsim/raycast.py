"""Exact ray casting with a z-buffer, all frames of a clip at once: each solid meets the rays of its bounding rectangle.

Formulas for capped cones, cylinders and boxes: https://iquilezles.org/articles/intersectors.
"""

from dataclasses import dataclass

import numpy as np

from formsim.shapes import BALL, BOX, CONE, Array, Primitives, dot

Vector = tuple[Array, Array, Array]  # components that broadcast to [T, h, w]


@dataclass(frozen=True, eq=False)
class View:
    """Where rays start and go: a camera (all through one point) or the light (all parallel)."""

    rotation: Array  # [3, 3]
    position: Array  # [3]
    across: Array  # float32 [W], what a column means: x / z, or x for parallel rays
    along: Array  # float32 [H]
    parallel: bool


def turn(rotation: Array, points: Array) -> Vector:
    """Components of `points` [..., 3] along the rows of `rotation`, in a fixed order of additions."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    a, b, c = (row[0] * x + row[1] * y + row[2] * z for row in rotation)
    return a, b, c


def cast(prims: Primitives, view: View, limit: Array) -> tuple[Array, Array]:
    """Nearest solid along every ray, none beyond the depth `limit`, float32 [T, H, W].

    Returns depth float32 [T, H, W] along the view's z axis, and the solid's number int16 [T, H, W], -1 for none.
    """
    depth = np.array(limit, order="C")
    frames, height, width = depth.shape
    index = np.full(depth.shape, -1, np.int16)
    flat_depth, flat_index = depth.reshape(-1), index.reshape(-1)
    x0, y0, columns, rows = _rectangles(prims, view)
    start, end, warp = in_view(prims, view)
    offset = (np.arange(frames, dtype=np.int64) * (height * width))[:, None, None]
    for n in np.flatnonzero((columns > 0) & (rows > 0)).tolist():
        x = x0[:, n, None, None] + np.arange(columns[n])  # [T, 1, w]
        y = y0[:, n, None, None] + np.arange(rows[n])[:, None]  # [T, h, 1]
        with np.errstate(invalid="ignore", divide="ignore"):  # a ray that misses gives the root of a negative number
            t = _hit(prims, n, view, view.across[x], view.along[y], start[:, n], end[:, n], warp[:, n])
        place = (offset + y * width) + x
        nearer = np.flatnonzero(t < flat_depth[place])  # NaN, a miss, is never nearer
        place = place.reshape(-1)[nearer]
        flat_depth[place] = np.broadcast_to(t, (frames, rows[n], columns[n])).reshape(-1)[nearer]
        flat_index[place] = n
    return depth, index


def _hit(prims: Primitives, n: int, view: View, x: Array, y: Array, start: Array, end: Array, warp: Array) -> Array:
    """Depth at which rays through x [T, 1, w], y [T, h, 1] first meet solid n, [T, h, w]; NaN where they miss it."""
    zero, one = np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32)
    origin, way = ((x, y, zero), (zero, zero, one)) if view.parallel else ((zero, zero, zero), (x, y, one))
    if prims.warped[n]:
        origin, way = _warp(warp, origin), _warp(warp, way)
    a, b = ([p[:, i, None, None] for i in range(3)] for p in (start, end))
    ra, rb = (float(r) for r in prims.radii[n])
    relative = (origin[0] - a[0], origin[1] - a[1], origin[2] - a[2])
    if prims.kind[n] == BOX:
        return _hit_box(relative, way)
    if prims.kind[n] == BALL:
        return _hit_ball(relative, way, ra)
    axis = (b[0] - a[0], b[1] - a[1], b[2] - a[2])
    return _hit_cone(relative, way, axis, ra, rb) if prims.kind[n] == CONE else _hit_disc(relative, way, axis, ra)


def in_view(prims: Primitives, view: View) -> tuple[Array, Array, Array]:
    """Ends of the solids in (warped) view axes float32 [T, N, 3], and the warp from view axes float32 [T, N, 3, 3]."""
    turned = np.where(prims.warped[:, None, None], np.stack(turn(view.rotation, prims.warp), axis=-1), np.eye(3))
    ends = []
    for points in (prims.start, prims.end):
        local = np.stack(turn(view.rotation, points - view.position), axis=-1)
        ends.append(dot(turned, local[:, :, None]).astype(np.float32))
    return ends[0], ends[1], turned.astype(np.float32)


def _rectangles(prims: Primitives, view: View) -> tuple[Array, Array, Array, Array]:
    """Left and top pixel of every solid in every frame [T, N], and columns and rows that hold it in any frame [N]."""
    x, y, z = turn(view.rotation, prims.corners - view.position)  # [T, N, 8]
    bound = prims.bound[:, None]
    result = []
    for value, ticks in ((x, view.across), (y, view.along)):
        low, high = value - bound, value + bound
        if not view.parallel:
            near, far = np.maximum(z - bound, 0.05), np.maximum(z + bound, 0.05)
            low, high = np.minimum(low / near, low / far), np.maximum(high / near, high / far)
        step = float(ticks[1]) - float(ticks[0])
        first = np.floor((low.min(axis=2) - float(ticks[0])) / step).astype(np.int64)
        last = np.ceil((high.max(axis=2) - float(ticks[0])) / step).astype(np.int64)
        first, last = np.clip(first, 0, len(ticks)), np.clip(last + 1, 0, len(ticks))
        count = np.maximum(last - first, 0).max(axis=0)
        result.append((np.minimum(first, len(ticks) - count), count))
    return result[0][0], result[1][0], result[0][1], result[1][1]


def _warp(warp: Array, v: Vector) -> Vector:
    """Directions or points `v` through the maps `warp` [T, 3, 3]."""
    a, b, c = (r[0] * v[0] + r[2] * v[2] + r[1] * v[1] for r in warp.transpose(1, 2, 0)[..., None, None])
    return a, b, c


def _dot(a: Vector, b: Vector) -> Array:
    return a[0] * b[0] + a[2] * b[2] + a[1] * b[1]  # columns and constants first: the cheap broadcasts


def _hit_ball(o: Vector, d: Vector, r: float) -> Array:
    """Parameter of the first point of rays o + t d on a sphere round the origin; NaN where they miss."""
    square, along = _dot(d, d), _dot(o, d)
    return (-along - np.sqrt(along * along - square * (_dot(o, o) - r * r))) / square


def _hit_cone(o: Vector, d: Vector, axis: Vector, ra: float, rb: float) -> Array:
    """The same for the hull of a sphere `ra` round the origin and a sphere `rb` round `axis`."""
    rr = ra - rb
    dd, m0, m1, m2, m3, m5 = _dot(d, d), _dot(axis, axis), _dot(axis, o), _dot(axis, d), _dot(o, d), _dot(o, o)
    d2, lean = m0 - rr * rr, m1 - rr * ra
    k2 = d2 * dd - m2 * m2
    k1 = d2 * m3 - lean * m2
    k0 = d2 * m5 - m1 * (m1 - 2 * rr * ra) - m0 * (ra * ra)
    t = (-k1 - np.sqrt(k1 * k1 - k0 * k2)) / k2
    at = lean + t * m2
    end_a = (-m3 - np.sqrt(m3 * m3 - dd * (m5 - ra * ra))) / dd
    m6 = m3 - m2
    end_b = (-m6 - np.sqrt(m6 * m6 - dd * (m5 - 2 * m1 + m0 - rb * rb))) / dd
    return np.where((at > 0) & (at < d2), t, np.fmin(end_a, end_b))


def _hit_disc(o: Vector, d: Vector, axis: Vector, r: float) -> Array:
    """The same for a cylinder from the origin to `axis`."""
    dd, m0, m1, m2, m3, m5 = _dot(d, d), _dot(axis, axis), _dot(axis, o), _dot(axis, d), _dot(o, d), _dot(o, o)
    k2, k1, k0 = m0 * dd - m2 * m2, m0 * m3 - m1 * m2, m0 * (m5 - r * r) - m1 * m1
    root = np.sqrt(k1 * k1 - k0 * k2)
    first, second = -m1 / m2, (m0 - m1) / m2
    enter = np.maximum((-k1 - root) / k2, np.minimum(first, second))
    leave = np.minimum((root - k1) / k2, np.maximum(first, second))
    return np.where(enter < leave, enter, np.float32(np.nan))


def _hit_box(o: Vector, d: Vector) -> Array:
    """The same for the cube of half-side 1 round the origin."""
    enter, leave = np.full((1, 1, 1), -np.inf, np.float32), np.full((1, 1, 1), np.inf, np.float32)
    for p, v in zip(o, d, strict=True):
        first, second = (-1 - p) / v, (1 - p) / v
        enter, leave = np.maximum(enter, np.minimum(first, second)), np.minimum(leave, np.maximum(first, second))
    return np.where(enter < leave, enter, np.float32(np.nan))
