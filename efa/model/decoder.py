"""The explanation decoder: BERT's layers, causal, with cross-attention to the fused video tokens.

Post-norm, learned positions, GELU, and an output embedding tied to the input's behind BERT's LM-head transform, so
that a pretrained BERT can be copied in (`load_bert`). Generation is greedy, with a key/value cache.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from efa.config import DecoderConfig
from efa.model.beams import beam_search

EPS = 1e-12  # BERT's LayerNorm


class Attention(nn.Module):
    """Multi-head attention with BERT's four matrices. Keys and values are computed apart, so that they can be kept."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, M, D] -> keys and values, each [B, heads, M, d]."""
        return self._split(self.key(x)), self._split(self.value(x))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, causal: bool = False) -> Tensor:
        """Queries from x [B, L, D] -> [B, L, D]."""
        dropout = self.dropout if self.training else 0.0
        queries = self._split(self.query(x))
        x = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, is_causal=causal)
        return self.output(x.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, L, d]


class Layer(nn.Module):
    """Self-attention, cross-attention, MLP; each followed by residual and LayerNorm, as in BERT."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.attention_norm = nn.LayerNorm(dim, EPS)
        self.cross = Attention(dim, heads, dropout)
        self.cross_norm = nn.LayerNorm(dim, EPS)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)
        self.mlp_norm = nn.LayerNorm(dim, EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, own: tuple[Tensor, Tensor], cross: tuple[Tensor, Tensor] | None, causal: bool
    ) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, *own, causal=causal)))
        if cross is not None:
            x = x + self.dropout(self.cross(x, *cross))
        x = self.cross_norm(x)
        return self.mlp_norm(x + self.dropout(self.down(F.gelu(self.up(x)))))


class Decoder(nn.Module):
    """Writes the explanation, word piece by word piece.

    Args:
        config: width, depth, heads, longest text.
        vocabulary_size: V.
        memory_dim: D of the fused features, projected where it is not the decoder's own width.

    Attributes:
        beams: texts that `generate` writes side by side, see `beam_search`; 1 is greedy. `prediction.beams` sets it.
        checkpointing: of each layer keep only what comes in, and compute the rest again on the way back;
            `training.checkpointing` sets it.
    """

    beams: int = 1
    checkpointing: bool = False

    def __init__(self, config: DecoderConfig, vocabulary_size: int, memory_dim: int):
        super().__init__()
        self.config = config
        dim = config.dim
        self.word = nn.Embedding(vocabulary_size, dim)
        self.position = nn.Embedding(config.max_tokens, dim)
        self.embedding_norm = nn.LayerNorm(dim, EPS)
        self.dropout = nn.Dropout(config.dropout)
        self.memory_in = nn.Identity() if memory_dim == dim else nn.Linear(memory_dim, dim)
        self.layers = nn.ModuleList(Layer(dim, config.heads, config.dropout) for _ in range(config.depth))
        self.transform = nn.Linear(dim, dim)
        self.transform_norm = nn.LayerNorm(dim, EPS)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, memory: Tensor | None) -> Tensor:
        """Teacher forcing.

        Args:
            tokens: ids [B, L], L <= `config.max_tokens`. Padding on the right needs no mask: no real token sees it.
            memory: F_f [B, N, D]; None: a language model, as in pre-training.

        Returns:
            Logits [B, L, V]; position i predicts token i + 1.
        """
        x = self._embed(tokens, 0)  # [B, L, dim]
        memory = None if memory is None else self.memory_in(memory)
        for layer in self._layers:
            if self.checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(self._through, layer, x, memory, use_reentrant=False)
            else:
                x = self._through(layer, x, memory)
        return self._logits(x)

    @staticmethod
    def _through(layer: Layer, x: Tensor, memory: Tensor | None) -> Tensor:
        cross = None if memory is None else layer.cross.keys_values(memory)
        return layer(x, layer.attention.keys_values(x), cross, causal=True)

    @torch.no_grad()
    def generate(self, memory: Tensor, bos: int, eos: int, max_tokens: int, use_cache: bool = True) -> list[list[int]]:
        """Greedy decoding, or beam search; a row's text does not depend on the other rows. Call in eval mode.

        Args:
            memory: F_f [B, N, D].
            bos: id that starts every text.
            eos: id that ends it.
            max_tokens: most ids written; `config.max_tokens` is a limit as well.
            use_cache: False runs the whole prefix again for every token (slow, for tests).

        Returns:
            For each row the ids without `bos` and `eos`.
        """
        if self.beams > 1:
            return beam_search(self, memory, bos, eos, max_tokens, self.beams, use_cache)
        rows, limit = len(memory), min(max_tokens, self.config.max_tokens)
        tokens = torch.full((rows, limit + 1), eos, device=memory.device)
        tokens[:, 0] = bos
        ended = torch.zeros(rows, dtype=torch.bool, device=memory.device)
        cache = _Cache(self, memory, limit) if use_cache else None
        for i in range(limit):
            if cache is None:
                logits = self(tokens[:, : i + 1], memory)[:, -1]
            else:
                logits = cache.step(tokens[:, i : i + 1], i)  # [B, V]
            tokens[:, i + 1] = logits.argmax(-1).masked_fill(ended, eos)
            ended |= tokens[:, i + 1] == eos
            if ended.all():
                break
        written = [row[1:] for row in tokens.tolist()]
        return [row[: row.index(eos)] if eos in row else row for row in written]

    @property
    def _layers(self) -> list[Layer]:
        return cast(list[Layer], self.layers)  # ModuleList forgets what it holds

    def _embed(self, tokens: Tensor, start: int) -> Tensor:
        place = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        return self.dropout(self.embedding_norm(self.word(tokens) + self.position(place)))

    def _logits(self, x: Tensor) -> Tensor:
        x = self.transform_norm(F.gelu(self.transform(x)))
        return F.linear(x, self.word.weight, self.bias)  # the output embedding is the input's


class _Cache:
    """Cross keys and values, computed once, and room for the own ones of every position."""

    def __init__(self, decoder: Decoder, memory: Tensor, limit: int):
        self.decoder = decoder
        memory = decoder.memory_in(memory)
        self.cross = [layer.cross.keys_values(memory) for layer in decoder._layers]
        heads = decoder.config.heads
        shape = (2, len(decoder.layers), len(memory), heads, limit, decoder.config.dim // heads)
        self.keys, self.values = self.cross[0][0].new_empty(shape)  # each [layers, B, heads, limit, d]

    def step(self, tokens: Tensor, i: int) -> Tensor:
        """The tokens at position i, [B, 1] -> logits [B, V]."""
        x = self.decoder._embed(tokens, i)  # [B, 1, dim]
        for n, layer in enumerate(self.decoder._layers):
            key, value = layer.attention.keys_values(x)
            self.keys[n, :, :, i : i + 1], self.values[n, :, :, i : i + 1] = key, value
            own = self.keys[n, :, :, : i + 1], self.values[n, :, :, : i + 1]
            x = layer(x, own, self.cross[n], causal=False)
        return self.decoder._logits(x)[:, 0]

    def reorder(self, rows: Tensor) -> None:
        """Row r goes on from what row `rows[r]` has written, [B]; both must read the same video."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


