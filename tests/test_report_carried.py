"""Published runs are carried over when the code changed and a seed proves that nothing else did, and only then."""

import json

import pandas as pd
import pytest
from reported import RANDOM, finish

from efa import runs
from efa.data.manifest import StepText, make_dataset, save_dataset
from efa.experiments import select
from efa.report import carried, collect, published, tables

REAL = runs.executed_source
FACTS = {"data_fingerprint": "data", "weights": "", "source": "old"}


@pytest.fixture(autouse=True)
def at_home(home):
    return home


def trained(run, source: str, seed: int | None = None, **facts_too: str) -> None:
    folder = finish(run, {"cider_d": 30.0 + run.seed}, run.seed if seed is None else seed)
    facts = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps(facts | FACTS | {"source": source} | facts_too))


def code_is(monkeypatch, source: str) -> None:
    """The code of training and prediction; that of scoring stays."""
    monkeypatch.setattr(runs, "executed_source", lambda *entries: REAL(*entries) if len(entries) == 1 else source)


@pytest.fixture
def changed(monkeypatch):
    """Two seeds of two rows are published; then the code changes, and seed 0 is trained again."""
    asked = [run for run in select("6", "smoke", (0, 1), RANDOM) if run.row in ("EFA", "Add")]
    for run in asked:
        trained(run, "old")
    published.publish("smoke", (0, 1), overrides=RANDOM, what="6")
    code_is(monkeypatch, "new")
    assert set(states().values()) == {"stale", "missing"}
    return [run for run in asked if run.seed == 0]


def states() -> dict[tuple[str, int], str]:
    return collect.collect("6", "smoke", (0, 1), RANDOM).states


def publish() -> tuple[list[str], list[str]]:
    proven = carried.proofs("smoke", (0,), "6", RANDOM)
    published.publish("smoke", (0,), overrides=RANDOM, what="6")
    return carried.carry("smoke", proven, RANDOM)


def entry(name: str) -> dict:
    return json.loads((published.folder_of("smoke", RANDOM) / "provenance.json").read_text())[name]


def test_the_other_seeds_are_carried_where_one_is_the_same(changed):
    for run in changed:
        trained(run, "new")
    before = entry("6-EFA-1")
    assert publish() == (["6/EFA seed 1", "6/Add seed 1"], [])
    assert {state for cell, state in states().items() if cell[0] in ("EFA", "Add")} == {"done"}
    after = entry("6-EFA-1")
    assert after["carried"][0] | {"by": ""} == {"from": before["key"], "source": "old", "same": [0], "by": ""}
    assert {k: v for k, v in after.items() if k not in ("key", "source", "carried")} == {
        k: v for k, v in before.items() if k not in ("key", "source")
    }
    assert (
        "Seeds 1 of 2 runs: the code has changed since"
        in tables.scores(collect.collect("6", "smoke", (0, 1), RANDOM)).text
    )


def test_nothing_is_carried_for_a_row_that_came_out_otherwise(changed):
    for run in changed:
        trained(run, "new", seed=7 if run.row == "Add" else None)
    done, left = publish()
    assert (done, left) == (["6/EFA seed 1"], [])
    assert states()["Add", 1] == "stale"
    assert states()["Add", 0] == "done"


@pytest.mark.parametrize("column", ["quality_prob", "explanation", "top5"])
def test_one_value_is_enough_to_differ(changed, column):
    (run, *_) = changed
    trained(run, "new")
    path = run.folder / "predictions.parquet"
    place = published.folder_of("smoke", RANDOM) / "predictions" / f"{published.file_name('6', run.row, 0)}.parquet"
    assert carried.same(run, place)
    table = pd.read_parquet(path)
    other = {"quality_prob": 0.123456, "explanation": "other words", "top5": ["Plank", "Squat"]}[column]
    table[column] = [other if i == 3 else value for i, value in enumerate(table[column])]
    table.to_parquet(path)
    assert not carried.same(run, place)


def test_the_order_of_clips_does_not_matter(changed):
    (run, *_) = changed
    trained(run, "new")
    path = run.folder / "predictions.parquet"
    pd.read_parquet(path).sample(frac=1, random_state=0).to_parquet(path)
    assert carried.proofs("smoke", (0,), "6", RANDOM) == {
        ("6", run.row): carried.Proof([0], {entry(f"6-{run.row}-0")["scoring"]}, {"data"})
    }


