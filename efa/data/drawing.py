"""Skeletons over pictures: one picture, a contact sheet, a video."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from efa.data.landmarks import INDEX, NAMES, Array, Landmarks
from efa.data.stream import LONGEST, stream_frames

_CHAINS = (("shoulder", "elbow", "wrist", "index"), ("shoulder", "hip", "knee", "ankle", "heel", "toe", "ankle"))
SEGMENTS = (  # pairs of landmark names
    *((f"{a}_{side}", f"{b}_{side}") for chain in _CHAINS for a, b in pairwise(chain) for side in "lr"),
    *(("shoulder_l", "shoulder_r"), ("hip_l", "hip_r"), ("nose", "ear_l"), ("nose", "ear_r")),
)
# Okabe and Ito's colours, which colour-blind people can tell apart: the person's left, right, middle; what is marked.
COLORS = {"l": (86, 180, 233), "r": (240, 228, 66), "": (240, 240, 240)}
MARKED = (213, 94, 0)
SEEN = 0.35  # visibility from which a landmark is drawn; marked ones always are
CELL = 240  # pixels, the longer side of a contact sheet's pictures


def draw_skeleton(
    picture: Image.Image, points: Array, visibility: Array | None = None, highlight: Collection[str] = ()
) -> Image.Image:
    """A copy of a picture with the segments between landmarks.

    Args:
        points: [33, 2 or more], pixels of this picture; NaN (nobody found) leaves it as it is.
        visibility: [33]; what is hardly seen is left out.
        highlight: landmark names. A segment with both ends among them is drawn thicker in `MARKED`, a single landmark
            as a ring.
    """
    if unknown := set(highlight) - set(NAMES):
        raise ValueError(f"no landmark is called {sorted(unknown)[0]}")
    picture = picture.copy()
    if not np.isfinite(points).all():
        return picture
    seen = np.ones(len(NAMES), bool) if visibility is None else visibility >= SEEN
    draw, width = ImageDraw.Draw(picture), max(2, round(max(picture.size) / 160))
    flat = [tuple(float(value) for value in point[:2]) for point in points]
    marked = [pair for pair in SEGMENTS if set(pair) <= set(highlight)]
    for pair in (*(pair for pair in SEGMENTS if pair not in marked), *marked):  # marked ones on top
        ends = [INDEX[name] for name in pair]
        if pair not in marked and not seen[ends].all():
            continue
        sides = {name[-1] for name in pair if name[-2] == "_"}
        color = MARKED if pair in marked else COLORS[sides.pop() if len(sides) == 1 else ""]
        thick = width * 2 if pair in marked else width
        line = [flat[end] for end in ends]
        draw.line(line, (0, 0, 0), thick + 2)  # a dark rim: seen on any ground
        draw.line(line, color, thick)
    for name in set(highlight) - {name for pair in marked for name in pair}:
        draw.circle(flat[INDEX[name]], 3 * width, outline=MARKED, width=width)
    return picture


def overlays(
    video: str | Path,
    landmarks: Landmarks,
    frames: Sequence[int] = (),
    longest: int = LONGEST,
    highlight: Collection[str] = (),
) -> Iterator[tuple[int, Image.Image]]:
    """Yields (frame, picture with the skeleton) for all frames that the landmarks are of, or for these, in order."""
    wanted = set(frames or range(len(landmarks.times)))
    at = {round(1000 * landmarks.times[i]): i for i in wanted}
    for frame in stream_frames(Path(video), [], float(landmarks.times[0])):
        i = at.pop(round(1000 * frame.time), None)
        if i is not None:
            picture = Image.fromarray(frame.image)
            picture.thumbnail((longest, longest))
            points = landmarks.image[i, :, :2] * (picture.width / landmarks.size[0])
            yield i, draw_skeleton(picture, points, landmarks.visibility[i], highlight)
        if not at:
            return


def contact_sheet(
    video: str | Path, landmarks: Landmarks, count: int = 12, highlight: Collection[str] = ()
) -> Image.Image:
    """`count` evenly chosen frames with skeleton and time, in rows of four, tall ones in rows of six."""
    chosen = sorted({int((k + 0.5) * len(landmarks.times) / count) for k in range(count)})
    font = ImageFont.load_default(CELL // 16)
    cells = []
    for i, picture in overlays(video, landmarks, chosen, CELL, highlight):
        text = f"{landmarks.times[i]:.2f} s" + ("" if landmarks.found[i] else "   nobody found")
        ImageDraw.Draw(picture).text((5, 3), text, "white", font, stroke_width=2, stroke_fill="black")
        cells.append(picture)
    width, height = (max(cell.size[axis] for cell in cells) + 4 for axis in (0, 1))
    across = min(4 if width >= height else 6, len(cells))
    sheet = Image.new("RGB", (across * width, -(-len(cells) // across) * height), "white")
    for k, cell in enumerate(cells):
        sheet.paste(cell, (k % across * width + 2, k // across * height + 2))
    return sheet
