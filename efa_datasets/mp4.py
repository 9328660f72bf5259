"""Frames to video files."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from efa.data.video import Frames, load_av, reason
from efa.utils.errors import InputError


def write_mp4(path: str | Path, frames: Iterable[Frames], fps: float = 25) -> None:
    """Write uint8 RGB frames, [T, H, W, 3] or one [H, W, 3] after the other, as H.264 mp4 (libx264, yuv420p, crf 18).

    yuv420p needs even sides: an odd picture repeats its last row or column.
    """
    if not fps > 0:
        raise ValueError(f"fps > 0 is needed, not {fps}")
    av, path, shape = load_av(), Path(path), None
    try:
        with av.open(f"file:{path}", "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1  # every video has a process of its own
            stream.options = {"crf": "18"}
            for frame in frames:
                if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or 0 in frame.shape:
                    raise ValueError(f"uint8 [H, W, 3] is needed, not {frame.dtype} {list(frame.shape)}")
                even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
                if shape is None:
                    stream.height, stream.width = shape = even.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
            if shape is None:
                raise ValueError("no frames")
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        message = f"cannot be written: {reason(error)}"
        raise InputError(message, file=path, hint="check the folder and the disk space") from error
