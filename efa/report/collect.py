"""What is known of a table: scores, states and predictions, from finished runs or from published results.

`publish` writes the published results, `collect` reads either. Both speak in one tidy table: `COLUMNS`.
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

from efa import paths
from efa.config import build
from efa.errors import InputError
from efa.experiments import TABLES, Overrides, select
from efa.files import write_safely
from efa.inference import PROTOCOLS
from efa.runs import Run, config_hash, execute, scores_of, scoring_source, state_of
from efa.training import Report

COLUMNS = ("table", "row", "seed", "protocol", "metric", "value")
Cell = tuple[str, int]  # row, seed
Asked = tuple[str, str, tuple[int, ...], Overrides, str]  # table, preset, seeds, overrides, protocol


@dataclass(frozen=True)
class Results:
    """One table's results.

    Attributes:
        table: its key in `efa.experiments.TABLES`.
        preset, seeds, overrides: what was asked for.
        origin: 'runs', 'published' or '' where nothing is there.
        scores: tidy, columns `COLUMNS`; percentages.
        states: (row, seed) -> 'done', 'stale' (trained or scored with other code or data), 'interrupted' or 'missing'.
        predictions: (row, seed) -> file, for what has scores.
        facts: (row, seed) -> provenance: commit, device, seconds, versions, key.
        histories: (row, seed) -> losses and accuracies by epoch.
        under: the protocol that was asked for; '' for each row's own.
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
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)  # estimates made before

    @property
    def rows(self) -> list[str]:
        return list(TABLES[self.table].rows)

    def protocol(self, row: str) -> str:
        """The protocol that a row's entry in the table uses."""
        return self.under or TABLES[self.table].protocols.get(row, TABLES[self.table].default)[0]

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
    wrong = InputError(f"seeds cannot be {value!r}", mend="a number of seeds such as 2, or a list such as '0,1,2'")
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


def folder_of(preset: str, overrides: Overrides | None = None) -> Path:
    """Where the published results of a preset lie: results/<data set>-<preset>."""
    source = build(preset, overrides).data.source
    return paths.results() / f"{Path(source).name}-{preset}"


def published_seeds(table: str, preset: str, overrides: Overrides | None = None) -> tuple[int, ...]:
    """The seeds of a table that are published for a preset; none where nothing is."""
    entries = _read_provenance(folder_of(preset, overrides)).values()
    return tuple(sorted({int(entry["seed"]) for entry in entries if entry["table"] == table}))


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
        seeds: as `seeds_of` reads them. None: seed 0, or without training every seed that is published.
        dataset: a folder with a manifest, in place of the preset's data.
        protocol: one of `efa.inference.PROTOCOLS` for every row; '' for each row's own. Where `train` says so, finished
            runs are asked again under it, without training.
    """
    overrides = (overrides or {}) | ({"data.source": dataset} if dataset else {})
    published = () if train else published_seeds(table, preset, overrides)
    chosen = seeds_of(seeds) if seeds is not None else published or (0,)
    if train:
        wanted = _wanted(table, preset, chosen, overrides, protocol)
        todo = [run for run in wanted if state_of(run) != "done"]
        report(f"{len(wanted)} runs, {len(wanted) - len(todo)} finished before")
        for i, run in enumerate(wanted, 1):
            if run in todo:
                report(f"[{i}/{len(wanted)}] {run.label}")
            execute(run)  # a finished run is only given the predictions and scores that it lacks
    return collect(table, preset, chosen, overrides, protocol)


def collect(
    table: str, preset: str, seeds: Sequence[int], overrides: Overrides | None = None, protocol: str = ""
) -> Results:
    """A table's results, from runs/ or from results/: whichever holds more of what is asked for as the code is now.

    Runs win a tie. Results are never mixed, so that a difference between two rows is between runs made alike.
    """
    wanted = _wanted(table, preset, tuple(seeds), overrides, protocol)
    asked = (table, preset, tuple(seeds), dict(overrides or {}), protocol)
    keys = {id(run): _key(run) for run in wanted}
    choices = [_from_runs(asked, wanted, keys), _from_published(asked, wanted, keys, folder_of(preset, overrides))]
    return max(choices, key=lambda r: [list(r.states.values()).count(state) for state in ("done", "stale")])


def _wanted(table: str, preset: str, seeds: tuple[int, ...], overrides: Overrides | None, protocol: str) -> list[Run]:
    """The table's runs; with a protocol asked for, each is to be scored under it as well."""
    if protocol and protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol '{protocol}'", mend=f"one of {', '.join(PROTOCOLS)}, or '' for the table's")
    runs = select(table, preset, seeds, overrides)
    more = (protocol,) if protocol else ()
    return [replace(run, protocols=tuple(dict.fromkeys((*run.protocols, *more)))) for run in runs]


