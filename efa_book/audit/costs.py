"""Parameters and floating-point operations of the release's structure and of ours, counted without running either.

Modules are made on PyTorch's device 'meta', whose tensors have sizes and no content, so that any machine can count a
model of any size. FLOPs are 2 x multiply-adds of matrix products and convolutions, in a forward pass unless said.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from efa.baselines.registry import Model
from efa.config import Config, DataConfig, EncoderConfig, FusionConfig
from efa.model.assessor import EFAModel
from efa.model.decoder import Decoder, _Cache
from efa.model.fusion import Attention, Branch
from efa.model.swin import VideoSwin
from efa_book.audit import Measurement, Quantity, Row, cuts, quantities
from efa_book.audit.release import ACTIONS, LAYERS, STEPS, VOCABULARY, Released, ReleasedFusion, Stack

DIM = 768  # BERT-base's width, the paper's
FRAMES, SIZE = 6, 224
CLIP_TOKENS = FRAMES * (1 + 49)  # the release's: a token a frame joins Swin's 7 x 7
LENGTHS = (64, 128, 256)  # of captions, in word pieces
TEXT = 256  # to which the release pads a caption in training

# The release's own figures, measured on its code with random weights (fp32); nothing in this module computes them.
RELEASE = {
    "parameters": 665.6e6,
    "without gradient": 166.8e6,
    "training step, batch 2": 2.592e12,
    "forward, batch 1": 0.447e12,
    "of which Video Swin": 0.204e12,
    "caption of 64": 4.25e12,
    "caption of 128": 9.23e12,
    "caption of 256": 22.3e12,
    "attentions: parameters": 113.5e6,
    "attentions: forward": 68.3e9,
}
BESIDE = "measured in the release"


def flops(run: Callable[[], Any]) -> int:
    """FLOPs of whatever `run` computes."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def count(*modules: nn.Module, idle: bool = False) -> int:
    """Parameters; with `idle` only those that the last backward pass did not reach."""
    parameters = (p for module in modules for p in module.parameters())
    return sum(p.numel() for p in parameters if not idle or p.grad is None)


def series(term: Callable[[int], int], first: int, last: int) -> int:
    """Sum of term(i) for i = first..last, where `term` is at most quadratic in i, so that three calls are enough."""
    a, b, c = (term(first + k) for k in range(3))
    n = last - first + 1  # Newton's forward differences
    return n * a + n * (n - 1) // 2 * (b - a) + n * (n - 1) * (n - 2) // 6 * (c - 2 * b + a)


def empty(*shape: int) -> Tensor:
    """Numbers without content, of this shape."""
    return torch.empty(*shape, device="meta")


def token_ids(batch: int, *lengths: int) -> Tensor:
    """Ids without content, [batch, *lengths]."""
    return torch.ones(batch, *lengths, dtype=torch.long, device="meta")


def build_model(config: Config, text_dim: int = DIM) -> EFAModel:
    """Our model on 'meta'."""
    with torch.device("meta"):
        return EFAModel(config, ACTIONS, VOCABULARY, text_dim)


@cache
def trained_model(config: Config, length: int, batch: int = 2, text_dim: int = DIM) -> tuple[EFAModel, int]:
    """Our model after one backward pass through all three losses, and the FLOPs of both passes.

    Sentence vectors are given, as in training. A frozen encoder runs forward all the same, though its features may be
    computed once for all epochs.
    """
    model, texts = build_model(config, text_dim), empty(batch, STEPS + 1, text_dim)
    return model, flops(lambda: train_step(model, config.data, texts, token_ids(batch, length)))


def train_step(model: Model, data: DataConfig, texts: Tensor, tokens: Tensor | None) -> None:
    """Both passes through all losses of a model on 'meta'. Texts [B, 6, E], the instruction last; tokens [B', L]."""
    frames = empty(len(texts), data.frames, 3, data.size, data.size)
    out = model(model.encode_video(frames), texts[:, :STEPS], texts[:, STEPS:], None, tokens)
    heads = out.class_logits, out.quality_logit, out.text_logits
    sum(part.sum() for part in heads if part is not None).backward()


