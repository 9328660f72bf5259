"""A grid that is killed (SIGKILL, every process at once) at twenty moments ends with what an undisturbed one gives."""

import random
import time
from collections import Counter
from pathlib import Path

import grids
import pytest

KILLS = 20
GRID = ("standards", "--jobs", "2")  # three rows, of which EFA predicts under four protocols
ROWS = {"training__epochs": 12}
PHASES = ("preparing", "training", "predicting", "scoring", "writing")


def phases(grid: grids.Grid) -> set[str]:
    """What its runs are doing, judged by the files in their folders."""
    found = {"writing"} if grids.partial_files(grid.home) else set()
    folders = [lock.parent for lock in grid.files(".lock")]
    if not folders:
        found.add("rendering" if (grid.home / ".cache").is_dir() else "starting")
    for folder in folders:
        has = {path.name for path in folder.iterdir()}
        if "provenance.json" not in has:
            found.add("training" if "resume.pt" in has else "preparing")
        elif "predictions.parquet" not in has:
            found.add("predicting")
        elif "scores.json" not in has:
            found.add("scoring")
    return found


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    grids.complete(tmp_path / "reference", *GRID, **ROWS)
    whole = time.monotonic() - started
    draw = random.Random(20260)
    # Half of the moments are drawn, over what an undisturbed grid takes; half wait for a phase that is soon over.
    plan: list[float | str] = [draw.uniform(0.1, 0.7) * whole for _ in range(KILLS // 2)]
    plan += [PHASES[i % len(PHASES)] for i in range(KILLS - len(plan))]
    draw.shuffle(plan)
    hit: Counter[str] = Counter()
    kills = rounds = resumed = 0
    while kills < KILLS:
        rounds += 1
        home = tmp_path / f"round-{rounds}"
        while kills < KILLS:
            moment, begun = plan[kills], time.monotonic()
            grid = grids.Grid(home, *GRID, **ROWS)
            if isinstance(moment, str):
                reached = grid.until(lambda grid=grid, moment=moment: moment in phases(grid), pause=0.002)
            else:
                reached = grid.until(lambda end=begun + moment: time.monotonic() >= end)
            if not reached:  # finished before: the machine is faster now than it was at first
                plan[kills] = moment if isinstance(moment, str) else moment / 2
                break
            hit.update(phases(grid) or {"between"})
            grid.kill()
            kills += 1
            resumed += grid.output().count("resumed after epoch")
        output = grids.complete(home, *GRID, **ROWS)
        assert "Traceback" not in output
        resumed += output.count("resumed after epoch")
        grids.assert_same(home, tmp_path / "reference")
        assert not grids.partial_files(home)
    seconds = time.monotonic() - started
    with capsys.disabled():
        print(f"\n{kills} kills in {rounds} rounds, {seconds:.0f} s (alone {whole:.0f} s), {resumed} resumed, {hit}")
    assert set(PHASES) <= set(hit)
    assert resumed
