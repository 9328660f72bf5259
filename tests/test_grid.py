"""Several runs at a time: the same results as one after the other, and a run with two names is trained once."""

import pandas as pd
import pytest
import tiny

from efa import grid
from efa.errors import InputError
from efa.runs import Run, scores_of, state_of


def asked(row: str, seed: int = 0, table: str = "6", **changes) -> Run:
    return Run(table, row, seed, tiny.config(training__epochs=1, training__seed=seed, **changes))


def test_jobs_are_as_many_as_cores_where_a_run_keeps_to_one_thread(monkeypatch):
    monkeypatch.setattr(grid, "cores", lambda: 2)
    several = [asked("EFA", seed) for seed in range(3)]
    assert grid.default_jobs(several) == 2
    assert grid.default_jobs(several[:1]) == 1
    assert grid.default_jobs([*several, asked("Add", training__threads=0)]) == 1
    monkeypatch.setattr(grid, "cores", lambda: 64)
    assert grid.default_jobs(several * 10) == grid.MOST


def test_one_after_the_other_tells_what_begins_and_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "execute", lambda run, progress, report: progress(1, 2) or report("line") or tmp_path)
    runs, seen, begun, lines = [asked("EFA"), asked("Add")], [], [], []
    folders = grid.execute_all(runs, 1, lambda done, total: seen.append((done, total)), begun.append, lines.append)
    assert folders == [tmp_path, tmp_path]
    assert begun == runs
    assert lines == ["line", "line"]
    assert seen == [(500, 2000), (1000, 2000), (1500, 2000), (2000, 2000)]


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
def test_an_error_in_one_run_ends_the_grid_in_one_line_and_keeps_the_finished(tmp_path):
    good, bad = asked("EFA"), asked("Add", data__source=str(tmp_path / "nowhere"))
    with tiny.home(tmp_path), pytest.raises(InputError):
        grid.execute_all([good, bad], 2)
    assert state_of(good) in ("done", "missing", "interrupted")
