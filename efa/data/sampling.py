"""Which frames of a clip, rotated how, at what size: pure functions on indices and arrays."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]
Rule = Literal["uniform", "release"]
Crop = Literal["pad", "centre", "squeeze"]

RELEASE_SPAN = 108  # the released code looks at the first 108 frames only


def uniform_indices(times: Sequence[int], end: int, frames: int) -> list[int]:
    """The frame on display in the middle of each of `frames` equal time segments.

    Segment k of T lies between t_0 + k D / T and t_0 + (k + 1) D / T, where D = end - t_0; its frame is the last one
    that starts at or before t_0 + (k + 1/2) D / T. At a constant rate that is frame floor((k + 1/2) N / T) of N.

    Args:
        times: start of each frame in presentation order, any unit, integers (so the choice is exact).
        end: end of the last frame in the same unit.
        frames: T.
    """
    doubled = (np.asarray(times, dtype=object) - times[0]) * (2 * frames)  # object: exact however long the clip
    middles = [(2 * k + 1) * (end - times[0]) for k in range(frames)]
    return [max(0, int(np.searchsorted(doubled, middle, side="right")) - 1) for middle in middles]


def release_indices(count: int, frames: int) -> list[int]:
    """The released code's choice: frames 0, 18, ..., 90 of the first 108 (for six); shorter clips repeat their last."""
    return [min(k * RELEASE_SPAN // frames, count - 1) for k in range(frames)]


def turn(image: Frames, matrix: Sequence[int] | None) -> Frames:
    """Apply the display matrix [a b . c d .]: x' = a x + c y, y' = b x + d y, snapped to quarter turns and flips."""
    if matrix is None:
        return image
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def resize(image: Frames, width: int, height: int, size: int | None, crop: Crop) -> Frames:
    """Resize a stored image uint8 [h, w, 3] to [size, size, 3] (bilinear, antialiased, Pillow).

    Args:
        width, height: displayed size; the stored pixels need not be square.
        size: side of the square output; None: [height, width, 3].
        crop: 'pad' fits the longer side and centres the picture on black, 'centre' fits the shorter side and keeps the
            middle square, 'squeeze' ignores the aspect ratio.
    """
    h, w = image.shape[:2]
    target, box = (width, height) if size is None else (size, size), (0.0, 0.0, float(w), float(h))
    if size is not None and crop == "pad":
        longer = max(width, height)
        target = max(1, round(width * size / longer)), max(1, round(height * size / longer))
    elif size is not None and crop == "centre":
        shorter = min(width, height)
        dx, dy = w * (1 - shorter / width) / 2, h * (1 - shorter / height) / 2
        box = (dx, dy, w - dx, h - dy)
    if target != (w, h) or box != (0.0, 0.0, w, h):
        picture = Image.fromarray(np.ascontiguousarray(image))
        image = np.asarray(picture.resize(target, Image.Resampling.BILINEAR, box=box))
    if size is not None and target != (size, size):
        left, top = (size - target[0]) // 2, (size - target[1]) // 2
        canvas = np.zeros((size, size, 3), np.uint8)
        canvas[top : top + target[1], left : left + target[0]] = image
        return canvas
    return np.ascontiguousarray(image)
