"""A small explorer for the tests: a few real FormSim clips with invented predictions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import tiny

import formsim
from efa.baselines.inputs import build_model, prepare
from efa.config import Config, build
from efa.data.loader import open_dataset
from efa.experiments import TABLES
from efa.predict import EFA
from efa_book import explorer
from efa_book.collect import Results
from efa_book.published import COLUMNS

NASTY = "</script><img src=x onerror=alert(1)>\u2028"
FACTS = {"key": "a-key", "finished": "2026-01-01T00:00:00+00:00", "commit": "abc", "device": "a machine", "seconds": {}}
SETTINGS = {"data.clips": 160, "data.actions": 4, "data.size": 32}  # 24 clips in the test split
DATA = build("smoke", SETTINGS).data
FRAMES = DATA.frames


def predictions(row: str, explanation: str = "", split: str = "test") -> pd.DataFrame:
    """One prediction a clip of a split: the true action, every second verdict wrong, the reference's words."""
    table = open_dataset(DATA).table
    table = table[table["split"] == split].sort_values("clip_id", ignore_index=True)
    said = table["quality"].to_numpy() ^ (np.arange(len(table)) % 2)
    return pd.DataFrame(
        {
            "clip_id": table["clip_id"],
            "action": table["action"],
            "predicted_action": table["action"] if row == "EFA" else table["action"].iloc[0],
            "top5": [sorted(set(table["action"]))[:5] for _ in range(len(table))],
            "quality": table["quality"],
            "quality_prob": 0.25 + 0.5 * said,
            "reference": table["explanation"],
            "explanation": explanation or table["explanation"],
            "protocol": "predicted",
            "fault": table["fault"],
            "fault_step": table["fault_step"].to_numpy(float, na_value=np.nan),
            "split": split,
        }
    )


def results(folder: Path, table: str = "4", rows: tuple[str, ...] = ("EFA", "SwinBERT"), **more: str) -> Results:
    """Results of a table whose rows have predictions in `folder`; `more`: row -> the text that it always writes."""
    cells = {}
    for row in rows:
        cells[row, 0] = folder / f"{table}-{row}.parquet"
        predictions(row, more.get(row, "")).to_parquet(cells[row, 0])
    states = {(row, 0): "done" if (row, 0) in cells else "missing" for row in TABLES[table].rows}
    facts = dict.fromkeys(cells, FACTS)
    scores = pd.DataFrame(columns=list(COLUMNS))
    return Results(table, "smoke", (0,), SETTINGS, "published", scores, states, cells, facts)


def publish_attention(folder: Path, finished: str = FACTS["finished"]) -> pd.DataFrame:
    """Attention of the run that `results` pretends to be, each step on a frame of its own."""
    ids = predictions("EFA")["clip_id"]
    rows = [
        (name, step, frame, 0.5 if frame == 1 + step % FRAMES else 0.5 / (FRAMES - 1))
        for name in ids
        for step in range(1, 6)
        for frame in range(1, FRAMES + 1)
    ]
    table = pd.DataFrame(rows, columns=["clip_id", "step", "frame", "weight"])
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / "attention.parquet")
    (folder / "attention.json").write_text(json.dumps({"run": FACTS | {"finished": finished}}))
    return table


def document(folder: Path, clips: int = 6, hostile: str = "") -> explorer.Document:
    """Tables IV and V in small: EFA and SwinBERT write (SwinBERT `hostile`, if given), TSM does not."""
    found = [results(folder, SwinBERT=hostile), results(folder, "5", ("TSM", "EFA"))]
    return explorer.build_document(found, clips, size=48)


def save_checkpoint(home: Path, config: Config | None = None, name: str = "checkpoint") -> Path:
    """An untrained model in home/checkpoint, and a rendered video beside it: mine.mp4."""
    from efa_datasets.mp4 import write_mp4

    config = config or tiny.config()
    inputs = prepare(config)
    EFA.from_material(build_model(config, inputs), config, inputs).save_pretrained(home / name)
    write_mp4(home / "mine.mp4", formsim.render_clip(formsim.clips("main", 32, 0)[0], 64, 8), 4)
    return home / name
