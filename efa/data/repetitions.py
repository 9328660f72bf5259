"""The repetitions of an exercise in a clip, found from landmarks alone, whatever the exercise.

The body is described by where its joints are from between its hips, and by where the hips are: numbers that a person
far away, a moving camera or a phone held sideways changes little. Their principal components are the candidate
signals. Each peak of a signal, from valley to valley, may be a repetition; it counts if the whole body moves there as
in the peaks around it. The signal whose repetitions explain most of the motion wins. So nothing is learnt, and walking
into position, which is like no repetition, falls away.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter
from scipy.signal import butter, find_peaks, sosfiltfilt

from efa.data.landmarks import INDEX, Array, Landmarks

RATE = 12.0  # frames a second to which a clip is resampled
_JOINTS = ("hip", "shoulder", "elbow", "wrist", "knee", "ankle")
_USED = [*(INDEX[f"{joint}_{side}"] for joint in _JOINTS for side in "lr"), INDEX["nose"]]
_SIGNALS = 4  # principal components that are tried
_HEIGHTS = (0.15, 0.3, 0.5)  # how far a peak must stand out, as a share of the signal's range; each is tried
_SECONDS = (0.35, 12.0)  # the shortest and the longest repetition
_RETURN = 0.95  # a repetition begins and ends where the signal has left its peak by this share of the way
_OPEN = 0.8  # how far the last pose may be from the first one, as a share of how far the poses spread
_ALIKE, _KIN = 0.4, 0.35  # least correlation of a repetition with the four around it, and with the median of all
_FAINT, _WILD = 0.4, 2.5  # least and greatest amplitude of a repetition, as a share of the median one's
_STILL = 0.02  # amplitude in body radii below which nothing is a repetition: jitter and breath
_ONCE = 0.05  # the same for a movement that happens only once
_CALM = 0.05  # speed in body radii a second below which a pose is held
_HOLD = 2.0  # seconds that a pose must be held
_POINTS = 16  # times in a repetition at which poses are compared

Cycle = tuple[int, int]  # first and last frame of the resampled clip


class Span(NamedTuple):
    """A stretch of a clip."""

    start: float  # seconds
    end: float
    first: int  # frames of the landmarks, both belong to it
    last: int


class Repetitions(NamedTuple):
    """What was found in a clip: repetitions in order of time or, where there is none, the pose that was held."""

    spans: tuple[Span, ...]
    hold: Span | None = None


def find_repetitions(landmarks: Landmarks) -> Repetitions:
    """The repetitions in a clip of up to several minutes, one to dozens of 0.5 to about 8 s each.

    Where nothing repeats, the largest movement there and back, or else the whole stretch in which the body moves, is
    the one repetition, unless a pose is held: then `hold` is that stretch. Nothing is found where nobody is seen for
    half a second, or nobody moves or rests long enough.
    """
    found = landmarks.found
    if not found.any() or np.ptp(landmarks.times[found]) < 0.5:
        return Repetitions(())
    times, body, seen = _body(landmarks)
    moving = _moving(body)
    best: list[Cycle] = []
    held, most = None, 0.0
    for signal in _signals(moving, seen):
        for height in _HEIGHTS:
            kept, explained = _alike(moving, _cycles(signal, height, body, seen))
            if explained > most:
                best, most = kept, explained
    if not best:
        best, held = _once(moving, body, seen)

    def span(first: int, last: int) -> Span:
        start, end = float(times[first]), float(times[last])
        frames = np.searchsorted(landmarks.times, [start, end]).clip(max=len(landmarks.times) - 1)
        return Span(start, end, int(frames[0]), int(frames[1]))

    return Repetitions(tuple(span(*cycle) for cycle in best), span(*held) if held else None)


def _body(landmarks: Landmarks) -> tuple[Array, Array, Array]:
    """Times [N] at `RATE`; the body [N, 24] in body radii: joints from between the hips, and the hips; seen [N]."""
    found = landmarks.found
    at, points = landmarks.times[found], landmarks.image[found][:, _USED, :2].astype(np.float64)
    times = np.arange(at[0], at[-1] + 1e-9, 1 / RATE)
    flat = [np.interp(times, at, values) for values in points.reshape(len(at), -1).T]
    joints = median_filter(np.stack(flat, 1), (5, 1), mode="nearest").reshape(len(times), -1, 2)
    after = np.clip(np.searchsorted(at, times), 1, len(at) - 1)
    seen = np.minimum(np.abs(times - at[after - 1]), np.abs(times - at[after])) < 0.35
    hips = joints[:, :2].mean(1, keepdims=True)
    local = joints[:, 2:] - hips
    radius = np.median(np.sqrt((local**2).sum(-1).mean(1))[seen]) + 1e-9
    both = np.concatenate([local, 2 * hips], axis=1).reshape(len(times), -1) / radius
    return times, gaussian_filter1d(both, 0.12 * RATE, axis=0, mode="nearest"), seen


def _moving(body: Array) -> Array:
    """The body without what changes over more than some 12 s: another place, another view, a wandering camera."""
    high = butter(1, 0.08, "high", fs=RATE, output="sos")
    return np.asarray(sosfiltfilt(high, body, axis=0, padtype="even", padlen=min(len(body) - 1, int(6 * RATE))))


def _signals(moving: Array, seen: Array) -> Iterator[Array]:
    """The first principal components [N] and their negatives: which end of the movement is rest is not known."""
    poses = np.clip(moving, -3, 3)[seen]  # a frame in which the limbs fly apart shall not set the direction
    axes = np.linalg.svd(poses - poses.mean(0), full_matrices=False)[2]
    for axis in axes[:_SIGNALS]:
        yield moving @ axis
        yield -(moving @ axis)


def _cycles(signal: Array, height: float, body: Array, seen: Array) -> list[Cycle]:
    """From valley to valley for each peak that stands out by the share `height` of the signal's range.

    Left out: what is too short or long, mostly unseen, or does not come back to where it began, such as a stride.
    """
    tops = find_peaks(signal, prominence=height * np.ptp(signal[seen]))[0]
    if not len(tops):
        return []
    usual = int(np.median(np.diff(tops))) if len(tops) > 1 else len(signal)  # how far before the first top to look
    bounds = [max(tops[0] - usual, 0), *tops, min(tops[-1] + usual, len(signal) - 1)]
    valleys = [a + int(np.argmin(signal[a : b + 1])) for a, b in pairwise(bounds)]
    cycles = []
    for top, (a, b) in zip(tops, pairwise(valleys), strict=True):
        rest = signal[top] - _RETURN * (signal[top] - max(signal[a], signal[b]))
        low = np.flatnonzero(signal[a : b + 1] <= rest) + a
        first, last = int(low[low < top].max()), int(low[low > top].min())  # a pause is no part of a repetition
        spread = np.linalg.norm(np.ptp(body[first : last + 1], axis=0))
        closed = np.linalg.norm(body[last] - body[first]) < _OPEN * spread
        lasts = _SECONDS[0] * RATE <= last - first <= _SECONDS[1] * RATE
        if closed and lasts and seen[first : last + 1].mean() > 0.6:
            cycles.append((first, last))
    return cycles


def _alike(moving: Array, cycles: list[Cycle]) -> tuple[list[Cycle], float]:
    """The cycles in which the whole body moves as in those around them, two at least, and how much they explain."""
    if len(cycles) < 2:
        return [], 0.0
    shapes = np.stack([_shape(moving, *cycle) for cycle in cycles])
    size = np.sqrt((shapes**2).mean(1))
    chosen = size > _STILL
    for _ in range(3):
        index = np.flatnonzero(chosen)
        if len(index) < 2:
            return [], 0.0
        alike = np.empty(len(cycles))
        for i in range(len(cycles)):
            others = index[index != i]
            near = others[np.argsort(np.abs(others - i), kind="stable")[:4]]
            alike[i] = _correlation(shapes[i : i + 1], np.median(shapes[near], axis=0))[0]
        usual = np.median(size[chosen])
        kin = _correlation(shapes, np.median(shapes[chosen], axis=0)) > _KIN
        chosen = kin & (alike > _ALIKE) & (size > max(_STILL, _FAINT * usual)) & (size < _WILD * usual)
    if chosen.sum() < 2:
        return [], 0.0
    return [cycles[i] for i in np.flatnonzero(chosen)], float((size * alike**2)[chosen].sum())


def _shape(moving: Array, first: int, last: int) -> Array:
    """The movement in a cycle at `_POINTS` times, without its mean pose, so that tempo and place do not matter."""
    at = np.linspace(first, last, _POINTS)
    before = np.minimum(at.astype(int), len(moving) - 2)
    part = (at - before)[:, None]
    poses = moving[before] * (1 - part) + moving[before + 1] * part
    return np.asarray((poses - poses.mean(0)).ravel())


def _correlation(shapes: Array, model: Array) -> Array:
    """Cosine between each of n shapes [n, D] and a model [D]."""
    return np.asarray(shapes @ model / (np.linalg.norm(shapes, axis=1) * np.linalg.norm(model) + 1e-9))


def _once(moving: Array, body: Array, seen: Array) -> tuple[list[Cycle], Cycle | None]:
    """The largest movement there and back, or the longest stretch in which a pose is held, or all that moves."""
    speed = np.sqrt((np.gradient(gaussian_filter1d(body, 0.4 * RATE, axis=0), axis=0) ** 2).mean(1)) * RATE
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (speed < _CALM) & seen, [0]])))  # begin and end of each run
    calm = max(zip(edges[::2], edges[1::2] - 1, strict=True), key=lambda run: run[1] - run[0], default=(0, 0))
    pause = (int(calm[0]), int(calm[1]))
    held = pause if pause[1] - pause[0] >= _HOLD * RATE else None
    cycles = [cycle for signal in _signals(moving, seen) for cycle in _cycles(signal, _HEIGHTS[-1], body, seen)]
    sizes = [float(np.sqrt((_shape(moving, *cycle) ** 2).mean())) for cycle in cycles]
    if cycles and max(sizes) >= _ONCE:
        first, last = cycles[int(np.argmax(sizes))]
        inside = min(pause[1], last) - max(pause[0], first)
        if held and (inside > 0.5 * (last - first) or pause[1] - pause[0] > 4 * (last - first)):
            return [], held
        return [(first, last)], None
    active = np.flatnonzero((speed >= _CALM) & seen)
    moves = len(active) > 1 and np.ptp(body[active], axis=0).max() >= 4 * _ONCE
    return [(int(active[0]), int(active[-1]))] if moves and not held else [], held
