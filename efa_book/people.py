"""Real people's motion, every subject left out in turn: estimates over people, and how they appear.

A person is the unit. Whatever is drawn again for an interval are people, with all that they did, and what two rows say
of the same person is compared within that person.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from efa import metrics
from efa.config import PRESETS
from efa.experiments import LOSO_ROWS
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book import html
from efa_book.figures import BLUE, FAINT, ORANGE, _styled
from efa_book.html import Cell, Html
from efa_datasets.loso import MARKERS, ZERO_SHOT, Judged

Metric = Literal["acc", "auc", "top1"]
METRICS: dict[Metric, str] = {
    "acc": "verdict right, %",
    "auc": "AUC within a person",
    "top1": "movement found, %",
}
CHANCE = 50.0  # of a verdict and of a ranking
TOLERANCE = 3.0  # points; the smallest difference that would matter, declared before the runs
DRAWS = 2000
UI_PRMD = "ui-prmd"
BADGE = "Real people's motion (UI-PRMD), drawn by FormSim's renderer"
FILES = ("predictions.parquet", "scores.csv", "comparisons.csv", "provenance.json")
# claim, row, other row or None for chance, metric
QUESTIONS: tuple[tuple[str, str, str | None, Metric], ...] = (
    ("EFA tells correct from incorrect people", "EFA", None, "acc"),
    ("So does Video Swin", "Video Swin", None, "acc"),
    ("EFA that never saw people does, too", "EFA, never saw people", None, "acc"),
    ("The same, asked to rank one person's repetitions", "EFA, never saw people", None, "auc"),
    ("EFA judges better than Video Swin", "EFA", "Video Swin", "acc"),
    ("Text helps EFA's verdict", "EFA", "EFA, w/o text", "acc"),
    ("The right text helps more than another movement's", "EFA", "EFA, shuffled text", "acc"),
    ("Pre-training on FormSim helps EFA's verdict", "EFA", "EFA, random trunk", "acc"),
    ("Pre-training on FormSim helps Video Swin's verdict", "Video Swin", "Video Swin, random trunk", "acc"),
    ("Pre-training on FormSim helps to find the movement", "EFA", "EFA, random trunk", "top1"),
    ("A trunk that learns with EFA judges better", "EFA, fine-tuned", "EFA", "acc"),
    (
        "A trunk that starts from FormSim judges better than one from nothing",
        "EFA, fine-tuned",
        "EFA, from scratch",
        "acc",
    ),
    ("EFA comes up to the markers", "EFA", MARKERS, "acc"),
)


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval over people, in points; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan


def cells(predictions: pd.DataFrame, metric: Metric) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """One row's figure for each movement and person, mean over seeds.

    Args:
        predictions: of one row of the table; columns as `loso.COLUMNS`. A repetition seen from several
            views is judged once, by the mean of its probabilities.

    Returns:
        sum [M, S] and weight [M, S]: the figure is sum / weight (shares of 1), weight 0 where there is none; names of
        the movements and of the people.
    """
    movements, people = sorted(set(predictions["action"])), sorted(set(predictions["subject"]))
    total, weight = np.zeros((len(movements), len(people))), np.zeros((len(movements), len(people)))
    if metric == "top1":
        known = predictions[predictions["predicted_action"] != ""]
        judged = known.assign(right=known["predicted_action"] == known["action"])
    else:
        suffix = [f"-{view}" if view else "" for view in predictions["view"]]
        clips = [clip.removesuffix(end) for clip, end in zip(predictions["clip_id"], suffix, strict=True)]
        by = ["seed", "action", "subject", "clip_id"]
        grouped = predictions.assign(clip_id=clips).groupby(by, sort=True, observed=True)
        judged = grouped[["quality", "quality_prob"]].mean().reset_index()
        judged["right"] = (judged["quality_prob"] >= 0.5) == (judged["quality"] > 0.5)
    seeds = max(1, judged["seed"].nunique())
    for (movement, person), part in judged.groupby(["action", "subject"], sort=False, observed=True):
        at = movements.index(str(movement)), people.index(str(person))
        if metric == "auc":
            each = [metrics.auc(one["quality"], one["quality_prob"]) for _, one in part.groupby("seed")]
            each = [value for value in each if not math.isnan(value)]
            total[at], weight[at] = (float(np.mean(each)), 1.0) if each else (0.0, 0.0)
        else:
            total[at], weight[at] = part["right"].sum() / seeds, len(part) / seeds
    return total, weight, movements, people


def estimate(predictions: pd.DataFrame, row: str, metric: Metric, other: str | None = None) -> Interval:
    """A row's figure, or by how much it exceeds another row's: mean over movements of the share over people.

    The interval is a bootstrap over people (2,000 draws, seed 0, the same draws for both rows).
    """
    value, drawn = _drawn(predictions[predictions["row"] == row], metric)
    if other is not None:
        less, again = _drawn(predictions[predictions["row"] == other], metric)
        value, drawn = value - less, drawn - again
    if math.isnan(value):
        return Interval(math.nan)
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _drawn(part: pd.DataFrame, metric: Metric) -> tuple[float, np.ndarray]:
    """The figure in points, and [DRAWS] of it with other people."""
    total, weight, _, people = cells(part, metric)
    if not weight.any():
        return math.nan, np.full(DRAWS, math.nan)
    pick = np.random.RandomState(0).randint(0, len(people), (DRAWS, len(people)))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = total[:, pick].sum(-1) / weight[:, pick].sum(-1)  # [M, DRAWS]
        whole = total.sum(-1) / weight.sum(-1)
    return 100 * float(np.nanmean(whole)), 100 * np.nanmean(shares, axis=0)


def scores(predictions: pd.DataFrame) -> pd.DataFrame:
    """Every row's figures: row, metric, value, low, high (points), seeds."""
    found = []
    for row in dict.fromkeys(predictions["row"]):
        seeds = predictions.loc[predictions["row"] == row, "seed"].nunique()
        for metric in METRICS:
            one = estimate(predictions, row, metric)
            found.append((row, metric, one.value, one.low, one.high, seeds))
    return pd.DataFrame(found, columns=["row", "metric", "value", "low", "high", "seeds"]).dropna(subset="value")


