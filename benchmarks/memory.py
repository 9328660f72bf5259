"""Largest resident memory of a process that builds one model and writes with it."""

from __future__ import annotations

import resource
import sys

import torch

from benchmarks import models
from benchmarks.apart import apart
from benchmarks.models import Sizes
from efa.model.assessor import EFAModel

KINDS = {  # what the process does -> its name in the table
    "ours": "our decoder with its cache",
    "transformers": "generate of transformers",
    "uncached": "itself without a cache",
    "masked": "the release's way, re-created",
    "pixels": "pixels to text",
}


def megabytes(kind: str, sizes: Sizes, length: int) -> float:
    """Peak of a fresh process, in MiB, PyTorch itself included; of the release, its joint transformer alone."""
    return apart(_peak, kind, sizes, length, threads=torch.get_num_threads())


@torch.no_grad()
def _peak(kind: str, sizes: Sizes, length: int) -> float:
    """Without a cache the last pass is the largest, so it alone is run."""
    torch.manual_seed(0)
    if kind == "ours":
        models.write_ours(models.decoder(sizes), models.memory(sizes, sizes.memory), length)
    elif kind == "transformers":
        models.write_theirs(models.bert(sizes), models.memory(sizes, sizes.memory), length)
    elif kind == "uncached":
        models.decoder(sizes)(torch.ones(1, length, dtype=torch.long), models.memory(sizes, sizes.memory))
    elif kind == "masked":
        fused, ids = models.memory(sizes, sizes.joint), torch.ones(1, length + 1, dtype=torch.long)
        models.masked(sizes).write(fused, ids)
    elif kind == "pixels":
        config = sizes.config
        model = EFAModel(config, actions=141, vocabulary_size=sizes.vocabulary, text_dim=config.fusion.dim).eval()
        texts = torch.zeros(1, 6, config.fusion.dim)
        features = model.encode_video(torch.zeros(1, config.data.frames, 3, config.data.size, config.data.size))
        model.generate(features, texts[:, 1:], texts[:, :1], None, models.BEGIN, models.NEVER, length)
    else:
        raise ValueError(kind)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)  # bytes there, KiB elsewhere
