"""The golden run: what a tiny training gives today, it gives tomorrow, or `RESULTS_VERSION` is raised.

Losses and predictions are compared bit for bit under the PyTorch version and processor features that made the file, and
within 0.3 % elsewhere. After a change that is meant to change numbers: raise `RESULTS_VERSION`, then

    python tests/test_golden.py        # writes tests/golden.json again
"""

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from efa.baselines.inputs import prepare
from efa.predict import predict
from efa.train import fit

FILE = Path(__file__).with_name("golden.json")
RUNS: dict[str, dict[str, object]] = {
    "EFA": {},
    "EFA of version 1": {"fusion__heads": 1, "fusion__sigma_shape": "scalar"},  # its numbers are still those of then
    "SwinBERT": {"system__name": "SwinBERT"},
    "RICA2": {"system__name": "RICA2"},
}
ELSEWHERE = 3e-3  # relative; another PyTorch or processor adds up in another order (without AVX-512: up to 0.12 %)
PLACES = ("torch", "cpu")


def platform() -> dict[str, str]:
    return {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}


def golden_run(name: str, folder: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    config = tiny.config(system__small=True, **RUNS[name])
    inputs = prepare(config)
    model = fit(config, inputs, folder)
    found = predict(model, inputs, config)
    with (folder / "history.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    return {
        "history": [{name: float(value).hex() for name, value in row.items() if value} for row in rows],
        "quality_prob": [float(value).hex() for value in found["quality_prob"]],
        "predicted_action": list(found["predicted_action"]),
        "explanation": list(found["explanation"]),
    }


def numbers(run: dict[str, Any]) -> list[float]:
    history = [float.fromhex(value) for row in run["history"] for _, value in sorted(row.items())]
    return history + [float.fromhex(value) for value in run["quality_prob"]]


@pytest.mark.parametrize("name", RUNS)
def test_golden_run(name, home):
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    home.joinpath("run").mkdir()
    found, expected = golden_run(name, home / "run"), kept["runs"][name]
    if {place: kept[place] for place in PLACES} == platform():
        assert found == expected
    else:
        assert numbers(found) == pytest.approx(numbers(expected), rel=ELSEWHERE, abs=ELSEWHERE)


if __name__ == "__main__":
    document: dict[str, Any] = {**platform(), "runs": {}}
    for name in RUNS:
        with tempfile.TemporaryDirectory() as place, tiny.home(Path(place)):
            document["runs"][name] = golden_run(name, Path(place))
    FILE.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
