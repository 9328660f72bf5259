"""The training loop: Algorithm 1 from data to checkpoint, the same for EFA and every compared system.

    efa run 6/EFA --preset smoke --seeds 0              # this loop, then predictions and scores
    accelerate launch --num_processes 2 -m efa run 6/EFA    # the same run trained by two processes

`fit` is the loop. A run that was interrupted resumes after its last whole epoch, with the same order, noise and
optimizer state. Where memory does not hold a batch, its gradient is accumulated over micro-batches. The comments
`(alg-1-N)` name the lines of Algorithm 1; those inside the model and the losses are in `efa/model/assessor.py`.
"""

import contextlib
import json
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from efa.baselines.base import System, SystemOutput
from efa.baselines.inputs import TrainingInputs, build_model
from efa.baselines.registry import Model
from efa.config import Config, TrainingConfig
from efa.data.batches import Batch, Shares, learnt_texts, order_for_text_loss, split_batch
from efa.data.loader import ClipDataset, EpochSampler, Progress, as_is, pixels, text_keys
from efa.model.assessor import Output, losses
from efa.utils import distributed
from efa.utils.errors import Diverged, InputError
from efa.utils.files import write_safely
from efa.utils.memory import HINT, halve_on_full_memory

Report = Callable[[str], None]
MEMORY = "memory.json"  # in a run's folder: how many clips at once memory holds, where it does not hold a batch
CLIPS_NAMED = 8  # in an error


def fit(
    config: Config,
    inputs: TrainingInputs,
    folder: Path,
    progress: Progress | None = None,
    report: Report = lambda line: None,
) -> Model:
    """Trains in `folder`: history.csv and resume.pt after each epoch, best.safetensors by validation loss.

    Where memory is full, training restarts from the last whole epoch with half as many clips at once; the optimizer
    still sees the gradient of the whole batch. That is exact, up to the order of sums, except for what depends on more
    than one clip: batch normalisation (each micro-batch has its own statistics) and random draws.

    Started by `accelerate launch`, each process takes its share of every batch; the main one alone validates and
    writes. The main process returns the best weights, the others the last ones.

    Raises:
        Diverged: a loss or a gradient is not finite; the folder can be resumed from its last whole epoch.
        InputError: memory does not hold a single clip, or there are more processes than clips in a batch.
    """
    size = min(n for n in (micro_batch(folder), config.training.micro_batch, config.training.batch) if n)
    if distributed.count() > 1:
        try:
            return _train(size, config, inputs, folder, progress, report)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"memory does not hold {size} clips at once", hint=f"set training.micro_batch; {HINT}"
            ) from error

    def remember(smaller: int) -> None:
        report(f"memory is full: {smaller} clips at once from now on, with the gradient of the same batch")
        write_safely(folder / MEMORY, lambda path: path.write_text(json.dumps({"micro_batch": smaller})))

    return halve_on_full_memory(lambda size: _train(size, config, inputs, folder, progress, report), size, remember)


