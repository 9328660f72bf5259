"""UI-PRMD: real people's motion with real labels, rendered by FormSim's renderer.

University of Idaho Physical Rehabilitation Movement Data (Vakanski et al., Data 3(1):2, 2018): ten movements, ten
subjects, about ten correct and ten incorrect repetitions each. The data set has no texts: explanations stay empty,
steps and instructions are our own (ui_prmd.yaml).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from efa.data.manifest import make_dataset
from efa.utils.errors import InputError
from efa.utils.files import named
from efa_datasets.mp4 import write_mp4
from efa_datasets.ui_prmd_markers import (
    MIN_FRAMES,
    Repetition,
    check_markers,
    find_repetitions,
    fit_body,
    localise,
    movements,
    read_markers,
)  # fmt: skip
from efa_datasets.writing import save_dataset
from formsim.body import primitives
from formsim.dataset import sample_phases, seed_of
from formsim.render import Camera, Scene, render

Array = np.ndarray

VIEWS = ("front", "side")
SPLITS = {7: "val", 8: "val", 9: "test", 10: "test"}  # subject -> split; all others train
EQUIPMENT = {5: ("box",)}  # movement -> what FormSim puts there: something to sit on


@dataclass(frozen=True)
class Export:
    """How to render."""

    folder: Path
    size: int = 224
    fps: float = 12
    rate: float = 100  # frames per second of the files
    images: bool = False  # folders of PNG frames instead of mp4


def command(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="holds 'Segmented Movements' and its incorrect twin")],
    folder: Annotated[Path, typer.Argument(metavar="OUT")],
    test_subject: Annotated[int | None, typer.Option(help="default: 9 and 10, and 7 and 8 validate")] = None,
    repetitions: Annotated[int, typer.Option(help="the first so many of each; 0: all")] = 0,
    size: int = 224,
    fps: float = 12,
    rate: Annotated[float, typer.Option(help="frames per second of the files; the originals have 100")] = 100,
    images: Annotated[bool, typer.Option("--images", help="folders of PNG frames instead of mp4")] = False,
) -> None:
    """Render UI-PRMD's motion, front and side, with manifest and steps.   Example: efa data ui-prmd UI-PRMD ui-prmd"""
    from efa.cli.console import bar, err, out

    with bar("rendering") as update:
        count, skipped = export(root, Export(folder, size, fps, rate, images), test_subject, repetitions, update)
    for problem in skipped:
        err.print(f"left out: {problem}", soft_wrap=True)
    out.print(f"{count} clips in {folder}, {len(skipped)} files left out")


def export(
    root: Path, how: Export, test_subject: int | None = None, repetitions: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[InputError]]:  # fmt: skip
    """Render every sequence from front and side and write the data set to `how.folder`.

    `repetitions`: only the first so many of each movement, subject and label; 0: all. `test_subject`: see `split_of`.

    Returns:
        The number of clips, and an error for each file that was left out.

    Raises:
        InputError: nothing can be used, or the folder holds another data set.
    """
    from efa.data.loader import in_processes

    for name, value, valid, hint in (
        ("size", how.size, 16 <= how.size <= 4096, "16 to 4096 pixels"),
        ("fps", how.fps, 0 < how.fps <= 1000, "frames per second, above 0 and at most 1000"),
        ("rate", how.rate, 0 < how.rate <= 1000, "frames per second, above 0 and at most 1000"),
        ("repetitions", repetitions, repetitions >= 0, "0 for all, or a positive number"),
    ):
        if not valid:
            raise InputError(f"--{name} cannot be {value:g}", hint=hint)
    chosen, skipped = find_repetitions(root)
    subjects = sorted({one.subject for one in chosen})
    if test_subject is not None and test_subject not in subjects:
        known = ", ".join(map(str, subjects))
        raise InputError(f"there is no subject {test_subject}", file=root, hint=f"subjects there: {known}")
    if repetitions:
        ranks = pd.DataFrame(chosen).groupby(["movement", "subject", "quality"]).cumcount()
        chosen = [one for one, rank in zip(chosen, ranks, strict=True) if rank < repetitions]
    if (how.folder / "manifest.csv").exists():  # before an hour's work, not after it
        hint = "delete it or choose another folder"
        raise InputError("the folder holds another manifest", file=how.folder / "manifest.csv", hint=hint)
    (how.folder / ("frames" if how.images else "videos")).mkdir(parents=True, exist_ok=True)
    rows = []
    for done, (one, problem) in enumerate(zip(chosen, in_processes(partial(_write, how=how), chosen), strict=True), 1):
        if problem is None:
            split = split_of(one.subject, test_subject, subjects)
            rows += [manifest_row(one, view, split, how.images) for view in VIEWS]
        else:
            skipped.append(problem)
        progress(done, len(chosen))
    if not rows:
        raise InputError(f"no sequence can be used; the first: {skipped[-1]}", hint="fix the files")
    used = {row["action"] for row in rows}
    save_dataset(make_dataset(rows, {name: text for name, text in movements().values() if name in used}), how.folder)
    return len(rows), skipped


def split_of(subject: int, test_subject: int | None = None, subjects: Sequence[int] = tuple(range(1, 11))) -> str:
    """The one split of all clips of a subject: 9 and 10 are tested, 7 and 8 validate; or `test_subject` is tested and
    the next one (after the last the first) validates.
    """
    if test_subject is None:
        return SPLITS.get(subject, "train")
    order = sorted(subjects)
    following = order[(order.index(test_subject) + 1) % len(order)]
    return "test" if subject == test_subject else "val" if subject == following else "train"


