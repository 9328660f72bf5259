"""The explanation decoder: BERT's layers, causal, with cross-attention to the fused video tokens.

Post-norm, learned positions, GELU, and BERT's LM head with tied embeddings, so that a pretrained BERT can be copied in
(`load_bert`). Generation is greedy or by beam search, with a key/value cache.
"""

import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from efa.config import DecoderConfig

EPS = 1e-12  # BERT's LayerNorm
KeysValues = tuple[Tensor, Tensor]  # each [B, heads, M, d]


class Attention(nn.Module):
    """Multi-head attention with BERT's four matrices. Keys and values are computed apart, so that they can be kept."""

    def __init__(self, dim: int, heads: int, dropout: float, out_dim: int | None = None):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, out_dim or dim)

    def keys_values(self, x: Tensor) -> KeysValues:
        """[B, M, D] -> keys and values, each [B, heads, M, d]."""
        return self._split(self.key(x)), self._split(self.value(x))

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Queries from x [B, L, D] -> [B, L, out_dim]; mask [L, M], bool or added to the scores."""
        dropout = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(self._split(self.query(x)), keys, values, mask, dropout, is_causal=causal)
        return self.output(x.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, L, d]


class Layer(nn.Module):
    """BERT's: self-attention, cross-attention if asked for, MLP; each followed by residual and LayerNorm."""

    def __init__(self, dim: int, heads: int, dropout: float, cross: bool):
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.attention_norm = nn.LayerNorm(dim, EPS)
        if cross:
            self.cross = Attention(dim, heads, dropout)
            self.cross_norm = nn.LayerNorm(dim, EPS)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)
        self.mlp_norm = nn.LayerNorm(dim, EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        own: KeysValues,
        memory: KeysValues | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """[B, L, D] -> the same shape; `memory` holds the cross-attention's keys and values, None skips it."""
        x = self.attention_norm(x + self.dropout(self.attention(x, *own, mask, causal)))
        if hasattr(self, "cross"):
            x = self.cross_norm(x if memory is None else x + self.dropout(self.cross(x, *memory)))
        return self.mlp_norm(x + self.dropout(self.down(F.gelu(self.up(x)))))


class Bert(nn.Module):
    """BERT's embeddings, layers and LM head, for V words and `config.max_tokens` positions.

    Cross-attention reads vectors of width `memory_dim`, if given. Not `tied`, the head has an embedding of its own.
    """

    layers: Any  # an nn.ModuleList of Layer

    def __init__(self, config: DecoderConfig, vocabulary_size: int, memory_dim: int | None = None, tied: bool = True):
        super().__init__()
        self.config = config
        dim = config.dim
        self.word = nn.Embedding(vocabulary_size, dim)
        self.position = nn.Embedding(config.max_tokens, dim)  # includes segment 0, which every text token has
        self.embedding_norm = nn.LayerNorm(dim, EPS)
        self.dropout = nn.Dropout(config.dropout)
        if memory_dim is not None:
            self.memory_in = nn.Identity() if memory_dim == dim else nn.Linear(memory_dim, dim)
        cross = memory_dim is not None
        self.layers = nn.ModuleList(Layer(dim, config.heads, config.dropout, cross) for _ in range(config.depth))
        self.transform = nn.Linear(dim, dim)
        self.transform_norm = nn.LayerNorm(dim, EPS)
        self.output = None if tied else nn.Linear(dim, vocabulary_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def embed(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Ids [B, L] at positions start, start + 1, ... -> [B, L, D]; positions after the last one share it."""
        place = torch.arange(start, start + tokens.shape[1], device=tokens.device)  # [L]
        position = self.position(place.clamp(max=self.config.max_tokens - 1))  # [L, D]
        return self.dropout(self.embedding_norm(self.word(tokens) + position))

    def head(self, states: Tensor) -> Tensor:
        """[..., D] -> logits [..., V]."""
        x = self.transform_norm(F.gelu(self.transform(states)))
        return F.linear(x, self.word.weight if self.output is None else self.output.weight, self.bias)


class Decoder(Bert):
    """Writes the explanation from fused features of width `memory_dim`, projected to the decoder's own width."""

    beams: int = 1  # beam width of `generate`, from `prediction.beams`; 1 is greedy
    checkpointing: bool = False  # recompute each layer in the backward pass, from `training.checkpointing`

    def forward(self, tokens: Tensor, memory: Tensor | None) -> Tensor:
        """Teacher forcing: ids [B, L] and F_f [B, N, D] -> logits [B, L, V]; position i predicts token i + 1.

        Padding on the right needs no mask: no real token sees it. Without memory it is a language model.
        """
        x = self.embed(tokens)  # [B, L, dim]
        memory = None if memory is None else self.memory_in(memory)
        recompute = self.checkpointing and self.training and torch.is_grad_enabled()
        for layer in self.layers:
            given = layer, x, memory
            x = checkpoint(self._run_layer, *given, use_reentrant=False) if recompute else self._run_layer(*given)
        return self.head(x)

    @staticmethod
    def _run_layer(layer: Layer, x: Tensor, memory: Tensor | None) -> Tensor:
        cross = None if memory is None else layer.cross.keys_values(memory)
        return layer(x, layer.attention.keys_values(x), cross, causal=True)

    @torch.no_grad()
    def generate(self, memory: Tensor, bos: int, eos: int, max_tokens: int) -> list[list[int]]:
        """Greedy or beam search from F_f [B, N, D] -> B lists of ids, at most `config.max_tokens` too; in eval mode."""
        limit = min(max_tokens, self.config.max_tokens)
        memory = memory.repeat_interleave(self.beams, 0)  # [B*K, N, D]
        cache = _Cache(self, memory, limit)
        if self.beams > 1:
            return beam_search(cache, len(memory) // self.beams, bos, eos, limit, self.beams, memory.device)
        return greedy(lambda ids, i: cache.step(ids[:, None], i), len(memory), bos, eos, limit, memory.device)


class _Cache:
    """The cross-attentions' keys and values, computed once, and room for the own ones of every position."""

    def __init__(self, decoder: Decoder, memory: Tensor, limit: int):
        self.decoder = decoder
        memory = decoder.memory_in(memory)
        self.cross = [layer.cross.keys_values(memory) for layer in decoder.layers]
        heads = decoder.config.heads
        shape = (2, len(decoder.layers), len(memory), heads, limit, decoder.config.dim // heads)
        self.keys, self.values = self.cross[0][0].new_empty(shape)  # each [layers, B, heads, limit, d]

    def step(self, tokens: Tensor, i: int) -> Tensor:
        """The tokens at position i, [B, 1] -> logits [B, V]."""
        x = self.decoder.embed(tokens, i)  # [B, 1, dim]
        for n, layer in enumerate(self.decoder.layers):
            self.keys[n, :, :, i : i + 1], self.values[n, :, :, i : i + 1] = layer.attention.keys_values(x)
            own = self.keys[n, :, :, : i + 1], self.values[n, :, :, : i + 1]
            x = layer(x, own, self.cross[n])
        return self.decoder.head(x)[:, 0]

    def reorder(self, rows: Tensor) -> None:
        """Row r continues the text of row `rows[r]`, [B]; both must read the same video."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


def greedy(
    step: Callable[[Tensor, int], Tensor], rows: int, bos: int, eos: int, max_tokens: int, device: torch.device
) -> list[list[int]]:
    """Takes the most likely token until every row has ended or has `max_tokens` ids, `eos` included.

    `step` maps the ids [B] at position i, and i, to the next logits [B, V]. Returns B lists without `bos` and `eos`.
    """
    ids = torch.full((rows,), bos, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    steps: list[Tensor] = []
    while len(steps) < max_tokens and not ended.all():
        ids = step(ids, len(steps)).argmax(-1).masked_fill(ended, eos)  # [B]
        ended |= ids == eos
        steps.append(ids)
    texts = torch.stack(steps, 1).tolist() if steps else [[] for _ in range(rows)]
    return [text[: text.index(eos)] if eos in text else text for text in texts]


def beam_search(
    cache: _Cache, rows: int, bos: int, eos: int, limit: int, beams: int, device: torch.device
) -> list[list[int]]:
    """Keeps the `beams` most likely prefixes of each row; the text with the highest mean log-likelihood, as `greedy`.

    A row is done when it has `beams` finished texts and the best prefix scores no better at its present length; `eos`
    counts in the length, and after `limit` ids every text is finished. `cache` has B * K rows, a clip's side by side.
    """
    tokens = torch.full((rows * beams, limit + 1), eos, device=device)
    tokens[:, 0] = bos
    scores = torch.full((rows, beams), -torch.inf, device=device)
    scores[:, 0] = 0  # all beams begin alike, so only one of them counts
    base = torch.arange(rows, device=device)[:, None] * beams  # [B, 1]
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(rows)]
    running = [True] * rows
    for i in range(limit):
        logits = cache.step(tokens[:, i : i + 1], i).float()  # [B*K, V]
        total = scores[:, :, None] + logits.log_softmax(-1).unflatten(0, (rows, beams))  # [B, K, V]
        words = logits.shape[-1]
        best, index = total.flatten(1).topk(min(2 * beams, beams * words))  # [B, 2K]: K go on even if K end
        parent, word = index // words, index % words
        ends = (word == eos) | (i + 1 == limit)
        for row, rank in torch.nonzero(ends[:, :beams]).tolist():
            if running[row] and best[row, rank] > -torch.inf:
                text = [*tokens[row * beams + int(parent[row, rank]), 1 : i + 1].tolist(), int(word[row, rank])]
                scored = [*finished[row], (float(best[row, rank]) / (i + 1), text)]
                finished[row] = sorted(scored, key=lambda one: -one[0])[:beams]
        going = ends.int().argsort(dim=1, stable=True)[:, :beams]  # the best that do not end
        scores, parent, word = best.gather(1, going), parent.gather(1, going), word.gather(1, going)  # each [B, K]
        order = (base + parent).flatten()  # [B*K]
        tokens = tokens[order]
        tokens[:, i + 1] = word.flatten()
        cache.reorder(order)
        for row, bound in enumerate((scores[:, 0] / (i + 1)).tolist()):
            running[row] &= len(finished[row]) < beams or finished[row][-1][0] < bound
        if not any(running):
            break
    texts = (row[0][1] for row in finished)
    return [text[:-1] if text[-1] == eos else text for text in texts]


BERT_NAMES = {  # parts of BERT's names -> ours, replaced in this order
    "embeddings.word_embeddings.": "word.",
    "embeddings.position_embeddings.": "position.",
    "embeddings.LayerNorm.": "embedding_norm.",
    "cls.predictions.transform.dense.": "transform.",
    "cls.predictions.transform.LayerNorm.": "transform_norm.",
    "cls.predictions.bias": "bias",
    "encoder.layer.": "layers.",
    "attention.self.": "attention.",
    "attention.output.dense.": "attention.output.",
    "attention.output.LayerNorm.": "attention_norm.",
    "crossattention": "cross",
    "intermediate.dense.": "up.",
    ".output.dense.": ".down.",
    ".output.LayerNorm.": ".mlp_norm.",
}


def load_bert(decoder: Bert, bert_state: dict[str, Tensor], kept_ids: list[int] | None = None) -> list[str]:
    """Copies a BERT, perhaps with LM head and cross-attention, into the decoder in place, as far as the sizes match.

    A shallower decoder takes the first layers, a shorter one the first positions, to which BERT's embedding of segment
    0 is added. `kept_ids` are BERT's ids of the decoder's word pieces, where the vocabularies differ. Returns the names
    of our parameters that were copied.
    """
    own, copied = decoder.state_dict(), []
    segments = [table for name, table in bert_state.items() if name.endswith("token_type_embeddings.weight")]
    for name, value in bert_state.items():
        name = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name.removeprefix("bert.")))  # TensorFlow's
        for theirs, ours in BERT_NAMES.items():
            name = name.replace(theirs, ours)
        if name not in own:
            continue
        if name in ("word.weight", "bias") and kept_ids is not None:
            value = value[kept_ids]
        if name == "position.weight":
            value = value[: decoder.config.max_tokens]
            value = value + segments[0][0] if segments else value
        if value.shape == own[name].shape:
            own[name].copy_(value)  # shares memory with the parameter
            copied.append(name)
    return copied
