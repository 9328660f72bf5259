"""The first page: outcomes in few words, figures that are computed, links to pages that exist."""

import re
from pathlib import Path

import pytest
from reported import NASTY, full

from efa_book import landing, people

ROOT = Path(__file__).resolve().parents[1]
SPREAD = {"cider_d": 200.0, "top1": 90.0, "quality_acc": 75.0, "quality_balanced_acc": 70.0, "quality_auc": 70.0}


def table(name: str, lead: float):
    """Three seeds of every row; EFA is `lead` points ahead."""
    from efa.experiments import TABLES

    values = {
        metric: {row: {s: base + s + (lead if row == "EFA" else 0.0) for s in range(3)} for row in TABLES[name].rows}
        for metric, base in SPREAD.items()
    }
    return full(values, name)


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.setattr(
        landing.blind, "floors", lambda data: {"random": {"cider_d": 150.0}, "central": {"cider_d": 322.4}}
    )
    return {name: table(name, 5.0) for name in ("4", "5", "6", "7", "standards", "unseen")}


def test_outcomes_follow_the_scores(tables):
    far = tables | {"4": table("4", 15.0)}  # 5 points of 200 would be too few
    ahead = {claim: outcome for claim, outcome, _, _ in landing.claim_rows(far)}
    assert ahead["It explains better than earlier systems"] == "holds (5 of 5)"
    assert ahead["Asked here: where only the text can decide, it does"] == "holds"
    level = tables | {"4": table("4", 0.0), "standards": table("standards", -5.0)}
    behind = {claim: outcome for claim, outcome, _, _ in landing.claim_rows(level)}
    assert behind["It explains better than earlier systems"] == "no effect (5 of 5)"
    assert behind["Asked here: where only the text can decide, it does"] == "reversed"


def test_the_figures_are_those_of_the_scores(tables):
    told = {claim: figures for claim, _, figures, _ in landing.claim_rows(tables)}
    assert "206.0" in told["It explains better than earlier systems"]
    assert "up to 322" in told["It explains better than earlier systems"]
    assert "AUC 76.0" in told["Asked here: text helps with new exercises"]


def test_every_line_leads_to_a_page(tables):
    source = landing.claims_table(tables).source
    links = re.findall(r'href="([^"]+)\.html"', source)
    assert len(links) == len(landing.claim_rows(tables))
    for link in links:
        place = (ROOT / "book" / link).resolve()
        assert any(place.with_suffix(suffix).is_file() for suffix in (".md", ".ipynb")), link


def test_texts_stay_texts(tables, monkeypatch):
    monkeypatch.setattr(landing, "claim_rows", lambda tables: [(NASTY, NASTY, NASTY, "notebooks/ablation")])
    source = landing.claims_table(tables).source
    assert "<img" not in source
    assert source.count("&lt;img") == 3


def test_without_results_of_people_their_lines_are_left_out(tables, home):
    assert not [claim for claim, *_ in landing.claim_rows(tables) if "people" in claim]
    with pytest.raises(Exception, match="no leave-one-subject-out results"):
        people.load_results()


def test_nothing_to_show_is_said(home):
    none = landing.read_results("smoke")
    assert "No predictions" in landing.example_clip(none).text
