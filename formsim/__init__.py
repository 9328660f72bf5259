"""FormSim: a procedural data set of people exercising, with known faults. No download, no display, no GL."""

from formsim.dataset import (
    Clip,
    clips,
    fault_phrases,
    pose_target,
    record,
    render_clip,
    sealed_clips,
    some_actions,
    step_table,
    stream_clip,
)

# Part of every run's key. Raise it when a frame or a text changes; a hash of frames in the tests guards it.
VERSION = 1

__all__ = [
    "VERSION", "Clip", "clips", "fault_phrases", "pose_target", "record", "render_clip", "sealed_clips", "some_actions",
    "step_table", "stream_clip",
]  # fmt: skip
