"""How the release trains and evaluates, beside ours: masks, looks at the test split, augmentation, order of batches."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

import formsim
from efa.baselines.masked_lm import mask_words
from efa.config import FormSimData
from efa.data.loader import formsim_clips
from efa.data.video import resize
from efa_book.audit import Measurement, Quantity, Row, quantities
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


def masked_twice() -> Measurement:
    """Finding 11, second part: what one pass over a text teaches."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1000, VOCABULARY, (400, 256), generator=generator)
    once, _ = hide(tokens, generator)  # where the clip is read: these targets are thrown away
    twice, target = hide(once, generator)  # in the training loop
    torch.manual_seed(0)
    _, hidden = mask_words(tokens, SHARE, 1.0, MASK, VOCABULARY)
    length = tokens.shape[1]
    shares = [part.float().mean().item() for part in (hidden, target, (twice == MASK) & ~target)]
    rows: list[Row] = [
        ("our decoder: every token but the first", *quantities("%", (length - 1) / length, 0.0), "", ""),
        ("masked once, our LAVENDER", *quantities("%", shares[0], 0.0, SHARE, 0.0)),
        ("masked twice, re-created", *quantities("%", *shares[1:], SHARE * (1 - SHARE), SHARE)),
    ]
    how = (
        f"{len(tokens)} texts of {length} random tokens. Twice: once where a clip is read, whose targets are lost, and "
        "once in the training loop, which leaves alone what is hidden already. Derived: p (1 - p) with a target, p "
        f"without one, p = {SHARE:g}."
    )
    head = ("share of a text's tokens", "with a target", "hidden without one", "with: derived", "without: derived")
    return Measurement(head, rows, how)


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


def selection_on_test(
    looks: Sequence[int] = LOOKS,
    shared: Sequence[float] = (0.0, 0.5, 0.9),
    clips: int = TEST,
    accuracy: float = ACCURACY,
) -> Measurement:
    """Finding 12: what the best of several looks at the test split adds where nothing improves."""
    rows: list[Row] = [
        (f"{count}", *quantities("points", *(100 * optimism(count, one, clips, accuracy) for one in shared)))
        for count in looks
    ]
    how = (
        f"Simulated: {clips} clips, a model that is right on {100 * accuracy:.1f} % at every look, mean of {TRIALS} "
        "trials. Looks of one training run agree with each other; how much, nobody published. Ours looks at the "
        "validation split, and at the test split once."
    )
    head = ("looks, of which the best is told", *(f"looks correlated {one:g}" for one in shared))
    return Measurement(head, rows, how)


def joint_positions(clips: int = CLIPS) -> np.ndarray:
    """The joints of FormSim's first clips, [clips, T, 20, 2]: shares of the picture's side."""
    return np.stack([formsim.pose_target(clip)[2] for clip in formsim_clips(FormSimData())[:clips]]).astype(float)


def motion(joints: np.ndarray) -> float:
    """Mean distance that a joint moves from frame to frame, in shares of the picture's side."""
    return float(np.linalg.norm(np.diff(joints, axis=1), axis=-1).mean())


def flip(joints: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Mirrors the frames where `mirrored` [clips, T] is true."""
    x, y = joints[..., 0], joints[..., 1]
    return np.stack([np.where(mirrored[..., None], 1 - x, x), y], -1)


def stretch_and_crop(joints: np.ndarray, tops: np.ndarray) -> np.ndarray:
    """Squeezes to 224 x 398 pixels and cuts to a square at `tops` [clips, T], shares of the room there is."""
    y = (joints[..., 1] * RESIZED - tops[..., None] * (RESIZED - SIDE)) / SIDE
    return np.stack([joints[..., 0], y], -1)


def crop(joints: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Cuts all four sides as `efa.data.loader.flip_and_crop` does: `sides` [clips, 4] top, bottom, left, right."""
    top, bottom, left, right = (sides[:, None, None, i] for i in range(4))
    return np.stack([(joints[..., 0] - left) / (1 - left - right), (joints[..., 1] - top) / (1 - top - bottom)], -1)


def augment_per_frame(frames: np.ndarray, seed: int = 0) -> np.ndarray:
    """The release's training view of a clip, re-created: uint8 [T, S, S, 3] -> [T, 224, 224, 3].

    Each frame is stretched to 398 x 224, cut to a square at its own height, and mirrored or not on its own.
    """
    draw = np.random.RandomState(seed)
    out = []
    for frame in frames:
        tall = resize(frame, SIDE, RESIZED)
        top, mirror = draw.randint(RESIZED - SIDE + 1), draw.random_sample() < 0.5
        out.append(tall[top : top + SIDE, :: -1 if mirror else 1])
    return np.stack(out)


def augmentation(clips: int = CLIPS) -> Measurement:
    """Finding 13: motion that augmentation makes up, beside the motion that is there."""
    joints = joint_positions(clips)
    draw = np.random.RandomState(0)
    shape = joints.shape[:2]
    each, tops = draw.random_sample(shape) < 0.5, draw.random_sample(shape)
    mirrored, sides = flip(joints, np.repeat(each[:, :1], shape[1], 1)), draw.random_sample((len(joints), 4))
    kinds = {
        "the clip as it is": joints,
        "flip and crop once a clip (ours)": crop(mirrored, sides * FormSimData().crop),
        "flip once a frame": flip(joints, each),
        "stretched, crop once a clip": stretch_and_crop(joints, np.repeat(tops[:, :1], shape[1], 1)),
        "stretched, crop once a frame": stretch_and_crop(joints, tops),
        "stretched, flip and crop once a frame (release)": stretch_and_crop(flip(joints, each), tops),
    }
    moved = {name: motion(found) for name, found in kinds.items()}
    middle = stretch_and_crop(joints, np.full(shape, 0.5))[..., 1]
    rows: list[Row] = [
        *((name, Quantity(one, "%"), Quantity(one / motion(joints), "times")) for name, one in moved.items()),
        ("height that the middle crop keeps", Quantity(SIDE / RESIZED, "%"), ""),
        ("joints that it cuts off", Quantity(float(((middle < 0) | (middle > 1)).mean()), "%"), ""),
    ]
    how = (
        f"Joints of {clips} FormSim clips, six frames each, whose camera stands still; per cent of the picture's side. "
        "The release resizes to 398 x 224 (height x width) and takes a square: a random one of each frame in training, "
        "the middle one at test time. FormSim's frames are square; what real frames lose was not measured."
    )
    return Measurement(("apparent motion from frame to frame", "of the side", "true motion = 1"), rows, how)


def repeated_batches(one: Sequence[int], other: Sequence[int], size: int) -> float:
    """Share of the batches of one epoch that come again, with the same clips, in the other."""
    first, second = ({frozenset(o[i : i + size]) for i in range(0, len(o), size)} for o in (one, other))
    return len(first & second) / len(first)
