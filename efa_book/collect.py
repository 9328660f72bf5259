"""A table's results: scores, states and predictions, from finished runs or from published results."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from efa.experiments import TABLES, Overrides, select
from efa.metrics import SCORES_VERSION
from efa.predict import PROTOCOLS
from efa.runs import Run, config_hash, finished_runs
from efa.train import Report
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.seeds import seeds_of
from efa_book import blocks, published
from efa_book.published import COLUMNS

Cell = tuple[str, int]  # row, seed


@dataclass(frozen=True)
class Results:
    """One table's results.

    Attributes:
        table: its key in `efa.experiments.TABLES`.
        preset, seeds, overrides, asked_protocol: what was asked for; protocol '' is each row's own.
        origin: 'runs', 'published', 'both' (runs if there are any, published ones for the other seeds) or '' for none.
        scores: tidy, columns `COLUMNS`; percentages.
        states: (row, seed) -> 'done', 'stale' (trained or scored with other code or data), 'interrupted' or 'missing'.
        predictions: (row, seed) -> file of texts. left: (row, seed) -> its metrics without each block of clips.
        facts, histories: (row, seed) -> provenance, and losses and accuracies by epoch.
        repeats: how many runs were made here that are published as well, how many of them have the same scores, and
            the largest difference of any score in points; None if there is no such run.
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
    asked_protocol: str = ""
    repeats: tuple[int, int, float] | None = None
    left: dict[Cell, blocks.Left] = field(default_factory=dict)
    cache: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def rows(self) -> list[str]:
        return list(TABLES[self.table].rows)

    def protocol(self, row: str) -> str:
        """The protocol that a row's entry in the table uses."""
        return self.asked_protocol or TABLES[self.table].protocols_of(row)[0]

    def values(self, row: str, metric: str, protocol: str = "") -> dict[int, float]:
        """seed -> value, for the seeds that have one; where some are of today's code, of those alone."""
        s = self.scores
        chosen = s[(s["row"] == row) & (s["metric"] == metric) & (s["protocol"] == (protocol or self.protocol(row)))]
        found = {int(seed): float(value) for seed, value in zip(chosen["seed"], chosen["value"], strict=True)}
        return {seed: value for seed, value in found.items() if self.states.get((row, seed)) == "done"} or found

    def clips(self, row: str, seed: int, protocol: str = "") -> pd.DataFrame | None:
        """The predictions behind a value, sorted by clip; published ones are some of them, of seed 0."""
        path = self.predictions.get((row, seed))
        if path is None or not path.is_file():
            return None
        if path not in self.cache:
            self.cache[path] = pd.read_parquet(path).sort_values("clip_id", ignore_index=True)
        table = self.cache[path]
        return table[table["protocol"] == (protocol or self.protocol(row))].reset_index(drop=True)

    def state(self, row: str) -> str:
        """The state of a row's seeds, or how many of them are in which state."""
        found = [self.states[row, seed] for seed in self.seeds]
        if len(set(found)) == 1:
            return found[0]
        return ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))


@dataclass(frozen=True)
class _Entry:
    """What one source, runs/ or results/, has of a row and seed."""

    state: str = "missing"
    scores: pd.DataFrame | None = None
    predictions: Path = Path()
    left: blocks.Left | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    history: pd.DataFrame | None = None

    def has(self, protocol: str) -> bool:
        """Whether it is scored under a protocol that was asked for, if any was."""
        return not protocol or (self.scores is not None and protocol in set(self.scores["protocol"]))


