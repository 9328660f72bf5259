"""What a manifest and its steps.json must hold, and every way in which they may fail to."""

import codecs
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

import numpy as np
import pandas as pd

from efa.data.video import check_file, load_clip
from efa.utils.errors import InputError, near

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
STEPS = 5
NUMBERS: dict[str, tuple[str, Sequence[int] | None, str, str]] = {  # dtype, allowed values, message, fix
    "label": ("int64", (0, 1), "neither 0 nor 1", "write 0 (standard) or 1 (non-standard)"),
    "step": ("Int64", range(1, STEPS + 1), f"not a step from 1 to {STEPS}", ""),
    "number": ("float64", None, "not finite", ""),
}
LONG_NAME = 200  # characters
LONG_TEXT = 10_000  # characters; the longest reference of CoT-AFA has under 2,000
CUT_LATER = "kept; the model reads no more than its token limit"
STEPS_SHAPE = 'write {"action": {"steps": [5 strings], "instruction": string}}'
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")  # control, format, surrogate, private, separators: of Unicode
_NULLS = ("nan", "null", "<na>")
Row = int | str | None  # row of the manifest, key of steps.json, or the whole file
Rows = list[tuple[int, list[Any]]]


@dataclass(frozen=True)
class StepText:
    """How an action is done: five steps in order, and one general instruction."""

    steps: tuple[str, ...]
    instruction: str

    @property
    def sentences(self) -> tuple[str, ...]:
        return (*self.steps, self.instruction)


@dataclass(frozen=True)
class Problem:
    """Something wrong in a data set."""

    severity: Literal["error", "warning"]  # an error makes the data unusable
    file: Path
    row: Row
    column: str | None
    message: str
    action: str  # what was done about it (warning) or how to fix it (error)
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

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "error"]

    def usable(self, table: pd.DataFrame | None) -> pd.DataFrame:
        """The table; where there is none, the first error is raised."""
        if table is None:
            raise self.errors[0].error()
        return table

    def read_file(self) -> bytes:
        """The file's bytes without a byte order mark."""
        raw = self.file.read_bytes()
        if raw.startswith(codecs.BOM_UTF8):
            self.warn("byte order mark at the start", "left out")
        return raw.removeprefix(codecs.BOM_UTF8)

    @contextmanager
    def catch(self) -> Iterator[None]:
        """An InputError, or a file that cannot be read, becomes an error of the log."""
        try:
            yield
        except InputError as error:
            row = error.row if isinstance(error.row, int | str) else None
            self.error(error.message, error.hint or "", row)
        except OSError as error:
            self.error(f"cannot be opened: {error}", "check the file and its permissions")


def step_key(action: str, standard: str) -> str:
    """The key in steps.json of a clip's action: 'action', or 'action [standard]'."""
    return f"{action} [{standard}]" if standard else action


def clean_text(text: str) -> tuple[str, int]:
    """Text without control and invisible characters, with single spaces and composed accents (NFC), and how many
    characters were removed. Line breaks and tabs become spaces and do not count."""
    odd = [] if text.isprintable() else [c for c in text if unicodedata.category(c) in _INVISIBLE and c not in "\n\t"]
    text = text.translate({ord(c): "" if unicodedata.category(c) == "Cf" else " " for c in odd}) if odd else text
    return unicodedata.normalize("NFC", " ".join(text.split())), len(odd)


def read_steps(log: Log) -> dict[str, StepText]:
    """The texts of steps.json, with empty ones for invalid entries. InputError where it is not a JSON object."""
    document = read_json(log, STEPS_SHAPE)
    if not isinstance(document, dict) or not document:
        raise InputError("not a JSON object of actions", hint=STEPS_SHAPE)
    steps: dict[str, StepText] = {}
    for raw_key, entry in document.items():
        key, odd = clean_text(raw_key)
        if odd or key != raw_key:
            log.warn("control or invisible characters, or extra spaces, in the key", "normalised", key)
        if not key or key in steps:
            log.error("no name" if not key else "the key is there twice", "give each action a name of its own", key)
            continue
        steps[key] = StepText((), "")
        with log.catch():
            steps[key] = parse_step_text(key, entry, STEPS_SHAPE, log)
    return steps


