"""The parts of the benchmark. Each runs in a process of its own, with nothing else measured there."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import models
from benchmarks.memory import KINDS, megabytes
from benchmarks.models import Sizes
from benchmarks.timing import Row, alone, comparison, growth, paired
from efa.data.loader import ClipDataset, open_dataset, pixels
from efa.model.assessor import EFAModel
from efa.model.swin import VideoSwin

WARM = 2  # tokens written before the clock starts: allocations, code chosen for these sizes
LIMIT = 480.0  # seconds; a single run that would take longer is extrapolated
REPEATS = 3  # of a figure of memory at most, since it hardly varies
BATCH = 24  # clips that the loader hands over at once: the paper's
TOLERANCE = 1e-3  # of logits of models that are said to be equal


def decoding(sizes: Sizes, rounds: int, limit: float = LIMIT) -> list[Row]:
    """Our decoder with its cache against transformers, against itself without, and against the release's way."""
    theirs = models.bert(sizes)
    ours, fused = models.decoder(sizes, theirs), models.memory(sizes, sizes.memory)
    _insist_on_equal(ours, theirs, fused, sizes)
    rows = []
    models.write_ours(ours, fused, WARM)
    models.write_theirs(theirs, fused, WARM)
    for length in sizes.lengths:
        cached = partial(models.write_ours, ours, fused, length)
        times = paired({"ours": cached, "theirs": partial(models.write_theirs, theirs, fused, length)}, rounds)
        rows.append(
            comparison(
                "decoding", "against generate of transformers", _tokens(length), times["ours"], times["theirs"], "s"
            )
        )
    released, joint = models.masked(sizes, theirs), models.memory(sizes, sizes.joint)
    del theirs
    slow: dict[str, tuple[Callable[[int], Any], Callable[[Sizes, int], int]]] = {
        "against itself without a cache": (
            lambda length: models.write_ours(ours, fused, length, use_cache=False),
            models.flops_uncached,
        ),
        "against the release's way, re-created": (
            lambda length: models.write_masked(released, joint, length),
            models.flops_masked,
        ),
    }
    for what, (run, count) in slow.items():
        rows += _slow(sizes, what, partial(models.write_ours, ours, fused), run, partial(count, sizes), rounds, limit)
    return rows


def _slow(
    sizes: Sizes,
    what: str,
    ours: Callable[[int], Any],
    other: Callable[[int], Any],
    count: Callable[[int], int],
    rounds: int,
    limit: float,
) -> list[Row]:
    """The shortest text `rounds` times, the longest once: run where that takes less than `limit` seconds, and
    otherwise extrapolated by counted operations from the one before it, which then is run once."""
    short, *_, middle, long = sizes.lengths

    def timed(length: int, times: int) -> Row:
        found = paired({"ours": partial(ours, length), "other": partial(other, length)}, times)
        return comparison("decoding", what, _tokens(length), found["ours"], found["other"], "s")

    other(WARM)
    first = timed(short, rounds)
    assert first.other is not None
    if first.other * count(long) / count(short) <= limit:
        return [first, timed(long, 1)]
    second = timed(middle, 1)
    assert second.other is not None
    mine = paired({"ours": partial(ours, long)}, rounds)["ours"]
    estimate = second.other * count(long) / count(middle)
    how = f"extrapolated from {_tokens(middle)} by counted operations"
    return [first, second, comparison("decoding", what, _tokens(long), mine, [estimate] * rounds, "s", how)]


@torch.no_grad()
def _insist_on_equal(ours: Any, theirs: Any, fused: Tensor, sizes: Sizes) -> None:
    """Times of models that say different things cannot be compared."""
    tokens = torch.arange(sizes.config.decoder.max_tokens)[None] % sizes.vocabulary
    said = theirs(input_ids=tokens, encoder_hidden_states=fused).logits
    if not torch.allclose(ours(tokens, fused), said, atol=TOLERANCE):
        raise RuntimeError("our decoder and transformers' say different things with the same weights")


