"""What our model costs at the paper's size, counted: an explanation, a training step, and the time of both on a GPU.

Beside each stand the release's figures (`efa_book.audit.costs`) and the target that was set for this book. Nothing
is run; FLOPs are 2 x multiply-adds of matrix products and convolutions.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel

from efa.config import Config, FormSimData, build
from efa.experiments import select
from efa.model.assessor import EFAModel
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book.audit.costs import (
    BESIDE,
    DIM,
    FRAMES,
    LENGTHS,
    RELEASE,
    SIZE,
    TEXT,
    _Cache,
    _ids,
    caption,
    count,
    flops,
    series,
    trained,
)
from efa_book.audit.measured import Measured, Quantity, Row, Unit
from efa_book.audit.release import ACTIONS, STEPS, VOCABULARY

BATCH = 2  # of the training step that the release was measured with
WIDTHS = {"minilm": 384}  # of text encoders that are no BERT-base
TARGETS = {  # at most
    "explanation of 256": 0.45e12,
    "decoding, 256 against 128": 2.1,
    "training step, batch 2": 1.3e12,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {  # name -> what is trained, settings on top of the paper's preset
    "as released": ("all but the text encoder; one step in time", {}),
    "stock Video Swin": ("all but the text encoder; two steps in time", {"encoder.temporal_stride": 2}),
    "frozen encoder": ("fusion, heads and decoder; one step in time", {"encoder.frozen": True}),
}


@dataclass(frozen=True)
class Gpu:
    """The vendor's figures, without sparsity.

    Attributes:
        peaks: of matrix products, name of the arithmetic -> FLOP/s.
        bandwidth: of its memory, bytes/s.
    """

    peaks: dict[str, float]
    bandwidth: float


HOPPER = {"bf16": 989.5e12, "TF32": 494.5e12, "fp32": 67e12}  # H100 and H200 differ in memory alone
GPUS = {"H100": Gpu(HOPPER, 3.35e12), "H200": Gpu(HOPPER, 4.8e12)}
SOURCE = "NVIDIA's data sheets of the H100 and the H200 (SXM), figures with sparsity halved"
BYTES = {"bf16": 2, "TF32": 4, "fp32": 4}  # of a weight
SHARE = 0.45  # of the peak that a training step is assumed to reach
ADAMW_BYTES = 28  # a parameter: weight, gradient and two moments of 4 bytes read, all but the gradient written


@cache
def pieces() -> int:
    """Word pieces of a caption with its begin and end: the mean over CoT-AFA's texts, rounded.

    Raises:
        InputError: results/cot-afa/statistics.csv is missing or does not hold it.
    """
    path = paths.results() / "cot-afa" / "statistics.csv"
    hint = "take the published file back, or run 'efa data statistics' on CoT-AFA's annotations"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if (line["quantity"], line["definition"]) == ("words a text", "word pieces of the text encoder"):
                    return round(float(line["value"])) + 2
    except (OSError, KeyError, ValueError) as error:
        reason = f"the length of a caption cannot be read ({type(error).__name__})"
        raise InputError(reason, file=path, hint=hint) from None
    raise InputError("no line of the word pieces of a text", file=path, hint=hint)


def _model(config: Config, text_dim: int = DIM) -> EFAModel:
    with torch.device("meta"):
        return EFAModel(config, ACTIONS, VOCABULARY, text_dim)


@cache
def explanation() -> dict[str, int]:
    """FLOPs from pixels to text of one clip, part by part: everything but the words, once.

    The instruction and the five steps are embedded for this clip alone and fill the text encoder's limit, so that no
    real text costs more; in a data set each is embedded once for all clips of its action.
    """
    config = Config()
    model = _model(config).eval()
    limit = config.text.max_tokens
    with torch.device("meta"):
        bert = BertModel(BertConfig(), add_pooling_layer=False).eval()
        frames, texts = torch.empty(1, FRAMES, 3, SIZE, SIZE), torch.empty(1, 1 + STEPS, DIM)
        features = torch.empty(1, model.grid[0] * model.grid[1] * model.grid[2], model.encoder.out_dim)
    return {
        "Video Swin": flops(lambda: model.encode_video(frames)),
        f"six texts of {limit} word pieces": flops(lambda: bert(input_ids=_ids(limit, 1 + STEPS))),
        "fusion and heads": flops(lambda: model(features, texts[:, 1:], texts[:, :1])),
    }


@cache
@torch.no_grad()
def _kept() -> tuple[_Cache, int]:
    """The decoder's cache after it has read a clip, and the FLOPs of reading."""
    model, made = _model(Config()).eval(), []
    memory = torch.empty(1, model.grid[0] * model.grid[1] * model.grid[2], DIM, device="meta")
    once = flops(lambda: made.append(_Cache(model.decoder, memory, max(LENGTHS))))
    return made[0], once


