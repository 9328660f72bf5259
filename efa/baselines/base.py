"""What all compared systems share: their output, their interface, and the heads of those that write no text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor, nn

from efa.model.assessor import MEAN, STD, mlp

Colour = tuple[float, float, float]


@dataclass
class SystemOutput:
    """What one forward pass says.

    Attributes:
        class_logits: [B, A].
        quality_logit: [B]; positive means non-standard form.
        text_logits: [B, L, V], position i predicting token i + 1; None where no tokens were given or none are written.
        extra: further terms of the loss by name, scalars, already weighted.
    """

    class_logits: Tensor
    quality_logit: Tensor
    text_logits: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)


class System(nn.Module):
    """The interface that one training loop and one predictor serve; `EFAModel` has it as well.

    A system overrides `encode_video` where its encoder does not return [B, N, C], and everything below that.

    Args:
        encoder: the trunk, from normalised frames [B, T, 3, H, W]. After ``encoder.requires_grad_(False)`` it also
            stays in eval mode, so that features computed once remain true.
        mean, std: of RGB in [0, 1], what the original normalises its input with.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, mean: Colour = MEAN, std: Colour = STD):
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if not any(p.requires_grad for p in self.encoder.parameters()):
            self.encoder.eval()
        return self

    def normalise(self, frames: Tensor) -> Tensor:
        """uint8 RGB [..., 3, H, W] -> float, normalised; float frames are taken as normalised."""
        return (frames / 255 - self.mean) / self.std if frames.dtype == torch.uint8 else frames

    def encode_video(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W], uint8 RGB or normalised float -> features [B, N, C]."""
        return self.encoder(self.normalise(frames))

    def classify(self, features: Tensor) -> Tensor:
        """Features [B, N, C] -> class logits [B, A]."""
        raise NotImplementedError

    def forward(
        self,
        features: Tensor,
        steps: Tensor | None = None,
        instruction: Tensor | None = None,
        text_mask: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> SystemOutput:
        """Judges and, given tokens, scores an explanation; arguments as `EFAModel.forward`."""
        raise NotImplementedError

    def generate(
        self,
        features: Tensor,
        steps: Tensor | None,
        instruction: Tensor | None,
        text_mask: Tensor | None,
        begin: int,
        end: int,
        max_tokens: int,
    ) -> list[list[int]]:
        """B lists of token ids without begin and end; empty ones from a system that writes no text."""
        return [[] for _ in features]


def quality_head(dim: int) -> nn.Sequential:
    """[..., D] -> quality logit [..., 1]; EFA's own head, so that systems differ in what it sees only."""
    return mlp(dim, 128, 32, 1)  # widths as released


class Recogniser(System):
    """A system of Table V: class and verdict from what it sees, and no text.

    The class head is the original's, one linear layer after dropout, with A outputs. The quality head is the addition
    that form assessment needs, one logit for BCE from the same vectors. Where a clip has several vectors (frames,
    windows in time) the logits are averaged over them, as the originals do.

    Args:
        dim: D, length of the vectors that `pool` returns.
        actions: A.
        dropout: before both heads.
    """

    def __init__(
        self, encoder: nn.Module, dim: int, actions: int, dropout: float, mean: Colour = MEAN, std: Colour = STD
    ):
        super().__init__(encoder, mean, std)
        self.dropout = nn.Dropout(dropout)
        self.class_head = nn.Linear(dim, actions)
        self.quality_head = quality_head(dim)

    def pool(self, features: Tensor) -> Tensor:
        """Features [B, N, C] -> the M vectors that the heads see [B, M, D]."""
        return features

    def classify(self, features: Tensor) -> Tensor:
        return self.class_head(self.dropout(self.pool(features))).mean(1)

    def forward(
        self,
        features: Tensor,
        steps: Tensor | None = None,
        instruction: Tensor | None = None,
        text_mask: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> SystemOutput:
        """Class and quality of features [B, N, C]; the text arguments are there for the interface and are not read."""
        seen = self.dropout(self.pool(features))  # [B, M, D]
        return SystemOutput(self.class_head(seen).mean(1), self.quality_head(seen).mean(1)[:, 0])
