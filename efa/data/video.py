"""Video files and folders of frames to arrays: which frames, which way up, what size.

Times come from the file's presentation time stamps, so a variable frame rate is respected. Files are decoded by one
thread: what libav makes of damaged data depends on the number of threads, and callers work on many clips at once.
Only the chosen frames are converted to RGB, so memory does not grow with the length of the clip.
"""

import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, get_args

import numpy as np
from PIL import Image, ImageOps

from efa.data.sampling import RELEASE_SPAN, Crop, Frames, Rule, release_indices, resize, turn, uniform_indices
from efa.utils.errors import InputError

MAX_SIDE = 16_384  # pixels; what H.264 and HEVC allow
MAX_PIXELS = 200_000_000  # a frame; 8K video has 33 million
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
LFS_HEAD = b"version https://git-lfs.github.com/spec/"
# What libav and Pillow raise on damaged bytes (av.FFmpegError is added where av is loaded).
DECODE_ERRORS = (OSError, ValueError, MemoryError, EOFError, RuntimeError, LookupError, ArithmeticError, SyntaxError)


@dataclass(frozen=True)
class ClipInfo:
    """What a clip holds."""

    frames: int
    seconds: float  # from the first frame's start to the last one's end; 0 for a folder of images
    fps: float  # mean frame rate; 0 for a folder of images
    width: int  # pixels as displayed: after rotation and with square pixels
    height: int
    rotation: int  # degrees clockwise that the file asks for, applied already
    warnings: tuple[str, ...] = ()  # what was wrong and what was done about it, one sentence each


class Clip(NamedTuple):
    """Sampled frames, uint8 RGB [T, H, W, 3], and what is known about their source."""

    frames: Frames
    info: ClipInfo


@dataclass
class _Source:
    """One pass over a file or folder: the time of every frame, and the images of the wanted ones, resized already."""

    times: list[int] = field(default_factory=list)
    end: int = 0
    unit: Fraction = Fraction(0)  # seconds per tick of `times`; 0 = unknown
    images: dict[int, Frames] = field(default_factory=dict)
    shape: tuple[int, int, int] = (0, 0, 0)  # displayed width, height, rotation
    notes: list[str] = field(default_factory=list)

    def clip(self, picked: list[int]) -> Clip:
        seconds = float((self.end - self.times[0]) * self.unit)
        fps = len(self.times) / seconds if seconds > 0 else 0.0
        info = ClipInfo(len(self.times), seconds, fps, *self.shape, tuple(dict.fromkeys(self.notes)))
        return Clip(np.stack([self.images[i] for i in picked]), info)

    def choose(self, frames: int, rule: Rule) -> list[int]:
        if rule == "release":
            return release_indices(len(self.times), frames)
        return uniform_indices(self.times, self.end, frames)

    def set_times(self, stream: Any, ticks: list[tuple[int | None, int | None]]) -> None:
        """From time and duration (0 or None: unknown) of each frame. Unusable times count as evenly spaced."""
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        times = [time for time, _ in ticks if time is not None]
        if len(times) < len(ticks) or any(a >= b for a, b in pairwise(times)):
            self.notes.append("no usable time stamps: the frames count as evenly spaced")
            self.times, self.end, self.unit = list(range(len(ticks))), len(ticks), 1 / rate
        elif times:
            self.unit = Fraction(stream.time_base)
            step = (times[-1] - times[0]) // (len(times) - 1) if len(times) > 1 else round(1 / (rate * self.unit))
            self.times, self.end = times, times[-1] + max(1, ticks[-1][1] or step)


def _av() -> ModuleType:
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
            _image_files(path)
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


def _open(av: ModuleType, path: Path) -> tuple[Any, Any]:
    """Container and first true video stream (a cover picture is none)."""
    try:
        # 'file:' and the whitelist: neither a name like 'http:x.mp4' nor a playlist renamed .mp4 reaches other places.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, *DECODE_ERRORS) as error:
        message = f"not a video that can be read: {_reason(error)}"
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


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _scan(
    path: Path, wanted: Collection[int] | None = None, stop: int = -1, fit: tuple[int | None, Crop] = (None, "pad")
) -> _Source:
    """One pass over a file; without `wanted` nothing is decoded, and the frames are those that the packets announce.

    Damaged packets are left out, with a note. Decoding ends once frame `stop` is there.
    """
    av = _av()
    container, stream = _open(av, path)
    found = _Source()
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
                        found.shape = _shape(frame, stream, path, found.notes)
                    if len(ticks) in wanted:
                        found.images[len(ticks)] = _image(av, frame, path, found.shape, *fit)
                    ticks.append((frame.pts, frame.duration))
            except (av.FFmpegError, *DECODE_ERRORS) as failure:  # of the file: then the next packet is None
                error = failure
        if wanted is None:
            ticks.sort(key=lambda tick: tick[0] or 0)  # packets come in decoding order
        found.set_times(stream, ticks)
    if wanted is not None and not ticks:
        message = f"no frame can be decoded: {_reason(error)}" if error else "no frame in the file"
        raise InputError(message, file=path, hint="copy or convert the video again")
    if error:
        found.notes.append(f"damaged ({_reason(error)}): only the frames that decode were used")
    return found


def _turn(image: Frames, frame: Any) -> Frames:
    """The image as the frame's display matrix wants it."""
    matrices = [np.frombuffer(bytes(data), "<i4") for data in frame.side_data if data.type.name == "DISPLAYMATRIX"]
    return turn(image, matrices[0].tolist() if matrices else None)


