"""What the release's fusion and text encoders do, beside ours: the findings on one clip's path through the model.

Everything runs on a CPU in seconds. Video tokens are random, texts are FormSim's as a sentence encoder (MiniLM) reads
them, attentions are random and drawn from fixed seeds: what is shown is structure, not what training makes of it.
"""

from collections.abc import Iterable
from functools import cache
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

import formsim
from efa.config import FormSimData, FusionConfig, TextConfig
from efa.data.loader import formsim_clips
from efa.model.assessor import EFAModel, mlp
from efa.model.fusion import Branch, Fusion
from efa.model.text import TextEncoder
from efa_book.audit import Measurement, Quantity, Row, quantities
from efa_book.audit.release import SCALE, ReleasedFusion

VIDEO_TOKENS = 6 * 9  # small, so that seconds do
BATCH = 4
SEEDS = range(3)
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


def _models(seed: int) -> tuple[ReleasedFusion, Fusion]:
    """The release's fusion and ours, random."""
    dim = vectors().shape[-1]
    torch.manual_seed(seed)
    theirs = ReleasedFusion(dim).eval()
    torch.manual_seed(seed)
    return theirs, Fusion(FusionConfig(dim=dim), dim, dim).eval()


def change(before: Tensor, after: Tensor) -> float:
    """|after - before| / |before|."""
    return ((after - before).norm() / before.norm()).item()


def _changes(ours: Iterable[float], theirs: Iterable[float]) -> tuple[Quantity, Quantity]:
    """Ours: the largest, which is rounding. Theirs: the mean."""
    return Quantity(max(ours), "small"), Quantity(fmean(theirs), "%")


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
def batch_mates() -> Measurement:
    """Finding 2: does a clip's output change when only the other clips of its batch do?"""
    text = vectors()
    first, second = text[:BATCH], torch.cat([text[:1], text[BATCH : 2 * BATCH - 1]])
    changes: dict[str, list[tuple[float, float]]] = {"its batch mates are others": [], "it has no batch mates": []}
    for seed in SEEDS:
        model, mine = _models(seed)
        video, others = _video(seed), _video(seed + 100)
        outs = [  # the clip with its mates, with others, and alone
            (mine(clips, texts[:, :5], texts[:, 5:]).fused[0], model(clips, texts[:, 5], texts[:, :5])[0])
            for clips, texts in ((video, first), (torch.cat([video[:1], others[1:]]), second), (video[:1], first[:1]))
        ]
        for found, after in zip(changes.values(), outs[1:], strict=True):
            found.append((change(outs[0][0], after[0]), change(outs[0][1], after[1])))
    rows: list[Row] = [(name, *_changes(*zip(*found, strict=True))) for name, found in changes.items()]
    how = (
        f"Relative change of one clip's fused features in a batch of {BATCH}; random attentions and video tokens, "
        f"FormSim's texts as MiniLM reads them; {len(SEEDS)} seeds (re-created: mean; ours: largest, rounding). The "
        "release itself, with random weights and its own encoders: 2.4 %."
    )
    return Measurement(("the same clip, but", "ours", "re-created here"), rows, how)


@torch.no_grad()
def heads_at_test() -> Measurement:
    """Finding 3: what class and verdict see at test time, beside heads on plain video features."""
    parts: dict[str, list[float]] = {"features, each token": [], "action": [], "verdict": []}
    words = encoder().encode(["good", "bad"])
    verdicts = nn.functional.layer_norm(words, words.shape[-1:])
    for seed in SEEDS:
        torch.manual_seed(seed)
        model, video = ReleasedFusion(words.shape[-1]).eval(), _video(seed)
        seen = model.at_test(video, verdicts)
        parts["features, each token"].append(change(video, seen))
        for name, sizes in (("action", (256, 128, ACTIONS)), ("verdict", (128, 32, 1))):
            head = mlp(video.shape[-1], *sizes)
            parts[name].append(change(head(video.mean(1)), head(seen.mean(1))))
    rows: list[Row] = [(name, Quantity(fmean(found), "%")) for name, found in parts.items()]
    how = (
        f"Relative difference, random weights, mean of {len(SEEDS)} seeds. The scale is where it starts, {SCALE:g}; "
        "stacks that no gradient reaches stay as drawn. The release itself, random weights: 0.06 %."
    )
    return Measurement(("test path against plain video", "re-created here"), rows, how)


