"""One run of a grid, and what becomes of it: its folder, or a failure on one line."""

from __future__ import annotations

import contextlib
import errno
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch

from efa.config import Config
from efa.data.loader import Progress
from efa.train import Report
from efa.utils import distributed
from efa.utils.errors import Diverged, InputError
from efa.utils.files import write_safely
from efa.utils.recovery import TRACEBACK


class Job(Protocol):
    """What a grid does: `runs.Run`, or `loso.Fold`. It can be pickled, and its folder is its own."""

    @property
    def label(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def config(self) -> Config: ...
    @property
    def key(self) -> str:
        """Hash of all that it executes: two jobs with one key are one job."""

    @property
    def folder(self) -> Path: ...
    @property
    def finished(self) -> bool: ...
    def execute(self, progress: Progress | None = None, report: Report = ...) -> Path:
        """Does what is missing, and returns the folder."""


Kind = Literal["mistake", "diverged", "disk", "died", "error"]
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE)  # no run could write either


@dataclass(frozen=True)
class Failure:
    """A run that has no result: why, on one line, and of which kind.

    `mistake`: the user's; `diverged`: its loss is not finite; `disk`: nothing can be written any more, which ends the
    grid; `died`: its process did; `error`: anything else, with the traceback in the run's folder.
    """

    label: str
    why: str
    kind: Kind = "error"

    def __str__(self) -> str:
        return f"{self.label}: {self.why}"


Outcome = Path | Failure


class StoppedError(Exception):
    """What no run of a grid can survive, on one line. What is finished stays, the rest goes on when asked for again."""


def attempt(run: Job, progress: Progress | None, report: Report) -> Outcome:
    """Executes it, and gives whatever goes wrong but an interrupt as a `Failure`.

    Of several processes that train one run together only what all of them find out at once leaves them in step; the
    rest ends them.
    """
    try:
        return run.execute(progress, report)
    except Exception as error:
        if distributed.count() > 1 and not isinstance(error, Diverged):
            raise
        found = failure(run, error)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the next run gets what this one held
    return found


def failure(run: Job, error: Exception) -> Failure:
    """An error in the words of whoever reads one line of it."""
    if isinstance(error, InputError):
        return Failure(run.label, str(error), "mistake")
    first = one_line(next(iter(str(error).splitlines()), ""))
    if isinstance(error, ArithmeticError):
        return Failure(run.label, first if "diverge" in first else f"training diverged: {first}", "diverged")
    if isinstance(error, OSError) and error.errno:
        place = f"{one_line(os.fsdecode(error.filename))}: " if isinstance(error.filename, str | bytes | Path) else ""
        if error.errno in DISK:
            return Failure(run.label, f"{place}{error.strerror}", "disk")
        if place:
            return Failure(run.label, f"{place}{error.strerror} (check the path and its permissions)", "mistake")
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in first:
        hint = "a smaller training.batch or fewer --jobs need less"
        return Failure(run.label, f"out of memory{f': {first}' if first else ''} ({hint})")
    kept = _keep_traceback(run, error)
    return Failure(run.label, f"{type(error).__name__}{f': {first}' if first else ''}{f' ({kept})' if kept else ''}")


def one_line(text: str) -> str:
    """Without line breaks and what a terminal would obey."""
    return str(InputError(text))


def _keep_traceback(run: Job, error: Exception) -> str:
    with contextlib.suppress(Exception):
        text = "".join(traceback.format_exception(error))
        file = run.folder / TRACEBACK
        write_safely(file, lambda path: path.write_text(text, encoding="utf-8"))
        return f"traceback in {file}"
    return ""
