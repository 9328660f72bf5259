"""Speed and memory for the notebook: operations counted live, wall clock and memory from `python -m benchmarks`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from efa.utils import paths
from efa.utils.errors import InputError
from efa_book import html
from efa_book.audit import budget
from efa_book.audit.measured import Measured, Quantity
from efa_book.figures import BLUE, FAINT, ORANGE, styled
from efa_book.html import Cell, Html

TABLE, FACTS = "cpu.csv", "provenance.json"
COLUMNS = ("part", "what", "size", "ours", "other", "ratio", "unit", "repeats", "low", "high", "how")
NUMBERS = ("ours", "other", "ratio", "low", "high")
TEXTS = ("part", "what", "size", "unit", "how")
OPTIONAL = ("other", "ratio")
MEASURED_HERE = "make bench"
COMMAND = "papermill notebooks/benchmarks.ipynb out.ipynb"
CALM = 0.9  # of a core; below, something else ran beside the benchmark
FACTORS = {"transformers": 1.0, "itself": 20.0, "release": 20.0}  # targets of the ratio at the longest text


@dataclass(frozen=True)
class Benchmarks:
    """What `python -m benchmarks` has left.

    Attributes:
        table: columns `COLUMNS`, one row a measurement.
        facts: part -> machine, threads, versions, commit, date, load.
    """

    table: pd.DataFrame
    facts: dict[str, dict[str, Any]]

    @property
    def quick(self) -> bool:
        """Made with the tiny model, whose times say nothing."""
        return any(one["quick"] for one in self.facts.values())


def read(results: str | Path = "") -> Benchmarks:
    """The two files of a folder; '' is results/benchmarks.

    Raises:
        InputError: a file is missing or is not what the benchmark writes, with file and row.
    """
    folder = Path(results) if results else paths.results() / "benchmarks"
    path = folder / TABLE
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str))
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("no such file", file=error.filename, hint=f"run '{MEASURED_HERE}'") from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot be read: {reason}", file=folder, hint=f"run '{MEASURED_HERE}'") from None
    if tuple(table.columns) != COLUMNS:
        raise InputError(f"the columns must be {', '.join(COLUMNS)}", file=path, hint=f"run '{MEASURED_HERE}'")
    for name in (*NUMBERS, "repeats"):
        number = pd.to_numeric(table[name], errors="coerce")
        bad = number.isna() & ~(table[name].isna() & (name in OPTIONAL)) | (number <= 0)
        if bad.any():
            raise InputError(f"{name} must be a positive number", file=path, row=int(bad.to_numpy().argmax()) + 2)
        table[name] = number
    keys = {"device", "threads", "quick", "share_of_a_core", "versions", "commit", "finished"}
    for part in table["part"].unique():
        if not isinstance(facts, dict) or not keys <= set(facts.get(part, {})):
            raise InputError("no provenance of this part", file=folder / FACTS, row=part)
    return Benchmarks(table, facts)


def counted(measure: str) -> Html:
    """A table of counted operations: 'explained', 'stepped', 'estimated' or 'runs_estimated' of `audit.budget`."""
    captions = {
        "explained": "From pixels to text, operations",
        "stepped": "A training step, operations",
        "estimated": "An estimate for GPUs",
        "runs_estimated": "An estimate of whole trainings",
    }
    badge = "Arithmetic on the vendor's figures, nothing run" if "estimated" in measure else "Counted, nothing run"
    try:
        found: Measured = getattr(budget, measure)()
    except InputError as error:
        return html.note(f"Not counted: {error}.")
    rows: list[list[str | Cell]] = [
        [Cell(str(cell), number=isinstance(cell, Quantity)) for cell in row] for row in found.rows
    ]
    facts = [f"code: efa_book/audit/budget.py, {measure}"]
    return html.table(captions[measure], list(found.head), rows, [found.how]) + html.stamp(badge, facts, COMMAND)


def decoding(results: str | Path = "") -> Html:
    """Ours against the others, wall clock, with the targets."""
    notes = [
        "Times: medians. Ratio: the other's time over ours, median over rounds in which the sides take turns; "
        "brackets: smallest and largest. Above 1 ours is faster."
    ]
    return _table(results, "decoding", "Decoding, wall clock", ("ours", "the other", "ratio", "target", "how"), notes)


def growth(results: str | Path = "") -> Html:
    """Our own times by size."""
    notes = ["Ratio: to the first size of the same round; brackets: smallest and largest."]
    return _table(results, "growth", "How our times grow", ("time", "ratio"), notes)


def memory(results: str | Path = "") -> Html:
    """Peak memory of whole processes."""
    notes = [
        "Largest resident memory of a process that does this one thing, Python and PyTorch included. Without a cache: "
        "its last and largest pass. Of the release: the joint transformer alone, without Video Swin and its BERTs."
    ]
    return _table(results, "memory", "Peak memory", ("ours", "the other", "ratio"), notes)


def rendering(results: str | Path = "") -> Html:
    """Frames a second of FormSim."""
    notes = ["One core; clips of six frames, motion and scene included. Brackets: slowest and fastest round."]
    return _table(results, "rendering", "FormSim's renderer", ("frames/s", "range"), notes)


def feeding(results: str | Path = "") -> Html:
    """Clips a second of the loader."""
    notes = [
        "Six frames a clip, batches of 24, frames in memory, no process or thread of its own. Brackets: slowest and "
        "fastest round."
    ]
    return _table(results, "feeding", "What the loader hands over", ("clips/s", "range"), notes)


def _table(results: str | Path, part: str, caption: str, columns: Sequence[str], notes: list[str]) -> Html:
    try:
        found = read(results)
    except InputError as error:
        return html.note(f"Not measured: {error}.")
    rows: list[list[str | Cell]] = []
    for row in found.table[found.table["part"] == part].to_dict("records"):
        cells: dict[str, Cell] = {
            "ours": _number(row["ours"], row["unit"]),
            "time": _number(row["ours"], row["unit"]),
            "frames/s": _number(row["ours"], ""),
            "clips/s": _number(row["ours"], ""),
            "the other": _number(row["other"], row["unit"]),
            "ratio": _ratio(row),
            "range": Cell(f"[{row['low']:.1f}, {row['high']:.1f}]", number=True),
            "target": Cell(_target(row, found)),
            "how": Cell(row["how"], f"{row['repeats']:.0f} round{'s' if row['repeats'] != 1 else ''}"),
        }
        rows.append([Cell(row["what"], row["size"]), *(cells[name] for name in columns)])
    if not rows:
        return html.note(f"Not measured: {part} (python -m benchmarks --only {part}).")
    return html.table(caption, ["", *columns], rows, notes) + stamp(found, part)


def _number(value: float, unit: str) -> Cell:
    """A figure with three digits that count."""
    if math.isnan(value):
        return Cell("–", number=True)
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return Cell(f"{text} {unit}".strip(), number=True)


def _ratio(row: dict[Any, Any]) -> Cell:
    if math.isnan(row["ratio"]):
        return Cell("–", number=True)
    if row["low"] == row["high"] == 1:
        return Cell("1", number=True)  # a row of growth against itself
    alone = row["repeats"] == 1
    return Cell(f"{row['ratio']:.2f}", "one run" if alone else f"[{row['low']:.2f}, {row['high']:.2f}]", number=True)


def _target(row: dict[Any, Any], found: Benchmarks) -> str:
    """What the ratio should be at the longest text, and whether it is; '' elsewhere and for the tiny model."""
    if row["part"] != "decoding":
        return ""
    part = found.table[found.table["part"] == "decoding"]
    if found.quick or row["size"] != part.loc[part["what"] == row["what"], "size"].iloc[-1]:
        return ""
    factor = next((factor for name, factor in FACTORS.items() if name in row["what"]), None)
    if factor is None:
        return ""
    outcome = "met" if row["ratio"] >= factor else "missed"
    return f"at least {factor:g}: {outcome if _calm(found, 'decoding') else 'not judged, busy machine'}"


def _calm(found: Benchmarks, part: str) -> bool:
    """Whether the part had its core to itself, or measured what does not depend on that."""
    share = found.facts[part]["share_of_a_core"]
    return share is None or share >= CALM


@styled
def _lengths(found: Benchmarks) -> Figure | None:
    part = found.table[found.table["part"] == "decoding"]
    part = part.assign(tokens=part["size"].str.extract(r"^(\d+)", expand=False).astype(float))
    if part.empty:
        return None
    figure = Figure(figsize=(6.4, 3.4))
    ax = figure.add_subplot()
    ours = part.groupby("tokens")["ours"].median()
    ax.plot(ours.index, ours, "o-", color=BLUE, label="ours")
    for colour, mark, (what, each) in zip(
        (FAINT, ORANGE, ORANGE), "sD^", part.groupby("what", sort=False), strict=False
    ):
        ax.plot(each["tokens"], each["other"], mark + "--", color=colour, label=str(what).removeprefix("against "))
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(list(ours.index), [f"{tokens:.0f}" for tokens in ours.index])
    ax.set_xlabel("tokens")
    ax.set_ylabel("seconds")
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    return figure


def lengths(results: str | Path = "") -> Figure | None:
    """Seconds of a caption over its length, one line a way of decoding; None where nothing was measured."""
    try:
        return _lengths(read(results))
    except InputError:
        return None


def stamp(found: Benchmarks, part: str) -> Html:
    """The machine, the load it had, versions, commit and date of one part, and the command that makes it again."""
    one = found.facts[part]
    share = one["share_of_a_core"]
    busy = (
        ""
        if _calm(found, part)
        else f"PROVISIONAL: the machine was busy, the benchmark had {100 * share:.0f} % of its core"
    )
    badge = "Quick run of a tiny model: its times say nothing" if found.quick else "Measured, wall clock"
    if part == "memory" and not found.quick:
        badge = "Measured, memory"
    threads = f"{one['threads']} thread{'s' if one['threads'] != 1 else ''}"
    names = ", ".join(
        f"{name} {one['versions'][name]}" for name in ("torch", "transformers") if name in one["versions"]
    )
    facts = [
        busy,
        one["device"],
        threads,
        names,
        f"commit {one['commit'] or 'unknown'}",
        str(one["finished"])[:10],
    ]
    return html.stamp(badge, facts, f"python -m benchmarks --only {part}")


def figure_stamp(results: str | Path = "") -> Html:
    """The stamp of `lengths`; nothing where there is no figure."""
    try:
        return stamp(read(results), "decoding")
    except (InputError, KeyError):
        return Html("")
