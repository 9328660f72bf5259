"""The decoder and its beam search against transformers' BERT, and its cache against no cache."""

import re

import pytest
import tiny
import torch
from transformers import BertConfig, BertLMHeadModel, BertModel

from efa.baselines.registry import build_system
from efa.config import DecoderConfig
from efa.model.decoder import Decoder, _Cache, beam_search, load_bert
from efa.utils.errors import InputError

V, DIM = 50, 24


def tiny_config(**changes):
    return DecoderConfig(**({"dim": DIM, "depth": 3, "heads": 4, "dropout": 0.0, "max_tokens": 16} | changes))


def bert(cls=BertLMHeadModel, seed=0, **changes):
    torch.manual_seed(seed)
    sizes = {"vocab_size": V, "hidden_size": DIM, "num_hidden_layers": 3, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 4 * DIM, "max_position_embeddings": 20, "initializer_range": 0.3} | changes
    decoder = {"is_decoder": True, "add_cross_attention": True} if cls is BertLMHeadModel else {}
    return cls(BertConfig(**sizes, **decoder)).eval()


def busy(decoder):
    """Weights large enough that texts differ."""
    torch.manual_seed(3)
    for p in decoder.parameters():
        torch.nn.init.normal_(p, std=0.4) if p.dim() > 1 else None
    return decoder.eval()


def test_equals_bert_with_the_same_weights():
    theirs, ours = bert(), Decoder(tiny_config(), V, DIM).eval()
    copied = load_bert(ours, theirs.state_dict())
    assert set(copied) == set(ours.state_dict())
    tokens, memory = torch.randint(0, V, (2, 9)), torch.randn(2, 5, DIM)
    with torch.no_grad():
        expected = theirs(input_ids=tokens, encoder_hidden_states=memory).logits
        torch.testing.assert_close(ours(tokens, memory), expected, atol=1e-5, rtol=1e-5)


def test_the_names_of_old_checkpoint_files_are_understood():
    state = bert().state_dict()
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {re.sub(r"LayerNorm\.\w+", lambda found: names[found[0]], name): value for name, value in state.items()}
    assert set(old) != set(state)
    ours = Decoder(tiny_config(), V, DIM)
    assert set(load_bert(ours, old)) == set(ours.state_dict())


def test_takes_what_fits_of_a_larger_bert():
    theirs, kept = bert(BertModel), [0, 7, 3, 49]
    ours = Decoder(tiny_config(depth=2), len(kept), memory_dim=10)
    copied = load_bert(ours, theirs.state_dict(), kept)
    torch.testing.assert_close(ours.word.weight[3], theirs.embeddings.word_embeddings.weight[49])
    positions = theirs.embeddings.position_embeddings.weight[:16] + theirs.embeddings.token_type_embeddings.weight[0]
    torch.testing.assert_close(ours.position.weight, positions)
    torch.testing.assert_close(ours.layers[1].up.weight, theirs.encoder.layer[1].intermediate.dense.weight)
    assert not any("cross" in name or name.startswith(("transform", "bias", "memory_in")) for name in copied)
    assert not any(name.startswith("layers.2") for name in copied)
    assert load_bert(Decoder(tiny_config(dim=32), V, 32), theirs.state_dict()) == []  # nothing fits: nothing is copied


def test_causal_and_conditioned_on_memory():
    decoder = busy(Decoder(tiny_config(), V, 10))
    tokens, memory = torch.randint(0, V, (2, 8)), torch.randn(2, 5, 10)
    before = decoder(tokens, memory)
    assert before.shape == (2, 8, V)
    tokens[:, 5:] = 1
    after = decoder(tokens, memory)
    torch.testing.assert_close(before[:, :5], after[:, :5])
    assert (before[:, 5:] - after[:, 5:]).abs().max() > 1e-3
    assert (decoder(tokens, memory.flip(0)) - after).abs().max() > 1e-3


def test_texts_end_at_eos_or_at_the_limit():
    decoder = busy(Decoder(tiny_config(), V, 10))
    memory = torch.randn(4, 5, 10)
    endless = decoder.generate(memory, bos=1, eos=V - 1, max_tokens=99)
    assert all(len(text) <= 16 for text in endless)
    assert [text[:4] for text in endless] == decoder.generate(memory, 1, V - 1, 4)
    eos = endless[0][2]  # a token the first row does write: it must stop there, the others must not mind
    for text, full in zip(decoder.generate(memory, 1, eos, 16), endless, strict=True):
        assert text == (full[: full.index(eos)] if eos in full else full)


