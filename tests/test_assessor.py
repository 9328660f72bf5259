"""EFA put together: shapes, gradients, losses, independence of batch mates, and that it can learn."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from test_fusion import VARIANTS

from efa.config import Config, build
from efa.model.assessor import EFAModel, losses
from efa_book.examples import parameter_table

A, V, E, B = 4, 30, 12, 8
TINY = {
    "data.size": 32, "data.frames": 4, "encoder.patch": (1, 4, 4), "encoder.window": (2, 2, 2), "encoder.dim": 8,
    "encoder.depths": (2, 2), "encoder.heads": (1, 2), "encoder.drop_path": 0.0, "fusion.dim": 24, "fusion.sigma": 0.5,
    "decoder.dim": 16, "decoder.depth": 2, "decoder.heads": 2, "decoder.dropout": 0.0, "decoder.max_tokens": 12,
    "training.label_smoothing": 0.0,
}  # fmt: skip


def make(**changes) -> EFAModel:
    torch.manual_seed(0)
    return EFAModel(Config().with_(TINY | changes), actions=A, vocabulary_size=V, text_dim=E)


def make_batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    tokens = torch.randint(3, V, (B, 10))
    tokens[:, 0], tokens[:, 9] = 1, 2
    tokens[1, 6], tokens[1, 7:] = 2, 0
    return {
        "frames": torch.randint(0, 256, (B, 4, 3, 32, 32), dtype=torch.uint8), "steps": torch.randn(B, 5, E),
        "instruction": torch.randn(B, 1, E), "text_mask": torch.arange(B) != 3, "action": torch.arange(B) % A,
        "quality": torch.arange(B) // 4, "tokens": tokens,
    }  # fmt: skip


def run(model: EFAModel, batch: dict[str, torch.Tensor]):
    features = model.encode_video(batch["frames"])
    return model(features, batch["steps"], batch["instruction"], batch["text_mask"], batch["tokens"])


def test_shapes():
    model, batch = make(), make_batch()
    assert model.grid == (4, 4, 4)
    assert model.encode_video(batch["frames"]).shape == (B, 64, 16)
    output = run(model, batch)
    assert (output.class_logits.shape, output.quality_logit.shape) == ((B, A), (B,))
    assert output.text_logits.shape == (B, 10, V)
    assert output.fusion.fused.shape == output.fusion.gate.shape == (B, 64, 24)
    assert output.fusion.step_attention.shape == (B, 5, 64)


@pytest.mark.parametrize("row", VARIANTS)
def test_every_row_of_table_vi_trains(row):
    model, batch = make(**{f"fusion.{name}": value for name, value in VARIANTS[row].items()}), make_batch()
    losses(run(model, batch), batch, model.config.training)["total"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_exactly_the_weights_behind_one_key_are_dead():
    """Eq. 4 has one key. Key biases shift all scores of a query alike: softmax ignores them, in every attention."""
    model, batch = make().double(), make_batch()
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    losses(run(model, batch), batch, model.config.training)["total"].backward()
    dead = {name for name, p in model.named_parameters() if p.grad.abs().max() < 1e-14}
    one_key = {f"fusion.global_branch.video_attention.{part}" for part in ("query.weight", "query.bias", "key.weight")}
    key_biases = {name for name, _ in model.named_parameters() if name.endswith("key.bias")}
    assert dead == one_key | key_biases
    for name, p in model.named_parameters():  # Swin keeps q, k, v in one bias: its middle third is the key's
        if name.endswith("qkv.bias"):
            q, k, v = p.grad.chunk(3)
            assert k.abs().max() < 1e-14 < min(q.abs().max(), v.abs().max())


def test_classification_sees_no_text():
    model, batch = make().eval(), make_batch()
    features = model.encode_video(batch["frames"])
    logits = model.classify(features)
    for sign in (1, -1):
        assert torch.equal(logits, model(features, sign * batch["steps"], sign * batch["instruction"]).class_logits)


def test_a_prediction_does_not_depend_on_batch_mates():
    model, batch = make().eval(), make_batch()
    with torch.no_grad():
        together = run(model, batch)
        for i in (0, 3, 7):
            alone = run(model, {name: value[i : i + 1] for name, value in batch.items()})
            for name in ("class_logits", "quality_logit", "text_logits"):
                torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[i], atol=1e-5, rtol=0)


def test_frames_are_normalised_once():
    model = make().eval()
    raw = torch.full((1, 4, 3, 32, 32), 255, dtype=torch.uint8)
    ready = torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]).view(3, 1, 1)
    torch.testing.assert_close(model.encode_video(raw), model.encode_video(ready.expand(raw.shape)))


def test_a_frozen_encoder_stays_as_it_is():
    model, batch = make(**{"encoder.frozen": True, "encoder.drop_path": 0.5}).train(), make_batch()
    assert (model.training, model.encoder.training) == (True, False)
    torch.testing.assert_close(model.encode_video(batch["frames"]), model.encode_video(batch["frames"]))
    losses(run(model, batch), batch, model.config.training)["total"].backward()
    assert all(p.grad is None for p in model.encoder.parameters())


def test_losses_are_equation_11():
    model, batch = make(), make_batch()
    config = Config().with_({"training.label_smoothing": 0.1}).training
    output = run(model, batch)
    parts = losses(output, batch, config)
    assert config.weight_class == 3
    torch.testing.assert_close(parts["total"], 3 * parts["class"] + parts["quality"] + parts["text"])
    logits, targets = output.text_logits.log_softmax(-1)[:, :-1], batch["tokens"][:, 1:]
    terms = -0.9 * logits.gather(2, targets[..., None])[..., 0] - 0.1 * logits.mean(2)
    torch.testing.assert_close(parts["text"], terms[targets != 0].mean())
    sign = 1 - 2 * batch["quality"].float()
    torch.testing.assert_close(parts["quality"], F.softplus(sign * output.quality_logit).mean())


def test_half_precision_trains_and_writes():
    model, batch = make(), make_batch()
    with torch.autocast("cpu", torch.bfloat16):
        output = run(model, batch)
        parts = losses(output, batch, model.config.training)
        texts = model.eval().decoder.generate(output.fusion.fused, bos=1, eos=2, max_tokens=5)
    parts["total"].backward()
    assert parts["total"].isfinite()
    assert len(texts) == B


def test_clips_without_text_add_nothing():
    model, batch = make().eval(), make_batch()
    batch["tokens"][2:] = 0
    few = {name: value[:2] for name, value in batch.items()}
    text = losses(run(model, batch), batch, model.config.training)["text"]
    torch.testing.assert_close(text, losses(run(model, few), few, model.config.training)["text"])
    batch["tokens"][:] = 0
    assert losses(run(model, batch), batch, model.config.training)["text"].item() == 0


def test_one_batch_can_be_learnt_by_heart():
    model, batch = make(), make_batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(200):
        total = losses(run(model, batch), batch, model.config.training)["total"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert history[-1] < 0.1 * history[0]
    model.eval()
    fused = run(model, batch).fusion.fused
    assert model.decoder.generate(fused, bos=1, eos=2, max_tokens=12)[1] == batch["tokens"][1, 1:6].tolist()


def test_another_text_or_movement_changes_the_verdict():
    """The steps reach verdict and words; the order of the frames reaches the fusion."""
    model, batch = make().eval(), make_batch()
    batch["text_mask"][:] = True
    right = run(model, batch)
    wrong = run(model, batch | {"steps": batch["steps"].roll(1, 0), "instruction": batch["instruction"].roll(1, 0)})
    assert (right.quality_logit - wrong.quality_logit).abs().min() > 1e-5
    assert (right.text_logits - wrong.text_logits).abs().amax((1, 2)).min() > 1e-5
    features = model.encode_video(batch["frames"]).unflatten(1, model.grid).flip(1).flatten(1, 3)
    backward = model(features, batch["steps"], batch["instruction"])
    assert (right.quality_logit - backward.quality_logit).abs().max() > 1e-6


def test_saved_and_loaded_it_says_the_same(tmp_path):
    model, batch = make().eval(), make_batch()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = EFAModel(model.config, A, V, E).eval()
    before, expected = run(other, batch), run(model, batch)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    after = run(other, batch)
    assert not torch.equal(before.class_logits, expected.class_logits)
    for name in ("class_logits", "quality_logit", "text_logits"):
        torch.testing.assert_close(getattr(after, name), getattr(expected, name))


def test_parameter_table_at_paper_size():
    with torch.device("meta"):
        model = EFAModel(build("paper"), actions=141, vocabulary_size=30522, text_dim=768)
    table = dict(parameter_table(model))
    assert (table["video encoder"], table["fusion: attentions"]) == (87_638_984, 7_087_104)
    assert table["total"] == sum(table.values()) - table["total"] == sum(p.numel() for p in model.parameters())
