"""The paper against its own tables: what its sentences say, and what its numbers and its released annotations give.

`paper_tables.yaml` holds the sentences and the words around the numbers. Numbers are computed from results/paper.csv
(Tables IV to VII), results/cot-afa/paper.csv (Tables I to III) and the counts beside it; only quoted ones are typed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from efa.utils import paths
from efa.utils.errors import InputError
from efa_book import paper
from efa_book.audit import Measurement, Quantity, Row, quantities
from efa_book.files import read_table

METRICS = {  # as the paper's tables head them
    "bleu1": "BLEU", "meteor": "METEOR", "cider_d": "CIDEr", "rouge_l": "ROUGE-L",
    "top1": "Top-1", "top5": "Top-5", "quality_acc": "Acc",
}  # fmt: skip
ACCURACIES = ("top1", "top5", "quality_acc")
ROMAN = {"4": "IV", "5": "V", "6": "VI", "7": "VII"}
COUNTS = {  # file in results/cot-afa/ -> the columns that name a number, and last the one that holds it
    "paper": ("table", "number", "value"),
    "statistics": ("about", "quantity", "definition", "value"),
    "splits": ("split", "clips"),
    "cues": ("what", "cue", "occurrences"),
    "contradictions": ("texts", "what", "count"),
    "words": ("texts", "word", "occurrences"),
}


@dataclass(frozen=True)
class Numbers:
    """Numbers of Tables IV to VII in points, by (table, row, metric); counts by (file, names as in `COUNTS`)."""

    printed: dict[tuple[str, ...], float]
    counts: dict[tuple[str, ...], float]

    def of(self, *key: str) -> float:
        """InputError where results/ does not hold the number."""
        found = self.printed if key[0] in ROMAN else self.counts
        if key not in found:
            raise InputError(f"results/ holds no number of {', '.join(key)}")
        return found[key]

    def gap(self, table: str, metric: str, row: str, other: str) -> float:
        """Row minus other in points; printed numbers have one decimal, and so has their difference."""
        return round(self.of(table, row, metric) - self.of(table, other, metric), 1)

    def rows(self, table: str) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys(row for number, row, _ in self.printed if number == table))

    def metrics(self, table: str) -> list[str]:
        """In the order of `METRICS`."""
        return [name for name in METRICS if any((table, row, name) in self.printed for row in self.rows(table))]


Facts = dict[str, object]  # what fills the braces of a check
Found = tuple[Measurement, Facts]


@dataclass(frozen=True)
class Check:
    """A sentence of the paper, and the function of this module that computes beside it, with what it is given."""

    part: str  # of the section
    title: str
    where: str
    says: str
    measure: str
    given: dict[str, Any]
    shows: str  # with facts in braces
    leaves: str  # what the numbers do not show

    def run(self, numbers: Numbers) -> tuple[Measurement, str]:
        """The table, and `shows` filled; InputError: results/ lacks a number."""
        found, facts = globals()[self.measure](numbers, **self.given)
        clips = Quantity(numbers.of("splits", "test"))
        return found, self.shows.format(clips=clips, **facts)


CHECKS = tuple(Check(**entry) for entry in yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8")))


def read() -> Numbers:
    """From results/; InputError: a file is damaged."""
    cells = paper.numbers()[["table", "row", "metric", "value"]].to_numpy().tolist()
    printed: dict[tuple[str, ...], float] = {(*names,): float(value) for *names, value in cells}
    counts: dict[tuple[str, ...], float] = {}
    for name, columns in COUNTS.items():
        file = paths.results() / "cot-afa" / f"{name}.csv"
        table = read_table(file, columns, "see results/README.md", dtype=str, keep_default_na=False)
        counts |= {(name, *line[:-1]): float(line[-1]) for line in table[list(columns)].to_numpy().tolist()}
    return Numbers(printed, counts)


def listed(parts: Sequence[str]) -> str:
    """'a, b and c'; 'none' for nothing."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]])) or "none"


