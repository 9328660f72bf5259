"""CoT-AFA's files as released, read one by one. What is odd is noted, what cannot be read is an InputError.

GYM88.xlsx has one row a clip, under Chinese column names. A clip is called NN_MM: NN is the class, which is the
position of its action in step_instructions_translated_keys.json. Rows are numbered as a spreadsheet shows them.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from efa.data.checks import STEPS, StepText, clean_text, near
from efa.utils.errors import InputError

SHEET = "GYM88.xlsx"
COMMENTS = "comment"
STEP_FILE = "step_instructions_translated_keys.json"
NAMES = "translation_dict.json"
REFERENCES = "test_caption_coco_format_coco_format.json"
SUFFIX = "_with_label.txt"  # of a comment
CLIP = re.compile(r"(\d{2,3})_(\d{2,3})", re.ASCII)

COLUMNS = {  # attribute of SheetRow -> column name
    "clip_id": "视频名字",
    "major": "大类",
    "minor": "小类",
    "name": "具体类",
    "label": "好坏",
    "view": "角度",
    "parts": "部位",
    "reason": "坏的话具体原因(姿态,速度)",
    "seconds": "时间(s)",
}
NEEDED = ("clip_id", "label")
LABELS = (0, 1, 2)
UNPACKED = 500_000_000  # bytes; the released sheet has under 5 million
_HEADINGS = [*(f"action step {i}" for i in range(1, STEPS + 1)), "general instruction"]


@dataclass(frozen=True)
class Oddity:
    """Something in the release that is not as it should be, and what was done about it.

    Attributes:
        file: relative to the annotations' folder or, for videos, to theirs.
        row: row of the sheet or key of the file; '' for the whole file.
        what, done: the part before ': ' is the same for all of a kind.
    """

    file: str
    row: int | str
    clip_id: str
    what: str
    done: str


class Notes(list[Oddity]):
    """Oddities so far."""

    def add(self, file: str, row: int | str, clip_id: str, what: str, done: str) -> None:
        self.append(Oddity(file, row, clip_id, what, done))

    def counts(self) -> Counter[tuple[str, str]]:
        """How many of each kind: (what, done) without details."""
        return Counter((one.what.split(": ")[0], one.done.split(": ")[0]) for one in self)


@dataclass(frozen=True)
class SheetRow:
    """One row of GYM88.xlsx; texts without outer spaces, '' where the cell is empty.

    Attributes:
        row: its number.
        number: the class, NN of the clip's name.
        label: 0, 1 or the undocumented 2.
        seconds: None where the cell is empty.
    """

    row: int
    clip_id: str
    number: int
    major: str
    minor: str
    name: str
    label: int
    view: str
    parts: str
    reason: str
    seconds: float | None


def fold(text: str) -> str:
    """Brackets, digits and commas of either width as one (NFKC), single spaces, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _cells(file: Path) -> list[tuple[int, list[Any]]]:
    """Numbered rows of the first sheet, values only."""
    import zipfile

    try:
        import openpyxl
    except ImportError as error:
        raise InputError(f"reading it needs openpyxl: {error}", file=file, hint="pip install openpyxl") from error

    hint = "download it again, or save it as .xlsx"
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > UNPACKED:
            raise InputError(f"{size} bytes when unpacked", file=file, hint=hint)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            try:
                sheet = book.worksheets[0]
                sheet.reset_dimensions()  # a wrong dimension would hide rows
                return [(i, list(cells)) for i, cells in enumerate(sheet.iter_rows(values_only=True), 1)]
            finally:
                book.close()
    except InputError:
        raise
    except FileNotFoundError:
        raise _missing(file) from None
    except Exception as error:  # openpyxl lets through whatever it stumbles over
        raise InputError(
            f"not a sheet that can be read: {type(error).__name__}: {error}", file=file, hint=hint
        ) from error


def _missing(file: Path) -> InputError:
    return InputError("no such file", file=file, hint="give the folder with CoT-AFA's annotations, --annotations DIR")


