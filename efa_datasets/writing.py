"""A data set as files, as `efa.data.manifest.load_dataset` reads them."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

from efa.data.checks import COLUMNS
from efa.data.manifest import DataSet
from efa.utils.errors import InputError
from efa.utils.files import write_safely


def save_dataset(dataset: DataSet, folder: str | Path, kind: Literal["parquet", "csv"] = "parquet") -> None:
    """Write manifest.parquet or manifest.csv, and steps.json. The videos, at `path` in `folder`, are the caller's."""
    folder = Path(folder)
    other = folder / f"manifest.{'csv' if kind == 'parquet' else 'parquet'}"
    if other.exists():
        raise InputError("the folder holds another manifest", file=other, hint="delete it or choose another folder")
    table = dataset.table[list(COLUMNS)]
    text = json.dumps({key: asdict(text) for key, text in dataset.steps.items()}, indent=1, ensure_ascii=False) + "\n"
    write = partial(table.to_csv, lineterminator="\n") if kind == "csv" else table.to_parquet
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_safely(folder / f"manifest.{kind}", lambda path: write(path, index=False))
        write_safely(folder / "steps.json", lambda path: path.write_text(text, encoding="utf-8"))
    except OSError as error:
        hint = "check the folder and the disk space"
        raise InputError(f"cannot be written: {error}", file=folder, hint=hint) from error