def leads(n: Numbers, table: str, said: dict[str, float]) -> Found:
    """EFA's lead over the best other row of each column, and over the row that the quoted per cent fit."""
    rows: list[Row] = []
    clips, facts, best = n.of("splits", "test"), dict[str, object](), dict[str, str]()
    for metric, claimed in said.items():
        own, others = n.of(table, "EFA", metric), [row for row in n.rows(table) if row != "EFA"]
        best[metric] = max(others, key=lambda row: n.of(table, row, metric))
        lead = {row: n.gap(table, metric, "EFA", row) for row in others}
        share = {row: lead[row] / n.of(table, row, metric) for row in others}
        fit = [row for row in others if round(100 * share[row], 1) == claimed]
        for row in [*(row for row in fit if row != best[metric]), best[metric]]:  # the facts are of the last, the best
            cells = Quantity(lead[row], "points"), Quantity(share[row], "%"), Quantity(lead[row] * clips / 100)
            both = quantities("mean", own, n.of(table, row, metric))
            rows.append((f"{METRICS[metric]} over {row}", *both, *cells[: 2 + (metric in ACCURACIES)], f"{claimed} %"))
        error = f"{math.sqrt(own * (100 - own) / clips):.1f} points"
        parts = zip(("points", "share", "clips", "error", "fit"), (*cells, error, listed(fit)), strict=True)
        facts |= {f"{metric}_{name}": value for name, value in parts} | {f"{metric}_best": best[metric]}
    facts |= {name: listed([str(facts[f"{metric}_{name}"]) for metric in said]) for name in ("points", "best", "fit")}
    wide = ["test clips"] * any(metric in ACCURACIES for metric in said)
    head = ("", "EFA", "the other row", "lead", "lead / other row", *wide, "the text says")
    return Measurement(head, rows, f"From the numbers of Table {ROMAN[table]}."), facts


def differences(n: Numbers, table: str, subject: str, others: Sequence[str]) -> Found:
    """Each of the other rows minus the subject, in points."""
    metrics, first, last = n.metrics(table), others[0], others[-1]
    gaps = {row: {metric: n.gap(table, metric, row, subject) for metric in metrics} for row in others}
    same = [metric for metric in metrics if n.gap(table, metric, first, last) == 0]

    def ahead(row: str, other: str) -> list[str]:
        """Metrics in which row is above other, with both numbers."""
        both = {metric: (n.of(table, row, metric), n.of(table, other, metric)) for metric in metrics}
        return [f"{METRICS[metric]} ({row}: {a:.1f} against {b:.1f})" for metric, (a, b) in both.items() if a > b]

    low = [row for row in n.rows(table) if n.gap(table, "cider_d", row, first) < 0]
    facts: Facts = {
        "ties": listed([f"{METRICS[m]} ({row})" for row in others for m, value in gaps[row].items() if value == 0]),
        "above": listed([name for row in others for name in ahead(row, subject)]),
        "swapped": listed(ahead(first, last)),
        "same": listed([METRICS[metric] for metric in same]),
        "same_gap": listed([f"{gaps[first][metric]:+.1f}" for metric in same]),
        "same_clips": listed([f"{abs(gaps[first][metric]) * n.of('splits', 'test') / 100:.1f}" for metric in same]),
        "cider": listed([f"{n.gap(table, 'cider_d', row, subject):+.1f}" for row in others]),
        "acc": listed([f"{n.gap(table, 'quality_acc', row, subject):+.1f}" for row in others[1:]]),
        "last": listed([f"{METRICS[metric]} {Quantity(value, 'signed')}" for metric, value in gaps[last].items()]),
        "lower": listed([f"{row} ({n.of(table, row, 'cider_d'):.1f})" for row in low]),
        "first": f"{n.of(table, first, 'cider_d'):.1f}",
    }
    rows: list[Row] = [(row, *quantities("signed", *one.values())) for row, one in gaps.items()]
    how = f"Points, row minus {subject}, from the numbers of Table {ROMAN[table]}."
    return Measurement(("", *(METRICS[metric] for metric in metrics)), rows, how), facts


