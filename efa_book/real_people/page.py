"""How the book shows the verdicts on real people's poses: what `python -m efa_book.real_people` wrote, read again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from efa.utils import paths
from efa.utils.errors import InputError
from efa_book import html
from efa_book.figures import BLUE, FAINT, ORANGE, styled
from efa_book.files import read_json
from efa_book.html import Cell, Html
from efa_book.real_people.evaluate import GROUPED, METRICS, RANDOM

HINT = "run 'python -m efa_book.real_people FOLDER'"
FILES = ("predictions.parquet", "scores.csv", "topics.csv", "provenance.json")
BADGE = "Real people's poses"
TITLES = {  # set -> its name, and what a group is
    "front_squat": ("Front squats: deep enough or not", "sessions"),
    "push_up": ("Push-ups: correct or not", "scenes"),
    "push_up_kaggle": ("Push-ups, the hundred of Kaggle", "scenes"),
    "deadlift": ("Deadlifts: correct, or which of four faults", "people"),
    "plank": ("Planks, single frames: straight or not", "file prefixes"),
    "ui_prmd": ("UI-PRMD: correct or not", "people"),
    "boxing": ("Boxing: the topics of the coaches", "boxers"),
}
ANSWERS = {  # metric of action_scores.csv -> its words
    "top1": "right, if every clip is answered",
    "top1_mean_over_actions": "the same, mean over exercises",
    "wrong_at_70": "wrong, if the surest 70 % are answered",
    "answered_known": "answered at the threshold",
    "wrong_of_answered_known": "wrong among these",
    "answered_other": "answered though FormSim lacks the exercise",
}
CHANCE = {"auc": 50.0, "balanced": 50.0, "accuracy": 20.0}
ORDER = ("network", "joint angles", "angles and", "rule", "most frequent", "nearest", "any", "no movement", "always")


@dataclass(frozen=True)
class Found:
    """What the command wrote: `predictions`, `scores`, `topics` as tables, and facts of every condition."""

    predictions: pd.DataFrame
    scores: pd.DataFrame
    topics: pd.DataFrame
    facts: dict[str, dict[str, Any]]

    @property
    def sets(self) -> list[str]:
        """The sets that were judged, in the order of `TITLES`."""
        return [name for name in TITLES if name in set(self.scores["set"])]

    def of(self, name: str, split: str = "") -> pd.DataFrame:
        """The scores of a set, networks first, then references, rules, and what looks at nothing."""
        part = self.scores[self.scores["set"] == name]
        part = part[part["split"] == split] if split else part
        place = part["condition"].map(lambda one: [one.startswith(start) for start in ORDER].index(True))
        return part.assign(place=place).sort_values(["place", "condition"], kind="stable")


def load_results(folder: str | Path = "") -> Found:
    """By default results/real-people. InputError where a file is missing."""
    place = Path(folder) if folder else paths.results() / "real-people"
    predictions, scores, topics, provenance = (place / name for name in FILES)
    for file in (predictions, scores, topics, provenance):
        if not file.is_file():
            raise InputError("no results on real people here", file=file, hint=HINT)
    tables = pd.read_parquet(predictions), pd.read_csv(scores), pd.read_csv(topics)
    return Found(*tables, read_json(provenance, HINT))


def scores_table(found: Found, name: str) -> Html:
    """Every condition of a set with its figures and intervals, groups never shared between training and test."""
    part, (title, groups) = found.of(name, GROUPED), TITLES[name]
    metrics = [metric for metric in METRICS if metric in set(part["metric"])]
    rows: list[list[str | Cell]] = []
    for condition in dict.fromkeys(part["condition"]):
        rows.append([condition, *(_cell(part, condition, metric) for metric in metrics)])
    chance = [CHANCE.get(metric) for metric in metrics]
    if any(chance):
        rows.append(["by chance", *(Cell("–" if one is None else f"{one:.0f}", number=True) for one in chance)])
    counted = part.dropna(subset="n").iloc[0]
    unit = "frames" if name == "plank" else "clips"
    notes = [
        f"{counted['n']:.0f} {unit}, {counted['groups']:.0f} {groups}, never shared "
        f"between training and test. Below each number: the 95 % interval, a bootstrap that draws whole {groups}."
    ]
    return html.table(title, ["", *(METRICS[metric] for metric in metrics)], rows, notes)


def _cell(part: pd.DataFrame, condition: str, metric: str) -> Cell:
    for one in part[(part["condition"] == condition) & (part["metric"] == metric)].to_dict("records"):
        bounds = "" if pd.isna(one["low"]) else f"{one['low']:.0f}–{one['high']:.0f}"
        return Cell(f"{one['value']:.1f}", bounds, number=True)
    return Cell("–", number=True)


def splits_table(found: Found) -> Html:
    """The same random forest, tested on groups that it has not seen and on clips drawn at random."""
    rows: list[list[str | Cell]] = []
    for name in found.sets:
        part = found.of(name)
        part = part[part["metric"] == "auc"]
        for condition in sorted(set(part.loc[part["split"] == RANDOM, "condition"])):
            cells = [_cell(part[part["split"] == split], condition, "auc") for split in (GROUPED, RANDOM)]
            gap = float(cells[1].text) - float(cells[0].text)
            rows.append([TITLES[name][0], TITLES[name][1], *cells, Cell(f"{gap:+.1f}", number=True)])
    head = ["", "groups", "AUC, new groups", "AUC, random split", "flattered by"]
    notes = ["The same random forest on joint angles. With a random split it has seen the same person or place before."]
    return html.table("What a random split hides", head, rows, notes)


def people_table(found: Found, name: str = "deadlift") -> Html:
    """Share of right answers for every group by itself, for sets with so few that an interval says little."""
    part = found.predictions[(found.predictions["set"] == name) & (found.predictions["split"] == GROUPED)]
    right = part.assign(right=part["label"] == part["predicted"])
    table = 100 * right.groupby(["condition", "group"])["right"].mean().unstack()
    order = [one for one in dict.fromkeys(found.of(name, GROUPED)["condition"]) if one in table.index]
    rows: list[list[str | Cell]] = [
        [one, *(Cell(f"{value:.0f}", number=True) for value in table.loc[one])] for one in order
    ]
    head = ["", *(f"person {i + 1}" for i in range(len(table.columns)))]
    return html.table("Deadlifts named right, %, each person by himself", head, rows)


def topics_table(found: Found) -> Html:
    """How often the coaches touched each topic."""
    rows: list[list[str | Cell]] = []
    for one in found.topics.sort_values("clips", ascending=False).to_dict("records"):
        counts = [Cell(str(one[column]), number=True) for column in ("clips", "sentences", "boxers")]
        rows.append([str(one["topic"]), *counts])
    return html.table("What the coaches spoke of", ["topic", "clips", "sentences", "boxers"], rows)


@styled
def forest(found: Found, name: str) -> Figure:
    """Value and interval of every condition of a set, in its first metric; hollow: a random split."""
    part = found.of(name)
    metric = next(metric for metric in METRICS if metric in set(part["metric"]))
    part = part[part["metric"] == metric].iloc[::-1].reset_index(drop=True)
    figure = Figure(figsize=(6.4, 0.7 + 0.28 * len(part)))
    ax = figure.add_subplot()
    for i, one in enumerate(part.to_dict("records")):
        random = one["split"] == RANDOM
        colour = ORANGE if random else BLUE if one["condition"].startswith("network") else "#22262b"
        ax.plot([one["low"], one["high"]], [i, i], color=colour, linewidth=1.4)
        ax.plot(one["value"], i, "o", color=colour, markersize=5, markerfacecolor="white" if random else colour)
    labels = [f"{one.condition}{', random split' * (one.split == RANDOM)}" for one in part.itertuples()]
    ax.set_yticks(range(len(part)), labels)
    ax.set_ylim(-0.6, len(part) - 0.4)
    if (chance := CHANCE.get(metric)) is not None:
        ax.axvline(chance, color=FAINT, linewidth=0.8, linestyle=":")
    ax.set_xlabel(f"{METRICS[metric]}, %, and 95 % interval over {TITLES[name][1]}")
    return figure


def show_forest(found: Found, name: str) -> Html:
    """The figure of a set, with the words for those who cannot see it."""
    alt = f"{TITLES[name][0]}: one dot and interval a condition. The numbers stand in the table beside it."
    caption = TITLES[name][0] + ". Dotted: chance. Hollow: random split." * (name != "boxing")
    return html.show(forest(found, name), alt, caption)


def stamp(found: Found) -> Html:
    """Where the numbers come from."""
    facts = list(found.facts.values())
    parts = [
        f"{len(facts)} conditions of {len(found.sets)} sets",
        " / ".join(sorted({one["device"] for one in facts})),
        f"{sum(one['seconds'] for one in facts) / 60:.0f} minutes of one core in all",
        f"commit {', '.join(sorted({one['commit'] for one in facts}))}",
        f"until {max(one['date'] for one in facts)[:10]}",
    ]
    return html.stamp(BADGE, parts, facts[-1]["command"])


def load_actions(folder: str | Path = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `python -m efa_book.real_people.actions` wrote: clips and scores. InputError where it is missing."""
    place = Path(folder) if folder else paths.results() / "real-people"
    for file in (place / "actions.csv", place / "action_scores.csv"):
        if not file.is_file():
            raise InputError("no answers on real people here", file=file, hint=HINT.replace("people", "people.actions"))
    clips = pd.read_csv(place / "actions.csv", keep_default_na=False)
    return clips, pd.read_csv(place / "action_scores.csv")


