"""results/claims.csv: what each row is meant to show, and whether it does: computed, never written by hand.

A sentence of the paper, in our words, makes a claim in each metric and for each row that it speaks of. D is the
difference in favour of the claim (`estimates.effect`). The tolerance, the smallest D that would matter, belongs to the
metric (`table_specs.Metric`). The outcome is the first of these that is true:

- 'cannot be tested here': a row has been scored and has no such number, or by an older version than the other;
- 'reference did not learn': a row of the pair has not learned (`estimates.unlearned`), so a lead over it says nothing;
- 'no effect larger than X': the 90 % interval of D lies within the tolerance, X;
- 'holds', 'reversed': p < .05 after Holm's correction over all claims of the table, and D is in favour, or against;
- 'inconclusive': everything else, and whatever has fewer than two seeds.

A row against 'all others' is claimed to be best or jointly best. It holds if it is worse than none of them by more than
the tolerance, and better than at least one: both have to be shown, so the larger p counts (an intersection-union test).
The first is the largest of the pairs' p; the second the smallest, times the number of pairs. It is reversed if one of
them is better, by the smallest p times the number of pairs. There is no effect if every 90 % interval lies within the
tolerance. D and its 95 % interval are those of the smallest difference; the 90 % interval spans those of all pairs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from efa.config import PRESETS
from efa.experiments import TABLES
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa_book import collect, estimates, paper, published
from efa_book.collect import Results
from efa_book.estimates import NOTHING, REASONS, Estimate
from efa_book.published import read_table
from efa_book.table_specs import KNOWN, TABLE_SPECS, Metric

COLUMNS = ("id", "table", "sentence", "claim", "row", "reference", "metric", "direction", "source")
DIRECTIONS = ("higher", "lower")
OTHERS = "all others"
HOLDS, REVERSED, NO_EFFECT, INCONCLUSIVE = "holds", "reversed", "no effect", "inconclusive"
UNLEARNED, UNTESTABLE = "reference did not learn", "cannot be tested here"
OUTCOMES = (HOLDS, REVERSED, NO_EFFECT, INCONCLUSIVE, UNLEARNED, UNTESTABLE)
ALPHA, POWER = 0.05, 0.84  # 0.84: the normal quantile of a power of 80 %
OUTCOME_COLUMNS = (
    *("id", "table", "sentence", "metric", "outcome", "effect", "low", "high", "low90", "high90"),
    *("p_holm", "paper_effect", "size", "seeds", "preset"),
)


@dataclass(frozen=True)
class Claim:
    """One line of the file: `row` is `direction` than `reference` in `metric`."""

    id: str
    table: str
    sentence: str
    claim: str
    row: str
    reference: str
    metric: str
    direction: str
    source: str

    @property
    def line(self) -> str:
        """The row of the table that shows the outcome: not the table's subject if another row takes part."""
        return self.reference if self.row == TABLE_SPECS[self.table].subject and self.reference != OTHERS else self.row

    @property
    def pair(self) -> tuple[str, str]:
        """(the row claimed to be higher, the other)."""
        return (self.row, self.reference) if self.direction == "higher" else (self.reference, self.row)

    @property
    def compared(self) -> str:
        """What D is, in words."""
        first, second = self.pair
        return f"{first} minus {'the best other' if second == OTHERS else second}"

    @property
    def metric_spec(self) -> Metric:
        return KNOWN[self.metric]


def read_claims(path: Path | None = None) -> list[Claim]:
    """The claims of results/claims.csv in its order; none if there is no file.

    Raises:
        InputError: a column is missing, or a line has an unknown table, row, reference, metric or direction, a
            repeated id, or no sentence, claim or source.
    """
    path = path or paths.results() / "claims.csv"
    table = read_table(path, COLUMNS, dtype=str, keep_default_na=False)
    claims: list[Claim] = []
    for number, line in enumerate(table[list(COLUMNS)].to_numpy(), start=2):
        cells: dict[str, Any] = dict(zip(COLUMNS, line, strict=True))
        if problem := _find_problem(cells, {claim.id for claim in claims}):
            raise InputError(problem[0], file=path, row=number, hint=problem[1])
        claims.append(Claim(**cells))
    return claims


def _find_problem(cells: dict[str, str], ids: set[str]) -> tuple[str, str | None] | None:
    """What is wrong with a line, and how to fix it."""
    if empty := [name for name in ("id", "sentence", "claim", "source") if not cells[name].strip()]:
        return f"{empty[0]} is empty", None
    if cells["id"] in ids:
        return f"id '{cells['id']}' is already used above", None
    if cells["table"] not in TABLES:
        return f"unknown table '{cells['table']}'", f"one of {', '.join(TABLES)}"
    rows = list(TABLES[cells["table"]].rows)
    if cells["row"] not in rows:
        return f"table {cells['table']} has no row '{cells['row']}'", f"one of {', '.join(rows)}"
    if cells["reference"] not in (*rows, OTHERS) or cells["reference"] == cells["row"]:
        others = ", ".join(row for row in rows if row != cells["row"])
        return f"unknown reference '{cells['reference']}'", f"one of {others}, or '{OTHERS}'"
    for name, known in (("metric", tuple(KNOWN)), ("direction", DIRECTIONS)):
        if cells[name] not in known:
            return f"unknown {name} '{cells[name]}'", f"one of {', '.join(known)}"
    if cells["reference"] == OTHERS and cells["direction"] != "higher":
        return f"against '{OTHERS}' the direction is 'higher'", None
    return None