def manifest_row(one: Repetition, view: str, split: str, images: bool = False) -> dict[str, object]:
    """One row of the manifest; columns that are not named here stay empty."""
    clip = f"{one.name}-{view}"
    path, action = f"frames/{clip}" if images else f"videos/{clip}.mp4", movements()[one.movement][0]
    row = {"clip_id": clip, "path": path, "action": action, "mode": "manual", "type": "rehabilitation", "view": view}
    return row | {"quality": one.quality, "explanation": "", "split": split, "subject": f"s{one.subject:02d}"}


def _write(one: Repetition, how: Export) -> InputError | None:
    """Write both views of a sequence, or return why that cannot be done."""
    from PIL import Image

    try:
        markers = read_markers(one.file)
        check_markers(markers, one.file)
    except InputError as problem:
        return problem
    for view in VIEWS:
        frames = draw(one, markers, view, max(MIN_FRAMES, round(len(markers) / how.rate * how.fps)), how.size)
        path = how.folder / str(manifest_row(one, view, "", how.images)["path"])
        if not how.images:
            write_mp4(path, frames, how.fps)
            continue
        path.mkdir(exist_ok=True)
        with named(path):
            for old in path.glob("*.png"):
                old.unlink()
            for i, frame in enumerate(frames):
                Image.fromarray(frame).save(path / f"{i:03d}.png")
    return None


def draw(one: Repetition, markers: Array, view: str, count: int, size: int) -> Array:
    """uint8 [count, size, size, 3]: the repetition at `count` moments, each the middle of an equal part; markers
    [T, 39, 3] in metres, gaps filled and checked."""
    joints, subject = fit_body(markers, f"s{one.subject:02d}")
    solids = primitives(_resample(joints, sample_phases(count)), subject, EQUIPMENT.get(one.movement, ()))
    seed = seed_of("ui-prmd", one.name, view)
    camera = Camera.sample(view, solids.points(), np.random.RandomState(seed_of("camera", seed)))
    return render(solids, Scene.sample(np.random.RandomState(seed_of("scene", seed))), camera, size)


def _resample(frames: Array, phases: Array) -> Array:
    """Linear interpolation at phases in [0, 1]: [T, ...], [N] -> [N, ...]."""
    at = phases * (len(frames) - 1)
    low = np.minimum(at.astype(int), len(frames) - 2)
    part = (at - low).reshape(-1, *[1] * (frames.ndim - 1))
    return frames[low] * (1 - part) + frames[low + 1] * part


def predict_from_markers(
    root: str | Path, components: int = 30, l2: float = 1.0
) -> tuple[list[tuple[Repetition, float]], list[InputError]]:
    """Correct or incorrect from the markers alone, by leave-one-subject-out cross-validation, one model per movement.

    Logistic regression with a penalty l2 / 2 |w|^2 on the first principal components (of the training subjects) of all
    standardised marker positions at 20 moments, as `localise` gives them. A reference for video models.

    Returns each sequence with its probability of 'incorrect', and an error for each file that was left out.

    Raises:
        InputError: fewer than two subjects did both, or there is no such folder.
    """
    chosen, skipped = find_repetitions(root)
    table: dict[int, list[tuple[Repetition, Array]]] = defaultdict(list)
    for one in chosen:
        try:
            positions = _resample(localise(read_markers(one.file)), np.linspace(0, 1, 20))  # [20, 39, 3]
            table[one.movement].append((one, positions.reshape(-1)))
        except InputError as problem:
            skipped.append(problem)
    predictions = []
    for _, pairs in sorted(table.items()):
        x = np.stack([row for _, row in pairs])
        known = ~np.isnan(x)
        typical = np.where(known, x, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        x = np.where(known, x, typical)  # a marker that was never seen is where it usually is
        y = np.array([float(one.quality) for one, _ in pairs])
        subjects = np.array([one.subject for one, _ in pairs])
        for subject in sorted(set(subjects.tolist())):
            out = subjects == subject
            if len(set(y[~out])) == 2:
                probabilities = _logistic_regression(x[~out], y[~out], x[out], components, l2)
                tested = zip(np.flatnonzero(out), probabilities, strict=True)
                predictions += [(pairs[i][0], float(p)) for i, p in tested]
    if not predictions:
        raise InputError("fewer than two subjects with correct and incorrect repetitions", file=root)
    return predictions, skipped


def _logistic_regression(x: Array, y: Array, new: Array, components: int, l2: float) -> Array:
    """Probability of 'incorrect' for the rows of `new` [M, D], learnt from x [N, D], y [N] of 0 and 1."""
    middle, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    kept = min(components, max(1, len(x) // 5))  # few people: as many components as rows would fit anything
    axes = np.linalg.svd((x - middle) / scale, full_matrices=False)[2][:kept].T  # [D, K]
    inner, outer = (x - middle) / scale @ axes, (new - middle) / scale @ axes  # [N, K], [M, K]
    spread = inner.std(axis=0) + 1e-9
    inner, outer = (np.column_stack([part / spread, np.ones(len(part))]) for part in (inner, outer))
    weights = np.zeros(inner.shape[1])  # [K + 1]
    penalty = np.diag([l2] * (len(weights) - 1) + [1e-9])
    for _ in range(25):  # Newton's method
        p = 1 / (1 + np.exp(-np.clip(inner @ weights, -30, 30)))  # [N]
        slope = inner.T @ (p - y) + penalty @ weights
        step = np.linalg.solve((inner.T * (p * (1 - p))) @ inner + penalty, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-6:
            break
    return 1 / (1 + np.exp(-np.clip(outer @ weights, -30, 30)))
