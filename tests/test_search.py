"""The search of settings: equal chances, the validation split alone, every trial kept, and a search that resumes."""

import json
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
import tiny
from typer.testing import CliRunner

from efa import experiments
from efa.baselines.inputs import prepare
from efa.config import RESULTS_VERSION, build
from efa.utils import paths
from efa.utils.errors import Diverged, InputError
from efa_book import search as searching

SETTINGS = tiny.SETTINGS | {"training.epochs": 3}


@pytest.fixture
def tiny_search(home, monkeypatch):
    """Searches of tiny models; what they printed."""
    monkeypatch.setattr(searching, "config_of", config_of)
    printed = []
    return lambda system, count, seed=0: searching.search(system, "laptop", count, seed, printed.append) or printed


def config_of(system, preset, seed, settings):
    own = {"system.name": system, "data.size": 64, "training.seed": seed, "training.select_every": 1}
    return build(preset, SETTINGS | own | settings)


class Guarded(np.ndarray):
    """Clips of which the test split's cannot be read."""

    def __getitem__(self, rows):
        assert not np.isin(np.arange(len(self))[rows], self.test).any(), "a clip of the test split was read"
        return np.asarray(self)[rows]


def guarded(inputs):
    video = np.array(inputs.video).view(Guarded)
    video.test = inputs.rows("test")
    return replace(inputs, video=video)


def trials() -> pd.DataFrame:
    return pd.read_csv(paths.results() / "search.csv", keep_default_na=False)


@pytest.mark.parametrize("system", ["EFA", "TSM"])
def test_a_search_cannot_read_the_test_split(tiny_search, monkeypatch, system):
    made = prepare(config_of(system, "laptop", 0, {}))
    assert len(made.rows("test"))
    with pytest.raises(AssertionError, match="test split was read"):
        guarded(made).video[made.rows("test")[:1]]
    monkeypatch.setattr(searching, "prepare", lambda config: guarded(made))
    tiny_search(system, 1)
    table = made.dataset.table.copy()
    table.loc[table["split"] == "test", "explanation"] = "nonsense"
    table.loc[table["split"] == "test", "quality"] = 1 - table["quality"]
    changed = replace(made, dataset=replace(made.dataset, table=table))
    monkeypatch.setattr(searching, "prepare", lambda config: changed)
    first = trials()
    (paths.results() / "search.csv").unlink()
    tiny_search(system, 1)
    assert trials().drop(columns="seconds").equals(first.drop(columns="seconds"))


def test_a_search_that_was_interrupted_goes_on_the_same(tiny_search, monkeypatch):
    tiny_search("TSM", 3)
    whole = trials()
    assert list(whole["trial"]) == [0, 1, 2]
    assert len({*whole["settings"]}) == 3
    (paths.results() / "search.csv").unlink()
    tiny_search("TSM", 1)
    tiny_search("C3D", 1)  # another system's rows between them
    tiny_search("TSM", 3)
    again = trials()
    assert sorted(again["system"]) == ["C3D", "TSM", "TSM", "TSM"]
    again = again[again["system"] == "TSM"].reset_index(drop=True)
    assert again.drop(columns="seconds").equals(whole.drop(columns="seconds"))
    monkeypatch.setattr(searching, "run_trial", None)
    tiny_search("TSM", 3)  # nothing is missing


def test_every_trial_is_kept_however_it_ends(tiny_search, monkeypatch):
    def fail(*arguments, **settings):
        raise Diverged("not finite")

    with monkeypatch.context() as patch:
        patch.setattr(searching, "fit", fail)
        tiny_search("TSM", 1)
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "should_prune", lambda trial: True)
        tiny_search("TSM", 2)
    tiny_search("TSM", 3)
    rows = trials()
    assert list(rows["state"]) == ["diverged", "pruned", "complete"]
    assert list(rows["epochs"]) == [0, 1, 3]
    assert list(rows["objective"] == "") == [True, True, False]
    assert float(rows["objective"][2]) == json.loads(rows["scores"][2])[-1]
    assert set(rows["results_version"]) == {RESULTS_VERSION}
    for row in rows["settings"].map(json.loads):
        assert all(
            searching.RANGES[name]._contains(searching.RANGES[name].to_internal_repr(v)) for name, v in row.items()
        )


def test_systems_search_what_they_have(home):
    found = {}
    for system in ("EFA", "TSM", "SwinBERT"):
        config = config_of(system, "laptop", 0, {})
        found[system] = set(searching.ranges_of(config, prepare(config)))
    pose = tiny.pose_config()
    found["pose"] = set(searching.ranges_of(pose, prepare(pose)))
    both = {"training.head_lr", "training.weight_decay", "fusion.pool_dropout"}
    trunk, text = {"encoder.adapter", "training.feature_noise"}, {"training.text_share", "training.weight_text"}
    assert found["TSM"] == both | trunk
    assert found["EFA"] == found["SwinBERT"] == both | trunk | text | {"training.lr"}
    assert found["pose"] == both | text | {"training.lr", "encoder.noise"}


@pytest.mark.parametrize("system", ["EFA", "TSM"])
def test_an_objective_counts_all_tasks_alike(tiny_search, monkeypatch, system):
    monkeypatch.setattr(searching.metrics, "score", lambda table, parser: {"rouge_l": 60.0, "fault_f1": 20.0})
    tiny_search(system, 1)
    (row,) = trials().to_dict("records")
    judged = json.loads(row["scores"])[-1]
    assert float(row["objective"]) == pytest.approx((2 * judged + 40) / 3 if system == "EFA" else judged, abs=1e-3)


