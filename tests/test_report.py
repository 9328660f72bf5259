"""Tables and figures from scores: means, intervals, verdicts, stale results; and no data reaches a page raw."""

import re

import numpy as np
import pandas as pd
import pytest
from reported import NASTY, RANDOM, ROOT, made, predictions

from efa.config import build
from efa.errors import InputError
from efa.experiments import TABLES
from efa.metrics import METRICS, mean_interval
from efa.report import blind, estimates, examples, figures, html, tables
from efa.report.collect import COLUMNS
from efa.report.estimates import Estimate, verdict

# --- estimates ---


def test_several_seeds_give_students_interval():
    found = estimates.estimate(made({"EFA": {0: 30.0, 1: 32.0, 2: 37.0}}), "EFA", "cider_d")
    assert (found.mean, found.low, found.high) == pytest.approx(mean_interval([30.0, 32.0, 37.0]))
    assert found.over == "seeds"


def test_one_seed_gives_the_interval_over_clips(tmp_path):
    clips = predictions()
    clips.to_parquet(tmp_path / "p.parquet")
    right = 100 * (clips["predicted_action"] == clips["action"]).mean()
    results = made({"EFA": {0: right}}, "top1", predictions={("EFA", 0): tmp_path / "p.parquet"})
    found = estimates.estimate(results, "EFA", "top1")
    assert found.over == "clips"
    assert found.low < right < found.high
    assert "says nothing about another seed" in tables.ablation(results).text


def test_one_seed_gives_ngram_scores_no_interval():
    found = estimates.estimate(made({"EFA": {0: 30.0}}), "EFA", "cider_d")
    assert found.mean == 30.0
    assert not found.bounded


@pytest.mark.parametrize("metric", ["top1", "top5", "quality_acc", "quality_balanced_acc", "quality_auc", "fault_f1"])
def test_what_the_bootstrap_draws_from_gives_the_score_itself(metric):
    from efa import metrics
    from efa.data import formsim

    parser = metrics.FaultParser(formsim.fault_phrases())
    seen = next(iter(formsim.fault_phrases()["Squat"]["shallow"]))
    clips = predictions(explanation=f"This squat goes wrong because {seen}.")
    rows, statistic = estimates.per_clip(metric, clips, parser)
    scores = metrics.score(clips.assign(reference=""), parser)
    assert statistic(rows) == pytest.approx(scores[metric])


def test_difference_is_paired_by_seed():
    results = made({"EFA": {0: 10.0, 1: 20.0, 2: 30.0}, "Add": {0: 8.0, 1: 18.5, 2: 27.5}})
    gap = estimates.difference(results, "Add", "cider_d")
    assert (gap.mean, gap.low, gap.high) == pytest.approx(mean_interval([2.0, 1.5, 2.5]))
    assert verdict(gap, 1.0) == "holds"
    assert verdict(gap, 5.0) == "does not hold"


@pytest.mark.parametrize(
    ("gap", "expected"),
    [
        (Estimate(3.0, 1.0, 5.0, "seeds"), "holds"),
        (Estimate(0.5, 0.1, 0.9, "seeds"), "does not hold"),
        (Estimate(-3.0, -5.0, -1.0, "seeds"), "does not hold"),
        (Estimate(3.0, -1.0, 7.0, "seeds"), "cannot be told"),
        (Estimate(3.0, 1.0, 5.0, "clips"), "cannot be told"),
        (Estimate(3.0), "cannot be told"),
        (estimates.NOTHING, "cannot be told"),
    ],
)
def test_verdict(gap, expected):
    assert verdict(gap, 1.0) == expected


def test_every_ablated_row_makes_a_claim():
    assert [claim.row for claim in estimates.CLAIMS] == [row for row in TABLES["6"].rows if row != "EFA"]
    assert all(metric.tolerance > 0 for claim in estimates.CLAIMS for metric in claim.metrics)


# --- paper.csv ---


