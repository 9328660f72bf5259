"""Videos of any length, one frame at a time: memory does not grow with them."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from efa.data import video
from efa.utils.errors import InputError

RATE = 12.5  # frames a second; a folder's count as that many
LONGEST = 720  # pixels; larger frames are shrunk until no side is longer


class Frame(NamedTuple):
    """One frame of a stream."""

    time: float  # seconds from the start of the video
    image: video.Frames  # uint8 RGB [H, W, 3], no side longer than `LONGEST`
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
    video.check_file(path)
    if path.is_dir():
        return len(video.image_files(path)) / RATE
    container, stream = video.open_video(video.load_av(), path)
    with container:
        exact = stream.duration * stream.time_base if stream.duration else 0
        return float(exact or (container.duration or 0) / 1_000_000)


def stream_frames(path: Path, notes: list[str], start: float = 0) -> Iterator[Frame]:
    """About `RATE` frames a second (`every`), in order, of a video file or a folder of images.

    `notes`, `start` and errors are those of `video.decode`.
    """
    video.check_file(path)
    wanted = every(RATE)
    decoded = video.decode(path, notes, lambda _, time: wanted(time), start, longest=LONGEST)
    for _, time, size, image in _pictures(path, notes, start) if path.is_dir() else decoded:
        if image is not None:
            scale = min(1, LONGEST / max(size))
            yield Frame(time, video.resize(image, *(max(1, round(side * scale)) for side in size)), size)


def _pictures(folder: Path, notes: list[str], start: float) -> Iterator[video.Decoded]:
    size, last = (0, 0), ""
    for i, file in enumerate(video.image_files(folder)):
        if i / RATE < start:
            continue
        try:
            image = video.read_picture(file)
        except (Image.DecompressionBombError, *video.DECODE_ERRORS) as error:
            notes.append(f"{file.name} cannot be read and was left out")
            last = video.reason(error)
            continue
        shape = image.shape[1], image.shape[0]
        if size not in ((0, 0), shape):
            notes.append(f"{file.name} has another size: stretched to that of the first frame")
        size = size if size[0] else shape
        yield video.Decoded((None, None), i / RATE, size, image)
    if not size[0]:
        raise InputError(f"no image in this folder can be read: {last}", file=folder, hint="copy the frames again")
