"""From a data set to batches: frames rendered or decoded once, kept as uint8 in one file, augmented per clip."""

import contextlib
import hashlib
import os
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

import formsim
from efa.config import Config, DataConfig, FormSimData
from efa.data.checks import step_key
from efa.data.manifest import DataSet, StepText, load_dataset, make_dataset
from efa.data.skeleton import read_skeleton
from efa.data.video import load_clip
from efa.utils import paths
from efa.utils.files import locked, named, reserve
from efa.utils.signals import available_cores, end_with_parent, ignore_interrupts
from formsim.motion import JOINTS
from formsim.others import OTHER, other_record, other_skeleton
from formsim.others import STEPS as OTHER_STEPS
from formsim.skeletons import PHASES, imitate, skeleton, take, vary
from formsim.ways import people_skeleton

Array = np.ndarray
Progress = Callable[[int, int], None]  # done, total
Make = Callable[..., Array]
WINDOWS = 0.5  # share of the batches of skeletons that are windows of a longer video


@cache
def open_dataset(config: DataConfig, final: bool = False) -> DataSet:
    """FormSim in memory, or the folder that `config.source` names; InputError when it cannot be used.

    `final`: what finished runs are scored on, which is the sealed test split alone where the configuration has one.
    """
    if final and not getattr(config, "sealed", 0):
        return open_dataset(config)
    if not isinstance(config, FormSimData):
        return load_dataset(config.source)
    clips, record = formsim_clips(config), partial(formsim.record, words=np.random.RandomState())
    steps = {key: StepText(*text) for key, text in formsim.step_table(clips).items()}
    if config.others:
        steps[OTHER] = StepText(*OTHER_STEPS)
    if final:
        clips = formsim.sealed_clips(clips, config.sealed, config.sealed_seed)
        return make_dataset(map(record, clips), steps, clips)
    others = [other_record(i, config.seed) for i in range(config.others)]
    return make_dataset([*map(record, clips), *others], steps, clips)


def formsim_clips(config: FormSimData) -> tuple[formsim.Clip, ...]:
    """FormSim's clips as the configuration asks for them."""
    return formsim.clips(config.benchmark, config.clips, config.seed, formsim.some_actions(config.actions))


def data_fingerprint(dataset: DataSet, config: DataConfig) -> str:
    """What a run's data depend on: table, texts, videos and, for FormSim, its version."""
    version = f"formsim v{formsim.VERSION}" if isinstance(config, FormSimData) else ""
    return hashlib.sha256(f"{dataset.fingerprint()} {version}".encode()).hexdigest()[:16]


def load_frames(dataset: DataSet, config: DataConfig, progress: Progress | None = None) -> Array:
    """uint8 [N, T, S, S, 3] for every row of the table, memory-mapped; made once and shared by all runs."""
    name = f"{data_fingerprint(dataset, config)}-{config.frames}x{config.size}-{config.sampling}"
    name += f"-{config.clutter:g}" if isinstance(config, FormSimData) else ""
    shape = (len(dataset.table), config.frames, config.size, config.size, 3)
    path = paths.cache() / "frames" / f"{name}.npy"
    settings: dict[str, Any] = {"size": config.size, "frames": config.frames}
    make = partial(formsim.render_clip, **settings, clutter=getattr(config, "clutter", 0.0))
    clips = _of_clips(dataset, config, make, partial(_read_frames, **settings, rule=config.sampling))
    return cached_array(path, shape, np.uint8, (frames[None] for frames in clips), progress)


def load_skeletons(dataset: DataSet, config: DataConfig, progress: Progress | None = None) -> Array:
    """Joints float32 [N, 48, 20, 3] of every row of the table, memory-mapped: FormSim's own, else as estimated."""
    shape, people = (len(dataset.table), PHASES, len(JOINTS), 3), getattr(config, "people", False)
    path = paths.cache() / "skeletons" / f"{data_fingerprint(dataset, config)}{'-people' * people}.npy"
    clips = _of_clips(dataset, config, people_skeleton if people else skeleton, read_skeleton)
    if isinstance(config, FormSimData):
        others = range(len(dataset.table) - len(dataset.clips))
        clips = chain(clips, in_processes(partial(other_skeleton, seed=config.seed), others))
    return cached_array(path, shape, np.float32, (joints[None] for joints in clips), progress)


