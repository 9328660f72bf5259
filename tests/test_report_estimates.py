"""Means, intervals and differences; why a number is absent; what is reached without looking."""

import numpy as np
import pandas as pd
import pytest
from reported import full, made, predictions

import formsim
from efa import metrics
from efa.config import build
from efa.data.loader import open_dataset
from efa.experiments import TABLES
from efa.metrics import METRICS
from efa_book import estimates
from efa_book.estimates import CachedFaultParser, Estimate
from efa_book.intervals import mean_interval
from efa_book.published import COLUMNS
from efa_book.table_specs import KNOWN, TABLE_SPECS


@pytest.fixture
def parser(tmp_path, monkeypatch) -> CachedFaultParser:
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    return CachedFaultParser(metrics.FaultParser(formsim.fault_phrases()))


def test_every_table_shows_metrics_that_exist():
    assert set(TABLE_SPECS) == set(TABLES)
    assert set(KNOWN) <= set(METRICS)
    for table, shown in TABLE_SPECS.items():
        assert shown.subject in TABLES[table].rows
        assert {metric for group in shown.figures.values() for metric in group} <= set(KNOWN.values())
        for row, protocol, _ in shown.entries:
            assert protocol in TABLES[table].protocols_of(row)


def test_several_seeds_give_students_interval():
    found = estimates.estimate(made({"EFA": {0: 30.0, 1: 32.0, 2: 37.0}}), "EFA", "cider_d")
    assert (found.mean, found.low, found.high) == pytest.approx(mean_interval([30.0, 32.0, 37.0]))
    assert found.over == "seeds"


def test_one_seed_gives_the_interval_over_clips(tmp_path):
    clips = predictions()
    clips.to_parquet(tmp_path / "p.parquet")
    right = 100 * (clips["predicted_action"] == clips["action"]).mean()
    results = made({"EFA": {0: right}}, "top1", predictions={("EFA", 0): tmp_path / "p.parquet"})
    found = estimates.estimate(results, "EFA", "top1")
    assert found.over == "clips"
    assert found.low < right < found.high


def test_one_seed_gives_ngram_scores_no_interval():
    found = estimates.estimate(made({"EFA": {0: 30.0}}), "EFA", "cider_d")
    assert found.mean == 30.0
    assert not found.bounded


DRAWN = [key for key, metric in KNOWN.items() if metric.kind != "caption"]


@pytest.mark.parametrize("metric", DRAWN)
def test_what_the_bootstrap_draws_from_gives_the_score_itself(metric, parser):
    seen = next(iter(formsim.fault_phrases()["Squat"]["shallow"]))
    clips = predictions(explanation=f"This squat goes wrong in step three because {seen}.")
    rows, statistic = estimates.clip_sample(metric, clips, parser)
    scores = metrics.score(clips.assign(reference=""), metrics.FaultParser(formsim.fault_phrases()))
    assert statistic(rows) == pytest.approx(scores[metric])


def test_the_cached_parser_gives_the_same_answers(parser):
    plain = metrics.FaultParser(formsim.fault_phrases())
    table = open_dataset(build("smoke").data).table
    texts = [*table["explanation"], "No. The back isn't round! It is non-standard: the knees cave in.e.g. here", ""]
    actions = [*table["action"], "Squat", "Plank"]
    for text, action in zip(texts, actions, strict=True):
        assert parser.faults(text, action) == plain.faults(text, action)
    parser.save()
    again = CachedFaultParser(metrics.FaultParser({}))  # knows nothing but what it has kept
    for text, action in zip(texts, actions, strict=True):
        assert again.faults(text, action) == plain.faults(text, action)


def test_difference_is_paired_by_seed():
    results = made({"EFA": {0: 10.0, 1: 20.0, 2: 30.0}, "Add": {0: 8.0, 1: 18.5, 2: 27.5}})
    gap = estimates.difference(results, "EFA", "Add", "cider_d")
    assert (gap.mean, gap.low, gap.high) == pytest.approx(mean_interval([2.0, 1.5, 2.5]))
    back = estimates.difference(results, "Add", "EFA", "cider_d")
    assert (back.mean, back.low, back.high) == pytest.approx((-gap.mean, -gap.high, -gap.low))


