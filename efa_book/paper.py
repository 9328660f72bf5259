"""results/paper.csv: the paper's own numbers, as far as they are known, each with its source."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from efa.metrics import METRICS
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book.published import COLUMNS, read_table
from efa_book.table_specs import Metric


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


def printed_number(known: pd.DataFrame, table: str, row: str, metric: Metric) -> str:
    """The number as printed; 'n/a' if it was not available, a dash if the paper does not report the metric."""
    if not metric.printed:
        return "–"
    found = _select(known, table, row, metric)["value"]
    return f"{found.iloc[0]:.1f}" if len(found) else "n/a"


def explain_numbers(known: pd.DataFrame, table: str, rows: list[str], metrics: tuple[Metric, ...]) -> list[str]:
    """Notes on what n/a and the dash mean, as far as they appear, and on the sources of the numbers."""
    out = []
    parts = [(row, metric, _select(known, table, row, metric)) for row in rows for metric in metrics if metric.printed]
    if missing := [(row, metric) for row, metric, found in parts if found.empty]:
        row, metric = missing[0]
        out.append(
            "n/a: this number of the paper was not available to us. If you have the PDF, add a line for it to "
            f"results/paper.csv, for example {table},{row},,unstated,{metric.key},VALUE,SOURCE: the next build shows "
            "it here."
        )
    if not all(metric.printed for metric in metrics):
        out.append("No bar: the paper does not report this metric.")
    if sources := [found["source"].iloc[0] for _, _, found in parts if len(found)]:
        out.append(f"The paper's numbers, from: {listed(sources)}")
    return out


def listed(sources: Sequence[str]) -> str:
    """Each source once; numbered if there are several."""
    once = [source.rstrip(".") + "." for source in dict.fromkeys(sources)]
    return once[0] if len(once) == 1 else " ".join(f"({i}) {source}" for i, source in enumerate(once, 1))


def _select(known: pd.DataFrame, table: str, row: str, metric: Metric) -> pd.DataFrame:
    return known[(known["table"] == table) & (known["row"] == row) & (known["metric"] == metric.key)]
