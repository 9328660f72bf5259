"""Runs over a Ray cluster. What needs Ray starts a local one, and is skipped where it is not installed."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grids
import pytest
import tiny
import torch
from test_grid import asked

from efa.cli import grid as cli_run
from efa.launch import grid
from efa.launch import ray_cluster as grid_ray
from efa.launch.jobs import Failure
from efa.utils.errors import InputError

with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason=f"Ray is not installed; {grid_ray.MISSING}"
)
ROOT = Path(__file__).resolve().parents[1]
RAY = ("--executor", "ray", "--jobs", "2")


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch):
    """A worker of Ray's sets its own process up: folder, threads, environment. Here that is the tests' process."""
    before = dict(os.environ)
    threads = torch.get_num_threads()
    monkeypatch.chdir(Path.cwd())
    yield
    os.environ.clear()
    os.environ.update(before)
    torch.set_num_threads(threads)


def test_without_ray_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    pool = cli_run.pool_of("ray", 2, None, None, None)
    assert pool
    with pytest.raises(InputError, match=r"Ray is not installed .*\[cluster\]"):
        pool.__enter__()


@pytest.mark.parametrize(
    ("machine", "cpus", "gpus", "runs"),
    [
        ({"CPU": 8.0}, 1, 0, 8),
        ({"CPU": 8.0}, 3, 0, 2),
        ({"CPU": 2.0}, 0.1, 0, 20),
        ({"CPU": 2.0}, 4, 0, 0),
        ({"CPU": 8.0}, 1, 1, 0),
        ({"CPU": 64.0, "GPU": 8.0}, 4, 2, 4),
        ({"CPU": 64.0, "GPU": 2.0}, 1, 0.25, 8),
        ({"CPU": 64.0, "GPU": 2.0}, 1, 0.4, 4),  # two on each; no run lies on both
        ({"CPU": 4.0, "GPU": 8.0}, 1, 0.25, 4),
    ],
)
def test_a_machine_holds_as_many_runs_as_its_cores_and_gpus_allow(machine, cpus, gpus, runs):
    assert grid_ray.slots(machine, cpus, gpus) == runs


class Nobody:
    """A mailbox that nobody reads."""

    class put:  # noqa: N801
        @staticmethod
        def remote(*_said: object) -> None:
            pass


def test_a_machine_without_the_folder_or_with_other_code_writes_nothing(home, monkeypatch):
    run = asked("EFA")
    monkeypatch.setattr(grid_ray, "attempt", lambda *_: pytest.fail("it began"))
    elsewhere = home / "elsewhere"
    unseen = grid_ray._work(0, run, run.key, (str(home), str(elsewhere), ".grid-1", 1), Nobody)
    assert isinstance(unseen, Failure)
    assert f"does not see {elsewhere}" in unseen.why
    (home / "runs").mkdir()
    (home / "runs" / ".grid-1").touch()
    other = grid_ray._work(0, run, "another key", (str(home), str(home), ".grid-1", 1), Nobody)
    assert isinstance(other, Failure)
    assert "other code, data or weights" in other.why
    assert {unseen.kind, other.kind} == {"mistake"}
    assert not elsewhere.exists()
    assert [path.name for path in (home / "runs").iterdir()] == [".grid-1"]


# --- with Ray ------------------------------------------------------------------------------------------------------


def start(home: Path, *arguments: str, **changes: object) -> grids.Grid:
    return grids.Grid(home, *arguments, *RAY, **changes)  # type: ignore[arg-type]


@with_ray
@pytest.mark.slow
def test_ray_gives_what_one_at_a_time_and_two_at_a_time_give(tmp_path):
    grids.complete(tmp_path / "serial", "6", "--jobs", "1", training__epochs=1)
    grids.complete(tmp_path / "two", "6", "--jobs", "2", training__epochs=1)
    status, said = start(tmp_path / "ray", "6", training__epochs=1).wait()
    assert status == 0, said
    assert "Traceback" not in said
    assert not [line for line in said.splitlines() if "ray" in line.lower() or "warning" in line.lower()], said
    assert said.count('"epoch"') == 9  # every report came back
    assert [path.name for path in (tmp_path / "ray" / "runs").glob(".*")] == []
    files = {}
    for name in ("serial", "two", "ray"):
        grids.assert_same(tmp_path / name, tmp_path / "serial")
        publish = [
            sys.executable,
            "-m",
            "efa",
            "publish",
            "6",
            "--preset",
            "smoke",
            "--to",
            str(tmp_path / f"{name}-out"),
        ]
        where = {"EFA_HOME": str(tmp_path / name), "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([*publish, *grids.options(training__epochs=1)], cwd=ROOT, env=os.environ | where, check=True)
        files[name] = (tmp_path / f"{name}-out" / "scores.csv").read_bytes()
    assert len(files["serial"].splitlines()) > 9 * 10
    assert files["serial"] == files["two"] == files["ray"]


@with_ray
@pytest.mark.slow
def test_ctrl_c_ends_a_cluster_of_its_own_and_the_same_command_goes_on(tmp_path):
    command = ("6/EFA", "--seeds", "0,1")
    grids.complete(tmp_path / "reference", *command, "--jobs", "1")
    grid = start(tmp_path / "home", *command)
    assert grid.until(lambda: grid.files("resume.pt"))
    below = dict(grids.processes(grid.process.pid))
    grid.signal(signal.SIGINT)
    status, said = grid.wait(60)
    assert status == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "efa: interrupted; the same command goes on where it stopped"
    assert not grids.leftovers(tmp_path / "home")
    end = time.monotonic() + 20
    while any(map(_runs, below)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [line for child, line in below.items() if _runs(child)]
    status, said = start(tmp_path / "home", *command).wait()
    assert status == 0, said
    assert "resumed after epoch" in said
    grids.assert_same(tmp_path / "home", tmp_path / "reference")


def _runs(child: int) -> bool:
    """Whether a process is there that is not merely waiting to be asked for its exit status."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize("retries", [1, 0])
