"""The book's figures: each function returns a matplotlib figure for `html.show`.

Numbers come from `estimates`, frames and weights from the caller. The neutral panel behind every figure reads the same
on a light and on a dark page.
"""

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

from efa.utils.files import write_safely
from efa_book import claims
from efa_book.collect import Results
from efa_book.table_specs import TABLE_SPECS

PANEL, INK, FAINT = "#f7f7f5", "#22262b", "#8a8f98"
BLUE, ORANGE = sns.color_palette("colorblind", 2).as_hex()
Drawn = TypeVar("Drawn", Figure, Figure | None)
STYLE: Any = {
    "figure.facecolor": PANEL,
    "axes.facecolor": PANEL,
    "savefig.facecolor": PANEL,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
}


def styled(draw: Callable[..., Drawn]) -> Callable[..., Drawn]:
    """Decorator: the book's style for this figure alone; a reader's own settings stay as they are."""

    @wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Drawn:
        with mpl.rc_context(STYLE):
            figure = draw(*args, **kwargs)
            if figure is not None:
                figure.canvas.draw()  # the layout is settled while the style holds
            return figure

    return wrapped


def draw_grid(ax: Axes, axis: Literal["x", "y"] = "y") -> None:
    ax.grid(True, axis=axis, color=FAINT, alpha=0.25, lw=0.6)


def curve_colours(count: int) -> list[str]:
    return sns.color_palette("colorblind", max(count, 1)).as_hex()


def fault_name(fault: str) -> str:
    """'squat/knees_cave' -> 'knees cave'."""
    return fault.split("/")[-1].replace("_", " ")


@styled
def forest(results: Results) -> Figure | None:
    """The claims on a table: a panel a metric, a line a pair of rows. D in percent of the reference with its 95 %
    (thin) and 90 % interval (thick), the tolerance as a band, the paper's D as a diamond; None without results."""
    judged = claims.judge(results)
    if not results.origin or not judged:
        return None
    shown = [one for one in TABLE_SPECS[results.table].metrics if any(one.key == each.claim.metric for each in judged)]
    pairs = list(dict.fromkeys(one.claim.compared for one in judged))[::-1]
    figure = Figure(figsize=(8.6, 0.9 + 0.3 * len(pairs)))
    for ax, metric in zip(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True):
        ax.axvline(0, color=FAINT, lw=0.8, zorder=0)
        for one in (one for one in judged if one.claim.metric == metric.key):
            at, gap, unit = pairs.index(one.claim.compared), one.gap, 100 / one.level
            if gap.known:
                band = one.tolerance * unit
                ax.barh(at, 2 * band, left=-band, height=1, color=FAINT, alpha=0.2, lw=0, zorder=0)
                colour = FAINT if one.outcome == claims.UNLEARNED else BLUE
                ax.plot([gap.low * unit, gap.high * unit], [at, at], color=colour, lw=1)
                ax.plot([gap.low90 * unit, gap.high90 * unit], [at, at], color=colour, lw=2.5, solid_capstyle="butt")
                ax.plot([gap.mean * unit], [at], "o", color=colour, ms=4)
            elif one.reason:
                ax.text(0.5, at, "not here", color=FAINT, ha="center", va="center", transform=ax.get_yaxis_transform())
            ax.plot([one.paper_relative], [at], "D", color=ORANGE, mfc="none", ms=4)
        ax.set(xlabel="%", ylim=(-0.6, len(pairs) - 0.4))
        ax.set_title(metric.title, fontsize=8.5)
        ax.set_yticks(range(len(pairs)), pairs)
        ax.tick_params(axis="y", length=0)
    return figure


CURVES = {
    "val_class": "loss: action",
    "val_quality": "loss: verdict",
    "val_text": "loss: text",
    "val_quality_balanced_acc": "balanced accuracy",
}


@styled
def training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Validation curves (`CURVES`) of several runs; `histories`: label -> history with `epoch`."""
    figure = Figure(figsize=(8.6, 2.5))
    axes = figure.subplots(1, len(CURVES), squeeze=False)[0]
    last = max((int(history["epoch"].max()) for history in histories.values()), default=1)
    for ax, (column, title) in zip(axes, CURVES.items(), strict=True):
        for colour, (label, history) in zip(curve_colours(len(histories)), histories.items(), strict=False):
            if column in history:
                known = history.dropna(subset=[column])
                ax.plot(known["epoch"], known[column], "o-", ms=3, lw=1.3, color=colour, label=label)
        ax.set(title=title, xlabel="epoch", xlim=(0.5, last + 0.5), xticks=range(1, last + 1, max(1, last // 6)))
        draw_grid(ax)
    if histories:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


@styled
def gate_histogram(gate: np.ndarray) -> Figure:
    """How the gate's values g, any shape, in [0, 1], are distributed."""
    figure = Figure(figsize=(5.2, 2.2))
    ax: Axes = figure.subplots()
    ax.hist(np.asarray(gate).ravel(), bins=40, range=(0, 1), color=BLUE)
    ax.set(xlabel="g of eq. 9:   0 the steps   ...   1 the instruction", ylabel="channels and patches")
    return figure


