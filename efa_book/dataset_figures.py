"""The figures about data: the lexicon, the words of the explanations, how the vocabulary grows, the annotation, and
examples: views, and standard clips beside non-standard ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Wedge

import formsim
from efa.data.loader import formsim_clips
from efa.data.manifest import load_dataset
from efa.utils.errors import InputError
from efa_book import html
from efa_book.dataset_sources import DEFINITIONS, Source, Sources, stamp
from efa_book.figures import BLUE, FAINT, INK, ORANGE, PANEL, draw_grid, fault_name, save_png, styled
from efa_book.html import Html
from efa_datasets.statistics import VIEWS

INNER, MIDDLE, OUTER = 0.30, 0.74, 1.0  # radii of a sunburst's rings
LEGIBLE = 3.2  # degrees that a label needs
MANY = 40  # actions of a mode whose names need a wide disc


def show_figure(figure: Figure | None, sources: Sequence[Source], alt: str, caption: str) -> Html:
    """A figure and where its numbers come from; where there is none, a line says so."""
    missing = html.note(f"{sources[0].name} has nothing to draw here.")
    return (html.show(figure, alt, caption) if figure else missing) + stamp(*sources)


@dataclass(frozen=True)
class Sector:
    """A sector of a sunburst."""

    name: str
    size: float  # in any unit; its parts share it in proportion to theirs
    parts: Sequence[Sector] = ()
    share: float = 0.0  # of its depth that is drawn darker


def draw_sunburst(ax: Axes, title: str, sectors: Sequence[Sector], outside: bool = False) -> None:
    """Two rings: the sectors, clockwise from the top, and around each its parts, named in their ring or outside it."""
    palette = sns.color_palette("colorblind", 10)
    total = sum(sector.size for sector in sectors) or 1.0
    start = 90.0
    for i, sector in enumerate(sectors):
        colour = np.array(to_rgb(palette[i % len(palette)]))
        width = 360 * sector.size / total
        _draw_ring(ax, start, width, INNER, MIDDLE, colour, 0.55)
        size = min(5.6, 75 / max(len(sector.name), 1)) if outside else 6.6  # points; long names must fit into the ring
        _draw_label(ax, sector.name, start - width / 2, (INNER + MIDDLE) / 2, width, size)
        inside = sum(part.size for part in sector.parts) or 1.0
        at = start
        for part in sector.parts:
            span = width * part.size / inside
            _draw_ring(ax, at, span, MIDDLE, OUTER, colour, 0.22)
            if part.share:
                _draw_ring(ax, at, span, MIDDLE, MIDDLE + (OUTER - MIDDLE) * part.share, colour, 0.6)
            place = OUTER + 0.03 if outside else (MIDDLE + OUTER) / 2
            _draw_label(ax, part.name, at - span / 2, place, 99 if outside else span, 5.4 if outside else 6.2, outside)
            at -= span
        start -= width
    ax.text(0, 0, title, ha="center", va="center", fontsize=7.5, linespacing=1.3)
    reach = 1.62 if outside else 1.03
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.set_axis_off()


def _draw_ring(
    ax: Axes, start: float, width: float, low: float, high: float, colour: np.ndarray, strength: float
) -> None:
    mixed: Any = 1 - strength * (1 - colour)
    look: Any = {"facecolor": mixed, "edgecolor": PANEL, "linewidth": 0.5}
    ax.add_patch(Wedge((0, 0), high, start - width, start, width=high - low, **look))


def _draw_label(
    ax: Axes, text: str, angle: float, radius: float, width: float, size: float, outside: bool = False
) -> None:
    """A text along the radius, read from outside in on the left half; none where the sector is too narrow."""
    if width < LEGIBLE or not text:
        return
    turn = np.deg2rad(angle)
    left = np.cos(turn) < 0
    side = "center" if not outside else "right" if left else "left"
    look: Any = {"rotation_mode": "anchor", "ha": side, "va": "center", "fontsize": size}
    at = radius * np.cos(turn), radius * np.sin(turn)
    ax.text(*at, text, rotation=(angle + 180 if left else angle) % 360, **look)


@styled
def lexicon(source: Source) -> Figure | None:
    """One sunburst a mode: its types, and around each its actions, dark by their share of non-standard clips; None
    without clips. The actions are named where the data set itself is at hand."""
    actions = source.table("actions")
    modes = list(actions["mode"].unique())
    if not modes:
        return None
    names = [] if source.dataset is None else source.dataset.actions
    stacked = len(modes) == 1 or (source.dataset is not None and actions.groupby("mode").size().max() > MANY)
    figure = Figure(figsize=(8.6, 7.2 * len(modes) if stacked else 4.4))
    grid = figure.subplots(*((len(modes), 1) if stacked else (1, len(modes))), squeeze=False).ravel()
    for ax, mode in zip(grid, modes, strict=True):
        own = actions[actions["mode"] == mode]
        title = f"{mode or 'mode not said'}\n{len(own)} actions\n{own['clips'].sum():,.0f} clips"
        sectors = []
        for kind, group in own.groupby("type", sort=False):
            parts = [
                Sector(names[int(row["number"])] if names else "", row["clips"], (), row["nonstandard"] / row["clips"])
                for _, row in group.iterrows()
            ]
            sectors.append(Sector(str(kind) or "not said", float(group["clips"].sum()), parts))
        sectors.sort(key=lambda sector: (-sector.size, sector.name))
        draw_sunburst(ax, title, sectors, outside=source.dataset is not None)
    return figure


@styled
def words(source: Source) -> Figure | None:
    """Two sunbursts: cues of reasons and verbs of advice with the words that follow; None without explanations."""
    table = source.table("lexicon")
    if table.empty:
        return None
    figure = Figure(figsize=(8.6, 4.5))
    titles = {"reasoning": "reasons:\ncue and what\nfollows it", "suggestion": "suggestions:\nafter 'should',\n'must'"}
    for ax, (what, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        sectors = []
        for parent, group in table[table["what"] == what].groupby("parent", sort=False):
            parts = [Sector(str(row["word"]), float(row["texts"])) for _, row in group.iterrows() if row["word"]]
            size = float(group.loc[group["word"] == "", "texts"].iloc[0])
            sectors.append(Sector(str(parent), size, parts))
        draw_sunburst(ax, title, sectors)
    return figure


@styled
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
        at, middle, low, high = map(float, filter(None, ends))
        ax.plot([table["texts"].iloc[-1], at], [table["words"].iloc[-1], middle], color=BLUE, lw=1, ls=":")
        bar = np.array([[middle - low], [high - middle]])
        ax.errorbar([at], [middle], bar, fmt="o", color=BLUE, ms=5, capsize=3, label="if every clip had a text")
        printed, texts = sources.paper_number("II", "vocabulary"), sources.paper_number("I", "texts")
        if printed and texts:
            ax.plot([texts], [printed], "D", color=ORANGE, ms=5, label="the paper")
    ax.set(xlabel="texts", ylabel="different words")
    ax.set_ylim(bottom=0)
    draw_grid(ax)
    ax.legend(frameon=False, loc="lower right")
    return figure


def _pipeline_steps(sources: Sources) -> dict[str, list[str]]:
    """Data set -> what is done in turn; a '?' before what is only said, not seen in released files or our code."""

    def count(name: str, quantity: str) -> str:
        source, definition = sources.find(name), DEFINITIONS.get(quantity, "")
        found = source.number("counts", quantity, definition) if source else None
        return "–" if found is None else f"{found:,.0f}"

    return {
        "CoT-AFA": [
            "?videos found\non the web",
            f"a spreadsheet: {count('CoT-AFA', 'clips')}\nclips, class, verdict;\n"
            f"view missing in {count('CoT-AFA', 'clips, view not said')}",
            f"{count('CoT-AFA', 'actions')} actions: steps and\ninstruction, said to be\nby Gemini 2.0",
            "?VideoChat drafts texts\nfrom steps, video\nand verdict",
            "?Qwen2.5-VL checks,\nthen eight experts",
            f"explanations:\n{count('CoT-AFA', 'texts')} are released",
        ],
        "UI-PRMD": [
            "motion capture:\n39 markers",
            f"{count('UI-PRMD', 'people')} people do it\nright, then wrong\non purpose",
            "steps and instruction\nwritten by us",
            "rendered by us from\nfront and side",
            f"{count('UI-PRMD', 'clips')} clips\nwith verdict",
            "no text",
        ],
        "FormSim": [
            "action files: motion,\nfaults, steps,\nwordings",
            "person, room, fault,\nseverity and onset\nare drawn by lot",
            "the clip is\nrendered",
            "the verdict follows\nfrom fault and\nseverity",
            "the text is put\ntogether from the\nfault's wordings",
            f"{count('FormSim', 'texts')} explanations,\ntrue fault known",
        ],
    }


@styled
def pipeline(sources: Sources) -> Figure:
    """How each data set's annotations come about, a lane each; dashed: said by the authors, not to be seen in files."""
    lanes = _pipeline_steps(sources)
    figure = Figure(figsize=(8.6, 1.35 * len(lanes)))
    ax: Axes = figure.subplots()
    for y, (name, boxes) in zip(range(len(lanes))[::-1], lanes.items(), strict=True):
        ax.text(-0.04, y + 0.45, name, fontsize=9, fontweight="bold", va="bottom", ha="left")
        for x, text in enumerate(boxes):
            seen = not text.startswith("?")
            look: Any = (
                {"edgecolor": BLUE, "linestyle": "-"} if seen else {"edgecolor": FAINT, "linestyle": (0, (3, 2))}
            )
            shape = "round,pad=0.02,rounding_size=0.06"
            ax.add_patch(FancyBboxPatch((x, y - 0.33), 0.82, 0.66, shape, facecolor="white", linewidth=1.1, **look))
            ax.text(x + 0.41, y, text.removeprefix("?"), ha="center", va="center", fontsize=6.6, color=INK)
            if x:
                look = {"arrowstyle": "-|>", "mutation_scale": 7, "color": FAINT}
                ax.add_patch(FancyArrowPatch((x - 0.155, y), (x - 0.025, y), **look))
    ax.set(xlim=(-0.06, max(map(len, lanes.values())) - 0.12), ylim=(-0.45, len(lanes) - 0.25))
    ax.set_axis_off()
    return figure


