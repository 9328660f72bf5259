"""What is known of a table: scores, states and predictions, from finished runs or from published results.

`published.publish` writes the published results, `collect` reads either. Both speak in one tidy table: `COLUMNS`.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from efa.experiments import TABLES, Overrides, select
from efa.metrics import SCORES_VERSION
from efa.predict import PROTOCOLS
from efa.runs import Run, config_hash
from efa.train import Report
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book.published import (
    COLUMNS,
    among,
    file_name,
    folder_of,
    published_seeds,
    read_history,
    read_provenance,
    read_scores,
    scored_by,
    tidy,
)

Cell = tuple[str, int]  # row, seed
Asked = tuple[str, str, tuple[int, ...], Overrides, str]  # table, preset, seeds, overrides, protocol


@dataclass(frozen=True)
class Results:
    """One table's results.

    Attributes:
        table: its key in `efa.experiments.TABLES`.
        preset, seeds, overrides: what was asked for.
        origin: 'runs', 'published', 'both' (runs where there are any, published ones for the other seeds) or '' where
            nothing is there.
        scores: tidy, columns `COLUMNS`; percentages.
        states: (row, seed) -> 'done', 'stale' (trained or scored with other code or data), 'interrupted' or 'missing'.
        predictions: (row, seed) -> file, for what has scores.
        facts: (row, seed) -> provenance: commit, device, seconds, versions, key.
        histories: (row, seed) -> losses and accuracies by epoch.
        under: the protocol that was asked for; '' for each row's own.
        again: how many runs were made here that are published as well, how many of them have the same scores, and the
            largest difference of any score in points; None where there is no such run.
    """

    table: str
    preset: str
    seeds: tuple[int, ...]
    overrides: Overrides
    origin: str
    scores: pd.DataFrame
    states: dict[Cell, str]
    predictions: dict[Cell, Path] = field(default_factory=dict)
    facts: dict[Cell, dict[str, Any]] = field(default_factory=dict)
    histories: dict[Cell, pd.DataFrame] = field(default_factory=dict)
    under: str = ""
    again: tuple[int, int, float] | None = None
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)  # estimates made before

    @property
    def rows(self) -> list[str]:
        return list(TABLES[self.table].rows)

    def protocol(self, row: str) -> str:
        """The protocol that a row's entry in the table uses."""
        return self.under or TABLES[self.table].protocols_of(row)[0]

    def values(self, row: str, metric: str, protocol: str = "") -> dict[int, float]:
        """seed -> value, for the seeds that have one."""
        s = self.scores
        chosen = s[(s["row"] == row) & (s["metric"] == metric) & (s["protocol"] == (protocol or self.protocol(row)))]
        return {int(seed): float(value) for seed, value in zip(chosen["seed"], chosen["value"], strict=True)}

    def clips(self, row: str, seed: int, protocol: str = "") -> pd.DataFrame | None:
        """The predictions behind a value, sorted by clip."""
        path = self.predictions.get((row, seed))
        if path is None or not path.is_file():
            return None
        if path not in self.memo:
            self.memo[path] = pd.read_parquet(path).sort_values("clip_id", ignore_index=True)
        table = self.memo[path]
        return table[table["protocol"] == (protocol or self.protocol(row))].reset_index(drop=True)

    def state(self, row: str) -> str:
        """'done', or how many seeds of a row are in which state."""
        found = [self.states[row, seed] for seed in self.seeds]
        if len(set(found)) == 1:
            return found[0]
        return ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))


def seeds_of(value: int | str | Sequence[int]) -> tuple[int, ...]:
    """2 -> the first two seeds (0, 1); '0,1,2' and [0, 1, 2] -> these seeds."""
    wrong = InputError(f"seeds cannot be {value!r}", hint="a number of seeds such as 2, or a list such as '0,1,2'")
    if isinstance(value, int) and not isinstance(value, bool):
        seeds = tuple(range(value))
    else:
        try:
            parts = value.split(",") if isinstance(value, str) else value
            seeds = tuple(dict.fromkeys(int(part) for part in parts))  # type: ignore[union-attr]
        except (TypeError, ValueError):
            raise wrong from None
    if not seeds or min(seeds) < 0:
        raise wrong
    return seeds


