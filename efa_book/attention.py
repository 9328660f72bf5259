"""Where EFA's five steps look, by frame: computed from a finished run, published beside its predictions, read again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from efa.baselines.inputs import prepare
from efa.data.loader import pixels, text_keys
from efa.experiments import Overrides, select
from efa.model.assessor import EFAModel
from efa.predict import EFA
from efa.runs import Run, commit, versions
from efa.utils.errors import InputError
from efa_book import html
from efa_book.collect import Results
from efa_book.files import read_json, read_table, write_json, write_parquet
from efa_book.html import Cell, Html
from efa_book.provenance import stamp
from efa_book.published import folder_of, some_texts

ROW = "6/EFA"
PROTOCOL = "predicted"
COLUMNS = ("clip_id", "step", "frame", "weight")
HINT = "efa explore attention writes it again"


@torch.inference_mode()
def compute_attention(run: Run, split: str = "test") -> pd.DataFrame:
    """The softmax of equation 6, summed over the patches of a frame, for every clip of a split.

    The model's own answer picks the steps (protocol 'predicted'), as in the published predictions.

    Returns:
        clip_id, step (1 to 5), frame (1 to T) and weight; the T weights of a step sum to 1. InputError where the run is
        not finished, or its model does not read steps.
    """
    if not run.finished:
        raise InputError(f"{run.label} is not finished", hint=f"efa run {run.table}/{run.row}")
    model, inputs = EFA.from_pretrained(run.folder).model, prepare(run.config, final=True)
    if not isinstance(model, EFAModel) or run.config.fusion.text == "none" or not run.config.fusion.step_branch:
        raise InputError(f"{run.label} has no attention of steps", hint=f"efa run {ROW}")
    dataset, rows = inputs.dataset, inputs.rows(split)
    size, found = run.config.prediction.batch, []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        video = torch.from_numpy(inputs.observed[part])  # features [B, N, C], skeletons, or frames uint8
        finished = run.config.encoder.frozen and video.dtype != torch.uint8  # as efa.predict.predict
        features = video.float() if finished else model.encode_video(pixels({"video": video}))  # [B, N, C]
        guessed = list(dataset.table["action"])
        for row, best in zip(part, model.classify(features).argmax(1).tolist(), strict=True):
            guessed[row] = dataset.actions[best]
        keys = torch.as_tensor(text_keys(dataset, run.config, guessed)[part])
        texts = inputs.steps[keys.clamp(min=0)], inputs.instruction[keys.clamp(min=0)]
        fusion = cast(Any, model(features, *texts, keys >= 0)).fusion
        found.append(fusion.step_attention.unflatten(-1, (model.grid[0], -1)).sum(-1).numpy())  # [B, 5, T]
    weights = np.concatenate(found)  # [n, 5, T]
    clips, steps, frames = (axis.ravel() for axis in np.indices(weights.shape))
    return pd.DataFrame(
        {
            "clip_id": dataset.table["clip_id"].to_numpy()[rows][clips],
            "step": (steps + 1).astype(np.int8),
            "frame": (frames + 1).astype(np.int8),
            "weight": weights.ravel().astype(np.float32),
        }
    )


def publish(preset: str, seed: int = 0, overrides: Overrides | None = None, out: Path | None = None) -> Path:
    """Writes attention.parquet, whose path it returns, and attention.json of a run of EFA to results/<data>-<preset>/,
    for the clips whose texts are published. InputError where it is not finished."""
    (run,) = select(ROW, preset, (seed,), overrides)
    table = compute_attention(run)
    table = table[table["clip_id"].isin(some_texts(run)["clip_id"])]
    folder = out or folder_of(preset, overrides)
    folder.mkdir(parents=True, exist_ok=True)
    facts = read_json(run.folder / "provenance.json", f"efa run {ROW}")
    about = {
        "table": run.table,
        "row": run.row,
        "seed": run.seed,
        "protocol": PROTOCOL,
        "split": "test",
        "columns": "clip_id, step 1 to 5, frame, weight: equation 6 summed over the patches of a frame",
        "clips": int(table["clip_id"].nunique()),
        "command": f"efa explore attention --preset {preset} --seed {seed}",
        "read_with": {"commit": commit(), "versions": versions()},
        "run": {name: facts[name] for name in sorted(facts) if name != "labels"},
    }
    path = folder / "attention.parquet"
    write_parquet(path, table)
    write_json(path.with_suffix(".json"), about)
    return path


def is_same_run(entry: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether two provenances are of one training. Two trainings of one configuration share a key but not always every
    digit; when they ended tells them apart."""
    return all(entry.get(name) == facts.get(name) for name in ("key", "finished"))


def read_published(folder: Path, facts: Mapping[str, Any]) -> pd.DataFrame | None:
    """The published attention of the very run that `facts` (its provenance) describes; None where there is none.
    InputError where attention.parquet or attention.json cannot be read."""
    path = folder / "attention.parquet"
    run = read_json(path.with_suffix(".json"), HINT).get("run", {})
    return read_table(path, COLUMNS, HINT) if path.is_file() and run and is_same_run(run, facts) else None


def find_attention(results: Results, row: str = "EFA", seed: int = 0) -> pd.DataFrame | None:
    """The attention of the very run behind these results: published, or computed from the run if it was trained here.

    None where it is neither, or where the results are under another protocol. InputError as `read_published`.
    """
    cell = (row, seed)
    if results.protocol(row) != PROTOCOL or cell not in results.facts:
        return None
    table = read_published(folder_of(results.preset, results.overrides), results.facts[cell])
    if table is None and results.states.get(cell) == "done":
        (run,) = select(ROW, results.preset, (seed,), results.overrides)
        if results.predictions[cell].parent == run.folder:
            return compute_attention(run)
    return table


def attention_table(results: Results, seed: int = 0) -> Html:
    """Mean attention of each step by frame over the test split, and how often a frame has the most of it."""
    table = find_attention(results, seed=seed)
    if table is None:
        return html.note("Where the steps look is not known for these results: efa explore attention publishes it.")
    mean = table.pivot_table(index="step", columns="frame", values="weight", aggfunc="mean")
    most = table.loc[table.groupby(["clip_id", "step"])["weight"].idxmax(), "frame"].value_counts(normalize=True)
    lines = {f"step {step}": [f"{weight:.2f}" for weight in weights] for step, weights in enumerate(mean.to_numpy(), 1)}
    lines["has the most"] = [f"{most.get(frame, 0):.0%}" for frame in mean.columns]
    rows = [[Cell(name), *(Cell(text, number=True) for text in texts)] for name, texts in lines.items()]
    notes = [
        f"Mean over {table['clip_id'].nunique()} clips of the test split; even shares are {1 / len(mean.columns):.2f}. "
        "Has the most: of all steps of all clips, the part whose largest weight is on this frame. "
        f"Published by: efa explore attention --preset {results.preset} --seed {seed}"
    ]
    head = ["", *(f"frame {frame}" for frame in mean.columns)]
    return html.table("Where EFA's five steps look", head, rows, notes) + stamp(results)
