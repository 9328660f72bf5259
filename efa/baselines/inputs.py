"""What a run starts from: clips, texts and vocabulary, whatever is frozen computed once, and the untrained model."""

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from efa.baselines.base import ROWS, load_text
from efa.baselines.mtl_aqa import S2VT
from efa.baselines.registry import Model, build_system, decoder_file, encoder_file, trunk
from efa.config import RESULTS_VERSION, Config, TextConfig
from efa.data import loader
from efa.data.loader import Progress, cached_array, open_dataset
from efa.data.manifest import DataSet, StepText
from efa.data.tokenizer import Tokenizer, spelling_of
from efa.model.decoder import Decoder, load_bert
from efa.model.swin import SwinBlock, load_encoder
from efa.model.text import TextEncoder, bert_state, locate
from efa.utils import paths


@dataclass
class TrainingInputs:
    """What training and prediction read: the clips of a data set and the vectors of its steps."""

    dataset: DataSet
    video: np.ndarray  # frames uint8 [N, T, S, S, 3], features float16 [N, tokens, C] or skeletons [N, 48, 20, 3]
    steps: Tensor  # [K, 5, E]
    instruction: Tensor  # [K, 1, E]
    tokenizer: Tokenizer
    order: Tensor | None = None  # int64 [N, 5], in which each clip gets its steps; None: as they are
    estimated: np.ndarray | None = None  # of skeletons: as an estimator reports them, [N, T, 20, 3]

    @property
    def observed(self) -> np.ndarray:
        """What validation and prediction read of the clips."""
        return self.video if self.estimated is None else self.estimated

    def embed(self, model: Model, keys: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors F_t^s [B, 5, E] and F_t^g [B, 1, E] of clips, by the model's own text encoder if it trains one.

        From each clip's row of `steps`, `keys` [B] (-1: no text, any vectors), and `rows` [B] of the table.
        """
        keys = keys.clamp(min=0)
        if model.text_encoder is None:
            steps, instruction = self.steps.to(keys.device)[keys], self.instruction.to(keys.device)[keys]
        else:
            wanted, at = keys.unique(return_inverse=True)
            texts = list(self.dataset.steps.values())
            sentences = [sentence for i in wanted.tolist() for sentence in texts[i].sentences]
            both = model.text_encoder.encode(sentences).unflatten(0, (-1, 6))[at]  # [B, 6, E]
            steps, instruction = both[:, :5], both[:, 5:]
        if self.order is not None:
            steps = steps.take_along_dim(self.order.to(rows.device)[rows][:, :, None], 1)
        return steps, instruction

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero((self.dataset.table["split"] == split).to_numpy())


def prepare(config: Config, progress: Progress | None = None, final: bool = False) -> TrainingInputs:
    """Opens the data set and runs whatever is frozen, once; `final`: for scoring a finished run, see `open_dataset`."""
    dataset, training = open_dataset(config.data, final), open_dataset(config.data)
    vectors = text_vectors(dataset, config.text)  # [K, 6, E], before hours of decoding
    if config.fusion.text == "random":
        vectors = torch.stack([randomise(*pair) for pair in zip(dataset.steps.values(), vectors, strict=True)])
    order = step_order(dataset) if config.fusion.text == "shuffled" else None
    texts = (vectors[:, :5], vectors[:, 5:], vocabulary(training, config), order)
    if config.encoder.kind == "pose":
        video = loader.load_skeletons(dataset, config.data, progress)
        return TrainingInputs(dataset, video, *texts, loader.observed_skeletons(video, config))
    if config.encoder.frozen:
        video = video_features(dataset, config, progress)
    else:
        video = loader.load_frames(dataset, config.data, progress)
    return TrainingInputs(dataset, video, *texts)


def randomise(text: StepText, vectors: Tensor) -> Tensor:
    """A random vector as long as the real one for each of an action's six sentences, [6, E]; its text is the seed."""
    draw = torch.Generator().manual_seed(zlib.crc32("\n".join(text.sentences).encode()))
    noise = torch.randn(vectors.shape, generator=draw)
    return noise * vectors.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)


def step_order(dataset: DataSet) -> Tensor:
    """A random order of the five steps for each clip, int64 [N, 5], the same whenever it is asked for."""
    seeds = [zlib.crc32(f"order {clip}".encode()) for clip in dataset.table["clip_id"]]
    return torch.from_numpy(np.stack([np.random.RandomState(seed).permutation(5) for seed in seeds]))


