"""A real `efa run` against what really happens: Ctrl-C, a full or read-only disk, killed helpers, another process."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grids
import pytest
from grids import Grid, only_error

pytestmark = pytest.mark.slow
ROW = "6/EFA"
SERIAL, PARALLEL = ((ROW, "--seeds", "0,1", "--jobs", jobs) for jobs in "12")
BOTH = pytest.mark.parametrize("command", [SERIAL, PARALLEL], ids=["serial", "parallel"])


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed grid of two runs, and the caches that the others start from."""
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    grids.complete(home, *SERIAL)
    return home


@pytest.fixture
def home(reference: Path, tmp_path: Path) -> Path:
    """A home with the caches of the reference."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".cache").symlink_to(reference / ".cache")
    return tmp_path / "home"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small disk of its own: mount('size=4m'), again with 'remount,ro'."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
        if done.returncode:
            pytest.skip(f"only root may mount a disk here: {done.stderr!r}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True)


def find_java(grid: Grid) -> list[int]:
    return [child for child, line in grids.processes(grid.process.pid) if "meteor" in line]


@BOTH
@pytest.mark.parametrize("when", ["preparing", "training", "scoring"])
def test_ctrl_c_is_one_line_and_the_command_resumes(command, when: str, reference: Path, home: Path) -> None:
    if when == "preparing":
        (home / ".cache").unlink()
    grid = Grid(home, *command)
    moments: dict[str, Callable[[], object]] = {
        "preparing": lambda: any(home.glob(".cache/frames/*.partly")),
        "training": lambda: grid.files("resume.pt"),
        "scoring": lambda: find_java(grid),
    }
    assert grid.until(moments[when])
    grid.signal(signal.SIGINT)
    status, output = grid.wait(30)
    assert status == 130, output
    assert only_error(output) == grids.INTERRUPTED
    assert grid.ends(), list(grids.processes(1))
    assert not grids.partial_files(home)
    output = grids.complete(home, *command)
    assert when != "training" or "resumed after epoch" in output
    grids.assert_same(home, reference)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_children_end_with_the_first_process(number: int, status: int, reference: Path, home: Path) -> None:
    grid = Grid(home, *PARALLEL)
    assert grid.until(lambda: grid.files("resume.pt"))
    os.kill(grid.process.pid, number)  # to this process alone, as Slurm and Kubernetes do
    assert grid.wait(30)[0] == status
    assert grid.ends()
    assert not grids.partial_files(home)
    grids.complete(home, *PARALLEL)
    grids.assert_same(home, reference)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_full_disk_ends_the_grid_on_one_line(jobs: str, reference: Path, home: Path, disk) -> None:
    (home / "runs").symlink_to(disk("size=2500k"))
    grid = Grid(home, ROW, "--seeds", "0,1,2,3", "--jobs", jobs)
    status, output = grid.wait()
    assert status == 1, output
    assert "No space left on device" in only_error(output)
    assert "rerun the same command" in only_error(output)
    assert grid.ends()
    assert not grids.partial_files(home)
    disk("remount,size=100m")
    grids.complete(home, ROW, "--seeds", "0,1", "--jobs", jobs)
    ours = grids.results(home)
    for label, (table, scores) in grids.results(reference).items():
        assert ours[label][0].equals(table)
        assert ours[label][1] == scores


def test_a_limit_of_file_sizes_is_a_full_disk(reference: Path, home: Path) -> None:
    status, output = Grid(home, ROW, "--jobs", "1", limit=200 * 1024).wait()
    assert status == 1, output
    assert "File too large" in only_error(output)
    assert not grids.partial_files(home)
    grids.complete(home, *SERIAL)
    grids.assert_same(home, reference)


def test_a_read_only_folder_ends_the_grid_on_one_line(home: Path, disk) -> None:
    folder = disk("size=4m")
    (home / "runs").symlink_to(folder)
    disk("remount,ro")
    status, output = Grid(home, ROW, "--jobs", "1").wait()
    assert status == 1, output
    assert "runs: Read-only file system" in only_error(output)
    assert not list(folder.iterdir())


def test_a_file_where_runs_should_be_ends_the_grid(home: Path) -> None:
    (home / "runs").write_text("not a folder")
    status, output = Grid(home, *PARALLEL).wait()
    assert status == 1, output
    assert "runs" in only_error(output)
    assert {path.name for path in home.iterdir()} == {"runs", ".cache"}


def test_two_processes_share_a_run(reference: Path, home: Path, tmp_path: Path) -> None:
    first = Grid(home, *SERIAL)
    assert first.until(lambda: first.files("resume.pt"))
    first.log = first.log.rename(tmp_path / "first.log")
    second = Grid(home, *SERIAL)
    assert second.until(lambda: "another process works on this run" in second.output())
    for grid in (first, second):
        assert grid.wait()[0] == 0, grid.output()
    trained = [grid.output().count('"epoch"') for grid in (first, second)]
    assert sum(trained) == 2 * grids.SMALL["training.epochs"]  # each run's epochs once
    grids.assert_same(home, reference)


def test_a_killed_java_loses_no_score(reference: Path, home: Path) -> None:
    grid = Grid(home, *SERIAL)
    assert grid.until(lambda: find_java(grid))
    time.sleep(0.3)
    os.kill(find_java(grid)[0], signal.SIGKILL)
    status, output = grid.wait()
    assert status == 0, output
    grids.assert_same(home, reference)


def test_a_java_that_always_dies_is_one_line_per_run(reference: Path, home: Path) -> None:
    grid = Grid(home, *SERIAL)
    while grid.process.poll() is None:
        for child in find_java(grid):
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    status, output = grid.wait()
    assert status == 2, output
    lines = [line for line in output.splitlines() if line.startswith("efa: ")]
    assert ["METEOR (Java) failed" in line for line in lines] == [True, True]
    assert "Traceback" not in output
    assert len(grid.files("predictions.parquet")) == 2
    assert '"epoch"' not in grids.complete(home, *SERIAL)  # nothing is trained again
    grids.assert_same(home, reference)


def test_diverged_runs_are_listed_and_others_finish(home: Path) -> None:
    status, output = Grid(home, *PARALLEL, training__head_lr=1e30).wait()
    assert status == 1, output
    lines = [line for line in output.splitlines() if line.startswith("efa: ")]
    assert ["loss is" in line or "diverge" in line for line in lines] == [True, True]
    assert "Traceback" not in output


@pytest.mark.parametrize("name", ["resume.pt", "predictions.parquet", "scores.json", "provenance.json"])
def test_a_truncated_file_is_reported_and_made_again(name: str, reference: Path, home: Path) -> None:
    grid = Grid(home, *SERIAL)
    if name == "resume.pt":
        assert grid.until(lambda: grid.files(name))
        grid.kill()
    assert grid.wait()[0] in (0, -signal.SIGKILL)
    file = grid.files(name)[0]
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    output = grids.complete(home, *SERIAL)
    assert sum(line.strip().startswith(f"{name} cannot be read") for line in output.splitlines()) == 1
    assert all(json.loads(path.read_text()) for path in home.glob("runs/*/*.json"))
    grids.assert_same(home, reference)
