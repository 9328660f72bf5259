"""Leave-one-subject-out results on real people's motion: estimates over people, and how the book shows them.

A person is the unit. A bootstrap draws people, with all that they did, and two rows are compared within each person.
"""

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
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book import html
from efa_book.figures import BLUE, FAINT, ORANGE, styled
from efa_book.files import csv_text, read_json, write_json, write_parquet, write_text
from efa_book.html import Cell, Html
from efa_datasets.loso import LOSO_ROWS, MARKERS, ZERO_SHOT, Judged

Metric = Literal["acc", "auc", "top1"]
METRICS: dict[Metric, str] = {"acc": "verdict right, %", "auc": "AUC within a person", "top1": "movement found, %"}
CHANCE = 50.0  # of a verdict and of a ranking
TOLERANCE = 3.0  # points; the smallest difference that would matter, declared before the runs
DRAWS = 2000
UI_PRMD = "ui-prmd"
NAMES = ("subject", "clip_id", "action", "view", "predicted_action")  # columns of predictions
BADGE = "Real people's motion (UI-PRMD), drawn by FormSim's renderer"
FILES = ("predictions.parquet", "scores.csv", "comparisons.csv", "provenance.json")
HINT = "run 'efa leave-one-subject-out DATA --to FOLDER'"
# claim, row, other row or None for chance, metric
QUESTIONS: tuple[tuple[str, str, str | None, Metric], ...] = (
    ("EFA tells correct from incorrect people", "EFA", None, "acc"),
    ("So does Video Swin", "Video Swin", None, "acc"),
    ("EFA that never saw people does, too", "EFA, never saw people", None, "acc"),
    ("The same, asked to rank one person's repetitions", "EFA, never saw people", None, "auc"),
    ("EFA judges better than Video Swin", "EFA", "Video Swin", "acc"),
    ("Text helps EFA's verdict", "EFA", "EFA, w/o text", "acc"),
    ("The right text helps more than another movement's", "EFA", "EFA, wrong text", "acc"),
    ("Pre-training on FormSim helps EFA's verdict", "EFA", "EFA, random trunk", "acc"),
    ("Pre-training on FormSim helps Video Swin's verdict", "Video Swin", "Video Swin, random trunk", "acc"),
    ("Pre-training on FormSim helps to find the movement", "EFA", "EFA, random trunk", "top1"),
    ("A trunk that learns with EFA judges better", "EFA, fine-tuned", "EFA", "acc"),
    ("A trunk started from FormSim judges better than one from nothing", "EFA, fine-tuned", "EFA, from scratch", "acc"),
    ("EFA comes up to the markers", "EFA", MARKERS, "acc"),
)


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval over people, in points; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan


def movement_shares(predictions: pd.DataFrame, metric: Metric) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """One row's figure for each of M movements and S people, both sorted by name; mean over seeds.

    A repetition seen from several views is judged once, by the mean of its probabilities. Predictions are of one row of
    the table, columns as `loso.COLUMNS`. Returns sum [M, S], weight [M, S] and the names of the movements; the figure
    is sum / weight (shares of 1), and there is none where weight is 0.
    """
    movements, people = sorted(set(predictions["action"])), sorted(set(predictions["subject"]))
    total, weight = np.zeros((2, len(movements), len(people)))
    if metric == "top1":
        judged = predictions[predictions["predicted_action"] != ""]
        judged = judged.assign(right=judged["predicted_action"] == judged["action"])
    else:
        clips = zip(predictions["clip_id"], predictions["view"], strict=True)
        repetitions = [clip.removesuffix(f"-{view}") if view else clip for clip, view in clips]
        by = ["seed", "action", "subject", "clip_id"]
        grouped = predictions.assign(clip_id=repetitions).groupby(by, observed=True)
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
    return total, weight, movements


def estimate(predictions: pd.DataFrame, row: str, metric: Metric, other: str | None = None) -> Interval:
    """A row's figure, or by how much it exceeds another row's: mean over movements of the share over people.

    The interval is a bootstrap over people (2,000 draws, seed 0, the same draws for both rows).
    """
    value, drawn = _bootstrap(predictions[predictions["row"] == row], metric)
    if other is not None:
        less, again = _bootstrap(predictions[predictions["row"] == other], metric)
        value, drawn = value - less, drawn - again
    if math.isnan(value):
        return Interval(math.nan)
    return Interval(value, *map(float, np.nanpercentile(drawn, [2.5, 97.5])))


