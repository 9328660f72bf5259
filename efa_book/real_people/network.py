"""Verdicts by a skeleton network: a pose encoder and a small head, learnt on a set alone or after FormSim."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efa_book.real_people.evaluate import Condition, target
from efa_datasets.real_people import Record
from formsim.motion import INDEX, JOINTS

Array = np.ndarray

ALONE, FINE_TUNED, ZERO_SHOT = "network, the set alone", "network, FormSim then the set", "network, FormSim only"
FRAMES = 16
_MIRRORED = [INDEX[f"{name[:-1]}{'r' if name[-1] == 'l' else 'l'}" if name[-2] == "_" else name] for name in JOINTS]
Encoder = Callable[[], nn.Module]
"""Makes a new encoder: joints float32 [B, 16, 20, 3] -> tokens [B, ..., C], with its attribute `out_dim` = C."""


@dataclass(frozen=True)
class Recipe:
    """How to learn."""

    rate: float = 1e-3  # of the head; the encoder's is `share` of it
    share: float = 0.3
    epochs: int = 20
    batch: int = 32
    seeds: int = 3  # trainings whose probabilities are averaged


# Each fold takes what is best among its own training clips.
RECIPES = {
    FINE_TUNED: (Recipe(share=0.1), Recipe(share=0.3, epochs=60)),
    ALONE: (Recipe(share=1.0), Recipe(share=1.0, epochs=60)),
}


class Verdict(nn.Module):
    """Mean and maximum of an encoder's tokens -> logits [B, classes]."""

    def __init__(self, encoder: nn.Module, classes: int):
        super().__init__()
        self.encoder, width = encoder, 2 * int(encoder.out_dim)  # type: ignore[arg-type]
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Dropout(0.2), nn.Linear(width, classes))

    def forward(self, joints: Tensor) -> Tensor:
        tokens = self.encoder(joints).flatten(1, -2)
        return self.head(torch.cat([tokens.mean(1), tokens.amax(1)], -1))


def sample(joints: Array, start: float = 0.0, end: float = 1.0) -> Array:
    """float32 [16, 20, 3]: frames at equal steps of the part from `start` to `end` of [T, 20, 3]."""
    at = np.linspace(start, end, FRAMES) * (len(joints) - 1)
    low = np.minimum(at.astype(int), max(len(joints) - 2, 0))
    part = (at - low)[:, None, None]
    return (joints[low] * (1 - part) + joints[np.minimum(low + 1, len(joints) - 1)] * part).astype(np.float32)


def vary(joints: Array, random: np.random.RandomState) -> Array:
    """A clip as it might have been, too: perhaps mirrored, a little cut at both ends, points displaced."""
    clip = sample(joints, 0.1 * random.rand(), 1 - 0.1 * random.rand())
    if random.rand() < 0.5:
        clip = clip[:, _MIRRORED] * np.array([1, -1, 1], np.float32)
    return clip + random.normal(0, 0.015, (1, len(JOINTS), 3)).astype(np.float32)


def learn(
    train: Sequence[Record], test: Sequence[Record], encoder: Encoder, skeletons: dict[str, Array],
    recipe: Recipe = Recipe(),
) -> Array:  # fmt: skip
    """Probabilities of the test clips' classes [N, C], mean over seeds. `skeletons`: clip -> joints [T, 20, 3]."""
    classes = sorted({target(record) for record in train})
    y = torch.tensor([classes.index(target(record)) for record in train])
    weight = len(y) / (len(classes) * torch.bincount(y, minlength=len(classes)).float())
    asked = torch.from_numpy(np.stack([sample(skeletons[record.clip]) for record in test]))
    total = torch.zeros(len(test), len(classes))
    for seed in range(recipe.seeds):
        random = np.random.RandomState(seed)
        torch.manual_seed(seed)
        model = Verdict(encoder(), len(classes))
        parts = {recipe.rate * recipe.share: model.encoder, recipe.rate: model.head}
        groups = [{"params": part.parameters(), "lr": rate} for rate, part in parts.items()]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.05)
        steps = recipe.epochs * -(-len(y) // recipe.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, list(parts), total_steps=steps)
        model.train()
        for _ in range(recipe.epochs):
            order = random.permutation(len(y))
            for start in range(0, len(y), recipe.batch):
                chosen = order[start : start + recipe.batch]
                clips = np.stack([vary(skeletons[train[i].clip], random) for i in chosen])
                loss = F.cross_entropy(model(torch.from_numpy(clips)), y[chosen], weight, label_smoothing=0.1)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
        model.eval()
        with torch.inference_mode():
            total += model(asked).softmax(-1)
    return (total / recipe.seeds).numpy()


def zero_shot(train: Sequence[Record], test: Sequence[Record], judge: Callable[[Sequence[Record]], Array]) -> Array:
    """Verdicts of a model that never saw the set, [N, 2]; `judge` gives the probability of 'incorrect' [N]."""
    wrong = judge(test)
    return np.stack([1 - wrong, wrong], 1)


def conditions(
    skeletons: dict[str, Array], fresh: Encoder, pretrained: Encoder, judge: Callable[[Sequence[Record]], Array]
) -> dict[str, Condition | Sequence[Condition]]:
    """The three conditions of a set by name: for `learn`, one candidate a recipe."""
    found: dict[str, Condition | Sequence[Condition]] = {ZERO_SHOT: partial(zero_shot, judge=judge)}
    for name, encoder in ((FINE_TUNED, pretrained), (ALONE, fresh)):
        found[name] = [partial(learn, encoder=encoder, skeletons=skeletons, recipe=recipe) for recipe in RECIPES[name]]
    return found
