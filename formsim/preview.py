"""Contact sheets: what an action looks like done right, and with each of its faults.

$ python -m formsim preview squat --to squat.png
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


def find_action(name: str) -> str:
    """The action of that name, whatever its case and hyphens, or the only one whose name contains it.

    InputError with the nearest name, or the names of several.
    """
    wanted = _simplify(name)
    known = {_simplify(action): action for action in load_actions()}
    if wanted in known:
        return known[wanted]
    containing = [action for key, action in known.items() if wanted and wanted in key]
    if len(containing) == 1:
        return containing[0]
    if containing:
        raise InputError(f"several actions contain '{name}'", hint=f"one of: {', '.join(containing)}")
    close = difflib.get_close_matches(wanted, list(known), n=1)
    hint = f"did you mean '{known[close[0]]}'?" if close else f"one of: {', '.join(known.values())}"
    raise InputError(f"unknown action '{name}'", hint=hint)


def _simplify(name: str) -> str:
    return " ".join(name.casefold().replace("-", " ").replace("_", " ").split())


def sheet(actions: Sequence[str], to: Path | None = None, size: int = 128, frames: int = 6) -> Image.Image:
    """Draw one action, several, or all for none; names as `find_action` takes them.

    One action: a row for the standard and for each fault, six frames from the side and the front.
    Several: one row each, the middle of the movement, the standard then the faults, side and front.
    InputError: unknown action, a size outside 16 to 4096 pixels, or a file that is not called .png.
    """
    names = [find_action(name) for name in actions] or list(load_actions())
    if not 16 <= size <= 4096:
        raise InputError(f"the size cannot be {size}", hint="16 to 4096 pixels")
    if to and to.suffix.lower() != ".png":
        raise InputError("a contact sheet is a PNG picture", file=to, hint="give it a name that ends in .png")
    image = _one(names[0], size, frames) if len(names) == 1 else _many(names, size)
    if to:
        image.save(to)
    return image


def specimen(action: str, fault: str = "", view: str = "side") -> Clip:
    """The same performer in the same room for every fault and view of an action."""
    severity, seed = 1.0 if fault else 0.0, seed_of("preview", action)
    return Clip(f"preview-{action}", action, "", f"preview {action}", view, "", 1.0, fault, severity, 0.0, (), seed)


def _one(name: str, size: int, frames: int) -> Image.Image:
    action = load_actions()[name]
    views = [view for view in action.views if view != "back"] or list(action.views)
    faults, rows = ["", *action.faults], []
    for fault in faults:
        tiles = [tile for view in views for tile in render_clip(specimen(name, fault, view), size, frames)]
        rows.append(np.concatenate(tiles, axis=1))
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
