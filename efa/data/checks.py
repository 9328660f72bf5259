"""What a manifest and its steps.json must hold, and every way in which they may fail to."""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

import numpy as np
import pandas as pd

from efa.data.video import DECODE_ERRORS, check_file, probe
from efa.utils.errors import InputError

COLUMNS = {  # name -> what a cell holds
    "clip_id": "name",
    "path": "path",
    "action": "name",
    "mode": "choice",
    "type": "name",
    "quality": "label",
    "view": "choice",
    "explanation": "text",
    "split": "choice",
    "subject": "name",
    "fault": "name",
    "fault_step": "step",
    "onset": "number",
    "severity": "number",
    "standard": "name",
}
REQUIRED = ("clip_id", "path", "action", "quality", "split")
USUAL = ("mode", "type", "view", "explanation")  # their absence is worth a word, that of the others is not
SPLITS = ("train", "val", "test")
CHOICES = {"mode": ("manual", "apparatus"), "view": ("front", "side", "back"), "split": SPLITS}
DTYPES = {"label": "int64", "step": "Int64", "number": "float64"}  # the rest: str
STEPS = 5
LONG_NAME = 200  # characters
LONG_TEXT = 10_000  # characters; the longest reference of CoT-AFA has under 2,000
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NULLS = ("nan", "null", "<na>")
Row = int | str | None  # row of the manifest, key of steps.json, or the whole file
Rows = list[tuple[int, list[Any]]]


@dataclass(frozen=True)
class StepText:
    """How an action is done: five steps in order, and one general instruction."""

    steps: tuple[str, ...]
    instruction: str


@dataclass(frozen=True)
class Problem:
    """Something wrong in a data set.

    Attributes:
        severity: 'error' makes the data unusable, 'warning' does not.
        action: what was done about it (warning) or is to be done (error).
    """

    severity: Literal["error", "warning"]
    file: Path
    row: Row
    column: str | None
    message: str
    action: str
    clip_id: str = ""

    def error(self) -> InputError:
        row = f"{self.row} ({self.clip_id})" if self.clip_id else self.row
        message = f"{self.column}: {self.message}" if self.column else self.message
        return InputError(message, file=self.file, row=row, hint=self.action)

    def __str__(self) -> str:
        return f"{self.severity}: {self.error()}"


def step_key(action: str, standard: str) -> str:
    """The key in steps.json of a clip's action: 'action', or 'action [standard]'."""
    return f"{action} [{standard}]" if standard else action


def clean_text(text: str) -> tuple[str, int]:
    """Text without control and invisible characters, with single spaces and composed accents (NFC), and how many
    characters had to go. Line breaks and tabs become spaces and do not count."""
    odd = 0
    if not text.replace("\n", " ").replace("\t", " ").isprintable():
        kept = []
        for char in text:
            kind = unicodedata.category(char)
            bad = kind in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and char not in "\n\t"
            odd += bad
            kept.append(("" if kind == "Cf" else " ") if bad else char)
        text = "".join(kept)
    return unicodedata.normalize("NFC", " ".join(text.split())), odd


class Log:
    """Problems found so far in one file."""

    def __init__(self, file: Path, problems: list[Problem] | None = None):
        self.file, self.problems = file, [] if problems is None else problems

    def error(self, message: str, hint: str, row: Row = None, column: str | None = None, clip: str = "") -> None:
        self.problems.append(Problem("error", self.file, row, column, message, hint, clip))

    def warn(self, message: str, done: str, row: Row = None, column: str | None = None, clip: str = "") -> None:
        self.problems.append(Problem("warning", self.file, row, column, message, done, clip))


def read_csv(file: Path, log: Log) -> tuple[list[Any], Rows]:
    """Header and numbered rows of text. InputError (with a row) where the file is no table."""
    raw = file.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError("UTF-16 text", hint="save it as CSV UTF-8")
    if raw.startswith(b"\xef\xbb\xbf"):
        log.warn("byte order mark at the start", "left out")
        raw = raw[3:]
    if b"\r\n" in raw:
        log.warn("Windows line ends", "read like others")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        raise InputError("not UTF-8 text", row=row, hint="save it as CSV UTF-8") from error
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
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


def read_parquet(file: Path) -> tuple[list[Any], Rows]:
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


