"""Runs: one folder each, found again, resumed, and stale as soon as anything that they depend on changes."""

import json
import os
import signal
import stat
import sys
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import tiny

import formsim
from efa import metrics, runs
from efa.baselines.inputs import TrainingInputs
from efa.config import PRESETS
from efa.data.loader import formsim_clips, open_dataset
from efa.experiments import select
from efa.runs import Run, config_hash, scores_of, state_of
from efa.train import fit
from efa.utils.errors import InputError
from efa_book.assess_cli import trained_efa


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Frames, features and text vectors that the runs of this file share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def home(tmp_path, cache):
    (tmp_path / ".cache").symlink_to(cache)
    with tiny.home(tmp_path) as folder:
        yield folder


@pytest.fixture
def quick_scores(monkeypatch):
    """Scores that need no Java: what is scored is tested in test_metrics."""

    real = metrics.evaluate

    def evaluate(table, parser):
        return {"n": len(table), "top1": 50.0}, real(table.assign(explanation=""))[1]

    monkeypatch.setattr(metrics, "evaluate", evaluate)


def make_run(seed: int = 0, row: str = "EFA", protocols: tuple[str, ...] = ("predicted",), **changes) -> Run:
    return Run("6", row, seed, tiny.config(training__epochs=1, training__seed=seed, **changes), protocols)


@pytest.fixture
def forbid(monkeypatch):
    """Makes any further use of functions of `efa.runs` fail."""
    return lambda *names: [monkeypatch.setattr(runs, name, Mock(side_effect=AssertionError(name))) for name in names]


def test_the_key_changes_with_what_a_run_depends_on():
    one = make_run()
    assert one.key == make_run().key
    assert len(one.key) == 16
    others = [make_run(seed=1), make_run(fusion__merge="add"), make_run(data__clips=33), make_run(data__seed=1)]
    others += [make_run(training__lr=1e-4), make_run(prediction__max_tokens=13)]
    others += [make_run(data__sealed=40), make_run(data__sealed=40, data__sealed_seed=1)]
    assert len({one.key, *(other.key for other in others)}) == 1 + len(others)


def test_only_a_finished_run_reads_the_sealed_split(home, quick_scores, monkeypatch):
    run = make_run(data__sealed=40, data__sealed_seed=7)
    with monkeypatch.context() as patch:
        patch.setattr("formsim.sealed_clips", Mock(side_effect=AssertionError("the seal is broken")))
        open_dataset.cache_clear()
        with pytest.raises(AssertionError, match="the seal is broken"):
            run.execute()
    assert (run.folder / "provenance.json").is_file()  # trained, validated and saved before
    run.execute()
    predictions = pd.read_parquet(run.folder / "predictions.parquet")
    sealed = formsim.sealed_clips(formsim_clips(run.config.data), 40, 7)
    assert list(predictions["clip_id"]) == [clip.clip_id for clip in sealed]
    assert list(predictions["reference"]) == [formsim.record(clip)["explanation"] for clip in sealed]
    assert predictions["predicted_action"].isin(open_dataset(run.config.data).actions).all()


def test_the_key_does_not_change_with_what_changes_no_result():
    assert make_run(prediction__batch=1).key == make_run().key
    assert config_hash(tiny.config(prediction__batch=1)) == config_hash(tiny.config())
    assert make_run(row="Another name").key == make_run().key


def test_encoder_weights_are_part_of_the_key(tmp_path):
    file = tmp_path / "encoder.safetensors"
    run = make_run(encoder__weights=str(file))
    with pytest.raises(InputError, match="no such file"):
        _ = run.key
    file.write_bytes(b"one")
    first = run.key
    file.write_bytes(b"another")
    assert run.key != first


@pytest.mark.parametrize("version", ["efa.runs.RESULTS_VERSION", "formsim.VERSION"])
def test_a_raised_version_makes_runs_stale(home, quick_scores, monkeypatch, version):
    make_run().execute()
    before = make_run().key
    monkeypatch.setattr(version, 99)
    runs._hash_of_data.cache_clear()
    assert make_run().key != before
    assert state_of(make_run()) == "stale"
    monkeypatch.undo()
    runs._hash_of_data.cache_clear()