def test_generate_stops_early(monkeypatch):
    decoder = Decoder(tiny_config(), V, 10).eval()
    with torch.no_grad():
        decoder.bias[2] = 100.0  # eos at once
    calls, embed = [], decoder.embed
    monkeypatch.setattr(decoder, "embed", lambda tokens, start: calls.append(start) or embed(tokens, start))
    assert decoder.generate(torch.randn(3, 5, 10), 1, 2, 16) == [[], [], []]
    assert calls == [0]


@pytest.mark.parametrize("memory_dim", [10, DIM])
def test_every_parameter_learns(memory_dim):
    decoder = Decoder(tiny_config(), V, memory_dim)
    logits = decoder(torch.randint(0, V, (2, 16)), torch.randn(2, 5, memory_dim))
    logits.square().sum().backward()
    assert all(p.grad is not None for p in decoder.parameters())
    assert isinstance(decoder.memory_in, torch.nn.Identity) == (memory_dim == DIM)


def pair(seed: int, eos_bias: float):
    """A BERT and our decoder with its weights; how soon texts end depends on the bias."""
    theirs = bert(seed=seed, initializer_range=0.5, vocab_size=30, num_hidden_layers=2)
    with torch.no_grad():
        theirs.cls.predictions.bias[2] = eos_bias
    ours = Decoder(tiny_config(depth=2), 30, DIM).eval()
    load_bert(ours, theirs.state_dict())
    return theirs, ours


def generate_with_bert(theirs, memory, beams, limit):
    settings = {"num_beams": beams, "do_sample": False, "max_new_tokens": limit, "eos_token_id": 2, "pad_token_id": 0}
    settings["use_cache"] = False  # with one, this BERT asks for a kind of cache that beam search does not make
    out = theirs.generate(torch.full((len(memory), 1), 1), encoder_hidden_states=memory, **settings)
    texts = [row[1:].tolist() for row in out]
    return [text[: text.index(2)] if 2 in text else text for text in texts]


@pytest.mark.parametrize("eos_bias", [0.0, 3.0, 6.0])
@pytest.mark.parametrize("beams", [2, 4])
def test_beam_search_equals_transformers(beams, eos_bias):
    theirs, ours = pair(0, eos_bias)
    ours.beams = beams
    memory = torch.randn(8, 5, DIM)
    expected = generate_with_bert(theirs, memory, beams, 12)
    assert len({len(text) for text in expected}) > 1 or eos_bias == 0  # or the ends would not be tried
    assert ours.generate(memory, 1, 2, 12) == expected


class Uncached(_Cache):
    """Runs the whole text so far again at each step."""

    def __init__(self, decoder, memory):
        self.decoder, self.memory, self.tokens = decoder, memory, torch.empty(len(memory), 0, dtype=torch.long)

    def step(self, tokens, i):
        self.tokens = torch.cat([self.tokens, tokens], 1)
        return self.decoder(self.tokens, self.memory)[:, -1]

    def reorder(self, rows):
        self.tokens = self.tokens[rows]


@torch.no_grad()
@pytest.mark.parametrize("beams", [1, 3])
def test_cache_and_batch_mates_change_nothing(beams):
    decoder = pair(1, 4.0)[1] if beams > 1 else busy(Decoder(tiny_config(), V, DIM))
    decoder.beams = beams
    memory = torch.randn(6, 5, DIM)
    texts = decoder.generate(memory, 1, 2, 16)
    assert len({tuple(text) for text in texts}) > 1  # or the test would say nothing
    if beams == 1:
        assert beam_search(_Cache(decoder, memory, 16), 6, 1, 2, 16, 1, memory.device) == texts
    uncached = Uncached(decoder, memory.repeat_interleave(beams, 0))
    assert beam_search(uncached, 6, 1, 2, 16, beams, memory.device) == texts
    assert [decoder.generate(row[None], 1, 2, 16)[0] for row in memory] == texts
    tokens = torch.randint(0, 30, (6, 9))
    torch.testing.assert_close(decoder(tokens, memory)[2:3], decoder(tokens[2:3], memory[2:3]), atol=1e-5, rtol=1e-5)


def test_prediction_beams_sets_the_beam_width():
    assert build_system(tiny.config(prediction__beams=3), 5, 40, 8).decoder.beams == 3
    assert build_system(tiny.config(), 5, 40, 8).decoder.beams == 1
    with pytest.raises(InputError, match="SwinBERT writes word by word"):
        build_system(tiny.config(prediction__beams=3, system__name="SwinBERT"), 5, 40, 8)
    build_system(tiny.config(prediction__beams=3, system__name="TSM"), 5, 40, 8)  # writes nothing