@torch.no_grad()
def step_order() -> Measurement:
    """Finding 5: does the order in which the steps come change the fused features?"""
    text, turned = vectors()[:BATCH], [4, 3, 2, 1, 0]
    theirs, ours, attention = [], [], []
    for seed in SEEDS:
        (model, mine), video = _models(seed), _video(seed)
        theirs.append(change(*(model(video, text[:, 5], text[:, :5], order) for order in (turned[::-1], turned))))
        one, other = mine(video, text[:, :5], text[:, 5:]), mine(video, text[:, turned], text[:, 5:])
        ours.append(change(one.fused, other.fused))
        assert one.step_attention is not None
        assert other.step_attention is not None
        attention.append(change(one.step_attention, other.step_attention[:, turned]))
    rows: list[Row] = [
        ("fused features", *_changes(ours, theirs)),
        ("attention of eq. 6, its rows put back in order", Quantity(max(attention), "small"), "discarded"),
    ]
    how = (
        f"Relative change when the five steps come in reverse; {len(SEEDS)} seeds (ours: the largest, rounding; "
        "re-created: the mean). Parameters of the discarded text side: finding 4."
    )
    return Measurement(("the same steps in reverse", "ours, eq. 5-8", "re-created here"), rows, how)


@torch.no_grad()
def residuals() -> Measurement:
    """Finding 6: how much of its input the residual of eq. 7 lets through, in both readings."""
    rows: list[Row] = []
    text, video = vectors()[:BATCH, :5], _video(0)
    formulas = {"printed": "attention + sigma x input", "released": "input + sigma x attention"}
    for sigma in (SCALE, 1.0):
        for residual, formula in formulas.items():
            torch.manual_seed(0)
            config: Any = {"dim": video.shape[-1], "residual": residual, "sigma": sigma}
            out = Branch(FusionConfig(**config)).eval()(video, text)[0]
            size = (sigma if residual == "printed" else 1.0) * float(video.norm() / out.norm())
            cosine = nn.functional.cosine_similarity(out, video, dim=-1).mean().item()
            rows.append((f"as {residual}, sigma = {sigma:g}", formula, Quantity(size, "%"), Quantity(cosine, "ratio")))
    how = (
        "Our step branch, random weights, video tokens of deviation 1. Size: length of the part of the output that is "
        "the input, in per cent of the output's. Cosine: between each output token and its input, mean."
    )
    return Measurement(("eq. 7", "", "input's size in the output", "cosine with the input"), rows, how)


def constant_softmax() -> Measurement:
    """Finding 7: equation 4 has one key, so its weights are 1 and neither queries nor keys can learn."""
    torch.manual_seed(0)
    text, video = vectors()[:BATCH], _video(0)
    rows: list[Row] = []
    for name, keys in (("eq. 4: one key, the instruction", text[:, 5:]), ("eq. 8: five keys, the steps", text[:, :5])):
        branch = Branch(FusionConfig(dim=video.shape[-1]))
        out, _, weights = branch(video, keys)
        assert weights is not None
        out.pow(2).sum().backward()
        layers: list[Any] = [getattr(branch.video_attention, part) for part in ("query", "key", "value")]
        gradients = [layer.weight.grad.norm().item() for layer in layers]
        rows.append((name, *quantities("small", (weights - 1).abs().max().item(), *gradients)))
    how = "Our branches, random weights, one backward pass through the sum of squares. True of the paper's equation."
    return Measurement(("", "largest |weight - 1|", "gradient of W_Q", "of W_K", "of W_V"), rows, how)


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
