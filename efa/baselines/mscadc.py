"""MSCADC (Parmar and Morris, CVPR 2019, with MTL-AQA): a dilated C3D body, and for every task a context net of its own.

Original: 16 frames of 180 px, evenly spaced over 103; a C3D of half the width with batch normalisation, without the
last two pools and with its last two convolutions dilated. A head squeezes that to 12 channels, looks around with
dilated convolutions, pools, and averages what is left over the whole clip. The caption's head ends in one vector of
1,200 values, a sequence of length one for S2VT. Losses as in `c3davg`. Adam, 1e-4.

For action form assessment the head that names a dive by five answers gets A outputs instead, and the score's head gives
the verdict's logit, learnt by BCE. The caption stays. Body and heads lose time to pools and borders, so a video of
fewer than 16 frames is stretched to 16 by repeating its frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efa.baselines.base import SystemOutput, register
from efa.baselines.c3d import he_init
from efa.baselines.s2vt import S2VT, S2VTCaptioner

MIN_FRAMES = 16  # of the body's input
SMALL: dict[str, Any] = {
    "frames": 6,
    "size": 64,
    "width": 8,
    "bottleneck": 2,
    "dilations": (1, 1),  # a map of 4 x 8 x 8 is smaller than the original's reach, nine positions to each side
    "text_dim": 128,
}


@dataclass(frozen=True)
class MSCADCConfig:
    """The defaults are the original's."""

    frames: int = 16
    size: int = 180  # pixels
    width: int = 32  # channels of the first convolution
    bottleneck: int = 12  # channels that a head squeezes the body's to
    dilations: tuple[int, int] = (2, 4)  # of a head's third and fourth convolution
    dropout: float = 0.5  # after the body
    text_dim: int = 512
    text_layers: int = 2
    text_dropout: float = 0.5


def convolution(inputs: int, outputs: int, padding: int = 0, dilation: int = 1) -> list[nn.Module]:
    """3 x 3 x 3, batch normalisation, ReLU."""
    conv = nn.Conv3d(inputs, outputs, 3, padding=padding, dilation=dilation)
    return [conv, nn.BatchNorm3d(outputs), nn.ReLU()]


class DilatedC3D(nn.Module):
    """The body. Its last convolution loses a position at each border, as the original's does."""

    def __init__(self, width: int):
        super().__init__()
        w = width
        layers = [*convolution(3, w, 1), nn.MaxPool3d((1, 2, 2)), *convolution(w, 2 * w, 1), nn.MaxPool3d(2)]
        layers += [*convolution(2 * w, 4 * w, 1), *convolution(4 * w, 4 * w, 1), nn.MaxPool3d(2)]
        layers += [*convolution(4 * w, 8 * w, 1), *convolution(8 * w, 8 * w, 1)]
        layers += [*convolution(8 * w, 8 * w, 2, dilation=2), *convolution(8 * w, 8 * w, 1, dilation=2)]
        self.layers = nn.Sequential(*layers)
        he_init(self)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> [B, 8 width, T', H', W'], of `grid`."""
        t = frames.shape[1]
        if t < MIN_FRAMES:
            frames = frames[:, torch.arange(MIN_FRAMES, device=frames.device) * t // MIN_FRAMES]
        return self.layers(frames.transpose(1, 2))

    @staticmethod
    def grid(frames: int, size: int) -> tuple[int, int, int]:
        """(T', H', W') of such a clip; (2, 20, 20) for 16 frames of 180 px."""
        return max(frames, MIN_FRAMES) // 4 - 2, size // 8 - 2, size // 8 - 2


class Context(nn.Sequential):
    """A task's own net: [B, C, T', H', W'] -> [B, outputs, (T' + 2) / 2, (H' + 2) / 2, (W' + 2) / 2].

    A border that repeats the map's edge, nine positions wide in the original, makes up for what the convolutions lose.
    On a small map nearly all of the work is done on that border: 98 % at 64 px.
    """

    def __init__(self, inputs: int, bottleneck: int, outputs: int, dilations: tuple[int, int] = (2, 4)):
        super().__init__()
        b, (third, fourth) = bottleneck, dilations
        self.layers = nn.Sequential(
            nn.Conv3d(inputs, b, 1, padding=1),
            nn.ReplicationPad3d(3 + third + fourth),
            *convolution(b, 2 * b),
            *convolution(2 * b, 2 * b),
            *convolution(2 * b, 4 * b, dilation=third),
            *convolution(4 * b, 8 * b, dilation=fourth),
            *convolution(8 * b, 8 * b),
            nn.Conv3d(8 * b, b, 1),
            nn.BatchNorm3d(b),
            nn.ReLU(),
            nn.MaxPool3d(2),
            *convolution(b, b, 1),
            nn.Conv3d(b, outputs, 3, padding=1),
        )
        he_init(self)


@register("MSCADC", MSCADCConfig, SMALL, trunk="mscadc")
class MSCADC(S2VTCaptioner):
    """Class, verdict and caption."""

    def __init__(self, config: MSCADCConfig, actions: int, vocabulary_size: int):
        super().__init__(DilatedC3D(config.width), config)
        self.dropout = nn.Dropout(config.dropout)
        self.grid = DilatedC3D.grid(config.frames, config.size)
        b = config.bottleneck
        self.class_head = Context(8 * config.width, b, actions, config.dilations)
        self.quality_head = Context(8 * config.width, b, 1, config.dilations)
        self.caption_head = Context(8 * config.width, b, b, config.dilations)
        t, h, w = ((n + 2) // 2 - 1 for n in self.grid)  # a pool of 2 with stride 1 takes one more
        self.captioner = S2VT(b * t * h * w, vocabulary_size, config.text_dim, config.text_layers, config.text_dropout)

    def encode_video(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W] -> the body's positions [B, N, C], N = T' H' W'."""
        return self.encoder(self.normalise(frames)).flatten(2).transpose(1, 2)

    def encode(self, features: Tensor, steps: Tensor | None = None, text_mask: Tensor | None = None) -> Tensor:
        """The body's positions [B, N, C] -> its map after dropout [B, C, T', H', W']."""
        return self.dropout(features.transpose(1, 2).unflatten(2, self.grid))

    def heads(self, encoded: Tensor) -> SystemOutput:
        quality = self.quality_head(encoded).mean((1, 2, 3, 4))  # [B]
        return SystemOutput(self.class_head(encoded).mean((2, 3, 4)), quality)

    def memory(self, encoded: Tensor, rows: int | None = None) -> Tensor:
        """The map -> the one vector that S2VT reads [B', 1, D]."""
        return F.max_pool3d(self.caption_head(encoded[:rows]), 2, 1).flatten(1)[:, None]

    def class_logits(self, features: Tensor) -> Tensor:
        return self.class_head(self.encode(features)).mean((2, 3, 4))  # without the other task's net
