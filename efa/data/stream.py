"""Videos of any length, one frame at a time: memory does not grow with them."""

import contextlib
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from efa.data.video import (
    DECODE_ERRORS,
    Frames,
    check_file,
    displayed_size,
    image_files,
    load_av,
    open_video,
    read_picture,
    reason,
    resize,
    upright,
)
from efa.utils.errors import InputError

RATE = 12.5  # frames a second; a folder's count as that many
LONGEST = 720  # pixels; larger frames are shrunk until no side is longer


class Frame(NamedTuple):
    """One frame of a stream."""

    time: float  # seconds from the start of the video
    image: Frames  # uint8 RGB [H, W, 3], no side longer than `LONGEST`
    size: tuple[int, int]  # displayed width and height of the video, pixels


def every(rate: float) -> Callable[[float], bool]:
    """Whether a frame at a time is wanted, asked in order: the first one in each 1 / rate seconds."""
    due = -math.inf

    def wanted(time: float) -> bool:
        nonlocal due
        cell = math.floor(time * rate + 1e-6)  # 0.16 * 12.5 is a little less than 2
        if cell < due:
            return False
        due = cell + 1
        return True

    return wanted


def duration(path: Path) -> float:
    """Seconds that a video says it lasts, 0 where it does not say."""
    check_file(path)
    if path.is_dir():
        return len(image_files(path)) / RATE
    container, stream = open_video(load_av(), path)
    with container:
        exact = stream.duration * stream.time_base if stream.duration else 0
        return float(exact or (container.duration or 0) / 1_000_000)


def stream_frames(path: Path, notes: list[str], start: float = 0) -> Iterator[Frame]:
    """About `RATE` frames a second (`every`), in order.

    Args:
        path: video file, or folder of images.
        notes: gets what was odd, one sentence each.
        start: seconds; the first frame is the key frame at or before it, or the video's first where it has no index.

    Raises:
        InputError: no frame can be read; a damaged file that gives at least one is used, with a note.
    """
    check_file(path)
    for time, image, size in (_pictures if path.is_dir() else _decode)(path, notes, start):
        scale = min(1, LONGEST / max(size))
        yield Frame(time, resize(image, *(max(1, round(side * scale)) for side in size)), size)


def _pictures(folder: Path, notes: list[str], start: float) -> Iterator[Frame]:
    size, last = (0, 0), ""
    for i, file in enumerate(image_files(folder)):
        if i / RATE < start:
            continue
        try:
            image = read_picture(file)
        except (Image.DecompressionBombError, *DECODE_ERRORS) as error:
            notes.append(f"{file.name} cannot be read and was left out")
            last = reason(error)
            continue
        shape = image.shape[1], image.shape[0]
        if size not in ((0, 0), shape):
            notes.append(f"{file.name} has another size: stretched to that of the first frame")
        size = size if size[0] else shape
        yield Frame(i / RATE, image, size)
    if not size[0]:
        raise InputError(f"no image in this folder can be read: {last}", file=folder, hint="copy the frames again")


def _decode(path: Path, notes: list[str], start: float) -> Iterator[Frame]:
    av = load_av()
    container, stream = open_video(av, path)
    base, first = stream.time_base or Fraction(1, 1000), stream.start_time or 0
    time, step = -1.0, float(1 / (stream.average_rate or 25))
    size, wanted = (0, 0), every(RATE)
    error: BaseException | None = None
    with container:
        if start:
            with contextlib.suppress(av.FFmpegError, *DECODE_ERRORS):
                container.seek(first + int(start / base), stream=stream)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                for frame in packet.decode():
                    if frame.is_corrupt:
                        error = error or ValueError("broken frames")
                        continue
                    size = size if size[0] else displayed_size(frame, stream, path, notes)
                    stamp = -1.0 if frame.pts is None else float((frame.pts - first) * base)
                    time = stamp if stamp > time else time + step if time >= 0 else 0.0
                    if wanted(time):
                        yield Frame(time, upright(av, frame, path, LONGEST), size)
            except (av.FFmpegError, *DECODE_ERRORS) as failure:  # of the file: then the next packet is None
                error = failure
    if not size[0]:
        message = f"no frame can be decoded: {reason(error)}" if error else "no frame in the file"
        raise InputError(message, file=path, hint="copy or convert the video again")
    if error:
        notes.append(f"damaged ({reason(error)}): only the frames that decode were used")
