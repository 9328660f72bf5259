"""Outcomes where the truth is known: simulated seeds and clips, and analyses that are wrong on purpose."""

import numpy as np
import pytest
from reported import predictions

from efa import metrics
from efa_book.blocks import BLOCKS, leave_out
from efa_book.claims import HOLDS, NO_EFFECT, REVERSED, decide, holm
from efa_book.estimates import Estimate, combine, pool

SIMULATIONS = 1000


def simulate(truth: list[float], seeds: int = 5, sims: int = SIMULATIONS, draw: int = 0):
    """Scores [sims, rows, seeds] and their values without a block of clips [sims, rows, seeds, blocks].

    A score is the row's true mean plus what seed, clip (the same ones for all rows), row x clip and all three do."""
    random = np.random.RandomState(draw)
    shape = (sims, len(truth), seeds)
    blocks = (
        np.array(truth)[None, :, None, None]
        + random.normal(0, 0.5, (*shape, 1))
        + random.normal(0, 2, (*shape, BLOCKS))
    )
    blocks = blocks + random.normal(0, 20, (sims, 1, 1, BLOCKS)) + random.normal(0, 3, (sims, len(truth), 1, BLOCKS))
    total = blocks.sum(-1, keepdims=True)
    return total[..., 0] / BLOCKS, (total - blocks) / (BLOCKS - 1)


def measure(values: np.ndarray, left: np.ndarray) -> list[list[Estimate]]:
    """Every row over the first, for each simulation."""
    pooled, df = pool(values)
    return [
        [combine(one[r] - one[0], without[r] - without[0], v, df) for r in range(1, len(one))]
        for one, without, v in zip(values, left, pooled, strict=True)
    ]


def judge(found: list[list[Estimate]], tolerance: float = 0.3, correct: bool = True) -> list[list[str]]:
    """Their outcomes."""
    out = []
    for gaps in found:
        p = np.array([gap.p for gap in gaps])
        corrected = holm(p) if correct else p
        out.append([decide(gap, tolerance, q, gap.mean > 0) for gap, q in zip(gaps, corrected, strict=True)])
    return out


def share(outcomes: list[list[str]], *wanted: str) -> float:
    """Of simulations with such an outcome."""
    return float(np.mean([any(one in wanted for one in row) for row in outcomes]))


def test_a_zero_effect_holds_in_at_most_one_of_twenty():
    nothing = measure(*simulate([0.0] * 5))
    assert share(judge(nothing), HOLDS, REVERSED) <= 0.05
    assert share(judge(nothing, correct=False), HOLDS, REVERSED) > 0.08  # without Holm


def test_one_seed_taken_for_all_is_wrong_too_often():
    values, left = simulate([0.0, 0.0], seeds=1)
    gaps = [combine(a[1] - a[0], b[1] - b[0]) for a, b in zip(values, left, strict=True)]
    assert all(np.isnan(gap.p) for gap in gaps)  # so nothing can hold
    assert np.mean([gap.low <= 0 <= gap.high for gap in gaps]) < 0.9  # clips alone do not say what a seed does


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_the_truth_as_often_as_they_say(seeds):
    found = [gap for gaps in measure(*simulate([0.0, 1.0, 1.0, 1.0], seeds, sims=500, draw=seeds)) for gap in gaps]
    assert 0.93 <= np.mean([gap.low <= 1 <= gap.high for gap in found]) <= 0.97
    assert 0.87 <= np.mean([gap.low90 <= 1 <= gap.high90 for gap in found]) <= 0.93


def test_a_real_effect_is_found_only_if_paired():
    values, left = simulate([0.0, 3.0], sims=200)
    assert share(judge(measure(values, left)), HOLDS) > 0.8
    other = values[:, 1] - np.roll(values[:, 0], 1, axis=0)  # the same clips no longer
    apart = left[:, 1] - np.roll(left[:, 0], 1, axis=0)
    found = [combine(a, b) for a, b in zip(other, apart, strict=True)]
    assert np.mean([gap.p < 0.05 for gap in found]) < 0.3


def test_no_effect_is_found_where_there_is_none_and_not_where_there_is():
    zero, edge = (measure(*simulate([0.0, effect], seeds=10, sims=500)) for effect in (0.0, 2.5))
    assert share(judge(zero, tolerance=2.5), NO_EFFECT) > 0.9
    assert share(judge(zero, tolerance=0.1), NO_EFFECT) < 0.1
    assert share(judge(edge, tolerance=2.5), NO_EFFECT) <= 0.07


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, np.nan, 0.03])) == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)


BY_HAND = {
    "top1": lambda c: 100 * c["top1"].mean(),
    "cider_d": lambda c: c["cider_d"].mean(),
    "bleu1": lambda c: (
        100 * c["bleu_right"].sum() / c["bleu_length"].sum()
        * min(1, np.exp(1 - c["bleu_wanted"].sum() / c["bleu_length"].sum()))
    ),
    "quality_acc": lambda c: 100 * ((c["p"] >= 0.5) == c["truth"]).mean(),
    "quality_balanced_acc": lambda c: 100 * metrics.balanced_accuracy(c["truth"], c["p"] >= 0.5),
    "quality_auc": lambda c: 100 * metrics.auc(c["truth"], c["p"]),
    "fault_f1": lambda c: 100 * metrics.micro_f1(c[["fault_right", "fault_wrong", "fault_missed"]].to_numpy()),
    "hallucinated_faults": lambda c: 100 * (c["fault_wrong"][c["truth"] == 0] > 0).mean(),
    "step_acc": lambda c: 100 * c["step"][c["step"] >= 0].mean(),
}  # fmt: skip


@pytest.mark.parametrize("metric", BY_HAND)
def test_a_metric_without_a_block_is_that_of_the_other_clips(metric):
    texts = predictions(n=120, explanation="The squat is bad. In step three the squat goes wrong.")
    clips, draw = metrics.evaluate(texts.assign(reference=""))[1], np.random.RandomState(1)
    counted = ["bleu_length", "bleu_wanted", "cider_d", "fault_right", "fault_wrong", "fault_missed"]
    clips[counted] = draw.randint(2, 9, (120, 6)) % [9, 9, 9, 2, 2, 2]
    clips["bleu_right"] = clips[["bleu_length", "bleu_wanted"]].min(axis=1)
    block = np.random.RandomState(0).permutation(120) % BLOCKS
    left = leave_out(clips.sample(frac=1, random_state=3), metric)
    assert left == pytest.approx([BY_HAND[metric](clips[block != one]) for one in range(BLOCKS)])
    assert leave_out(clips, "bleu4") is None
