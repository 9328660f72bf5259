"""The training loop: AdamW, warm-up and linear decay, the three losses of eq. 11, selection on the validation split."""

from __future__ import annotations

import csv
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from efa.baselines.base import ROWS, VIDEO_PARTS, Captioner, System, SystemOutput, load_text
from efa.baselines.s2vt import S2VT
from efa.config import Config, TextConfig, TrainingConfig
from efa.data.loader import ClipDataset, EpochSampler, Progress, as_is, load_frames, open_dataset, pixels
from efa.data.manifest import DataSet
from efa.data.tokeniser import Tokeniser
from efa.features import text_vectors, video_features
from efa.files import write_safely
from efa.model.assessor import Output, losses
from efa.model.decoder import Decoder, load_bert
from efa.model.text import TextEncoder, bert_state, locate
from efa.systems import Model, build_system, decoder_file, load_trunk, writer

Report = Callable[[str], None]
LEARNT = ("encoder.", "decoder.", "captioner.", "bert.")  # where a system keeps its trunk and its words


@dataclass
class Material:
    """What training and prediction read: the clips of a data set and the vectors of its steps."""

    dataset: DataSet
    video: np.ndarray  # frames uint8 [N, T, S, S, 3] or features float16 [N, tokens, C]
    steps: Tensor  # [K, 5, E]
    instruction: Tensor  # [K, 1, E]
    tokeniser: Tokeniser

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero((self.dataset.table["split"] == split).to_numpy())


def prepare(config: Config, progress: Progress | None = None) -> Material:
    """Opens the data set and runs whatever is frozen, once."""
    dataset = open_dataset(config.data)
    video = (
        video_features(dataset, config, progress)
        if config.encoder.frozen
        else load_frames(dataset, config.data, progress)
    )
    steps, instruction = text_vectors(dataset, config.text)
    tokeniser = vocabulary(dataset, config)
    return Material(dataset, video, steps, instruction, tokeniser)


def word_pieces(config: TextConfig) -> Tokeniser:
    """All word pieces of the text encoder, in the order of their numbers."""
    folder = Path(locate(config.model))
    if (folder / "vocab.txt").is_file():
        return Tokeniser.from_file(folder / "vocab.txt")
    numbers = TextEncoder(config).tokenizer.get_vocab()
    return Tokeniser(sorted(numbers, key=numbers.__getitem__))


def vocabulary(dataset: DataSet, config: Config) -> Tokeniser:
    """The text encoder's word pieces; with `decoder.vocabulary` 'train' only those of the training texts."""
    full = word_pieces(config.text)
    if config.decoder.vocabulary == "full":
        return full
    return full.pruned(list(dataset.table["explanation"][dataset.table["split"] == "train"]))


def build_model(config: Config, material: Material) -> Model:
    """The system of `system.name` with its pre-trained parts in place; the rest is random from `training.seed`."""
    torch.manual_seed(config.training.seed)
    tokeniser = material.tokeniser
    width = material.steps.shape[-1]
    model = build_system(config, len(material.dataset.actions), len(tokeniser), width, tokeniser.mask)
    load_trunk(model, config)
    _start_words(model, config, tokeniser)
    return model


def _start_words(model: Model, config: Config, tokeniser: Tokeniser) -> None:
    """Pre-trained words for the part that writes, from the text encoder or from a file, and frozen if asked for."""
    part, new = writer(model), 0
    if part is None:
        return
    if config.decoder.weights == "text" and not isinstance(part, S2VT):  # a GRU has no use for BERT's layers
        number = {piece: i for i, piece in enumerate(word_pieces(config.text).pieces)}
        load_bert(cast(Decoder, part), bert_state(config.text.model), [number[p] for p in tokeniser.pieces])
    elif file := decoder_file(config):
        new = load_text(part, file, tokeniser.pieces)
    if config.decoder.frozen and isinstance(model, Captioner):
        model.freeze_words()
    elif config.decoder.frozen:
        for name, parameter in part.named_parameters():
            parameter.requires_grad_(name.startswith("memory_in.") or ".cross." in name)
    if config.decoder.frozen and new:  # pieces that the file lacks are random: their table learns
        for name, parameter in part.named_parameters():
            if name in ROWS:
                parameter.requires_grad_(True)