def obtain(
    table: str,
    preset: str,
    seeds: int | str | Sequence[int] | None = None,
    train: bool = True,
    overrides: Overrides | None = None,
    report: Report = print,
    dataset: str = "",
    protocol: str = "",
) -> Results:
    """`collect`, after training what is missing where `train` says so; what a notebook calls.

    Args:
        seeds: as `seeds_of` reads them. None: seed 0, or without training every seed that is published or finished.
        dataset: a folder with a manifest, in place of the preset's data.
        protocol: one of `efa.predict.PROTOCOLS` for every row; '' for each row's own. Where `train` says so, finished
            runs are asked again under it, without training.
    """
    overrides = (overrides or {}) | ({"data.source": dataset} if dataset else {})
    if seeds is None and not train:
        there = {*published_seeds(table, preset, overrides), *_finished_seeds(table, preset, overrides)}
        found = collect(table, preset, sorted(there) or (0,), overrides, protocol)
        present = tuple(s for s in found.seeds if any(found.states[row, s] in ("done", "stale") for row in found.rows))
        return collect(table, preset, present, overrides, protocol) if present and present != found.seeds else found
    chosen = seeds_of(seeds) if seeds is not None else (0,)
    if train:
        wanted = _wanted(table, preset, chosen, overrides, protocol)
        todo = [run for run in wanted if not run.finished]
        report(f"{len(wanted)} runs, {len(wanted) - len(todo)} finished before")
        for i, run in enumerate(wanted, 1):
            if run in todo:
                report(f"[{i}/{len(wanted)}] {run.label}")
            run.execute()  # a finished run is only given the predictions and scores that it lacks
    return collect(table, preset, chosen, overrides, protocol)


def collect(
    table: str, preset: str, seeds: Sequence[int], overrides: Overrides | None = None, protocol: str = ""
) -> Results:
    """A table's results, from runs/ or from results/: whichever holds more of what is asked for as the code is now.

    Runs win a tie. Where runs and published results together hold all of it, made by the code, data and settings of
    now, both are taken. Otherwise they are never mixed, so that a difference is between runs made alike.
    """
    wanted = _wanted(table, preset, tuple(seeds), overrides, protocol)
    asked = (table, preset, tuple(seeds), dict(overrides or {}), protocol)
    keys = {id(run): _key(run) for run in wanted}
    runs = _from_runs(asked, wanted, keys)
    published = _from_published(asked, wanted, keys, folder_of(preset, overrides))
    best = max((runs, published), key=lambda r: [list(r.states.values()).count(state) for state in ("done", "stale")])
    mine = {cell for cell, state in runs.states.items() if state == "done"}
    theirs = {cell for cell, state in published.states.items() if state == "done"}
    if mine and len(theirs - mine) and len(mine | theirs) == len(runs.states):
        best = _joined(runs, published, mine)
    return replace(best, again=_compared(runs, published, mine & theirs)) if mine & theirs else best


def _joined(runs: Results, published: Results, mine: set[Cell]) -> Results:
    """The cells `mine` from the runs, all others as published."""
    kept = [(row, seed) in mine for row, seed in zip(runs.scores["row"], runs.scores["seed"], strict=True)]
    others = [(row, s) not in mine for row, s in zip(published.scores["row"], published.scores["seed"], strict=True)]
    scores = pd.concat([runs.scores[kept], published.scores[others]], ignore_index=True)

    def both(first: dict[Cell, Any], second: dict[Cell, Any]) -> dict[Cell, Any]:
        return {cell: (first if cell in mine else second)[cell] for cell in runs.states if cell in {**first, **second}}

    return replace(
        runs,
        origin="both",
        scores=scores,
        states=both(runs.states, published.states),
        predictions=both(runs.predictions, published.predictions),
        facts=both(runs.facts, published.facts),
        histories=both(runs.histories, published.histories),
    )


def _compared(runs: Results, published: Results, cells: set[Cell]) -> tuple[int, int, float]:
    """`Results.again`."""
    on = ["row", "seed", "protocol", "metric"]
    pairs = runs.scores.merge(published.scores, on=on, suffixes=("", "_published"))
    gap = (pairs["value"] - pairs["value_published"]).abs()
    gaps = [float(gap[(pairs["row"] == row) & (pairs["seed"] == seed)].max()) for row, seed in cells]
    return len(gaps), sum(one < 1e-3 for one in gaps), max(gaps)  # published are six digits


def _finished_seeds(table: str, preset: str, overrides: Overrides) -> set[int]:
    """The seeds with a finished run of the table, whatever code made it."""
    known: dict[int, set[str]] = {}
    for path in paths.runs().glob("*/provenance.json"):
        with contextlib.suppress(OSError, ValueError):
            facts = json.loads(path.read_text())
            for label in facts.get("labels", []):
                if found := re.search(r" seed (\d+)$", label):
                    known.setdefault(int(found[1]), set()).add(str(facts.get("config_hash")))
    return {
        seed
        for seed, hashes in known.items()
        if any(config_hash(run.config) in hashes for run in select(table, preset, (seed,), overrides))
    }