def text_vectors(dataset: DataSet, config: TextConfig) -> Tensor:
    """Vectors of the five steps and the instruction, [K, 6, E], one row for each key of `dataset.steps` in order."""
    texts = [sentence for text in dataset.steps.values() for sentence in text.sentences]
    folder = Path(config.model)
    files = sorted(file for file in folder.glob("*") if file.is_file()) if folder.is_dir() else []
    settings = [texts, config.model, config.pooling, config.max_tokens]
    if files:  # vectors are computed again after a file was replaced
        settings.append([[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files])
    name = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    path = paths.cache() / "text" / f"{name}.npy"
    if not path.is_file():
        vectors = TextEncoder(config).encode(texts).detach().numpy()
        cached_array(path, vectors.shape, np.float32, [vectors])
    return torch.from_numpy(np.load(path)).unflatten(0, (-1, 6))


def video_features(dataset: DataSet, config: Config, progress: Progress | None = None) -> np.ndarray:
    """Features of the frozen trunk, float16 [N, tokens, C], memory-mapped; systems with the same trunk share them."""
    torch.manual_seed(0)
    model = build_system(config, len(dataset.actions), 8, 8).eval()  # only its trunk is used
    if file := encoder_file(config):  # before the frames: a wrong file is reported before an hour of decoding
        load_encoder(trunk(model), file)
    frames = loader.load_frames(dataset, config.data, progress)

    @torch.no_grad()
    def encode(clips: np.ndarray) -> np.ndarray:
        return model.encode_video(torch.from_numpy(np.array(clips)).permute(0, 1, 4, 2, 3)).half().numpy()

    weights = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else "random"
    encoder = {name: value for name, value in config.to_dict()["encoder"].items() if name != "adapter"}
    settings = [encoder, config.to_dict()["data"], weights, RESULTS_VERSION]
    if model.TRUNK != "formsim":
        settings += [config.system.name, config.system.small]
    name = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    path = paths.cache() / "features" / f"{loader.data_fingerprint(dataset, config.data)}-{name}.npy"
    shape = (len(frames), *encode(frames[:1]).shape[1:])
    starts = range(0, len(frames), 32)
    return cached_array(path, shape, np.float16, (encode(frames[i : i + 32]) for i in starts), progress)


def word_pieces(config: TextConfig) -> Tokenizer:
    """All word pieces of the text encoder, in the order of their numbers."""
    folder = Path(locate(config.model))
    if (folder / "vocab.txt").is_file():
        return Tokenizer.from_file(folder / "vocab.txt")
    numbers = TextEncoder(config).tokenizer.get_vocab()
    return Tokenizer(sorted(numbers, key=numbers.__getitem__))


def vocabulary(dataset: DataSet, config: Config) -> Tokenizer:
    """The text encoder's word pieces; with `decoder.vocabulary` 'train' only those of the training texts."""
    texts = list(dataset.table["explanation"][dataset.table["split"] == "train"])
    full = word_pieces(config.text)
    pieces = full.pieces if config.decoder.vocabulary == "full" else full.pruned(texts).pieces
    return Tokenizer(pieces, spelling_of(texts))


def build_model(config: Config, inputs: TrainingInputs) -> Model:
    """The system of `system.name` with its pre-trained parts in place; the rest is random from `training.seed`."""
    torch.manual_seed(config.training.seed)
    tokenizer, text_dim = inputs.tokenizer, inputs.steps.shape[-1]
    model = build_system(config, len(inputs.dataset.actions), len(tokenizer), text_dim, tokenizer.mask)
    if file := encoder_file(config):
        load_encoder(trunk(model), file)
    for part in model.modules():
        if isinstance(part, (SwinBlock, Decoder)):
            part.checkpointing = config.training.checkpointing
    writer, new = model.text_decoder, 0
    if writer is None:
        return model
    if config.decoder.weights == "text" and not isinstance(writer, S2VT):  # a GRU has no use for BERT's layers
        number = {piece: i for i, piece in enumerate(word_pieces(config.text).pieces)}
        load_bert(writer, bert_state(config.text.model), [number[piece] for piece in tokenizer.pieces])
    elif file := decoder_file(config):
        new = load_text(writer, file, tokenizer.pieces)
    if config.decoder.frozen:
        model.freeze_text(ROWS if new else ())  # pieces that the file lacks are random: their table learns
    return model