def test_the_second_stage_on_poses_combines_the_best_trial_with_each_setting_and_ends_none_early(home, monkeypatch):
    made = []

    def run(config, inputs, trial):
        trial.report(-1.0, 1)  # less than the trials before
        made.append((config.training, trial.should_prune()))
        return "complete", [1.0], 50.0 - len(made)

    monkeypatch.setattr(searching, "prepare", lambda config: None)
    monkeypatch.setattr(searching, "without_test", lambda inputs: inputs)
    ranges = {k: v for k, v in searching.RANGES.items() if k not in ("encoder.adapter", "training.feature_noise")}
    monkeypatch.setattr(searching, "ranges_of", lambda config, inputs: ranges)
    monkeypatch.setattr(searching, "run_trial", run)
    searching.search("EFA", "pose", 40, 0, str)
    assert (len(trials()), len(made), made[11][1]) == (20, 20, True), "the first stage ends such trials"
    found = {(s.lr, s.text_share, s.weight_text, s.head_lr == made[0][0].head_lr, ended) for s, ended in made[12:]}
    assert found == {(lr, a, w, True, False) for lr in (1e-3, 3e-3) for a in (0.6, 0.9) for w in (10.0, 30.0)}


def rows_of(system: str, objectives: list[float | None], preset: str = "laptop") -> list[dict[str, object]]:
    common = {"system": system, "preset": preset, "seed": 0, "epochs": 8, "seconds": 1, "scores": "[]"}
    common |= {"results_version": RESULTS_VERSION}
    rows = []
    for i, value in enumerate(objectives):
        row = {"trial": i, "objective": "" if value is None else value, "settings": f'{{"training.lr": {i + 1.0}}}'}
        rows.append(common | row | {"state": "pruned" if value is None else "complete"})
    return rows


def test_the_best_complete_trial_becomes_the_rows_settings(home, tmp_path, monkeypatch):
    for row in rows_of("TSM", [50.0, 70.0, None]) + rows_of("EFA", [None, 9.0, 10.0]):
        searching.keep(row)
    for row in rows_of("EFA", [99.0], "pose"):
        searching.keep(row)
    kept = tmp_path / "settings.json"
    kept.write_text('{"pose": {"EFA": {"training.lr": 7.0}}}')
    searching.write_settings("laptop", kept)
    written = json.loads(kept.read_text())
    assert written == {
        "laptop": {"EFA": {"training.lr": 3.0}, "TSM": {"training.lr": 2.0}},
        "pose": {"EFA": {"training.lr": 7.0}},
    }
    monkeypatch.setattr(experiments, "SYSTEM_SETTINGS", written)
    for row, lr in {"5/TSM": 2.0, "5/EFA": 3.0, "6/w/o text": 3.0, "7/lambda = 5": 3.0, "standards/EFA": 3.0}.items():
        (run,) = experiments.select(row, "laptop", (0,))
        assert run.config.training.lr == lr
    assert experiments.select("6/EFA", "pose", (0,))[0].config.training.lr == 7.0
    assert experiments.select("6/EFA", "gpu", (0,))[0].config == build("gpu", {"training.seed": 0})
    assert experiments.select("5/TSM", "laptop", (0,), {"training.lr": 1e-4})[0].config.training.lr == 1e-4


def test_unequal_chances_are_refused(home):
    for row in rows_of("TSM", [50.0, 70.0]) + rows_of("EFA", [9.0]):
        searching.keep(row)
    with pytest.raises(InputError, match="chances are not equal"):
        searching.best_settings("laptop")
    searching.keep(rows_of("EFA", [9.0, None])[1])
    assert set(searching.best_settings("laptop")) == {"EFA", "TSM"}
    for row in rows_of("C3D", [None, None]):
        searching.keep(row)
    with pytest.raises(InputError, match="no trial of C3D was completed"):
        searching.best_settings("laptop")


def test_published_settings_are_the_best_of_the_published_search(monkeypatch):
    monkeypatch.setattr(paths, "results", lambda: experiments.SETTINGS_FILE.parents[1] / "results")
    for preset in ("laptop", "pose", *experiments.SYSTEM_SETTINGS):
        assert experiments.SYSTEM_SETTINGS.get(preset, {}) == searching.best_settings(preset)


def test_mistakes_take_one_line(home):
    with pytest.raises(InputError, match="one of all, EFA"):
        searching.systems_of("TSM", "pose")
    assert searching.systems_of("all", "pose") == ["EFA"]
    assert set(searching.systems_of("all", "laptop")) == set(experiments.SYSTEMS)
    paths.results().mkdir()
    (paths.results() / "search.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"search\.csv"):
        searching.read_trials("laptop")


def test_the_command_searches_and_writes(home, monkeypatch):
    import typer

    from efa_book import cli

    called = []
    monkeypatch.setattr(searching, "search", lambda *arguments: called.append(arguments[:4]))
    monkeypatch.setattr(searching, "write_settings", called.append)
    app = typer.Typer()
    app.command()(cli.search)
    assert CliRunner().invoke(app, ["TSM", "--trials", "3", "--seed", "2"]).exit_code == 0
    assert CliRunner().invoke(app, ["all", "--preset", "pose", "--write"]).exit_code == 0
    assert called == [("TSM", "laptop", 3, 2), ("EFA", "pose", 12, 0), "pose"]
