"""The explorer in JupyterLab: the same document, and a video of the reader's own."""

import io
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import explorer_samples as samples
import numpy as np
import pytest
import tiny
from landmark_clips import GROUND, NOBODY, SQUATS, blank_frames
from PIL import Image
from traitlets import TraitError

from efa.data import pose
from efa.data.landmarks import Landmarks
from efa.predict import EFA

anywidget = pytest.importorskip("anywidget")
pytest.importorskip("av")

from efa_book.explorer_live import GUESS, Camera, Explorer, Panel, assess_clip  # noqa: E402

EMPTY = {"version": 1, "about": {}, "actions": ["Squat"], "names": [], "systems": [], "steps": {}, "clips": []}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    with tiny.home(tmp_path_factory.mktemp("home")) as home:
        yield samples.save_checkpoint(home)


@pytest.fixture(scope="module")
def moving(tmp_path_factory) -> tuple[Path, Path]:
    """An untrained model that reads poses, and frames that show nothing, as many as `SQUATS` has."""
    with tiny.home(tmp_path_factory.mktemp("home")) as home:
        folder = samples.save_checkpoint(home, tiny.pose_config())
        yield folder, blank_frames(home / "squats")


@pytest.fixture
def estimate(monkeypatch) -> Callable[[Landmarks], None]:
    """What pose estimation finds from now on."""
    return lambda found: monkeypatch.setattr(pose, "landmarks_of", lambda video, progress=None: found)


def test_the_widget_serves_the_module_of_the_page():
    widget = Explorer(data=EMPTY)
    assert "export default" in widget._esm
    assert ".efax" in widget._css
    assert widget.data["actions"] == ["Squat"]


def test_a_video_becomes_a_clip(checkpoint):
    efa, video = EFA.from_pretrained(checkpoint), checkpoint.parent / "mine.mp4"
    (clip, picture), said = assess_clip(efa, video), efa.assess(video)
    assert picture.source == ""  # pictures are drawn of poses
    answer = clip["answers"]["live"]
    assert (clip["id"], clip["own"], clip["quality"], clip["pictures"]) == ("mine.mp4", True, -1, 18)
    assert (answer["action"], answer["wrong"]) == (said["action"], said["quality_probability"])
    assert answer["sure"] == [one["probability"] for one in said["top5"]]
    np.testing.assert_allclose(np.sum(clip["attention"], 1), 1, atol=1e-4)
    told, _ = assess_clip(efa, video, action=efa.actions[0], name="a name")
    assert (told["answers"]["live"]["action"], told["id"]) == (efa.actions[0], "a name")
    assert "picked by you" in told["note"]


def strip(clip: dict) -> np.ndarray:
    """A clip's pictures [n, S, S, 3]."""
    with Image.open(io.BytesIO(b64decode(clip["sprite"].partition(",")[2]))) as picture:
        return np.stack(np.split(np.asarray(picture.convert("RGB")), clip["pictures"], axis=1))


def test_a_pose_model_shows_the_repetition_it_explains(moving, estimate):
    checkpoint, video = moving
    efa = EFA.from_pretrained(checkpoint)
    estimate(SQUATS)
    clip, picture = assess_clip(efa, video, name="<squats>")
    said = efa.assess(video)
    live = clip["answers"]["live"]
    assert len(live["repetitions"]) == 2
    assert (live["explained"], live["abstained"], live["action"]) == (said["explained"], "", said["action"])
    assert (clip["pictures"], clip["seen"][:2]) == (48, [1, 4])
    assert len(clip["attention"][0]) == 16
    pictures = strip(clip)
    assert (np.abs(pictures.astype(int) - GROUND).max((1, 2, 3)) > 100).all()  # each has the skeleton
    assert np.abs(pictures[0].astype(int) - pictures[24]).max() > 100  # which moves
    assert "untested on people" in picture.text
    assert f'alt="{picture.text}"' in unescape(picture.source)
    assert "<squats>" not in picture.source


def test_a_pose_model_that_sees_nobody_says_so(moving, estimate):
    checkpoint, video = moving
    panel = Panel(EMPTY, str(checkpoint))
    estimate(NOBODY)
    panel.path.value = str(video)
    panel.go.click()
    (clip,) = panel.explorer.own
    live = clip["answers"]["live"]
    assert (live["abstained"], live["action"], live["wrong"]) == ("nobody is seen", None, None)
    assert clip["attention"] is None
    assert 'alt="No answer: nobody is seen.' in panel.picture.value
    estimate(SQUATS)
    panel.go.click()
    assert 'alt="No answer' not in panel.picture.value


def test_a_recording_is_assessed_at_once(checkpoint):
    panel, content = Panel(EMPTY, str(checkpoint)), (checkpoint.parent / "mine.mp4").read_bytes()
    panel.path.value = "another.mp4"
    panel.camera._receive(panel.camera, {"type": "video/webm;codecs=vp8"}, [memoryview(content)])
    (clip,) = panel.explorer.own
    assert clip["id"].startswith("camera ")
    assert panel.path.value == ""
    panel.action.value = panel.action.options[1]
    panel.go.click()  # the same recording, with the action picked
    assert "picked by you" in panel.explorer.own[0]["note"]
    assert len(panel.explorer.own) == 1
    panel.camera._receive(panel.camera, {"type": "video/webm"}, [memoryview(b"noise")])
    assert "not a video" in panel.status.value
    panel.camera._receive(panel.camera, {"type": "text/html"}, [memoryview(b"<p>")])
    assert panel.camera.recording == b"noise"


def test_the_camera_records_seconds_that_fit_a_message():
    assert Camera(seconds=20).seconds == 20
    for wrong in (0, 21):
        with pytest.raises(TraitError):
            Camera(seconds=wrong)


def test_the_panel_assesses_an_upload_and_a_path(checkpoint):
    panel, video = Panel(EMPTY, str(checkpoint)), checkpoint.parent / "mine.mp4"
    panel.go.click()
    assert "no video is chosen" in panel.status.value
    panel.path.value = str(video)
    panel.go.click()
    assert [clip["id"] for clip in panel.explorer.own] == ["mine.mp4"]
    assert len(panel.action.options) > 2  # the checkpoint's actions, now that it is loaded
    assert panel.action.value == GUESS
    panel.path.value = ""
    upload = {"name": "<b>up</b>.mp4", "type": "video/mp4", "size": 1, "content": memoryview(video.read_bytes())}
    panel.file.value = ({**upload, "last_modified": datetime(2026, 1, 1, tzinfo=UTC)},)
    panel.go.click()
    assert [clip["id"] for clip in panel.explorer.own] == ["mine.mp4", "<b>up</b>.mp4"]
    panel.go.click()
    assert len(panel.explorer.own) == 2  # the same name again replaces
    assert not panel.go.disabled


def test_a_mistake_is_said_in_one_line(checkpoint, tmp_path):
    panel = Panel(EMPTY, str(checkpoint))
    panel.path.value = str(tmp_path / "absent.mp4")
    panel.go.click()
    assert "absent.mp4" in panel.status.value
    assert panel.explorer.own == []
    lost = Panel(EMPTY, str(tmp_path / "no-checkpoint"))
    lost.path.value = str(checkpoint.parent / "mine.mp4")
    lost.go.click()
    assert "no-checkpoint" in lost.status.value
