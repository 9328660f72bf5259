"""What our model costs at the paper's size, counted: an explanation, a training step, and the time of both on a GPU.

Beside each stand the release's figures (`efa_book.audit.costs`) and the target that was set for this book. Nothing
is run; FLOPs are 2 x multiply-adds of matrix products and convolutions.
"""

import math
from functools import cache
from typing import Any

import torch
from transformers import BertConfig, BertModel

from efa.config import Config, FormSimData, build
from efa.experiments import select
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book.audit import Measurement, Quantity, Row, costs, quantities
from efa_book.audit.costs import BESIDE, DIM, FRAMES, LENGTHS, RELEASE, SIZE, TEXT, empty, flops, token_ids
from efa_book.audit.release import STEPS
from efa_book.files import read_table

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


# The vendor's figures, without sparsity; the two GPUs differ in memory alone.
PEAKS = {"bf16": 989.5e12, "TF32": 494.5e12, "fp32": 67e12}  # arithmetic of matrix products -> FLOP/s
BANDWIDTHS = {"H100": 3.35e12, "H200": 4.8e12}  # of the memory, bytes/s
SOURCE = "NVIDIA's data sheets of the H100 and the H200 (SXM), figures with sparsity halved"
BYTES = {"bf16": 2, "TF32": 4, "fp32": 4}  # of a weight
SHARE = 0.45  # of the peak that a training step is assumed to reach
ADAMW_BYTES = 28  # a parameter: weight, gradient and two moments of 4 bytes read, all but the gradient written


@cache
def caption_pieces() -> int:
    """Word pieces of a caption with its begin and end: the mean over CoT-AFA's texts, rounded.

    Raises:
        InputError: results/cot-afa/statistics.csv is missing or does not hold it.
    """
    path = paths.results() / "cot-afa" / "statistics.csv"
    hint = "restore the published file, or run 'efa data statistics' on CoT-AFA's annotations"
    table = read_table(path, ("quantity", "definition", "value"), hint).set_index(["quantity", "definition"])["value"]
    try:
        return round(float(table["words a text", "word pieces of the text encoder"])) + 2
    except (KeyError, ValueError):
        raise InputError("no line of the word pieces of a text", file=path, hint=hint) from None


@cache
def explanation() -> dict[str, int]:
    """FLOPs from pixels to text of one clip, part by part: everything but the words, once.

    The instruction and the five steps are embedded for this clip alone and fill the text encoder's limit, so that no
    real text costs more; in a data set each is embedded once for all clips of its action.
    """
    limit, model = Config().text.max_tokens, costs.build_model(Config()).eval()
    with torch.device("meta"):
        bert = BertModel(BertConfig(), add_pooling_layer=False).eval()
    features, texts = empty(1, _video_tokens(), model.encoder.out_dim), empty(1, 1 + STEPS, DIM)
    return {
        "Video Swin": flops(lambda: model.encode_video(empty(1, FRAMES, 3, SIZE, SIZE))),
        f"six texts of {limit} word pieces": flops(lambda: bert(input_ids=token_ids(1 + STEPS, limit))),
        "fusion and heads": flops(lambda: model(features, texts[:, 1:], texts[:, :1])),
    }


@cache
def _video_tokens() -> int:
    return math.prod(costs.build_model(Config()).grid)


def decoding(length: int) -> int:
    """FLOPs of so many words, keys and values kept."""
    return costs.cached(length, _video_tokens())


def training_step(config: Config, length: int, batch: int = BATCH) -> int:
    """FLOPs of a forward and a backward pass, see `costs.trained_model`."""
    return costs.trained_model(config, length, batch, WIDTHS.get(config.text.model, DIM))[1]


def _compare(value: float, target: float, unit: str) -> str:
    return f"at most {Quantity(target, unit)}: {'met' if value <= target else 'missed'}"


def explanation_table() -> Measurement:
    """An explanation from pixels to text, ours beside the release."""
    rows: list[Row] = [(name, Quantity(cost, "TFLOP"), "", "", "") for name, cost in explanation().items()]
    once = sum(explanation().values())
    for length in LENGTHS:
        ours, target = once + decoding(length), TARGETS.get(f"explanation of {length}")
        rows.append((f"decoding {length} tokens", Quantity(decoding(length), "TFLOP"), "", "", ""))
        cells = quantities("TFLOP", ours, costs.caption(length), RELEASE[f"caption of {length}"])
        rows.append((f"all of it, {length} tokens", *cells, _compare(ours, target, "TFLOP") if target else ""))
    growth = decoding(256) / decoding(128)
    theirs = costs.caption(256) / costs.caption(128), RELEASE["caption of 256"] / RELEASE["caption of 128"]
    what = "decoding, 256 against 128"
    rows.append((what, *quantities("times", growth, *theirs), _compare(growth, TARGETS[what], "times")))
    how = (
        f"One clip of {FRAMES} frames of {SIZE} pixels: Swin-B, BERT-base for text, a decoder of BERT-base's size, key "
        "and value caches. The release's figures are of the whole caption, also where the growth is compared."
    )
    return Measurement(("", "ours", "release, re-created here", BESIDE, "target"), rows, how)


