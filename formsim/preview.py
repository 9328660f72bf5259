"""Contact sheets: what an action looks like done right, and with each of its faults.

$ efa data preview Squat --to squat.png
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from formsim.dataset import Clip, render_clip, seed_of
from formsim.errors import InputError
from formsim.schema import load_actions


def sheet(actions: Sequence[str], to: Path | None = None, size: int = 128, frames: int = 6) -> Image.Image:
    """One action: a row for the standard and for each fault, six frames from the side and the front.
    Several: one row each, the middle of the movement, the standard then the faults, side and front.
    """
    known = load_actions()
    for name in actions:
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1)
            raise InputError(
                f"unknown action '{name}'",
                hint=f"did you mean '{close[0]}'?" if close else f"one of: {', '.join(known)}",
            )
    names = list(actions) or list(known)
    image = _one(names[0], size, frames) if len(names) == 1 else _many(names, size)
    if to:
        image.save(to)
    return image


def specimen(action: str, fault: str = "", view: str = "side") -> Clip:
    """The same performer in the same room for every fault and view of an action."""
    own = seed_of("preview", action)
    return Clip(
        f"preview-{action}", action, "", f"preview {action}", view, "", 1.0, fault, 1.0 if fault else 0.0, 0.0, (), own
    )


def _one(name: str, size: int, frames: int) -> Image.Image:
    rows = []
    offered = load_actions()[name].views
    views = [view for view in offered if view != "back"] or list(offered)
    faults = ["", *load_actions()[name].faults]
    for fault in faults:
        strips = [
            np.concatenate(list(render_clip(specimen(name, fault, view), size, frames)), axis=1) for view in views
        ]
        rows.append(np.concatenate(strips, axis=1))
    return _labelled(rows, [fault or "standard" for fault in faults])


def _many(names: Sequence[str], size: int) -> Image.Image:
    rows = []
    for name in names:
        action = load_actions()[name]
        faults = ["", *list(action.faults)[:4]]
        tiles = []
        for view in ("side", "front"):
            seen = view if view in action.views else action.views[0]
            tiles += [render_clip(specimen(name, fault, seen), size)[2] for fault in faults]
            tiles += [np.full((size, size, 3), 255, np.uint8)] * (5 - len(faults))
        rows.append(np.concatenate(tiles, axis=1))
    return _labelled(rows, list(names))


def _labelled(rows: list[np.ndarray], labels: list[str]) -> Image.Image:
    """Rows under each other, each with its name above."""
    height, width = rows[0].shape[:2]
    image = Image.new("RGB", (width, len(rows) * (height + 14)), "white")
    draw = ImageDraw.Draw(image)
    for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
        draw.text((4, i * (height + 14) + 1), label.replace("_", " "), fill="black")
        image.paste(Image.fromarray(row), (0, i * (height + 14) + 14))
    return image