def impossible(printed: Sequence[int], clips: int) -> tuple[int, float]:
    """How many accuracies, in thousandths, are no rounded k / clips; and the share of all thousandths that are none."""
    halves = [2000 * k / clips for k in range(clips + 1)]  # where it ends in a half, both roundings are possible
    shares = {math.floor((half + 1) / 2) for half in halves} | {math.ceil((half - 1) / 2) for half in halves}
    return sum(value not in shares for value in printed), 1 - len(shares) / 1001


def digits(n: Numbers) -> Found:
    """The GRIM check: which printed accuracies can be a count of right answers over the released test clips?"""
    cells = {key: round(10 * value) for key, value in n.printed.items() if key[0] in "567" and key[2] in ACCURACIES}
    once = [value for key, value in cells.items() if key[0] == "5" or key[1] not in ("EFA", "lambda = 3")]
    clips, rows = int(n.of("splits", "test")), list[Row]()
    for name, values in (("every cell", list(cells.values())), ("the model EFA once", once)):
        (found, share), size = impossible(values, clips), len(values)
        tail = sum(math.comb(size, k) * share**k * (1 - share) ** (size - k) for k in range(found, size + 1))
        rows.append((name, *quantities("count", size, found), Quantity(share * size, "mean"), Quantity(tail, "%")))
    smallest = next(size for size in range(1, 1001) if size == 1000 or not impossible(list(cells.values()), size)[0])
    facts: Facts = dict(zip(("cells", "found", "expected"), rows[0][1:4], strict=True))
    head = ("accuracies of Tables V to VII", "printed", "no share", "expected of random digits", "chance of so many")
    how = f"A share: k of {clips} clips, rounded to three digits. Random digits: every number of three digits, counted."
    return Measurement(head, rows, how), facts | {"smallest": Quantity(smallest)}


def columns(n: Numbers, table: str, promised: Sequence[str], metric: str) -> Found:
    """Which metric stands in which table."""
    there = {number: n.metrics(number) for number in ROMAN}
    rows = [(ROMAN[key], *("yes" if one in some else "–" for one in METRICS)) for key, some in there.items()]
    facts: Facts = {"lacks": listed([METRICS[one] for one in promised if one not in there[table]])}
    facts["stands"] = listed([ROMAN[key] for key, some in there.items() if metric in some])
    return Measurement(("table", *METRICS.values()), rows, "The columns of each table."), facts


def labels(n: Numbers, label: str, own: str) -> Found:
    """Which data sets of Table III have a label."""
    marks = {key[2].partition(":")[0]: value for key, value in n.counts.items() if f"label {label}" in key[-1]}
    rows = [(name, "yes" if mark else "–") for name, mark in marks.items()]
    others = listed([name for name, mark in marks.items() if mark and name != own])
    return Measurement(("data set", f"label {label}"), rows, "The labels of Table III."), {"others": others}


def counted(
    n: Numbers, head: Sequence[str], unit: str, rows: dict[str, list[list[list[str]]]], facts: dict[str, list[str]]
) -> Found:
    """Sums of `Numbers.counts`, two a row, and the second over the first; `facts` are single ones."""
    sums = {name: [sum(n.of(*key) for key in cell) for cell in cells] for name, cells in rows.items()}
    table: list[Row] = []
    for name, (whole, part) in sums.items():
        table.append((name, *quantities("count", whole, part), Quantity(part / whole, unit)))
    found: Facts = {f"{name}_share": cells[-1] for name, cells in zip(rows, table, strict=True)}
    for name, key in facts.items():
        value = n.of(*key)
        found[name] = f"{value:,.0f}" if value == round(value) else f"{value:.3g}"
    return Measurement(head, table, "From Tables I to III and counts of the released annotations."), found
