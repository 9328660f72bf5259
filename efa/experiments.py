"""The paper's tables as data: table -> rows -> overrides of one configuration. Change an ablation by one line here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from efa.config import build
from efa.errors import InputError
from efa.runs import Run

Overrides = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """One table: what all rows share, and what makes each row."""

    title: str
    rows: dict[str, Overrides]
    common: Overrides
    protocols: dict[str, tuple[str, ...]]  # row -> protocols it is scored under; others: the first of `default`
    default: tuple[str, ...] = ("predicted",)


ABLATION: dict[str, Overrides] = {
    "EFA": {},
    "w/o global branch": {"fusion.global_branch": False},
    "w/o step branch": {"fusion.step_branch": False},
    "Q-text": {"fusion.query": "text"},
    "Q-video": {"fusion.query": "video"},
    "Concatenate": {"fusion.merge": "concatenate"},
    "Add": {"fusion.merge": "add"},
    "w/o text": {"fusion.text": "none"},
    "Shuffled text": {"fusion.text": "shuffled"},
}

TABLES: dict[str, Table] = {
    "6": Table("Ablation (Table VI)", ABLATION, {}, {"EFA": ("predicted", "oracle", "none", "wrong")}),
    # Not in the paper: the same motion is right under one standard and wrong under another, so only text can tell.
    "standards": Table(
        "Standards benchmark",
        {row: ABLATION[row] for row in ("EFA", "w/o text", "Shuffled text")},
        {"data.benchmark": "standards"},
        {"EFA": ("predicted", "oracle", "none", "wrong")},
    ),
}


def select(what: str, preset: str, seeds: tuple[int, ...], overrides: Overrides | None = None) -> list[Run]:
    """The runs of 'all', of a table ('6') or of one row ('6/Q-text'), row by row, each with every seed."""
    name, _, row = what.partition("/")
    if name != "all" and name not in TABLES:
        raise InputError(f"unknown table '{name}'", mend=f"one of all, {', '.join(TABLES)}")
    runs = []
    for table in TABLES if name == "all" else [name]:
        rows = TABLES[table].rows
        if row and row not in rows:
            raise InputError(f"table {table} has no row '{row}'", mend=f"one of {', '.join(rows)}")
        for chosen in [row] if row else rows:
            runs += [_run(table, chosen, seed, preset, overrides or {}) for seed in seeds]
    return runs


def _run(table: str, row: str, seed: int, preset: str, overrides: Overrides) -> Run:
    spec = TABLES[table]
    config = build(preset, spec.common | spec.rows[row] | overrides | {"training.seed": seed})
    return Run(table, row, seed, config, spec.protocols.get(row, spec.default))