def comparisons(predictions: pd.DataFrame) -> pd.DataFrame:
    """Every question whose rows are there: claim, row, other, metric, difference, low, high (points), outcome."""
    there, found = set(predictions["row"]), []
    for claim, row, other, metric in QUESTIONS:
        if row in there and (other is None or other in there):
            one = estimate(predictions, row, metric, other)
            floor = CHANCE if other is None else 0.0
            gap = Interval(one.value - floor, one.low - floor, one.high - floor)
            found.append((claim, row, other or "chance", metric, gap.value, gap.low, gap.high, outcome(gap)))
    return pd.DataFrame(found, columns=["claim", "row", "other", "metric", "difference", "low", "high", "outcome"])


def outcome(gap: Interval) -> str:
    """The rule of results/claims.csv with an interval over people in place of one over seeds."""
    if not gap.low * gap.high > 0:
        return "cannot be told"
    return "holds" if gap.low > 0 and gap.value >= TOLERANCE else "does not hold"


def publish(judged: Judged, folder: Path) -> None:
    """Writes `FILES` to the folder; rows that are there and not among these stay."""
    from efa.utils.files import write_safely

    predictions = pd.concat([table for table, _ in judged.values()], ignore_index=True)
    facts = {row: said for row, (_, said) in judged.items()}
    folder.mkdir(parents=True, exist_ok=True)
    old = folder / "predictions.parquet"
    if old.is_file():
        before = pd.read_parquet(old).astype({"row": str})
        predictions = pd.concat([before[~before["row"].isin(set(predictions["row"]))], predictions], ignore_index=True)
    predictions = (
        predictions.astype({"quality_prob": float})
        .round({"quality_prob": 4})
        .sort_values(["row", "seed", "clip_id"], kind="stable", ignore_index=True)
    )
    small = predictions.astype(
        dict.fromkeys(("row", "subject", "clip_id", "action", "view", "predicted_action"), "category")
    )
    write_safely(old, lambda path: small.to_parquet(path, index=False, compression="zstd"))
    for name, table in (("scores.csv", scores(predictions)), ("comparisons.csv", comparisons(predictions))):
        text = table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
        write_safely(folder / name, lambda path, text=text: path.write_text(text))  # type: ignore[misc]
    known = json.loads((folder / "provenance.json").read_text()) if (folder / "provenance.json").is_file() else {}
    whole = json.dumps(dict(sorted((known | facts).items())), indent=1) + "\n"
    write_safely(folder / "provenance.json", lambda path: path.write_text(whole))


@dataclass(frozen=True)
class People:
    """Published results of one data set."""

    predictions: pd.DataFrame
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    facts: dict[str, dict[str, Any]]  # of each row
    data: str  # name of the data set
    preset: str

    @property
    def movements(self) -> int:
        return self.predictions["action"].nunique()

    @property
    def people(self) -> int:
        return self.predictions["subject"].nunique()

    def cell(self, row: str, metric: str) -> Cell:
        found = self.scores[(self.scores["row"] == row) & (self.scores["metric"] == metric)]
        if found.empty:
            return Cell("\u2013", number=True)
        one = found.iloc[0]
        return Cell(f"{one['value']:.1f}", f"{one['low']:.1f}\u2013{one['high']:.1f}", number=True)