def read_sheet(file: Path, classes: int, notes: Notes) -> list[SheetRow]:
    """The clips of GYM88.xlsx in order.

    Args:
        classes: how many actions there are; a clip's class must be below.
    """
    rows = _cells(file)
    header = [fold(str(cell or "")) for cell in (rows[0][1] if rows else [])]
    places = {key: header.index(fold(name)) for key, name in COLUMNS.items() if fold(name) in header}
    for key, name in COLUMNS.items():
        if key not in places and key in NEEDED:
            hint = near(fold(name), [n for n in header if n]) or "take the sheet as released"
            raise InputError(f"the column {name} is missing", file=file, row=1, hint=hint)
        if key not in places:
            notes.add(file.name, 1, "", f"missing column: {name}", "read as empty")
    found: list[SheetRow] = []
    seen: dict[str, int] = {}
    for row, cells in rows[1:]:
        raw = {key: cells[place] if place < len(cells) else None for key, place in places.items()}
        if all(cell is None or not str(cell).strip() for cell in cells):
            notes.add(file.name, row, "", "empty row", "left out")
            continue
        text = {key: "" if raw.get(key) is None else clean_text(str(raw[key]))[0] for key in COLUMNS}
        padded = [key for key, cell in raw.items() if isinstance(cell, str) and clean_text(cell)[0] != cell]
        clip = text["clip_id"].removesuffix(".mp4")
        match = CLIP.fullmatch(clip)
        if not match:
            raise InputError(f"{clip[:80]!r} is no clip's name", file=file, row=row, hint="write it as NN_MM")
        if int(match[1]) >= classes:
            hint = f"{STEP_FILE} has the classes 0 to {classes - 1}; mend one of the two"
            raise InputError(f"{clip}: there is no class {int(match[1])}", file=file, row=row, hint=hint)
        label = _label(raw["label"], file, row, clip)
        if clip in seen:
            notes.add(
                file.name, row, clip, f"duplicate name: in row {seen[clip]} already", "left out; the first is kept"
            )
            continue
        seen[clip] = row
        for key in padded:
            notes.add(file.name, row, clip, f"spaces or invisible characters in a cell: {COLUMNS[key]}", "left out")
        seconds = _seconds(raw.get("seconds"), row, clip, file.name, notes)
        spare = {key: text[key] for key in ("major", "minor", "name", "view", "parts", "reason")}
        found.append(SheetRow(row, clip, int(match[1]), label=label, seconds=seconds, **spare))
    if not found:
        raise InputError("no clips", file=file, hint="take the sheet as released")
    return found


def _label(value: Any, file: Path, row: int, clip: str) -> int:
    try:
        number = math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if number not in LABELS:
        shown = "nothing" if value is None else repr(value)[:80]
        hint = "write 0 (standard) or 1 (non-standard)"
        raise InputError(f"{clip}: {shown} is an unknown label", file=file, row=row, hint=hint)
    return int(number)


def _seconds(value: Any, row: int, clip: str, file: str, notes: Notes) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        notes.add(file, row, clip, "no length", "left empty")
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        notes.add(file, row, clip, f"length is no number: {value!r:.80}", "left empty")
        return None
    if seconds == 0:
        notes.add(file, row, clip, "length of 0 seconds", "kept")
    return seconds


def _json(file: Path, notes: Notes) -> Any:
    """A JSON document in which no key is there twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                raise InputError(f"the key is there {count} times", file=file, row=name[:80], hint="keep one")
        return dict(pairs)

    try:
        raw = file.read_bytes()
        if raw.startswith(b"\xef\xbb\xbf"):
            notes.add(file.name, "", "", "byte order mark", "left out")
        return json.loads(raw.decode("utf-8-sig"), object_pairs_hook=unique)
    except FileNotFoundError:
        raise _missing(file) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"not JSON that can be read: {error}", file=file, hint="download it again") from error


def read_steps(file: Path, notes: Notes) -> list[tuple[str, StepText | None]]:
    """Action names, the position being the class, and their texts without the headings 'action step N:' and 'general
    instruction:'. None where a text is missing."""
    document = _json(file, notes)
    shape = "write {action: [5 steps, 1 instruction]}"
    if not isinstance(document, dict) or not document:
        raise InputError("not a JSON object of actions", file=file, hint=shape)
    found: list[tuple[str, StepText | None]] = []
    names: set[str] = set()
    for key, entry in document.items():
        name, _ = clean_text(key)
        if not name or name in names:
            message = f"{name!r} is there twice" if name else "an action without a name"
            raise InputError(message, file=file, row=key[:80], hint="give each action a name of its own")
        names.add(name)
        if name != key:
            notes.add(file.name, key, "", "spaces in an action's name", f"left out: {name}")
        if not isinstance(entry, list) or not all(isinstance(text, str) for text in entry):
            raise InputError("not a list of texts", file=file, row=name, hint=shape)
        texts = [_without_heading(text, i, name, file.name, notes) for i, text in enumerate(entry)]
        if len(texts) > len(_HEADINGS):
            raise InputError(f"{len(texts)} texts", file=file, row=name, hint=shape)
        if len(texts) < len(_HEADINGS) or not all(texts):
            gap = [h for i, h in enumerate(_HEADINGS) if i >= len(texts) or not texts[i]]
            notes.add(file.name, name, "", f"missing steps: {', '.join(gap)}", "the action and its clips are left out")
            found.append((name, None))
        else:
            found.append((name, StepText(tuple(texts[:STEPS]), texts[STEPS])))
    return found


