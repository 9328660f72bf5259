"""EFA on poses: what its encoder reads, poses beside pixels, and what the text, an attention and the gate are worth.

Every outcome is computed, by the rule of `efa_book.parts.Change`, over seeds: one seed shows a difference and decides
nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from efa.config import build
from efa.experiments import table_config
from efa.model.pose import turn_to_front
from efa.utils.errors import InputError
from efa_book import blind, estimates, html
from efa_book.collect import Results
from efa_book.figures import BLUE, INK, ORANGE, styled
from efa_book.html import Cell, Html
from efa_book.intervals import mean_interval
from efa_book.parts import TOLERANCE, Change
from efa_book.provenance import stamp
from efa_book.table_specs import AUC, BALANCED, FAULT, HALLUCINATED, STEP, TOP1, Metric
from formsim.motion import INDEX

MEASURED = (BALANCED, AUC, FAULT, HALLUCINATED, STEP)
_SIDES = (("neck", "shoulder", "elbow", "wrist", "hand"), ("pelvis", "hip", "knee", "ankle", "toe"))
CHAINS: dict[str, list[tuple[str, ...]]] = {  # colour -> joints that are joined by lines
    INK: [("pelvis", "chest", "neck", "head")],
    **{
        colour: [tuple(name if name in INDEX else f"{name}_{side}" for name in chain) for chain in _SIDES]
        for side, colour in (("l", BLUE), ("r", ORANGE))
    },
}


@styled
def skeletons_figure(rows: Mapping[str, Tensor], shown: int = 6) -> Figure:
    """Skeletons [1, T, 20, 3] in metres, a row for each name: some of their frames, turned to the front, seen askew."""
    figure = Figure(figsize=(8.6, 2.1 * len(rows)))
    axes = figure.subplots(len(rows), shown, squeeze=False, sharex=True, sharey=True)
    for line, (name, joints) in zip(axes, rows.items(), strict=True):
        frames = turn_to_front(joints)[0].numpy()  # [T, 20, 3]
        frames = frames - frames[:, :1].mean(0)
        for ax, t in zip(line, np.linspace(0, len(frames) - 1, shown).round().astype(int), strict=True):
            _draw_skeleton(ax, frames[t])
            ax.set_title(f"frame {t + 1}", fontsize=8)
        line[0].set_ylabel(name)
    return figure


def _draw_skeleton(ax: Axes, joints: np.ndarray) -> None:
    """[20, 3] from half right, the left in blue and the right in orange; without numbers on the axes."""
    across = -joints[:, 0] * math.sin(math.radians(50)) + joints[:, 1] * math.cos(math.radians(50))
    for colour, chains in CHAINS.items():
        for chain in chains:
            at = [INDEX[name] for name in chain]
            ax.plot(across[at], joints[at, 2], "-", color=colour, lw=1.8, solid_capstyle="round")
    ax.plot(across[INDEX["head"]], joints[INDEX["head"], 2], "o", color=INK, ms=5)
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def settings_table(first: str, second: str) -> Html:
    """The settings in which two presets differ, the encoder's own left out."""
    one, other = (build(preset).to_dict() for preset in (first, second))
    rows: list[list[str | Cell]] = [
        [f"{section}.{name}", str(one[section].get(name, "–")), str(value)]
        for section in one if section != "encoder"
        for name, value in other[section].items() if one[section].get(name) != value
    ]  # fmt: skip
    notes = ["Beside the encoder. data.actions 0: all. Poses have no data.size."]
    return html.table("What else differs between the two presets", ["setting", first, second], rows, notes)


def pixels_table(pixels: Results, poses: Results, row: str = "EFA") -> Html:
    """A row's scores from pixels and from poses, each beside the best that is reached without looking."""
    both, floors = (pixels, poses), [floor_of(pixels), floor_of(poses)]
    rows: list[list[str | Cell]] = []
    for metric in MEASURED:
        cells: list[str | Cell] = []
        for results, floor in zip(both, floors, strict=True):
            cells += [_estimate_cell(results, row, metric), Cell(_text(floor.get(metric.key)), number=True)]
        rows.append([metric.title, *cells])
    head = ["", *(title for results in both for title in (results.preset, "without looking"))]
    seeds = {results.preset: len(results.values(row, AUC.key)) for results in both}
    notes = [
        f"Protocol predicted. Seeds: {', '.join(f'{preset} {count}' for preset, count in seeds.items())}. In brackets "
        "the 95 % interval over seeds, or with one seed over test clips.",
        "Without looking: a coin for balanced accuracy and AUC; else a training text of the true action, random or the "
        "most central one, whichever names more faults. Of hallucinated faults less is better.",
    ]
    groups = [("", 1), ("pixels", 2), ("poses", 2)]
    return html.table(f"{row}: pixels and poses", head, rows, notes, groups) + stamp(pixels) + stamp(poses)


def floor_of(results: Results) -> dict[str, float]:
    """Metric -> what is reached without looking, in percent: by a coin, and by the blind text that names most faults.

    No key where it is not known.
    """
    found = {BALANCED.key: 50.0, AUC.key: 50.0}
    try:
        texts = blind.floors(table_config(results.table, results.preset, results.overrides).data).values()
    except InputError:  # no such data here, or nothing to score texts with
        return found
    return found | max(texts, key=lambda text: text.get(FAULT.key, 0.0), default={})


