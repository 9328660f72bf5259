"""The chapter on poses: outcomes follow the scores, one seed decides nothing, page and README say what results/ has."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from reported import full

import formsim
from efa.config import RESULTS_VERSION, build
from efa.experiments import select
from efa_book import blind, collect, figures, poses, tables
from efa_book.table_specs import BALANCED, FAULT, HALLUCINATED, STEP
from formsim.skeletons import imitate, skeleton, take

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "results" / "formsim-pose"


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
    found = blind.floors(build("smoke", {"data.clips": 300}).data)
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
    found = [select("6/EFA", preset, (0,))[0].config.training.weight_text for preset in ("laptop", "pose")]
    assert f"training.weight_text | {found[0]:.3g} | {found[1]:.3g}" in text, "those that EFA is trained with"
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
    told, given = (published_means("6", protocol)[FAULT.key] for protocol in ("oracle", "wrong"))
    line = tables.text_table({"main": (results,)}, FAULT).text.splitlines()[2]
    assert line.split(" | ")[1].startswith(f"{told:.1f} [")
    assert line.split(" | ")[3].startswith(f"{told - given:+.1f} [")


@pytest.mark.slow
def test_the_published_runs_are_of_the_present_code_and_data(of_the_repository):
    for table in ("6", "7", "standards", "unseen", "readings"):
        found = collect.obtain(table, "pose", None, train=False)
        for cell, state in found.states.items():
            assert state != "stale" or found.facts[cell]["results_version"] < RESULTS_VERSION, (table, cell)
