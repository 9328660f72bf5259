"""Landmarks of one person in a video, as BlazePose names them, and the file they are kept in."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from efa.utils.errors import InputError

Array = np.ndarray
_SIDED = ("shoulder", "elbow", "wrist", "pinky", "index", "thumb", "hip", "knee", "ankle", "heel", "toe")
_FACE = ("eye_inner", "eye", "eye_outer")
NAMES = (
    *("nose", *(f"{part}_{side}" for side in "lr" for part in _FACE), "ear_l", "ear_r", "mouth_l", "mouth_r"),
    *(f"{part}_{side}" for part in _SIDED for side in "lr"),
)
INDEX = {name: i for i, name in enumerate(NAMES)}
UNSEEN = 0.35  # median visibility below which a part of the body is taken as made up


class Landmarks(NamedTuple):
    """The 33 landmarks of one person in T frames of a video. NaN in a frame in which nobody was found."""

    image: Array  # float32 [T, 33, 3]: x to the right, y down and z away from the camera, all in pixels
    visibility: Array  # float32 [T, 33] in [0, 1]; 0 in a frame in which nobody was found
    times: Array  # float64 [T], seconds from the start of the video
    size: tuple[int, int]  # displayed width and height of the video, pixels
    world: Array | None = None  # float32 [T, 33, 3]: the same axes in metres from between the hips
    notes: tuple[str, ...] = ()  # what was odd about the video and what was done about it, one sentence each

    @property
    def found(self) -> Array:
        """In which frames somebody was found, bool [T]."""
        return np.isfinite(self.image).all((1, 2))

    def save(self, path: Path) -> None:
        """Writes a .npz file that `load_landmarks` reads."""
        parts = {name: getattr(self, name) for name in ("image", "visibility", "times", "world")}
        kept = {name: value for name, value in parts.items() if value is not None}
        with path.open("wb") as file:
            np.savez_compressed(file, size=self.size, notes=np.array(self.notes, dtype="U"), **kept)


def load_landmarks(path: str | Path) -> Landmarks:
    """Reads a .npz file with at least `image` [T, 33, 3] in pixels; pickled objects are refused.

    Raises InputError: no such file, or its arrays are missing, of another shape or not numbers.
    """
    path, hint = Path(path), "give a .npz file that 'efa data pose' has written"
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        image = found["image"].astype(np.float32)
        if image.ndim != 3 or image.shape[1:] != (33, 3) or not len(image):
            raise ValueError(f"'image' is {list(image.shape)}, not [frames, 33, 3]")
        count = len(image)
        seen = np.isfinite(image).all((1, 2))
        visibility = found.get("visibility", np.repeat(seen[:, None], 33, 1)).astype(np.float32)
        times = found.get("times", np.arange(count) / 12.5).astype(np.float64)
        world = found["world"].astype(np.float32) if "world" in found else None
        for name, value, shape in (("visibility", visibility, (count, 33)), ("times", times, (count,))):
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"'{name}' must be {list(shape)} finite numbers")
        if world is not None and world.shape != image.shape:
            raise ValueError(f"'world' is {list(world.shape)}, not {list(image.shape)}")
        size = found["size"] if "size" in found else np.nanmax(image[..., :2], (0, 1)) + 1
        width, height = (int(side) for side in size)
        notes = tuple(str(note) for note in found.get("notes", ()))
    except FileNotFoundError:
        raise InputError("no such file", file=path, hint="check the path") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise InputError(f"not a file of landmarks: {reason}", file=path, hint=hint) from error
    return Landmarks(image, visibility, times, (width, height), world, notes)
