"""The systems of Table V: what sets each apart as a recogniser of actions."""

from typing import Any

import pytest
import torch
from stand_ins import coloured_clips, make_system

from efa.baselines import c3d, i3d, tsm
from efa.baselines.base import System
from efa.config import build

A = 4  # actions

each_recogniser = pytest.mark.parametrize("name", ["C3D", "TSM", "I3D", "TimeSformer", "Video Swin"])


def make_recogniser(name: str, **changes: Any) -> System:
    if name == "Video Swin":
        changes["encoder"] = build("laptop").encoder.model_copy(update={"frozen": False})
    return make_system(name, False, A, changes)


@each_recogniser
def test_the_order_of_frames_matters(name):
    model = make_recogniser(name).eval()
    if name == "TimeSformer":  # it starts without attention over time, and then it cannot know the order
        layers = model.encoder.vit.encoder.layer
        assert all(p.abs().sum() == 0 for layer in layers for p in layer.temporal_dense.parameters())
        torch.nn.init.normal_(model.encoder.vit.embeddings.time_embeddings)
    frames = coloured_clips(64, 1)
    with torch.no_grad():
        forward, backward = (model(model.encode_video(x)).class_logits for x in (frames, frames.flip(1)))
    assert not torch.allclose(forward, backward, atol=1e-5)


def test_a_frozen_recogniser_stays_as_it_is():
    model = make_recogniser("I3D").train()
    assert model.encoder.training
    model.encoder.requires_grad_(False)
    model.train()
    assert model.training
    assert not any(module.training for module in model.encoder.modules())
    before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    model(model.encode_video(coloured_clips(64, 2))).quality_logit.sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in model.encoder.state_dict().items())
    swin = make_system("Video Swin", False, A, {})  # frozen like EFA's encoder
    assert not any(p.requires_grad for p in swin.encoder.parameters())


def test_uint8_is_normalised_as_the_original_does():
    black, white = torch.zeros(1, 1, 3, 2, 2, dtype=torch.uint8), torch.full((1, 1, 3, 2, 2), 255, dtype=torch.uint8)
    model = make_recogniser("I3D")
    assert model.normalise(black).unique().item() == -1
    assert model.normalise(white).unique().item() == 1
    assert torch.equal(model.normalise(white.float()), white.float())
    red = make_recogniser("C3D").normalise(black)[0, 0, :, 0, 0]
    torch.testing.assert_close(red, -torch.tensor([0.485 / 0.229, 0.456 / 0.224, 0.406 / 0.225]))


def test_c3d_pools_as_the_original_at_its_size():
    trunk = c3d.C3DTrunk(1).eval()
    frames = torch.randn(1, 16, 3, 112, 112)
    floor = torch.nn.Sequential(*trunk.layers)
    with torch.no_grad():
        up = trunk(frames)
        for part in floor:
            if isinstance(part, torch.nn.MaxPool3d):
                part.ceil_mode = False
        down = floor(frames.transpose(1, 2))
    assert up.shape == (1, 1, 4, 4, 8)
    assert torch.equal(up, down.movedim(1, -1))


def test_i3d_pads_the_odd_zero_at_the_end():
    padded = i3d.pad_same(torch.ones(1, 1, 5, 4, 6), (2, 3, 7), (2, 2, 2))[0, 0]
    assert padded.shape == (6, 5, 11)  # ceil(n / 2) outputs of each axis
    assert padded[:, 0, 2].tolist() == [1, 1, 1, 1, 1, 0]
    assert padded[0, :, 2].tolist() == [1, 1, 1, 1, 0]
    assert padded[0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0]


def test_tsm_shifts_an_eighth_each_way():
    x = torch.arange(1.0, 4)[:, None, None, None].expand(3, 16, 1, 1)  # frame t holds t + 1
    y = tsm.shift_frames(torch.cat([x, 10 * x]), frames=3, share=8)[..., 0, 0]
    assert y[:, 0].tolist() == y[:, 1].tolist() == [2, 3, 0, 20, 30, 0]
    assert y[:, 2].tolist() == y[:, 3].tolist() == [0, 1, 2, 0, 10, 20]
    assert torch.equal(y[:, 4:], torch.cat([x, 10 * x])[:, 4:, 0, 0])


def test_tsm_refuses_clips_of_another_length():
    model = make_recogniser("TSM")
    assert sum(isinstance(module, tsm.ShiftedConvolution) for module in model.modules()) == 8  # one a block
    with pytest.raises(ValueError, match="5 frames"):
        model.encode_video(coloured_clips(64, 2)[:, :5])
