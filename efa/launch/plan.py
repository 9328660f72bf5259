"""What a run would cost, as arithmetic: parameters, operations, memory, days on the paper's GPUs. Nothing is trained.

Modules are made on PyTorch's device 'meta', whose tensors have sizes and no content, so any machine can plan any size.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from efa.baselines.inputs import vocabulary
from efa.baselines.registry import build_system, encoder_file, fetch_command
from efa.config import Config
from efa.data.loader import open_dataset
from efa.model.text import locate

# Peaks of matrix products without sparsity in FLOP/s, by the vendor's data sheets: fp32, TF32, bf16.
GPUS = {
    "two RTX A6000 (the paper's)": (2 * 38.7e12, 2 * 77.4e12, 2 * 154.8e12),
    "one H200": (67e12, 494.5e12, 989.5e12),
}
SHARE = 0.45  # of the peak that a training step is assumed to reach
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
        frames = torch.empty(training.batch, data.frames, 3, data.size, data.size)
        length = min(training.text_tokens or config.decoder.max_tokens, config.decoder.max_tokens)
        clips = max(1, round(training.text_share * training.batch))
        tokens = torch.ones(clips, length, dtype=torch.long) if model.text_decoder is not None else None
        parameters = {id(p): p for part in (model, encoder) if part is not None for p in part.parameters()}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if id(tensor) not in parameters:
                storage = tensor.untyped_storage()
                kept[storage._cdata] = storage.nbytes()
            return tensor

        with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            texts = torch.empty(training.batch, 6, bert.hidden_size)
            if encoder is not None:
                ids = torch.ones(6 * training.batch, config.text.max_tokens, dtype=torch.long)
                texts = encoder(input_ids=ids).last_hidden_state.mean(1).unflatten(0, (-1, 6))
            output = model(model.encode_video(frames), texts[:, :5], texts[:, 5:], None, tokens)
            written = [] if output.text_logits is None else [output.text_logits]
            sum(part.sum() for part in (output.class_logits, output.quality_logit, *written)).backward()
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
        "flops": int(counter.get_total_flops()),
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
        hours = [need["steps"] * need["flops"] / (SHARE * peak) / 3600 for peak in peaks]
        unit, by = ("days", 24) if "A6000" in name else ("hours", 1)
        times = ", ".join(f"{h / by:.2g} ({kind})" for h, kind in zip(hours, ("fp32", "TF32", "bf16"), strict=True))
        yield f"{unit} on {name}, at {SHARE:.0%} of its peak", times
    file = encoder_file(config)
    if file and not Path(file).is_file():
        fetch = f": run: {fetch_command(file)}" if config.encoder.weights == "kinetics600" else ""
        yield "missing", f"{file}{fetch}"
