"""Verdicts by a skeleton network: EFA's pose encoder and a small head, learnt on FormSim, on a set, or on both.

The head of `ZERO_SHOT` knows FormSim's performances of the set's exercise alone, as an estimator would report them;
`FINE_TUNED` goes on from it with other people of the set; `ALONE` starts from nothing.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import formsim
from efa.config import PoseConfig
from efa.data.skeleton import resample, to_joints
from efa.model import load_encoder
from efa.model.pose import PoseEncoder
from efa.utils import paths
from efa_book.real_people.evaluate import CORRECT, Condition, target
from efa_datasets.real_people import Record
from formsim.motion import JOINTS
from formsim.skeletons import imitate, skeleton, take
from formsim.skeletons import vary as vary_people
from formsim.streams import SWAPPED_JOINTS

Array = np.ndarray

ALONE, FINE_TUNED, ZERO_SHOT = "network, the set alone", "network, FormSim then the set", "network, FormSim only"
FRAMES = 16
CLIPS, PASSES = 1500, 12  # of FormSim's performances of an exercise


@dataclass(frozen=True)
class Recipe:
    """How to learn."""

    rate: float = 1e-3  # of the head; the encoder's is `share` of it
    share: float = 0.3
    epochs: int = 15
    batch: int = 32
    seeds: int = 2  # trainings whose probabilities are averaged


# Each fold takes what is best among its own training clips.
RECIPES = {
    FINE_TUNED: (Recipe(share=0.1), Recipe(epochs=30)),
    ALONE: (Recipe(share=1.0, epochs=20), Recipe(share=1.0, epochs=50)),
}


Start = Callable[[int, int], "Verdict"]
"""(number of classes, seed) -> the network that a training begins with."""


class Verdict(nn.Module):
    """Mean and maximum of an encoder's tokens -> logits [B, classes]."""

    def __init__(self, encoder: nn.Module, classes: int):
        super().__init__()
        self.encoder, width = encoder, 2 * int(encoder.out_dim)  # type: ignore[arg-type]
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Dropout(0.2), nn.Linear(width, classes))

    def forward(self, joints: Tensor) -> Tensor:
        tokens = self.encoder(joints).flatten(1, -2)
        return self.head(torch.cat([tokens.mean(1), tokens.amax(1)], -1))


def skeletons(records: Sequence[Record]) -> dict[str, Array]:
    """Joints [T, 20, 3] of every clip by name, as FormSim's would be; key points without depth give none."""
    posed = ((one.clip, one.joints if one.landmarks is None else to_joints(one.landmarks)) for one in records)
    return {clip: joints for clip, joints in posed if joints is not None}


def sample(joints: Array, start: float = 0.0, end: float = 1.0) -> Array:
    """float32 [16, 20, 3]: frames at equal steps of the part from `start` to `end` of [T, 20, 3]."""
    return resample(joints, np.linspace(start, end, FRAMES) * (len(joints) - 1))


def vary(joints: Array, random: np.random.RandomState) -> Array:
    """A clip as it might have been, too: perhaps mirrored, a little cut at both ends, points displaced."""
    clip = sample(joints, 0.1 * random.rand(), 1 - 0.1 * random.rand())
    if random.rand() < 0.5:
        clip = clip[:, SWAPPED_JOINTS] * np.array([1, -1, 1], np.float32)
    return clip + random.normal(0, 0.015, (1, len(JOINTS), 3)).astype(np.float32)


def learn(
    train: Sequence[Record], test: Sequence[Record], start: Start, poses: dict[str, Array], recipe: Recipe = Recipe()
) -> Array:
    """Probabilities of the test clips' classes [N, C], mean over seeds. `poses`: as `skeletons` gives them."""
    classes = sorted({target(record) for record in train})
    y = torch.tensor([classes.index(target(record)) for record in train])
    weight = len(y) / (len(classes) * torch.bincount(y, minlength=len(classes)).float())
    asked = torch.from_numpy(np.stack([sample(poses[record.clip]) for record in test]))
    total = torch.zeros(len(test), len(classes))
    for seed in range(recipe.seeds):
        random = np.random.RandomState(seed)
        model = start(len(classes), seed)

        def batch(chosen: Array, random: np.random.RandomState = random) -> tuple[Tensor, Tensor]:
            return torch.from_numpy(np.stack([vary(poses[train[i].clip], random) for i in chosen])), y[chosen]

        _fit(model, len(y), batch, recipe, random, weight)
        with torch.inference_mode():
            total += model(asked).softmax(-1)
    return (total / recipe.seeds).numpy()


