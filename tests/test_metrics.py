"""Scores from predictions: by hand, and statistics against brute force."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_faults import PARSER

from efa import metrics
from efa.utils.errors import InputError
from efa_book.intervals import bootstrap, mean_interval
from efa_book.predictions import COLUMNS, read_predictions


def table(**columns: object) -> pd.DataFrame:
    """Four squats, two standard and two not, with everything that a full system writes."""
    base: dict[str, object] = {
        "clip_id": ["a", "b", "c", "d"],
        "action": ["squat", "squat", "lunge", "squat"],
        "predicted_action": ["squat", "lunge", "lunge", "lunge"],
        "top5": [["squat", "lunge"], ["lunge", "squat"], ["lunge", "squat"], ["lunge", "row"]],
        "quality": [0, 0, 1, 1],
        "quality_prob": [0.2, 0.6, 0.7, 0.4],
        "reference": ["", "", "", ""],
        "explanation": [
            "The squat is good.", "The squat is bad. In step 3, the knees collapse inward.",
            "The lunge is not good. In the second step the front step is too short.", "The squat is good.",
        ],
        "protocol": ["predicted"] * 4,
        "fault": ["", "", "lunge/short", "squat/round"],
        "fault_step": [np.nan, np.nan, 2.0, 4.0],
        "split": ["test"] * 4,
    }  # fmt: skip
    return pd.DataFrame(base | columns)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_table_survives_the_disk(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"predictions.{suffix}"
    frame = table(extra=[1, 2, 3, 4], action=["nan", "None", "lunge", "squat"])
    if suffix == "csv":
        frame.assign(top5=frame["top5"].map(json.dumps)).to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    read = read_predictions(path)
    for name in COLUMNS:
        np.testing.assert_array_equal(read[name].tolist(), frame[name].tolist(), err_msg=name)
    assert "extra" in read.columns
    assert metrics.score(read) == metrics.score(frame)


BAD = [
    ({"clip_id": ["a", "", "c", "d"]}, "row 2"), ({"quality": [0, np.nan, 1, 1]}, "row 2"),
    ({"quality_prob": [0.1, 0.2, np.inf, 0.4]}, "row 3"), ({"explanation": ["x", None, "y", "z"]}, "not text"),
    ({"predicted_action": ["squat", "", "lunge", "lunge"]}, "row 2"), ({"top5": [["a"] * 6, *[["a"]] * 3]}, "top5"),
    ({"top5": ["squat", "[]", "[1]", "{"]}, "top5"), ({"fault_step": [0.0, 1.0, 2.0, 3.0]}, "fault_step"),
    ({"fault": ["round", "", "", ""]}, "fault is not"), ({"protocol": ["", *["none"] * 3]}, "protocol is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "words"), BAD)
def test_a_bad_cell_is_named_with_file_and_row(tmp_path: Path, columns: dict[str, object], words: str) -> None:
    path = tmp_path / "predictions.parquet"
    table(**columns).to_parquet(path)
    with pytest.raises(InputError) as caught:
        read_predictions(path)
    assert words in str(caught.value)
    assert caught.value.file == path
    assert caught.value.row is not None


def test_bad_files(tmp_path: Path) -> None:
    """`test_bad_input` has every other kind."""
    table().iloc[:0].to_parquet(tmp_path / "empty.parquet")
    table().to_pickle(tmp_path / "pickle.parquet")
    (tmp_path / "bytes.csv").write_bytes(b"clip_id\n\xff\xfe\n")
    for name in ("empty.parquet", "pickle.parquet", "bytes.csv", "absent.csv"):
        with pytest.raises(InputError, match=name):
            read_predictions(tmp_path / name)


def test_scores_by_hand() -> None:
    scores = metrics.score(table(), PARSER)
    assert set(scores) == set(metrics.METRICS)
    expected = {
        "top1": 50.0, "top5": 75.0, "quality_acc": 50.0, "quality_balanced_acc": 50.0, "quality_majority": 50.0,
        "quality_auc": 75.0,  # pairs (.7, .2) (.7, .6) (.4, .2) of four
        "fault_f1": 50.0,  # lunge/short right, squat/knees_in invented, squat/round missed
        "fault_precision": 50.0, "fault_recall": 50.0, "hallucinated_faults": 50.0, "step_acc": 50.0,
        "verdict_agreement": 100.0, "written_verdict_acc": 50.0, "n": 4,
    }  # fmt: skip
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    assert all(scores[name] is None for name in metrics.CAPTION_METRICS)  # no references


def test_what_does_not_apply_is_none() -> None:
    blind = metrics.score(table(explanation=[""] * 4, reference=["The squat is good."] * 4), PARSER)
    for name in (*metrics.CAPTION_METRICS, "fault_f1", "step_acc", "verdict_agreement", "written_verdict_acc"):
        assert blind[name] is None
    assert blind["top1"] == 50.0

    oracle = metrics.score(table(protocol=["oracle"] * 4))
    assert oracle["top1"] is oracle["top5"] is oracle["fault_f1"] is None  # no parser
    assert oracle["quality_acc"] == 50.0

    captioner = metrics.score(table(predicted_action=[""] * 4, top5=[[]] * 4, quality_prob=[np.nan] * 4), PARSER)
    assert captioner["top1"] is captioner["quality_acc"] is captioner["verdict_agreement"] is None
    assert captioner["written_verdict_acc"] == 50.0

    one_class = metrics.score(table(quality=[0, 0, 0, -1], fault=[""] * 4), PARSER)
    assert one_class["quality_acc"] == pytest.approx(100 / 3)
    assert one_class["quality_balanced_acc"] is one_class["quality_auc"] is one_class["fault_f1"] is None
    assert metrics.score(table(quality=[-1] * 4))["quality_acc"] is None


def test_no_verdict_is_no_agreement_and_protocols_do_not_mix() -> None:
    scores = metrics.score(table(explanation=["Breathe."] * 3 + ["The squat is good."]))
    assert (scores["verdict_agreement"], scores["written_verdict_acc"]) == (25.0, 0.0)
    with pytest.raises(InputError, match="oracle, predicted"):
        metrics.score(table(protocol=["oracle", *["predicted"] * 3]))


def test_scoring_needs_no_torch() -> None:
    code = "import sys, efa.metrics; sys.exit('torch' in sys.modules or 'pycocoevalcap' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


@pytest.mark.slow
def test_a_table_is_scored_where_it_has_references() -> None:
    references = ["the hips sink low", "the step is short", "the chin stays low"]
    texts = ["the hips stay low", "the step is long", "the chin stays low"]
    scores = metrics.score(table(reference=[*references, ""], explanation=[*texts, "x"]), PARSER)
    assert scores["meteor"] == pytest.approx(metrics.caption_scores(references, texts)["meteor"])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_auc_and_balanced_accuracy_equal_brute_force(pairs: list[tuple[bool, int]]) -> None:
    truth, scores = [t for t, _ in pairs], [s / 5 for _, s in pairs]
    positive, negative = [s / 5 for t, s in pairs if t], [s / 5 for t, s in pairs if not t]
    area, balanced = metrics.auc(truth, scores), metrics.balanced_accuracy(truth, np.array(scores) >= 0.5)
    if not positive or not negative:
        assert np.isnan([area, balanced]).all()
        return
    wins = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert area == pytest.approx(sum(wins) / len(wins))
    recalls = sum(p >= 0.5 for p in positive) / len(positive), sum(n < 0.5 for n in negative) / len(negative)
    assert balanced == pytest.approx(sum(recalls) / 2)


def test_mean_interval() -> None:
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2.0, 2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4)
    assert mean_interval([5.0]) == pytest.approx((5.0, math.nan, math.nan), nan_ok=True)
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_bootstrap_covers_the_mean_as_often_as_it_says() -> None:
    random = np.random.RandomState(1)
    hits = 0
    for i in range(200):
        low, high = bootstrap(random.normal(3.0, 1.0, 50), n=200, seed=i)
        hits += low <= 3.0 <= high
    assert 0.88 <= hits / 200 <= 0.99
    values = random.rand(30)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3) != bootstrap(values, seed=4)
    assert all(map(math.isnan, bootstrap([])))


def test_fault_counts() -> None:
    counts = metrics.fault_counts(*(list(table()[n]) for n in ("explanation", "action", "quality", "fault")), PARSER)
    assert counts.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert metrics.micro_f1(counts) == 0.5
