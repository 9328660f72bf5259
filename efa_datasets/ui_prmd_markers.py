"""UI-PRMD's files: which repetitions there are, each file from text to markers, and markers to FormSim's joints.

Read are the Vicon marker positions in the original folders, 'Segmented Movements/Vicon/Positions' and
'Incorrect Segmented Movements/Vicon/Positions': mMM_sSS_eEE_positions[_inc].txt or .txt.gz, one row per frame, 39
markers x, y, z (up) in millimetres, 0,0,0 where one was lost.

Plug-in-Gait markers lie on the skin; joints lie inside. Hips follow from the pelvis markers (Bell et al. 1989), knees
and ankles from the lateral marker moved inwards by half a joint's width, all else from means of opposite markers.
x forward, y left, z up, metres, floor at 0.
"""

import dataclasses
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
from formsim.body import PROPORTIONS, Subject
from formsim.dataset import seed_of
from formsim.motion import JOINTS
from formsim.shapes import cross, dot, length, mean, square_to, unit

Array = np.ndarray

FOLDERS = {0: "Segmented Movements", 1: "Incorrect Segmented Movements"}  # quality -> folder
MIN_FRAMES = 6  # as many as a clip has at least
_NAME = re.compile(r"m(\d\d)_s(\d\d)_e(\d\d)_positions(_inc)?\.txt(\.gz)?", re.ASCII)
_MAX_BYTES = 1 << 26  # of one sequence's text; the longest original has about half a megabyte
_FAR = 20_000.0  # millimetres from the origin that no marker is

_TABLES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
MARKERS: tuple[str, ...] = tuple(_TABLES["markers"])  # the order of the columns, three each
PLACE = {name: i for i, name in enumerate(MARKERS)}
DRAWN = tuple(n for n in MARKERS if n != "RBAK" and n[1:] not in ("UPA", "FRM", "THI", "TIB"))  # what the body needs

_SEEN = 0.5  # share of the frames in which a marker must be there to be interpolated
_KNEE, _ANKLE, _ACROMION = 0.050, 0.035, 0.050  # metres from the marker to the joint
_PELVIS = 0.28  # metres between the front pelvis markers at most: subject 5 wears them on the outside of the hips, 0.44
_SOLE = 0.08  # metres from ankle to sole, and to the floor under the toe joint's 0.06 m, as FormSim draws feet
_TOE = 0.06
_HEEL = 0.015  # metres by which the heel's marker sits higher than the toe's


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


def fill_gaps(markers: Array) -> Array:
    """Fill dropouts: 0,0,0 or NaN [T, 39, 3] -> the same with gaps interpolated in time.

    A marker that is there in less than half of the frames is rebuilt from its rigid part, or NaN throughout.
    """
    markers = np.array(markers, float)
    gone = (markers == 0).all(axis=2) | np.isnan(markers).any(axis=2)  # [T, 39]
    time = np.arange(len(markers))
    for i in range(len(MARKERS)):
        there = ~gone[:, i]
        if there.mean() < _SEEN:
            markers[:, i] = np.nan
        elif not there.all():
            for axis in range(3):
                markers[:, i, axis] = np.interp(time, time[there], markers[there, i, axis])
    for name in DRAWN:
        if np.isnan(markers[0, PLACE[name], 0]):
            markers[:, PLACE[name]] = _rebuild(name, markers)
    return markers


def _rebuild(name: str, markers: Array) -> Array:
    """A marker that was never seen, [T, 3]; NaN where what it would follow from is missing too."""

    def at(other: str) -> Array:
        return markers[:, PLACE[other]]

    if name in _TABLES["corner"]:
        a, b, c = map(at, _TABLES["corner"][name])
        return a + b - c
    if name in _TABLES["mirror"]:
        a, b, c = map(at, _TABLES["mirror"][name])
        normal = unit(b - c)
        return a - 2 * dot(a - 0.5 * (b + c), normal)[:, None] * normal
    if name[1:] in ("WRA", "WRB"):
        side, twin = name[0], at(name[:3] + ("B" if name[3] == "A" else "A"))
        return at(side + "ELB") + 0.75 * (at(side + "FIN") - at(side + "ELB")) if np.isnan(twin).any() else twin
    return np.full((len(markers), 3), np.nan)