def _fit(
    model: Verdict, count: int, batch: Callable[[Array], tuple[Tensor, Tensor]], recipe: Recipe,
    random: np.random.RandomState, weight: Tensor | None = None,
) -> None:  # fmt: skip
    """Trains on `count` clips; `batch` gives those of some indices, and their classes. Leaves the model evaluating."""
    rates = [recipe.rate * recipe.share, recipe.rate]
    parts = [{"params": model.encoder.parameters()}, {"params": model.head.parameters()}]
    optimizer = torch.optim.AdamW(parts, weight_decay=0.05)
    steps = recipe.epochs * -(-count // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
    model.train()
    for _ in range(recipe.epochs):
        order = random.permutation(count)
        for begin in range(0, count, recipe.batch):
            joints, classes = batch(order[begin : begin + recipe.batch])
            loss = F.cross_entropy(model(joints), classes, weight, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    model.eval()


def fresh(classes: int, seed: int) -> Verdict:
    """A network with random weights."""
    torch.manual_seed(seed)
    return Verdict(PoseEncoder(PoseConfig(), FRAMES), classes)


@cache
def formsim_verdict(action: str, seed: int = 0) -> Verdict:
    """Correct or not of one of FormSim's actions, learnt on its performances from the shipped pose encoder on."""
    model = fresh(2, seed)
    load_encoder(model.encoder, paths.WEIGHTS / "pose.safetensors")
    clips = formsim.clips("main", CLIPS, 0, (action,))
    cycles = torch.from_numpy(np.stack([skeleton(clip) for clip in clips]))
    y, draw = torch.tensor([clip.quality for clip in clips]), torch.Generator().manual_seed(seed)

    def batch(chosen: Array) -> tuple[Tensor, Tensor]:
        windows = draw if torch.rand(1, generator=draw).item() < 0.7 else None
        people = vary_people(take(cycles[chosen], FRAMES, windows), [action] * len(chosen), draw)
        level = 0.3 + 0.9 * torch.rand(1, generator=draw).item()
        return imitate(people, draw, level), y[chosen]

    _fit(model, len(y), batch, Recipe(epochs=PASSES, batch=64), np.random.RandomState(seed))
    return model


def after_formsim(classes: int, seed: int, action: str) -> Verdict:
    """A copy of `formsim_verdict`, with a new head where more than its two classes are asked for."""
    model = copy.deepcopy(formsim_verdict(action, seed))
    if classes != 2:
        torch.manual_seed(seed)
        model.head = Verdict(model.encoder, classes).head
    return model


def zero_shot(
    train: Sequence[Record], test: Sequence[Record], poses: dict[str, Array], action: str, seeds: int = 3
) -> Array:
    """Verdicts by FormSim's networks, which see no clip of the set in training, [N, C], mean over seeds.

    They name no fault: among more than two classes 'incorrect' is shared by all faults alike.
    """
    classes = sorted({target(record) for record in train})
    joints = torch.from_numpy(np.stack([sample(poses[record.clip]) for record in test]))
    models = [formsim_verdict(action, seed) for seed in range(seeds)]
    with torch.inference_mode():
        logits = [model(joints) for model in models]
    wrong = torch.stack(logits).softmax(-1).mean(0)[:, 1].numpy()
    right = [name in ("0", CORRECT) for name in classes]
    return np.where(right, (1 - wrong)[:, None], wrong[:, None] / (len(classes) - 1))


def conditions(records: Sequence[Record]) -> dict[str, Condition | Sequence[Condition]]:
    """The three conditions of a set whose exercise FormSim has, by name: one candidate a recipe. Otherwise none."""
    poses, action = skeletons(records), records[0].action
    if len(poses) < len(records) or not action:
        return {}
    found: dict[str, Condition | Sequence[Condition]] = {ZERO_SHOT: partial(zero_shot, poses=poses, action=action)}
    for name, start in ((FINE_TUNED, partial(after_formsim, action=action)), (ALONE, fresh)):
        found[name] = [partial(learn, start=start, poses=poses, recipe=recipe) for recipe in RECIPES[name]]
    return found
