"""Video files and folders of frames to arrays: which frames, which way up, what size.

Times come from the file's presentation time stamps, so a variable frame rate is respected. Files are decoded by one
thread: what libav makes of damaged data depends on the number of threads, and callers work on many clips at once.
Only the chosen frames are converted to RGB, so memory does not grow with the length of the clip.
"""

import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from efa.utils.errors import InputError

Frames = NDArray[np.uint8]
Rule = Literal["uniform", "release"]

RELEASE_SPAN = 108  # the released code looks at the first 108 frames only
MAX_SIDE = 16_384  # pixels; what H.264 and HEVC allow
MAX_PIXELS = 200_000_000  # a frame; 8K video has 33 million
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
LFS_HEAD = b"version https://git-lfs.github.com/spec/"
# What libav and Pillow raise on damaged bytes (av.FFmpegError is added where av is loaded).
DECODE_ERRORS = (OSError, ValueError, MemoryError, EOFError, RuntimeError, LookupError, ArithmeticError, SyntaxError)


class Clip(NamedTuple):
    """Frames sampled from a video file or a folder of images."""

    frames: Frames  # uint8 RGB [T, H, W, 3]
    length: int  # number of frames of the source
    warnings: tuple[str, ...]  # what was wrong with it and what was done about it, one sentence each


@dataclass
class _Source:
    """One pass over a file: the time of every frame, and the images of the wanted ones, resized already."""

    times: list[int] = field(default_factory=list)
    end: int = 0
    images: dict[int, Frames] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def set_times(self, ticks: list[tuple[int | None, int | None]]) -> None:
        """From time and duration (0 or None: unknown) of each frame. Unusable times count as evenly spaced."""
        times = [time for time, _ in ticks if time is not None]
        if len(times) < len(ticks) or any(a >= b for a, b in pairwise(times)):
            self.notes.append("no usable time stamps: the frames count as evenly spaced")
            self.times, self.end = list(range(len(ticks))), len(ticks)
        elif times:
            mean = (times[-1] - times[0]) // max(1, len(times) - 1)
            self.times, self.end = times, times[-1] + max(1, ticks[-1][1] or mean)


