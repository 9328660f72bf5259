"""The parts of the benchmark. Each runs in a process of its own, with nothing else measured there."""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import formsim
from benchmarks import models
from benchmarks.models import Sizes
from benchmarks.timing import MEASURED, Row, growth, in_process, paired, row
from efa.data.loader import ClipDataset, open_dataset, pixels
from formsim.dataset import clips as formsim_clips

WARM = 2  # tokens written before the clock starts: allocations, code chosen for these sizes
LIMIT = 480.0  # seconds; a single run that would take longer is extrapolated
REPEATS = 3  # of a figure of memory at most, since it hardly varies
BATCH = 24  # clips that the loader hands over at once: the paper's
TOLERANCE = 1e-3  # of logits of models with equal weights
KINDS = {  # what a process does whose memory is measured -> its name in the table
    "ours": "our decoder with its cache",
    "transformers": "generate of transformers",
    "uncached": "itself without a cache",
    "masked": "the release's way, re-created",
    "pixels": "pixels to text",
}
Run = Callable[[int], Any]  # with a length, or another size


def decoding(sizes: Sizes, rounds: int, limit: float = LIMIT) -> list[Row]:
    """Our decoder with its cache against transformers, against itself without, and against the release's way."""
    theirs = models.bert(sizes)
    decoder, fused = models.decoder(sizes, theirs), models.video_tokens(sizes, sizes.memory)
    _check_equal(decoder, theirs, fused, sizes)
    ours: Run = partial(models.write_ours, decoder, fused)
    generate: Run = partial(models.write_theirs, theirs, fused)
    ours(WARM)
    generate(WARM)
    rows = [_compare(KINDS["transformers"], ours, generate, length, rounds) for length in sizes.lengths]
    released, joint = models.masked(sizes, theirs), models.video_tokens(sizes, sizes.joint)
    del theirs, generate
    uncached: Run = partial(models.write_uncached, decoder, fused)
    masked: Run = partial(models.write_masked, released, joint)
    rows += _slow(sizes, KINDS["uncached"], ours, uncached, models.flops_uncached, rounds, limit)
    return rows + _slow(sizes, KINDS["masked"], ours, masked, models.flops_masked, rounds, limit)


def _compare(what: str, ours: Run, other: Run, length: int, rounds: int) -> Row:
    times = paired({"ours": partial(ours, length), "other": partial(other, length)}, rounds)
    return _decoding_row(what, length, times["ours"], times["other"])


def _decoding_row(what: str, length: int, ours: list[float], other: list[float], how: str = MEASURED) -> Row:
    return row("decoding", f"against {what}", f"{length} tokens", ours, "s", other, how)


def _slow(
    sizes: Sizes, what: str, ours: Run, other: Run, count: Callable[[Sizes, int], int], rounds: int, limit: float
) -> list[Row]:
    """The shortest text `rounds` times, the longest once: run where that takes less than `limit` seconds, and
    otherwise extrapolated by counted operations from the one before it, which then is run once."""
    short, *_, middle, long = sizes.lengths
    other(WARM)
    first = _compare(what, ours, other, short, rounds)
    assert first.other is not None
    if first.other * count(sizes, long) / count(sizes, short) <= limit:
        return [first, _compare(what, ours, other, long, 1)]
    second = _compare(what, ours, other, middle, 1)
    assert second.other is not None
    times = paired({"ours": partial(ours, long)}, rounds)["ours"]
    estimate = second.other * count(sizes, long) / count(sizes, middle)
    how = f"extrapolated from {middle} tokens by counted operations"
    return [first, second, _decoding_row(what, long, times, [estimate] * rounds, how)]


@torch.no_grad()
def _check_equal(ours: Any, theirs: Any, fused: Tensor, sizes: Sizes) -> None:
    """Times of models that write different texts cannot be compared."""
    tokens = torch.arange(sizes.config.decoder.max_tokens)[None] % sizes.vocabulary
    logits = theirs(input_ids=tokens, encoder_hidden_states=fused).logits
    if not torch.allclose(ours(tokens, fused), logits, atol=TOLERANCE):
        raise RuntimeError("our decoder and transformers' give different logits with the same weights")


