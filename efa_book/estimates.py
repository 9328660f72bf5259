"""From scores to estimates with intervals: of a row, of two rows' difference, of one row's lead over all others.

And what a row's number cannot be: why there is none (`absence`), and what needs no look at a clip (`floor`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from efa import metrics
from efa.config import build
from efa.data.loader import open_dataset
from efa.experiments import table_config
from efa.metrics import FaultParser
from efa.runs import parser_for
from efa.utils.errors import InputError
from efa_book.collect import Results
from efa_book.parsing import SentenceMemory
from efa_book.table_specs import KNOWN

Statistic = Callable[[np.ndarray], float]
Drawn = tuple[np.ndarray, Statistic]

REASONS = {  # what a cell says instead of a number -> why
    "no text": "no explanation is written",
    "no reference": "the clips have no reference text",
    "not known": "the data set does not say which fault a clip shows",
    "told": "the true action is told under this protocol",
    "no class": "no action is named",
    "no verdict": "no verdict is given as a number",
}
_TEXT_METRICS = {*metrics.CAPTION_METRICS, *metrics.FAULT_METRICS, *metrics.VERDICT_METRICS}


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95 % interval (NaN: none) and where that comes from: 'seeds', 'clips' or ''. In points."""

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

    def __neg__(self) -> Estimate:
        return Estimate(-self.mean, -self.high, -self.low, self.over)


NOTHING = Estimate(math.nan)


def estimate(results: Results, row: str, metric: str, protocol: str = "") -> Estimate:
    """Mean over seeds with Student's t interval; with one seed the bootstrap over test clips, where there is one."""
    key = (row, metric, protocol or results.protocol(row))
    if key not in results.memo:  # a table and its figure ask for the same
        results.memo[key] = _estimate(results, *key)
    return results.memo[key]


def _estimate(results: Results, row: str, metric: str, protocol: str) -> Estimate:
    values = results.values(row, metric, protocol)
    if not values:
        return NOTHING
    if len(values) > 1:
        return _over_seeds(list(values.values()))
    seed, value = next(iter(values.items()))
    drawn = _drawn(results, row, seed, metric, protocol)
    low, high = metrics.bootstrap(*drawn) if drawn is not None else (math.nan, math.nan)
    return Estimate(value, low, high, "" if math.isnan(low) else "clips")


def difference(results: Results, first: str, second: str, metric: str) -> Estimate:
    """Row `first` minus row `second`: paired by seed, or with one seed by clip.

    The interval by clip says how sure the difference between *these two models* is, not what another seed would give.
    """
    a, b = results.values(first, metric), results.values(second, metric)
    common = sorted(a.keys() & b.keys())
    if not common:
        return NOTHING
    if len(common) > 1:
        return _over_seeds([a[seed] - b[seed] for seed in common])
    value = a[common[0]] - b[common[0]]
    pair = [_drawn(results, row, common[0], metric, results.protocol(row)) for row in (first, second)]
    if pair[0] is None or pair[1] is None or len(pair[0][0]) != len(pair[1][0]):
        return Estimate(value)
    (one, statistic), (other, _) = pair[0], pair[1]
    both = np.stack([one.reshape(len(one), -1), other.reshape(len(other), -1)], axis=1)  # [N, 2, k]

    def gap(rows: np.ndarray) -> float:
        return statistic(rows[:, 0]) - statistic(rows[:, 1])

    return Estimate(value, *metrics.bootstrap(both, gap), "clips")


def lead(results: Results, row: str, metric: str) -> Estimate:
    """`row` minus the mean of all other rows of its table, by the seeds that every row has; no interval with one."""
    mine = results.values(row, metric)
    others = [results.values(other, metric) for other in results.rows if other != row]
    common = sorted(set(mine).intersection(*others))
    gaps = [mine[seed] - float(np.mean([other[seed] for other in others])) for seed in common]
    if not gaps:
        return NOTHING
    return _over_seeds(gaps) if len(gaps) > 1 else Estimate(gaps[0])


def absence(results: Results, row: str, metric: str, protocol: str = "") -> str:
    """Why a row that has been scored has no number, a key of `REASONS`; '' where it has one, or no scores yet."""
    protocol = protocol or results.protocol(row)
    s = results.scores
    have = set(s.loc[(s["row"] == row) & (s["protocol"] == protocol), "metric"])
    if not have or metric in have:
        return ""
    kind = KNOWN[metric].kind
    if kind == "action":
        return "told" if protocol == "oracle" else "no class"
    if kind == "form":
        return "no verdict"
    if have.isdisjoint(_TEXT_METRICS):
        return "no text"
    return {"caption": "no reference", "fault": "not known", "words": "no verdict"}[kind]


