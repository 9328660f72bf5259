"""Where things lie: the project folder, its runs, results and caches."""

import os
from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "model" / "weights"  # shipped with the package


def home() -> Path:
    """The project folder: $EFA_HOME, else the nearest folder upwards with _toc.yml, else the current one."""
    if "EFA_HOME" in os.environ:
        return Path(os.environ["EFA_HOME"])
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "_toc.yml").is_file()), here)


def runs() -> Path:
    """Finished and interrupted runs, one folder each."""
    return home() / "runs"


def results() -> Path:
    """Published scores, predictions and the paper's own numbers."""
    return home() / "results"


def cache() -> Path:
    """Frames and features that can be made again at any time."""
    return home() / ".cache"
