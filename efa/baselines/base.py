"""What all compared systems share: interface, registration, and pre-trained weights for what writes text.

Each keeps its trunk, what the original puts between trunk and heads, and its further losses. Class and verdict come
from EFA's two heads (`VideoModel.add_heads`), with the same pooling, in place of the original's: otherwise a table
would compare heads. A system says which tokens each head reads.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from efa.data.tokenizer import SPECIAL
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

    The constructor takes whichever it names of `vocabulary_size` (V), `text_dim` (E), `mask_id`, `frames`, `size`
    (pixels) and `encoder` (Swin's size), and settings of its own; defaults are the original's. A subclass defines
    `encode`, `class_tokens` and `form_tokens` where they are not the features, and `memory` where it writes text, by
    ``text_decoder(tokens [B', L], memory) -> logits [B', L, V]`` (a language model without memory) and its
    ``generate(memory, begin, end, max_tokens)``.
    """

    class_shape: tuple[int, int]  # (moments, D) of what the class head reads, set by the constructor for `add_heads`
    form_shape: tuple[int, int]  # of what the verdict head reads
    progress: float = 0.0  # share of the training that is over; the training loop sets it

    def encode(self, features: Tensor, steps: Text = None, text_mask: Text = None) -> Any:
        """What heads and text decoder both start from; arguments as `forward`. By default the features."""
        return features

    def class_tokens(self, encoded: Any) -> Tensor:
        """What the class head reads of the result of `encode`, [B, N, D]."""
        return encoded

    def form_tokens(self, encoded: Any) -> Tensor:
        """What the verdict head reads, [S B, N, D]; its logit is the mean over S samples. By default as the class."""
        return self.class_tokens(encoded)

    def further_losses(self, encoded: Any) -> dict[str, Tensor]:
        return {}  # the system's own, weighted, in training

    def memory(self, encoded: Any, rows: int | None = None) -> Any:
        """What the text decoder reads of the first `rows` clips; None: of all."""
        return encoded[:rows]

    def score_text(self, output: SystemOutput, encoded: Any, tokens: Tensor) -> None:
        """Adds to `output` the text logits, or a text loss, of `tokens` [B', L] for the first B' clips."""
        output.text_logits = self.text_decoder(tokens, self.memory(encoded, len(tokens)))

    def classify(self, features: Tensor) -> Tensor:
        """Features as the trunk gives them [B, N, C] -> class logits [B, A]."""
        x = self.adapter.standardise(features) if isinstance(self.adapter, Adapter) else features
        return self.class_head(self.class_tokens(self.encode(x)))

    def forward(
        self, features: Tensor, steps: Text = None, _: Text = None, text_mask: Text = None, tokens: Text = None
    ) -> SystemOutput:
        """Arguments as `EFAModel.forward`; only RICA2 reads the steps, and no system the instruction."""
        encoded = self.encode(self.adapter(features), steps, text_mask)
        adapted = isinstance(self.adapter, Adapter)  # as in EFA, the adapter serves form and text alone
        output = SystemOutput(
            class_logits=self.classify(features) if adapted else self.class_head(self.class_tokens(encoded)),
            quality_logit=self.quality_head(self.form_tokens(encoded)).view(-1, len(features)).mean(0),
            extra=self.further_losses(encoded) if self.training else {},
        )
        if tokens is not None and self.text_decoder is not None:
            self.score_text(output, encoded, tokens)
        return output

    def text_memory(self, features: Tensor, steps: Text, instruction: Text, text_mask: Text) -> Any:
        return self.memory(self.encode(self.adapter(features), steps, text_mask))


ROWS = {"word.weight", "bias", "output.weight", "out.weight", "out.bias"}  # one row or number for each word piece


def language_weights(text_decoder: nn.Module) -> dict[str, Tensor]:
    """What text alone can teach a text decoder: parameter name -> a view of its part that does not read the video."""
    weights = {name: parameter.detach() for name, parameter in language_parameters(text_decoder).items()}
    if (name := "language.weight_ih_l0") in weights:  # S2VT's second network reads [video state, word]
        weights[name] = weights[name][:, -weights["word.weight"].shape[1] :]
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
