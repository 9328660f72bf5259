"""Single clips by rule: which kind a clip is of, what is marked, and that texts stay texts."""

import ast
import html as standard
import json
import re
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reported import NASTY, made, predictions

from efa_book import qualitative
from efa_book.examples import SHARED, mark_shared

CELLS = json.loads((Path(__file__).parents[1] / "notebooks" / "qualitative.ipynb").read_text())["cells"]
(SOURCE,) = ("".join(cell["source"]) for cell in CELLS if cell["id"] == "kinds")
KINDS = ast.literal_eval(SOURCE.partition("KINDS = ")[2])
WORDS = st.lists(
    st.sampled_from(["the", "bar", "tilts", "in", "step", "two", "knees", "cave", "back", "rounds"]), max_size=30
).map(" ".join)


class Parser:
    """Names the fault whose id stands in the text."""

    @staticmethod
    def faults(text: str, action: str) -> set[str]:
        return set(re.findall(r"\w+/\w+", text))


@pytest.fixture(autouse=True)
def _parser(monkeypatch):
    monkeypatch.setattr(qualitative, "fault_parser", lambda results: Parser())


def results(tmp_path, table=None, **changes):
    (predictions(14) if table is None else table).assign(**changes).to_parquet(tmp_path / "p.parquet")
    return made({"EFA": {0: 50.0}}, predictions={("EFA", 0): tmp_path / "p.parquet"})


CASES = [*product([1], [0.9, 0.1], ["Squat/shallow", "Squat/fast", "all well"])]  # true fault: Squat/shallow
CASES += product([0], [0.1, 0.9], ["all well", "Squat/fast"])


@pytest.mark.parametrize(("case", "kind"), [*zip(CASES, [0, 1, 1, 2, 3, 3, 4, 5, 6, 6], strict=True)])
def test_every_clip_is_of_one_kind_of_the_page(tmp_path, case, kind):
    quality, prob, text = case
    fault = "Squat/shallow" if quality else ""
    clips = qualitative.outcomes(results(tmp_path, quality=quality, quality_prob=prob, explanation=text, fault=fault))
    assert [len(clips.query(asked)) for asked in KINDS.values()] == [14 * (i == kind) for i in range(len(KINDS))]


def test_choice_ignores_scores_and_order(tmp_path):
    one = qualitative.outcomes(results(tmp_path))["clip_id"].tolist()
    table = pd.read_parquet(tmp_path / "p.parquet").sample(frac=1, random_state=1)
    changed = results(tmp_path, table, quality_prob=table["quality_prob"].clip(0.01, 0.99))
    assert qualitative.outcomes(changed)["clip_id"].tolist() == one != sorted(one)


@given(WORDS, WORDS)
def test_marking_keeps_words_and_is_symmetric(first, second):
    out = mark_shared(first, second)
    for text, shown in zip((first, second), out, strict=True):
        assert standard.unescape(re.sub("</?mark>", "", shown)) == text
    marked = [re.findall("<mark>(.*?)</mark>", shown) for shown in out]
    assert marked[0] == marked[1]
    assert all(len(phrase.split()) >= SHARED for phrase in marked[0])


def test_phrases_ignore_case_and_punctuation():
    first, second = mark_shared("In step two, the bar tilts.", "However, in step two the bar tilts because")
    assert "<mark>In step two, the bar tilts.</mark>" in first
    assert "<mark>in step two the bar tilts</mark>" in second


def test_texts_are_escaped(tmp_path):
    found = results(tmp_path, explanation=NASTY, reference=NASTY)
    source = qualitative.show_first(found, qualitative.outcomes(found)).source
    assert "<img" not in source
    assert "&lt;img" in source
    assert "onerror" in standard.unescape(source)


def test_without_predictions():
    clips = qualitative.outcomes(made({"EFA": {0: 50.0}}))
    assert [len(clips.query(asked)) for asked in KINDS.values()] == [0] * len(KINDS)
    assert "No clip is of this kind" in qualitative.show_first(made({"EFA": {0: 50.0}}), clips).source
