"""Several runs at a time: the same results as one after the other, and a run that fails stops no other."""

import errno
import os
import signal
from pathlib import Path

import grids
import pandas as pd
import pytest
import tiny

from efa.cli import grid as cli_grid
from efa.launch import grid
from efa.launch.child import KEEP_MEMORY, children, describe_job
from efa.launch.grid import Failure, describe_failure
from efa.runs import Run, scores_of, state_of
from efa.utils.errors import InputError


def make_run(row: str, seed: int = 0, table: str = "6", **changes) -> Run:
    return Run(table, row, seed, tiny.config(**{"training__epochs": 1, "training__seed": seed} | changes))


class ScriptedRun(Run):
    """Trains nothing: what its process does is the name of its row."""

    def execute(self, progress=None, report=None) -> Path:
        print("what libraries print is no message")
        report(f"{self.row} in process {os.getpid()}")
        if self.row == "died":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.row == "waiting":
            signal.pause()
        if self.row in ERRORS:
            raise ERRORS[self.row]
        return self.folder


ERRORS = {
    "mistake": InputError("a mistake"),
    "error": ValueError("nobody\nexpected this"),
    "diverged": FloatingPointError("nan"),
    "disk": OSError(errno.ENOSPC, "No space left on device", "resume.pt"),
}


def scripted(*rows: str) -> list[Run]:
    """One run per row, each with a seed of its own."""
    return [ScriptedRun("6", row, i, tiny.config(training__seed=i)) for i, row in enumerate(rows)]


def test_default_jobs_is_one_per_core_for_single_threads(monkeypatch):
    monkeypatch.setattr(grid, "available_cores", lambda: 2)
    several = [make_run("EFA", seed) for seed in range(3)]
    assert grid.default_jobs(several) == 2
    assert grid.default_jobs(several[:1]) == 1
    assert grid.default_jobs([*several, make_run("Add", training__threads=0)]) == 1
    monkeypatch.setattr(grid, "available_cores", lambda: 64)
    assert grid.default_jobs(several * 10) == grid.MAX_JOBS


def test_serial_runs_report_start_and_progress(home, monkeypatch):
    monkeypatch.setattr(Run, "execute", lambda run, progress, report: progress(1, 2) or report("line") or home)
    seen, lines = [], []
    folders = grid.execute_all(
        [make_run("EFA"), make_run("Add")], 1, lambda done, total: seen.append((done, total)), lines.append
    )
    assert folders == [home, home]
    assert lines == ["[1/2] 6/EFA seed 0", "    line", "[2/2] 6/Add seed 0", "    line"]
    assert seen == [(500, 2000), (1000, 2000), (1500, 2000), (2000, 2000)]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (InputError("no such file", file="a.csv"), "mistake", "a.csv: no such file"),
        (FloatingPointError("the loss is nan in epoch 1"), "diverged", "training diverged: the loss is nan in epoch 1"),
        (OSError(errno.ENOSPC, "No space left on device", "a.pt"), "disk", "a.pt: No space left on device"),
        (OSError(errno.EROFS, "Read-only file system"), "disk", "Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "a\nb"), "mistake", "a b: Permission denied"),
        (MemoryError(), "error", "out of memory"),
        (RuntimeError("[x] DefaultCPUAllocator: can't allocate memory: 4\nmore"), "error", "out of memory: [x]"),
        (KeyError("surprise\x1b"), "error", "KeyError: 'surprise\\x1b'"),
    ],
)
def test_every_error_becomes_one_printable_line(home, error, kind, message):
    failure = describe_failure(make_run("EFA"), error)
    assert (failure.label, failure.kind) == ("6/EFA seed 0", kind)
    assert failure.message.startswith(message)
    assert str(failure).isprintable()


@pytest.mark.parametrize("jobs", [1, 2])
def test_failures_are_listed_and_the_other_runs_finish(home, jobs):
    kinds = ["error", "good", "mistake", "diverged"] if jobs == 1 else ["error", "good"]  # a process each: seconds
    runs = [*scripted(*kinds), make_run("Add", data__source=str(home / "nowhere"))]
    runs.append(ScriptedRun("4", "twin", 0, runs[0].config))
    runs[0].folder.mkdir(parents=True)
    lines: list[str] = []
    outcomes = grid.execute_all(runs[: len(runs) if jobs > 1 else -1], jobs, report=lines.append)
    expected = [kind.replace("good", "done") for kind in kinds] + ["mistake", "error"]
    assert [getattr(outcome, "kind", "done") for outcome in outcomes] == expected[: len(outcomes)]
    traceback = runs[0].folder / "error.txt"
    assert outcomes[0] == Failure("6/error seed 0", f"ValueError: nobody (traceback in {traceback})")
    assert "raise ERRORS" in traceback.read_text()
    assert outcomes[1] == runs[1].folder
    pids = {line.split()[-1] for line in lines if " in process " in line}
    assert len(pids) == jobs  # each run in a process of its own, or all in this one
    assert (str(os.getpid()) in pids) == (jobs == 1)
    assert jobs == 1 or "the same run as 6/error" in str(outcomes[-1])


