"""UI-PRMD's files: which repetitions there are, and each file from text to markers.

Read are the Vicon marker positions in the original folders, 'Segmented Movements/Vicon/Positions' and
'Incorrect Segmented Movements/Vicon/Positions': mMM_sSS_eEE_positions[_inc].txt or .txt.gz, one row per frame, 39
markers x, y, z (up) in millimetres, 0,0,0 where one was lost.
"""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from efa.data.checks import StepText
from efa.utils.errors import InputError
from efa_datasets.ui_prmd_body import MARKERS, fill_gaps

FOLDERS = {0: "Segmented Movements", 1: "Incorrect Segmented Movements"}  # quality -> folder
MIN_FRAMES = 6  # as many as a clip has at least
_NAME = re.compile(r"m(\d\d)_s(\d\d)_e(\d\d)_positions(_inc)?\.txt(\.gz)?", re.ASCII)
_MAX_BYTES = 1 << 26  # of one sequence's text; the longest original has about half a megabyte
_FAR = 20_000.0  # millimetres from the origin that no marker is


@dataclass(frozen=True)
class Repetition:
    """One repetition on disk."""

    file: Path
    movement: int
    subject: int
    repetition: int
    quality: int  # 0 correct, 1 incorrect

    @property
    def name(self) -> str:
        """As the files are named, for example 'm01_s02_e03' or 'm01_s02_e03_inc'."""
        return f"m{self.movement:02d}_s{self.subject:02d}_e{self.repetition:02d}" + "_inc" * self.quality


@cache
def movements() -> dict[int, tuple[str, StepText]]:
    """Number of each movement -> its name, five steps and instruction."""
    document = yaml.safe_load((Path(__file__).parent / "ui_prmd.yaml").read_text(encoding="utf-8"))
    return {n: (entry["name"], StepText(tuple(entry["steps"]), entry["instruction"])) for n, entry in document.items()}


def find_repetitions(root: str | Path) -> tuple[list[Repetition], list[InputError]]:
    """The sequences under the data set's folder, sorted by name, and an error for each file there that is none.

    Raises:
        InputError: not the original layout, or no sequence at all.
    """
    found: dict[str, Repetition] = {}
    skipped: list[InputError] = []
    for quality, name in FOLDERS.items():
        folder = Path(root) / name / "Vicon" / "Positions"
        if not folder.is_dir():
            hint = f"give the folder that holds '{FOLDERS[0]}' and '{FOLDERS[1]}'"
            raise InputError("no such folder", file=folder, hint=hint)
        for file in sorted(file for file in folder.iterdir() if not file.name.startswith(".")):
            match = _NAME.fullmatch(file.name)
            if match is None or bool(match[4]) != bool(quality) or int(match[1]) not in movements():
                hint = f"names there are like m01_s01_e01_positions{'_inc' * quality}.txt, movements 1 to 10"
                skipped.append(InputError("no sequence by its name", file=file, hint=hint))
                continue
            one = Repetition(file, int(match[1]), int(match[2]), int(match[3]), quality)
            if found.setdefault(one.name, one) is not one:
                message = f"is there already as {found[one.name].file.name}"
                skipped.append(InputError(message, file=file, hint="delete one of the two"))
    if not found:
        raise InputError("no sequence under this folder", file=root, hint="unpack the Vicon positions there")
    return sorted(found.values(), key=lambda one: one.name), skipped


def read_markers(file: Path) -> np.ndarray:
    """Markers of one file in metres [T, 39, 3], in the order of `MARKERS`, gaps filled by `fill_gaps`.

    Raises:
        InputError: the file cannot be read, holds anything else (with the row), or too few frames.
    """
    text, broken = _read_text(file)
    lines = text.splitlines()
    rows: list[list[float]] = []
    for number, line in enumerate(lines[:-1] if broken else lines, 1):
        cells = line.replace(",", " ").split()
        if cells and len(cells) != 3 * len(MARKERS):
            hint = f"a row holds x, y, z of {len(MARKERS)} markers"
            raise InputError(f"{len(cells)} numbers instead of {3 * len(MARKERS)}", file=file, row=number, hint=hint)
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            raise InputError("not a row of numbers", file=file, row=number, hint="copy the file again") from None
        if far := [value for value in values if not abs(value) < _FAR]:  # NaN, too
            hint = "write millimetres, and 0,0,0 for a lost marker"
            raise InputError(f"{far[0]:g} is no position", file=file, row=number, hint=hint)
        rows += [values] if values else []
    if broken:
        raise InputError(broken, file=file, row=max(len(lines), 1), hint="copy the file again")
    if len(rows) < MIN_FRAMES:
        raise InputError(f"too few frames: {len(rows)}", file=file, hint=f"a movement needs {MIN_FRAMES} or more")
    return fill_gaps(np.array(rows).reshape(len(rows), -1, 3) / 1000)


def _read_text(file: Path) -> tuple[str, str]:
    """The text of a file, unpacked as far as that works, and why it ends early ('' where it does not)."""
    content, broken = bytearray(), ""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            while len(content) <= _MAX_BYTES and (part := stream.read1(1 << 16)):
                content += part
    except EOFError:
        broken = "the compressed file ends too early"
    except (gzip.BadGzipFile, zlib.error):
        broken = "not gzip, or damaged"
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=file, hint="check its permissions") from None
    if len(content) > _MAX_BYTES:
        raise InputError(f"more than {_MAX_BYTES >> 20} MB of text", file=file, hint="this is no single repetition")
    return content.decode("ascii", "replace"), broken
