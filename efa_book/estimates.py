"""From scores to estimates with intervals: of a row, of two rows' difference, of one row's lead over all others.

Also why a row has no number (`absence`), and what is reached without looking at a clip (`floor`).
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

import formsim
from efa import metrics
from efa.config import build
from efa.data.loader import open_dataset
from efa.experiments import table_config
from efa.metrics import FaultParser
from efa.runs import parser_for
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa_book.collect import Results
from efa_book.intervals import bootstrap, mean_interval
from efa_book.table_specs import KNOWN
from formsim.faults import sentences

Statistic = Callable[[np.ndarray], float]
Sample = tuple[np.ndarray, Statistic]  # rows [N, k], one a clip, and a statistic of such rows in percent

REASONS = {  # what a cell says instead of a number -> why
    "no text": "no explanation is written",
    "no reference": "the clips have no reference text",
    "not known": "the data set does not say which fault a clip shows",
    "given": "the true action is given under this protocol",
    "no class": "no action is named",
    "no verdict": "no verdict is given as a number",
}
_TEXT_METRICS = {*metrics.CAPTION_METRICS, *metrics.FAULT_METRICS, *metrics.VERDICT_METRICS}


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95 % interval (NaN: none) and what that is over: 'seeds', 'clips' or ''. In points."""

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
    """Mean over seeds with Student's t interval; with one seed the bootstrap over test clips, if there is one."""
    key = (row, metric, protocol or results.protocol(row))
    if key not in results.cache:  # a table and its figure ask for the same
        results.cache[key] = _estimate(results, *key)
    return results.cache[key]


def _estimate(results: Results, row: str, metric: str, protocol: str) -> Estimate:
    values = results.values(row, metric, protocol)
    if not values:
        return NOTHING
    if len(values) > 1:
        return Estimate(*mean_interval(list(values.values())), "seeds")
    ((seed, value),) = values.items()
    sample = _clip_sample(results, row, seed, metric, protocol)
    low, high = bootstrap(*sample) if sample is not None else (math.nan, math.nan)
    return Estimate(value, low, high, "" if math.isnan(low) else "clips")


def difference(results: Results, first: str, second: str, metric: str) -> Estimate:
    """Row `first` minus row `second`: paired by seed, or with one seed by clip, whose interval says how sure the
    difference between *these two models* is, not what another seed would give.
    """
    a, b = results.values(first, metric), results.values(second, metric)
    common = sorted(a.keys() & b.keys())
    if not common:
        return NOTHING
    if len(common) > 1:
        return Estimate(*mean_interval([a[seed] - b[seed] for seed in common]), "seeds")
    value = a[common[0]] - b[common[0]]
    one, other = (_clip_sample(results, row, common[0], metric, results.protocol(row)) for row in (first, second))
    if one is None or other is None or len(one[0]) != len(other[0]):
        return Estimate(value)
    both = np.stack([rows.reshape(len(rows), -1) for rows, _ in (one, other)], axis=1)  # [N, 2, k]
    statistic = one[1]
    limits = bootstrap(both, lambda rows: statistic(rows[:, 0]) - statistic(rows[:, 1]))
    return Estimate(value, *limits, "clips")


def lead(results: Results, row: str, metric: str) -> Estimate:
    """`row` minus the mean of all other rows of its table, by the seeds that every row has; no interval with one."""
    mine = results.values(row, metric)
    others = [results.values(other, metric) for other in results.rows if other != row]
    common = sorted(set(mine).intersection(*others))
    gaps = [mine[seed] - float(np.mean([other[seed] for other in others])) for seed in common]
    if len(gaps) > 1:
        return Estimate(*mean_interval(gaps), "seeds")
    return Estimate(gaps[0]) if gaps else NOTHING


def absence(results: Results, row: str, metric: str, protocol: str = "") -> str:
    """Why a row that has been scored has no number, a key of `REASONS`; '' if it has one, or no scores yet."""
    protocol = protocol or results.protocol(row)
    s = results.scores
    have = set(s.loc[(s["row"] == row) & (s["protocol"] == protocol), "metric"])
    if not have or metric in have:
        return ""
    kind = KNOWN[metric].kind
    if kind == "action":
        return "given" if protocol == "oracle" else "no class"
    if kind != "form" and have.isdisjoint(_TEXT_METRICS):
        return "no text"
    return {"caption": "no reference", "fault": "not known", "words": "no verdict", "form": "no verdict"}[kind]