@dataclass(frozen=True)
class Judged:
    """A claim and what came out.

    Attributes:
        gap: D, in points. tolerance: in points; NaN without a number of the reference.
        outcome: one of `OUTCOMES`. reason: why it cannot be tested, or what a row has not learned.
        p, p_holm: of D against 0, and corrected over the table's claims.
        paper: the paper's own D, in points. size: whether the paper's relative effect is 'inside' or 'outside' the
            95 % interval of ours, both relative to the reference; 'no number' where one is missing.
        paper_relative: the paper's D in percent of its reference. level: mean here of the row that this refers to.
            favour: whether `p` speaks for the claim.
    """

    claim: Claim
    gap: Estimate
    tolerance: float
    outcome: str
    reason: str = ""
    p: float = math.nan
    p_holm: float = math.nan
    paper: float = math.nan
    size: str = "no number"
    paper_relative: float = math.nan
    level: float = math.nan
    favour: bool = True

    @property
    def said(self) -> str:
        """The outcome with its limit: 'no effect larger than 1.0'."""
        return f"{NO_EFFECT} larger than {self.tolerance:.1f}" if self.outcome == NO_EFFECT else self.outcome

    @property
    def to_change(self) -> tuple[float, str]:
        """What would change our mind: seeds for an answer in four of five cases, before Holm's correction, of the
        variance seen; or a difference that moves so far. The number says which of several claims needs most."""
        gap = self.gap
        if self.outcome in (UNTESTABLE, UNLEARNED) or not gap.known:
            return -math.inf, self.reason or "runs"
        if self.outcome != INCONCLUSIVE:
            inner = self.tolerance - max(abs(gap.low90), abs(gap.high90))
            margin = inner if self.outcome == NO_EFFECT else max(gap.low, -gap.high)
            return -margin, f"a difference that moves by {max(0.0, margin):.1f}"
        if gap.seeds < 2:
            return math.inf, "more seeds"
        aim = max(abs(gap.mean) / (1.96 + POWER), (self.tolerance - abs(gap.mean)) / (1.645 + POWER))
        left = aim**2 - max(0.0, gap.error**2 - gap.between / gap.seeds)  # what seeds may contribute
        if left <= 0:
            return math.inf, "more clips"
        needed = max(gap.seeds + 1, math.ceil(gap.between / left))
        return needed, f"about {needed} seeds"


def judge(results: Results, claims: Sequence[Claim] | None = None) -> list[Judged]:
    """Every claim on a table, judged; by default those of results/claims.csv."""
    known, asked = paper.numbers(), read_claims() if claims is None else claims
    found = [_measure(results, one, known) for one in asked if one.table == results.table]
    corrected = holm(np.array([one.p for one in found]))
    return [
        one
        if one.outcome
        else replace(one, p_holm=float(p), outcome=decide(one.gap, one.tolerance, float(p), one.favour))
        for one, p in zip(found, corrected, strict=True)
    ]


def decide(gap: Estimate, tolerance: float, p_holm: float, favour: bool) -> str:
    """The outcome of a difference whose p speaks for the claim, or against it."""
    if gap.seeds > 1 and max(-gap.low90, gap.high90) <= tolerance:
        return NO_EFFECT
    if p_holm < ALPHA:
        return HOLDS if favour else REVERSED
    return INCONCLUSIVE


def holm(p: np.ndarray) -> np.ndarray:
    """p [..., K] corrected for their number (Holm 1979); NaN are none."""
    order = np.argsort(p, axis=-1)  # NaN last
    left = (~np.isnan(p)).sum(-1, keepdims=True) - np.arange(p.shape[-1])
    steps = np.maximum.accumulate(np.take_along_axis(p, order, -1) * left, axis=-1)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.minimum(steps, 1), -1)
    return corrected


