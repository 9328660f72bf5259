"""Frames to video files."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from efa.data.video import Frames, load_av, reason
from efa.utils.errors import InputError


def write_mp4(path: str | Path, frames: Frames, fps: float = 25) -> None:
    """Write uint8 RGB frames [T, H, W, 3] as H.264 mp4 (libx264, yuv420p, crf 18).

    yuv420p needs even sides: an odd picture repeats its last row or column.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape or not fps > 0:
        raise ValueError(f"uint8 [T, H, W, 3] and fps > 0 are needed, not {frames.dtype} {list(frames.shape)}, {fps}")
    frames = np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")
    av, path = load_av(), Path(path)
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
        message = f"cannot be written: {reason(error)}"
        raise InputError(message, file=path, hint="check the folder and the disk space") from error