def floor(results: Results) -> dict[str, float]:
    """Metric -> what is reached without looking, in percent.

    Every action equally likely; every verdict the more frequent one, by its share of the test split; for balanced
    accuracy and the area under the curve a coin. Without a key where it cannot be known, for lack of data or scores.
    """
    out = {"quality_balanced_acc": 50.0, "quality_auc": 50.0}
    shares = results.scores.loc[results.scores["metric"] == "quality_majority", "value"]
    if len(shares):
        out["quality_acc"] = float(shares.iloc[0])
    try:
        data = table_config(results.table, results.preset, results.overrides).data
        actions = len(open_dataset(data).actions)
    except InputError:  # published results of data that are not here
        return out
    return out | {"top1": 100 / actions, "top5": min(100.0, 500 / actions)}


def per_clip(metric: str, clips: pd.DataFrame | None, parser: FaultParser | None) -> Drawn | None:
    """What a bootstrap of a metric draws from, [N, k], and the statistic in percent of such rows; None: no such thing.

    The n-gram scores have none: BLEU and METEOR are no means over clips, and scoring them again takes minutes.
    """
    if clips is None or clips.empty or metric not in KNOWN:
        return None
    if KNOWN[metric].kind == "action":
        ranked = zip(clips["action"], clips["top5"], strict=True)
        right = [a in t for a, t in ranked] if metric == "top5" else clips["predicted_action"] == clips["action"]
        return _share(right)
    if KNOWN[metric].kind == "form":
        clips = clips[clips["quality"] >= 0]
        pairs = np.stack([clips["quality"], clips["quality_prob"].to_numpy(dtype=float)], axis=1)
        return pairs, _FORM[metric]
    return _of_texts(metric, clips, parser)


def _of_texts(metric: str, clips: pd.DataFrame, parser: FaultParser | None) -> Drawn | None:
    quality = clips["quality"]
    if metric == "verdict_agreement":
        written = [metrics.verdict_in_text(text) for text in clips["explanation"]]
        return _share([said == (p >= 0.5) for said, p in zip(written, clips["quality_prob"], strict=True)])
    if metric == "step_acc":
        clips = clips[(quality == 1) & clips["fault_step"].notna()]
        steps = zip(clips["explanation"], clips["fault_step"], strict=True)
        return _share([metrics.step_in_text(text) == step for text, step in steps])
    if metric in ("fault_f1", "hallucinated_faults") and parser is not None:
        usable = quality == 0
        if metric == "fault_f1":
            usable |= (quality == 1) & (clips["fault"] != "")
        clips = clips[usable]
        texts, actions = list(clips["explanation"]), list(clips["action"])
        counts = metrics.fault_counts(texts, actions, clips["quality"], list(clips["fault"]), parser)
        if isinstance(parser, SentenceMemory):
            parser.keep()
        return (counts, _f1) if metric == "fault_f1" else _share(counts[:, 1] > 0)
    return None


def _share(right: Sequence[bool] | np.ndarray | pd.Series) -> Drawn:
    return np.asarray(right, dtype=float)[:, None], lambda rows: 100 * float(rows.mean())


def _f1(rows: np.ndarray) -> float:
    return 100 * metrics.micro_f1(rows)


_FORM: dict[str, Statistic] = {
    "quality_acc": lambda rows: 100 * float(((rows[:, 1] >= 0.5) == rows[:, 0]).mean()),
    "quality_balanced_acc": lambda rows: 100 * metrics.balanced_accuracy(rows[:, 0], rows[:, 1] >= 0.5),
    "quality_auc": lambda rows: 100 * metrics.auc(rows[:, 0], rows[:, 1]),
}


def _over_seeds(values: list[float]) -> Estimate:
    return Estimate(*metrics.mean_interval(values), "seeds")


def _drawn(results: Results, row: str, seed: int, metric: str, protocol: str) -> Drawn | None:
    """`per_clip` of a run, kept: a row is compared with many."""
    key = ("drawn", row, seed, metric, protocol)
    if key not in results.memo:
        results.memo[key] = per_clip(metric, results.clips(row, seed, protocol), fault_parser(results))
    return results.memo[key]


def fault_parser(results: Results) -> FaultParser | None:
    """That of the data set; None where its true faults are not known."""
    if "parser" not in results.memo:
        results.memo["parser"] = parser_of(build(results.preset, results.overrides).data.source)
    return results.memo["parser"]


@cache
def parser_of(source: str) -> FaultParser | None:
    """The parser of a data set's faults, which reads a sentence only once (`parsing.SentenceMemory`)."""
    parser = parser_for(build("laptop", {"data.source": source}))
    return None if parser is None else SentenceMemory(parser)