def load_av() -> ModuleType:
    """PyAV, silenced; InputError where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise InputError(f"reading clips needs the package av: {error}", hint="pip install av") from error
    av.logging.set_level(None)  # libav would write to stderr on every damaged packet
    return av


def check_file(path: str | Path) -> None:
    """Raise InputError where a path cannot be a clip: missing, empty, no plain file or folder, or a Git LFS pointer."""
    path = Path(path)
    try:
        if path.is_dir():
            image_files(path)
        elif not path.exists():
            raise InputError("no such file", file=path, hint="check the path")
        elif not path.is_file():
            raise InputError("not a file", file=path, hint="give a video file or a folder of jpg or png frames")
        elif path.stat().st_size == 0:
            raise InputError("the file is empty", file=path, hint="copy or download it again")
        else:
            with path.open("rb") as file:
                if file.read(len(LFS_HEAD)) == LFS_HEAD:
                    raise InputError("a Git LFS pointer, not the video", file=path, hint="run: git lfs pull")
    except (OSError, ValueError) as error:  # a null byte in the name, a name too long, no permission
        raise InputError(f"cannot be opened: {error}", file=path, hint="check the path and its permissions") from error


def _check_size(width: int, height: int, path: Path) -> None:
    if width < 1 or height < 1 or max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        limit = f"1 to {MAX_SIDE} pixels a side and at most {MAX_PIXELS // 1_000_000} million in all"
        raise InputError(f"frames of {width} x {height} pixels; the limit is {limit}", file=path, hint="scale it down")


def open_video(av: ModuleType, path: Path) -> tuple[Any, Any]:
    """Container and first true video stream (a cover picture is none)."""
    try:
        # 'file:' and the whitelist: neither a name like 'http:x.mp4' nor a playlist renamed .mp4 reaches other places.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, *DECODE_ERRORS) as error:
        message = f"not a video that can be read: {reason(error)}"
        raise InputError(message, file=path, hint="convert it to mp4, or copy it again") from error
    covers = av.stream.Disposition.attached_pic
    stream = next((stream for stream in container.streams.video if not stream.disposition & covers), None)
    if stream is None or stream.codec_context is None:
        kind = "audio only" if container.streams.audio else "no video stream"
        container.close()
        if stream is None:
            raise InputError(f"{kind}: there is no picture in this file", file=path, hint="give a video file")
        raise InputError("no decoder for this video's format", file=path, hint="convert it to H.264 mp4")
    if stream.width or stream.height:
        _check_size(stream.width, stream.height, path)
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return container, stream


def reason(error: BaseException) -> str:
    """What an error of libav, Pillow or the system says."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _scan(path: Path, wanted: Collection[int] | None = None, stop: int = -1, size: int | None = None) -> _Source:
    """One pass over a file; without `wanted` nothing is decoded, and the frames are those that the packets announce.

    Damaged packets are left out, with a note. Decoding ends once frame `stop` is there.
    """
    av = load_av()
    container, stream = open_video(av, path)
    found, shape = _Source(), (0, 0)
    error: BaseException | None = None
    ticks: list[tuple[int | None, int | None]] = []
    with container:
        packets = container.demux(stream)
        while stop < 0 or len(ticks) <= stop:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                if wanted is None:
                    ticks += [(packet.pts, packet.duration)] if packet.size else []
                    continue
                for frame in packet.decode():
                    if frame.is_corrupt:
                        error = error or ValueError("broken frames")
                        continue
                    if not ticks:
                        shape = displayed_size(frame, stream, path, found.notes)
                    if len(ticks) in wanted:
                        found.images[len(ticks)] = _image(av, frame, path, shape, size)
                    ticks.append((frame.pts, frame.duration))
            except (av.FFmpegError, *DECODE_ERRORS) as failure:  # of the file: then the next packet is None
                error = failure
        if wanted is None:
            ticks.sort(key=lambda tick: tick[0] or 0)  # packets come in decoding order
        found.set_times(ticks)
    if wanted is not None and not ticks:
        message = f"no frame can be decoded: {reason(error)}" if error else "no frame in the file"
        raise InputError(message, file=path, hint="copy or convert the video again")
    if error:
        found.notes.append(f"damaged ({reason(error)}): only the frames that decode were used")
    return found


