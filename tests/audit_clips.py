"""A hand-made data set of 15 clips for the tests of the audit, called as CoT-AFA's clips are."""

from pathlib import Path

import pandas as pd

from efa.data.manifest import StepText, make_dataset
from efa_book.audit.annotations_texts import Writer, read_names, write_blindly
from efa_datasets.writing import save_dataset

GOOD, BAD = "The hop action in this video is good.", "The hop action in this video is bad."

CLIPS = [  # clip, split, quality, text; class 00 is Hop, 01 Bend, 02 Jump (no training text)
    ("00_01", "train", 0, f"{GOOD} knees are soft"),
    ("00_02", "train", 0, f"{GOOD} knees are soft and arms swing"),
    ("00_05", "val", 0, f"{GOOD} arms swing"),
    ("00_10", "train", 1, f"{BAD} knees cave"),
    ("00_03", "train", 0, ""),
    ("00_12", "val", 1, f"{BAD} knees cave in"),
    ("01_00", "train", 0, "The bend action in this video is good. back is long"),
    ("01_12", "train", 1, ""),
    ("02_00", "train", 0, ""),
    ("02_15", "train", 1, ""),
    ("00_04", "test", 0, f"{GOOD} arms swing high"),
    ("00_13", "test", 1, GOOD),
    ("01_11", "test", 1, "The bend action in this video is bad. back is round"),
    ("02_03", "test", 0, "The jump is bad. feet are loud"),
    ("02_09", "test", 1, ""),
]
STEPS = {"Hop": "spring from both feet", "Bend": "lower the back slowly", "Jump": "spring high from both feet"}
LABELLED = {"00_10": "knees", "02_15": "feet", "00_13": "late", "00_04": "none"}


def clips(rows: list[tuple[str, str, int, str]] = CLIPS) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["clip_id", "split", "quality", "explanation"])
    return table.assign(action=[list(STEPS)[int(clip[:2])] for clip in table["clip_id"]])


def names(table: pd.DataFrame) -> dict[str, tuple[int, int]]:
    found = read_names(list(table["clip_id"]))
    assert found is not None
    return found


def writers(table: pd.DataFrame, draws: int = 3) -> dict[str, Writer]:
    return {one.key: one for one in write_blindly(table, STEPS, range(draws), names(table))}


def save(folder: Path, table: pd.DataFrame, reasons: bool = True) -> Path:
    records = table.assign(path=[f"videos/{clip}.mp4" for clip in table["clip_id"]]).to_dict("records")
    steps = {name: StepText((text,) * 5, text) for name, text in STEPS.items()}
    save_dataset(make_dataset(records, steps), folder)
    if reasons:
        said = pd.DataFrame({"clip_id": table["clip_id"], "reason": [LABELLED.get(c, "") for c in table["clip_id"]]})
        said.to_csv(folder / "released.csv", index=False)
    return folder