@styled
def attention_map(frames: np.ndarray, weights: np.ndarray, steps: Sequence[str], width: int = 44) -> Figure:
    """Which frame each step looks at (weights [5, T], rows sum to 1), below the frames themselves, uint8 [T, H, W, 3];
    the texts of the steps are cut to `width` characters."""
    count = len(frames)
    figure = Figure(figsize=(8.6, 3.4))
    grid = figure.add_gridspec(2, count + 1, height_ratios=(1.1, 1.5), width_ratios=(*([1.0] * count), 0.08))
    for t in range(count):
        ax = figure.add_subplot(grid[0, t])
        ax.imshow(frames[t])
        ax.set_title(f"frame {t + 1}")
        ax.set_axis_off()
    ax = figure.add_subplot(grid[1, :count])
    top = max(float(weights.max()), 2 / count)
    shown = ax.imshow(weights, cmap="Blues", aspect="auto", vmin=0, vmax=top)
    names = [step if len(step) <= width else step[: width - 1].rstrip() + "…" for step in steps]
    ax.set_yticks(range(len(names)), [f"{i}  {name}" for i, name in enumerate(names, 1)])
    ax.set_xticks(range(count), [str(t + 1) for t in range(count)])
    for (row, t), weight in np.ndenumerate(weights):
        ax.text(t, row, f"{weight:.2f}", ha="center", va="center", color="white" if weight > 0.65 * top else INK)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure.colorbar(shown, cax=figure.add_subplot(grid[1, count]))
    return figure


@dataclass(frozen=True)
class Box:
    """A box of a diagram: its middle, its text, and what it stands for, a key of `BOX_COLOURS`."""

    x: float
    y: float
    text: str
    kind: str = "data"
    width: float = 0.84
    height: float = 0.5

    def edges(self, axis: int) -> tuple[float, float]:
        """Where it begins and ends, across (0) or up (1)."""
        middle, size = ((self.x, self.width), (self.y, self.height))[axis]
        return middle - size / 2, middle + size / 2

    def arrow_to(self, other: "Box") -> list[tuple[float, float]]:
        """Where an arrow starts and ends: level or upright where the boxes allow it, else from corner to corner."""
        places = []
        for (low, high), (other_low, other_high) in ((self.edges(axis), other.edges(axis)) for axis in (0, 1)):
            middle = (max(low, other_low) + min(high, other_high)) / 2
            apart = (high, other_low) if high < other_low else (low, other_high) if low > other_high else None
            places.append(apart or (middle, middle))
        return list(zip(*places, strict=True))


Arrows = Sequence[tuple[str, str, str]]  # (from, to, text beside it): boxes by their names
BOX_COLOURS = {"data": "white", "model": "#d3e4f2", "person": "#f8e0c4", "program": "#e3e9dc"}


def chains(text: str) -> list[tuple[str, str, str]]:
    """'a>b>c d>c' -> arrows from a to b, from b to c and from d to c, without texts."""
    return [(a, b, "") for chain in text.split() for a, b in itertools.pairwise(chain.split(">"))]


@styled
def diagram(boxes: Mapping[str, Box], arrows: Arrows, titles: Sequence[tuple[float, str]] = ()) -> Figure:
    """Boxes and arrows, in units of any size, over the width of the page; `titles`: (height, text)."""
    left, right = (f(edge for box in boxes.values() for edge in box.edges(0)) for f in (min, max))
    low, high = (f(edge for box in boxes.values() for edge in box.edges(1)) for f in (min, max))
    high += 0.3 if titles else 0
    figure = Figure(figsize=(8.6, 8.6 * (high - low + 0.1) / (right - left) + 0.25))
    ax: Axes = figure.subplots()
    ax.set(xlim=(left - 0.04, right + 0.04), ylim=(low - 0.05, high + 0.05))
    ax.set_axis_off()
    for box in boxes.values():
        look: Any = {"facecolor": BOX_COLOURS[box.kind], "edgecolor": BLUE, "linewidth": 0.9}
        corner, shape = (box.edges(0)[0], box.edges(1)[0]), "round,pad=0,rounding_size=0.06"
        ax.add_patch(FancyBboxPatch(corner, box.width, box.height, shape, **look))
        ax.text(box.x, box.y, box.text, ha="center", va="center", fontsize=6.8, linespacing=1.35)
    for name, other, text in arrows:
        (x, y), (to_x, to_y) = boxes[name].arrow_to(boxes[other])
        look = {"arrowstyle": "-|>", "mutation_scale": 8, "color": FAINT, "shrinkA": 0, "shrinkB": 0}
        ax.add_patch(FancyArrowPatch((x, y), (to_x, to_y), **look))
        behind = {"facecolor": PANEL, "edgecolor": "none", "pad": 0.8} if text else None
        ax.text((x + to_x) / 2, (y + to_y) / 2, text, ha="center", va="center", fontsize=6.8, bbox=behind)
    for y, text in titles:
        ax.text(left, y, text, fontsize=9, fontweight="bold", va="center")
    shown = [kind for kind in BOX_COLOURS if any(box.kind == kind for box in boxes.values())]
    patches = [Patch(facecolor=BOX_COLOURS[kind], edgecolor=BLUE, label=kind) for kind in shown]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False, fontsize=7.5)
    return figure


@styled
def film(frames: np.ndarray) -> Figure:
    """The frames of a clip, uint8 [T, H, W, 3], in a row."""
    figure = Figure(figsize=(8.6, 1.5))
    for ax, frame in zip(figure.subplots(1, len(frames), squeeze=False)[0], frames, strict=True):
        ax.imshow(frame)
        ax.set_axis_off()
    return figure


def save_contact_sheet(to: Path, size: int = 112) -> Path:
    """Every action of FormSim, standard and faulty, as a PNG with a palette: a third of the bytes.

    $ python -c "from efa_book.figures import save_contact_sheet as s; from pathlib import Path; s(Path('actions.png'))"
    """
    from formsim.preview import sheet

    return save_png(np.asarray(sheet([], size=size)), to, colours=256)


def save_png(image: np.ndarray, to: Path, colours: int) -> Path:
    """An image uint8 [H, W, 3] with a palette of so many colours."""
    from PIL import Image

    small = Image.fromarray(image).quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    data = io.BytesIO()
    small.save(data, "PNG", optimize=True)
    write_safely(to, lambda path: path.write_bytes(data.getvalue()))
    return to
