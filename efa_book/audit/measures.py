"""What the release's fusion and text encoders do, beside ours: the findings on one clip's path through the model.

Everything runs on a CPU in seconds. Video tokens are random, texts are FormSim's as a sentence encoder (MiniLM) reads
them, attentions are random and drawn from fixed seeds: what is shown is structure, not what training makes of it.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

import formsim
from efa.config import FormSimData, FusionConfig, TextConfig
from efa.data.loader import formsim_clips
from efa.model.assessor import EFAModel, mlp
from efa.model.fusion import Branch, Fusion
from efa.model.text import TextEncoder
from efa_book.audit.measured import Measured, Quantity, Row
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


def _release(seed: int) -> ReleasedFusion:
    torch.manual_seed(seed)
    return ReleasedFusion(vectors().shape[-1]).eval()


def _ours(seed: int) -> Fusion:
    torch.manual_seed(seed)
    dim = vectors().shape[-1]
    return Fusion(FusionConfig(dim=dim), dim, dim).eval()


def change(before: Tensor, after: Tensor) -> float:
    """|after - before| / |before|."""
    return ((after - before).norm() / before.norm()).item()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


# findings -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def class_moves(model: EFAModel, features: Tensor, texts: Tensor) -> Measured:
    """Finding 1: how far verdict and text move when only the class that picks the steps changes.

    Args:
        features: F_v [1, N, C] of one clip.
        texts: [K, 6, E], five steps and the instruction of the true action first, then of K - 1 others.
    """
    model.eval()
    words = torch.arange(1, 17).clamp(max=model.decoder.word.num_embeddings - 1)[None]
    said = [model(features, text[None, :5], text[None, 5:], None, words) for text in texts]
    scores = [one.text_logits[0] for one in said if one.text_logits is not None]
    verdicts = torch.stack([one.quality_logit for one in said]).sigmoid()[:, 0]
    actions = torch.stack([one.class_logits[0] for one in said]).softmax(-1)
    other_words = [(one.argmax(-1) != scores[0].argmax(-1)).float().mean().item() for one in scores[1:]]
    rows = (
        ("probability of an action, largest", Quantity(100 * (actions - actions[0]).abs().max().item(), "points")),
        (
            "probability of non-standard form",
            Quantity(100 * (verdicts[1:] - verdicts[0]).abs().mean().item(), "points"),
        ),
        (
            "logits of the explanation's words, relative",
            Quantity(_mean([change(scores[0], s) for s in scores[1:]]), "%"),
        ),
        ("likeliest words that are others", Quantity(_mean(other_words), "%")),
    )
    how = (
        f"One clip, the same model, read with the text of its true action and with those of {len(texts) - 1} others; "
        "mean absolute change, of the actions the largest."
    )
    return Measured(("what changes with the text alone", "change"), rows, how)


@torch.no_grad()
def batch_mates() -> Measured:
    """Finding 2: does a clip's output change when only the other clips of its batch do?"""
    theirs, ours = [], []
    alone: dict[str, list[float]] = {"ours": [], "theirs": []}
    text = vectors()
    for seed in SEEDS:
        model, mine = _release(seed), _ours(seed)
        video, others = _video(seed), _video(seed + 100)
        mates = torch.cat([video[:1], others[1:]])
        first, second = text[:BATCH], torch.cat([text[:1], text[BATCH : 2 * BATCH - 1]])
        theirs.append(change(model(video, first[:, 5], first[:, :5])[0], model(mates, second[:, 5], second[:, :5])[0]))
        steps, instruction = first[:, :5], first[:, 5:]
        before = mine(video, steps, instruction).fused[0]
        ours.append(change(before, mine(mates, second[:, :5], second[:, 5:]).fused[0]))
        alone["ours"].append(change(before, mine(video[:1], steps[:1], instruction[:1]).fused[0]))
        single = model(video[:1], first[:1, 5], steps[:1])[0]
        alone["theirs"].append(change(model(video, first[:, 5], steps)[0], single))
    rows = (
        ("its batch mates are others", Quantity(max(ours), "small"), Quantity(_mean(theirs), "%")),
        ("it has no batch mates", Quantity(max(alone["ours"]), "small"), Quantity(_mean(alone["theirs"]), "%")),
    )
    how = (
        f"Relative change of one clip's fused features in a batch of {BATCH}; random attentions and video tokens, "
        f"FormSim's texts as MiniLM reads them; {len(SEEDS)} seeds (re-created: mean; ours: largest, rounding). The "
        "release itself, with random weights and its own encoders: 2.4 %."
    )
    return Measured(("the same clip, but", "ours", "re-created here"), rows, how)


@torch.no_grad()
def heads_at_test() -> Measured:
    """Finding 3: what class and verdict see at test time, beside heads on plain video features."""
    parts: dict[str, list[float]] = {"features, each token": [], "action": [], "verdict": []}
    words = encoder().encode(["good", "bad"])
    verdicts = nn.functional.layer_norm(words, words.shape[-1:])
    for seed in SEEDS:
        model, video = _release(seed), _video(seed)
        dim = video.shape[-1]
        seen = model.at_test(video, verdicts)
        parts["features, each token"].append(change(video, seen))
        for name, head in (("action", mlp(dim, 256, 128, ACTIONS)), ("verdict", mlp(dim, 128, 32, 1))):
            parts[name].append(change(head(video.mean(1)), head(seen.mean(1))))
    rows = tuple((name, Quantity(_mean(found), "%")) for name, found in parts.items())
    how = (
        f"Relative difference, random weights, mean of {len(SEEDS)} seeds. The scale is where it starts, {SCALE:g}; "
        "stacks that no gradient reaches stay as drawn. The release itself, random weights: 0.06 %."
    )
    return Measured(("test path against plain video", "re-created here"), rows, how)


