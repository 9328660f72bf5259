"""Runs in subprocesses: when one dies, only its run is lost.

A child, `python -m efa.launch.child`, reads pickled descriptions of jobs from stdin and does one after another, so that
imports, data sets and METEOR start once. It ends when the parent closes the pipe or dies. It writes lines of JSON to
stdout: a string is a line of the run's report, a number the share of it that is done, and an object its end: the fields
of a `grid.Failure`, or none.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from efa.utils import paths
from efa.utils.signals import GRACE, end_process_after, ignore_interrupts

if TYPE_CHECKING:
    from efa.runs import Run

Message = str | float | dict[str, Any] | None  # None: nothing new
HEARTBEAT = 0.5  # seconds between two reports of progress
# By default glibc gives large blocks back at each step, and takes 5 to 10 % of the time to get them again.
KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1000000000:glibc.malloc.trim_threshold=1000000000"


def describe_job(run: Run, title: str = "") -> dict[str, Any]:
    """What a child needs to know; `title` is the first line of its report."""
    home = str(paths.home().resolve())
    return {"run": pickle.dumps(run), "key": run.key, "home": home, "threads": 1, "title": title}


@contextlib.contextmanager
def children(cwd: str | None = None) -> Iterator[Callable[[dict[str, Any]], Iterator[Message]]]:
    """Yields a function that gives a `describe_job` to an idle child, or to a new one, and yields its messages.

    They come at least every `HEARTBEAT`. A child ends when its run fails, its messages are closed, or the context is.
    """
    idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

    def launch(description: dict[str, Any]) -> Iterator[Message]:
        try:
            child = idle.get_nowait()
        except queue.Empty:
            child = _start(cwd)
        assert child.stdin is not None
        assert child.stdout is not None
        message: Message = description["title"]
        try:
            yield message
            with contextlib.suppress(BrokenPipeError):  # it has died already
                child.stdin.write(pickle.dumps(description))
                child.stdin.flush()
            for line in child.stdout:
                if line.endswith(b"\n"):  # else it was killed as it wrote
                    yield (message := json.loads(line))
                    if isinstance(message, dict):
                        return
            code = child.wait()
            number = -code if code < 0 else code - 128
            reason = f"was ended by {signal.Signals(number).name}" if number > 0 else f"ended with status {code}"
            hint = ", perhaps because memory ran out" if reason.endswith("SIGKILL") else ""
            yield {"message": f"its process {reason}{hint}", "kind": "died"}
        finally:
            if message == {}:
                idle.put(child)
            else:
                _end(child)

    try:
        yield launch
    finally:
        while not idle.empty():
            _end(idle.get())


def _start(cwd: str | None) -> subprocess.Popen[bytes]:
    search = os.pathsep.join(path or os.getcwd() for path in sys.path)  # so that it imports the same code
    environment = {"GLIBC_TUNABLES": KEEP_MEMORY} | os.environ | {"PYTHONPATH": search}
    command, pipe = [sys.executable, "-P", "-m", "efa.launch.child"], subprocess.PIPE
    with ignore_interrupts():
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=cwd, env=environment)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):  # time to remove unfinished files
        child.wait(GRACE)
    child.kill()
    child.wait()


def main() -> None:
    """The child. Signals and pipes are set up before anything heavy is imported."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: unfinished files are removed on the way
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    output, lock, share = os.dup(1), threading.Lock(), 0.0
    os.dup2(2, 1)  # what libraries print must not mix with the messages

    def send(message: Message) -> None:
        with lock, contextlib.suppress(BrokenPipeError):  # the parent has died: `end_process_after` follows
            os.write(output, json.dumps(message).encode() + b"\n")

    def progress(done: int, total: int) -> None:
        nonlocal share
        share = done / total

    def send_progress() -> None:
        while True:
            time.sleep(HEARTBEAT)
            send(share)

    def read_jobs() -> None:
        with contextlib.suppress(EOFError, pickle.UnpicklingError), open(0, "rb", closefd=False) as stdin:
            while True:
                jobs.put(pickle.load(stdin))  # plain values; the run in it, which imports all, comes later

    try:
        for target, arguments in ((send_progress, ()), (end_process_after, (read_jobs,))):
            threading.Thread(target=target, args=arguments, daemon=True).start()
        while True:
            description = jobs.get()

            import torch

            from efa.launch.grid import Failure, attempt

            os.environ["EFA_HOME"] = description["home"]
            torch.set_num_threads(description["threads"])
            run = pickle.loads(description["run"])
            outcome = attempt(run, progress, lambda line: send(f"    {line}"), description["key"])
            share = 0.0  # of the next run, which may read what is sent before it starts
            send({"message": outcome.message, "kind": outcome.kind} if isinstance(outcome, Failure) else {})
    except KeyboardInterrupt:  # SIGTERM; unfinished files are removed by now
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
