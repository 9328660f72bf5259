"""EFA on poses: what its encoder reads, poses beside pixels, and seed by seed."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from efa.experiments import select, table_config
from efa.model.pose import turn_to_front
from efa.utils.errors import InputError
from efa_book import blind, estimates, html
from efa_book.collect import Results
from efa_book.figures import BLUE, INK, ORANGE, styled
from efa_book.html import Cell, Html
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
    """The settings in which EFA's runs differ between two presets, the encoder's own left out."""
    one, other = (select("6/EFA", preset, (0,))[0].config.to_dict() for preset in (first, second))
    rows: list[list[str | Cell]] = [
        [f"{section}.{name}", html.setting(one[section].get(name, "–")), html.setting(value)]
        for section in one if section != "encoder"
        for name, value in other[section].items() if one[section].get(name) != value
    ]  # fmt: skip
    notes = ["Beside the encoder. Learning rates and the like are what the search found. data.actions 0: all."]
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


def _estimate_cell(results: Results, row: str, metric: Metric) -> Cell:
    found = estimates.estimate(results, row, metric.key)
    interval = f"[{found.low:.1f}, {found.high:.1f}]" if found.bounded else ""
    return Cell(_text(found.mean if found.known else None), interval, number=True)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
