"""Several runs at a time: the same results as one after the other, and a run that fails stops no other."""

import errno
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import tiny

from efa.cli import grid as cli_run
from efa.launch import grid
from efa.launch.jobs import Failure, failure
from efa.runs import Run, scores_of, state_of
from efa.utils.errors import InputError


def asked(row: str, seed: int = 0, table: str = "6", **changes) -> Run:
    return Run(table, row, seed, tiny.config(**{"training__epochs": 1, "training__seed": seed} | changes))


def test_jobs_are_as_many_as_cores_where_a_run_keeps_to_one_thread(monkeypatch):
    monkeypatch.setattr(grid, "cores", lambda: 2)
    several = [asked("EFA", seed) for seed in range(3)]
    assert grid.default_jobs(several) == 2
    assert grid.default_jobs(several[:1]) == 1
    assert grid.default_jobs([*several, asked("Add", training__threads=0)]) == 1
    monkeypatch.setattr(grid, "cores", lambda: 64)
    assert grid.default_jobs(several * 10) == grid.MOST


def test_one_after_the_other_tells_what_begins_and_how_far_it_is(home, monkeypatch):
    monkeypatch.setattr(Run, "execute", lambda run, progress, report: progress(1, 2) or report("line") or home)
    runs, seen, begun, lines = [asked("EFA"), asked("Add")], [], [], []
    folders = grid.execute_all(runs, 1, lambda done, total: seen.append((done, total)), begun.append, lines.append)
    assert folders == [home, home]
    assert begun == runs
    assert lines == ["line", "line"]
    assert seen == [(500, 2000), (1000, 2000), (1500, 2000), (2000, 2000)]


ERRORS = [
    (InputError("no such file", file="a.csv"), "mistake", "a.csv: no such file"),
    (FloatingPointError("the loss is nan in epoch 1"), "diverged", "training diverged: the loss is nan in epoch 1"),
    (OSError(errno.ENOSPC, "No space left on device", "a.pt"), "disk", "a.pt: No space left on device"),
    (OSError(errno.EROFS, "Read-only file system"), "disk", "Read-only file system"),
    (PermissionError(errno.EACCES, "Permission denied", "a\nb"), "mistake", "a b: Permission denied"),
    (MemoryError(), "error", "out of memory"),
    (RuntimeError("[x] DefaultCPUAllocator: can't allocate memory: 4 bytes.\nmore"), "error", "out of memory: [x]"),
    (KeyError("surprise\x1b"), "error", "KeyError: 'surprise\\x1b'"),
]


@pytest.mark.parametrize(("error", "kind", "said"), ERRORS)
def test_every_error_is_one_line_in_a_readers_words(home, error, kind, said):
    found = failure(asked("EFA"), error)
    assert (found.label, found.kind) == ("6/EFA seed 0", kind)
    assert found.why.startswith(said)
    assert str(found).isprintable()


def test_one_error_after_the_other_is_listed_and_the_rest_goes_on(home, monkeypatch):
    runs = [asked("EFA", seed) for seed in range(4)]

    def execute(run: Run, progress, report) -> Path:
        if run.seed < 3:
            raise [ValueError("nobody\nexpected this"), InputError("a mistake"), FloatingPointError("nan")][run.seed]
        return run.folder

    monkeypatch.setattr(Run, "execute", execute)
    runs[0].folder.mkdir(parents=True)
    found = grid.execute_all(runs)
    assert [getattr(one, "kind", "done") for one in found] == ["error", "mistake", "diverged", "done"]
    told = runs[0].folder / "error.txt"
    assert found[0] == Failure("6/EFA seed 0", f"ValueError: nobody (traceback in {told})")
    assert "raise [ValueError" in told.read_text()


def test_a_run_whose_key_cannot_be_made_is_listed_too(home, monkeypatch):
    monkeypatch.setattr(Run, "execute", lambda run, progress, report: run.folder)
    bad, good = asked("Add", data__source=str(home / "nowhere")), asked("EFA")
    found = grid.execute_all([bad, good])
    assert isinstance(found[0], Failure)
    assert found[0].kind == "mistake"
    assert found[1] == good.folder


def test_a_full_disk_ends_the_grid(home, monkeypatch):
    tried = []

    def execute(run: Run, progress, report) -> Path:
        tried.append(run.seed)
        raise OSError(errno.ENOSPC, "No space left on device", str(run.folder / "resume.pt"))

    monkeypatch.setattr(Run, "execute", execute)
    with pytest.raises(grid.StoppedError, match=r"resume\.pt: No space left"):
        grid.execute_all([asked("EFA", seed) for seed in range(3)])
    assert tried == [0]


def test_a_folder_that_cannot_be_written_ends_the_grid_before_any_work(home):
    (home / "runs").write_text("a file")
    with pytest.raises(grid.StoppedError, match="runs"):
        grid.execute_all([asked("EFA")])


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
def test_where_runs_shall_work_must_be_clear(arguments, hint):
    with pytest.raises(InputError, match=hint):
        cli_run.pool_of(*arguments)
    assert cli_run.pool_of("local", 3, None, None, None) is None


@pytest.mark.slow
def test_two_at_a_time_give_what_one_at_a_time_gives(tmp_path):
    rows = [asked("EFA"), asked("Add", fusion__merge="add"), asked("EFA", table="4"), asked("C3D", system__name="C3D")]
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
    for (table, scores), (again, same) in zip(found[1], found[2], strict=True):
        pd.testing.assert_frame_equal(table, again)
        assert scores == same


@pytest.mark.slow
def test_errors_of_two_at_a_time_are_listed_and_twins_share_them(tmp_path):
    runs = [
        asked("EFA"),
        asked("Add", data__source=str(tmp_path / "nowhere")),
        asked("Q-text", training__epochs=4, training__head_lr=1e30),
        asked("Q-text", table="4", training__epochs=4, training__head_lr=1e30),
    ]
    with tiny.home(tmp_path):
        found = grid.execute_all(runs, 2)
        assert [getattr(one, "kind", "done") for one in found] == ["done", "mistake", "diverged", "diverged"]
        assert state_of(runs[0]) == "done"
    assert "the same run as 6/Q-text" in str(found[3])


@pytest.mark.slow
@pytest.mark.parametrize("retries", [1, 0])
def test_a_killed_process_loses_its_own_run_at_most(tmp_path, retries):
    runs = [asked("EFA", seed, training__epochs=6) for seed in range(3)]
    killed, lines = [], []

    def kill(line: str) -> None:
        lines.append(line)
        if '"epoch": 2' in line and not killed:
            killed.append(multiprocessing.active_children()[0])
            os.kill(killed[0].pid, signal.SIGKILL)

    with tiny.home(tmp_path):
        found = grid.execute_all(runs, 2, report=kill, retries=retries)
        failed = [one for one in found if isinstance(one, Failure)]
        assert len(failed) == 1 - retries
        assert all(one.kind == "died" and "SIGKILL" in one.why for one in failed)
        assert sum(state_of(run) == "done" for run in runs) == 2 + retries
        assert any(line.endswith("started again") for line in lines) == bool(retries)
        assert not multiprocessing.active_children()
        for run, one in zip(runs, found, strict=True):
            if isinstance(one, Path):
                assert json.loads((one / "provenance.json").read_text())["key"] == run.key
