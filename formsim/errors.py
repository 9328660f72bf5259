"""The error of a user's mistake, shared by every package here: one line, no traceback."""

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
