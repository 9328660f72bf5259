"""The figures about data: the lexicon, the words of the explanations, how the vocabulary grows, the annotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Wedge

from efa_book import figures, html
from efa_book.dataset_sources import Source, Sources, stamp
from efa_book.figures import BLUE, FAINT, INK, ORANGE, PANEL
from efa_book.html import Html

INNER, MIDDLE, OUTER = 0.30, 0.74, 1.0  # radii of a sunburst's rings
LEGIBLE = 3.2  # degrees that a label needs
MANY = 40  # actions of a mode whose names need a wide disc


@dataclass(frozen=True)
class Sector:
    """A sector of a sunburst.

    Attributes:
        size: in any unit; its parts share it in proportion to theirs.
        share: of its depth that is drawn darker.
    """

    name: str
    size: float
    parts: tuple[Sector, ...] = ()
    share: float = 0.0


def sunburst(ax: Axes, title: str, sectors: Sequence[Sector], outside: bool = False) -> None:
    """Two rings: the sectors, clockwise from the top, and around each its parts.

    Args:
        outside: names of the parts stand outside their ring, not in it.
    """
    palette = sns.color_palette("colorblind", 10)
    total = sum(sector.size for sector in sectors) or 1.0
    start = 90.0
    for i, sector in enumerate(sectors):
        colour = np.array(to_rgb(palette[i % len(palette)]))
        width = 360 * sector.size / total
        _ring(ax, start, width, INNER, MIDDLE, colour, 0.55)
        size = min(5.6, 75 / max(len(sector.name), 1)) if outside else 6.6  # points; long names must fit into the ring
        _label(ax, sector.name, start - width / 2, (INNER + MIDDLE) / 2, width, size)
        inside = sum(part.size for part in sector.parts) or 1.0
        at = start
        for part in sector.parts:
            span = width * part.size / inside
            _ring(ax, at, span, MIDDLE, OUTER, colour, 0.22)
            if part.share:
                _ring(ax, at, span, MIDDLE, MIDDLE + (OUTER - MIDDLE) * part.share, colour, 0.6)
            place = OUTER + 0.03 if outside else (MIDDLE + OUTER) / 2
            _label(ax, part.name, at - span / 2, place, 99 if outside else span, 5.4 if outside else 6.2, outside)
            at -= span
        start -= width
    ax.text(0, 0, title, ha="center", va="center", fontsize=7.5, linespacing=1.3)
    reach = 1.62 if outside else 1.03
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    ax.set_aspect("equal")
    ax.set_axis_off()


def _ring(ax: Axes, start: float, width: float, low: float, high: float, colour: np.ndarray, strength: float) -> None:
    mixed = 1 - strength * (1 - colour)
    ax.add_patch(
        Wedge((0, 0), high, start - width, start, width=high - low, facecolor=mixed, edgecolor=PANEL, linewidth=0.5)
    )


def _label(ax: Axes, text: str, angle: float, radius: float, width: float, size: float, outside: bool = False) -> None:
    """A text along the radius, read from outside in on the left half; none where the sector is too narrow."""
    if width < LEGIBLE or not text:
        return
    turn = np.deg2rad(angle)
    left = np.cos(turn) < 0
    side = "center" if not outside else "right" if left else "left"
    ax.text(
        *(radius * np.cos(turn), radius * np.sin(turn), text),
        rotation=(angle + 180 if left else angle) % 360,
        rotation_mode="anchor",
        ha=side,
        va="center",
        fontsize=size,
    )


def show(figure: Figure | None, sources: Sequence[Source], alt: str, caption: str) -> Html:
    """A figure and where its numbers come from; where there is none, a line says so."""
    missing = f"{sources[0].name} has nothing to draw here."
    return (html.note(missing) if figure is None else html.show(figure, alt, caption)) + stamp(*sources)


@figures._styled
def lexicon(source: Source) -> Figure | None:
    """One sunburst a mode: its types, and around each its actions, dark by their share of non-standard clips; None
    without clips. The actions are named where the data set itself is at hand."""
    actions = source.table("actions")
    modes = [mode for mode in actions["mode"].unique() if len(actions[actions["mode"] == mode])]
    if not modes:
        return None
    named = source.dataset is not None
    stacked = len(modes) == 1 or (named and actions.groupby("mode").size().max() > MANY)
    figure = Figure(figsize=(8.6, 7.2 * len(modes) if stacked else 4.4))
    grid = figure.subplots(*((len(modes), 1) if stacked else (1, len(modes))), squeeze=False).ravel()
    for ax, mode in zip(grid, modes, strict=True):
        own = actions[actions["mode"] == mode]
        title = f"{mode or 'mode not said'}\n{len(own)} actions\n{own['clips'].sum():,.0f} clips"
        sunburst(ax, title, _sectors(source, own), outside=named)
    return figure


def _sectors(source: Source, actions: pd.DataFrame) -> list[Sector]:
    names = [] if source.dataset is None else source.dataset.actions
    sectors = []
    for kind, group in actions.groupby("type", sort=False):
        parts = tuple(
            Sector(names[int(row["number"])] if names else "", row["clips"], (), row["nonstandard"] / row["clips"])
            for _, row in group.iterrows()
        )
        sectors.append(Sector(str(kind) or "not said", float(group["clips"].sum()), parts))
    return sorted(sectors, key=lambda sector: (-sector.size, sector.name))


@figures._styled
def words(source: Source) -> Figure | None:
    """Two sunbursts: cues of reasons and verbs of advice with the words that follow; None without explanations."""
    table = source.table("lexicon")
    if table.empty:
        return None
    figure = Figure(figsize=(8.6, 4.5))
    titles = {"reasoning": "reasons:\ncue and what\nfollows it", "suggestion": "suggestions:\nafter 'should',\n'must'"}
    for ax, (what, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        own = table[table["what"] == what]
        sectors = []
        for parent, group in own.groupby("parent", sort=False):
            parts = [Sector(str(row["word"]), float(row["texts"])) for _, row in group.iterrows() if row["word"]]
            size = float(group.loc[group["word"] == "", "texts"].iloc[0])
            sectors.append(Sector(str(parent), size, tuple(parts)))
        sunburst(ax, title, sectors)
    return figure


@figures._styled
def vocabulary(sources: Sources) -> Figure | None:
    """Different words over the number of texts, with its extrapolation and the paper's number; None without texts."""
    source = sources.about
    table = source.table("growth")
    if table.empty:
        return None
    figure = Figure(figsize=(8.6, 3.0))
    ax: Axes = figure.subplots()
    ax.fill_between(table["texts"], table["low"], table["high"], color=BLUE, alpha=0.25, lw=0)
    ax.plot(table["texts"], table["words"], color=BLUE, lw=1.6, label=f"{source.name}, its texts in random orders")
    about, law = "vocabulary if every clip had a text", "Heaps' law"
    ends = [source.number(about, name, law) for name in ("texts", "words", "words, low", "words, high")]
    if None not in ends:
        at, middle, low, high = (float(end or 0) for end in ends)
        ax.plot([table["texts"].iloc[-1], at], [table["words"].iloc[-1], middle], color=BLUE, lw=1, ls=":")
        bar = np.array([[middle - low], [high - middle]])
        ax.errorbar([at], [middle], bar, fmt="o", color=BLUE, ms=5, capsize=3, label="if every clip had a text")
        printed, texts = sources.printed("II", "vocabulary"), sources.printed("I", "texts")
        if printed and texts:
            ax.plot([texts], [printed], "D", color=ORANGE, ms=5, label="the paper")
    ax.set_xlabel("texts")
    ax.set_ylabel("different words")
    ax.set_ylim(bottom=0)
    ax.yaxis.grid(True, color=FAINT, alpha=0.25, lw=0.6)
    ax.legend(frameon=False, loc="lower right")
    return figure


