"""What scores without a video: the writers, their scores and intervals, the shortcuts, texts against labels."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from audit_clips import CLIPS, LABELLED, STEPS, clips, names, writers

from efa import metrics
from efa_book.audit.annotations import blind_scores, contradictions, outcome, paper_gaps, shortcuts
from efa_book.audit.annotations_scores import WIDTH, Pairs, corpus, score
from efa_book.audit.annotations_texts import best_threshold, learn_threshold, most_central, with_text, write_blindly
from efa_book.intervals import bootstrap

# --- texts -----------------------------------------------------------------------------------------------------------


def texts_by_writer(table: pd.DataFrame) -> dict[str, list[list[str]]]:
    return {key: one.texts for key, one in writers(table).items()}


def flip_test_labels(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(quality=table["quality"].mask(table["split"] == "test", 1 - table["quality"]))


def test_writers_write_what_they_should():
    found = writers(clips())
    test = list(with_text(clips(), "test")["clip_id"])
    assert test == ["00_04", "00_13", "01_11", "02_03"]
    hop = [text for clip, split, _, text in CLIPS if clip.startswith("00") and split != "test" and text]
    bend = CLIPS[6][3]

    def texts(key: str) -> list[set[str]]:
        return [set(column) for column in zip(*found[key].texts, strict=True)]

    assert all(text in [*hop, bend] for draw in found["any"].texts for text in draw)
    assert texts("action")[2] == {bend}
    assert texts("action")[0] <= set(hop)
    assert texts("action-central-f1")[:3] == [{hop[0]}, {hop[0]}, {bend}]  # it shares most words with the others
    assert texts("name-nearest")[:3] == [{hop[2]}, {hop[4]}, {bend}]  # 04 lies beside 05, 13 beside 12
    assert texts("nearest-action")[3] <= set(hop)  # of Hop's steps, not of Bend's
    assert all("bad" in text for text in texts("form")[1])
    assert all("good" in text for text in texts("form")[0])
    assert texts("form")[2] == {bend}  # no training text of a bad Bend: any of the action
    assert texts("form-central-f1")[1] <= set(hop[3:])
    assert texts("name-central-f1")[1] == texts("form-central-f1")[1]  # 13 is late enough for non-standard
    assert found["any"].fell_back.sum() == 0
    for key, missing in (("action", [0, 0, 0, 1]), ("form", [0, 0, 1, 1]), ("nearest-action", [0, 0, 0, 0])):
        assert found[key].fell_back.astype(int).tolist() == [missing] * 3, key


def test_writers_read_no_reference_nor_hidden_label():
    table, found = clips(), texts_by_writer(clips())
    referenced = (table["split"] == "test") & (table["explanation"] != "")
    assert texts_by_writer(table.assign(explanation=table["explanation"].mask(referenced, "something else"))) == found
    flipped = texts_by_writer(flip_test_labels(table))
    assert {key for key in found if found[key] == flipped[key]} == set(found) - {
        "form",
        "form-central-f1",
        "form-central-cosine",
    }


def test_guessed_action_is_right_as_often_as_stated():
    rows = [(f"{n:02}_{i:02}", "train" if i < 3 else "test", 0, f"text {n}") for n in (0, 1) for i in range(40)]
    found = {one.key: one for one in write_blindly(clips(rows), STEPS, range(20), None)}
    truth = [f"text {n}" for n in (0, 1) for _ in range(37)]
    right = np.mean([text == true for draw in found["guess"].texts for text, true in zip(draw, truth, strict=True)])
    assert right == pytest.approx(0.77, abs=3 * (0.77 * 0.23 / (20 * 74)) ** 0.5)


def test_order_and_other_clips_do_not_matter():
    table, known = clips(), names(clips())
    shuffled = table.sample(frac=1, random_state=1)
    texts = texts_by_writer(table)
    assert texts_by_writer(shuffled) == texts
    fewer = texts_by_writer(table[table["clip_id"] != "00_04"])
    assert fewer == {key: [draw[1:] for draw in draws] for key, draws in texts.items()}
    pd.testing.assert_frame_equal(shortcuts(table, known), shortcuts(shuffled, known))
    pd.testing.assert_frame_equal(contradictions(table, LABELLED, known), contradictions(shuffled, LABELLED, known))


def test_most_central_text():
    texts = ["knees cave in", "back round", "the back is round", "the back is flat"]
    assert most_central(texts, "f1") == "the back is round"
    assert most_central(["a b", "a b c d e f", "a b c"], "f1") == "a b c"
    assert most_central(["...", "!"], "f1") == "..."


# --- scores and their intervals --------------------------------------------------------------------------------------

REFERENCES = [
    "The squat in this video is good. The back stays straight and the hips sink below the knees.",
    "The lunge in this video is bad. In step 3, the front step is much too short, which loads the knee.",
    "The pull up in this video isn't good: the chin does not reach the bar (pull higher).",
    "The plank in this video is good. The hips stay level.",
]
TEXTS = [
    "The squat in this video is good. The back is straight and the hips sink to the knees.",
    "The lunge in this video is good. The front step is long.",
    "The push up in this video is bad, as the chin never reaches the bar.",
    "",
]


@pytest.mark.slow
def test_corpus_scores_with_meteor_match_caption_scores():
    texts = [TEXTS, REFERENCES, TEXTS[::-1], [*REFERENCES[:2], *TEXTS[2:]]]  # a text may be the reference itself
    asked = [pair for draw in texts for pair in zip(REFERENCES, draw, strict=True)]
    pairs = Pairs(asked, asked)
    for draw, found in zip(texts, pairs.statistics(REFERENCES, texts), strict=True):
        scores = metrics.caption_scores(REFERENCES, draw)
        each = metrics.captions.meteor(*map(metrics.captions.tokenize, (REFERENCES, draw)))[1]
        assert corpus(found.sum(0), 4) == pytest.approx(np.array([scores[name] for name in metrics.CAPTION_METRICS]))
        assert corpus(found, 1)[:, 4] == pytest.approx(100 * each)


def test_perfect_writer_scores_highest_in_any_order():
    table = clips()
    training, test = with_text(table, "train", "val"), with_text(table, "test")
    back = np.zeros((1, len(test)), dtype=bool)
    perfect = replace(writers(table)["any"], key="perfect", texts=[list(test["explanation"])], fell_back=back)
    found = blind_scores([*writers(table).values(), perfect], training, test, meteor=False)
    assert "meteor" not in set(found["metric"])  # left out, not zero
    assert set(found.groupby("population")["clips"].first().items()) == {("covered", 3), ("all", 4)}
    for _, part in found.groupby(["population", "metric"]):
        best = part.loc[part["value"].idxmax()]
        assert best["predictor"] == "perfect"
        assert best["draws"] == 1
        if best["metric"] != "cider_d":
            assert (best["value"], best["low"], best["high"]) == pytest.approx((100, 100, 100), abs=1e-4)
    assert found["value"].between(found["low"] - 1e-9, found["high"] + 1e-9).all()
    turned = [
        replace(one, texts=[draw[::-1] for draw in one.texts], fell_back=one.fell_back[:, ::-1])
        for one in [*writers(table).values(), perfect]
    ]
    other = blind_scores(turned, training, test[::-1], meteor=False)
    np.testing.assert_allclose(other["value"], found["value"])
    assert not ((found["population"] == "covered") & (found["predictor"] == "nearest-action")).any()


def rouge_only(draws: int, clips: int = 60) -> np.ndarray:
    """[draws, clips, WIDTH] with nothing but ROUGE-L."""
    out = np.zeros((draws, clips, WIDTH))
    out[..., -2] = np.random.RandomState(3).random_sample((draws, clips))
    return out


def test_interval_of_one_draw_is_the_bootstrap():
    one = rouge_only(1)
    found, again = score(one), score(one)
    assert np.array_equal(found.low, again.low)
    assert np.array_equal(found.high, again.high)
    assert score(one, seed=1).low[5] != found.low[5]
    assert (found.low[5], found.high[5]) == pytest.approx(bootstrap(100 * one[0, :, -2]))
    assert np.isnan(found.spread).all()


def test_different_draws_widen_the_interval():
    one = rouge_only(1)
    same = score(np.repeat(one, 4, axis=0))
    assert same.draws == 1
    assert same.low[5] == score(one).low[5]
    apart = one + np.array([-0.3, -0.1, 0.1, 0.3])[:, None, None] * (np.arange(WIDTH) == WIDTH - 2)
    found = score(apart)
    assert found.draws == 4
    assert found.mean[5] == pytest.approx(same.mean[5])
    assert found.high[5] - found.low[5] > 1.5 * (same.high[5] - same.low[5])
    assert found.spread[5] == pytest.approx(100 * np.std([-0.3, -0.1, 0.1, 0.3], ddof=1))


# --- shortcuts -------------------------------------------------------------------------------------------------------


def test_shortcuts_with_known_answers():
    table = clips()
    found = shortcuts(table, names(table)).set_index(["rule", "metric"])
    expected = {
        ("majority", "quality_acc"): 40,  # 2 of 5 are standard
        ("majority", "quality_balanced_acc"): 50,
        ("index", "quality_acc"): 80,  # all but 02_09
        ("index", "quality_balanced_acc"): 100 * (1 + 2 / 3) / 2,
        ("index-30", "quality_acc"): 40,
        ("number", "top1"): 100,
    }
    assert found["value"][list(expected)].to_dict() == pytest.approx(expected)
    assert found.loc[("index", "quality_acc"), "parameter"] == 10
    assert (found["clips"] == 5).all()
    assert found["value"].between(found["low"] - 1e-9, found["high"] + 1e-9).all()


def test_rules_are_learnt_without_the_test_split():
    table = clips()
    turned = flip_test_labels(table)
    assert learn_threshold(turned, names(table)) == learn_threshold(table, names(table))
    right = shortcuts(table, names(table)).set_index(["rule", "metric"])["value"]
    wrong = shortcuts(turned, names(table)).set_index(["rule", "metric"])["value"]
    for rule in ("majority", "action", "index", "action-index"):
        assert right[rule, "quality_acc"] + wrong[rule, "quality_acc"] == pytest.approx(100), rule
    fewer = table[table["split"] != "val"]
    assert learn_threshold(fewer, names(table)) == 10
    late = table.assign(quality=table["quality"].mask(table["clip_id"].isin(["00_10"]), 0))
    assert learn_threshold(late, names(table)) > 10


@pytest.mark.parametrize(
    ("indices", "quality", "usual", "expected"),
    [
        *(([1, 5, 9], [0, 0, 1], None, 9), ([1, 5, 9], [0, 0, 1], 7, 7), ([1, 5, 9], [0, 0, 1], 3, 9)),
        *(([1, 2], [0, 0], None, 3), ([], [], 4, 4)),  # 3: never non-standard
    ],
)
def test_best_threshold(indices, quality, usual, expected):
    """Of equally good thresholds the usual or the largest."""
    assert best_threshold(indices, quality, usual) == expected


# --- texts against labels --------------------------------------------------------------------------------------------


def test_contradictions_are_counted():
    table = clips()
    found = contradictions(table, LABELLED, names(table)).set_index(["texts", "what"])
    counts = {key: (row["count"], row["of"]) for key, row in found.iterrows()}
    expected = {
        "test": {
            **{"contradicts": (2, 4), "good, labelled non-standard": (1, 4), "bad, labelled standard": (1, 4)},
            **{"reason for contradicted": (1, 1), "formula": (3, 4), "action not named": (0, 4)},
            **{"no verdict": (0, 4), "in training": (0, 4)},
            "index sides with label": (1, 2),  # 02_03 is early and standard; 00_13 is early, too
        },
        "train and val": {"contradicts": (0, 6)},
        "all": {"contradicts": (2, 10)},
        "clips": {"reason": (3, 7), "reason for standard": (1, 8)},
    }
    for texts, each in expected.items():
        assert {what: counts[texts, what] for what in each} == each


def test_duplicates_and_missing_verdicts_are_counted():
    table = clips([*CLIPS, ("00_20", "test", 0, CLIPS[0][3].upper()), ("00_21", "test", 0, "Look at the feet.")])
    found = contradictions(table, None, None).set_index(["texts", "what"])["count"]
    assert found["test", "in training"] == 1
    assert found["all", "duplicate"] == 2
    assert found["test", "duplicate"] == 0
    assert found["test", "no verdict"] == 1
    assert found["test", "contradicts"] == 2  # a text without a verdict contradicts nothing
    assert {"reason", "index sides with label"}.isdisjoint(found.index.get_level_values("what"))


# --- against the paper -----------------------------------------------------------------------------------------------


def test_best_blind_text_beside_the_paper():
    given = ("the true action", "the file name", "nothing")
    scores = {"value": (30.0, 24.0, 10.0), "low": (28.0, 22.0, 9.0), "high": (32.0, 26.0, 11.0)}
    table = pd.DataFrame({"population": "all", "title": list("abc"), "told": given, "metric": "meteor"} | scores)
    known = pd.DataFrame({"table": ["4", "4"], "row": ["EFA", "SwinBERT"], "metric": "meteor", "value": [25.0, 99.0]})
    best, few = paper_gaps(table, known).to_dict("records")
    assert (best["title"], best["gap"], best["low"], best["high"]) == ("a", 5.0, 3.0, 7.0)
    assert (few["title"], few["gap"], few["low"], few["high"]) == ("b", -1.0, -3.0, 1.0)
    assert [best["outcome"], few["outcome"]] == [outcome(3, 7), outcome(-3, 1)]
    assert len({outcome(3, 7), outcome(-3, 1), outcome(-3, -1)}) == 3
    assert paper_gaps(table, known[:0]).empty
