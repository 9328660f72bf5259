"""Runs in processes of their own on this machine. When one dies, only its run is lost, and another takes its place."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from efa.launch.jobs import Failure, Job, Outcome, attempt
from efa.utils.signals import GRACE, end_with_parent, ignore_interrupts, interrupt

News = str | float | Outcome
"""Of a run: a line of its report, the share of it that is done, or how it ended."""


@dataclass(eq=False)
class _Worker:
    process: SpawnProcess
    pipe: Connection


class Processes:
    """`size` processes, each started when first needed and kept for further runs.

    A context: leaving it ends all of them, with time to remove what they were writing.
    """

    def __init__(self, size: int):
        self.size = size
        self._idle: list[_Worker] = []
        self._busy: dict[Any, tuple[_Worker, int, Job]] = {}  # by pipe

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_error: object) -> None:
        workers = [*self._idle, *(worker for worker, _, _ in self._busy.values())]
        try:
            for worker in workers:
                worker.process.terminate()
            for worker in workers:
                worker.process.join(GRACE)
        finally:  # after a second Ctrl-C as well
            for worker in workers:
                worker.process.kill()
                worker.process.join()
                worker.pipe.close()

    def start(self, i: int, run: Job) -> None:
        """Gives run number `i` to a process that has nothing to do."""
        while True:
            worker = self._idle.pop() if self._idle else _new()
            try:
                worker.pipe.send((i, run))
            except OSError:  # it died while it waited
                worker.pipe.close()
                continue
            self._busy[worker.pipe] = worker, i, run
            return

    def news(self) -> Iterator[tuple[int, News]]:
        """What the runs have said since; waits half a second for the first word."""
        for pipe in wait(list(self._busy), timeout=0.5):
            worker, i, run = self._busy[pipe]
            try:
                said = worker.pipe.recv()
            except (EOFError, OSError):
                del self._busy[pipe]
                worker.process.join()
                worker.pipe.close()
                yield i, Failure(run.label, f"its process {_end(worker.process.exitcode)}", "died")
                continue
            if isinstance(said, Path | Failure):
                del self._busy[pipe]
                self._idle.append(worker)
            yield i, said


def _new() -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,))
    with ignore_interrupts():
        process.start()
    theirs.close()  # else its end would go unnoticed
    return _Worker(process, ours)


def _work(pipe: Connection) -> None:
    """What a process does: run after run until the pipe closes."""
    signal.signal(signal.SIGTERM, interrupt)
    end_with_parent()
    torch.set_num_threads(1)
    with contextlib.suppress(KeyboardInterrupt, EOFError, BrokenPipeError):
        while True:
            _, run = pipe.recv()
            pipe.send(attempt(run, lambda done, total: pipe.send(done / total), pipe.send))


def _end(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with status {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}" + (", as by the system when memory runs out" if name == "SIGKILL" else "")
