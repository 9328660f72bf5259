"""The published results in results/<data set>-<preset>/: `publish` writes them from finished runs."""

import json
import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pandas as pd
from safetensors.torch import load_file, save_file

from efa.config import build
from efa.experiments import TABLES, Overrides, select
from efa.runs import Run
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa_book import blocks
from efa_book.table_specs import KNOWN

RUN_COLUMNS = ["table", "row", "seed"]
RUN_TYPES = {"table": str, "row": str, "seed": int}
COLUMNS = (*RUN_COLUMNS, "protocol", "metric", "value")
TEXTS = 1000  # published of a run with seed 0; of other seeds none
SMALL: dict[str, Any] = {"index": False, "compression": "zstd", "compression_level": 19}
HINT = "efa publish writes it again"


def folder_of(preset: str, overrides: Overrides | None = None) -> Path:
    """The folder of a preset's published results: results/<data set>-<preset>."""
    return paths.results() / f"{Path(build(preset, overrides).data.source).name}-{preset}"


def published_seeds(table: str, preset: str, overrides: Overrides | None = None) -> tuple[int, ...]:
    """The seeds of a table that are published for a preset, in order."""
    entries = read_provenance(folder_of(preset, overrides)).values()
    return tuple(sorted({int(entry["seed"]) for entry in entries if entry["table"] == table}))


def publish(
    preset: str, seeds: Sequence[int], out: Path | None = None, overrides: Overrides | None = None, what: str = "all"
) -> tuple[Path, list[str]]:
    """Writes finished runs to results/<data set>-<preset>/ or `out`; returns the folder and labels of unfinished runs.

    scores.csv (tidy), blocks.parquet (scores without each block of clips), predictions/<table>-<row>-0.parquet (texts
    of some clips, of seed 0), history.csv and provenance.json (key, commit, device, versions, seconds of each run), and
    model/, the EFA of Table VI, seed 0, for `efa assess --checkpoint`, in half precision, without a shipped encoder.
    Other rows and seeds that are there stay. `what`: as for `efa run`.

    Raises:
        InputError: none of the runs is finished.
    """
    folder = out or folder_of(preset, overrides)
    wanted = select(what, preset, tuple(seeds), overrides)
    finished = [run for run in wanted if (run.folder / "scores.json").is_file()]
    if not finished:
        raise InputError("none of these runs is finished", hint=f"efa run {what} --preset {preset}")
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    provenance = read_provenance(folder)
    old_scores, old_histories = read_scores(folder), read_history(folder)
    scores, histories, left = map(split_by_run, (old_scores, old_histories, read_blocks(folder)))
    for run in finished:
        name, cell = run_name(run.table, run.row, run.seed), (run.table, run.row, run.seed)
        if run.seed == 0:
            write_safely(folder / "predictions" / f"{name}.parquet", partial(some_texts(run).to_parquet, **SMALL))
        if cell == ("6", "EFA", 0) and (run.folder / "model.safetensors").is_file():
            _publish_model(run, folder / "model")
        labels = dict(zip(RUN_COLUMNS, cell, strict=True))
        clips = pd.read_parquet(run.folder / "clips.parquet")
        without = blocks.rows_of(clips[clips["protocol"].isin(run.protocols)], KNOWN)
        left[cell] = pd.concat([pd.DataFrame(labels, index=without.index), without], axis=1)
        facts = json.loads((run.folder / "provenance.json").read_text())
        facts = {k: v for k, v in facts.items() if k != "labels"} | {"scores_version": scores_version(run.folder)}
        provenance[name] = labels | facts
        scores[cell] = scores_table(run, run.folder)
        history = pd.read_csv(run.folder / "history.csv")
        histories[cell] = pd.concat([pd.DataFrame(labels, index=history.index), history], axis=1)
    rows = [(table, row) for table in TABLES for row in TABLES[table].rows]
    known = scores | histories | left
    order = {cell: (rows.index(cell[:2]) if cell[:2] in rows else len(rows), cell[2]) for cell in known}
    for old, parts, file in ((old_scores, scores, "scores.csv"), (old_histories, histories, "history.csv")):
        table = pd.concat([parts[cell] for cell in sorted(parts, key=order.__getitem__)])
        table = table.reindex(columns=list(dict.fromkeys([*old, *table])))
        write_safely(folder / file, partial(table.to_csv, index=False, float_format="%.6g", lineterminator="\n"))
    table = pd.concat([left[cell] for cell in sorted(left, key=order.__getitem__)])
    write_safely(folder / "blocks.parquet", partial(table.to_parquet, **SMALL))
    text = json.dumps(dict(sorted(provenance.items())), indent=1, allow_nan=False) + "\n"
    write_safely(folder / "provenance.json", lambda path: path.write_text(text))
    return folder, [run.label for run in wanted if run not in finished]


