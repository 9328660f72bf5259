"""All compared systems: size and shapes, that each can learn, and what sets each apart."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from batch_gradients import calm
from stand_ins import coloured_clips, make_system
from test_recognisers import make_recogniser
from transformers import BertConfig, BertForMaskedLM

from efa.baselines import c3d, mtl_aqa
from efa.baselines.base import System
from efa.baselines.masked_lm import MaskedLM, mask_words
from efa.baselines.rica2 import attention_losses
from efa.config import DecoderConfig, build
from efa.model.decoder import load_bert

A, B, V, E = 4, 8, 40, 16  # actions, clips, words, length of a step's vector
BEGIN, END, MASK = 2, 3, 4


def make(name: str, actions: int = A, words: int = V, text_dim: int = E, paper: bool = False, **changes: Any) -> System:
    return make_system(name, paper, actions, changes, vocabulary_size=words, text_dim=text_dim, mask_id=MASK)


PAPER: dict[str, tuple[float, tuple[int, int], dict[str, int]]] = {  # millions, features [N, C] of a clip, arguments
    "C3DAVG": (27.66 + 33.56 + 50.2, (6, 8192), {"words": 30522}),  # C3D, fc6, S2VT with BERT's words
    "MSCADC": (6.9 + 3 * 0.44 + 39.4, (2 * 20 * 20, 256), {"words": 30522}),  # body, three heads, S2VT
    "SwinBERT": (199, (16 * 7 * 7, 1024), {"words": 30522}), "LAVENDER": (221, (6 * 7 * 7, 1024), {"words": 30522}),
    "RICA2": (27.9, (20, 1024), {"text_dim": 4096}),  # the original's text vectors; 25.7 with BERT's 768
    "C3D": (78.6, (16, 512), {}), "TSM": (24.35, (8, 2048), {}), "I3D": (12.74, (7, 1024), {}),
    "TimeSformer": (121.4, (1, 768), {}), "Video Swin": (87.8, (16 * 7 * 7, 1024), {}),
}  # fmt: skip
CLIPS = {  # frames, pixels
    "C3DAVG": (96, 112), "MSCADC": (16, 180), "SwinBERT": (32, 224), "LAVENDER": (6, 224), "RICA2": (103, 224),
    "C3D": (16, 112), "TSM": (8, 224), "I3D": (64, 224), "TimeSformer": (8, 224), "Video Swin": (32, 224),
}  # fmt: skip
FEATURES = {"C3DAVG": (2, 576), "MSCADC": (72, 64), "SwinBERT": (24, 192), "LAVENDER": (24, 192), "RICA2": (5, 256)}
each = pytest.mark.parametrize("name", FEATURES)


def texts(count: int = B, length: int = 7) -> torch.Tensor:
    """Ids [B, L]: [CLS], words, [SEP], the first text shorter than the others."""
    tokens = torch.randint(5, V, (count, length), generator=torch.Generator().manual_seed(2))
    tokens[:, 0], tokens[:, -1] = BEGIN, END
    tokens[0, -2:] = torch.tensor([END, 0])
    return tokens


def steps(count: int = B) -> torch.Tensor:
    return torch.randn(count, 5, E, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", PAPER)
def test_parameters_and_shapes_at_paper_size(name):
    millions, shape, arguments = PAPER[name]
    with torch.device("meta"):
        model = make(name, 141, paper=True, **arguments).to("meta").eval()
        count, size = CLIPS[name]
        features = model.encode_video(torch.zeros(2, count, 3, size, size, dtype=torch.uint8))
        text = torch.zeros(2, 5, arguments.get("text_dim", E))
        output = model(features, text, None, None, torch.ones(1, 9, dtype=torch.long))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)
    assert features.shape == (2, *shape)
    assert output.class_logits.shape == model.classify(features).shape == (2, 141)
    assert output.quality_logit.shape == (2,)
    written = (1, 9, arguments["words"]) if "words" in arguments else None  # nor does the original RICA2 write
    assert getattr(output.text_logits, "shape", None) == written


@pytest.mark.parametrize("name", PAPER)
def test_a_prediction_depends_on_its_clip_alone(name):
    model = make(name).eval()
    frames, text, tokens = coloured_clips(64, 4), steps(4), texts(4)
    with torch.no_grad():
        features = model.encode_video(frames)
        output = model(features, text, None, torch.ones(4, dtype=torch.bool), tokens)
        alone = model(model.encode_video(frames[2:3]), text[2:3], None, None, tokens[2:3])
        others = model.encode_video(torch.cat([255 - frames[:2], frames[2:]]))
        changed = model(others, text, None, None, torch.cat([tokens[2:], tokens[2:]]))
        written = model.generate(features, text, None, None, BEGIN, -1, 12)  # no word is -1: all are twelve words long
    assert features.shape[1:] == FEATURES.get(name, features.shape[1:])
    assert output.extra == {}
    assert torch.equal(model.classify(features), output.class_logits)
    for other, row in ((alone, 0), (changed, 2)):
        torch.testing.assert_close(other.class_logits[row], output.class_logits[2], rtol=0, atol=1e-5)
        torch.testing.assert_close(other.quality_logit[row], output.quality_logit[2], rtol=0, atol=1e-5)
        if name in FEATURES:
            torch.testing.assert_close(other.text_logits[row], output.text_logits[2], rtol=0, atol=1e-5)
    assert not torch.allclose(changed.class_logits[0], output.class_logits[0], atol=1e-5)
    assert [len(line) for line in written] == [12 if name in FEATURES else 0] * 4
    assert (output.text_logits is not None) == (name in FEATURES)
    assert written == model.generate(features, text, None, None, BEGIN, -1, 12)
    for limit in (0, 1, 5):
        ends = [len(line) for line in model.generate(features, text, None, None, BEGIN, -1, limit)]
        assert ends == [limit if name in FEATURES else 0] * 4
    assert written[2:] == model.generate(others, text, None, None, BEGIN, -1, 12)[2:]
    assert written[3:] == model.generate(features[3:], text[3:], None, None, BEGIN, -1, 12)


@each
def test_only_the_first_clips_of_a_batch_have_texts(name):
    model, features, text = make(name), torch.rand(4, *FEATURES[name]), steps(4)
    tokens = texts(4)
    with torch.no_grad():
        whole = model.eval()(features, text, None, None, tokens)
        some = model(features, text, None, None, tokens[:3])
        none = model(features, text)
    assert some.text_logits.shape == (3, 7, V)
    torch.testing.assert_close(some.text_logits, whole.text_logits[:3], rtol=0, atol=1e-5)
    assert none.text_logits is None
    for output in (some, none):
        torch.testing.assert_close(output.class_logits, whole.class_logits, rtol=0, atol=1e-5)
        torch.testing.assert_close(output.quality_logit, whole.quality_logit, rtol=0, atol=1e-5)
    model.train()
    masked = name in ("SwinBERT", "LAVENDER")
    some, none = model(features, text, None, None, tokens[:3]), model(features, text)
    assert (some.text_logits is None, "masked_lm" in some.extra) == (masked, masked)
    assert (none.text_logits is None, "masked_lm" in none.extra) == (True, False)
    assert none.class_logits.shape == some.class_logits.shape == (4, A)


TINY_TEXT = DecoderConfig(dim=64, depth=2, heads=2, dropout=0.0, max_tokens=16)
SHRUNK: dict[str, dict[str, Any]] = {  # for training in a test: 32 px, and the frozen encoder smaller still
    "MSCADC": {"width": 4, "bottleneck": 3, "word_dim": 32},
    "RICA2": {"windows": 3, "width": 0.125, "decoder": TINY_TEXT},
}


@pytest.mark.parametrize("name", PAPER)
def test_learns_one_batch(name):
    if name in ("SwinBERT", "LAVENDER"):
        encoder = build("laptop").encoder.model_copy(update={"depths": (1, 1)})
        model = make(name, size=32, encoder=encoder, bert=TINY_TEXT).train()
    elif name in FEATURES:
        model = make(name, size=32, **SHRUNK.get(name, {})).train()
    else:
        model = make_recogniser(name, size=32).train()
    frames, tokens, text = coloured_clips(32, B), texts(), steps()
    action, quality = torch.arange(B) % A, torch.arange(B) // A
    frozen = not any(p.requires_grad for p in model.encoder.parameters())
    seen = model.encode_video(frames) if frozen else None

    def losses() -> torch.Tensor:
        output = model(seen if frozen else model.encode_video(frames), text, None, None, tokens)
        verdict = F.binary_cross_entropy_with_logits(output.quality_logit, quality.float())
        total = F.cross_entropy(output.class_logits, action) + verdict + sum(output.extra.values())
        if output.text_logits is not None:
            targets = F.pad(tokens[:, 1:], (0, 1))
            total = total + F.cross_entropy(output.text_logits.flatten(0, 1), targets.flatten(), ignore_index=0)
        return total

    for module in model.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm3d)):
            module.momentum = 0.5  # so that evaluation finds what these few steps have seen
    calm(model)
    count, lr = {"MSCADC": (16, 4e-3), "TimeSformer": (120, 1e-3)}.get(name, (40, 2e-3))  # the first is slow
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    history = []
    for step in range(count):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / count)
        optimizer.zero_grad()
        loss = losses()
        loss.backward()
        history.append(loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert sum(history[-3:]) / 3 < (0.8 if name in FEATURES else 0.1) * history[0]
    with torch.no_grad():
        model.eval()
        output = model(model.encode_video(frames), text)
    assert torch.equal(output.class_logits.argmax(1), action)
    assert torch.equal(output.quality_logit > 0, quality == 1)


@each
def test_text_logits_are_causal_and_match_generation(name):
    model = make(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # random weights write one word again and again; louder ones vary
            parameter.mul_(1.5 if parameter.ndim > 1 else 1.0)
        features = model.encode_video(coloured_clips(64, 2))
        tokens = texts(2, 9)
        logits = model(features, None, None, None, tokens).text_logits
        for cut in (1, 4, 8):
            other = tokens.clone()
            other[:, cut:] = 11
            seen = model(features, None, None, None, other).text_logits
            torch.testing.assert_close(seen[:, :cut], logits[:, :cut], rtol=0, atol=1e-5)
            assert not torch.allclose(seen[:, cut:], logits[:, cut:], atol=1e-4)
        written = model.generate(features, None, None, None, BEGIN, END, 8)
        for row, line in enumerate(written):
            given = torch.tensor([[BEGIN, *line]])
            logits = model(features[row : row + 1], None, None, None, given).text_logits[0]
            assert logits.argmax(-1).tolist()[: len(line)] == line
    assert len({word for line in written for word in line}) > 1


def test_mtl_aqa_reads_in_order_and_repeats_the_last_frame():
    captioner = mtl_aqa.S2VT(6, V, dim=16).eval()
    video, tokens = torch.randn(2, 3, 6), texts(2)
    model, frames = make("C3DAVG").eval(), coloured_clips(64, 1)
    with torch.no_grad():
        assert not torch.allclose(captioner(tokens, video), captioner(tokens, video.flip(1)), atol=1e-4)
        whole = model.encode_video(torch.cat([frames[:, :4], frames[:, 3:4], frames[:, 3:4]], 1))
        assert torch.equal(model.encode_video(frames[:, :4]), whole)
        assert whole.shape[1] == 2


GRIDS = [(c3d.C3DTrunk, *clip) for clip in ((16, 112), (6, 64), (1, 16), (17, 100), (40, 33))]
GRIDS += [(mtl_aqa.DilatedC3D, *clip) for clip in ((16, 180), (6, 64), (24, 100))]


@pytest.mark.parametrize(("trunk", "frames", "size"), GRIDS)
def test_grids(trunk, frames, size):
    with torch.device("meta"):
        body = trunk(2)
        states = body(torch.zeros(1, frames, 3, size, size))
        assert tuple(states.shape[1:4]) == body.grid(frames, size)
        for dilations in ((2, 4), (1, 1)) if trunk is mtl_aqa.DilatedC3D else ():
            out = mtl_aqa.Context(16, 2, 5, dilations)(states.movedim(-1, 1))
            assert tuple(out.shape[2:]) == tuple((n + 2) // 2 for n in states.shape[1:4])


def test_mscadc_sizes_of_the_paper():
    with torch.device("meta"):
        model = make("MSCADC", paper=True)
    assert model.captioner.video.input_size == 1200
    for net, millions in ((model.class_context, 0.52), (model.form_context, 0.52), (model.caption_context, 0.44)):
        assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


def test_mscadc_drops_features_of_a_frozen_body():
    model = make("MSCADC")
    model.encoder.requires_grad_(False)
    features = torch.rand(2, *FEATURES["MSCADC"])
    with torch.no_grad():
        seen = model.train().encode(features)
        assert (seen == 0).float().mean() == pytest.approx(0.5, abs=0.05)
        assert torch.equal(model.eval().encode(features).flatten(2).transpose(1, 2), features)


def test_swinbert_mask_isolates_video_tokens():
    model = make("SwinBERT").train()
    features = torch.randn(2, 24, 192)
    assert torch.equal(model.mask().diagonal(), torch.ones(24))
    other = features.index_fill(1, torch.tensor(5), 1.0)
    states, other = (model.bert.run(model.video_in(x), mask=(model.mask() - 1) * 1e4)[0] for x in (features, other))
    assert (states != other).any(2).nonzero().tolist() == [[0, 5], [1, 5]]
    output = model(features, tokens=texts(2))
    (output.class_logits.sum() + output.extra["masked_lm"]).backward(retain_graph=True)
    assert model.attention_weights.grad.abs().max() == 0
    output.extra["sparsity"].backward()
    assert model.attention_weights.grad.max() > 0 == model.attention_weights.grad.diagonal().abs().max()


def test_lavenders_questions_do_not_see_each_other():
    model = make("LAVENDER").eval()
    features = torch.randn(2, 24, 192)
    with torch.no_grad():
        before = model(features)
        model.task[1] += 1
        after = model(features)
    assert torch.equal(before.class_logits, after.class_logits)
    assert not torch.allclose(before.quality_logit, after.quality_logit, atol=1e-5)


def test_rica2_verdict_reads_steps_and_class_does_not():
    model = make("RICA2").eval()
    features, text = torch.randn(3, 5, 256), steps(3)
    with torch.no_grad():
        given, other, none = model(features, text), model(features, -text), model(features)
        mixed = model(features, text, None, torch.tensor([True, False, True]))
    assert all(torch.equal(given.class_logits, output.class_logits) for output in (other, none))
    assert (given.quality_logit != other.quality_logit).all()
    assert torch.equal(given.quality_logit, model(features, text).quality_logit)  # the same noise in every call
    torch.testing.assert_close(mixed.quality_logit[[0, 2]], given.quality_logit[[0, 2]])
    torch.testing.assert_close(mixed.quality_logit[1], none.quality_logit[1])


def test_rica2_text_reads_windows_and_steps():
    model = make("RICA2").eval()
    features, tokens = torch.rand(2, *FEATURES["RICA2"]), texts(2)
    with torch.no_grad():
        assert model.memory(model.encode(features, steps(2))).shape == (2, 5 + 5, 128)
        given, other = model(features, steps(2), None, None, tokens), model(features, -steps(2), None, None, tokens)
        elsewhere = model(features.flip(0), steps(2), None, None, tokens)
        assert not torch.allclose(given.text_logits, other.text_logits, atol=1e-4)
        assert not torch.allclose(given.text_logits, elsewhere.text_logits, atol=1e-4)
        silent = make("RICA2", decoder=None).eval()
        silent.load_state_dict(model.state_dict(), strict=False)
        assert torch.equal(silent(features, steps(2), None, None, tokens).quality_logit, given.quality_logit)
        assert silent.generate(features, steps(2), None, None, BEGIN, END, 12) == [[], []]


def test_rica2_attention_losses():
    def looking(*places: int) -> torch.Tensor:
        return F.one_hot(torch.tensor(places), 20).float()[None, None]  # [1, 1, 5, 20]

    assert [x.item() for x in attention_losses(looking(1, 4, 8, 12, 18))] == [0, 0]
    order, sparsity = attention_losses(looking(12, 8, 8, 4, 1))
    assert order.item() == pytest.approx((5 + 1 + 5 + 4) / 4)
    assert sparsity.item() == 0
    assert attention_losses(looking(0, 4, 8, 12, 19))[0].item() == 2  # both ends
    assert attention_losses(torch.full((1, 1, 5, 20), 0.05))[1].item() == pytest.approx(5)
    even = torch.eye(5)[None, None]  # five steps, five windows: too close for a margin of one
    assert attention_losses(even)[0].item() == pytest.approx(2 * 4 / 6)


def test_rica2_beta_rises():
    model = make("RICA2")
    for model.progress, beta in ((0.0, 1e-5), (45 / 350, 3e-5), (1.0, 5e-3)):
        assert model.beta == pytest.approx(beta)
    few = {"frames": 3, "windows": 4, "window": 8}  # fewer frames than a window
    assert make("RICA2", **few).encode_video(coloured_clips(64, 1)[:, :3]).shape == (1, 4, 256)


@pytest.mark.parametrize("frozen", [True, False])
def test_rica2_batch_statistics(frozen):
    model = make("RICA2", frozen_norm=frozen).train()
    before = {key: value.clone() for key, value in model.named_buffers() if "running" in key}
    model.encode_video(coloured_clips(64, 1))
    same = all(torch.equal(value, before[key]) for key, value in model.named_buffers() if key in before)
    assert same == frozen


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
    shares = [(shown[hidden] == kind).float().mean().item() for kind in (MASK, tokens[hidden])]
    assert shares == pytest.approx([0.8, 0.1], abs=0.03)
    shown, hidden = mask_words(tokens, 0.01, 1.0, MASK, V)
    assert hidden.sum(1)[2:].tolist() == [1] * 398
    assert (shown[hidden] == MASK).all()


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
    assert bert.loss(torch.zeros_like(tokens), bert.run(torch.randn(3, 4, 16))[1]).item() == 0  # without any text
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
