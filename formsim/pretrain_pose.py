"""Pre-train the pose encoder on FormSim's stream of performances; nothing is rendered.

    $ efa pretrain pose     # efa/model/weights/pose.safetensors

From each window of a performance, as an estimator would report it, the encoder tells the action, how far the movement
goes, and how much of each fault it shows. The heads that say so are thrown away.
"""

import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import formsim
from efa.config import Config, PoseConfig
from efa.data.loader import cached_array, in_processes
from efa.model.pose import PoseEncoder
from efa.utils import paths
from formsim.motion import JOINTS
from formsim.others import OTHER, other_skeleton
from formsim.pretrain import Losses, Report, _facts, _fit, _save
from formsim.schema import load_actions
from formsim.skeletons import PHASES, imitate, skeleton, take, vary
from formsim.streams import STREAM_SEED
from formsim.ways import people_skeleton

FAULTS = max(len(action.faults) for action in load_actions().values())


def pretrain_pose(
    config: Config, clips: int, passes: int = 12, batch: int = 128, lr: float = 2e-3, out: Path | None = None,
    report: Report = lambda row: None, seed: int = 0, held_out: int = 2000, others: int = 0, people: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Trains on each of `clips` fresh performances `passes` times and saves the encoder in half precision.

    With `others`, so many performances of exercises that FormSim does not have are a class of their own; with
    `people`, movements are also done in `formsim.ways`, and estimators err more (`imitate`).

    Returns:
        On `held_out` further performances, whole movements at an ordinary estimator's noise: `top1` in per cent and
        `deviation_r2`, the share of the variance of range and fault magnitudes that is explained.
    """
    assert isinstance(config.encoder, PoseConfig)
    noise = config.encoder.noise
    torch.manual_seed(seed)
    started = time.time()
    draw = torch.Generator().manual_seed(seed)
    names, frames = list(load_actions()), config.data.frames
    encoder = PoseEncoder(config.encoder, frames)
    heads = nn.ModuleList(
        [nn.Linear(2 * encoder.out_dim, len(names) + 1), nn.Linear(encoder.out_dim, 50 * (1 + FAULTS))]
    )
    cycles, action, target = performances(clips, STREAM_SEED + 2 * seed, people)
    mean, spread = target.mean(0), target.std(0)
    made = in_processes(partial(other_skeleton, seed=STREAM_SEED + 2 * seed), range(others))
    unknown = torch.from_numpy(np.stack([*made])) if others else cycles[:0]

    def guess(joints: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = encoder(joints).flatten(1, 3)  # [B, T, C]
        logits = heads[0](torch.cat([tokens.mean(1), tokens.amax(1)], -1))
        return logits, heads[1](tokens.mean(1)).view(len(joints), len(names), -1)[torch.arange(len(joints)), action]

    def losses() -> Losses:
        for _ in range(passes):
            order = torch.randperm(clips, generator=draw)
            for start in range(0, clips // batch * batch, batch):
                rows = order[start : start + batch]
                windows = torch.rand(1, generator=draw).item() < 0.7
                added = torch.randint(others, (batch // 2 if others else 0,), generator=draw) if others else rows[:0]
                joints = take(torch.cat([cycles[rows], unknown[added]]), frames, draw if windows else None)
                joints = vary(joints, [names[i] for i in action[rows]] + [OTHER] * len(added), draw)
                level = noise * (0.3 + 0.9 * torch.rand(1, generator=draw).item())
                truth = torch.cat([action[rows], torch.full_like(added, len(names))])
                logits, deviation = guess(imitate(joints, draw, level, people), truth.clamp(max=len(names) - 1))
                parts = {
                    "action": F.cross_entropy(logits, truth, label_smoothing=0.05),
                    "deviation": F.mse_loss(deviation[: len(rows)], (target[rows] - mean) / spread),
                }
                yield parts["action"] + parts["deviation"], {name: part.item() for name, part in parts.items()}

    steps = passes * (clips // batch)
    _fit([*encoder.parameters(), *heads.parameters()], losses(), steps, lr, 0.15, 0.02, report)
    encoder.eval()
    cycles, action, target = performances(held_out, STREAM_SEED + 1)
    with torch.no_grad():
        logits, deviation = guess(imitate(take(cycles, frames), draw), action)
    error = (deviation * spread + mean - target).pow(2).mean(0) / target.var(0)
    scores = {"top1": 100 * (logits.argmax(1) == action).float().mean().item(), "deviation_r2": 1 - error.mean().item()}
    out = out or paths.WEIGHTS / "pose.safetensors"
    _save(encoder.state_dict(), out)
    command = f"efa pretrain pose --clips {clips} --passes {passes} --lr {lr:g} --seed {seed} --others {others}"
    command += " --people" * people
    facts = _facts(command, "joints of FormSim's stream, as an estimator would report them", batch, seed)
    facts |= {"seconds": round(time.time() - started), "encoder": config.to_dict()["encoder"], "held_out": scores}
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    return scores


def performances(count: int, seed: int, people: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The first clips of a stream: joints [n, 48, 20, 3], action [n], range and fault magnitudes [n, 1 + FAULTS]."""
    folder, width = paths.cache() / "stream", PHASES * len(JOINTS) * 3
    made = in_processes(partial(_perform, seed=seed, people=people), range(count))
    parts = (np.concatenate([joints.ravel(), facts])[None] for joints, facts in made)
    path = folder / f"skeletons-v{formsim.VERSION}-{count}-{seed}{'-people' * people}.npy"
    found = torch.from_numpy(np.array(cached_array(path, (count, width + 2 + FAULTS), np.float32, parts)))
    return found[:, :width].unflatten(1, (PHASES, len(JOINTS), 3)), found[:, width].long(), found[:, width + 1 :]


def _perform(i: int, seed: int, people: bool) -> tuple[np.ndarray, np.ndarray]:
    clip = formsim.stream_clip(i, seed)
    shown = dict(clip.extra)
    shown[clip.fault] = shown.get(clip.fault, 0.0) + clip.severity
    faults = list(load_actions()[clip.action].faults)
    magnitudes = [shown.get(faults[k], 0.0) if k < len(faults) else 0.0 for k in range(FAULTS)]
    facts = [list(load_actions()).index(clip.action), clip.executed, *magnitudes]
    return (people_skeleton if people else skeleton)(clip), np.array(facts, np.float32)