def observed_skeletons(cycles: Array, config: Config) -> Array:
    """What prediction reads of `load_skeletons`, float32 [N, T, 20, 3]: whole movements, FormSim's as if estimated."""
    draw = torch.Generator().manual_seed(0)
    parts = []
    for start in range(0, len(cycles), 256):
        joints = take(torch.from_numpy(np.array(cycles[start : start + 256])), config.data.frames)
        parts.append(imitate(joints, draw) if isinstance(config.data, FormSimData) else joints)
    return torch.cat(parts).numpy()


def _of_clips(dataset: DataSet, config: DataConfig, make: Make, read: Make) -> Iterator[Array]:
    """What `make` gives of each of FormSim's clips, or `read` of each video, in the table's order."""
    if isinstance(config, FormSimData):
        return in_processes(make, dataset.clips)
    return in_processes(read, [Path(config.source) / path for path in dataset.table["path"]])


def _read_frames(path: Path, **settings: Any) -> Array:
    return load_clip(path, **settings).frames


def cached_array(
    path: Path, shape: tuple[int, ...], dtype: Any, parts: Iterable[Array], progress: Progress | None = None
) -> Array:
    """A .npy file of `shape`, filled with `parts`, some rows each, unless it is there; it appears whole or not at all.
    Of several processes one makes it, and the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext() if path.is_file() else locked(path.with_suffix(".lock")):
        if path.is_file():
            return np.load(path, mmap_mode="r")
        for killed in path.parent.glob(f"{path.stem}.*.partly"):  # nobody else writes while the lock is held
            killed.unlink(missing_ok=True)
        partly, done = path.with_suffix(f".{os.getpid()}.partly"), 0
        try:
            with named(path):
                out = np.lib.format.open_memmap(partly, "w+", dtype, shape)
                reserve(partly, partly.stat().st_size)
            for rows in parts:
                out[done : done + len(rows)] = rows
                done += len(rows)
                if progress:
                    progress(done, shape[0])
            out.flush()
            os.replace(partly, path)
        finally:
            if isinstance(parts, Generator):  # ends the processes behind it
                parts.close()
            partly.unlink(missing_ok=True)
    return np.load(path, mmap_mode="r")


def in_processes(work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """`work` over `items` in order, on every core; small jobs stay in this process."""
    if available_cores() == 1 or len(items) < 64:
        yield from map(work, items)
        return
    with ProcessPoolExecutor(available_cores(), get_context("spawn"), end_with_parent) as pool:
        try:
            with ignore_interrupts():
                results = pool.map(work, items, chunksize=8)
            yield from results
        except BaseException:  # an interrupt, too, or nobody wants the rest
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def text_keys(dataset: DataSet, config: Config, actions: list[str] | None = None, wrong: bool = False) -> np.ndarray:
    """Which row of the step-text table each clip sees, int64 [N].

    `actions` are those that clips are taken for, by default the true ones. `wrong` gives the text of another standard
    of that action, or of another action where there is one standard only.
    """
    if config.fusion.text == "none":
        return np.full(len(dataset.table), -1)
    keys = list(dataset.steps)
    number = {key: i for i, key in enumerate(keys)}
    table, other = dataset.table, config.fusion.text == "wrong"
    out = []
    for action, standard, clip in zip(actions or table["action"], table["standard"], table["clip_id"], strict=True):
        key = step_key(action, standard)
        others = [k for k in keys if k != key]
        if not other:  # else any other key, drawn anew for each clip, so that it carries nothing
            others = [k for k in others if k.startswith(f"{action} [")] or others
        if (wrong or other) and others:
            key = others[zlib.crc32(f"shuffled {clip}".encode()) % len(others)]
        out.append(number.get(key, -1))
    return np.array(out)


@dataclass(eq=False)
class ClipDataset(Dataset[dict[str, Tensor]]):
    """Batches of one split."""

    dataset: DataSet
    rows: Array  # positions in `dataset.table`
    video: Array  # frames uint8 [N, T, S, S, 3], or frozen features [N, tokens, C]
    texts: Tensor  # token numbers [N, L]
    keys: Array  # int64 [N], which row of the step-text table each clip sees; -1: no text
    config: DataConfig
    seed: int | None  # of what a clip goes through in an epoch: one flip and one crop, or an estimator; None: nothing
    noise: float = 0.0  # of the joints, where the clips are skeletons [N, 48, 20, 3]
    epoch: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        table = self.dataset.table
        self.action = torch.as_tensor(table["action"].map(self.dataset.actions.index).to_numpy(np.int64, copy=True))
        self.quality = torch.as_tensor(table["quality"].to_numpy(np.float32, copy=True))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """One batch: video, action [B], quality [B], key [B], tokens [B, L], row [B].

        Frames are uint8 [B, T, S, S, 3]; for training also which of their lines and columns to take, int64 [B, S].
        `pixels` takes them where the model is: here it would be the slowest part of a step on a GPU.
        """
        rows = self.rows[indices]
        video, crop = torch.from_numpy(self.video[rows]), {}
        if video.ndim == 4 and self.seed is not None:
            video = self._estimated(video, rows)
        elif video.dtype != torch.uint8:
            video = video.float()
        elif self.seed is not None:
            draws = [np.random.RandomState(zlib.crc32(f"{self.seed} {self.epoch} {r}".encode())) for r in rows]
            kept = [flip_and_crop(self.video.shape[2], self.config, draw) for draw in draws]
            lines, columns = (torch.from_numpy(np.stack(part)) for part in zip(*kept, strict=True))
            crop = {"lines": lines, "columns": columns}
        at = torch.as_tensor(rows)
        tokens = self.texts[at]
        longest = max(1, int((tokens != 0).sum(1).max())) if len(tokens) else 1
        batch = {"video": video, "action": self.action[at], "quality": self.quality[at], "row": at}
        return batch | {"key": torch.as_tensor(self.keys)[at], "tokens": tokens[:, :longest]} | crop

    def _estimated(self, cycles: Tensor, rows: Array) -> Tensor:
        """Performances [B, 48, 20, 3] -> a window of each as an estimator might report it, [B, T, 20, 3]."""
        draw = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {self.epoch} {rows.tolist()}".encode()))
        windows = torch.rand(1, generator=draw).item() < WINDOWS  # else whole movements, by which form is judged
        joints = take(cycles, self.config.frames, draw if windows else None, isinstance(self.config, FormSimData))
        if not isinstance(self.config, FormSimData):
            return imitate(joints, draw, 0.0)
        if windows:
            joints = vary(joints, list(self.dataset.table["action"].iloc[rows]), draw)
        level = self.noise * (0.3 + 0.9 * torch.rand(1, generator=draw).item())
        return imitate(joints, draw, level, self.config.people)


def flip_and_crop(size: int, config: DataConfig, draw: np.random.RandomState) -> tuple[Array, Array]:
    """The lines and columns that one flip and one crop take of a square picture, int64 [S] each (nearest pixel)."""
    mirrored = draw.random_sample() < config.flip
    top, bottom, left, right = (draw.random_sample(4) * config.crop * size).astype(int)
    lines = top + (np.arange(size) * (size - top - bottom)) // size
    columns = left + (np.arange(size) * (size - left - right)) // size
    return lines, size - 1 - columns if mirrored else columns


def pixels(batch: dict[str, Tensor]) -> Tensor:
    """The frames of a batch, flipped and cropped if it says so, uint8 [B, T, 3, S, S]; skeletons as they are."""
    video = batch["video"]  # [B, T, S, S, 3]
    if video.dtype != torch.uint8:
        return video
    if "lines" in batch:
        crops = zip(video, batch["lines"], batch["columns"], strict=True)
        video = torch.stack([clip[:, lines][:, :, columns] for clip, lines, columns in crops])
    return video.permute(0, 1, 4, 2, 3)


class EpochSampler(Sampler[int]):
    """A shuffle, or draws with replacement by `weights`, from (seed, epoch) alone: a resumed run has the same order."""

    def __init__(self, size: int, seed: int, weights: Array | None = None):
        self.size, self.seed, self.weights, self.epoch = size, seed, weights, 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        draw = np.random.RandomState(zlib.crc32(f"order {self.seed} {self.epoch}".encode()))
        if self.weights is None:
            return iter(draw.permutation(self.size).tolist())
        return iter(draw.choice(self.size, self.size, p=self.weights / self.weights.sum()).tolist())


def as_is(batch: Any) -> Any:
    """The collate function: `ClipDataset.__getitems__` has already made a batch."""
    return batch
