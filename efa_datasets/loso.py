"""Leave-one-subject-out cross-validation: each subject is the test split once, the next one validates, the rest trains.

Intervals are drawn over people, not over clips: two repetitions by one person are nearly the same clip.

    efa leave-one-subject-out my-data --preset laptop --seeds 0,1,2 --markers UI-PRMD
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from efa.baselines.inputs import TrainingInputs, prepare
from efa.baselines.registry import Model
from efa.config import build
from efa.data.checks import step_key
from efa.data.loader import Progress, open_dataset
from efa.experiments import Overrides
from efa.predict import EFA, predict
from efa.runs import Run, commit, device, holds, versions
from efa.train import MEMORY, Report, fit, micro_batch
from efa.utils.errors import InputError
from efa.utils.files import locked, write_safely
from efa.utils.recovery import RESUMED, recover
from efa_datasets.ui_prmd import predict_from_markers, split_of
from efa_datasets.ui_prmd_markers import movements

MARKERS = "Markers, logistic regression"
ZERO_SHOT = "EFA, never saw people"  # trained on FormSim alone and given the true movement
FINE_TUNING: Overrides = {"encoder.frozen": False, "encoder.adapter": 0, "training.epochs": 4}
# Not in the paper: motion of real people (UI-PRMD), leaving out one subject at a time.
# The trunk is frozen, except in the last two rows, which take hours.
LOSO_ROWS: dict[str, Overrides] = {
    "EFA": {},
    "EFA, w/o text": {"fusion.text": "none"},
    "EFA, wrong text": {"fusion.text": "wrong"},
    "EFA, random trunk": {"encoder.weights": ""},
    "Video Swin": {"system.name": "Video Swin"},
    "Video Swin, random trunk": {"system.name": "Video Swin", "encoder.weights": ""},
    "EFA, fine-tuned": FINE_TUNING | {"training.lr": 3e-4},
    "EFA, from scratch": FINE_TUNING | {"training.lr": 1e-3, "encoder.weights": ""},  # lr as in its pre-training
}
FINE_TUNED = ("EFA, fine-tuned", "EFA, from scratch")  # only when asked for by name
COLUMNS = ("row", "seed", "subject", "clip_id", "action", "view", "quality", "quality_prob", "predicted_action")
_prepare = lru_cache(maxsize=2)(prepare)
Judged = dict[str, tuple[pd.DataFrame, dict[str, object]]]
"""Row -> predictions, columns `COLUMNS`, and facts of how they were made."""


@dataclass(frozen=True)
class Fold(Run):
    """One training: a run (a row and a seed) without one subject. `config.data.source` is the data set's folder."""

    subject: str = ""

    @property
    def label(self) -> str:
        return f"{self.row} seed {self.seed}, without {self.subject}"

    @property
    def key(self) -> str:
        """Hash of the run's key and the subject, 16 hexadecimal digits."""
        return hashlib.sha256(f"{super().key} {self.subject}".encode()).hexdigest()[:16]

    @property
    def finished(self) -> bool:
        return all(holds(self.folder / name) for name in ("provenance.json", "predictions.parquet"))

    def execute(self, progress: Progress | None = None, report: Report = lambda line: None) -> Path:
        """Train without the subject and predict its clips, unless that is done; returns the folder."""
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", lambda: report("another process works on this run: waiting for it")):
            recover(folder, report)
            if self.finished:
                return folder
            started = time.time()
            inputs = leave_out(_prepare(self.config.with_({"training.seed": 0})), self.subject)
            model = fit(self.config, inputs, folder, progress, report)
            found = predict(model, inputs, self.config, generate=bool(self.config.training.weight_text))
            clips = inputs.dataset.table.set_index("clip_id").loc[found["clip_id"]]
            found = found.assign(row=self.row, seed=self.seed)
            found = found.assign(subject=clips["subject"].to_numpy(), view=clips["view"].to_numpy())
            write_safely(folder / "predictions.parquet", partial(found[list(COLUMNS)].to_parquet, index=False))
            facts: dict[str, Any] = {
                "labels": [f"{self.table}/{self.label}"], "key": self.key, "commit": commit(),
                "finished": pd.Timestamp.now("UTC").isoformat(timespec="seconds"),
                "seconds": round(time.time() - started, 1), "device": device(), "versions": versions(),
            }  # fmt: skip
            if pieces := micro_batch(folder):
                facts["micro_batch"] = pieces  # memory did not hold a batch: so many clips at once
            write_safely(folder / "provenance.json", partial(Path.write_text, data=json.dumps(facts, indent=1) + "\n"))
            for leftover in (*RESUMED, MEMORY):  # the model, too: there are hundreds, and nothing loads them again
                (folder / leftover).unlink(missing_ok=True)
        return folder