def obtain(
    table: str, preset: str, seeds: int | str | Sequence[int] | None = None, train: bool | str = True,
    overrides: Overrides | None = None, report: Report = print, dataset: str = "", protocol: str = "",
) -> Results:  # fmt: skip
    """`collect`, after training what is missing if `train` is set; what a notebook calls.

    Args:
        seeds: as `seeds_of` reads them. None: every seed that is published or finished, or else seed 0.
        train: False: nothing. True: what is neither finished here nor published by the code of today. 'all': what is
            published, too.
        dataset: a folder with a manifest, in place of the preset's data.
        protocol: one of `efa.predict.PROTOCOLS` for every row; '' for each row's own. With `train`, finished runs
            predict under it as well, without training.
    """
    overrides = (overrides or {}) | ({"data.source": dataset} if dataset else {})
    if seeds is None and train != "all":
        known = {*published.published_seeds(table, preset, overrides), *_finished_seeds(table, preset, overrides)}
        found = collect(table, preset, sorted(known) or (0,), overrides, protocol)
        shown = ("done",) if train else ("done", "stale")
        present = tuple(s for s in found.seeds if any(found.states[row, s] in shown for row in found.rows))
        if present or not train:
            return collect(table, preset, present, overrides, protocol) if present not in ((), found.seeds) else found
    chosen = seeds_of(seeds) if seeds is not None else (0,)
    if train:
        wanted = _select_runs(table, preset, chosen, overrides, protocol)
        there = {} if train == "all" else _read_published(wanted, published.folder_of(preset, overrides))
        have = {cell for cell, one in there.items() if one.state == "done" and one.has(protocol)}
        wanted = [run for run in wanted if (run.row, run.seed) not in have]
        todo = [run for run in wanted if not run.finished]
        report(f"{len(wanted) + len(have)} runs, {len(wanted) - len(todo)} finished before, {len(have)} published")
        for i, run in enumerate(wanted, 1):
            if run in todo:
                report(f"[{i}/{len(wanted)}] {run.label}")
            run.execute()  # a finished run only gets the predictions and scores that it lacks
    return collect(table, preset, chosen, overrides, protocol)


def collect(
    table: str, preset: str, seeds: Sequence[int], overrides: Overrides | None = None, protocol: str = "",
    runs: bool = True,
) -> Results:  # fmt: skip
    """A table's results, from runs/ or from results/: whichever has more of them up to date; runs win a tie. Without
    `runs`, from results/ alone.

    If only both together have all of them, up to date, both are taken. Otherwise they are never mixed, so that every
    difference is between runs made alike.
    """
    wanted = _select_runs(table, preset, tuple(seeds), overrides, protocol)
    here = _read_runs(wanted) if runs else {(run.row, run.seed): _Entry() for run in wanted}
    there = _read_published(wanted, published.folder_of(preset, overrides))
    mine, theirs = ({cell for cell, one in found.items() if one.state == "done"} for found in (here, there))

    def count_usable(found: dict[Cell, _Entry]) -> list[int]:
        return [[one.state for one in found.values()].count(state) for state in ("done", "stale")]

    best, origin = (there, "published") if count_usable(there) > count_usable(here) else (here, "runs")
    if mine and theirs - mine and len(mine | theirs) == len(wanted):
        best, origin = {cell: (here if cell in mine else there)[cell] for cell in here}, "both"
    scored = {cell: one for cell, one in best.items() if one.scores is not None}
    return Results(
        table, preset, tuple(seeds), dict(overrides or {}), origin if scored else "", _join_scores(best),
        states={cell: one.state for cell, one in best.items()},
        predictions={cell: one.predictions for cell, one in scored.items()},
        left={cell: one.left for cell, one in scored.items() if one.left},
        facts={cell: one.facts for cell, one in scored.items()},
        histories={cell: one.history for cell, one in scored.items() if one.history is not None and len(one.history)},
        asked_protocol=protocol, repeats=_compare(here, there, mine & theirs),
    )  # fmt: skip


def _join_scores(found: dict[Cell, _Entry]) -> pd.DataFrame:
    parts = [one.scores for one in found.values() if one.scores is not None]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def _compare(here: dict[Cell, _Entry], there: dict[Cell, _Entry], cells: set[Cell]) -> tuple[int, int, float] | None:
    """`Results.repeats`."""
    if not cells:
        return None
    on = ["row", "seed", "protocol", "metric"]
    pairs = _join_scores(here).merge(_join_scores(there), on=on, suffixes=("", "_published"))
    gap = (pairs["value"] - pairs["value_published"]).abs().groupby([pairs["row"], pairs["seed"]]).max()
    gaps = [float(gap.get(cell, math.nan)) for cell in cells]
    return len(gaps), sum(one < 1e-3 for one in gaps), max(gaps)  # published scores have six digits