def actions_table(scores: pd.DataFrame) -> Html:
    """Zero-shot answers: on the people by whom the threshold was chosen, on the others, and on all."""
    parts = ["validation", "test", "all"]
    rows: list[list[str | Cell]] = [
        [words, *(_cell_of(scores, part, metric) for part in parts)] for metric, words in ANSWERS.items()
    ]
    notes = ["In per cent; below each number the 95 % interval, a bootstrap that draws whole groups of people."]
    head = ["", "people by whom the threshold was chosen", "other people", "all"]
    return html.table("Which exercise it is, by a model that has seen FormSim alone", head, rows, notes)


def _cell_of(scores: pd.DataFrame, part: str, metric: str) -> Cell:
    one = scores[(scores["part"] == part) & (scores["metric"] == metric)].iloc[0]
    return Cell(f"{one['value']:.1f}", f"{one['low']:.0f}–{one['high']:.0f}", number=True)


def confusion_table(clips: pd.DataFrame) -> Html:
    """For every set of clips: how many were named rightly, and what they were taken for most often."""
    rows: list[list[str | Cell]] = []
    for name, part in clips.groupby("set", sort=False):
        taken = ", ".join(f"{best} {count}" for best, count in part["best"].value_counts().head(4).items())
        known = part[part["action"] != ""]
        share = f"{100 * (known['right'].astype(str) == 'True').mean():.0f}" if len(known) else "not in FormSim"
        rows.append([str(name), Cell(str(len(part)), number=True), Cell(share, number=True), taken])
    return html.table("What each set was taken for", ["", "clips", "right, %", "named most often"], rows)


