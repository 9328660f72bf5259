"""How many faults texts name rightly, wrongly, or not at all."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from formsim.faults import FaultParser


def fault_counts(
    texts: Sequence[str], actions: Sequence[str], quality: ArrayLike, faults: Sequence[str], parser: FaultParser
) -> np.ndarray:
    """Per clip: faults named rightly, named wrongly, missed. int [N, 3].

    The truth is {fault} for a non-standard clip and nothing for a standard one. `micro_f1` of a sum or a bootstrap
    draw of the rows is the fault F1.
    """
    counts = np.zeros((len(texts), 3), dtype=np.int64)
    for i, (text, action, nonstandard, fault) in enumerate(
        zip(texts, actions, np.asarray(quality) == 1, faults, strict=True)
    ):
        named, true = parser.faults(text, action), ({fault} if nonstandard and fault else set())
        counts[i] = len(named & true), len(named - true), len(true - named)
    return counts


def micro_f1(counts: np.ndarray) -> float:
    """F1 in [0, 1] of rows of `fault_counts`, [N, 3]; NaN where nothing is true and nothing named."""
    right, wrong, missed = counts.sum(axis=0)
    total = 2 * right + wrong + missed
    return float(2 * right / total) if total else float("nan")
