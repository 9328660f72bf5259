"""FormSim's endless streams, from which parts are pre-trained: rendered clips with their poses, and texts.

The streams' people, rooms and performances have seeds of their own, so no benchmark's clip or text is ever seen. Poses
are wider than the benchmarks': random offsets, several faults at once, any range.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import formsim
from formsim.motion import ANGLES, JOINTS

STREAM_SEED = 1_000_003  # no benchmark uses it; the clips and texts held out have the next one

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # frames, joints, angles, places, deviations


def _swap(names: tuple[str, ...]) -> list[int]:
    """Index of each name's mirror image: 'thigh_l.out' for 'thigh_r.out'; names without a side stay."""
    other = {"l": "_r", "r": "_l"}
    return [names.index(re.sub(r"_([lr])(?=$|\.)", lambda side: other[side[1]], name)) for name in names]


SWAPPED_JOINTS, SWAPPED_ANGLES = _swap(JOINTS), _swap(ANGLES)
NEGATED_ANGLES = [  # by a mirror
    i for i, a in enumerate(ANGLES) if a in ("yaw", "pelvis.roll", "pelvis.twist") or "side" in a or "twist" in a
]


def explanations(count: int, seed: int) -> list[str]:
    """Explanations of `count` clips, half from a main and half from a standards benchmark of this seed."""
    half = count // 2
    chosen = [*formsim.clips("main", count - half, seed), *formsim.clips("standards", half, seed)]
    return [str(formsim.record(clip)["explanation"]) for clip in chosen]


def read_clips(
    count: int, seed: int, folder: Path, frames: int = 6, size: int = 64, clutter: float = 1.0,
    parallel_map: Callable[[Any, Any], Iterable[Any]] = map,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """The first clips of a stream, rendered once and then read from `folder`.

    Returns memory-mapped frames uint8 [n, T, S, S, 3] and the four targets of `pose_target`, float32 [n, T, ...].
    """
    folder = folder / f"v{formsim.VERSION}-{count}x{frames}x{size}-{clutter:g}-{seed}"
    if not folder.is_dir():
        render = partial(_render, seed=seed, frames=frames, size=size, clutter=clutter)
        parts = zip(*parallel_map(render, range(count)), strict=True)
        partial_folder = folder.with_name(f"{folder.name}.{os.getpid()}.partly")
        partial_folder.mkdir(parents=True)
        for i, part in enumerate(parts):
            np.save(partial_folder / f"{i}.npy", np.stack(part))
        partial_folder.rename(folder)
    return tuple(np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(5))


def _render(i: int, seed: int, frames: int, size: int, clutter: float) -> tuple[np.ndarray, ...]:
    clip = formsim.stream_clip(i, seed)
    return formsim.render_clip(clip, size, frames, clutter), *formsim.pose_target(clip, frames)


def tensors(clips: tuple[np.ndarray, ...], rows: np.ndarray | slice) -> Batch:
    """Some rows of `read_clips` as tensors: frames uint8 [B, T, 3, S, S] and the targets float32 [B, T, ...]."""
    frames, joints, angles, places, deviation = (torch.from_numpy(np.array(part[rows])) for part in clips)
    return frames.permute(0, 1, 4, 2, 3), joints, angles, places, deviation


def batches(clips: tuple[np.ndarray, ...], passes: int, batch: int, seed: int) -> Iterator[Batch]:
    """Shuffled and augmented batches, every clip once a pass except the remainder; frames float32 of 0 to 255."""
    draw = np.random.RandomState(seed)
    for _ in range(passes):
        order = draw.permutation(len(clips[0]))
        for start in range(0, len(order) // batch * batch, batch):
            rows = order[start : start + batch]
            which = torch.from_numpy(draw.random_sample(batch) < 0.5)
            frames, joints, angles, places, deviation = mirror(*tensors(clips, rows), which)
            frames, places = zoom(frames, places, draw)
            yield recolor(frames, draw), joints, angles, places, deviation


def mirror(frames: Tensor, joints: Tensor, angles: Tensor, places: Tensor, deviation: Tensor, which: Tensor) -> Batch:
    """Exchange left and right in the clips that `which` [B] marks, in pictures and targets alike."""
    new_angles = angles[:, :, SWAPPED_ANGLES].clone()
    new_angles[:, :, NEGATED_ANGLES, 0] *= -1  # the sine of the opposite angle
    new_deviation = deviation[:, :, SWAPPED_ANGLES].clone()
    new_deviation[:, :, NEGATED_ANGLES] *= -1
    pairs = (
        (frames.flip(-1), frames),
        (joints[:, :, SWAPPED_JOINTS] * torch.tensor([-1.0, 1.0, 1.0]), joints),
        (new_angles, angles),
        (places[:, :, SWAPPED_JOINTS] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0]), places),
        (new_deviation, deviation),
    )
    return tuple(torch.where(which.view(-1, *[1] * (old.ndim - 1)), new, old) for new, old in pairs)  # type: ignore[return-value]


def zoom(frames: Tensor, places: Tensor, draw: np.random.RandomState) -> tuple[Tensor, Tensor]:
    """Move each clip a little nearer or farther and off the centre, all its frames alike; float frames, and places."""
    b, t, c, h, w = frames.shape
    scale = torch.from_numpy(draw.uniform(0.8, 1.08, b).astype(np.float32))
    shift = torch.from_numpy(draw.uniform(-0.12, 0.12, (b, 2)).astype(np.float32))  # in half widths
    affine = torch.zeros(b, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = scale
    affine[:, :, 2] = shift
    grid = F.affine_grid(affine, [b, t * c, h, w], align_corners=False)
    zoomed = F.grid_sample(frames.flatten(1, 2).float(), grid, padding_mode="border", align_corners=False)
    moved = (2 * places - 1 - shift.view(b, 1, 1, 2)) / scale.view(b, 1, 1, 1)
    return zoomed.unflatten(1, (t, c)), (moved + 1) / 2


def recolor(frames: Tensor, draw: np.random.RandomState) -> Tensor:
    """Exchange and scale each clip's colour channels at random, so that one rendering serves as several."""
    b = len(frames)
    order = torch.from_numpy(np.stack([draw.permutation(3) for _ in range(b)]))
    gain = torch.from_numpy(draw.uniform(0.75, 1.25, (b, 1, 3, 1, 1)).astype(np.float32))
    return (frames[torch.arange(b)[:, None], :, order].transpose(1, 2) * gain).clamp(0, 255)