def text_keys(dataset: DataSet, config: Config, actions: list[str] | None = None, wrong: bool = False) -> np.ndarray:
    """Which row of the step-text table each clip sees, int64 [N].

    Args:
        actions: the action each clip is taken for; by default its true one.
        wrong: give the text of another standard of that action, or of another action where there is one standard only.
    """
    keys = list(dataset.steps)
    number = {key: i for i, key in enumerate(keys)}
    table = dataset.table
    out = []
    for action, standard, clip in zip(actions or table["action"], table["standard"], table["clip_id"], strict=True):
        key = f"{action} [{standard}]" if standard else action
        others = [k for k in keys if k != key and k.startswith(f"{action} [")] or [k for k in keys if k != key]
        if config.fusion.text == "shuffled":  # any other key, drawn anew for each clip, so that it carries nothing
            others = [k for k in keys if k != key]
        pick = zlib.crc32(f"shuffled {clip}".encode()) % len(others) if others else 0
        out.append(
            number[others[pick]] if (wrong or config.fusion.text == "shuffled") and others else number.get(key, -1)
        )
    return np.array(out) if config.fusion.text != "none" else np.full(len(table), -1)


def optimiser_of(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
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
    material: Material,
    folder: Path,
    progress: Progress | None = None,
    report: Report = lambda line: None,
) -> Model:
    """Trains in `folder`: history.csv as it goes, resume.pt after each epoch, best.safetensors by validation loss.

    An interrupted run goes on after its last whole epoch with the same order, noise and optimiser state.
    """
    training = config.training
    if training.threads:
        torch.set_num_threads(training.threads)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), mixed_precision="bf16" if training.precision == "bf16" else "no"
    )
    model = build_model(config, material)
    texts = material.tokeniser.batch(list(material.dataset.table["explanation"]), config.decoder.max_tokens)
    if training.text_tokens:
        texts = texts[:, : training.text_tokens]
    keys = text_keys(material.dataset, config)
    clips = ClipDataset(
        material.dataset, material.rows("train"), material.video, texts, keys, config.data, training.seed, True
    )
    held_out = ClipDataset(material.dataset, material.rows("val"), material.video, texts, keys, config.data, 0, False)
    weights = _balance(clips) if training.balance else None
    sampler = EpochSampler(len(clips), training.seed, weights)
    loader = DataLoader(
        clips, training.batch, sampler=sampler, collate_fn=as_is, drop_last=len(clips) >= training.batch
    )
    optimiser = optimiser_of(model, training)
    total = training.epochs * len(loader)
    warm = max(1, round(training.warmup * total))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))
    )
    done, best, history = 0, float("inf"), []
    resume = folder / "resume.pt"
    if resume.is_file():
        state = torch.load(resume, "cpu", weights_only=True)
        model.load_state_dict(state["model"], strict=False)
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        done, best, history = state["epoch"], state["best"], state["history"]
        report(f"resumed after epoch {done}")
    model, optimiser, loader = accelerator.prepare(model, optimiser, loader)
    bare: Model = accelerator.unwrap_model(model)
    spread = _spread(material.video, clips.rows) if training.feature_noise and config.encoder.frozen else None
    started = time.time()
    for epoch in range(done, training.epochs):
        clips.epoch = sampler.epoch = epoch
        torch.manual_seed(zlib.crc32(f"epoch {training.seed} {epoch}".encode()))  # dropout and noise of this epoch
        model.train()
        if isinstance(bare, System):
            bare.progress = epoch / training.epochs
        sums: dict[str, float] = {}
        for i, batch in enumerate(loader):  # (alg-1-1)
            batch = _told(batch, training)
            _, parts = _step(bare if accelerator.num_processes == 1 else model, batch, config, material, spread)
            accelerator.backward(parts["total"])  # (alg-1-12)
            accelerator.clip_grad_norm_(model.parameters(), training.clip)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad(set_to_none=True)
            if not torch.isfinite(parts["total"]):
                ids = ", ".join(material.dataset.table["clip_id"].iloc[batch["row"].tolist()].head(8))
                raise FloatingPointError(f"the loss is {parts['total'].item()} in epoch {epoch + 1}; clips {ids}")
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.item() / len(loader)
            if progress:
                progress(epoch * len(loader) + i + 1, total)
        row: dict[str, float] = {"epoch": epoch + 1, "lr": float(schedule.get_last_lr()[0])}
        row["seconds"] = round(time.time() - started, 2)
        row |= {f"train_{name}": value for name, value in sums.items()} | _monitor(bare)
        if (epoch + 1) % training.select_every == 0 or epoch + 1 == training.epochs:
            row |= validate(bare, held_out, config, material)
            if row["val_total"] < best:
                best = row["val_total"]
                write_safely(folder / "best.safetensors", lambda path: save_file(_contiguous(bare), path))
        history.append(row)
        _write_history(folder / "history.csv", history)
        state = {"model": trained_state(bare), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
        state |= {"epoch": epoch + 1, "best": best, "history": history}
        write_safely(resume, partial(torch.save, state))
        report(json.dumps({k: round(v, 4) for k, v in row.items()}))
    bare.load_state_dict(load_file(folder / "best.safetensors"))
    return bare.eval()


def _step(
    model: nn.Module, batch: dict[str, Tensor], config: Config, material: Material, spread: Tensor | None = None
) -> tuple[Output | SystemOutput, dict[str, Tensor]]:
    """Forward pass and losses of one batch; steps come from the true class, as in training they may."""
    bare: Model = getattr(model, "module", model)  # type: ignore[arg-type]
    video = batch["video"]
    features = bare.encode_video(pixels(batch)) if video.dtype == torch.uint8 else video  # (alg-1-2)
    if model.training and spread is not None:
        features = features + torch.randn_like(features) * spread * config.training.feature_noise
    key = batch["key"]  # (alg-1-4) the row of the true class in the table of texts
    seen = key >= 0
    if model.training and config.fusion.text_dropout:
        seen = seen & (torch.rand(len(key), device=key.device) >= config.fusion.text_dropout)
    steps, instruction = material.steps.to(key.device), material.instruction.to(key.device)
    tokens = batch["tokens"][: batch.get("told", len(key))] if config.training.weight_text else None
    output = model(features, steps[key.clamp(min=0)], instruction[key.clamp(min=0)], seen, tokens)
    return output, losses(output, batch if tokens is None else batch | {"tokens": tokens}, config.training)


def _told(batch: dict[str, Tensor], config: TrainingConfig) -> dict[str, Tensor]:
    """The batch in an order in which the explanations that are trained come first, and how much each counts.

    Texts of faulty clips teach more, so more of them are taken; weights make up for it, so that the loss stays that of
    the batch.
    """
    told = batch["tokens"].any(1)  # padding is 0: a clip without a text has none to train
    size, count = len(told), max(1, round(config.text_share * int(told.sum())))
    if config.text_share == 1 or count == size or not told.any():
        return batch
    faulty = batch["quality"] > 0.5
    groups = [torch.nonzero(faulty & told)[:, 0], torch.nonzero(~faulty & told)[:, 0]]
    most = min(len(groups[0]), max(count - len(groups[1]), round(config.text_faulty * count)))
    taken = [groups[0][:most], groups[1][: count - most]]
    order = torch.cat([*taken, groups[0][most:], groups[1][count - most :], torch.nonzero(~told)[:, 0]])
    each = [torch.full((len(part),), len(of) / max(1, len(part))) for part, of in zip(taken, groups, strict=True)]
    weight = torch.cat(each).to(order.device)
    return {name: value[order] for name, value in batch.items()} | {"text_weight": weight, "told": torch.tensor(count)}


@torch.no_grad()
def validate(model: Model, clips: ClipDataset, config: Config, material: Material) -> dict[str, float]:
    """Losses and accuracies on the validation split, steps by the true class."""
    model.eval()
    sums: dict[str, float] = {}
    right: list[Tensor] = []
    for batch in DataLoader(clips, config.prediction.batch, collate_fn=as_is):
        output, parts = _step(model, batch, config, material)
        share = len(batch["row"]) / len(clips)
        for name, value in parts.items():
            sums[f"val_{name}"] = sums.get(f"val_{name}", 0.0) + value.item() * share
        verdict = (output.quality_logit >= 0) == (batch["quality"] > 0.5)
        right.append(
            torch.stack([batch["quality"], verdict.float(), (output.class_logits.argmax(1) == batch["action"]).float()])
        )
    quality, verdict, action = torch.cat(right, 1)
    halves = [verdict[quality == q].mean().item() for q in (0, 1) if (quality == q).any()]
    return sums | {"val_top1": 100 * action.mean().item(), "val_quality_balanced_acc": 100 * float(np.mean(halves))}


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
