"""Rendered clips in the place of CoT-AFA's videos, which cannot be shipped: same layout, drawn people."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import formsim
from efa.data.video import write_mp4


def render_stand_ins(folder: Path, qualities: Mapping[str, int], size: int = 64, frames: int = 12) -> Path:
    """workout_ori/NN/NN_MM.mp4 for each clip NN_MM.

    Clips of a class show one FormSim action, of the clip's own quality; no two show the same performance.

    Args:
        qualities: clip -> 0 standard or 1 non-standard.
        size, frames: of the videos, in pixels and in number, at 6 frames a second.
    """
    pool: dict[tuple[str, int], list[formsim.Clip]] = defaultdict(list)
    for clip in formsim.clips("main", 3392, 1):
        pool[clip.action, formsim.record(clip)["quality"]].append(clip)
    actions = sorted({action for action, _ in pool})
    for name, quality in sorted(qualities.items()):
        number = name.partition("_")[0]
        clip = pool[actions[int(number) % len(actions)], quality].pop()
        file = folder / "workout_ori" / number / f"{name}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_mp4(file, formsim.render_clip(clip, size, frames, 0.0), 6)
    return folder