def check_markers(markers: Array, file: Path) -> None:
    """InputError where [T, 39, 3] in metres make no body: a marker is missing, or the figure has no human size."""
    lost = [name for name in DRAWN if np.isnan(markers[:, PLACE[name]]).any()]
    if lost:
        message = f"{', '.join(lost)} seen in less than half of the frames, and nothing to rebuild it from"
        raise InputError(message, file=file, hint="the sequence cannot be used")
    drawn = markers[:, [PLACE[name] for name in DRAWN]]
    extent = float((drawn.max(axis=1) - drawn.min(axis=1)).max())
    if not 0.5 < extent < 4.0:
        message = f"the markers span {1000 * extent:.4g} mm, not a person"
        raise InputError(message, file=file, hint="write millimetres, z up")
    if float((markers[:, PLACE["C7"], 2] - markers[:, PLACE["LTOE"], 2]).mean()) < 0.2:
        raise InputError("the neck is not above the feet", file=file, hint="columns must be x, y, z with z up")


def localise(markers: Array) -> Array:
    """Turned about z and moved over the floor: the pelvis starts over the origin and faces +x on the whole."""
    a, b, c, d = (markers[:, PLACE[name]] for name in ("LASI", "RASI", "LPSI", "RPSI"))
    left = mean(a - b + c - d)
    size = np.sqrt(left[0] ** 2 + left[1] ** 2)
    cos, sin = (left[1] / size, -left[0] / size) if size > 1e-6 else (1.0, 0.0)
    start = 0.25 * (a[0] + b[0] + c[0] + d[0])
    x, y = markers[..., 0] - start[0], markers[..., 1] - start[1]
    return np.stack([cos * x + sin * y, cos * y - sin * x, markers[..., 2]], axis=-1)


def fit_body(markers: Array, who: str) -> tuple[Array, Subject]:
    """Joints and looks of a performance: markers [T, 39, 3] in metres, gaps filled and checked -> joints float64
    [T, 20, 3] in the order of `motion.JOINTS`, the lower sole on the floor in every frame, and FormSim's performer with
    this person's limb lengths; `who` names the subject: the same name, the same clothes."""
    m = dict(zip(MARKERS, np.moveaxis(localise(markers), 1, 0), strict=True))
    point = _core(m)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        point |= _leg(m, point, side, sign)
    spans = {"lower_trunk": ("pelvis", "chest"), "upper_trunk": ("chest", "neck")}
    spans |= {"thigh": ("hip_l", "knee_l"), "shank": ("knee_l", "ankle_l")}
    size = {name: float(np.median(length(point[a] - point[b]))) for name, (a, b) in spans.items()}
    height = sum(size.values()) / sum(PROPORTIONS[name] for name in spans)
    size |= {n: height * PROPORTIONS[n] for n in ("neck", "head", "hand", "foot", "shoulder_half_width")}

    up = unit(point["neck"] - point["chest"])
    point["head"] = point["neck"] + (size["neck"] + size["head"]) * _upright_head(m, point["neck"], up)
    for side, sign in (("l", 1.0), ("r", -1.0)):
        point |= _arm(m, point, side, sign, up, size)
        along, down = point.pop(f"along_{side}"), point.pop(f"down_{side}")
        point[f"toe_{side}"] = point[f"ankle_{side}"] + size["foot"] * along + _TOE * down
        point[f"sole_{side}"] = point[f"ankle_{side}"] + _SOLE * down
        point[f"tip_{side}"] = point[f"toe_{side}"] + (_SOLE - _TOE) * down
    size["upper_arm"] = float(np.median(length(point["shoulder_r"] - point["elbow_r"])))
    size["forearm"] = float(np.median(length(point["elbow_r"] - point["wrist_r"])))
    size["hip_half_width"] = 0.5 * float(np.median(length(point["hip_l"] - point["hip_r"])))

    floor = np.min([point[f"{part}_{side}"][:, 2] for part in ("sole", "tip") for side in "lr"], axis=0)  # [T]
    joints = np.stack([point[name] for name in JOINTS], axis=1)
    joints[:, :, 2] -= floor[:, None]
    looks = Subject.sample(np.random.RandomState(seed_of("ui-prmd", who)))
    subject = dataclasses.replace(looks, height=height, **size)  # type: ignore[arg-type]
    return np.round(joints * 2**20) / 2**20, subject


