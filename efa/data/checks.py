"""What a manifest and its steps.json must hold, and every way in which they may fail to."""

from __future__ import annotations

import codecs
import difflib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

import numpy as np
import pandas as pd

from efa.data.video import check_file, probe
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
USUAL = ("mode", "type", "view", "explanation")  # a warning where one of them is missing
SPLITS = ("train", "val", "test")
CHOICES = {"mode": ("manual", "apparatus"), "view": ("front", "side", "back"), "split": SPLITS}
DTYPES = {"label": "int64", "step": "Int64", "number": "float64"}  # the rest: str
STEPS = 5
LONG_NAME = 200  # characters
LONG_TEXT = 10_000  # characters; the longest reference of CoT-AFA has under 2,000
CUT_LATER = "kept; the model reads no more than its token limit"
STEPS_SHAPE = 'write {"action": {"steps": [5 strings], "instruction": string}}'
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NULLS = ("nan", "null", "<na>")
Row = int | str | None  # row of the manifest, key of steps.json, or the whole file
Rows = list[tuple[int, list[Any]]]
Warn = Callable[[str, str], None]  # message, what was done


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
        action: what was done about it (warning) or how to fix it (error).
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


class Log:
    """Problems found so far in one file."""

    def __init__(self, file: Path, problems: list[Problem] | None = None):
        self.file, self.problems = file, [] if problems is None else problems

    def error(self, message: str, hint: str, row: Row = None, column: str | None = None, clip: str = "") -> None:
        self.problems.append(Problem("error", self.file, row, column, message, hint, clip))

    def warn(self, message: str, done: str, row: Row = None, column: str | None = None, clip: str = "") -> None:
        self.problems.append(Problem("warning", self.file, row, column, message, done, clip))

    def without_bom(self, raw: bytes) -> bytes:
        if raw.startswith(codecs.BOM_UTF8):
            self.warn("byte order mark at the start", "left out")
        return raw.removeprefix(codecs.BOM_UTF8)

    @contextmanager
    def catch(self) -> Iterator[None]:
        """An InputError, or a file that cannot be read, becomes an error of the log."""
        try:
            yield
        except InputError as error:
            self.error(error.message, error.hint or "", error.row if isinstance(error.row, int) else None)
        except OSError as error:
            self.error(f"cannot be read: {error}", "check the file and its permissions")


def step_key(action: str, standard: str) -> str:
    """The key in steps.json of a clip's action: 'action', or 'action [standard]'."""
    return f"{action} [{standard}]" if standard else action


def clean_text(text: str) -> tuple[str, int]:
    """Text without control and invisible characters, with single spaces and composed accents (NFC), and how many
    characters were removed. Line breaks and tabs become spaces and do not count."""
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


def near(word: str, known: Iterable[str]) -> str:
    """'did you mean ...?' where a known word is similar, else ''."""
    folded = {name.casefold(): name for name in known}
    match = difflib.get_close_matches(word.casefold()[:200], folded, 1)
    return f"did you mean {folded[match[0]]!r}?" if match else ""


