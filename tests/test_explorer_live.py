"""The explorer in JupyterLab: the same document, and a video of the reader's own."""

from datetime import UTC, datetime

import explorer_samples as samples
import numpy as np
import pytest
import tiny

from efa.predict import EFA

anywidget = pytest.importorskip("anywidget")
pytest.importorskip("av")

from efa_book.explorer_live import GUESS, Explorer, Panel, assess_clip  # noqa: E402

EMPTY = {"version": 1, "about": {}, "actions": ["Squat"], "names": [], "systems": [], "steps": {}, "clips": []}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    with tiny.home(tmp_path_factory.mktemp("home")) as home:
        yield samples.save_checkpoint(home)


def test_the_widget_serves_the_module_of_the_page():
    widget = Explorer(data=EMPTY)
    assert "export default" in widget._esm
    assert ".efax" in widget._css
    assert widget.data["actions"] == ["Squat"]


def test_a_video_becomes_a_clip(checkpoint):
    efa, video = EFA.from_pretrained(checkpoint), checkpoint.parent / "mine.mp4"
    clip, said = assess_clip(efa, video), efa.assess(video)
    answer = clip["answers"]["live"]
    assert (clip["id"], clip["own"], clip["quality"], clip["pictures"]) == ("mine.mp4", True, -1, 18)
    assert (answer["action"], answer["wrong"]) == (said["action"], said["quality_probability"])
    assert answer["sure"] == [one["probability"] for one in said["top5"]]
    np.testing.assert_allclose(np.sum(clip["attention"], 1), 1, atol=1e-4)
    told = assess_clip(efa, video, action=efa.actions[0], name="a name")
    assert (told["answers"]["live"]["action"], told["id"]) == (efa.actions[0], "a name")
    assert "picked by you" in told["note"]


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
