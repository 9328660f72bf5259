"""Intervals: over clips by bootstrap, over seeds by Student's t. 95 % throughout."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit  # quantiles of Student's t; scipy.stats imports four times as slowly


def bootstrap(
    values: ArrayLike, statistic: Callable[[np.ndarray], Any] = np.mean, n: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of a statistic over clips drawn with replacement (Efron 1979).

    Args:
        values: one row a clip, [N] or [N, ...]; whole rows are drawn, so paired columns stay together.
        statistic: rows -> a number; NaN where a draw leaves it undefined (that draw is dropped).
        n: draws. seed: of the draws.

    Returns:
        (low, high) in the unit of the statistic; NaN for no clips.
    """
    rows = np.asarray(values)
    if len(rows) == 0:
        return math.nan, math.nan
    random = np.random.RandomState(seed)
    drawn = np.array([float(statistic(rows[random.randint(0, len(rows), len(rows))])) for _ in range(n)])
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (math.nan, math.nan)
    return float(low), float(high)


def mean_interval(seed_values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Mean over seeds and its Student-t interval: (mean, low, high). One seed has no interval: low = high = NaN."""
    values = np.asarray(seed_values, dtype=float)
    if len(values) < 2:
        return float(values[0]) if len(values) else math.nan, math.nan, math.nan
    mean = float(values.mean())
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half
