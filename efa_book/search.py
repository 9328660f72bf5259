"""The same small search of settings for every system, EFA included: `efa search all --preset laptop --trials 12`.

Each system gets as many trials over the same ranges, drawn by Optuna's TPE; none starts from hand-picked settings. A
trial trains as `efa run` does, validates after each epoch and ends early where its score is not among the best third of
earlier trials' (`PercentilePruner`). EFA on poses has a second stage (`--preset pose --trials 20`) that ends none: the
best trial before with each combination of `SECOND_STAGE` (book/negative_results.md says why). No trial reads the test
split. Each is a row of results/search.csv; a draw depends on seed, number and the rows before it alone.
"""

import contextlib
import itertools
import json
import math
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial, TrialState

from efa import metrics
from efa.baselines.inputs import TrainingInputs, build_model, prepare
from efa.baselines.registry import Model
from efa.config import RESULTS_VERSION, Config, build
from efa.experiments import SETTINGS_FILE, SYSTEMS, TABLES, select
from efa.predict import predict
from efa.runs import parser_for
from efa.train import fit
from efa.utils import paths
from efa.utils.errors import Diverged, InputError
from efa.utils.files import locked, write_safely

# Learning rates: a factor of seven to both sides of 2e-3, which all parts that ship were pre-trained with. The other
# ranges go from little or nothing to about twice what this book has tried, for the systems that have the setting.
RANGES: dict[str, BaseDistribution] = {
    "training.head_lr": FloatDistribution(3e-4, 1.5e-2, log=True),
    "training.lr": FloatDistribution(3e-4, 1.5e-2, log=True),  # where something pre-trained learns
    "training.weight_decay": FloatDistribution(1e-3, 1e-1, log=True),
    "fusion.pool_dropout": CategoricalDistribution((0.0, 0.25, 0.5)),  # 0.5 before most originals' class heads
    "encoder.adapter": CategoricalDistribution((0, 256)),  # of a frozen trunk
    "training.feature_noise": CategoricalDistribution((0.0, 0.3, 0.6)),  # of a frozen trunk
    "encoder.noise": FloatDistribution(0.5, 2.0, log=True),  # of skeletons
    "training.text_share": FloatDistribution(0.1, 0.6),  # where text is written
    "training.weight_text": FloatDistribution(0.5, 15.0, log=True),  # where text is written
}
FIRST_STAGE = 12  # trials, on poses
SECOND_STAGE = {"training.lr": (1e-3, 3e-3), "training.text_share": (0.6, 0.9), "training.weight_text": (10.0, 30.0)}
COMBINATIONS = [dict(zip(SECOND_STAGE, each, strict=True)) for each in itertools.product(*SECOND_STAGE.values())]
TRAINING_SEED = 1_000_003  # plus the search's: a seed that no published run has
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "diverged": TrialState.FAIL}


def read_trials(preset: str, version: int = RESULTS_VERSION) -> pd.DataFrame:
    """A preset's trials by the code of today; InputError where results/search.csv cannot be read."""
    file = paths.results() / "search.csv"
    try:
        rows = (
            pd.read_csv(file, keep_default_na=False)
            if file.is_file()
            else pd.DataFrame(columns=["system", "seed", "state"])
        )
        return rows[(rows["preset"] == preset) & (rows["results_version"] == version)] if len(rows) else rows
    except (ValueError, KeyError) as error:
        raise InputError(f"this is no table of trials: {error}", file=file, hint="restore it, or remove it") from None


def systems_of(what: str, preset: str) -> list[str]:
    """'all', or one system; of skeletons EFA alone. InputError for any other name."""
    known = ["EFA"] if build(preset).encoder.kind == "pose" else list(SYSTEMS)
    if what not in ("all", *known):
        raise InputError(f"no system that can be searched is called '{what}'", hint=f"one of all, {', '.join(known)}")
    return known if what == "all" else [what]


def config_of(system: str, preset: str, seed: int, settings: dict[str, Any]) -> Config:
    """The system's row with these settings, validated after each epoch."""
    row = f"{4 if system in TABLES['4'].rows else 5}/{system}"
    return select(row, preset, (TRAINING_SEED + seed,), settings | {"training.select_every": 1})[0].config


def without_test(inputs: TrainingInputs) -> TrainingInputs:
    """The same without the clips of the test split, of which nothing is read."""
    table = inputs.dataset.table
    kept = np.flatnonzero((table["split"] != "test").to_numpy())
    parts: dict[str, Any] = {name: getattr(inputs, name) for name in ("video", "order", "estimated")}
    parts = {name: part if part is None else part[kept] for name, part in parts.items()}
    dataset = replace(inputs.dataset, table=table.iloc[kept].reset_index(drop=True))
    return replace(inputs, dataset=dataset, **parts)


def ranges_of(config: Config, inputs: TrainingInputs) -> dict[str, BaseDistribution]:
    """Those of `RANGES` that change anything for this system."""
    model = build_model(config, inputs)
    useless = {
        "training.lr": not any(p.requires_grad for p in model.pretrained_parameters()),
        "encoder.noise": config.encoder.kind != "pose",
        **dict.fromkeys(("encoder.adapter", "training.feature_noise"), not config.encoder.frozen),
        **dict.fromkeys(("training.text_share", "training.weight_text"), model.text_decoder is None),
    }
    return {name: distribution for name, distribution in RANGES.items() if not useless.get(name)}


def text_score(model: Model, config: Config, inputs: TrainingInputs) -> float:
    """Of what a model writes for the validation split: the mean of ROUGE-L and, where faults are known, fault F1."""
    found = metrics.score(predict(model, inputs, config, "val"), parser_for(config))
    return float(np.mean([found[name] for name in ("rouge_l", "fault_f1") if found[name] is not None]))


