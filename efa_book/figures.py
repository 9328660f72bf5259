"""The book's figures. Each function returns a matplotlib figure for `html.show`, and draws nothing that it computes
itself: numbers come from `estimates`, frames and weights from the caller.

The neutral panel behind every figure reads the same on a light and on a dark page.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from efa_book import estimates
from efa_book.collect import Results
from efa_book.table_specs import TABLE_SPECS, Metric

PANEL, INK, FAINT = "#f7f7f5", "#22262b", "#8a8f98"
BLUE, ORANGE = sns.color_palette("colorblind", 2).as_hex()
SPAN = 4.0  # points that a panel shows at least, so that no difference looks larger than it is
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


def _styled(draw: Callable[..., Drawn]) -> Callable[..., Drawn]:
    """The style for this figure alone; a reader's own settings stay as they are. `Figure` needs no display."""

    @wraps(draw)
    def styled(*args: Any, **kwargs: Any) -> Drawn:
        with mpl.rc_context(STYLE):
            figure = draw(*args, **kwargs)
            if figure is not None:
                figure.canvas.draw()  # the layout is settled while the style holds
            return figure

    return styled


@_styled
def scores(results: Results, group: str) -> Figure | None:
    """Dot and interval for each line of a table, one panel a metric of the group (`TABLE_SPECS`); None without results.

    A line at the value of the table's subject; a dotted one at what is reached without looking, where that is near. A
    number that cannot be is named.
    """
    shown = TABLE_SPECS[results.table]
    entries = shown.entries or tuple((row, "", row) for row in results.rows)
    if not results.origin:
        return None
    figure = Figure(figsize=(8.6, 0.7 + 0.32 * len(entries)))
    axes = figure.subplots(1, len(shown.figures[group]), sharey=True, squeeze=False)[0]
    reference = "" if shown.entries else shown.subject
    for ax, metric in zip(axes, shown.figures[group], strict=True):
        for at, (row, protocol, _) in zip(range(len(entries))[::-1], entries, strict=True):
            colour = BLUE if row == reference or not reference else ORANGE
            _dot(ax, at, results, metric, row, protocol, colour)
        subject = estimates.estimate(results, reference, metric.key) if reference else estimates.NOTHING
        if subject.known:
            ax.axvline(subject.mean, color=BLUE, lw=0.8, alpha=0.6, zorder=0)
        ax.set_title(metric.title)
        ax.set_ylim(-0.6, len(entries) - 0.4)
        ax.set_yticks(range(len(entries))[::-1], [label for _, _, label in entries])
        ax.tick_params(axis="y", length=0)
        ax.xaxis.grid(True, color=FAINT, alpha=0.25, lw=0.6)
        _scale(ax, estimates.floor(results).get(metric.key))
    return figure


def _dot(ax: Axes, at: int, results: Results, metric: Metric, row: str, protocol: str, colour: str) -> None:
    found = estimates.estimate(results, row, metric.key, protocol)
    if found.bounded:
        ax.plot([found.low, found.high], [at, at], color=colour, lw=2, solid_capstyle="butt")
    if found.known:
        ax.plot([found.mean], [at], "o", color=colour, ms=5)
    elif label := estimates.absence(results, row, metric.key, protocol):
        ax.text(0.5, at, label, color=FAINT, ha="center", va="center", transform=ax.get_yaxis_transform())


def _scale(ax: Axes, chance: float | None) -> None:
    """Room around the dots, never less than `SPAN`; chance is drawn where it lies no further off than they spread."""
    if not ax.lines:
        ax.set_xticks([])
        return
    ax.margins(x=0.15)
    low, high = ax.get_xlim()
    if high - low < SPAN:
        low, high = (low + high - SPAN) / 2, (low + high + SPAN) / 2
    if chance is not None and low - (high - low) <= chance <= high + (high - low):
        ax.axvline(chance, color=FAINT, lw=0.9, ls=":", zorder=0)
        low, high = min(low, chance - 0.05 * (high - low)), max(high, chance + 0.05 * (high - low))
    ax.set_xlim(low, high)


