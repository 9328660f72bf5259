"""What EFA and all compared systems share: a video trunk, an adapter behind it, and perhaps a part that writes text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB in [0, 1]
VIDEO_PARTS = {"cross", "memory_in", "video"}  # parts of a text decoder that read the video
RGB = tuple[float, float, float]


@dataclass
class SystemOutput:
    """Result of one forward pass.

    Attributes:
        class_logits: [B, A].
        quality_logit: [B]; positive means non-standard form.
        text_logits: [B', L, V], position i predicting token i + 1; None without tokens or without a text decoder.
        extra: further loss terms by name, scalars, already weighted; `masked_lm` is a loss of the text.
    """

    class_logits: Tensor
    quality_logit: Tensor
    text_logits: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)


class Adapter(nn.Module):
    """Standardises features and adds a perceptron's output for the whole clip: x' + W2 relu(W1 mean(x')).

    It replaces the fine-tuning of a frozen trunk: between a frozen trunk and a frozen language model, equations 1-10
    are only linear maps, softmaxes and one sigmoid.

    Args:
        shape: (N, C) of the features.
        groups: W1 reads the means of so many runs of tokens (frames); all tokens where N is no multiple of it.
        hidden: units of the perceptron.
    """

    def __init__(self, shape: tuple[int, int], groups: int, hidden: int):
        super().__init__()
        tokens, channels = shape
        self.groups = groups if tokens % groups == 0 else tokens
        self.norm = nn.BatchNorm1d(tokens * channels, affine=False)  # of each channel at each place, over clips
        self.down = nn.Linear(self.groups * channels, hidden)
        self.up = nn.Linear(hidden, tokens * channels)
        nn.init.kaiming_normal_(self.down.weight, nonlinearity="relu")
        nn.init.normal_(self.up.weight, std=hidden**-0.5)  # the added part starts as large as the features

    def forward(self, features: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        x = self.standardise(features)
        means = x.unflatten(1, (self.groups, -1)).mean(2)  # [B, groups, C]
        return x + self.up(F.relu(self.down(means.flatten(1)))).view_as(x)

    def standardise(self, features: Tensor) -> Tensor:
        """x' [B, N, C], without the perceptron's part.

        The compared systems' class heads read this: otherwise the class loss, three times as heavy, takes over the
        perceptron (form AUC of Video Swin .72 instead of .79).
        """
        return self.norm(features.flatten(1)).view_as(features)


class VideoModel(nn.Module):
    """Base of EFA and of every compared system.

    Args:
        encoder: the trunk, from normalised frames [B, T, 3, H, W]. After ``encoder.requires_grad_(False)`` it also
            stays in eval mode, so that features can be computed once.
        mean, std: of RGB in [0, 1], for normalisation.

    Attributes:
        adapter: identity, or an `Adapter` set by `registry.build_system`.
        TEXT_DECODER: name of the attribute that holds the text decoder; '' without one.
        FROZEN_TEXT: `freeze_text` freezes the text decoder's parameters whose names start with one of these.
    """

    TEXT_DECODER: ClassVar[str] = ""
    FROZEN_TEXT: ClassVar[tuple[str, ...]] = ("",)
    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, mean: RGB = MEAN, std: RGB = STD):
        super().__init__()
        self.encoder = encoder
        self.adapter: nn.Module = nn.Identity()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @property
    def text_decoder(self) -> Any:
        """The part that writes the explanation; None where no text is written."""
        return getattr(self, self.TEXT_DECODER) if self.TEXT_DECODER else None

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if not any(p.requires_grad for p in self.encoder.parameters()):
            self.encoder.eval()  # or stochastic depth would change frozen features
        return self

    def normalise(self, frames: Tensor) -> Tensor:
        """uint8 RGB [..., 3, H, W] -> normalised float; float frames are returned as they are."""
        return (frames / 255 - self.mean) / self.std if frames.dtype == torch.uint8 else frames

    def encode_video(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W], uint8 RGB or normalised float -> features F_v [B, N, C]; Swin: N = T' H' W'."""
        return self.encoder(self.normalise(frames)).flatten(1, -2)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters that start pre-trained and learn at `training.lr`; all others learn at `training.head_lr`."""
        text = self.text_decoder
        return [*self.encoder.parameters(), *(language_parameters(text).values() if text is not None else ())]

    def text_memory(self, *inputs: Tensor | None) -> Any:
        """What the text decoder reads of features, steps, instruction and text mask."""
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
        """Explanations: B lists of token ids without begin and end; arguments as `forward`. In eval mode.

        The lists are empty without a text decoder.
        """
        if self.text_decoder is None:
            return [[] for _ in features]
        memory = self.text_memory(features, steps, instruction, text_mask)
        return self.text_decoder.generate(memory, begin, end, max_tokens)

    def freeze_text(self) -> None:
        """Freezes what pre-training on text alone has learnt (`FROZEN_TEXT`); nothing that reads the video."""
        text = self.text_decoder
        for name, parameter in language_parameters(text).items() if text is not None else ():
            if name.startswith(self.FROZEN_TEXT):
                parameter.requires_grad_(False)


def language_parameters(text_decoder: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of a text decoder by name, without those that read the video (`VIDEO_PARTS`)."""
    return {n: p for n, p in text_decoder.named_parameters() if VIDEO_PARTS.isdisjoint(n.split("."))}