def read_steps(log: Log) -> tuple[dict[str, StepText], set[str]]:
    """The valid texts of steps.json, and the keys of all. InputError where the file is not a JSON object."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                log.error("the key is there twice", "keep one", clean_text(name)[0])
        return dict(pairs)

    try:
        document = json.loads(log.without_bom(log.file.read_bytes()).decode(), object_pairs_hook=unique)
    except FileNotFoundError as error:
        raise InputError("no such file", hint=STEPS_SHAPE) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", hint="fix it") from error
    if not isinstance(document, dict) or not document:
        raise InputError("not a JSON object of actions", hint=STEPS_SHAPE)
    steps: dict[str, StepText] = {}
    keys: set[str] = set()
    for raw_key, entry in document.items():
        key, odd = clean_text(raw_key)
        if odd or key != raw_key:
            log.warn("control or invisible characters, or extra spaces, in the key", "normalised", key)
        if not key or key in keys:
            log.error("no name" if not key else "the key is there twice", "give each action a name of its own", key)
            continue
        keys.add(key)
        text = check_step_text(key, entry, STEPS_SHAPE, log)
        if text is not None:
            steps[key] = text
    return steps, keys


def check_step_text(key: str, entry: Any, shape: str, log: Log) -> StepText | None:
    """One entry of steps.json; None, and an error in the log, where it is invalid. `shape`: how it should look."""
    steps = entry.get("steps") if isinstance(entry, dict) else None
    if not isinstance(steps, list) or not isinstance(entry.get("instruction"), str):
        log.error("not an object with steps and instruction", shape, key)
        return None
    if len(steps) != STEPS:
        log.error(f"{len(steps)} steps", f"write {STEPS}", key, "steps")
        return None
    texts = []
    for name, text in [*((f"steps[{i}]", step) for i, step in enumerate(steps)), ("instruction", entry["instruction"])]:
        clean, odd = clean_text(text) if isinstance(text, str) else ("", 0)
        if odd:
            log.warn(f"{odd} control or invisible characters", "normalised", key, name)
        if len(clean) > LONG_TEXT:
            log.warn(f"{len(clean)} characters", CUT_LATER, key, name)
        if not clean:
            message = "empty" if isinstance(text, str) else f"{type(text).__name__} instead of text"
            log.error(message, "write a sentence", key, name)
            return None
        texts.append(clean)
    return StepText(tuple(texts[:STEPS]), texts[STEPS])


def check_rows(
    header: list[Any], rows: Rows, keys: set[str], log: Log, folder: Path | None, open_videos: bool = False
) -> pd.DataFrame | None:
    """The table of the rows; what is wrong goes to the log. None where anything is an error.

    Args:
        keys: of steps.json.
        folder: where the videos are; None: they are not looked for.
        open_videos: open each video instead of only looking at size and first bytes.
    """
    names = [clean_text(str(name))[0].lower() for name in header]
    duplicates = sorted(name for name in COLUMNS if names.count(name) > 1)
    missing = [name for name in REQUIRED if name not in names]
    for name in duplicates:
        log.error("the column is there twice", "keep one", 1, name)
    for name in missing:
        log.error("the column is missing", near(name, [n for n in names if n not in COLUMNS]) or "add it", 1, name)
    if duplicates or missing:
        return None
    for name in sorted({name for name in names if name not in COLUMNS}):
        log.warn("unknown column", f"left out; {near(name, COLUMNS)}".rstrip("; "), 1, name)
    for name in [name for name in USUAL if name not in names]:
        log.warn("the column is missing", "read as empty", 1, name)
    if not rows:
        log.error("no clips", "write one row a clip")
        return None
    first_rows: dict[str, int] = {}  # clip -> its first row
    places: dict[str, str] = {}  # path -> split of its first row
    used: set[str] = set()
    hints: dict[str, str] = {}  # of unknown keys, each searched for once
    records = []
    for number, cells in rows:
        raw = {name: cell for name, cell in zip(names, cells, strict=True) if name in COLUMNS}
        clip = clean_text(str(raw["clip_id"]))[0][:LONG_NAME]
        record = {name: _read_cell(name, raw.get(name), log, number, clip) for name in COLUMNS}
        records.append(record)
        if clip in first_rows:
            message = f"{clip!r} is in row {first_rows[clip]} already"
            log.error(message, "give each clip its own id", number, "clip_id", clip)
        elif clip:
            first_rows[clip] = number
        key = step_key(record["action"], record["standard"])
        used.add(key)
        if record["action"] and key not in keys:
            hint = hints.get(key) or hints.setdefault(key, near(key, sorted(keys)) or "add it to steps.json")
            log.error(f"{key[:200]!r} is not in steps.json", hint, number, "action", clip)
        path, split = record["path"], record["split"]
        if path and path in places:
            if split and places[path] != split:
                message = f"same video in {places[path]} and {split}"
                log.warn(message, "kept; scores will be too good", number, "path", clip)
        elif path:
            places[path] = split
            if folder is not None:
                _check_video(folder / path, log, number, clip, open_videos)
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


def _check_video(path: Path, log: Log, row: int, clip: str, open_it: bool) -> None:
    try:
        check_file(path)
        for warning in probe(path).warnings if open_it else ():
            log.warn(warning, "used as described", row, "path", clip)
    except InputError as error:
        log.error(f"{path}: {error.message}", error.hint or "fix the file or delete the row", row, "path", clip)


class _BadCell(ValueError):  # noqa: N818 never leaves this file
    """Message and hint of a cell that cannot be used."""


def _read_cell(name: str, value: Any, log: Log, row: int, clip: str) -> Any:
    """The value of a cell; one that cannot be used is an error in a required column and reads as empty in others."""
    try:
        return _parse_cell(name, value, lambda message, done: log.warn(message, done, row, name, clip))
    except _BadCell as bad:
        message, hint = bad.args
        if name in REQUIRED:
            log.error(message, hint, row, name, clip)
        else:
            log.warn(message, "read as empty", row, name, clip)
        return None if COLUMNS[name] in DTYPES else ""


def _parse_cell(name: str, value: Any, warn: Warn) -> Any:
    kind = COLUMNS[name]
    value = value.item() if isinstance(value, np.generic) else value
    word = value.strip() if isinstance(value, str) else None
    if word == "" or (pd.api.types.is_scalar(value) and pd.isna(value)):
        if name in REQUIRED:
            raise _BadCell("empty", "fill it in")
        return None if kind in DTYPES else ""
    if word and word.casefold() in _NULLS:
        raise _BadCell(f"{word!r} instead of a value", "fill it in")
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        expected = "a number" if kind in DTYPES else "text"
        raise _BadCell(f"{type(value).__name__} instead of {expected}", "fix the value")
    if kind in DTYPES:
        return _parse_number(kind, value)
    if kind == "path":
        return _parse_path(str(value), warn)
    text, odd = clean_text(str(value))
    if odd:
        warn(f"{odd} control or invisible characters", "normalised")
    elif kind != "text" and text != value and isinstance(value, str):
        warn("extra spaces, or accents not composed", "normalised")
    if kind == "choice":
        known = CHOICES[name]
        if text.lower() not in known:
            raise _BadCell(f"{text[:LONG_NAME]!r} is none of {', '.join(known)}", near(text, known) or "fix it")
        if text.lower() != text:
            warn(f"{text!r} in capitals", f"read as {text.lower()!r}")
        return text.lower()
    if not text:
        raise _BadCell("nothing but invisible characters", "fill it in")
    if kind == "name" and len(text) > LONG_NAME:
        raise _BadCell(f"{len(text)} characters", f"use at most {LONG_NAME}")
    if len(text) > LONG_TEXT:
        warn(f"{len(text)} characters", CUT_LATER)
    return text


def _parse_number(kind: str, value: str | int | float) -> float | int:
    hint = "write 0 (standard) or 1 (non-standard)"
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        raise _BadCell(f"{value[:LONG_NAME]!r} is not a number", hint)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if kind == "label" and number not in (0, 1):
        raise _BadCell(f"{number:g} is neither 0 nor 1", hint)
    if kind == "step" and number not in range(1, STEPS + 1):
        raise _BadCell(f"{number:g} is not a step from 1 to {STEPS}", "")
    if not math.isfinite(number):
        raise _BadCell("not finite", "")
    return number if kind == "number" else int(number)


def _parse_path(path: str, warn: Warn) -> str:
    windows = PureWindowsPath(path)
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in path):
        raise _BadCell("control characters in a file name", "rename the file")
    if PurePosixPath(path).is_absolute() or windows.drive or windows.root:
        raise _BadCell(f"{path!r} is absolute", "write it relative to the data set's folder")
    if ".." in windows.parts:
        raise _BadCell(f"{path!r} leaves the data set's folder", "put the video into the folder, write no '..'")
    if "\\" in path:
        warn("backslashes", "read as slashes")
    return path.replace("\\", "/")