@pytest.mark.slow
@pytest.mark.parametrize("retries", [1, 0])
def test_a_run_whose_process_dies_is_retried_and_named(home, retries):
    lines: list[str] = []
    outcomes = grid.execute_all(scripted("died", "good"), 2, report=lines.append, retries=retries)
    assert isinstance(outcomes[0], Failure)
    assert outcomes[0].kind == "died"
    assert "was ended by SIGKILL" in outcomes[0].message
    assert isinstance(outcomes[1], Path)
    assert sum("died in process" in line for line in lines) == 1 + retries
    assert sum(line.endswith("; started again") for line in lines) == retries


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_ends_the_grid(home, jobs):
    lines: list[str] = []
    with pytest.raises(grid.GridStoppedError, match=r"resume\.pt: No space left"):
        grid.execute_all(scripted("disk", "good" if jobs == 1 else "waiting", "good"), jobs, report=lines.append)
    assert not any("good in process" in line for line in lines)
    assert not any("efa.launch.child" in line for _, line in grids.processes(os.getpid()))


def test_a_folder_that_cannot_be_written_ends_the_grid_first(home):
    (home / "runs").write_text("a file")
    with pytest.raises(grid.GridStoppedError, match="runs"):
        grid.execute_all([make_run("EFA")])


def test_a_child_takes_run_after_run_until_one_fails(home):
    with children() as launch:
        ends = [list(launch(describe_job(run))) for run in scripted("good", "good", "mistake", "good")]
        said = [next(m for m in messages if " in process " in str(m)) for messages in ends]
        pids = [line.split()[-1] for line in said]
        assert f"GLIBC_TUNABLES={KEEP_MEMORY[:20]}".encode() in Path(f"/proc/{pids[3]}/environ").read_bytes()
        refused = next(m for m in launch(describe_job(scripted("good")[0]) | {"key": "another"}) if isinstance(m, dict))
    assert pids[0] == pids[1] == pids[2] != pids[3]
    assert [messages[-1].get("kind") for messages in ends] == [None, None, "mistake", None]
    assert not any("efa.launch.child" in line for _, line in grids.processes(os.getpid()))
    assert refused["kind"] == "mistake"
    assert "other code, data or weights" in refused["message"]
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("slurm", 0, None, None, None), "local or ray"),
        (("local", 0, "auto", None, None), "--ray-address"),
        (("local", 0, None, 1.0, None), "--cpus-per-run"),
        (("local", 0, None, None, 0.0), "--gpus-per-run"),
        (("ray", 0, None, None, 1.5), "a whole number"),
    ],
)
def test_contradictory_executor_options_are_mistakes(arguments, hint):
    with pytest.raises(InputError, match=hint):
        cli_grid.select_cluster(*arguments)
    assert cli_grid.select_cluster("local", 3, None, None, None) is None


@pytest.mark.slow
def test_two_at_a_time_give_what_one_at_a_time_gives(tmp_path):
    rows = [make_run("EFA"), make_run("Add", fusion__merge="add"), make_run("EFA", table="4")]
    rows.append(make_run("C3D", system__name="C3D"))
    found = {}
    for jobs in (1, 2):
        with tiny.home(tmp_path / str(jobs)):
            seen: list[int] = []
            folders = grid.execute_all(rows, jobs, lambda done, total, seen=seen: seen.append(done))
            assert seen[-1] == 1000 * len(rows)
            assert seen == sorted(seen)
            assert folders[0] == folders[2]  # the same run under two names
            assert all(state_of(run) == "done" for run in rows)
            tables = [pd.read_parquet(folder / "predictions.parquet") for folder in folders]
            found[jobs] = [(table, scores_of(run)) for table, run in zip(tables, rows, strict=True)]
    for (table, scores), (other_table, other_scores) in zip(found[1], found[2], strict=True):
        pd.testing.assert_frame_equal(table, other_table)
        assert scores == other_scores


@pytest.mark.slow
def test_a_killed_child_loses_nothing_that_was_saved(tmp_path):
    runs, lines = [make_run("EFA", seed, training__epochs=6) for seed in range(3)], []

    def kill_once(line: str) -> None:
        if '"epoch": 2' in line and not any('"epoch": 2' in before for before in lines):
            os.kill(next(pid for pid, text in grids.processes(os.getpid()) if "launch.child" in text), signal.SIGKILL)
        lines.append(line)

    with tiny.home(tmp_path):
        grid.execute_all(runs, 2, report=kill_once)
        assert all(state_of(run) == "done" for run in runs)
    assert sum(line.endswith("SIGKILL, perhaps because memory ran out; started again") for line in lines) == 1