def _bootstrap(part: pd.DataFrame, metric: Metric) -> tuple[float, np.ndarray]:
    """The figure in points, and [DRAWS] of it with other people."""
    total, weight, _ = movement_shares(part, metric)
    if not weight.any():
        return math.nan, np.full(DRAWS, math.nan)
    people = total.shape[1]
    pick = np.random.RandomState(0).randint(0, people, (DRAWS, people))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = total[:, pick].sum(-1) / weight[:, pick].sum(-1)  # [M, DRAWS]
        whole = total.sum(-1) / weight.sum(-1)
    return 100 * float(np.nanmean(whole)), 100 * np.nanmean(shares, axis=0)


def compute_scores(predictions: pd.DataFrame) -> pd.DataFrame:
    """Every row's figures: row, metric, value, low, high (points), seeds."""
    found = []
    for row, part in predictions.groupby("row", sort=False, observed=True):
        for metric in METRICS:
            one = estimate(part, str(row), metric)
            found.append((row, metric, one.value, one.low, one.high, part["seed"].nunique()))
    return pd.DataFrame(found, columns=["row", "metric", "value", "low", "high", "seeds"]).dropna(subset="value")


def compare_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """Every question whose rows are there: claim, row, other, metric, difference, low, high (points), outcome."""
    rows, found = {None, *predictions["row"]}, []
    for claim, row, other, metric in QUESTIONS:
        if row in rows and other in rows:
            one = estimate(predictions, row, metric, other)
            floor = CHANCE if other is None else 0.0
            gap = (one.value - floor, one.low - floor, one.high - floor)
            found.append((claim, row, other or "chance", metric, *gap, outcome(Interval(*gap))))
    return pd.DataFrame(found, columns=["claim", "row", "other", "metric", "difference", "low", "high", "outcome"])


def outcome(gap: Interval) -> str:
    """The rule of results/claims.csv with an interval over people in place of one over seeds."""
    if not gap.low * gap.high > 0:
        return "inconclusive"
    return "holds" if gap.low > 0 and gap.value >= TOLERANCE else "does not hold"


def publish(judged: Judged, folder: Path) -> None:
    """Writes `FILES` to the folder; rows that are there and not among these stay."""
    predictions = pd.concat([table for table, _ in judged.values()], ignore_index=True)
    folder.mkdir(parents=True, exist_ok=True)
    kept, scores, comparisons, provenance = (folder / name for name in FILES)
    if kept.is_file():
        before = pd.read_parquet(kept).astype({"row": str})
        predictions = pd.concat([before[~before["row"].isin(set(predictions["row"]))], predictions], ignore_index=True)
    predictions = predictions.astype({"quality_prob": float}).round({"quality_prob": 4})
    predictions = predictions.sort_values(["row", "seed", "clip_id"], kind="stable", ignore_index=True)
    write_parquet(kept, predictions.astype(dict.fromkeys(("row", *NAMES), "category")))
    write_text(scores, csv_text(compute_scores(predictions), "%.4f"))
    write_text(comparisons, csv_text(compare_rows(predictions), "%.4f"))
    facts = read_json(provenance, HINT) | {row: found for row, (_, found) in judged.items()}
    write_json(provenance, dict(sorted(facts.items())))


@dataclass(frozen=True)
class PeopleResults:
    """Published results of one data set."""

    predictions: pd.DataFrame
    scores: pd.DataFrame
    comparisons: pd.DataFrame
    facts: dict[str, dict[str, Any]]  # of each row
    data: str  # name of the data set
    preset: str

    @property
    def people(self) -> int:
        return self.predictions["subject"].nunique()

    def cell(self, row: str, metric: str) -> Cell:
        """A row's figure with its interval; a dash where there is none."""
        found = self.scores[(self.scores["row"] == row) & (self.scores["metric"] == metric)]
        for one in found.to_dict("records"):
            return Cell(f"{one['value']:.1f}", f"{one['low']:.1f}–{one['high']:.1f}", number=True)
        return Cell("–", number=True)


