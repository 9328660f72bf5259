"""Video Swin Transformer (Liu et al., CVPR 2022) with a linear head: EFA's encoder without text and fusion.

The original, Swin-B, classifies 32 frames of 224 px, 2 frames apart, by a linear layer on the mean of all tokens after
dropout. For action form assessment that layer gets A outputs, and a quality head reads the same mean. Patches are two
frames deep and two apart, as in the original and unlike EFA's encoder. Six frames need no other change.

At small scale the encoder is EFA's own with its weights and frozen, so that what the two rows differ in is text and
fusion, and features are computed once for both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from efa.baselines.base import Recogniser
from efa.config import EncoderConfig, build
from efa.model.swin import VideoSwin

SMALL: dict[str, Any] = {"frames": 6, "size": 64, "encoder": build("laptop").encoder}


@dataclass(frozen=True)
class VideoSwinConfig:
    """The defaults are the original's Swin-B."""

    frames: int = 32
    size: int = 224  # pixels
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(temporal_stride=2))
    dropout: float = 0.5


class VideoSwinRecogniser(Recogniser):
    """Class and verdict from the mean token.

    `config.encoder.weights` is not read: whoever trains loads them (`load_encoder`), as for `EFAModel`.

    Args:
        config: the architecture; a frozen encoder gets no gradient and stays in eval mode.
        actions: A.
        vocabulary_size: not read; this system writes no text.
    """

    def __init__(self, config: VideoSwinConfig, actions: int, vocabulary_size: int = 0):
        encoder = VideoSwin(config.encoder).requires_grad_(not config.encoder.frozen)
        super().__init__(encoder, encoder.out_dim, actions, config.dropout)
        self.config = config

    def encode_video(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W] -> F_v [B, N, C], N = T' H' W'."""
        return self.encoder(self.normalise(frames)).flatten(1, 3)

    def pool(self, features: Tensor) -> Tensor:
        """F_v [B, N, C] -> its mean [B, 1, C]."""
        return features.mean(1, keepdim=True)