@cache
@torch.no_grad()
def _step(i: int) -> int:
    kept, _ = _kept()
    return flops(lambda: kept.step(_ids(1), i))


def decoding(length: int) -> int:
    """FLOPs of so many words, keys and values kept: the clip is read once, and each word is one step."""
    return _kept()[1] + series(_step, 0, length - 1)


@cache
def training_step(config: Config, length: int, batch: int = BATCH) -> int:
    """FLOPs of a forward and a backward pass through all three losses; sentence vectors are given, as in training.

    A frozen encoder runs forward all the same, though its features may be computed once for all epochs.
    """
    text_dim = WIDTHS.get(config.text.model, DIM)
    model, data = _model(config, text_dim), config.data
    with torch.device("meta"):
        frames = torch.empty(batch, data.frames, 3, data.size, data.size)
        texts = torch.empty(batch, 1 + STEPS, text_dim)

    def step() -> None:
        said = model(model.encode_video(frames), texts[:, 1:], texts[:, :1], None, _ids(length, batch))
        sum(part.sum() for part in (said.class_logits, said.quality_logit, said.text_logits)).backward()

    return flops(step)


def _releases(*lengths: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """FLOPs of the release's captions of these lengths: re-created here, and measured in it."""
    return tuple(caption(length) for length in lengths), tuple(RELEASE[f"caption of {length}"] for length in lengths)


def _judged(value: float, target: float, unit: Unit) -> str:
    return f"at most {Quantity(target, unit)}: {'met' if value <= target else 'missed'}"


def explained() -> Measured:
    """An explanation from pixels to text, ours beside the release."""
    rows: list[Row] = [(name, Quantity(cost, "TFLOP"), "", "", "") for name, cost in explanation().items()]
    once = sum(explanation().values())
    for length in LENGTHS:
        ours = once + decoding(length)
        target = TARGETS.get(f"explanation of {length}")
        rows.append((f"decoding {length} tokens", Quantity(decoding(length), "TFLOP"), "", "", ""))
        beside = (Quantity(cost, "TFLOP") for (cost,) in _releases(length))
        aim = _judged(ours, target, "TFLOP") if target else ""
        rows.append((f"all of it, {length} tokens", Quantity(ours, "TFLOP"), *beside, aim))
    growth = decoding(256) / decoding(128)
    beside = (Quantity(big / small, "times") for big, small in _releases(256, 128))
    aim = _judged(growth, TARGETS["decoding, 256 against 128"], "times")
    rows.append(("decoding, 256 against 128", Quantity(growth, "times"), *beside, aim))
    how = (
        f"One clip of {FRAMES} frames of {SIZE} pixels: Swin-B, BERT-base for text, a decoder of BERT-base's size, key "
        "and value caches. The release's figures are of the whole caption, also where the growth is compared."
    )
    return Measured(("", "ours", "release, re-created here", BESIDE, "target"), tuple(rows), how)


def stepped() -> Measured:
    """A training step of batch 2, by what is trained, beside the release's."""
    rows: list[Row] = []
    for name, (about, overrides) in VARIANTS.items():
        config = build("paper", overrides)
        costs = [training_step(config, length) for length in (pieces(), TEXT)]
        fits = "met" if costs[0] <= TARGETS["training step, batch 2"] else "missed"
        rows.append((f"{name}: {about}", *(Quantity(cost, "TFLOP") for cost in costs), fits))
    rows.append(("release, re-created here: everything", "", Quantity(trained()[1], "TFLOP"), ""))
    rows.append((f"release, {BESIDE}", "", Quantity(RELEASE["training step, batch 2"], "TFLOP"), ""))
    how = (
        f"Forward and backward, {BATCH} clips of {FRAMES} frames of {SIZE} pixels, single attentions as in the paper. "
        f"{pieces()} word pieces are the mean caption of CoT-AFA; the release pads every caption to {TEXT}. The target "
        f"is {Quantity(TARGETS['training step, batch 2'], 'TFLOP')} with the mean caption. Video Swin that learns and "
        "takes single steps in time needs nearly all of it alone."
    )
    head = ("what is trained", f"captions of {pieces()}", f"captions of {TEXT}", "target")
    return Measured(head, tuple(rows), how)


@cache
def on_gpu(preset: str) -> dict[str, float]:
    """What a training step of a preset's own batch needs: FLOPs, bytes that AdamW moves, clips."""
    config = build(preset)
    model: nn.Module = _model(config, WIDTHS.get(config.text.model, DIM))
    learnt = sum(p.numel() for p in model.parameters() if p.requires_grad)
    length = min(config.training.text_tokens or config.decoder.max_tokens, config.decoder.max_tokens)
    work = training_step(config, length, config.training.batch)
    return {"flops": work, "bytes": learnt * ADAMW_BYTES, "batch": config.training.batch}


def estimated() -> Measured:
    """Training steps and an explanation on GPUs that were not at hand: arithmetic, not a measurement."""
    rows: list[Row] = []
    for name, gpu in GPUS.items():
        for preset in ("paper", "gpu"):
            need = on_gpu(preset)
            moved = need["bytes"] / gpu.bandwidth
            times = (Quantity(1e3 * (need["flops"] / (SHARE * peak) + moved), "mean") for peak in gpu.peaks.values())
            what = f"{name}: a training step, preset {preset}, batch {need['batch']:.0f}"
            rows.append((what, Quantity(need["flops"], "TFLOP"), *times))
        words = max(LENGTHS)
        weights = count(_model(Config()).decoder)
        texts = (Quantity(1e3 * words * weights * BYTES[kind] / gpu.bandwidth, "mean") for kind in gpu.peaks)
        what = f"{name}: decoding {words} tokens of one clip, at the least"
        rows.append((what, Quantity(decoding(words), "TFLOP"), *texts))
    peaks = ", ".join(f"{kind} {peak / 1e12:g}" for kind, peak in HOPPER.items())
    widths = ", ".join(f"{name} {gpu.bandwidth / 1e12:g}" for name, gpu in GPUS.items())
    how = (
        f"An estimate: no GPU was at hand. A training step takes its operations at {100 * SHARE:.0f} % of the peak and "
        f"the bytes of AdamW ({ADAMW_BYTES} a trained parameter) at full bandwidth; captions have the most word pieces "
        "that the preset trains, a frozen encoder runs forward, and reading data is not in it. Models of the preset "
        "gpu's size reach a smaller share than that. Decoding reads every weight once a word; launching kernels is not "
        f"in it. Peaks in TFLOP/s: {peaks}; memory in TB/s: {widths}. Source: {SOURCE}. fp32 is what PyTorch does "
        "unless told otherwise."
    )
    return Measured(("", "operations", *(f"milliseconds, {kind}" for kind in HOPPER)), tuple(rows), how)


def steps(preset: str) -> int:
    """Steps of one training of EFA: whole batches of the training split (70 % of the clips), all epochs."""
    config = build(preset)
    assert isinstance(config.data, FormSimData)
    return config.training.epochs * (int(0.7 * config.data.clips) // config.training.batch)


def runs_estimated() -> Measured:
    """The training of a whole run, and of Tables IV to VII with three seeds, from `on_gpu`: arithmetic as well."""
    rows: list[Row] = []
    grid = {preset: len({run.config for run in select("paper", preset, (0, 1, 2))}) for preset in ("paper", "gpu")}
    for name, gpu in GPUS.items():
        for preset, runs in grid.items():
            need = on_gpu(preset)
            each = [need["flops"] / (SHARE * peak) + need["bytes"] / gpu.bandwidth for peak in gpu.peaks.values()]
            for what, many in (("EFA, one seed", 1), (f"{runs} runs of Tables IV to VII, if each were EFA's", runs)):
                times = (Quantity(many * steps(preset) * seconds / 60, "mean") for seconds in each)
                rows.append((f"{name}: preset {preset}, {what}", Quantity(many * steps(preset)), *times))
    how = (
        "The steps above, one after another, on one GPU: training alone, without validation, prediction, reading and "
        "scoring, at a share of the peak that models of the preset gpu's size do not reach. So this is a lower bound."
    )
    return Measured(("", "steps", *(f"minutes, {kind}" for kind in HOPPER)), tuple(rows), how)
