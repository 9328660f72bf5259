"""The training loop: AdamW, warm-up and linear decay, the three losses of eq. 11, selection on the validation split."""

from __future__ import annotations

import csv
import json
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from efa import pieces, processes
from efa.baselines.base import VIDEO_PARTS, System, SystemOutput
from efa.baselines.registry import Model
from efa.config import Config, TrainingConfig
from efa.data.loader import ClipDataset, EpochSampler, Progress, as_is, pixels
from efa.gradients import MEMORY as MEMORY
from efa.gradients import Gradients, diverged, not_finite
from efa.gradients import micro_batch as micro_batch
from efa.inputs import TrainingInputs as TrainingInputs
from efa.inputs import build_model as build_model
from efa.inputs import prepare as prepare
from efa.inputs import text_keys as text_keys
from efa.inputs import vocabulary as vocabulary
from efa.inputs import word_pieces as word_pieces
from efa.model.assessor import Output, losses
from efa.pieces import Batch, Shares
from efa.utils.errors import Diverged, InputError
from efa.utils.files import write_safely

Report = Callable[[str], None]
LEARNT = ("encoder.", "decoder.", "captioner.", "bert.")  # where a system keeps its trunk and its words


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW; pre-trained parts learn at `lr`, the rest at `head_lr`; biases and norms do not decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            learnt = name.startswith(LEARNT) and VIDEO_PARTS.isdisjoint(name.split("."))
            lr = config.lr if learnt else config.head_lr
            decay = config.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((lr, decay), []).append(parameter)
    parameters = [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]
    return torch.optim.AdamW(parameters, betas=config.betas)


def fit(
    config: Config,
    inputs: TrainingInputs,
    folder: Path,
    progress: Progress | None = None,
    report: Report = lambda line: None,
) -> Model:
    """Trains in `folder`: history.csv as it goes, resume.pt after each epoch, best.safetensors by validation loss.

    An interrupted run goes on after its last whole epoch with the same order, noise and optimizer state. Where memory
    does not hold a batch, it goes through in pieces (`efa.gradients`).

    Started by `accelerate launch`, several processes train together (`efa.processes`): each takes its share of every
    batch; the main one alone validates and writes. What is drawn per clip (noise, dropout, hidden texts) each process
    draws from a seed of its own. The main process returns the best weights, the others the last ones.

    Raises:
        Diverged: a loss or a gradient is no finite number; the folder can go on from its last whole epoch.
        InputError: memory does not hold the smallest piece of a batch, or there are more processes than clips in it.
    """
    training, device, main = config.training, processes.state().device, processes.main()
    if training.threads:
        torch.set_num_threads(training.threads)
    model = build_model(config, inputs).to(device)
    texts = inputs.tokenizer.batch(list(inputs.dataset.table["explanation"]), config.decoder.max_tokens)
    if training.text_tokens:
        texts = texts[:, : training.text_tokens]
    keys = text_keys(inputs.dataset, config)
    clips = ClipDataset(
        inputs.dataset, inputs.rows("train"), inputs.video, texts, keys, config.data, training.seed, True
    )
    held_out = ClipDataset(inputs.dataset, inputs.rows("val"), inputs.video, texts, keys, config.data, 0, False)
    if (batch_size := min(training.batch, len(clips))) < processes.count():
        hint = "start fewer processes, or set a larger training.batch"
        raise InputError(f"{processes.count()} processes cannot share {batch_size} clips", hint=hint)
    sampler = EpochSampler(len(clips), training.seed, _balance(clips) if training.balance else None)
    loader = DataLoader(
        clips, training.batch, sampler=sampler, collate_fn=as_is, drop_last=len(clips) >= training.batch
    )
    optimizer = build_optimizer(model, training)
    total = training.epochs * len(loader)
    warm = max(1, round(training.warmup * total))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))
    )
    done, best, history = 0, float("inf"), []
    resume = folder / "resume.pt"
    if saved := processes.agreed(torch.load(resume, "cpu", weights_only=True) if main and resume.is_file() else None):
        model.load_state_dict(saved["model"], strict=False)
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        done, best, history = saved["epoch"], saved["best"], saved["history"]
        report(f"resumed after epoch {done}")
    processes.share_weights(model)
    spread = _spread(inputs.video, clips.rows) if training.feature_noise and config.encoder.frozen else None
    compiled = (torch.compile(model.encode_video), torch.compile(model)) if training.compile else None

    def of_piece(piece: Batch, shares: Shares | None) -> dict[str, Tensor]:
        return _step(model, piece, config, inputs, spread, shares, compiled)[1]

    gradients = Gradients(model, of_piece, inputs, training, folder, report)
    started = time.time()
    for epoch in range(done, training.epochs):
        clips.epoch = sampler.epoch = epoch
        own = f" {processes.rank()}" if processes.rank() else ""
        torch.manual_seed(zlib.crc32(f"epoch {training.seed} {epoch}{own}".encode()))  # dropout and noise of this epoch
        model.train()
        if isinstance(model, System):
            model.progress = epoch / training.epochs
        sums: dict[str, float] = {}
        for i, batch in enumerate(loader):  # (alg-1-1)
            parts = gradients.of(pieces.order_for_text_loss(batch, training), epoch + 1, i + 1)
            optimizer.step()  # (alg-1-12)
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value / len(loader)
            if progress:
                progress(epoch * len(loader) + i + 1, total)
        row: dict[str, float] = {"epoch": epoch + 1, "lr": float(schedule.get_last_lr()[0])}
        row["seconds"] = round(time.time() - started, 2)
        row |= {f"train_{name}": value for name, value in sums.items()} | _monitor(model)
        if (epoch + 1) % training.select_every == 0 or epoch + 1 == training.epochs:
            row |= _validate_once(model, held_out, config, inputs, epoch + 1)
            if row["val_total"] < best:
                best = row["val_total"]
                if main:
                    write_safely(folder / "best.safetensors", lambda path: save_file(_contiguous(model), path))
        history.append(row)
        if main:
            _write_history(folder / "history.csv", history)
            state: dict[str, Any] = {"model": trained_state(model), "optimizer": optimizer.state_dict()}
            state |= {"schedule": schedule.state_dict(), "epoch": epoch + 1, "best": best, "history": history}
            write_safely(resume, partial(torch.save, state))
        report(json.dumps({k: round(v, 4) for k, v in row.items()}))
    if main:
        model.load_state_dict(load_file(folder / "best.safetensors"))
    return model.eval()


