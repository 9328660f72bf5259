"""What a run would cost, as arithmetic: parameters, operations, memory, days on the paper's GPUs. Nothing is trained.

Modules are made on PyTorch's device 'meta', whose tensors have sizes and no content, so any machine can plan any size.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel

from efa.baselines.inputs import vocabulary
from efa.baselines.registry import build_system, encoder_file, fetch_command
from efa.config import Config
from efa.data.loader import open_dataset
from efa.model.text import locate
from efa_book.audit import costs
from efa_book.audit.budget import PEAKS, SHARE

GPUS = {  # peaks of matrix products without sparsity in FLOP/s, by the vendor's data sheets
    "two RTX A6000 (the paper's)": {"fp32": 2 * 38.7e12, "TF32": 2 * 77.4e12, "bf16": 2 * 154.8e12},
    "one H200": {kind: PEAKS[kind] for kind in ("fp32", "TF32", "bf16")},
}
ADAMW_BYTES = 16  # a trained parameter: weight, gradient and two moments of 4 bytes


def text_config(model: str) -> BertConfig:
    """Sizes of the text encoder: those of its folder, else BERT-base's."""
    folder = Path(locate(model))
    return BertConfig.from_pretrained(folder) if (folder / "config.json").is_file() else BertConfig()


def measure_step(config: Config) -> dict[str, Any]:
    """A training step on 'meta': parameters by part, FLOPs, bytes of activations kept for the backward pass."""
    training, data, bert = config.training, config.data, text_config(config.text.model)
    dataset = open_dataset(data)
    words = len(vocabulary(dataset, config)) if config.decoder.vocabulary == "train" else bert.vocab_size
    kept: dict[int, int] = {}
    with torch.device("meta"):
        plain = config.with_({"text.frozen": True})  # its text encoder is counted by its sizes, not loaded
        model = build_system(plain, len(dataset.actions), words, bert.hidden_size).to("meta").eval()
        reads = model.READS_STEPS and config.fusion.text != "none"
        encoder = BertModel(bert, add_pooling_layer=False) if reads and not config.text.frozen else None
        length = config.decoder.max_tokens
        clips = max(1, round(training.text_share * training.batch))
        tokens = costs.token_ids(clips, length) if model.text_decoder is not None else None
        parameters = {id(p): p for part in (model, encoder) if part is not None for p in part.parameters()}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if id(tensor) not in parameters:
                storage = tensor.untyped_storage()
                kept[storage._cdata] = storage.nbytes()
            return tensor

        def step() -> None:
            texts = torch.empty(training.batch, 6, bert.hidden_size)
            if encoder is not None:
                ids = costs.token_ids(6 * training.batch, config.text.max_tokens)
                texts = encoder(input_ids=ids).last_hidden_state.mean(1).unflatten(0, (-1, 6))
            costs.train_step(model, data, texts, tokens)

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            operations = costs.flops(step)
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    parts["positions"] = sum(p.numel() for p in model.parameters(recurse=False))
    if encoder is not None:
        parts["text_encoder"] = sum(p.numel() for p in encoder.parameters())
    trained = sum(p.numel() for p in parameters.values() if p.requires_grad)
    rows = int((dataset.table["split"] == "train").sum())
    steps = training.epochs * max(1, rows // training.batch)
    return {
        "parts": {name: count for name, count in parts.items() if count},
        "trained": trained,
        "flops": operations,
        "weights": ADAMW_BYTES * trained + 4 * (sum(parts.values()) - trained),
        "activations": sum(kept.values()),
        "steps": steps,
    }


def describe_plan(config: Config) -> Iterator[tuple[str, str]]:
    """(what, how much) of a run, line by line."""
    need = measure_step(config)
    for name, count in need["parts"].items():
        yield f"parameters: {name}", f"{count / 1e6:.1f} M"
    yield "parameters: all, trained", f"{sum(need['parts'].values()) / 1e6:.1f} M, {need['trained'] / 1e6:.1f} M"
    yield f"a training step, batch {config.training.batch}", f"{need['flops'] / 1e12:.2f} TFLOP forward and backward"
    weights, kept = need["weights"] / 2**30, need["activations"] / 2**30
    yield "memory: weights, gradients, AdamW", f"{weights:.1f} GiB"
    yield "memory: activations, fp32", f"{kept:.1f} GiB (less with training.micro_batch or checkpointing)"
    yield "steps", f"{need['steps']:,} ({config.training.epochs} epochs)"
    for name, peaks in GPUS.items():
        hours = {kind: need["steps"] * need["flops"] / (SHARE * peak) / 3600 for kind, peak in peaks.items()}
        unit, by = ("days", 24) if "A6000" in name else ("hours", 1)
        times = ", ".join(f"{h / by:.2g} ({kind})" for kind, h in hours.items())
        yield f"{unit} on {name}, at {SHARE:.0%} of its peak", times
    file = encoder_file(config)
    if file and not Path(file).is_file():
        fetch = f": run: {fetch_command(file)}" if config.encoder.weights == "kinetics600" else ""
        yield "missing", f"{file}{fetch}"
