"""Files that appear whole or not at all, and locks between processes."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_PARTLY = re.compile(r"\..+\.\d+")  # what `write_safely` calls a file that is not yet whole
_PROBE = bytes(1 << 16)


def write_safely(path: Path, write: Callable[[Path], object]) -> None:
    """Written beside its place, brought to the disk, then moved there.

    Without the flush (fsync) some file systems move the name before the content: after a power cut the file would have
    its final name and no bytes. A move that is lost leaves what was there before, so the folder needs no flush.

    Raises:
        OSError: naming `path`, where the disk is full or cannot be written, also when `write` hides that behind an
            error of its own, as torch and safetensors do.
    """
    partly = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            write(partly)
            with partly.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(partly, path)
        except Exception as error:
            cause = error if isinstance(error, OSError) and error.errno else _said(error) or _probe(partly)
            if cause is None or cause.filename not in (None, partly, str(partly)):
                raise  # nothing that the disk did, or something that it did elsewhere
            raise OSError(cause.errno, os.strerror(cause.errno or 0), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            partly.unlink(missing_ok=True)


def _said(error: Exception) -> OSError | None:
    """The system's error behind one of a library in Rust, which has it as text alone."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def _probe(file: Path) -> OSError | None:
    """What the system says to one more write."""
    try:
        with file.open("ab") as out:
            out.write(_PROBE)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        return error
    return None


def reserve(path: Path, size: int) -> None:
    """Takes `size` bytes of disk for an existing file, before it is mapped into memory.

    A mapped file with holes would ask for its blocks as they are written, and end the process (SIGBUS) on a full disk.

    Raises:
        OSError: the disk has no room for them.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("rb+") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # some file systems cannot promise anything
                raise


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """An error of the system's that names no file, as of a write to an open one, leaves with this name."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def sweep(folder: Path) -> None:
    """Removes what killed processes left half-written. For whoever holds the folder's lock."""
    for path in folder.iterdir():
        if _PARTLY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, busy: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Holds a lock on this file, which may stay behind; another process that wants it waits.

    The system lets go of the lock when its holder ends, however it ends: what a killed process left blocks nobody.

    Args:
        busy: called once if another process holds the lock, before waiting for it.
    """
    import fcntl

    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def tidy(folder: Path) -> None:
    """`sweep` for a folder whose lock, `.lock` in it, may be another process's: then nothing is removed."""
    import fcntl

    if not folder.is_dir():
        return
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        sweep(folder)
