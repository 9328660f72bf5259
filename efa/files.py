"""Files that appear whole or not at all, and locks between processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path


def write_safely(path: Path, write: Callable[[Path], object]) -> None:
    """Written beside its place, then moved there."""
    partly = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(partly)
        os.replace(partly, path)
    finally:
        partly.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock on this file, which may stay behind; another process that wants it waits."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