def test_papers_numbers_are_of_known_rows_and_have_sources():
    table = tables.paper(ROOT / "results" / "paper.csv")
    assert list(table.columns) == [*COLUMNS, "source"]
    assert set(table["metric"]) <= set(METRICS)
    assert set(table["table"]) <= {"4", "5", "6", "7"}
    assert set(table[table["table"] == "6"]["row"]) <= set(TABLES["6"].rows)
    assert table["value"].between(0, 100).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("6,Add,,unstated,meteor,much,somewhere", "no number"),
        ("6,Add,,unstated,meteor,inf,somewhere", "no number"),
        ("6,Add,,unstated,meteors,1.0,somewhere", "unknown metric"),
        ("6,Add,,unstated,meteor,1.0,", "source"),
        ("6,EFA,,unstated,meteor,23.8,again", "already"),
    ],
)
def test_a_bad_line_in_paper_csv_is_named(tmp_path, line, message):
    path = tmp_path / "paper.csv"
    path.write_text(f"{','.join((*COLUMNS, 'source'))}\n6,EFA,,unstated,meteor,23.8,here\n{line}\n")
    with pytest.raises(InputError, match=message) as caught:
        tables.paper(path)
    assert caught.value.row == 3


def test_a_line_that_a_reader_adds_appears(tmp_path):
    path = tmp_path / "paper.csv"
    path.write_text(f"{','.join((*COLUMNS, 'source'))}\n6,Q-text,,unstated,meteor,21.5,Table VI\n")
    shown = tables.ablation(made({"Q-text": {0: 20.0}}, "meteor"), tables.paper(path)).text
    assert "21.5 | 20.0" in shown
    assert "n/a" in shown


# --- what reaches a page ---


def test_html_is_escaped_everywhere():
    results = made({"EFA": {0: 30.0}}, facts={("EFA", 0): {"device": NASTY, "commit": NASTY}})
    shown = [
        html.table(NASTY, ["", NASTY], [[NASTY, html.Cell(NASTY, NASTY)]], [NASTY]),
        html.note(NASTY),
        html.stamp(NASTY, [NASTY], NASTY),
        html.image(b"x", "image/png", f'"{NASTY}', NASTY),
        tables.ablation(results),
    ]
    for piece in shown:
        assert "<img src=x" not in piece.source
        assert "</script" not in piece.source
        assert "&lt;/script&gt;" in piece.source
    assert 'alt="&quot;' in shown[3].source


def test_texts_of_clips_are_escaped(tmp_path):
    predictions(explanation=NASTY).assign(reference=NASTY, clip_id=lambda t: t["clip_id"] + NASTY).to_parquet(
        tmp_path / "p.parquet"
    )
    shown = examples.gallery(made({"EFA": {0: 30.0}}, predictions={("EFA", 0): tmp_path / "p.parquet"})).source
    assert NASTY not in shown
    assert shown.count("&lt;/script&gt;") >= 6


def test_tables_have_captions_and_scopes():
    source = tables.ablation(made({"EFA": {0: 30.0, 1: 31.0}})).source
    assert source.count("<caption>") == 1
    assert source.count('scope="row"') == len(TABLES["6"].rows)
    assert source.count('scope="col"') == len(estimates.ABLATION_METRICS) + 2
    assert not re.search(r"<t[hd](?![^>]*scope)[^>]*>[^<]*</th>", source)


def test_the_stamp_says_where_numbers_come_from():
    facts = {("EFA", 0): {"device": "a machine", "commit": "abc123", "seconds": {"prepare": 30.0, "train": 90.0}}}
    text = tables.stamp(made({"EFA": {0: 30.0}}, facts=facts)).text
    for part in ("FormSim", "stand-in", "preset smoke", "seeds 0", "a machine", "2.0 minutes", "abc123", "efa run 6"):
        assert part.lower() in text.lower()


def test_examples_follow_the_rule():
    clips = predictions()
    chosen = examples.pick(clips.sample(frac=1, random_state=0))
    standard, faulty, wrong = (clip for _, clip in chosen)
    assert standard["clip_id"] == clips[clips["quality"] == 0]["clip_id"].min()
    assert faulty["clip_id"] == clips[clips["quality"] == 1]["clip_id"].min()
    assert (wrong["quality_prob"] >= 0.5) != (wrong["quality"] == 1)
    assert len({clip["clip_id"] for _, clip in chosen}) == 3


