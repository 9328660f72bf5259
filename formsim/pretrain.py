"""Pre-train on FormSim's streams: visual trunks on poses (the stand-in for Kinetics), writers on texts (for BERT's).

Writers are EFA's decoder (RICA2's as well), S2VT's second network (C3DAVG, MSCADC) and the joint transformers of
SwinBERT and LAVENDER. They see the same texts in the same order, with as many updates and the same learning rates. The
first two predict each word piece from those before it, the others hidden ones, as they do with a video. No video is
seen; whatever reads one stays untrained.

    $ efa pretrain encoder --clips 20000               # EFA's: efa/model/weights/formsim.safetensors
    $ efa pretrain encoder --system TSM --clips 20000  # efa/model/weights/tsm.safetensors
    $ efa pretrain decoder                             # formsim_decoder.safetensors and its vocabulary
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from efa.baselines.base import language_weights, text_file
from efa.baselines.inputs import word_pieces
from efa.baselines.masked_lm import MaskedLM
from efa.baselines.registry import build_system, find_system, trunk
from efa.config import Config, FormSimData
from efa.config import build as build
from efa.data.loader import in_processes
from efa.data.tokenizer import Tokenizer
from efa.model.decoder import Decoder
from efa.model.swin import VideoSwin, load_encoder
from efa.runs import commit
from efa.utils import paths
from formsim.errors import InputError
from formsim.motion import ANGLES, JOINTS
from formsim.streams import STREAM_SEED, batches, explanations, read_clips, tensors

CELLS = 16  # a frame is divided into 16 x 16 cells; the encoder says in which one each joint is
HEAD_SIZES = (3 * len(JOINTS), 2 * len(ANGLES), len(ANGLES))  # outputs of a pose head: joints, angles, deviations
PARTS = {"decoder": "EFA", "s2vt": "C3DAVG", "swinbert": "SwinBERT", "lavender": "LAVENDER"}  # writer -> whose

# joints [B, T, 20, 3], angles [.., 35, 2], cells [.., 20, 256], deviation
Guess = tuple[Tensor, Tensor, Tensor, Tensor]
Losses = Iterator[tuple[Tensor, dict[str, float]]]  # each with figures to report beside it
Report = Callable[[dict[str, float]], object]


class GridHeads(nn.Module):
    """Read the pose off a grid of features; discarded after pre-training.

    One head says in which cell each joint is, from the tokens where they stand: a dense target that teaches small
    encoders fast. The other regresses, from the mean over a frame's tokens, joints, angles, and how far each angle is
    from the action as its file says.
    """

    def __init__(self, width: int, grid: int):
        super().__init__()
        self.fine = CELLS // grid  # cells a token answers for, along each axis
        self.place = nn.Linear(width, self.fine**2 * len(JOINTS))
        self.pose = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, sum(HEAD_SIZES)))

    def forward(self, features: Tensor) -> Guess:
        """Features [B, T, H', W', C]."""
        b, t, h, w, _ = features.shape
        joints, angles, deviation = self.pose(features.mean((2, 3))).split(HEAD_SIZES, dim=-1)
        cells = self.place(features).view(b, t, h, w, self.fine, self.fine, len(JOINTS))
        cells = cells.permute(0, 1, 6, 2, 4, 3, 5).reshape(b, t, len(JOINTS), CELLS * CELLS)
        return joints.unflatten(-1, (-1, 3)), angles.unflatten(-1, (-1, 2)), cells, deviation


class VectorHeads(nn.Module):
    """The same from features without a grid; a cell's logit is the sum of its row's and its column's."""

    def __init__(self, width: int, frames: int, hidden: int = 512):
        super().__init__()
        self.frames = frames
        self.hidden = nn.Sequential(nn.Flatten(), nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU())
        self.pose = nn.Linear(hidden, frames * sum(HEAD_SIZES))
        self.place = nn.Linear(hidden, frames * len(JOINTS) * 2 * CELLS)

    def forward(self, features: Tensor) -> Guess:
        """Features [B, N, C] with N C = width."""
        x = self.hidden(features)
        joints, angles, deviation = self.pose(x).unflatten(1, (self.frames, -1)).split(HEAD_SIZES, dim=-1)
        rows, columns = self.place(x).unflatten(1, (self.frames, len(JOINTS), 2, CELLS)).unbind(-2)
        cells = (rows[..., :, None] + columns[..., None, :]).flatten(-2)
        return joints.unflatten(-1, (-1, 3)), angles.unflatten(-1, (-1, 2)), cells, deviation