def _step(
    model: Model,
    batch: Batch,
    config: Config,
    inputs: TrainingInputs,
    spread: Tensor | None = None,
    shares: Shares | None = None,
    compiled: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
) -> tuple[Output | SystemOutput, dict[str, Tensor]]:
    """Forward pass and losses of one batch; steps come from the true class, as in training they may.

    Args:
        spread: what feature noise is measured in, [C]; None: no noise.
        shares: of a piece of a batch, see `losses`.
        compiled: the model's `encode_video` and itself by `torch.compile`.
    """
    device = processes.state().device
    encode_video, forward = compiled or (model.encode_video, model)
    batch = {name: value if name == "told" else value.to(device) for name, value in batch.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=config.training.precision == "bf16"):
        video = batch["video"]
        features = encode_video(pixels(batch)) if video.dtype == torch.uint8 else video  # (alg-1-2)
        if model.training and spread is not None:
            features = features + torch.randn_like(features) * spread.to(device) * config.training.feature_noise
        key = batch["key"]  # (alg-1-4) the row of the true class in the table of texts
        seen = key >= 0
        if model.training and config.fusion.text_dropout:
            seen = seen & (torch.rand(len(key), device=key.device) >= config.fusion.text_dropout)
        steps, instruction = inputs.steps.to(device), inputs.instruction.to(device)
        tokens = batch["tokens"][: int(batch.get("told", len(key)))] if config.training.weight_text else None
        if tokens is not None and len(tokens) == 0 and processes.count() == 1:
            tokens = None  # with several processes even a share without a text takes part in what they exchange
        output = forward(features, steps[key.clamp(min=0)], instruction[key.clamp(min=0)], seen, tokens)
    for name in ("class_logits", "quality_logit", "text_logits"):
        if (logits := getattr(output, name)) is not None:
            setattr(output, name, logits.float())  # losses in full precision
    return output, losses(
        output, batch if tokens is None else batch | {"tokens": tokens}, config.training, shares=shares
    )


