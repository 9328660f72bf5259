"""Pose estimation: geometry, streams, several people, and figures of FormSim whose joints are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from test_video import encode, grey

from efa.data import pose
from efa.data.blazepose import DETECTOR_SIDE, BlazePose, Body, Region, anchors, merge
from efa.data.landmarks import INDEX
from efa.data.pose import Track, blend, choose, estimate_pose, smooth
from efa.data.stream import RATE, Frame, duration, every, stream_frames
from efa.utils.errors import InputError
from efa_datasets.mp4 import write_mp4
from formsim.motion import INDEX as JOINT

pytest.importorskip("av")
SIDE = 320
LIMBS = [f"{part}_{side}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in "lr"]
real = st.floats(-500, 500)
regions = st.builds(Region, real, real, st.floats(2, 2000), st.floats(-3.1, 3.1))


def frames_of(pictures) -> list[Frame]:
    return [Frame(i / RATE, picture, (picture.shape[1], picture.shape[0])) for i, picture in enumerate(pictures)]


# Geometry


@given(regions, st.integers(2, 300))
def test_a_crop_shows_its_region(region, cells):
    matrix = region.matrix(cells)
    middle, top = (matrix @ (*place, 1) for place in ((cells / 2, cells / 2), (cells / 2, 0)))
    assert np.allclose(middle, (region.x, region.y), atol=1e-6)
    up = np.array([np.sin(region.angle), -np.cos(region.angle)])
    assert np.allclose(top - middle, up * region.side / 2, atol=1e-6)


@given(real, real, st.floats(1, 300), st.floats(-3.1, 3.1))
def test_a_region_is_spanned_by_its_centre_and_rim(x, y, radius, angle):
    rim = np.array([x + radius * np.sin(angle), y - radius * np.cos(angle)])
    region = Region.span(np.array([x, y]), rim)
    assert region.side == pytest.approx(2.5 * radius, rel=1e-5)
    assert np.exp(1j * region.angle) == pytest.approx(np.exp(1j * angle), abs=1e-5)


@given(regions, regions)
def test_overlap_is_symmetric_and_of_itself_1(a, b):
    assert a.overlap(b) == pytest.approx(b.overlap(a), abs=1e-6)
    assert 0 <= a.overlap(b) <= 1 + 1e-6
    assert a.overlap(a) == pytest.approx(1, abs=1e-6)


@given(regions, st.floats(-0.1, 0.1), st.floats(-0.5, 0.5))
def test_regions_are_averaged_where_they_agree(region, shift, turn):
    other = region._replace(x=region.x + shift * region.side, angle=region.angle + turn)
    mean = blend(region, other)
    assert mean.x == pytest.approx((region.x + other.x) / 2)
    assert np.exp(1j * mean.angle) == pytest.approx(np.exp(1j * (region.angle + turn / 2)), abs=1e-6)
    far = region._replace(x=region.x + region.side)
    assert blend(region, far) == blend(region, region._replace(angle=region.angle + 2)) == region


def test_anchors_are_the_cells_of_each_layer():
    assert anchors().shape == (2254, 2)
    assert np.allclose(anchors()[:3] * DETECTOR_SIDE, [(4, 4), (4, 4), (12, 4)])  # two a cell, stride 8, row by row
    assert np.allclose(anchors()[-1] * DETECTOR_SIDE, (208, 208))


def test_overlapping_boxes_become_their_weighted_mean():
    boxes = np.array([[0, 0, 10, 10, 5], [1, 0, 10, 10, 8], [50, 50, 10, 10, 0]], float)
    first, second = merge(boxes, np.array([0.6, 0.9, 0.8]))
    assert np.allclose(first, (0.6 * boxes[0] + 0.9 * boxes[1]) / 1.5)
    assert (second == boxes[2]).all()
    assert merge(boxes[:0], np.array([])) == []


# Time


@given(st.floats(1, 240), st.integers(1, 400))
def test_frames_are_taken_at_about_the_rate(fps, count):
    wanted = every(RATE)
    times = [t for t in (i / fps for i in range(count)) if wanted(t)]
    assert times[0] == 0
    assert len(times) <= count / fps * RATE + 1
    if fps <= RATE:
        assert len(times) == count
    gaps = np.diff(times)
    assert (gaps <= 1 / RATE + 1 / fps + 1e-6).all()


@given(st.integers(2, 40), st.integers(0, 2**31 - 1))
@settings(max_examples=30)
def test_smoothing_keeps_lines_and_gaps_and_calms_noise(count, seed):
    draw = np.random.RandomState(seed)
    times, weights = np.arange(count) / RATE, np.ones((count, 33))
    still = np.broadcast_to(draw.normal(size=(33, 3)), (count, 33, 3)).copy()
    assert np.allclose(smooth(still, times, weights), still)
    noise = still + draw.normal(size=still.shape)
    noise[count // 2] = np.nan
    calm = smooth(noise, times, weights)
    assert (np.isnan(calm) == np.isnan(noise)).all()
    if count > 10:
        assert np.nanstd(calm - still) < 0.8 * np.nanstd(noise - still)


def test_a_stream_has_times_size_and_rotation(tmp_path):
    path = encode(tmp_path / "turned.mp4", grey(25, 1080, 1440), rotation=-90)
    frames = list(stream_frames(path, []))
    assert [frame.time for frame in frames] == pytest.approx([0.08 * i for i in range(13)])
    assert {(frame.image.shape, frame.size) for frame in frames} == {((720, 540, 3), (1080, 1440))}
    assert duration(path) == pytest.approx(1)
    assert next(stream_frames(path, [], start=0.5)).time <= 0.5


def test_a_folder_counts_as_the_rate(tmp_path):
    for i, image in enumerate(grey(5)):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"broken")
    notes: list[str] = []
    assert [frame.time * RATE for frame in stream_frames(tmp_path, notes)] == [0, 1, 3, 4]
    assert notes == ["2.png cannot be read and was left out"]


# Several people


def standing(x: float, side: float, sway: float, frames: range) -> Track:
    track = Track(Region(x, 100, side, 0))
    for i in frames:
        image = np.tile([float(x), 100, 0], (33, 1))
        image[15] += sway * side * np.sin(i)
        track.bodies[i] = Body(image, image, np.ones(33), Region(x, 100, side, 0))
    return track


@pytest.mark.parametrize(
    ("best", "other"),
    [((100, 90, 0.1), (100, 50, 0.1)), ((100, 60, 0.1), (190, 60, 0.1)), ((60, 60, 0.8), (140, 60, 0.0))],
    ids=["larger", "central", "moving"],
)
def test_the_person_the_video_is_about(best, other):
    tracks = [standing(*other, range(20)), standing(*best, range(20))]
    bodies, people = choose(tracks, (200, 200))
    assert people == 2
    assert all(body.region.x == best[0] and body.region.side == best[1] for body in bodies.values())


def test_somebody_found_again_is_the_same_person():
    bodies, people = choose([standing(50, 60, 0.1, range(8)), standing(150, 60, 0.1, range(12, 20))], (200, 200))
    assert people == 1
    assert set(bodies) == {*range(8), *range(12, 20)}


# The networks


@pytest.mark.parametrize("folder", [False, True])
def test_joints_of_a_rendered_squat(networks, squat, tmp_path, folder):
    pictures, places = squat
    if folder:
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / f"{i}.png")
    else:
        write_mp4(tmp_path / "squat.mp4", pictures, RATE)
    seen: list[tuple[int, int]] = []
    found = estimate_pose(tmp_path if folder else tmp_path / "squat.mp4", lambda *done: seen.append(done))
    assert found.found.all()
    assert (found.image.shape, found.size, found.notes) == ((6, 33, 3), (SIDE, SIDE), ())
    guessed, true = found.image[:, [INDEX[name] for name in LIMBS], :2], places[:, [JOINT[name] for name in LIMBS]]
    off = np.linalg.norm(guessed - true, axis=-1)
    assert np.median(off) < 0.03 * SIDE
    assert np.median(off, axis=0).max() < 0.05 * SIDE
    assert found.world is not None
    assert (found.world[:, INDEX["shoulder_l"], 1] < found.world[:, INDEX["knee_l"], 1]).all()  # y points down
    assert (found.image[:, INDEX["nose"], 2] < found.image[:, INDEX["ear_l"], 2]).all()  # z away from the camera
    assert seen[-1] == (6, 6)
    assert all(done <= total for done, total in seen)


def test_landmarks_turn_with_the_picture(networks, squat):
    pictures, _ = squat
    model = BlazePose(*networks)
    upright, (region,) = pictures[0], model.people(pictures[0])
    lying = np.rot90(upright, -1).copy()  # clockwise: x' = SIDE - y, y' = x
    turned = Region(SIDE - region.y, region.x, region.side, region.angle + np.pi / 2)
    a, b = model.landmarks(upright, region), model.landmarks(lying, turned)
    assert a
    assert b
    assert np.allclose(np.stack([SIDE - a.image[:, 1], a.image[:, 0]], 1), b.image[:, :2], atol=1)
    assert np.allclose(np.stack([-a.world[:, 1], a.world[:, 0]], 1), b.world[:, :2], atol=0.02)


def test_results_repeat(networks, squat):
    pictures, _ = squat
    a, b = estimate_pose(frames_of(pictures)), estimate_pose(frames_of(pictures))
    assert (a.image == b.image).all()
    noise = np.random.RandomState(0).randint(-2, 3, pictures.shape)
    c = estimate_pose(frames_of(np.clip(pictures + noise, 0, 255).astype(np.uint8)))
    assert np.median(np.linalg.norm(a.image - c.image, axis=-1)) < 0.01 * SIDE


def cartoon() -> np.ndarray:
    picture = Image.new("RGB", (SIDE, SIDE), "lightyellow")
    draw = ImageDraw.Draw(picture)
    draw.circle((160, 70), 30, "pink", "black", 4)
    for line in ((160, 100, 160, 200), (160, 120, 110, 170), (160, 120, 210, 170), (120, 290, 160, 200, 200, 290)):
        draw.line(line, "black", 6)
    return np.asarray(picture)


def beside(picture: np.ndarray) -> np.ndarray:
    """The picture and a smaller one of its mirror image."""
    small = Image.fromarray(picture[:, ::-1]).resize((256, 256))
    canvas = Image.new("RGB", (SIDE + 256, SIDE), (128, 128, 128))
    canvas.paste(Image.fromarray(picture))
    canvas.paste(small, (SIDE, SIDE - 256))
    return np.asarray(canvas)


LEGS = "the legs can hardly be seen: their places are guesses"
ODD = {
    "black": (lambda pictures: np.zeros((3, 90, 160, 3), np.uint8), 0, "nobody was found"),
    "grey, one pixel": (lambda pictures: np.full((3, 1, 1, 3), 90, np.uint8), 0, "nobody was found"),
    "cartoon": (lambda pictures: [cartoon()] * 3, 0, "nobody was found"),
    "one frame": (lambda pictures: pictures[:1], 1, None),
    "torso": (lambda pictures: pictures[:, : SIDE * 45 // 100], 1, LEGS),
    "two people": (lambda pictures: list(map(beside, pictures)), 1, "2 people: the largest, most central and moving"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_pictures_have_a_clear_answer(networks, squat, name):
    make, share, note = ODD[name]
    found = estimate_pose(frames_of(make(squat[0])))
    assert found.found.mean() == share
    assert found.visibility.any() == bool(share)
    assert [note in said for said in found.notes].count(True) == 1 if note else not found.notes
    if name == "two people":
        assert (found.image[:, INDEX["nose"], 0] < SIDE).all()


def test_no_frame_at_all(networks):
    with pytest.raises(InputError, match="no frame"):
        estimate_pose([])


def test_four_hours_are_read_from_where_somebody_is_seen(networks, squat, tmp_path):
    """Somebody comes in after two hours; all frames are key frames, 400 seconds apart."""
    empty = np.full((SIDE, SIDE, 3), 90, np.uint8)
    pictures = np.stack([*[empty] * 18, *[squat[0][0]] * 19])
    path = encode(tmp_path / "long.mkv", pictures, "mjpeg", "yuvj420p", times=range(0, 37 * 10_000, 10_000))
    found = estimate_pose(path)
    assert found.notes == ("the video lasts 4:00:00: 120 seconds were read, from 2:00:00 on",)
    assert found.times[0] == 7200
    assert found.found.all()


def test_long_streams_end_at_the_limit(networks, monkeypatch):
    monkeypatch.setattr(pose, "SECONDS", 1.0)
    taken: list[int] = []
    endless = (taken.append(i) or Frame(i / RATE, np.zeros((32, 32, 3), np.uint8), (32, 32)) for i in range(10**6))
    found = estimate_pose(endless)
    assert len(found.times) == 13
    assert len(taken) < 20
    assert "the video is long: 1 seconds were read, from 0:00:00 on" in found.notes


# Real videos


@pytest.mark.slow
def test_real_clips(networks, shared):
    folder = shared / "real-clips"
    found = {path.name: estimate_pose(path).found.mean() for path in sorted(folder.glob("*.mp4"))}
    assert len(found) == 8
    assert min(found.values()) > 0.9, found


def test_odd_files(networks, shared):
    answers = {}
    for path in sorted((shared / "real-clips" / "decoder").iterdir()):
        try:
            answers[path.stem] = " ".join(estimate_pose(path).notes)
        except InputError as error:
            answers[path.stem] = str(error)
    assert "Git LFS pointer" in answers.pop("git_lfs_pointer_not_a_video")
    assert "damaged" in answers["corrupted"]
    assert all("nobody was found" in answer for answer in answers.values())
