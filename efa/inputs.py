"""What training and prediction read, and the model they start from: a data set's clips, texts and words."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from efa.baselines.base import ROWS, load_text
from efa.baselines.mtl_aqa import S2VT
from efa.baselines.registry import Model, build_system, decoder_file, load_trunk
from efa.config import Config, TextConfig
from efa.data.loader import Progress, load_frames, open_dataset
from efa.data.manifest import DataSet
from efa.data.tokenizer import Tokenizer
from efa.features import text_vectors, video_features
from efa.model.decoder import Decoder, load_bert
from efa.model.swin import SwinBlock
from efa.model.text import TextEncoder, bert_state, locate


@dataclass
class TrainingInputs:
    """What training and prediction read: the clips of a data set and the vectors of its steps."""

    dataset: DataSet
    video: np.ndarray  # frames uint8 [N, T, S, S, 3] or features float16 [N, tokens, C]
    steps: Tensor  # [K, 5, E]
    instruction: Tensor  # [K, 1, E]
    tokenizer: Tokenizer

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero((self.dataset.table["split"] == split).to_numpy())


def prepare(config: Config, progress: Progress | None = None) -> TrainingInputs:
    """Opens the data set and runs whatever is frozen, once."""
    dataset = open_dataset(config.data)
    video = (
        video_features(dataset, config, progress)
        if config.encoder.frozen
        else load_frames(dataset, config.data, progress)
    )
    steps, instruction = text_vectors(dataset, config.text)
    tokenizer = vocabulary(dataset, config)
    return TrainingInputs(dataset, video, steps, instruction, tokenizer)


def word_pieces(config: TextConfig) -> Tokenizer:
    """All word pieces of the text encoder, in the order of their numbers."""
    folder = Path(locate(config.model))
    if (folder / "vocab.txt").is_file():
        return Tokenizer.from_file(folder / "vocab.txt")
    numbers = TextEncoder(config).tokenizer.get_vocab()
    return Tokenizer(sorted(numbers, key=numbers.__getitem__))


def vocabulary(dataset: DataSet, config: Config) -> Tokenizer:
    """The text encoder's word pieces; with `decoder.vocabulary` 'train' only those of the training texts."""
    full = word_pieces(config.text)
    if config.decoder.vocabulary == "full":
        return full
    return full.pruned(list(dataset.table["explanation"][dataset.table["split"] == "train"]))


def build_model(config: Config, inputs: TrainingInputs) -> Model:
    """The system of `system.name` with its pre-trained parts in place; the rest is random from `training.seed`."""
    torch.manual_seed(config.training.seed)
    tokenizer = inputs.tokenizer
    width = inputs.steps.shape[-1]
    model = build_system(config, len(inputs.dataset.actions), len(tokenizer), width, tokenizer.mask)
    load_trunk(model, config)
    _start_words(model, config, tokenizer)
    for part in model.modules():
        if isinstance(part, (SwinBlock, Decoder)):
            part.checkpointing = config.training.checkpointing
    return model


def _start_words(model: Model, config: Config, tokenizer: Tokenizer) -> None:
    """Pre-trained words for the part that writes, from the text encoder or from a file, and frozen if asked for."""
    part, new = model.text_decoder, 0
    if part is None:
        return
    if config.decoder.weights == "text" and not isinstance(part, S2VT):  # a GRU has no use for BERT's layers
        number = {piece: i for i, piece in enumerate(word_pieces(config.text).pieces)}
        load_bert(part, bert_state(config.text.model), [number[p] for p in tokenizer.pieces])
    elif file := decoder_file(config):
        new = load_text(part, file, tokenizer.pieces)
    if config.decoder.frozen:
        model.freeze_text()
    if config.decoder.frozen and new:  # pieces that the file lacks are random: their table learns
        for name, parameter in part.named_parameters():
            if name in ROWS:
                parameter.requires_grad_(True)


def text_keys(dataset: DataSet, config: Config, actions: list[str] | None = None, wrong: bool = False) -> np.ndarray:
    """Which row of the step-text table each clip sees, int64 [N].

    Args:
        actions: the action each clip is taken for; by default its true one.
        wrong: give the text of another standard of that action, or of another action where there is one standard only.
    """
    keys = list(dataset.steps)
    number = {key: i for i, key in enumerate(keys)}
    table = dataset.table
    out = []
    for action, standard, clip in zip(actions or table["action"], table["standard"], table["clip_id"], strict=True):
        key = f"{action} [{standard}]" if standard else action
        others = [k for k in keys if k != key and k.startswith(f"{action} [")] or [k for k in keys if k != key]
        if config.fusion.text == "shuffled":  # any other key, drawn anew for each clip, so that it carries nothing
            others = [k for k in keys if k != key]
        pick = zlib.crc32(f"shuffled {clip}".encode()) % len(others) if others else 0
        out.append(
            number[others[pick]] if (wrong or config.fusion.text == "shuffled") and others else number.get(key, -1)
        )
    return np.array(out) if config.fusion.text != "none" else np.full(len(table), -1)
