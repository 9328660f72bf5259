"""What pose estimation keeps and writes: cached landmarks, the networks' files, pictures, the command `efa pose`."""

import hashlib
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from checkpoints import call, said
from PIL import Image
from test_video import encode, grey

from efa.data import blazepose, pose
from efa.data.landmarks import Landmarks, load_landmarks
from efa.data.pose import landmarks_of
from efa.data.stream import RATE, stream_frames
from efa.utils.errors import InputError
from efa_book.pictures import MARKED, contact_sheet, draw_skeleton
from efa_datasets import pose_models
from efa_datasets.mp4 import write_mp4

pytest.importorskip("av")


# The cache


def test_landmarks_are_kept_by_content_and_version(home, tmp_path, monkeypatch):
    calls: list[Path] = []

    def estimate(path, progress):
        calls.append(path)
        return Landmarks(np.zeros((1, 33, 3), np.float32), np.ones((1, 33), np.float32), np.zeros(1), (48, 32))

    monkeypatch.setattr(pose, "estimate_pose", estimate)
    video = encode(tmp_path / "a.mp4", grey(3))
    before = set(tmp_path.rglob("*"))
    landmarks_of(video)
    assert landmarks_of(video).size == (48, 32)
    assert len(calls) == 1
    (kept,) = (home / ".cache" / "poses").iterdir()
    assert set(tmp_path.rglob("*")) - before == {home / ".cache", kept.parent, kept}
    kept.write_bytes(b"damaged")
    landmarks_of(video)
    assert len(calls) == 2
    assert load_landmarks(kept).found.all()
    monkeypatch.setattr(pose, "VERSION", -1)
    landmarks_of(video)
    os.utime(encode(video, grey(3)[::-1]), (1, 1))
    landmarks_of(video)
    assert len(calls) == 4


# The networks' files


def test_without_the_networks_one_line_says_what_to_run(tmp_path, monkeypatch, capfd, home):
    monkeypatch.setattr(blazepose, "FOLDER", tmp_path / "none")
    status, out, err = call(monkeypatch, capfd, "pose", str(encode(tmp_path / "a.mp4", grey(3))))
    assert (status, out) == (2, "")
    assert "run: python -m efa_datasets.pose_models" in said(err)


def test_networks_are_checked_and_fetched_once(tmp_path, monkeypatch):
    content = {name: name.encode() for name in pose_models.FILES}
    downloads = []

    def pip(command, **options):
        downloads.append(command)
        (folder,) = (word.partition("=")[2] for word in command if word.startswith("--dest="))
        with zipfile.ZipFile(Path(folder) / "mediapipe.whl", "w") as wheel:
            for name, raw in content.items():
                wheel.writestr(f"mediapipe/modules/{name}", raw)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setattr(blazepose, "FOLDER", tmp_path / "share")
    with pytest.raises(InputError, match="another SHA-256"):
        pose_models.fetch()
    assert not list(tmp_path.rglob("*.tflite"))
    hashes = {name: hashlib.sha256(raw).hexdigest() for name, raw in content.items()}
    monkeypatch.setattr(pose_models, "FILES", hashes)
    assert [pose_models.fetch(), pose_models.fetch()] == [True, False]
    assert len(downloads) == 2
    blazepose.network_files()[1].write_bytes(b"cut")
    assert pose_models.fetch()
    monkeypatch.setattr(subprocess, "run", lambda c, **o: subprocess.CompletedProcess(c, 1, "", "ERROR: no network"))
    blazepose.network_files()[0].unlink()
    with pytest.raises(InputError, match="no network"):
        pose_models.fetch()


# Pictures


def test_a_marked_limb_is_drawn_in_its_colour():
    points, picture = np.random.RandomState(0).uniform(20, 180, (33, 3)), Image.new("RGB", (200, 200))
    arm = {"shoulder_l", "elbow_l", "wrist_l"}

    def marked(drawn: Image.Image) -> int:
        return int((np.asarray(drawn) == MARKED).all(-1).sum())

    assert marked(draw_skeleton(picture, points)) == 0
    assert marked(draw_skeleton(picture, points, np.zeros(33), arm)) > 200
    assert marked(draw_skeleton(picture, points, highlight={"knee_r"})) > 50
    assert not np.asarray(draw_skeleton(picture, points, np.zeros(33))).any()
    assert not np.asarray(draw_skeleton(picture, points * np.nan, highlight=arm)).any()
    with pytest.raises(KeyError, match="tail"):
        draw_skeleton(picture, points, highlight={"tail"})


def test_efa_pose_writes_pictures_and_goes_on(networks, squat, tmp_path, monkeypatch, capfd, home):
    monkeypatch.setenv("CI", "true")
    (tmp_path / "in").mkdir()
    (tmp_path / "other").mkdir()
    for folder in ("in", "other"):
        write_mp4(tmp_path / folder / "squat.mp4", squat[0], RATE)
    videos = [str(tmp_path / "in" / "squat.mp4"), str(tmp_path / "absent.mp4"), str(tmp_path / "other" / "squat.mp4")]
    status, out, err = call(monkeypatch, capfd, "pose", *videos, "--to", str(tmp_path / "out"))
    assert status == 2
    assert "absent.mp4: no such file" in said(err)
    assert [line.split("; ")[0].partition(".mp4: ")[2] for line in out.splitlines()] == [
        "somebody in 100% of 6 frames"
    ] * 2
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"squat-pose.png", "squat-pose-2.png"}
    status, out, err = call(monkeypatch, capfd, "pose", videos[0], "--video", "--to", str(tmp_path / "out"))
    assert (status, err) == (0, "")
    drawn = [frame.image for frame in stream_frames(tmp_path / "out" / "squat-pose.mp4", [])]
    assert len(drawn) == 6
    assert np.abs(drawn[0].astype(int) - squat[0][0]).max() > 100


def test_a_contact_sheet_has_a_picture_a_part(tmp_path):
    path = encode(tmp_path / "a.mp4", grey(30, 120, 240))
    count = len(list(stream_frames(path, [])))
    nothing = np.full((count, 33, 3), np.nan, np.float32)
    times = np.array([frame.time for frame in stream_frames(path, [])])
    sheet = contact_sheet(path, Landmarks(nothing, np.zeros((count, 33), np.float32), times, (240, 120)))
    assert sheet.size == (4 * 244, 3 * 124)
