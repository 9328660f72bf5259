"""Pre-train the decoder as a language model on FormSim's words alone: the stand-in for BERT's pre-training.

The texts come from data sets with a seed that no benchmark uses. No video is seen; cross-attention stays untrained.

    $ efa pretrain decoder          # writes efa/weights/formsim_decoder.safetensors, its vocabulary and provenance
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

from efa import paths
from efa.config import Config
from efa.data import formsim
from efa.model.decoder import Decoder
from efa.pretrain import STREAM_SEED
from efa.runs import commit
from efa.training import word_pieces

Report = Callable[[dict[str, float]], None]


def explanations(count: int, seed: int) -> list[str]:
    """References of `count` clips, half from a main and half from a standards data set that nobody else uses."""
    half = count // 2
    chosen = [*formsim.clips("main", count - half, seed), *formsim.clips("standards", half, seed)]
    return [str(formsim.record(clip)["explanation"]) for clip in chosen]


def pretrain_text(
    config: Config,
    texts: int,
    passes: int = 1,
    batch: int = 32,
    lr: float = 2e-3,
    out: Path | None = None,
    report: Report = lambda row: None,
    seed: int = 0,
) -> dict[str, float]:
    """Predict each word piece from those before it; save all but the cross-attention, in half precision.

    Returns:
        loss: nats a word piece on 512 held-out texts; perplexity: its exponential.
    """
    torch.manual_seed(seed)
    out = out or paths.WEIGHTS / "formsim_decoder.safetensors"
    out.parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    written = explanations(texts, STREAM_SEED + 2 * seed)
    tokeniser = word_pieces(config.text).pruned(written)
    tokens = tokeniser.batch(written, config.decoder.max_tokens)
    held_out = tokeniser.batch(explanations(512, STREAM_SEED + 1), config.decoder.max_tokens)
    model = Decoder(config.decoder, len(tokeniser), config.decoder.dim)
    model.position.weight.data[tokens.shape[1] :] = 0  # never seen here
    own = {n: p for n, p in model.named_parameters() if ".cross." not in n}
    optimiser = torch.optim.AdamW(own.values(), lr, betas=(0.9, 0.98), weight_decay=0.01)
    steps = passes * (texts // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.06)
    draw = np.random.RandomState(seed)
    for step in range(1, steps + 1):
        loss = _loss(model, tokens[torch.from_numpy(draw.randint(texts, size=batch))])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(own.values(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == steps:
            report({"step": step, "share": step / steps, "loss": loss.item(), "seconds": time.time() - started})
    model.eval()
    with torch.no_grad():
        nats = float(np.mean([_loss(model, part).item() for part in held_out.split(64)]))
    save_file({name: value.detach().half().contiguous() for name, value in own.items()}, out)
    tokeniser.save(out.with_suffix(".txt"))
    scores = {"loss": round(nats, 4), "perplexity": round(float(np.exp(nats)), 3)}
    facts = {
        "command": f"efa pretrain decoder --texts {texts} --passes {passes} --lr {lr:g} --seed {seed}",
        "commit": commit(),
        "data": "explanations of FormSim clips that no benchmark holds (stand-in for BERT's pre-training)",
        "parameters": sum(p.numel() for p in own.values()),
        "batch": batch,
        "stream_seed": STREAM_SEED + 2 * seed,
        "seconds": round(time.time() - started),
        "hardware": f"{torch.get_num_threads()} CPU cores",
        "decoder": config.to_dict()["decoder"],
        "held_out": scores,
    }
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    return scores


def _loss(model: Decoder, tokens: Tensor) -> Tensor:
    tokens = tokens[:, : int((tokens != 0).sum(1).max())]
    logits = model(tokens[:, :-1], None)
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)
