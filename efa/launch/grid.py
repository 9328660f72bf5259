"""Many runs: one after the other, several at a time in subprocesses, or over a Ray cluster.

A small model gains little from a second thread, so two cores train two rows in hardly more time than one.
A run that fails does not stop the others. Finished runs stay, and an interrupted one resumes after its last epoch.
"""

import contextlib
import errno
import os
import socket
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from efa.baselines.inputs import prepare
from efa.data.loader import Progress
from efa.launch.child import Message, children, describe_job
from efa.runs import Run
from efa.train import Report
from efa.utils import distributed, paths
from efa.utils.errors import Diverged, InputError
from efa.utils.files import write_safely
from efa.utils.recovery import TRACEBACK
from efa.utils.signals import available_cores

MAX_JOBS = 4  # processes by default: each holds a model, a text encoder and a data set, about 1 GB
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE)  # no run can write


@dataclass(frozen=True)
class Failure:
    """A run without a result: why, on one line, and the kind of failure.

    `mistake`: the user's; `disk`: nothing can be written, which ends the grid; `died`: its process did.
    """

    label: str
    message: str
    kind: Literal["mistake", "diverged", "disk", "died", "error"] = "error"

    def __str__(self) -> str:
        return f"{self.label}: {self.message}"


class GridStoppedError(Exception):
    """No run of the grid can go on; why, on one line."""


Outcome = Path | Failure
Launch = Callable[[dict[str, Any]], Iterator[Message]]
"""Executes the run of a `describe_job` in another process and yields its messages, as `children` does."""


def default_jobs(runs: Sequence[Run]) -> int:
    """One run at a time on a GPU or where a run has several threads; otherwise one per core, at most `MAX_JOBS`."""
    single = all(run.config.training.threads == 1 for run in runs)
    return max(1, min(MAX_JOBS, available_cores(), len(runs))) if single and not torch.cuda.is_available() else 1


def execute_all(
    runs: Sequence[Run],
    jobs: int = 1,
    progress: Progress | None = None,
    report: Report = lambda line: None,
    cluster: contextlib.AbstractContextManager[Launch] | None = None,
    retries: int = 1,
) -> list[Outcome]:
    """Executes each run, `jobs` at a time: its folder, or why it failed, in the order of the runs.

    Runs with the same key are one run with several labels.

    Args:
        jobs: 1: in this process, unless there is a cluster; several: each run in a subprocess.
        progress: gets thousandths of a run done, and of all runs.
        report: gets a line when a run starts, and each line of its report; those of different runs alternate.
        cluster: where the runs work instead of on this machine.
        retries: how often a run whose process died is started again, after all others.

    Raises GridStoppedError: the disk is full or cannot be written, so that no run can go on.
    """
    lock, stopping = threading.Lock(), threading.Event()
    titles = [f"[{number}/{len(runs)}] {run.label}" for number, run in enumerate(runs, 1)]
    shares = [0.0] * len(runs)
    outcomes: dict[int, Outcome] = {}
    keys: dict[int, str] = {}

    def advance(i: int, share: float) -> None:
        with lock:
            shares[i] = share
            if progress:
                progress(round(1000 * sum(shares)), 1000 * len(runs))

    def finish(i: int, outcome: Outcome) -> None:
        if isinstance(outcome, Failure) and outcome.kind == "disk":
            raise GridStoppedError(outcome.message)
        outcomes[i] = outcome
        advance(i, 1.0)

    def execute_here(i: int) -> None:
        report(titles[i])
        finish(i, attempt(runs[i], lambda done, total: advance(i, done / total), lambda line: report(f"    {line}")))

    def execute_elsewhere(i: int, launch: Launch) -> Outcome:
        with contextlib.closing(launch(describe_job(runs[i], titles[i]))) as messages:  # type: ignore[type-var]
            for message in messages:
                if stopping.is_set():
                    break
                if isinstance(message, dict):
                    return Failure(runs[i].label, **message) if message else runs[i].folder
                if isinstance(message, str):
                    report(message)
                elif message is not None:
                    advance(i, message)
        return Failure(runs[i].label, "interrupted")

    for i, run in enumerate(runs):
        try:
            keys[i] = run.key
        except Exception as error:
            finish(i, describe_failure(run, error))
    unfinished = [runs[i] for i in keys if not runs[i].finished]
    if unfinished and distributed.main():
        try:  # to write where the runs will, before an hour of work
            paths.runs().mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=paths.runs()) as file:
                file.write(b"written before a grid starts")
        except OSError as error:
            raise GridStoppedError(f"{paths.runs()}: {error.strerror}") from error
    first = {keys[i]: i for i in sorted(keys, key=lambda i: (len(runs[i].protocols), -i))}  # with most protocols
    if jobs <= 1 and cluster is None:
        for i in keys:
            execute_here(i)
        return [outcomes[i] for i in range(len(runs))]
    # Seed by seed, so that runs that work at the same time are of different systems, which share nothing to wait for.
    waiting = sorted(sorted(first.values()), key=lambda i: runs[i].config.training.seed)
    with cluster or children() as launch, ThreadPoolExecutor(jobs) as pool:
        try:
            # Render or decode, once and with all cores, what the first run would while the others wait.
            for config in {run.config.data: run.config for run in reversed(unfinished)}.values():
                with contextlib.suppress(Exception):  # each run that needs it reports what is wrong
                    prepare(config)
            for tries in range(1 + retries):
                futures = {pool.submit(execute_elsewhere, i, launch): i for i in waiting}
                waiting = []
                for future in as_completed(futures):
                    i, outcome = futures[future], future.result()
                    if isinstance(outcome, Failure) and outcome.kind == "died" and tries < retries:
                        report(f"    {outcome}; started again")
                        waiting.append(i)
                    else:
                        finish(i, outcome)
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for i in sorted(keys.keys() - set(first.values())):  # the same runs under other labels
        outcome = outcomes[first[keys[i]]]
        if isinstance(outcome, Failure):
            finish(i, Failure(runs[i].label, f"the same run as {outcome.label}, which failed", outcome.kind))
        else:
            execute_here(i)  # adds the label
    return [outcomes[i] for i in range(len(runs))]


