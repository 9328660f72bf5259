"""What `efa assess` prints is what its schema says, and what a reader should keep in mind is said with it."""

import json
from functools import partial
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import tiny
from checkpoints import call
from hypothesis import given
from hypothesis import strategies as st

from efa import cli
from efa.baselines.inputs import build_model, prepare
from efa.data.video import write_mp4
from efa.predict import EFA

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = json.loads((ROOT / "book" / "_static" / "assessment.schema.json").read_text())
PAGE = (ROOT / "book" / "assess.md").read_text()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with tiny.home(tmp_path_factory.mktemp("home")) as folder:
        yield folder


@pytest.fixture(scope="module", params=["EFA", "Video Swin"])
def checkpoint(request, home) -> str:
    config = tiny.config(system__name=request.param, system__small=True)
    inputs = prepare(config)
    folder = home / request.param
    EFA.from_material(build_model(config, inputs), config, inputs).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def video(home) -> Path:
    frames = np.random.RandomState(0).randint(0, 255, (12, 64, 64, 3)).astype(np.uint8)
    write_mp4(home / "clip.mp4", frames, 6)
    return home / "clip.mp4"


@pytest.fixture
def efa(home, monkeypatch, capfd):
    return partial(call, monkeypatch, capfd)


def valid(document: object) -> None:
    jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_command_prints_what_the_schema_says(efa, checkpoint, video):
    status, out, _ = efa("assess", str(video), "--checkpoint", checkpoint, "--json")
    assert status == 0
    answer = json.loads(out)
    valid(answer)
    assert answer["video"] == str(video)
    assert any("never seen a person" in warning for warning in answer["warnings"])


def test_python_returns_what_the_schema_says(checkpoint, video):
    model = EFA.from_pretrained(checkpoint)
    answer = model.assess(video, action=model.actions[0])
    valid(answer)
    assert answer["protocol"] == "oracle"


@pytest.mark.parametrize("change", [{"quality": "good"}, {"quality_probability": 1.5}, {"steps": []}, {"extra": 1}])
def test_the_schema_refuses_what_is_none(checkpoint, video, change):
    with pytest.raises(jsonschema.ValidationError):
        valid(EFA.from_pretrained(checkpoint).assess(video) | change)


def test_several_videos_are_a_list_and_a_bad_one_is_an_entry(efa, checkpoint, video, tmp_path):
    (tmp_path / "no.mp4").write_text("not a video")
    status, out, err = efa("assess", str(video), str(tmp_path / "no.mp4"), "--checkpoint", checkpoint, "--json")
    good, bad = json.loads(out)
    valid(good)
    assert status == 2
    assert set(bad) == {"video", "error"}
    assert "Traceback" not in err


def test_the_steps_file_of_the_page_works(efa, checkpoint, video, tmp_path):
    (block,) = [part for part in PAGE.split("```json\n")[1:] if '"steps"' in part]
    (tmp_path / "lunge.json").write_text(block.split("```")[0])
    status, out, _ = efa(
        "assess", str(video), "--steps", str(tmp_path / "lunge.json"), "--checkpoint", checkpoint, "--json"
    )
    assert status == 0
    assert json.loads(out)["steps"][0]["text"] == "Stand with the feet together and the arms by the sides."


@pytest.mark.parametrize(
    ("quality", "text", "warned"),
    [
        ("standard", "The squat is performed with poor form.", True),
        ("non-standard", "The squat is performed with poor form.", False),
        ("non-standard", "The squat in this video is standard.", True),
        ("standard", "Bananas.", False),
        ("standard", "", False),
    ],
)
def test_a_text_against_its_verdict_is_said(quality, text, warned):
    said = cli._cautions({"quality": quality, "explanation": text}, formsim=False)
    assert bool(said) == warned


@given(st.text(max_size=200), st.sampled_from(["standard", "non-standard"]), st.booleans())
def test_any_text_can_be_cautioned(text, quality, formsim):
    said = cli._cautions({"quality": quality, "explanation": text}, formsim)
    assert formsim == any("rendered figures" in line for line in said)