def _publish_model(run: Run, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for file in ("config.json", "vocab.txt"):
        write_safely(folder / file, partial(shutil.copyfile, run.folder / file))
    state = load_file(run.folder / "model.safetensors")
    if run.config.encoder.frozen and run.config.encoder.weights == "formsim":  # `from_pretrained` finds what is shipped
        state = {name: value for name, value in state.items() if not name.startswith("encoder.")}
    kept = {name: value.half() for name, value in state.items()}
    write_safely(folder / "model.safetensors", partial(save_file, kept))


def some_texts(run: Run) -> pd.DataFrame:
    """Predictions of a finished run for the first clips under each of its protocols, `TEXTS` in all."""
    table = pd.read_parquet(run.folder / "predictions.parquet")
    each = table[table["protocol"].isin(run.protocols)].sort_values("clip_id").groupby("protocol")
    return each.head(TEXTS // len(run.protocols)).sort_index()


def run_name(table: str, row: str, seed: int) -> str:
    """'6', 'w/o text', 0 -> '6-w-o-text-0'."""
    return f"{table}-{re.sub(r'[^A-Za-z0-9]+', '-', row).strip('-')}-{seed}"


def scores_version(folder: Path) -> int:
    """Version of the metrics that wrote a run's scores; 0 if the file has none."""
    return int(json.loads((folder / "scores.json").read_text()).get("scores_version", 0))


def scores_table(run: Run, folder: Path) -> pd.DataFrame:
    """A run's scores from its folder, one a row: columns `COLUMNS`."""
    scores = json.loads((folder / "scores.json").read_text())
    rows = [
        (run.table, run.row, run.seed, protocol, metric, float(value)) for protocol in run.protocols
        for metric, value in scores.get(protocol, {}).items() if value is not None
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def split_by_run(frame: pd.DataFrame) -> dict[tuple[str, str, int], pd.DataFrame]:
    """(table, row, seed) -> its lines of scores.csv or history.csv."""
    return {cast(tuple[str, str, int], cell): part for cell, part in frame.groupby(RUN_COLUMNS, sort=False)}


def read_scores(folder: Path) -> pd.DataFrame:
    return read_table(folder / "scores.csv", COLUMNS, HINT, dtype=RUN_TYPES)


def read_history(folder: Path) -> pd.DataFrame:
    return read_table(folder / "history.csv", RUN_COLUMNS, HINT, dtype=RUN_TYPES)


def read_blocks(folder: Path) -> pd.DataFrame:
    path = folder / "blocks.parquet"
    return pd.read_parquet(path) if path.is_file() else pd.DataFrame(columns=RUN_COLUMNS)


def read_table(path: Path, columns: Sequence[str], hint: str = "", **how: Any) -> pd.DataFrame:
    """A CSV file, read by pandas with `how`; no rows if there is no file; InputError if a column is missing."""
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        table: pd.DataFrame = pd.read_csv(path, **how)
    except ValueError as error:
        raise InputError(f"cannot be read: {error}", file=path, hint=hint) from None
    if lacking := [name for name in columns if name not in table.columns]:
        hint = hint or f"columns: {', '.join(columns)}"
        raise InputError(f"missing column {', '.join(lacking)}", file=path, hint=hint)
    return table


def read_provenance(folder: Path) -> dict[str, dict[str, Any]]:
    """Name of a published run (`run_name`) -> its facts."""
    path = folder / "provenance.json"
    try:
        return dict(json.loads(path.read_text())) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"cannot be read: {error}", file=path, hint=HINT) from None