FRAMES_SHOWN = 3  # frames of a clip in a grid of examples
RULE = (
    "Chosen by rule, not by eye: of the actions that are shown from the most sides in both verdicts the first by name; "
    "from each side its first standard and its first non-standard clip, in the order of clip ids."
)


@dataclass(frozen=True)
class Examples:
    """Clips side by side, row by row; a row: view -> frames uint8 [T, S, S, 3], standard and non-standard."""

    action: str = ""
    rows: dict[str, list[np.ndarray | None]] = field(default_factory=dict)
    clips: list[str] = field(default_factory=list)  # ids
    faults: list[str] = field(default_factory=list)  # 'view: fault' of the non-standard ones, where it is known
    problem: str = ""  # why nothing can be shown

    @property
    def caption(self) -> str:
        """What is shown, by which rule, and what is wrong with the non-standard clips."""
        wrong = f" What is wrong: {', '.join(self.faults)}." if self.faults else ""
        return f"{self.action}.{wrong} {RULE}"


def find_examples(source: Source, size: int = 112) -> Examples:
    """The clips that `RULE` names, drawn for FormSim, decoded for a folder; `problem` where no video can be read."""
    if source.dataset is None:
        return Examples(problem=f"{source.name}: only its numbers are published, its videos are not here.")
    clips = source.dataset.table
    sides = clips.drop_duplicates(["action", "view", "quality"]).groupby("action").size()
    found = Examples(str(sides.idxmax()))  # the first by name, as groupby sorts
    try:
        if source.config is None and source.dataset.folder is not None:
            load_dataset(source.dataset.folder)
        for view in (*VIEWS, ""):
            own = clips[(clips["action"] == found.action) & (clips["view"] == view)].sort_values("clip_id")
            pair = [own[own["quality"] == quality].head(1) for quality in (0, 1)]
            if not any(len(one) for one in pair):
                continue
            name = view or "view not said"
            found.rows[name] = [_frames(source, one.iloc[0], size) if len(one) else None for one in pair]
            found.clips.extend(clip for one in pair for clip in one["clip_id"])
            found.faults.extend(f"{name}: {fault_name(fault)}" for fault in pair[1]["fault"] if fault)
    except InputError as error:
        return Examples(problem=f"{source.name}: no videos to show ({error.message}).")
    return found


