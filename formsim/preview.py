"""Contact sheets, `python -m formsim preview squat`: what an action looks like done right, and with each fault."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from formsim.dataset import Clip, render_clip, seed_of
from formsim.errors import InputError
from formsim.names import find_action
from formsim.schema import load_actions


def sheet(actions: Sequence[str], to: Path | None = None, size: int = 128, frames: int = 6) -> Image.Image:
    """Draw one action, several, or all for none; names as `find_action` takes them.

    One action: a row for the standard and for each fault, six frames from the side and the front.
    Several: one row each, the middle of the movement, the standard then the faults, side and front.
    InputError: unknown action, a size outside 16 to 4096 pixels, or a file that is not called .png.
    """
    names = [find_action(name, load_actions()) for name in actions] or list(load_actions())
    if not 16 <= size <= 4096:
        raise InputError(f"the size cannot be {size}", hint="16 to 4096 pixels")
    if to and to.suffix.lower() != ".png":
        raise InputError("a contact sheet is a PNG picture", file=to, hint="give it a name that ends in .png")
    rows, labels = [], names
    if len(names) == 1:
        action = load_actions()[names[0]]
        faults = ["", *action.faults]
        views = [view for view in action.views if view != "back"] or list(action.views)
        labels = [fault or "standard" for fault in faults]
        for fault in faults:
            rows.append([tile for view in views for tile in render_clip(specimen(names[0], fault, view), size, frames)])
    else:
        for name in names:
            action = load_actions()[name]
            faults, tiles = ["", *list(action.faults)[:4]], []
            for view in ("side", "front"):
                seen = view if view in action.views else action.views[0]
                tiles += [render_clip(specimen(name, fault, seen), size)[2] for fault in faults]
                tiles += [np.full((size, size, 3), 255, np.uint8)] * (5 - len(faults))
            rows.append(tiles)
    image = Image.new("RGB", (len(rows[0]) * size, len(rows) * (size + 14)), "white")
    draw = ImageDraw.Draw(image)
    for i, (tiles, label) in enumerate(zip(rows, labels, strict=True)):  # each row with its name above
        draw.text((4, i * (size + 14) + 1), label.replace("_", " "), fill="black")
        image.paste(Image.fromarray(np.concatenate(tiles, axis=1)), (0, i * (size + 14) + 14))
    if to:
        image.save(to)
    return image


def specimen(action: str, fault: str = "", view: str = "side") -> Clip:
    """The same performer in the same room for every fault and view of an action."""
    severity, seed = 1.0 if fault else 0.0, seed_of("preview", action)
    return Clip(f"preview-{action}", action, "", f"preview {action}", view, "", 1.0, fault, severity, 0.0, (), seed)
