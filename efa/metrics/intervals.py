"""Intervals: over clips by bootstrap, over seeds by Student's t. 95 % throughout."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from efa.metrics.forms import balanced_accuracy


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


def balanced_accuracy_interval(
    quality: ArrayLike, quality_prob: ArrayLike, n: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the balanced quality accuracy, in percent. Rows of unknown quality (-1) are left out.

    Args:
        quality: [N] truth, 0, 1 or -1. quality_prob: [N] probability of non-standard form.
    """
    truth, prob = np.asarray(quality), np.asarray(quality_prob, dtype=float)
    known = truth >= 0
    pairs = np.stack([truth[known], prob[known] >= 0.5], axis=1)  # [N, 2]
    return bootstrap(pairs, lambda rows: 100 * balanced_accuracy(rows[:, 0], rows[:, 1]), n, seed)


def paired_bootstrap(a_correct: ArrayLike, b_correct: ArrayLike, n: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Interval of mean(a) - mean(b), two systems on the same clips in the same order; it excludes 0 where they differ.

    Args:
        a_correct, b_correct: [N] per clip, right or wrong or any per-clip score. The answer has their unit.

    Raises:
        ValueError: lengths differ.
    """
    a, b = np.asarray(a_correct, dtype=float), np.asarray(b_correct, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"paired values of shapes {a.shape} and {b.shape}")
    return bootstrap(a - b, n=n, seed=seed)


def mean_interval(seed_values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Mean over seeds and its Student-t interval: (mean, low, high). One seed has no interval: low = high = NaN."""
    values = np.asarray(seed_values, dtype=float)
    if len(values) == 0:
        return math.nan, math.nan, math.nan
    mean = float(values.mean())
    if len(values) == 1:
        return mean, math.nan, math.nan
    half = t_quantile(0.975, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def t_quantile(p: float, dof: int) -> float:
    """Quantile of Student's t for p in [0.5, 1), by bisection on the closed form for whole degrees of freedom.

    Abramowitz & Stegun 26.7.3 and 26.7.4 (scipy is not a dependency). Exact to 1e-9 relative.
    """

    def central(theta: float) -> float:
        """P(|t| < sqrt(dof) tan(theta))."""
        cos, sin = math.cos(theta), math.sin(theta)
        odd = dof % 2 == 1
        term = cos if odd else 1.0
        total = 0.0 if dof == 1 else term
        for k in range(3 if odd else 2, dof - 1, 2):
            term *= cos * cos * (k - 1) / k
            total += term
        return 2 / math.pi * (theta + sin * total) if odd else sin * total

    low, high = 0.0, math.pi / 2  # theta = atan(t / sqrt(dof))
    for _ in range(200):
        theta = (low + high) / 2
        low, high = (theta, high) if central(theta) < 2 * p - 1 else (low, theta)
    return math.sqrt(dof) * math.tan((low + high) / 2)
