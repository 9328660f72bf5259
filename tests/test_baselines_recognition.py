"""The recognition systems of Table V: that each can learn, and what sets each apart."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from stand_ins import coloured_clips, make_system
from torch import nn

from efa.baselines import c3d, i3d, tsm, video_swin
from efa.baselines.base import Recogniser, SystemOutput

A, B = 4, 8
each = pytest.mark.parametrize("name", ["C3D", "TSM", "I3D", "TimeSformer", "Video Swin"])


def make(name: str, **changes: Any) -> Recogniser:
    if name == "Video Swin":
        changes["encoder"] = video_swin.SMALL["encoder"].model_copy(update={"frozen": False})
    return make_system(name, False, A, changes)


@each
def test_learns_one_batch(name):
    model = make(name, size=32, dropout=0.0)
    frames, action, quality = coloured_clips(32, B), torch.arange(B) % A, torch.arange(B) // A
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def forward() -> tuple[SystemOutput, torch.Tensor]:
        output = model(model.encode_video(frames))
        verdict = F.binary_cross_entropy_with_logits(output.quality_logit, quality.float())
        return output, F.cross_entropy(output.class_logits, action) + verdict

    first = forward()[1].item()
    for step in range(1, 101):
        loss = forward()[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            with torch.no_grad():
                model.eval()
                output, loss = forward()
                model.train()
            if loss < 0.1 * first:
                break
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert loss < 0.1 * first
    assert torch.equal(output.class_logits.argmax(1), action)
    assert torch.equal(output.quality_logit > 0, quality == 1)


@each
def test_the_order_of_frames_matters(name):
    model = make(name).eval()
    if name == "TimeSformer":  # its time embedding starts as zero, and then it cannot know the order
        nn.init.normal_(model.encoder.vit.embeddings.time_embeddings)
    frames = coloured_clips(64, 1)
    with torch.no_grad():
        forward, backward = (model(model.encode_video(x)).class_logits for x in (frames, frames.flip(1)))
    assert not torch.allclose(forward, backward, atol=1e-5)


def test_a_frozen_encoder_stays_as_it_is():
    model = make("I3D").train()
    assert model.encoder.training
    model.encoder.requires_grad_(False)
    model.train()
    assert model.training
    assert not any(module.training for module in model.encoder.modules())
    before = {key: value.clone() for key, value in model.state_dict().items() if key.startswith("encoder.")}
    model(model.encode_video(coloured_clips(64, 2))).quality_logit.sum().backward()
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_small_video_swin_is_frozen_like_efas_encoder():
    model = video_swin.VideoSwinRecogniser(video_swin.VideoSwinConfig(**video_swin.SMALL), A)
    assert not any(p.requires_grad for p in model.encoder.parameters())


def test_uint8_is_normalised_as_the_original_does():
    black, white = torch.zeros(1, 1, 3, 2, 2, dtype=torch.uint8), torch.full((1, 1, 3, 2, 2), 255, dtype=torch.uint8)
    model = make("I3D")
    assert model.normalise(black).unique().item() == -1
    assert model.normalise(white).unique().item() == 1
    assert torch.equal(model.normalise(white.float()), white.float())
    red = make("C3D").normalise(black)[0, 0, :, 0, 0]
    torch.testing.assert_close(red, -torch.tensor([0.485 / 0.229, 0.456 / 0.224, 0.406 / 0.225]))


def test_c3d_pools_as_the_original_at_its_size():
    trunk = c3d.C3DTrunk(1).eval()
    frames = torch.randn(1, 16, 3, 112, 112)
    floor = nn.Sequential(*(part for part in trunk.layers))
    with torch.no_grad():
        up = trunk(frames)
        for part in floor:
            if isinstance(part, nn.MaxPool3d):
                part.ceil_mode = False
        down = floor(frames.transpose(1, 2))
    assert up.shape == (1, 8, 1, 4, 4)
    assert torch.equal(up, down)


@pytest.mark.parametrize(("frames", "size"), [(16, 112), (6, 64), (1, 16), (17, 100), (40, 33)])
def test_c3d_grid(frames, size):
    trunk = c3d.C3DTrunk(1)
    with torch.device("meta"):
        shape = trunk.to("meta")(torch.zeros(1, frames, 3, size, size)).shape
    assert tuple(shape[2:]) == trunk.grid(frames, size)


def test_i3d_pads_the_odd_zero_at_the_end():
    x = torch.ones(1, 1, 5, 4, 6)
    padded = i3d.pad_same(x, (2, 3, 7), (2, 2, 2))
    assert padded.shape == (1, 1, 6, 5, 11)  # ceil(n / 2) outputs of each axis
    assert padded[0, 0, :, 0, 2].tolist() == [1, 1, 1, 1, 1, 0]
    assert padded[0, 0, 0, :, 2].tolist() == [1, 1, 1, 1, 0]
    assert padded[0, 0, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0]


def test_tsm_shifts_an_eighth_each_way():
    x = torch.arange(1.0, 4)[:, None, None, None].expand(3, 16, 1, 1)  # frame t holds t + 1
    y = tsm.shift_frames(torch.cat([x, 10 * x]), frames=3, share=8)[..., 0, 0]
    assert y[:, 0].tolist() == y[:, 1].tolist() == [2, 3, 0, 20, 30, 0]
    assert y[:, 2].tolist() == y[:, 3].tolist() == [0, 1, 2, 0, 10, 20]
    assert torch.equal(y[:, 4:], torch.cat([x, 10 * x])[:, 4:, 0, 0])


def test_tsm_refuses_clips_of_another_length():
    model = make("TSM")
    assert sum(isinstance(module, tsm.ShiftedConvolution) for module in model.modules()) == 8  # one a block
    with pytest.raises(ValueError, match="5 frames"):
        model.encode_video(coloured_clips(64, 2)[:, :5])


def test_timesformer_starts_without_attention_over_time():
    layers = make("TimeSformer").encoder.vit.encoder.layer
    assert all(p.abs().sum() == 0 for layer in layers for p in layer.temporal_dense.parameters())
