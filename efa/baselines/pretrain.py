"""Pre-train a visual trunk on FormSim's stream: say where every joint is and how every limb points.

The stand-in for Kinetics, for EFA's encoder and for the trunks of the compared systems. The stream's subjects, rooms
and performances have seeds of their own, so no benchmark clip is ever seen; its poses are wider than the benchmarks'
(random offsets, several faults at once, any range).

    $ efa pretrain encoder --clips 20000               # EFA's: efa/model/weights/formsim.safetensors
    $ efa pretrain encoder --system TSM --clips 20000  # efa/model/weights/tsm.safetensors
"""

from __future__ import annotations

import csv
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import formsim
from efa.baselines.registry import build_system, trunk, trunk_name
from efa.config import Config, FormSimData
from efa.data.loader import in_processes
from efa.model.swin import VideoSwin, load_encoder, torchvision_names
from efa.runs import commit
from efa.utils import paths
from formsim.motion import ANGLES, JOINTS

STREAM_SEED = 1_000_003  # no benchmark uses it
CELLS = 16  # a frame is divided into 16 x 16 cells; the encoder says in which one each joint is


def _other_side(name: str) -> str:
    """'thigh_l.out' -> 'thigh_r.out'; names without a side stay."""
    return re.sub(r"_([lr])(?=$|\.)", lambda m: "_r" if m[1] == "l" else "_l", name)


PARTS = (3 * len(JOINTS), 2 * len(ANGLES), len(ANGLES))  # outputs of the pose head: joints, angles, deviations

_SWAP = [JOINTS.index(_other_side(name)) for name in JOINTS]
_SWAP_ANGLES = [ANGLES.index(_other_side(name)) for name in ANGLES]
_SIDEWAYS = [
    i for i, a in enumerate(ANGLES) if a in ("yaw", "pelvis.roll", "pelvis.twist") or "side" in a or "twist" in a
]

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # frames, joints, angles, places, deviations


class PoseHeads(nn.Module):
    """Read the pose off the features; thrown away after pre-training.

    One head says in which cell of the picture each joint is, from the tokens where they stand: a dense target that
    teaches small encoders fast. The other regresses joints, angles, and how far each angle is from the action as its
    file says, from the mean over a frame's tokens: so the encoder knows the pose and what is unusual about it.
    """

    def __init__(self, width: int, grid: int):
        super().__init__()
        self.fine = CELLS // grid  # cells a token answers for, along each axis
        self.place = nn.Linear(width, self.fine**2 * len(JOINTS))
        self.pose = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, sum(PARTS)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[B, T, H', W', C] -> joints [.., 20, 3], angles [.., 35, 2], cells [.., 20, 256], deviation [.., 35]."""
        b, t, h, w, _ = features.shape
        joints, angles, deviation = self.pose(features.mean((2, 3))).split(PARTS, dim=-1)
        cells = self.place(features).view(b, t, h, w, self.fine, self.fine, len(JOINTS))
        cells = cells.permute(0, 1, 6, 2, 4, 3, 5).reshape(b, t, len(JOINTS), CELLS * CELLS)
        return joints.unflatten(-1, (-1, 3)), angles.unflatten(-1, (-1, 2)), cells, deviation


class VectorHeads(nn.Module):
    """The same answers from features without a picture's grid, as the trunks of most compared systems leave them.

    All frames are read from all features together. Where a joint is in the picture is said by row and by column, so
    that a cell's logit is the sum of both.
    """

    def __init__(self, width: int, frames: int, hidden: int = 512):
        super().__init__()
        self.frames = frames
        self.hidden = nn.Sequential(nn.Flatten(), nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU())
        self.pose = nn.Linear(hidden, frames * sum(PARTS))
        self.place = nn.Linear(hidden, frames * len(JOINTS) * 2 * CELLS)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[B, N, C], N C = width -> as `PoseHeads`."""
        x = self.hidden(features)
        joints, angles, deviation = self.pose(x).unflatten(1, (self.frames, -1)).split(PARTS, dim=-1)
        rows, columns = self.place(x).unflatten(1, (self.frames, len(JOINTS), 2, CELLS)).unbind(-2)
        cells = (rows[..., :, None] + columns[..., None, :]).flatten(-2)
        return joints.unflatten(-1, (-1, 3)), angles.unflatten(-1, (-1, 2)), cells, deviation