def test_figures_are_the_same_bytes_twice_and_have_an_alt_text():
    results = made({row: {0: 30.0 + i, 1: 33.0 - i} for i, row in enumerate(TABLES["6"].rows)})
    frames = np.zeros((6, 16, 16, 3), np.uint8)
    history = pd.DataFrame({"epoch": [1, 2], "val_class": [2.0, 1.0]})

    def draw() -> list[str]:
        drawn = [
            figures.ablation(results),
            figures.training_curves({"EFA": history}),
            figures.gate_histogram(np.linspace(0, 1, 50)),
            figures.film(frames),
            figures.attention_map(frames, np.full((5, 6), 1 / 6), [f"step {i} " * 20 for i in range(5)]),
        ]
        return [html.show(figure, "what it shows", kind="png").source for figure in drawn]

    first = draw()
    assert first == draw()
    assert all('alt="what it shows"' in source for source in first)


def test_no_results_no_figure():
    results = made({}, table="standards", origin="")
    assert figures.standards(results) is None
    assert "no results" in html.show(figures.standards(results), "alt").text
    assert "No results" in tables.standards(results).text


def test_the_standards_table_names_every_text():
    rows = [("standards", "EFA", 0, protocol, "quality_auc", v) for protocol, v in (("oracle", 80.0), ("wrong", 31.0))]
    results = made({}, table="standards", scores=pd.DataFrame(rows, columns=list(COLUMNS)))
    lines = tables.standards(results).text.splitlines()
    assert any(line.startswith("the right text | 80.0") for line in lines)
    assert any(line.startswith("the text of another standard | 31.0") for line in lines)


def test_sizes_are_the_papers():
    text = examples.sizes_at_paper_size().text
    assert "video encoder | 87.6 M" in text
    assert "fusion: attentions | 7.1 M" in text


def test_equation_4_cannot_learn_where_its_score_comes_from():
    import torch

    from efa.config import build
    from efa.model.assessor import EFAModel

    config = build("smoke", {"encoder.depths": (1, 1), "encoder.dim": 24, "fusion.dim": 24, "decoder.dim": 16} | RANDOM)
    torch.manual_seed(0)
    model = EFAModel(config, 3, 20, 8)
    features = torch.randn(2, model.grid[0] * model.grid[1] * model.grid[2], model.encoder.out_dim)
    lines = examples.eq4_gradients(model, features, torch.randn(2, 5, 8), torch.randn(2, 1, 8)).text.splitlines()
    found = {line.split(" | ")[0]: float(line.split(" | ")[1]) for line in lines[2:]}
    assert found["eq. 4, one key: query weights"] == found["eq. 4, one key: key weights"] == 0
    assert min(v for name, v in found.items() if "eq. 8" in name or "value" in name) > 0


# --- texts written without looking ---------------------------------------------------------------------------------


def test_the_most_central_text_is_the_one_that_the_others_resemble():
    texts = ["the knees cave in", "the back is round", "the back is flat", "the back is round and low"]
    assert blind.most_central(texts) == "the back is round"


def test_blind_texts_know_the_action_and_nothing_of_the_clip(monkeypatch):
    data = build("smoke", {"data.clips": 620}).data
    blind.floors.cache_clear()
    floor = blind.floors(data)
    assert 0 < max(score["fault_f1"] for score in floor.values()) < 25  # one of four faults, on a third of the clips
    assert min(score["cider_d"] for score in floor.values()) > 50

    whole = blind.open_dataset(data)
    test = whole.table["split"] == "test"
    whole.table.loc[test, "explanation"] = "the reference is not read"
    monkeypatch.setattr(blind, "open_dataset", lambda _: whole)
    blind.floors.cache_clear()
    for name, score in blind.floors(data).items():  # the same texts, held against other references
        assert score["fault_f1"] == floor[name]["fault_f1"]
        assert score["cider_d"] < 1
    blind.floors.cache_clear()


def test_fault_f1_is_told_in_multiples_of_the_better_blind_text(monkeypatch):
    def known(value: float) -> dict[str, float]:
        return {"fault_f1": value, "cider_d": 100.0}

    monkeypatch.setattr(blind, "floors", lambda _: {"random": known(8.0), "central": known(4.0)})
    shown = str(blind.table(made({"EFA": {0: 15.0, 1: 17.0}}, "fault_f1")))
    assert all(part in shown for part in ("2.0", "16.0", "random"))
    assert "No results" in str(blind.table(made({}, "fault_f1", origin="")))
