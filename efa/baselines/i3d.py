"""I3D (Carreira and Zisserman, CVPR 2017): Inception-v1 inflated to 3D, the trunk of RICA2 as well.

The original classifies 64 frames of 224 px with values in [-1, 1] by a linear layer on pooled windows of time, whose
logits are averaged. Here EFA's heads read the windows. The average pool of 2 x 7 x 7, which needs 9 frames of 193 px,
shrinks to what is there. Batch statistics move by torch's tenth a step, not the
original's thousandth, too slow for a short training.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efa.baselines.base import System, register
from efa.baselines.c3d import he_init

# Outputs of a block's branches: 1x1x1; 1x1x1, 3x3x3; 1x1x1, 3x3x3; pool, 1x1x1 (GoogLeNet's table 1).
BLOCKS = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
POOLS = {"4b": 3, "5b": 2}  # window of the max pool of stride 2 before a block


def pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
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
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.norm = nn.BatchNorm3d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(pad_same(x, self.conv.kernel_size, self.conv.stride))))


class MaxPool(nn.MaxPool3d):
    """With 'SAME' padding; zeros are no larger than anything here, since a ReLU always comes before."""

    kernel_size: tuple[int, int, int]
    stride: tuple[int, int, int]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_same(x, self.kernel_size, self.stride))


class Inception(nn.Module):
    """Four branches side by side: [B, C, T, H, W] -> the same grid, their channels concatenated."""

    def __init__(self, inputs: int, a: int, b1: int, b2: int, c1: int, c2: int, d: int):
        super().__init__()
        first = Convolution(inputs, a)
        second = nn.Sequential(Convolution(inputs, b1), Convolution(b1, b2, 3))
        third = nn.Sequential(Convolution(inputs, c1), Convolution(c1, c2, 3))
        fourth = nn.Sequential(MaxPool((3, 3, 3), (1, 1, 1)), Convolution(inputs, d))
        self.branches = nn.ModuleList([first, second, third, fourth])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class I3DTrunk(nn.Module):
    """Everything before the average pool, with `width` times the original's channels, 1,024 at last."""

    def __init__(self, width: float = 1.0):
        super().__init__()

        def scaled(*channels: int) -> list[int]:
            return [max(1, round(n * width)) for n in channels]

        first, self.out_dim = scaled(64, 192)
        layers: list[nn.Module] = [Convolution(3, first, 7, 2), MaxPool((1, 3, 3), (1, 2, 2))]
        layers += [Convolution(first, first), Convolution(first, self.out_dim, 3), MaxPool((1, 3, 3), (1, 2, 2))]
        for name, outputs in BLOCKS.items():
            if name in POOLS:
                layers.append(MaxPool((POOLS[name],) * 3, (2, 2, 2)))
            a, b1, b2, c1, c2, d = scaled(*outputs)
            layers.append(Inception(self.out_dim, a, b1, b2, c1, c2, d))
            self.out_dim = a + b2 + c2 + d
        self.layers = nn.Sequential(*layers)
        he_init(self)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> [B, 1024 width, ceil(T / 8), ceil(H / 32), ceil(W / 32)]."""
        return self.layers(frames.transpose(1, 2))


@register("I3D", trunk="i3d", width=0.25)
class I3D(System):
    """`width` is the share of the original's channels."""

    MEAN = STD = (0.5, 0.5, 0.5)

    def __init__(self, frames: int = 64, width: float = 1.0):
        trunk = I3DTrunk(width)
        super().__init__(trunk)
        windows = max(1, math.ceil(frames / 8) - 1)
        self.class_shape = self.form_shape = (windows, trunk.out_dim)

    def encode_video(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W] -> pooled windows [B, N, C]; N = 7 for 64 frames of 224 px, 1 below 17 frames."""
        x = self.encoder(self.normalise(frames))  # [B, C, T', H', W']
        t, h, w = x.shape[2:]
        return F.avg_pool3d(x, (min(t, 2), min(h, 7), min(w, 7)), 1).flatten(2).transpose(1, 2)
