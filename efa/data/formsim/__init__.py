"""FormSim: a procedural data set of people exercising, with known faults. No download, no display, no GL."""

from efa.data.formsim.dataset import (
    Clip,
    clips,
    fault_phrases,
    pose_target,
    record,
    render_clip,
    some_actions,
    step_table,
    stream_clip,
)

__all__ = [
    "Clip",
    "clips",
    "fault_phrases",
    "pose_target",
    "record",
    "render_clip",
    "some_actions",
    "step_table",
    "stream_clip",
]
