"""`efa assess`: the documented answer, cautions, descriptions of an action, real films, and what is no video."""

import errno
import json
from collections import defaultdict
from pathlib import Path
from unittest.mock import Mock

import jsonschema
import numpy as np
import pytest
import tiny
import torch
from checkpoints import call
from landmark_clips import NOBODY, SQUATS, blank_frames
from PIL import Image

from efa.baselines.inputs import build_model, prepare
from efa.config import Config
from efa.data import pose
from efa.predict import EFA
from efa_book.pictures import WIDTH
from efa_datasets.mp4 import write_mp4

av = pytest.importorskip("av")
ROOT = Path(__file__).resolve().parents[1]
SCHEMA = json.loads((ROOT / "book" / "_static" / "assessment.schema.json").read_text())
PAGE = (ROOT / "book" / "assess.md").read_text()


def save_checkpoint(folder: Path, config: Config | None = None) -> Path:
    config = config or tiny.config()
    inputs = prepare(config)
    EFA.from_material(build_model(config, inputs), config, inputs).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(module_home) -> Path:
    return save_checkpoint(module_home / "EFA")


@pytest.fixture(scope="module")
def video(module_home) -> Path:
    write_mp4(module_home / "clip.mp4", np.random.RandomState(0).randint(0, 255, (12, 64, 64, 3)).astype(np.uint8), 6)
    return module_home / "clip.mp4"


@pytest.fixture
def assess(checkpoint, monkeypatch, capfd):
    """Runs the command, without bars; -> (exit status, stdout, stderr)."""
    monkeypatch.setenv("CI", "true")
    return lambda *words, model=checkpoint: call(
        monkeypatch, capfd, "assess", *map(str, words), "--checkpoint", str(model)
    )


def valid(document: object) -> None:
    jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)


def test_an_address_is_called_one(assess, video):
    status, out, err = assess("https://example.org/a.mp4", video)
    assert status == 2
    assert "this is an address, not a file" in err
    assert "action" in out  # the other video is answered


def test_weights_that_may_not_be_read_are_not_called_missing(assess, checkpoint, video, monkeypatch):
    plain, denied = Path.open, PermissionError(errno.EACCES, "Permission denied", "model.safetensors")
    files = defaultdict(lambda: plain, {".safetensors": Mock(side_effect=denied)})
    monkeypatch.setattr(Path, "open", lambda path, *mode, **more: files[path.suffix](path, *mode, **more))
    status, _, err = assess(video)
    assert status == 2
    assert "model.safetensors: Permission denied" in err


@pytest.mark.parametrize("system", ["EFA", "Video Swin"])
def test_answers_are_what_the_schema_says(assess, module_home, video, system):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    folder = save_checkpoint(
        module_home / f"{system} of the schema", tiny.config(system__name=system, system__small=True)
    )
    status, out, _ = assess(video, "--json", model=folder)
    answer = json.loads(out)
    valid(answer)
    assert (status, answer["video"]) == (0, str(video))
    assert any("never seen a person" in warning for warning in answer["warnings"])
    model = EFA.from_pretrained(folder)
    answer = model.assess(video, action=model.actions[0])
    valid(answer)
    assert answer["protocol"] == "oracle"
    for change in ({"quality": "good"}, {"quality_probability": 1.5}, {"steps": []}, {"extra": 1}):
        with pytest.raises(jsonschema.ValidationError):
            valid(answer | change)
    status, out, _ = assess(video, model=folder)
    assert status == 0
    answer = model.assess(video)
    assert all(word in out for word in ("action", "form", answer["action"]))
    assert ("why" in out) == bool(answer["explanation"])


def test_answers_about_a_person_are_what_the_schema_says(assess, module_home, tmp_path, monkeypatch):
    folder = save_checkpoint(module_home / "pose", tiny.pose_config())
    video, picture = blank_frames(tmp_path / "squats"), tmp_path / "a.png"
    answers = {}
    for name, found in (("squats", SQUATS), ("nobody", NOBODY)):
        monkeypatch.setattr(pose, "landmarks_of", lambda path, progress=None, found=found: found)
        status, out, err = assess(video, "--json", "--picture", picture, model=folder)
        assert (status, err) == (0, "")
        answers[name] = json.loads(out)
        valid(answers[name])
        with Image.open(picture) as drawn:
            assert drawn.width == WIDTH
        picture.unlink()
        status, out, _ = assess(video, model=folder)
        assert ("no answer: nobody is seen" in out) == (name == "nobody")
        assert "best guesses" not in out  # there is nothing to guess from
    some, none = answers.values()
    assert (len(some["repetitions"]), some["validated"]) == (2, None)
    assert some["explained"] in (0, 1)
    assert some["picture"]["text"].startswith(f"{some['action']}: {some['quality']} form")
    assert any("untested" in warning for warning in some["warnings"])
    assert [none[key] for key in ("action", "quality", "quality_probability", "explained")] == [None] * 4
    assert (none["abstained"], none["repetitions"], none["faults"]) == ("nobody is seen", [], [])
    assert (len(some["top5"]), none["top5"]) == (5, [])


