"""C3DAVG (Parmar and Morris, CVPR 2019, with MTL-AQA): C3D clips, averaged; classes, score and caption learnt together.

Original: 103 frames at the end of a dive give six clips of 16 frames of 112 px. Each goes through C3D to pool5 (8,192
values); their mean goes through fc6 to the heads, their sequence to S2VT. Loss: heads + 0.01 x caption, whose negative
log-likelihood is summed over words: about `weight_text` = 1 for our mean over 100 words. Adam, 1e-4.

For action form assessment the five heads that name a dive become one of A classes, and the score, learnt by squared and
absolute error, becomes the verdict's logit, learnt by BCE. The last frame is repeated where the last clip is too short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efa.baselines.base import SystemOutput, quality_head, register
from efa.baselines.c3d import C3DTrunk, he_init
from efa.baselines.s2vt import S2VT, S2VTCaptioner

SMALL: dict[str, Any] = {"frames": 6, "clip": 3, "size": 64, "width": 8, "hidden": 256, "text_dim": 128}


@dataclass(frozen=True)
class C3DAVGConfig:
    """The defaults are the original's."""

    frames: int = 96
    clip: int = 16  # frames that C3D sees at a time
    size: int = 112  # pixels
    width: int = 64  # channels of C3D's first convolution
    hidden: int = 4096  # of fc6
    text_dim: int = 512
    text_layers: int = 2
    text_dropout: float = 0.5


class Clips(nn.Module):
    """C3D over one clip after another."""

    def __init__(self, width: int, clip: int):
        super().__init__()
        self.trunk, self.clip = C3DTrunk(width), clip

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> pool5 of each clip, flat [B, M, C]."""
        if missing := -frames.shape[1] % self.clip:
            frames = torch.cat([frames, frames[:, -1:].expand(-1, missing, -1, -1, -1)], 1)
        clips = frames.unflatten(1, (-1, self.clip))  # [B, M, clip, 3, H, W]
        return self.trunk(clips.flatten(0, 1)).flatten(1).unflatten(0, clips.shape[:2])


@register("C3DAVG", C3DAVGConfig, SMALL, trunk="c3d")
class C3DAVG(S2VTCaptioner):
    """Class, verdict and caption."""

    def __init__(self, config: C3DAVGConfig, actions: int, vocabulary_size: int):
        encoder = Clips(config.width, config.clip)
        super().__init__(encoder, config)
        dim = encoder.trunk.out_dim * math.prod(encoder.trunk.grid(config.clip, config.size))
        self.fc6 = nn.Linear(dim, config.hidden)
        he_init(self.fc6)
        self.class_head = nn.Linear(config.hidden, actions)
        self.quality_head = quality_head(config.hidden)
        self.captioner = S2VT(dim, vocabulary_size, config.text_dim, config.text_layers, config.text_dropout)

    def heads(self, encoded: Tensor) -> SystemOutput:
        vector = F.relu(self.fc6(encoded.mean(1)))  # [B, hidden]
        return SystemOutput(self.class_head(vector), self.quality_head(vector)[:, 0])
