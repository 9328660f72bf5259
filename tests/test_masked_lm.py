"""The joint transformer of SwinBERT and LAVENDER: which words it hides, and that it is BERT."""

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from efa.baselines.masked_lm import MaskedLM, mask_words
from efa.config import DecoderConfig
from efa.model.decoder import load_bert

V = 40  # words
BEGIN, END, MASK = 2, 3, 4


def test_mask_words():
    torch.manual_seed(0)
    tokens = torch.randint(5, V, (400, 12))
    tokens[:, 0], tokens[:, -1] = BEGIN, END
    tokens[0, -2:] = torch.tensor([END, 0])
    tokens[1] = 0  # no explanation
    shown, hidden = mask_words(tokens, 0.5, 0.8, MASK, V)
    assert not hidden[:, 0].any()
    assert not hidden[tokens == 0].any()
    assert hidden.sum(1)[2:].tolist() == [6] * 398
    assert (tokens[hidden] == END).any()  # or nothing would learn to end a text
    assert torch.equal(shown[~hidden], tokens[~hidden])
    kinds = (shown[hidden] == MASK, shown[hidden] == tokens[hidden])
    assert kinds[0].float().mean() == pytest.approx(0.8, abs=0.03)
    assert kinds[1].float().mean() == pytest.approx(0.1, abs=0.03)
    shown, hidden = mask_words(tokens, 0.01, 1.0, MASK, V)
    assert hidden.sum(1)[2:].tolist() == [1] * 398
    assert (shown[hidden] == MASK).all()


def test_masked_lm_without_any_text_costs_nothing():
    bert = MaskedLM(DecoderConfig(dim=16, depth=1, heads=2, max_tokens=8), V, MASK, 0.5, 0.8)
    _, memory = bert.run(torch.randn(3, 4, 16))
    assert bert.loss(torch.zeros(2, 5, dtype=torch.long), memory).item() == 0


def test_masked_lm_is_bert():
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    theirs = BertForMaskedLM(BertConfig(vocab_size=V, max_position_embeddings=12, **size)).eval()
    ours = MaskedLM(DecoderConfig(dim=32, depth=2, heads=2, max_tokens=12), V, MASK, 0.5, 0.8).eval()
    copied = load_bert(ours, theirs.state_dict())
    assert set(copied) == set(ours.state_dict())
    tokens = torch.randint(5, V, (2, 9))
    with torch.no_grad():
        states, _ = ours.run(ours.embed(tokens))
        torch.testing.assert_close(ours.head(states), theirs(tokens).logits, rtol=0, atol=1e-5)


def test_masked_lm_without_a_video_is_a_language_model():
    torch.manual_seed(0)
    bert = MaskedLM(DecoderConfig(dim=16, depth=2, heads=2, dropout=0.0, max_tokens=12), V, MASK, 0.5, 0.8).eval()
    for parameter in bert.parameters():
        torch.nn.init.normal_(parameter, std=0.5) if parameter.ndim > 1 else None
    tokens = torch.randint(5, V, (3, 9))
    nothing = bert.run(torch.zeros(3, 0, 16))[1]
    with torch.no_grad():
        logits = bert(tokens, None)
        torch.testing.assert_close(logits, bert(tokens, nothing), rtol=0, atol=1e-5)
        later = tokens.clone()
        later[:, 5:] = 7
        torch.testing.assert_close(bert(later, None)[:, :5], logits[:, :5], rtol=0, atol=1e-5)
        torch.manual_seed(1)
        loss = bert.loss(tokens, None)
        torch.manual_seed(1)
        torch.testing.assert_close(bert.loss(tokens, nothing), loss)
