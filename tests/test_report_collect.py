"""Collecting results from runs and from what is published, and publishing them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from reported import RANDOM, finish, full, predictions

from efa.baselines.inputs import build_model, prepare
from efa.experiments import ABLATION, select
from efa.predict import EFA
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.seeds import seeds_of
from efa_book import collect, published, tables
from efa_book.published import COLUMNS

ROWS = tuple(ABLATION)
SMALL = {"data.clips": 40, "data.actions": 2}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    return tmp_path


def test_missing_runs_are_missing_and_say_how_to_make_them(home):
    results = collect.collect("6", "smoke", (0,), RANDOM)
    assert results.origin == ""
    assert set(results.states.values()) == {"missing"}
    assert "efa run 6 --preset smoke --seeds 0 --set encoder.weights=" in tables.scores(results).text


def test_published_results_are_what_the_runs_were(home):
    done = [*select("6/EFA", "smoke", (0, 1), RANDOM), *select("6/w/o global branch", "smoke", (0, 1), RANDOM)]
    for run in done:
        finish(run, {"cider_d": 30.0 + run.seed, "top1": 50.0, "bleu4": None}, run.seed)
    before = collect.collect("6", "smoke", (0, 1), RANDOM)
    texts, left = before.clips("EFA", 0, "none"), before.left["EFA", 1]("none", "top1")
    folder, missing = published.publish("smoke", (0, 1), overrides=RANDOM, what="6")
    assert folder == paths.results() / "formsim-smoke"
    assert len(missing) == 14
    shutil.rmtree(paths.runs())
    after = collect.collect("6", "smoke", (0, 1), RANDOM)
    assert (before.origin, after.origin) == ("runs", "published")
    assert after.states == before.states
    assert after.values("EFA", "cider_d") == before.values("EFA", "cider_d") == {0: 30.0, 1: 31.0}
    pd.testing.assert_frame_equal(after.clips("EFA", 0, "none"), texts)
    assert after.left["EFA", 1]("none", "top1") == pytest.approx(left)
    assert after.left["EFA", 1]("none", "cider_d") is None
    assert after.clips("EFA", 1, "none") is None  # of other seeds no texts
    assert set(after.histories) == set(before.histories)
    assert published.published_seeds("6", "smoke") == (0, 1)
    assert json.loads((folder / "provenance.json").read_text())["6-w-o-global-branch-1"]["commit"] == "abc123"


def test_publishing_again_changes_only_what_is_published(home):
    efa, other = (select(what, "smoke", (0,), RANDOM)[0] for what in ("6/EFA", "6/Add"))
    finish(efa, {"cider_d": 30.0})
    folder, _ = published.publish("smoke", (0,), overrides=RANDOM, what="6/EFA")
    first = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    published.publish("smoke", (0,), overrides=RANDOM, what="6/EFA")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first
    finish(other, {"cider_d": 20.0})
    published.publish("smoke", (0,), overrides=RANDOM, what="6/Add")
    scores = pd.read_csv(folder / "scores.csv")
    assert list(scores.columns) == list(COLUMNS)
    scores = scores[scores["protocol"] == "predicted"].set_index("row")["value"]
    assert scores.to_dict() == {"EFA": 30.0, "Add": 20.0}


def test_publishing_nothing_is_an_error(home):
    with pytest.raises(InputError, match="none of these runs"):
        published.publish("smoke", (0,), overrides=RANDOM, what="6")


@pytest.mark.parametrize("changed", ["key", "scores_version"])
def test_published_results_of_other_code_are_stale(home, changed):
    finish(select("6/EFA", "smoke", (0,), RANDOM)[0], {"cider_d": 30.0})
    folder, _ = published.publish("smoke", (0,), overrides=RANDOM, what="6/EFA")
    shutil.rmtree(paths.runs())
    path = folder / "provenance.json"
    facts = json.loads(path.read_text())
    facts["6-EFA-0"][changed] = "0" * 16
    path.write_text(json.dumps(facts))
    results = collect.collect("6", "smoke", (0,), RANDOM)
    assert results.states["EFA", 0] == "stale"
    text = tables.scores(results).text
    assert "– | 30.0" in text
    assert "Stale: " in text


def test_a_run_of_the_same_settings_and_older_code_is_stale(home):
    run = select("6/EFA", "smoke", (0,), RANDOM)[0]
    folder = finish(run, {"cider_d": 30.0})
    folder.rename(folder.with_name("0" * 16))
    assert collect.collect("6", "smoke", (0,), RANDOM).states["EFA", 0] == "stale"
    assert collect.collect("6", "smoke", (0,), RANDOM | {"training.epochs": 2}).states["EFA", 0] == "missing"


def test_a_shared_run_is_found_by_every_table(home):
    folder = finish(select("6/EFA", "smoke", (0,), RANDOM)[0], {"cider_d": 30.0})
    same = [("4", "EFA"), ("6", "EFA"), ("7", "lambda = 3")]
    assert {collect.collect(table, "smoke", (0,), RANDOM).states[row, 0] for table, row in same} == {"done"}
    folder.rename(folder.with_name("0" * 16))
    assert {collect.collect(table, "smoke", (0,), RANDOM).states[row, 0] for table, row in same} == {"stale"}
    assert collect.collect("7", "smoke", (0,), RANDOM).states["lambda = 5", 0] == "missing"


def test_a_row_with_some_seeds_says_so(home):
    finish(select("6/EFA", "smoke", (0,), RANDOM)[0], {"cider_d": 30.0})
    results = collect.collect("6", "smoke", (0, 1), RANDOM)
    assert results.state("EFA") == "1 done, 1 missing"
    assert "EFA Full Model 1 of 2 seeds" in tables.scores(results).text


@pytest.mark.parametrize(
    ("seeds", "train", "trained"),
    [
        (None, True, set()),  # what is published is shown
        ("0,1", True, {("Add", 1)} | {(row, seed) for row in ROWS if row not in ("EFA", "Add") for seed in (0, 1)}),
        ("0", "all", {(row, 0) for row in ROWS}),
        ("0,1", False, set()),
    ],
)
def test_only_what_is_not_published_is_trained(home, monkeypatch, seeds, train, trained):
    for run in select("6/EFA", "smoke", (0, 1), RANDOM) + select("6/Add", "smoke", (0,), RANDOM):
        finish(run, {"cider_d": 30.0})
    published.publish("smoke", (0, 1), overrides=RANDOM, what="6")
    shutil.rmtree(paths.runs())
    done = set()
    monkeypatch.setattr("efa.runs.Run.execute", lambda run: done.add((run.row, run.seed)))
    results = collect.obtain("6", "smoke", seeds, train, RANDOM, report=lambda line: None)
    assert done == trained
    assert (results.values("EFA", "cider_d") == {0: 30.0, 1: 30.0}) == (seeds != "0")


def test_nothing_is_trained_when_asked_not_to(home):
    results = collect.obtain("6", "smoke", None, train=False, overrides=RANDOM)
    assert results.seeds == (0,)
    assert not paths.runs().exists()


def test_a_protocol_that_is_asked_for_is_the_one_shown(home):
    run = select("4/EFA", "smoke", (0,), RANDOM)[0]
    folder = finish(run, {"cider_d": 30.0})
    shown = collect.collect("4", "smoke", (0,), RANDOM, "oracle")
    assert shown.states["EFA", 0] == "done"
    assert shown.values("EFA", "cider_d") == {}
    assert "Trained, but not scored yet: EFA under oracle." in tables.scores(shown).text
    known = json.loads((folder / "scores.json").read_text())
    (folder / "scores.json").write_text(json.dumps(known | {"oracle": {"cider_d": 40.0, "top1": None}}))
    both = pd.concat([predictions(), predictions(protocol="oracle")])
    both.to_parquet(folder / "predictions.parquet", index=False)
    shown = collect.collect("4", "smoke", (0,), RANDOM, "oracle")
    assert shown.values("EFA", "cider_d") == {0: 40.0}
    assert set(shown.clips("EFA", 0)["protocol"]) == {"oracle"}
    text = tables.scores(shown).text
    assert "protocol oracle" in text
    assert "papermill notebooks/comparison.ipynb" in text
    assert '"protocol": "oracle"' in text
    assert collect.collect("4", "smoke", (0,), RANDOM).values("EFA", "cider_d") == {0: 30.0}


def test_an_unknown_protocol_is_refused(home):
    with pytest.raises(InputError, match="unknown protocol 'orakel'"):
        collect.obtain("4", "smoke", None, train=False, overrides=RANDOM, protocol="orakel")


def test_a_data_set_takes_the_place_of_the_presets(home):
    results = collect.obtain("4", "smoke", None, train=False, overrides=RANDOM, dataset="my clips/gym")
    assert results.overrides["data.source"] == "my clips/gym"
    text = tables.scores(results).text
    assert "[own data] preset smoke" in text
    assert "my clips/gym" in text
    assert "--set 'data.source=my clips/gym'" in text


@pytest.mark.parametrize(("value", "seeds"), [(2, (2,)), ("2", (2,)), ("0,1,2", (0, 1, 2)), ([3, 1, 3], (3, 1))])
def test_seeds(value, seeds):
    assert seeds_of(value) == seeds


@pytest.mark.parametrize("value", [-1, "", "a", [], "0,-1", True, 1.5, [1.5], 2**32])
def test_seeds_that_are_none(value):
    with pytest.raises(InputError, match="seeds cannot be"):
        seeds_of(value)


def test_seeds_trained_here_stand_beside_published_ones(home):
    runs = select("6", "smoke", (0, 1), RANDOM)
    for run in runs:
        finish(run, {"cider_d": 30.0 + run.seed})
    published.publish("smoke", (0, 1), overrides=RANDOM, what="6")
    for folder in {run.folder for run in runs if run.seed == 1}:
        shutil.rmtree(folder)
    first = next(run for run in runs if run.row == "EFA" and run.seed == 0)
    finish(first, {"cider_d": 30.4})
    results = collect.obtain("6", "smoke", None, train=False, overrides=RANDOM)
    assert (results.origin, results.seeds) == ("both", (0, 1))
    assert results.values("EFA", "cider_d") == {0: 30.4, 1: 31.0}
    assert set(results.states.values()) == {"done"}
    assert len({len(results.left["EFA", seed]("predicted", "top1")) for seed in (0, 1)}) == 1
    assert results.repeats == (9, 8, pytest.approx(0.4))
    assert "9 runs. They give the published scores in 8, else up to 0.4 off." in tables.scores(results).text


def test_seeds_of_other_code_are_not_put_together(home):
    for run in select("6", "smoke", (0, 1), RANDOM):
        finish(run, {"cider_d": 30.0 + run.seed})
    folder, _ = published.publish("smoke", (0, 1), overrides=RANDOM, what="6")
    facts = json.loads((folder / "provenance.json").read_text())
    old = {name: fact | {"key": "0" * 16} for name, fact in facts.items()}
    (folder / "provenance.json").write_text(json.dumps(old))
    for folder in {run.folder for run in select("6", "smoke", (1,), RANDOM)}:
        shutil.rmtree(folder)
    results = collect.obtain("6", "smoke", None, train=False, overrides=RANDOM)
    assert (results.origin, results.seeds, results.repeats) == ("runs", (0,), None)


def test_a_published_model_answers_as_the_run_does(home):
    """In half precision, and without the encoder that is shipped."""
    run = select("6", "smoke", (0,), SMALL)[-1]
    inputs = prepare(run.config)
    efa = EFA.from_material(build_model(run.config, inputs).eval(), run.config, inputs)
    finish(run, {"cider_d": 30.0})
    efa.save_pretrained(run.folder)
    folder, _ = published.publish("smoke", (0,), home / "results", SMALL, "6/EFA")
    assert (folder / "model" / "model.safetensors").stat().st_size < 6e6
    again = EFA.from_pretrained(folder / "model")
    first, second = (one.model.state_dict() for one in (efa, again))
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0 if name.startswith("encoder.") else 1e-3, atol=1e-6)


def test_what_reproduce_trains_stands_beside_the_whole_preset(home):
    whole = full({"cider_d": {"lambda = 3": {0: 40.0}, "lambda = 1": {0: 39.0}}}, "7", preset="laptop")
    assert "trained here" not in tables.scores(whole).text
    for run in select("7", "short", (0,))[:2]:
        finish(run, {"cider_d": 31.4})
    text = tables.scores(whole).text
    assert "trained here: preset short" in text
    assert "| 40.0 | 31.4 |" in text
    assert "1,200 clips in place of 6,600" in text
    assert text.split("trained here: preset short")[1].count("1 seed, done") == 2
    assert "trained here" not in tables.scores(replace(whole, overrides={"training.epochs": 2})).text


def test_a_short_run_has_the_settings_that_were_searched_for_the_whole():
    for what in ("5/TSM", "6/EFA"):
        short, whole = (select(what, preset, (0,))[0].config for preset in ("short", "laptop"))
        assert short.data.sealed_seed != whole.data.sealed_seed
        clips = {f"data.{name}": getattr(whole.data, name) for name in ("clips", "sealed", "sealed_seed")}
        assert short.with_(clips) == whole
