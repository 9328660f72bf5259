"""Where a person's landmarks are in a video: detection, tracking, a choice among several people, smoothing.

The detector looks at every frame. Where it agrees with the track, the mean of both regions is read: results then depend
half as much on the last bits of the pixels, which tracking alone amplifies. Where they disagree the track counts, as
the detector is worse on bodies that are partly outside the picture, unless the track has shrunk onto a limb. What is
lost is found again.
"""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np

from efa.data.blazepose import BlazePose, Body, Region, network_files
from efa.data.landmarks import INDEX, UNSEEN, Array, Landmarks, load_landmarks
from efa.data.stream import RATE, Frame, duration, stream_frames
from efa.data.video import image_files
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa.utils.paths import cache

VERSION = 1  # of the estimator: raise it when landmarks change, and cached ones are made again
SECONDS = 120.0  # of a longer video are read
PROBES = 24  # places of a longer video at which somebody is looked for
PEOPLE = 3  # tracks at a time
NEAR, SAME = 0.2, 0.6  # overlap from which a detection belongs to a track, and from which both agree
SHRUNK = 1.6  # a detection that much larger than the track's region: that has shrunk onto one limb
TURN = 0.55  # radians; they also agree about the body's direction within this
PATIENCE = RATE  # frames after which somebody lost counts as gone
SIGMA = 0.05  # seconds, of the Gaussian that smooths landmarks
PARTS = {"legs": ("knee", "ankle"), "arms": ("elbow", "wrist"), "shoulders and hips": ("shoulder", "hip")}
Progress = Callable[[int, int], None]


@dataclass
class Track:
    """One person through the frames."""

    region: Region
    bodies: dict[int, Body] = field(default_factory=dict)  # by frame
    lost: int = 0  # frames since the last one

    def look(self, model: BlazePose, picture: Array, frame: int, seen: Region | None) -> None:
        """Finds the person in the next frame, near what the detector has seen there."""
        body = None
        shrunk = seen is not None and seen.side > SHRUNK * self.region.side
        if not self.lost and not shrunk:
            body = model.landmarks(picture, self.region if seen is None else blend(self.region, seen))
        if body is None and seen is not None:
            body = model.landmarks(picture, seen)
        self.lost = self.lost + 1 if body is None else 0
        if body:
            self.bodies[frame], self.region = body, body.region

    def score(self, size: tuple[int, int]) -> float:
        """How likely this is the one that the video is about: large, central, moving, there for long."""
        regions = np.array([body.region for body in self.bodies.values()])
        off = np.abs(np.median(regions[:, 0]) / size[0] - 0.5) * 2
        poses = np.stack([body.image[11:, :2] for body in self.bodies.values()])
        poses = (poses - poses.mean(1, keepdims=True)) / np.median(regions[:, 2])
        moving = 0.1 + float(poses.std(0).mean())
        return float(len(regions) * np.median(regions[:, 2]) / max(size) * math.exp(-2 * off**2) * moving)


def blend(track: Region, seen: Region) -> Region:
    """The mean of two regions that agree, else the first."""
    turn = math.remainder(seen.angle - track.angle, math.tau)
    if track.overlap(seen) < SAME or abs(turn) > TURN:
        return track
    x, y = (track.x + seen.x) / 2, (track.y + seen.y) / 2
    return Region(x, y, math.sqrt(track.side * seen.side), track.angle + turn / 2)


def follow(model: BlazePose, tracks: list[Track], picture: Array, frame: int) -> None:
    """Continues all tracks by one frame, and starts new ones for whoever is not much smaller than the others."""
    seen = model.people(picture)
    live = [track for track in tracks if track.lost <= PATIENCE]
    for track in live:
        near = [region for region in seen if track.region.overlap(region) >= NEAR]
        best = max(near, key=track.region.overlap, default=None)
        if best:
            seen.remove(best)
        track.look(model, picture, frame, best)
    now = [track for track in live if frame in track.bodies]
    for i, track in enumerate(now):  # two tracks on one person: the younger ends
        if any(track.region.overlap(other.region) > 0.7 for other in now[:i]):
            track.lost = math.ceil(PATIENCE) + 1
            del track.bodies[frame]
    largest = max((track.region.side for track in now), default=0)
    for region in sorted(seen, key=lambda region: -region.side)[: max(0, PEOPLE - len(live))]:
        if region.side > 0.4 * largest and all(region.overlap(track.region) < NEAR for track in live):
            track = Track(region)
            track.look(model, picture, frame, region)
            if track.bodies:
                tracks.append(track)


def choose(tracks: list[Track], size: tuple[int, int]) -> tuple[dict[int, Body], int]:
    """The person that the video is about, by frame, and how many people there are.

    A track that shares no frame with the chosen one is taken for the same person, found again after a cut or a gap.
    """
    ranked = sorted((track for track in tracks if track.bodies), key=lambda track: -track.score(size))
    chosen: dict[int, Body] = {}
    people = 1
    for track in ranked:
        if chosen.keys().isdisjoint(track.bodies):
            chosen |= track.bodies
        elif len(track.bodies) > len(ranked[0].bodies) / 4:
            people += 1
    return chosen, people


