"""results/paper.csv: the numbers of the paper's Tables IV to VII, each with its source."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from efa.metrics import METRICS
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book.published import COLUMNS, read_table
from efa_book.table_specs import Metric

READINGS = {  # metric -> how its column is read
    "bleu1": "BLEU: the paper does not say of which order; its size fits BLEU-1, as ours is. CIDEr: ours is CIDEr-D.",
    "top1": "TOP1, TOP5 and Acc: printed as shares, such as 0.772; here in percent.",
}


def numbers(path: Path | None = None) -> pd.DataFrame:
    """Columns `COLUMNS` and source; no rows if there is no file.

    Raises:
        InputError: missing column, unknown metric, no number, a number or source missing, one cell given twice.
    """
    path = path or paths.results() / "paper.csv"
    table = read_table(path, (*COLUMNS, "source"), dtype=str, keep_default_na=False)
    value = pd.to_numeric(table["value"], errors="coerce")
    problems = {
        "value is no number": value.isna() | value.abs().eq(math.inf),
        "unknown metric": ~table["metric"].isin(METRICS),
        "source is empty": table["source"].str.strip() == "",
        "this number is already given above": table.duplicated(list(COLUMNS[:5])),
    }
    for message, bad in problems.items():
        if bad.any():
            raise InputError(message, file=path, row=int(bad.to_numpy().argmax()) + 2)
    return table.assign(value=value)


def printed_number(known: pd.DataFrame, table: str, row: str, metric: Metric) -> float:
    """The paper's number in percent or points; NaN if the paper does not report it."""
    found = _select(known, table, row, metric)["value"]
    return float(found.iloc[0]) if len(found) else math.nan


def explain_numbers(known: pd.DataFrame, table: str, rows: Sequence[str], metrics: Sequence[Metric]) -> list[str]:
    """Notes on how the paper's metrics are read, on a dash left of the bar if there is one, and on the sources."""
    out = [text for key, text in READINGS.items() if any(metric.key == key for metric in metrics)]
    found = [_select(known, table, row, metric)["source"] for row in rows for metric in metrics if metric.printed]
    if any(part.empty for part in found):
        out.append("A dash left of the bar: the paper does not report this number.")
    if sources := [part.iloc[0] for part in found if len(part)]:
        out.append(f"The paper's numbers, from: {listed(sources)}")
    return out


def listed(sources: Sequence[str]) -> str:
    """Each source once, whatever form its numbers are printed in; numbered if there are several."""
    once = list(dict.fromkeys(source.partition(", printed ")[0].rstrip(".") + "." for source in sources))
    return once[0] if len(once) == 1 else " ".join(f"({i}) {source}" for i, source in enumerate(once, 1))


def _select(known: pd.DataFrame, table: str, row: str, metric: Metric) -> pd.DataFrame:
    return known[(known["table"] == table) & (known["row"] == row) & (known["metric"] == metric.key)]
