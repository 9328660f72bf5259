"""Speed and memory for the notebook: operations counted live, wall clock and memory from `python -m benchmarks`."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from efa.utils import paths
from efa.utils.errors import InputError
from efa_book import html
from efa_book.audit import budget
from efa_book.audit_tables import measurement_table
from efa_book.figures import BLUE, FAINT, ORANGE, styled
from efa_book.files import read_json, read_table
from efa_book.html import Cell, Html

TABLE, FACTS = "cpu.csv", "provenance.json"
COLUMNS = ("part", "what", "size", "ours", "other", "ratio", "unit", "repeats", "low", "high", "how")
NUMBERS = ("ours", "other", "ratio", "low", "high", "repeats")
OPTIONAL = ("other", "ratio")
HINT = "run 'make bench'"
COMMAND = "papermill notebooks/benchmarks.ipynb out.ipynb"
IDLE = 0.9  # of a core; below, something else ran beside the benchmark
FACTORS = {"transformers": 1.0, "itself": 20.0, "release": 20.0}  # targets of the ratio at the longest text
CAPTIONS = {  # function of `audit.budget` -> what its table is called
    "explanation_table": "From pixels to text, operations",
    "training_step_table": "A training step, operations",
    "gpu_table": "An estimate for GPUs",
    "training_runs_table": "An estimate of whole trainings",
}
PARTS = {  # part of the benchmark -> caption, columns, note
    "decoding": (
        "Decoding, wall clock",
        ("ours", "the other", "ratio", "target", "how"),
        "Times: medians. Ratio: the other's time over ours, median over rounds in which the sides take turns; "
        "brackets: smallest and largest. Above 1 ours is faster.",
    ),
    "growth": (
        "How our times grow",
        ("time", "ratio"),
        "Ratio: to the first size of the same round; brackets: smallest and largest.",
    ),
    "memory": (
        "Peak memory",
        ("ours", "the other", "ratio"),
        "Largest resident memory of a process that does this one thing, Python and PyTorch included. Without a cache: "
        "its last and largest pass. Of the release: the joint transformer alone, without Video Swin and its BERTs.",
    ),
    "rendering": (
        "FormSim's renderer",
        ("frames/s", "range"),
        "One core; clips of six frames, motion and scene included. Brackets: slowest and fastest round.",
    ),
    "feeding": (
        "What the loader hands over",
        ("clips/s", "range"),
        "Six frames a clip, batches of 24, frames in memory, no process or thread of its own. Brackets: slowest and "
        "fastest round.",
    ),
}


@dataclass(frozen=True)
class Benchmarks:
    """What `python -m benchmarks` has written.

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

    def idle(self, part: str) -> bool:
        """Whether the part had its core to itself, or measured what does not depend on that."""
        share = self.facts[part]["share_of_a_core"]
        return share is None or share >= IDLE

    def rows(self, part: str) -> pd.DataFrame:
        return self.table[self.table["part"] == part]


def read_benchmarks(results: str | Path = "") -> Benchmarks:
    """The two files of a folder; '' is results/benchmarks.

    Raises:
        InputError: a file is missing or is not what the benchmark writes, with file and row.
    """
    folder = Path(results) if results else paths.results() / "benchmarks"
    path, facts_file = folder / TABLE, folder / FACTS
    for file in (path, facts_file):
        if not file.is_file():
            raise InputError("no such file", file=file, hint=HINT)
    texts = [name for name in COLUMNS if name not in NUMBERS]
    table = read_table(path, (), HINT, dtype=dict.fromkeys(texts, str))
    facts = read_json(facts_file, HINT)
    if tuple(table.columns) != COLUMNS:
        raise InputError(f"the columns must be {', '.join(COLUMNS)}", file=path, hint=HINT)
    for name in NUMBERS:
        number = pd.to_numeric(table[name], errors="coerce")
        bad = number.isna() & ~(table[name].isna() & (name in OPTIONAL)) | (number <= 0)
        if bad.any():
            raise InputError(f"{name} must be a positive number", file=path, row=int(bad.to_numpy().argmax()) + 2)
        table[name] = number
    keys = {"device", "threads", "quick", "share_of_a_core", "versions", "commit", "finished"}
    for part in table["part"].unique():
        if not keys <= set(facts.get(part, {})):
            raise InputError("no provenance of this part", file=facts_file, row=part)
    return Benchmarks(table, facts)


def operations(measure: str) -> Html:
    """A table of counted operations, one of `CAPTIONS`."""
    caption = CAPTIONS[measure]
    badge = "Arithmetic on the vendor's figures, nothing run" if "estimate" in caption else "Counted, nothing run"
    try:
        found = getattr(budget, measure)()
    except InputError as error:
        return html.note(f"Not counted: {error}.")
    return measurement_table(caption, found) + html.stamp(
        badge, [f"code: efa_book/audit/budget.py, {measure}"], COMMAND
    )


