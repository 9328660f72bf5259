"""The one table that every data set becomes.

On disk a data set is a folder with manifest.parquet (or manifest.csv), steps.json and the videos; in memory it is a
`DataSet`. One pass reads and checks: `load_dataset` raises at the first error, `check_dataset` lists every problem.
Rows are numbered as a spreadsheet shows them, for parquet too: the header is row 1, the first clip row 2.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from efa.data.checks import REQUIRED, Log, Problem, Rows, StepText, check_rows, read_steps, step_key
from efa.data.video import DECODE_ERRORS
from efa.utils.errors import InputError

__all__ = ["DataSet", "Problem", "StepText", "check_dataset", "load_dataset", "make_dataset"]

ANNOTATIONS_ONLY = "ANNOTATIONS_ONLY.txt"  # a data set's folder without videos may hold this file, which says why


@dataclass(eq=False)
class DataSet:
    """Clips and the texts of their actions."""

    folder: Path | None  # where the videos are; None where clips are made in memory
    table: pd.DataFrame  # one row a clip, columns as in `COLUMNS`; empty text is '', an empty number NaN or NA
    steps: dict[str, StepText]  # 'action', or 'action [standard]' -> how the action is done
    clips: tuple[Any, ...] = ()  # FormSim's, from which frames and skeletons are made, in the order of the table

    @cached_property
    def actions(self) -> list[str]:
        """Action names, sorted: the position is the class index. Actions without a clip count, so that a part of a
        data set has the classes of the whole."""
        pairs = self.table[["action", "standard"]].drop_duplicates()
        used = {step_key(action, standard): action for action, standard in pairs.itertuples(index=False)}
        spare = [key for key in self.steps if key not in used]
        if (pairs["standard"] != "").any():
            spare = [re.sub(r" \[[^\[\]]+\]$", "", key) for key in spare]
        return sorted({*used.values(), *spare})

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
            first, size = stream.read(65536), stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 65536))
            return f"{size}\n".encode() + first + stream.read(65536)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=file, hint="check the data set again") from error


def load_dataset(folder: str | Path, videos: bool = True) -> DataSet:
    """Read a data set, without `videos` the annotations only. InputError: the first that `check_dataset` would list."""
    log = Log(Path(folder))
    table, steps = _read(log, videos)
    return DataSet(log.file, log.usable(table), steps)


def check_dataset(folder: str | Path, probe: bool = False) -> list[Problem]:
    """Every problem of a data set on disk; with `probe` each video is opened and its first frame decoded."""
    log = Log(Path(folder))
    _read(log, probe=probe)
    return log.problems


def make_dataset(
    rows: Iterable[Mapping[str, Any]], steps: Mapping[str, StepText], clips: tuple[Any, ...] = ()
) -> DataSet:
    """A data set in memory from records with the manifest's columns; checked like a file, but for the videos."""
    log = Log(Path("clips in memory"))
    records = list(rows)
    header = [*dict.fromkeys(name for record in records for name in record)]
    values = [(i, [record.get(name) for name in header]) for i, record in enumerate(records, start=2)]
    return DataSet(None, log.usable(check_rows(header, values, set(steps), log, None)), dict(steps), clips)


def manifest_files(folder: Path) -> list[Path]:
    """The manifests of a folder: manifest.parquet, the one that is read, before manifest.csv."""
    return [file for file in (folder / "manifest.parquet", folder / "manifest.csv") if file.exists()]


def _read(log: Log, videos: bool = True, probe: bool = False) -> tuple[pd.DataFrame | None, dict[str, StepText]]:
    """Table (None where something is an error) and steps of the log's folder. `videos` are looked for, or `probe`d."""
    folder, table, steps = log.file, None, {}
    with log.catch():
        files = manifest_files(folder)
        if not folder.is_dir():
            raise InputError("no such folder", hint="give one with manifest.parquet or manifest.csv, and steps.json")
        if not files:
            hint = f"write one row a clip, with at least the columns {', '.join(REQUIRED)}"
            raise InputError("neither manifest.parquet nor manifest.csv", hint=hint)
        if len(files) == 2:
            log.warn("both manifest.parquet and manifest.csv", "manifest.csv was not read")
        manifest, steps_file = Log(files[0], log.problems), Log(folder / "steps.json", log.problems)
        with steps_file.catch():
            steps = read_steps(steps_file)
        with manifest.catch():
            header, rows = _read_parquet(files[0]) if files[0].suffix == ".parquet" else _read_csv(manifest)
            table = check_rows(header, rows, set(steps), manifest, folder if videos else None, probe)
    return table, steps


def _read_csv(log: Log) -> tuple[list[Any], Rows]:
    """Header and numbered rows of text. InputError (with a row) where the file is no table."""
    raw = log.read_file()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError("UTF-16 text", hint="save it as CSV UTF-8")
    if b"\r\n" in raw:
        log.warn("Windows line ends", "read like others")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        raise InputError("not UTF-8 text", row=row, hint="save it as CSV UTF-8") from error
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    if delimiter != ",":
        log.warn(f"columns are separated by {delimiter!r}", "read like commas")
    header: list[Any] = []
    rows: Rows = []
    number = 0
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), 1):
            if number == 1:
                header = cells
            elif not any(cell.strip() for cell in cells):
                if cells:
                    log.warn("an empty row", "left out", number)
            elif len(cells) != len(header):
                log.error(f"{len(cells)} cells under {len(header)} column names", "fix the commas and quotes", number)
            else:
                rows.append((number, list(cells)))
    except csv.Error as error:
        raise InputError(f"not CSV: {error}", row=number + 1, hint="fix the quotes of this row") from error
    return header, rows


def _read_parquet(file: Path) -> tuple[list[Any], Rows]:
    """Header and numbered rows of Python values, by pyarrow alone, so nothing in the file is ever unpickled."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as parquet:
            table = parquet.read()
        columns = [column.to_pylist() for column in table.columns]
    except (pa.ArrowException, TypeError, *DECODE_ERRORS) as error:
        raise InputError(f"not a parquet file that can be read: {error}", hint="write it again") from error
    return table.column_names, [(i, list(cells)) for i, cells in enumerate(zip(*columns, strict=True), start=2)]