def _frames(source: Source, clip: pd.Series[Any], size: int) -> np.ndarray:
    """uint8 [FRAMES_SHOWN, size, size, 3]."""
    if source.config is not None:
        known = next(one for one in formsim_clips(source.config) if one.clip_id == clip["clip_id"])
        return formsim.render_clip(known, size, FRAMES_SHOWN)
    from efa.data.video import load_clip

    assert source.dataset is not None
    assert source.dataset.folder is not None
    return load_clip(source.dataset.folder / str(clip["path"]), FRAMES_SHOWN, size).frames


@styled
def views(shown: Examples) -> Figure | None:
    """A row a view: frames of a standard clip left, of a non-standard one right; None where nothing can be shown."""
    if not shown.rows:
        return None
    figure = Figure(figsize=(8.6, 0.3 + 1.38 * len(shown.rows)))
    widths = [*([1.0] * FRAMES_SHOWN), 0.12, *([1.0] * FRAMES_SHOWN)]
    grid = figure.add_gridspec(len(shown.rows), len(widths), width_ratios=widths)
    for i, (view, pair) in enumerate(shown.rows.items()):
        for side, (verdict, frames) in enumerate(zip(("standard", "non-standard"), pair, strict=True)):
            for t in range(FRAMES_SHOWN):
                ax = figure.add_subplot(grid[i, side * (FRAMES_SHOWN + 1) + t])
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
                middle = t == FRAMES_SHOWN // 2
                if frames is None:
                    ax.text(0.5, 0.5, "none" if middle else "", ha="center", va="center", color=FAINT)
                else:
                    ax.imshow(frames[t])
                if i == 0 and middle:
                    ax.set_title(verdict)
                if side == 0 and t == 0:
                    ax.set_ylabel(view)
    return figure