@torch.no_grad()
def step_order() -> Measured:
    """Finding 5: does the order in which the steps come change the fused features?"""
    text, turned = vectors()[:BATCH], [4, 3, 2, 1, 0]
    theirs, ours, attention = [], [], []
    for seed in SEEDS:
        model, mine, video = _release(seed), _ours(seed), _video(seed)
        forwards, backwards = (model(video, text[:, 5], text[:, :5], order) for order in (turned[::-1], turned))
        theirs.append(change(forwards, backwards))
        one, other = mine(video, text[:, :5], text[:, 5:]), mine(video, text[:, turned], text[:, 5:])
        ours.append(change(one.fused, other.fused))
        assert one.step_attention is not None
        assert other.step_attention is not None
        attention.append(change(one.step_attention, other.step_attention[:, turned]))
    rows = (
        ("fused features", Quantity(max(ours), "small"), Quantity(_mean(theirs), "%")),
        ("attention of eq. 6, its rows put back in order", Quantity(max(attention), "small"), "discarded"),
    )
    how = (
        f"Relative change when the five steps come in reverse; {len(SEEDS)} seeds (ours: the largest, rounding; "
        "re-created: the mean). Parameters of the discarded text side: finding 4."
    )
    return Measured(("the same steps in reverse", "ours, eq. 5-8", "re-created here"), rows, how)


@torch.no_grad()
def residuals() -> Measured:
    """Finding 6: how much of its input the residual of eq. 7 lets through, in both readings."""
    rows: list[Row] = []
    text, video = vectors()[:BATCH, :5], _video(0)
    for sigma in (SCALE, 1.0):
        for name, residual in (("as printed", "printed"), ("as released", "released")):
            torch.manual_seed(0)
            config = FusionConfig(dim=video.shape[-1], residual=residual, sigma=sigma)  # type: ignore[arg-type]
            out = Branch(config).eval()(video, text)[0]
            scale = sigma if residual == "printed" else 1.0
            kept = nn.functional.cosine_similarity(out, video, dim=-1).mean().item()
            rows.append(
                (
                    f"{name}, sigma = {sigma:g}",
                    "attention + sigma x input" if residual == "printed" else "input + sigma x attention",
                    Quantity(scale * float(video.norm() / out.norm()), "%"),
                    Quantity(kept, "ratio"),
                )
            )
    how = (
        "Our step branch, random weights, video tokens of deviation 1. Size: length of the part of the output that is "
        "the input, in per cent of the output's. Cosine: between each output token and its input, mean."
    )
    return Measured(("eq. 7", "", "input's size in the output", "cosine with the input"), tuple(rows), how)


def constant_softmax() -> Measured:
    """Finding 7: equation 4 has one key, so its weights are 1 and neither queries nor keys can learn."""
    torch.manual_seed(0)
    text, video = vectors()[:BATCH], _video(0)
    rows: list[Row] = []
    for name, keys in (("eq. 4: one key, the instruction", text[:, 5:]), ("eq. 8: five keys, the steps", text[:, :5])):
        branch = Branch(FusionConfig(dim=video.shape[-1]))
        out, _, weights = branch(video, keys)
        assert weights is not None
        out.pow(2).sum().backward()
        reached = (
            getattr(branch.video_attention, part).weight.grad.norm().item() for part in ("query", "key", "value")
        )
        off = (weights - 1).abs().max().item()
        rows.append((name, Quantity(off, "small"), *(Quantity(one, "small") for one in reached)))
    how = "Our branches, random weights, one backward pass through the sum of squares. True of the paper's equation."
    return Measured(("", "largest |weight - 1|", "gradient of W_Q", "of W_K", "of W_V"), tuple(rows), how)


@torch.no_grad()
def padding() -> Measured:
    """Finding 9: a short prompt beside a longer one, pooled with and without a mask."""
    steps = sorted((text for texts in sentences() for text in texts[:5]), key=len)
    longest = max((texts[5] for texts in sentences()), key=len)
    text = encoder()

    def moved(sentence: str, masked: bool) -> float:
        found = []
        for batch in ([sentence], [sentence, longest]):
            given = text.tokenize(batch)
            if masked:
                found.append(text(**given)[0])
            else:  # every position counts, as if padding were words
                found.append(text(given["input_ids"], torch.ones_like(given["attention_mask"]))[0])
        return change(*found)

    chosen = {"the shortest step": steps[0], "the median step": steps[len(steps) // 2], "the longest step": steps[-1]}
    rows = tuple(
        (name, Quantity(len(one)), Quantity(moved(one, True), "small"), Quantity(moved(one, False), "%"))
        for name, one in chosen.items()
    )
    how = (
        f"Relative change of a step's vector when an instruction of {len(longest)} characters joins the batch. MiniLM "
        "and FormSim's texts; the five learnt tokens are left out. A short prompt in the release itself: 87 %."
    )
    return Measured(("", "characters", "ours", "re-created: no mask, mean over padding"), rows, how)
