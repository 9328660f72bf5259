"""How the release trains and evaluates, beside ours: masks, looks at the test split, augmentation, order of batches."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

import formsim
from efa.baselines.masked_lm import mask_words
from efa.config import FormSimData
from efa.data.loader import EpochSampler, formsim_clips
from efa.data.sampling import resize
from efa_book.audit.measured import Measured, Quantity, Row
from efa_book.audit.release import VOCABULARY

MASK, SHARE = 103, 0.15  # id of [MASK], and the share that is hidden
TEST = 510  # clips of CoT-AFA's test split
ACCURACY = 0.818  # EFA's quality accuracy in the paper
LOOKS = (1, 3, 10, 33, 100)
TRIALS = 300
CLIPS = 48  # of FormSim, for motion
RESIZED, SIDE = 398, 224  # pixels: height after the release's resize, and the side of its square crop


def hide(tokens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hides each token that is not [MASK] by chance: ids [B, L] -> ids with [MASK], and where that is a target."""
    chosen = (tokens != MASK) & (torch.rand(tokens.shape, generator=generator) < SHARE)
    return torch.where(chosen, MASK, tokens), chosen


def masked_twice() -> Measured:
    """Finding 11, second part: what one pass over a text teaches."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1000, VOCABULARY, (400, 256), generator=generator)
    once, _ = hide(tokens, generator)  # where the clip is read: these targets are thrown away
    twice, target = hide(once, generator)  # in the training loop
    blind = ((twice == MASK) & ~target).float().mean().item()
    torch.manual_seed(0)
    _, hidden = mask_words(tokens, SHARE, 1.0, MASK, VOCABULARY)
    length = tokens.shape[1]
    rows: tuple[Row, ...] = (
        ("our decoder: every token but the first", Quantity((length - 1) / length, "%"), Quantity(0.0, "%"), "", ""),
        ("masked once, our LAVENDER", Quantity(hidden.float().mean().item(), "%"), Quantity(0.0, "%"), *_two(SHARE, 0)),
        (
            "masked twice, re-created",
            *_two(target.float().mean().item(), blind),
            *_two(SHARE * (1 - SHARE), SHARE),
        ),
    )
    how = (
        f"{len(tokens)} texts of {length} random tokens. Twice: once where a clip is read, whose targets are lost, and "
        "once in the training loop, which leaves alone what is hidden already. Derived: p (1 - p) with a target, p "
        f"without one, p = {SHARE:g}."
    )
    head = ("share of a text's tokens", "with a target", "hidden without one", "with: derived", "without: derived")
    return Measured(head, rows, how)


def _two(one: float, other: float) -> tuple[Quantity, Quantity]:
    return Quantity(one, "%"), Quantity(other, "%")


def optimism(looks: int, shared: float, clips: int = TEST, accuracy: float = ACCURACY, seed: int = 0) -> float:
    """Expected best accuracy of several looks at one test split, minus the true accuracy, which is always the same.

    Args:
        shared: correlation, between two looks, of what decides whether a clip is judged rightly.
    """
    draw = np.random.RandomState(seed)
    limit = NormalDist().inv_cdf(accuracy)
    best = []
    for _ in range(TRIALS):
        clip, look = draw.standard_normal(clips), draw.standard_normal((looks, clips))
        right = np.sqrt(shared) * clip + np.sqrt(1 - shared) * look < limit
        best.append(right.mean(1).max())
    return float(np.mean(best)) - accuracy


def selection_on_test() -> Measured:
    """Finding 12: what the best of several looks at the test split adds where nothing improves."""
    rows: tuple[Row, ...] = tuple(
        (f"{looks}", *(Quantity(100 * optimism(looks, shared), "points") for shared in (0.0, 0.5, 0.9)))
        for looks in LOOKS
    )
    how = (
        f"Simulated: {TEST} clips, a model that is right on {100 * ACCURACY:.1f} % at every look, mean of {TRIALS} "
        "trials. Looks of one training run agree with each other; how much, nobody published. Ours looks at the "
        "validation split, and at the test split once."
    )
    head = ("looks, of which the best is told", "looks independent", "correlation 0.5", "correlation 0.9")
    return Measured(head, rows, how)


def places() -> np.ndarray:
    """Where the joints of FormSim's first clips are, [clips, T, 20, 2]: shares of the picture's side."""
    chosen = formsim_clips(FormSimData())[:CLIPS]
    return np.stack([formsim.pose_target(clip)[2] for clip in chosen]).astype(float)


def motion(seen: np.ndarray) -> float:
    """Mean distance that a joint moves from frame to frame, in shares of the picture's side."""
    return float(np.linalg.norm(np.diff(seen, axis=1), axis=-1).mean())


