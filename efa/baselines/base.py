"""What all compared systems share: interface, registration, heads, and pre-trained weights for what writes text."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from efa.data.tokenizer import SPECIAL
from efa.model.assessor import mlp
from efa.model.base import Adapter, SystemOutput, Text, VideoModel, language_parameters, read_weights
from efa.utils import paths
from efa.utils.errors import InputError

__all__ = ["SystemOutput"]
T = TypeVar("T", bound="type[System]")
SYSTEMS: dict[str, "type[System]"] = {}  # by the name that `system.name` gives


def register(name: str, trunk: str = "formsim", **small: Any) -> Callable[[T], T]:
    """Class decorator: gives a system its name, its trunk's weights and the arguments that `system.small` changes."""

    def add(system: T) -> T:
        SYSTEMS[name], system.TRUNK, system.SMALL = system, trunk, small
        return system

    return add


class System(VideoModel):
    """A compared system, trained and used by the same code as `EFAModel`.

    The constructor takes `actions` (A), whichever it names of `vocabulary_size` (V), `text_dim` (E), `mask_id`,
    `frames`, `size` (pixels) and `encoder` (Swin's size), and settings of its own; defaults are the original's. A
    subclass defines `heads`, usually `encode`, and `memory` where it writes text. Its text decoder is called as
    ``text_decoder(tokens [B', L], memory) -> logits [B', L, V]`` and has ``generate(memory, begin, end, max_tokens)``;
    with memory None it is a language model.
    """

    progress: float = 0.0  # share of the training that is over; the training loop sets it

    def encode(self, features: Tensor, steps: Text = None, text_mask: Text = None) -> Any:
        """What heads and text decoder both start from; arguments as `forward`. By default the features."""
        return features

    def heads(self, encoded: Any) -> SystemOutput:
        """Class, verdict and further losses from the result of `encode`."""
        raise NotImplementedError

    def memory(self, encoded: Any, rows: int | None = None) -> Any:
        """What the text decoder reads of the first `rows` clips; None: of all."""
        return encoded[:rows]

    def score_text(self, output: SystemOutput, encoded: Any, tokens: Tensor) -> None:
        """Adds to `output` the text logits, or a text loss, of `tokens` [B', L] for the first B' clips."""
        output.text_logits = self.text_decoder(tokens, self.memory(encoded, len(tokens)))

    def class_logits(self, features: Tensor) -> Tensor:
        """Features, standardised where there is an adapter, [B, N, C] -> class logits [B, A]."""
        return self.heads(self.encode(features)).class_logits

    def classify(self, features: Tensor) -> Tensor:
        """Features as the trunk gives them [B, N, C] -> class logits [B, A]."""
        return self.class_logits(self.adapter.standardise(features) if isinstance(self.adapter, Adapter) else features)

    def forward(
        self, features: Tensor, steps: Text = None, _: Text = None, text_mask: Text = None, tokens: Text = None
    ) -> SystemOutput:
        """Arguments as `EFAModel.forward`; only RICA2 reads the steps, and no system the instruction."""
        encoded = self.encode(self.adapter(features), steps, text_mask)
        output = self.heads(encoded)
        if isinstance(self.adapter, Adapter):  # as in EFA, the adapter serves form and text alone
            output.class_logits = self.classify(features)
        if tokens is not None and self.text_decoder is not None:
            self.score_text(output, encoded, tokens)
        return output

    def text_memory(self, features: Tensor, steps: Text, instruction: Text, text_mask: Text) -> Any:
        return self.memory(self.encode(self.adapter(features), steps, text_mask))


class Recogniser(System):
    """A system of Table V: class and verdict, no text.

    The original's class head, one linear layer after dropout, and EFA's quality head read the vectors of length D =
    `dim` that `encode` returns (frames, windows in time), and average their logits, as the originals do.
    """

    def __init__(self, encoder: nn.Module, dim: int, actions: int, dropout: float = 0.5):
        super().__init__(encoder)
        self.dropout = nn.Dropout(dropout)
        self.class_head = nn.Linear(dim, actions)
        self.quality_head = mlp(dim, 128, 32, 1)  # EFA's own, in all systems

    def encode(self, features: Tensor, *_: Text) -> Tensor:
        """Features [B, N, C] -> vectors after dropout [B, M, D]."""
        return self.dropout(features)

    def heads(self, encoded: Tensor) -> SystemOutput:
        return SystemOutput(self.class_head(encoded).mean(1), self.quality_head(encoded).mean(1)[:, 0])


ROWS = {"word.weight", "bias", "output.weight", "out.weight", "out.bias"}  # one row or number for each word piece


def language_weights(text_decoder: nn.Module) -> dict[str, Tensor]:
    """What text alone can teach a text decoder: parameter name -> a view of its part that does not read the video."""
    word = cast(nn.Embedding, text_decoder.word)
    weights = {name: parameter.detach() for name, parameter in language_parameters(text_decoder).items()}
    weights |= {name: weights[name][: word.num_embeddings] for name in ROWS & weights.keys()}  # no answers of LAVENDER
    if (name := "language.weight_ih_l0") in weights:  # S2VT's second network reads [video state, word]
        weights[name] = weights[name][:, -word.embedding_dim :]
    return weights


def text_file(kind: str) -> Path:
    """Where pre-trained text weights belong: 'decoder' (EFA's and RICA2's), 's2vt', 'swinbert', 'lavender'."""
    return paths.WEIGHTS / f"{'formsim_decoder' if kind == 'decoder' else kind}.safetensors"


def load_text(text_decoder: nn.Module, file: str | Path, pieces: Sequence[str]) -> int:
    """Copies pre-trained text weights in place; what reads video, and word pieces that the file lacks, keep theirs.

    Beside the .safetensors of `pretrain_text`, a .txt has its vocabulary, one piece a line. Returns how many of the
    decoder's own `pieces` it lacks.

    Raises InputError: a file is missing or cannot be read, belongs to a text decoder of another kind or size, or shares
    no word piece with `pieces`, unless these are special pieces only (a data set without explanations).
    """
    path, vocabulary = Path(file), Path(file).with_suffix(".txt")
    for part in (path, vocabulary):
        if not part.is_file():
            raise InputError("no such file of pre-trained words", file=part, hint="run 'efa pretrain decoder'")
    state = read_weights(path, "pre-trained words")
    known = {piece: i for i, piece in enumerate(vocabulary.read_text("utf-8").splitlines())}
    pairs = [(i, known[piece]) for i, piece in enumerate(pieces) if piece in known]
    words = set(pieces).difference(SPECIAL)
    if words and words.isdisjoint(known):
        hint = "pre-train on texts in the same language, with the same text.model"
        raise InputError("these pre-trained words share no word piece with the data set", file=path, hint=hint)
    here, there = torch.tensor(pairs).T
    own = language_weights(text_decoder)
    shapes = {name: (len(known), *value.shape[1:]) if name in ROWS else value.shape for name, value in own.items()}
    for name in sorted(own.keys() | state.keys()):
        if name not in own or name not in state or state[name].shape != shapes[name]:
            hint = "pre-train words for this system at this size, with the same decoder.max_tokens"
            raise InputError(f"these pre-trained words do not fit: {name}", file=path, hint=hint)
    for name, value in own.items():
        if name in ROWS:
            value[here] = state[name][there].to(value.dtype)
        else:
            value.copy_(state[name])
    return len(pieces) - len(pairs)