def _turn(image: Frames, frame: Any) -> Frames:
    """Apply a display matrix [a b . c d .]: x' = a x + c y, y' = b x + d y, snapped to quarter turns and flips."""
    matrices = [np.frombuffer(bytes(data), "<i4") for data in frame.side_data if data.type.name == "DISPLAYMATRIX"]
    if not matrices:
        return image
    a, b, _, c, d = matrices[0][:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def displayed_size(frame: Any, stream: Any, path: Path, notes: list[str]) -> tuple[int, int]:
    """Displayed width and height of a stream, from its first frame."""
    width, height = frame.width, frame.height
    _check_size(width, height, path)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if Fraction(1, 4) <= aspect <= 4:
        width = max(1, round(width * aspect))
        _check_size(width, height, path)
    else:
        notes.append(f"pixel aspect ratio {aspect} ignored")
    rotation = -frame.rotation % 360
    if rotation % 90:
        notes.append(f"rotation of {rotation} degrees read as {round(rotation / 90) * 90 % 360}")
    if len(_turn(np.empty((1, 2, 3), np.uint8), frame)) == 2:
        width, height = height, width
    return width, height


def _image(av: ModuleType, frame: Any, path: Path, shape: tuple[int, int], size: int | None) -> Frames:
    return resize(upright(av, frame, path), *shape, size)


def upright(av: ModuleType, frame: Any, path: Path, longest: int = MAX_SIDE) -> Frames:
    """A frame as RGB, turned as its file says; shrunk first where a side is longer than `longest`."""
    _check_size(frame.width, frame.height, path)
    kind = av.video.reformatter.Interpolation
    exact = int(kind.BILINEAR | kind.ACCURATE_RND | kind.BITEXACT | kind.FULL_CHR_H_INT)  # same bytes on any CPU
    scale = min(1, longest / max(frame.width, frame.height))
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    return _turn(frame.reformat(width, height, format="rgb24", interpolation=exact).to_ndarray(), frame)


def image_files(folder: Path) -> list[Path]:
    """Image files of a folder in the order of the numbers in their names."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    if not files:
        raise InputError("a folder without jpg or png images", file=folder, hint="give a video or a folder of frames")
    return sorted(files, key=lambda p: ([int(n) for n in re.findall(r"\d+", p.stem, re.ASCII)], p.name))


def read_picture(file: Path) -> Frames:
    """An image file as RGB, the way up that its camera noted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _check_size is the limit
        with Image.open(file) as picture:
            _check_size(picture.width, picture.height, file)
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def _choose(times: Sequence[int], end: int, frames: int, rule: Rule) -> list[int]:
    return release_indices(len(times), frames) if rule == "release" else uniform_indices(times, end, frames)


def _load_folder(folder: Path, frames: int, rule: Rule, size: int | None) -> Clip:
    files, notes, last_error = image_files(folder), [], ""
    while files:  # an unreadable image is left out, and frames are chosen again
        picked, images = _choose(range(len(files)), len(files), frames, rule), {}
        for i in picked:
            try:
                images[i] = read_picture(files[i])
            except (Image.DecompressionBombError, *DECODE_ERRORS) as error:
                notes.append(f"{files.pop(i).name} cannot be read and was left out")
                last_error = str(error)
                break
        else:
            height, width = images[picked[0]].shape[:2]  # frames of another size are stretched to the first one's
            for i, image in images.items():
                if image.shape[:2] != (height, width):
                    notes.append(f"{files[i].name} has another size: stretched to that of {files[picked[0]].name}")
            return Clip(np.stack([resize(images[i], width, height, size) for i in picked]), len(files), tuple(notes))
    raise InputError(f"no image in this folder can be read: {last_error}", file=folder, hint="copy the frames again")


def load_clip(path: str | Path, frames: int = 6, size: int | None = None, rule: Rule = "uniform") -> Clip:
    """Read T frames of a video file, or of a folder of jpg or png frames.

    Args:
        path: video file in any format libav decodes, or folder of images (ordered by the numbers in their names).
        frames: T. A clip of fewer frames repeats some.
        size: side of the square output in pixels, see `resize`; None keeps the displayed size (the first frame's).
        rule: 'uniform' (`uniform_indices`) or 'release' (`release_indices`).

    Raises:
        InputError: no frame can be read; a damaged file that gives at least one is used, with a warning.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"unknown rule {rule!r}")
    if frames < 1 or (size is not None and size < 1):
        raise ValueError(f"frames and size must be positive, not {frames} and {size}")
    path = Path(path)
    check_file(path)
    if path.is_dir():
        return _load_folder(path, frames, rule, size)
    announced = _scan(path)
    stop = release_indices(RELEASE_SPAN, frames)[-1] if rule == "release" else -1
    picked = _choose(announced.times, announced.end, frames, rule) if announced.times else []
    found = _scan(path, picked, stop, size)
    picked = _choose(found.times, found.end, frames, rule)
    if not found.images.keys() >= set(picked):  # the packets promised other frames than came: damage, edit lists
        found = _scan(path, picked, stop, size)
    stopped = 0 <= stop < len(found.times) < len(announced.times)  # then the rest is taken to be as announced
    length = len(announced.times if stopped else found.times)
    return Clip(np.stack([found.images[i] for i in picked]), length, tuple(dict.fromkeys(found.notes)))


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


def resize(image: Frames, width: int, height: int, size: int | None = None) -> Frames:
    """Fit a stored image uint8 [h, w, 3] into a black square [size, size, 3] (bilinear, antialiased, Pillow).

    Args:
        width, height: displayed size; the stored pixels need not be square.
        size: side of the square output; None: [height, width, 3].
    """
    if size is not None:
        longer = max(width, height)
        width, height = max(1, round(width * size / longer)), max(1, round(height * size / longer))
    if image.shape[:2] != (height, width):
        picture = Image.fromarray(np.ascontiguousarray(image))
        image = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    if size is None or width == height == size:
        return np.ascontiguousarray(image)
    left, top = (size - width) // 2, (size - height) // 2
    canvas = np.zeros((size, size, 3), np.uint8)
    canvas[top : top + height, left : left + width] = image
    return canvas
