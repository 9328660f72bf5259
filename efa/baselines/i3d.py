"""I3D (Carreira and Zisserman, CVPR 2017): Inception-v1 inflated to 3D, the trunk of RICA2 as well.

The original classifies 64 frames of 224 px with values in [-1, 1]; its last layer is a 1 x 1 x 1 convolution on pooled
windows of time, whose logits are averaged. For action form assessment that layer gets A outputs, and a quality head
reads the same windows.

For six frames of 64 px, the average pool of 2 x 7 x 7, which needs 9 frames of 193 px, shrinks to what is there. Batch
statistics move by torch's tenth a step, not the original's thousandth, too slow for a short training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efa.baselines.base import Recogniser, register

Size = tuple[int, int, int]  # frames, height, width

# Outputs of a block's branches: 1x1x1; 1x1x1 then 3x3x3; 1x1x1 then 3x3x3; pool then 1x1x1 (GoogLeNet's table 1).
BLOCKS: dict[str, tuple[int, tuple[int, int], tuple[int, int], int]] = {
    "3b": (64, (96, 128), (16, 32), 32),
    "3c": (128, (128, 192), (32, 96), 64),
    "4b": (192, (96, 208), (16, 48), 64),
    "4c": (160, (112, 224), (24, 64), 64),
    "4d": (128, (128, 256), (24, 64), 64),
    "4e": (112, (144, 288), (32, 64), 64),
    "4f": (256, (160, 320), (32, 128), 128),
    "5b": (256, (160, 320), (32, 128), 128),
    "5c": (384, (192, 384), (48, 128), 128),
}
POOLS: dict[str, tuple[int, int]] = {"4b": (3, 2), "5b": (2, 2)}  # window and stride of the max pool before a block
SMALL: dict[str, Any] = {"frames": 6, "size": 64, "width": 0.25}


@dataclass(frozen=True)
class I3DConfig:
    """The defaults are the original's."""

    frames: int = 64
    size: int = 224  # pixels
    width: float = 1.0  # share of the channels
    dropout: float = 0.5


def pad_same(x: Tensor, kernel: Size, stride: Size) -> Tensor:
    """Zero-pads [B, C, T, H, W] as TensorFlow's 'SAME': ceil(n / stride) outputs, the odd zero at the end."""
    padding: list[int] = []
    for n, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):  # F.pad starts with the last axis
        total = max((-(-n // s) - 1) * s + k - n, 0)
        padding += [total // 2, total - total // 2]
    return F.pad(x, padding)


class Convolution(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1):
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv = nn.Conv3d(inputs, outputs, self.kernel, self.stride, bias=False)
        self.norm = nn.BatchNorm3d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(pad_same(x, self.kernel, self.stride))))


class MaxPool(nn.Module):
    """Max pool with 'SAME' padding; zeros are no larger than anything here, since a ReLU always comes before."""

    def __init__(self, kernel: Size, stride: Size):
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)


class Inception(nn.Module):
    """Four branches side by side: [B, C, T, H, W] -> the same grid, their channels concatenated."""

    def __init__(self, inputs: int, one: int, two: tuple[int, int], three: tuple[int, int], four: int):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                Convolution(inputs, one),
                nn.Sequential(Convolution(inputs, two[0]), Convolution(*two, 3)),
                nn.Sequential(Convolution(inputs, three[0]), Convolution(*three, 3)),
                nn.Sequential(MaxPool((3, 3, 3), (1, 1, 1)), Convolution(inputs, four)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class I3DTrunk(nn.Module):
    """Everything before the average pool.

    Args:
        width: share of the original's channels, of which the last layer has 1,024.
    """

    def __init__(self, width: float = 1.0):
        super().__init__()

        def scaled(*channels: int) -> tuple[int, ...]:
            return tuple(max(1, round(n * width)) for n in channels)

        (first,), (self.out_dim,) = scaled(64), scaled(192)
        layers: list[nn.Module] = [Convolution(3, first, 7, 2), MaxPool((1, 3, 3), (1, 2, 2))]
        layers += [Convolution(first, first), Convolution(first, self.out_dim, 3), MaxPool((1, 3, 3), (1, 2, 2))]
        for name, (one, two, three, four) in BLOCKS.items():
            if name in POOLS:
                kernel, stride = POOLS[name]
                layers.append(MaxPool((kernel,) * 3, (stride,) * 3))
            a, b1, b2, c1, c2, d = scaled(one, *two, *three, four)
            layers.append(Inception(self.out_dim, a, (b1, b2), (c1, c2), d))
            self.out_dim = a + b2 + c2 + d
        self.layers = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> [B, 1024 width, ceil(T / 8), ceil(H / 32), ceil(W / 32)]."""
        return self.layers(frames.transpose(1, 2))


@register("I3D", I3DConfig, SMALL, trunk="i3d")
class I3D(Recogniser):
    """Class and verdict from windows of time."""

    def __init__(self, config: I3DConfig, actions: int):
        trunk, half = I3DTrunk(config.width), (0.5, 0.5, 0.5)
        super().__init__(trunk, config, trunk.out_dim, actions, mean=half, std=half)

    def encode_video(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W] -> pooled windows [B, N, C]; N = 7 for 64 frames of 224 px, 1 below 17 frames."""
        x = self.encoder(self.normalise(frames))  # [B, C, T', H', W']
        t, h, w = x.shape[2:]
        return F.avg_pool3d(x, (min(t, 2), min(h, 7), min(w, 7)), 1).flatten(2).transpose(1, 2)
