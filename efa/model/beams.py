"""Beam search over the decoder's cache: the likeliest of several texts that are written side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from efa.model.decoder import Decoder


@torch.no_grad()
def beam_search(
    decoder: Decoder, memory: Tensor, bos: int, eos: int, max_tokens: int, beams: int, use_cache: bool = True
) -> list[list[int]]:
    """Keeps the `beams` likeliest beginnings of each row, and returns the text with the highest mean log-likelihood.

    A row is done when it has `beams` ended texts and the best beginning is no better, its length so far counted; its
    text does not depend on the other rows. One beam is greedy decoding. Call in eval mode.

    Args:
        memory: F_f [B, N, D].
        bos: id that starts every text.
        eos: id that ends it; it counts in a text's length.
        max_tokens: most ids written, after which every text counts as ended; `config.max_tokens` is a limit as well.
        beams: K.
        use_cache: False runs the whole prefix again for every token (slow, for tests).

    Returns:
        For each row the ids without `bos` and `eos`.
    """
    from efa.model.decoder import _Cache

    rows, limit = len(memory), min(max_tokens, decoder.config.max_tokens)
    memory = memory.repeat_interleave(beams, 0)  # [B*K, N, D]
    tokens = torch.full((rows * beams, limit + 1), eos, device=memory.device)
    tokens[:, 0] = bos
    scores = memory.new_full((rows, beams), -torch.inf, dtype=torch.float)
    scores[:, 0] = 0  # all beams begin alike, so one of them counts
    base = torch.arange(rows, device=memory.device)[:, None] * beams
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(rows)]
    running = [True] * rows
    cache = _Cache(decoder, memory, limit) if use_cache else None
    for i in range(limit):
        logits = decoder(tokens[:, : i + 1], memory)[:, -1] if cache is None else cache.step(tokens[:, i : i + 1], i)
        words = logits.shape[-1]
        total = scores[:, :, None] + logits.float().log_softmax(-1).view(rows, beams, words)
        best, at = total.flatten(1).topk(min(2 * beams, beams * words))  # [B, 2K]: K of them go on even if K end
        parent, word = at // words, at % words
        ends = (word == eos) | (i + 1 == limit)
        for row, rank in torch.nonzero(ends[:, :beams]).tolist():
            if running[row] and best[row, rank] > -torch.inf:
                text = [*tokens[row * beams + int(parent[row, rank]), 1 : i + 1].tolist(), int(word[row, rank])]
                ended[row] = sorted([*ended[row], (float(best[row, rank]) / (i + 1), text)], key=_score)[:beams]
        going = ends.int().argsort(dim=1, stable=True)[:, :beams]  # the best that do not end
        scores, parent, word = best.gather(1, going), parent.gather(1, going), word.gather(1, going)
        order = (base + parent).flatten()  # [B*K]
        tokens = tokens[order]
        tokens[:, i + 1] = word.flatten()
        if cache is not None:
            cache.reorder(order)
        for row, hope in enumerate((scores[:, 0] / (i + 1)).tolist()):
            running[row] &= len(ended[row]) < beams or ended[row][-1][0] < hope
        if not any(running):
            break
    likeliest = (texts[0][1] for texts in ended)
    return [text[:-1] if text[-1] == eos else text for text in likeliest]


def _score(text: tuple[float, list[int]]) -> float:
    return -text[0]