class PoseModel(nn.Module):
    """A system's trunk with the heads that suit its features."""

    def __init__(self, config: Config):
        super().__init__()
        frames, size = config.data.frames, config.data.size
        self.system = build_system(config, actions=2, vocabulary_size=8, text_dim=8)
        self.trunk = trunk(self.system)
        self.heads: nn.Module
        if isinstance(self.trunk, VideoSwin):
            self.heads = GridHeads(self.trunk.out_dim, self.trunk.grid(frames, size, size)[1])
        else:
            with torch.no_grad():
                width = self.system.encode_video(torch.zeros(2, frames, 3, size, size))[0].numel()
            self.heads = VectorHeads(width, frames)

    def forward(self, frames: Tensor) -> Guess:
        """Frames [B, T, 3, H, W] of 0 to 255. Swin trains in bfloat16; with it C3D's loss became NaN."""
        video = (frames / 255 - self.system.mean) / self.system.std
        swin = isinstance(self.trunk, VideoSwin)
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self.training and swin):
            features = self.trunk(video) if swin else self.system.encode_video(video)
        return self.heads(features.float())


def pretrain_encoder(
    config: Config, clips: int, passes: int = 3, batch: int = 16, lr: float = 1e-3, out: Path | None = None,
    report: Report = lambda row: None, seed: int = 0, start: Path | None = None,
) -> dict[str, float]:  # fmt: skip
    """Render `clips` fresh clips, train on each `passes` times (mirrored at random), save the trunk in half precision.

    Args:
        config: `system.name` says whose trunk.
        out: default: the file in the package.
        start: weights to continue from; InputError if they do not fit the trunk.

    Returns:
        Errors on held-out clips, as `evaluate_encoder`.
    """
    torch.manual_seed(seed)
    out = out or paths.WEIGHTS / f"{find_system(config).TRUNK}.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    rendered = _read_clips(clips, STREAM_SEED + 2 * seed, config)
    seconds = {"render": round(time.time() - started)}
    model = PoseModel(config).train()
    swin = isinstance(model.trunk, VideoSwin)
    if swin:
        for module in model.trunk.modules():
            if isinstance(module, nn.Linear):  # narrow layers learn slowly from the usual deviation of 0.02
                nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
    if start:
        load_encoder(model.trunk, start)
    log: list[dict[str, float]] = []

    def losses() -> Losses:
        for step, (frames, *targets) in enumerate(batches(rendered, passes, batch, seed)):
            if step and step % 1000 == 0:
                _save(model.trunk.state_dict(), out)
            loss, error = pose_loss(model(frames), *targets)
            yield loss, {"joint_error": error}

    def keep(row: dict[str, float]) -> None:
        log.append(row)
        report(row)

    parameters = list(dict.fromkeys([*model.trunk.parameters(), *model.heads.parameters()]))
    _fit(parameters, losses(), passes * (clips // batch), lr, 0.04, 0.02, keep)
    scores = evaluate_encoder(model, config)
    _save(model.trunk.state_dict(), out)
    pd.DataFrame(log).to_csv(out.with_suffix(".csv"), index=False, lineterminator="\r\n")
    command = f"efa pretrain encoder --system {config.system.name} --clips {clips} --passes {passes} --lr {lr:g}"
    command += f" --seed {seed}" + (f" --start {start.name}" if start else "")
    facts = _facts(command, "FormSim stream (procedural stand-in for Kinetics)", batch, seed) | {
        "parameters": sum(p.numel() for p in model.trunk.parameters()), "lr": lr, "seed": seed,
        "seconds": seconds | {"all": round(time.time() - started)}, "system": config.system.name,
        "encoder": config.to_dict()["encoder"] if swin else "see efa/baselines", "size": config.data.size,
        "held_out": scores,
    }  # fmt: skip
    before = start.with_suffix(".json") if start else None
    stages = json.loads(before.read_text())["stages"] if before and before.is_file() else []
    out.with_suffix(".json").write_text(json.dumps({"stages": [*stages, facts]}, indent=1) + "\n")
    return scores


def pose_loss(guess: Guess, joints: Tensor, angles: Tensor, places: Tensor, deviation: Tensor) -> tuple[Tensor, float]:
    """The loss, and the mean distance of a joint from its place in per cent of the body's height."""
    loss = 10 * F.l1_loss(guess[0], joints) + F.l1_loss(guess[1], angles)
    # Squared, in units of 0.2 rad: most deviations are near zero, and the absolute error is least for a guess of zero.
    loss = loss + 3 * F.mse_loss(guess[3] / 0.2, deviation / 0.2)
    loss = loss + 0.5 * F.cross_entropy(guess[2].flatten(0, 2), cell_index(places).flatten())
    return loss, 100 * (guess[0] - joints).detach().norm(dim=-1).mean().item()


def cell_index(places: Tensor) -> Tensor:
    """Which of the 16 x 16 cells each place in the picture [B, T, 20, 2] is in, int64 [B, T, 20]."""
    column, row = (places * CELLS).long().clamp(0, CELLS - 1).unbind(-1)
    return row * CELLS + column


@torch.no_grad()
def evaluate_encoder(model: PoseModel, config: Config, clips: int = 512) -> dict[str, float]:
    """Errors on clips of the stream that training has not seen.

    Returns:
        joint_error: mean distance of a joint from its place, per cent of body height.
        angle_error: mean absolute error of the angles, degrees.
        place_hit: share of joints found in the right cell of the picture or a neighbour of it, per cent.
        deviation_explained: share of the deviations' mean square that the head accounts for, per cent.
    """
    model.eval()
    rendered = _read_clips(clips, STREAM_SEED + 1, config)
    guesses = [model(tensors(rendered, slice(i, i + 32))[0]) for i in range(0, clips, 32)]
    guess_joints, guess_angles, cells, guess_deviation = (torch.cat(part) for part in zip(*guesses, strict=True))
    _, joints, angles, places, deviation = tensors(rendered, slice(None))
    distance = (guess_joints - joints).norm(dim=-1)
    turn = torch.atan2(*guess_angles.unbind(-1)) - torch.atan2(*angles.unbind(-1))
    turn = torch.rad2deg((turn + np.pi) % (2 * np.pi) - np.pi).abs()
    found, true = cells.argmax(-1), cell_index(places)
    near = ((found % CELLS - true % CELLS).abs() <= 1) & ((found // CELLS - true // CELLS).abs() <= 1)
    unexplained = (guess_deviation - deviation).square().mean() / deviation.square().mean()
    return {
        "joint_error": round(100 * distance.mean().item(), 3),
        "angle_error": round(turn.mean().item(), 3),
        "place_hit": round(100 * near.float().mean().item(), 2),
        "deviation_explained": round(100 * (1 - unexplained).item(), 2),
    }


def build_writer(part: str, config: Config, tokenizer: Tokenizer) -> nn.Module:
    """An untrained writer, of the size that its system has by `config`; InputError if `part` is none of `PARTS`."""
    if part not in PARTS:
        raise InputError(f"no part to pre-train is called '{part}'", hint=f"one of: {', '.join(PARTS)}")
    if part == "decoder":  # alone, so that its first weights do not depend on what else EFA has
        return Decoder(config.decoder, len(tokenizer), config.decoder.dim)
    system = build_system(config.with_({"system.name": PARTS[part]}), 1, len(tokenizer), mask_id=tokenizer.mask)
    return system.text_decoder


def pretrain_decoder(
    config: Config, texts: int, passes: int = 1, batch: int = 32, lr: float = 2e-3, out: Path | None = None,
    report: Report = lambda row: None, seed: int = 0, part: str = "decoder",
) -> dict[str, float]:  # fmt: skip
    """Train one of `PARTS` and save what `load_text` reads: weights in half precision, vocabulary, provenance.

    Args:
        texts: how many; each is drawn `passes` times on average.
        lr: the highest; it rises for 6 % of the updates and falls to almost nothing.
        out: default: `text_file`, in the package.
        seed: of the texts (with an offset), of weights and of the order.

    Returns:
        loss: nats a word piece given those before it, on 512 held-out texts; perplexity: its exponential.

    Raises:
        InputError: `part` is none of `PARTS`.
    """
    torch.manual_seed(seed)
    out = out or text_file(part)
    out.parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    written = explanations(texts, STREAM_SEED + 2 * seed)
    tokenizer = word_pieces(config.text).pruned(written)
    tokens = tokenizer.batch(written, config.decoder.max_tokens)
    held_out = tokenizer.batch(explanations(512, STREAM_SEED + 1), config.decoder.max_tokens)
    model = build_writer(part, config, tokenizer)
    if isinstance(model, (Decoder, MaskedLM)):
        model.position.weight.data[tokens.shape[1] :] = 0  # never seen here
    steps = passes * (texts // batch)

    def losses() -> Losses:
        draw = np.random.RandomState(seed)
        for _ in range(steps):
            chosen = tokens[torch.from_numpy(draw.randint(texts, size=batch))]
            loss = model.loss(_cut(chosen), None) if isinstance(model, MaskedLM) else next_piece_loss(model, chosen)
            yield loss, {}

    _fit([model.get_parameter(name) for name in language_weights(model)], losses(), steps, lr, 0.06, 0.01, report)
    model.eval()
    with torch.no_grad():
        nats = float(np.mean([next_piece_loss(model, some).item() for some in held_out.split(64)]))
    learnt = language_weights(model)
    _save(learnt, out)
    tokenizer.save(out.with_suffix(".txt"))
    scores = {"loss": round(nats, 4), "perplexity": round(float(np.exp(nats)), 3)}
    command = "efa pretrain decoder" + ("" if part == "decoder" else f" --part {part}")
    command += f" --texts {texts} --passes {passes} --lr {lr:g} --seed {seed}"
    data = "explanations of FormSim clips that no benchmark holds (stand-in for BERT's pre-training)"
    facts = _facts(command, data, batch, seed) | {
        "parameters": sum(value.numel() for value in learnt.values()),
        "seconds": round(time.time() - started),
        part: config.to_dict()["decoder"] if part == "decoder" else {"of": PARTS[part], "small": config.system.small},
        "held_out": scores,
    }
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    return scores


def next_piece_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Nats a word piece of texts [B, L], each piece given those before it."""
    tokens = _cut(tokens)
    logits = model(tokens[:, :-1], None)  # [B, L - 1, V]
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)


def _cut(tokens: Tensor) -> Tensor:
    return tokens[:, : int((tokens != 0).sum(1).max())]


def _fit(
    parameters: list[nn.Parameter], losses: Losses, steps: int, lr: float, warmup: float, decay: float, report: Report
) -> None:
    """One update for each loss; every hundredth step and the last are reported."""
    started = time.time()
    optimizer = torch.optim.AdamW(parameters, lr, betas=(0.9, 0.98), weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=warmup)
    for step, (loss, figures) in enumerate(losses, 1):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps:
            seconds = round(time.time() - started, 1)
            report({"step": step, "share": step / steps, "loss": loss.item(), **figures, "seconds": seconds})


def _read_clips(count: int, seed: int, config: Config) -> tuple[np.ndarray, ...]:
    """Clips of the stream, rendered on every core and kept for the next trunk."""
    data = config.data
    assert isinstance(data, FormSimData)
    return read_clips(count, seed, paths.cache() / "stream", data.frames, data.size, data.clutter, in_processes)


def _save(state: dict[str, Tensor], out: Path) -> None:
    save_file({k: v.half().contiguous() if v.is_floating_point() else v for k, v in state.items()}, out)


def _facts(command: str, data: str, batch: int, seed: int) -> dict[str, object]:
    return {
        "command": command, "commit": commit(), "data": data, "batch": batch, "stream_seed": STREAM_SEED + 2 * seed,
        "hardware": f"{torch.get_num_threads()} CPU cores",
    }  # fmt: skip
