"""Executes chapters side by side, each with one thread: Jupyter Book has no option for Sphinx's `-j`."""

import os
import sys

from sphinx.application import Sphinx

AT_ONCE = 4  # chapters, each with a kernel of about 1 GB; of two, one would get nearly all the long ones


def allow(app: Sphinx, *_: object) -> None:
    """Three extensions do not say: one copies scripts, one numbers chapters that have been read, one is for LaTeX."""
    for extension in app.extensions.values():
        if extension.parallel_read_safe is None:
            extension.parallel_read_safe = True


def setup(app: Sphinx) -> dict[str, bool]:
    if sys.platform == "linux":  # on macOS, processes that fork may crash
        app.parallel = AT_ONCE
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of several kernels would wait for each other
    app.connect("env-before-read-docs", allow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