def read_json(log: Log, shape: str) -> Any:
    """What a JSON file holds. A key that is there twice is an error in the log."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                log.error("the key is there twice", "keep one", clean_text(name)[0])
        return dict(pairs)

    try:
        return json.loads(log.read_file().decode(), object_pairs_hook=unique)
    except (FileNotFoundError, ValueError, RecursionError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise InputError("no such file" if missing else f"not JSON: {error}", hint=shape) from error


def parse_step_text(key: str | None, entry: Any, shape: str, log: Log) -> StepText:
    """One entry of steps.json, normalised; InputError where it is invalid. `shape`: how it should look."""
    steps = entry.get("steps") if isinstance(entry, dict) else None
    if not isinstance(steps, list) or not isinstance(entry.get("instruction"), str):
        raise InputError("not an object with steps and instruction", row=key, hint=shape)
    if len(steps) != STEPS:
        raise InputError(f"steps: {len(steps)} steps", row=key, hint=f"write {STEPS}")
    texts = {f"steps[{i}]": text for i, text in enumerate(steps)} | {"instruction": entry["instruction"]}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise InputError(f"{name}: {type(text).__name__} instead of text", row=key, hint="write a sentence")
        texts[name], odd = clean_text(text)
        if odd:
            log.warn(f"{odd} control or invisible characters", "normalised", key, name)
        if len(texts[name]) > LONG_TEXT:
            log.warn(f"{len(texts[name])} characters", CUT_LATER, key, name)
        if not texts[name]:
            raise InputError(f"{name}: empty", row=key, hint="write a sentence")
    *steps, instruction = texts.values()
    return StepText(tuple(steps), instruction)


def check_rows(
    header: list[Any], rows: Rows, keys: set[str], log: Log, folder: Path | None, open_videos: bool = False
) -> pd.DataFrame | None:
    """The table of the rows; what is wrong goes to the log. None where anything is an error.

    `keys` are those of steps.json. Without a `folder` videos are not looked for; `open_videos` decodes a frame of each.
    """
    names = [clean_text(str(name))[0].lower() for name in header]
    for name in sorted({name for name in names if names.count(name) > 1 and name in COLUMNS}):
        log.error("the column is there twice", "keep one", 1, name)
    unknown = sorted(set(names) - set(COLUMNS))
    for name in [name for name in REQUIRED if name not in names]:
        log.error("the column is missing", near(name, unknown) or "add it", 1, name)
    if any(problem.row == 1 for problem in log.errors):
        return None
    for name in unknown:
        log.warn("unknown column", f"left out; {near(name, COLUMNS)}".rstrip("; "), 1, name)
    for name in [name for name in USUAL if name not in names]:
        log.warn("the column is missing", "read as empty", 1, name)
    if not rows:
        log.error("no clips", "write one row a clip")
        return None
    first_rows: dict[str, int] = {}  # clip -> its first row
    places: dict[str, str] = {}  # path -> split of its first row
    find_near = cache(lambda key: near(key, sorted(keys)) or "add it to steps.json")
    records = []
    for number, cells in rows:
        raw = {name: cell for name, cell in zip(names, cells, strict=True) if name in COLUMNS}
        clip = clean_text(str(raw["clip_id"]))[0][:LONG_NAME]
        record = {name: _read_cell(name, raw.get(name), log, number, clip) for name in COLUMNS}
        records.append(record)
        if clip and (first := first_rows.setdefault(clip, number)) != number:
            log.error(f"{clip!r} is in row {first} already", "give each clip its own id", number, "clip_id", clip)
        key = step_key(record["action"], record["standard"])
        if record["action"] and key not in keys:
            log.error(f"{key[:200]!r} is not in steps.json", find_near(key), number, "action", clip)
        path, split = record["path"], record["split"]
        if path and path not in places:
            places[path] = split
            if folder is not None:
                _check_video(folder / path, log, number, clip, open_videos)
        elif path and split and places[path] != split:
            log.warn(f"same video in {places[path]} and {split}", "kept; scores will be too good", number, "path", clip)
    for name in SPLITS:
        if not any(record["split"] == name for record in records):
            log.warn(f"no clip in split {name}", "kept", None, "split")
    for key in sorted(keys - {step_key(record["action"], record["standard"]) for record in records}):
        log.warn("no clip of this action", "kept as a class", key)
    if log.errors:
        return None
    dtypes = {name: NUMBERS[kind][0] if kind in NUMBERS else "str" for name, kind in COLUMNS.items()}
    return pd.DataFrame({name: pd.Series([r[name] for r in records], dtype=kind) for name, kind in dtypes.items()})


def _check_video(path: Path, log: Log, row: int, clip: str, open_it: bool) -> None:
    try:
        check_file(path)
        for warning in load_clip(path, frames=1, rule="release").warnings if open_it else ():
            log.warn(warning, "used as described", row, "path", clip)
    except InputError as error:
        log.error(f"{path}: {error.message}", error.hint or "fix the file or delete the row", row, "path", clip)


def _read_cell(name: str, value: Any, log: Log, row: int, clip: str) -> Any:
    """The value of a cell; one that cannot be used is an error in a required column and reads as empty in others."""
    try:
        return _parse_cell(name, value, lambda message, done: log.warn(message, done, row, name, clip))
    except InputError as bad:
        if name in REQUIRED:
            log.error(bad.message, bad.hint or "", row, name, clip)
        else:
            log.warn(bad.message, "read as empty", row, name, clip)
        return None if COLUMNS[name] in NUMBERS else ""


def _parse_cell(name: str, value: Any, warn: Callable[[str, str], None]) -> Any:
    """The value of a cell. InputError where it cannot be used; `warn` gets a message and what was done about it."""
    kind = COLUMNS[name]
    value = value.item() if isinstance(value, np.generic) else value
    word = value.strip() if isinstance(value, str) else None
    if word == "" or (word is None and pd.api.types.is_scalar(value) and pd.isna(value)):
        if name in REQUIRED:
            raise InputError("empty", hint="fill it in")
        return None if kind in NUMBERS else ""
    if word and word.casefold() in _NULLS:
        raise InputError(f"{word!r} instead of a value", hint="fill it in")
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        expected = "a number" if kind in NUMBERS else "text"
        raise InputError(f"{type(value).__name__} instead of {expected}", hint="fix the value")
    if kind in NUMBERS:
        return _parse_number(kind, value)
    if kind == "path":
        return _parse_path(str(value), warn)
    text, odd = clean_text(str(value))
    if odd:
        warn(f"{odd} control or invisible characters", "normalised")
    elif kind != "text" and text != str(value):
        warn("extra spaces, or accents not composed", "normalised")
    if kind == "choice":
        choice, known = text.lower(), CHOICES[name]
        if choice not in known:
            raise InputError(f"{text[:LONG_NAME]!r} is none of {', '.join(known)}", hint=near(text, known) or "fix it")
        if choice != text:
            warn(f"{text!r} in capitals", f"read as {choice!r}")
        return choice
    if not text:
        raise InputError("nothing but invisible characters", hint="fill it in")
    if kind == "name" and len(text) > LONG_NAME:
        raise InputError(f"{len(text)} characters", hint=f"use at most {LONG_NAME}")
    if len(text) > LONG_TEXT:
        warn(f"{len(text)} characters", CUT_LATER)
    return text


def _parse_number(kind: str, value: str | int | float) -> float | int:
    _, allowed, message, fix = NUMBERS[kind]
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        raise InputError(f"{value[:LONG_NAME]!r} is not a number", hint=fix)
    number = float(value) if isinstance(value, str) or abs(value) < 1e300 else math.inf  # an int may be too long
    if not (math.isfinite(number) if allowed is None else number in allowed):
        raise InputError(f"{number:g} is {message}", hint=fix)
    return number if allowed is None else int(number)


def _parse_path(path: str, warn: Callable[[str, str], None]) -> str:
    windows = PureWindowsPath(path)
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in path):
        raise InputError("control characters in a file name", hint="rename the file")
    if windows.drive or windows.root:
        raise InputError(f"{path!r} is absolute", hint="write it relative to the data set's folder")
    if ".." in windows.parts:
        raise InputError(f"{path!r} leaves the data set's folder", hint="put the video into the folder, write no '..'")
    if "\\" in path:
        warn("backslashes", "read as slashes")
    return path.replace("\\", "/")
