"""TSM (Lin et al., ICCV 2019): a 2D ResNet whose frames exchange an eighth of their channels with each neighbour.

The original classifies 8 frames of 224 px, one from each of 8 equal segments of the video, and averages the frames'
logits. For action form assessment the last layer gets A outputs, and a quality head reads each frame's vector. Six
frames need no other change. The ResNet is that of transformers (random weights).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel
from transformers.models.resnet.modeling_resnet import ResNetBottleNeckLayer

from efa.baselines.base import Recogniser, register

SMALL: dict[str, Any] = {"frames": 6, "size": 64, "stem": 16, "widths": (32, 64, 128, 256), "depths": (2, 2, 2, 2)}


@dataclass(frozen=True)
class TSMConfig:
    """The defaults are the original's ResNet-50."""

    frames: int = 8
    size: int = 224  # pixels
    stem: int = 64  # channels of the first convolution
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    shift: int = 8  # one channel in so many moves a frame back, one in so many a frame on
    dropout: float = 0.5


def shift_frames(x: Tensor, frames: int, share: int) -> Tensor:
    """[B T, C, H, W] -> the same: the first C / share channels come from the next frame, as many from the last one.

    The two ends of a clip get zeros. C / share is rounded down.
    """
    x = x.unflatten(0, (-1, frames))  # [B, T, C, H, W]
    n = x.shape[2] // share
    zeros = x.new_zeros(len(x), 1, n, *x.shape[3:])
    earlier = torch.cat([x[:, 1:, :n], zeros], 1)
    later = torch.cat([zeros, x[:, :-1, n : 2 * n]], 1)
    return torch.cat([earlier, later, x[:, :, 2 * n :]], 2).flatten(0, 1)


class ShiftedConvolution(nn.Module):
    """The first convolution of a residual branch, after the shift; the shortcut beside it keeps the frame as it is."""

    def __init__(self, convolution: nn.Module, frames: int, share: int):
        super().__init__()
        self.convolution, self.frames, self.share = convolution, frames, share

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(shift_frames(x, self.frames, self.share))


class TSMTrunk(nn.Module):
    """ResNet with a shift in every block; its last features averaged over each frame."""

    def __init__(self, config: TSMConfig):
        super().__init__()
        self.config = config
        self.resnet = ResNetModel(
            ResNetConfig(embedding_size=config.stem, hidden_sizes=list(config.widths), depths=list(config.depths))
        )
        for block in self.resnet.modules():
            if isinstance(block, ResNetBottleNeckLayer):
                first = block.layer[0]
                convolution = cast(nn.Module, first.convolution)
                first.convolution = ShiftedConvolution(convolution, config.frames, config.shift)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> [B, T, C].

        Raises:
            ValueError: T is not `config.frames`; the shift would mix clips.
        """
        b, t = frames.shape[:2]
        if t != self.config.frames:
            raise ValueError(f"clips of {t} frames given to a TSM of {self.config.frames}")
        return self.resnet(frames.flatten(0, 1)).pooler_output.view(b, t, -1)


@register("TSM", TSMConfig, SMALL, trunk="tsm")
class TSM(Recogniser):
    """Class and verdict, each the mean over frames."""

    def __init__(self, config: TSMConfig, actions: int):
        super().__init__(TSMTrunk(config), config, config.widths[-1], actions)
