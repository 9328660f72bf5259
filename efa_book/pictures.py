"""Skeletons over a video's frames: an assessment as a picture, a contact sheet, frame by frame."""

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from efa.data.landmarks import INDEX, Array, Landmarks
from efa.data.stream import LONGEST, stream_frames
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from formsim.dataset import all_faults
from formsim.motion import concerned_joints
from formsim.schema import load_actions

_CHAINS = (("shoulder", "elbow", "wrist", "index"), ("shoulder", "hip", "knee", "ankle", "heel", "toe", "ankle"))
SEGMENTS = (  # pairs of landmark names
    *((f"{a}_{side}", f"{b}_{side}") for chain in _CHAINS for a, b in pairwise(chain) for side in "lr"),
    *(("shoulder_l", "shoulder_r"), ("hip_l", "hip_r"), ("nose", "ear_l"), ("nose", "ear_r")),
)
# The person's left, right and middle, and what is marked: a test sees them as colour-blind people do.
COLORS = {"l": (86, 180, 233), "r": (240, 228, 66), "": (240, 240, 240)}
MARKED = (190, 15, 40)
SEEN = 0.35  # visibility from which a landmark is drawn; marked ones always are
CELL = 240  # pixels, the longer side of a contact sheet's pictures
FRAMES, WIDTH = 6, 1200  # of an answer's picture: frames, pixels
_EDGE, _LINE, _LETTERS, _GAP = 16, 30, 110, 2  # its margin, line height and letters a line; pixels around each frame
_TORSO, _HEAD = ("shoulder_l", "shoulder_r", "hip_l", "hip_r"), ("nose", "ear_l", "ear_r")
_AS_LANDMARKS = {"pelvis": _TORSO, "chest": _TORSO, "neck": (), "head": _HEAD}  # FormSim's joints that are none
_OTHER = "the video has no frames at the landmarks' times"
Box = tuple[float, float, float, float]  # left, top, right, bottom


def draw_skeleton(
    picture: Image.Image, points: Array, visibility: Array | None = None, highlight: Collection[str] = ()
) -> Image.Image:
    """A copy of a picture with the segments between landmarks.

    Args:
        points: [33, 2 or more], pixels of this picture; NaN (nobody found) leaves it as it is.
        visibility: [33]; what is hardly seen is left out.
        highlight: landmark names. A segment with both ends among them is drawn thicker in `MARKED`, with a light rim; a
            single landmark as a ring.
    """
    picture = picture.copy()
    if not np.isfinite(points).all():
        return picture
    seen = np.ones(len(INDEX), bool) if visibility is None else visibility >= SEEN
    draw, width = ImageDraw.Draw(picture), max(2, round(max(picture.size) / 160))
    flat = [tuple(float(value) for value in point[:2]) for point in points]
    marked = [pair for pair in SEGMENTS if set(pair) <= set(highlight)]
    for pair in (*(pair for pair in SEGMENTS if pair not in marked), *marked):  # marked ones on top
        ends = [INDEX[name] for name in pair]
        line = [flat[end] for end in ends]
        if pair in marked:
            draw.line(line, "white", 2 * width + 4)
            draw.line(line, MARKED, 2 * width)
        elif seen[ends].all():
            sides = {name[-1] for name in pair if name[-2] == "_"}
            draw.line(line, "black", width + 2)  # a rim: seen on any ground
            draw.line(line, COLORS[sides.pop() if len(sides) == 1 else ""], width)
    for name in set(highlight) - {name for pair in marked for name in pair}:
        draw.circle(flat[INDEX[name]], 3 * width, outline=MARKED, width=width)
    return picture


