"""Interrupts and helper processes: helpers leave Ctrl-C to their parent and never outlive it."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

GRACE = 10.0  # seconds that a process gets to clean up before it is killed


@contextlib.contextmanager
def ignore_interrupts() -> Iterator[None]:
    """Processes started inside never see Ctrl-C: they inherit the blocked signal, and their parent ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """Call in a process of `multiprocessing`: when its parent dies, however that happens, this process ends too."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=end_process_after, args=(parent.join,), daemon=True).start()


def end_process_after(wait: Callable[[], object]) -> None:
    """When `wait` returns, ends this process: by SIGTERM, and `GRACE` seconds later by force."""
    wait()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
