"""CoT-AFA's files as released, read one by one. What is odd is noted; what cannot be read raises an InputError.

A clip is called NN_MM: NN is the class, the position of its action in step_instructions_translated_keys.json. Rows of
GYM88.xlsx (one a clip, Chinese column names) are numbered as a spreadsheet shows them.
"""

import contextlib
import json
import math
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from efa.data.checks import STEPS, StepText, clean_text
from efa.utils.errors import InputError, near

SHEET = "GYM88.xlsx"
COMMENTS = "comment"
STEP_FILE = "step_instructions_translated_keys.json"
NAMES = "translation_dict.json"
REFERENCES = "test_caption_coco_format_coco_format.json"
SUFFIX = "_with_label.txt"  # of a comment
CLIP = re.compile(r"(\d{2,3})_(\d{2,3})", re.ASCII)

TERMS = yaml.safe_load((Path(__file__).parent / "cot_afa.yaml").read_text(encoding="utf-8"))
COLUMNS: dict[str, str] = TERMS["columns"]  # attribute of SheetRow -> column name
REQUIRED = ("clip_id", "label")
LABELS = (0, 1, 2)
UNPACKED = 500_000_000  # bytes; the released sheet has under 5 million
_HEADINGS = [*(f"action step {i}" for i in range(1, STEPS + 1)), "general instruction"]


class Oddity(NamedTuple):
    """Something in the release that is not as it should be, and what was done about it."""

    file: str  # relative to the annotations' folder or, for videos, to theirs
    row: int | str  # of the sheet, or key of the file; '' for the whole file
    clip_id: str
    what: str  # the part before ': ' is the same for all of a kind
    done: str  # likewise


class Notes(list[Oddity]):
    """Oddities so far."""

    def add(self, file: str, row: int | str, clip_id: str, what: str, done: str) -> None:
        self.append(Oddity(file, row, clip_id, what, done))

    def counts(self) -> Counter[tuple[str, str]]:
        """How many of each kind: (what, done) without details."""
        return Counter((one.what.split(": ")[0], one.done.split(": ")[0]) for one in self)


@dataclass(frozen=True)
class SheetRow:
    """One row of GYM88.xlsx; texts without outer spaces, '' where the cell is empty."""

    row: int
    clip_id: str
    number: int  # the class, NN of the clip's name
    label: int  # 0, 1 or the undocumented 2
    seconds: float | None
    major: str
    minor: str
    name: str
    view: str
    parts: str
    reason: str