def overlays(
    video: str | Path,
    landmarks: Landmarks,
    frames: Sequence[int] = (),
    box: Box | None = None,
    longest: int = 0,
    highlight: Collection[str] = (),
) -> Iterator[tuple[int, Image.Image]]:
    """Yields (frame, picture with the skeleton) for all frames that the landmarks are of, or for these, in order.

    Args:
        box: the part of the picture to show, in pixels of the video; by default all of it.
        longest: pixels of the longer side; by default as in the video, at most `LONGEST`.
    """
    frames = frames or range(len(landmarks.times))
    due = {round(1000 * landmarks.times[i]): i for i in frames}
    part = np.array(box or (0, 0, *landmarks.size), float)
    sides = part[2:] - part[:2]
    scale = (longest or min(LONGEST, sides.max())) / sides.max()
    size = np.maximum(1, (sides * scale).round().astype(int)).tolist()
    for frame in stream_frames(Path(video), [], float(landmarks.times[frames[0]])):
        i = due.pop(round(1000 * frame.time), None)
        if i is not None:
            there = np.array(frame.image.shape[1::-1])
            cut = np.minimum(part * np.tile(there / landmarks.size, 2), np.tile(there, 2))
            picture = Image.fromarray(frame.image).resize(size, Image.Resampling.LANCZOS, tuple(cut.tolist()))
            points = (landmarks.image[i, :, :2] - part[:2]) * scale
            yield i, draw_skeleton(picture, points, landmarks.visibility[i], highlight)
        if not due:
            return


def contact_sheet(video: str | Path, landmarks: Landmarks, count: int = 12) -> Image.Image:
    """`count` evenly chosen frames with skeleton and time, in rows of four, tall ones in rows of six."""
    chosen = sorted({int((k + 0.5) * len(landmarks.times) / count) for k in range(count)})
    width, height = landmarks.size
    return _sheet(_cells(video, landmarks, chosen, None, CELL), 4 if width >= height else 6)


def _cells(
    video: str | Path,
    landmarks: Landmarks,
    chosen: Sequence[int],
    box: Box | None,
    longest: int,
    highlight: Collection[str] = (),
) -> list[Image.Image]:
    """`overlays` of these frames, with their times."""
    cells = []
    for i, picture in overlays(video, landmarks, chosen, box, longest, highlight):
        text = f"{landmarks.times[i]:.1f} s" + ("" if landmarks.found[i] else "   nobody found")
        ImageDraw.Draw(picture).text((5, 3), text, "white", _font(16), stroke_width=2, stroke_fill="black")
        cells.append(picture)
    if not cells:
        raise InputError(_OTHER, file=video, hint="give their own video")
    return cells