BERT_NAMES = {  # BERT's name of a part -> ours
    "embeddings.word_embeddings": "word",
    "embeddings.position_embeddings": "position",
    "embeddings.LayerNorm": "embedding_norm",
    "cls.predictions.transform.dense": "transform",
    "cls.predictions.transform.LayerNorm": "transform_norm",
    "cls.predictions": "",
}
BERT_LAYER_NAMES = {
    "attention.self": "attention",
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "crossattention.self": "cross",
    "crossattention.output.dense": "cross.output",
    "crossattention.output.LayerNorm": "cross_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "mlp_norm",
}


def _our_name(name: str) -> str | None:
    names, prefix = BERT_NAMES, ""
    if name.startswith("encoder.layer."):
        number, _, name = name.removeprefix("encoder.layer.").partition(".")
        names, prefix = BERT_LAYER_NAMES, f"layers.{number}."
    for theirs in sorted(names, key=len, reverse=True):  # the longest match is the right one
        if name.startswith(theirs + "."):
            return f"{prefix}{names[theirs]}.{name.removeprefix(theirs + '.')}".removeprefix(".")
    return None


def load_bert(decoder: Decoder, bert_state: dict[str, Tensor], kept_ids: list[int] | None = None) -> list[str]:
    """Copies a BERT into the decoder in place, as far as the sizes match.

    A shallower decoder takes the first layers, a shorter one the first positions. BERT's embedding of segment 0,
    which every position carries, is added to the positions.

    Args:
        decoder: what to copy into.
        bert_state: state of a `BertModel`, or of one with an LM head and perhaps cross-attention.
        kept_ids: BERT's id of each of the decoder's word pieces; None: the vocabularies are the same.

    Returns:
        The names of our parameters that were copied; the others keep their values.
    """
    modern = {".gamma": ".weight", ".beta": ".bias"}  # bert-base-uncased's file has TensorFlow's LayerNorm names
    state = {}
    for key, value in bert_state.items():
        stem, dot, last = key.removeprefix("bert.").rpartition(".")
        state[stem + modern.get(dot + last, dot + last)] = value
    ours, copied = decoder.state_dict(), []
    for theirs, value in state.items():
        name = _our_name(theirs)
        if name not in ours:
            continue
        if name in ("word.weight", "bias") and kept_ids is not None:
            value = value[kept_ids]
        if name == "position.weight":
            value = value[: decoder.config.max_tokens]
            if "embeddings.token_type_embeddings.weight" in state:
                value = value + state["embeddings.token_type_embeddings.weight"][0]
        if value.shape == ours[name].shape:
            ours[name].copy_(value)  # shares memory with the parameter
            copied.append(name)
    return copied