def _finished_seeds(table: str, preset: str, overrides: Overrides) -> set[int]:
    """The seeds with a finished run of the table, whatever code made it."""
    known: dict[int, set[str]] = {}
    for _, facts in finished_runs():
        for label in facts.get("labels", []):
            if found := re.search(r" seed (\d+)$", label):
                known.setdefault(int(found[1]), set()).add(str(facts.get("config_hash")))
    return {
        seed
        for seed, hashes in known.items()
        if any(config_hash(run.config) in hashes for run in select(table, preset, (seed,), overrides))
    }


def _select_runs(
    table: str, preset: str, seeds: tuple[int, ...], overrides: Overrides | None, protocol: str
) -> list[Run]:
    """The table's runs; with a protocol asked for, each is to be scored under it as well."""
    if protocol and protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol '{protocol}'", hint=f"one of {', '.join(PROTOCOLS)}, or '' for the table's")
    runs = select(table, preset, seeds, overrides)
    more = (protocol,) if protocol else ()
    return [replace(run, protocols=tuple(dict.fromkeys((*run.protocols, *more)))) for run in runs]


def _key(run: Run) -> str:
    """The run's key with the present code; '' if a file that it names is missing."""
    try:
        return run.key
    except InputError:
        return ""


def _read_runs(wanted: list[Run]) -> dict[Cell, _Entry]:
    """Finished runs by key; without one, a run of the same settings made with other code or data is stale."""
    scored = {  # by settings, because several tables may share a run
        facts["config_hash"]: folder
        for folder, facts in finished_runs()
        if (folder / "scores.json").is_file() and "config_hash" in facts
    }
    found = {}
    for run in wanted:
        key = _key(run)
        folder: Path | None = paths.runs() / key if key else None
        state = "missing"
        if folder is not None and (folder / "scores.json").is_file():
            state = "done" if published.scores_version(folder) == SCORES_VERSION else "stale"
        elif config_hash(run.config) in scored:
            state, folder = "stale", scored[config_hash(run.config)]
        elif folder is not None and folder.is_dir() and any(folder.iterdir()):
            state = "interrupted"
        if state not in ("done", "stale") or folder is None:
            found[run.row, run.seed] = _Entry(state)
            continue
        history = pd.read_csv(folder / "history.csv") if (folder / "history.csv").is_file() else None
        facts = json.loads((folder / "provenance.json").read_text())
        scores = published.scores_table(run, folder)
        left = blocks.of_clips(folder / "clips.parquet")
        found[run.row, run.seed] = _Entry(state, scores, folder / "predictions.parquet", left, facts, history)
    return found


def _read_published(wanted: list[Run], folder: Path) -> dict[Cell, _Entry]:
    provenance, scores = published.read_provenance(folder), published.read_scores(folder)
    by_run, histories, without = map(
        published.split_by_run, (scores, published.read_history(folder), published.read_blocks(folder))
    )
    found = {}
    for run in wanted:
        name, cell = published.run_name(run.table, run.row, run.seed), (run.table, run.row, run.seed)
        if (facts := provenance.get(name)) is None:
            found[run.row, run.seed] = _Entry()
            continue
        current = (facts.get("key"), facts.get("scores_version")) == (_key(run), SCORES_VERSION)
        history = histories[cell].dropna(axis=1, how="all") if cell in histories else None
        left = blocks.of_rows(without[cell]) if cell in without else None
        own = (by_run.get(cell, scores[:0]), folder / "predictions" / f"{name}.parquet", left)
        found[run.row, run.seed] = _Entry("done" if current else "stale", *own, facts, history)
    return found
