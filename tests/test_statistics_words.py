"""Words, sentences, cues, lexicon and vocabulary growth: made-up texts, properties, and the metrics' own tokenizer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from efa_datasets import wording
from efa_datasets.wording import CUES, SENTENCES, WORDS, extrapolate, growth_curves, lexicon, sentences, tokens

HARD = [
    "The athlete's knees don't track over the toes, which can lead to injury (e.g. a sprain).",
    "He can't hold a shoulder-width stance; he cannot bend to 90 degrees, or 1.5 times as far!",
    "It’s 5-10 % too wide: they'd narrow it, I'm sure. Is it 1,000 kg?",
    'The back ("spine") rounds - so does the neck.',
    "",
]


def test_tokens_are_those_of_the_caption_metrics():
    from efa.metrics.captions import tokenize

    theirs = [[word for word in line.split() if word not in ("-lrb-", "-rrb-", "%")] for line in tokenize(HARD)]
    assert [tokens(text) for text in HARD] == theirs


def test_tokens_of_a_sentence_with_everything():
    assert " ".join(tokens("The knee's bent, isn't it? (90-degree)")) == "the knee 's bent is n't it 90-degree"
    assert tokens("Bad form.", punctuation=True) == ["bad", "form", "."]
    assert tokens("CAFÉ don’t") == ["café", "do", "n't"]


@pytest.mark.parametrize(("text", "count"), [
    ("One. Two! Three?", 3), ("About 1.5 times the width.", 1),
    ("Wide, e.g. at 1.5 m, i.e. too wide etc. and so on. Mend it.", 2), ("It holds etc. The knee bends.", 2),
    ("Mend it: 1. narrow the grip 2. brace the core. Then lift.", 2), ("The action is bad.The knee bends.", 2),
    ('He stops ("early."). Then he goes on...', 2), ("No end", 1), (" . ", 0), ("", 0),
])  # fmt: skip
def test_sentences_survive_decimals_abbreviations_and_lists(text, count):
    assert len(sentences(text)) == count


@given(st.text())
def test_splitters_take_any_text_and_lose_no_word(text):
    joined = [word for part in sentences(text) for word in part if word.isalnum()]
    assert joined == [char for char in text if char.isalnum()]
    assert all(part == part.strip() for part in sentences(text))
    for split in (*WORDS.values(), *SENTENCES.values()):
        assert all(split(text))


PLAIN = st.lists(st.sampled_from(["squat", "knee", "hip", "bends"]), min_size=1, max_size=8)


@given(st.lists(PLAIN, min_size=1, max_size=5))
def test_plain_words_count_the_same_by_every_definition(parts):
    text = " ".join(f"{' '.join(words).capitalize()} end." for words in parts)
    total = sum(len(words) + 1 for words in parts)
    assert len(tokens(text)) == len(text.split()) == total
    assert len(WORDS["runs of letters and digits, hyphens split"](text)) == total
    assert len(tokens(text, punctuation=True)) == total + len(parts)
    assert {len(split(text)) for split in SENTENCES.values()} == {len(parts)}


def test_cues_are_whole_words_the_longest_first():
    pattern = wording.cue_pattern(["lead* to", "lead* to injury", "since"])
    found = pattern.findall("leading to injury, sincere, leads  to pain since")
    assert found == ["leading to injury", "leads  to", "since"]
    assert all(set(lists["narrow"]) < set(lists["wide"]) for lists in CUES.values())


def test_cue_numbers_of_two_texts():
    texts = ["It is bad because it leads to pain. Because. To improve, she should stop.", "Good."]
    rates = {(what, measure, name): value for what, measure, name, value in wording.cue_rates(texts)}
    expected = {
        ("reasoning", "occurrences a text", "narrow"): 1.0,  # twice 'because' in two texts
        ("reasoning", "occurrences a text", "wide"): 1.5, ("reasoning", "sentences a text", "wide"): 1.0,
        ("reasoning", "share of texts", "wide"): 0.5, ("suggestion", "occurrences a text", "narrow"): 0.5,
        ("suggestion", "occurrences a text", "wide"): 1.0,
    }  # fmt: skip
    assert {key: rates[key] for key in expected} == expected
    table = wording.cue_table(texts).set_index(["what", "cue"])
    assert table.loc[("reasoning", "because"), ["texts", "occurrences"]].tolist() == [1, 2]
    assert table.loc[("reasoning", "lead* to"), "list"] == "wide"
    assert wording.cue_rates([]) == []


def test_the_lexicon_pairs_a_cue_with_what_follows_in_its_clause():
    texts = [
        "He should slowly focus on the grip, not the knee.",
        "She should focus on her grip.",
        "Bad, leading to pain.",
    ]
    found = lexicon(texts).set_index(["what", "parent", "word"])["texts"].to_dict()
    assert found == {
        ("reasoning", "lead* to", ""): 1, ("reasoning", "lead* to", "pain"): 1, ("suggestion", "focus", ""): 2,
        ("suggestion", "focus", "grip"): 2,
    }  # fmt: skip
    assert lexicon([]).empty
    assert lexicon(texts * 3, heads=1, words=0)["word"].tolist() == ["", ""]


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), min_size=1, max_size=12))
def test_a_growth_curve_rises_to_the_vocabulary(words):
    curves = growth_curves(words, orders=5)
    assert curves.shape == (5, len(words))
    assert (np.diff(curves, axis=1) >= 0).all()
    assert (curves[:, -1] == len({word for text in words for word in text})).all()
    assert set(curves[:, 0]) <= {len(set(text)) for text in words}
    assert np.array_equal(curves, growth_curves(words, orders=5))


def _zipf(count: int) -> list[list[int]]:
    draw = np.random.RandomState(0)
    return [list(draw.zipf(1.6, size=30) % 5000) for _ in range(count)]


def test_extrapolation_finds_the_held_out_vocabulary():
    everything = _zipf(1500)
    found = extrapolate(growth_curves(everything[:700], orders=50), 1500)
    truth = len({word for text in everything for word in text})
    assert found is not None
    assert found.low < found.words < found.high
    assert found.low <= truth <= found.high
    assert 0 < found.beta < 1


def test_nothing_is_extrapolated_from_few_texts_or_to_none():
    assert extrapolate(growth_curves(_zipf(99), 3), 500) is None
    assert extrapolate(growth_curves(_zipf(120), 3), 120) is None
    assert extrapolate(growth_curves([], 3), 120) is None