class Student(nn.Module):
    """A system's trunk with the heads that suit its features."""

    def __init__(self, config: Config):
        super().__init__()
        self.system = build_system(config, actions=2, vocabulary_size=8, text_dim=8)
        self.trunk = trunk(self.system)
        self.heads: nn.Module
        if isinstance(self.trunk, VideoSwin):
            grid = self.trunk.grid(config.data.frames, config.data.size, config.data.size)
            self.heads = PoseHeads(self.trunk.out_dim, grid[1])
        else:
            blank = torch.zeros(2, config.data.frames, 3, config.data.size, config.data.size)
            with torch.no_grad():
                width = self.system.encode_video(blank)[0].numel()
            self.heads = VectorHeads(width, config.data.frames)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """uint8 or float frames [B, T, 3, H, W] of 0 to 255 -> as the heads.

        While training, Swin runs in bfloat16. Convolutions over time gain nothing by it, and C3D's loss became NaN.
        """
        seen = (frames / 255 - self.system.mean) / self.system.std
        swin = isinstance(self.trunk, VideoSwin)
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self.training and swin):
            features = self.trunk(seen) if swin else self.system.encode_video(seen)
        return self.heads(features.float())


def pretrain(
    config: Config,
    clips: int,
    passes: int = 3,
    batch: int = 16,
    lr: float = 1e-3,
    out: Path | None = None,
    report: Callable[[dict[str, float]], None] = lambda row: None,
    seed: int = 0,
    start: Path | None = None,
) -> dict[str, float]:
    """Render `clips` fresh clips, see each `passes` times (mirrored at random), save the trunk in half precision.

    Args:
        config: `system.name` says whose trunk.
        start: weights to go on from.

    Returns:
        joint_error: mean distance of a joint from its place on 512 held-out stream clips, per cent of body height.
        angle_error: mean absolute error of the angles there, degrees.
        place_hit: share of joints found in the right cell of the picture or a neighbour of it, per cent.
        deviation_explained: share of the deviations' mean square that the head accounts for, per cent.
    """
    torch.manual_seed(seed)
    out = out or paths.WEIGHTS / f"{trunk_name(config)}.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    pool = stream(clips, config, STREAM_SEED + 2 * seed)
    rendered = time.time() - started
    student = Student(config).train()
    if isinstance(student.trunk, VideoSwin):
        for module in student.trunk.modules():
            if isinstance(module, nn.Linear):  # at a deviation of 0.02, made for wide layers, narrow ones hardly speak
                nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
    if start:
        load_encoder(student.trunk, start, torchvision_names if isinstance(student.trunk, VideoSwin) else dict)
    learning = [*student.trunk.parameters(), *student.heads.parameters()]
    parameters = list({id(p): p for p in learning}.values())
    optimizer = torch.optim.AdamW(parameters, lr, betas=(0.9, 0.98), weight_decay=0.02)
    steps = passes * (clips // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.04)
    log: list[dict[str, float]] = []
    for step, (frames, *targets) in enumerate(_batches(pool, passes, batch, seed), 1):
        loss, error = _loss(student(frames), *targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps:
            seconds = round(time.time() - started, 1)
            log.append(
                {"step": step, "share": step / steps, "loss": loss.item(), "joint_error": error, "seconds": seconds}
            )
            report(log[-1])
        if step % 1000 == 0:
            _save(student.trunk, out)
    scores = evaluate(student, config)
    _save(student.trunk, out)
    with out.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(log[0]))
        writer.writeheader()
        writer.writerows(log)
    facts = {
        "command": f"efa pretrain encoder --system {config.system.name} --clips {clips} --passes {passes} "
        f"--lr {lr:g} --seed {seed}" + (f" --start {start.name}" if start else ""),
        "commit": commit(),
        "data": "FormSim stream (procedural stand-in for Kinetics)",
        "parameters": sum(p.numel() for p in student.trunk.parameters()),
        "batch": batch,
        "lr": lr,
        "seed": seed,
        "stream_seed": STREAM_SEED + 2 * seed,
        "seconds": {"render": round(rendered), "all": round(time.time() - started)},
        "hardware": f"{torch.get_num_threads()} CPU cores",
        "system": config.system.name,
        "encoder": config.to_dict()["encoder"] if isinstance(student.trunk, VideoSwin) else "see efa/baselines",
        "size": config.data.size,
        "held_out": scores,
    }
    before = start.with_suffix(".json") if start else None
    stages = json.loads(before.read_text())["stages"] if before and before.is_file() else []
    out.with_suffix(".json").write_text(json.dumps({"stages": [*stages, facts]}, indent=1) + "\n")
    return scores


def stream(clips: int, config: Config, seed: int) -> tuple[np.ndarray, ...]:
    """Frames uint8 [n, T, S, S, 3] and the targets of n clips, as `formsim.pose_target`; kept for the next trunk."""
    data = config.data
    assert isinstance(data, FormSimData)
    folder = paths.cache() / "stream" / f"v{formsim.VERSION}-{clips}x{data.frames}x{data.size}-{data.clutter:g}-{seed}"
    if not folder.is_dir():
        work = partial(_stream_clip, seed=seed, data=data)
        parts = zip(*in_processes(work, range(clips)), strict=True)
        partly = folder.with_name(f"{folder.name}.{os.getpid()}.partly")
        partly.mkdir(parents=True)
        for i, part in enumerate(parts):
            np.save(partly / f"{i}.npy", np.stack(part))
        partly.rename(folder)
    return tuple(np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(5))


def _stream_clip(i: int, seed: int, data: FormSimData) -> tuple[np.ndarray, ...]:
    clip = formsim.stream_clip(i, seed)
    return formsim.render_clip(clip, data.size, data.frames, data.clutter), *formsim.pose_target(clip, data.frames)


def _batches(pool: tuple[np.ndarray, ...], passes: int, batch: int, seed: int) -> Iterator[Batch]:
    draw = np.random.RandomState(seed)
    for _ in range(passes):
        order = draw.permutation(len(pool[0]))
        for start in range(0, len(order) // batch * batch, batch):
            frames, *targets = (torch.from_numpy(part[order[start : start + batch]]) for part in pool)
            which = torch.from_numpy(draw.random_sample(batch) < 0.5)
            joints, angles, places, deviation = targets
            seen, joints, angles, places, deviation = mirrored(
                frames.permute(0, 1, 4, 2, 3), joints, angles, places, deviation, which
            )
            seen, places = zoomed(seen, places, draw)
            yield recoloured(seen, draw), joints, angles, places, deviation


def mirrored(frames: Tensor, joints: Tensor, angles: Tensor, places: Tensor, deviation: Tensor, which: Tensor) -> Batch:
    """Left and right exchanged in the clips that `which` [B] marks, pictures and targets alike."""
    flipped_joints = joints[:, :, _SWAP] * torch.tensor([-1.0, 1.0, 1.0])
    flipped_angles = angles[:, :, _SWAP_ANGLES].clone()
    flipped_angles[:, :, _SIDEWAYS, 0] *= -1  # the sine of the opposite angle
    flipped_deviation = deviation[:, :, _SWAP_ANGLES].clone()
    flipped_deviation[:, :, _SIDEWAYS] *= -1
    flipped_places = places[:, :, _SWAP] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])

    def chosen(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(which.view(-1, *[1] * (old.ndim - 1)), new, old)

    return (
        chosen(frames.flip(-1), frames),
        chosen(flipped_joints, joints),
        chosen(flipped_angles, angles),
        chosen(flipped_places, places),
        chosen(flipped_deviation, deviation),
    )


def zoomed(frames: Tensor, places: Tensor, draw: np.random.RandomState) -> tuple[Tensor, Tensor]:
    """Each clip a little nearer or farther and off the centre, all its frames alike; float frames, places to match."""
    b, t, c, h, w = frames.shape
    scale = torch.from_numpy(draw.uniform(0.8, 1.08, b).astype(np.float32))
    shift = torch.from_numpy(draw.uniform(-0.12, 0.12, (b, 2)).astype(np.float32))  # in half widths
    turn = torch.zeros(b, 2, 3)
    turn[:, 0, 0] = turn[:, 1, 1] = scale
    turn[:, :, 2] = shift
    grid = F.affine_grid(turn, [b, t * c, h, w], align_corners=False)
    seen = F.grid_sample(frames.flatten(1, 2).float(), grid, padding_mode="border", align_corners=False)
    moved = (2 * places - 1 - shift.view(b, 1, 1, 2)) / scale.view(b, 1, 1, 1)
    return seen.unflatten(1, (t, c)), (moved + 1) / 2


def recoloured(frames: Tensor, draw: np.random.RandomState) -> Tensor:
    """Each clip's colour channels exchanged and scaled at random, so that one rendering serves as several."""
    b = len(frames)
    order = torch.from_numpy(np.stack([draw.permutation(3) for _ in range(b)]))
    gain = torch.from_numpy(draw.uniform(0.75, 1.25, (b, 1, 3, 1, 1)).astype(np.float32))
    return (frames[torch.arange(b)[:, None], :, order].transpose(1, 2) * gain).clamp(0, 255)


def _cell(places: Tensor) -> Tensor:
    """Which of the 16 x 16 cells a place in the picture is in, int64 [B, T, 20]."""
    column, row = (places * CELLS).long().clamp(0, CELLS - 1).unbind(-1)
    return row * CELLS + column


def _loss(
    guess: tuple[Tensor, Tensor, Tensor, Tensor], joints: Tensor, angles: Tensor, places: Tensor, deviation: Tensor
) -> tuple[Tensor, float]:
    loss = 10 * F.l1_loss(guess[0], joints) + F.l1_loss(guess[1], angles)
    # Squared, in units of 0.2 rad: most deviations are near zero, and the absolute error is least for a guess of zero.
    loss = loss + 3 * F.mse_loss(guess[3] / 0.2, deviation / 0.2)
    loss = loss + 0.5 * F.cross_entropy(guess[2].flatten(0, 2), _cell(places).flatten())
    return loss, 100 * (guess[0] - joints).detach().norm(dim=-1).mean().item()


@torch.no_grad()
def evaluate(student: Student, config: Config, clips: int = 512) -> dict[str, float]:
    """Errors on clips of the stream that training has not seen."""
    student.eval()
    pool = stream(clips, config, STREAM_SEED + 1)
    distances, turns, hits, errors, usual = [], [], [], [], []
    for start in range(0, clips, 32):
        frames, joints, angles, places, deviation = (torch.from_numpy(part[start : start + 32]) for part in pool)
        guess_joints, guess_angles, cells, guess_deviation = student(frames.permute(0, 1, 4, 2, 3))
        distances.append((guess_joints - joints).norm(dim=-1).flatten())
        difference = torch.atan2(*guess_angles.unbind(-1)) - torch.atan2(*angles.unbind(-1))
        turns.append(torch.rad2deg((difference + np.pi) % (2 * np.pi) - np.pi).abs().flatten())
        errors.append((guess_deviation - deviation).square().flatten())
        usual.append(deviation.square().flatten())
        found, true = cells.argmax(-1), _cell(places)
        near = ((found % CELLS - true % CELLS).abs() <= 1) & ((found // CELLS - true // CELLS).abs() <= 1)
        hits.append(near.float().flatten())
    return {
        "joint_error": round(100 * torch.cat(distances).mean().item(), 3),
        "angle_error": round(torch.cat(turns).mean().item(), 3),
        "place_hit": round(100 * torch.cat(hits).mean().item(), 2),
        "deviation_explained": round(100 * (1 - torch.cat(errors).mean() / torch.cat(usual).mean()).item(), 2),
    }


def _save(encoder: nn.Module, out: Path) -> None:
    save_file({k: v.half().contiguous() if v.is_floating_point() else v for k, v in encoder.state_dict().items()}, out)