def smooth(values: Array, times: Array, weights: Array, sigma: float = SIGMA) -> Array:
    """Gaussian mean over time of values [T, N, 3] with weights [T, N]; a missing frame (NaN) stays missing."""
    found = np.isfinite(values).all((1, 2))
    kernel = np.exp(-0.5 * ((times[:, None] - times[found]) / sigma) ** 2)  # [T, found]
    out = np.full_like(values, np.nan)
    shares = kernel[found][:, :, None] * weights[found]
    shares /= shares.sum(1, keepdims=True)
    out[found] = np.einsum("tsn,snc->tnc", shares, values[found])
    return out


def _first_sight(model: BlazePose, path: Path, length: float) -> float:
    """Where in a long video somebody is first seen, seconds; 0 if nobody is."""
    for k in range(PROBES):
        with contextlib.suppress(InputError):  # nothing can be decoded from there on
            frame = next(stream_frames(path, [], k * length / PROBES), None)
            if frame and model.people(frame.image):
                return frame.time
    return 0


def estimate_pose(video: str | Path | Iterable[Frame], progress: Progress | None = None) -> Landmarks:
    """The landmarks of one person in a video (file, folder of images, or frames in order), about 12 times a second.

    Of several people it is the largest, most central and moving one. Of a video longer than `SECONDS` that much is
    read, from where somebody is first seen (at one of `PROBES` places). `Landmarks.notes` says so, and what was odd.

    Raises InputError: the networks have not been fetched, or no frame can be read.
    """
    model = BlazePose(*network_files())
    notes: list[str] = []
    length = start = 0.0
    if isinstance(video, str | Path):
        length = duration(Path(video))
        start = _first_sight(model, Path(video), length) if length > SECONDS else 0.0
        video = stream_frames(Path(video), notes, start)
    total = max(1, math.ceil(min(length or SECONDS, SECONDS) * RATE))
    times: list[float] = []
    tracks: list[Track] = []
    size = (0, 0)
    for time, picture, size in video:  # noqa: B007
        if (times and time - times[0] >= SECONDS) or len(times) >= SECONDS * RATE:
            lasts = f"the video lasts {timedelta(seconds=int(length))}" if length else "the video is long"
            notes.append(f"{lasts}: {SECONDS:.0f} seconds were read, from {timedelta(seconds=int(times[0]))} on")
            break
        follow(model, tracks, picture, len(times))
        times.append(time)
        if progress:
            progress(len(times), max(total, len(times)))
    if not times:
        raise InputError("there is no frame", hint="give at least one")
    if progress:
        progress(len(times), len(times))
    return _assemble(tracks, np.array(times), size, picture.shape[1], notes)


def _assemble(tracks: list[Track], times: Array, size: tuple[int, int], width: int, notes: list[str]) -> Landmarks:
    image, world = np.full((2, len(times), 33, 3), np.nan, np.float32)
    visibility = np.zeros((len(times), 33), np.float32)
    bodies, people = choose(tracks, (width, round(width * size[1] / size[0])))
    for i, body in bodies.items():
        image[i], world[i], visibility[i] = body.image * (size[0] / width), body.world, body.visibility
    weights = visibility + 0.05
    image, world = smooth(image, times, weights), smooth(world, times, weights)
    if people > 1:
        notes.append(f"{people} people: the largest, most central and moving one was read")
    if not bodies:
        notes.append("nobody was found")
    for part, names in PARTS.items() if bodies else ():
        sides = [np.median(visibility[sorted(bodies)][:, [INDEX[f"{name}_{side}"] for name in names]]) for side in "lr"]
        if max(sides) < UNSEEN:
            notes.append(f"the {part} can hardly be seen: their places are guesses")
    return Landmarks(image, visibility, times, size, world, tuple(dict.fromkeys(notes)))


def landmarks_of(video: str | Path, progress: Progress | None = None) -> Landmarks:
    """`estimate_pose`, kept in the project's cache. A file is known by its size, time and first 16 MB."""
    path = Path(video)
    digest = hashlib.sha256(f"{VERSION}".encode())
    length = duration(path)  # refuses what is no video
    for file in image_files(path) if path.is_dir() else [path]:
        facts = file.stat()
        with file.open("rb") as content:
            digest.update(f"{file.name} {facts.st_size} {facts.st_mtime_ns} {length}".encode() + content.read(1 << 24))
    kept = cache() / "poses" / f"{digest.hexdigest()[:24]}.npz"
    if kept.is_file():
        with contextlib.suppress(InputError):  # damaged: it is made again
            return load_landmarks(kept)
    landmarks = estimate_pose(path, progress)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_safely(kept, landmarks.save)
    return landmarks
