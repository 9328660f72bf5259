"""The claims: the file and what is wrong with it, the two rules, and outcomes that are computed."""

import math
from pathlib import Path

import pandas as pd
import pytest
from reported import full, made

from efa.experiments import CAPTIONERS, PAPER, RECOGNISERS, TABLES
from efa.utils.errors import InputError
from efa_book import claims
from efa_book.claims import FAILS, HOLDS, INCONCLUSIVE, OTHERS, UNTESTABLE, Claim, outcome_of_best, outcome_of_pair
from efa_book.estimates import NOTHING, Estimate
from efa_book.table_specs import TABLE_SPECS

ROOT = Path(__file__).resolve().parents[1]
GOOD = "a,6,the gate is best,the gate beats addition,Add,EFA,cider_d,lower,2,our reading"


def over(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, "seeds")


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
        "tolerance": 2.0,
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
    assert all(one.tolerance > 0 for one in found)
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
        (GOOD.replace("a,6", "b,6").replace(",2,", ",two,"), "tolerance 'two' is no number"),
        (GOOD.replace("a,6", "b,6").replace(",2,", ",nan,"), "tolerance 'nan' is no number"),
        (GOOD.replace("a,6", "b,6").replace(",2,", ",-1,"), "tolerance '-1' is no number"),
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


# --- the first rule ---


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (over(1.0, 5.0), HOLDS),
        (over(0.1, 0.9), FAILS),
        (over(-5.0, -1.0), FAILS),
        (over(-1.0, 7.0), INCONCLUSIVE),
        (Estimate(3.0, 1.0, 5.0, "clips"), INCONCLUSIVE),
        (Estimate(3.0), INCONCLUSIVE),
        (NOTHING, INCONCLUSIVE),
    ],
)
def test_one_row_against_another(gap, expected):
    assert outcome_of_pair(gap, 1.0) == expected


def test_the_difference_counts_in_favour_of_the_claim():
    results = made({"EFA": {0: 30.0, 1: 31.0}, "Add": {0: 20.0, 1: 21.2}})
    lower, higher = claim(), claim(id="b", row="EFA", reference="Add", direction="higher")
    found = claims.outcomes_table(results, [lower, higher, claim(id="c", direction="higher"), claim(id="d", table="4")])
    assert list(found["id"]) == ["a", "b", "c"]
    assert list(found["difference"]) == pytest.approx([9.9, 9.9, -9.9])
    assert list(found["outcome"]) == [HOLDS, HOLDS, FAILS]
    assert [one.compared for one in (lower, higher)] == ["EFA minus Add"] * 2
    assert [one.line for one in (lower, higher)] == ["Add", "Add"]


def test_outcomes_are_plain_and_can_be_written_down(tmp_path):
    found = claims.outcomes_table(made({"EFA": {0: 30.0}}), [claim()])
    found.to_csv(tmp_path / "outcomes.csv", index=False)
    (again,) = pd.read_csv(tmp_path / "outcomes.csv").to_dict("records")
    assert (again["id"], again["outcome"], again["tolerance"]) == ("a", INCONCLUSIVE, 2.0)
    assert math.isnan(again["difference"])


@pytest.mark.parametrize("seeds", [0, 1, 3])
def test_fewer_than_two_seeds_are_inconclusive(seeds):
    values = {"EFA": {s: 30.0 + s for s in range(seeds)}, "Add": {s: 20.0 + s for s in range(seeds)}}
    (one,) = claims.judge(made(values), [claim()])
    assert one.outcome == (HOLDS if seeds == 3 else INCONCLUSIVE)
    assert one.gap.known == (seeds > 0)


def test_a_row_without_the_number_cannot_be_tested():
    values = {"cider_d": {"EFA": {0: 30.0, 1: 31.0}}, "top1": {"RICA2": {0: 50.0, 1: 50.0}}}
    one = claim(table="4", row="EFA", reference="RICA2", direction="higher")
    (judged,) = claims.judge(full(values, "4"), [one])
    assert judged.outcome == UNTESTABLE
    assert judged.reason == "RICA2: no explanation is written"
    (missing,) = claims.judge(made({"EFA": {0: 30.0, 1: 31.0}}, table="4"), [one])
    assert missing.outcome == INCONCLUSIVE


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ([], "cannot be tested here"),
        ([HOLDS], "holds"),
        ([HOLDS] * 5, "holds (5 of 5)"),
        ([INCONCLUSIVE, HOLDS, HOLDS], "holds 2 of 3, inconclusive 1 of 3"),
        ([UNTESTABLE, FAILS, INCONCLUSIVE], "does not hold 1 of 3, inconclusive 1 of 3, cannot be tested here 1 of 3"),
    ],
)
def test_outcomes_in_few_words(outcomes, said):
    assert claims.summarize(outcomes) == said


# --- the second rule ---


@pytest.mark.parametrize(
    ("gap", "each", "expected"),
    [
        (over(2.0, 4.0), [over(1.0, 3.0), over(-1.0, 2.0)], HOLDS),
        (over(2.0, 4.0), [over(1.0, 3.0), over(-2.0, 1.0)], INCONCLUSIVE),  # another is ahead, within the noise
        (over(2.0, 4.0), [over(1.0, 3.0), over(-2.0, -1.0)], FAILS),  # another is ahead for sure
        (over(0.1, 0.5), [over(1.0, 3.0)], FAILS),  # better than the mean, by less than matters
        (over(-4.0, -2.0), [over(-5.0, 3.0)], FAILS),
        (over(-1.0, 4.0), [over(1.0, 3.0)], INCONCLUSIVE),
        (over(2.0, 4.0), [over(1.0, 3.0), NOTHING], INCONCLUSIVE),
        (Estimate(3.0), [Estimate(2.0)], INCONCLUSIVE),
        (NOTHING, [NOTHING], INCONCLUSIVE),
    ],
)
def test_one_row_against_all_others(gap, each, expected):
    assert outcome_of_best(gap, each, 1.0) == expected


BEST = claim(table="7", row="lambda = 3", reference=OTHERS, direction="higher")


def weights(*means: float) -> dict[str, dict[int, float]]:
    values = zip(TABLES["7"].rows, means, strict=False)
    return {row: {0: mean, 1: mean + 0.1, 2: mean - 0.1} for row, mean in values}


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ((20.0, 30.0, 24.0, 26.0, 22.0), HOLDS),
        ((20.0, 30.0, 24.0, 31.0, 22.0), FAILS),  # 10 is ahead by the same amount in every seed
        ((29.0, 30.0, 29.0, 29.0, 29.0), FAILS),  # the best, by less than the two points that matter
        ((30.0, 30.0, 30.0, 30.0, 30.0), INCONCLUSIVE),
    ],
)
def test_lambda(means, expected):
    (one,) = claims.judge(made(weights(*means), table="7"), [BEST])
    assert one.outcome == expected
    assert one.claim.compared == "lambda = 3 minus the mean of the others"
    assert one.claim.line == "lambda = 3"


def test_lambda_is_not_best_of_what_is_there():
    (one,) = claims.judge(made(weights(20.0, 30.0, 24.0, 26.0), table="7"), [BEST])
    assert one.outcome == INCONCLUSIVE
    assert not one.gap.known
