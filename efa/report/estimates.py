"""From scores to estimates with intervals, and from two estimates to a verdict on a claim."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from efa import metrics
from efa.config import build
from efa.metrics import FaultParser
from efa.report.collect import Results
from efa.runs import parser_for

Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Metric:
    """How a metric is shown, and from which difference on it would matter (declared before any run was looked at)."""

    key: str
    title: str
    tolerance: float = 1.0  # points


CIDER = Metric("cider_d", "CIDEr-D", 2.0)
METEOR = Metric("meteor", "METEOR")
ROUGE = Metric("rouge_l", "ROUGE-L")
BLEU4 = Metric("bleu4", "BLEU-4")
TOP1 = Metric("top1", "Top-1")
QUALITY = Metric("quality_acc", "quality accuracy")
BALANCED = Metric("quality_balanced_acc", "balanced accuracy")
AUC = Metric("quality_auc", "AUC of form")
FAULT = Metric("fault_f1", "fault F1")
ABLATION_METRICS = (CIDER, METEOR, ROUGE, BLEU4, TOP1, QUALITY, BALANCED, FAULT)


@dataclass(frozen=True)
class Claim:
    """What leaving a part out is meant to show: EFA is better than the row, in these metrics."""

    row: str
    says: str
    metrics: tuple[Metric, ...] = (CIDER, BALANCED)


# One metric for the explanation (the one of the paper's abstract) and one for the verdict: the balanced accuracy, which
# cannot be had by always saying 'standard'.
CLAIMS = (
    Claim("w/o global branch", "the global branch helps"),
    Claim("w/o step branch", "the step branch helps"),
    Claim("Q-text", "text alone as the query is not enough"),
    Claim("Q-video", "video alone as the query is not enough"),
    Claim("Concatenate", "the gate beats concatenation"),
    Claim("Add", "the gate beats addition"),
    Claim("w/o text", "reading the steps helps"),
    Claim("Shuffled text", "the right steps help more than wrong ones"),
)


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95 % interval (NaN: none) and where that comes from: 'seeds', 'clips' or ''."""

    mean: float
    low: float = math.nan
    high: float = math.nan
    over: str = ""

    @property
    def known(self) -> bool:
        return not math.isnan(self.mean)

    @property
    def bounded(self) -> bool:
        return not (math.isnan(self.low) or math.isnan(self.high))


NOTHING = Estimate(math.nan)


def estimate(results: Results, row: str, metric: str, protocol: str = "") -> Estimate:
    """Mean over seeds with Student's t interval; with one seed the bootstrap over test clips, where there is one."""
    key = (row, metric, protocol or results.protocol(row))
    if key not in results.memo:  # a table and its figure ask for the same, and parsing texts takes a second
        results.memo[key] = _estimate(results, *key)
    return results.memo[key]


def _estimate(results: Results, row: str, metric: str, protocol: str) -> Estimate:
    values = results.values(row, metric, protocol)
    if not values:
        return NOTHING
    if len(values) > 1:
        return Estimate(*metrics.mean_interval(list(values.values())), "seeds")
    seed, value = next(iter(values.items()))
    drawn = per_clip(metric, results.clips(row, seed, protocol), _parser(results, metric))
    low, high = metrics.bootstrap(*drawn) if drawn is not None else (math.nan, math.nan)
    return Estimate(value, low, high, "" if math.isnan(low) else "clips")


def difference(results: Results, row: str, metric: str, reference: str = "EFA") -> Estimate:
    """`reference` minus `row`: paired by seed, or with one seed by clip.

    The interval by clip says how sure the difference between *these two models* is, not what another seed would give.
    """
    mine, other = results.values(reference, metric), results.values(row, metric)
    common = sorted(mine.keys() & other.keys())
    if not common:
        return NOTHING
    if len(common) > 1:
        return Estimate(*metrics.mean_interval([mine[seed] - other[seed] for seed in common]), "seeds")
    value = mine[common[0]] - other[common[0]]
    parser = _parser(results, metric)
    pair = [per_clip(metric, results.clips(name, common[0]), parser) for name in (reference, row)]
    if pair[0] is None or pair[1] is None or len(pair[0][0]) != len(pair[1][0]):
        return Estimate(value)
    (a, statistic), (b, _) = pair[0], pair[1]
    both = np.stack([a.reshape(len(a), -1), b.reshape(len(b), -1)], axis=1)  # [N, 2, k]

    def gap(rows: np.ndarray) -> float:
        return statistic(rows[:, 0]) - statistic(rows[:, 1])

    return Estimate(value, *metrics.bootstrap(both, gap), "clips")


def verdict(gap: Estimate, tolerance: float) -> str:
    """What a difference in favour of EFA says about the claim.

    'cannot be told': no interval over seeds, or it includes 0. 'holds': the interval lies above 0 and the difference is
    at least `tolerance`. 'does not hold': everything else, that is EFA is worse, or better by less than would matter.
    """
    if gap.over != "seeds" or not gap.bounded or gap.low <= 0 <= gap.high:
        return "cannot be told"
    return "holds" if gap.low > 0 and gap.mean >= tolerance else "does not hold"


def per_clip(
    metric: str, clips: pd.DataFrame | None, parser: FaultParser | None
) -> tuple[np.ndarray, Statistic] | None:
    """What a bootstrap of a metric draws from, [N, k], and the statistic in percent of such rows; None: no such thing.

    The n-gram scores have none: BLEU and METEOR are no means over clips, and scoring them again takes minutes.
    """
    if clips is None or clips.empty:
        return None
    quality = clips["quality"].to_numpy()
    if metric in ("top1", "top5"):
        ranked = zip(clips["action"], clips["top5"], strict=True)
        right = [a in t for a, t in ranked] if metric == "top5" else clips["predicted_action"] == clips["action"]
        return np.asarray(right, dtype=float)[:, None], lambda rows: 100 * float(rows.mean())
    if metric in ("quality_acc", "quality_balanced_acc", "quality_auc"):
        known = quality >= 0
        pairs = np.stack([quality[known], clips["quality_prob"].to_numpy(dtype=float)[known]], axis=1)
        return pairs, _QUALITY[metric]
    if metric == "fault_f1" and parser is not None:
        usable = clips[(quality == 0) | ((quality == 1) & (clips["fault"] != ""))]
        counts = metrics.fault_counts(
            list(usable["explanation"]), list(usable["action"]), usable["quality"], list(usable["fault"]), parser
        )
        return counts, lambda rows: 100 * metrics.micro_f1(rows)
    return None


_QUALITY: dict[str, Statistic] = {
    "quality_acc": lambda rows: 100 * float(((rows[:, 1] >= 0.5) == rows[:, 0]).mean()),
    "quality_balanced_acc": lambda rows: 100 * metrics.balanced_accuracy(rows[:, 0], rows[:, 1] >= 0.5),
    "quality_auc": lambda rows: 100 * metrics.auc(rows[:, 0], rows[:, 1]),
}


def _parser(results: Results, metric: str) -> FaultParser | None:
    return _parser_of(build(results.preset, results.overrides).data.source) if metric == "fault_f1" else None


@cache
def _parser_of(source: str) -> FaultParser | None:
    return parser_for(build("laptop", {"data.source": source}))