def load_results(folder: str | Path = "") -> PeopleResults:
    """What `publish` wrote; by default results/ui-prmd-laptop. InputError where a file is missing."""
    place = Path(folder) if folder else paths.results() / f"{UI_PRMD}-laptop"
    kept, scores, comparisons, provenance = (place / name for name in FILES)
    if missing := [file for file in (kept, scores, comparisons, provenance) if not file.is_file()]:
        raise InputError("no leave-one-subject-out results here", file=missing[0], hint=HINT)
    predictions = pd.read_parquet(kept).astype(dict.fromkeys(("row", *NAMES), str))
    data, _, preset = place.name.rpartition("-")
    if preset not in PRESETS:  # a folder of the user's own choice
        data, preset = place.name, ""
    tables = pd.read_csv(scores), pd.read_csv(comparisons)
    return PeopleResults(predictions, *tables, read_json(provenance, HINT), data, preset)


def scores_table(found: PeopleResults) -> Html:
    """Every row with its figures and intervals."""
    seeds = found.scores.groupby("row")["seeds"].first()
    rows: list[list[str | Cell]] = []
    for row in dict.fromkeys([MARKERS, *LOSO_ROWS, *found.scores["row"]]):
        if row in seeds:
            cells = [found.cell(row, metric) for metric in METRICS]
            rows.append([row, *cells, Cell(str(int(seeds[row])), number=True)])
    movements = found.predictions["action"].nunique()
    floors = [100 / movements if metric == "top1" else CHANCE for metric in METRICS]
    rows.append(["by chance", *(Cell(f"{floor:.0f}", number=True) for floor in floors), Cell("")])
    views = len(set(found.predictions["view"]) - {""})
    judged_once = f"A repetition is judged once, by the mean over its {views} views. " if views > 1 else ""
    notes = [
        f"Mean over the movements ({movements}); below it the 95 % interval, a bootstrap over the people "
        f"({found.people}). {judged_once}AUC within a person: how often an incorrect repetition of somebody who was "
        "never seen is ranked above a correct one of the same movement by the same person; it needs no threshold that "
        "suits everybody."
    ]
    head = ["", *METRICS.values(), "seeds"]
    return html.table("Correct or incorrect, leave-one-subject-out", head, rows, notes)


def answers_table(found: PeopleResults) -> Html:
    """What was asked before the runs, and what came out."""
    rows: list[list[str | Cell]] = []
    for one in found.comparisons.to_dict("records"):
        gap = Cell(f"{one['difference']:+.1f}", f"{one['low']:+.1f} to {one['high']:+.1f}", number=True)
        compared = Cell(f"{one['row']} against {one['other']}", METRICS[one["metric"]])
        rows.append([one["claim"], compared, gap, one["outcome"]])
    notes = [
        f"'holds': the interval over people lies above 0 and the difference is {TOLERANCE:g} points or more, a limit "
        "set before the runs. 'does not hold': the interval excludes 0, but the difference is smaller or on the other "
        f"side. 'inconclusive': anything else, with so many people ({found.people})."
    ]
    return html.table("Questions asked before the runs", ["claim", "compared", "difference", "outcome"], rows, notes)


@styled
def movements_figure(found: PeopleResults, rows: Sequence[str] = (MARKERS, "Video Swin", "EFA")) -> Figure:
    """Accuracy of each movement, one dot a row."""
    figure = Figure(figsize=(6.4, 3.6))
    ax = figure.add_subplot()
    names: list[str] = []
    for row, colour, mark in zip(rows, (FAINT, ORANGE, BLUE), "sDo", strict=False):
        part = found.predictions[found.predictions["row"] == row]
        total, weight, names = movement_shares(part, "acc")
        ax.plot(100 * total.sum(1) / weight.sum(1), range(len(names)), mark, color=colour, label=row, markersize=6)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.axvline(50, color=FAINT, linewidth=0.8, linestyle=":")
    ax.set_xlabel("verdict right, % of repetitions")
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    return figure


def stamp(found: PeopleResults) -> Html:
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
    options = {MARKERS: " --markers UI-PRMD", ZERO_SHOT: " --zero-shot"}
    given = "".join(option for row, option in options.items() if row in found.facts)
    command = f"efa leave-one-subject-out {found.data} --seeds {seeds.replace(' ', '')}{given}"
    badge = BADGE if found.data == UI_PRMD else f"own data: {found.data}"
    return html.stamp(badge, parts, command)