@torch.no_grad()
def growing(sizes: Sizes, rounds: int) -> list[Row]:
    """How our own times grow with the caption, the frames, the clips at once and the clips one after another."""
    config = sizes.config
    torch.manual_seed(0)
    model = EFAModel(config, actions=141, vocabulary_size=sizes.vocabulary, text_dim=config.fusion.dim).eval()
    fused = models.memory(sizes, sizes.memory)

    def explain(clips: int) -> None:
        """From pixels to text; sentence vectors are computed once an action, so they are given."""
        frames = torch.zeros(clips, config.data.frames, 3, config.data.size, config.data.size)
        texts = torch.zeros(clips, 6, config.fusion.dim)
        features = model.encode_video(frames)
        model.generate(features, texts[:, 1:], texts[:, :1], None, models.BEGIN, models.NEVER, sizes.caption)

    def one_by_one(clips: int) -> None:
        for _ in range(clips):
            explain(1)

    encode: Callable[[int], Any] = partial(_encode, model.encoder, config.data.size)
    write: Callable[[int], Any] = partial(models.write_ours, model.decoder, fused)
    what = f"pixels to {sizes.caption} tokens"
    grown: list[tuple[str, Callable[[int], Any], tuple[int, ...], str]] = [
        ("decoding, by length", write, sizes.lengths, "tokens"),
        ("video encoder, by frames", encode, sizes.frames, "frames"),
        (f"{what}, by clips in a batch", explain, sizes.batches, "clips"),
        (f"{what}, by clips one after another", one_by_one, sizes.batches, "clips"),
    ]
    rows = []
    for name, run, counts, of in grown:
        run(counts[0])  # warm
        times = paired({_some(n, of): partial(run, n) for n in counts}, rounds)
        rows += growth("growth", name, times)
    return rows


def _encode(encoder: VideoSwin, size: int, frames: int) -> Tensor:
    return encoder(torch.zeros(1, frames, 3, size, size))


def memory(sizes: Sizes, rounds: int) -> list[Row]:
    """Largest resident memory of a process that does one thing, each figure from a process of its own."""
    length = sizes.lengths[-1]
    found = {kind: [megabytes(kind, sizes, length) for _ in range(min(rounds, REPEATS))] for kind in KINDS}
    rows = [
        comparison("memory", f"against {KINDS[kind]}", _tokens(length), found["ours"], found[kind], "MB")
        for kind in ("transformers", "uncached", "masked")
    ]
    return [*rows, alone("memory", KINDS["pixels"], _tokens(length), found["pixels"], "MB")]


def rendering(sizes: Sizes, rounds: int) -> list[Row]:
    """FormSim's frames a second; it computes on one core whatever the threads."""
    import formsim
    from formsim.dataset import clips

    chosen = clips()[: sizes.clips]
    rows = []
    for size in sizes.pixels:
        formsim.render_clip(chosen[0], size)  # actions and noise are read once
        rates = []
        for _ in range(rounds):
            start = time.perf_counter()
            frames = sum(len(formsim.render_clip(clip, size)) for clip in chosen)
            rates.append(frames / (time.perf_counter() - start))
        rows.append(alone("rendering", "FormSim", f"{size} pixels", rates, "frames/s"))
    return rows


def feeding(sizes: Sizes, rounds: int) -> list[Row]:
    """Clips a second that the loader hands to a model, from a cache of frames that is in memory, and what the model's
    side then does to flip and crop them; on a GPU that second part is the GPU's."""
    import tempfile

    rows = []
    for size in sizes.pixels:
        config = sizes.config.with_({"data.clips": 12 * sizes.clips, "data.size": size}).data
        dataset = open_dataset(config)
        with tempfile.TemporaryDirectory() as folder:
            frames = np.lib.format.open_memmap(
                Path(folder) / "frames.npy", "w+", np.uint8, (len(dataset.table), config.frames, size, size, 3)
            )
            frames[:] = np.random.RandomState(0).randint(0, 256, frames.shape[1:]).astype(np.uint8)
            clips = ClipDataset(
                dataset,
                np.arange(len(dataset.table)),
                frames,
                torch.ones(len(dataset.table), 2, dtype=torch.long),
                np.zeros(len(dataset.table), np.int64),
                config,
                seed=0,
                train=True,
            )
            batches = [list(range(i, i + BATCH)) for i in range(0, len(clips) - BATCH + 1, BATCH)]
            given, cropped = [], []
            for _ in range(rounds + 1):  # the first is to warm up
                start = time.perf_counter()
                loaded = [clips.__getitems__(batch) for batch in batches]
                between = time.perf_counter()
                for batch in loaded:
                    pixels(batch)
                given.append(len(batches) * BATCH / (between - start))
                cropped.append(len(batches) * BATCH / (time.perf_counter() - between))
        rows.append(alone("feeding", "loader", f"{size} pixels", given[1:], "clips/s"))
        rows.append(alone("feeding", "flip and crop, on this CPU", f"{size} pixels", cropped[1:], "clips/s"))
    return rows


def _tokens(count: int) -> str:
    return _some(count, "tokens")


def _some(count: int, of: str) -> str:
    return f"{count} {of if count != 1 else of.removesuffix('s')}"


PARTS: dict[str, Callable[[Sizes, int], list[Row]]] = {
    "decoding": decoding,
    "growth": growing,
    "memory": memory,
    "rendering": rendering,
    "feeding": feeding,
}
