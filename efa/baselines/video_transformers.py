"""TimeSformer (Bertasius et al., ICML 2021) and Video Swin Transformer (Liu et al., CVPR 2022).

TimeSformer: a ViT whose blocks attend over time and then over space. The original, ViT-B/16, classifies 8 frames of
224 px, 32 frames apart, by a linear layer on its class token. The layers are those of transformers.

Video Swin: EFA's encoder without text and fusion. The original, Swin-B, classifies 32 frames of 224 px, 2 frames apart,
by a linear layer on the mean of all tokens. Patches are two frames deep and two apart, as in the original. At small
scale the encoder is EFA's own, frozen, so that the two rows differ in text and fusion only.

Here EFA's heads read the class token and Swin's tokens.
"""

from typing import Any

from torch import Tensor, nn
from transformers import TimesformerConfig, TimesformerModel

from efa.baselines.base import System, register
from efa.config import EncoderConfig
from efa.model.swin import VideoSwin, stochastic_depth

STOCK_SWIN = EncoderConfig(temporal_stride=2)


class TimeSformerTrunk(nn.Module):
    """The ViT up to its last LayerNorm. Attention over time starts at zero in every block, as in the released code."""

    def __init__(self, frames: int, size: int, patch: int, dim: int, depth: int, heads: int, drop_path: float):
        super().__init__()
        sizes: dict[str, Any] = {"num_frames": frames, "image_size": size, "patch_size": patch, "hidden_size": dim}
        sizes |= {"num_hidden_layers": depth, "num_attention_heads": heads, "intermediate_size": 4 * dim}
        self.vit = TimesformerModel(TimesformerConfig(**sizes))
        for i, layer in enumerate(self.vit.encoder.layer):  # here, as transformers takes whole numbers only
            layer.drop_path = stochastic_depth(drop_path * i / max(depth - 1, 1))
        for name, parameter in self.vit.named_parameters():
            if ".temporal_dense." in name:
                nn.init.zeros_(parameter)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> class token [B, 1, D]."""
        return self.vit(frames).last_hidden_state[:, :1]


@register("TimeSformer", trunk="timesformer", patch=8, dim=64, depth=2, heads=4, drop_path=0.0)
class TimeSformer(System):
    MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)  # of the release, not ImageNet's

    def __init__(
        self,
        frames: int = 8,
        size: int = 224,
        patch: int = 16,  # pixels
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        drop_path: float = 0.1,
    ):
        super().__init__(TimeSformerTrunk(frames, size, patch, dim, depth, heads, drop_path))
        self.class_shape = self.form_shape = (1, dim)


@register("Video Swin")
class VideoSwinRecogniser(System):
    def __init__(self, frames: int = 32, size: int = 224, encoder: EncoderConfig = STOCK_SWIN):
        trunk = VideoSwin(encoder)
        super().__init__(trunk)
        self.class_shape = self.form_shape = (trunk.grid(frames, size, size)[0], trunk.out_dim)
