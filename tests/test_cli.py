"""The command line: what it prints, and one line with exit status 2 for every mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny
import yaml
from PIL import Image

import formsim
from efa import cli, runs
from efa.baselines.inputs import build_model, prepare
from efa.predict import EFA
from efa.runs import Run

ROOT = Path(__file__).resolve().parents[1]


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


@pytest.fixture(scope="module")
def video(home) -> str:
    pytest.importorskip("av")
    from efa.data.video import write_mp4

    write_mp4(home / "clip.mp4", formsim.render_clip(formsim.clips("main", 32, 0)[0], 64, 8), 4)
    return str(home / "clip.mp4")


@pytest.fixture
def efa(home, monkeypatch, capfd):
    """Runs a command; -> (exit status, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["efa", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main()
        out, err = capfd.readouterr()
        return int(done.value.code or 0), out, err

    return call


MISTAKES = [
    (("run", "6", "--preset", "labtop"), "did you mean 'laptop'"),
    (("run", "9"), "one of all"),
    (("run", "6/Q-txt"), "Q-text"),
    (("run", "6/EFA", "--set", "training.epoch=3"), "training.epochs"),
    (("run", "6/EFA", "--set", "training.epochs=many"), "a whole number"),
    (("run", "6/EFA", "--set", "training.epochs"), "section.name=value"),
    (("run", "6/EFA", "--seeds", "one"), "--seeds 0,1,2"),
    (("run", "6/EFA", "--seeds", "-1"), "negative"),
    (("run", "6/EFA", "--set", "encoder.weights=absent.safetensors"), "absent.safetensors"),
    (("status", "9"), "one of all"),
    (("score", "absent.parquet"), "no such file"),
    (("score", str(ROOT / "README.md")), ".parquet or .csv"),
    (("data", "check", "absent-folder"), "absent-folder"),
    (("data", "preview", "Squatt"), "did you mean 'Squat'"),
    (("data", "formsim", "out", "--benchmark", "mean"), "main"),
    (("data", "formsim", "out", "--clips", "0"), "equal to 3"),
    (("data", "formsim", "out", "--actions", "51"), "equal to 50"),
    (("assess", "clip.mp4", "--checkpoint", "absent-folder"), "absent-folder"),
    (("assess", "clip.mp4", "--steps", "absent.json"), "absent.json"),
]


@pytest.mark.parametrize(("arguments", "hint"), MISTAKES)
def test_a_mistake_is_one_line_and_status_2(efa, tmp_path, monkeypatch, arguments, hint):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    status, out, err = efa(*arguments)
    assert status == 2, (out, err)
    said = [line for line in (out + err).splitlines() if line.strip() and not line.startswith("0 ")]
    lines = [line for line in said if hint in line]
    assert len(lines) == 1, said
    assert "Traceback" not in err
    if arguments[:2] != ("data", "check"):
        assert len(said) == 1
        assert said[0].startswith("efa: ")
    assert not list(tmp_path.iterdir())


def test_the_process_ends_with_status_2_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "efa", "run", "6/Q-texts"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("efa: table 6 has no row 'Q-texts'")


def test_wrong_usage_and_help(efa):
    assert efa("run")[0] == 2
    assert efa("fly")[0] == 2
    status, out, _ = efa("--help")
    assert status == 0
    assert all(command in out for command in ("run", "status", "assess", "score", "pretrain", "data"))


# --- assess --------------------------------------------------------------------------------------------------------


def test_one_video_is_one_json_document(efa, checkpoint, video):
    status, out, err = efa("assess", video, "--checkpoint", checkpoint, "--json")
    assert status == 0, err
    answer = json.loads(out)
    assert answer["video"] == video
    assert len(answer["steps"]) == 5
    status, out, _ = efa("assess", video, "--checkpoint", checkpoint)
    assert status == 0
    assert all(word in out for word in ("action", "form", "why", answer["action"]))


def test_a_broken_video_does_not_stop_the_others(efa, checkpoint, video, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    status, out, err = efa("assess", str(broken), video, "absent.mp4", "--checkpoint", checkpoint, "--json")
    assert status == 2
    answers = json.loads(out)
    assert [("error" in answer) for answer in answers] == [True, False, True]
    assert len(err.splitlines()) == 2
    assert "broken.mp4" in err
    status, out, err = efa("assess", str(broken), video, "--checkpoint", checkpoint)
    assert status == 2
    assert video in out
    assert "Traceback" not in err
    status, out, _ = efa("assess", "absent.mp4", "--checkpoint", checkpoint, "--json")
    assert status == 2
    assert "absent.mp4" in json.loads(out)["error"]


def test_the_action_can_be_given_or_described(efa, checkpoint, video, tmp_path):
    status, out, _ = efa("assess", video, "--action", "Crunch", "--checkpoint", checkpoint, "--json")
    assert (status, json.loads(out)["action"], json.loads(out)["protocol"]) == (0, "Crunch", "oracle")
    status, _, err = efa("assess", video, "--action", "Crunsh", "--checkpoint", checkpoint)
    assert status == 2
    assert "did you mean 'Crunch'" in err
    steps = tmp_path / "juggling.json"
    steps.write_text(json.dumps({"steps": [f"Do part {i}." for i in range(5)], "instruction": "Breathe."}))
    arguments = ("assess", video, "--action", "Juggling", "--steps", str(steps), "--checkpoint", checkpoint, "--json")
    status, out, err = efa(*arguments)
    assert status == 0, err
    assert json.loads(out)["steps"][4]["text"] == "Do part 4."
    for wrong in ("[]", "{", '{"steps": ["one"], "instruction": "x"}', '{"steps": [1,2,3,4,5], "instruction": "x"}'):
        steps.write_text(wrong)
        status, _, err = efa(*arguments)
        assert status == 2
        assert "no steps file" in err


def test_without_a_trained_model_it_says_how_to_get_one(efa, monkeypatch, tmp_path):
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    status, _, err = efa("assess", "clip.mp4")
    assert status == 2
    assert "make reproduce" in err


# --- run, status, score --------------------------------------------------------------------------------------------


def test_run_then_status_then_score(efa, home, monkeypatch):
    monkeypatch.setattr(runs.metrics, "caption_scores", lambda *_: {})
    keys = {"training.epochs": 1} | {k: v for k, v in tiny.SETTINGS.items() if k != "training.epochs"}
    settings = [
        word
        for key, value in keys.items()
        for word in ("--set", f"{key}={','.join(map(str, value)) if isinstance(value, tuple) else value}")
    ]
    status, out, _ = efa("status", "6/EFA", *settings)
    assert status == 0
    assert "missing" in out
    status, out, err = efa("run", "6/EFA", *settings)
    assert status == 0, err
    assert "1 runs, 0 finished before" in out
    assert "done" in out
    one = Run("6", "EFA", 0, tiny.config(training__epochs=1))
    file = home / "runs" / one.key / "predictions.parquet"
    assert file.is_file()
    status, out, _ = efa("run", "6/EFA", *settings)
    assert "1 runs, 1 finished before" in out
    status, out, err = efa("score", str(file), "--json")
    assert status == 0, err
    assert set(json.loads(out)) == {"predicted", "oracle", "none", "wrong"}
    assert json.loads(out)["predicted"]["n"] == 5
    status, out, _ = efa("score", str(file))
    assert status == 0
    assert "quality_balanced_acc" in out
    assert one.execute() == file.parent


# --- data ----------------------------------------------------------------------------------------------------------


def test_clips_are_written_checked_and_found_wanting(efa, tmp_path):
    pytest.importorskip("av")
    folder = tmp_path / "mine"
    status, out, _ = efa("data", "formsim", str(folder), "--clips", "4", "--size", "32", "--fps", "3")
    assert status == 0
    assert "4 clips" in out
    assert len(list((folder / "videos").iterdir())) == 4
    status, out, _ = efa("data", "check", str(folder), "--probe")
    assert status == 0, out
    assert "0 errors" in out
    next((folder / "videos").iterdir()).unlink()
    status, out, _ = efa("data", "check", str(folder))
    assert status == 2
    assert "1 errors" in out


def test_as_many_actions_are_written_as_are_asked_for(efa, tmp_path):
    pytest.importorskip("av")
    size = ("--clips", "9", "--size", "16", "--fps", "3")
    assert efa("data", "formsim", str(tmp_path / "mine"), *size, "--actions", "3")[0] == 0
    assert pd.read_parquet(tmp_path / "mine" / "manifest.parquet")["action"].nunique() == 3


def test_a_contact_sheet_is_drawn(efa, tmp_path):
    status, out, _ = efa("data", "preview", "Squat", "--to", str(tmp_path / "squat.png"), "--size", "24")
    assert status == 0
    with Image.open(tmp_path / "squat.png") as image:
        assert image.width > 24 * 6
        assert image.height > 24 * 5
    assert "squat.png" in out
    both = ("data", "preview", "Squat", "Plank", "--to", str(tmp_path / "two.png"), "--size", "24")
    assert efa(*both)[0] == 0
    with Image.open(tmp_path / "two.png") as image:
        assert image.height == 2 * (24 + 14)
    names = [yaml.safe_load(p.read_text())["name"] for p in (ROOT / "formsim/actions").glob("*.yaml")]
    assert "Squat" in names


def test_the_package_is_the_command():
    done = subprocess.run([sys.executable, "-m", "efa", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "leave-one-subject-out" in done.stdout