def publish(
    preset: str,
    seeds: Sequence[int],
    out: Path | None = None,
    overrides: Overrides | None = None,
    what: str = "all",
) -> tuple[Path, list[str]]:
    """Writes finished runs to results/<data set>-<preset>/, and returns the folder and the labels that are missing.

    scores.csv (tidy), predictions/<table>-<row>-<seed>.parquet, history.csv and provenance.json (key, commit, device,
    versions, seconds of each run). What is there of other rows and seeds stays; the same ones are replaced.

    Args:
        out: another folder to write to.
        what: 'all', a table or a row, as for `efa run`.

    Raises:
        InputError: none of the runs is finished.
    """
    folder = out or folder_of(preset, overrides)
    wanted = select(what, preset, tuple(seeds), overrides)
    finished = [run for run in wanted if (run.folder / "scores.json").is_file()]
    missing = [run.label for run in wanted if run not in finished]
    if not finished:
        raise InputError("none of these runs is finished", mend=f"efa run {what} --preset {preset}")
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    provenance, scores, histories = _read_provenance(folder), _read_scores(folder), _read_history(folder)
    new = {(run.table, run.row, run.seed) for run in finished}
    scores, histories = (_without(old, new) for old in (scores, histories))
    for run in finished:
        name = file_name(run.table, run.row, run.seed)
        predictions = pd.read_parquet(run.folder / "predictions.parquet")
        kept = predictions[predictions["protocol"].isin(run.protocols)]
        _write_parquet(kept, folder / "predictions" / f"{name}.parquet")
        facts = json.loads((run.folder / "provenance.json").read_text())
        facts = {k: v for k, v in facts.items() if k != "labels"} | {"scoring": _scored_by(run.folder)}
        provenance[name] = {"table": run.table, "row": run.row, "seed": run.seed, **facts}
        scores = pd.concat([scores, _tidy(run)], ignore_index=True)
        history = pd.read_csv(run.folder / "history.csv")
        labels = pd.DataFrame({"table": run.table, "row": run.row, "seed": run.seed}, index=history.index)
        histories = pd.concat([histories, pd.concat([labels, history], axis=1)], ignore_index=True)
    order = {(table, row): i for i, (table, row) in enumerate((t, r) for t in TABLES for r in TABLES[t].rows)}

    def ordered(frame: pd.DataFrame) -> pd.DataFrame:
        place = [order.get(pair, len(order)) for pair in zip(frame["table"], frame["row"], strict=True)]
        return frame.assign(place=place).sort_values(["place", "seed"], kind="stable").drop(columns="place")

    for table, file in ((scores, "scores.csv"), (histories, "history.csv")):
        text = ordered(table).to_csv(index=False, float_format="%.6g", lineterminator="\n")
        write_safely(folder / file, lambda path, text=text: path.write_text(text))  # type: ignore[misc]
    text = json.dumps(dict(sorted(provenance.items())), indent=1, allow_nan=False) + "\n"
    write_safely(folder / "provenance.json", lambda path: path.write_text(text))
    return folder, missing


def file_name(table: str, row: str, seed: int) -> str:
    """'6', 'w/o text', 0 -> '6-w-o-text-0'."""
    return f"{table}-{re.sub(r'[^A-Za-z0-9]+', '-', row).strip('-')}-{seed}"


def _scored_by(folder: Path) -> str:
    """Hash of the scoring code that wrote a run's scores."""
    return str(json.loads((folder / "scores.json").read_text()).get("source", ""))


def _key(run: Run) -> str:
    """The key that the run has as the code is now; '' where that cannot be told, for lack of a file it names."""
    with contextlib.suppress(InputError):
        return run.key
    return ""


def _tidy(run: Run, folder: Path | None = None) -> pd.DataFrame:
    scores = scores_of(run) if folder is None else json.loads((folder / "scores.json").read_text())
    rows = [
        (run.table, run.row, run.seed, protocol, metric, float(value))
        for protocol in run.protocols
        for metric, value in scores.get(protocol, {}).items()
        if value is not None
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
            state = "done" if _scored_by(folder) == scoring_source() else "stale"
        elif config_hash(run.config) in known:
            state, folder = "stale", known[config_hash(run.config)]
        elif folder is not None and folder.is_dir() and any(folder.iterdir()):
            state = "interrupted"
        found.states[run.row, run.seed] = state
        if state in ("done", "stale") and folder is not None:
            history = pd.read_csv(folder / "history.csv") if (folder / "history.csv").is_file() else None
            facts = json.loads((folder / "provenance.json").read_text())
            found.add(run, _tidy(run, folder), folder / "predictions.parquet", facts, history)
    return found.results()


def _from_published(asked: Asked, wanted: list[Run], keys: dict[int, str], folder: Path) -> Results:
    provenance, scores, histories = _read_provenance(folder), _read_scores(folder), _read_history(folder)
    found = _Builder(asked, "published")
    for run in wanted:
        name = file_name(run.table, run.row, run.seed)
        facts = provenance.get(name)
        if facts is None:
            found.states[run.row, run.seed] = "missing"
            continue
        same = (facts.get("key"), facts.get("scoring")) == (keys[id(run)], scoring_source())
        found.states[run.row, run.seed] = "done" if same else "stale"
        mine = {(run.table, run.row, run.seed)}
        history = histories[_among(histories, mine)].dropna(axis=1, how="all")
        found.add(run, scores[_among(scores, mine)], folder / "predictions" / f"{name}.parquet", facts, history)
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


def _among(frame: pd.DataFrame, cells: set[tuple[str, str, int]]) -> list[bool]:
    return [cell in cells for cell in zip(frame["table"], frame["row"], frame["seed"], strict=True)]


def _without(frame: pd.DataFrame, cells: set[tuple[str, str, int]]) -> pd.DataFrame:
    return frame[[not there for there in _among(frame, cells)]]


def _read_scores(folder: Path) -> pd.DataFrame:
    return _read_csv(folder / "scores.csv", COLUMNS)


def _read_history(folder: Path) -> pd.DataFrame:
    return _read_csv(folder / "history.csv", COLUMNS[:3])


def _read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        table = pd.read_csv(path, dtype={"table": str, "row": str, "seed": int}, keep_default_na=True)
    except ValueError as error:
        raise InputError(f"cannot be read: {error}", file=path, mend="efa publish writes it again") from None
    if lacking := [name for name in columns if name not in table.columns]:
        raise InputError(f"missing column {', '.join(lacking)}", file=path, mend="efa publish writes it again")
    return table


def _read_provenance(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "provenance.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise InputError(f"cannot be read: {error}", file=path, mend="efa publish writes it again") from None


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    write_safely(path, lambda partly: table.to_parquet(partly, index=False, compression="zstd"))
