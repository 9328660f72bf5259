"""Video Swin, and a BERT over [video; text] that captions by masked language modelling: SwinBERT's and LAVENDER's core.

Attention is sequence to sequence: the text is causal and sees all video, the video does not see the text. Training
hides words and predicts them; a caption is written by appending [MASK] and replacing it with the most likely word.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from efa.baselines.base import System, SystemOutput
from efa.config import DecoderConfig
from efa.model.decoder import Bert, KeysValues, greedy
from efa.model.swin import VideoSwin

Memory = list[KeysValues]  # keys and values [B, heads, M, d] of what came before, layer by layer


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
    count = (candidates.sum(1) * share).round().clamp(min=1)  # [B]
    candidates[:, 0] = False
    order = torch.rand(tokens.shape, device=tokens.device).masked_fill(~candidates, 2.0)
    hidden = candidates & (order.argsort(1).argsort(1) < count[:, None])  # [B, L]
    lot = torch.rand(tokens.shape, device=tokens.device)
    random_words = torch.randint(words, tokens.shape, device=tokens.device)
    masked = torch.where(hidden & (lot < (1 + mask_word) / 2), random_words, tokens)
    return torch.where(hidden & (lot < mask_word), mask_id, masked), hidden


class MaskedLM(Bert):
    """The joint transformer with its word embeddings and its masked-LM head.

    Args:
        config: width, depth, heads, dropout; `max_tokens` is the number of positions.
        vocabulary_size: V.
        mask_id: id of [MASK].
        share: of the words hidden in training.
        mask_word: see `mask_words`.
        answers: further outputs, words that are only ever predicted, of a head with an embedding of its own; None: the
            output embedding is the input's.
    """

    def __init__(
        self,
        config: DecoderConfig,
        vocabulary_size: int,
        mask_id: int,
        share: float,
        mask_word: float,
        answers: int | None = None,
    ):
        super().__init__(config, vocabulary_size, answers=answers)
        self.mask_id, self.share, self.mask_word, self.words = mask_id, share, mask_word, vocabulary_size

    def run(self, x: Tensor, memory: Memory | None = None, mask: Tensor | None = None) -> tuple[Tensor, Memory]:
        """Embedded tokens through all layers.

        Args:
            x: [B, L, D].
            memory: what came before, all of it visible to every token.
            mask: [L, L], which of these tokens see each other: bool, or added to the scores; None: all.

        Returns:
            Last states [B, L, D], and keys and values of these tokens alone.
        """
        if mask is not None and memory:
            visible = mask.new_full((len(mask), memory[0][0].shape[2]), mask.dtype == torch.bool)  # True, or 0 to add
            mask = torch.cat([visible, mask], 1)  # [L, M + L]
        own: Memory = []
        for i, layer in enumerate(self.bert_layers()):
            own.append(layer.attention.keys_values(x))
            x = layer(x, concatenate(memory[i : i + 1], own[-1:])[0] if memory else own[-1], mask=mask)
        return x, own

    def loss(self, tokens: Tensor, memory: Memory | None) -> Tensor:
        """Mean cross-entropy of hidden words, 0 where there are no texts; ids [B', L] of the first B' <= B rows."""
        masked, hidden = mask_words(tokens, self.share, self.mask_word, self.mask_id, self.words)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        states, _ = self.run(self.embed(masked), first_rows(memory, len(tokens)), place[:, None] >= place)
        logits = self.head(states[hidden])[:, : self.words]  # [hidden, V]
        return F.cross_entropy(logits, tokens[hidden], reduction="sum") / hidden.sum().clamp(min=1)

    def forward(self, tokens: Tensor, memory: Memory | None) -> Tensor:
        """Teacher forcing, exactly as `generate` would see it: logits [B', L, V], position i predicting token i + 1.

        One pass scores all positions: besides the L tokens it holds L times [MASK]; the one for position i + 1 sees
        tokens 0..i and itself.
        """
        length, device = tokens.shape[1], tokens.device
        x = torch.cat([self.embed(tokens), self.embed(torch.full_like(tokens, self.mask_id), 1)], 1)  # [B', 2L, D]
        causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        own = torch.eye(length, dtype=torch.bool, device=device)
        mask = torch.cat([torch.cat([causal, torch.zeros_like(own)], 1), torch.cat([causal, own], 1)], 0)  # [2L, 2L]
        states, _ = self.run(x, first_rows(memory, len(tokens)), mask)
        return self.head(states[:, length:])[..., : self.words]

    @torch.no_grad()
    def generate(self, memory: Memory, begin: int, end: int, max_tokens: int) -> list[list[int]]:
        """Greedy decoding by appended [MASK], after keys and values of video (and prompt); see `greedy`."""
        rows, device = len(memory[0][0]), memory[0][0].device
        mask = torch.tensor([[True, False], [True, True]], device=device)  # the written token does not see [MASK]

        def step(ids: Tensor, i: int) -> Tensor:
            nonlocal memory
            pair = torch.stack([ids, torch.full_like(ids, self.mask_id)], 1)  # [B, 2]
            states, own = self.run(self.embed(pair, i), memory, mask)
            memory = concatenate(memory, [(k[:, :, :1], v[:, :, :1]) for k, v in own])
            return self.head(states[:, 1])[:, : self.words]

        return greedy(step, rows, begin, end, min(max_tokens, self.config.max_tokens), device)


def concatenate(before: Memory, after: Memory) -> Memory:
    """Two stretches of keys and values, one after the other."""
    return [(torch.cat([a, c], 2), torch.cat([b, d], 2)) for (a, b), (c, d) in zip(before, after, strict=True)]


def first_rows(memory: Memory | None, rows: int | None) -> Memory:
    """Keys and values of the first rows; None: of all."""
    return [(keys[:rows], values[:rows]) for keys, values in memory or ()]


class MaskedCaptioner(System):
    """What SwinBERT and LAVENDER share: Video Swin before the joint transformer, and how a text is learnt.

    Text logits come in eval mode only; in training, the masked-LM loss takes their place in `extra`. `freeze_text`
    freezes the embeddings of words and places alone: the rest reads video and text together.

    Args:
        config: the system's own, with `encoder`; a frozen encoder gets no gradient and stays in eval mode.
    """

    TEXT_DECODER, FROZEN_TEXT = "bert", ("word.", "position.", "embedding_norm.")
    encoder: VideoSwin
    bert: MaskedLM

    def __init__(self, config: Any):
        super().__init__(VideoSwin(config.encoder).requires_grad_(not config.encoder.frozen), config)

    def score_text(self, output: SystemOutput, encoded: Any, tokens: Tensor) -> None:
        if self.training:
            output.extra["masked_lm"] = self.bert.loss(tokens, self.memory(encoded, len(tokens)))
        else:
            super().score_text(output, encoded, tokens)
