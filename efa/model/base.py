"""What EFA and all compared systems share: a video trunk, an adapter, perhaps a text decoder; reading weights."""

import itertools
import pickle
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from efa.config import FusionConfig
from efa.utils.errors import InputError

VIDEO_PARTS = {"cross", "memory_in", "video"}  # parts of a text decoder that read the video
Text = Tensor | None  # what a model reads of the clips' texts; None where no clip has one


@dataclass
class SystemOutput:
    """Result of one forward pass."""

    class_logits: Tensor  # [B, A]
    quality_logit: Tensor  # [B]; positive means non-standard form
    text_logits: Tensor | None = None  # [B', L, V], position i predicting token i + 1; None without tokens or decoder
    blind_logits: Tensor | None = None  # [B, A] of a pass without text, where that is trained, too ('two_pass')
    extra: dict[str, Tensor] = field(default_factory=dict)  # weighted loss terms; `masked_lm` is a loss of the text


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Head(nn.Sequential):
    """An MLP on tokens [B, N, D], pooled, normalised and dropped as `fusion.pool*` say, -> [B, outputs].

    `tokens` is (moments, D); N is a multiple of moments, which are frames or what else divides a clip in time.
    """

    def __init__(self, fusion: FusionConfig, tokens: tuple[int, int], *sizes: int):
        super().__init__()
        self.moments = tokens[0] if fusion.pool == "frames" else 1
        width = self.moments * tokens[1]
        norm = [nn.BatchNorm1d(width, affine=False)] if fusion.pool_norm else []
        for number, layer in enumerate([*norm, *mlp(width, *sizes)]):
            if number == len(norm):
                self.add_module("dropout", nn.Dropout(fusion.pool_dropout))  # by name: layers keep their numbers
            self.add_module(str(number), layer)

    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens.unflatten(1, (self.moments, -1)).mean(2).flatten(1))


class Adapter(nn.Module):
    """Standardises features and adds a perceptron's output for the whole clip: x' + W2 relu(W1 mean(x')).

    It replaces the fine-tuning of a frozen trunk. For features of `shape` (N, C), W1 [hidden, groups C] reads the means
    of `groups` runs of tokens (frames), or all tokens where N is no multiple of it.
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
        """x' [B, N, C]. Class heads read this: their loss would take over the perceptron (AUC .72 in place of .79)."""
        return self.norm(features.flatten(1)).view_as(features)


class VideoModel(nn.Module):
    """Base of EFA and of every compared system.

    After ``encoder.requires_grad_(False)`` the encoder stays in eval mode, so that features can be computed once.
    """

    MEAN: ClassVar[tuple[float, ...]] = (0.485, 0.456, 0.406)  # of RGB in [0, 1] in the encoder's frames: ImageNet's
    STD: ClassVar[tuple[float, ...]] = (0.229, 0.224, 0.225)
    TRUNK: ClassVar[str] = "formsim"  # whose pre-trained weights the trunk takes: a file of `efa/model/weights`
    SMALL: ClassVar[dict[str, Any]] = {}  # arguments at a laptop's size, beside those of the clips and of Swin
    TEXT_DECODER: ClassVar[str] = ""  # name of the attribute that holds the text decoder
    TEXT_WEIGHTS: ClassVar[str] = ""  # which pre-trained weights it takes, a name for `baselines.base.text_file`
    READS_STEPS: ClassVar[bool] = False  # whether it has a use for a text encoder
    FROZEN_TEXT: ClassVar[tuple[str, ...]] = ("",)  # `freeze_text` freezes its parameters with these prefixes
    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.adapter: nn.Module = nn.Identity()  # or an `Adapter`, set by `registry.build_system`
        self.text_encoder: Any = None  # or a `TextEncoder` that is trained, set by `registry.build_system`
        self.register_buffer("mean", torch.tensor(self.MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.STD).view(3, 1, 1), persistent=False)

    def add_heads(self, fusion: FusionConfig, actions: int, seen: tuple[int, int], judged: tuple[int, int]) -> None:
        """The heads that all systems share, so that tables compare what is before them; widths as released.

        `seen`, `judged`: (moments, D) of the tokens [B, N, D] of each; one moment where they have no place in time.
        """
        self.class_head = Head(fusion, seen, 256, 128, actions)  # MLP_c
        self.quality_head = Head(fusion, judged, 128, 32, 1)  # MLP_q

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
        """Frames [B, T, 3, H, W], uint8 RGB or normalised float -> features F_v [B, N, C], N = T' H' W'."""
        return self.encoder(self.normalise(frames)).flatten(1, -2)

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters that start pre-trained and learn at `training.lr`; all others learn at `training.head_lr`."""
        text = [] if self.text_encoder is None else self.text_encoder.parameters()
        return [*self.encoder.parameters(), *text, *language_parameters(self.text_decoder).values()]

    def text_memory(self, features: Tensor, steps: Text, instruction: Text, text_mask: Text) -> Any:
        """What the text decoder reads of features, steps, instruction and text mask."""
        raise NotImplementedError

    def generate(
        self, features: Tensor, steps: Text, instruction: Text, text_mask: Text, begin: int, end: int, max_tokens: int
    ) -> list[list[int]]:
        """B lists of token ids without begin and end, empty without a text decoder. Call in eval mode."""
        if self.text_decoder is None:
            return [[] for _ in features]
        memory = self.text_memory(features, steps, instruction, text_mask)
        return self.text_decoder.generate(memory, begin, end, max_tokens)

    def freeze_text(self, learning: Collection[str] = ()) -> None:
        """Freezes what pre-training on text alone has learnt (`FROZEN_TEXT`), but the parameters named `learning`."""
        for name, parameter in language_parameters(self.text_decoder).items():
            if name.startswith(self.FROZEN_TEXT) and name not in learning:
                parameter.requires_grad_(False)


def language_parameters(text_decoder: nn.Module | None) -> dict[str, nn.Parameter]:
    """Parameters of a text decoder by name, without those that read the video (`VIDEO_PARTS`)."""
    named = () if text_decoder is None else text_decoder.named_parameters()
    return {name: parameter for name, parameter in named if VIDEO_PARTS.isdisjoint(name.split("."))}


def read_weights(path: Path, what: str) -> Any:
    """The content of a .safetensors or PyTorch file, on the CPU; InputError if it is damaged or needs code to run."""
    try:
        return load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise almost anything
        with path.open("rb") as opened:
            pointer = opened.readline().startswith(b"version https://git-lfs.github.com/spec")
        if pointer:
            cause, hint = "is a pointer of git-lfs, not the file itself", "fetch it with 'git lfs pull'"
        elif isinstance(error, pickle.UnpicklingError):
            cause = "holds other things than weights, or is broken"
            hint = 'download it again; where you trust it, save only torch.load(file, weights_only=False)["state_dict"]'
        else:
            cause, hint = "is broken or cut short", "download or save it again"
        raise InputError(f"this file of {what} cannot be read: it {cause}", file=path, hint=hint) from None
