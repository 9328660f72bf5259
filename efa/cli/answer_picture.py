"""An assessment as a picture: frames of one repetition, the skeleton over the person, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from efa.data.drawing import draw_skeleton
from efa.data.landmarks import Array, Landmarks
from efa.data.stream import stream_frames
from efa.utils.errors import InputError
from efa.utils.files import write_safely

FRAMES = 6
WIDTH = 1200  # pixels of the whole picture
_EDGE, _LINE = 16, 30  # pixels around the caption, and from line to line
_TORSO, _HEAD = ("shoulder_l", "shoulder_r", "hip_l", "hip_r"), ("nose", "ear_l", "ear_r")
_AS_LANDMARKS = {"pelvis": _TORSO, "chest": _TORSO, "neck": (), "head": _HEAD}  # FormSim's joints that are none


def limbs_of(joints: Collection[str]) -> frozenset[str]:
    """Landmarks to mark for joints of FormSim, such as `formsim.motion.concerned_joints` names.

    On both sides: FormSim lunges with the left leg, other people with either, and a verdict does not tell which.
    """
    names = (name for joint in joints for name in _AS_LANDMARKS.get(joint, (joint,)))
    return frozenset(one for name in names for one in (name, *_other_side(name)))


def _other_side(name: str) -> tuple[str, ...]:
    return (name[:-1] + {"l": "r", "r": "l"}[name[-1]],) if name.endswith(("_l", "_r")) else ()


def draw_answer(video: str | Path, landmarks: Landmarks, answer: dict[str, Any], to: Path) -> str:
    """Writes a PNG of `WIDTH` pixels: up to six frames of a repetition, and the verdict on it.

    Args:
        video: the file or folder of frames that the landmarks are of.
        answer: `action` and `quality` as `EFA.assess` gives them; and, where known, `start` and `end` of the repetition
            in seconds (default: all of the clip), `fault`, a sentence, and `limbs`, landmark names to mark.

    Returns:
        What the picture shows, in words: its alt text.

    Raises:
        InputError: nobody is seen in this stretch, or the video has no such frames.
    """
    times, found = landmarks.times, landmarks.found
    start, end = float(answer.get("start", times[0])), float(answer.get("end", times[-1]))
    inside = np.flatnonzero((times >= start - 1e-3) & (times <= end + 1e-3) & found)
    if not len(inside):
        raise InputError(f"nobody is seen from {start:.1f} to {end:.1f} s", file=video, hint="give another repetition")
    chosen = inside[np.unique(np.linspace(0, len(inside) - 1, FRAMES).round().astype(int))]
    box = _around(landmarks, inside)
    tall = box[3] - box[1] >= 0.9 * (box[2] - box[0])
    across = FRAMES if tall else FRAMES // 2
    width = WIDTH // across
    cell = width, round(width * (box[3] - box[1]) / (box[2] - box[0]))
    limbs = frozenset(answer.get("limbs", ()))
    cells = _cells(Path(video), landmarks, [int(i) for i in chosen], box, cell, limbs)

    title = f"{answer['action']}: {answer['quality']}"
    fault = " ".join(str(answer.get("fault", "")).split())
    lines = [title, *_wrapped(fault, WIDTH - 2 * _EDGE)]
    top = -(-len(cells) // across) * cell[1]
    sheet = Image.new("RGB", (WIDTH, top + 2 * _EDGE + len(lines) * _LINE), "white")
    for k, picture in enumerate(cells):
        sheet.paste(picture, (k % across * width, k // across * cell[1]))
    draw = ImageDraw.Draw(sheet)
    for k, line in enumerate(lines):
        draw.text((_EDGE, top + _EDGE + k * _LINE), line, "black", _font(), stroke_width=0 if k else 0.5)
    write_safely(to, lambda path: sheet.save(path, "PNG"))

    parts = [f"{len(cells)} frames from {start:.1f} to {end:.1f} s of {title}, a skeleton drawn over the person."]
    parts += [f"Marked: {', '.join(_words(limbs))}."] if limbs else []
    return " ".join([*parts, fault]).strip()


def _around(landmarks: Landmarks, frames: Array) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in pixels of what the person takes up in these frames, with some air."""
    points = landmarks.image[frames][..., :2]
    low, high = np.percentile(points.min(1), 5, axis=0), np.percentile(points.max(1), 95, axis=0)  # not the odd jump
    centre, half = (low + high) / 2, (high - low) / 2 + 0.12 * (high - low).max()
    half = np.maximum(half, half[::-1] / 2)  # neither side more than twice the other
    size = np.array(landmarks.size)
    first, last = np.clip(centre - half, 0, size - 2), np.clip(centre + half, 2, size)
    left, top, right, bottom = (float(value) for value in (*first, *last))
    return left, top, max(right, left + 2), max(bottom, top + 2)


def _cells(
    video: Path,
    landmarks: Landmarks,
    chosen: list[int],
    box: tuple[float, float, float, float],
    cell: tuple[int, int],
    limbs: Collection[str],
) -> list[Image.Image]:
    """The chosen frames, cut to the box and drawn on."""
    due, cells = {round(1000 * landmarks.times[i]): i for i in chosen}, []
    origin, scale = np.array(box[:2]), cell[0] / (box[2] - box[0])
    for frame in stream_frames(video, [], float(landmarks.times[chosen[0]])):
        i = due.pop(round(1000 * frame.time), None)
        if i is not None:
            shrunk = frame.image.shape[1] / landmarks.size[0]
            part = tuple(side * shrunk for side in box)
            picture = Image.fromarray(frame.image).resize(cell, Image.Resampling.LANCZOS, part)
            picture = draw_skeleton(
                picture, (landmarks.image[i, :, :2] - origin) * scale, landmarks.visibility[i], limbs
            )
            text = f"{landmarks.times[i]:.1f} s"
            ImageDraw.Draw(picture).text((6, 4), text, "white", _font(18), stroke_width=2, stroke_fill="black")
            cells.append(picture)
        if not due:
            break
    if not cells:
        raise InputError("the video has no frames at the landmarks' times", file=video, hint="give their own video")
    return cells


def _font(size: int = 22) -> Any:
    return ImageFont.load_default(size)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines no wider than `width` pixels, except for a single word that is."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font().getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _words(limbs: Collection[str]) -> list[str]:
    """'head', 'knees' or 'left knee' for landmark names, sorted."""
    words = set()
    for name in limbs:
        part, _, side = name.rpartition("_")
        if name in _HEAD:
            words.add("head")
        elif all(other in limbs for other in _other_side(name)):
            words.add(f"{part}s" if part else name)
        else:
            words.add(f"{'left' if side == 'l' else 'right'} {part}")
    return sorted(words)
