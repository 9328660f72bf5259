"""What is held, sat on or hung from, placed by the joints of the clip alone."""

from collections.abc import Callable

import numpy as np

from formsim.shapes import Array, Builder, Color, Paint, Pose, cross, dot, length, mean, square_to, unit

STEEL: Color = (0.72, 0.73, 0.76)
IRON: Color = (0.13, 0.13, 0.15)
RUBBER: Color = (0.16, 0.16, 0.18)
FRAME: Color = (0.28, 0.30, 0.34)
PAD: Color = (0.46, 0.10, 0.12)
WOOD: Color = (0.66, 0.47, 0.28)
DOWN = np.array([0.0, 0.0, -1.0])
UP = np.array([0.0, 0.0, 1.0])
_ASIDE = 0.62  # metres to the left of the body at which towers stand, so that they do not hide it from the front


def _middle(pose: Pose) -> Array:
    return 0.5 * (pose.grip(0) + pose.grip(1))


def _apart(pose: Pose, fallback: Array) -> Array:
    """From the right hand to the left, unit [T, 3]; `fallback` where they are together."""
    way = pose.grip(0) - pose.grip(1)
    return np.where(length(way)[:, None] > 0.12, unit(way), fallback)


def _above(point: Array, z: float) -> Array:
    """The point at another height."""
    return np.array([point[0], point[1], z])


def _forearm(pose: Pose, side: int) -> Array:
    return unit(pose.wrist[side] - pose.elbow[side])


def _distance(pose: Pose) -> float:
    """Between the hands, mean over the clip, in metres; below 0.35 they hold one thing."""
    return float(mean(length(pose.grip(0) - pose.grip(1))))


def _level(way: Array, fallback: tuple[float, float, float] = (1.0, 0.0, 0.0)) -> Array:
    """Horizontal unit vector of a fixed direction [3]."""
    return unit(_above(way, 0.0), fallback)


def _upright(ahead: Array) -> Array:
    """Axes [3, 3] of a thing on the floor: ahead, left, up."""
    return np.stack([ahead, cross(UP, ahead), UP])


def _ahead(pose: Pose) -> Array:
    """Which way the shoulders face, horizontal unit [3]."""
    return _level(cross(mean(pose.left), UP))


def _heading(pose: Pose) -> Array:
    """Which way the body faces or, lying, points: horizontal unit [3]."""
    lying = _level(mean(pose.neck - pose.pelvis))
    return np.where(abs(mean(pose.back)[2]) < 0.7, lying, _ahead(pose))


def _barbell(build: Builder, centre: Array, axis: Array) -> None:
    build.cone(centre - 0.72 * axis, centre + 0.72 * axis, 0.014, 0.014, STEEL, gloss=0.5)
    for sign in (-1.0, 1.0):
        out = sign * axis
        build.disc(centre + 0.50 * out, centre + 0.55 * out, 0.16, IRON, gloss=0.15)
        build.disc(centre + 0.555 * out, centre + 0.59 * out, 0.115, build.accent, gloss=0.15)
        build.disc(centre + 0.595 * out, centre + 0.62 * out, 0.035, STEEL, gloss=0.4)


def _dumbbell_at(build: Builder, centre: Array, axis: Array, size: float = 1.0) -> None:
    build.cone(centre - 0.07 * axis, centre + 0.07 * axis, 0.014, 0.014, STEEL, gloss=0.4)
    for sign in (-1.0, 1.0):
        out = sign * axis
        build.disc(centre + 0.055 * size * out, centre + 0.125 * size * out, 0.055 * size, IRON, gloss=0.25)


def _dumbbells(build: Builder, pose: Pose) -> None:
    for side in (0, 1):
        rise = (pose.grip(side) - pose.elbow[side])[:, 2].max()
        along = pose.front if rise < 0.06 else pose.left  # arms that hang hold them fore and aft
        _dumbbell_at(build, pose.grip(side), square_to(along, _forearm(pose, side), (0.0, 1.0, 0.0)))


def _dumbbell(build: Builder, pose: Pose) -> None:
    way = unit(_forearm(pose, 0) + _forearm(pose, 1), (0.0, 0.0, 1.0))
    _dumbbell_at(build, _middle(pose) + 0.04 * way, way, 1.35)


