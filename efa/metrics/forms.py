"""Scores of verdicts on form (balanced accuracy, AUC) and of the faults that texts name."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from formsim.faults import FaultParser


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mean of the two classes' recalls, in [0, 1]; NaN where a class has no clip. Both arguments [N] of 0/1."""
    t, p = np.asarray(truth).astype(bool), np.asarray(predicted).astype(bool)
    return float("nan") if t.all() or not t.any() else float((p[t].mean() + (~p[~t]).mean()) / 2)


def auc(truth: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve (Mann-Whitney, ties half) of scores [N], higher for class 1, and truth [N] of 0/1.
    NaN where a class has no clip."""
    t, s = np.asarray(truth).astype(bool), np.asarray(scores, dtype=float)
    _, at, counts = np.unique(s, return_inverse=True, return_counts=True)
    ranks, ones, zeros = (counts.cumsum() - (counts - 1) / 2)[at], t.sum(), (~t).sum()
    return float((ranks[t].sum() - ones * (ones + 1) / 2) / (ones * zeros)) if ones and zeros else float("nan")


def fault_counts(
    texts: Sequence[str], actions: Sequence[str], quality: ArrayLike, faults: Sequence[str], parser: FaultParser
) -> np.ndarray:
    """Per clip: faults named rightly, named wrongly, missed. int [N, 3].

    The truth is {fault} for a non-standard clip and nothing for a standard one. `micro_f1` of a sum or a bootstrap
    draw of the rows is the fault F1.
    """
    counts = np.zeros((len(texts), 3), dtype=np.int64)
    rows = zip(texts, actions, np.asarray(quality) == 1, faults, strict=True)
    for i, (text, action, nonstandard, fault) in enumerate(rows):
        named, true = parser.faults(text, action), ({fault} if nonstandard and fault else set())
        counts[i] = len(named & true), len(named - true), len(true - named)
    return counts


def micro_f1(counts: np.ndarray) -> float:
    """F1 in [0, 1] of rows of `fault_counts`, [N, 3]; NaN where nothing is true and nothing named."""
    right, wrong, missed = counts.sum(axis=0)
    total = 2 * right + wrong + missed
    return float(2 * right / total) if total else float("nan")