def read_steps(log: Log) -> tuple[dict[str, StepText], set[str]]:
    """The texts of steps.json that are sound, and the keys of all."""
    shape = 'write {"action": {"steps": [5 strings], "instruction": string}}'
    doubled: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        doubled.extend(name for name, count in Counter(names).items() if count > 1)
        return dict(pairs)

    try:
        raw = log.file.read_bytes()
        if raw.startswith(b"\xef\xbb\xbf"):
            log.warn("byte order mark at the start", "left out")
        document = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=unique)
    except FileNotFoundError:
        log.error("no such file", shape)
        return {}, set()
    except (OSError, ValueError, RecursionError) as error:
        log.error(f"not JSON: {error}", "fix it")
        return {}, set()
    if not isinstance(document, dict) or not document:
        log.error("not a JSON object of actions", shape)
        return {}, set()
    for name in doubled:
        log.error("the key is there twice", "keep one", clean_text(name)[0])
    steps: dict[str, StepText] = {}
    keys: set[str] = set()
    for raw_key, entry in document.items():
        key, odd = clean_text(raw_key)
        if odd or key != raw_key:
            log.warn("control or invisible characters, or spaces too many, in the key", "normalised", key)
        if not key or key in keys:
            log.error("no name" if not key else "the key is there twice", "give each action a name of its own", key)
            continue
        keys.add(key)
        text = _step_text(key, entry, shape, log)
        if text is not None:
            steps[key] = text
    return steps, keys


def _step_text(key: str, entry: Any, shape: str, log: Log) -> StepText | None:
    found = entry.get("steps") if isinstance(entry, dict) else None
    if not isinstance(found, list) or not isinstance(entry.get("instruction"), str):
        log.error("not an object with steps and instruction", shape, key)
        return None
    if len(found) != STEPS:
        log.error(f"{len(found)} steps", f"write {STEPS}", key, "steps")
        return None
    texts = []
    for name, text in [*((f"steps[{i}]", step) for i, step in enumerate(found)), ("instruction", entry["instruction"])]:
        if not isinstance(text, str):
            log.error(f"{type(text).__name__} instead of text", "write a sentence", key, name)
            return None
        clean, odd = clean_text(text)
        if odd:
            log.warn(f"{odd} control or invisible characters", "normalised", key, name)
        if len(clean) > LONG_TEXT:
            log.warn(f"{len(clean)} characters", "kept; the model reads no more than its token limit", key, name)
        if not clean:
            log.error("empty", "write a sentence", key, name)
            return None
        texts.append(clean)
    return StepText(tuple(texts[:STEPS]), texts[STEPS])


def near(word: str, known: Sequence[str]) -> str:
    """'did you mean ...?' where something known is like the word, else ''."""
    folded = {name.casefold(): name for name in known}
    match = difflib.get_close_matches(word.casefold()[:200], folded, 1)
    return f"did you mean {folded[match[0]]!r}?" if match else ""


def check_rows(
    header: list[Any], rows: Rows, keys: set[str], log: Log, folder: Path | None, open_videos: bool
) -> pd.DataFrame | None:
    """The table of the sound rows; what is wrong goes to the log. None where anything is an error.

    Args:
        keys: of steps.json.
        folder: where the videos are; None: they are not looked for.
        open_videos: open each video instead of only looking at size and first bytes.
    """
    names = [clean_text(str(name))[0].lower() for name in header]
    for name in sorted(set(names) & set(COLUMNS)):
        if names.count(name) > 1:
            log.error("the column is there twice", "keep one", 1, name)
    for name in [name for name in REQUIRED if name not in names]:
        log.error("the column is missing", near(name, [n for n in names if n not in COLUMNS]) or "add it", 1, name)
    if not set(REQUIRED) <= set(names) or any(names.count(name) > 1 for name in COLUMNS):
        return None
    for name in sorted({name for name in names if name not in COLUMNS}):
        log.warn("unknown column", f"left out; {near(name, list(COLUMNS))}".rstrip("; "), 1, name)
    for name in [name for name in USUAL if name not in names]:
        log.warn("the column is missing", "read as empty", 1, name)
    if not rows:
        log.error("no clips", "write one row a clip")
        return None
    seen: dict[str, int] = {}
    places: dict[str, str] = {}  # path -> split of its first row
    used: set[str] = set()
    advice: dict[str, str] = {}
    records = []
    for number, cells in rows:
        raw = {name: cell for name, cell in zip(names, cells, strict=True) if name in COLUMNS}
        clip = clean_text(str(raw["clip_id"]))[0][:LONG_NAME]
        record = {name: _cell(name, raw.get(name), log, number, clip) for name in COLUMNS}
        if clip in seen:
            log.error(f"{clip!r} is in row {seen[clip]} already", "give each clip its own id", number, "clip_id", clip)
        elif clip:
            seen[clip] = number
        key = step_key(record["action"], record["standard"])
        used.add(key)
        if record["action"] and key not in keys:
            if key not in advice:
                advice[key] = near(key, sorted(keys)) or "add it to steps.json"
            log.error(f"{key[:200]!r} is not in steps.json", advice[key], number, "action", clip)
        path, split = record["path"], record["split"]
        if path and path in places:
            if split and places[path] != split:
                log.warn(f"same video in {places[path]} and {split}", "kept; scores will flatter", number, "path", clip)
        elif path:
            places[path] = split
            if folder is not None:
                _check_video(folder / path, log, number, clip, open_videos)
        records.append(record)
    for name in SPLITS:
        if not any(record["split"] == name for record in records):
            log.warn(f"no clip in split {name}", "kept", None, "split")
    for key in sorted(keys - used):
        log.warn("no clip of this action", "kept as a class", key)
    if any(problem.severity == "error" for problem in log.problems):
        return None
    return pd.DataFrame(
        {n: pd.Series([r[n] for r in records], dtype=DTYPES.get(kind, "str")) for n, kind in COLUMNS.items()}
    )


