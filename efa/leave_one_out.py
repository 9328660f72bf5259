"""Leave one subject out: everybody is the test split once, the next one validates, all others train.

Ten people are too few for one fixed split. So every row is trained once for each of them, and an interval is drawn over
people, not over clips: two repetitions by one person are nearly the same clip.

>>> # efa leave-one-out my-data --preset laptop --seeds 0,1,2 --markers UI-PRMD
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from efa import paths
from efa.config import Config, build
from efa.data.loader import open_dataset
from efa.data.ui_prmd import marker_predictions, split_of
from efa.data.ui_prmd_files import movements
from efa.errors import InputError
from efa.experiments import FINE_TUNED, LEAVE_ONE_OUT, select
from efa.files import locked, write_safely
from efa.inference import EFA, predict
from efa.runs import Run, commit, device, execute, versions
from efa.systems import Model
from efa.training import Material, fit, prepare

Progress = Callable[[int, int], None]  # done, total
MARKERS = "Markers, logistic regression"
ZERO_SHOT = "EFA, never saw people"  # trained on FormSim alone and told which movement it is
COLUMNS = ("row", "seed", "subject", "clip_id", "action", "view", "quality", "quality_prob", "predicted_action")


@dataclass(frozen=True)
class Fold:
    """One training: a row, a seed, and who is left out. `run.config.data.source` is the folder."""

    run: Run
    subject: str

    @property
    def label(self) -> str:
        return f"{self.run.row} seed {self.run.seed}, without {self.subject}"

    @property
    def key(self) -> str:
        """Hash of the run's key and the subject, 16 hexadecimal digits."""
        return hashlib.sha256(f"{self.run.key} {self.subject}".encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        return paths.runs() / self.key


def folds(
    folder: str | Path,
    rows: Sequence[str] = (),
    preset: str = "laptop",
    seeds: Sequence[int] = (0,),
    settings: dict[str, object] | None = None,
) -> list[Fold]:
    """Every training that the rows of `LEAVE_ONE_OUT` need, seed by seed.

    Raises:
        InputError: an unknown row, a data set that names fewer than three subjects, or one that cannot be read.
    """
    rows = tuple(rows) or tuple(row for row in LEAVE_ONE_OUT if row not in FINE_TUNED)
    for row in rows:
        if row not in LEAVE_ONE_OUT:
            raise InputError(f"there is no row '{row}'", mend=f"one of {', '.join(LEAVE_ONE_OUT)}")
    # An absolute path: the folder's name is part of a run's key, and workers may start elsewhere.
    base: dict[str, object] = {"data.source": str(Path(folder).resolve())}
    dataset = open_dataset(build(preset, base).data)
    if not (dataset.table["explanation"] != "").any():  # a decoder has no words to learn from, and none to prune to
        base |= {"training.weight_text": 0.0, "decoder.vocabulary": "full"}
    subjects = _subjects(dataset.table, folder)
    out = []
    for seed in seeds:
        for row in rows:
            config = build(preset, base | LEAVE_ONE_OUT[row] | (settings or {}) | {"training.seed": seed})
            out += [Fold(Run("leave-one-out", row, seed, config), subject) for subject in subjects]
    return out


def _subjects(table: pd.DataFrame, folder: str | Path) -> list[str]:
    subjects = sorted(set(table["subject"]) - {""})
    if len(subjects) < 3 or (table["subject"] == "").any():
        mend = "fill the column 'subject'; one is tested, one validates, the others train"
        raise InputError("every clip needs a subject, and there must be three", file=folder, mend=mend)
    return subjects


def execute_all(wanted: Sequence[Fold], jobs: int = 1, progress: Progress | None = None) -> pd.DataFrame:
    """Trains and predicts whatever is missing, `jobs` at a time; the predictions of all folds, columns `COLUMNS`."""
    missing = [fold for fold in wanted if not _finished(fold)]
    for config in {fold.run.config.with_({"training.seed": 0}): None for fold in missing}:
        _material(config)  # once, with all cores
    done = len(wanted) - len(missing)
    if progress:
        progress(done, len(wanted))
    if jobs <= 1:
        for fold in missing:
            _execute(fold)
            done += 1
            if progress:
                progress(done, len(wanted))
    else:
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            try:
                for future in as_completed([pool.submit(_execute, fold) for fold in missing]):
                    future.result()
                    done += 1
                    if progress:
                        progress(done, len(wanted))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return pd.concat([pd.read_parquet(fold.folder / "predictions.parquet") for fold in wanted], ignore_index=True)


def run(
    folder: str | Path,
    rows: Sequence[str] = (),
    preset: str = "laptop",
    seeds: Sequence[int] = (0,),
    settings: dict[str, object] | None = None,
    marker_files: str | Path | None = None,
    with_zero_shot: bool = False,
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, dict[str, dict[str, object]]]:
    """Everything that `efa leave-one-out` does but writing: predictions, columns `COLUMNS`, and facts of each row.

    Raises:
        InputError: as `folds`; files of markers that cannot be used; a checkpoint that cannot be trained.
    """
    parts, facts = [], {}
    if marker_files is not None:  # first: cheap, and a wrong folder is said before hours of work
        started = time.time()
        parts.append(markers(marker_files))
        facts[MARKERS] = _facts(0, round(time.time() - started))
    wanted = folds(folder, rows, preset, seeds, settings)
    parts.insert(0, execute_all(wanted, jobs, progress))
    for row in dict.fromkeys(fold.run.row for fold in wanted):
        facts[row] = _facts_of([fold for fold in wanted if fold.run.row == row])
    if with_zero_shot:
        started = time.time()
        parts.append(zero_shot(folder, preset, seeds))
        facts[ZERO_SHOT] = _facts(0, round(time.time() - started))
    return pd.concat(parts, ignore_index=True), facts


def _finished(fold: Fold) -> bool:
    return (fold.folder / "provenance.json").is_file()


@lru_cache(maxsize=2)
def _material(config: Config) -> Material:
    return prepare(config)


def without(material: Material, subject: str) -> Material:
    """The same clips with `subject` as test split, the next subject as validation and everybody else in training."""
    order = sorted(set(material.dataset.table["subject"]))
    number = {name: i for i, name in enumerate(order)}
    splits = {name: split_of(i, number[subject], range(len(order))) for name, i in number.items()}
    table = material.dataset.table.assign(split=material.dataset.table["subject"].map(splits))
    return dataclasses.replace(material, dataset=dataclasses.replace(material.dataset, table=table))


def _execute(fold: Fold) -> None:
    folder, run = fold.folder, fold.run
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        if _finished(fold):
            return
        started = time.time()
        material = without(_material(run.config.with_({"training.seed": 0})), fold.subject)
        model = fit(run.config, material, folder)
        found = predict(model, material, run.config, generate=bool(run.config.training.weight_text))
        _write_predictions(found, material, run.row, run.seed, folder / "predictions.parquet")
        for leftover in ("resume.pt", "best.safetensors"):  # hundreds of models that nobody asks again
            (folder / leftover).unlink(missing_ok=True)
        facts = {
            "labels": [f"leave-one-out/{fold.label}"],
            "key": fold.key,
            "commit": commit(),
            "finished": pd.Timestamp.now("UTC").isoformat(timespec="seconds"),
            "seconds": round(time.time() - started, 1),
            "device": device(),
            "versions": versions(),
        }
        _write_json(folder / "provenance.json", facts)


def _write_predictions(found: pd.DataFrame, material: Material, row: str, seed: int, path: Path) -> None:
    table = material.dataset.table.set_index("clip_id").loc[found["clip_id"]]
    whole = found.assign(row=row, seed=seed, subject=table["subject"].to_numpy(), view=table["view"].to_numpy())
    write_safely(path, lambda partly: whole[list(COLUMNS)].to_parquet(partly, index=False))


def zero_shot(folder: str | Path, preset: str = "laptop", seeds: Sequence[int] = (0,)) -> pd.DataFrame:
    """Verdicts of EFA as FormSim made it, on clips of other people and other exercises; columns `COLUMNS`.

    Its class head knows none of these exercises, so the true one picks the steps (protocol `oracle`), and
    `predicted_action` stays empty. Missing runs of '6/EFA' are trained first.
    """
    config = build(preset, {"data.source": str(Path(folder).resolve()), "decoder.vocabulary": "full"})
    material = _material(config)
    table = material.dataset.table
    number = {key: i for i, key in enumerate(material.dataset.steps)}
    keys = torch.tensor([number[material.dataset.step_key(row)] for _, row in table.iterrows()])
    parts = []
    for run in select("6/EFA", preset, tuple(seeds)):
        told = _judge(EFA.from_pretrained(execute(run)).model.eval(), material, keys)
        shown = table[["subject", "clip_id", "action", "view", "quality"]]
        parts.append(shown.assign(row=ZERO_SHOT, seed=run.seed, quality_prob=told, predicted_action=""))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


@torch.inference_mode()
def _judge(model: Model, material: Material, keys: Tensor) -> list[float]:
    """Probability of non-standard form of every clip, given the text in row `keys` [N] of the material's."""
    told: list[float] = []
    for start in range(0, len(keys), 64):
        features = torch.from_numpy(np.array(material.video[start : start + 64])).float()
        key = keys[start : start + 64]
        seen = torch.ones(len(key), dtype=torch.bool)
        told += model(features, material.steps[key], material.instruction[key], seen).quality_logit.sigmoid().tolist()
    return told


def markers(root: str | Path) -> pd.DataFrame:
    """What a logistic regression on UI-PRMD's own markers says, columns `COLUMNS`; one row a repetition, no view.

    It sees all joints of all frames in three dimensions, and is told the movement.
    """
    judged, _ = marker_predictions(root)
    rows = []
    for repetition, probability in ((one.repetition, one.probability) for one in judged):
        subject, action = f"s{repetition.subject:02d}", movements()[repetition.movement][0]
        rows.append((MARKERS, 0, subject, repetition.name, action, "", repetition.quality, probability, ""))
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