def by_sentence(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Sentence -> its claims, both in the order of the file."""
    sentences = dict.fromkeys(one.claim.sentence for one in judged)
    return {sentence: [one for one in judged if one.claim.sentence == sentence] for sentence in sentences}


def summarize(outcomes: Sequence[str]) -> str:
    """Several outcomes in a few words: 'holds 4 of 6, inconclusive 2 of 6'."""
    counts = {one: list(outcomes).count(one) for one in OUTCOMES if one in outcomes}
    if len(counts) > 1:
        return ", ".join(f"{outcome} {count} of {len(outcomes)}" for outcome, count in counts.items())
    all_of = f" ({len(outcomes)} of {len(outcomes)})" if len(outcomes) > 1 else ""
    return next(iter(counts), UNTESTABLE) + all_of


def sentences_table(judged: Sequence[Judged]) -> pd.DataFrame:
    """One line a sentence: sentence, table, outcome (of its claims, in a few words) and what would change our mind: an
    answer for the open claim that needs most, or else the decided claim that is nearest to another outcome."""
    rows = [
        (sentence, part[0].claim.table, summarize([one.outcome for one in part]), max(one.to_change for one in part)[1])
        for sentence, part in by_sentence(judged).items()
    ]
    return pd.DataFrame(rows, columns=["sentence", "table", "outcome", "change"])


def outcomes_table(results: Results, claims: Sequence[Claim] | None = None) -> pd.DataFrame:
    """`judge` as a table with `OUTCOME_COLUMNS`; effects are in points, in favour of the claim; NaN: none."""
    rows = []
    for one in judge(results, claims):
        gap, claim = one.gap, one.claim
        limits = (gap.mean, gap.low, gap.high, gap.low90, gap.high90)
        first = (claim.id, claim.table, claim.sentence, claim.metric, one.said)
        rows.append((*first, *limits, one.p_holm, one.paper, one.size, gap.seeds, results.preset))
    return pd.DataFrame(rows, columns=list(OUTCOME_COLUMNS))


def write_outcomes(path: Path | None = None) -> Path:
    """results/outcomes.csv: every claim under every preset that is published, from the published files alone."""
    path = path or paths.results() / "outcomes.csv"
    parts = []
    for preset in PRESETS:
        for table in dict.fromkeys(claim.table for claim in read_claims()):
            if seeds := published.published_seeds(table, preset):
                parts.append(outcomes_table(collect.collect(table, preset, seeds, runs=False)))
    found = pd.concat(parts) if parts else pd.DataFrame(columns=list(OUTCOME_COLUMNS))
    write_safely(path, partial(found.to_csv, index=False, float_format="%.4g", lineterminator="\n"))
    return path


def _measure(results: Results, claim: Claim, known: pd.DataFrame) -> Judged:
    """A claim with its numbers; without an outcome where that depends on the table's other claims."""
    others = [row for row in results.rows if row != claim.row] if claim.reference == OTHERS else [claim.reference]
    rows = (claim.row, *others)
    printed = {row: paper.printed_number(known, claim.table, row, claim.metric_spec) for row in rows}
    sign = 1 if claim.direction == "higher" else -1
    # the best other: as printed, and the one with the smallest difference here
    theirs = max(others, key=lambda row: (not math.isnan(printed[row]), printed[row]))
    pairs = {row: (claim.row, row) if sign == 1 else (row, claim.row) for row in others}
    gaps = {row: estimates.effect(results, *pair, claim.metric) for row, pair in pairs.items()}
    ours = min(gaps, key=lambda row: (gaps[row].known, gaps[row].mean))
    paired = sign * (printed[claim.row] - printed[theirs])
    level = estimates.estimate(results, claim.row if claim.reference == OTHERS else ours, claim.metric).mean
    tolerance = claim.metric_spec.tolerance * (abs(level) / 100 if claim.metric_spec.relative else 1)
    gap, p, favour = gaps[ours], gaps[ours].p, gaps[ours].mean > 0
    if claim.reference == OTHERS:
        gap, p, favour = _best(list(gaps.values()), tolerance)
    relative = 100 * paired / printed[claim.row if claim.reference == OTHERS else theirs]
    size = "no number"
    if gap.seeds > 1 and level and not math.isnan(relative):
        size = "inside" if gap.low <= relative * level / 100 <= gap.high else "outside"
    found = Judged(claim, gap, tolerance, "", "", p, math.nan, paired, size, relative, level, favour)
    states = {row: {results.states.get((row, seed)) for seed in results.seeds} for row in rows}
    stale = [row for row, found in states.items() if "stale" in found and "done" not in found]  # else the new count
    if stale and len(stale) < len(rows):  # other code, other clips
        return replace(found, outcome=UNTESTABLE, reason=f"{stale[0]}: its run is of an older version", p=math.nan)
    for row in rows:
        if label := estimates.absence(results, row, claim.metric):
            return replace(found, outcome=UNTESTABLE, reason=f"{row}: {REASONS[label]}", p=math.nan)
    for row in rows:
        if reason := estimates.unlearned(results, row):
            return replace(found, outcome=UNLEARNED, reason=f"{row}: {reason}", p=math.nan)
    return found


def _best(each: Sequence[Estimate], tolerance: float) -> tuple[Estimate, float, bool]:
    """The difference of a row over all others, its p, and whether that speaks for the row."""
    if not all(one.known for one in each):
        return NOTHING, math.nan, True
    low90, high90 = min(one.low90 for one in each), max(one.high90 for one in each)
    least = min(each, key=lambda one: one.mean)
    least = replace(least, seeds=min(one.seeds for one in each), low90=low90, high90=high90)
    if least.seeds < 2:
        return least, math.nan, True
    better, worse = (
        min([one.p for one in each if (one.mean > 0) == ahead], default=1.0) * len(each) for ahead in (True, False)
    )
    holds = max(better, *(one.not_below(-tolerance) for one in each))
    return least, min(1.0, holds, worse), holds <= worse