@styled
def coverage(clips: pd.DataFrame) -> Figure:
    """Of the clips answered first, the surest ones, how many are wrong: known exercises, and all with unknown ones."""
    figure = Figure(figsize=(6.4, 3.2))
    ax = figure.add_subplot()
    for words, colour, part in (
        ("with exercises that FormSim lacks", ORANGE, clips),
        ("exercises that FormSim has", BLUE, clips[clips["action"] != ""]),
    ):
        ordered = part.sort_values("probability", ascending=False)
        wrong = (ordered["right"].astype(str) != "True").cumsum() / pd.RangeIndex(1, len(ordered) + 1)
        share = 100 * pd.Series(range(1, len(ordered) + 1)) / len(ordered)
        ax.plot(share, 100 * wrong.to_numpy(), color=colour, linewidth=1.6, label=words)
    ax.set_xlabel("answered, % of the clips, the surest first")
    ax.set_ylabel("wrong among them, %")
    ax.legend(frameon=False)
    return figure


def show_coverage(clips: pd.DataFrame) -> Html:
    """The figure with the words for those who cannot see it."""
    alt = "Two rising lines: the more clips are answered, the more answers are wrong. The table above has the numbers."
    return html.show(coverage(clips), alt, "Coverage against accuracy: who answers less is wrong less.")
