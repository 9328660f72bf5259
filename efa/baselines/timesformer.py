"""TimeSformer (Bertasius et al., ICML 2021): a ViT whose blocks attend over time and then over space.

The original, ViT-B/16, classifies 8 frames of 224 px, 32 frames apart, by a linear layer on the class token. For
action form assessment a quality head reads the same token. The layers are those of transformers.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from transformers import TimesformerConfig, TimesformerModel

from efa.baselines.base import Recogniser, register
from efa.model.swin import StochasticDepth

SMALL = {"frames": 6, "size": 64, "patch": 8, "dim": 64, "depth": 2, "heads": 4, "drop_path": 0.0}


@dataclass(frozen=True)
class TimeSformerConfig:
    frames: int = 8
    size: int = 224  # pixels
    patch: int = 16  # pixels
    dim: int = 768
    depth: int = 12
    heads: int = 12
    drop_path: float = 0.1
    dropout: float = 0.0


class TimeSformerTrunk(nn.Module):
    """The ViT up to its last LayerNorm. Attention over time starts at zero in every block, as in the released code."""

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
    def __init__(self, config: TimeSformerConfig, actions: int):
        mean, std = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)  # of the release, not ImageNet's
        super().__init__(TimeSformerTrunk(config), config, config.dim, actions, mean, std)