def _cell(name: str, value: Any, log: Log, row: int, clip: str) -> Any:
    """The value of a cell; what cannot be used is an error in a required column and read as empty in others."""
    kind = COLUMNS[name]
    nothing = None if kind in DTYPES else ""

    def refuse(message: str, hint: str) -> Any:
        if name in REQUIRED:
            log.error(message, hint, row, name, clip)
        else:
            log.warn(message, "read as empty", row, name, clip)
        return nothing

    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return refuse("empty", "fill it in") if name in REQUIRED else nothing
    if isinstance(value, str) and not value.strip():
        return refuse("empty", "fill it in") if name in REQUIRED else nothing
    if isinstance(value, str) and value.strip().casefold() in _NULLS:
        return refuse(f"{value.strip()!r} instead of a value", "fill it in")
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return refuse(f"{type(value).__name__} instead of {'a number' if kind in DTYPES else 'text'}", "fix the value")
    if kind in DTYPES:
        return _number(kind, value, refuse)
    if kind == "path":
        return _path(str(value), refuse, log, row, clip)
    text, odd = clean_text(str(value))
    if odd:
        log.warn(f"{odd} control or invisible characters", "normalised", row, name, clip)
    elif kind != "text" and text != value and isinstance(value, str):
        log.warn("spaces at the ends or doubled, or accents in pieces", "normalised", row, name, clip)
    if kind == "choice":
        if text.lower() not in CHOICES[name]:
            known = CHOICES[name]
            return refuse(f"{text[:LONG_NAME]!r} is none of {', '.join(known)}", near(text, known) or "fix it")
        if text.lower() != text:
            log.warn(f"{text!r} in capitals", f"read as {text.lower()!r}", row, name, clip)
        return text.lower()
    if not text:
        return refuse("nothing but invisible characters", "fill it in")
    if kind == "name" and len(text) > LONG_NAME:
        return refuse(f"{len(text)} characters", f"use at most {LONG_NAME}")
    if len(text) > LONG_TEXT:
        log.warn(f"{len(text)} characters", "kept; the model reads no more than its token limit", row, name, clip)
    return text


def _number(kind: str, value: str | int | float, refuse: Callable[[str, str], Any]) -> Any:
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return refuse(f"{value[:LONG_NAME]!r} is no number", "write 0 (standard) or 1 (non-standard)")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if kind == "label" and number not in (0, 1):
        return refuse(f"{number:g} is neither 0 nor 1", "write 0 (standard) or 1 (non-standard)")
    if kind == "step" and number not in range(1, STEPS + 1):
        return refuse(f"{number:g} is no step from 1 to {STEPS}", "")
    if not math.isfinite(number):
        return refuse("not finite", "")
    return number if kind == "number" else int(number)


def _path(path: str, refuse: Callable[[str, str], Any], log: Log, row: int, clip: str) -> Any:
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in path):
        return refuse("control characters in a file name", "rename the file")
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or PureWindowsPath(path).root:
        return refuse(f"{path!r} is absolute", "write it relative to the data set's folder")
    if ".." in PureWindowsPath(path).parts:
        return refuse(f"{path!r} leaves the data set's folder", "put the video into the folder, write no '..'")
    if "\\" in path:
        log.warn("backslashes", "read as slashes", row, "path", clip)
    return path.replace("\\", "/")


def _check_video(path: Path, log: Log, row: int, clip: str, open_it: bool) -> None:
    try:
        check_file(path)
        for warning in probe(path).warnings if open_it else ():
            log.warn(warning, "used as said", row, "path", clip)
    except InputError as error:
        log.error(f"{path}: {error.message}", error.hint or "fix the file or delete the row", row, "path", clip)
