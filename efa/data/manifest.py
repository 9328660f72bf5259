"""The one table that every data set becomes.

On disk a data set is a folder with manifest.parquet (or manifest.csv), steps.json and the videos; in memory it is a
`DataSet`. One pass reads and checks: `load_dataset` raises at the first error, `check_dataset` lists every problem.
Rows are numbered as a spreadsheet shows them, for parquet too: the header is row 1, the first clip row 2.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from efa.data.checks import (
    COLUMNS,
    REQUIRED,
    SPLITS,
    Log,
    Problem,
    StepText,
    check_rows,
    clean_text,
    read_csv,
    read_parquet,
    read_steps,
    step_key,
)
from efa.utils.errors import InputError

__all__ = [
    "DataSet",
    "Problem",
    "StepText",
    "check_dataset",
    "clean_text",
    "load_dataset",
    "make_dataset",
    "save_dataset",
]

ANNOTATIONS_ONLY = "ANNOTATIONS_ONLY.txt"  # a data set's folder without videos may hold this file, which says why


@dataclass(eq=False)
class DataSet:
    """Clips and the texts of their actions.

    Attributes:
        folder: where the videos are; None where clips are made in memory.
        table: one row a clip, columns as in `COLUMNS`. Empty text is '', an empty number NaN or NA.
        steps: key (see `step_key`) -> how the action is done.
    """

    folder: Path | None
    table: pd.DataFrame
    steps: dict[str, StepText]

    @staticmethod
    def step_key(row: Mapping[str, Any] | pd.Series[Any]) -> str:
        """The key of a clip's steps: its action, or 'action [standard]'."""
        return step_key(row["action"], row["standard"])

    @cached_property
    def actions(self) -> list[str]:
        """Action names, sorted: the position is the class index. Actions without a clip count, so that a part of a
        data set has the classes of the whole."""
        pairs = self.table[["action", "standard"]].drop_duplicates()
        used = {self.step_key(pair): pair["action"] for _, pair in pairs.iterrows()}
        by_standard = bool((pairs["standard"] != "").any())
        spare = (re.sub(r" \[[^\[\]]+\]$", "", key) if by_standard else key for key in self.steps if key not in used)
        return sorted({*used.values(), *spare})

    def split(self, name: str) -> pd.DataFrame:
        """The rows of 'train', 'val' or 'test', in the table's order, numbered from 0."""
        if name not in SPLITS:
            raise ValueError(f"split {name!r} is none of {SPLITS}")
        return self.table[self.table["split"] == name].reset_index(drop=True)

    def fingerprint(self) -> str:
        """sha256 of table, steps and, of each video file, name, size and the first and last 64 KiB; no times."""
        digest = hashlib.sha256()
        rows = self.table.astype(object).where(self.table.notna(), None)
        for part in (list(rows.columns), *rows.itertuples(index=False, name=None)):
            digest.update(json.dumps(part, default=str).encode() + b"\n")
        digest.update(json.dumps({k: asdict(v) for k, v in self.steps.items()}, sort_keys=True).encode())
        if self.folder is not None:
            for path in sorted(set(self.table["path"])):
                place = self.folder / path
                for file in sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]:
                    digest.update(f"\n{path}/{file.name}\n".encode() + _ends(file))
        return digest.hexdigest()


def _ends(file: Path) -> bytes:
    """Size, first and last 64 KiB of a file."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            first = stream.read(65536)
            stream.seek(max(0, size - 65536))
            return f"{size}\n".encode() + first + stream.read(65536)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=file, hint="check the data set again") from error


def load_dataset(folder: str | Path) -> DataSet:
    """Read a data set.

    Raises:
        InputError: the first error that `check_dataset` would list.
    """
    dataset, problems = _read(Path(folder), probe=False)
    return _usable(dataset, problems)


def check_dataset(folder: str | Path, probe: bool = False) -> list[Problem]:
    """Every problem of a data set on disk; with `probe` each video is opened and its first frame decoded."""
    return _read(Path(folder), probe)[1]


def make_dataset(rows: Iterable[Mapping[str, Any]], steps: Mapping[str, StepText]) -> DataSet:
    """A data set in memory from records with the manifest's columns; checked like a file, but for the videos."""
    log = Log(Path("clips in memory"))
    records = list(rows)
    header = [*dict.fromkeys(name for record in records for name in record)]
    values = [(i, [record.get(name) for name in header]) for i, record in enumerate(records, start=2)]
    table = check_rows(header, values, set(steps), log, None, open_videos=False)
    return _usable(None if table is None else DataSet(None, table, dict(steps)), log.problems)


def save_dataset(dataset: DataSet, folder: str | Path, kind: Literal["parquet", "csv"] = "parquet") -> None:
    """Write manifest.parquet or manifest.csv, and steps.json. The videos, at `path` in `folder`, are the caller's."""
    folder = Path(folder)
    other = folder / f"manifest.{'csv' if kind == 'parquet' else 'parquet'}"
    if other.exists():
        raise InputError("the folder holds another manifest", file=other, hint="delete it or choose another folder")
    table = dataset.table[list(COLUMNS)]
    steps = {k: {"steps": list(v.steps), "instruction": v.instruction} for k, v in dataset.steps.items()}
    content = (
        table.to_csv(index=False, lineterminator="\n").encode() if kind == "csv" else table.to_parquet(index=False)
    )
    files = {
        f"manifest.{kind}": content,
        "steps.json": (json.dumps(steps, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            part = folder / f"{name}.part"  # so that an interrupted run leaves no half a file
            part.write_bytes(data)
            os.replace(part, folder / name)
    except OSError as error:
        raise InputError(
            f"cannot be written: {error}", file=folder, hint="check the folder and the disk space"
        ) from error


def _usable(dataset: DataSet | None, problems: list[Problem]) -> DataSet:
    for problem in problems:
        if problem.severity == "error":
            raise problem.error()
    assert dataset is not None
    return dataset


def _read(folder: Path, probe: bool) -> tuple[DataSet | None, list[Problem]]:
    log = Log(folder)
    try:
        if not folder.is_dir():
            log.error("no such folder", "give a folder with manifest.parquet or manifest.csv, and steps.json")
            return None, log.problems
        files = [file for file in (folder / "manifest.parquet", folder / "manifest.csv") if file.exists()]
    except (OSError, ValueError) as error:
        log.error(f"cannot be opened: {error}", "check the path")
        return None, log.problems
    if not files:
        log.error(
            "neither manifest.parquet nor manifest.csv",
            f"write one row a clip, with at least the columns {', '.join(REQUIRED)}",
        )
        return None, log.problems
    if len(files) == 2:
        log.warn("both manifest.parquet and manifest.csv", "manifest.csv was not read")
    log = Log(files[0], log.problems)
    steps, keys = read_steps(Log(folder / "steps.json", log.problems))
    try:
        header, rows = read_parquet(files[0]) if files[0].suffix == ".parquet" else read_csv(files[0], log)
    except InputError as error:
        log.error(error.message, error.hint or "", error.row if isinstance(error.row, int) else None)
        return None, log.problems
    except OSError as error:
        log.error(f"cannot be read: {error}", "check the file and its permissions")
        return None, log.problems
    table = check_rows(header, rows, keys, log, folder, probe)
    return None if table is None else DataSet(folder, table, steps), log.problems
