"""Published runs whose code has changed since without changing them: proved by one seed, carried over for the others.

A run's key holds a hash of all code that it executes, so a mended error message makes every published run stale. To
train all seeds again for that would prove nothing new. `efa publish --seeds 0 --carry` takes seed 0 of a row, trained
by the code of now: where its predictions are those that were published, value for value, and the settings, data and
first weights of the row's other seeds are the same as before, these are given the key of now, and say so. Scores are
taken over where the code that scores has changed, too, and gives the proved seed the scores that it had. FormSim's
data are code as well: where that has changed, the proved seed has learnt from the clips of now what it had learnt from
the former ones, and speaks for the seeds that had the same former ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from efa.experiments import Overrides, select
from efa.files import write_safely
from efa.report.published import among, file_name, folder_of, read_provenance, read_scores, tidy
from efa.runs import Run, commit, config_hash


@dataclass
class Proof:
    """Seeds of a row whose predictions came out the same.

    Attributes:
        scoring: former code of scoring that gives them the scores they have.
        data: fingerprints of the former FormSim that they were trained on.
    """

    seeds: list[int] = field(default_factory=list)
    scoring: set[str] = field(default_factory=set)
    data: set[str] = field(default_factory=set)


Proofs = dict[tuple[str, str], Proof]  # by table and row


def proofs(
    preset: str, seeds: Sequence[int], what: str = "all", overrides: Overrides | None = None, out: Path | None = None
) -> Proofs:
    """Which rows' runs, finished by the code of now, predict what is published of them. Ask before publishing them."""
    folder = out or folder_of(preset, overrides)
    found: Proofs = {}
    entries, scores = read_provenance(folder), read_scores(folder)
    for run in select(what, preset, tuple(seeds), overrides):
        before = folder / "predictions" / f"{file_name(run.table, run.row, run.seed)}.parquet"
        if run.finished and before.is_file() and same(run, before):
            proof = found.setdefault((run.table, run.row), Proof())
            proof.seeds.append(run.seed)
            entry = entries[file_name(run.table, run.row, run.seed)]
            if same_scores(run, scores):
                proof.scoring.add(entry["scoring"])
            if run.config.data.source == "formsim":
                proof.data.add(entry["data_fingerprint"])
    return found


def same(run: Run, published: Path) -> bool:
    """Whether a finished run predicts exactly what is published of it, under the protocols of its row."""
    mine = pd.read_parquet(run.folder / "predictions.parquet")
    tables = [mine[mine["protocol"].isin(run.protocols)], pd.read_parquet(published)]
    first, second = (table.sort_values(["protocol", "clip_id"], ignore_index=True) for table in tables)
    if list(first.columns) != list(second.columns) or len(first) != len(second):
        return False
    return all(_equal(first[name], second[name]) for name in first.columns)


def same_scores(run: Run, published: pd.DataFrame) -> bool:
    """Whether a finished run has the scores that are published of it, to the digits that are published."""
    mine = tidy(run)
    theirs = published[among(published, {(run.table, run.row, run.seed)})]
    keys = ["protocol", "metric"]
    first, second = (table.set_index(keys)["value"].sort_index() for table in (mine, theirs))
    return first.index.equals(second.index) and [f"{v:.6g}" for v in first] == [f"{v:.6g}" for v in second]


def _equal(first: pd.Series, second: pd.Series) -> bool:
    a, b = first.to_numpy(), second.to_numpy()
    if first.dtype.kind == "f":
        return bool(np.array_equal(a, b, equal_nan=True))
    return all(np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y for x, y in zip(a, b, strict=True))


def carry(
    preset: str, proven: Proofs, overrides: Overrides | None = None, out: Path | None = None
) -> tuple[list[str], list[str]]:
    """Gives the other published seeds of proven rows the key of now; to be called after the proofs are published.

    Returns:
        Labels of the runs that were carried over, and of those that are stale for another reason (settings, data, first
        weights or the scoring differ, too) and have to be made again.
    """
    folder = out or folder_of(preset, overrides)
    entries = read_provenance(folder)
    done, left = [], []
    for (table, row), known in proven.items():
        proof, seeds = entries[file_name(table, row, known.seeds[0])], known.seeds
        for name, entry in entries.items():
            if (entry["table"], entry["row"]) != (table, row) or entry["seed"] in seeds:
                continue
            (run,) = select(f"{table}/{row}", preset, (int(entry["seed"]),), overrides)
            if entry["key"] == run.key:
                continue
            now = {"config_hash": config_hash(run.config), "weights": proof["weights"]}
            scored = entry.get("scoring") in {proof["scoring"], *known.scoring}
            shown = entry.get("data_fingerprint") in {proof["data_fingerprint"], *known.data}
            if not scored or not shown or any(entry.get(key) != value for key, value in now.items()):
                left.append(run.label)
                continue
            history = [*entry.get("carried", []), {"from": entry["key"], "source": entry["source"], "same": seeds}]
            same_as_proof = {k: proof[k] for k in ("source", "scoring", "data_fingerprint")}
            entries[name] = entry | same_as_proof | {"key": run.key, "carried": history}
            entries[name]["carried"][-1]["by"] = commit()
            done.append(run.label)
    text = json.dumps(dict(sorted(entries.items())), indent=1, allow_nan=False) + "\n"
    write_safely(folder / "provenance.json", lambda path: path.write_text(text))
    return done, left
