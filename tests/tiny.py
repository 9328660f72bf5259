"""A model that trains in a second, for every test that needs a trained one."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from efa.baselines.inputs import TrainingInputs
from efa.config import Config, build

SETTINGS = {
    "data.clips": 32, "data.actions": 0, "data.size": 32, "data.sealed": 0, "data.sealed_seed": 0,
    "encoder.weights": "", "encoder.dim": 16,
    "encoder.depths": (1, 1), "encoder.heads": (1, 2), "encoder.pool": 1, "fusion.dim": 32, "decoder.dim": 32,
    "decoder.depth": 1, "decoder.heads": 2, "decoder.max_tokens": 48, "decoder.weights": "", "decoder.frozen": False,
    "training.epochs": 2, "training.batch": 8, "training.select_every": 1, "prediction.max_tokens": 12,
    "training.text_share": 0.4, "training.weight_text": 1.0,
}  # fmt: skip


def config(**changes: object) -> Config:
    """The tiny configuration; 'fusion__merge' stands for 'fusion.merge'."""
    return build("laptop", SETTINGS).with_({key.replace("__", "."): value for key, value in changes.items()})


def pose_config(**changes: object) -> Config:
    """The same for a model that reads skeletons."""
    own = {key: value for key, value in SETTINGS.items() if not key.startswith(("encoder.", "data.size"))}
    own |= {"encoder.dim": 16, "encoder.depth": 1, "encoder.weights": ""}
    return build("pose", own).with_({key.replace("__", "."): value for key, value in changes.items()})


def options(settings: Mapping[str, object] = SETTINGS) -> list[str]:
    """The settings for a command line."""
    text = {key: ",".join(map(str, v)) if isinstance(v, tuple) else v for key, v in settings.items()}
    return [f"--set={key}={value}" for key, value in text.items()]


@contextmanager
def home(folder: Path) -> Iterator[Path]:
    """Runs and caches go to `folder`, never to the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFA_HOME", str(folder))
        yield folder


def same_weights(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def with_columns(inputs: TrainingInputs, **columns: object) -> TrainingInputs:
    """The same inputs with other values in these columns of the table."""
    table = inputs.dataset.table.assign(**columns)
    return dataclasses.replace(inputs, dataset=dataclasses.replace(inputs.dataset, table=table))
