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

pytestmark = pytest.mark.slow
ROW = "6/EFA"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed grid of two runs, and the caches that the others start from."""
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    grids.complete(home, ROW, "--seeds", "0,1", "--jobs", "1")
    return home


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small disk of its own: mount('size=4m'), again with 'remount,ro'."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"only root may mount a disk here: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], capture_output=True)


def only_line(said: str) -> str:
    """The one line that says why a grid ended."""
    assert "Traceback" not in said, said
    (line,) = [line for line in said.splitlines() if line.startswith("efa: ")]
    return line


def with_caches_of(reference: Path, home: Path) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    (home / ".cache").symlink_to(reference / ".cache")
    return home


def gone(grid: grids.Grid) -> bool:
    """Whether every process of the group ends soon after the first."""
    end = time.monotonic() + 15
    while grid.alive() and time.monotonic() < end:
        time.sleep(0.05)
    return not grid.alive()


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("when", ["preparing", "training", "scoring"])
def test_ctrl_c_is_one_line_and_the_same_command_goes_on(jobs: str, when: str, reference: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    if when != "preparing":
        with_caches_of(reference, home)
    command = (ROW, "--seeds", "0,1", "--jobs", jobs)
    grid = grids.Grid(home, *command)
    moments: dict[str, Callable[[], object]] = {
        "preparing": lambda: any(home.glob(".cache/frames/*.partly")),
        "training": lambda: grid.files("resume.pt"),
        "scoring": lambda: any("meteor" in line for _, line in grids.processes(grid.process.pid)),
    }
    assert grid.until(moments[when])
    grid.signal(signal.SIGINT)
    status, said = grid.wait(30)
    assert status == 130, said
    assert only_line(said) == "efa: interrupted; the same command goes on where it stopped"
    assert gone(grid), list(grids.processes(1))
    assert not grids.leftovers(home)
    said = grids.complete(home, *command)
    if when == "training":
        assert "resumed after epoch" in said
    grids.assert_same(home, reference)


def test_a_request_to_end_is_taken_for_ctrl_c(reference: Path, tmp_path: Path) -> None:
    home = with_caches_of(reference, tmp_path / "home")
    grid = grids.Grid(home, ROW, "--seeds", "0,1", "--jobs", "2")
    assert grid.until(lambda: grid.files("resume.pt"))
    os.kill(grid.process.pid, signal.SIGTERM)  # as Slurm and Kubernetes do: the first process alone
    assert grid.wait(30)[0] == 130
    assert gone(grid)
    assert not grids.leftovers(home)


def test_helpers_do_not_outlive_a_killed_grid(reference: Path, tmp_path: Path) -> None:
    home = with_caches_of(reference, tmp_path / "home")
    grid = grids.Grid(home, ROW, "--seeds", "0,1", "--jobs", "2")
    assert grid.until(lambda: grid.files("resume.pt"))
    os.kill(grid.process.pid, signal.SIGKILL)
    grid.process.wait()
    assert gone(grid)
    grids.complete(home, ROW, "--seeds", "0,1", "--jobs", "2")
    grids.assert_same(home, reference)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_full_disk_ends_the_grid_on_one_line(jobs: str, reference: Path, tmp_path: Path, disk) -> None:
    home = with_caches_of(reference, tmp_path / "home")
    (home / "runs").symlink_to(disk("size=2500k"))
    grid = grids.Grid(home, ROW, "--seeds", "0,1,2,3", "--jobs", jobs)
    status, said = grid.wait()
    assert status == 1, said
    assert "No space left on device" in only_line(said)
    assert "same command goes on" in only_line(said)
    assert gone(grid)
    assert not grids.leftovers(home)
    disk("remount,size=100m")
    grids.complete(home, ROW, "--seeds", "0,1", "--jobs", jobs)
    for label, (table, scores) in grids.results(reference).items():
        ours = grids.results(home)[label]
        assert ours[0].equals(table)
        assert ours[1] == scores


def test_a_limit_of_file_sizes_does_the_same_without_being_root(reference: Path, tmp_path: Path) -> None:
    home = with_caches_of(reference, tmp_path / "home")
    status, said = grids.Grid(home, ROW, "--jobs", "1", limit=200 * 1024).wait()
    assert status == 1, said
    assert "File too large" in only_line(said)
    assert not grids.leftovers(home)
    grids.complete(home, ROW, "--seeds", "0,1", "--jobs", "1")
    grids.assert_same(home, reference)


def test_a_read_only_folder_ends_the_grid_on_one_line(reference: Path, tmp_path: Path, disk) -> None:
    home = with_caches_of(reference, tmp_path / "home")
    folder = disk("size=4m")
    (home / "runs").symlink_to(folder)
    disk("remount,ro")
    status, said = grids.Grid(home, ROW, "--jobs", "1").wait()
    assert status == 1, said
    assert "Read-only file system" in only_line(said)
    assert "runs" in only_line(said)
    assert not list(folder.iterdir())


def test_a_file_where_the_folder_should_be_ends_the_grid_on_one_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "runs").write_text("not a folder")
    status, said = grids.Grid(home, ROW, "--jobs", "2").wait()
    assert status == 1, said
    assert "runs" in only_line(said)
    assert [path.name for path in home.iterdir()] == ["runs"]


def test_two_processes_share_a_run(reference: Path, tmp_path: Path) -> None:
    home = with_caches_of(reference, tmp_path / "home")
    first = grids.Grid(home, ROW, "--seeds", "0,1", "--jobs", "1")
    assert first.until(lambda: first.files("resume.pt"))
    first.log = first.log.rename(tmp_path / "first.log")
    second = grids.Grid(home, ROW, "--seeds", "0,1", "--jobs", "1")
    assert second.until(lambda: "another process works on this run" in second.said())
    for grid in (first, second):
        assert grid.wait()[0] == 0, grid.said()
    trained = [grid.said().count('"epoch"') for grid in (first, second)]
    assert sum(trained) == 2 * grids.SMALL["training.epochs"]  # each run's epochs once
    grids.assert_same(home, reference)


def test_a_killed_java_loses_no_score(reference: Path, tmp_path: Path) -> None:
    home = with_caches_of(reference, tmp_path / "home")
    grid = grids.Grid(home, ROW, "--seeds", "0,1", "--jobs", "1")

    def java() -> list[int]:
        return [child for child, line in grids.processes(grid.process.pid) if "meteor" in line]

    assert grid.until(java)
    time.sleep(0.3)
    os.kill(java()[0], signal.SIGKILL)
    status, said = grid.wait()
    assert status == 0, said
    grids.assert_same(home, reference)


def test_a_java_that_always_dies_is_one_line_a_run_and_can_be_scored_later(reference: Path, tmp_path: Path) -> None:
    home = with_caches_of(reference, tmp_path / "home")
    grid = grids.Grid(home, ROW, "--seeds", "0,1", "--jobs", "1")
    while grid.process.poll() is None:
        for child, line in grids.processes(grid.process.pid):
            if "meteor" in line:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    status, said = grid.wait()
    assert status == 2, said
    lines = [line for line in said.splitlines() if line.startswith("efa: ")]
    assert len(lines) == 2
    assert all("METEOR (Java) failed" in line for line in lines)
    assert "Traceback" not in said
    assert len(grid.files("predictions.parquet")) == 2
    assert '"epoch"' not in grids.complete(home, ROW, "--seeds", "0,1", "--jobs", "1")  # nothing is trained again
    grids.assert_same(home, reference)


def test_a_run_that_diverges_is_listed_and_the_others_finish(reference: Path, tmp_path: Path) -> None:
    home = with_caches_of(reference, tmp_path / "home")
    status, said = grids.Grid(home, ROW, "--seeds", "0,1", "--jobs", "2", training__head_lr=1e30).wait()
    assert status == 1, said
    lines = [line for line in said.splitlines() if line.startswith("efa: ")]
    assert len(lines) == 2
    assert all("loss is" in line or "diverge" in line for line in lines)
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["resume.pt", "predictions.parquet", "scores.json", "provenance.json"])
def test_a_truncated_file_is_said_on_one_line_and_made_again(name: str, reference: Path, tmp_path: Path) -> None:
    home = with_caches_of(reference, tmp_path / "home")
    if name == "resume.pt":
        grid = grids.Grid(home, ROW, "--seeds", "0,1", "--jobs", "1")
        assert grid.until(lambda: grid.files(name))
        grid.kill()
    else:
        grids.complete(home, ROW, "--seeds", "0,1", "--jobs", "1")
    file = next(home.glob(f"runs/*/{name}"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    said = grids.complete(home, ROW, "--seeds", "0,1", "--jobs", "1")
    assert sum(line.strip().startswith(f"{name} cannot be read") for line in said.splitlines()) == 1
    assert all(json.loads(path.read_text()) for path in home.glob("runs/*/*.json"))
    grids.assert_same(home, reference)
