"""What a killed process, a full disk or a power cut left in a run's folder: thrown away, and what is whole is kept."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from safetensors import safe_open

from efa.utils.files import sweep

MODEL = ("config.json", "history.csv", "model.safetensors", "vocab.txt")  # what training leaves
RESUMED = ("resume.pt", "best.safetensors")  # what it goes on from
TRACEBACK = "error.txt"


def recover(folder: Path, report: Callable[[str], None] = lambda line: None) -> None:
    """Removes what cannot be read, with all that was made from it, so that it is made again. Call with the run's lock.

    - a broken model, or one without its `provenance.json`: everything but the state to resume from;
    - a broken `resume.pt` or `best.safetensors`: both, training starts over;
    - broken predictions: they and their scores; broken scores: they alone.

    Args:
        report: gets one line on each thing that is made again.

    Raises:
        OSError: the folder cannot be read or written.
    """
    sweep(folder)
    (folder / TRACEBACK).unlink(missing_ok=True)
    provenance = folder / "provenance.json"
    if bad := [name for name in (*MODEL, provenance.name) if provenance.exists() and broken(folder / name)]:
        report(f"{', '.join(bad)} cannot be read: trained again")
        _remove(folder, provenance.name)
    if provenance.exists():
        _remove(folder, *RESUMED)
    else:
        _remove(folder, "predictions.parquet", "scores.json")  # of a model that is no more
        if bad := [name for name in RESUMED if broken(folder / name)]:
            report(f"{', '.join(bad)} cannot be read: training starts over")
            _remove(folder, *RESUMED)
    if broken(folder / "memory.json"):
        _remove(folder, "memory.json")  # what memory does not hold is found out again
    if broken(folder / "predictions.parquet"):
        report("predictions.parquet cannot be read: predicted again")
        _remove(folder, "predictions.parquet", "scores.json")
    if broken(folder / "scores.json"):
        report("scores.json cannot be read: scored again")
        _remove(folder, "scores.json")


def broken(path: Path) -> bool:
    """Whether a file is there that is not whole; a missing one is not broken.

    Raises:
        OSError: the system could not read it.
    """
    if not path.exists():
        return False
    try:
        return not _READ[path.suffix](path)
    except OSError as error:
        if error.errno:  # the system's word; pyarrow's own errors have no number
            raise
        return True
    except Exception:  # each reader has a dozen kinds of its own
        return True


def _remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _json(path: Path) -> bool:
    return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)


def _text(path: Path) -> bool:
    return path.read_text(encoding="utf-8").endswith("\n")


def _weights(path: Path) -> bool:
    with safe_open(path, "pt"):  # compares what the header promises with the file's size
        return True


def _state(path: Path) -> bool:
    with zipfile.ZipFile(path) as file:  # what torch.save writes, each part with a checksum
        return file.testzip() is None


def _table(path: Path) -> bool:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).num_rows > 0


_READ: dict[str, Callable[[Path], bool]] = {
    ".json": _json,
    ".csv": _text,
    ".txt": _text,
    ".safetensors": _weights,
    ".pt": _state,
    ".parquet": _table,
}
