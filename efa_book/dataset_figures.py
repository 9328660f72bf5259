"""The figures about data: the lexicon, the words of the explanations, how the vocabulary grows, the annotation, and
examples: views, and standard clips beside non-standard ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import yaml
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Wedge
from PIL import Image, ImageDraw

import formsim
from efa.data.loader import formsim_clips
from efa.data.manifest import load_dataset
from efa.utils.errors import InputError
from efa_book import html
from efa_book.dataset_sources import DEFINITIONS, Source, Sources, stamp
from efa_book.figures import BLUE, FAINT, ORANGE, PANEL, Box, chains, diagram, draw_grid, fault_name, save_png, styled
from efa_book.html import Html
from efa_datasets import cot_afa
from efa_datasets.statistics import VIEWS
from formsim.dataset import performance, sample_phases
from formsim.motion import JOINTS
from formsim.preview import specimen

CENTRE, INNER, MIDDLE, OUTER = 0.27, 0.37, 0.76, 1.0  # radii of a sunburst's rings
LEGIBLE = 3.2  # degrees that a label needs
MANY = 40  # actions of a mode whose names need a wide disc
MARTIAL_ARTS = {kind.casefold() for _, kind in cot_afa.MARTIAL_ARTS.values()}  # workout types, CoT-AFA's and FormSim's
MARTIAL_ARTS |= {"long fist", "shaolin fist", "southern fist", "tai chi", "tai chi sword"}
GROUPS = {"fitness": FAINT, "martial arts": ORANGE}  # the innermost ring


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
    group: str = ""  # of the innermost ring


def draw_sunburst(ax: Axes, title: str, sectors: Sequence[Sector], outside: bool = False) -> None:
    """Two rings: the sectors, clockwise from the top, and around each its parts, named in their ring or outside it.

    Within them a narrow ring in the colour of each sector's group, a key of `GROUPS`, where it has one.
    """
    palette = sns.color_palette("colorblind", 10)
    total = sum(sector.size for sector in sectors) or 1.0
    start = 90.0
    for i, sector in enumerate(sectors):
        colour = np.array(to_rgb(palette[i % len(palette)]))
        width = 360 * sector.size / total
        _draw_ring(ax, start, width, INNER, MIDDLE, colour, 0.55)
        if sector.group:
            _draw_ring(ax, start, width, CENTRE, INNER, np.array(to_rgb(GROUPS[sector.group])), 0.6)
        size = min(6.6, (60 if outside else 95) / max(len(sector.name), 1))  # points; long names must fit into the ring
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
    ax.text(0, 0, title, ha="center", va="center", fontsize=5.4 if outside else 6.8, linespacing=1.3)
    reach = 1.72 if outside else 1.03
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
    """One sunburst a mode: fitness and martial arts where there are any, types, and actions, dark by their share of
    non-standard clips; None without clips. The actions are named where the data set itself is at hand."""
    actions = source.table("actions")
    modes = sorted(actions["mode"].unique())
    martial = actions["type"].str.casefold().isin(MARTIAL_ARTS)
    if not modes:
        return None
    names = [] if source.dataset is None else source.dataset.actions
    stacked = len(modes) == 1 or (source.dataset is not None and actions.groupby("mode").size().max() > MANY)
    figure = Figure(figsize=(8.6, 7.2 * len(modes) if stacked else 4.9))
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
            arts = list(GROUPS)[int(martial[group.index[0]])] if martial.any() else ""
            sectors.append(Sector(str(kind) or "not said", float(group["clips"].sum()), parts, group=arts))
        sectors.sort(key=lambda sector: (sector.group, -sector.size, sector.name))
        draw_sunburst(ax, title, sectors, outside=source.dataset is not None)
    if martial.any():
        patches = [Patch(facecolor=colour, alpha=0.6, label=name) for name, colour in GROUPS.items()]
        figure.legend(handles=patches, loc="outside lower center", ncols=2, frameon=False, fontsize=7.5)
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


@styled
def pipeline(sources: Sources) -> Figure:
    """How verdicts and texts come about: CoT-AFA's as Section III-D describes it, FormSim's in its code."""
    counts = defaultdict(lambda: "–")
    for source, what in product(sources.all, ("actions", "texts")):
        if (number := source.number("counts", what, DEFINITIONS.get(what, ""))) is not None:
            counts[f"{source.name} {what}"] = f"{number:,.0f}"
    drawn = yaml.safe_load(Path(__file__).with_name("annotation.yaml").read_text("utf-8"))
    boxes = {name: Box(**box | {"text": box["text"].format_map(counts)}) for name, box in drawn["boxes"].items()}
    return diagram(boxes, chains(drawn["arrows"]), drawn["titles"])


FORMS = {  # the two actions of the paper's Figure 3 -> the fault that Section III-B describes, and a view of it
    "Dumbbell Lateral Raise": ("too_high", "front"),
    "Barbell Deadlift": ("rounded_back", "side"),
}
FRAMES_SHOWN = 3  # frames of a clip in a grid of examples
RULE = (
    "Chosen by rule, not by eye: of the actions shown from the most sides in both verdicts the paper's two, then "
    "the first by name; from each side the first standard and the first non-standard clip, in the order of clip ids."
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


def find_examples(source: Source, size: int = 112, place: int = 0) -> Examples:
    """The clips that `RULE` names, of its first action (`place` 0) or a later one, drawn for FormSim, decoded for a
    folder; `problem` where no video can be read."""
    if source.dataset is None:
        return Examples(problem=f"{source.name}: only its numbers are published, its videos are not here.")
    clips = source.dataset.table
    sides = clips.drop_duplicates(["action", "view", "quality"]).groupby("action").size()
    names = sorted(sides.index, key=lambda name: (-sides[name], name not in FORMS, name))
    if place >= len(names):
        return Examples(problem=f"{source.name}: it has no further action.")
    found = Examples(names[place])
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


STARTS = {"shoulder": JOINTS.index("neck"), "hip": JOINTS.index("pelvis")}  # of limbs; else the joint before is
BONES = np.array([(STARTS.get(name[:-2], i - 1), i) for i, name in enumerate(JOINTS) if i])
WRONG = 12.0  # degrees between a bone's directions from which it is drawn as wrong
GREEN, RED = (0, 220, 90), (213, 0, 0)


def find_forms(size: int = 224) -> Examples:
    """One performer right and wrong, a row an action of `FORMS`: limbs in green, and in thick red where they differ."""
    found = Examples()
    for action, (fault, view) in FORMS.items():
        clips = [specimen(action, one, view) for one in ("", fault)]
        ways = [np.diff(performance(clip, sample_phases(FRAMES_SHOWN))[0][:, BONES], axis=2) for clip in clips]
        cosines = [(ways[0] * way).sum((2, 3)) / (ways[0] ** 2).sum((2, 3)) for way in ways]  # a bone keeps its length
        found.rows[action.replace(" ", "\n", 1)] = [
            _draw_limbs(clip, cosine < np.cos(np.deg2rad(WRONG)), size)
            for clip, cosine in zip(clips, cosines, strict=True)
        ]
    return found


def _draw_limbs(clip: formsim.Clip, wrong: np.ndarray, size: int) -> np.ndarray:
    """Frames uint8 [T, size, size, 3] with a line along each bone; `wrong`: bool [T, bones]."""
    drawn = [Image.fromarray(frame) for frame in formsim.render_clip(clip, size, FRAMES_SHOWN, clutter=0)]
    places = formsim.pose_target(clip, FRAMES_SHOWN)[2] * size  # [T, 20, 2]
    for image, joints, marks in zip(drawn, places, wrong, strict=True):
        for bone in np.argsort(marks):  # the wrong ones on top
            colour, width = (RED, size // 40) if marks[bone] else (GREEN, size // 75)
            ImageDraw.Draw(image).line(joints[BONES[bone]].ravel().tolist(), colour, width)
    return np.stack([np.asarray(image) for image in drawn])


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
    """A row for each action of a data set with videos: a clip of either verdict, from front and side, at two moments.

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