def _without_heading(text: str, i: int, action: str, file: str, notes: Notes) -> str:
    clean, odd = clean_text(text)
    if odd:
        notes.add(file, action, "", "control or invisible characters", f"left out: {odd}")
    heading, colon, rest = clean.partition(":")
    if i < len(_HEADINGS) and colon and heading.strip().casefold() == _HEADINGS[i]:
        return rest.strip()
    if clean:
        notes.add(file, action, "", f"a text without its heading: number {i + 1}", "kept as it is")
    return clean


def read_names(file: Path, notes: Notes) -> dict[str, str]:
    """Name in the sheet, folded -> English action name."""
    document = _json(file, notes)
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise InputError("not a JSON object of names", file=file, hint="write {name in the sheet: English name}")
    return {fold(key): clean_text(value)[0] for key, value in document.items()}


def read_references(file: Path, known: Mapping[str, int], notes: Notes) -> dict[str, str]:
    """The test clips and their reference texts, in order.

    Args:
        known: clips of the sheet.
    """
    document = _json(file, notes)
    entries = document.get("annotations") if isinstance(document, dict) else None
    shape = 'write {"annotations": [{"image_id": clip, "caption": text}]}'
    if not isinstance(entries, list):
        raise InputError("no list of annotations", file=file, hint=shape)
    found: dict[str, str] = {}
    for i, entry in enumerate(entries):
        pair = (entry.get("image_id"), entry.get("caption")) if isinstance(entry, dict) else (None, None)
        if not isinstance(pair[0], str) or not isinstance(pair[1], str):
            raise InputError("no image_id and caption", file=file, row=f"annotations[{i}]", hint=shape)
        clip, text = clean_text(pair[0])[0], _text(pair[1], file.name, pair[0], notes)
        if clip not in known:
            notes.add(file.name, clip, clip, "test reference of an unknown clip", "left out")
        elif clip in found:
            notes.add(file.name, clip, clip, "second test reference", "left out; the first is kept")
        else:
            found[clip] = text
            if not text:
                notes.add(file.name, clip, clip, "empty test reference", "the clip stays a test clip")
    return found


def read_comments(folder: Path, known: Iterable[str], notes: Notes) -> dict[str, str | None]:
    """The explanation of each clip of the sheet; None where there is no file, '' where it is empty."""
    try:
        files = {file.name: file for file in sorted(folder.iterdir()) if file.is_file()}
    except FileNotFoundError:
        raise InputError(
            "no such folder", file=folder, hint="give the folder with CoT-AFA's annotations, --annotations DIR"
        ) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=folder, hint="check the folder") from error
    found: dict[str, str | None] = {}
    for clip in known:
        file = files.pop(clip + SUFFIX, None)
        place = f"{COMMENTS}/{clip}{SUFFIX}"
        if file is None:
            found[clip] = None
            continue
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", file=file, hint="check the file") from error
        text = raw.decode("utf-8-sig", errors="replace")
        if "\ufffd" in text:
            notes.add(place, 1, clip, "not UTF-8 text", "read, with replacement characters")
        found[clip] = _text(text, place, 1, notes, clip)
    for name in files:
        notes.add(f"{COMMENTS}/{name}", "", "", "file that belongs to no clip", "left out")
    return found


def _text(text: str, file: str, row: int | str, notes: Notes, clip: str | None = None) -> str:
    clean, odd = clean_text(text)
    if odd:
        notes.add(file, row, clip or str(row), "control or invisible characters", f"left out: {odd}")
    return clean
