"""Invented results for the tests of the report: predictions, a table's scores, the files of a finished run."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd

from efa import metrics
from efa.experiments import TABLES
from efa_book import collect
from efa_book.collect import Results
from efa_book.published import COLUMNS

NASTY = "</script><img src=x onerror=alert(1)>"
RANDOM = {"encoder.weights": "", "decoder.weights": "", "decoder.frozen": False}  # nothing pre-trained to look for


def predictions(n: int = 40, seed: int = 0, protocol: str = "predicted", explanation: str = "fine") -> pd.DataFrame:
    """A table as `efa.predict.predict` writes it."""
    draw = np.random.RandomState(seed)
    actions = np.array(["Squat", "Plank"])[draw.randint(2, size=n)]
    guessed = np.where(draw.random_sample(n) < 0.7, actions, "Plank")
    quality = draw.randint(2, size=n)
    return pd.DataFrame(
        {
            "clip_id": [f"clip-{i:03d}" for i in range(n)],
            "action": actions,
            "predicted_action": guessed,
            "top5": [[name] for name in guessed],
            "quality": quality,
            "quality_prob": np.clip(0.3 + 0.4 * quality + 0.3 * draw.randn(n), 0, 1),
            "reference": "the reference",
            "explanation": explanation,
            "protocol": protocol,
            "fault": ["Squat/shallow" if q else "" for q in quality],
            "fault_step": [3.0 if q else math.nan for q in quality],
            "split": "test",
        }
    )


def made(values: dict[str, dict[int, float]], metric: str = "cider_d", table: str = "6", **more: object) -> Results:
    """Results with one metric: row -> seed -> value."""
    return full({metric: values}, table, **more)


def full(values: dict[str, dict[str, dict[int, float]]], table: str = "6", **more: object) -> Results:
    """Results with several metrics: metric -> row -> seed -> value, each under the row's own protocol."""
    spec = TABLES[table]
    rows = [
        (table, row, seed, spec.protocols_of(row)[0], metric, value)
        for metric, by_row in values.items()
        for row, by_seed in by_row.items()
        for seed, value in by_seed.items()
    ]
    there = {(row, seed) for _, row, seed, *_ in rows}
    seeds = tuple(sorted({seed for _, seed in there})) or (0,)
    states = {(row, seed): "done" if (row, seed) in there else "missing" for row in spec.rows for seed in seeds}
    scores = pd.DataFrame(rows, columns=list(COLUMNS))
    given = {"table": table, "preset": "smoke", "seeds": seeds, "overrides": {}, "origin": "runs", "scores": scores}
    return Results(**given | {"states": states} | more)


def finish(run, scores: dict[str, float | None], seed: int = 0) -> Path:
    """Leaves the files of a finished run."""
    run.folder.mkdir(parents=True, exist_ok=True)
    table = pd.concat([predictions(seed=seed, protocol=protocol) for protocol in run.protocols], ignore_index=True)
    table.to_parquet(run.folder / "predictions.parquet", index=False)
    parts = [metrics.evaluate(part.assign(reference=""))[1] for _, part in table.groupby("protocol")]
    pd.concat(parts).to_parquet(run.folder / "clips.parquet", index=False)
    known = {"scores_version": collect.SCORES_VERSION} | dict.fromkeys(run.protocols, scores)
    (run.folder / "scores.json").write_text(json.dumps(known))
    (run.folder / "history.csv").write_text("epoch,val_class\n1,2.5\n2,1.5\n")
    facts = {"labels": [run.label], "key": run.key, "config_hash": collect.config_hash(run.config), "commit": "abc123"}
    facts |= {"device": "a machine", "seconds": {"train": 60.0}, "finished": "2026-01-01T00:00:00+00:00"}
    (run.folder / "provenance.json").write_text(json.dumps(facts))
    return run.folder
