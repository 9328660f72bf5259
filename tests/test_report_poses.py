"""The chapter on poses: outcomes follow the scores, one seed decides nothing, page and README say what results/ has."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from reported import full

import formsim
from efa.experiments import TABLES
from efa_book import blind, collect, figures, html, poses
from efa_book.collect import Results
from efa_book.published import COLUMNS
from efa_book.table_specs import AUC, BALANCED, FAULT, HALLUCINATED, STEP
from formsim.skeletons import imitate, skeleton, take

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "results" / "formsim-pose"
GIVEN = (poses.Comparison("another text", ("EFA", "wrong")),)


def scored(losses: list[float], table: str = "6") -> Results:
    """EFA at 80 plus the seed, and what it loses with another text, seed by seed."""
    rows = [(table, "EFA", seed, "predicted", AUC.key, 80.0 + seed) for seed in range(len(losses))]
    rows += [(table, "EFA", seed, "wrong", AUC.key, 80.0 + seed - loss) for seed, loss in enumerate(losses)]
    scores = pd.DataFrame(rows, columns=list(COLUMNS))
    return full({}, table, seeds=tuple(range(len(losses))), scores=scores, states={})


@pytest.mark.parametrize(("losses", "outcome"), [
    ([5.0, 5.1, 4.9], "matters"), ([0.2, 0.2, 0.3], "does not matter"), ([-3.0, -3.1, -2.9], "harms"),
    ([9.0, 0.0, 1.0], "cannot be said"), ([30.0], "cannot be said"), ([], "not trained yet"),
])  # fmt: skip
def test_an_outcome_is_that_of_the_seeds(losses, outcome):
    results = scored(losses)
    assert poses.outcome_of(GIVEN[0].change(results, AUC)) == outcome
    shown = poses.summary("The text", {"6": GIVEN}, (results,), (AUC,)).text.splitlines()
    assert shown == ["The text, 1 comparisons.", f"{outcome.capitalize()} in 1: {AUC.title} on main (another text)."]


def test_a_difference_of_single_runs_is_shown_and_decides_nothing(monkeypatch):
    monkeypatch.setattr(poses, "stamp", lambda results: html.Html(""))
    text = poses.worth_table("Worth", {"6": GIVEN}, (scored([30.0]),), (AUC,)).text
    assert "another text | 50.0 +30.0 (one seed) cannot be said" in text


def test_what_is_compared_exists():
    for asked in (poses.TEXT, poses.MACHINE):
        for table, comparisons in asked.items():
            for row, protocol in (side for one in comparisons for side in (one.first, one.other)):
                protocols = TABLES[table].protocols_of(row)
                assert (protocol or protocols[0]) in protocols, (table, row, protocol)


def test_pixels_and_poses_stand_beside_one_writers_floor(monkeypatch):
    texts = {"random": {FAULT.key: 8.0, HALLUCINATED.key: 30.0, STEP.key: 19.0}}
    texts["central"] = {FAULT.key: 1.0, HALLUCINATED.key: 0.0, STEP.key: 2.0}
    monkeypatch.setattr(blind, "floors", lambda data: texts)
    results = full({FAULT.key: {"EFA": {0: 57.0, 1: 58.0, 2: 59.0}}, BALANCED.key: {"EFA": {0: 90.0}}})
    lines = poses.pixels_table(results, results).text.splitlines()
    assert next(line for line in lines if line.startswith("fault F1")).split(" | ")[1:3] == ["58.0 [55.5, 60.5]", "8.0"]
    assert [line.split(" | ")[2] for line in lines if line.startswith((HALLUCINATED.title, STEP.title))] == [
        "30.0", "19.0",
    ]  # fmt: skip
    assert [line.split(" | ")[2] for line in lines if line.startswith("balanced accuracy")] == ["50.0"]


def test_blind_texts_are_scored_for_steps_and_inventions_too(home, monkeypatch):
    monkeypatch.setattr(blind, "_cider", lambda references, texts: 0.0)
    blind.floors.cache_clear()
    found = blind.floors(poses.build("smoke", {"data.clips": 300}).data)
    blind.floors.cache_clear()
    random = next(found[name] for name in found if "random" in name)
    assert 0 < random[HALLUCINATED.key] < 60
    assert 0 < random[STEP.key] < 60


def test_the_figure_draws_every_limb_of_both_rows():
    joints = take(torch.from_numpy(skeleton(formsim.stream_clip(0, 3)))[None], 16)
    seen = imitate(joints, torch.Generator().manual_seed(0))
    figure = poses.skeletons_figure({"clean": joints, "seen": seen})
    assert len(figure.axes) == 12
    drawn = {round(float(ax.lines[0].get_ydata()[0]), 3) for ax in figure.axes}
    assert len(drawn) > 6  # the pelvis moves, and noise moves it otherwise
    assert {line.get_color() for line in figure.axes[0].lines} == {figures.INK, figures.BLUE, figures.ORANGE}


def test_the_settings_that_differ_are_named():
    text = poses.settings_table("laptop", "pose").text
    assert "training.weight_text | 5.0 | 15.0" in text
    assert "\nencoder." not in text
    assert "data.seed" not in text


# --- what is published ---


def published_means(table: str, protocol: str) -> dict[str, float]:
    scores = pd.read_csv(PUBLISHED / "scores.csv", dtype={"table": str})
    chosen = scores[(scores["table"] == table) & (scores["row"] == "EFA") & (scores["protocol"] == protocol)]
    return dict(chosen.groupby("metric")["value"].mean()) | {"seeds": chosen["seed"].nunique()}


def test_the_chapter_types_no_result_by_hand():
    """Every number of a score has a decimal; the words of the chapter have none."""
    cells = json.loads((ROOT / "notebooks" / "pose.ipynb").read_text())["cells"]
    words = " ".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert not re.search(r"\d+\.\d|\d %", words)


@pytest.fixture
def of_the_repository(tmp_path, monkeypatch):
    """The published results, and nothing that was trained on this machine."""
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    (tmp_path / "results").symlink_to(ROOT / "results")


def test_the_tables_hold_what_is_published(of_the_repository, monkeypatch):
    monkeypatch.setattr(collect, "_key", lambda run: "")  # takes seconds; the next test asks for it
    results = collect.obtain("6", "pose", None, train=False)
    main = published_means("6", "predicted")
    assert len(results.seeds) == main["seeds"] > 1
    lines = poses.seeds_table(results).text.splitlines()
    for metric in poses.MEASURED:
        line = next(line for line in lines if line.startswith(metric.title))
        assert line.split(" | ")[1].startswith(f"{main[metric.key]:.1f} [")
        assert len(line.split(" | ")) == 2 + main["seeds"]
    text = poses.worth_table("Worth", poses.TEXT, (results,), (FAULT,)).text
    given = published_means("6", "wrong")[FAULT.key]
    assert f"another action's text | {given:.1f} {main[FAULT.key] - given:+.1f}" in text
    assert "as skeletons" in text


@pytest.mark.slow
def test_the_published_runs_are_of_the_present_code_and_data(of_the_repository):
    for table in ("6", "7", "standards", "unseen", "readings"):
        assert "stale" not in collect.obtain(table, "pose", None, train=False).states.values()
