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
from test_grid import make_run

import efa_cluster
from efa.cli import grid as cli_grid
from efa.launch import grid
from efa.launch.child import describe_job
from efa.utils.errors import InputError

with_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason=f"Ray is not installed; {efa_cluster.MISSING}"
)
RAY = ("--executor", "ray", "--jobs", "2")


def test_without_ray_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    cluster = cli_grid.select_cluster("ray", 2, None, None, None)
    assert cluster
    with pytest.raises(InputError, match=r"Ray is not installed .*\[cluster\]"), cluster:
        pass


def test_a_machine_without_the_folder_writes_nothing(home):
    description = describe_job(make_run("EFA")) | {"home": str(home / "elsewhere")}
    (end,) = efa_cluster.run_on_machine(description, str(home), str(home / "elsewhere" / "runs" / ".grid-1"))
    assert isinstance(end, dict)
    assert end["kind"] == "mistake"
    assert f"does not see {home / 'elsewhere'}" in end["message"]
    assert not list(home.iterdir())


@with_ray
@pytest.mark.slow
def test_ray_gives_what_one_and_two_at_a_time_give(tmp_path):
    options = {"serial": ("--jobs", "1"), "two": ("--jobs", "2"), "ray": RAY}
    output = {name: grids.complete(tmp_path / name, "6", *jobs, training__epochs=1) for name, jobs in options.items()}
    assert "Traceback" not in output["ray"]
    assert not [line for line in output["ray"].splitlines() if "ray" in line.lower() or "warning" in line.lower()]
    assert output["ray"].count('"epoch"') == output["ray"].count("/9] 6/") == 9  # every report came back
    assert not list((tmp_path / "ray" / "runs").glob(".*"))
    scores = set()
    for name in options:
        grids.assert_same(tmp_path / name, tmp_path / "serial")
        publish = [sys.executable, "-m", "efa", "publish", "6", "--preset", "smoke", "--to", str(tmp_path / "out")]
        where = {"EFA_HOME": str(tmp_path / name), "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([*publish, *grids.options(training__epochs=1)], env=os.environ | where, check=True)
        scores.add((tmp_path / "out" / "scores.csv").read_bytes())
    assert len(scores) == 1
    assert len(scores.pop().splitlines()) > 9 * 10


@with_ray
@pytest.mark.slow
def test_ctrl_c_ends_the_cluster_and_the_command_resumes(tmp_path):
    command = ("6/EFA", "--seeds", "0,1")
    grids.complete(tmp_path / "reference", *command, "--jobs", "1")
    process = grids.Grid(tmp_path / "home", *command, *RAY)
    assert process.until(lambda: process.files("resume.pt"))
    below = dict(grids.processes(process.process.pid))
    assert sum("efa.launch.child" in line for line in below.values()) == 2
    process.signal(signal.SIGINT)
    status, output = process.wait(60)
    assert status == 130, output
    assert "Traceback" not in output
    assert output.splitlines()[-1] == grids.INTERRUPTED
    assert not grids.partial_files(tmp_path / "home")
    end = time.monotonic() + 20
    while any(map(is_running, below)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [line for child, line in below.items() if is_running(child)]
    assert "resumed after epoch" in grids.complete(tmp_path / "home", *command, *RAY)
    grids.assert_same(tmp_path / "home", tmp_path / "reference")


def is_running(child: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "retries", "message"),
    [
        ("ray::run_on_machine", 1, "its process on the cluster died"),
        ("ray::run_on_machine", 0, "its process on the cluster died"),
        ("efa.launch.child", 1, "its process was ended by SIGKILL"),
    ],
)
def test_a_killed_worker_or_child_is_replaced(tmp_path, victim, retries, message):
    process = grids.Grid(tmp_path / "home", "6/EFA", "--seeds", "0,1", *RAY, "--retries", str(retries))
    assert process.until(lambda: process.files("resume.pt"))
    os.kill(next(child for child, line in grids.processes(process.process.pid) if victim in line), signal.SIGKILL)
    status, output = process.wait()
    assert status == 1 - retries, output
    assert "Traceback" not in output
    assert output.count(message) == 1
    assert ("started again" in output) == bool(retries)
    assert len(process.files("scores.json")) == 1 + retries


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--gpus-per-run", "64"), "no machine of this Ray cluster has 1 cores and 64 GPU"),
        (("--ray-address", "127.0.0.1:9"), "no Ray cluster at '127.0.0.1:9'"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_one_line(tmp_path, arguments, hint):
    status, output = grids.Grid(tmp_path / "home", "6/EFA", *RAY, *arguments).wait()
    assert status == 2, output
    assert hint in grids.only_error(output)


@with_ray
@pytest.mark.slow
def test_failed_runs_are_listed_and_others_finish(tmp_path):
    runs = [make_run("EFA"), make_run("Q-text", training__epochs=4, training__head_lr=1e30)]
    with tiny.home(tmp_path):
        outcomes = grid.execute_all(runs, 2, cluster=cli_grid.select_cluster("ray", 2, None, None, None))
    assert [getattr(outcome, "kind", "done") for outcome in outcomes] == ["done", "diverged"]
