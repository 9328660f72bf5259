"""One run trained by two processes of `accelerate launch`: the whole batch's gradient, one voice, no endless waiting.

Each test starts processes that import everything again, so all of them are slow ones.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch

from efa.experiments import select
from efa.runs import scores_of, state_of

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parent
ROOT = TESTS.parent
# Sums of float32 in another order, two epochs long. Measured: 3e-7.
TOLERANCE = 1e-3
CALM = {"training.feature_noise": 0, "fusion.text_dropout": 0, "training.epochs": 2, "training.select_every": 1}
LAUNCH = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
          "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")  # fmt: skip


def start(home: Path, *arguments: str, timeout: int = 240, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"EFA_HOME": str(home), "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | more
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(TESTS)])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, *arguments], env=environment, cwd=ROOT, **pipes) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.terminate()  # the launcher then ends its processes, which a kill would leave behind
            out, err = process.communicate(timeout=60)
            pytest.fail(f"no end after {timeout} s: {err[-2000:]}")
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def run(home: Path, *launch: str, **more: str) -> subprocess.CompletedProcess[str]:
    settings = [part for key, value in CALM.items() for part in ("--set", f"{key}={value}")]
    return start(home, *launch, "run", "6/EFA", "--preset", "smoke", "--seeds", "0", *settings, **more)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One home for caches; the runs of one process and of two lie in homes of their own that share them."""
    return tmp_path_factory.mktemp("home")


def sharing(home: Path, name: str) -> Path:
    own = home / name
    own.mkdir()
    (home / ".cache").mkdir(exist_ok=True)
    (own / ".cache").symlink_to(home / ".cache")
    return own


@pytest.fixture(scope="module")
def gradients(home):
    """What `batch_gradients.py` found: by itself, and each of two processes."""
    folder = home / "gradients"
    folder.mkdir()
    alone = start(home, str(TESTS / "batch_gradients.py"), str(folder))
    assert alone.returncode == 0, alone.stderr
    both = start(home, *LAUNCH, str(TESTS / "batch_gradients.py"), str(folder))
    assert both.returncode == 0, both.stderr
    return [torch.load(folder / f"{name}.pt", weights_only=False) for name in ("1-0", "2-0", "2-1")]


def test_every_systems_gradient_is_the_batchs_and_each_process_saw_half(gradients):
    alone, *both = gradients
    names = [name for name in alone if name not in ("accumulated", "not finite", "weights")]
    assert len(names) == 15  # eleven systems, three whose trunk learns, one without batch normalisation
    for name in names:
        wanted, losses, batch = alone[name]
        for found, of_both, _ in (part[name] for part in both):
            assert of_both == pytest.approx(losses, rel=1e-5), name
            assert found.keys() == wanted.keys(), name
            for key, value in wanted.items():
                assert torch.allclose(found[key].double(), value.double(), rtol=1e-5, atol=1e-8), (name, key)
        rows = [part[name][2] for part in both]
        assert [len(own) for own in rows] == [len(batch) // 2] * 2
        assert sorted(rows[0] + rows[1]) == sorted(batch)


def test_micro_batches_of_two_processes_add_up(gradients):
    alone, *both = gradients
    whole, losses, batch = alone["whole"]
    for found, of_both, seen in (part["accumulated"] for part in both):
        assert of_both == pytest.approx(losses, rel=1e-5)
        assert len(seen) == len(batch) // 2
        for key, value in whole.items():
            assert torch.allclose(found[key].double(), value.double(), rtol=1e-5, atol=1e-8), key


def test_a_loss_broken_in_one_process_stops_both(gradients):
    assert [part["not finite"] for part in gradients[1:]] == [("class", "quality", "text")] * 2


def test_a_whole_training_ends_with_the_same_weights(gradients):
    alone, one, _ = gradients
    for name, value in alone["weights"].items():
        assert torch.allclose(value.double(), one["weights"][name].double(), atol=TOLERANCE), name


def test_a_run_of_two_processes_has_the_scores_of_one(home):
    single, double = sharing(home, "single"), sharing(home, "double")
    alone, both = run(single, "-m", "efa"), run(double, *LAUNCH, "-m", "efa")
    assert alone.returncode == both.returncode == 0, both.stderr
    assert len(re.findall(r'"epoch": 1,', both.stderr)) == 1  # one voice
    assert both.stderr.count("[1/1] 6/EFA seed 0") == 1
    (asked,) = select("6/EFA", "smoke", (0,), CALM)
    tables, scores, histories = [], [], []
    for folder in (single, double):
        with tiny.home(folder):
            assert state_of(asked) == "done"
            scores.append(scores_of(asked)["predicted"])
            tables.append(pd.read_parquet(asked.folder / "predictions.parquet"))
            histories.append(pd.read_csv(asked.folder / "history.csv").drop(columns="seconds"))
            facts = json.loads((asked.folder / "provenance.json").read_text())
            assert facts.get("processes", 1) == 1 + (folder is double)
    pd.testing.assert_frame_equal(*histories, rtol=TOLERANCE)
    assert tables[1]["quality_prob"].to_numpy() == pytest.approx(tables[0]["quality_prob"].to_numpy(), abs=TOLERANCE)
    assert list(tables[1]["predicted_action"]) == list(tables[0]["predicted_action"])
    assert scores[0].keys() == scores[1].keys()
    for metric, value in scores[0].items():
        assert scores[1][metric] == (None if value is None else pytest.approx(value, abs=0.5)), metric


STOP = """
import sys
from efa.cli import app as cli
from efa.utils import distributed
from efa import train as training

step, steps = training.compute_losses, []

def fail(model, *args, **options):
    steps.append(model.training)
    if distributed.rank() == {rank} and sum(steps) == {at}:
        raise {error}
    return step(model, *args, **options)

if __name__ == "__main__":  # processes that render import this again
    training.compute_losses = fail
    cli.main()
"""


@pytest.mark.parametrize(("rank", "error"), [(1, "KeyError('broken')"), (0, "InputError('broken', hint='x')")])
def test_a_failure_in_one_process_ends_all_and_the_run_goes_on(home, tmp_path, rank, error):
    folder = sharing(home, f"failing-{rank}")
    script = tmp_path / "stop.py"
    script.write_text("from efa.utils.errors import InputError\n" + STOP.format(rank=rank, at=8, error=error))
    failed = run(folder, *LAUNCH, str(script))
    assert failed.returncode != 0
    assert "broken" in failed.stderr
    (asked,) = select("6/EFA", "smoke", (0,), CALM)
    with tiny.home(folder):
        assert state_of(asked) == "interrupted"
    again = run(folder, *LAUNCH, "-m", "efa")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("resumed after epoch 1") == 1
    with tiny.home(folder):
        assert state_of(asked) == "done"


def test_only_a_training_is_for_several_processes(tmp_path):
    done = start(tmp_path, *LAUNCH, "-m", "efa", "status", "6")
    assert done.returncode != 0
    assert done.stderr.count("efa: several processes can share a training only") == 1
