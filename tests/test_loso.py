"""Leave-one-subject-out cross-validation: splits, folds that resume, and estimates over people."""

import dataclasses
import itertools
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tiny
from checkpoints import call, said
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from efa.data.manifest import StepText, load_dataset, make_dataset
from efa.experiments import select
from efa.launch import grid
from efa.utils.errors import InputError
from efa_book import people
from efa_datasets import loso
from efa_datasets.loso import COLUMNS, LOSO_ROWS, collect, folds, leave_out
from efa_datasets.writing import save_dataset

SMALL = {"data.size": 32, "encoder.dim": 8, "encoder.heads": (1, 2), "encoder.depths": (1, 1), "encoder.weights": ""}
PEOPLE = ("ann", "bob", "cid", "dot")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four people, two movements, three repetitions of each, correct and incorrect; videos as folders of frames."""
    place, rows = tmp_path_factory.mktemp("people"), []
    random = np.random.RandomState(0)
    fixed = {"view": "", "explanation": "", "fault": "", "mode": "manual", "type": "exercise", "split": "train"}
    for person, action, i in itertools.product(PEOPLE, ("Bend", "Turn"), range(6)):
        clip = f"{person}-{action}-{i}"
        (place / "frames" / clip).mkdir(parents=True)
        for t in range(6):
            pixels = random.randint(0, 255, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(place / "frames" / clip / f"{t:03d}.png")
        own = {"clip_id": clip, "path": f"frames/{clip}", "quality": i % 2, "subject": person, "action": action}
        rows.append(own | fixed)
    texts = {name: StepText(tuple(f"{name} {i}." for i in range(5)), f"{name}.") for name in ("Bend", "Turn")}
    save_dataset(make_dataset(rows, texts), place)
    return place


@pytest.fixture(autouse=True)
def empty_cache():
    loso._prepare.cache_clear()


@pytest.fixture
def efa(monkeypatch, capfd):
    return partial(call, monkeypatch, capfd)


def predictions(right: dict[str, float], row: str = "A", views: tuple[str, ...] = ("",), seed: int = 0) -> pd.DataFrame:
    """`right`: person -> share of ten repetitions of one movement that are judged right."""
    rows = []
    for (person, share), i, view in itertools.product(right.items(), range(10), views):
        quality, clip = i % 2, f"{person}{i}" + (f"-{view}" if view else "")
        verdict = quality if i < round(10 * share) else 1 - quality
        rows.append((row, seed, person, clip, "Bend", view, quality, 0.1 + 0.8 * verdict, "Bend"))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_subjects_are_in_one_split(folder, home):
    dataset = load_dataset(folder)
    inputs = loso.TrainingInputs(dataset, np.zeros(0), None, None, None)  # type: ignore[arg-type]
    tested = []
    for person in PEOPLE:
        table = leave_out(inputs, person).dataset.table
        assert set(table.loc[table["split"] == "test", "subject"]) == {person}
        assert (table.groupby("subject")["split"].nunique() == 1).all()
        assert table["split"].value_counts().to_dict() == {"train": 24, "val": 12, "test": 12}
        tested += list(table.loc[table["split"] == "test", "clip_id"])
    assert sorted(tested) == sorted(dataset.table["clip_id"])


def test_finished_folds_are_not_trained_again(folder, home, tmp_path_factory, monkeypatch):
    wanted = folds(folder, ["EFA", "Video Swin"], "smoke", (0,), SMALL)
    assert len({fold.key for fold in wanted}) == len(wanted) == 8
    config = wanted[0].config
    assert (config.training.weight_text, config.decoder.vocabulary) == (0, "full")  # there are no explanations
    assert grid.execute_all(wanted) == [fold.folder for fold in wanted]
    first = collect(wanted)
    assert set(first) == {"EFA", "Video Swin"}
    for row, (part, facts) in first.items():  # everybody judged once, by a model that did not train on them
        assert facts["trainings"] == 4
        assert list(part.columns) == list(COLUMNS)
        assert set(part["row"]) == {row}
        assert sorted(part["clip_id"]) == sorted(load_dataset(folder).table["clip_id"])
        assert part["quality_prob"].between(0, 1).all()
    times = [(fold.folder / "predictions.parquet").stat().st_mtime_ns for fold in wanted]
    again = folds(folder, ["EFA", "Video Swin"], "smoke", (0,), SMALL)
    grid.execute_all(again)
    for row, (table, _) in collect(again).items():
        pd.testing.assert_frame_equal(first[row][0], table)
    assert times == [(fold.folder / "predictions.parquet").stat().st_mtime_ns for fold in wanted]
    assert not [*home.glob("runs/*/best.safetensors"), *home.glob("runs/*/resume.pt")]
    monkeypatch.setenv("EFA_HOME", str(tmp_path_factory.mktemp("other")))
    elsewhere = folds(folder, ["Video Swin"], "smoke", (0,), SMALL)
    assert not any(fold.finished for fold in elsewhere)
    grid.execute_all(elsewhere[:1], 2)  # a process of its own predicts ann's 12 clips as this one does
    pd.testing.assert_frame_equal(first["Video Swin"][0][:12], collect(elsewhere[:1])["Video Swin"][0])


def test_a_failed_training_leaves_out_its_row_only(folder, home, tmp_path, efa, monkeypatch):
    fit = loso.fit

    def fail_for_bob(config, inputs, *rest):
        table = inputs.dataset.table
        if "bob" in set(table.loc[table["split"] == "test", "subject"]) and config.training.weight_class == 0.5:
            raise FloatingPointError("the loss is nan in epoch 1: clips ann-Bend-0")
        return fit(config, inputs, *rest)

    rows = {row: LOSO_ROWS[row] | {"training.weight_class": w} for row, w in (("EFA", 0.5), ("Video Swin", 1.0))}
    monkeypatch.setattr(loso, "LOSO_ROWS", LOSO_ROWS | rows)
    monkeypatch.setattr(loso, "fit", fail_for_bob)
    command = ["leave-one-subject-out", str(folder), "--to", str(tmp_path), "--row", "EFA", "--row", "Video Swin"]
    command += ["--preset", "smoke", "--jobs", "1", *tiny.options(SMALL)]
    status, _, err = efa(*command)
    assert status == 1
    assert said(err) == "efa: EFA seed 0, without bob: training diverged: the loss is nan in epoch 1: clips ann-Bend-0"
    assert "'EFA' is not written: not all of its trainings are finished" in err.splitlines()
    assert set(people.load_results(tmp_path).facts) == {"Video Swin"}
    monkeypatch.setattr(loso, "fit", fit)
    status, _, err = efa(*command)
    assert status == 0
    epochs = folds(folder, ["EFA"], "smoke", (0,), SMALL)[0].config.training.epochs
    assert sum("epoch" in line for line in err.splitlines()) == epochs  # bob's alone
    assert set(people.load_results(tmp_path).facts) == {"EFA", "Video Swin"}


def test_damaged_folds_are_trained_again(folder, home):
    (fold, *_) = folds(folder, ["Video Swin"], "smoke", (0,), SMALL)
    fold.execute()
    before = (fold.folder / "predictions.parquet").read_bytes()
    (fold.folder / "provenance.json").write_bytes(b"")
    assert not fold.finished
    lines = []
    fold.execute(report=lines.append)
    assert "provenance.json cannot be read: trained again" in lines
    assert fold.finished
    assert (fold.folder / "predictions.parquet").read_bytes() == before


@pytest.mark.slow
def test_zero_shot_uses_the_text_of_the_true_movement(folder, home):
    runs = select("6/EFA", "smoke", (0,), {"data.clips": 48, "training.epochs": 1, "prediction.max_tokens": 4})
    grid.execute_all(runs)
    found, _ = loso.judge_zero_shot(runs, folder, "smoke")[loso.ZERO_SHOT]
    assert list(found["clip_id"]) == list(load_dataset(folder).table["clip_id"])
    assert found["quality_prob"].between(0, 1).all()
    assert found["quality_prob"].nunique() > 10
    assert set(found["predicted_action"]) == {""}  # its class head knows none of these movements


def test_mistakes(folder, home, tmp_path, efa, monkeypatch):
    with pytest.raises(InputError, match="there is no row 'EFX'"):
        folds(folder, ["EFX"])
    table = load_dataset(folder)
    nameless = dataclasses.replace(table, table=table.table.assign(subject=""))
    monkeypatch.setattr(loso, "open_dataset", lambda config: nameless)
    with pytest.raises(InputError, match="every clip needs a subject"):
        folds(folder)
    monkeypatch.undo()
    status, _, err = efa("leave-one-subject-out", str(tmp_path / "nowhere"))
    assert status == 2
    assert "nowhere" in said(err)
    with pytest.raises(InputError, match="no leave-one-subject-out results here"):
        people.load_results(tmp_path)


def test_rows_match_their_names():
    assert LOSO_ROWS["EFA"] == {}
    for row in ("EFA", "Video Swin"):
        extra = {k: v for k, v in LOSO_ROWS[f"{row}, random trunk"].items() if k not in LOSO_ROWS[row]}
        assert extra == {"encoder.weights": ""}
    tuned, scratch = LOSO_ROWS["EFA, fine-tuned"], LOSO_ROWS["EFA, from scratch"]
    assert {key for key in tuned | scratch if tuned.get(key) != scratch.get(key)} == {"encoder.weights", "training.lr"}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10), min_size=2, max_size=8))
def test_accuracy_lies_in_its_interval(hits):
    found = predictions({f"p{i}": hit / 10 for i, hit in enumerate(hits)})
    one = people.estimate(found, "A", "acc")
    assert one.value == pytest.approx(10 * np.mean(hits))
    assert one.low <= one.value + 1e-9
    assert one.high >= one.value - 1e-9
    assert (one.low == one.high) == (len(set(hits)) == 1)


def test_views_are_averaged_and_auc_has_no_threshold():
    """One view alone would be wrong; the mean of the probabilities is right."""
    found = predictions({"ann": 1.0, "bob": 1.0}, views=("front", "side"))
    side = found["view"] == "side"
    found.loc[side, "quality_prob"] = 0.5 + (found.loc[side, "quality_prob"] - 0.5) * -0.1
    assert people.estimate(found, "A", "acc").value == 100
    assert people.estimate(found[side], "A", "acc").value == 0
    high = predictions({"ann": 1.0, "bob": 1.0})
    high["quality_prob"] = 0.6 + high["quality_prob"] / 10  # everything is called incorrect, in the right order
    assert people.estimate(high, "A", "acc").value == 50
    assert people.estimate(high, "A", "auc").value == 100
    nameless = high.assign(predicted_action="")
    assert math.isnan(people.estimate(nameless, "A", "top1").value)
    assert set(people.compute_scores(nameless)["metric"]) == {"acc", "auc"}


def test_differences_are_within_people_and_not_within_seeds():
    """B is ten points better than A with everybody, so the difference is certain although people differ much."""
    shares = {f"p{i}": share for i, share in enumerate((0.1, 0.4, 0.5, 0.8))}
    one = predictions(shares)
    gap = people.estimate(pd.concat([one, predictions({k: v + 0.1 for k, v in shares.items()}, "B")]), "B", "acc", "A")
    assert (gap.value, gap.low, gap.high) == pytest.approx((10, 10, 10))
    alone = people.estimate(one, "A", "acc")
    assert alone.high - alone.low > 10
    assert alone == people.estimate(pd.concat([predictions(shares, seed=seed) for seed in range(3)]), "A", "acc")


OUTCOMES = {(5, 1, 9): "holds", (2, 1, 3): "does not hold", (-5, -9, -1): "does not hold"}
OUTCOMES |= dict.fromkeys(((5, -1, 9), (5, 0, 9), (math.nan, math.nan, math.nan)), "inconclusive")


def test_outcome():
    assert {interval: people.outcome(people.Interval(*interval)) for interval in OUTCOMES} == OUTCOMES


def test_published_results_are_read_back_and_replaced(tmp_path):
    place = tmp_path / "lab-smoke"
    facts = {"trainings": 1, "seconds": 60, "device": "a <b>core</b>", "commit": "c0ffee", "versions": {}}
    first, bad, good = (
        {row: (predictions({"ann": ann, "bob": bob}, row), facts)}
        for row, ann, bob in (("EFA", 0.5, 1.0), ("Video Swin", 0.1, 0.2), ("Video Swin", 1.0, 1.0))
    )
    people.publish(first | bad, place)
    people.publish(good, place)
    found = people.load_results(place)
    scores = found.scores.set_index(["metric", "row"]).loc["acc", "value"]
    assert scores.to_dict() == {"EFA": 75, "Video Swin": 100}
    gap = found.comparisons.set_index("claim").loc["EFA judges better than Video Swin"]
    assert gap["difference"] == -25
    assert gap["outcome"] in ("does not hold", "inconclusive")
    assert "EFA judges better than Video Swin" in people.answers_table(found).source
    stamp = people.stamp(found)
    assert "<b>core" not in stamp.source
    assert "2 minutes of one core" in stamp.source
    table, stamp = people.scores_table(found).text, stamp.text
    assert all(part in table for part in ("100.0", "by chance | 50 | 50 | 100"))  # one movement
    assert "views" not in table
    assert all(part in stamp for part in ("own data: lab", "efa leave-one-subject-out lab --seeds 0"))
    assert "UI-PRMD" not in stamp
    files = {path.name: path.read_bytes() for path in place.iterdir()}
    people.publish(first, place)  # nothing new: the same bytes
    assert files == {path.name: path.read_bytes() for path in place.iterdir()}
