"""results/claims.csv: what each row is meant to show, and whether it does: computed, never written by hand.

A sentence of the paper, in our words, makes a claim in each metric and for each row that it speaks of.

There are two rules. D is the difference in favour of the claim, in points, with its 95 % interval over seeds. The
tolerance is the smallest D that would matter, declared in the file before any run.

*One row against another* (`reference` names a row). D is row minus reference, or reference minus row if `direction` is
'lower', paired by seed. 'holds': the interval lies above 0 and D >= tolerance. 'does not hold': the interval lies below
0, or above 0 with D < tolerance. 'inconclusive': the interval includes 0, or there are fewer than two common seeds.

*One row against all others* (`reference` is 'all others'). D is row minus the mean of all other rows of the table, over
the seeds that every row has. 'holds': D does by the first rule, and no other row's mean is better. 'does not hold': D
does not, or another row is better with an interval that excludes 0. 'inconclusive': everything else.

Either way 'cannot be tested here', with the reason, if a row has been scored and has no such number.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from efa.experiments import TABLES
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book import estimates
from efa_book.collect import Results
from efa_book.estimates import REASONS, Estimate
from efa_book.published import read_table
from efa_book.table_specs import KNOWN, TABLE_SPECS, Metric

COLUMNS = ("id", "table", "sentence", "claim", "row", "reference", "metric", "direction", "tolerance", "source")
DIRECTIONS = ("higher", "lower")
OTHERS = "all others"
HOLDS, FAILS, INCONCLUSIVE, UNTESTABLE = "holds", "does not hold", "inconclusive", "cannot be tested here"


@dataclass(frozen=True)
class Claim:
    """One line of the file: `row` is `direction` than `reference` in `metric` by at least `tolerance` points."""

    id: str
    table: str
    sentence: str
    claim: str
    row: str
    reference: str
    metric: str
    direction: str
    tolerance: float
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
        return f"{first} minus {'the mean of the others' if second == OTHERS else second}"

    @property
    def metric_spec(self) -> Metric:
        return KNOWN[self.metric]


def read_claims(path: Path | None = None) -> list[Claim]:
    """The claims of results/claims.csv in its order; none if there is no file.

    Raises:
        InputError: a column is missing, or a line has an unknown table, row, reference, metric or direction, a
            tolerance that is no number of points, a repeated id, or no sentence, claim or source.
    """
    path = path or paths.results() / "claims.csv"
    table = read_table(path, COLUMNS, dtype=str, keep_default_na=False)
    claims: list[Claim] = []
    for number, line in enumerate(table[list(COLUMNS)].to_numpy(), start=2):
        cells: dict[str, Any] = dict(zip(COLUMNS, line, strict=True))
        if problem := _find_problem(cells, {claim.id for claim in claims}):
            raise InputError(problem[0], file=path, row=number, hint=problem[1])
        claims.append(Claim(**cells | {"tolerance": float(cells["tolerance"])}))
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
    try:
        good = 0 <= float(cells["tolerance"]) < math.inf
    except ValueError:
        good = False
    return None if good else (f"tolerance '{cells['tolerance']}' is no number of points", "0 or more, such as 1.0")


@dataclass(frozen=True)
class Judged:
    """A claim, the difference in favour of it, its outcome, and why it cannot be tested, if it cannot."""

    claim: Claim
    gap: Estimate
    outcome: str
    reason: str = ""


def judge(results: Results, claims: Sequence[Claim] | None = None) -> list[Judged]:
    """Every claim on a table, judged; by default those of results/claims.csv."""
    return [_judge(results, one) for one in (read_claims() if claims is None else claims) if one.table == results.table]


def by_sentence(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Sentence -> its claims, both in the order of the file."""
    sentences = dict.fromkeys(one.claim.sentence for one in judged)
    return {sentence: [one for one in judged if one.claim.sentence == sentence] for sentence in sentences}


def summarize(outcomes: Sequence[str]) -> str:
    """Several outcomes in a few words: 'holds 4 of 6, inconclusive 2 of 6'."""
    counts = {one: list(outcomes).count(one) for one in (HOLDS, FAILS, INCONCLUSIVE, UNTESTABLE) if one in outcomes}
    if len(counts) > 1:
        return ", ".join(f"{outcome} {count} of {len(outcomes)}" for outcome, count in counts.items())
    all_of = f" ({len(outcomes)} of {len(outcomes)})" if len(outcomes) > 1 else ""
    return next(iter(counts), UNTESTABLE) + all_of


def outcomes_table(results: Results, claims: Sequence[Claim] | None = None) -> pd.DataFrame:
    """`judge` as a table with the columns of the file, and before source: difference, low, high (points, in favour of
    the claim; NaN: none), over ('seeds', 'clips' or '': what the interval is over), outcome, reason.
    """
    rows = []
    for one in judge(results, claims):
        found = {"difference": one.gap.mean, "low": one.gap.low, "high": one.gap.high, "over": one.gap.over}
        rows.append(asdict(one.claim) | found | {"outcome": one.outcome, "reason": one.reason})
    columns = [*COLUMNS[:-1], "difference", "low", "high", "over", "outcome", "reason", "source"]
    return pd.DataFrame(rows, columns=columns)


def outcome_of_pair(gap: Estimate, tolerance: float) -> str:
    """The first rule, for a difference in favour of the claim."""
    if gap.over != "seeds" or not gap.bounded or gap.low <= 0 <= gap.high:
        return INCONCLUSIVE
    return HOLDS if gap.low > 0 and gap.mean >= tolerance else FAILS


def outcome_of_best(gap: Estimate, each: Sequence[Estimate], tolerance: float) -> str:
    """The second rule: `gap` over the mean of the others, and over `each` of them."""
    first = outcome_of_pair(gap, tolerance)
    if FAILS in (first, *(outcome_of_pair(one, 0.0) for one in each)):
        return FAILS
    ahead = all(one.known and one.mean >= 0 for one in each)
    return HOLDS if first == HOLDS and ahead else INCONCLUSIVE


def _judge(results: Results, claim: Claim) -> Judged:
    first, second = claim.pair
    others = [row for row in results.rows if row != claim.row] if second == OTHERS else [claim.reference]
    for row in (claim.row, *others):
        if label := estimates.absence(results, row, claim.metric):
            return Judged(claim, estimates.NOTHING, UNTESTABLE, f"{row}: {REASONS[label]}")
    if second == OTHERS:
        gap = estimates.lead(results, claim.row, claim.metric)
        each = [estimates.difference(results, claim.row, row, claim.metric) for row in others]
        return Judged(claim, gap, outcome_of_best(gap, each, claim.tolerance))
    gap = estimates.difference(results, first, second, claim.metric)
    return Judged(claim, gap, outcome_of_pair(gap, claim.tolerance))
