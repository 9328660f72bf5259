"""Frozen parts are run once: text vectors of every step, and video features of every clip, shared by all runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from efa import paths
from efa.config import Config, TextConfig
from efa.data.loader import Progress, augment, cached_array, data_fingerprint, load_frames, source_hash
from efa.data.manifest import DataSet
from efa.model.assessor import MEAN, STD
from efa.model.swin import VideoSwin, load_encoder
from efa.model.text import TextEncoder

VIEWS = 2  # of a training clip: as it is, and once with a flip and a crop of its own


def encoder_file(config: Config) -> str:
    """The file that `encoder.weights` names: '' for random weights, 'formsim' for the encoder in the package."""
    name = config.encoder.weights
    return str(paths.WEIGHTS / "formsim.safetensors") if name == "formsim" else name


def text_vectors(dataset: DataSet, config: TextConfig) -> tuple[Tensor, Tensor]:
    """Vectors of steps [K, 5, E] and instructions [K, 1, E], one row for each key of `dataset.steps` in order."""
    texts = [sentence for text in dataset.steps.values() for sentence in (*text.steps, text.instruction)]
    name = hashlib.sha256(json.dumps([texts, config.model, config.pooling, config.max_tokens]).encode()).hexdigest()[
        :16
    ]
    path = paths.cache() / "text" / f"{name}.npy"
    if not path.is_file():
        vectors = TextEncoder(config).encode(texts).detach().numpy()
        cached_array(path, vectors.shape, np.float32, lambda: iter([vectors]))
    return _split(torch.from_numpy(np.load(path)))


def _split(vectors: Tensor) -> tuple[Tensor, Tensor]:
    both = vectors.unflatten(0, (-1, 6))
    return both[:, :5], both[:, 5:]


def video_features(dataset: DataSet, config: Config, progress: Progress | None = None) -> np.ndarray:
    """Features of the frozen encoder, float16 [V, N, tokens, C], memory-mapped.

    View 0 is the clip as it is; the others are augmented, and equal to it outside the train split.
    """
    frames = load_frames(dataset, config.data, progress)
    file = encoder_file(config)
    weights = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else "random"
    code = source_hash(paths.WEIGHTS.parent / "model")
    settings = json.dumps([config.to_dict()["encoder"], config.to_dict()["data"], weights, code, VIEWS])
    name = f"{data_fingerprint(dataset, config.data)}-{hashlib.sha256(settings.encode()).hexdigest()[:16]}"
    torch.manual_seed(0)
    encoder = VideoSwin(config.encoder).eval()
    if file:
        load_encoder(encoder, file)
    grid = encoder.grid(config.data.frames, config.data.size, config.data.size)
    shape = (VIEWS * len(frames), grid[0] * grid[1] * grid[2], encoder.out_dim)
    train = (dataset.table["split"] == "train").to_numpy()

    def encode() -> Iterator[np.ndarray]:
        plain: list[np.ndarray] = []
        for view in range(VIEWS):
            for start in range(0, len(frames), 32):
                rows = np.arange(start, min(start + 32, len(frames)))
                if view and not train[rows].any():
                    yield plain[start // 32]
                    continue
                batch = [_seen(frames[r], config, int(r), view if train[r] else 0) for r in rows]
                out = run_encoder(encoder, torch.from_numpy(np.stack(batch)).permute(0, 1, 4, 2, 3)).half().numpy()
                if not view:
                    plain.append(out)
                yield out

    path = paths.cache() / "features" / f"{name}.npy"
    return cached_array(path, shape, np.float16, encode, progress).reshape(VIEWS, len(frames), *shape[1:])


def _seen(clip: np.ndarray, config: Config, row: int, view: int) -> np.ndarray:
    return augment(clip, config.data, np.random.RandomState(1_000 * row + view)) if view else clip


@torch.no_grad()
def run_encoder(encoder: VideoSwin, frames: Tensor) -> Tensor:
    """uint8 frames [B, T, 3, H, W] -> features [B, N, C]."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return encoder((frames / 255 - mean) / std).flatten(1, 3)
