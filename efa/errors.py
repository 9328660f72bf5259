"""Errors that end in one line: a user's mistake, a loss that is no number, a process that has gone."""

from pathlib import Path


class InputError(Exception):
    """Bad input: what is wrong, where, and how to mend it, on one line.

    The command line prints it and exits with 2; a batch reports it and goes on with the rest.

    Args:
        message: what is wrong.
        file: the file at fault, where there is one.
        row: the row, clip or key at fault inside that file.
        mend: what the user can do about it.
    """

    def __init__(self, message: str, *, file: str | Path | None = None, row: object = None, mend: str | None = None):
        self.message, self.file, self.row, self.mend = message, file, row, mend
        place = ", ".join(str(part) for part in (file, None if row is None else f"row {row}") if part is not None)
        text = (f"{place}: " if place else "") + message + (f" ({mend})" if mend else "")
        line = " ".join(text.split())  # a file name or a cell may hold line breaks, and what a terminal obeys
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line))


class Diverged(FloatingPointError):  # noqa: N818 it names what became of the run
    """A loss or a gradient that is no finite number: this run is over, others may go on.

    It is raised before the weights take it in. What was saved after the last whole epoch stays in the run's folder, so
    the same command starts again from there. The command line prints it as one line and exits with 1.

    Args:
        message: the whole line.
        epoch: in which it happened, from 1.
        step: of that epoch, from 1; 0: in validation.
        clips: ids of the batch, at most eight.
        parts: what is not finite: 'class', 'quality', 'text', 'further term' or 'gradient'.
    """

    def __init__(
        self,
        message: str,
        *,
        epoch: int = 0,
        step: int = 0,
        clips: tuple[str, ...] = (),
        parts: tuple[str, ...] = (),
    ):
        self.epoch, self.step, self.clips, self.parts = epoch, step, clips, parts
        super().__init__(" ".join(message.split()))


class PeerLostError(RuntimeError):
    """Another process of the same training has ended, so this one cannot go on either."""