def _validate_once(
    model: Model, clips: ClipDataset, config: Config, inputs: TrainingInputs, epoch: int
) -> dict[str, float]:
    """`validate` in the main process, and what came of it in all."""
    row: dict[str, float] = {}
    fault = None
    if processes.main():
        try:
            row = validate(model, clips, config, inputs, epoch)
        except Diverged as error:
            fault = error
    row, fault = processes.agreed((row, fault))
    if fault is not None:
        raise fault
    return row


@torch.no_grad()
def validate(
    model: Model, clips: ClipDataset, config: Config, inputs: TrainingInputs, epoch: int = 0
) -> dict[str, float]:
    """Losses and accuracies on the validation split, steps by the true class, and the mean of the gate g of eq. 9.

    Raises:
        Diverged: a loss is no finite number.
        InputError: memory does not hold a single clip.
    """
    model.eval()
    sums: dict[str, float] = {}
    right: list[Tensor] = []
    halves = pieces.Halves(config.prediction.batch)
    for batch in DataLoader(clips, config.prediction.batch, collate_fn=as_is):
        count = len(batch["row"])

        def judge(span: slice, batch: Batch = batch, count: int = count) -> tuple[Tensor, dict[str, float]]:
            part = {name: value[span] for name, value in batch.items()}
            whole = len(part["row"]) == count
            output, parts = _step(model, part, config, inputs, shares=None if whole else pieces.shares_of(part, batch))
            if bad := not_finite(parts):
                raise diverged(bad, part["row"].tolist(), inputs, epoch)
            verdict = (output.quality_logit.cpu() >= 0) == (part["quality"] > 0.5)
            action = output.class_logits.argmax(1).cpu() == part["action"]
            found = {name: value.item() for name, value in parts.items()}
            gate = getattr(getattr(output, "fusion", None), "gate", None)
            if gate is not None:
                found["gate"] = gate.mean().item() * len(part["row"]) / count
            return torch.stack([part["quality"], verdict.float(), action.float()]), found

        for _, (marks, found) in halves.over(judge, 0, count):
            right.append(marks)
            for name, value in found.items():
                sums[f"val_{name}"] = sums.get(f"val_{name}", 0.0) + value * (count / len(clips))
    quality, verdict, action = torch.cat(right, 1)
    halved = [verdict[quality == q].mean().item() for q in (0, 1) if (quality == q).any()]
    return sums | {"val_top1": 100 * action.mean().item(), "val_quality_balanced_acc": 100 * float(np.mean(halved))}


def _balance(clips: ClipDataset) -> np.ndarray:
    """Sampling weights that make standard and non-standard clips equally frequent."""
    quality = clips.quality[torch.as_tensor(clips.rows)].numpy()
    share = max(quality.mean(), 1e-6), max(1 - quality.mean(), 1e-6)
    return np.where(quality > 0.5, 0.5 / share[0], 0.5 / share[1])


def _spread(video: np.ndarray, rows: np.ndarray) -> Tensor:
    """Standard deviation of each feature channel, [C], over a sample of the training clips."""
    sample = video[rows[:: max(1, len(rows) // 200)]].astype(np.float32)
    return torch.from_numpy(sample.reshape(-1, sample.shape[-1]).std(0))


@torch.no_grad()
def _monitor(model: nn.Module) -> dict[str, float]:
    """Mean absolute sigma of each residual, where there are any."""
    found = {n: p for n, p in model.named_parameters() if n.endswith("sigma")}
    return {n.removesuffix(".sigma"): p.abs().mean().item() for n, p in found.items()}


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters with a gradient, and buffers that are saved."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def _contiguous(model: nn.Module) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    kept: set[int] = set()
    for name, value in model.state_dict().items():
        shared = value.data_ptr() in kept and value.numel() > 0  # safetensors refuses two names for one memory
        kept.add(value.data_ptr())
        state[name] = value.clone() if shared else value.contiguous()
    return state


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    columns = list(dict.fromkeys(key for row in history for key in row))

    def write(partly: Path) -> None:
        with partly.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(history)

    write_safely(path, write)