def _train(
    micro_batch: int, config: Config, inputs: TrainingInputs, folder: Path, progress: Progress | None, report: Report
) -> Model:
    """`fit` with at most `micro_batch` clips at once in one process."""
    training, main = config.training, distributed.main()
    if training.threads:
        torch.set_num_threads(training.threads)

    # Data
    texts = inputs.tokenizer.batch(list(inputs.dataset.table["explanation"]), config.decoder.max_tokens)  # [N, L]
    keys = text_keys(inputs.dataset, config)  # [N] the row of each clip's true class in the table of texts
    shared, noise = (texts, keys, config.data), getattr(config.encoder, "noise", 0.0)
    clips = ClipDataset(inputs.dataset, inputs.rows("train"), inputs.video, *shared, training.seed, noise)
    held_out = ClipDataset(inputs.dataset, inputs.rows("val"), inputs.observed, *shared, None)
    if (batch_size := min(training.batch, len(clips))) < distributed.count():
        hint = "start fewer processes, or set a larger training.batch"
        raise InputError(f"{distributed.count()} processes cannot share {batch_size} clips", hint=hint)
    sampler = EpochSampler(len(clips), training.seed, balanced_weights(clips) if training.balance else None)
    loader = DataLoader(
        clips, training.batch, sampler=sampler, collate_fn=as_is, drop_last=len(clips) >= training.batch
    )

    # (alg-1-1) Model
    model = build_model(config, inputs).to(distributed.state().device)

    # Optimizer and schedule: linear warm-up, linear decay
    optimizer = build_optimizer(model, training)
    total = training.epochs * len(loader)
    warm = max(1, round(training.warmup * total))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))
    )

    # Resume
    done, best, history = 0, float("inf"), []
    resume = folder / "resume.pt"
    saved = torch.load(resume, "cpu", weights_only=True) if main and resume.is_file() else None
    if saved := distributed.broadcast(saved):
        model.load_state_dict(saved["model"], strict=False)
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        done, best, history = saved["epoch"], saved["best"], saved["history"]
        report(f"resumed after epoch {done}")

    step = distributed.data_parallel(TrainingStep(model, config, inputs, clips))
    started = time.time()
    for epoch in range(done, training.epochs):  # (alg-1-2)
        clips.epoch = sampler.epoch = epoch
        own = f" {distributed.rank()}" if distributed.rank() else ""
        torch.manual_seed(zlib.crc32(f"epoch {training.seed} {epoch}{own}".encode()))  # dropout and noise of this epoch
        model.train()
        if isinstance(model, System):
            model.progress = epoch / training.epochs
        sums: dict[str, float] = {}
        for i, batch in enumerate(loader):  # (alg-1-3)
            batch = order_for_text_loss(batch, training)
            try:
                for name, value in accumulate_gradient(step, model, batch, micro_batch).items():
                    sums[name] = sums.get(name, 0.0) + value / len(loader)
                if not torch.isfinite(nn.utils.clip_grad_norm_(model.parameters(), training.clip)):
                    raise NotFiniteError(("gradient",), batch["row"].tolist())
            except NotFiniteError as error:
                raise error.diverged(inputs, epoch + 1, i + 1) from None
            optimizer.step()  # (alg-1-12)
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            if progress:
                progress(epoch * len(loader) + i + 1, total)

        # (alg-1-13) Validate, and keep the best weights
        row: dict[str, float] = {"epoch": epoch + 1, "lr": float(schedule.get_last_lr()[0])}
        row["seconds"] = round(time.time() - started, 2)
        row |= {f"train_{name}": value for name, value in sums.items()} | mean_sigmas(model)
        if (epoch + 1) % training.select_every == 0 or epoch + 1 == training.epochs:
            row |= distributed.broadcast(validate(model, held_out, config, inputs, epoch + 1) if main else {})
            if row["val_total"] < best:
                best = row["val_total"]
                if main:
                    write_safely(folder / "best.safetensors", lambda path: save_file(contiguous_state(model), path))

        # Checkpoint
        history.append(row)
        if main:
            write_safely(folder / "history.csv", partial(pd.DataFrame(history).to_csv, index=False))
            state: dict[str, Any] = {"model": trained_state(model), "optimizer": optimizer.state_dict()}
            state |= {"schedule": schedule.state_dict(), "epoch": epoch + 1, "best": best, "history": history}
            write_safely(resume, partial(torch.save, state))
        report(json.dumps({k: round(v, 4) for k, v in row.items()}))
    if main:  # (alg-1-14)
        model.load_state_dict(load_file(folder / "best.safetensors"))
    return model.eval()  # (alg-1-15)


def accumulate_gradient(step: nn.Module, model: nn.Module, batch: Batch, micro_batch: int) -> dict[str, float]:
    """Fills each parameter's gradient with that of the whole batch; -> the batch's losses by name.

    Raises:
        NotFiniteError: in every process, before the gradient of a loss that is not finite is taken in any.
    """
    processes = distributed.count()
    sums: dict[str, float] = {}
    pieces = list(split_batch(batch, model, micro_batch, distributed.rank(), processes))
    for i, (piece, shares) in enumerate(pieces):
        last = i + 1 == len(pieces)
        with contextlib.nullcontext() if last or processes == 1 else step.no_sync():  # type: ignore[operator]
            parts = step(piece, shares)
            bad = distributed.gather(not_finite(parts))
            if any(bad):
                raise NotFiniteError(next(filter(None, bad)), piece["row"].tolist())
            (parts["total"] * processes).backward()  # DistributedDataParallel averages where the batch needs a sum
        for name, value in parts.items():
            sums[name] = sums.get(name, 0.0) + value.item()
    return {name: sum(part[name] for part in distributed.gather(sums)) for name in sums} if processes > 1 else sums


