"""Stand-ins for tests: rendered clips in CoT-AFA's layout, coloured blocks, and systems in any size."""

import inspect
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import formsim
from efa.baselines.registry import systems
from efa.config import FusionConfig, build
from efa_datasets.mp4 import write_mp4


def render_stand_ins(folder: Path, qualities: Mapping[str, int], size: int = 64, frames: int = 12) -> Path:
    """workout_ori/NN/NN_MM.mp4 of `size` pixels and `frames` frames at 6 a second, for each clip NN_MM.

    Clips of a class show one FormSim action, of the clip's own quality (0 standard, 1 non-standard); no two show the
    same performance.
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


def make_system(name: str, paper: bool, actions: int, changes: dict[str, Any], seed: int = 0, **given: int) -> Any:
    """A compared system, at paper size or small; `given` goes to those constructors that want it, as the clips do."""
    system = systems()[name]
    torch.manual_seed(seed)
    wanted = inspect.signature(system).parameters
    small = {} if paper else {"frames": 6, "size": 64, "encoder": build("laptop").encoder, **system.SMALL}
    settings = given | small | changes
    model = system(**{key: value for key, value in settings.items() if key in wanted})
    model.add_heads(FusionConfig() if paper else build("laptop").fusion, actions, model.class_shape, model.form_shape)
    return model


def coloured_clips(size: int, count: int) -> torch.Tensor:
    """uint8 [count, 6, 3, size, size]: coloured blocks that change from frame to frame."""
    blocks = torch.randint(0, 256, (count * 6, 3, 8, 8), generator=torch.Generator().manual_seed(1)).float()
    return F.interpolate(blocks, size=(size, size)).to(torch.uint8).unflatten(0, (count, 6))
