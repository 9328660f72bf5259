"""BlazePose's two networks, for one picture: where people are, and the 33 landmarks of one of them.

Bazarevsky et al. 2020, "BlazePose: On-device real-time body pose tracking". The detector looks at the whole picture and
gives two points a person, between the hips and on a circle around the body; they span a turned square, the region. The
landmark network looks at that region alone and also gives the two points that span the next frame's.
"""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from efa.data.landmarks import Array
from efa.utils.errors import InputError

FOLDER = Path(sys.prefix) / "share" / "efa"
NETWORKS = ("pose_detection.tflite", "pose_landmark_full.tflite")
FETCH = "python -m efa_datasets.pose_models"
DETECTOR_SIDE, LANDMARK_SIDE = 224, 256  # pixels
STRIDES = (8, 16, 32, 32, 32)  # of the detector's layers; each has two anchors a cell
MARGIN = 1.25  # the region is that much larger than the circle around the body
SURE = 0.5  # probability from which somebody counts as found
SAME = 0.3  # boxes that overlap that much (intersection over union) are one person


def network_files() -> tuple[Path, Path]:
    """The detector's and the landmark network's file; InputError if they have not been fetched."""
    detector, landmarker = (FOLDER / name for name in NETWORKS)
    for file in (detector, landmarker):
        if not file.is_file():
            raise InputError("the pose estimator's networks are missing", file=file, hint=f"run: {FETCH}")
    return detector, landmarker


class Region(NamedTuple):
    """A square in a picture, in pixels: centre, side, and its upward axis, radians clockwise from the picture's."""

    x: float
    y: float
    side: float
    angle: float

    @classmethod
    def span(cls, centre: Array, rim: Array) -> "Region":
        """From the point between the hips and one on the circle around the body, straight over the head."""
        x, y = (float(value) for value in rim - centre)
        return cls(float(centre[0]), float(centre[1]), 2 * MARGIN * math.hypot(x, y), math.atan2(x, -y))

    def matrix(self, cells: int) -> Array:
        """[2, 3]: takes (column, row, 1) in a crop of cells x cells to the picture."""
        c, s = (self.side / cells * f(self.angle) for f in (math.cos, math.sin))
        half = cells / 2
        return np.array([[c, -s, self.x - half * (c - s)], [s, c, self.y - half * (s + c)]])

    def overlap(self, other: "Region") -> float:
        """Intersection over union, as if neither were turned."""
        a, b = ((r.x - r.side / 2, r.y - r.side / 2, r.side, r.side) for r in (self, other))
        return float(box_overlap(np.array([a]), np.array(b))[0])


class Body(NamedTuple):
    """One person in one picture."""

    image: Array  # [33, 3], as in `Landmarks`
    world: Array  # [33, 3]
    visibility: Array  # [33]
    region: Region  # where to look in the next frame


def box_overlap(boxes: Array, box: Array) -> Array:
    """Intersection over union of boxes (left, top, width, height) [N, 4] with one [4]."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    shared = np.clip(high - low, 0, None).prod(1)
    return shared / np.maximum(boxes[:, 2:].prod(1) + box[2:].prod() - shared, 1e-9)


@cache
def anchors() -> Array:
    """Centres of the detector's 2254 boxes, float32 [N, 2] in [0, 1], x before y."""
    layers = []
    for stride in sorted(set(STRIDES)):
        cells = DETECTOR_SIDE // stride
        y, x = (np.indices((cells, cells)) + 0.5) / cells
        layers.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), 2 * STRIDES.count(stride), axis=0))
    return np.concatenate(layers).astype(np.float32)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(x, -80, 80)))


def merge(boxes: Array, scores: Array) -> list[Array]:
    """Non-maximum suppression that averages: one row a person, best first, from rows (box, points) [N, 4 + 2 K]."""
    people = []
    while len(boxes):
        near = box_overlap(boxes[:, :4], boxes[scores.argmax(), :4]) > SAME
        near[scores.argmax()] = True
        people.append(np.average(boxes[near], axis=0, weights=scores[near]))
        boxes, scores = boxes[~near], scores[~near]
    return people


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """LiteRT greets on stderr from C++, where Python's streams do not reach."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class _Network:
    """One .tflite file, run by one thread."""

    def __init__(self, file: Path):
        with _silenced():
            self.interpreter = Interpreter(model_path=str(file), num_threads=1)
            self.interpreter.allocate_tensors()
        self.outputs = {part["name"]: part["index"] for part in self.interpreter.get_output_details()}

    def __call__(self, picture: Array, *names: str) -> list[Array]:
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], picture[None])
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(self.outputs[name])[0] for name in names]


class BlazePose:
    """Both networks. A picture is uint8 RGB [H, W, 3]."""

    def __init__(self, detector: Path, landmarker: Path):
        self.detector, self.landmarker = _Network(detector), _Network(landmarker)

    def people(self, picture: Array) -> list[Region]:
        """The region of everybody whom the detector sees, the surest first."""
        height, width = picture.shape[:2]
        scale = DETECTOR_SIDE / max(width, height)
        small = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = ((DETECTOR_SIDE - side) // 2 for side in small)
        canvas = np.zeros((DETECTOR_SIDE, DETECTOR_SIDE, 3), np.float32)
        shrunk = Image.fromarray(picture).resize(small, Image.Resampling.BILINEAR)
        canvas[top : top + small[1], left : left + small[0]] = np.asarray(shrunk, np.float32) / 127.5 - 1
        rows, scores = self.detector(canvas, "Identity", "Identity_1")
        scores = _sigmoid(scores[:, 0])
        sure = scores >= SURE
        rows = rows[sure].copy()
        middles = np.tile(DETECTOR_SIDE * anchors()[sure], 5)
        rows[:, :2] += middles[:, :2] - rows[:, 2:4] / 2  # the corner in place of the middle
        rows[:, 4:] += middles[:, 2:]
        points = [(row[4:8].reshape(2, 2) - (left, top)) / scale for row in merge(rows, scores[sure])]
        return [Region.span(*pair) for pair in points]

    def landmarks(self, picture: Array, region: Region) -> Body | None:
        """The landmarks of the person in a region; None where there seems to be nobody."""
        if not 1 <= region.side < 1e5:
            return None
        matrix = region.matrix(LANDMARK_SIDE)
        how = Image.Transform.AFFINE, matrix.ravel().tolist(), Image.Resampling.BILINEAR
        crop = Image.fromarray(picture).transform((LANDMARK_SIDE, LANDMARK_SIDE), *how)
        names = ("Identity", "Identity_1", "Identity_4")
        points, presence, world = self.landmarker(np.asarray(crop, np.float32) / 255, *names)
        if presence[0] < SURE:
            return None
        points = points.reshape(39, 5)  # x, y, z, visibility, presence; 33 and 34 are the next region's
        flat = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        depth = points[:, 2:3] * (region.side / LANDMARK_SIDE)
        c, s = math.cos(region.angle), math.sin(region.angle)
        turned = world.reshape(39, 3)[:33] @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
        image = np.concatenate([flat, depth], 1)[:33]
        return Body(image, turned, _sigmoid(points[:33, 3]), Region.span(flat[33], flat[34]))
