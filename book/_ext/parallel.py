"""Executes chapters side by side, each with one thread: Jupyter Book has no option for Sphinx's `-j`."""

import os
import sys

from sphinx.application import Sphinx

AT_ONCE = 3  # each with a kernel of about 1 GB


def prepare(app: Sphinx, env: object, pages: list[str]) -> None:
    """Deals the pages out: each process reads a stretch of them, and in order one would get most of the long ones."""
    pages[:] = [page for first in range(AT_ONCE) for page in pages[first::AT_ONCE]]
    for extension in app.extensions.values():  # three do not say: they work before the chapters are read, or after
        extension.parallel_read_safe = extension.parallel_read_safe is not False


def setup(app: Sphinx) -> dict[str, bool]:
    if sys.platform == "linux":  # on macOS, processes that fork may crash
        app.parallel = AT_ONCE
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of several kernels would wait for each other
    app.connect("env-before-read-docs", prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
