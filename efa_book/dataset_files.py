"""A data set's numbers on disk, results/<data set>/*.csv with provenance: written and read; the paper's, too."""

from __future__ import annotations

import datetime
import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from efa.data.manifest import DataSet
from efa.runs import commit, versions
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa_datasets.statistics import TABLES

TEXT = {"about", "quantity", "definition", "mode", "type", "split", "what", "done", "list", "cue", "parent", "word"}
ENTRY = "statistics"  # in provenance.json, where other numbers of the data set may have entries of their own
SOURCES = (".csv", ".gz", ".json", ".parquet", ".txt", ".xlsx")  # annotations; videos and notes are not hashed
PAPER = ("table", "number", "value", "source")
AGAIN = "efa data statistics writes it again"


def as_csv(table: pd.DataFrame) -> str:
    """Six digits, '\\n' line ends: the same text for the same numbers."""
    return str(table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


def write(tables: Mapping[str, pd.DataFrame], dataset: DataSet, to: Path, source: Path | None = None) -> dict[str, Any]:
    """Write each table as a .csv, and what they were made from to provenance.json; the entry that was written.

    Args:
        dataset: what was measured, with its folder.
        source: a folder whose annotations' hashes are kept, where the data set was made from others' files.

    Raises:
        InputError: `to` holds a data set, is no folder or cannot be written; `source` holds no annotations.
    """
    if any((to / name).exists() for name in ("manifest.parquet", "manifest.csv")):
        raise InputError("holds a data set", file=to, hint="choose another folder with --to")
    known = _provenance(to)
    name = dataset.folder.name if dataset.folder else "formsim"
    typed = ["efa", "data", "statistics", name, "--to", _short(to), *(["--source", source.name] if source else [])]
    files = {f"{table}.csv": as_csv(tables[table]) for table in TABLES if table in tables and len(tables[table])}
    entry = {
        "command": shlex.join(typed),
        "clips": len(dataset.table),
        "manifest and steps": DataSet(None, dataset.table, dataset.steps).fingerprint(),
        "made from": {} if source is None else hashes(source),
        "files": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()},
        "commit": commit(),
        "versions": {
            name: version for name, version in versions().items() if name in ("efa", "numpy", "pandas", "python")
        },
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(known | {ENTRY: entry}, indent=1, allow_nan=False) + "\n"
    try:
        to.mkdir(parents=True, exist_ok=True)
        for old in known.get(ENTRY, {}).get("files", {}):
            if old not in files and old.removesuffix(".csv") in TABLES:
                (to / old).unlink(missing_ok=True)
        for file, content in (*files.items(), ("provenance.json", text)):
            write_safely(to / file, lambda path, content=content: path.write_text(content, encoding="utf-8"))  # type: ignore[misc]
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=to, hint="check the folder") from error
    return entry


def _short(folder: Path) -> str:
    """A folder as it is named in the project: no path of somebody's machine."""
    place, home = folder.resolve(), paths.home().resolve()
    return place.relative_to(home).as_posix() if place.is_relative_to(home) else folder.name


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of each file of annotations in a folder, and one for each folder of them: names and contents, in order.

    Raises:
        InputError: no such folder, nothing in it, or a file that cannot be read.
    """
    if not folder.is_dir():
        raise InputError("no such folder", file=folder, hint="--source is where the annotations were released")
    found = {}
    try:
        for place in sorted(folder.iterdir()):
            inside = sorted(p for p in (place.rglob("*") if place.is_dir() else [place]) if p.suffix in SOURCES)
            files = [path for path in inside if path.is_file()]
            if not files:
                continue
            digest = hashlib.sha256()
            for path in files:
                if place.is_dir():
                    digest.update(path.relative_to(place).as_posix().encode() + b"\0")
                digest.update(path.read_bytes())
            found[f"{place.name}/ ({len(files)} files)" if place.is_dir() else place.name] = digest.hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=folder, hint="check its permissions") from error
    if not found:
        raise InputError("holds no annotations", file=folder, hint=f"files ending in {', '.join(SOURCES)}")
    return found


def read(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables that `write` left in a folder; none where there is no folder.

    Raises:
        InputError: a file is damaged; with its row where a number is none.
    """
    return {
        name: _read_table(folder / f"{name}.csv", columns) for name, columns in TABLES.items() if _there(folder, name)
    }


def _there(folder: Path, name: str) -> bool:
    return (folder / f"{name}.csv").is_file()


def _read_table(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"cannot be read: {' '.join(str(error).split())}", file=file, hint=AGAIN) from error
    if missing := [name for name in columns if name not in table.columns]:
        raise InputError(f"missing column {', '.join(missing)}", file=file, hint=AGAIN)
    for name in columns:
        if name not in TEXT:
            table[name] = _numbers(table[name], file, AGAIN)
    return table[list(columns)]


def _numbers(column: pd.Series[str], file: Path, hint: str) -> pd.Series[float]:
    numbers = pd.to_numeric(column, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(dtype=float))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"{column.name} cannot be {column.iloc[row][:80]!r}", file=file, row=row + 2, hint=hint)
    return numbers


def provenance(folder: Path) -> dict[str, Any]:
    """The entry of provenance.json about these tables; empty where there is none."""
    return dict(_provenance(folder).get(ENTRY, {}))


def _provenance(folder: Path) -> dict[str, Any]:
    file = folder / "provenance.json"
    if not file.is_file():
        return {}
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", file=file, hint=f"delete it, {AGAIN}") from error
    if not isinstance(known, dict) or not isinstance(known.get(ENTRY, {}), dict):
        raise InputError("not a JSON object of entries", file=file, hint=f"delete it, {AGAIN}")
    return known


def paper_numbers(file: Path | None = None) -> pd.DataFrame:
    """The paper's own numbers about its data, results/cot-afa/paper.csv: columns `PAPER`; no rows without a file.

    Raises:
        InputError: missing column, no number, no source, or one number given twice.
    """
    file = file or paths.results() / "cot-afa" / "paper.csv"
    if not file.is_file():
        return pd.DataFrame(columns=list(PAPER))
    hint = f"columns: {', '.join(PAPER)}"
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {' '.join(str(error).split())}", file=file, hint=hint) from error
    if missing := [name for name in PAPER if name not in table.columns]:
        raise InputError(f"missing column {', '.join(missing)}", file=file, hint=hint)
    problems = {
        "source is empty": table["source"].str.strip() == "",
        "this number stands above already": table.duplicated(["table", "number"]),
    }
    for message, bad in problems.items():
        if bad.any():
            raise InputError(message, file=file, row=int(bad.to_numpy().argmax()) + 2)
    return table.assign(value=_numbers(table["value"], file, hint))