@cache
@torch.no_grad()
def _prefill(tokens: int) -> tuple[_Cache, int]:
    """Our decoder's cache after it has read so many video tokens, and the FLOPs of reading."""
    with torch.device("meta"):
        decoder, made = Decoder(Config().decoder, VOCABULARY, DIM).eval(), []
    once = flops(lambda: made.append(_Cache(decoder, empty(1, tokens, DIM), max(LENGTHS))))
    return made[0], once


@cache
@torch.no_grad()
def word_flops(tokens: int, i: int) -> int:
    """FLOPs of our decoder's word at position i over so many video tokens, keys and values kept."""
    kept, _ = _prefill(tokens)  # made before the counting starts
    return flops(lambda: kept.step(token_ids(1, 1), i))


def cached(words: int, tokens: int = CLIP_TOKENS) -> int:
    """FLOPs of so many words by our decoder: the clip is read once, and each word is one step."""
    return _prefill(tokens)[1] + series(lambda i: word_flops(tokens, i), 0, words - 1)


def _clip(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frames [B, T, 3, H, W], an instruction's ids [B, L] and the steps' [B, 5, L], at the release's sizes."""
    ids = token_ids(batch, 1 + STEPS, round(cuts.published()["word pieces of a prompt"]))
    return empty(batch, FRAMES, 3, SIZE, SIZE), ids[:, 0], ids[:, 1:]


@cache
def released() -> Released:
    """The re-creation at the release's size, without content."""
    with torch.device("meta"):
        return Released().eval()


@cache
def trained_release() -> tuple[Released, int]:
    """The re-creation after one backward pass through all three losses, batch 2, and the FLOPs of both passes."""
    with torch.device("meta"):
        model = Released()
    return model, flops(lambda: sum(part.sum() for part in model(*_clip(2), token_ids(2, TEXT))).backward())


@cache
def joint_flops(words: int) -> int:
    """FLOPs of one pass of the joint transformer over a clip and so many tokens of text."""
    return flops(lambda: released().write(empty(1, CLIP_TOKENS, DIM), token_ids(1, words)))


def uncached(length: int) -> int:
    """FLOPs of a caption as the release decodes: video and text anew for each word, with one [MASK] behind them."""
    return series(joint_flops, 2, length)


@cache
def fused() -> int:
    """FLOPs from frames and prompts to fused video tokens, one clip."""
    return flops(lambda: released().fuse(*_clip(1)))


def caption(length: int) -> int:
    """FLOPs of a whole caption in the release."""
    return fused() + uncached(length)


def single_attentions() -> Measurement:
    """Finding 8: four attentions of one layer, as in the equations, and what the release has in their place."""
    with torch.device("meta"):
        theirs, ours = ReleasedFusion(DIM), [Branch(FusionConfig(dim=DIM)) for _ in range(2)]
    video, texts = empty(1, CLIP_TOKENS, DIM), [empty(1, tokens, DIM) for tokens in (1, STEPS)]
    stacks = [part for part in theirs.children() if isinstance(part, Stack)]
    singles = [part for branch in ours for part in branch.modules() if isinstance(part, Attention)]

    def run_stacks() -> None:
        theirs.global_video(video, theirs.global_text(texts[0], video))
        for _ in range(STEPS):
            theirs.step_text(texts[0], video)
            theirs.step_video(video, texts[0])

    costs = flops(lambda: [branch(video, text) for branch, text in zip(ours, texts, strict=True)]), flops(run_stacks)
    rows: list[Row] = [
        ("attentions", *quantities("count", len(singles), len(stacks) * LAYERS, 6 * 8)),
        ("parameters", *quantities("M", count(*singles), count(*stacks), RELEASE["attentions: parameters"])),
        ("forward pass of a clip", *quantities("GFLOP", *costs, RELEASE["attentions: forward"])),
    ]
    how = f"Counted, not run: width {DIM}, {CLIP_TOKENS} video tokens, one clip with its text; the paper has no count."
    return Measurement(("", "ours, eq. 2, 4, 6, 8", "re-created here", BESIDE), rows, how)


def without_gradient() -> Measurement:
    """Finding 4: parameters that a training step does not reach."""
    theirs, ours = trained_release()[0], trained_model(Config(), TEXT)[0]
    fusion = theirs.fusion
    groups: dict[str, list[nn.Module]] = {
        "BERT for the words of the verdict": [theirs.texts[1]],
        "pair of stacks for the verdict": [fusion.verdict_text, fusion.verdict_video],
        "text side of the step branch": [fusion.step_text],
        "projection that no path reaches": [fusion.unused],
    }
    parts = {name: count(*group, idle=True) for name, group in groups.items()}
    idle = [count(model, idle=True) for model in (ours, theirs)]
    parts["the rest"] = idle[1] - sum(parts.values())
    rows: list[Row] = [
        *((name, "", Quantity(number, "M"), "") for name, number in parts.items()),
        ("all without gradient", *quantities("M", *idle, RELEASE["without gradient"])),
        ("all parameters", *quantities("M", count(ours), count(theirs), RELEASE["parameters"])),
    ]
    how = (
        f"One backward pass through all three losses at the paper's size, batch 2, texts of {TEXT} word pieces. Ours "
        "is without the frozen text encoder, which runs apart. A gradient that arrives may still be zero: finding 7."
    )
    return Measurement(("", "ours", "re-created here", BESIDE), rows, how)


def decoding(lengths: Sequence[int] = LENGTHS) -> Measurement:
    """Finding 11, first part: what captions of these lengths, at most 256, cost with and without a cache."""
    costs = {length: (cached(length - 1), uncached(length)) for length in lengths}
    rows: list[Row] = [
        (f"{length} tokens", *quantities("TFLOP", ours, theirs), Quantity(theirs / ours, "times"))
        for length, (ours, theirs) in costs.items()
    ]
    short, long = lengths[0], lengths[-1]
    growth = (most / least for least, most in zip(costs[short], costs[long], strict=True))
    rows.append((f"{long} against {short}", *quantities("times", *growth), ""))
    how = (
        f"Counted for transformers of width {DIM} and 12 layers over {CLIP_TOKENS} video tokens, from the fused tokens "
        "on. Ours: causal, cross-attention, keys and values kept. Re-created: for each word one pass over video, text "
        "so far and one [MASK]."
    )
    return Measurement(("a caption of", "ours", "re-created here", "re-created / ours"), rows, how)


def temporal_stride(strides: Sequence[int] = (1, 2), frames: int = FRAMES, size: int = SIZE) -> Measurement:
    """Finding 16: Video Swin with both strides in time."""
    rows: list[Row] = []
    clip = empty(1, frames, 3, size, size)
    for stride in strides:
        with torch.device("meta"):
            model = VideoSwin(EncoderConfig(temporal_stride=stride)).eval()
        grid, cost = model.grid(frames, size, size), Quantity(flops(partial(model, clip)), "GFLOP")
        rows.append((f"stride {stride}", " x ".join(map(str, grid)), Quantity(math.prod(grid)), cost))
    how = f"Swin-B, {frames} frames of {size} pixels; counted, not run. The release's own figure is in finding 17."
    return Measurement(("", "frames x rows x columns", "tokens", "forward pass"), rows, how)


def release_costs() -> Measurement:
    """Finding 17: what the release costs."""
    model = released()
    counted = {
        "training step, batch 2": trained_release()[1],
        "forward, batch 1": fused() + joint_flops(TEXT),
        "of which Video Swin": flops(lambda: model.base.encode_video(_clip(1)[0])),
        **{f"caption of {length}": caption(length) for length in LENGTHS},
    }
    rows: list[Row] = [("parameters", *quantities("M", count(model), RELEASE["parameters"]))]
    rows += [(name, *quantities("TFLOP", cost, RELEASE[name])) for name, cost in counted.items()]
    how = (
        "Re-created: LAVENDER as this book builds it, three BERTs, six stacks of eight layers, gates, heads. A prompt "
        f"has {_clip(1)[1].shape[1]} word pieces, the mean of the released texts when cut, and a caption {TEXT} in "
        "training and in the forward pass. Counted, not run."
    )
    return Measurement(("", "re-created here", BESIDE), rows, how)