def test_difference_with_one_seed_is_paired_by_clip(tmp_path):
    files, values = {}, {}
    for i, row in enumerate(("EFA", "Add")):
        clips = predictions(seed=0).assign(quality_prob=predictions(seed=i)["quality_prob"])
        clips.to_parquet(tmp_path / f"{i}.parquet")
        files[row, 0] = tmp_path / f"{i}.parquet"
        values[row] = {0: metrics.score(clips.assign(explanation="", reference=""))["quality_acc"]}
    gap = estimates.difference(made(values, "quality_acc", predictions=files), "EFA", "Add", "quality_acc")
    assert gap.over == "clips"
    assert gap.low < gap.mean == values["EFA"][0] - values["Add"][0] < gap.high


def test_the_lead_is_over_the_mean_of_others_by_common_seeds():
    tens = {1: 10.0, 3: 30.0, 5: 20.0, 10: 40.0, 15: 50.0}
    values = {f"lambda = {weight}": {0: ten, 1: ten + 1, 2: 0.0} for weight, ten in tens.items()}
    del values["lambda = 5"][2]
    gap = estimates.lead(made(values, table="7"), "lambda = 3", "cider_d")
    assert gap == Estimate(0.0, 0.0, 0.0, "seeds")
    values["lambda = 3"] = {0: 33.0, 1: 34.0}
    gap = estimates.lead(made(values, table="7"), "lambda = 3", "cider_d")
    assert gap.mean == pytest.approx(3.0)
    values["lambda = 5"] = {}
    assert not estimates.lead(made(values, table="7"), "lambda = 3", "cider_d").known


@pytest.mark.parametrize(
    ("has", "metric", "expected"),
    [
        ({}, "cider_d", ""),
        ({"cider_d": 1.0}, "cider_d", ""),
        ({"top1": 1.0}, "cider_d", "no text"),
        ({"top1": 1.0}, "fault_f1", "no text"),
        ({"top1": 1.0}, "verdict_agreement", "no text"),
        ({"written_verdict_acc": 1.0}, "cider_d", "no reference"),
        ({"written_verdict_acc": 1.0}, "fault_f1", "not known"),
        ({"written_verdict_acc": 1.0}, "verdict_agreement", "no verdict"),
        ({"cider_d": 1.0}, "top5", "no class"),
        ({"cider_d": 1.0}, "quality_acc", "no verdict"),
    ],
)
def test_why_a_number_is_absent(has, metric, expected):
    results = full({key: {"EFA": {0: value}} for key, value in has.items()})
    assert estimates.absence(results, "EFA", metric) == expected
    assert estimates.absence(results, "Add", metric) == ""  # nothing has been scored


def test_given_the_action_there_is_no_accuracy_of_it():
    results = made({"EFA": {0: 60.0}}, "quality_auc", table="unseen")
    assert results.protocol("EFA") == "oracle"
    assert estimates.absence(results, "EFA", "top1") == "given"


def test_what_is_reached_without_looking():
    shares = [("5", "EFA", 0, "predicted", "quality_majority", 66.0)]
    floor = estimates.floor(made({}, table="5", scores=pd.DataFrame(shares, columns=list(COLUMNS))))
    actions = build("smoke").data.actions
    assert floor["top1"] == pytest.approx(100 / actions)
    assert floor["top5"] == pytest.approx(500 / actions)
    assert (floor["quality_acc"], floor["quality_balanced_acc"], floor["quality_auc"]) == (66.0, 50.0, 50.0)
    gone = estimates.floor(made({}, table="5", overrides={"data.source": "/nowhere"}))
    assert set(gone) == {"quality_balanced_acc", "quality_auc"}
    assert all(np.isfinite(list(floor.values())))
