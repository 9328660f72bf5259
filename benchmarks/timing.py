"""Rows of the table, and how times become one: alternating rounds, median and range."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MEASURED = "measured"


@dataclass(frozen=True)
class Row:
    """A line of cpu.csv; its columns are the fields.

    Attributes:
        part: of the benchmark, see `benchmarks.parts.PARTS`.
        what: the thing measured and, after 'against', what it is held against.
        size: what `ours` and `other` were given.
        ours: median over the rounds, in `unit`.
        other: likewise; None where nothing is held against it.
        ratio: other / ours in a comparison, this size / the first size in a row of growth; median over the rounds of
            the ratio inside a round. None where there is neither.
        repeats: rounds.
        low: smallest ratio of a round; where there is no ratio, the smallest `ours`.
        high: the largest.
        how: 'measured', or from what `other` was extrapolated.
    """

    part: str
    what: str
    size: str
    ours: float
    other: float | None
    ratio: float | None
    unit: str
    repeats: int
    low: float
    high: float
    how: str = MEASURED


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


def comparison(
    part: str, what: str, size: str, ours: Sequence[float], other: Sequence[float], unit: str, how: str = MEASURED
) -> Row:
    """Ours against another, round by round."""
    ratios = [b / a for a, b in zip(ours, other, strict=True)]
    return _row(part, what, size, ours, statistics.median(other), ratios, unit, how)


def growth(part: str, what: str, times: Times, unit: str = "s") -> list[Row]:
    """One row a size; the ratio is to the first size of the same round."""
    first = next(iter(times.values()))
    return [
        _row(part, what, size, each, None, [b / a for a, b in zip(first, each, strict=True)], unit, MEASURED)
        for size, each in times.items()
    ]


def alone(part: str, what: str, size: str, ours: Sequence[float], unit: str) -> Row:
    """A figure that nothing is held against."""
    return _row(part, what, size, ours, None, None, unit, MEASURED)


def _row(
    part: str,
    what: str,
    size: str,
    ours: Sequence[float],
    other: float | None,
    ratios: Sequence[float] | None,
    unit: str,
    how: str,
) -> Row:
    spread = ours if ratios is None else ratios
    ratio = None if ratios is None else statistics.median(ratios)
    return Row(part, what, size, statistics.median(ours), other, ratio, unit, len(ours), min(spread), max(spread), how)
