"""EFA, the Explainable Fitness Assessor, and its losses.

frames -> Video Swin -> F_v -> class; the class's text, F_v -> fusion (eq. 1-10) -> F_f -> quality, explanation
(or skeletons -> the pose encoder -> F_v; `fusion.class_from` reads the class from F_f instead)
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efa.config import Config, PoseConfig, TrainingConfig
from efa.model.base import SystemOutput, Text, VideoModel
from efa.model.decoder import Decoder
from efa.model.fusion import Fusion, FusionOutput
from efa.model.pose import PoseEncoder
from efa.model.swin import VideoSwin


@dataclass(kw_only=True)
class Output(SystemOutput):
    """`SystemOutput` with the fused features, gate and attention weights in `fusion`."""

    fusion: FusionOutput


class EFAModel(VideoModel):
    """The whole model but the text encoder, for A `actions`, V words (id 0 is padding) and text vectors of length E.

    The paper reads the class from F_f (Section IV-B; Algorithm 1, line 8), which needs the class's text, and at
    inference has the class pick the text (IV-C). So there are three readings, `fusion.class_from`; in each, `classify`
    picks the steps without any text. Swin knows only relative positions inside a window, so each token gets a learned
    vector for its frame and one for its place, which the paper does not mention.
    """

    TEXT_DECODER = TEXT_WEIGHTS = "decoder"
    READS_STEPS = True
    encoder: VideoSwin | PoseEncoder

    def __init__(self, config: Config, actions: int, vocabulary_size: int, text_dim: int):
        encoder, clip = config.encoder, config.data
        super().__init__(PoseEncoder(encoder, clip.frames) if isinstance(encoder, PoseConfig) else VideoSwin(encoder))
        self.config = config
        self.grid = self.encoder.grid(clip.frames, clip.size, clip.size)  # (T', H', W')
        c, d = self.encoder.out_dim, config.fusion.dim
        self.frame_position = nn.Parameter(torch.randn(self.grid[0], 1, c) * 0.02)
        self.place_position = nn.Parameter(torch.randn(1, self.grid[1] * self.grid[2], c) * 0.02)
        self.fusion = Fusion(config.fusion, c, text_dim)
        seen = c if config.fusion.class_from == "video" else d
        self.add_heads(config.fusion, actions, (self.grid[0], seen), (self.grid[0], d))
        self.decoder = Decoder(config.decoder, vocabulary_size, d)

    def classify(self, features: Tensor) -> Tensor:
        """F_v [B, N, C] -> class logits [B, A] without any text, by which the steps are picked."""
        if self.config.fusion.class_from == "video":
            return self.class_head(features)
        return self.class_head(self.fusion(self.place(features), None, None).fused)

    def place(self, features: Tensor) -> Tensor:
        """F_v [B, N, C] -> the same through the adapter, with a vector added for each token's frame and place."""
        return self.adapter(features) + (self.frame_position + self.place_position).flatten(0, 1)

    def forward(
        self, features: Tensor, steps: Text, instruction: Text, text_mask: Text = None, tokens: Text = None
    ) -> Output:
        """Class, verdict and, given tokens, the text logits.

        Args:
            features: F_v [B, N, C] of `encode_video`.
            steps, instruction: text vectors [B, 5, E] and [B, 1, E]; None where no clip has text.
            text_mask: bool [B], False for a clip without text.
            tokens: ids [B', L] of the explanations of the first B' <= B clips, bos first; None: no text logits.
        """
        class_from = self.config.fusion.class_from
        fusion = self.fusion(self.place(features), steps, instruction, text_mask)  # (alg-1-7) F_f
        fused = fusion.fused  # [B, N, D]
        return Output(
            class_logits=self.classify(features) if class_from == "video" else self.class_head(fused),  # (alg-1-8)
            blind_logits=self.classify(features) if class_from == "two_pass" and self.training else None,
            quality_logit=self.quality_head(fused)[:, 0],  # (alg-1-9)
            # (alg-1-10)
            text_logits=None if tokens is None else self.decoder(tokens, fusion.fused[: len(tokens)]),
            fusion=fusion,
        )

    def text_memory(self, *inputs: Text) -> Tensor:
        return self(*inputs).fusion.fused  # F_f [B, N, D]


def losses(
    output: SystemOutput, batch: dict[str, Tensor], config: TrainingConfig, shares: tuple[float, float] | None = None
) -> dict[str, Tensor]:
    """Eq. 11: lambda * CE(class) + BCE(quality) + CE(text, label smoothing).

    Eq. 11 and Section V-C put lambda on the class loss (`weight_class`), Algorithm 1 (line 11) and the end of IV-C on
    the quality loss (`weight_quality`).

    Args:
        output: its `extra` terms are added as they are, but 'masked_lm' replaces the text's loss.
        batch: `action` ids [B], `quality` 0 or 1 [B] and `tokens` [B, L] from bos to eos, padded on the right with 0;
            a clip without an explanation is a row of padding and adds nothing.
        shares: of a piece of a batch in the batch's clips and texts, so that the pieces' losses add up to the batch's.

    Returns:
        Scalars: `class`, `quality`, `text` before weighting, and `total`, the one to minimise.
    """
    quality = batch["quality"].to(output.quality_logit.dtype)
    class_loss = F.cross_entropy(output.class_logits, batch["action"])
    if output.blind_logits is not None:
        class_loss = (class_loss + F.cross_entropy(output.blind_logits, batch["action"])) / 2
    parts = {
        "class": class_loss,  # L_c
        "quality": F.binary_cross_entropy_with_logits(output.quality_logit, quality),  # L_q
        "text": output.quality_logit.new_zeros(()),
    }
    if output.text_logits is not None:
        targets = F.pad(batch["tokens"][:, 1:], (0, 1))  # [B, L], 0 is padding, moved so that the logits need no copy
        settings: dict[str, Any] = {"ignore_index": 0, "label_smoothing": config.label_smoothing, "reduction": "none"}
        each = F.cross_entropy(output.text_logits.flatten(0, 1), targets.flatten(), **settings).view_as(targets)
        weight = (targets != 0) * batch.get("text_weight", quality.new_ones(len(targets)))[:, None]  # [B, L]
        # L_t; a batch without any text gives 0, not NaN
        parts["text"] = (each * weight).sum() / weight.sum().clamp(min=1e-6)
    extra = dict(output.extra)
    parts["text"] = extra.pop("masked_lm", parts["text"])
    if shares is not None:
        parts = {name: value * shares[name == "text"] for name, value in parts.items()}
        extra = {name: value * shares[0] for name, value in extra.items()}
    # (eq-11, alg-1-11)
    weighted = config.weight_class * parts["class"] + config.weight_quality * parts["quality"]
    parts["total"] = weighted + config.weight_text * parts["text"] + sum(extra.values())
    return parts
