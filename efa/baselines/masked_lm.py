"""Video Swin, and a BERT over [video; text] that captions by masked language modelling: SwinBERT's and LAVENDER's core.

Attention is sequence to sequence: the text is causal and sees all video, the video does not see the text. Training
hides words and predicts them; a caption is written by appending [MASK] and replacing it with the likeliest word.
Names and sizes are those of `efa.model.decoder.Decoder`, so its `load_bert` fills this module from a BERT as well.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efa.baselines.base import Captioner, SystemOutput
from efa.baselines.s2vt import greedy
from efa.config import DecoderConfig
from efa.model.decoder import EPS, Attention
from efa.model.swin import VideoSwin

Memory = list[tuple[Tensor, Tensor]]  # keys and values [B, heads, M, d] of what came before, layer by layer


def mask_words(tokens: Tensor, share: float, mask_word: float, mask_id: int, words: int) -> tuple[Tensor, Tensor]:
    """Hides words of each text.

    Args:
        tokens: ids [B, L], [CLS] first, padded on the right with 0.
        share: of each text that is hidden, at least one token. [CLS] never is; [SEP] may be, or no text would end.
        mask_word: share of the hidden that becomes [MASK]; half of the others become a random word, half stay.
        mask_id: id of [MASK].
        words: V, for the random ones.

    Returns:
        The ids with words hidden [B, L], and where they are, bool [B, L].
    """
    candidates = tokens != 0
    count = (candidates.sum(1) * share).round().clamp(min=1)
    candidates[:, 0] = False
    order = torch.rand(tokens.shape, device=tokens.device).masked_fill(~candidates, 2.0)
    hidden = candidates & (order.argsort(1).argsort(1) < count[:, None])
    lot = torch.rand(tokens.shape, device=tokens.device)
    random_words = torch.randint(words, tokens.shape, device=tokens.device)
    shown = torch.where(hidden & (lot < (1 + mask_word) / 2), random_words, tokens)
    return torch.where(hidden & (lot < mask_word), mask_id, shown), hidden


class MaskedAttention(Attention):
    def attend(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Queries from x [B, L, D] -> [B, L, D]; mask [L, M], bool or added to the scores."""
        dropout = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(self._split(self.query(x)), keys, values, mask, dropout)
        return self.output(x.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """BERT's: self-attention and MLP, each followed by residual and LayerNorm."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.attention = MaskedAttention(dim, heads, dropout)
        self.attention_norm = nn.LayerNorm(dim, EPS)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)
        self.mlp_norm = nn.LayerNorm(dim, EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention.attend(x, keys, values, mask)))
        return self.mlp_norm(x + self.dropout(self.down(F.gelu(self.up(x)))))


class MaskedLM(nn.Module):
    """The joint transformer with its word embeddings and its masked-LM head.

    Args:
        config: width, depth, heads, dropout; `max_tokens` is the number of positions.
        vocabulary_size: V.
        mask_id: id of [MASK].
        share: of the words hidden in training.
        mask_word: see `mask_words`.
        tied: output embedding = input embedding; otherwise the head has its own.
        answers: further outputs of an untied head, words that are only ever predicted.
    """

    def __init__(
        self,
        config: DecoderConfig,
        vocabulary_size: int,
        mask_id: int,
        share: float,
        mask_word: float,
        tied: bool = True,
        answers: int = 0,
    ):
        super().__init__()
        self.config, self.mask_id, self.share, self.mask_word = config, mask_id, share, mask_word
        dim = config.dim
        self.word = nn.Embedding(vocabulary_size, dim)
        self.position = nn.Embedding(config.max_tokens, dim)  # segment 0, which every text token has, is part of it
        self.embedding_norm = nn.LayerNorm(dim, EPS)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(dim, config.heads, config.dropout) for _ in range(config.depth))
        self.transform = nn.Linear(dim, dim)
        self.transform_norm = nn.LayerNorm(dim, EPS)
        self.output = None if tied else nn.Linear(dim, vocabulary_size + answers, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size + answers))
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def run(self, x: Tensor, memory: Memory | None = None, mask: Tensor | None = None) -> tuple[Tensor, Memory]:
        """Embedded tokens through all layers.

        Args:
            x: [B, L, D].
            memory: what came before, all of it visible to every token.
            mask: [L, L], which of these tokens see each other: bool, or added to the scores; None: all.

        Returns:
            Last states [B, L, D], and keys and values of these tokens alone.
        """
        if mask is not None and memory is not None:
            seen = mask.new_ones(len(mask), memory[0][0].shape[2])
            mask = torch.cat([seen if mask.dtype == torch.bool else seen * 0, mask], 1)  # [L, M + L]
        own: Memory = []
        for i, layer in enumerate(cast(list[Layer], self.layers)):
            own.append(layer.attention.keys_values(x))
            keys, values = join(memory[i : i + 1], own[-1:])[0] if memory else own[-1]
            x = layer(x, keys, values, mask)
        return x, own

    def embed(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Ids [B, L] at positions [L] -> [B, L, D]; positions behind the last one share it."""
        places = places.clamp(max=self.config.max_tokens - 1)
        return self.dropout(self.embedding_norm(self.word(tokens) + self.position(places)))

    def head(self, states: Tensor) -> Tensor:
        """[..., D] -> logits [..., V + answers]."""
        x = self.transform_norm(F.gelu(self.transform(states)))
        return F.linear(x, self.word.weight if self.output is None else self.output.weight, self.bias)

    def loss(self, tokens: Tensor, memory: Memory | None) -> Tensor:
        """Mean cross-entropy of hidden words, 0 where there are no texts; ids [B', L] of the first B' <= B rows."""
        memory = first(memory, len(tokens)) if memory else None
        shown, hidden = mask_words(tokens, self.share, self.mask_word, self.mask_id, self.word.num_embeddings)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        states, _ = self.run(self.embed(shown, place), memory, place[:, None] >= place)
        logits = self.head(states[hidden])[:, : self.word.num_embeddings]  # [hidden, V]
        return F.cross_entropy(logits, tokens[hidden], reduction="sum") / hidden.sum().clamp(min=1)

    def forward(self, tokens: Tensor, memory: Memory | None) -> Tensor:
        """Teacher forcing, exactly as `generate` would see it: logits [B', L, V], position i predicting token i + 1.

        One pass scores all positions: besides the L tokens it holds L times [MASK]; the one for position i + 1 sees
        tokens 0..i and itself.
        """
        memory = first(memory, len(tokens)) if memory else None
        length = tokens.shape[1]
        place = torch.arange(length, device=tokens.device)
        causal = place[:, None] >= place  # [L, L]
        x = torch.cat([self.embed(tokens, place), self.embed(torch.full_like(tokens, self.mask_id), place + 1)], 1)
        own = torch.eye(length, dtype=torch.bool, device=tokens.device)
        mask = torch.cat([torch.cat([causal, torch.zeros_like(own)], 1), torch.cat([causal, own], 1)], 0)  # [2L, 2L]
        states, _ = self.run(x, memory, mask)
        return self.head(states[:, length:])[..., : self.word.num_embeddings]

    @torch.no_grad()
    def generate(self, memory: Memory, begin: int, end: int, max_tokens: int) -> list[list[int]]:
        """Greedy decoding by appended [MASK], after keys and values of video (and prompt); see `greedy`."""
        rows, device = len(memory[0][0]), memory[0][0].device
        mask = torch.tensor([[True, False], [True, True]], device=device)  # the written token does not see [MASK]
        at = 0

        def step(ids: Tensor) -> Tensor:
            nonlocal memory, at
            pair = torch.stack([ids, torch.full_like(ids, self.mask_id)], 1)  # [B, 2]
            states, own = self.run(self.embed(pair, torch.arange(at, at + 2, device=device)), memory, mask)
            memory = join(memory, [(k[:, :, :1], v[:, :, :1]) for k, v in own])
            at += 1
            return self.head(states[:, 1])[:, : self.word.num_embeddings]

        return greedy(step, rows, begin, end, min(max_tokens, self.config.max_tokens), device)


def join(before: Memory, then: Memory) -> Memory:
    """Two stretches of keys and values, one after the other."""
    return [(torch.cat([a, c], 2), torch.cat([b, d], 2)) for (a, b), (c, d) in zip(before, then, strict=True)]


def first(memory: Memory, rows: int | None) -> Memory:
    """Keys and values of the first rows; None: of all."""
    return [(keys[:rows], values[:rows]) for keys, values in memory]


class MaskedCaptioner(Captioner):
    """What SwinBERT and LAVENDER share: Video Swin before the joint transformer, and how a text is learnt.

    `config.encoder.weights` is not read: whoever trains loads them (`load_encoder`), as for `EFAModel`. Text logits
    come in eval mode only; while training, the masked-LM loss takes their place in `extra`.

    `freeze_words` freezes the embeddings of words and places alone: what follows reads video and text together.

    Args:
        config: the system's own, with `encoder`; a frozen encoder gets no gradient and stays in eval mode.
    """

    WRITER = "bert"
    FIXED = ("word.", "position.", "embedding_norm.")
    encoder: VideoSwin
    bert: MaskedLM

    def __init__(self, config: Any):
        super().__init__(VideoSwin(config.encoder).requires_grad_(not config.encoder.frozen), config)

    def encode_video(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W] -> Swin's tokens [B, N, C], N = T' H' W'."""
        return self.encoder(self.normalise(frames)).flatten(1, 3)

    def tell(self, output: SystemOutput, seen: Any, tokens: Tensor) -> None:
        if self.training:
            output.extra["masked_lm"] = self.bert.loss(tokens, self.memory(seen, len(tokens)))
        else:
            super().tell(output, seen, tokens)
