"""Tables and JSON below results/: read with errors that name the file, written whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from efa.utils.errors import InputError
from efa.utils.files import write_safely


def read_table(file: Path, columns: Sequence[str], hint: str, **options: Any) -> pd.DataFrame:
    """A .csv (options as for `pandas.read_csv`) or .parquet; without rows where there is no file.

    Raises:
        InputError: the file cannot be read, or lacks one of the columns.
    """
    if not file.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, **options)
    except (OSError, ValueError) as error:  # the errors of pandas and pyarrow are ValueErrors
        raise InputError(f"cannot be read: {' '.join(str(error).split())[:200]}", file=file, hint=hint) from error
    if missing := [name for name in columns if name not in table.columns]:
        raise InputError(f"missing column {', '.join(missing)}", file=file, hint=hint)
    return table


def read_json(file: Path, hint: str) -> dict[str, Any]:
    """A JSON object; empty where there is no file. InputError where the file holds something else."""
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", file=file, hint=hint) from error
    if not isinstance(value, dict):
        raise InputError("not a JSON object", file=file, hint=hint)
    return value


def write_text(file: Path, text: str) -> None:
    write_safely(file, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    write_text(file, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_parquet(file: Path, table: pd.DataFrame) -> None:
    write_safely(file, lambda partial: table.to_parquet(partial, index=False, compression="zstd"))


def csv_text(table: pd.DataFrame, digits: str = "%.6g") -> str:
    """The same text for the same numbers: fixed digits, '\\n' line ends."""
    return str(table.to_csv(index=False, float_format=digits, lineterminator="\n"))
