"""Figures, single clips, texts written without looking, the model page's tables, learning curves and costs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reported import full, made, predictions

from efa.config import build
from efa.data.loader import open_dataset
from efa.experiments import TABLES
from efa.utils.errors import InputError
from efa_book import blind, claims, examples, figures, html, learning


def test_figures_are_deterministic_and_have_an_alt_text():
    scores = {table: {row: {0: 30.0 + i, 1: 33.0 - i} for i, row in enumerate(TABLES[table].rows)} for table in "67"}
    results, weights = (made(values, table=table) for table, values in scores.items())
    frames = np.zeros((6, 16, 16, 3), np.uint8)
    history = pd.DataFrame({"epoch": [1, 2], "val_class": [2.0, 1.0]})
    for draw in (
        lambda: figures.forest(results),
        lambda: figures.forest(weights),
        lambda: figures.training_curves({"EFA": history}),
        lambda: figures.gate_histogram(np.linspace(0, 1, 50)),
        lambda: figures.film(frames),
        lambda: figures.attention_map(frames, np.full((5, 6), 1 / 6), [f"step {i} " * 20 for i in range(5)]),
    ):
        source = html.show(draw(), "what it shows", kind="png").source
        assert source == html.show(draw(), "what it shows", kind="png").source
        assert 'alt="what it shows"' in source


def test_a_forest_shows_every_claim_beside_the_papers():
    values = {row: {seed: 30.0 + i + 0.1 * seed for seed in range(3)} for i, row in enumerate(TABLES["6"].rows)}
    figure = figures.forest(made(values))
    assert [ax.get_title() for ax in figure.axes][:3] == ["BLEU-1", "METEOR", "CIDEr-D"]
    cider, judged = figure.axes[2], claims.judge(made(values))
    mine = [line for line in cider.lines if line.get_marker() == "o"]
    theirs = [line for line in cider.lines if line.get_marker() == "D"]
    assert len(mine) == len(theirs) == sum(one.claim.metric == "cider_d" for one in judged)
    (add,) = [one for one in judged if one.claim.id.startswith("6-add") and one.claim.metric == "cider_d"]
    at = [line.get_ydata()[0] for line in mine].index(
        [label.get_text() for label in figure.axes[0].get_yticklabels()].index(add.claim.compared)
    )
    assert mine[at].get_xdata()[0] == pytest.approx(100 * add.gap.mean / add.level)
    assert theirs[at].get_xdata()[0] == pytest.approx(add.paper_relative)
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "o"]  # no BLEU here


def test_no_results_no_figure():
    assert figures.forest(made({}, origin="")) is None
    assert "no results" in html.show(None, "alt").text


def test_examples_follow_the_rule():
    clips = predictions()
    chosen = examples.pick_clips(clips.sample(frac=1, random_state=0))
    standard, faulty, wrong = (clip for _, clip in chosen)
    assert standard["clip_id"] == clips[clips["quality"] == 0]["clip_id"].min()
    assert faulty["clip_id"] == clips[clips["quality"] == 1]["clip_id"].min()
    assert (wrong["quality_prob"] >= 0.5) != (wrong["quality"] == 1)
    assert len({clip["clip_id"] for _, clip in chosen}) == 3


def test_sizes_are_the_papers():
    assert "video encoder | 87.6 M" in examples.paper_sizes_table().text
    assert "fusion: attentions | 7.1 M" in examples.paper_sizes_table().text


def clips(**more: list[str]) -> pd.DataFrame:
    given = {"split": ["train"] * 3 + ["test"] * 3, "action": ["Squat", "Squat", "Plank", "Squat", "Plank", "New"]}
    given |= {"explanation": ["the back is round", "the back is round", "hips sag", "a", "b", ""]}
    return pd.DataFrame(given | more)


def test_blind_texts_depend_on_the_action_only():
    for draws in blind.blind_texts(clips()).values():
        assert all(texts[:2] == ["the back is round", "hips sag"] for texts in draws)
        assert all(texts[2] in ("the back is round", "hips sag") for texts in draws)  # nobody trained that action
    other = clips(explanation=[*clips()["explanation"][:3], "not", "read", "at all"])
    assert blind.blind_texts(other) == blind.blind_texts(clips())
    assert blind.blind_texts(clips(explanation=[""] * 6)) == {}
    texts = ["the knees cave in", "the back is round", "the back is flat", "the back is round and low"]
    assert blind.most_central(texts) == "the back is round"


def test_blind_scores_are_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    monkeypatch.setattr(blind, "_cider", lambda references, texts: 100.0 * (references != texts))
    data = build("smoke", {"data.clips": 300}).data
    blind.floors.cache_clear()
    floor = blind.floors(data)
    assert all(0 <= found["fault_f1"] < 50 and found["cider_d"] == 100 for found in floor.values())
    monkeypatch.setattr(blind, "_score", lambda *_: pytest.fail("scored again"))
    blind.floors.cache_clear()
    assert blind.floors(data) == floor
    blind.floors.cache_clear()


def test_published_blind_scores_are_of_todays_data_and_scores():
    published = json.loads((Path(__file__).parents[1] / "results" / blind.FILE).read_text())
    assert set(published) == {blind._key(build(preset).data) for preset in blind.PUBLISHED}


def test_blind_cider_equals_caption_scores():
    from efa.metrics import caption_scores

    references = ["the back is round today", "the hips sag to the floor", "all is well in this clip"]
    texts = ["the back is round", "the knees cave in", "all is well in this clip"]
    assert blind._cider(references, texts) == pytest.approx(caption_scores(references, texts)["cider_d"])


def test_scores_stand_beside_those_of_blind_texts(monkeypatch):
    floor = {"random": {"cider_d": 20.0, "fault_f1": 8.0}, "central": {"cider_d": 30.0, "fault_f1": 4.0}}
    monkeypatch.setattr(blind, "floors", lambda _: floor)
    values = {"fault_f1": {"EFA": {0: 15.0, 1: 17.0}}, "cider_d": {"EFA": {0: 25.0, 1: 25.0}}}
    lines = blind.blind_table(full(values, "4")).text.splitlines()
    assert any(line.startswith("EFA") and "25.0" in line and "| 16.0" in line for line in lines)
    assert any(line.startswith("central | 30.0 | 4.0") for line in lines)
    assert "No results" in blind.blind_table(made({}, "fault_f1", origin="")).text


def test_what_is_seen_stands_above_a_blind_fault(tmp_path):
    """Perfect texts and verdicts: the own verdict is the true one, and only the fault is left to see."""
    table = open_dataset(build("smoke", {"data.clips": 300}).data).table
    test = table[table["split"] == "test"]
    told = {"predicted_action": test["action"], "reference": test["explanation"], "protocol": "predicted"}
    test.assign(**told, quality_prob=test["quality"].astype(float)).to_parquet(tmp_path / "texts.parquet")
    results = made(
        {"EFA": {0: 1.0}}, overrides={"data.clips": 300}, predictions={("EFA", 0): tmp_path / "texts.parquet"}
    )
    lines = [line.split(" | ") for line in blind.verdict_table(results).text.splitlines() if " | " in line]
    (f1, invented), own, true, itself = ([float(value) for value in line[1:3]] for line in lines[1:5])
    assert own == true
    assert f1 < true[0] < itself[0] == 100
    assert invented > true[1] == itself[1] == 0
    assert "No texts" in blind.verdict_table(made({"EFA": {0: 1.0}})).text


def test_blind_table_without_known_faults_or_data(monkeypatch):
    monkeypatch.setattr(blind, "floors", lambda _: {"random": {"cider_d": 20.0}})
    assert "fault" not in blind.blind_table(made({"EFA": {0: 25.0}}, table="4")).text.splitlines()[1]

    def gone(_: object) -> None:
        raise InputError("no such folder", file="/nowhere")

    monkeypatch.setattr(blind, "floors", gone)
    assert "/nowhere: no such folder" in blind.blind_table(made({"EFA": {0: 25.0}}, table="4")).text


SIGMA = "fusion.global_branch.text_residual"


def history(scale: float = 1.0) -> pd.DataFrame:
    """Three epochs; validation only after the last."""
    values = {f"train_{part}": [3 * scale, 2 * scale, scale] for part in ("class", "quality", "text")}
    values |= {f"val_{part}": [None, None, 1.5 * scale] for part in ("class", "quality", "text")}
    return pd.DataFrame({"epoch": [1, 2, 3]} | values | {SIGMA: [1.0, 0.9, 0.8 * scale]})


def results(**more):
    return made({"EFA": {0: 50.0, 1: 52.0}}, histories={("EFA", 0): history(), ("EFA", 1): history(2.0)}, **more)


def test_losses_are_drawn_seed_by_seed():
    found = learning.histories(results(), "EFA")
    assert list(found["seed"]) == [0, 0, 0, 1, 1, 1]
    assert found.groupby("seed")["train_text"].first().to_dict() == {0: 3.0, 1: 6.0}
    figure = learning.losses(results())
    assert [ax.get_title() for ax in figure.axes] == list(learning.PARTS.values())
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines["seed 1, training"].get_ydata()) == [6.0, 4.0, 2.0]
    assert list(lines["seed 0, validation"].get_xdata()) == [3]
    assert learning.histories(results(), "Add").empty
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


def test_a_home_that_cannot_be_written_warns_nobody(tmp_path):
    plain = {name: value for name, value in os.environ.items() if name not in ("MPLCONFIGDIR", "XDG_CONFIG_HOME")}
    places = {"HOME": str(tmp_path / "none"), "EFA_HOME": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", "import efa_book.figures, matplotlib; matplotlib.get_configdir()"]
    ended = subprocess.run(command, env=plain | places, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
