"""The book's tables, figures, explorer and audit."""

import os
from pathlib import Path

from efa.utils import paths

if not os.access(Path.home(), os.W_OK):  # matplotlib would warn on every page, and a warning ends the book's build
    os.environ.setdefault("MPLCONFIGDIR", str((paths.cache() / "matplotlib").resolve()))
