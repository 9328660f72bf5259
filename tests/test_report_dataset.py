"""The chapter's tables and figures: from published files, from any manifest, with and without texts and videos."""

import re
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import manifests
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from reported import NASTY

from efa.data.manifest import make_dataset
from efa_book import dataset_figures, dataset_sources, dataset_tables, html
from efa_book.dataset_figures import Sector
from efa_book.dataset_sources import Source, Sources
from efa_book.html import Html
from efa_datasets.statistics import TABLES, measure

PAPER = pd.DataFrame(
    [("I", "clips", 6, "a book"), ("I", "texts", 9, "a book"), ("II", "words a text", 3.1, "a book")],
    columns=["table", "number", "value", "source"],
)


def source(name: str = "mine", **changes: object) -> Source:
    made = make_dataset([row | changes for row in manifests.records()], manifests.STEPS)
    return Source(name, measure(made), f"{name}: six clips", f"efa data statistics {name}", made)


def sources(about: Source) -> Sources:
    return Sources(about, (source("FormSim"),), PAPER)


def all_tables(shown: Sources) -> list[Html]:
    names = ("definitions", "cues", "steps", "types", "oddities")
    of_one = [getattr(dataset_tables, name)(shown.about) for name in names]
    return [getattr(dataset_tables, name)(shown) for name in ("counts", "texts", "splits", "released")] + of_one


def test_tables_have_a_stamp_and_full_rows():
    odd = {"oddities": pd.DataFrame({"what": ["dust", "dust"], "done": ["kept", "kept"]})}
    here = source()
    for shown in all_tables(sources(replace(here, tables=measure(here.dataset, odd)))):
        for table in re.findall(r"<table.*?</table>", shown.source):
            assert "efa-stamp" in shown.source
            assert "efa data statistics mine" in shown.source
            rows = [len(re.findall(r"<t[hd][ >]", row)) for row in re.findall(r"<tr>.*?</tr>", table)]
            assert len(set(rows)) == 1 < len(rows), shown.text


def test_tables_1_and_2_compare_with_the_paper():
    shown = sources(source())
    text = dataset_tables.counts(shown).text
    for line in (
        "clips | 6 | 6 as in the paper | 6",
        "explanations | 9 | 6 paper: 9 | 6",
        "workout types | – | 1 | 1",
    ):
        assert line in text
    assert "The paper's numbers, from: a book." in text
    assert "-3.2 %" in dataset_tables.texts(shown).text
    far = Sources(shown.about, (), PAPER.assign(value=30.0))
    for given, near, distance in ((shown, True, "Within 5% of"), (far, False, "Further than 5% from")):
        assert dataset_tables.near_paper(given) == {"words a text": near}
        assert f"{distance} the paper: words a text." in dataset_tables.texts(given).text


def test_tables_without_explanations():
    silent = sources(source(explanation=""))
    for table in (dataset_tables.definitions, dataset_tables.cues):
        assert "has no explanations" in table(silent.about).text
    assert "FormSim" in dataset_tables.texts(silent).text  # which has some
    assert dataset_tables.texts(Sources(silent.about, (), PAPER)).text == "No data set here has an explanation."
    assert dataset_figures.words(silent.about) is dataset_figures.vocabulary(silent) is None
    assert "mine has nothing to draw here" in dataset_figures.show_figure(None, [silent.about], "alt", "").text


def test_text_from_data_is_escaped():
    rows = [row | {"type": NASTY, "explanation": f"Bad because {NASTY}"} for row in manifests.records()]
    made = make_dataset(rows, manifests.STEPS)
    odd = pd.DataFrame({"what": [NASTY], "done": [NASTY]})
    about = Source(NASTY, measure(made, {"oddities": odd}), NASTY, NASTY, made)
    figure = dataset_figures.show_figure(dataset_figures.lexicon(about), [about], NASTY, NASTY)
    assert all(NASTY not in shown.source for shown in [*all_tables(sources(about)), figure])


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_lexicon_names_actions_of_a_data_set_at_hand():
    here = source()
    named, bare = dataset_figures.lexicon(here), dataset_figures.lexicon(Source("x", here.tables, "", ""))
    assert {"lunge", "squat", "leg"} <= set(labels(named))
    assert not {"lunge", "squat"} & set(labels(bare))
    assert "manual\n2 actions\n6 clips" in labels(bare)
    assert html.show(named, "alt").source == html.show(dataset_figures.lexicon(here), "alt").source


def test_sunburst_sectors_are_proportional():
    ax = Figure().subplots()
    parts = [Sector("a1", 1, (), 0.5), Sector("a2", 2)]
    dataset_figures.draw_sunburst(ax, "t", [Sector("a", 3, parts), Sector("b", 1)])
    widths = {(p.r, round(p.theta2 - p.theta1)) for p in ax.patches}
    assert widths == {(0.76, 270), (0.76, 90), (1.0, 90), (0.88, 90), (1.0, 180)}
    ax = Figure().subplots()
    dataset_figures.draw_sunburst(ax, "t", [Sector("a", 3, group="fitness"), Sector("b", 1, group="martial arts")])
    widths = {(p.r, round(p.theta2 - p.theta1)) for p in ax.patches}
    assert widths == {(0.37, 270), (0.37, 90), (0.76, 270), (0.76, 90)}


def test_the_innermost_ring_separates_martial_arts():
    arts, none = (dataset_figures.lexicon(source(type=kind)) for kind in ("Southern Staff", "leg"))
    assert [text.get_text() for text in arts.legends[0].get_texts()] == ["fitness", "martial arts"]
    assert none.legends == []


