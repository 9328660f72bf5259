"""The first page: outcomes in few words, figures that are computed, links to pages that exist."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reported import NASTY, full

import formsim
from efa_book import html, landing, people

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
    found = {name: table(name, 5.0) for name in ("4", "5", "6", "7", "standards", "unseen")}
    return found | {"pose": table("6", 5.0), "pose 7": table("7", 0.0)}


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
    assert "on poses: no effect" in told["A loss weight of 3 is best"]


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
    assert "No predictions" in landing.example_clip(none["pose"]).text
    assert "No predictions" in landing.first_screen(none).text


def test_the_clip_plays_twice_and_stands_still_for_those_who_ask(monkeypatch):
    clip = next(one for one in formsim.clips(count=60) if one.fault)
    named = [f"{clip.action}/{clip.fault}"]
    moving, still = (Image.open(io.BytesIO(data)) for data in landing._play(clip, named, 64, 6))
    assert (moving.n_frames, moving.info["loop"], still.n_frames) == (6, 2, 1)
    assert 2 * sum(90 for _ in range(24)) <= 5000  # ms: what moves for longer needs a button
    bare, _ = (Image.open(io.BytesIO(data)) for data in landing._play(clip, [], 64, 6))
    assert moving.convert("RGB").tobytes() != bare.convert("RGB").tobytes()  # the limbs are marked
    head = next(one for one in formsim.clips(count=600) if one.action == "Staff Lift" and one.fault)
    marked, plain = (np.array(Image.open(io.BytesIO(landing._play(head, named, 128, 3)[1])).convert("RGB"), int)
                     for named in (["Staff Lift/head_down"], []))  # fmt: skip
    assert (np.abs(marked - plain).max(-1) > 60).sum() > 5  # so is a head
    shown = html.moving(b"a", b"b", NASTY).source
    assert "prefers-reduced-motion" in shown
    assert NASTY not in shown


def test_the_first_screen_has_the_five_main_claims(tables):
    shown = landing.first_screen(tables)
    assert shown.source.split("</ol>")[0].count("<li>") == 5
    assert all(claim in shown.text for claim, *_ in landing.claim_rows(tables)[:5])