@torch.no_grad()
def growing(sizes: Sizes, rounds: int) -> list[Row]:
    """How our own times grow with the caption, the frames, the clips at once and the clips one after another."""
    torch.manual_seed(0)
    model, size = models.whole(sizes), sizes.config.data.size
    write: Run = partial(models.write_ours, model.decoder, models.video_tokens(sizes, sizes.memory))
    explain: Run = partial(models.explain, model, length=sizes.caption)
    what = f"pixels to {sizes.caption} tokens"
    grown: list[tuple[str, Run, tuple[int, ...], str]] = [
        ("decoding, by length", write, sizes.lengths, "tokens"),
        ("video encoder, by frames", lambda n: model.encoder(torch.zeros(1, n, 3, size, size)), sizes.frames, "frames"),
        (f"{what}, by clips in a batch", explain, sizes.batches, "clips"),
        (f"{what}, by clips one after another", lambda n: [explain(1) for _ in range(n)], sizes.batches, "clips"),
    ]
    rows = []
    for name, run, counts, unit in grown:
        run(counts[0])  # warm
        times = paired({f"{n} {unit if n != 1 else unit[:-1]}": partial(run, n) for n in counts}, rounds)
        rows += growth("growth", name, times)
    return rows


def memory(sizes: Sizes, rounds: int) -> list[Row]:
    """Largest resident memory of a process that does one thing, each figure from a process of its own."""
    length = sizes.lengths[-1]
    found = {kind: [megabytes(kind, sizes, length) for _ in range(min(rounds, REPEATS))] for kind in KINDS}
    size, ours = f"{length} tokens", found["ours"]
    compared = ("transformers", "uncached", "masked")
    rows = [row("memory", f"against {KINDS[kind]}", size, ours, "MB", found[kind]) for kind in compared]
    return [*rows, row("memory", KINDS["pixels"], size, found["pixels"], "MB")]


def megabytes(kind: str, sizes: Sizes, length: int) -> float:
    """Peak of a fresh process, in MiB, PyTorch itself included; of the release, its joint transformer alone."""
    return in_process(_peak, kind, sizes, length, threads=torch.get_num_threads())


@torch.no_grad()
def _peak(kind: str, sizes: Sizes, length: int) -> float:
    """Without a cache the last pass is the largest, so it alone is run."""
    torch.manual_seed(0)
    fused = models.video_tokens(sizes, sizes.joint if kind == "masked" else sizes.memory)
    if kind == "ours":
        models.write_ours(models.decoder(sizes), fused, length)
    elif kind == "transformers":
        models.write_theirs(models.bert(sizes), fused, length)
    elif kind == "uncached":
        models.decoder(sizes)(torch.ones(1, length, dtype=torch.long), fused)
    elif kind == "masked":
        models.masked(sizes).write(fused, torch.ones(1, length + 1, dtype=torch.long))
    else:
        models.explain(models.whole(sizes), 1, length)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)  # bytes there, KiB elsewhere


def rendering(sizes: Sizes, rounds: int) -> list[Row]:
    """FormSim's frames a second; it computes on one core whatever the threads."""
    chosen = formsim_clips()[: sizes.clips]
    rows = []
    for size in sizes.pixels:
        formsim.render_clip(chosen[0], size)  # actions and noise are read once
        rates = []
        for _ in range(rounds):
            start = time.perf_counter()
            frames = sum(len(formsim.render_clip(clip, size)) for clip in chosen)
            rates.append(frames / (time.perf_counter() - start))
        rows.append(row("rendering", "FormSim", f"{size} pixels", rates, "frames/s"))
    return rows


def feeding(sizes: Sizes, rounds: int) -> list[Row]:
    """Clips a second that the loader hands to a model, from a cache of frames that is in memory, and what the model's
    side then does to flip and crop them; on a GPU that second part is the GPU's."""
    rows = []
    for size in sizes.pixels:
        config = sizes.config.with_({"data.clips": 12 * sizes.clips, "data.size": size}).data
        dataset = open_dataset(config)
        count = len(dataset.table)
        with tempfile.TemporaryDirectory() as folder:
            shape = (count, config.frames, size, size, 3)
            frames = np.lib.format.open_memmap(Path(folder) / "frames.npy", "w+", np.uint8, shape)
            frames[:] = np.random.RandomState(0).randint(0, 256, frames.shape[1:]).astype(np.uint8)
            tokens, actions = torch.ones(count, 2, dtype=torch.long), np.zeros(count, np.int64)
            clips = ClipDataset(dataset, np.arange(count), frames, tokens, actions, config, seed=0)
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
        rows.append(row("feeding", "loader", f"{size} pixels", given[1:], "clips/s"))
        rows.append(row("feeding", "flip and crop, on this CPU", f"{size} pixels", cropped[1:], "clips/s"))
    return rows


PARTS: dict[str, Callable[[Sizes, int], list[Row]]] = {
    "decoding": decoding,
    "growth": growing,
    "memory": memory,
    "rendering": rendering,
    "feeding": feeding,
}