@_styled
def sweep(results: Results, group: str) -> Figure | None:
    """The rows of a table as steps of one setting, left to right: value and interval, the subject in its own colour."""
    if not results.origin:
        return None
    shown = TABLE_SPECS[results.table]
    figure = Figure(figsize=(8.6, 2.6))
    axes = figure.subplots(1, len(shown.figures[group]), squeeze=False)[0]
    for ax, metric in zip(axes, shown.figures[group], strict=True):
        for at, row in enumerate(results.rows):
            found, colour = estimates.estimate(results, row, metric.key), BLUE if row == shown.subject else ORANGE
            if found.bounded:
                ax.plot([at, at], [found.low, found.high], color=colour, lw=2, solid_capstyle="butt")
            if found.known:
                ax.plot([at], [found.mean], "o", color=colour, ms=5)
        ax.set_title(metric.title)
        ax.set_xticks(range(len(results.rows)), [row.partition(" = ")[2] or row for row in results.rows])
        ax.set_xlim(-0.5, len(results.rows) - 0.5)
        ax.set_xlabel(results.rows[0].partition(" = ")[0])
        ax.yaxis.grid(True, color=FAINT, alpha=0.25, lw=0.6)
        low, high = ax.get_ylim()
        if high - low < SPAN:
            ax.set_ylim((low + high - SPAN) / 2, (low + high + SPAN) / 2)
    return figure


@_styled
def training_curves(histories: Mapping[str, pd.DataFrame], columns: Sequence[tuple[str, str]] = ()) -> Figure:
    """Validation curves of several runs.

    Args:
        histories: label -> history with `epoch`. columns: (column, title), one panel each.
    """
    columns = columns or (
        ("val_class", "loss: action"),
        ("val_quality", "loss: verdict"),
        ("val_text", "loss: text"),
        ("val_quality_balanced_acc", "balanced accuracy"),
    )
    figure = Figure(figsize=(8.6, 2.5))
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    colours = sns.color_palette("colorblind", max(len(histories), 1)).as_hex()
    for ax, (column, title) in zip(axes, columns, strict=True):
        for colour, (label, history) in zip(colours, histories.items(), strict=False):
            if column in history:
                known = history.dropna(subset=[column])
                ax.plot(known["epoch"], known[column], "o-", ms=3, lw=1.3, color=colour, label=label)
        ax.set_title(title)
        ax.set_xlabel("epoch")
        last = max((int(history["epoch"].max()) for history in histories.values()), default=1)
        ax.set_xlim(0.5, last + 0.5)
        ax.set_xticks(range(1, last + 1, max(1, last // 6)))
        ax.yaxis.grid(True, color=FAINT, alpha=0.25, lw=0.6)
    if histories:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


@_styled
def gate_histogram(gate: np.ndarray) -> Figure:
    """How the gate's values g, any shape, in [0, 1], are distributed."""
    figure = Figure(figsize=(5.2, 2.2))
    ax: Axes = figure.subplots()
    ax.hist(np.asarray(gate).ravel(), bins=40, range=(0, 1), color=BLUE)
    ax.set_xlabel("g of eq. 9:   0 the steps   ...   1 the instruction")
    ax.set_ylabel("channels and patches")
    return figure


@_styled
def attention_map(frames: np.ndarray, weights: np.ndarray, steps: Sequence[str], width: int = 44) -> Figure:
    """Which frame each step looks at, below the frames themselves.

    Args:
        frames: uint8 [T, H, W, 3]. weights: [5, T], rows sum to 1. steps: five texts, cut to `width` characters.
    """
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


@_styled
def film(frames: np.ndarray) -> Figure:
    """The frames of a clip, uint8 [T, H, W, 3], in a row."""
    figure = Figure(figsize=(8.6, 1.5))
    for ax, frame in zip(figure.subplots(1, len(frames), squeeze=False)[0], frames, strict=True):
        ax.imshow(frame)
        ax.set_axis_off()
    return figure


def contact_sheet(to: Path, size: int = 112, colours: int = 256) -> Path:
    """Every action of FormSim, standard and faulty, as a PNG with a palette: a third of the bytes.

    $ python -c "from efa_book.figures import contact_sheet as c; from pathlib import Path; c(Path('actions.png'))"
    """
    from PIL import Image

    from efa.utils.files import write_safely
    from formsim.preview import sheet

    small = sheet([], size=size).quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    data = io.BytesIO()
    small.save(data, "PNG", optimize=True)
    write_safely(to, lambda path: path.write_bytes(data.getvalue()))
    return to
