"""Repetitions that `efa.data.repetitions` finds beside those counted by hand, in sequences of landmarks of real people.

    python -m efa_book.real_people_repetitions FOLDER

FOLDER holds repetitions.csv (file, action, subject, reps) and repetitions.npz (by file: x, y, z in the picture, [T, 33,
3], all zero where nobody was found; 30 frames a second). Every choice was made on the subjects of `is_development`, the
others were looked at once, at the end. Published are counts, no landmarks.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from efa.data.landmarks import Landmarks
from efa.data.repetitions import find_repetitions
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book.files import csv_text, read_table, write_text

RATE = 30.0  # frames a second of the sequences
LEFT_OUT = ("pommelhorse",)  # turns of the whole body, hardly ever detected
COLUMNS = ("file", "action", "subject", "reps")
HINT = "give a folder with repetitions.csv and repetitions.npz"


def is_development(subject: str) -> bool:
    """A fixed half of the subjects; sequences of nobody in particular belong to it, too."""
    return zlib.crc32(subject.encode()) % 2 == 0


def count_sequences(folder: Path) -> pd.DataFrame:
    """One row a sequence: file, action, group (the subject), part, counted (by hand), found."""
    table = read_table(folder / "repetitions.csv", COLUMNS, HINT, dtype={"subject": str}, keep_default_na=False)
    file, rows = folder / "repetitions.npz", []
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for one in table[~table["action"].isin(LEFT_OUT)].to_dict("records"):
                points = arrays[one["file"]].astype(np.float32)
                points[(points == 0).all((1, 2))] = np.nan
                visibility = np.isfinite(points).all(2).astype(np.float32)
                landmarks = Landmarks(points, visibility, np.arange(len(points)) / RATE, (1, 1))
                found = len(find_repetitions(landmarks).spans)
                part = "development" if is_development(one["subject"]) else "evaluation"
                rows.append((one["file"], one["action"], one["subject"], part, int(one["reps"]), found))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"cannot be read: {reason}", file=file, hint=HINT) from error
    if not rows:
        raise InputError("no sequence to count in", file=folder / "repetitions.csv", hint=HINT)
    return pd.DataFrame(rows, columns=["file", "action", "group", "part", "counted", "found"])


def score_counts(table: pd.DataFrame) -> dict[str, float]:
    """sequences; obo: share within one of the hand count; mae: mean of |error| / hand count; error: mean |error|."""
    error = (table["found"] - table["counted"]).abs()
    relative = error / table["counted"].clip(lower=1)
    return {"sequences": len(table), "obo": (error <= 1).mean(), "mae": relative.mean(), "error": error.mean()}


def scores_by_action(table: pd.DataFrame) -> pd.DataFrame:
    """part ('all' too), action ('all' too), and the figures of `score_counts`."""
    rows = []
    for part in ("development", "evaluation", "all"):
        chosen = table if part == "all" else table[table["part"] == part]
        for action in (*sorted(chosen["action"].unique()), "all"):
            some = chosen if action == "all" else chosen[chosen["action"] == action]
            rows += [{"part": part, "action": action, **score_counts(some)}] if len(some) else []
    return pd.DataFrame(rows)


def main(folder: str) -> None:
    """Writes results/real-people/repetitions.csv and prints the scores."""
    counts = count_sequences(Path(folder))
    place = paths.results() / "real-people"
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / "repetitions.csv", csv_text(counts))
    print(scores_by_action(counts).round(2).to_string(index=False))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (InputError, TypeError) as mistake:
        sys.exit(f"{mistake if isinstance(mistake, InputError) else HINT}")