def fold(text: str) -> str:
    """Brackets, digits and commas of either width as one (NFKC), single spaces, none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _clean(text: str, file: str, row: int | str, clip: str, notes: Notes) -> str:
    clean, odd = clean_text(text)
    if odd:
        notes.add(file, row, clip, "control or invisible characters", f"left out: {odd}")
    return clean


def _read_cells(file: Path) -> list[tuple[int, list[Any]]]:
    """Numbered rows of the first sheet, values only."""
    import zipfile

    import openpyxl

    hint = "download it again, or save it as .xlsx"
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > UNPACKED:
            raise InputError(f"{size} bytes when unpacked", file=file, hint=hint)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.closing(openpyxl.load_workbook(file, read_only=True, data_only=True)) as book:
                sheet = book.worksheets[0]
                sheet.reset_dimensions()  # a wrong dimension would hide rows
                return [(i, list(cells)) for i, cells in enumerate(sheet.iter_rows(values_only=True), 1)]
    except InputError:
        raise
    except Exception as error:  # openpyxl raises errors of any kind
        message = f"not a sheet that can be read: {type(error).__name__}: {error}"
        raise InputError(message, file=file, hint=hint) from error


def read_sheet(file: Path, classes: int, notes: Notes) -> list[SheetRow]:
    """The clips of GYM88.xlsx in order; their classes must be below `classes`."""
    rows = _read_cells(file)
    header = [fold(str(cell or "")) for cell in (rows[0][1] if rows else [])]
    places = {key: header.index(fold(name)) for key, name in COLUMNS.items() if fold(name) in header}
    for key, name in COLUMNS.items():
        if key not in places and key in REQUIRED:
            hint = near(fold(name), [n for n in header if n]) or "take the sheet as released"
            raise InputError(f"the column {name} is missing", file=file, row=1, hint=hint)
        if key not in places:
            notes.add(file.name, 1, "", f"missing column: {name}", "read as empty")
    found: dict[str, SheetRow] = {}
    for row, cells in rows[1:]:
        if all(cell is None or not str(cell).strip() for cell in cells):
            notes.add(file.name, row, "", "empty row", "left out")
            continue
        raw = {key: cells[place] if place < len(cells) else None for key, place in places.items()}
        text = {key: "" if raw.get(key) is None else clean_text(str(raw[key]))[0] for key in COLUMNS}
        clip = text.pop("clip_id").removesuffix(".mp4")
        match = CLIP.fullmatch(clip)
        if not match:
            raise InputError(f"{clip[:80]!r} is no clip's name", file=file, row=row, hint="write it as NN_MM")
        if int(match[1]) >= classes:
            hint = f"{STEP_FILE} has the classes 0 to {classes - 1}; fix one of the two"
            raise InputError(f"{clip}: there is no class {int(match[1])}", file=file, row=row, hint=hint)
        label, seconds = _to_number(raw["label"]), _to_number(raw.get("seconds"))
        if label not in LABELS:
            what, hint = f"{clip}: {raw['label']!r:.80} is an unknown label", "write 0 (standard) or 1 (non-standard)"
            raise InputError(what, file=file, row=row, hint=hint)
        if clip in found:
            what = f"duplicate name: in row {found[clip].row} already"
            notes.add(file.name, row, clip, what, "left out; the first is kept")
            continue
        for key, cell in raw.items():
            if isinstance(cell, str) and clean_text(cell)[0] != cell:
                notes.add(file.name, row, clip, f"spaces or invisible characters in a cell: {COLUMNS[key]}", "left out")
        valid = 0 <= seconds < math.inf
        if not text["seconds"]:
            notes.add(file.name, row, clip, "no length", "left empty")
        elif not valid:
            notes.add(file.name, row, clip, f"length is no number: {raw['seconds']!r:.80}", "left empty")
        elif seconds == 0:
            notes.add(file.name, row, clip, "length of 0 seconds", "kept")
        texts = {key: value for key, value in text.items() if key not in ("label", "seconds")}
        found[clip] = SheetRow(row, clip, int(match[1]), int(label), seconds if valid else None, **texts)
    if not found:
        raise InputError("no clips", file=file, hint="take the sheet as released")
    return list(found.values())


def _to_number(value: Any) -> float:
    """NaN for what is no number."""
    try:
        return math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _read_json(file: Path, notes: Notes) -> Any:
    """A JSON document in which no object has a key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, count in Counter(name for name, _ in pairs).items():
            if count > 1:
                raise InputError(f"the key is there {count} times", file=file, row=name[:80], hint="keep one")
        return dict(pairs)

    raw = file.read_bytes()
    if raw.startswith(b"\xef\xbb\xbf"):
        notes.add(file.name, "", "", "byte order mark", "left out")
    try:
        return json.loads(raw.decode("utf-8-sig"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON that can be read: {error}", file=file, hint="download it again") from error


def read_steps(file: Path, notes: Notes) -> list[tuple[str, StepText | None]]:
    """Action names, the position being the class, and their texts without the headings 'action step N:' and 'general
    instruction:'. None where a text is missing."""
    document = _read_json(file, notes)
    shape = "write {action: [5 steps, 1 instruction]}"
    if not isinstance(document, dict) or not document:
        raise InputError("not a JSON object of actions", file=file, hint=shape)
    found: dict[str, StepText | None] = {}
    for key, entry in document.items():
        name, _ = clean_text(key)
        if not name or name in found:
            message = f"{name!r} is there twice" if name else "an action without a name"
            raise InputError(message, file=file, row=key[:80], hint="give each action a name of its own")
        if name != key:
            notes.add(file.name, key, "", "spaces in an action's name", f"left out: {name}")
        if not isinstance(entry, list) or not all(isinstance(text, str) for text in entry):
            raise InputError("not a list of texts", file=file, row=name, hint=shape)
        if len(entry) > len(_HEADINGS):
            raise InputError(f"{len(entry)} texts", file=file, row=name, hint=shape)
        texts = []
        for i, text in enumerate(entry):
            clean = _clean(text, file.name, name, "", notes)
            heading, colon, rest = clean.partition(":")
            headed = colon and heading.strip().casefold() == _HEADINGS[i]
            texts.append(rest.strip() if headed else clean)
            if clean and not headed:
                notes.add(file.name, name, "", f"a text without its heading: number {i + 1}", "kept as it is")
        if missing := [h for i, h in enumerate(_HEADINGS) if i >= len(texts) or not texts[i]]:
            what = f"missing steps: {', '.join(missing)}"
            notes.add(file.name, name, "", what, "the action and its clips are left out")
        found[name] = None if missing else StepText(tuple(texts[:STEPS]), texts[STEPS])
    return list(found.items())


def read_names(file: Path, notes: Notes) -> dict[str, str]:
    """Name in the sheet, folded -> English action name."""
    document = _read_json(file, notes)
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise InputError("not a JSON object of names", file=file, hint="write {name in the sheet: English name}")
    return {fold(key): clean_text(value)[0] for key, value in document.items()}


def read_references(file: Path, known: Collection[str], notes: Notes) -> dict[str, str]:
    """The test clips and their reference texts, in order; `known`: clips of the sheet."""
    document = _read_json(file, notes)
    entries = document.get("annotations") if isinstance(document, dict) else None
    shape = 'write {"annotations": [{"image_id": clip, "caption": text}]}'
    if not isinstance(entries, list):
        raise InputError("no list of annotations", file=file, hint=shape)
    found: dict[str, str] = {}
    for i, entry in enumerate(entries):
        name, caption = (entry.get("image_id"), entry.get("caption")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(caption, str):
            raise InputError("no image_id and caption", file=file, row=f"annotations[{i}]", hint=shape)
        clip, text = clean_text(name)[0], _clean(caption, file.name, name, name, notes)
        if clip not in known:
            notes.add(file.name, clip, clip, "test reference of an unknown clip", "left out")
        elif clip in found:
            notes.add(file.name, clip, clip, "second test reference", "left out; the first is kept")
        else:
            found[clip] = text
            if not text:
                notes.add(file.name, clip, clip, "empty test reference", "the clip stays a test clip")
    return found


def read_comments(folder: Path, known: Collection[str], notes: Notes) -> dict[str, str | None]:
    """The explanation of each clip of the sheet; None where there is no file, '' where it is empty."""
    files = {file.name: file for file in sorted(folder.iterdir()) if file.is_file()}
    found: dict[str, str | None] = {}
    for clip in known:
        file, place = files.pop(clip + SUFFIX, None), f"{COMMENTS}/{clip}{SUFFIX}"
        text = file.read_bytes().decode("utf-8-sig", errors="replace") if file else None
        if text and "\ufffd" in text:
            notes.add(place, 1, clip, "not UTF-8 text", "read, with replacement characters")
        found[clip] = None if text is None else _clean(text, place, 1, clip, notes)
    for name in files:
        notes.add(f"{COMMENTS}/{name}", "", "", "file that belongs to no clip", "left out")
    return found