def measured(part: str, results: str | Path = "") -> Html:
    """Wall clock or memory of one of `PARTS`, with targets where there are any."""
    try:
        found = read_benchmarks(results)
    except InputError as error:
        return html.note(f"Not measured: {error}.")
    caption, columns, note = PARTS[part]
    rows: list[list[str | Cell]] = []
    for row in found.rows(part).to_dict("records"):
        ours, rate = _number(row["ours"], row["unit"]), _number(row["ours"], "")
        cells: dict[str, Cell] = {
            **{"ours": ours, "time": ours, "frames/s": rate, "clips/s": rate},
            "the other": _number(row["other"], row["unit"]),
            "ratio": _ratio(row),
            "range": Cell(f"[{row['low']:.1f}, {row['high']:.1f}]", number=True),
            "target": Cell(_target(row, found)),
            "how": Cell(row["how"], f"{row['repeats']:.0f} round{'s' if row['repeats'] != 1 else ''}"),
        }
        rows.append([Cell(row["what"], row["size"]), *(cells[name] for name in columns)])
    if not rows:
        return html.note(f"Not measured: {part} (python -m benchmarks --only {part}).")
    return html.table(caption, ["", *columns], rows, [note]) + _stamp(found, part)


def _number(value: float, unit: str) -> Cell:
    """A figure with three significant digits."""
    if math.isnan(value):
        return Cell("–", number=True)
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return Cell(f"{text} {unit}".strip(), number=True)


def _ratio(row: dict[Any, Any]) -> Cell:
    if math.isnan(row["ratio"]):
        return Cell("–", number=True)
    if row["low"] == row["high"] == 1:
        return Cell("1", number=True)  # a row of growth against itself
    bounds = "one run" if row["repeats"] == 1 else f"[{row['low']:.2f}, {row['high']:.2f}]"
    return Cell(f"{row['ratio']:.2f}", bounds, number=True)


def _target(row: dict[Any, Any], found: Benchmarks) -> str:
    """What the ratio should be at the longest text, and whether it is; '' elsewhere and for the tiny model."""
    factor = next((factor for name, factor in FACTORS.items() if name in row["what"]), None)
    if row["part"] != "decoding" or found.quick or factor is None:
        return ""
    part = found.rows("decoding")
    if row["size"] != part.loc[part["what"] == row["what"], "size"].iloc[-1]:
        return ""
    outcome = "met" if row["ratio"] >= factor else "missed"
    return f"at least {factor:g}: {outcome if found.idle('decoding') else 'not judged, busy machine'}"


def length_figure(results: str | Path = "") -> Figure | None:
    """Seconds of a caption over its length, one line a way of decoding; None where nothing was measured."""
    try:
        part = read_benchmarks(results).rows("decoding")
    except InputError:
        return None
    return None if part.empty else _length_figure(part)


@styled
def _length_figure(part: pd.DataFrame) -> Figure:
    part = part.assign(tokens=part["size"].str.extract(r"^(\d+)", expand=False).astype(float))
    figure = Figure(figsize=(6.4, 3.4))
    ax = figure.add_subplot()
    ours = part.groupby("tokens")["ours"].median()
    ax.plot(ours.index, ours, "o-", color=BLUE, label="ours")
    styles = zip((FAINT, ORANGE, ORANGE), "sD^", part.groupby("what", sort=False), strict=False)
    for colour, mark, (what, each) in styles:
        ax.plot(each["tokens"], each["other"], mark + "--", color=colour, label=str(what).removeprefix("against "))
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(list(ours.index), [f"{tokens:.0f}" for tokens in ours.index])
    ax.set_xlabel("tokens")
    ax.set_ylabel("seconds")
    figure.legend(loc="outside upper left", ncols=2, frameon=False)
    return figure


def _stamp(found: Benchmarks, part: str) -> Html:
    """The machine, the load it had, versions, commit and date of one part, and the command that makes it again."""
    one = found.facts[part]
    busy = f"the machine was busy, the benchmark had {100 * (one['share_of_a_core'] or 0):.0f} % of its core"
    badge = f"Measured, {'memory' if part == 'memory' else 'wall clock'}"
    facts = [
        "" if found.idle(part) else f"PROVISIONAL: {busy}",
        one["device"],
        f"{one['threads']} thread{'s' if one['threads'] != 1 else ''}",
        ", ".join(f"{name} {one['versions'][name]}" for name in ("torch", "transformers") if name in one["versions"]),
        f"commit {one['commit'] or 'unknown'}",
        str(one["finished"])[:10],
    ]
    badge = "Quick run of a tiny model: its times say nothing" if found.quick else badge
    return html.stamp(badge, facts, f"python -m benchmarks --only {part}")


def figure_stamp(results: str | Path = "") -> Html:
    """The stamp of `length_figure`; nothing where there is no figure."""
    try:
        return _stamp(read_benchmarks(results), "decoding")
    except (InputError, KeyError):
        return Html("")
