"""Files that appear whole or not at all, and locks between processes."""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_PARTIAL = re.compile(r"\..+\.\d+")  # the names that `write_safely` gives to unfinished files


def write_safely(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file beside its place, flushes it to the disk, then moves it there.

    Without the flush some file systems move the name before the content: after a power cut the file would be empty. A
    move that is lost leaves the previous file, so the folder needs no flush.

    Raises OSError: naming `path`, where the disk is full or cannot be written, also when `write` hides that behind an
    error of its own, as torch and safetensors do.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.touch()
        mode = stat.S_IMODE(partial.stat().st_mode)  # by the umask; safetensors would let nobody else read
        write(partial)
        partial.chmod(mode)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except Exception as error:
        cause = _find_os_error(error, partial)
        if cause is None or cause.filename not in (None, partial, str(partial)):
            raise  # not the disk, or another file
        raise OSError(cause.errno, os.strerror(cause.errno or 0), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _find_os_error(error: Exception, file: Path) -> OSError | None:
    """The system's error behind that of a library: itself, named in a Rust library's text, or met by one more write."""
    if isinstance(error, OSError) and error.errno:
        return error
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(number[1]), os.strerror(int(number[1])))
    try:
        with file.open("ab") as out:
            out.write(bytes(1 << 16))
            out.flush()
            os.fsync(out.fileno())
    except OSError as met:
        return met
    return None


def reserve(path: Path, size: int) -> None:
    """Allocates `size` bytes of disk for an existing file, before it is mapped into memory; OSError on a full disk.

    A mapped file with holes would ask for its blocks as they are written, and end the process (SIGBUS) on a full disk.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # the file system cannot allocate
                    raise


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Adds this file name to system errors without one, as of a write to an open file."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def remove_partial_files(folder: Path) -> None:
    """Removes what killed processes left unfinished. Call with the folder's lock."""
    for path in folder.iterdir():
        if _PARTIAL.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def locked(path: Path, busy: Callable[[], object] = lambda: None) -> contextlib.AbstractContextManager[object]:
    """Holds a lock on this file, which stays behind, for a `with` block; `busy` is called once if it must wait.

    The system releases the lock when its holder ends, however that happens: a killed process blocks nobody.
    """
    lock = FileLock(path)
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        busy()
        return lock.acquire()
