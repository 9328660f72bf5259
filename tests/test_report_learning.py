"""Learning curves and costs, from histories that tests make up."""

import pandas as pd
import pytest
from reported import made

from efa_book import learning

SIGMA = "fusion.global_branch.text_residual"


def history(scale: float = 1.0) -> pd.DataFrame:
    """Three epochs; validation only after the last."""
    values = {f"train_{part}": [3 * scale, 2 * scale, scale] for part in ("class", "quality", "text")}
    values |= {f"val_{part}": [None, None, 1.5 * scale] for part in ("class", "quality", "text")}
    return pd.DataFrame({"epoch": [1, 2, 3]} | values | {SIGMA: [1.0, 0.9, 0.8 * scale]})


def results(**more):
    return made({"EFA": {0: 50.0, 1: 52.0}}, histories={("EFA", 0): history(), ("EFA", 1): history(2.0)}, **more)


def test_seeds_are_kept_apart():
    found = learning.histories(results(), "EFA")
    assert list(found["seed"]) == [0, 0, 0, 1, 1, 1]
    assert found.groupby("seed")["train_text"].first().to_dict() == {0: 3.0, 1: 6.0}
    assert learning.histories(results(), "Add").empty


def test_losses_are_drawn_where_they_are_known():
    figure = learning.losses(results())
    assert [ax.get_title() for ax in figure.axes] == [title for _, title in learning.PARTS.items()]
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines["seed 1, training"].get_ydata()) == [6.0, 4.0, 2.0]
    assert list(lines["seed 0, validation"].get_xdata()) == [3]
    assert learning.losses(results(), "Add") is None


def test_sigma_is_the_mean_over_seeds():
    figure = learning.sigmas(results())
    (line,) = figure.axes[0].get_lines()
    assert list(line.get_ydata()) == pytest.approx([1.0, 0.9, 1.2])
    bare = made({"EFA": {0: 50.0}}, histories={("EFA", 0): history().drop(columns=SIGMA)})
    assert learning.sigmas(bare) is None


def test_gate_is_shown_for_the_seeds_that_have_it():
    old, new = history(), history().assign(val_gate=[None, None, 0.4])
    both = made({"EFA": {0: 50.0, 1: 52.0}}, histories={("EFA", 0): old, ("EFA", 1): new})
    sigma, gate = learning.sigmas(both).axes
    assert sigma.get_ylabel().startswith("|sigma|")
    line = next(line for line in gate.get_lines() if line.get_label() == "gate, seed 1")
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([3], [0.4])
    assert learning.seeds_with_gate(both) == [1]
    caption = learning.sigmas_caption(both)
    assert "tokens and channels, seed 1;" in caption
    assert caption.endswith("not recorded for seed 0.")
    assert len(learning.sigmas(results()).axes) == 1  # as published runs were before it was recorded
    assert learning.sigmas_caption(results()).endswith("not recorded for seeds 0, 1.")


def test_costs_are_means_over_seeds():
    fact = {"parameters": 5_000_000, "parameters_trained": 2_000_000, "peak_memory_mb": 1024}
    seconds = {0: {"prepare": 1.0, "train": 19.0}, 1: {"prepare": 1.0, "train": 39.0}}
    facts = {("EFA", seed): fact | {"seconds": seconds[seed]} for seed in (0, 1)}
    text = learning.costs_table(results(facts=facts)).text
    assert "EFA | 5.00 | 2.00 | 30 | 1.0" in text
    assert "Add" not in text
    assert "no run" in learning.costs_table(results()).text