def seeds_table(results: Results, row: str = "EFA", metrics: Sequence[Metric] = (TOP1, *MEASURED)) -> Html:
    """The mean of a row with its interval over seeds, and each seed by itself."""
    seeds = sorted(results.values(row, AUC.key))
    if not seeds:
        return html.note(f"No seed of {row} is there yet.") + stamp(results)
    rows: list[list[str | Cell]] = []
    for metric in metrics:
        values = results.values(row, metric.key)
        each = [Cell(_text(values.get(seed)), number=True) for seed in seeds]
        rows.append([metric.title, _estimate_cell(results, row, metric), *each])
    head = ["", "mean", *(f"seed {seed}" for seed in seeds)]
    return html.table(f"{row}, seed by seed, preset {results.preset}", head, rows) + stamp(results)


@dataclass(frozen=True)
class Comparison:
    """What EFA has over another row, or over itself with another text: each (row, protocol), '' its own protocol."""

    name: str
    other: tuple[str, str]
    first: tuple[str, str] = ("EFA", "")

    def change(self, results: Results, metric: Metric) -> Change:
        """The other's score, and what is lost with it, paired by seed; NaN without a common seed. Higher is better."""
        a, b = (results.values(row, metric.key, protocol) for row, protocol in (self.first, self.other))
        common = sorted(a.keys() & b.keys())
        if not common:
            return Change(*[math.nan] * 4)
        gaps = np.array([a[seed] - b[seed] for seed in common])
        return Change(float(np.mean([b[seed] for seed in common])), *mean_interval(gaps))


RIGHT = ("EFA", "oracle")
GIVEN = (Comparison("no text", ("EFA", "none")), Comparison("another action's text", ("EFA", "wrong")))
TRAINED = (
    Comparison("trained without text", ("w/o text", "")),
    Comparison("trained with another action's text", ("Wrong text", "")),
)
TEXT: dict[str, tuple[Comparison, ...]] = {  # table -> comparisons that ask what its text is worth
    "6": (*GIVEN, TRAINED[0], Comparison("trained with the steps shuffled", ("Shuffled text", ""))),
    "readings": (TRAINED[1], Comparison("trained with random vectors for the sentences", ("Random vectors", ""))),
    "standards": (
        Comparison("no text", ("EFA", "none"), RIGHT),
        Comparison("another standard's text", ("EFA", "wrong"), RIGHT),
        *TRAINED,
    ),
    "unseen": tuple(
        Comparison(one.name, (one.other[0], one.other[1] or "oracle"), RIGHT) for one in (*GIVEN, *TRAINED)
    ),
}
MACHINE: dict[str, tuple[Comparison, ...]] = {  # the same for the attentions and the gate
    "6": tuple(
        Comparison(f"trained: {row}", (row, ""))
        for row in ("w/o global branch", "w/o step branch", "Q-text", "Q-video", "Concatenate", "Add")
    )
}


NAMES = {"6": "main", "readings": "main, more readings", "standards": "standards", "unseen": "unseen actions"}
OUTCOMES = {  # of `Change` -> in words
    "used": "matters",
    "not used": "does not matter",
    "in the way": "harms",
    "inconclusive": "cannot be said",
    "": "not trained yet",
}


def outcome_of(change: Change) -> str:
    """In words; nothing is known without a common seed, and nothing can be said with one."""
    return OUTCOMES["" if math.isnan(change.loss) else change.outcome]


def worth_table(
    title: str, asked: Mapping[str, Sequence[Comparison]], tables: Sequence[Results], metrics: Sequence[Metric]
) -> Html:
    """What is lost with each comparison's other side, by the seeds that both have, and whether that can be said."""
    rows: list[list[str | Cell]] = []
    for results in tables:
        rows.append([NAMES[results.table]])
        rows += [[one.name, *(_change_cell(one.change(results, m)) for m in metrics)] for one in asked[results.table]]
    notes = [
        "The score with what stands at the left in place of EFA's own, and below it what is lost against EFA, paired "
        f"by seed. It matters: at least {TOLERANCE:g} point is lost and the 95 % interval over seeds lies above 0. It "
        f"does not: the interval lies within {TOLERANCE:g} point of 0. It harms: it is better without. With one seed "
        "there is no interval, the difference is that of two single runs, and nothing can be said."
    ]
    return html.table(title, ["", *(metric.title for metric in metrics)], rows, notes) + stamp(tables[0])


def summary(
    subject: str, asked: Mapping[str, Sequence[Comparison]], tables: Sequence[Results], metrics: Sequence[Metric]
) -> Html:
    """The outcomes of a `worth_table` in a sentence for each outcome."""
    found: dict[str, list[str]] = {outcome: [] for outcome in OUTCOMES.values()}
    for results in tables:
        for one in asked[results.table]:
            for metric in metrics:
                known = found[outcome_of(one.change(results, metric))]
                known.append(f"{metric.title} on {NAMES[results.table]} ({one.name})")
    total = sum(map(len, found.values()))
    lines = [f"{subject}, {total} comparisons."]
    lines += [
        f"{outcome.capitalize()} in {len(names)}: {'; '.join(names)}." for outcome, names in found.items() if names
    ]
    return sum((html.note(line) for line in lines[1:]), html.note(lines[0]))


def _change_cell(change: Change) -> Cell:
    if math.isnan(change.loss):
        return Cell("–", outcome_of(change), number=True)
    interval = "one seed" if math.isnan(change.low) else f"{change.low:+.1f} to {change.high:+.1f}"
    return Cell(f"{change.value:.1f}", f"{change.loss:+.1f} ({interval}) {outcome_of(change)}", number=True)


def _estimate_cell(results: Results, row: str, metric: Metric) -> Cell:
    found = estimates.estimate(results, row, metric.key)
    interval = f"[{found.low:.1f}, {found.high:.1f}]" if found.bounded else ""
    return Cell(_text(found.mean if found.known else None), interval, number=True)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
