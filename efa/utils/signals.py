"""Interrupts and helper processes: they leave Ctrl-C to their parent and never outlive it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator

GRACE = 10.0  # seconds that a process gets to tidy up before it is killed


@contextlib.contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Processes that start within never see Ctrl-C, which a terminal sends to all of them: their parent answers it.

    They inherit the blocked signal. The parent itself gets one that comes meanwhile a moment later.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Call in a helper process: when the parent dies, however it dies, this process is interrupted, then ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def interrupt(*_signal: object) -> None:
    """A signal's handler: ends like Ctrl-C, so that half-written files are removed on the way."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """A request to end, as Slurm and Kubernetes send it before they kill, is taken for Ctrl-C."""
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
