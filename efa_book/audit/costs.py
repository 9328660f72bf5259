"""Parameters and floating-point operations of the release's structure and of ours, counted without running either.

Modules are made on PyTorch's device 'meta', whose tensors have sizes and no content, so a machine of any size counts a
model of any size. FLOPs are 2 x multiply-adds of matrix products and convolutions, in a forward pass unless said.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from efa.config import Config, DecoderConfig, EncoderConfig, FusionConfig
from efa.model.assessor import EFAModel
from efa.model.decoder import Decoder, _Cache
from efa.model.fusion import Attention, Branch
from efa.model.swin import VideoSwin
from efa_book.audit import cuts
from efa_book.audit.measured import Measured, Quantity, Row
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
    """Of whatever `run` computes."""
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def count(*modules: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for module in modules for p in module.parameters())


def idle(*modules: nn.Module) -> int:
    """Parameters that the last backward pass did not reach."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.grad is None)


def series(of: Callable[[int], int], first: int, last: int) -> int:
    """Sum of of(i) for i = first..last, where `of` is at most quadratic in i, so that three calls say all."""
    a, b, c = (of(first + k) for k in range(3))
    n = last - first + 1  # Newton's forward differences
    return n * a + n * (n - 1) // 2 * (b - a) + n * (n - 1) * (n - 2) // 6 * (c - 2 * b + a)