def _kettlebell(build: Builder, pose: Pose) -> None:
    both = _distance(pose) < 0.35
    grip = _middle(pose) if both else pose.grip(1)
    arm = unit(_forearm(pose, 0) + _forearm(pose, 1)) if both else _forearm(pose, 1)
    way = unit(np.stack([arm[:, 0], arm[:, 1], np.minimum(arm[:, 2], 0.0) - 0.35], axis=1), (0.0, 0.0, -1.0))
    across = square_to(pose.left, way, (0.0, 1.0, 0.0))
    build.ball(grip + 0.155 * way, 0.098, IRON, gloss=0.3)
    corners = [grip + s * 0.07 * across for s in (-1.0, 1.0)]
    build.cone(corners[0], corners[1], 0.016, 0.016, STEEL, gloss=0.4)
    for corner, s in zip(corners, (-1.0, 1.0), strict=True):
        build.cone(corner, grip + 0.10 * way + s * 0.055 * across, 0.016, 0.018, STEEL, gloss=0.4)


def _bar(build: Builder, pose: Pose) -> None:
    centre, apart = mean(_middle(pose)), mean(pose.grip(0) - pose.grip(1))
    axis = _level(apart, (0.0, 1.0, 0.0))
    half = 0.5 * float(length(apart)) + 0.30
    build.cone(centre - half * axis, centre + half * axis, 0.017, 0.017, STEEL, gloss=0.5)
    behind = cross(axis, DOWN) * (-0.45 if centre[2] > 1.6 else 0.0)  # a high bar hangs from a rig behind the body
    behind = behind if dot(behind, mean(pose.front)) < 0 else -behind
    for sign in (-1.0, 1.0):
        end = centre + sign * half * axis
        foot = end + behind
        build.cone(end, foot + 0.02 * UP, 0.022, 0.022, FRAME)
        build.cone(foot + 0.02 * UP, _above(foot, 0.0), 0.028, 0.028, FRAME)


def _parallel_bars(build: Builder, pose: Pose) -> None:
    ahead = _ahead(pose)
    for side in (0, 1):
        ends = [mean(pose.grip(side)) + s * ahead for s in (-0.42, 0.42)]
        build.cone(ends[0], ends[1], 0.020, 0.020, STEEL, gloss=0.4)
        for end in ends:
            build.cone(end, _above(end, 0.0), 0.018, 0.024, FRAME)


def _leg(build: Builder, top: Array, axis: Array, radius: float, reach: float) -> None:
    """A post from `top` to a foot that lies along `axis` on the floor."""
    build.cone(top, _above(top, 0.03), radius, radius, FRAME)
    low = _above(top, 0.025)
    build.cone(low - reach * axis, low + reach * axis, 0.022, 0.022, FRAME)


def _bench(build: Builder, pose: Pose) -> None:
    if abs(mean(pose.back)[2]) > 0.7:  # upright: a bench to sit on, or one that the hands or a foot rest on
        at, top, axes = _under_pelvis(pose)
        half, legs, reach = (0.15, 0.5, 0.035), axes[[1, 0]], 0.36
    else:
        at, axes = mean(0.45 * pose.pelvis + 0.55 * pose.head), _upright(_heading(pose))
        top = max(float(mean(np.concatenate([pose.pelvis, pose.chest, pose.neck]))[2]) - 0.105, 0.2)
        half, legs, reach = (0.50, 0.14, 0.035), axes, 0.38
    build.box(_above(at, top - 0.035), axes, half, PAD)
    for s in (-1.0, 1.0):
        _leg(build, _above(at + s * reach * legs[0], top - 0.07), legs[1], 0.025, 0.18)


def _incline_bench(build: Builder, pose: Pose) -> None:
    hips, neck = mean(pose.pelvis), mean(pose.neck)
    along = unit(neck - hips, (0.0, 0.0, 1.0))
    left = square_to(mean(pose.left), along, (0.0, 1.0, 0.0))
    front = cross(left, along)
    behind = -front if front[2] >= -0.05 else front  # lying on the back, or on the chest
    centre = hips + 0.36 * along + 0.15 * behind
    build.box(centre, np.stack([along, left, front]), (0.40, 0.14, 0.035), PAD)
    axes = _upright(_level(-along if abs(along[2]) < 0.98 else front))
    seat = _above(hips, max(float(hips[2]) - 0.11, 0.2) - 0.035) + 0.08 * axes[0]
    build.box(seat, axes, (0.17, 0.17, 0.035), PAD)
    for point in (seat, centre + 0.05 * behind):
        _leg(build, point - 0.04 * UP, axes[1], 0.028, 0.2)


