"""What the release's fusion and text encoders do, beside ours: the findings on one clip's path through the model.

Everything runs on a CPU in seconds. Video tokens are random, texts are FormSim's as a sentence encoder (MiniLM) reads
them, attentions are random and drawn from fixed seeds: what is shown is structure, not what training makes of it.
"""

from functools import cache
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

import formsim
from efa.config import FormSimData, TextConfig
from efa.data.loader import formsim_clips
from efa.model.assessor import EFAModel
from efa.model.base import mlp
from efa.model.text import TextEncoder
from efa_book.audit import Measurement, Quantity, Row
from efa_book.audit.release import SCALE, ReleasedFusion

VIDEO_TOKENS = 6 * 9  # small, so that seconds do
BATCH = 4
ACTIONS = 50  # of FormSim


@cache
def encoder() -> TextEncoder:
    """MiniLM, frozen."""
    return TextEncoder(TextConfig(model="minilm"))


@cache
def sentences() -> tuple[tuple[str, ...], ...]:
    """For each of FormSim's actions its five steps and its instruction."""
    table = formsim.step_table(formsim_clips(FormSimData()))
    return tuple((*steps, instruction) for steps, instruction in table.values())


@cache
def vectors() -> Tensor:
    """[A, 6, E]: five steps and the instruction of each action, each normalised as `Fusion` does it."""
    flat = encoder().encode([text for texts in sentences() for text in texts])
    return nn.functional.layer_norm(flat, flat.shape[-1:]).unflatten(0, (-1, 6))


def _video(seed: int) -> Tensor:
    """Random video tokens [B, N, E] of mean 0 and deviation 1, as behind a LayerNorm."""
    torch.manual_seed(seed)
    return torch.randn(BATCH, VIDEO_TOKENS, vectors().shape[-1])


def change(before: Tensor, after: Tensor) -> float:
    """|after - before| / |before|."""
    return ((after - before).norm() / before.norm()).item()


@torch.no_grad()
def class_moves(model: EFAModel, features: Tensor, texts: Tensor) -> Measurement:
    """Finding 1: how far verdict and text move when only the class that picks the steps changes.

    Args:
        features: F_v [1, N, C] of one clip.
        texts: [K, 6, E], five steps and the instruction of the true action first, then of K - 1 others.
    """
    model.eval()
    words = torch.arange(1, 17).clamp(max=model.decoder.word.num_embeddings - 1)[None]
    outs: list[Any] = [model(features, text[None, :5], text[None, 5:], None, words) for text in texts]
    first, *others = (out.text_logits[0] for out in outs)
    verdicts = torch.stack([out.quality_logit for out in outs]).sigmoid()[:, 0]
    actions = torch.stack([out.class_logits[0] for out in outs]).softmax(-1)
    largest, moved = (actions - actions[0]).abs().max(), (verdicts[1:] - verdicts[0]).abs().mean()
    other_words = fmean((one.argmax(-1) != first.argmax(-1)).float().mean().item() for one in others)
    rows: list[Row] = [
        ("probability of an action, largest", Quantity(100 * largest.item(), "points")),
        ("probability of non-standard form", Quantity(100 * moved.item(), "points")),
        ("logits of the explanation's words, relative", Quantity(fmean(change(first, one) for one in others), "%")),
        ("likeliest words that are others", Quantity(other_words, "%")),
    ]
    how = (
        f"One clip, the same model, read with the text of its true action and with those of {len(texts) - 1} others; "
        "mean absolute change, of the actions the largest."
    )
    return Measurement(("what changes with the text alone", "change"), rows, how)


@torch.no_grad()
def heads_at_test(seeds: int = 3) -> Measurement:
    """Finding 3: what class and verdict see at test time, beside heads on plain video features."""
    parts: dict[str, list[float]] = {"features, each token": [], "action": [], "verdict": []}
    words = encoder().encode(["good", "bad"])
    verdicts = nn.functional.layer_norm(words, words.shape[-1:])
    for seed in range(seeds):
        torch.manual_seed(seed)
        model, video = ReleasedFusion(words.shape[-1]).eval(), _video(seed)
        seen = model.at_test(video, verdicts)
        parts["features, each token"].append(change(video, seen))
        for name, sizes in (("action", (256, 128, ACTIONS)), ("verdict", (128, 32, 1))):
            head = mlp(video.shape[-1], *sizes)
            parts[name].append(change(head(video.mean(1)), head(seen.mean(1))))
    rows: list[Row] = [(name, Quantity(fmean(found), "%")) for name, found in parts.items()]
    how = (
        f"Relative difference, random weights, mean of {seeds} seeds. The scale is where it starts, {SCALE:g}; "
        "stacks that no gradient reaches stay as drawn. The release itself, random weights: 0.06 %."
    )
    return Measurement(("test path against plain video", "re-created here"), rows, how)


@torch.no_grad()
def padding() -> Measurement:
    """Finding 9: a short prompt beside a longer one, pooled with and without a mask."""
    steps = sorted((text for texts in sentences() for text in texts[:5]), key=len)
    longest = max((texts[5] for texts in sentences()), key=len)
    text = encoder()

    def moved(sentence: str, masked: bool) -> float:
        found = []
        for batch in ([sentence], [sentence, longest]):
            given = text.tokenize(batch)
            mask = given["attention_mask"]  # all ones: every position counts, as if padding were words
            found.append(text(given["input_ids"], mask if masked else torch.ones_like(mask))[0])
        return change(*found)

    chosen = {"the shortest step": steps[0], "the median step": steps[len(steps) // 2], "the longest step": steps[-1]}
    rows: list[Row] = [
        (name, Quantity(len(one)), Quantity(moved(one, True), "small"), Quantity(moved(one, False), "%"))
        for name, one in chosen.items()
    ]
    how = (
        f"Relative change of a step's vector when an instruction of {len(longest)} characters joins the batch. MiniLM "
        "and FormSim's texts; the five learnt tokens are left out. A short prompt in the release itself: 87 %."
    )
    return Measurement(("", "characters", "ours", "re-created: no mask, mean over padding"), rows, how)