def test_a_bad_video_is_an_entry_and_the_rest_goes_on(assess, video, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    status, out, err = assess(broken, video, "absent.mp4", "--json")
    bad, good, absent = json.loads(out)
    valid(good)
    assert (status, len(err.splitlines())) == (2, 2)
    assert set(bad) == set(absent) == {"video", "error"}
    assert "broken.mp4" in err
    status, out, err = assess(broken, video)
    assert status == 2
    assert str(video) in out
    assert "Traceback" not in err
    status, out, _ = assess("absent.mp4", "--json")
    assert status == 2
    assert "absent.mp4" in json.loads(out)["error"]


def test_the_action_can_be_given_or_described(assess, video, tmp_path):
    status, out, _ = assess(video, "--action", "Crunch", "--json")
    assert (status, json.loads(out)["action"], json.loads(out)["protocol"]) == (0, "Crunch", "oracle")
    status, _, err = assess(video, "--action", "Crunsh")
    assert status == 2
    assert "did you mean 'Crunch'" in err
    (block,) = [part for part in PAGE.split("```json\n")[1:] if '"steps"' in part]
    steps = tmp_path / "lunge.json"
    steps.write_text(block.split("```")[0])
    arguments = (video, "--action", "Lunge", "--steps", steps, "--json")
    for words, name in ((arguments, "Lunge"), ((video, *arguments[3:]), "lunge")):  # by default named as the file
        status, out, err = assess(*words)
        assert status == 0, err
        answer = json.loads(out)
        assert (answer["action"], answer["protocol"]) == (name, "oracle")
        assert answer["steps"][0]["text"] == "Stand with the feet together and the arms by the sides."
    for wrong in ("[]", "{", '{"steps": ["one"], "instruction": "x"}', '{"steps": [1,2,3,4,5], "instruction": "x"}'):
        steps.write_text(wrong)
        status, _, err = assess(*arguments)
        assert status == 2
        assert "not a steps file" in err


POOR, SOUND = "The squat is performed with poor form.", "The squat in this video is standard."
CONTRADICTIONS = [(0.1, POOR, True), (0.9, POOR, False), (0.9, SOUND, True), (0.1, "Bananas.", False), (0.1, "", False)]


@pytest.mark.parametrize(("probability", "text", "warned"), CONTRADICTIONS)
def test_a_text_that_contradicts_its_verdict_is_noted(checkpoint, probability, text, warned):
    cautions = EFA.from_pretrained(checkpoint)._cautions("Squat", torch.tensor([probability]), text)
    assert any("contradicts" in caution for caution in cautions) == warned


# films ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(shared: Path) -> Path:
    if not (shared / "real-clips").is_dir():
        pytest.skip("no real clips beside this checkout")
    return shared / "real-clips"


def phone_video(path: Path, clip: np.ndarray, turned: int) -> Path:
    """A clip as a telephone records it: the pixels lie on their side, and the file says how to turn them back."""
    stored = np.ascontiguousarray(np.rot90(clip, turned // 90, axes=(1, 2)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=4, options={"crf": "1"})
        stream.height, stream.width = stored.shape[1:3]
        stream.pix_fmt = "yuv420p"
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
def test_a_turned_recording_is_assessed_upright(checkpoint, tmp_path, turned):
    def same(one: dict, other: dict) -> bool:
        names = [[top["action"] for top in answer["top5"]] for answer in (one, other)]
        return names[0] == names[1] and abs(one["quality_probability"] - other["quality_probability"]) <= 2e-3

    efa = EFA.from_pretrained(checkpoint)
    assert same(*(efa.assess(phone_video(tmp_path / f"{a}.mp4", upright(), a)) for a in (0, turned)))
    square = upright(16).repeat(2, axis=2)[:, :, :32]  # 32 x 32; a turn that is missed changes the answer
    assert not same(*(efa.assess(np.ascontiguousarray(np.rot90(square, k, axes=(1, 2)))) for k in (0, 1)))


def test_eight_gym_clips_get_an_answer_each(assess, clips):
    videos = [str(path) for path in sorted(clips.glob("*.mp4"))]
    status, out, err = assess(*videos, "--json")
    assert (status, len(videos)) == (0, 8), err
    answers = json.loads(out)
    assert [answer["video"] for answer in answers] == videos
    for answer in answers:
        valid(answer)
        assert 0 < answer["quality_probability"] < 1
        assert answer["explanation"]
        assert not [warning for warning in answer["warnings"] if "damaged" in warning]
    assert len({answer["quality_probability"] for answer in answers}) == 8  # each was looked at
    status, out, _ = assess(*videos)
    assert (status, out.count("\n  form ")) == (0, 8)


def test_what_is_no_video_is_one_line_and_the_rest_goes_on(assess, clips):
    hints = {"SOURCE.md": "not a video that can be read", "decoder": "without jpg or png"}
    hints |= {"decoder/git_lfs_pointer_not_a_video.mp4": "Git LFS pointer"}
    videos = [clips / name for name in (*hints, "squat_7.mp4", "decoder/corrupted.mp4")]
    status, out, err = assess(*videos, "--json")
    assert status == 2  # at least one file could not be used
    answers = json.loads(out)
    assert ["error" in answer for answer in answers] == [True, True, True, False, False]
    for line, (name, hint) in zip(err.splitlines(), hints.items(), strict=True):
        assert line.startswith(f"efa: {clips / name}: ")
        assert hint in line
    assert "damaged" in answers[4]["warnings"][0]
    status, out, err = assess(*videos)
    assert (status, len(err.splitlines())) == (2, 3)
    assert "note     damaged" in out
    status, out, err = assess(videos[-1])  # damaged, and no failure
    assert (status, err) == (0, "")
    assert "only the frames that decode were used" in out
