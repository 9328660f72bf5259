"""Predictions in a file of the user's, checked before they are scored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet

from efa.metrics import CAPTION_METRICS
from efa.utils.errors import InputError

TEXT_COLUMNS = ("clip_id", "action", "predicted_action", "reference", "explanation", "protocol", "fault", "split")
COLUMNS = (*TEXT_COLUMNS, "top5", "quality", "quality_prob", "fault_step")
ASSUMED: dict[str, Any] = dict.fromkeys(COLUMNS[1:], "") | {
    "protocol": "predicted",
    "quality": -1,
}  # of a column that is missing
NEEDS = {  # what a metric is computed from, beside the columns that it scores
    "cider_d": "explanations, and two different references",
    "cider_named": "explanations that name the true action, and two different references",
    "top1": "predicted_action, and a class that is not given",
    "top5": "top5, and a class that is not given",
    "quality_acc": "quality_prob and quality",
    "quality_majority": "quality_prob and quality",
    "quality_balanced_acc": "quality_prob, and clips of both qualities",
    "quality_auc": "quality_prob, and clips of both qualities",
    "verdict_agreement": "explanations and quality_prob",
    "written_verdict_acc": "explanations and quality",
    "hallucinated_faults": "explanations, clips of known faults, and standard ones",
    "step_acc": "explanations, and non-standard clips with a fault_step",
    "names_action": "explanations and action",
} | dict.fromkeys(("degenerate", "texts"), "explanations")  # fmt: skip
FAULTS = "explanations, and clips of known faults"
CAPTIONS = "explanations and references, in a script with blanks between words"


def read_predictions(path: str | Path) -> pd.DataFrame:
    """A predictions table from .parquet or .csv (top5 as a JSON list), one row a clip and protocol, checked.

    Texts come as str, `quality` as int (0, 1, -1 unknown), `quality_prob` and `fault_step` as float (NaN: the system
    gives no verdict, the clip has no known step), `top5` as list of at most five str. Needed are `clip_id` and what is
    to be scored: `explanation`, `predicted_action` or `quality_prob`. A column that is missing is as if empty, like
    what a system without a class head or a quality head leaves empty in every row. Further columns are kept.

    Raises InputError: unreadable file, missing column, wrong type or value, duplicate or missing clip_id, gaps.
    """
    path = Path(path)
    table = _read_table(path)
    if "clip_id" not in table.columns or not {"explanation", "predicted_action", "quality_prob"} & {*table.columns}:
        hint = "needed: clip_id, and explanation, predicted_action or quality_prob"
        raise InputError(f"no such column among {', '.join(map(str, table.columns))}", file=path, hint=hint)
    missing = {name: value for name, value in ASSUMED.items() if name not in table.columns}
    table = table.assign(**missing)
    if table.columns.duplicated().any():
        raise InputError(f"column {table.columns[table.columns.duplicated()][0]} twice", file=path)
    if table.empty:
        raise InputError("no rows", file=path)

    def require(good: "pd.Series[bool]", message: str, hint: str | None = None) -> None:
        """An error at the first row that is not good."""
        if not good.all():
            at = int(np.argmin(good.to_numpy()))
            raise InputError(message, file=path, row=f"{at + 1} (clip {table['clip_id'].iloc[at]})", hint=hint)

    table = table.copy()
    for name in TEXT_COLUMNS:
        require(table[name].map(lambda cell: isinstance(cell, str)), f"{name} is not text", "leave it empty, not null")
    for name in ("quality", "quality_prob", "fault_step"):
        given = table[name].notna() & (table[name].astype(str).str.strip() != "")
        numbers = pd.to_numeric(table[name], errors="coerce").astype(float)
        require(~given | numbers.abs().lt(np.inf), f"{name} is not a number")
        table[name] = numbers
    table["top5"] = table["top5"].map(_parse_names)
    for name in {"clip_id", "action", "protocol"} - missing.keys():
        require(table[name] != "", f"{name} is empty")
    require(~table.duplicated(["clip_id", "protocol"]), "duplicate clip_id", "keep one row a clip and protocol")
    require(table["quality"].isin([0, 1, -1]), "quality is not 0, 1 or -1", "0 standard, 1 non-standard, -1 unknown")
    require(table["top5"].map(lambda names: names is not None), "top5 is not a list of at most five names, best first")
    require(table["quality_prob"].isna() | table["quality_prob"].between(0, 1), "quality_prob is not in 0 to 1")
    require(table["fault_step"].isna() | table["fault_step"].isin(range(1, 6)), "fault_step is not 1 to 5")
    require(table["fault"].str.fullmatch("|.+/.+"), "fault is not of the form action/fault")
    hint = "fill every row, or none where the system does not predict it"
    for name in ("predicted_action", "top5", "quality_prob"):
        given = table[name].notna() if name == "quality_prob" else table[name].map(len) > 0
        require(given | (not given.any()), f"{name} is empty", hint)
    table["quality"] = table["quality"].astype(int)
    return table


def unavailable(scores: dict[str, dict[str, float | None]]) -> dict[str, str]:
    """Metric that none of the protocols has -> what it needs."""
    names = [name for name in next(iter(scores.values())) if all(found[name] is None for found in scores.values())]
    return {name: NEEDS.get(name, CAPTIONS if name in CAPTION_METRICS else FAULTS) for name in names}


def _read_table(path: Path) -> pd.DataFrame:
    if path.suffix not in (".parquet", ".csv"):
        raise InputError("predictions are .parquet or .csv", file=path, hint="efa run writes predictions.parquet")
    if not path.is_file():
        raise InputError("no such file", file=path)
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        return pyarrow.parquet.read_table(path).to_pandas(ignore_metadata=True)
    except Exception as error:  # both readers raise a dozen kinds of their own on a broken file
        raise InputError(f"cannot be read: {error}", file=path, hint="write the predictions again") from error


def _parse_names(cell: Any) -> list[str] | None:
    """A cell of top5 as a list of names; None where it is none."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell) if cell.strip() else []
        except (ValueError, RecursionError):
            return None
    if not isinstance(cell, list | tuple | np.ndarray) or len(cell) > 5:
        return None
    return list(cell) if all(isinstance(name, str) and name for name in cell) else None