def test_vocabulary_shows_curve_estimate_and_paper():
    draw = np.random.RandomState(0)
    rows = [manifests.records()[i % 6] | {"clip_id": f"c{i}", "path": f"{i}.mp4"} for i in range(240)]
    for i, row in enumerate(rows):
        row["explanation"] = " ".join(f"w{n}" for n in draw.zipf(1.5, 20) % 900) if i % 2 else ""
    about = Source("mine", measure(make_dataset(rows, manifests.STEPS)), "", "")
    paper = pd.DataFrame([("I", "texts", 240, "x"), ("II", "vocabulary", 700, "x")], columns=PAPER.columns)
    figure = dataset_figures.vocabulary(Sources(about, (), paper))
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert sorted(legend) == ["if every clip had a text", "mine, its texts in random orders", "the paper"]
    assert "Heaps' law" in dataset_tables.texts(Sources(about, (), paper)).text


def test_pipeline_is_the_papers_and_marks_missing_numbers():
    first, second = (dataset_figures.pipeline(sources(source())) for _ in range(2))
    text = labels(first)
    assert html.show(first, "alt").source == html.show(second, "alt").source
    said = ("prompt template", "Gemini 2.0", "quality label", "VideoChat", "Qwen2.5-VL", "eight experts")
    assert all(any(part in one for one in text) for part in said)
    assert "6 explanations,\ntrue fault known" in text
    assert "explanations:\n– are released" in text


def test_formsim_examples_follow_the_rule(home: Path):
    about = dataset_sources.load_sources(preset="smoke").find("FormSim")
    shown = dataset_figures.find_examples(about, size=16)
    assert not shown.problem
    clips = about.dataset.table.set_index("clip_id").loc[list(shown.clips)]
    assert set(clips["action"]) == {shown.action}
    frames = [one for pair in shown.rows.values() for one in pair if one is not None]
    assert len(frames) == len(clips)
    assert {one.shape for one in frames} == {(dataset_figures.FRAMES_SHOWN, 16, 16, 3)}
    assert len(shown.faults) == (clips["quality"] == 1).sum() > 0
    assert dataset_figures.RULE in shown.caption
    figure = dataset_figures.views(shown)
    assert {ax.get_ylabel() for ax in figure.axes} - {""} == set(shown.rows)


def folder_of_frames(folder: Path) -> Path:
    """A data set whose videos are folders of images: two actions, two views, both verdicts."""
    rows = []
    for i, (action, view, quality) in enumerate(product(("squat", "lunge"), ("front", "side"), (0, 1))):
        place = folder / "frames" / f"c{i}"
        place.mkdir(parents=True)
        for t in range(6):
            Image.fromarray(np.full((24, 24, 3), 20 * i + t, np.uint8)).save(place / f"{t}.png")
        row = {"clip_id": f"c{i}", "path": f"frames/c{i}", "action": action, "quality": quality, "split": "train"}
        rows.append(row | {"view": view, "mode": "manual", "type": "leg", "explanation": ""})
    return manifests.write(folder, rows)


def test_examples_and_contact_sheet_of_own_videos(tmp_path: Path, home: Path):
    folder = folder_of_frames(tmp_path / "own")
    shown = dataset_sources.load_sources(str(folder), "smoke")
    assert [one.name for one in shown.all] == ["own", "FormSim"]
    found = dataset_figures.find_examples(shown.about, size=24)
    assert found.problem == ""
    assert (found.action, found.clips) == ("lunge", ["c4", "c5", "c6", "c7"])
    assert list(found.rows) == ["front", "side"]
    assert int(found.rows["side"][1].mean()) // 20 == 7
    sheet = dataset_figures.save_contact_sheet(folder, tmp_path / "sheet.png", size=16)
    assert Image.open(sheet).size == (4 * 2 * 16 + 2, 2 * 16)
    assert not dataset_figures.views(dataset_figures.Examples())
    shutil.rmtree(folder / "frames")
    about = dataset_sources.load_sources(str(folder), "smoke").about
    assert "no videos to show" in dataset_figures.find_examples(about).problem
    bare = Source("CoT-AFA", about.tables, "", "")
    assert "only its numbers are published" in dataset_figures.find_examples(bare).problem


def test_without_published_numbers_formsim_is_shown(tmp_path: Path, home: Path):
    shown = dataset_sources.load_sources(preset="smoke")
    assert shown.about.name == "FormSim"
    assert shown.paper.empty
    assert "clips | – | " in dataset_tables.counts(shown).text
    assert set(shown.about.tables) <= set(TABLES)
    own = dataset_sources.load_sources(str(manifests.write(tmp_path / "FormSim")), "smoke")
    assert [one.name for one in own.all] == ["FormSim (yours)", "FormSim"]


def test_ui_prmd_contact_sheet_is_small():
    file = Path(__file__).resolve().parents[1] / "book" / "_static" / "ui-prmd.png"
    assert file.stat().st_size < 400_000
    assert Image.open(file).size == (8 * 104 + 13, 10 * 104)


@pytest.mark.slow
def test_the_notebook_runs_on_any_manifest(tmp_path: Path):
    from test_notebooks import ROOT, output_of, papermill

    folder = folder_of_frames(tmp_path / "own")
    shown = papermill("dataset.ipynb", tmp_path / "1.ipynb", tmp_path, ROOT, dataset=str(folder), preset="smoke")
    assert "own" in output_of(shown, "table-1")
    assert output_of(shown, "figure-3").startswith("<style>")
