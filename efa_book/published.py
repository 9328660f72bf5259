"""The published results, results/<data set>-<preset>/: written from finished runs by `publish`, and read again."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from efa.config import build
from efa.experiments import TABLES, Overrides, select
from efa.runs import Run, scores_of
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.files import write_safely

COLUMNS = ("table", "row", "seed", "protocol", "metric", "value")


def folder_of(preset: str, overrides: Overrides | None = None) -> Path:
    """Where the published results of a preset lie: results/<data set>-<preset>."""
    source = build(preset, overrides).data.source
    return paths.results() / f"{Path(source).name}-{preset}"


def published_seeds(table: str, preset: str, overrides: Overrides | None = None) -> tuple[int, ...]:
    """The seeds of a table that are published for a preset; none where nothing is."""
    entries = read_provenance(folder_of(preset, overrides)).values()
    return tuple(sorted({int(entry["seed"]) for entry in entries if entry["table"] == table}))


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
        raise InputError("none of these runs is finished", hint=f"efa run {what} --preset {preset}")
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    provenance, scores, histories = read_provenance(folder), read_scores(folder), read_history(folder)
    new = {(run.table, run.row, run.seed) for run in finished}
    scores, histories = (_without(old, new) for old in (scores, histories))
    for run in finished:
        name = file_name(run.table, run.row, run.seed)
        predictions = pd.read_parquet(run.folder / "predictions.parquet")
        kept = predictions[predictions["protocol"].isin(run.protocols)]
        _write_parquet(kept, folder / "predictions" / f"{name}.parquet")
        facts = json.loads((run.folder / "provenance.json").read_text())
        facts = {k: v for k, v in facts.items() if k != "labels"} | {"scores_version": scored_by(run.folder)}
        provenance[name] = {"table": run.table, "row": run.row, "seed": run.seed, **facts}
        scores = pd.concat([scores, tidy(run)], ignore_index=True)
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


def scored_by(folder: Path) -> int:
    """Version of the metrics that wrote a run's scores; 0 where it is not said."""
    return int(json.loads((folder / "scores.json").read_text()).get("scores_version", 0))


def tidy(run: Run, folder: Path | None = None) -> pd.DataFrame:
    scores = scores_of(run) if folder is None else json.loads((folder / "scores.json").read_text())
    rows = [
        (run.table, run.row, run.seed, protocol, metric, float(value))
        for protocol in run.protocols
        for metric, value in scores.get(protocol, {}).items()
        if value is not None
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def among(frame: pd.DataFrame, cells: set[tuple[str, str, int]]) -> list[bool]:
    return [cell in cells for cell in zip(frame["table"], frame["row"], frame["seed"], strict=True)]


def _without(frame: pd.DataFrame, cells: set[tuple[str, str, int]]) -> pd.DataFrame:
    return frame[[not there for there in among(frame, cells)]]


def read_scores(folder: Path) -> pd.DataFrame:
    return _read_csv(folder / "scores.csv", COLUMNS)


def read_history(folder: Path) -> pd.DataFrame:
    return _read_csv(folder / "history.csv", COLUMNS[:3])


def _read_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        table = pd.read_csv(path, dtype={"table": str, "row": str, "seed": int}, keep_default_na=True)
    except ValueError as error:
        raise InputError(f"cannot be read: {error}", file=path, hint="efa publish writes it again") from None
    if lacking := [name for name in columns if name not in table.columns]:
        raise InputError(f"missing column {', '.join(lacking)}", file=path, hint="efa publish writes it again")
    return table


def read_provenance(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "provenance.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise InputError(f"cannot be read: {error}", file=path, hint="efa publish writes it again") from None


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    write_safely(path, lambda partly: table.to_parquet(partly, index=False, compression="zstd"))