def folds(
    folder: str | Path, rows: Sequence[str] = (), preset: str = "laptop", seeds: Sequence[int] = (0,),
    settings: dict[str, object] | None = None,
) -> list[Fold]:  # fmt: skip
    """Every training that the rows of `LOSO_ROWS` need, seed by seed.

    Raises:
        InputError: an unknown row, a data set that names fewer than three subjects, or one that cannot be read.
    """
    rows = tuple(rows) or tuple(row for row in LOSO_ROWS if row not in FINE_TUNED)
    if unknown := [row for row in rows if row not in LOSO_ROWS]:
        raise InputError(f"there is no row '{unknown[0]}'", hint=f"one of {', '.join(LOSO_ROWS)}")
    # An absolute path: the folder's name is part of a run's key, and workers may start elsewhere.
    base: dict[str, object] = {"data.source": str(Path(folder).resolve())}
    table = open_dataset(build(preset, base).data).table
    if not (table["explanation"] != "").any():  # a decoder has no words to learn from, and no vocabulary to cut down
        base |= {"training.weight_text": 0.0, "decoder.vocabulary": "full"}
    subjects = sorted(set(table["subject"]))
    if len(subjects) < 3 or "" in subjects:
        hint = "fill the column 'subject'; one is tested, one validates, the others train"
        raise InputError("every clip needs a subject, and there must be three", file=folder, hint=hint)
    made = []
    for seed in seeds:
        for row in rows:
            config = build(preset, base | LOSO_ROWS[row] | (settings or {}) | {"training.seed": seed})
            made += [Fold("leave-one-subject-out", row, seed, config, subject=subject) for subject in subjects]
    return made


def collect(wanted: Sequence[Fold]) -> Judged:
    """Predictions of the rows whose folds are all finished: a subject would not be missing from a mean at random."""
    judged: Judged = {}
    for row in dict.fromkeys(fold.row for fold in wanted):
        folders = [fold.folder for fold in wanted if fold.row == row and fold.finished]
        if len(folders) < sum(fold.row == row for fold in wanted):
            continue
        found = [json.loads((folder / "provenance.json").read_text()) for folder in folders]
        facts = {
            "trainings": len(found), "seconds": round(sum(one["seconds"] for one in found)),  # on one core
            "device": " / ".join(sorted({one["device"] for one in found})),
            "commit": ", ".join(sorted({one["commit"] or "no commit" for one in found})),
            "versions": found[0]["versions"],
        }  # fmt: skip
        tables = [pd.read_parquet(folder / "predictions.parquet") for folder in folders]
        judged[row] = pd.concat(tables, ignore_index=True), facts
    return judged


def judge_markers(root: str | Path) -> Judged:
    """Predictions of a logistic regression on UI-PRMD's own markers, given the movement; one row per repetition."""
    started = time.time()
    rows = []
    for one, probability in predict_from_markers(root)[0]:
        subject, action = f"s{one.subject:02d}", movements()[one.movement][0]
        rows.append((MARKERS, 0, subject, one.name, action, "", one.quality, probability, ""))
    return {MARKERS: (pd.DataFrame(rows, columns=list(COLUMNS)), _facts(started))}


def judge_zero_shot(runs: Sequence[Run], folder: str | Path, preset: str = "laptop") -> Judged:
    """Predictions of EFA trained on FormSim (`runs` of '6/EFA', finished), on other people and other exercises.

    Its class head knows none of these exercises, so the true one picks the steps (protocol `oracle`), and
    `predicted_action` stays empty.
    """
    started = time.time()
    inputs = _prepare(build(preset, {"data.source": str(Path(folder).resolve()), "decoder.vocabulary": "full"}))
    table = inputs.dataset.table
    number = {key: i for i, key in enumerate(inputs.dataset.steps)}
    keys = torch.tensor([number[step_key(*row)] for row in zip(table["action"], table["standard"], strict=True)])  # [N]
    parts = []
    for run in runs:
        probabilities = _predict_quality(EFA.from_pretrained(run.folder).model.eval(), inputs, keys)
        clips = table[["subject", "clip_id", "action", "view", "quality"]]
        parts.append(clips.assign(row=ZERO_SHOT, seed=run.seed, quality_prob=probabilities, predicted_action=""))
    return {ZERO_SHOT: (pd.concat(parts, ignore_index=True)[list(COLUMNS)], _facts(started))}


@torch.inference_mode()
def _predict_quality(model: Model, inputs: TrainingInputs, keys: Tensor) -> list[float]:
    """Probability of non-standard form of every clip, given the text in row `keys` [N] of the inputs'."""
    probabilities: list[float] = []
    for start in range(0, len(keys), 64):
        features = torch.from_numpy(np.array(inputs.video[start : start + 64])).float()
        key = keys[start : start + 64]
        output = model(features, inputs.steps[key], inputs.instruction[key], torch.ones(len(key), dtype=torch.bool))
        probabilities += output.quality_logit.sigmoid().tolist()
    return probabilities


def _facts(started: float) -> dict[str, object]:
    facts: dict[str, object] = {"trainings": 0, "seconds": round(time.time() - started), "device": device()}
    return facts | {"commit": commit() or "no commit", "versions": versions()}


def leave_out(inputs: TrainingInputs, subject: str) -> TrainingInputs:
    """The same clips with `subject` as test split, the next subject as validation and all others in training."""
    order = sorted(set(inputs.dataset.table["subject"]))
    splits = {name: split_of(i, order.index(subject), range(len(order))) for i, name in enumerate(order)}
    table = inputs.dataset.table.assign(split=inputs.dataset.table["subject"].map(splits))
    return dataclasses.replace(inputs, dataset=dataclasses.replace(inputs.dataset, table=table))
