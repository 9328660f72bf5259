"""Processes of their own, and rows of the table from times: alternating rounds, median and range."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

MEASURED = "measured"
T = TypeVar("T")


def in_process(run: Callable[..., T], *arguments: object, threads: int) -> T:
    """`run(*arguments)` in a process that has imported everything, computed nothing and ends with it.

    It is forked from a server that does nothing else: a process that is started anew would, on Linux, inherit the
    largest memory of the one that started it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.parts"])  # imported once
    with ProcessPoolExecutor(1, context, torch.set_num_threads, (threads,)) as pool:
        return pool.submit(run, *arguments).result()


@dataclass(frozen=True)
class Row:
    """A line of cpu.csv; its columns are the fields."""

    part: str  # of the benchmark, see `benchmarks.parts.PARTS`
    what: str  # the thing measured and, after 'against', what it is compared with
    size: str  # what `ours` and `other` were given
    ours: float  # median over the rounds, in `unit`
    other: float | None  # likewise; None where there is no comparison
    ratio: float | None  # other / ours, or in a row of growth this size / the first: median over the rounds
    unit: str
    repeats: int  # rounds
    low: float  # smallest ratio of a round; where there is no ratio, the smallest `ours`
    high: float  # the largest
    how: str = MEASURED  # or from what `other` was extrapolated


Times = dict[str, list[float]]  # name -> seconds of each round


def paired(runs: Mapping[str, Callable[[], Any]], rounds: int) -> Times:
    """Times several things in turns, so that what else the machine does falls on all of them alike.

    Args:
        runs: by name, warm. Every second round takes them in the opposite order.
        rounds: how often each is timed.
    """
    times: Times = {name: [] for name in runs}
    for i in range(rounds):
        for name in list(runs)[:: 1 if i % 2 == 0 else -1]:
            start = time.perf_counter()
            runs[name]()
            times[name].append(time.perf_counter() - start)
    return times


def row(
    part: str,
    what: str,
    size: str,
    ours: Sequence[float],
    unit: str,
    other: Sequence[float] | None = None,
    how: str = MEASURED,
    ratios: Sequence[float] | None = None,
) -> Row:
    """Ours, compared round by round with another where one is given."""
    if other is not None:
        ratios = [b / a for a, b in zip(ours, other, strict=True)]
    spread = ours if ratios is None else ratios
    ratio, against = (None if each is None else statistics.median(each) for each in (ratios, other))
    bounds = min(spread), max(spread)
    return Row(part, what, size, statistics.median(ours), against, ratio, unit, len(ours), *bounds, how)


def growth(part: str, what: str, times: Times, unit: str = "s") -> list[Row]:
    """One row a size; the ratio is to the first size of the same round."""
    first = next(iter(times.values()))
    ratios = {size: [b / a for a, b in zip(first, each, strict=True)] for size, each in times.items()}
    return [row(part, what, size, each, unit, ratios=ratios[size]) for size, each in times.items()]
