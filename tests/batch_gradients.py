"""One batch's gradient of every system, for a test that starts this once by itself and once as two processes.

    accelerate launch --multi_gpu --num_processes 2 tests/batch_gradients.py FOLDER

Nothing random is drawn for a clip: no noise, no dropout, and masked language models hide the first words of each text.
Each process writes what it found to FOLDER/<processes>-<rank>.pt.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from unittest import mock

import tiny
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.models.swin.modeling_swin import SwinDropPath

from efa.baselines import masked_lm
from efa.baselines.inputs import TrainingInputs, build_model, prepare
from efa.config import Config
from efa.data.batches import Batch, order_for_text_loss
from efa.data.loader import ClipDataset, EpochSampler, as_is, text_keys
from efa.model.decoder import Attention
from efa.train import NotFiniteError, TrainingStep, accumulate_gradient, fit
from efa.utils import distributed

SYSTEMS = (
    "EFA", "C3D", "TSM", "I3D", "TimeSformer", "Video Swin", "C3DAVG", "MSCADC", "SwinBERT", "LAVENDER", "RICA2",
)  # fmt: skip
QUIET = {"training.feature_noise": 0.0, "fusion.text_dropout": 0.0, "data.size": 64}
LEARNT = ("EFA", "I3D", "MSCADC")  # with a trunk that learns as well: batch statistics all the way down


def first_words(tokens: Tensor, share: float, mask_word: float, mask_id: int, words: int) -> tuple[Tensor, Tensor]:
    """`mask_words` without chance: as many words, the first ones."""
    candidates = tokens != 0
    count = (candidates.sum(1) * share).round().clamp(min=1)
    candidates[:, 0] = False
    hidden = candidates & (candidates.cumsum(1) <= count[:, None])
    return torch.where(hidden, mask_id, tokens), hidden


def calm(model: nn.Module) -> None:
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(part, SwinDropPath):
            part.drop_prob = 0.0
        if isinstance(part, (nn.GRU, Attention)):
            part.dropout = 0.0


def batch_of(inputs: TrainingInputs, config: Config) -> Batch:
    texts = inputs.tokenizer.batch(list(inputs.dataset.table["explanation"]), config.decoder.max_tokens)
    keys = text_keys(inputs.dataset, config)
    clips = ClipDataset(inputs.dataset, inputs.rows("train"), inputs.video, texts, keys, config.data, 0)
    loader = DataLoader(clips, config.training.batch, sampler=EpochSampler(len(clips), 0), collate_fn=as_is)
    return order_for_text_loss(next(iter(loader)), config.training)


def gradient(config: Config, inputs: TrainingInputs) -> tuple[dict, dict, list[int]]:
    """Gradients and running statistics by name, losses, and the clips that this process saw."""
    model = build_model(config, inputs).double().train()  # else a maximum between near equals (MSCADC) goes either way
    calm(model)
    clips = ClipDataset(inputs.dataset, inputs.rows("train"), inputs.video, *[torch.zeros(1)] * 2, config.data, 0)
    step = TrainingStep(model, config, inputs, clips)
    seen: list[int] = []
    step.register_forward_pre_hook(lambda module, given: seen.extend(given[0]["row"].tolist()))
    step = distributed.data_parallel(step)
    torch.manual_seed(0)
    with (
        mock.patch.object(masked_lm, "mask_words", first_words),
        mock.patch.object(torch, "randn_like", torch.zeros_like),
    ):
        batch = batch_of(inputs, config)
        batch["video"] = batch["video"] if batch["video"].dtype == torch.uint8 else batch["video"].double()
        losses = accumulate_gradient(step, model, batch, config.training.micro_batch or config.training.batch)
    found = {f"grad {name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return found | {name: value.clone() for name, value in model.named_buffers()}, losses, seen


def exact(inputs: TrainingInputs) -> TrainingInputs:
    return dataclasses.replace(inputs, steps=inputs.steps.double(), instruction=inputs.instruction.double())


def settings(name: str, learnt: bool) -> Config:
    trunk = {"encoder.frozen": False, "encoder.adapter": 0} if learnt else {}
    return tiny.config(system__name=name, system__small=True).with_(QUIET | trunk)


def everything(folder: Path) -> dict[str, object]:
    out: dict[str, object] = {}
    for learnt in (False, True):
        for name in LEARNT if learnt else SYSTEMS:
            config = settings(name, learnt)
            out[f"{name}{', learnt' * learnt}"] = gradient(config, exact(prepare(config)))
    config = settings("EFA", False)
    inputs = prepare(config)
    alone = config.with_({"fusion.pool_norm": False, "encoder.adapter": 0})  # no clip is normalised by others
    out["whole"] = gradient(alone, exact(inputs))
    out["accumulated"] = gradient(alone.with_({"training.micro_batch": 2}), exact(inputs))
    video = inputs.video.copy()
    broken = [int(row) for row in batch_of(inputs, config)["row"][1::2]]  # of the second process's share
    video[broken] = float("nan")
    try:
        gradient(config, exact(dataclasses.replace(inputs, video=video)))
    except NotFiniteError as error:
        out["not finite"] = error.parts
    model = fit(config, inputs, folder)
    out["weights"] = {name: value.cpu() for name, value in model.state_dict().items()}
    return out


if __name__ == "__main__":
    where = Path(sys.argv[1])
    torch.set_num_threads(1)
    found = everything(where)
    torch.save(found, where / f"{distributed.count()}-{distributed.rank()}.pt")
    distributed.wait()