def floor(results: Results) -> dict[str, float]:
    """Metric -> what is reached without looking, in percent: every action equally likely, every verdict the more
    frequent one, a coin for balanced accuracy and AUC. No key if data or scores for it are missing.
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


def clip_sample(metric: str, clips: pd.DataFrame | None, parser: FaultParser | None) -> Sample | None:
    """What a bootstrap of a metric draws from; None for n-gram scores, which are no means over clips."""
    if clips is None or clips.empty or metric not in KNOWN:
        return None
    if metric == "top1":
        return _hits(clips["predicted_action"] == clips["action"])
    if metric == "top5":
        return _hits([action in top5 for action, top5 in zip(clips["action"], clips["top5"], strict=True)])
    if metric in _FORM:
        clips = clips[clips["quality"] >= 0]
        return np.stack([clips["quality"], clips["quality_prob"].to_numpy(dtype=float)], axis=1), _FORM[metric]
    if metric == "verdict_agreement":
        written = [metrics.verdict_in_text(text) for text in clips["explanation"]]
        return _hits([said == (p >= 0.5) for said, p in zip(written, clips["quality_prob"], strict=True)])
    if metric == "step_acc":
        clips = clips[(clips["quality"] == 1) & clips["fault_step"].notna()]
        steps = zip(clips["explanation"], clips["fault_step"], strict=True)
        return _hits([metrics.step_in_text(text) == step for text, step in steps])
    if metric in ("fault_f1", "hallucinated_faults") and parser is not None:
        faulty = (clips["quality"] == 1) & (clips["fault"] != "") & (metric == "fault_f1")
        clips = clips[(clips["quality"] == 0) | faulty]
        texts, actions, faults = (list(clips[name]) for name in ("explanation", "action", "fault"))
        counts = metrics.fault_counts(texts, actions, clips["quality"], faults, parser)
        if isinstance(parser, CachedFaultParser):
            parser.save()
        if metric == "fault_f1":
            return counts, lambda rows: 100 * metrics.micro_f1(rows)
        return _hits(counts[:, 1] > 0)
    return None


def _hits(right: Any) -> Sample:
    """Booleans, one a clip, and their share."""
    return np.asarray(right, dtype=float)[:, None], lambda rows: 100 * float(rows.mean())


_FORM: dict[str, Statistic] = {
    "quality_acc": lambda rows: 100 * float(((rows[:, 1] >= 0.5) == rows[:, 0]).mean()),
    "quality_balanced_acc": lambda rows: 100 * metrics.balanced_accuracy(rows[:, 0], rows[:, 1] >= 0.5),
    "quality_auc": lambda rows: 100 * metrics.auc(rows[:, 0], rows[:, 1]),
}


def _clip_sample(results: Results, row: str, seed: int, metric: str, protocol: str) -> Sample | None:
    """`clip_sample` of a run, cached: a row is compared with many."""
    key = ("sample", row, seed, metric, protocol)
    if key not in results.cache:
        results.cache[key] = clip_sample(metric, results.clips(row, seed, protocol), fault_parser(results))
    return results.cache[key]


def fault_parser(results: Results) -> FaultParser | None:
    """The parser of the data set's faults; None if its true faults are not known."""
    return parser_of(build(results.preset, results.overrides).data.source)


@cache
def parser_of(source: str) -> FaultParser | None:
    """The parser of a data set's faults, with a cache; None if its true faults are not known."""
    parser = parser_for(build("laptop", {"data.source": source}))
    return None if parser is None else CachedFaultParser(parser)


class CachedFaultParser(FaultParser):
    """Gives the answers of `parser` and keeps them by sentence, in memory and, after `save`, on disk.

    Models write few different sentences, and parsing one takes half a millisecond.
    """

    def __init__(self, parser: FaultParser):
        self.__dict__.update(parser.__dict__)
        phrases = json.dumps(formsim.fault_phrases(), sort_keys=True)
        name = hashlib.sha256(f"{metrics.SCORES_VERSION} {phrases}".encode()).hexdigest()[:16]
        self._path = paths.cache() / "faults" / f"{name}.json"
        self._answers: dict[str, list[str]] = {}
        with contextlib.suppress(OSError, ValueError):
            self._answers = json.loads(self._path.read_text(encoding="utf-8"))
        self._saved = len(self._answers)

    def faults(self, text: str, action: str) -> set[str]:
        named: set[str] = set()
        for sentence in sentences(text):
            key = f"{action}\t{sentence}"
            if key not in self._answers:
                self._answers[key] = sorted(super().faults(sentence, action))
            named.update(self._answers[key])
        return named

    def save(self) -> None:
        """Writes new answers to the cache, if it can be written."""
        if len(self._answers) > self._saved:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_safely(self._path, lambda partly: partly.write_text(json.dumps(self._answers), encoding="utf-8"))
            self._saved = len(self._answers)
