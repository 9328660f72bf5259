"""The claims: the file and what is wrong with it, outcomes that are computed."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reported import full, made, predictions

from efa import metrics
from efa.experiments import CAPTIONERS, PAPER, RECOGNISERS, TABLES
from efa.utils.errors import InputError
from efa_book import blocks, claims, tables
from efa_book.claims import HOLDS, INCONCLUSIVE, NO_EFFECT, OTHERS, REVERSED, UNLEARNED, UNTESTABLE, Claim
from efa_book.estimates import NOTHING, Estimate
from efa_book.table_specs import TABLE_SPECS

ROOT = Path(__file__).resolve().parents[1]
GOOD = "a,6,the gate is best,the gate beats addition,Add,EFA,cider_d,lower,our reading"


def file_of(folder: Path, *lines: str) -> Path:
    path = folder / "claims.csv"
    path.write_text("\n".join([",".join(claims.COLUMNS), *lines]) + "\n")
    return path


def claim(table: str = "6", row: str = "Add", reference: str = "EFA", direction: str = "lower", **more) -> Claim:
    given = {
        "id": "a",
        "sentence": "all of it",
        "claim": "one",
        "metric": "cider_d",
        "source": "a test",
    } | more
    return Claim(table=table, row=row, reference=reference, direction=direction, **given)


# --- the file ---


def test_the_file_speaks_of_every_compared_row():
    found = claims.read_claims(ROOT / "results" / "claims.csv")
    of = {table: [one for one in found if one.table == table] for table in TABLES}
    assert {one.reference for one in of["4"] if one.metric == "cider_d"} == set(CAPTIONERS)
    for metric in ("top1", "quality_acc"):
        assert {one.reference for one in of["5"] if one.metric == metric} == set(RECOGNISERS)
    for table in PAPER:
        assert {one.metric_spec for one in of[table]} == {one for one in TABLE_SPECS[table].metrics if one.printed}
    for metric in ("cider_d", "quality_acc"):
        assert {one.row for one in of["6"] if one.metric == metric} == set(TABLES["6"].rows) - {"EFA"}
        assert {one.row for one in of["7"] if one.metric == metric} == set(TABLES["7"].rows)
    assert {one.row for one in of["7"] if one.reference == OTHERS} == {"lambda = 3"}
    for table, some in of.items():
        assert {one.metric_spec for one in some} <= set(TABLE_SPECS[table].metrics)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD, "'a' is already used above"),
        (GOOD.replace("a,", ",", 1), "id is empty"),
        (GOOD.replace("a,6", "b,8"), "unknown table '8'"),
        (GOOD.replace("a,6", "b,6").replace("Add,", "Ad,"), "table 6 has no row 'Ad'"),
        (GOOD.replace("a,6", "b,6").replace("EFA", "C3D"), "unknown reference 'C3D'"),
        (GOOD.replace("a,6", "b,6").replace("EFA", "Add"), "unknown reference 'Add'"),
        (GOOD.replace("a,6", "b,6").replace("cider_d", "cider"), "unknown metric 'cider'"),
        (GOOD.replace("a,6", "b,6").replace("lower", "less"), "unknown direction 'less'"),
        (GOOD.replace("a,6", "b,6").replace("EFA", OTHERS), "direction is 'higher'"),
        (GOOD.replace("a,6", "b,6").replace("our reading", " "), "source is empty"),
        (GOOD.replace("a,6", "b,6").replace("the gate beats addition", ""), "claim is empty"),
        (GOOD.replace("a,6", "b,6").replace("the gate is best", ""), "sentence is empty"),
    ],
)
def test_a_bad_line_is_named_with_file_and_row(tmp_path, line, message):
    path = file_of(tmp_path, GOOD, line)
    with pytest.raises(InputError, match=message) as caught:
        claims.read_claims(path)
    assert caught.value.row == 3
    assert str(path) in str(caught.value)


def test_missing_columns_are_named_and_a_missing_file_is_empty(tmp_path):
    assert claims.read_claims(tmp_path / "claims.csv") == []
    (tmp_path / "claims.csv").write_text("id,table\n")
    with pytest.raises(InputError, match="missing column sentence, claim, row"):
        claims.read_claims(tmp_path / "claims.csv")


# --- outcomes ---


def over(mean: float, error: float = 0.5, seeds: int = 5) -> Estimate:
    half, less = 2.3 * error, 1.9 * error
    limits = (mean - half, mean + half, "seeds", mean - less, mean + less)
    return Estimate(mean, *limits, p=0.001 if abs(mean) > 3 * error else 0.5, seeds=seeds, error=error, df=8.0)


@pytest.mark.parametrize(
    ("gap", "p", "expected"),
    [
        (over(3.0), 0.01, HOLDS),
        (over(-3.0), 0.01, REVERSED),
        (over(3.0), 0.06, INCONCLUSIVE),
        (over(0.5, 0.1), 0.01, NO_EFFECT),  # surely above 0, and too small to matter
        (over(0.0, 0.1, seeds=1), 0.01, INCONCLUSIVE),
        (Estimate(3.0, seeds=1), math.nan, INCONCLUSIVE),
        (NOTHING, math.nan, INCONCLUSIVE),
    ],
)
def test_the_outcome_of_a_difference(gap, p, expected):
    assert claims.decide(gap, 1.0, math.nan if gap.seeds < 2 else p, gap.mean > 0) == expected


ROWS = {"EFA": 30.0, "Add": 20.0, "Q-text": 30.1, "w/o text": 28.0}


def scored(seeds: int = 4, metric: str = "cider_d", **means: float):
    """Rows of Table VI whose seeds differ by a little; all but EFA, Add, ... as EFA."""
    given = dict.fromkeys(TABLES["6"].rows, 30.0) | ROWS | means
    noise = np.random.RandomState(1).normal(0, 0.1, (len(given), seeds))
    return made(
        {row: dict(enumerate(mean + own)) for (row, mean), own in zip(given.items(), noise, strict=True)}, metric
    )


def test_the_difference_counts_in_favour_of_the_claim():
    lower, higher = claim(), claim(id="b", row="EFA", reference="Add", direction="higher")
    asked = [lower, higher, claim(id="c", direction="higher"), claim(id="d", row="Q-text"), claim(id="e", table="4")]
    found = claims.outcomes_table(scored(), asked)
    assert list(found.columns) == list(claims.OUTCOME_COLUMNS)
    assert list(found["id"]) == ["a", "b", "c", "d"]
    assert list(found["effect"]) == pytest.approx([10.0, 10.0, -10.0, -0.1], abs=0.3)
    assert list(found["outcome"]) == [HOLDS, HOLDS, REVERSED, "no effect larger than 1.5"]
    assert [one.compared for one in (lower, higher)] == ["EFA minus Add"] * 2
    assert [one.line for one in (lower, higher)] == ["Add", "Add"]


def test_the_papers_size_is_inside_or_outside():
    asked = [claim(id="a", row="w/o text"), claim(id="b", row="Add")]
    inside, outside = claims.judge(scored(**{"w/o text": 30.0 * (1 - 0.102)}), asked)
    assert inside.paper_relative == pytest.approx(10.2, abs=0.1)  # 33.3 against 29.9
    assert (inside.size, outside.size) == ("inside", "outside")
    (points,) = claims.judge(scored(seeds=1, metric="top1"), [claim(metric="top1")])
    assert (points.size, points.tolerance, inside.tolerance) == ("no number", 1.0, pytest.approx(1.5, abs=0.01))


@pytest.mark.parametrize("seeds", [0, 1, 3])
def test_fewer_than_two_seeds_are_inconclusive(seeds):
    (one,) = claims.judge(scored(seeds), [claim()])
    assert one.outcome == (HOLDS if seeds == 3 else INCONCLUSIVE)
    assert one.gap.known == (seeds > 0)


def test_more_claims_need_more_certainty():
    results = scored(3, **{"w/o text": 29.75})
    alone, *_ = claims.judge(results, [claim(row="w/o text", metric="cider_d")])
    many = [claim(id=row, row=row) for row in ("w/o text", *TABLES["6"].rows) if row != "EFA"]
    among, *_ = claims.judge(results, many)
    assert alone.p_holm == alone.p == among.p
    assert among.p_holm > 2 * among.p


def test_a_row_without_the_number_cannot_be_tested():
    values = {"cider_d": {"EFA": {0: 30.0, 1: 31.0}}, "top1": {"RICA2": {0: 50.0, 1: 50.0}}}
    one = claim(table="4", row="EFA", reference="RICA2", direction="higher")
    (judged,) = claims.judge(full(values, "4"), [one])
    assert judged.outcome == UNTESTABLE
    assert judged.reason == judged.to_change[1] == "RICA2: no explanation is written"
    (missing,) = claims.judge(made({"EFA": {0: 30.0, 1: 31.0}}, table="4"), [one])
    assert missing.outcome == INCONCLUSIVE


@pytest.mark.parametrize(
    ("states", "outcome"), [("done", HOLDS), ("stale", HOLDS), ("mixed", UNTESTABLE), ("older", HOLDS)]
)
def test_runs_of_different_versions_are_not_compared(states, outcome):
    values = {row: {seed: 30.0 + seed / 9 + (5 if row == "EFA" else 0) for seed in range(4)} for row in ("EFA", "Add")}
    kinds = {"EFA": "done", "Add": "stale" if states == "mixed" else "done"}
    kinds = dict.fromkeys(kinds, "stale") if states == "stale" else kinds
    known = {(row, seed): kind for row, kind in kinds.items() for seed in range(4)}
    if states == "older":  # a seed of today's code counts, and those of an older version beside it do not
        known |= {("EFA", 3): "stale", ("Add", 3): "missing"}
    (one,) = claims.judge(made(values, states=known), [claim(metric="cider_d")])
    assert one.outcome == outcome
    assert ("older version" in one.reason) == (states == "mixed")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"explanation": "The squat is good."}, "one text for all clips"),
        ({"quality_prob": 0.3}, "not above chance"),
        ({"explanation": [f"The lunge {i} is good." for i in range(400)]}, "0 % of its texts name"),
        ({"predicted_action": "Crunch"}, "names the action hardly"),
    ],
)
def test_a_row_that_has_not_learned_is_no_reference(tmp_path, changes, reason):
    texts = predictions(n=400).assign(reference="")
    texts["explanation"] = [f"The {one.lower()} {i} is good." for i, one in enumerate(texts["action"])]
    files, scores = {}, {}
    for row, change in (("EFA", {}), ("Add", changes)):
        path = tmp_path / f"{row}.parquet"
        found, clips = metrics.evaluate(texts.assign(**change))
        clips.to_parquet(path)
        files[row, 0] = files[row, 1] = blocks.of_clips(path)
        for metric in ("quality_auc", "top1", "names_action", "texts"):
            scores.setdefault(metric, {})[row] = dict.fromkeys((0, 1), found[metric])
    results = full(scores, left=files)
    (one,) = claims.judge(results, [claim(metric="top1")])
    assert reason in one.reason
    assert (one.outcome == UNLEARNED) == bool(reason)
    assert ("done, did not learn" in tables.scores(results).text) == bool(reason)


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ([], "cannot be tested here"),
        ([HOLDS], "holds"),
        ([HOLDS] * 5, "holds (5 of 5)"),
        ([INCONCLUSIVE, HOLDS, HOLDS], "holds 2 of 3, inconclusive 1 of 3"),
        ([UNTESTABLE, NO_EFFECT, REVERSED], "reversed 1 of 3, no effect 1 of 3, cannot be tested here 1 of 3"),
    ],
)
def test_outcomes_in_few_words(outcomes, said):
    assert claims.summarize(outcomes) == said


def test_each_sentence_says_what_would_change_it():
    open_ = scored(3, **{"w/o text": 29.75})
    lines = claims.sentences_table(claims.judge(open_, [claim(), claim(id="b", sentence="other", row="w/o text")]))
    assert list(lines["sentence"]) == ["all of it", "other"]
    assert lines["change"][0].startswith("a difference that moves by 9.")
    gap = Estimate(1.0, -1.0, 3.0, "seeds", -0.7, 2.7, 0.2, seeds=4, error=1.0, df=9.0, between=4.0)
    judged = claims.Judged(claim(), gap, 1.5, INCONCLUSIVE)
    assert judged.to_change == (32, "about 32 seeds")  # 4 / (1 / 2.8) ** 2
    assert replace(judged, gap=replace(gap, error=1.5)).to_change == (math.inf, "more clips")


# --- the best of all ---

BEST = claim(table="7", row="lambda = 3", reference=OTHERS, direction="higher")


def weights(*means: float) -> dict[str, dict[int, float]]:
    noise = np.random.RandomState(1).normal(0, 0.1, (5, 4))
    rows = zip(TABLES["7"].rows, means, noise, strict=False)
    return {row: dict(enumerate(mean + own)) for row, mean, own in rows}


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ((20.0, 30.0, 24.0, 26.0, 22.0), HOLDS),
        ((20.0, 30.0, 24.0, 29.9, 22.0), HOLDS),  # jointly best
        ((20.0, 30.0, 24.0, 33.0, 22.0), REVERSED),
        ((30.0, 30.0, 30.0, 30.0, 30.0), NO_EFFECT),
        ((20.0, 30.0, 24.0, 26.0), INCONCLUSIVE),  # one is not there
        ((20.0, 30.0, 24.0, 31.4, 22.0), REVERSED),  # by about the tolerance
    ],
)
def test_lambda(means, expected):
    (one,) = claims.judge(made(weights(*means), table="7"), [BEST])
    assert one.outcome == expected
    assert not one.gap.known or one.gap.mean == pytest.approx(30.0 - max(means[0], *means[2:]), abs=0.3)
    assert one.claim.compared == "lambda = 3 minus the best other"
    assert one.claim.line == "lambda = 3"


# --- what is published ---


def test_the_published_outcomes_follow_from_the_published_scores(tmp_path):
    again = claims.write_outcomes(tmp_path / "outcomes.csv")
    assert again.read_bytes() == (ROOT / "results" / "outcomes.csv").read_bytes()
    found = pd.read_csv(again)
    assert set(found["id"]) == {one.id for one in claims.read_claims(ROOT / "results" / "claims.csv")}
    assert set(found["preset"]) == {"laptop", "pose"}