def _core(m: dict[str, Array]) -> dict[str, Array]:
    """Pelvis, hips, chest and neck."""
    asis, psis = 0.5 * (m["LASI"] + m["RASI"]), 0.5 * (m["LPSI"] + m["RPSI"])
    left = unit(m["LASI"] - m["RASI"])
    front = square_to(asis - psis, left)
    up = cross(front, left)
    width = min(float(np.median(length(m["LASI"] - m["RASI"]))), _PELVIS)
    centre = asis - 0.19 * width * front - 0.30 * width * up
    trunk = 0.5 * (m["T10"] + m["STRN"])
    return {
        "pelvis": centre, "hip_l": centre + 0.36 * width * left, "hip_r": centre - 0.36 * width * left,
        "chest": trunk + 0.15 * (centre - trunk), "neck": 0.5 * (m["C7"] + m["CLAV"]),
    }  # fmt: skip


def _upright_head(m: dict[str, Array], neck: Array, up: Array) -> Array:
    """Direction from the neck to the top of the head, [T, 3]: between where the head is and how it is tilted."""
    left = unit(m["LFHD"] + m["LBHD"] - m["RFHD"] - m["RBHD"])
    front = square_to(m["LFHD"] + m["RFHD"] - m["LBHD"] - m["RBHD"], left)
    centre = 0.25 * (m["LFHD"] + m["RFHD"] + m["LBHD"] + m["RBHD"])
    return unit(unit(centre - neck) + cross(front, left) + 0.5 * up)


def _arm(
    m: dict[str, Array], point: dict[str, Array], side: str, sign: float, up: Array, size: dict[str, float]
) -> dict[str, Array]:
    """Shoulder to fist. The shoulder's marker slides inwards over a raised arm, so the collar keeps its length."""
    n = side.upper()
    left = square_to(m["LSHO"] - m["RSHO"], up)
    root = point["neck"] - 0.05 * up
    marker = m[f"{n}SHO"] - _ACROMION * up + 0.02 * sign * left
    shoulder = root + size["shoulder_half_width"] * unit(marker - root)
    wrist = 0.5 * (m[f"{n}WRA"] + m[f"{n}WRB"])
    hand = wrist + size["hand"] * unit(m[f"{n}FIN"] - wrist)
    return {f"shoulder_{side}": shoulder, f"elbow_{side}": m[f"{n}ELB"], f"wrist_{side}": wrist, f"hand_{side}": hand}


def _leg(m: dict[str, Array], point: dict[str, Array], side: str, sign: float) -> dict[str, Array]:
    """Knee and ankle, and the foot's directions along the sole and down through it."""
    n = side.upper()
    knee, ankle = m[f"{n}KNE"], m[f"{n}ANK"]
    way = m[f"{n}TOE"] - m[f"{n}HEE"]
    left = unit(cross(unit(knee - ankle), unit(way)))  # the axis about which shank and foot bend
    along = unit(way + _HEEL * cross(unit(way), left))
    thigh = unit(knee - point[f"hip_{side}"])
    hinge = 0.3 * left + cross(thigh, unit(ankle - knee))  # a bent knee shows its own axis, a straight one does not
    return {
        f"knee_{side}": knee - sign * _KNEE * square_to(hinge, thigh),
        f"ankle_{side}": ankle - sign * _ANKLE * left,
        f"along_{side}": along,
        f"down_{side}": -cross(along, left),
    }
