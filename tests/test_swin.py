"""Video Swin against a slow reference and published sizes."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from efa.config import EncoderConfig
from efa.model.swin import VideoSwin, WindowAttention, stochastic_depth

TINY = EncoderConfig(patch=(2, 4, 4), window=(2, 3, 3), dim=8, depths=(2, 2), heads=(2, 4), drop_path=0.0)


def slow_window_attention(layer: WindowAttention, x: torch.Tensor) -> torch.Tensor:
    """One query at a time: which keys share its window after the roll, from which slab they come, at which offset."""
    size = x.shape[:3]
    window = [min(n, w) for n, w in zip(size, layer.window, strict=True)]
    shift = [0 if n <= w else s for n, w, s in zip(size, layer.window, layer.shift, strict=True)]
    padded = [math.ceil(n / w) * w for n, w in zip(size, window, strict=True)]
    dim, heads = x.shape[3], layer.heads
    grid = torch.zeros(*padded, dim)
    grid[: size[0], : size[1], : size[2]] = x
    q, k, v = layer.qkv(grid).split(dim, -1)
    full = layer.window
    places = list(product(*map(range, padded)))

    def rolled(place):
        return [(p - s) % n for p, s, n in zip(place, shift, padded, strict=True)]

    def slab(place):  # what the roll brought round the edge is no neighbour of what it met there
        return [r >= n - s if s else False for r, n, s in zip(rolled(place), padded, shift, strict=True)]

    def inside(place):  # number inside the window -> coordinates of the full window, as index[:N, :N] reads them
        t, h, w = (r % n for r, n in zip(rolled(place), window, strict=True))
        return np.unravel_index((t * window[1] + h) * window[2] + w, full)

    def number(place):
        return [r // n for r, n in zip(rolled(place), window, strict=True)]

    result = torch.zeros(*padded, dim)
    for a in places:
        seen = [b for b in places if number(b) == number(a)]
        for head in range(heads):
            part = slice(head * dim // heads, (head + 1) * dim // heads)
            scores = []
            for b in seen:
                t, h, w = (i - j + n - 1 for i, j, n in zip(inside(a), inside(b), full, strict=True))
                row = (t * (2 * full[1] - 1) + h) * (2 * full[2] - 1) + w
                bias = layer.relative_position_bias_table[row, head] - (100 if slab(a) != slab(b) else 0)
                scores.append((q[a][part] @ k[b][part]) / (dim // heads) ** 0.5 + bias)
            weights = torch.stack(scores).softmax(0)
            result[a][part] = sum(weight * v[b][part] for weight, b in zip(weights, seen, strict=True))
    return layer.proj(result)[: size[0], : size[1], : size[2]]


@pytest.mark.parametrize(("size", "shift"), [
    ((2, 3, 3), (0, 0, 0)),  # exactly one window
    ((2, 6, 6), (1, 1, 1)),  # time is no longer than its window, so only space shifts
    ((4, 6, 3), (1, 1, 1)),
    ((3, 5, 7), (1, 1, 1)),  # every axis padded
    ((3, 4, 2), (0, 0, 0)),  # a shrunken axis reads index[:N, :N]
    ((1, 5, 4), (1, 1, 1)),
])  # fmt: skip
def test_window_attention_equals_the_slow_reference(size, shift):
    torch.manual_seed(0)
    layer = WindowAttention(8, (2, 3, 3), shift, heads=2)
    torch.nn.init.normal_(layer.relative_position_bias_table)
    x = torch.randn(2, *size, 8)
    with torch.no_grad():
        slow = torch.stack([slow_window_attention(layer, clip) for clip in x])
        torch.testing.assert_close(layer(x), slow, atol=1e-5, rtol=1e-5)


def test_published_size_and_grid_of_swin_b():
    with torch.device("meta"):
        model = VideoSwin(EncoderConfig())
        assert model.grid(6, 224, 224) == (6, 7, 7)  # the paper's six times 49
    assert sum(p.numel() for p in model.parameters()) == 87_638_984  # torchvision's 88,048,984 less the 400-way head
    assert len(model.state_dict()) == 351  # the 353 keys of the checkpoint, less the head's two


@pytest.mark.parametrize(
    ("patch", "stride", "frames", "positions"),
    [((2, 4, 4), 1, 6, 6), ((2, 4, 4), 2, 6, 3), ((2, 4, 4), 2, 5, 3), ((2, 4, 4), 1, 5, 5), ((1, 4, 4), 1, 6, 6)],
)
def test_shapes(patch, stride, frames, positions):
    sizes = {"window": (2, 3, 3), "dim": 8, "depths": (1, 1, 1), "heads": (1, 2, 4)}
    model = VideoSwin(EncoderConfig(patch=patch, temporal_stride=stride, **sizes))
    for height, width in ((32, 32), (30, 45)):
        features = model(torch.randn(1, frames, 3, height, width))
        grid = model.grid(frames, height, width)
        assert features.shape == (1, positions, *grid[1:], 32) == (1, *grid, 32)


def test_stride_one_appends_one_zero_frame():
    model = VideoSwin(TINY).eval()
    frames = torch.randn(1, 4, 3, 16, 16)
    longer = torch.cat([frames, torch.zeros_like(frames[:, :1])], 1)
    embed = model.patch_embed
    kernel = torch.nn.functional.conv3d(longer.transpose(1, 2), embed.proj.weight, embed.proj.bias, stride=(1, 4, 4))
    torch.testing.assert_close(embed(frames), embed.norm(kernel.permute(0, 2, 3, 4, 1)))


def test_every_parameter_learns_after_inference_mode_too():
    model = VideoSwin(TINY)
    frames = torch.randn(2, 4, 3, 32, 32)
    with torch.inference_mode():
        model(frames)
    model(frames).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_stochastic_depth_keeps_the_mean_and_is_off_in_eval():
    torch.manual_seed(0)
    layer, x = stochastic_depth(0.3), torch.ones(4000, 2)
    dropped = layer(x)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert (dropped[:, 0] == dropped[:, 1]).all()  # whole samples
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert layer.eval()(x) is x


@pytest.mark.parametrize("size", [64, 40])
def test_pooling_averages_squares_of_tokens(size):
    config = EncoderConfig(patch=(1, 8, 8), window=(6, 4, 4), dim=8, depths=(1, 1), heads=(1, 2), drop_path=0.0)
    whole = VideoSwin(config).eval()
    pooled = VideoSwin(config.model_copy(update={"pool": 2})).eval()
    pooled.load_state_dict(whole.state_dict())
    frames = torch.randn(2, 6, 3, size, size)
    with torch.no_grad():
        fine, coarse = whole(frames), pooled(frames)
    assert coarse.shape[1:4] == pooled.grid(6, size, size)
    assert torch.allclose(coarse[:, :, 0, 0], fine[:, :, :2, :2].mean((2, 3)), atol=1e-6)
    last = fine[:, :, -1:, -1:] if fine.shape[2] % 2 else fine[:, :, -2:, -2:]  # an odd edge is averaged alone
    assert torch.allclose(coarse[:, :, -1, -1], last.mean((2, 3)), atol=1e-6)
