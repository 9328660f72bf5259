"""Many runs: one after the other, or several at a time in processes of their own.

A small model gains little from a second thread, so a laptop trains two rows on two cores in hardly more time than one.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from queue import Empty
from typing import Any

import torch

from efa.data.loader import Progress
from efa.runs import Run, execute, state_of
from efa.training import Report, prepare

MOST = 4  # processes by default: each holds a model, a text encoder and a data set, about 1 GB
_channel: Any = None


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_jobs(runs: Sequence[Run]) -> int:
    """As many runs at a time as there are cores, at most `MOST`, where each keeps to one thread; otherwise one."""
    single = all(run.config.training.threads == 1 for run in runs)
    return max(1, min(MOST, cores(), len(runs))) if single and not torch.cuda.is_available() else 1


def execute_all(
    runs: Sequence[Run],
    jobs: int = 1,
    progress: Progress | None = None,
    begun: Callable[[Run], None] = lambda run: None,
    report: Report = lambda line: None,
) -> list[Path]:
    """`execute` for each run, `jobs` at a time; the folders in the order of the runs.

    Runs with the same key are one run with several labels. The first error ends the grid; what is finished stays, and
    what was interrupted goes on from its last epoch when it is asked for again.

    Args:
        progress: told thousandths of a run done, and of all runs.
        begun: called with a run when it starts.
        report: gets each line of a run's own report; with several jobs lines of different runs alternate.
    """
    shares = [0.0] * len(runs)

    def advance(i: int, share: float) -> None:
        shares[i] = share
        if progress:
            progress(round(1000 * sum(shares)), 1000 * len(runs))

    if jobs <= 1:
        folders = []
        for i, run in enumerate(runs):
            begun(run)

            def step(done: int, total: int, i: int = i) -> None:
                advance(i, done / total)

            folders.append(execute(run, step, report))
            advance(i, 1.0)
        return folders
    for config in {run.config.data: run.config for run in reversed(runs) if state_of(run) != "done"}.values():
        prepare(config)  # once, with all cores, instead of in the first worker while the others wait
    first = {run.key: i for i, run in reversed(list(enumerate(runs)))}
    twins = [i for i, run in enumerate(runs) if first[run.key] != i]  # wait for their twin, then only add a label
    context = multiprocessing.get_context("spawn")
    channel = context.Manager().Queue()
    # Seed by seed, so that runs that work at the same time are of different systems, which share nothing to wait for.
    waiting = sorted((i for i in range(len(runs)) if i not in twins), key=lambda i: runs[i].seed)
    done: dict[int, Path] = {}
    with ProcessPoolExecutor(jobs, context, _listen, (channel,)) as pool:
        running: dict[Future[Path], int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    i = waiting.pop(0)
                    begun(runs[i])
                    running[pool.submit(_work, runs[i], i)] = i
                finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                _drain(channel, advance, report)
                for future in finished:
                    i = running.pop(future)
                    done[i] = future.result()
                    advance(i, 1.0)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    for i in twins:
        begun(runs[i])
        done[i] = execute(runs[i])
        advance(i, 1.0)
    return [done[i] for i in range(len(runs))]


def _listen(channel: Any) -> None:
    global _channel
    _channel = channel
    torch.set_num_threads(1)


def _work(run: Run, i: int) -> Path:
    return execute(run, lambda done, total: _channel.put((i, done / total)), lambda line: _channel.put((i, line)))


def _drain(channel: Any, advance: Callable[[int, float], None], report: Report) -> None:
    while True:
        try:
            i, news = channel.get_nowait()
        except Empty:
            return
        if isinstance(news, str):
            report(news)
        else:
            advance(i, news)
