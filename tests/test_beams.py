"""Beam search: what transformers finds with the same weights, the same without a cache."""

import pytest
import tiny
import torch
from transformers import BertConfig, BertLMHeadModel

from efa.baselines.registry import build_system, writer
from efa.config import DecoderConfig
from efa.model.beams import beam_search
from efa.model.decoder import Decoder, load_bert
from efa.utils.errors import InputError

V, DIM, BOS, EOS = 30, 24, 1, 2


def pair(seed: int = 0, eos_bias: float = 2.0) -> tuple[BertLMHeadModel, Decoder]:
    """A BERT that writes, and our decoder with its weights; how soon texts end hangs on the bias."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": V, "hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 4 * DIM, "max_position_embeddings": 20, "initializer_range": 0.5}
    theirs = BertLMHeadModel(BertConfig(**sizes, is_decoder=True, add_cross_attention=True)).eval()
    with torch.no_grad():
        theirs.cls.predictions.bias[EOS] = eos_bias
    ours = Decoder(DecoderConfig(dim=DIM, depth=2, heads=4, dropout=0.0, max_tokens=16), V, DIM).eval()
    load_bert(ours, theirs.state_dict())
    return theirs, ours


def said_by(theirs: BertLMHeadModel, memory: torch.Tensor, beams: int, limit: int) -> list[list[int]]:
    out = theirs.generate(
        torch.full((len(memory), 1), BOS),
        encoder_hidden_states=memory,
        num_beams=beams,
        do_sample=False,
        max_new_tokens=limit,
        use_cache=False,  # with one, this BERT asks for a kind of cache that beam search does not make
        eos_token_id=EOS,
        pad_token_id=0,
    )
    texts = [row[1:].tolist() for row in out]
    return [text[: text.index(EOS)] if EOS in text else text for text in texts]


@pytest.mark.parametrize("eos_bias", [0.0, 3.0, 6.0])
@pytest.mark.parametrize("beams", [2, 4])
def test_finds_what_transformers_finds(beams, eos_bias):
    theirs, ours = pair(eos_bias=eos_bias)
    ours.beams = beams
    memory = torch.randn(8, 5, DIM)
    expected = said_by(theirs, memory, beams, 12)
    assert len({len(text) for text in expected}) > 1 or eos_bias == 0  # or the ends would not be tried
    assert ours.generate(memory, BOS, EOS, 12) == expected


def test_cache_and_batch_mates_change_nothing():
    _, ours = pair(1, 4.0)
    ours.beams = 3
    memory = torch.randn(6, 5, DIM)
    texts = ours.generate(memory, BOS, EOS, 14)
    assert len({tuple(text) for text in texts}) > 1
    assert ours.generate(memory, BOS, EOS, 14, use_cache=False) == texts
    assert [ours.generate(row[None], BOS, EOS, 14)[0] for row in memory] == texts


def test_one_beam_is_greedy():
    _, ours = pair(2, 4.0)
    memory = torch.randn(4, 5, DIM)
    greedy = ours.generate(memory, BOS, EOS, 12)
    assert beam_search(ours, memory, BOS, EOS, 12, 1) == greedy


def test_a_setting_says_how_many():
    assert writer(build_system(tiny.config(prediction__beams=3), 5, 40, 8)).beams == 3
    assert writer(build_system(tiny.config(), 5, 40, 8)).beams == 1
    with pytest.raises(InputError, match="SwinBERT writes word by word"):
        build_system(tiny.config(prediction__beams=3, system__name="SwinBERT"), 5, 40, 8)
    build_system(tiny.config(prediction__beams=3, system__name="TSM"), 5, 40, 8)  # writes nothing