def _under_pelvis(pose: Pose) -> tuple[Array, float, Array]:
    """Place, height and axes of a seat under the lowest position of the pelvis."""
    lowest = int(np.argmin(pose.pelvis[:, 2]))
    at = pose.pelvis[lowest] - (0.03 * pose.front_low[lowest])
    return at, min(max(float(at[2]) - 0.115, 0.15), 0.8), _upright(_level(cross(mean(pose.left_low), UP)))


def _box(build: Builder, pose: Pose) -> None:
    at, top, axes = _under_pelvis(pose)
    stripe = Paint((0.52, 0.36, 0.20), _above(at, 0.0), UP, 0.012, max(0.5 * top, 0.05))
    build.box(_above(at, 0.5 * top), axes, (0.21, 0.24, 0.5 * top), WOOD, paint=stripe)


def _mat(build: Builder, pose: Pose) -> None:
    axes = _upright(_heading(pose))
    near = pose.joints[pose.joints[..., 2] < 0.6]  # raised limbs do not lengthen a mat
    if len(near) == 0:
        near = pose.joints.reshape(-1, 3)
    x, y = dot(near, axes[0]), dot(near, axes[1])
    half_x, half_y = max(0.5 * float(x.max() - x.min()) + 0.10, 0.75), max(0.5 * float(y.max() - y.min()) + 0.06, 0.33)
    centre = 0.5 * float(x.max() + x.min()) * axes[0] + 0.5 * float(y.max() + y.min()) * axes[1] + 0.004 * UP
    dark = (0.6 * build.accent[0], 0.6 * build.accent[1], 0.6 * build.accent[2])
    edge = Paint(dark, centre - (half_x - 0.05) * axes[0], axes[0], 0.02, 2.0 * half_x - 0.12)
    build.box(centre, axes, (half_x, half_y, 0.006), build.accent, paint=edge)


def _rod(build: Builder, pose: Pose, half: float, color: Color = STEEL, gloss: float = 0.4) -> Array:
    """A rod through both hands; returns its middle [T, 3]."""
    centre, axis = _middle(pose), _apart(pose, pose.left)
    build.cone(centre - half * axis, centre + half * axis, 0.015, 0.015, color, gloss=gloss)
    return centre


def _sword(build: Builder, pose: Pose) -> None:
    way, grip = _forearm(pose, 1), pose.grip(1)
    across = square_to(pose.left, way, (0.0, 1.0, 0.0))
    guard = grip + 0.07 * way
    build.cone(grip - 0.07 * way, guard, 0.014, 0.014, (0.30, 0.16, 0.08))
    build.cone(guard - 0.06 * across, guard + 0.06 * across, 0.014, 0.014, (0.78, 0.62, 0.22), gloss=0.4)
    blade = (grip + 0.08 * way, grip + 0.80 * way)
    build.cone(*blade, 0.015, 0.009, (0.86, 0.88, 0.92), ((across, 1.5),), gloss=0.8)
    build.cone(grip - 0.09 * way, grip - 0.22 * way - 0.05 * UP, 0.012, 0.022, (0.80, 0.12, 0.14))  # tassel


def _spear(build: Builder, pose: Pose) -> None:
    in_both = 0.35 <= _distance(pose) < 1.0
    way = -_apart(pose, -_forearm(pose, 1)) if in_both else _forearm(pose, 1)
    grip = pose.grip(1)
    build.cone(grip - 0.8 * way, grip + 0.65 * way, 0.014, 0.014, (0.66, 0.46, 0.24))
    build.cone(grip + 0.63 * way, grip + 0.68 * way, 0.03, 0.035, (0.80, 0.12, 0.14))
    build.cone(grip + 0.68 * way, grip + 0.88 * way, 0.026, 0.006, STEEL, gloss=0.8)