def _clip(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frames [B, T, 3, H, W], an instruction's ids [B, L] and the steps' [B, 5, L], at the release's sizes."""
    pieces = round(cuts.published()["word pieces of a prompt"])
    ids = torch.ones(batch, 1 + STEPS, pieces, dtype=torch.long, device="meta")
    return torch.empty(batch, FRAMES, 3, SIZE, SIZE, device="meta"), ids[:, 0], ids[:, 1:]


def _ids(length: int, batch: int = 1) -> Tensor:
    return torch.ones(batch, length, dtype=torch.long, device="meta")


@cache
def released() -> Released:
    """The re-creation at the release's size, without content."""
    with torch.device("meta"):
        return Released().eval()


@cache
def trained() -> tuple[Released, int]:
    """The re-creation after one backward pass through all three losses, batch 2, and the FLOPs of both passes."""
    with torch.device("meta"):
        model = Released()

    def step() -> None:
        sum(part.sum() for part in model(*_clip(2), _ids(TEXT, 2))).backward()

    return model, flops(step)


@cache
def _joint(tokens: int) -> int:
    """FLOPs of one pass of the joint transformer over a clip and so many tokens of text."""
    model, video = released(), torch.empty(1, CLIP_TOKENS, DIM, device="meta")
    return flops(lambda: model.write(video, _ids(tokens)))


def uncached(length: int) -> int:
    """FLOPs of a caption's passes through the joint transformer as the release decodes: video and text anew for each
    word, with one [MASK] behind them."""
    return series(_joint, 2, length)


@cache
def _kept() -> tuple[_Cache, int]:
    """Our causal decoder at the same width and depth with keys and values of a clip, and the FLOPs of those."""
    with torch.device("meta"):
        decoder = Decoder(DecoderConfig(dim=DIM, max_tokens=max(LENGTHS)), VOCABULARY, DIM).eval()
        memory, kept = torch.empty(1, CLIP_TOKENS, DIM), []
        once = flops(lambda: kept.append(_Cache(decoder, memory, max(LENGTHS))))
    return kept[0], once


@cache
@torch.no_grad()
def _step(i: int) -> int:
    """FLOPs of our decoder's word at position i."""
    kept, _ = _kept()  # made before the counting starts
    return flops(lambda: kept.step(_ids(1), i))


def cached(length: int) -> int:
    """FLOPs of as many words by our decoder, keys and values kept."""
    return _kept()[1] + series(_step, 0, length - 2)


@cache
def fused() -> int:
    """FLOPs from frames and prompts to fused video tokens, one clip."""
    model = released()
    return flops(lambda: model.fuse(*_clip(1)))


def caption(length: int) -> int:
    """FLOPs of a whole caption in the release."""
    return fused() + uncached(length)


def single_attentions() -> Measured:
    """Finding 8: the paper's four single attentions and what stands in their place."""
    with torch.device("meta"):
        theirs, ours = ReleasedFusion(DIM), [Branch(FusionConfig(dim=DIM)) for _ in range(2)]
        video = torch.empty(1, CLIP_TOKENS, DIM)
        texts = [torch.empty(1, tokens, DIM) for tokens in (1, STEPS)]
    stacks = [part for part in theirs.children() if isinstance(part, Stack)]
    singles = [part for branch in ours for part in branch.modules() if isinstance(part, Attention)]

    def stacked() -> None:
        theirs.global_video(video, theirs.global_text(texts[0], video))
        for _ in range(STEPS):
            theirs.step_text(texts[0], video)
            theirs.step_video(video, texts[0])

    def simple() -> None:
        for branch, text in zip(ours, texts, strict=True):
            branch(video, text)

    rows: tuple[Row, ...] = (
        ("attentions", Quantity(len(singles)), Quantity(len(stacks) * LAYERS), Quantity(6 * 8)),
        ("parameters", *_row("M", count(*singles), count(*stacks), RELEASE["attentions: parameters"])),
        ("forward pass of a clip", *_row("GFLOP", flops(simple), flops(stacked), RELEASE["attentions: forward"])),
    )
    how = f"Counted, not run: width {DIM}, {CLIP_TOKENS} video tokens, one clip with its instruction and five steps."
    return Measured(("", "ours, as in the paper", "re-created here", BESIDE), rows, how)


def without_gradient() -> Measured:
    """Finding 4: parameters that a training step does not reach."""
    theirs, _ = trained()
    with torch.device("meta"):
        ours = EFAModel(Config(), ACTIONS, VOCABULARY, DIM)
    frames, texts = _clip(2)[0], torch.empty(2, 1 + STEPS, DIM, device="meta")
    said = ours(ours.encode_video(frames), texts[:, 1:], texts[:, :1], None, _ids(TEXT, 2))
    sum(part.sum() for part in (said.class_logits, said.quality_logit, said.text_logits)).backward()
    fusion = theirs.fusion
    groups: dict[str, list[nn.Module]] = {
        "BERT for the words of the verdict": [theirs.texts[1]],
        "pair of stacks for the verdict": [fusion.verdict_text, fusion.verdict_video],
        "text side of the step branch": [fusion.step_text],
        "projection that no path reaches": [fusion.unused],
    }
    parts = {name: idle(*group) for name, group in groups.items()}
    parts["the rest"] = idle(theirs) - sum(parts.values())
    rows: tuple[Row, ...] = (
        *((name, "", Quantity(number, "M"), "") for name, number in parts.items()),
        ("all without gradient", *_row("M", idle(ours), idle(theirs), RELEASE["without gradient"])),
        ("all parameters", *_row("M", count(ours), count(theirs), RELEASE["parameters"])),
    )
    how = (
        f"One backward pass through all three losses at the paper's size, batch 2, texts of {TEXT} word pieces. Ours "
        "is without the frozen text encoder, which runs apart. A gradient that arrives may still be zero: finding 7."
    )
    return Measured(("", "ours", "re-created here", BESIDE), rows, how)


def decoding() -> Measured:
    """Finding 11, first part: what a caption costs with and without a cache."""
    rows: list[Row] = []
    for length in LENGTHS:
        ours, theirs = cached(length), uncached(length)
        rows.append((f"{length} tokens", *_row("TFLOP", ours, theirs), Quantity(theirs / ours, "times")))
    rows.append(
        (
            f"{LENGTHS[-1]} against {LENGTHS[0]}",
            *(Quantity(of(LENGTHS[-1]) / of(LENGTHS[0]), "times") for of in (cached, uncached)),
            "",
        )
    )
    how = (
        f"Counted for transformers of width {DIM} and 12 layers over {CLIP_TOKENS} video tokens, from the fused tokens "
        "on. Ours: causal, cross-attention, keys and values kept. Re-created: for each word one pass over video, text "
        "so far and one [MASK]."
    )
    return Measured(("a caption of", "ours", "re-created here", "re-created / ours"), tuple(rows), how)


def temporal_stride() -> Measured:
    """Finding 16: Video Swin with both strides in time."""
    rows = []
    for stride in (1, 2):
        with torch.device("meta"):
            model = VideoSwin(EncoderConfig(temporal_stride=stride)).eval()
            frames = torch.empty(1, FRAMES, 3, SIZE, SIZE)
        grid = model.grid(FRAMES, SIZE, SIZE)
        tokens = Quantity(grid[0] * grid[1] * grid[2])
        cost = Quantity(flops(lambda model=model, frames=frames: model(frames)), "GFLOP")  # type: ignore[misc]
        rows.append((f"stride {stride}", " x ".join(map(str, grid)), tokens, cost))
    how = f"Swin-B, {FRAMES} frames of {SIZE} pixels; counted, not run. The release's own figure is in finding 17."
    return Measured(("", "frames x rows x columns", "tokens", "forward pass"), tuple(rows), how)


def whole() -> Measured:
    """Finding 17: what the release costs."""
    model = released()
    forward = fused() + _joint(TEXT)
    swin = flops(lambda: model.base.encode_video(_clip(1)[0]))
    counted = {
        "parameters": Quantity(count(model), "M"),
        "training step, batch 2": Quantity(trained()[1], "TFLOP"),
        "forward, batch 1": Quantity(forward, "TFLOP"),
        "of which Video Swin": Quantity(swin, "TFLOP"),
    }
    counted |= {f"caption of {length}": Quantity(caption(length), "TFLOP") for length in LENGTHS}
    rows = tuple((name, one, Quantity(RELEASE[name], one.unit)) for name, one in counted.items())
    how = (
        "Re-created: LAVENDER as this book builds it, three BERTs, six stacks of eight layers, gates, heads. A prompt "
        f"has {_clip(1)[1].shape[1]} word pieces, the mean of the released texts when cut, and a caption {TEXT} in "
        "training and in the forward pass. Counted, not run."
    )
    return Measured(("", "re-created here", BESIDE), rows, how)


def _row(unit: Any, *values: float) -> tuple[Quantity, ...]:
    return tuple(Quantity(value, unit) for value in values)
