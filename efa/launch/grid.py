"""Many runs: one after the other, several at a time in processes of their own, or over a Ray cluster.

A small model gains little from a second thread, so a laptop trains two rows on two cores in hardly more time than one.
A run that fails does not stop the others. What is finished stays, and what was interrupted goes on from its last epoch
when it is asked for again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch

from efa.baselines.inputs import prepare
from efa.data.loader import Progress
from efa.launch.jobs import Failure, Job, Outcome, StoppedError, attempt, failure
from efa.launch.local import News, Processes
from efa.train import Report
from efa.utils import distributed, paths
from efa.utils.files import tidy, write_safely

__all__ = ["Failure", "Job", "Outcome", "Pool", "Processes", "StoppedError", "cores", "default_jobs", "execute_all"]

MOST = 4  # processes by default: each holds a model, a text encoder and a data set, about 1 GB
RETRIES = 1  # for a run whose process died


class Pool(Protocol):
    """Where runs work: `Processes`, or `grid_ray.RayPool`. A context; leaving it ends what still works."""

    @property
    def size(self) -> int:
        """Runs at a time."""

    def __enter__(self) -> Pool: ...
    def __exit__(self, *_error: object) -> None: ...
    def start(self, i: int, run: Job) -> None: ...
    def news(self) -> Iterator[tuple[int, News]]: ...


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_jobs(runs: Sequence[Job]) -> int:
    """As many runs at a time as there are cores, at most `MOST`, where each keeps to one thread; otherwise one."""
    single = all(run.config.training.threads == 1 for run in runs)
    return max(1, min(MOST, cores(), len(runs))) if single and not torch.cuda.is_available() else 1


def execute_all(
    runs: Sequence[Job],
    jobs: int = 1,
    progress: Progress | None = None,
    begun: Callable[[Job], None] = lambda run: None,
    report: Report = lambda line: None,
    pool: Pool | None = None,
    retries: int = RETRIES,
) -> list[Outcome]:
    """Executes each run, `jobs` at a time: its folder, or why it failed, in the order of the runs.

    Runs with the same key are one run with several labels.

    Args:
        progress: told thousandths of a run done, and of all runs.
        begun: called with a run when it starts.
        report: gets each line of a run's own report; with several jobs lines of different runs alternate.
        pool: where the runs work instead of in `jobs` processes.
        retries: how often a run whose process died is started again, after all others.

    Raises:
        StoppedError: the disk is full or cannot be written, so that no run can go on.
    """
    shares = [0.0] * len(runs)

    def advance(i: int, share: float) -> None:
        shares[i] = share
        if progress:
            progress(round(1000 * sum(shares)), 1000 * len(runs))

    keys: list[str | None] = [None] * len(runs)
    outcomes: list[Outcome | None] = [None] * len(runs)
    for i, run in enumerate(runs):
        try:
            keys[i] = run.key
        except Exception as error:
            outcomes[i] = _kept(failure(run, error))
    able = [i for i in range(len(runs)) if outcomes[i] is None]
    _check_disk([runs[i] for i in able])
    if pool is None and jobs <= 1:
        for i in able:
            begun(runs[i])
            outcomes[i] = _here(runs[i], lambda share, i=i: advance(i, share), report)  # type: ignore[misc]
            advance(i, 1.0)
        return [outcome for outcome in outcomes if outcome is not None]
    first = {keys[i]: i for i in reversed(able)}
    twins = [i for i in able if first[keys[i]] != i]  # wait for their twin, then only add a label
    # Seed by seed, so that runs that work at the same time are of different systems, which share nothing to wait for.
    waiting = sorted((i for i in able if i not in twins), key=lambda i: runs[i].seed)
    tries = dict.fromkeys(waiting, 0)
    running: set[int] = set()
    try:
        with pool or Processes(jobs) as pool:
            _prepare([runs[i] for i in able])
            while waiting or running:
                while waiting and len(running) < pool.size:
                    i = waiting.pop(0)
                    begun(runs[i])
                    pool.start(i, runs[i])
                    running.add(i)
                for i, said in pool.news():
                    if isinstance(said, str):
                        report(said)
                        continue
                    if isinstance(said, float):
                        if i in running:  # else late news of what has ended
                            advance(i, said)
                        continue
                    running.remove(i)
                    if isinstance(said, Failure) and said.kind == "died" and tries[i] < retries:
                        tries[i] += 1
                        report(f"{said}; started again")
                        waiting.append(i)
                        continue
                    outcomes[i] = _kept(said)
                    advance(i, 1.0)
    finally:
        for i in running:
            with contextlib.suppress(OSError):
                tidy(runs[i].folder)
    for i in twins:
        begun(runs[i])
        other = outcomes[first[keys[i]]]
        if isinstance(other, Failure):
            outcomes[i] = Failure(runs[i].label, f"the same run as {other.label}, which failed", other.kind)
        else:
            outcomes[i] = _kept(attempt(runs[i], None, report))
        advance(i, 1.0)
    return [outcome for outcome in outcomes if outcome is not None]


def _prepare(runs: Sequence[Job]) -> None:
    """Renders or decodes, once and with all cores, what the first run would while the others wait."""
    for config in {run.config.data: run.config for run in reversed(runs) if not run.finished}.values():
        with contextlib.suppress(Exception):  # each run that needs it says what is wrong
            prepare(config)


def _here(run: Job, advance: Callable[[float], None], report: Report) -> Outcome:
    return _kept(attempt(run, lambda done, total: advance(done / total), report))


def _kept(outcome: Outcome) -> Outcome:
    """The outcome, unless it ends the grid."""
    if isinstance(outcome, Failure) and outcome.kind == "disk":
        raise StoppedError(outcome.why)
    return outcome


def _check_disk(runs: Sequence[Job]) -> None:
    """Tries to write where the runs will, before an hour of work; StoppedError where that fails."""
    if not distributed.main() or all(run.finished for run in runs):
        return
    probe = paths.runs() / ".probe"
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        write_safely(probe, lambda path: path.write_text("written before a grid starts\n"))
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise StoppedError(f"{probe.parent}: {error.strerror}") from error