def training_step_table() -> Measurement:
    """A training step of batch 2, by what is trained, beside the release's."""
    rows: list[Row] = []
    target, mean = TARGETS["training step, batch 2"], caption_pieces()
    for name, (about, overrides) in VARIANTS.items():
        steps = [training_step(build("paper", overrides), length) for length in (mean, TEXT)]
        rows.append((f"{name}: {about}", *quantities("TFLOP", *steps), "met" if steps[0] <= target else "missed"))
    rows.append(("release, re-created here: everything", "", Quantity(costs.trained_release()[1], "TFLOP"), ""))
    rows.append((f"release, {BESIDE}", "", Quantity(RELEASE["training step, batch 2"], "TFLOP"), ""))
    how = (
        f"Forward and backward, {BATCH} clips of {FRAMES} frames of {SIZE} pixels, single attentions as in the paper. "
        f"{mean} word pieces are the mean caption of CoT-AFA; the release pads every caption to {TEXT}. The target "
        f"is {Quantity(target, 'TFLOP')} with the mean caption. Video Swin that learns and "
        "takes single steps in time needs nearly all of it alone."
    )
    return Measurement(("what is trained", f"captions of {mean}", f"captions of {TEXT}", "target"), rows, how)


@cache
def step_needs(preset: str) -> dict[str, float]:
    """What a training step of a preset's own batch needs: FLOPs, bytes that AdamW moves, clips."""
    config = build(preset)
    model = costs.build_model(config, WIDTHS.get(config.text.model, DIM))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    length = config.decoder.max_tokens
    work = training_step(config, length, config.training.batch)
    return {"flops": work, "bytes": trained * ADAMW_BYTES, "batch": config.training.batch}


def step_seconds(preset: str, gpu: str) -> list[float]:
    """Estimated seconds of a training step in each arithmetic."""
    need = step_needs(preset)
    return [need["flops"] / (SHARE * peak) + need["bytes"] / BANDWIDTHS[gpu] for peak in PEAKS.values()]


def gpu_table() -> Measurement:
    """Training steps and an explanation on GPUs that we do not have: arithmetic, not a measurement."""
    rows: list[Row] = []
    words, weights = max(LENGTHS), costs.count(costs.build_model(Config()).decoder)
    for name, bandwidth in BANDWIDTHS.items():
        for preset in ("paper", "gpu"):
            need, times = step_needs(preset), (1e3 * seconds for seconds in step_seconds(preset, name))
            what = f"{name}: a training step, preset {preset}, batch {need['batch']:.0f}"
            rows.append((what, Quantity(need["flops"], "TFLOP"), *quantities("mean", *times)))
        times = (1e3 * words * weights * BYTES[kind] / bandwidth for kind in PEAKS)
        what = f"{name}: decoding {words} tokens of one clip, at the least"
        rows.append((what, Quantity(decoding(words), "TFLOP"), *quantities("mean", *times)))
    peaks = ", ".join(f"{kind} {peak / 1e12:g}" for kind, peak in PEAKS.items())
    widths = ", ".join(f"{name} {bandwidth / 1e12:g}" for name, bandwidth in BANDWIDTHS.items())
    how = (
        f"An estimate: no GPU was at hand. A training step takes its operations at {100 * SHARE:.0f} % of the peak and "
        f"the bytes of AdamW ({ADAMW_BYTES} a trained parameter) at full bandwidth; captions have the most word pieces "
        "that the preset trains, a frozen encoder runs forward, and reading data is not in it. Models of the preset "
        "gpu's size reach a smaller share than that. Decoding reads every weight once a word; launching kernels is not "
        f"in it. Peaks in TFLOP/s: {peaks}; memory in TB/s: {widths}. Source: {SOURCE}. fp32 is what PyTorch does "
        "unless told otherwise."
    )
    return Measurement(("", "operations", *(f"milliseconds, {kind}" for kind in PEAKS)), rows, how)


def steps(preset: str) -> int:
    """Steps of one training of EFA: whole batches of the training split (70 % of the clips), all epochs."""
    config = build(preset)
    assert isinstance(config.data, FormSimData)
    return config.training.epochs * (int(0.7 * config.data.clips) // config.training.batch)


def training_runs_table() -> Measurement:
    """The training of a whole run, and of Tables IV to VII with three seeds, from `step_needs`: arithmetic as well."""
    rows: list[Row] = []
    grid = {preset: len({run.config for run in select("paper", preset, (0, 1, 2))}) for preset in ("paper", "gpu")}
    for name in BANDWIDTHS:
        for preset, runs in grid.items():
            for what, many in (("EFA, one seed", 1), (f"{runs} runs of Tables IV to VII, if each were EFA's", runs)):
                total = many * steps(preset)
                minutes = (total * seconds / 60 for seconds in step_seconds(preset, name))
                rows.append((f"{name}: preset {preset}, {what}", Quantity(total), *quantities("mean", *minutes)))
    how = (
        "The steps above, one after another, on one GPU: training alone, without validation, prediction, reading and "
        "scoring, at a share of the peak that models of the preset gpu's size do not reach. So this is a lower bound."
    )
    return Measurement(("", "steps", *(f"minutes, {kind}" for kind in PEAKS)), rows, how)