def flipped(seen: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Mirrored where `draws` [clips, T] says so."""
    out = seen.copy()
    out[..., 0] = np.where(draws[..., None], 1 - seen[..., 0], seen[..., 0])
    return out


def cropped(seen: np.ndarray, tops: np.ndarray) -> np.ndarray:
    """Squeezed to 224 x 398 pixels and cut to a square at `tops` [clips, T], shares of the room there is."""
    out = seen.copy()
    out[..., 1] = (seen[..., 1] * RESIZED - tops[..., None] * (RESIZED - SIDE)) / SIDE
    return out


def trimmed(seen: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Cut at all four sides as `efa.data.loader.augment` does: `sides` [clips, 4] top, bottom, left, right."""
    top, bottom, left, right = (sides[:, None, None, i] for i in range(4))
    return np.stack([(seen[..., 0] - left) / (1 - left - right), (seen[..., 1] - top) / (1 - top - bottom)], -1)


def apart(frames: np.ndarray, seed: int = 0) -> np.ndarray:
    """The release's training view of a clip, re-created: uint8 [T, S, S, 3] -> [T, 224, 224, 3].

    Each frame is stretched to 398 x 224, cut to a square at a height of its own, and mirrored or not by its own lot.
    """
    draw = np.random.RandomState(seed)
    out = []
    for frame in frames:
        tall = resize(frame, SIDE, RESIZED, None, "squeeze")
        top, mirror = draw.randint(RESIZED - SIDE + 1), draw.random_sample() < 0.5
        out.append(tall[top : top + SIDE, :: -1 if mirror else 1])
    return np.stack(out)


def augmentation() -> Measured:
    """Finding 13: motion that augmentation makes up, beside the motion that is there."""
    seen = places()
    draw = np.random.RandomState(0)
    shape = seen.shape[:2]
    per_frame, tops = draw.random_sample(shape) < 0.5, draw.random_sample(shape)
    mirrored = flipped(seen, np.repeat(per_frame[:, :1], shape[1], 1))
    kinds = {
        "the clip as it is": seen,
        "flip and crop once a clip (ours)": trimmed(mirrored, draw.random_sample((len(seen), 4)) * FormSimData().crop),
        "flip once a frame": flipped(seen, per_frame),
        "stretched, crop once a clip": cropped(seen, np.repeat(tops[:, :1], shape[1], 1)),
        "stretched, crop once a frame": cropped(seen, tops),
        "stretched, flip and crop once a frame (release)": cropped(flipped(seen, per_frame), tops),
    }
    true = motion(seen)
    rows: list[Row] = [
        (name, Quantity(motion(found), "%"), Quantity(motion(found) / true, "times")) for name, found in kinds.items()
    ]
    inside = cropped(seen, np.full(shape, 0.5))[..., 1]
    lost = float(((inside < 0) | (inside > 1)).mean())
    rows.append(("height that the middle crop keeps", Quantity(SIDE / RESIZED, "%"), ""))
    rows.append(("joints that it cuts off", Quantity(lost, "%"), ""))
    how = (
        f"Joints of {CLIPS} FormSim clips, six frames each, whose camera stands still; per cent of the picture's side. "
        "The release resizes to 398 x 224 (height x width) and takes a square: a random one of each frame in training, "
        "the middle one at test time. FormSim's frames are square; what real frames lose was not measured."
    )
    return Measured(("apparent motion from frame to frame", "of the side", "true motion = 1"), tuple(rows), how)


def same_batches(one: Sequence[int], other: Sequence[int], size: int) -> float:
    """Share of the batches of one epoch that come again, with the same clips, in the other."""
    first, second = ({frozenset(o[i : i + size]) for i in range(0, len(o), size)} for o in (list(one), list(other)))
    return len(first & second) / len(first)


def _distributed(clips: int) -> DistributedSampler[int]:
    return DistributedSampler(range(clips), num_replicas=1, rank=0, shuffle=True, seed=0)  # type: ignore[arg-type]


def batches() -> Measured:
    """Finding 15: does an epoch bring other batches than the one before?"""
    size, clips = 24, 2373
    fixed, told = _distributed(clips), _distributed(clips)
    ours = EpochSampler(clips, seed=0)
    orders: dict[str, list[list[int]]] = {"no set_epoch (release)": [], "with set_epoch": [], "EpochSampler (ours)": []}
    for epoch in range(2):
        told.set_epoch(epoch)
        ours.epoch = epoch
        for found, sampler in zip(orders.values(), (fixed, told, ours), strict=True):
            found.append(list(sampler))
    rows = tuple(
        (
            name,
            Quantity(same_batches(one, other, size), "%"),
            Quantity(float(np.mean(np.array(one) == np.array(other))), "%"),
        )
        for name, (one, other) in orders.items()
    )
    how = f"{clips} clips, batches of {size}, first and second epoch, PyTorch's DistributedSampler with one process."
    return Measured(("sampler", "batches that come again", "clips at the same place"), rows, how)
