"""What all compared systems share: their output, their interface, the heads of those that write no text, and what
those that write have in common: words before they see a video, and words held fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from efa.data.tokenizer import SPECIAL
from efa.model.adapter import Adapter
from efa.model.assessor import MEAN, STD, mlp
from efa.utils import paths
from efa.utils.errors import InputError

Colour = tuple[float, float, float]


@dataclass
class SystemOutput:
    """What one forward pass says.

    Attributes:
        class_logits: [B, A].
        quality_logit: [B]; positive means non-standard form.
        text_logits: [B', L, V], position i predicting token i + 1; None where no tokens were given or none are written.
        extra: further terms of the loss by name, scalars, already weighted; `masked_lm` is a loss of the text.
    """

    class_logits: Tensor
    quality_logit: Tensor
    text_logits: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)


class System(nn.Module):
    """The interface that one training loop and one predictor serve; `EFAModel` has it as well.

    A system overrides `encode_video` where its encoder does not return [B, N, C], says in `watch` what it makes of the
    features once, and in `judge` what follows from that.

    Args:
        encoder: the trunk, from normalised frames [B, T, 3, H, W]. After ``encoder.requires_grad_(False)`` it also
            stays in eval mode, so that features computed once remain true.
        mean, std: of RGB in [0, 1], what the original normalises its input with.
    """

    mean: Tensor
    std: Tensor
    progress: float = 0.0  # share of the training that is over; the training loop sets it

    def __init__(self, encoder: nn.Module, mean: Colour = MEAN, std: Colour = STD):
        super().__init__()
        self.encoder = encoder
        self.adapter: nn.Module = nn.Identity()  # set by `registry.build_system` where configured
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

    def watch(self, features: Tensor, steps: Tensor | None = None, text_mask: Tensor | None = None) -> Any:
        """Whatever judging and writing both start from; arguments as `forward`. By default the features."""
        return features

    def judge(self, seen: Any) -> SystemOutput:
        """Class, verdict and further losses from what `watch` returned."""
        raise NotImplementedError

    def tell(self, output: SystemOutput, seen: Any, tokens: Tensor) -> None:
        """Adds to `output` how well `tokens` [B', L] explain the first B' clips; nothing, if no text is written."""

    def classify(self, features: Tensor) -> Tensor:
        """Features [B, N, C] -> class logits [B, A]."""
        return self.recognise(self.adapter.standardised(features) if isinstance(self.adapter, Adapter) else features)

    def recognise(self, features: Tensor) -> Tensor:
        """Features, standardised where there is an adapter, [B, N, C] -> class logits [B, A]."""
        return self.judge(self.watch(features)).class_logits

    def forward(
        self,
        features: Tensor,
        steps: Tensor | None = None,
        instruction: Tensor | None = None,
        text_mask: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> SystemOutput:
        """Judges and, given tokens, scores an explanation; arguments as `EFAModel.forward`.

        The instruction is read by none of the compared systems, the steps by RICA2 alone.
        """
        seen = self.watch(self.adapter(features), steps, text_mask)
        output = self.judge(seen)
        if isinstance(self.adapter, Adapter):  # as in EFA, the adapter serves form and text alone
            output.class_logits = self.classify(features)
        if tokens is not None:
            self.tell(output, seen, tokens)
        return output

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
        """B lists of at most `max_tokens` token ids, without begin and end; arguments as `forward`. In eval mode."""
        return self.write(self.watch(self.adapter(features), steps, text_mask), begin, end, max_tokens)

    def write(self, seen: Any, begin: int, end: int, max_tokens: int) -> list[list[int]]:
        """`generate` from what `watch` returned; empty texts from a system that writes none."""
        return [[] for _ in seen]


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

    def watch(self, features: Tensor, steps: Tensor | None = None, text_mask: Tensor | None = None) -> Tensor:
        """Features [B, N, C] -> `pool` after dropout [B, M, D]."""
        return self.dropout(self.pool(features))

    def judge(self, seen: Tensor) -> SystemOutput:
        return SystemOutput(self.class_head(seen).mean(1), self.quality_head(seen).mean(1)[:, 0])


class Captioner(System):
    """A system of Table IV: class, verdict and an explanation.

    Its writer, the part with the words, is called as ``writer(tokens [B', L], memory) -> logits [B', L, V]`` and has
    ``writer.generate(memory, begin, end, max_tokens)``; with memory None it is a language model. `memory` says what the
    writer reads of the video. Where the writer is None, no text is written.

    Args:
        encoder: as for `System`.
        config: the system's own.

    Attributes:
        WRITER: name of the attribute that holds the writer.
        WORDS: which pre-trained words it takes, a name for `text_file`.
        FIXED: how the names of those parameters begin that `freeze_words` freezes.
    """

    WRITER: ClassVar[str]
    WORDS: ClassVar[str]
    FIXED: ClassVar[tuple[str, ...]] = ("word.",)

    def __init__(self, encoder: nn.Module, config: Any):
        super().__init__(encoder)
        self.config = config

    @property
    def writer(self) -> Any:
        return getattr(self, self.WRITER)

    def memory(self, seen: Any, rows: int | None = None) -> Any:
        """What `watch` returned -> what the writer reads of the first `rows` clips; None: of all."""
        return seen[:rows]

    def tell(self, output: SystemOutput, seen: Any, tokens: Tensor) -> None:
        if self.writer is not None:
            output.text_logits = self.writer(tokens, self.memory(seen, len(tokens)))

    def write(self, seen: Any, begin: int, end: int, max_tokens: int) -> list[list[int]]:
        memory = self.memory(seen)
        return [[] for _ in memory] if self.writer is None else self.writer.generate(memory, begin, end, max_tokens)

    def load_words(self, file: str | Path, pieces: Sequence[str]) -> None:
        """Fills the writer from words pre-trained by `pretrain_text`; arguments and errors as `load_text`."""
        if self.writer is not None:
            load_text(self.writer, file, pieces)

    def freeze_words(self) -> None:
        """Takes the gradient from what saw words alone (`FIXED`), and from nothing that the video passes through."""
        side = {} if self.writer is None else language_side(self.writer)
        for name in side:
            if name.startswith(self.FIXED):
                self.writer.get_parameter(name).requires_grad_(False)


VIDEO_PARTS = {"cross", "memory_in", "video"}  # of a writer: learnt with a video only
ROWS = {"word.weight", "bias", "output.weight", "out.weight", "out.bias"}  # one row or number for each word piece


def language_side(writer: nn.Module) -> dict[str, Tensor]:
    """What words alone can teach a writer: name of a parameter -> its part, in the parameter's own memory.

    Left out: cross-attention, the network that reads the video, columns for the video's state (S2VT), and outputs that
    are no words (the answers of LAVENDER).
    """
    words = cast(nn.Embedding, writer.word)
    side: dict[str, Tensor] = {}
    for name, parameter in writer.named_parameters():
        if VIDEO_PARTS.isdisjoint(name.split(".")):
            value = parameter.detach()
            if name in ROWS:
                value = value[: words.num_embeddings]
            if name == "language.weight_ih_l0":  # S2VT's second network reads [video state, word]
                value = value[:, -words.embedding_dim :]
            side[name] = value
    return side


def text_file(words: str) -> Path:
    """Where pre-trained words belong: 'decoder' (EFA's and RICA2's), 's2vt', 'swinbert', 'lavender'."""
    return paths.WEIGHTS / f"{'formsim_decoder' if words == 'decoder' else words}.safetensors"


def load_text(writer: nn.Module, file: str | Path, pieces: Sequence[str]) -> int:
    """Copies pre-trained words in place; what sees video, and word pieces that the file lacks, stay as drawn.

    Args:
        writer: `efa.model.decoder.Decoder`, `S2VT` or `MaskedLM`.
        file: .safetensors of `pretrain_text`, with its vocabulary, one piece a line, in the .txt beside it.
        pieces: the writer's own vocabulary; rows are matched by piece.

    Returns:
        How many of the writer's pieces the file lacks.

    Raises:
        InputError: a file is missing or cannot be read, belongs to a writer of another kind or size, or knows none of
            these word pieces, though there are any: a data set without explanations has none.
    """
    path = Path(file)
    for part in (path, path.with_suffix(".txt")):
        if not part.is_file():
            raise InputError("no such file of pre-trained words", file=part, hint="run 'efa pretrain decoder'")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise InputError(f"these pre-trained words cannot be read: {' '.join(str(error).split())}", file=path) from None
    known = {piece: i for i, piece in enumerate(path.with_suffix(".txt").read_text("utf-8").splitlines())}
    pairs = [(i, known[piece]) for i, piece in enumerate(pieces) if piece in known]
    words = set(pieces).difference(SPECIAL)
    if words and not {pieces[i] for i, _ in pairs} & words:
        hint = "pre-train on texts in the same language, with the same text.model"
        raise InputError("these pre-trained words share no word piece with the data set", file=path, hint=hint)
    here, there = torch.tensor(pairs).T
    side = language_side(writer)
    wanted = {name: (len(known), *value.shape[1:]) if name in ROWS else value.shape for name, value in side.items()}
    for name in sorted(side.keys() | state.keys()):
        if name not in side or name not in state or state[name].shape != wanted[name]:
            hint = "pre-train words for this system at this size, with the same decoder.max_tokens"
            raise InputError(f"these pre-trained words do not fit: {name}", file=path, hint=hint)
    for name, value in side.items():
        if name in ROWS:
            value[here] = state[name][there].to(value.dtype)
        else:
            value.copy_(state[name])
    return len(pieces) - len(pairs)
