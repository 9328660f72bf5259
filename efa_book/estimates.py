"""From scores to estimates with intervals over seeds and clips: of a row, and of the difference between two rows.

A difference D is the mean over common seeds of first minus second, on the same clips. Two things vary, and they cross:
seeds and clips. V, the variance of D between seeds, is pooled over all rows of the table in the metric: twice the
residual variance of rows x seeds. What the clips add is a delete-block jackknife (Efron and Stein 1981) of the mean
over seeds, J, from `metrics.evaluate`. What a seed does to single clips is in both, and is taken out once:
Var(D) = V/S + J - I/S, where I = (J1 - J) S/(S - 1) and J1 is the mean over seeds of each seed's own jackknife
variance. It is never less than V/S or J. Degrees of freedom: Satterthwaite.

Also why a row has no number (`absence`), what is reached without looking at a clip (`floor`), and whether a row has
learned anything (`unlearned`).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import fdtri, stdtr, stdtrit  # scipy.stats imports four times as slowly

from efa import metrics
from efa.config import build
from efa.data.loader import open_dataset
from efa.experiments import table_config
from efa.runs import parser_for
from efa.utils.errors import InputError
from efa_book.collect import Results
from efa_book.table_specs import AUC, KNOWN, TOP1

REASONS = {  # what a cell says instead of a number -> why
    "no text": "no explanation is written",
    "no reference": "the clips have no reference text",
    "not known": "the data set does not say which fault a clip shows",
    "given": "the true action is given under this protocol",
    "no class": "no action is named",
    "no verdict": "no verdict is given as a number",
}
_TEXT_METRICS = {*metrics.CAPTION_METRICS, *metrics.FAULT_METRICS, *metrics.VERDICT_METRICS, *metrics.TEXT_METRICS}


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95 and 90 % intervals (NaN: none) and what they are over: 'seeds and clips', 'seeds', 'clips' or ''.
    In points. `p` is two-sided, against 0; NaN with fewer than two seeds.
    """

    mean: float
    low: float = math.nan
    high: float = math.nan
    over: str = ""
    low90: float = math.nan
    high90: float = math.nan
    p: float = math.nan
    seeds: int = 0
    error: float = math.nan  # standard error
    df: float = math.nan
    between: float = math.nan  # V, the variance between seeds

    @property
    def known(self) -> bool:
        return not math.isnan(self.mean)

    @property
    def bounded(self) -> bool:
        return not (math.isnan(self.low) or math.isnan(self.high))

    def not_below(self, limit: float) -> float:
        """p, twice the one-sided one, of the hypothesis that the true value is at most `limit`."""
        return float(min(1.0, 2 * stdtr(self.df, (limit - self.mean) / self.error)))


NOTHING = Estimate(math.nan)


def estimate(results: Results, row: str, metric: str, protocol: str = "") -> Estimate:
    """Mean over seeds; its interval is over seeds and clips, or with one seed over clips."""
    key = (row, metric, protocol or results.protocol(row))
    if key not in results.cache:  # a table and its figure ask for the same
        results.cache[key] = _estimate(results, metric, (row, key[2]))
    return results.cache[key]


def effect(
    results: Results, first: str, second: str, metric: str, protocols: tuple[str, str] = ("", "")
) -> Estimate:  # fmt: skip
    """Row `first` minus row `second`, each under its own protocol ('') or another. With one seed the interval says how
    sure the difference between *these two models* is, not what another seed would give."""
    sides = zip((first, second), protocols, strict=True)
    return _estimate(results, metric, *((row, protocol or results.protocol(row)) for row, protocol in sides))


def _estimate(results: Results, metric: str, *sides: tuple[str, str]) -> Estimate:
    """Of one (row, protocol), or of the first minus the second."""
    values = [results.values(row, metric, protocol) for row, protocol in sides]
    alike = {s for s in values[0] if len({results.states.get((row, s)) for row, _ in sides}) == 1}  # of one version
    seeds = sorted(alike.intersection(*values))
    if not seeds:
        return NOTHING
    signs = (1, -1)[: len(sides)]
    gaps = np.array([sum(sign * own[seed] for sign, own in zip(signs, values, strict=True)) for seed in seeds])
    parts = [[_leave_out(results, row, seed, metric, protocol) for row, protocol in sides] for seed in seeds]
    same = len({None if part is None else len(part) for pair in parts for part in pair}) == 1
    left = np.array(parts, dtype=float) if same and parts[0][0] is not None else None  # [S, sides, blocks]
    if left is not None:
        left = left[:, 0] - left[:, 1] if len(sides) == 2 else left[:, 0]
    v, df = _pooled(results, metric) if len(sides) == 2 else (math.nan, 0)
    return combine(gaps, left, v, df)


