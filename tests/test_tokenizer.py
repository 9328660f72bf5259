"""Words to numbers and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import formsim
from efa.baselines.inputs import word_pieces
from efa.config import TextConfig
from efa.data.tokenizer import SPECIAL, Tokenizer, spelling_of

TEXTS = [str(formsim.record(clip)["explanation"]) for clip in formsim.clips("main", 90, 1)]
WORDS = sorted({word for text in TEXTS for word in text.split()})
ANY_TEXT = st.lists(st.sampled_from(WORDS) | st.text(max_size=10), max_size=12).map(" ".join)


@pytest.fixture(scope="module")
def full() -> Tokenizer:
    return word_pieces(TextConfig(model="minilm"))


def pieces_of(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.pieces[i] for i in tokenizer.encode(text, 1000)]


@pytest.mark.parametrize("name", ["full", "pruned"])
def test_explanations_survive_there_and_back(full, name):
    tokenizer = full if name == "full" else full.pruned(TEXTS)
    for text in TEXTS:
        back = tokenizer.decode(tokenizer.encode(text, 300))
        assert back.lower() == text.lower()  # spaces included
        assert back[0].isupper()


@given(st.lists(st.sampled_from(TEXTS) | ANY_TEXT, min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_pruning_keeps_the_tokens_of_its_texts(full, texts):
    few = full.pruned(texts)
    assert len(few) < len(full)
    assert (few.pieces[0], few.pad) == ("[PAD]", 0)
    assert set(SPECIAL) <= set(few.pieces)
    assert all(pieces_of(few, text) == pieces_of(full, text) for text in texts)
    assert few.pruned(texts).pieces == few.pieces


@given(st.text(max_size=60), st.integers(2, 12))
@settings(deadline=None, max_examples=60)
def test_a_caption_begins_ends_and_is_never_too_long(full, text, limit):
    ids = full.encode(text, limit)
    assert (ids[0], ids[-1]) == (full.begin, full.end)
    assert len(ids) <= limit
    whole = full.encode(text, 1000)
    assert ids[:-1] == whole[: len(ids) - 1]


def test_a_batch_is_padded_and_an_empty_text_carries_no_loss(full):
    batch = full.batch([TEXTS[0], "  ", "the knees"], 300)
    assert batch.shape == (3, len(full.encode(TEXTS[0], 300)))
    assert (batch[1] == full.pad).all()
    assert batch[2, :4].tolist() == full.encode("the knees", 300)
    assert (batch[2, 4:] == full.pad).all()
    assert full.batch([], 300).shape[0] == 0
    assert full.batch([""], 300).shape == (1, 1)


def test_decode_skips_unknown_and_special_pieces(full):
    few = full.pruned(["the knees"])
    assert few.unknown in few.encode("zebra", 9)
    assert few.decode([few.begin, few.unknown, few.end, few.pad]) == ""
    again = few.decode(few.encode("the knees . the knees", 20))
    assert again in ("The knees", "The knees. The knees", "The knees the knees")


def test_vocabulary_file_round_trip_and_special_pieces(full, tmp_path):
    assert full.pieces.index("[CLS]") == 101  # BERT's
    assert len(set(full.pieces)) == len(full)
    few = full.pruned(TEXTS)
    few.save(tmp_path / "vocab.txt")
    assert Tokenizer.from_file(tmp_path / "vocab.txt").pieces == few.pieces
    with pytest.raises(ValueError, match=r"\[SEP\]"):
        Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[MASK]", "knee"])


def test_words_with_accents_come_back_as_they_were_written(full):
    texts = ["Die Übung ist gut, das Déjà-vu für die Füße auch.", "Eine Übung, keine Uebung. Resume, resumé, resume."]
    tokenizer = Tokenizer(full.pruned(texts).pieces, spelling_of(texts))
    assert tokenizer.decode(tokenizer.encode(texts[0], 100)) == texts[0]
    assert tokenizer.decode(tokenizer.encode("resumé", 9)) == "Resume"  # mostly without
    assert spelling_of(TEXTS) == {}
