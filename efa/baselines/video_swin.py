"""Video Swin Transformer (Liu et al., CVPR 2022) with a linear head: EFA's encoder without text and fusion.

The original, Swin-B, classifies 32 frames of 224 px, 2 frames apart, by a linear layer on the mean of all tokens after
dropout. For action form assessment that layer gets A outputs, and a quality head reads the same mean. Patches are two
frames deep and two apart, as in the original and unlike EFA's encoder. Six frames need no other change.

At small scale the encoder is EFA's own with its weights and frozen, so that the two rows differ in text and fusion
only, and features are computed once for both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from efa.baselines.base import Recogniser, register
from efa.config import EncoderConfig, build
from efa.model.swin import VideoSwin

SMALL: dict[str, Any] = {"frames": 6, "size": 64, "encoder": build("laptop").encoder}


@dataclass(frozen=True)
class VideoSwinConfig:
    """The defaults are the original's Swin-B."""

    frames: int = 32
    size: int = 224  # pixels
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(temporal_stride=2))  # not its `weights`
    dropout: float = 0.5


@register("Video Swin", VideoSwinConfig, SMALL)
class VideoSwinRecogniser(Recogniser):
    """Class and verdict from the mean token."""

    def __init__(self, config: VideoSwinConfig, actions: int):
        encoder = VideoSwin(config.encoder).requires_grad_(not config.encoder.frozen)
        super().__init__(encoder, config, encoder.out_dim, actions)

    def pool(self, features: Tensor) -> Tensor:
        """F_v [B, N, C] -> its mean [B, 1, C]."""
        return features.mean(1, keepdim=True)
