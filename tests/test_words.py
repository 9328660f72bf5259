"""Pre-trained words of the captioners: matched by word piece, refused where they do not fit, frozen on demand."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from stand_ins import make_system

from efa.baselines.base import ROWS, System, language_weights, load_text
from efa.utils.errors import InputError

KNOWN = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hip", "knee", "bar"]
OWN = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "bar", "rope", "hip"]


def make(name: str, seed: int, words: int = len(KNOWN)) -> System:
    return make_system(name, False, 3, {}, seed, vocabulary_size=words, mask_id=4)


def saved(system: System, folder: Path, pieces: list[str]) -> Path:
    state = {key: value.clone().contiguous() for key, value in language_weights(system.text_decoder).items()}
    save_file(state, folder / "words.safetensors")
    (folder / "words.txt").write_text("\n".join(pieces) + "\n")
    return folder / "words.safetensors"


@pytest.mark.parametrize("name", ["C3DAVG", "SwinBERT"])
def test_words_load_by_piece_and_video_parts_stay(name, tmp_path):
    source, target = make(name, 0), make(name, 1)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    load_text(target.text_decoder, saved(source, tmp_path, KNOWN), OWN)
    theirs, side = language_weights(source.text_decoder), language_weights(target.text_decoder)
    words = f"{target.TEXT_DECODER}.word.weight"
    assert torch.equal(side["word.weight"][[5, 7]], theirs["word.weight"][[7, 5]])  # 'bar', 'hip'
    assert torch.equal(side["word.weight"][6], before[words][6])  # 'rope' is not known there
    assert all(torch.equal(side[key], theirs[key]) for key in side if key not in ROWS)
    video = [key for key in before if not key.startswith(f"{target.TEXT_DECODER}.")]
    assert video
    assert all(torch.equal(target.state_dict()[key], before[key]) for key in video)


@pytest.mark.parametrize(("pieces", "lacking"), [(KNOWN, 0), (OWN, 1), (KNOWN[:5], 0)])
def test_missing_pieces_are_counted(tmp_path, pieces, lacking):
    """The last: a data set without explanations leaves the five special pieces only."""
    decoder = make("C3DAVG", 1, len(pieces)).text_decoder
    assert load_text(decoder, saved(make("C3DAVG", 0), tmp_path, KNOWN), pieces) == lacking


def test_words_that_do_not_fit_change_nothing(tmp_path):
    file, target = saved(make("SwinBERT", 0), tmp_path, KNOWN), make("C3DAVG", 1)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    for pieces, words in ((OWN, "do not fit"), (["[PAD]", "elbow"], "share no word piece")):
        with pytest.raises(InputError, match=words):
            load_text(target.text_decoder, file, pieces)
    with pytest.raises(InputError, match="no such file"):
        load_text(target.text_decoder, tmp_path / "none.safetensors", OWN)
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


@pytest.mark.parametrize("name", ["C3DAVG", "SwinBERT"])
def test_frozen_words_stay_and_video_parts_learn(name):
    system = make(name, 0)
    system.freeze_text()
    assert not system.text_decoder.word.weight.requires_grad
    learning = {key for key, parameter in system.text_decoder.named_parameters() if parameter.requires_grad}
    assert any("language" in key or "layers" in key for key in learning)