class TrainingStep(nn.Module):
    """From a batch to its losses, in one module, so that DistributedDataParallel sees all of it.

    Args:
        clips: the training clips, for the spread of their features, in whose units noise is measured.
    """

    def __init__(self, model: Model, config: Config, inputs: TrainingInputs, clips: ClipDataset):
        super().__init__()
        self.model, self.config, self.inputs = model, config, inputs
        noisy = config.training.feature_noise and config.encoder.frozen
        self.spread = feature_spread(inputs.video, clips.rows) if noisy else None
        self.compiled = (torch.compile(model.encode_video), torch.compile(model)) if config.training.compile else None

    def forward(self, batch: Batch, shares: Shares | None = None) -> dict[str, Tensor]:
        """Losses of a batch, or of the part of one that has these shares of it; only `total` carries a gradient."""
        _, parts = compute_losses(self.model, batch, self.config, self.inputs, self.spread, shares, self.compiled)
        return {name: value if name == "total" else value.detach() for name, value in parts.items()}


def compute_losses(
    model: Model,
    batch: Batch,
    config: Config,
    inputs: TrainingInputs,
    spread: Tensor | None = None,
    shares: Shares | None = None,
    compiled: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
) -> tuple[Output | SystemOutput, dict[str, Tensor]]:
    """Forward pass and losses of one batch; the true class picks the steps, as in training it may.

    Args:
        spread: what feature noise is measured in, [C]; None: no noise.
        shares: of a part of a batch, see `losses`.
        compiled: the model's `encode_video` and itself by `torch.compile`.
    """
    device = distributed.state().device
    encode_video, forward = compiled or (model.encode_video, model)
    batch = {name: value.to(device) for name, value in batch.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=config.training.precision == "bf16"):
        video = batch["video"]
        finished = config.encoder.frozen and video.dtype != torch.uint8  # features of a frozen encoder
        features = video if finished else encode_video(pixels(batch))  # (alg-1-5) F_v [B, N, C]
        if model.training and spread is not None:
            features = features + torch.randn_like(features) * spread.to(device) * config.training.feature_noise
        key = batch["key"]  # (alg-1-4) [B] the row of the true class in the table of texts
        seen = key >= 0  # [B]
        if model.training and config.fusion.text_dropout:
            seen = seen & (torch.rand(len(key), device=key.device) >= config.fusion.text_dropout)
        steps, instruction = inputs.embed(model, key, batch["row"])  # (alg-1-6) F_t^s [B, 5, E], F_t^g [B, 1, E]
        tokens = learnt_texts(batch) if config.training.weight_text else None
        tokens = None if tokens is None or len(tokens) == 0 else tokens  # [B', L]
        output = forward(features, steps, instruction, seen, tokens)
    for name in ("class_logits", "blind_logits", "quality_logit", "text_logits"):
        if (logits := getattr(output, name)) is not None:
            setattr(output, name, logits.float())  # losses in full precision
    if tokens is not None:
        batch = batch | {"tokens": tokens}
    return output, losses(output, batch, config.training, shares=shares)


@torch.no_grad()
def validate(model: Model, clips: ClipDataset, config: Config, inputs: TrainingInputs, epoch: int) -> dict[str, float]:
    """Losses and accuracies on the validation split, steps by the true class, and the mean of the gate g of eq. 9.

    Raises:
        Diverged: a loss is not finite.
        InputError: memory does not hold a single clip.
    """
    model.eval()

    def run(micro_batch: int) -> dict[str, float]:
        sums: dict[str, float] = {}
        right: list[Tensor] = []
        for batch in DataLoader(clips, config.prediction.batch, collate_fn=as_is):
            weight = len(batch["row"]) / len(clips)
            for piece, shares in split_batch(batch, model, micro_batch):
                output, parts = compute_losses(model, piece, config, inputs, shares=shares)
                if bad := not_finite(parts):
                    raise NotFiniteError(bad, piece["row"].tolist()).diverged(inputs, epoch)
                found = {name: value.item() for name, value in parts.items()}
                gate = getattr(getattr(output, "fusion", None), "gate", None)
                if gate is not None:
                    found["gate"] = gate.mean().item() * len(piece["row"]) / len(batch["row"])
                for name, value in found.items():
                    sums[f"val_{name}"] = sums.get(f"val_{name}", 0.0) + value * weight
                verdict = (output.quality_logit.cpu() >= 0) == (piece["quality"] > 0.5)
                action = output.class_logits.argmax(1).cpu() == piece["action"]
                right.append(torch.stack([piece["quality"], verdict.float(), action.float()]))
        quality, verdict, action = torch.cat(right, 1)
        recalls = [verdict[quality == q].mean().item() for q in (0, 1) if (quality == q).any()]
        sums |= {"val_top1": 100 * action.mean().item(), "val_quality_balanced_acc": 100 * float(np.mean(recalls))}
        return sums

    return halve_on_full_memory(run, config.prediction.batch)


