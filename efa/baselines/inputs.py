"""What a run starts from: clips, texts and vocabulary, whatever is frozen computed once, and the untrained model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from efa.baselines.base import ROWS, load_text
from efa.baselines.mtl_aqa import S2VT
from efa.baselines.registry import Model, build_system, decoder_file, encoder_file, load_trunk, trunk_name
from efa.config import RESULTS_VERSION, Config, TextConfig
from efa.data.loader import Progress, cached_array, data_fingerprint, load_frames, open_dataset
from efa.data.manifest import DataSet
from efa.data.tokenizer import Tokenizer
from efa.model.decoder import Decoder, load_bert
from efa.model.swin import SwinBlock
from efa.model.text import TextEncoder, bert_state, locate
from efa.utils import paths


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


def text_vectors(dataset: DataSet, config: TextConfig) -> tuple[Tensor, Tensor]:
    """Vectors of steps [K, 5, E] and instructions [K, 1, E], one row for each key of `dataset.steps` in order."""
    texts = [sentence for text in dataset.steps.values() for sentence in (*text.steps, text.instruction)]
    settings = [texts, config.model, config.pooling, config.max_tokens]
    if stamp := folder_stamp(config.model):
        settings.append(stamp)
    name = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    path = paths.cache() / "text" / f"{name}.npy"
    if not path.is_file():
        vectors = TextEncoder(config).encode(texts).detach().numpy()
        cached_array(path, vectors.shape, np.float32, lambda: iter([vectors]))
    both = torch.from_numpy(np.load(path)).unflatten(0, (-1, 6))  # [K, 6, E]
    return both[:, :5], both[:, 5:]


def folder_stamp(model: str) -> list[list[str | int]]:
    """Names, sizes and times of a text encoder's own folder: vectors are computed again after files were replaced."""
    folder = Path(model)
    files = sorted(path for path in folder.glob("*") if path.is_file()) if folder.is_dir() else []
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def video_features(dataset: DataSet, config: Config, progress: Progress | None = None) -> np.ndarray:
    """Features of the system's frozen trunk, float16 [N, tokens, C], one row a clip, memory-mapped.

    Of the clip as it is: a second, mirrored and cropped, view of each training clip changed the form AUC of a probe on
    the features by less than .01, and costs as much as the first.
    """
    torch.manual_seed(0)
    model = build_system(config, len(dataset.actions), 8, 8).eval()  # only its trunk is used
    load_trunk(model, config)  # before the frames: a wrong file is reported before an hour of decoding
    frames = load_frames(dataset, config.data, progress)

    @torch.no_grad()
    def encode(clips: np.ndarray) -> np.ndarray:
        return model.encode_video(torch.from_numpy(np.array(clips)).permute(0, 1, 4, 2, 3)).half().numpy()

    def batches() -> Iterator[np.ndarray]:
        for start in range(0, len(frames), 32):
            yield encode(frames[start : start + 32])

    path = paths.cache() / "features" / f"{_features_name(dataset, config)}.npy"
    return cached_array(path, (len(frames), *encode(frames[:1]).shape[1:]), np.float16, batches, progress)


def _features_name(dataset: DataSet, config: Config) -> str:
    """What the features depend on; systems with the same trunk share them."""
    file = encoder_file(config)
    weights = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else "random"
    encoder = {name: value for name, value in config.to_dict()["encoder"].items() if name != "adapter"}
    settings = [encoder, config.to_dict()["data"], weights, RESULTS_VERSION]
    if trunk_name(config) != "formsim":
        settings += [config.system.name, config.system.small]
    name = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    return f"{data_fingerprint(dataset, config.data)}-{name}"


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
