"""Frozen parts are run once: text vectors of every step, and video features of every clip, shared by all runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from efa.baselines.registry import build_system, encoder_file, load_trunk, trunk_name
from efa.config import RESULTS_VERSION, Config, TextConfig
from efa.data.loader import Progress, cached_array, data_fingerprint, load_frames
from efa.data.manifest import DataSet
from efa.model.text import TextEncoder
from efa.utils import paths


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
