"""Predictions in a file of the user's, checked before they are scored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet

from efa.utils.errors import InputError

TEXT_COLUMNS = ("clip_id", "action", "predicted_action", "reference", "explanation", "protocol", "fault", "split")
COLUMNS = (*TEXT_COLUMNS, "top5", "quality", "quality_prob", "fault_step")


def read_predictions(path: str | Path) -> pd.DataFrame:
    """A predictions table from .parquet or .csv (top5 as a JSON list), one row a clip and protocol, checked.

    Texts come as str, `quality` as int (0, 1, -1 unknown), `quality_prob` and `fault_step` as float (NaN: the system
    gives no verdict, the clip has no known step), `top5` as list of at most five str. A system without a class head
    leaves `predicted_action` and `top5` empty in every row, one without a quality head `quality_prob`. Further
    columns are kept.

    Raises InputError: unreadable file, missing column, wrong type or value, duplicate or missing clip_id, gaps.
    """
    path = Path(path)
    table = _read_table(path)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise InputError(f"missing column {', '.join(missing)}", file=path, hint=f"columns: {', '.join(COLUMNS)}")
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
    for name in ("clip_id", "action", "protocol"):
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