def test_data_that_are_drawn_by_other_code_count_as_the_same_where_a_seed_learns_the_same_from_them(changed):
    for run in changed:
        trained(run, "new", data_fingerprint="drawn anew")
    assert publish() == (["6/EFA seed 1", "6/Add seed 1"], [])
    assert entry("6-EFA-1")["data_fingerprint"] == entry("6-EFA-0")["data_fingerprint"] == "drawn anew"


def test_data_in_files_are_never_taken_for_the_same(monkeypatch, tmp_path):
    """As above, but in somebody's folder: another fingerprint there is other data."""
    steps = {"Squat": StepText(("Stand.", "Brace.", "Sit.", "Hold.", "Rise."), "Keep straight.")}
    clips = [{"clip_id": str(i), "path": f"{i}.mp4", "action": "Squat", "quality": i % 2} for i in range(6)]
    splits = ("train", "train", "val", "val", "test", "test")
    rows = [clip | {"split": split, "explanation": "Fine."} for clip, split in zip(clips, splits, strict=True)]
    save_dataset(make_dataset(rows, steps), tmp_path / "mine")
    for clip in clips:
        (tmp_path / "mine" / str(clip["path"])).write_text("nobody opens it")
    settings = RANDOM | {"data.source": str(tmp_path / "mine")}
    (first, second) = (run for run in select("6", "smoke", (0, 1), settings) if run.row == "EFA")
    trained(first, "old")
    trained(second, "old")
    published.publish("smoke", (0, 1), overrides=settings, what="6")
    code_is(monkeypatch, "new")
    (first,) = (run for run in select("6/EFA", "smoke", (0,), settings))
    trained(first, "new", data_fingerprint="other files")
    proven = carried.proofs("smoke", (0,), "6", settings)
    assert list(proven) == [("6", "EFA")]
    published.publish("smoke", (0,), overrides=settings, what="6")
    assert carried.carry("smoke", proven, settings) == ([], ["6/EFA seed 1"])


@pytest.mark.parametrize("what", ["data_fingerprint", "weights", "scoring", "config_hash"])
def test_seeds_that_differ_in_more_than_the_code_are_left(changed, what):
    for run in changed:
        trained(run, "new")
    path = published.folder_of("smoke", RANDOM) / "provenance.json"
    entries = json.loads(path.read_text())
    entries["6-EFA-1"][what] = "other"
    path.write_text(json.dumps(entries))
    assert publish() == (["6/Add seed 1"], ["6/EFA seed 1"])
    assert states()["EFA", 1] == "stale"


@pytest.mark.parametrize("scores", ["same", "other"])
def test_scores_of_former_code_are_kept_where_it_is_proved_to_give_the_same(changed, scores):
    for run in changed:
        trained(run, "new")
        if scores == "other":
            path = run.folder / "scores.json"
            path.write_text(path.read_text().replace("30.0", "30.1"))
    path = published.folder_of("smoke", RANDOM) / "provenance.json"
    before = json.loads(path.read_text())
    path.write_text(json.dumps({name: one | {"scoring": "former"} for name, one in before.items()}))
    done, left = publish()
    both = ["6/EFA seed 1", "6/Add seed 1"]
    assert (done, left) == ((both, []) if scores == "same" else ([], both))
    assert entry("6-EFA-1")["scoring"] == (before["6-EFA-1"]["scoring"] if scores == "same" else "former")


def test_a_second_change_is_added_to_the_first(changed, monkeypatch):
    for run in changed:
        trained(run, "new")
    publish()
    code_is(monkeypatch, "newer")
    for run in changed:
        trained(run, "newer")
    assert publish() == (["6/EFA seed 1", "6/Add seed 1"], [])
    assert [one["source"] for one in entry("6-EFA-1")["carried"]] == ["old", "new"]


def test_without_proof_nothing_changes(changed):
    assert carried.proofs("smoke", (0,), "6", RANDOM) == {}
    assert carried.carry("smoke", {}, RANDOM) == ([], [])
