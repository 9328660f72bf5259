"""A small data set of six clips for the tests of the manifest."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from efa.data.manifest import Problem, StepText

STEPS = {
    name: StepText(tuple(f"{name} step {i}." for i in range(1, 6)), f"How to {name}.") for name in ("lunge", "squat")
}


def records() -> list[dict[str, Any]]:
    fixed = {"mode": "manual", "type": "leg", "view": "front"}
    rows = [
        {"clip_id": f"c{i}", "path": f"videos/c{i}.mp4", "action": ("squat", "lunge")[i % 2], "quality": i // 2 % 2}
        | {"split": ("train", "val", "test")[i % 3], **fixed, "explanation": f"Fine, really {i}.", "subject": f"s{i}"}
        for i in range(6)
    ]
    rows[2] |= {"fault": "knees in", "fault_step": 3, "onset": 0.25, "severity": 1 / 3}
    return rows


def write(folder: Path, rows: list[dict[str, Any]] | None = None, kind: str = "csv", steps: Any = None) -> Path:
    """A data set on disk, unchecked, whose videos hold a few bytes each."""
    rows = records() if rows is None else rows
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    for i in range(6):
        (folder / "videos" / f"c{i}.mp4").write_bytes(b"video %d" % i)
    table = pd.DataFrame(rows)
    if kind == "csv":
        table.to_csv(folder / "manifest.csv", index=False, lineterminator="\n")
    else:
        table.to_parquet(folder / "manifest.parquet", index=False)
    (folder / "steps.json").write_text(json.dumps(steps_document() if steps is None else steps))
    return folder


def steps_document() -> dict[str, Any]:
    """What steps.json holds."""
    return {key: {"steps": list(text.steps), "instruction": text.instruction} for key, text in STEPS.items()}


def found(problems: list[Problem]) -> list[tuple[str, int | str | None, str | None, str]]:
    return [(p.severity, p.row, p.column, p.clip_id) for p in problems]
