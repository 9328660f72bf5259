"""What a run may change of frozen features."""

import pytest
import torch

from efa.baselines.registry import build_system
from efa.config import build
from efa.model.adapter import Adapter


@pytest.mark.parametrize("tokens", [6, 24, 9, 1])
def test_it_keeps_the_shape_and_sees_the_whole_clip(tokens):
    torch.manual_seed(0)
    adapter = Adapter((tokens, 8), groups=6, hidden=16).eval()
    x = torch.randn(3, tokens, 8)
    moved = x.clone()
    moved[:, -1] += 1
    change = (adapter(moved) - adapter(x)).abs().amax((0, 2))  # of each token
    assert adapter(x).shape == x.shape
    assert (change > 0).all()


def test_in_training_each_place_and_channel_is_standardised_over_clips():
    x = torch.randn(64, 6, 8) * 0.01 + 5
    out = Adapter((6, 8), groups=6, hidden=16).train().standardised(x)
    assert out.mean(0).abs().max() < 1e-2
    assert (out.std(0, unbiased=False) - 1).abs().max() < 0.1


@pytest.mark.parametrize("name", ["EFA", "C3D", "Video Swin", "RICA2"])
def test_the_action_is_read_without_it_and_form_with_it(name):
    torch.manual_seed(0)
    config = build("laptop", {"system.name": name})
    model = build_system(config, actions=4, vocabulary_size=20, text_dim=8).eval()
    frames = torch.randint(0, 256, (2, 6, 3, 64, 64), dtype=torch.uint8)
    features = model.encode_video(frames)
    steps, instruction = torch.randn(2, 5, 8), torch.randn(2, 1, 8)
    before = model(features, steps, instruction)
    with torch.no_grad():
        model.adapter.up.bias += torch.randn_like(model.adapter.up.bias)
    after = model(features, steps, instruction)
    assert torch.equal(before.class_logits, after.class_logits)
    assert torch.equal(after.class_logits, model.classify(features))
    assert not torch.allclose(before.quality_logit, after.quality_logit)


def test_a_trunk_that_learns_needs_none():
    config = build("laptop", {"encoder.frozen": False})
    assert isinstance(build_system(config, 4, 20, 8).adapter, torch.nn.Identity)
