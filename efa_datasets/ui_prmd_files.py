"""UI-PRMD on disk: which repetitions there are, and each file from text to markers.

Read are the Vicon marker positions in the original folders, 'Segmented Movements/Vicon/Positions' and
'Incorrect Segmented Movements/Vicon/Positions': mMM_sSS_eEE_positions[_inc].txt or .txt.gz, one row a frame, 39 markers
x, y, z (up) in millimetres, 0,0,0 where one was lost.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import yaml

from efa.data.checks import StepText
from efa.utils.errors import InputError
from efa_datasets import ui_prmd_body as vicon

Array = np.ndarray

FOLDERS = {0: "Segmented Movements", 1: "Incorrect Segmented Movements"}  # quality -> folder
MIN_FRAMES = 6  # as many as a clip has at least
_NAME = re.compile(r"m(\d\d)_s(\d\d)_e(\d\d)_positions(_inc)?\.txt(\.gz)?", re.ASCII)
_MOST_BYTES = 1 << 26  # of one sequence's text; the longest original has about half a megabyte
_FAR = 20_000.0  # millimetres from the origin that no marker is
_AGAIN = "copy the file again"


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
        stem = f"m{self.movement:02d}_s{self.subject:02d}_e{self.repetition:02d}"
        return stem + ("_inc" if self.quality else "")


@cache
def movements() -> dict[int, tuple[str, StepText]]:
    """Number of each movement -> its name, five steps and instruction."""
    document = yaml.safe_load((Path(__file__).parent / "ui_prmd.yaml").read_text(encoding="utf-8"))
    return {
        number: (entry["name"], StepText(tuple(entry["steps"]), entry["instruction"]))
        for number, entry in document.items()
    }


def find(root: str | Path) -> tuple[list[Repetition], list[InputError]]:
    """The sequences under the data set's folder, in order of name, and the files there that are none.

    Raises:
        InputError: not the original layout, or no sequence at all.
    """
    root = Path(root)
    found: dict[str, Repetition] = {}
    skipped: list[InputError] = []
    for quality, name in FOLDERS.items():
        folder = root / name / "Vicon" / "Positions"
        try:
            files = sorted(folder.iterdir(), key=lambda file: file.name)
        except (OSError, ValueError):
            hint = f"give the folder that holds '{FOLDERS[0]}' and '{FOLDERS[1]}'"
            raise InputError("no such folder", file=folder, hint=hint) from None
        for file in files:
            match = _NAME.fullmatch(file.name)
            if file.name.startswith("."):
                continue
            if match is None or bool(match[4]) != bool(quality) or int(match[1]) not in movements():
                hint = f"names there are like m01_s01_e01_positions{'_inc' * quality}.txt, movements 1 to 10"
                skipped.append(InputError("no sequence by its name", file=file, hint=hint))
                continue
            one = Repetition(file, int(match[1]), int(match[2]), int(match[3]), quality)
            if one.name in found:
                hint = "delete one of the two"
                skipped.append(InputError(f"is there already as {found[one.name].file.name}", file=file, hint=hint))
            else:
                found[one.name] = one
    if not found:
        raise InputError("no sequence under this folder", file=root, hint="unpack the Vicon positions there")
    return sorted(found.values(), key=lambda one: one.name), skipped


def read(file: Path) -> Array:
    """Markers of one file in metres [T, 39, 3], in the order of `MARKERS`, dropouts filled (see `ui_prmd_body.hint`).

    Raises:
        InputError: with the row, where the file cannot be read or holds anything else, or too few frames.
    """
    text, broken = _content(file)
    rows: list[list[float]] = []
    width = 3 * len(vicon.MARKERS)
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if broken and number == len(lines):
            break
        cells = line.replace(",", " ").split()
        if not cells:
            continue
        if len(cells) != width:
            hint = f"a row holds x, y, z of {len(vicon.MARKERS)} markers"
            raise InputError(f"{len(cells)} numbers instead of {width}", file=file, row=number, hint=hint)
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            raise InputError("not a row of numbers", file=file, row=number, hint=_AGAIN) from None
        if not all(abs(value) < _FAR for value in values):  # NaN fails, too
            bad = next(value for value in values if not abs(value) < _FAR)
            hint = "write millimetres, and 0,0,0 for a lost marker"
            raise InputError(f"{bad:g} is no position", file=file, row=number, hint=hint)
        rows.append(values)
    if broken:
        raise InputError(broken, file=file, row=max(len(lines), 1), hint=_AGAIN)
    if len(rows) < MIN_FRAMES:
        frames = {0: "no frames", 1: "one frame"}.get(len(rows), f"{len(rows)} frames")
        hint = f"a movement needs {MIN_FRAMES} or more"
        raise InputError(f"{frames} only" if rows else frames, file=file, row=len(rows) or None, hint=hint)
    return vicon.mend(np.array(rows).reshape(len(rows), -1, 3) / 1000)


def _content(file: Path) -> tuple[str, str]:
    """The text of a file, unpacked as far as that goes, and what broke it off ('' where nothing did)."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=file, hint="check its permissions") from None
    out, broken = raw, ""
    if file.suffix == ".gz":
        out = b""
        while raw and not broken and len(out) <= _MOST_BYTES:
            unpack = zlib.decompressobj(wbits=31)
            try:
                out += unpack.decompress(raw, _MOST_BYTES + 1 - len(out))
            except zlib.error:
                return out.decode("ascii", "replace"), "not gzip, or damaged"
            if not unpack.eof and len(out) <= _MOST_BYTES:
                broken = "the compressed file ends too early"
            raw = unpack.unused_data
    if len(out) > _MOST_BYTES:
        raise InputError(f"more than {_MOST_BYTES >> 20} MB of text", file=file, hint="this is no single repetition")
    return out.decode("ascii", "replace"), broken
