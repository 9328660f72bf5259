"""Pre-train a captioner's words on FormSim's texts alone: the stand-in for BERT's pre-training.

EFA's decoder (RICA2's as well), S2VT's second network (C3DAVG, MSCADC) and the joint transformers of SwinBERT and of
LAVENDER see the same texts in the same order, as many updates, and the same learning rates. The first two predict each
word piece from those before it, the others hidden ones, as they do with a video. The texts come from data sets with a
seed that no benchmark uses. No video is seen; whatever reads one stays untrained.

    $ efa pretrain decoder          # writes efa/model/weights/formsim_decoder.safetensors and its vocabulary
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import formsim
from efa.baselines.base import language_weights, load_text, text_file
from efa.baselines.masked_lm import MaskedLM
from efa.baselines.pretrain import STREAM_SEED
from efa.baselines.registry import build_system
from efa.config import Config
from efa.data.tokenizer import Tokenizer
from efa.model.decoder import Decoder
from efa.runs import commit
from efa.train import word_pieces
from efa.utils.errors import InputError

Report = Callable[[dict[str, float]], None]
PARTS = {"decoder": "EFA", "s2vt": "C3DAVG", "swinbert": "SwinBERT", "lavender": "LAVENDER"}  # words -> whose


def explanations(count: int, seed: int) -> list[str]:
    """References of `count` clips, half from a main and half from a standards data set that nobody else uses."""
    half = count // 2
    chosen = [*formsim.clips("main", count - half, seed), *formsim.clips("standards", half, seed)]
    return [str(formsim.record(clip)["explanation"]) for clip in chosen]


def build_writer(part: str, config: Config, tokenizer: Tokenizer) -> nn.Module:
    """An untrained writer, of the size that its system has by `config`.

    Raises:
        InputError: `part` is none of `PARTS`.
    """
    if part not in PARTS:
        raise InputError(f"no such words to pre-train: '{part}'", hint=f"one of: {', '.join(PARTS)}")
    if part == "decoder":  # alone, so that its first weights do not hang on what else EFA has
        return Decoder(config.decoder, len(tokenizer), config.decoder.dim)
    system = build_system(config.with_({"system.name": PARTS[part]}), 1, len(tokenizer), mask_id=tokenizer.mask)
    return system.text_decoder


def pretrain_text(
    config: Config,
    texts: int,
    passes: int = 1,
    batch: int = 32,
    lr: float = 2e-3,
    out: Path | None = None,
    report: Report = lambda row: None,
    seed: int = 0,
    part: str = "decoder",
) -> dict[str, float]:
    """Trains one of `PARTS` and saves what `load_text` reads: weights in half precision, vocabulary, provenance.

    Args:
        texts: how many; each is drawn `passes` times on average.
        lr: the highest; it rises for 6 % of the updates and falls to almost nothing.
        out: default: `text_file`, in the package.
        seed: of the texts (with an offset), of weights and of the order.

    Returns:
        loss: nats a word piece given those before it, on 512 held-out texts, whatever the training predicts;
        perplexity: its exponential.

    Raises:
        InputError: `part` is none of `PARTS`.
    """
    torch.manual_seed(seed)
    out = out or text_file(part)
    out.parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    written = explanations(texts, STREAM_SEED + 2 * seed)
    tokenizer = word_pieces(config.text).pruned(written)
    tokens = tokenizer.batch(written, config.decoder.max_tokens)
    held_out = tokenizer.batch(explanations(512, STREAM_SEED + 1), config.decoder.max_tokens)
    model = build_writer(part, config, tokenizer)
    if isinstance(model, (Decoder, MaskedLM)):
        model.position.weight.data[tokens.shape[1] :] = 0  # never seen here
    own = {name: model.get_parameter(name) for name in language_weights(model)}
    optimizer = torch.optim.AdamW(own.values(), lr, betas=(0.9, 0.98), weight_decay=0.01)
    steps = passes * (texts // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.06)
    draw = np.random.RandomState(seed)
    for step in range(1, steps + 1):
        chosen = tokens[torch.from_numpy(draw.randint(texts, size=batch))]
        loss = model.loss(_cut(chosen), None) if isinstance(model, MaskedLM) else next_piece_loss(model, chosen)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(own.values(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps:
            report({"step": step, "share": step / steps, "loss": loss.item(), "seconds": time.time() - started})
    model.eval()
    with torch.no_grad():
        nats = float(np.mean([next_piece_loss(model, some).item() for some in held_out.split(64)]))
    learnt = language_weights(model)
    save_file({name: value.half().contiguous() for name, value in learnt.items()}, out)
    tokenizer.save(out.with_suffix(".txt"))
    scores = {"loss": round(nats, 4), "perplexity": round(float(np.exp(nats)), 3)}
    named = "" if part == "decoder" else f" --part {part}"
    facts = {
        "command": f"efa pretrain decoder{named} --texts {texts} --passes {passes} --lr {lr:g} --seed {seed}",
        "commit": commit(),
        "data": "explanations of FormSim clips that no benchmark holds (stand-in for BERT's pre-training)",
        "parameters": sum(value.numel() for value in learnt.values()),
        "batch": batch,
        "stream_seed": STREAM_SEED + 2 * seed,
        "seconds": round(time.time() - started),
        "hardware": f"{torch.get_num_threads()} CPU cores",
        part: config.to_dict()["decoder"] if part == "decoder" else {"of": PARTS[part], "small": config.system.small},
        "held_out": scores,
    }
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    return scores


def next_piece_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Nats a word piece of texts [B, L], each piece given those before it."""
    tokens = _cut(tokens)
    logits = model(tokens[:, :-1], None)
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)


def _cut(tokens: Tensor) -> Tensor:
    return tokens[:, : int((tokens != 0).sum(1).max())]


__all__ = ["PARTS", "build_writer", "explanations", "load_text", "next_piece_loss", "pretrain_text", "text_file"]