def test_a_worker_that_is_killed_is_replaced_and_its_run_goes_on(tmp_path, retries):
    grid = start(tmp_path / "home", "6/EFA", "--seeds", "0,1", "--retries", str(retries))
    assert grid.until(lambda: grid.files("resume.pt"))
    busy = [child for child, line in grids.processes(grid.process.pid) if line.startswith("ray::_work")]
    os.kill(busy[0], signal.SIGKILL)
    status, said = grid.wait()
    assert status == 1 - retries, said
    assert "Traceback" not in said
    assert said.count("its process on the cluster died") == 1
    assert ("started again" in said) == bool(retries)
    assert len(grid.files("scores.json")) == 1 + retries


@with_ray
@pytest.mark.slow
def test_what_no_machine_has_is_one_line_and_so_is_a_cluster_that_is_not_there(tmp_path):
    for arguments, hint in (
        (("--gpus-per-run", "64"), "no machine of this Ray cluster has 1 cores and 64 GPU"),
        (("--ray-address", "127.0.0.1:9"), "no Ray cluster at '127.0.0.1:9'"),
    ):
        status, said = start(tmp_path / "home", "6/EFA", *arguments).wait()
        assert status == 2, said
        (line,) = [line for line in said.splitlines() if line.startswith("efa: ")]
        assert hint in line
        assert "Traceback" not in said


@with_ray
@pytest.mark.slow
def test_runs_that_fail_are_listed_and_others_finish(tmp_path):
    runs = [asked("EFA"), asked("Q-text", training__epochs=4, training__head_lr=1e30)]
    with tiny.home(tmp_path):
        found = grid.execute_all(runs, pool=cli_run.pool_of("ray", 2, None, None, None))
    assert [getattr(one, "kind", "done") for one in found] == ["done", "diverged"]