def _sheet(cells: Sequence[Image.Image], across: int) -> Image.Image:
    """Pictures of one size in rows of up to `across`."""
    width, height = (side + 2 * _GAP for side in cells[0].size)
    sheet = Image.new("RGB", (min(across, len(cells)) * width, -(-len(cells) // across) * height), "white")
    for k, cell in enumerate(cells):
        sheet.paste(cell, (k % across * width + _GAP, k // across * height + _GAP))
    return sheet


def draw_answer(video: str | Path, landmarks: Landmarks, answer: dict[str, Any], to: Path) -> str:
    """Writes a PNG of `WIDTH` pixels: frames of the repetition that is explained, what is wrong with it, and the notes.

    A verdict of 'standard' marks no limb: where its text names a fault all the same, the text is wrong about it or the
    verdict is.

    Args:
        video: the file or folder of frames that the landmarks are of.
        answer: as `EFA.answer` gives it. With an abstention, frames of the whole clip and the reason.

    Returns:
        What the picture shows, in words: its alt text.

    Raises:
        InputError: the video has no such frames.
    """
    start, end, frames = explained_frames(landmarks, answer)
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))].tolist()
    box = around(landmarks, frames)
    width, height = box[2] - box[0], box[3] - box[1]
    across = FRAMES if height >= 0.9 * width else FRAMES // 2
    longest = round((WIDTH // across - 2 * _GAP) * max(1, height / width))
    limbs = limbs_of_faults(answer["faults"]) if answer["quality"] == "non-standard" else frozenset()
    cells = _sheet(_cells(video, landmarks, chosen, box, longest, limbs), across)

    title, count = f"No answer: {answer['abstained']}", len(answer["repetitions"])
    if not answer["abstained"]:
        untested = ", untested on people" if answer["validated"] is None else ""
        probability = f"probability of non-standard {answer['quality_probability']:.2f}"
        title = f"{answer['action']}: {answer['quality']} form ({probability}{untested})"
    which = f"repetition {answer['explained'] + 1} of {count}, " if count > 1 else ""
    about = f"{which}{start:.1f} to {end:.1f} s" + (f"; marked: {', '.join(_words(limbs))}" if limbs else "")
    notes = [f"Note: {note}" for note in answer["warnings"]]  # how far to trust it belongs beside the verdict
    texts = [about[0].upper() + about[1:], answer["explanation"], *notes]
    lines = [title, *(line for text in texts for line in wrap(text, _LETTERS))]
    sheet = Image.new("RGB", (WIDTH, cells.height + 2 * _EDGE + len(lines) * _LINE), "white")
    sheet.paste(cells)
    for k, line in enumerate(lines):
        place = _EDGE, cells.height + _EDGE + k * _LINE
        ImageDraw.Draw(sheet).text(place, line, "black", _font(22), stroke_width=0 if k else 0.5)
    write_safely(to, lambda path: sheet.save(path, "PNG"))
    seen = " with a skeleton over the person" if landmarks.found[frames].any() else ""
    pictures = f"{len(chosen)} frame{'s'[: len(chosen) > 1]}{seen}"
    return " ".join([f"{title}. {pictures}: {about}.", *filter(None, [answer["explanation"], *notes])])


def explained_frames(landmarks: Landmarks, answer: dict[str, Any]) -> tuple[float, float, Array]:
    """Start and end, in seconds, of what an answer explains, and the frames in it in which somebody is seen.

    With an abstention that is the whole clip; frames with nobody only where there are no others.
    """
    times, told = landmarks.times, answer["explained"]
    span = {"start": times[0], "end": times[-1]} if told is None else answer["repetitions"][told]
    inside = (times >= span["start"] - 0.01) & (times <= span["end"] + 0.01)  # answers round to hundredths
    if not inside.any():
        raise InputError("the landmarks are of another clip than the answer", hint="give those of the same video")
    seen = inside & landmarks.found
    return float(span["start"]), float(span["end"]), np.flatnonzero(seen if seen.any() else inside)


def explained_strip(video: str | Path, landmarks: Landmarks, answer: dict[str, Any], count: int, size: int) -> Array:
    """`count` pictures uint8 [count, size, size, 3], the skeleton over the person, evenly from what an answer explains.

    Raises:
        InputError: the video has no such frames.
    """
    start, end, frames = explained_frames(landmarks, answer)
    moments = start + (np.arange(count) + 0.5) / count * (end - start)
    wanted = frames[np.abs(landmarks.times[frames] - moments[:, None]).argmin(1)]
    found = overlays(video, landmarks, sorted(set(wanted.tolist())), around(landmarks, frames), size)
    drawn = {i: np.asarray(ImageOps.pad(picture, (size, size))) for i, picture in found}
    if not drawn:
        raise InputError(_OTHER, file=video, hint="give their own video")
    there = np.array(list(drawn))  # a damaged video may lack some
    return np.stack([drawn[there[np.abs(there - i).argmin()]] for i in wanted])


def around(landmarks: Landmarks, frames: Array) -> Box:
    """What the person takes up in these frames, in pixels with some air; the whole picture if nobody is seen."""
    points = landmarks.image[frames][..., :2]
    size = np.array(landmarks.size)
    if not np.isfinite(points).all():
        return 0.0, 0.0, float(size[0]), float(size[1])
    low, high = np.percentile(points.min(1), 5, axis=0), np.percentile(points.max(1), 95, axis=0)  # not the odd jump
    centre, half = (low + high) / 2, (high - low) / 2 + 0.12 * (high - low).max()
    half = np.maximum(half, half[::-1] / 2)  # neither side more than twice the other
    first, last = np.clip(centre - half, 0, size - 2), np.clip(centre + half, 2, size)
    left, top, right, bottom = (float(value) for value in (*first, *last))
    return left, top, max(right, left + 2), max(bottom, top + 2)


def limbs_of_faults(names: Sequence[str]) -> frozenset[str]:
    """Landmarks to mark for FormSim's faults, 'action/fault'.

    On both sides: FormSim lunges with the left leg, other people with either, and a verdict does not tell which.
    """
    actions, joints = load_actions(), set[str]()
    for action, _, fault in (name.partition("/") for name in names):
        joints |= concerned_joints(actions[action], all_faults(actions[action])[fault])
    found = (name for joint in joints for name in _AS_LANDMARKS.get(joint, (joint,)))
    return frozenset(name[:-2] + side if name[-2] == "_" else name for name in found for side in ("_l", "_r"))


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _words(limbs: Collection[str]) -> list[str]:
    """'head' or 'knees' for landmark names that `limbs_of_faults` gives, sorted."""
    return sorted({"head" if name in _HEAD else f"{name[:-2]}s" for name in limbs})
