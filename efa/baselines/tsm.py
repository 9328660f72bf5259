"""TSM (Lin et al., ICCV 2019): a 2D ResNet whose frames exchange an eighth of their channels with each neighbour.

The original classifies 8 frames of 224 px, one from each of 8 equal segments of the video, by a linear layer, and
averages the frames' logits. Here EFA's heads read the frames' vectors. The ResNet is that of transformers.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel
from transformers.models.resnet.modeling_resnet import ResNetBottleNeckLayer

from efa.baselines.base import System, register

SHARE = 8  # one channel in so many moves a frame back, one in so many a frame on
Stages = tuple[int, ...]  # one number for each stage of the ResNet
WIDTHS = (256, 512, 1024, 2048)


def shift_frames(x: Tensor, frames: int, share: int) -> Tensor:
    """[B T, C, H, W] -> the same: C // share channels come from the next frame, as many from the last; else zeros."""
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

    def __init__(self, frames: int, stem: int, widths: Stages, depths: Stages):
        super().__init__()
        self.frames = frames
        settings = ResNetConfig(embedding_size=stem, hidden_sizes=list(widths), depths=list(depths))
        self.resnet = ResNetModel(settings)
        for block in self.resnet.modules():
            if isinstance(block, ResNetBottleNeckLayer):
                first: Any = block.layer[0]
                first.convolution = ShiftedConvolution(first.convolution, frames, SHARE)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> [B, T, C]; ValueError if T is not `frames`."""
        b, t = frames.shape[:2]
        if t != self.frames:
            raise ValueError(f"clips of {t} frames given to a TSM of {self.frames}")
        return self.resnet(frames.flatten(0, 1)).pooler_output.view(b, t, -1)


@register("TSM", trunk="tsm", stem=16, widths=(32, 64, 128, 256), depths=(2, 2, 2, 2))
class TSM(System):
    """ResNet-50: `stem` channels of the first convolution, then `widths` channels and `depths` blocks of each stage."""

    def __init__(self, frames: int = 8, stem: int = 64, widths: Stages = WIDTHS, depths: Stages = (3, 4, 6, 3)):
        super().__init__(TSMTrunk(frames, stem, widths, depths))
        self.class_shape = self.form_shape = (frames, widths[-1])
