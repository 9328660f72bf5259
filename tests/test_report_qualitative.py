"""Single clips by rule: which kind a clip is of, what is marked, and that texts stay texts."""

import html as standard
import re
from itertools import product

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reported import NASTY, made, predictions

from efa_book import qualitative
from efa_book.examples import SHARED, mark_shared
from efa_book.qualitative import KINDS

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
def test_every_clip_is_of_one_kind(tmp_path, case, kind):
    quality, prob, text = case
    fault = "Squat/shallow" if quality else ""
    found = qualitative.kinds(results(tmp_path, quality=quality, quality_prob=prob, explanation=text, fault=fault))
    assert {one.title: one.count for one in found} == dict.fromkeys(KINDS, 0) | {KINDS[kind]: 14}


def chosen(found):
    return [kind.clip["clip_id"] for kind in qualitative.kinds(found) if kind.clip is not None]


def test_choice_ignores_scores_and_order(tmp_path):
    one = chosen(results(tmp_path))
    table = pd.read_parquet(tmp_path / "p.parquet").sample(frac=1, random_state=1)
    changed = results(tmp_path, table, quality_prob=table["quality_prob"].clip(0.01, 0.99))
    assert chosen(changed) == one


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
    kind = next(one for one in qualitative.kinds(found) if one.clip is not None)
    source = qualitative.show_kind(found, kind).source
    assert "<img" not in source
    assert "&lt;img" in source
    assert "onerror" in standard.unescape(source)


def test_without_predictions():
    found = qualitative.kinds(made({"EFA": {0: 50.0}}))
    assert [(kind.count, kind.clip) for kind in found] == [(0, None)] * len(qualitative.KINDS)
    assert "No results yet" in qualitative.kinds_table(found).source
    assert "No clip of this kind" in qualitative.show_kind(made({"EFA": {0: 50.0}}), found[0]).source
