"""What a model reads of a video: frames, or a skeleton for each repetition."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from efa.config import Config
from efa.data.landmarks import INDEX, UNSEEN, Array, Landmarks
from efa.data.repetitions import Span, find_repetitions
from efa.data.skeleton import resample, to_joints
from efa.data.video import load_clip
from efa.utils.errors import InputError

SPANS = 6  # of a clip with many repetitions, so many, and so many pairs, are read to name the action
ENOUGH = 0.3  # share of the frames in which somebody must be seen


class Observation(NamedTuple):
    """What a model reads of one video."""

    clips: Array  # frames uint8 [1, T, S, S, 3]; or skeletons float32 [W, T, 20, 3], those of `spans` first
    spans: tuple[Span, ...] = ()  # the repetitions; else the one pose that is held, or the whole clip
    repeats: bool = False  # whether the spans are repetitions
    notes: tuple[str, ...] = ()
    unusable: str = ""  # why nothing can be said about this video; '' where something can
    landmarks: Landmarks | None = None


def observe(
    video: str | Path | Array, config: Config, progress: Callable[[int, int], None] | None = None
) -> Observation:
    """Reads a video file, a folder of frames, or an array of frames uint8 [T, S, S, 3] as they are.

    Raises:
        InputError: no frame can be read, or the array has another shape.
    """
    data = config.data
    if config.encoder.kind == "pose":
        if isinstance(video, np.ndarray):
            raise InputError("this model reads people's motion", hint="give a video file or a folder of frames")
        from efa.data.pose import landmarks_of

        return observe_landmarks(landmarks_of(video, progress), data.frames)
    if isinstance(video, np.ndarray):
        shape = (data.frames, data.size, data.size, 3)
        if video.shape != shape or video.dtype != np.uint8:
            raise InputError(f"frames are {video.dtype} {list(video.shape)}", hint=f"give uint8 {list(shape)}")
        return Observation(video[None])
    frames, length, notes = load_clip(video, data.frames, data.size, data.sampling)
    if length < data.frames:
        notes = (*notes, f"{length} frame{'s' * (length > 1)} for {data.frames}: some are repeated")
    return Observation(frames[None], notes=notes)


def observe_landmarks(landmarks: Landmarks, frames: int) -> Observation:
    """Skeletons of `frames` frames each: of every repetition and of some pairs; or of the held pose and the clip."""
    notes, found = list(landmarks.notes), float(landmarks.found.mean())
    blank = np.zeros((1, frames, 20, 3), np.float32)
    if found < ENOUGH:
        seen = "nobody is seen" if found == 0 else f"somebody is seen in only {found:.0%} of the frames"
        return Observation(blank, notes=tuple(notes), unusable=seen, landmarks=landmarks)
    if hidden := _hidden(landmarks):
        return Observation(blank, notes=tuple(notes), unusable=hidden, landmarks=landmarks)
    joints, last = to_joints(landmarks), len(landmarks.times) - 1
    whole = Span(float(landmarks.times[0]), float(landmarks.times[-1]), 0, last)
    spans, hold = find_repetitions(landmarks)
    more: list[tuple[int, int]] = []
    if len(spans) > 1:
        pairs = [(a.first, b.last) for a, b in pairwise(spans) if b.start - a.end < a.end - a.start]
        more = [pairs[i] for i in np.unique(np.linspace(0, len(pairs) - 1, min(SPANS, len(pairs))).astype(int))]
    else:  # who walks in, or what does not repeat: parts of the clip
        rate = last / max(1e-3, whole.end - whole.start)
        for length in (round(2 * rate), round(4 * rate)):
            if 4 <= length < 0.8 * last:
                more += [(int(at), int(at) + length) for at in np.linspace(0, last - length, 5)]
        more.append((0, last))
    repeats = bool(spans)
    spans = spans or ((hold,) if hold else (whole,))
    taken = [(span.first, span.last) for span in spans] + more
    middle = (np.arange(frames) + 0.5) / frames
    clips = np.stack([resample(joints, first + middle * max(1, end - first)) for first, end in taken])
    return Observation(clips, spans, repeats, tuple(notes), "", landmarks)


def _hidden(landmarks: Landmarks) -> str:
    """Why too little of the body is seen, or ''."""
    seen = np.median(landmarks.visibility[landmarks.found], 0)
    parts = {part: seen[[INDEX[f"{part}_{side}"] for side in "lr"]].max() for part in ("shoulder", "hip")}
    missing = [part for part, visibility in parts.items() if visibility < UNSEEN]
    return f"the {missing[0]}s are outside the picture or hidden" if missing else ""