def read(folder: str | Path = "") -> People:
    """What `publish` wrote; by default results/ui-prmd-laptop. InputError where a file is missing."""
    place = Path(folder) if folder else paths.results() / "ui-prmd-laptop"
    for name in FILES:
        if not (place / name).is_file():
            hint = "run 'efa leave-one-subject-out DATA --to FOLDER'"
            raise InputError("there are no results of people here", file=place / name, hint=hint)
    predictions = pd.read_parquet(place / FILES[0]).astype({"row": str, "action": str, "subject": str, "clip_id": str})
    predictions = predictions.astype({"view": str, "predicted_action": str})
    facts = json.loads((place / FILES[3]).read_text())
    data, _, preset = place.name.rpartition("-")
    if preset not in PRESETS:  # a folder of the user's own choice
        data, preset = place.name, ""
    return People(predictions, pd.read_csv(place / FILES[1]), pd.read_csv(place / FILES[2]), facts, data, preset)


def table(found: People) -> Html:
    """Every row with its figures and intervals."""
    order = list(dict.fromkeys([MARKERS, *LOSO_ROWS, *found.scores["row"]]))
    rows: list[list[str | Cell]] = []
    for row in (row for row in order if row in set(found.scores["row"])):
        seeds = int(found.scores.loc[found.scores["row"] == row, "seeds"].iloc[0])
        rows.append([row, *(found.cell(row, metric) for metric in METRICS), Cell(str(seeds), number=True)])
    floors = {metric: 100 / found.movements if metric == "top1" else CHANCE for metric in METRICS}
    rows.append(["by chance", *(Cell(f"{floors[metric]:.0f}", number=True) for metric in METRICS), Cell("")])
    views = len(set(found.predictions["view"]) - {""})
    notes = (
        f"Mean over the movements ({found.movements}); below it the 95 % interval, a bootstrap over the people "
        f"({found.people}). "
        + (f"A repetition is judged once, by the mean over its {views} views. " if views > 1 else "")
        + "AUC within a person: how often an incorrect repetition of somebody who was never seen is ranked above a "
        "correct one of the same movement by the same person; it needs no threshold that suits everybody.",
    )
    return html.table("Correct or incorrect, everybody left out in turn", ["", *METRICS.values(), "seeds"], rows, notes)


def answers(found: People) -> Html:
    """What was asked before the runs, and what came out."""
    rows: list[list[str | Cell]] = []
    for _, one in found.comparisons.iterrows():
        against = "chance" if one["other"] == "chance" else one["other"]
        gap = Cell(f"{one['difference']:+.1f}", f"{one['low']:+.1f} to {one['high']:+.1f}", number=True)
        rows.append(
            [one["claim"], Cell(f"{one['row']} against {against}", METRICS[one["metric"]]), gap, Cell(one["outcome"])]
        )
    notes = (
        f"'holds': the interval over people lies above 0 and the difference is {TOLERANCE:g} points or more, a limit "
        "set before the runs. 'does not hold': the interval excludes 0, but the difference is smaller or on the other "
        f"side. Otherwise it cannot be told with so many people ({found.people}).",
    )
    return html.table("Questions asked before the runs", ["claim", "compared", "difference", "outcome"], rows, notes)


@_styled
def movements(found: People, rows: Sequence[str] = (MARKERS, "Video Swin", "EFA")) -> Figure:
    """Accuracy of each movement, one dot a row."""
    figure = Figure(figsize=(6.4, 3.6))
    ax = figure.add_subplot()
    names: list[str] = []
    for row, colour, mark in zip(rows, (FAINT, ORANGE, BLUE), "sDo", strict=False):
        part = found.predictions[found.predictions["row"] == row]
        total, weight, names, _ = cells(part, "acc")
        ax.plot(100 * total.sum(1) / weight.sum(1), range(len(names)), mark, color=colour, label=row, markersize=6)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.axvline(50, color=FAINT, linewidth=0.8, linestyle=":")
    ax.set_xlabel("verdict right, % of repetitions")
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    return figure


def stamp(found: People) -> Html:
    """Where the numbers come from."""
    facts = list(found.facts.values())
    seen = found.predictions[found.predictions["row"] != MARKERS]
    seeds = ", ".join(map(str, sorted(set(found.predictions["seed"]))))
    parts = [
        f"{seen['clip_id'].nunique()} clips of {found.people} people",
        f"preset {found.preset}" if found.preset else "",
        f"seeds {seeds}",
        f"{sum(one['trainings'] for one in facts)} trainings",
        " / ".join(sorted({one["device"] for one in facts})),
        f"{sum(one['seconds'] for one in facts) / 60:.0f} minutes of one core in all",
        f"commit {', '.join(sorted({commit for one in facts for commit in one['commit'].split(', ')}))}",
    ]
    command = f"efa leave-one-subject-out {found.data} --seeds {seeds.replace(' ', '')}"
    command += " --markers UI-PRMD" if MARKERS in found.facts else ""
    command += " --zero-shot" if ZERO_SHOT in found.facts else ""
    badge = BADGE if found.data == UI_PRMD else f"own data: {found.data}"
    return html.stamp(badge, parts, command)