def run_trial(config: Config, inputs: TrainingInputs, trial: BaseTrial) -> tuple[str, list[float], float]:
    """Trains one: its state; after each epoch, the mean of Top-1 and the verdict's balanced accuracy on the validation
    split with the weights that a run would have kept by then; the objective, in which `text_score` counts as much as
    either, where text is written.
    """
    scores, losses = list[float](), list[float]()

    def report(line: str) -> None:
        if not line.startswith("{"):  # of memory
            return
        row = json.loads(line)
        best = row["val_total"] < min(losses, default=math.inf)
        losses.append(row["val_total"])
        now = (row["val_top1"] + row["val_quality_balanced_acc"]) / 2
        scores.append(round(now, 3) if best else scores[-1])
        trial.report(scores[-1], len(scores))
        if len(scores) < config.training.epochs and trial.should_prune():
            raise optuna.TrialPruned

    state, objective = "diverged", math.nan
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Diverged):
        try:
            model = fit(config, inputs, Path(folder), report=report)
            written = [] if model.text_decoder is None else [text_score(model, config, inputs)]
            state, objective = "complete", round(float(np.mean([scores[-1], scores[-1], *written])), 3)
        except optuna.TrialPruned:
            state = "pruned"
    return state, scores, objective


def propose(
    rows: pd.DataFrame, ranges: dict[str, BaseDistribution], preset: str, number: int, seed: int
) -> tuple[dict[str, Any], BaseTrial]:
    """A trial's settings after those in `rows`, and what decides whether it ends early."""
    if preset == "pose" and number >= FIRST_STAGE:
        best = json.loads(best_trials(rows[rows["trial"] < FIRST_STAGE])["settings"].iloc[0])
        return best | COMBINATIONS[number - FIRST_STAGE], FixedTrial({})
    sampler = optuna.samplers.TPESampler(seed=zlib.crc32(f"{seed} {number}".encode()))
    pruner = optuna.pruners.PercentilePruner(100 / 3, n_startup_trials=2)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    study.add_trials([frozen_trial(row, ranges) for _, row in rows.iterrows()])
    return (trial := study.ask(ranges)).params, trial


def search(system: str, preset: str, count: int, seed: int, report: Callable[[str], None]) -> None:
    """Adds the trials that a system lacks, up to `count`, to results/search.csv."""
    config = config_of(system, preset, seed, {})
    inputs = without_test(prepare(config))
    ranges = ranges_of(config, inputs)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for number in range(min(count, FIRST_STAGE + len(COMBINATIONS)) if preset == "pose" else count):
        rows, started = read_trials(preset), time.process_time()
        rows = rows[(rows["system"] == system) & (rows["seed"] == seed)]
        if number < len(rows):
            continue
        settings, trial = propose(rows, ranges, preset, number, seed)
        state, scores, objective = run_trial(config_of(system, preset, seed, settings), inputs, trial)
        row = {"system": system, "preset": preset, "trial": number, "seed": seed, "state": state}
        row |= {"objective": objective if state == "complete" else "", "epochs": len(scores)}
        row |= {"seconds": round(time.process_time() - started, 1), "settings": json.dumps(settings)}
        keep(row | {"scores": json.dumps(scores), "results_version": RESULTS_VERSION})
        report(f"{system}, trial {number}: {state} after {len(scores)} epochs, {scores[-1:]} {objective}, {settings}")


def frozen_trial(row: "pd.Series[Any]", ranges: dict[str, BaseDistribution]) -> FrozenTrial:
    """A row as Optuna's trial; InputError where it was drawn from other settings than today's."""
    settings, state = json.loads(row["settings"]), STATES[row["state"]]
    if settings.keys() != ranges.keys():
        raise InputError(
            f"trials of {row['system']} have other settings than today's", hint="search with another --seed"
        )
    value = float(row["objective"]) if state == TrialState.COMPLETE else None
    given = dict(enumerate(json.loads(row["scores"]), 1))
    return optuna.create_trial(
        state=state, value=value, params=settings, distributions=ranges, intermediate_values=given
    )


def keep(row: dict[str, Any]) -> None:
    """Adds a row to results/search.csv, to which several searches may write."""
    file, lock = paths.results() / "search.csv", paths.cache() / "search.lock"
    for folder in (file.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(lock):
        before = [pd.read_csv(file, keep_default_na=False)] if file.is_file() else []
        table = pd.concat([*before, pd.DataFrame([row])])
        write_safely(file, lambda path: table.to_csv(path, index=False))


def best_settings(preset: str) -> dict[str, dict[str, Any]]:
    """System -> settings of its best complete trial; InputError unless all have as many trials, of one seed."""
    rows = read_trials(preset)
    counts = {str(name): int(count) for name, count in rows["system"].value_counts().items()}
    if len(set(counts.values())) > 1 or rows["seed"].nunique() > 1:
        raise InputError(f"chances are not equal: {counts}", hint="give all systems the same --trials and --seed")
    best = best_trials(rows)
    if missing := sorted(counts.keys() - set(best["system"])):
        raise InputError(f"no trial of {missing[0]} was completed", hint="give all systems more --trials")
    return {name: json.loads(settings) for name, settings in zip(best["system"], best["settings"], strict=True)}


def best_trials(rows: pd.DataFrame) -> pd.DataFrame:
    """The best complete trial of each system."""
    complete = rows[rows["state"] == "complete"].astype({"objective": float}) if len(rows) else rows
    return complete.sort_values("objective", kind="stable").drop_duplicates("system", keep="last")


def write_settings(preset: str, file: Path = SETTINGS_FILE) -> None:
    """Makes the best settings those of the tables' rows."""
    known = json.loads(file.read_text("utf-8")) | {preset: best_settings(preset)}
    write_safely(file, lambda path: path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n"))
