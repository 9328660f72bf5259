"""SwinBERT (Lin et al., CVPR 2022): Video Swin and a BERT that reads video and text together, trained end to end.

Original: 32 frames of 224 px, Swin-B, its tokens brought to 512 and then to 768 values, BERT-base over [text; video].
The text is causal and sees all video; video tokens see each other through a learnt sparse mask. Half of the words are
hidden in training (80 % [MASK], 10 % a random word, 10 % themselves); a caption is written by appended [MASK]. Loss:
masked LM + 0.5 x the mask's mean off-diagonal weight. AdamW 3e-4, the backbone at 0.05 of that.

The original only captions. For action form assessment a linear head with A outputs and a quality head for BCE read the
mean of the video tokens after BERT, which no text can reach. Six frames need no other change.

The mask as released: sigmoid(w) in place of a 0-1 mask, so that a pair costs 1e4 x (1 - sigmoid(w)). Starting at w ~
N(0, 1) every pair but the diagonal costs thousands, its softmax is exactly 0, and so is w's gradient, but for the
sparsity term, which pushes further down: after Swin, video tokens see only themselves. Kept, as it is the system
compared; `sparse_mask=False` is BERT without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from efa.baselines.base import SystemOutput, quality_head, register
from efa.baselines.masked_lm import MaskedCaptioner, MaskedLM, Memory, first_rows
from efa.config import DecoderConfig, EncoderConfig, build

SMALL: dict[str, Any] = {
    "frames": 6,
    "size": 64,
    "encoder": build("laptop").encoder,
    "projection": 128,
    "bert": DecoderConfig(dim=128, depth=2, heads=4, dropout=0.0, max_tokens=128),
}


@dataclass(frozen=True)
class SwinBERTConfig:
    """The defaults are the original's. `weights` of encoder and BERT, and BERT's `vocabulary`, are not read."""

    frames: int = 32
    size: int = 224  # pixels
    encoder: EncoderConfig = field(default_factory=lambda: EncoderConfig(temporal_stride=2))
    projection: int = 512  # between Swin's width and BERT's
    bert: DecoderConfig = field(default_factory=lambda: DecoderConfig(max_tokens=512))  # BERT-base
    mask_share: float = 0.5  # of the words, hidden in training
    mask_word: float = 0.8  # of these, replaced by [MASK]
    sparse_mask: bool = True
    sparsity: float = 0.5  # weight of the mask's own loss


@register("SwinBERT", SwinBERTConfig, SMALL)
class SwinBERT(MaskedCaptioner):
    """Class, verdict and caption."""

    TEXT_WEIGHTS = "swinbert"

    def __init__(self, config: SwinBERTConfig, actions: int, vocabulary_size: int, mask_id: int):
        super().__init__(config)
        dim = config.bert.dim
        self.video_in = nn.Sequential(
            nn.Linear(self.encoder.out_dim, config.projection),
            nn.Linear(config.projection, dim),
            nn.Dropout(config.bert.dropout),
        )
        tokens = math.prod(self.encoder.grid(config.frames, config.size, config.size))
        self.attention_weights = nn.Parameter(torch.randn(tokens, tokens)) if config.sparse_mask else None  # w
        self.bert = MaskedLM(config.bert, vocabulary_size, mask_id, config.mask_share, config.mask_word)
        self.class_head = nn.Linear(dim, actions)
        self.quality_head = quality_head(dim)

    def mask(self) -> Tensor | None:
        """The learnt mask [N, N], 1 on the diagonal; None where there is none."""
        if self.attention_weights is None:
            return None
        diagonal = torch.eye(len(self.attention_weights), dtype=torch.bool, device=self.attention_weights.device)
        return self.attention_weights.sigmoid().masked_fill(diagonal, 1.0)

    def encode(
        self, features: Tensor, steps: Tensor | None = None, text_mask: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        """Swin's tokens [B, N, C] -> the mean video state [B, D], and what the text sees of the video."""
        mask = self.mask()
        states, memory = self.bert.run(self.video_in(features), mask=None if mask is None else (mask - 1) * 1e4)
        return states.mean(1), memory

    def heads(self, encoded: tuple[Tensor, Memory]) -> SystemOutput:
        """`extra` in training: `sparsity`."""
        output = SystemOutput(self.class_head(encoded[0]), self.quality_head(encoded[0])[:, 0])
        if self.training and (mask := self.mask()) is not None:
            output.extra["sparsity"] = self.config.sparsity * (mask.sum() - len(mask)) / mask.numel()
        return output

    def memory(self, encoded: tuple[Tensor, Memory], rows: int | None = None) -> Memory:
        return first_rows(encoded[1], rows)
