"""The error of a user's mistake, shared by every package here: one line, no traceback."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class InputError(Exception):
    """Bad input, on one line: what is wrong (`message`), the `file` and the `row`, clip or key at fault, and a `hint`
    on how to fix it. The command line prints it and exits with 2; a batch reports it and goes on with the rest.
    """

    def __init__(self, message: str, *, file: str | Path | None = None, row: object = None, hint: str | None = None):
        self.message, self.file, self.row, self.hint = message, file, row, hint
        place = ", ".join(str(part) for part in (file, None if row is None else f"row {row}") if part is not None)
        text = (f"{place}: " if place else "") + message + (f" ({hint})" if hint else "")
        line = " ".join(text.split())  # a file name or a cell may hold line breaks, and what a terminal obeys
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line))


def near(word: str, known: Iterable[str]) -> str:
    """'did you mean ...?' where a known word is similar, else ''."""
    folded = {name.casefold(): name for name in known}
    match = difflib.get_close_matches(word.casefold()[:200], folded, 1)
    return f"did you mean {folded[match[0]]!r}?" if match else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one, or all of them."""
    return near(word, known) or f"one of: {', '.join(known)}"