def test_a_run_is_missing_then_done_and_then_found_again(home, quick_scores, forbid):
    run = make_run(protocols=("predicted", "none"))
    assert state_of(run) == "missing"
    folder = run.execute()
    assert folder == home / "runs" / run.key
    assert state_of(run) == "done"
    names = "config.json history.csv model.safetensors provenance.json scores.json vocab.txt"
    assert {p.name for p in folder.iterdir()} == {".lock", "clips.parquet", "predictions.parquet", *names.split()}
    for name in ("predictions", "clips"):
        assert list(pd.read_parquet(folder / f"{name}.parquet")["protocol"].unique()) == ["predicted", "none"]
    assert set(scores_of(run)) == {"predicted", "none"}
    facts = json.loads((folder / "provenance.json").read_text())
    assert facts["labels"] == ["6/EFA seed 0"]
    assert facts["key"] == run.key
    assert facts["seconds"]["train"] > 0

    before = {p: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"}
    forbid("fit", "predict")
    assert run.execute() == folder
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_row_that_is_the_same_run_is_trained_once(home, quick_scores, forbid):
    make_run().execute()
    forbid("fit")
    twin = make_run(row="EFA again")
    folder = twin.execute()
    assert json.loads((folder / "provenance.json").read_text())["labels"] == ["6/EFA again seed 0", "6/EFA seed 0"]
    assert state_of(twin) == "done"


def test_another_protocol_is_only_predicted_and_scored(home, quick_scores, forbid):
    folder = make_run().execute()
    first = pd.read_parquet(folder / "predictions.parquet")
    forbid("fit")
    run = make_run(protocols=("predicted", "oracle"))
    run.execute()
    both = pd.read_parquet(folder / "predictions.parquet")
    pd.testing.assert_frame_equal(both[: len(first)], first)
    assert set(scores_of(run)) == {"predicted", "oracle"}


def test_other_metrics_only_score_again(home, quick_scores, forbid, monkeypatch):
    run = make_run()
    run.execute()
    forbid("fit", "predict")
    clips = pd.read_parquet(run.folder / "clips.parquet")
    monkeypatch.setattr(metrics, "SCORES_VERSION", 9)
    monkeypatch.setattr(metrics, "evaluate", lambda table, parser: ({"n": -1}, clips.assign(truth=np.int8(1))))
    run.execute()
    assert scores_of(run) == {"predicted": {"n": -1}}
    again = pd.read_parquet(run.folder / "clips.parquet")
    assert len(again) == len(clips)
    assert again["truth"].eq(1).all()


def test_a_run_with_other_settings_is_stale(home, quick_scores):
    make_run().execute()
    assert state_of(make_run(training__lr=1e-4)) == "stale"
    assert state_of(make_run(seed=1)) == "missing"
    assert state_of(make_run(row="Add", fusion__merge="add")) == "missing"


def test_an_interrupted_run_resumes(home, quick_scores):
    run = make_run(training__label_smoothing=0.0)
    with pytest.raises(KeyboardInterrupt):
        run.execute(report=Mock(side_effect=KeyboardInterrupt))
    assert state_of(run) == "interrupted"
    lines: list[str] = []
    run.execute(report=lines.append)
    assert lines[0] == "resumed after epoch 1"
    assert state_of(run) == "done"
    assert not (run.folder / "resume.pt").exists()


def test_a_broken_provenance_elsewhere_does_no_harm(home, quick_scores):
    (home / "runs" / "strange").mkdir(parents=True)
    (home / "runs" / "strange" / "provenance.json").write_text("{")
    assert state_of(make_run()) == "missing"


def test_the_pixel_model_is_efa_and_no_newer_run(home, quick_scores, monkeypatch):
    smoke = {"data.clips": 40} | tiny.SETTINGS
    monkeypatch.setattr("efa.config.PRESETS", {"laptop": PRESETS["laptop"] | tiny.SETTINGS, "smoke": smoke})
    with pytest.raises(InputError, match="no finished run of EFA with preset laptop and seed 0") as error:
        trained_efa()
    (run,) = select("4/EFA", "laptop", (0,))
    assert str(run.folder) in str(error.value)  # where it was looked for
    assert str(home / "results" / "formsim-laptop" / "model") in str(error.value)
    run.execute()
    Run("6", "EFA", 0, make_run(data__clips=40).config).execute()
    assert trained_efa() == run.folder
    (published := home / "results" / "formsim-laptop" / "model").mkdir(parents=True)
    assert trained_efa() == published  # what the tables describe


def test_a_run_needs_nothing_that_only_posix_has(home, quick_scores, monkeypatch):
    for module in ("resource", "fcntl", "pwd", "termios"):
        monkeypatch.setitem(sys.modules, module, None)  # an import of it fails, as on Windows
    for owner, name in ((os, "sched_getaffinity"), (os, "posix_fallocate"), (signal, "pthread_sigmask")):
        monkeypatch.delattr(owner, name, raising=False)
    folder = make_run(data__seed=3).execute()
    assert "peak_memory_mb" not in json.loads((folder / "provenance.json").read_text())
    assert state_of(make_run(data__seed=3)) == "done"


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has a umask")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_weights_can_be_read_by_whom_the_umask_lets(home, quick_scores, umask):
    before = os.umask(umask)
    try:
        folder = make_run().execute()
    finally:
        os.umask(before)
    for name in ("model.safetensors", "predictions.parquet", "scores.json", "provenance.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o666 & ~umask, name


@pytest.mark.slow
def test_the_same_seed_gives_the_same_scores_file_twice(tmp_path):
    files = []
    for name in ("one", "two"):
        with tiny.home(tmp_path / name):
            files.append((make_run().execute() / "scores.json").read_bytes())
    assert files[0] == files[1]
    scores = json.loads(files[0])["predicted"]
    assert scores["n"] == 5
    assert scores["bleu1"] is not None


def test_nothing_is_trained_on_the_test_split(home, quick_scores, monkeypatch):
    spy = Mock(wraps=fit)
    monkeypatch.setattr(runs, "fit", spy)
    folder = make_run().execute()
    inputs: TrainingInputs = spy.call_args.args[1]
    trained = set(inputs.dataset.table["clip_id"].iloc[inputs.rows("train")])
    tested = set(pd.read_parquet(folder / "predictions.parquet")["clip_id"])
    assert len(trained) == 22
    assert all("-test-" in clip for clip in tested)
    assert not any("-test-" in clip for clip in trained)
