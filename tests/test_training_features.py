"""Settings of the training loop, each by its effect: switched off in the loop, its test fails."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from efa.data.loader import ClipDataset
from efa.train import fit

PLAIN = {"training__feature_noise": 0.0, "fusion__text_dropout": 0.0, "training__epochs": 1}


def train(inputs, folder: Path, **settings: object) -> torch.nn.Module:
    folder.mkdir()
    return fit(tiny.config(**PLAIN | settings), inputs, folder)


@pytest.mark.parametrize("balanced", [True, False])
def test_class_balancing(inputs, tmp_path, monkeypatch, balanced):
    """One clip in eight is faulty; balanced batches hold about as many faulty clips as others."""
    quality = np.zeros(len(inputs.dataset.table), np.int64)
    quality[inputs.rows("train")[::8]] = 1
    quality[inputs.rows("val")[:1]] = 1
    drawn: list[float] = []
    getitems = ClipDataset.__getitems__

    def record(self, indices):
        batch = getitems(self, indices)
        drawn.extend(batch["quality"].tolist() if self.seed is not None else [])
        return batch

    monkeypatch.setattr(ClipDataset, "__getitems__", record)
    train(tiny.with_columns(inputs, quality=quality), tmp_path / "run", training__balance=balanced, training__epochs=6)
    share = np.mean(drawn)
    assert 0.35 < share < 0.65 if balanced else share < 0.2


def test_warmup(inputs, tmp_path):
    """The learning rate rises over the first half of the updates, then falls to zero."""
    train(inputs, tmp_path / "run", training__epochs=4, training__warmup=0.5, training__lr=1.0, training__head_lr=1.0)
    rates = pd.read_csv(tmp_path / "run" / "history.csv")["lr"].tolist()
    assert rates == pytest.approx([0.75, 1.0, 0.5, 0.0], abs=0.01)  # two updates an epoch


def test_feature_noise(inputs, tmp_path):
    clean, noisy = (train(inputs, tmp_path / str(x), training__feature_noise=x) for x in (0.0, 0.5))
    assert not tiny.same_weights(clean, noisy)


def test_text_dropout(inputs, tmp_path):
    """With every text dropped, what the texts say changes nothing; with none dropped it does."""
    other = dataclasses.replace(inputs, steps=inputs.steps.flip(0), instruction=inputs.instruction.flip(0))
    for share, same in ((0.999999, True), (0.0, False)):
        first, second = (
            train(given, tmp_path / f"{share} {i}", fusion__text_dropout=share)
            for i, given in enumerate((inputs, other))
        )
        assert tiny.same_weights(first, second) is same
