"""`efa assess` on films of real people: every readable clip gets an answer, every other file one line."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny
from checkpoints import call

from efa.baselines.inputs import build_model, prepare
from efa.predict import EFA

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with tiny.home(tmp_path_factory.mktemp("home")) as folder:
        yield folder


@pytest.fixture(scope="module")
def checkpoint(home) -> str:
    config = tiny.config()
    inputs = prepare(config)
    EFA.from_material(build_model(config, inputs), config, inputs).save_pretrained(home / "checkpoint")
    return str(home / "checkpoint")


@pytest.fixture
def efa(home, monkeypatch, capfd):
    return partial(call, monkeypatch, capfd)


@pytest.fixture(scope="module")
def clips(shared: Path) -> Path:
    if not (shared / "real-clips").is_dir():
        pytest.skip("no real clips beside this checkout")
    return shared / "real-clips"


def phone_video(path: Path, clip: np.ndarray, turned: int) -> Path:
    """A clip as a telephone records it: the pixels lie on their side, and the file says how to turn them back."""
    stored = np.ascontiguousarray(np.rot90(clip, turned // 90, axes=(1, 2)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=4)
        stream.height, stream.width = stored.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "1"}
        stream.set_display_rotation(-turned)
        for image in stored:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def upright(size: int = 64) -> np.ndarray:
    """Six frames, tall, with a bright head above and a dark floor below: nothing about them is symmetric."""
    clip = np.full((6, 2 * size, size, 3), 90, np.uint8)
    clip[:, : size // 2, size // 4 : size // 2] = 240
    clip[:, -size // 4 :] = 20
    for i in range(6):
        clip[i, size : size + 8, 8 * i : 8 * i + 8] = 200, 40, 40
    return clip


@pytest.mark.parametrize("turned", [90, 180, 270])
def test_a_turned_recording_is_assessed_upright(efa, checkpoint, tmp_path, turned):
    answers = []
    for angle in (0, turned):
        video = phone_video(tmp_path / f"{angle}.mp4", upright(), angle)
        status, out, err = efa("assess", str(video), "--checkpoint", checkpoint, "--json")
        assert status == 0, err
        answers.append(json.loads(out))
    straight, other = answers
    assert other["quality_probability"] == pytest.approx(straight["quality_probability"], abs=2e-3)
    assert [top["action"] for top in other["top5"]] == [top["action"] for top in straight["top5"]]


def test_the_answer_would_change_if_the_turn_were_missed(checkpoint):
    """Otherwise the test above could not fail."""
    efa = EFA.from_pretrained(checkpoint)
    square = upright(16).repeat(2, axis=2)[:, :, :32]  # 32 x 32
    one, other = (efa.assess(np.ascontiguousarray(np.rot90(square, k, axes=(1, 2)))) for k in (0, 1))
    names = [[top["action"] for top in answer["top5"]] for answer in (one, other)]
    assert names[0] != names[1] or abs(one["quality_probability"] - other["quality_probability"]) > 2e-3


def test_eight_gym_clips_get_an_answer_each(efa, checkpoint, clips):
    videos = [str(path) for path in sorted(clips.glob("*.mp4"))]
    assert len(videos) == 8
    status, out, err = efa("assess", *videos, "--checkpoint", checkpoint, "--json")
    assert status == 0, err
    answers = json.loads(out)
    assert [answer["video"] for answer in answers] == videos
    for answer in answers:
        assert "error" not in answer
        assert answer["quality"] in ("standard", "non-standard")
        assert 0 < answer["quality_probability"] < 1
        assert answer["explanation"]
        assert not [warning for warning in answer["warnings"] if "damaged" in warning]
    assert len({answer["quality_probability"] for answer in answers}) == 8  # each was looked at
    status, out, _ = efa("assess", *videos, "--checkpoint", checkpoint)
    assert status == 0
    assert out.count("\n  form ") == 8


def test_what_is_no_video_is_one_line_and_the_rest_goes_on(efa, checkpoint, clips):
    names = ["decoder/git_lfs_pointer_not_a_video.mp4", "SOURCE.md", "decoder", "squat_7.mp4", "decoder/corrupted.mp4"]
    videos = [str(clips / name) for name in names]
    status, out, err = efa("assess", *videos, "--checkpoint", checkpoint, "--json")
    assert status == 2  # at least one file could not be used
    answers = json.loads(out)
    assert ["error" in answer for answer in answers] == [True, True, True, False, False]
    lines = err.splitlines()
    assert len(lines) == 3
    hints = ("Git LFS pointer", "not a video that can be read", "without jpg or png")
    for line, video, hint in zip(lines, videos, hints, strict=False):
        assert line.startswith(f"efa: {video}: ")
        assert hint in line
    assert "damaged" in answers[4]["warnings"][0]
    status, out, err = efa("assess", *videos, "--checkpoint", checkpoint)
    assert status == 2
    assert len(err.splitlines()) == 3
    assert "note     damaged" in out


def test_a_damaged_film_alone_is_no_failure(efa, checkpoint, clips):
    status, out, err = efa("assess", str(clips / "decoder" / "corrupted.mp4"), "--checkpoint", checkpoint)
    assert (status, err) == (0, "")
    assert "only the frames that decode were used" in out
