"""What the commands share: where they print, and a progress bar with the time left."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

err = Console(stderr=True, markup=False, highlight=False)
out = Console(soft_wrap=True, markup=False, highlight=False)


def printable(text: str) -> str:
    """Text for a terminal: a character that would move the cursor or colour what follows stands as its escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


@contextlib.contextmanager
def bar(what: str) -> Iterator[Any]:
    """A progress bar with time left, on stderr; yields update(done, total)."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    times = TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, *times, console=err, disable=not err.is_terminal and "CI" in os.environ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