def _shape(frame: Any, stream: Any, path: Path, notes: list[str]) -> tuple[int, int, int]:
    """Displayed width, height and rotation of a stream, from its first frame."""
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
    return width, height, rotation


def _image(av: ModuleType, frame: Any, path: Path, shape: tuple[int, int, int], size: int | None, crop: Crop) -> Frames:
    _check_size(frame.width, frame.height, path)
    scale = av.video.reformatter.Interpolation
    exact = int(scale.BILINEAR | scale.ACCURATE_RND | scale.BITEXACT | scale.FULL_CHR_H_INT)  # same bytes on any CPU
    image = frame.reformat(format="rgb24", interpolation=exact).to_ndarray()
    return resize(_turn(image, frame), shape[0], shape[1], size, crop)


def _image_files(folder: Path) -> list[Path]:
    """Image files of a folder in the order of the numbers in their names."""
    files = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    if not files:
        raise InputError("a folder without jpg or png images", file=folder, hint="give a video or a folder of frames")
    return sorted(files, key=lambda p: ([int(n) for n in re.findall(r"\d+", p.stem, re.ASCII)], p.name))


def _load_folder(folder: Path, frames: int, rule: Rule, size: int | None, crop: Crop) -> Clip:
    files, found, reason = _image_files(folder), _Source(), ""
    while files:  # an unreadable image is left out, and frames are chosen again
        found.times, found.end = list(range(len(files))), len(files)
        picked, images = found.choose(frames, rule), {}
        for i in picked:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _check_size is the limit
                    with Image.open(files[i]) as picture:
                        _check_size(picture.width, picture.height, files[i])
                        images[i] = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
            except (Image.DecompressionBombError, *DECODE_ERRORS) as error:
                found.notes.append(f"{files.pop(i).name} cannot be read and was left out")
                reason = str(error)
                break
        else:
            first = files[picked[0]].name
            height, width = images[picked[0]].shape[:2]  # frames of another size are stretched to the first one's
            for i, image in images.items():
                if image.shape[:2] != (height, width):
                    found.notes.append(f"{files[i].name} has another size: stretched to that of {first}")
            found.shape = (width, height, 0)
            found.images = {i: resize(image, width, height, size, crop) for i, image in images.items()}
            return found.clip(picked)
    raise InputError(f"no image in this folder can be read: {reason}", file=folder, hint="copy the frames again")


def load_clip(
    path: str | Path, frames: int = 6, size: int | None = None, rule: Rule = "uniform", crop: Crop = "pad"
) -> Clip:
    """Read T frames of a video file, or of a folder of jpg or png frames, with what is known about the source.

    Args:
        path: video file in any format libav decodes, or folder of images (ordered by the numbers in their names).
        frames: T. A clip of fewer frames repeats some.
        size: side of the square output in pixels; None keeps the displayed size (the first frame's).
        rule: 'uniform' (`uniform_indices`) or 'release' (`release_indices`).
        crop: how the picture fits the square, see `resize`.

    Raises:
        InputError: no frame can be read; a damaged file that gives at least one is used, with a warning.
    """
    if rule not in get_args(Rule) or crop not in get_args(Crop):
        raise ValueError(f"unknown rule {rule!r} or crop {crop!r}")
    if frames < 1 or (size is not None and size < 1):
        raise ValueError(f"frames and size must be positive, not {frames} and {size}")
    path = Path(path)
    check_file(path)
    if path.is_dir():
        return _load_folder(path, frames, rule, size, crop)
    announced = _scan(path)
    stop = release_indices(RELEASE_SPAN, frames)[-1] if rule == "release" else -1
    picked = announced.choose(frames, rule) if announced.times else []
    found = _scan(path, picked, stop, (size, crop))
    picked = found.choose(frames, rule)
    if not found.images.keys() >= set(picked):  # the packets promised other frames than came: damage, edit lists
        found = _scan(path, picked, stop, (size, crop))
    if 0 <= stop < len(found.times) < len(announced.times):  # the rest is taken to be as announced
        found.times, found.end, found.unit = announced.times, announced.end, announced.unit
    return found.clip(picked)


def read_clip(
    path: str | Path, frames: int = 6, size: int | None = None, rule: Rule = "uniform", crop: Crop = "pad"
) -> Frames:
    """The frames of `load_clip`: uint8 RGB [T, H, W, 3]."""
    return load_clip(path, frames, size, rule, crop).frames


def probe(path: str | Path) -> ClipInfo:
    """Look at a clip: its first frame must decode (else InputError), the rest is what the file announces."""
    return load_clip(path, frames=1, rule="release").info


def write_mp4(path: str | Path, frames: Frames, fps: float = 25) -> None:
    """Write uint8 RGB frames [T, H, W, 3] as H.264 mp4 (libx264, yuv420p, crf 18).

    yuv420p needs even sides: an odd picture repeats its last row or column.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape or not fps > 0:
        raise ValueError(f"uint8 [T, H, W, 3] and fps > 0 are needed, not {frames.dtype} {list(frames.shape)}, {fps}")
    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    av, path = _av(), Path(path)
    try:
        with av.open(f"file:{path}", "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1  # more threads give other bytes
            stream.options = {"crf": "18"}
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        message = f"cannot be written: {_reason(error)}"
        raise InputError(message, file=path, hint="check the folder and the disk space") from error