def build_optimizer(model: Model, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW; pre-trained parts learn at `lr`, the rest at `head_lr`; biases and norms do not decay."""
    pretrained = {id(parameter) for parameter in model.pretrained_parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            lr = config.lr if id(parameter) in pretrained else config.head_lr
            decay = config.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((lr, decay), []).append(parameter)
    parameters = [{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]
    return torch.optim.AdamW(parameters, betas=config.betas)


def balanced_weights(clips: ClipDataset) -> np.ndarray:
    """Sampling weights [len(clips)] that make standard and non-standard clips equally frequent."""
    quality = clips.quality[torch.as_tensor(clips.rows)].numpy()
    share = max(quality.mean(), 1e-6), max(1 - quality.mean(), 1e-6)
    return np.where(quality > 0.5, 0.5 / share[0], 0.5 / share[1])


def feature_spread(video: np.ndarray, rows: np.ndarray) -> Tensor:
    """Standard deviation of each feature channel, [C], over a sample of the training clips."""
    sample = video[rows[:: max(1, len(rows) // 200)]].astype(np.float32)
    return torch.from_numpy(sample.reshape(-1, sample.shape[-1]).std(0))


class NotFiniteError(Exception):
    """Parts of the loss, or the gradient, that are not finite, and the rows of the clips behind them."""

    def __init__(self, parts: tuple[str, ...], rows: list[int]):
        super().__init__(parts, rows)
        self.parts, self.rows = parts, rows

    def diverged(self, inputs: TrainingInputs, epoch: int, step: int = 0) -> Diverged:
        """The error for the user, naming the clips; step 0 is validation."""
        clips = tuple(inputs.dataset.table["clip_id"].iloc[self.rows].head(CLIPS_NAMED))
        what = "the gradient" if self.parts == ("gradient",) else f"the loss ({', '.join(self.parts)})"
        place = f"epoch {epoch}, step {step}" if step else f"validation after epoch {epoch}"
        ids = ", ".join([*clips, *["..."] * (len(self.rows) > CLIPS_NAMED)])
        hint = "set lower training.lr and training.head_lr, or look for broken values in these clips"
        message = f"{what} is not finite in {place}; clips {ids} ({hint})"
        return Diverged(message, epoch=epoch, step=step, clips=clips, parts=self.parts)


def not_finite(parts: dict[str, Tensor]) -> tuple[str, ...]:
    """Names of the losses that are not finite; none where the total is."""
    if torch.isfinite(parts["total"]):
        return ()
    bad = (name for name, value in parts.items() if name != "total" and not torch.isfinite(value))
    return tuple(bad) or ("further term",)


def micro_batch(folder: Path) -> int:
    """How many clips at once memory held when the run in `folder` ran out of it; 0: it never did."""
    path = folder / MEMORY
    return int(json.loads(path.read_text(encoding="utf-8"))["micro_batch"]) if path.is_file() else 0


@torch.no_grad()
def mean_sigmas(model: nn.Module) -> dict[str, float]:
    """Mean absolute sigma of each residual of the fusion, where there are any."""
    found = {n: p for n, p in model.named_parameters() if n.endswith("sigma")}
    return {n.removesuffix(".sigma"): p.abs().mean().item() for n, p in found.items()}


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters with a gradient, and buffers that are saved."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def contiguous_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict as safetensors wants it: contiguous, and no two names for one memory."""
    state: dict[str, Tensor] = {}
    kept: set[int] = set()
    for name, value in model.state_dict().items():
        shared = value.data_ptr() in kept and value.numel() > 0
        kept.add(value.data_ptr())
        state[name] = value.clone() if shared else value.contiguous()
    return state
