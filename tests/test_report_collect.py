"""Results: collected from runs or from what is published, stale where code or data changed, published once."""

import json

import pandas as pd
import pytest
from reported import RANDOM, finish

from efa import paths
from efa.errors import InputError
from efa.experiments import select
from efa.report import collect, tables
from efa.report.collect import COLUMNS


def test_missing_runs_are_missing_and_say_how_to_make_them(home):
    results = collect.collect("6", "smoke", (0,), RANDOM)
    assert results.origin == ""
    assert set(results.states.values()) == {"missing"}
    assert "efa run 6 --preset smoke --seeds 0 --set encoder.weights=" in tables.ablation(results).text


def test_published_results_are_what_the_runs_were(home):
    for run in select("6", "smoke", (0, 1), RANDOM)[:4]:
        finish(run, {"cider_d": 30.0 + run.seed, "top1": 50.0, "bleu4": None}, run.seed)
    before = collect.collect("6", "smoke", (0, 1), RANDOM)
    clips = before.clips("EFA", 1, "none")
    folder, missing = collect.publish("smoke", (0, 1), overrides=RANDOM, what="6")
    assert folder == paths.results() / "formsim-smoke"
    assert len(missing) == 14
    for path in paths.runs().rglob("*"):
        if path.is_file():
            path.unlink()
    after = collect.collect("6", "smoke", (0, 1), RANDOM)
    assert (before.origin, after.origin) == ("runs", "published")
    assert after.states == before.states
    assert after.values("EFA", "cider_d") == before.values("EFA", "cider_d") == {0: 30.0, 1: 31.0}
    pd.testing.assert_frame_equal(after.clips("EFA", 1, "none"), clips)
    assert set(after.histories) == set(before.histories)
    assert collect.published_seeds("6", "smoke") == (0, 1)
    assert json.loads((folder / "provenance.json").read_text())["6-w-o-global-branch-1"]["commit"] == "abc123"


def test_publishing_again_changes_only_what_is_published(home):
    efa, other = (select(what, "smoke", (0,), RANDOM)[0] for what in ("6/EFA", "6/Add"))
    finish(efa, {"cider_d": 30.0})
    folder, _ = collect.publish("smoke", (0,), overrides=RANDOM, what="6/EFA")
    first = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    collect.publish("smoke", (0,), overrides=RANDOM, what="6/EFA")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first
    finish(other, {"cider_d": 20.0})
    collect.publish("smoke", (0,), overrides=RANDOM, what="6/Add")
    scores = pd.read_csv(folder / "scores.csv")
    assert list(scores.columns) == list(COLUMNS)
    scores = scores[scores["protocol"] == "predicted"].set_index("row")["value"]
    assert scores.to_dict() == {"EFA": 30.0, "Add": 20.0}


def test_publishing_nothing_is_an_error(home):
    with pytest.raises(InputError, match="none of these runs"):
        collect.publish("smoke", (0,), overrides=RANDOM, what="6")


@pytest.mark.parametrize("changed", ["key", "scoring"])
def test_published_results_of_other_code_are_stale(home, changed):
    finish(select("6/EFA", "smoke", (0,), RANDOM)[0], {"cider_d": 30.0})
    folder, _ = collect.publish("smoke", (0,), overrides=RANDOM, what="6/EFA")
    (run_file,) = paths.runs().glob("*/scores.json")
    run_file.unlink()
    path = folder / "provenance.json"
    facts = json.loads(path.read_text())
    facts["6-EFA-0"][changed] = "0" * 16
    path.write_text(json.dumps(facts))
    results = collect.collect("6", "smoke", (0,), RANDOM)
    assert results.states["EFA", 0] == "stale"
    text = tables.ablation(results).text
    assert "33.3 | 30.0" in text or "n/a | 30.0" in text
    assert "Stale: " in text


def test_a_run_of_the_same_settings_and_older_code_is_stale(home):
    run = select("6/EFA", "smoke", (0,), RANDOM)[0]
    folder = finish(run, {"cider_d": 30.0})
    folder.rename(folder.with_name("0" * 16))
    assert collect.collect("6", "smoke", (0,), RANDOM).states["EFA", 0] == "stale"
    assert collect.collect("6", "smoke", (0,), RANDOM | {"training.epochs": 2}).states["EFA", 0] == "missing"


def test_a_row_with_some_seeds_says_so(home):
    finish(select("6/EFA", "smoke", (0,), RANDOM)[0], {"cider_d": 30.0})
    assert collect.collect("6", "smoke", (0, 1), RANDOM).state("EFA") == "1 done, 1 missing"


def test_nothing_is_trained_when_asked_not_to(home):
    results = collect.obtain("6", "smoke", None, train=False, overrides=RANDOM)
    assert results.seeds == (0,)
    assert not paths.runs().exists()


@pytest.mark.parametrize(("value", "seeds"), [(2, (0, 1)), ("2", (2,)), ("0,1,2", (0, 1, 2)), ([3, 1, 3], (3, 1))])
def test_seeds(value, seeds):
    assert collect.seeds_of(value) == seeds


@pytest.mark.parametrize("value", [0, -1, "", "a", [], "0,-1", True, 1.5])
def test_seeds_that_are_none(value):
    with pytest.raises(InputError, match="seeds cannot be"):
        collect.seeds_of(value)
