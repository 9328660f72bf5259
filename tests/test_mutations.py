"""Mistakes that a refactoring could make unnoticed: each one is made in a copy of the code, and a fast test must fail.

python -m pytest -m "" tests/test_mutations.py
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("efa", "formsim", "efa_datasets", "efa_cluster", "efa_book", "tests", "pyproject.toml")

# name -> file, code, mutated code, the test that fails
MUTATIONS = {
    "swapped gate": (
        "efa/model/fusion.py",
        "return gate * of_global + (1 - gate) * of_steps, gate",
        "return (1 - gate) * of_global + gate * of_steps, gate",
        "test_fusion.py",
    ),
    "wrong residual": (
        "efa/model/fusion.py",
        "return result + self.sigma * given if self.printed else given + self.sigma * result",
        "return given + self.sigma * result if self.printed else result + self.sigma * given",
        "test_fusion.py",
    ),
    "true class leaks into prediction": (
        "efa/predict.py",
        'if protocol == "predicted":',
        "if False:",
        "test_inference.py",
    ),
    "decay on biases": (
        "efa/train.py",
        "config.weight_decay if parameter.ndim >= 2 else 0.0",
        "config.weight_decay",
        "test_training.py::test_learning_rates_and_decay_go_to_the_right_parameters",
    ),
    "no class balancing": (
        "efa/train.py",
        "if training.balance else None",
        "if False else None",
        "test_training_features.py::test_class_balancing",
    ),
    "no warm-up": (
        "efa/train.py",
        "warm = max(1, round(training.warmup * total))",
        "warm = 1",
        "test_training_features.py::test_warmup",
    ),
    "no feature noise": (
        "efa/train.py",
        "if model.training and spread is not None:",
        "if False:",
        "test_training_features.py::test_feature_noise",
    ),
    "no text dropout": (
        "efa/train.py",
        "if model.training and config.fusion.text_dropout:",
        "if False:",
        "test_training_features.py::test_text_dropout",
    ),
    "leak between batch mates": (
        "efa/model/assessor.py",
        "self.fusion(self.place(features), steps,",
        "self.fusion(self.place(features), None if steps is None else steps.mean(0, keepdim=True).expand_as(steps),",
        "test_assessor.py::test_a_prediction_does_not_depend_on_batch_mates",
    ),
}


def run(folder: Path, test: str) -> int:
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", f"tests/{test}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True).returncode


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_caught(copy, name):
    file, code, mutated, test = MUTATIONS[name]
    path = copy / file
    original = path.read_text(encoding="utf-8")
    assert run(copy, test) == 0
    path.write_text(original.replace(code, mutated), encoding="utf-8")
    try:
        assert run(copy, test) == 1
    finally:
        path.write_text(original, encoding="utf-8")