def attempt(run: Run, progress: Progress | None, report: Report, key: str = "") -> Outcome:
    """Executes a run and returns its folder, or any exception but an interrupt as a `Failure`.

    Processes that share a run stay in step only if all raise the error; other errors end them. `key` is the run's on
    the machine that asks for it.
    """
    try:
        if key and run.key != key:
            why = f"machine {socket.gethostname()} has other code, data or weights (key {run.key} there, {key} here)"
            raise InputError(f"{why}; it wrote nothing")
        return run.execute(progress, report)
    except Exception as error:
        if distributed.count() > 1 and not isinstance(error, Diverged):
            raise
        failure = describe_failure(run, error)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # for the next run
    return failure


def describe_failure(run: Run, error: Exception) -> Failure:
    """The exception on one line, in the user's terms."""
    if isinstance(error, InputError):
        return Failure(run.label, str(error), "mistake")
    first = one_line(next(iter(str(error).splitlines()), ""))
    detail = f": {first}" if first else ""
    if isinstance(error, ArithmeticError):
        return Failure(run.label, first if "diverge" in first else f"training diverged{detail}", "diverged")
    if isinstance(error, OSError) and error.errno:
        place = f"{one_line(os.fsdecode(error.filename))}: " if isinstance(error.filename, str | bytes | Path) else ""
        if error.errno in DISK_ERRORS:
            return Failure(run.label, f"{place}{error.strerror}", "disk")
        if place:
            return Failure(run.label, f"{place}{error.strerror} (check the path and its permissions)", "mistake")
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in first:
        return Failure(run.label, f"out of memory{detail} (reduce training.batch or --jobs)")
    message = f"{type(error).__name__}{detail}"
    with contextlib.suppress(Exception):
        text, file = "".join(traceback.format_exception(error)), run.folder / TRACEBACK
        write_safely(file, lambda path: path.write_text(text, encoding="utf-8"))
        message += f" (traceback in {file})"
    return Failure(run.label, message)


def one_line(text: str) -> str:
    """Without line breaks and terminal control characters."""
    return str(InputError(text))