def save_contact_sheet(folder: Path, to: Path, size: int = 104) -> Path:
    """Every action of a data set with videos, a row each: from front and side a standard and a non-standard clip, two
    moments of each. A PNG with a palette.

    $ efa data ui-prmd UI-PRMD ui-prmd-data --size 112 --fps 6
    $ python -c "from pathlib import Path as P; from efa_book.dataset_figures import save_contact_sheet as save
    save(P('ui-prmd-data'), P('book/_static/ui-prmd.png'))"
    """
    from efa.data.video import load_clip

    dataset = load_dataset(folder)
    clips = dataset.table.sort_values("clip_id")
    blank = np.full((size, 2 * size, 3), 247, np.uint8)
    rows = []
    for action in dataset.actions:
        strips = []
        for quality, view in ((0, "front"), (0, "side"), (1, "front"), (1, "side")):
            chosen = (clips["action"] == action) & (clips["view"] == view) & (clips["quality"] == quality)
            strip = blank
            for path in clips.loc[chosen, "path"].head(1):
                frames = load_clip(folder / path, 5, size).frames
                strip = np.concatenate([frames[1], frames[2]], axis=1)
            strips.append(strip)
        strips.insert(2, blank[:, : size // 8])
        rows.append(np.concatenate(strips, axis=1))
    return save_png(np.concatenate(rows), to, colours=128)
