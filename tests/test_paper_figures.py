"""The paper's seven figures have their counterparts in the book, and Figures 5 and 6 show the model that is there."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from reported import made, predictions

from efa.config import build
from efa_book import architecture, dataset_figures, qualitative

ROOT = Path(__file__).resolve().parents[1]
INDEX = (ROOT / "book" / "method.md").read_text().partition("## The paper's figures and their counterparts here")[2]


def counterparts() -> dict[str, str]:
    """Label of a figure -> what follows it in its notebook, code of the cells as well, up to the next heading."""
    found = {}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        last = ""
        text = "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text())["cells"])
        for section in re.split(r"^(?=\(figure-\d\)=\n|## )", text, flags=re.MULTILINE):
            if label := re.match(r"\((figure-\d)\)=\n", section):
                assert label[1] not in found, f"{label[1]} stands twice"
                last = label[1]
                found[last] = ""
            elif last:
                found[last], last = section, ""
    return found


def missing(places: dict[str, str]) -> list[str]:
    """Figures whose link in the index leads nowhere, or to no picture with a caption and an alternative text."""
    links = dict(re.findall(r"\{ref\}`Figure (\d) <(figure-\d)>`", INDEX))

    def complete(number: str) -> bool:
        place = places.get(links.get(number, ""), "")
        captioned = f"Counterpart of the paper's Figure {number}" in place and "caption" in place
        return captioned and ("alt = " in place or "qualitative.figure_7" in place)

    return [number for number in "1234567" if not complete(number)]


def test_seven_figures_of_seven_have_a_counterpart():
    assert missing(counterparts()) == []


@pytest.mark.parametrize("label", [f"figure-{number}" for number in range(1, 8)])
def test_a_figure_that_is_gone_is_noticed(label):
    places = counterparts()
    assert missing({name: text for name, text in places.items() if name != label}) == [label[-1]]
    assert missing(places | {label: places[label].replace("Counterpart", "")}) == [label[-1]]


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for ax in figure.axes for text in ax.texts)


def drawn(preset: str = "laptop", **settings: object) -> tuple[str, str]:
    """The texts of Figures 5 and 6; settings with '__' in place of the dot."""
    config = build(preset, {name.replace("__", "."): value for name, value in settings.items()})
    traced = architecture.trace(config, actions=34, words=1000, text_dim=384)
    assert all(parameter.is_meta for parameter in traced.model.parameters())
    return texts(architecture.overview(traced)), texts(architecture.fusion(traced))


def test_the_architecture_has_the_models_shapes():
    whole, fusion = drawn()
    for text in (
        "[6, 3, 64, 64]",
        "[24, 192]",
        "[5, 384]",
        "[1, 384]",
        "[24, 128]",
        "1152 → 256 → 128 → 34",
        "[128, 1000]",
    ):
        assert text in whole
    for text in ("from [24, 192]", "heads: 4\n$Q$ [1, 128]\n$K, V$ [24, 128]", "$W_g$ [256, 128]", "$\\sigma_4$ [128]"):
        assert text in fusion
    whole, fusion = drawn("paper")
    assert "$F_v$ [294, 1024]\n6 × 7 × 7 patches" in whole
    assert "bert-base-uncased" in whole
    assert "heads: 12\n$Q$ [294, 768]\n$K, V$ [5, 768]" in fusion


def test_the_architecture_follows_the_settings():
    whole, fusion = drawn(fusion__step_branch=False)
    assert "F_t^s" not in whole
    assert "gate" not in fusion
    assert "Attn$_3$" not in fusion
    assert "Attn$_2$" in fusion
    _, fusion = drawn(fusion__merge="add")
    assert "sum" in fusion
    assert "gate" not in fusion
    assert "concatenation,\nlinear [256, 128]" in drawn(fusion__merge="concatenate")[1]
    whole, fusion = drawn(data__frames=8)
    assert "[8, 3, 64, 64]" in whole
    assert "8 × 2 × 2 patches" in whole
    assert "$F_v$ [32, 128]" in fusion
    assert "Attn$_1$" not in drawn(fusion__query="video")[1]
    assert "Attn$_4$" not in drawn(fusion__query="text")[1]
    assert "$\\sigma_1$ scalar" in drawn(fusion__sigma_shape="scalar", fusion__residual="released")[1]
    assert "learnt vectors" in drawn(fusion__text="none")[0]


def test_the_class_is_drawn_from_where_it_is_read(monkeypatch):
    monkeypatch.setattr(architecture, "diagram", lambda boxes, arrows: arrows)
    for source, features in (("video", "F_v"), ("two_pass", "F_f"), ("true_text", "F_f")):
        config = build("laptop", {"fusion.class_from": source})
        arrows = architecture.overview(architecture.trace(config, 34, 1000, 384))
        assert [start for start, end, _ in arrows if end == "MLP_c"] == [features]


def test_faulty_limbs_are_marked_in_the_faulty_clip_alone():
    for pair in dataset_figures.find_forms(96).rows.values():
        red = [(frames == dataset_figures.RED).all(-1).any() for frames in pair]
        assert red == [False, True]
        assert all((frames == dataset_figures.GREEN).all(-1).any() for frames in pair)


def test_figure_7_takes_the_first_clip_of_its_action_and_label(tmp_path):
    table = predictions(12).assign(action=["Seated Cable Row", "Barbell Bent-Over Row"] * 6, quality=[1, 1, 0, 0] * 3)
    file = tmp_path / "p.parquet"
    table.sample(frac=1, random_state=0).to_parquet(file)
    results = made({"EFA": {0: 50.0}}, predictions={("EFA", 0): file})
    shown = qualitative.figure_7(results).text
    assert "Seated Cable Row, non-standard: clip clip-000;" in shown
    assert "Barbell Bent-Over Row, standard: clip clip-003;" in shown
    assert "not trained yet" not in shown
    pd.read_parquet(file).query("quality == 0").to_parquet(tmp_path / "q.parquet")
    shown = qualitative.figure_7(made({"EFA": {0: 50.0}}, predictions={("EFA", 0): tmp_path / "q.parquet"})).text
    assert "Seated Cable Row, non-standard: not trained yet." in shown
    assert qualitative.figure_7(made({"EFA": {0: 50.0}})).text.count("not trained yet") == 2
