"""Leave one subject out: everybody is the test split once, the next one validates, all others train.

Ten people are too few for one fixed split. So every row is trained once for each of them, and an interval is drawn over
people, not over clips: two repetitions by one person are nearly the same clip.

>>> # efa leave-one-subject-out my-data --preset laptop --seeds 0,1,2 --markers UI-PRMD
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from efa.baselines.registry import Model
from efa.config import Config, build
from efa.data.loader import Progress, open_dataset
from efa.experiments import FINE_TUNED, LOSO_ROWS
from efa.predict import EFA, predict
from efa.runs import Run, commit, device, holds, versions
from efa.train import MEMORY, Report, TrainingInputs, fit, micro_batch, prepare
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.files import locked, write_safely
from efa.utils.recovery import RESUMED, recover
from efa_datasets.ui_prmd import marker_predictions, split_of
from efa_datasets.ui_prmd_files import movements

MARKERS = "Markers, logistic regression"
ZERO_SHOT = "EFA, never saw people"  # trained on FormSim alone and told which movement it is
COLUMNS = ("row", "seed", "subject", "clip_id", "action", "view", "quality", "quality_prob", "predicted_action")
Judged = dict[str, tuple[pd.DataFrame, dict[str, object]]]
"""Row -> verdicts, columns `COLUMNS`, and facts of how they were made."""


@dataclass(frozen=True)
class Fold:
    """One training: a row, a seed, and who is left out. A `grid.Job`. `run.config.data.source` is the folder."""

    run: Run
    subject: str

    @property
    def label(self) -> str:
        return f"{self.run.row} seed {self.run.seed}, without {self.subject}"

    @property
    def seed(self) -> int:
        return self.run.seed

    @property
    def config(self) -> Config:
        return self.run.config

    @property
    def key(self) -> str:
        """Hash of the run's key and the subject, 16 hexadecimal digits."""
        return hashlib.sha256(f"{self.run.key} {self.subject}".encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        return paths.runs() / self.key

    @property
    def finished(self) -> bool:
        return all(holds(self.folder / name) for name in ("provenance.json", "predictions.parquet"))

    def to_json(self) -> dict[str, Any]:
        return {"run": self.run.to_json(), "subject": self.subject}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Fold:
        return cls(Run.from_json(values["run"]), values["subject"])

    def execute(self, progress: Progress | None = None, report: Report = lambda line: None) -> Path:
        """Trains without the subject and judges its clips, unless that is done; its folder."""
        folder, run = self.folder, self.run
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", lambda: report("another process works on this run: waiting for it")):
            recover(folder, report)
            if self.finished:
                return folder
            started = time.time()
            inputs = without(_material(run.config.with_({"training.seed": 0})), self.subject)
            model = fit(run.config, inputs, folder, progress, report)
            found = predict(model, inputs, run.config, generate=bool(run.config.training.weight_text))
            _write_predictions(found, inputs, run.row, run.seed, folder / "predictions.parquet")
            facts = {
                "labels": [f"leave-one-subject-out/{self.label}"],
                "key": self.key,
                "commit": commit(),
                "finished": pd.Timestamp.now("UTC").isoformat(timespec="seconds"),
                "seconds": round(time.time() - started, 1),
                "device": device(),
                "versions": versions(),
            }
            if pieces := micro_batch(folder):
                facts["micro_batch"] = pieces  # memory did not hold a batch: so many clips at once
            _write_json(folder / "provenance.json", facts)
            for leftover in (*RESUMED, MEMORY):  # the model, too: there are hundreds that nobody asks again
                (folder / leftover).unlink(missing_ok=True)
        return folder


def folds(
    folder: str | Path,
    rows: Sequence[str] = (),
    preset: str = "laptop",
    seeds: Sequence[int] = (0,),
    settings: dict[str, object] | None = None,
) -> list[Fold]:
    """Every training that the rows of `LOSO_ROWS` need, seed by seed.

    Raises:
        InputError: an unknown row, a data set that names fewer than three subjects, or one that cannot be read.
    """
    rows = tuple(rows) or tuple(row for row in LOSO_ROWS if row not in FINE_TUNED)
    for row in rows:
        if row not in LOSO_ROWS:
            raise InputError(f"there is no row '{row}'", hint=f"one of {', '.join(LOSO_ROWS)}")
    # An absolute path: the folder's name is part of a run's key, and workers may start elsewhere.
    base: dict[str, object] = {"data.source": str(Path(folder).resolve())}
    dataset = open_dataset(build(preset, base).data)
    if not (dataset.table["explanation"] != "").any():  # a decoder has no words to learn from, and none to prune to
        base |= {"training.weight_text": 0.0, "decoder.vocabulary": "full"}
    subjects = _subjects(dataset.table, folder)
    out = []
    for seed in seeds:
        for row in rows:
            config = build(preset, base | LOSO_ROWS[row] | (settings or {}) | {"training.seed": seed})
            out += [Fold(Run("leave-one-subject-out", row, seed, config), subject) for subject in subjects]
    return out


def _subjects(table: pd.DataFrame, folder: str | Path) -> list[str]:
    subjects = sorted(set(table["subject"]) - {""})
    if len(subjects) < 3 or (table["subject"] == "").any():
        hint = "fill the column 'subject'; one is tested, one validates, the others train"
        raise InputError("every clip needs a subject, and there must be three", file=folder, hint=hint)
    return subjects


def collect(wanted: Sequence[Fold]) -> Judged:
    """What the folds of every whole row said: a row is whole when all its folds are finished.

    A person who is missing from a row would be missing from its mean, and not at random, so the others are left out.
    """
    judged: Judged = {}
    for row in dict.fromkeys(fold.run.row for fold in wanted):
        of_row = [fold for fold in wanted if fold.run.row == row]
        if all(fold.finished for fold in of_row):
            tables = [pd.read_parquet(fold.folder / "predictions.parquet") for fold in of_row]
            judged[row] = pd.concat(tables, ignore_index=True), _facts_of(of_row)
    return judged


def markers(root: str | Path) -> Judged:
    """What a logistic regression on UI-PRMD's own markers says; one line a repetition, no view.

    It sees all joints of all frames in three dimensions, and is told the movement.
    """
    started = time.time()
    judged, _ = marker_predictions(root)
    rows = []
    for repetition, probability in ((one.repetition, one.probability) for one in judged):
        subject, action = f"s{repetition.subject:02d}", movements()[repetition.movement][0]
        rows.append((MARKERS, 0, subject, repetition.name, action, "", repetition.quality, probability, ""))
    return {MARKERS: (pd.DataFrame(rows, columns=list(COLUMNS)), _facts(0, round(time.time() - started)))}


@lru_cache(maxsize=2)
def _material(config: Config) -> TrainingInputs:
    return prepare(config)


def without(inputs: TrainingInputs, subject: str) -> TrainingInputs:
    """The same clips with `subject` as test split, the next subject as validation and everybody else in training."""
    order = sorted(set(inputs.dataset.table["subject"]))
    number = {name: i for i, name in enumerate(order)}
    splits = {name: split_of(i, number[subject], range(len(order))) for name, i in number.items()}
    table = inputs.dataset.table.assign(split=inputs.dataset.table["subject"].map(splits))
    return dataclasses.replace(inputs, dataset=dataclasses.replace(inputs.dataset, table=table))


def _write_predictions(found: pd.DataFrame, inputs: TrainingInputs, row: str, seed: int, path: Path) -> None:
    table = inputs.dataset.table.set_index("clip_id").loc[found["clip_id"]]
    whole = found.assign(row=row, seed=seed, subject=table["subject"].to_numpy(), view=table["view"].to_numpy())
    write_safely(path, lambda partly: whole[list(COLUMNS)].to_parquet(partly, index=False))


def zero_shot(runs: Sequence[Run], folder: str | Path, preset: str = "laptop") -> Judged:
    """Verdicts of EFA as FormSim made it, on clips of other people and other exercises.

    Its class head knows none of these exercises, so the true one picks the steps (protocol `oracle`), and
    `predicted_action` stays empty.

    Args:
        runs: of '6/EFA', finished.
    """
    started = time.time()
    config = build(preset, {"data.source": str(Path(folder).resolve()), "decoder.vocabulary": "full"})
    inputs = _material(config)
    table = inputs.dataset.table
    number = {key: i for i, key in enumerate(inputs.dataset.steps)}
    keys = torch.tensor([number[inputs.dataset.step_key(row)] for _, row in table.iterrows()])
    parts = []
    for run in runs:
        told = _judge(EFA.from_pretrained(run.folder).model.eval(), inputs, keys)
        shown = table[["subject", "clip_id", "action", "view", "quality"]]
        parts.append(shown.assign(row=ZERO_SHOT, seed=run.seed, quality_prob=told, predicted_action=""))
    found = pd.concat(parts, ignore_index=True)[list(COLUMNS)]
    return {ZERO_SHOT: (found, _facts(0, round(time.time() - started)))}


@torch.inference_mode()
def _judge(model: Model, inputs: TrainingInputs, keys: Tensor) -> list[float]:
    """Probability of non-standard form of every clip, given the text in row `keys` [N] of the inputs's."""
    told: list[float] = []
    for start in range(0, len(keys), 64):
        features = torch.from_numpy(np.array(inputs.video[start : start + 64])).float()
        key = keys[start : start + 64]
        seen = torch.ones(len(key), dtype=torch.bool)
        told += model(features, inputs.steps[key], inputs.instruction[key], seen).quality_logit.sigmoid().tolist()
    return told


def _facts(trainings: int, seconds: float) -> dict[str, object]:
    return {
        "trainings": trainings,
        "seconds": seconds,
        "device": device(),
        "commit": commit() or "no commit",
        "versions": versions(),
    }


def _facts_of(wanted: Sequence[Fold]) -> dict[str, object]:
    """How many trainings a row took, where, how long on one core, and by which code."""
    found = [json.loads((fold.folder / "provenance.json").read_text()) for fold in wanted]
    return {
        "trainings": len(found),
        "seconds": round(sum(one["seconds"] for one in found)),
        "device": " / ".join(sorted({one["device"] for one in found})),
        "commit": ", ".join(sorted({one["commit"] or "no commit" for one in found})),
        "versions": found[0]["versions"],
    }


def _write_json(path: Path, value: object) -> None:
    write_safely(path, lambda partly: partly.write_text(json.dumps(value, indent=1) + "\n"))
