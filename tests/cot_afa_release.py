"""A made-up release in CoT-AFA's layout for the tests of its conversion."""

import json
from pathlib import Path
from typing import Any

import openpyxl

from efa_datasets.cot_afa_files import COLUMNS, NAMES, REFERENCES, SHEET, STEP_FILE, Notes

HEADER = [*COLUMNS.values()]
ACTIONS = {"Hop": "Hop（跳）", "Dcline Hop ": "Dcline Hop", "Sword Stir": "撩剑", "Taiji Stir": "太极剑撩剑"}
KINDS = [("徒手", "热身"), ("器械", "拉背机"), ("剑术", "撩剑"), ("太极剑", "撩剑")]
TEXT = "The {} action in this video is {}. The person lands on clip {}."


def sheet_rows() -> list[list[Any]]:
    """20 clips of each of four classes; the clips from 10 on are non-standard."""
    rows = []
    for number, (major, minor) in enumerate(KINDS):
        name = list(ACTIONS.values())[number] if number < 2 else ""
        for i in range(20):
            reason = "slow" if i >= 10 else None
            rows.append([f"{number:02}_{i:02}", major, minor, name, int(i >= 10), "正面", "腿", reason, 1.5])
    return rows


def release(folder: Path, rows: list[list[Any]] | None = None, header: list[str] | None = None) -> Path:
    """A sound release of 80 clips: 12 test references, and a comment for each other clip."""
    rows = sheet_rows() if rows is None else rows
    (folder / "comment").mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    for row in [header or HEADER, *rows]:
        book.active.append(row)
    book.save(folder / SHEET)
    names = list(ACTIONS)
    steps = {k: [*(f"action step {i}: Do {i}." for i in range(1, 6)), "general instruction: Do it."] for k in names}
    write_json(folder / STEP_FILE, steps)
    write_json(folder / NAMES, {there: name for name, there in ACTIONS.items()})
    references = []
    for row in sheet_rows():
        number, i = map(int, row[0].split("_"))
        text = TEXT.format(names[number].strip().lower(), "bad" if row[4] else "good", row[0])
        if i in (0, 1, 10):
            references.append({"image_id": row[0], "caption": text, "id": i})
            text = ""
        (folder / "comment" / f"{row[0]}_with_label.txt").write_text(text, encoding="utf-8")
    write_json(folder / REFERENCES, {"annotations": references, "images": []})
    return folder


def write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def videos(folder: Path, leave_out: tuple[str, ...] = ()) -> Path:
    for row in sheet_rows():
        if row[0] not in leave_out:
            file = folder / "workout_ori" / row[0][:2] / f"{row[0]}.mp4"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"video " + row[0].encode())
    return folder


def noted(notes: Notes, what: str) -> list[tuple[str, int | str, str, str]]:
    return [(one.file, one.row, one.clip_id, one.done) for one in notes if one.what.startswith(what)]