# --- the annotation, drawn --------------------------------------------------------------------------------------------


def _lanes(sources: Sources) -> dict[str, list[tuple[str, bool]]]:
    """Data set -> what is done in turn, and whether the released files (or our code) show it; else it is only said."""

    def count(name: str, *number: str) -> str:
        source = sources.named(name)
        found = source.number(*number) if source else None
        return "n/a" if found is None else f"{found:,.0f}"

    paper, stand_in, people = "CoT-AFA", "FormSim", "UI-PRMD"
    told = ("counts", "texts", "explanation not blank")
    clips, hidden = count(paper, "counts", "clips"), count(paper, "counts", "clips, view not said")
    seen = count(people, "counts", "people", "named in the manifest")
    return {
        paper: [
            ("videos found\non the web", False),
            (
                f"a spreadsheet: {clips}\nclips, class, verdict;\nview missing in {hidden}",
                True,
            ),
            (f"{count(paper, 'counts', 'actions')} actions:\nfive steps and\nan instruction each", True),
            ("video and language\nmodels draft texts\n(VideoChat, Gemini 2.0)", False),
            ("experts\ncheck them", False),
            (f"explanations:\n{count(paper, *told)} are released", True),
        ],
        people: [
            ("motion capture:\n39 markers", True),
            (
                f"{seen} people do it\nright, then wrong\non purpose",
                True,
            ),
            ("steps and instruction\nwritten by us", True),
            ("rendered by us from\nfront and side", True),
            (f"{count(people, 'counts', 'clips')} clips\nwith verdict", True),
            ("no text", True),
        ],
        stand_in: [
            ("action files: motion,\nfaults, steps,\nwordings", True),
            ("person, room, fault,\nseverity and onset\nare drawn by lot", True),
            ("the clip is\nrendered", True),
            ("the verdict follows\nfrom fault and\nseverity", True),
            ("the text is put\ntogether from the\nfault's wordings", True),
            (f"{count(stand_in, *told)} explanations,\ntrue fault known", True),
        ],
    }


@figures._styled
def pipeline(sources: Sources) -> Figure:
    """How each data set's annotations come about, a lane each; dashed: said by the authors, not to be seen in files."""
    lanes = _lanes(sources)
    figure = Figure(figsize=(8.6, 1.35 * len(lanes)))
    ax: Axes = figure.subplots()
    for y, (name, boxes) in zip(range(len(lanes))[::-1], lanes.items(), strict=True):
        ax.text(-0.04, y + 0.45, name, fontsize=9, fontweight="bold", va="bottom", ha="left")
        for x, (text, seen) in enumerate(boxes):
            colour = BLUE if seen else FAINT
            style = "-" if seen else (0, (3, 2))
            look: Any = {"facecolor": "white", "edgecolor": colour, "linestyle": style, "linewidth": 1.1}
            ax.add_patch(FancyBboxPatch((x, y - 0.33), 0.82, 0.66, "round,pad=0.02,rounding_size=0.06", **look))
            ax.text(x + 0.41, y, text, ha="center", va="center", fontsize=6.6, color=INK)
            if x:
                ax.add_patch(
                    FancyArrowPatch((x - 0.155, y), (x - 0.025, y), arrowstyle="-|>", mutation_scale=7, color=FAINT)
                )
    ax.set_xlim(-0.06, max(map(len, lanes.values())) - 0.12)
    ax.set_ylim(-0.45, len(lanes) - 0.25)
    ax.set_axis_off()
    return figure
