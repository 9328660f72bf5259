"""Means, intervals and differences; why a number is absent; what is reached without looking."""

import numpy as np
import pandas as pd
import pytest
from reported import full, made, predictions

from efa import metrics
from efa.config import build
from efa.experiments import TABLES
from efa.metrics import METRICS
from efa_book import blocks, estimates
from efa_book.intervals import mean_interval
from efa_book.published import COLUMNS
from efa_book.table_specs import KNOWN, TABLE_SPECS


def test_every_table_shows_metrics_that_exist():
    assert set(TABLE_SPECS) == set(TABLES)
    assert set(KNOWN) <= set(METRICS)
    for table, shown in TABLE_SPECS.items():
        assert shown.subject in TABLES[table].rows
        for row, protocol, _ in shown.entries:
            assert protocol in TABLES[table].protocols_of(row)


def test_one_seed_gives_the_interval_over_clips(tmp_path):
    found, clips = metrics.evaluate(predictions(explanation=""))
    clips.to_parquet(tmp_path / "p.parquet")
    results = made({"EFA": {0: found["top1"]}}, "top1", left={("EFA", 0): blocks.of_clips(tmp_path / "p.parquet")})
    shown = estimates.estimate(results, "EFA", "top1")
    assert shown.over == "clips"
    assert shown.low < found["top1"] < shown.high


def test_an_interval_over_seeds_and_clips_is_wider(tmp_path):
    files, values = {}, {}
    for seed in range(3):
        texts = predictions(n=100, seed=seed).assign(reference="", explanation="")
        found, clips = metrics.evaluate(texts)
        values[seed], path = found["quality_acc"], tmp_path / f"{seed}.parquet"
        clips.to_parquet(path)
        files["EFA", seed] = blocks.of_clips(path)
    without = estimates.estimate(made({"EFA": values}, "quality_acc"), "EFA", "quality_acc")
    found = estimates.estimate(made({"EFA": values}, "quality_acc", left=files), "EFA", "quality_acc")
    assert (without.over, found.over) == ("seeds", "seeds and clips")
    assert (without.mean, without.low, without.high) == pytest.approx(mean_interval([*values.values()]))
    assert found.mean == without.mean
    assert found.error > without.error


def test_difference_is_paired_by_seed():
    results = made({"EFA": {0: 10.0, 1: 20.0, 2: 30.0}, "Add": {0: 8.0, 1: 18.5, 2: 27.5, 3: 0.0}})
    gap = estimates.effect(results, "EFA", "Add", "cider_d")
    assert (gap.mean, gap.low, gap.high) == pytest.approx(mean_interval([2.0, 1.5, 2.5]))  # two rows pool nothing else
    back = estimates.effect(results, "Add", "EFA", "cider_d")
    assert (back.mean, back.low, back.high) == pytest.approx((-gap.mean, -gap.high, -gap.low))
    assert (gap.seeds, gap.over) == (3, "seeds")


def test_difference_with_one_seed_is_paired_by_clip(tmp_path):
    files, values = {}, {}
    for i, row in enumerate(("EFA", "Add")):
        texts = predictions(seed=0).assign(quality_prob=predictions(seed=i)["quality_prob"], explanation="")
        found, clips = metrics.evaluate(texts)
        values[row], path = {0: found["quality_acc"]}, tmp_path / f"{i}.parquet"
        clips.to_parquet(path)
        files[row, 0] = blocks.of_clips(path)
    gap = estimates.effect(made(values, "quality_acc", left=files), "EFA", "Add", "quality_acc")
    assert gap.over == "clips"
    assert gap.low < gap.mean == values["EFA"][0] - values["Add"][0] < gap.high
    assert np.isnan(gap.p)


def test_a_row_that_varies_more_keeps_its_own_variance():
    draw = np.random.RandomState(0)
    values = {row: dict(enumerate(draw.normal(0, 0.1, 6))) for row in TABLES["6"].rows}
    values["Add"] = dict(enumerate(draw.normal(0, 5.0, 6)))
    results = made(values)
    wild, calm = (estimates.effect(results, "EFA", row, "cider_d") for row in ("Add", "Q-text"))
    assert wild.df == 5
    assert wild.error == pytest.approx(np.std([values["EFA"][s] - values["Add"][s] for s in range(6)], ddof=1) / 6**0.5)
    assert calm.df > 5


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
