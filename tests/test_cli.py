"""The command line: what it prints, and one line with exit status 2 for every mistake."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from checkpoints import call
from PIL import Image

from efa import runs
from efa.experiments import select

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def efa(module_home, monkeypatch, capfd):
    """Runs a command; -> (exit status, stdout, stderr)."""
    return partial(call, monkeypatch, capfd)


MISTAKES = [
    ("run 6 --preset labtop", "did you mean 'laptop'"), ("run 9", "one of all"), ("run 6/Q-txt", "Q-text"),
    ("run 6/EFA --set training.epoch=3", "training.epochs"), ("run 6/EFA --set training.epochs=many", "a whole number"),
    ("run 6/EFA --set training.epochs", "section.name=value"), ("run 6/EFA --seeds one", "--seeds 0,1,2"),
    ("run 6/EFA --seeds -1", "negative"),
    ("run 6/EFA --set encoder.weights=absent.safetensors", "absent.safetensors"),
    ("status 6 9", "one of all"), ("score absent.parquet", "no such file"), ("score README.md", ".parquet or .csv"),
    ("data check absent-folder", "absent-folder"), ("data preview Squatt", "did you mean 'Squat'"),
    ("data formsim out --benchmark mean", "main"), ("data formsim out --clips 0", "equal to 3"),
    ("data formsim out --actions 51", "equal to 50"),
    ("assess clip.mp4 --checkpoint absent-folder", "absent-folder"),
    ("assess clip.mp4 --steps absent.json", "absent.json"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "hint"), MISTAKES)
def test_a_mistake_is_one_line_and_status_2(efa, tmp_path, monkeypatch, arguments, hint):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "README.md").touch()
    status, out, err = efa(*arguments.split())
    assert status == 2, (out, err)
    lines = [line for line in (out + err).splitlines() if line.strip() and not line.startswith("0 ")]
    assert sum(hint in line for line in lines) == 1, lines
    assert "Traceback" not in err
    if not arguments.startswith("data check"):
        assert len(lines) == 1
        assert lines[0].startswith("efa: ")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_the_package_is_the_command():
    done = subprocess.run([sys.executable, "-m", "efa", "run", "6/Q-texts"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("efa: table 6 has no row 'Q-texts'")


def test_wrong_usage_and_help(efa):
    assert efa("run")[0] == 2
    assert efa("fly")[0] == 2
    status, out, _ = efa("--help")
    assert status == 0
    assert all(name in out for name in ("run", "status", "assess", "score", "leave-one-subject-out", "pretrain"))


def test_without_a_trained_model_it_says_how_to_get_one(efa, monkeypatch, tmp_path):
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    status, _, err = efa("assess", "clip.mp4", "--rgb")
    assert status == 2
    assert "efa run 6/EFA" in err
    assert str(tmp_path) in err  # where it was looked for


# --- run, status, score --------------------------------------------------------------------------------------------


def test_run_then_status_then_score(efa, module_home, monkeypatch):
    monkeypatch.setattr(runs.metrics, "score_captions", lambda _, texts: ({}, np.zeros((len(texts), 6))))
    settings = tiny.options(tiny.SETTINGS | {"training.epochs": 1})
    status, out, _ = efa("status", "6/EFA", *settings)
    assert status == 0
    assert "missing" in out
    status, out, err = efa("run", "6/EFA", *settings)
    assert status == 0, err
    assert "1 runs, 0 finished before" in out
    assert "done" in out
    (one,) = select("6/EFA", "laptop", (0,), tiny.SETTINGS | {"training.epochs": 1})
    file = module_home / "runs" / one.key / "predictions.parquet"
    assert one.execute() == file.parent
    assert "1 runs, 1 finished before" in efa("run", "6/EFA", *settings)[1]
    status, out, err = efa("score", str(file), "--json")
    assert status == 0, err
    assert set(json.loads(out)) == {"predicted", "oracle", "none", "wrong"}
    assert json.loads(out)["predicted"]["n"] == 5
    status, out, _ = efa("score", str(file))
    assert status == 0
    assert "quality_balanced_acc" in out


TEXTS = ["The squat is good.", "The lunge in this video is bad."]


@pytest.mark.parametrize(
    ("columns", "numbers", "missing"),
    [
        ({"reference": TEXTS, "explanation": TEXTS}, "cider_d .* 1000.00", "top1 (needs predicted_action"),
        ({"reference": TEXTS[:1], "explanation": TEXTS[:1]}, "bleu1 .* 100.00", "cider_d (needs explanations, and two"),
        ({"reference": ["深蹲动作标准。"] * 2, "explanation": TEXTS}, "degenerate", "in a script with blanks"),
        ({"quality": [0, 1], "quality_prob": [0.1, 0.9]}, "quality_auc .* 100.00", "texts (needs explanations"),
        (
            {"quality": [1, 1], "quality_prob": [0.1, 0.9]},
            "quality_acc .* 50.00",
            "quality_auc (needs quality_prob, and",
        ),
        (
            {"action": ["a", "b"], "predicted_action": ["a", "a"]},
            "top1 .* 50.00",
            "quality_acc, quality_majority (needs",
        ),
    ],
    ids=["texts alone", "one clip", "no blanks", "verdicts alone", "one verdict", "classes alone"],
)
def test_what_can_be_scored_is_scored(efa, tmp_path, columns, numbers, missing):
    count = len(next(iter(columns.values())))
    pd.DataFrame({"clip_id": list("ab")[:count], **columns}).to_csv(tmp_path / "p.csv", index=False)
    status, out, err = efa("score", str(tmp_path / "p.csv"))
    assert (status, err) == (0, "")
    assert re.search(numbers.replace(" .* ", " +│ +"), out)
    assert missing in re.sub(r"\s+", " ", out)


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
    size = ("--clips", "9", "--size", "16", "--fps", "3")
    assert efa("data", "formsim", str(tmp_path / "three"), *size, "--actions", "3")[0] == 0
    assert pd.read_parquet(tmp_path / "three" / "manifest.parquet")["action"].nunique() == 3


def test_a_contact_sheet_is_drawn(efa, tmp_path):
    file = str(tmp_path / "sheet.png")
    status, out, _ = efa("data", "preview", "Squat", "--to", file, "--size", "24")
    assert status == 0
    assert "sheet.png" in out
    width, height = Image.open(file).size
    assert width > 24 * 6
    assert height > 24 * 5
    assert efa("data", "preview", "Squat", "Plank", "--to", file, "--size", "24")[0] == 0
    assert Image.open(file).height == 2 * (24 + 14)
