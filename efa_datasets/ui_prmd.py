"""UI-PRMD: real people's motion with real labels, rendered by FormSim's renderer.

University of Idaho Physical Rehabilitation Movement Data (Vakanski et al., Data 3(1):2, 2018): ten movements, ten
subjects, about ten correct and ten incorrect repetitions each. The data set has no texts: explanations stay empty,
steps and instructions are our own (ui_prmd.yaml).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from efa.data.manifest import make_dataset, save_dataset
from efa.data.video import write_mp4
from efa.utils.errors import InputError
from efa_datasets import ui_prmd_body as vicon
from efa_datasets.ui_prmd_files import MIN_FRAMES, Repetition, find, movements, read
from formsim.body import primitives
from formsim.dataset import sample_phases, seed_of
from formsim.render import Camera, Scene, render

Array = np.ndarray
Progress = Callable[[int, int], None]  # done, total

VIEWS = ("front", "side")
SPLITS = {7: "val", 8: "val", 9: "test", 10: "test"}  # subject -> split; everybody else trains
EQUIPMENT = {5: ("box",)}  # movement -> what FormSim puts there: something to sit on


@dataclass(frozen=True)
class Export:
    """How to render. `rate`: frames a second of the files (the originals: 100)."""

    folder: Path
    size: int = 224
    fps: float = 12
    rate: float = 100
    images: bool = False  # folders of PNG frames instead of mp4


@dataclass(frozen=True)
class Judged:
    """A repetition and what a model says of it, probability of 'incorrect'."""

    repetition: Repetition
    probability: float


def split_of(subject: int, test_subject: int | None = None, subjects: Sequence[int] = tuple(range(1, 11))) -> str:
    """The split of everything that a subject did: nobody is in two.

    Without `test_subject` subjects 9 and 10 are tested, 7 and 8 validate. With it that one is tested, the next one
    (after the last the first) validates.
    """
    if test_subject is None:
        return SPLITS.get(subject, "train")
    order = sorted(subjects)
    following = order[(order.index(test_subject) + 1) % len(order)]
    return "test" if subject == test_subject else "val" if subject == following else "train"


def draw(one: Repetition, view: str, count: int, size: int) -> Array:
    """uint8 [count, size, size, 3]: the repetition at `count` moments, each the middle of an equal part.

    Raises:
        InputError: the file cannot be used, see `read` and `ui_prmd_body.check`.
    """
    return _draw(one, _usable(one), view, count, size)


def _usable(one: Repetition) -> Array:
    markers = read(one.file)
    vicon.check(markers, one.file)
    return markers


def _draw(one: Repetition, markers: Array, view: str, count: int, size: int) -> Array:
    joints, subject = vicon.body(markers, f"s{one.subject:02d}")
    solids = primitives(_resample(joints, sample_phases(count)), subject, EQUIPMENT.get(one.movement, ()))
    own = seed_of("ui-prmd", one.name, view)
    camera = Camera.sample(view, solids.points(), np.random.RandomState(seed_of("camera", own)))
    return render(solids, Scene.sample(np.random.RandomState(seed_of("scene", own))), camera, size)


def _resample(frames: Array, phases: Array) -> Array:
    """Linear interpolation at phases in [0, 1]: [T, ...], [N] -> [N, ...]."""
    at = phases * (len(frames) - 1)
    low = np.minimum(at.astype(int), len(frames) - 2)
    part = (at - low).reshape(-1, *[1] * (frames.ndim - 1))
    return frames[low] * (1 - part) + frames[low + 1] * part


def record(one: Repetition, view: str, split: str, images: bool = False) -> dict[str, object]:
    """One row of the manifest; columns that are not named here stay empty."""
    clip = f"{one.name}-{view}"
    return {
        "clip_id": clip,
        "path": f"frames/{clip}" if images else f"videos/{clip}.mp4",
        "action": movements()[one.movement][0],
        "mode": "manual",
        "type": "rehabilitation",
        "quality": one.quality,
        "view": view,
        "explanation": "",
        "split": split,
        "subject": f"s{one.subject:02d}",
        "fault": "",
    }


def export(
    root: Path,
    how: Export,
    test_subject: int | None = None,
    repetitions: int = 0,
    progress: Progress | None = None,
) -> tuple[int, list[InputError]]:
    """Render every sequence from front and side and write the data set to `how.folder`.

    Args:
        test_subject: who is left out for the test; None: the fixed split, see `split_of`.
        repetitions: only the first so many of each movement, subject and label; 0: all.

    Returns:
        How many clips there are, and why each file that was left out was.

    Raises:
        InputError: nothing can be used, or the folder cannot be written.
    """
    from efa.data.loader import in_processes

    if not 16 <= how.size <= 4096:
        raise InputError(f"--size cannot be {how.size}", hint="16 to 4096 pixels")
    for name, value in (("fps", how.fps), ("rate", how.rate)):
        if not 0 < value <= 1000:
            raise InputError(f"--{name} cannot be {value:g}", hint="frames a second, above 0 and at most 1000")
    if repetitions < 0:
        raise InputError(f"--repetitions cannot be {repetitions}", hint="0 for all, or a positive number")
    chosen, skipped = find(root)
    subjects = sorted({one.subject for one in chosen})
    if test_subject is not None and test_subject not in subjects:
        known = ", ".join(map(str, subjects))
        raise InputError(f"nobody is subject {test_subject}", file=root, hint=f"subjects there: {known}")
    if repetitions:
        chosen = _first(chosen, repetitions)
    if (how.folder / "manifest.csv").exists():  # said before an hour's work, not after it
        hint = "delete it or choose another folder"
        raise InputError("the folder holds another manifest", file=how.folder / "manifest.csv", hint=hint)
    _make(how.folder / ("frames" if how.images else "videos"))
    rows = []
    for done, (one, problem) in enumerate(zip(chosen, in_processes(partial(_write, how=how), chosen), strict=True), 1):
        if problem is None:
            split = split_of(one.subject, test_subject, subjects)
            rows += [record(one, view, split, how.images) for view in VIEWS]
        else:
            skipped.append(problem)
        if progress:
            progress(done, len(chosen))
    if not rows:
        raise InputError(f"no sequence can be used; the first: {skipped[-1]}", hint="mend the files")
    used = {row["action"] for row in rows}
    steps = {name: text for name, text in movements().values() if name in used}
    save_dataset(make_dataset(rows, steps), how.folder)
    return len(rows), skipped


def _first(sequences: list[Repetition], repetitions: int) -> list[Repetition]:
    seen: dict[tuple[int, int, int], int] = {}
    kept = []
    for one in sequences:
        key = (one.movement, one.subject, one.quality)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= repetitions:
            kept.append(one)
    return kept


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror}", file=folder, hint="choose another folder") from None


def _write(one: Repetition, how: Export) -> InputError | None:
    """Both views of a sequence, or why there are none."""
    try:
        markers = _usable(one)
    except InputError as problem:
        return problem
    count = max(MIN_FRAMES, round(len(markers) / how.rate * how.fps))
    for view in VIEWS:
        frames = _draw(one, markers, view, count, how.size)
        place = how.folder / str(record(one, view, "", how.images)["path"])
        if how.images:
            _write_images(place, frames)
        else:
            write_mp4(place, frames, how.fps)
    return None


def _write_images(folder: Path, frames: Array) -> None:
    """PNG files 000.png, 001.png, ... and no others in `folder`; uint8 [T, S, S, 3]."""
    from PIL import Image

    _make(folder)
    try:
        for old in folder.glob("*.png"):
            old.unlink()
        for i, frame in enumerate(frames):
            Image.fromarray(frame).save(folder / f"{i:03d}.png")
    except OSError as error:
        hint = "check the folder and the disk space"
        raise InputError(f"cannot be written: {error.strerror}", file=folder, hint=hint) from None


def features(markers: Array, moments: int = 20) -> Array:
    """What the classical baseline sees: markers [T, 39, 3], mended -> positions at `moments` equally spaced moments,
    turned and moved so that the pelvis starts over the origin and faces forward, metres [moments * 117]."""
    return _resample(vicon.localise(markers), np.linspace(0, 1, moments)).reshape(-1)


def marker_predictions(
    root: str | Path, components: int = 30, l2: float = 1.0
) -> tuple[list[Judged], list[InputError]]:
    """Correct or incorrect from the markers alone, every subject in turn left out, one model a movement.

    Standardised `features`, their first principal components (of the training subjects), logistic regression with a
    penalty l2 / 2 |w|^2. What a video model on the rendered clips can be held against.

    Returns:
        Each sequence with its probability, and why each file that was left out was.

    Raises:
        InputError: there are not two people who did both, or there is no such folder.
    """
    chosen, skipped = find(root)
    table: dict[int, list[tuple[Repetition, Array]]] = {}
    for one in chosen:
        try:
            row = features(read(one.file))
        except InputError as problem:
            skipped.append(problem)
            continue
        table.setdefault(one.movement, []).append((one, row))
    judged = []
    for _, pairs in sorted(table.items()):
        x = np.stack([row for _, row in pairs])
        known = ~np.isnan(x)
        typical = np.where(known, x, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        x = np.where(known, x, typical)  # a marker that was never seen is where it usually is
        y = np.array([float(one.quality) for one, _ in pairs])
        who = np.array([one.subject for one, _ in pairs])
        for subject in sorted(set(who.tolist())):
            out = who == subject
            if len(set(y[~out])) == 2:
                told = _probability(x[~out], y[~out], x[out], components, l2)
                judged += [Judged(pairs[i][0], float(p)) for i, p in zip(np.flatnonzero(out), told, strict=True)]
    if not judged:
        raise InputError("fewer than two subjects with correct and incorrect repetitions", file=root)
    return judged, skipped


def _probability(x: Array, y: Array, new: Array, components: int, l2: float) -> Array:
    """Probability of 'incorrect' for the rows of `new` [M, D], learnt from x [N, D], y [N] of 0 and 1."""
    middle, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    kept = min(components, max(1, len(x) // 5))  # few people: as many components as rows would fit anything
    axes = np.linalg.svd((x - middle) / scale, full_matrices=False)[2][:kept].T  # [D, K]
    inner, outer = (x - middle) / scale @ axes, (new - middle) / scale @ axes
    spread = inner.std(axis=0) + 1e-9
    inner, outer = (np.column_stack([part / spread, np.ones(len(part))]) for part in (inner, outer))
    weights = np.zeros(inner.shape[1])
    penalty = np.diag([l2] * (len(weights) - 1) + [1e-9])
    for _ in range(25):  # Newton's method
        p = 1 / (1 + np.exp(-np.clip(inner @ weights, -30, 30)))
        slope = inner.T @ (p - y) + penalty @ weights
        step = np.linalg.solve((inner.T * (p * (1 - p))) @ inner + penalty, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-6:
            break
    return 1 / (1 + np.exp(-np.clip(outer @ weights, -30, 30)))
