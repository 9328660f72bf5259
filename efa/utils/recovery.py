"""What a killed process, a full disk or a power cut left in a run's folder: broken files are removed, others kept."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from safetensors import safe_open

from efa.utils.files import remove_partial_files

MODEL = ("config.json", "history.csv", "model.safetensors", "vocab.txt")  # what training leaves
RESUMED = ("resume.pt", "best.safetensors")  # what it resumes from
PREDICTED = ("predictions.parquet", "scores.json")  # by the trained model
TRACEBACK = "error.txt"


def recover(folder: Path, report: Callable[[str], None] = lambda line: None) -> None:
    """Removes files that cannot be read, and everything made from them. Call with the run's lock.

    - a broken model, or one without its `provenance.json`: everything but the state to resume from;
    - a broken `resume.pt` or `best.safetensors`: both, training starts over;
    - broken predictions: they and their scores; broken scores: they alone.

    `report` gets one line on each thing that is made again. OSError if the folder cannot be read or written.
    """
    remove_partial_files(folder)
    _remove(folder, TRACEBACK)
    whole = (*MODEL, "provenance.json")
    if (folder / whole[-1]).exists() and not _remove_broken(folder, whole, whole[-1:], "trained again", report):
        _remove(folder, *RESUMED)
    else:
        _remove(folder, *PREDICTED)  # by a model that is gone
        _remove_broken(folder, RESUMED, RESUMED, "training starts over", report)
    _remove_broken(folder, ("memory.json",), ("memory.json",), "", lambda line: None)  # found out again
    _remove_broken(folder, PREDICTED[:1], PREDICTED, "predicted again", report)
    _remove_broken(folder, PREDICTED[1:], PREDICTED[1:], "scored again", report)


def is_broken(path: Path) -> bool:
    """Whether a file exists that is not whole; a missing one is not broken. OSError if the system could not read it."""
    try:
        match path.suffix:
            case ".json":
                return not isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
            case ".csv" | ".txt":
                return not path.read_text(encoding="utf-8").endswith("\n")
            case ".safetensors":
                with safe_open(path, "pt"):  # compares what the header promises with the file's size
                    return False
            case ".pt":
                with zipfile.ZipFile(path) as file:  # what torch.save writes, each part with a checksum
                    return file.testzip() is not None
            case _:
                return pd.read_parquet(path).empty
    except FileNotFoundError:
        return False
    except Exception as error:  # each reader has a dozen kinds of its own
        if isinstance(error, OSError) and error.errno:  # the system's; pyarrow's own errors have no number
            raise
        return True


def _remove_broken(
    folder: Path, names: Sequence[str], outdated: Sequence[str], consequence: str, report: Callable[[str], None]
) -> bool:
    """Removes the `outdated` files if any of the files `names` is broken, and returns whether one is."""
    broken = [name for name in names if is_broken(folder / name)]
    if broken:
        report(f"{', '.join(broken)} cannot be read: {consequence}")
        _remove(folder, *outdated)
    return bool(broken)


def _remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