def _wanted(table: str, preset: str, seeds: tuple[int, ...], overrides: Overrides | None, protocol: str) -> list[Run]:
    """The table's runs; with a protocol asked for, each is to be scored under it as well."""
    if protocol and protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol '{protocol}'", hint=f"one of {', '.join(PROTOCOLS)}, or '' for the table's")
    runs = select(table, preset, seeds, overrides)
    more = (protocol,) if protocol else ()
    return [replace(run, protocols=tuple(dict.fromkeys((*run.protocols, *more)))) for run in runs]


def _key(run: Run) -> str:
    """The key that the run has as the code is now; '' where that cannot be told, for lack of a file it names."""
    with contextlib.suppress(InputError):
        return run.key
    return ""


def _from_runs(asked: Asked, wanted: list[Run], keys: dict[int, str]) -> Results:
    """Finished runs by key; where there is none, a run of the same settings made with other code or data is stale."""
    known: dict[str, Path] = {}  # the settings say which row it is: several tables may share it
    for path in sorted(paths.runs().glob("*/provenance.json"), key=lambda p: p.stat().st_mtime):
        with contextlib.suppress(OSError, ValueError):
            facts = json.loads(path.read_text())
            if (path.parent / "scores.json").is_file() and "config_hash" in facts:
                known[facts["config_hash"]] = path.parent
    found = _Builder(asked, "runs")
    for run in wanted:
        folder = paths.runs() / keys[id(run)] if keys[id(run)] else None
        state = "missing"
        if folder is not None and (folder / "scores.json").is_file():
            state = "done" if scored_by(folder) == SCORES_VERSION else "stale"
        elif config_hash(run.config) in known:
            state, folder = "stale", known[config_hash(run.config)]
        elif folder is not None and folder.is_dir() and any(folder.iterdir()):
            state = "interrupted"
        found.states[run.row, run.seed] = state
        if state in ("done", "stale") and folder is not None:
            history = pd.read_csv(folder / "history.csv") if (folder / "history.csv").is_file() else None
            facts = json.loads((folder / "provenance.json").read_text())
            found.add(run, tidy(run, folder), folder / "predictions.parquet", facts, history)
    return found.results()


def _from_published(asked: Asked, wanted: list[Run], keys: dict[int, str], folder: Path) -> Results:
    provenance, scores, histories = read_provenance(folder), read_scores(folder), read_history(folder)
    found = _Builder(asked, "published")
    for run in wanted:
        name = file_name(run.table, run.row, run.seed)
        facts = provenance.get(name)
        if facts is None:
            found.states[run.row, run.seed] = "missing"
            continue
        same = (facts.get("key"), facts.get("scores_version")) == (keys[id(run)], SCORES_VERSION)
        found.states[run.row, run.seed] = "done" if same else "stale"
        mine = {(run.table, run.row, run.seed)}
        history = histories[among(histories, mine)].dropna(axis=1, how="all")
        found.add(run, scores[among(scores, mine)], folder / "predictions" / f"{name}.parquet", facts, history)
    return found.results()


class _Builder:
    def __init__(self, asked: Asked, origin: str):
        self.asked, self.origin = asked, origin
        self.states: dict[Cell, str] = {}
        self.scores: list[pd.DataFrame] = []
        self.predictions: dict[Cell, Path] = {}
        self.facts: dict[Cell, dict[str, Any]] = {}
        self.histories: dict[Cell, pd.DataFrame] = {}

    def add(self, run: Run, scores: pd.DataFrame, path: Path, facts: dict[str, Any], history: Any) -> None:
        self.scores.append(scores)
        self.predictions[run.row, run.seed], self.facts[run.row, run.seed] = path, facts
        if history is not None and len(history):
            self.histories[run.row, run.seed] = history

    def results(self) -> Results:
        scores = pd.concat(self.scores, ignore_index=True) if self.scores else pd.DataFrame(columns=list(COLUMNS))
        origin = self.origin if self.scores else ""
        table, preset, seeds, overrides, protocol = self.asked
        found = (self.states, self.predictions, self.facts, self.histories, protocol)
        return Results(table, preset, seeds, overrides, origin, scores, *found)
