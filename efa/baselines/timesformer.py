"""TimeSformer (Bertasius et al., ICML 2021): a ViT whose blocks attend over time and then over space.

The original classifies 8 frames of 224 px, 32 frames apart, by a linear layer on the class token, without dropout. For
action form assessment that layer gets A outputs, and a quality head reads the same token. Six frames need no other
change. The layers are those of transformers (random weights).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import TimesformerConfig, TimesformerModel

from efa.baselines.base import Recogniser, register
from efa.model.swin import StochasticDepth

SMALL: dict[str, Any] = {"frames": 6, "size": 64, "patch": 8, "dim": 64, "depth": 2, "heads": 4, "drop_path": 0.0}


@dataclass(frozen=True)
class TimeSformerConfig:
    """The defaults are the original's ViT-B/16 with divided space-time attention."""

    frames: int = 8
    size: int = 224  # pixels
    patch: int = 16  # pixels
    dim: int = 768
    depth: int = 12
    heads: int = 12
    drop_path: float = 0.1
    dropout: float = 0.0


class TimeSformerTrunk(nn.Module):
    """The ViT up to its last LayerNorm; of its tokens only the class token leaves it.

    Attention over time starts at zero in every block, unlike in transformers, as the released code does it (facebook-
    research/TimeSformer, vit.py: the loop skips what it counts first, and that is the list of blocks, not a block).
    """

    def __init__(self, config: TimeSformerConfig):
        super().__init__()
        settings = TimesformerConfig(
            image_size=config.size,
            patch_size=config.patch,
            num_frames=config.frames,
            hidden_size=config.dim,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.dim,
        )
        self.vit = TimesformerModel(settings)
        for i, layer in enumerate(self.vit.encoder.layer):  # here, as transformers takes whole numbers only
            layer.drop_path = StochasticDepth(config.drop_path * i / max(config.depth - 1, 1))
        for name, parameter in self.vit.named_parameters():
            if ".temporal_dense." in name:
                nn.init.zeros_(parameter)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> class token [B, 1, D]."""
        return self.vit(frames).last_hidden_state[:, :1]


@register("TimeSformer", TimeSformerConfig, SMALL, trunk="timesformer")
class TimeSformer(Recogniser):
    """Class and verdict from the class token."""

    def __init__(self, config: TimeSformerConfig, actions: int):
        mean, std = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)  # of the release, not ImageNet's
        super().__init__(TimeSformerTrunk(config), config, config.dim, actions, mean, std)
