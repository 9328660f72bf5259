"""Examples of a data set: its views, and standard clips beside non-standard ones."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import formsim
from efa.data.loader import formsim_clips
from efa.data.manifest import load_dataset
from efa.utils.errors import InputError
from efa_book import figures
from efa_book.dataset_sources import Source
from efa_book.figures import FAINT
from efa_datasets.statistics import VIEWS

FRAMES_SHOWN = 3  # frames of a clip in a grid of examples
RULE = (
    "Chosen by rule, not by eye: of the actions that are shown from the most sides in both verdicts the first by name; "
    "from each side its first standard and its first non-standard clip, in the order of clip ids."
)


@dataclass(frozen=True)
class Examples:
    """Clips side by side.

    Attributes:
        rows: view -> (standard, non-standard), each frames uint8 [T, S, S, 3], or None where there is none.
        clips: their ids, row by row.
        faults: of the non-standard ones, row by row, as 'view: fault'; none where they are not known.
        problem: why nothing can be shown; '' where something can.
    """

    action: str = ""
    rows: dict[str, tuple[np.ndarray | None, ...]] = field(default_factory=dict)
    clips: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    problem: str = ""

    @property
    def caption(self) -> str:
        """What is shown, by which rule, and what is wrong with the non-standard clips."""
        wrong = f" What is wrong: {', '.join(self.faults)}." if self.faults else ""
        return f"{self.action}.{wrong} {RULE}"


def examples(source: Source, size: int = 112) -> Examples:
    """The clips that `RULE` names, drawn for FormSim, decoded for a folder; `problem` where no video can be read."""
    if source.dataset is None:
        return Examples(problem=f"{source.name}: only its numbers are published, its videos are not here.")
    clips = source.dataset.table
    action = _action(clips)
    chosen: dict[str, list[pd.DataFrame]] = {}
    for view in (*VIEWS, ""):
        own = clips[(clips["action"] == action) & (clips["view"] == view)].sort_values("clip_id")
        pair = [own[own["quality"] == quality].head(1) for quality in (0, 1)]
        if any(len(one) for one in pair):
            chosen[view] = pair
    try:
        if source.config is None and source.dataset.folder is not None:
            load_dataset(source.dataset.folder)
        rows = {
            view or "view not said": tuple(_frames(source, one.iloc[0], size) if len(one) else None for one in pair)
            for view, pair in chosen.items()
        }
    except InputError as error:
        return Examples(problem=f"{source.name}: no videos to show ({error.message}).")
    ids = tuple(str(clip) for pair in chosen.values() for one in pair for clip in one["clip_id"])
    said = [(view, str(fault)) for view, (_, wrong) in chosen.items() for fault in wrong["fault"] if fault]
    faults = tuple(f"{view or 'view not said'}: {fault.split('/')[-1].replace('_', ' ')}" for view, fault in said)
    return Examples(action, rows, ids, faults)


def _action(clips: pd.DataFrame) -> str:
    sides = clips.drop_duplicates(["action", "view", "quality"]).groupby("action").size()
    return str(sides[sides == sides.max()].index[0])  # groupby sorts by name


def _frames(source: Source, clip: pd.Series[Any], size: int) -> np.ndarray:
    """uint8 [FRAMES_SHOWN, size, size, 3]."""
    if source.config is not None:
        known = next(one for one in formsim_clips(source.config) if one.clip_id == clip["clip_id"])
        return formsim.render_clip(known, size, FRAMES_SHOWN)
    from efa.data.video import read_clip

    assert source.dataset is not None
    assert source.dataset.folder is not None
    return read_clip(source.dataset.folder / str(clip["path"]), frames=FRAMES_SHOWN, size=size, rule="uniform")


@figures._styled
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
                ax.set_xticks([])
                ax.set_yticks([])
                ax.spines[:].set_visible(False)
                if frames is None:
                    ax.text(0.5, 0.5, "none" if t == FRAMES_SHOWN // 2 else "", ha="center", va="center", color=FAINT)
                else:
                    ax.imshow(frames[t])
                if i == 0 and t == FRAMES_SHOWN // 2:
                    ax.set_title(verdict)
                if side == 0 and t == 0:
                    ax.set_ylabel(view)
    return figure


def contact_sheet(folder: Path, to: Path, size: int = 104, colours: int = 128) -> Path:
    """Every action of a data set with videos, a row each: from front and side a standard and a non-standard clip, two
    moments of each. A PNG with a palette.

    $ efa data ui-prmd UI-PRMD ui-prmd-data --size 112 --fps 6
    $ python -c "from pathlib import Path as P; from efa_book.dataset_examples import contact_sheet as c
    c(P('ui-prmd-data'), P('book/_static/ui-prmd.png'))"
    """
    from PIL import Image

    from efa.data.video import read_clip
    from efa.utils.files import write_safely

    dataset = load_dataset(folder)
    blank = np.full((size, 2 * size, 3), 247, np.uint8)
    rows = []
    for action in dataset.actions:
        strips = []
        for quality in (0, 1):
            for view in ("front", "side"):
                clips = dataset.table[(dataset.table["action"] == action) & (dataset.table["view"] == view)]
                paths = clips.loc[clips["quality"] == quality].sort_values("clip_id")["path"]
                if paths.empty:
                    strips.append(blank)
                    continue
                frames = read_clip(folder / paths.iloc[0], frames=5, size=size, rule="uniform")
                strips.append(np.concatenate([frames[1], frames[2]], axis=1))
            strips += [blank[:, : size // 8]] if quality == 0 else []
        rows.append(np.concatenate(strips, axis=1))
    small = Image.fromarray(np.concatenate(rows)).quantize(colours, dither=Image.Dither.NONE)
    data = io.BytesIO()
    small.save(data, "PNG", optimize=True)
    write_safely(to, lambda path: path.write_bytes(data.getvalue()))
    return to