def combine(gaps: np.ndarray, left: np.ndarray | None, pooled: float = math.nan, df: float = 0) -> Estimate:
    """The estimate of differences [S], one a seed, from their leave-one-block-out values [S, blocks] (None: not known)
    and the pooled variance between seeds with its degrees of freedom (NaN: none, the differences' own counts)."""
    (mean,), (variance,), (dfs,), (between,) = crossed(gaps[None], None if left is None else left[None], pooled, df)
    over = " and ".join(name for name, there in (("seeds", len(gaps) > 1), ("clips", left is not None)) if there)
    if not over:
        return Estimate(float(mean), seeds=len(gaps))
    error = max(math.sqrt(variance), 1e-9)  # differences that are all the same, to rounding
    (low, high), (low90, high90) = ((mean - half, mean + half) for half in error * stdtrit(dfs, [0.975, 0.95]))
    p = 2 * stdtr(dfs, -abs(mean) / error) if len(gaps) > 1 else math.nan
    limits = (float(mean), float(low), float(high), over, float(low90), float(high90), float(p))
    return Estimate(*limits, len(gaps), error, float(dfs), float(between))


def crossed(
    gaps: np.ndarray, left: np.ndarray | None, pooled: float | np.ndarray = math.nan, df: float = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance, degrees of freedom and V of differences [..., S], with values without a block [..., S, blocks].

    A pair whose own variance between seeds is beyond the 99 % quantile of what the pooled one allows keeps its own.
    """
    mean, seeds = gaps.mean(-1), gaps.shape[-1]
    between, between_df = np.zeros_like(mean), np.ones_like(mean)
    if seeds > 1:
        own = gaps.var(-1, ddof=1)
        strange = ~(own <= pooled * fdtri(seeds - 1, max(df, 1), 0.99))  # also where nothing is pooled
        between, between_df = np.where(strange, own, pooled), np.where(strange, seeds - 1.0, df)
    if left is None:
        return mean, between / seeds, between_df, between
    blocks = left.shape[-1]
    single, clips = ((blocks - 1) * part.var(-1) for part in (left, left.mean(-2)))  # [..., S], [...]
    share = np.maximum(single.mean(-1) - clips, 0) / max(seeds - 1, 1)  # I/S
    variance = np.maximum(between / seeds + clips - share, np.maximum(between / seeds, clips))
    parts = (between / seeds) ** 2 / between_df + clips**2 / (blocks - 1)
    dfs = np.divide(variance**2, parts, out=np.full_like(variance, blocks - 1.0), where=parts > 0)
    return mean, variance, dfs, between


def pool(values: np.ndarray) -> tuple[np.ndarray, int]:
    """V of rows and seeds [..., R, S] and its degrees of freedom: twice the residual variance of rows + seeds."""
    *_, rows, seeds = values.shape
    rest = (
        values - values.mean(-1, keepdims=True) - values.mean(-2, keepdims=True) + values.mean((-1, -2), keepdims=True)
    )
    df = (rows - 1) * (seeds - 1)
    return 2 * (rest**2).sum((-1, -2)) / max(df, 1), df


def _pooled(results: Results, metric: str) -> tuple[float, int]:
    """`pool` of a table's rows that have learned and have several seeds; NaN where there are no two of them."""
    key = ("pooled", metric)
    if key not in results.cache:
        each = [results.values(row, metric) for row in results.rows if not unlearned(results, row)]
        each = [values for values in each if len(values) > 1]
        seeds = sorted(set(each[0]).intersection(*each)) if each else []
        known = len(each) > 1 and len(seeds) > 1
        found = pool(np.array([[values[seed] for seed in seeds] for values in each])) if known else (math.nan, 0)
        results.cache[key] = float(found[0]), found[1]
    return results.cache[key]


def _leave_out(results: Results, row: str, seed: int, metric: str, protocol: str) -> np.ndarray | None:
    """`blocks.leave_out` of a run, cached: a row is compared with many."""
    key = ("left out", row, seed, metric, protocol)
    if key not in results.cache:
        found = results.left.get((row, seed))
        results.cache[key] = found and found(protocol, metric)
    return results.cache[key]


def unlearned(results: Results, row: str) -> str:
    """Why a row cannot serve as a reference: what it has not learned; '' if it has, or nothing is known of it."""
    key = ("unlearned", row)
    if key not in results.cache:
        results.cache[key] = _unlearned(results, row)
    return results.cache[key]


def _unlearned(results: Results, row: str) -> str:
    auc, top1, named, texts = (estimate(results, row, name) for name in (AUC.key, TOP1.key, "names_action", "texts"))
    if auc.bounded and auc.low <= 50:
        return f"its verdict is not above chance: AUC {auc.mean:.1f} ({auc.low:.1f} to {auc.high:.1f})"
    if texts.known and min(results.values(row, "texts").values()) < 2:
        return "it writes one text for all clips"
    if named.mean < 50:
        return f"{named.mean:.0f} % of its texts name the true action"
    if top1.known and top1.mean <= 2 * floor(results).get(TOP1.key, 0.0):
        return f"it names the action hardly more often than chance: {top1.mean:.1f} %"
    return ""


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


def fault_parser(results: Results) -> metrics.FaultParser | None:
    """The parser of the data set's faults; None if its true faults are not known."""
    return parser_for(build(results.preset, results.overrides))