def _tower(build: Builder, pose: Pose, reach: float, height: float) -> Array:
    """An upright with a stack of weights, ahead of the body by `reach` metres; returns where it stands [3]."""
    ahead, middle = _ahead(pose), mean(pose.pelvis)
    reach = float(dot(pose.joints.reshape(-1, 3), ahead).max()) + reach
    foot = middle + (reach - dot(middle, ahead)) * ahead + _ASIDE * cross(UP, ahead)
    axes = _upright(-ahead)
    build.box(_above(foot, 0.5 * height), axes, (0.05, 0.07, 0.5 * height), FRAME)
    stripe = Paint((0.34, 0.34, 0.37), np.zeros(3), UP, 0.012, 0.06)
    build.box(_above(foot, 0.42) + 0.11 * axes[0], axes, (0.06, 0.13, 0.40), IRON, paint=stripe)
    build.box(_above(foot, 0.03), axes, (0.22, 0.26, 0.03), FRAME)
    return foot


def _cable_handle(build: Builder, pose: Pose, pulley: Array, overhang: float) -> None:
    grip = _rod(build, pose, 0.5 * float(length(mean(pose.grip(0) - pose.grip(1)))) + overhang)
    build.cone(np.broadcast_to(pulley, grip.shape), grip, 0.007, 0.007, (0.08, 0.08, 0.08))


def _cable(build: Builder, pose: Pose) -> None:
    hands = _middle(pose)
    moved = hands[:, 2] - hands[0, 2]
    most = float(moved[np.argmax(np.abs(moved))])  # the pull is against the movement
    height = 2.05 if most < -0.12 else 0.25 if most > 0.12 else float(mean(hands)[2])
    pulley = _above(_tower(build, pose, 0.35, 2.2), height) - 0.09 * _ahead(pose)
    build.ball(pulley, 0.04, STEEL, gloss=0.4)
    _cable_handle(build, pose, pulley, 0.06)


def _lat_machine(build: Builder, pose: Pose) -> None:
    hands, seat = _middle(pose), mean(pose.pelvis)
    top = float(hands[:, 2].max()) + 0.38
    foot = _tower(build, pose, 0.3, top)
    pulley = _above(mean(hands), top)
    build.cone(_above(foot, top), pulley, 0.035, 0.035, FRAME)
    _cable_handle(build, pose, pulley, 0.16)
    height = max(float(pose.pelvis[:, 2].min()) - 0.11, 0.15)
    build.box(_above(seat, height - 0.03), _upright(_ahead(pose)), (0.18, 0.20, 0.03), PAD)
    build.cone(_above(seat, height - 0.06), _above(seat, 0.0), 0.035, 0.035, FRAME)


def _band(build: Builder, pose: Pose) -> None:
    across = square_to(pose.left, _apart(pose, pose.left), (0.0, 0.0, 1.0))
    build.cone(pose.grip(1), pose.grip(0), 0.013, 0.013, (0.92, 0.30, 0.45), ((across, 1.6),))


_MAKERS: dict[str, Callable[[Builder, Pose], object]] = {
    "barbell@hands": lambda build, p: _barbell(build, _middle(p), _apart(p, p.left)),
    "barbell@back": lambda build, p: _barbell(build, p.neck - 0.095 * p.front - 0.02 * p.back, p.left),
    "barbell@front": lambda build, p: _barbell(build, p.neck + 0.105 * p.front - 0.03 * p.back, p.left),
    "barbell@hips": lambda build, p: _barbell(build, p.pelvis + 0.125 * p.front_low, p.left_low),
    "dumbbells": _dumbbells, "dumbbell": _dumbbell, "kettlebell": _kettlebell, "bar": _bar,
    "parallel_bars": _parallel_bars, "bench": _bench, "incline_bench": _incline_bench, "box": _box, "mat": _mat,
    "staff": lambda build, p: _rod(build, p, 0.8, (0.62, 0.42, 0.22), 0.0),
    "sword": _sword, "spear": _spear, "cable": _cable, "lat_machine": _lat_machine, "band": _band,
}  # fmt: skip
EQUIPMENT = tuple(_MAKERS)


def add_equipment(build: Builder, pose: Pose, names: tuple[str, ...]) -> None:
    """Add each named thing; held ones follow the hands, fixed ones stand still. ValueError for an unknown name."""
    for name in names:
        if name not in _MAKERS:
            raise ValueError(f"unknown equipment {name!r}; known: {', '.join(EQUIPMENT)}")
        _MAKERS[name](build, pose)
