"""SwinBERT (Lin et al., CVPR 2022) and LAVENDER (Li et al., CVPR 2023): Video Swin and a BERT over [video; text].

The text is causal and sees all video, the video does not see the text. Training hides words and predicts them; a
caption is written by appending [MASK] and replacing it with the most likely word.

Original SwinBERT: 32 frames of 224 px, Swin-B, its tokens brought to 512 and then to 768 values, BERT-base. Video
tokens see each other through a learnt sparse mask. Half of the words are hidden (80 % [MASK], 10 % a random word, 10 %
themselves). Loss: masked LM + 0.5 x the mask's mean off-diagonal weight. AdamW 3e-4, the backbone at 0.05 of that.
Here EFA's heads read the video tokens after BERT; the original has none.
In its mask as released, a pair costs 1e4 x (1 - sigmoid(w)), w ~ N(0, 1) at first: thousands for all but the diagonal,
so that the softmax and w's gradient are exactly 0, but for the sparsity term, which pushes further down. So after Swin,
video tokens see only themselves. Kept, as it is the system compared.

Original LAVENDER, on which the release of EFA is built: every task is a masked word. 4 to 6 frames of 224 px, Swin-B
with temporal stride 1, each frame's tokens headed by a class token, with learnt places and frames; BERT-base; one
masked-LM head with an embedding of its own. A task token says what is asked. 15 % of the words are hidden, always by
[MASK]. AdamW 2e-5. For action form assessment the class is a question, the verdict a match, the explanation a caption.
The original's masked-LM head answers a question by a word; here EFA's heads read the state at each question's [MASK].
The video sees no question, unlike in the original, so that one pass over it answers all.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efa.baselines.base import System, SystemOutput, register
from efa.baselines.video_transformers import STOCK_SWIN
from efa.config import DecoderConfig, EncoderConfig
from efa.model.base import Text
from efa.model.decoder import Bert, KeysValues, greedy
from efa.model.swin import VideoSwin

SWIN_B, BERT_BASE = EncoderConfig(), DecoderConfig(max_tokens=512)
SMALL_BERT = DecoderConfig(dim=128, depth=2, heads=4, dropout=0.0, max_tokens=128)
Memory = list[KeysValues]  # keys and values [B, heads, M, d] of what came before, layer by layer


def mask_words(tokens: Tensor, share: float, mask_word: float, mask_id: int, words: int) -> tuple[Tensor, Tensor]:
    """Hides words of texts [B, L], [CLS] first, padded with 0 -> ids with words hidden, and where, bool, both [B, L].

    Hidden is a `share` of each text, at least one token; never [CLS], but [SEP], or no text would end. Of the hidden,
    the share `mask_word` becomes [MASK]; half of the others become one of V `words`, half stay.
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
    """The joint transformer; arguments as for `Bert` and `mask_words`."""

    def __init__(
        self, config: DecoderConfig, words: int, mask_id: int, share: float, mask_word: float, tied: bool = True
    ):
        super().__init__(config, words, tied=tied)
        self.mask_id, self.share, self.mask_word, self.words = mask_id, share, mask_word, words

    def run(self, x: Tensor, memory: Memory | None = None, mask: Tensor | None = None) -> tuple[Tensor, Memory]:
        """Embedded tokens [B, L, D] -> last states [B, L, D], and keys and values of these tokens alone.

        Every token sees all of `memory`, and those of these tokens that `mask` [L, L], bool or added, lets it see.
        """
        if mask is not None and memory:
            visible = mask.new_full((len(mask), memory[0][0].shape[2]), mask.dtype == torch.bool)  # True, or 0 to add
            mask = torch.cat([visible, mask], 1)  # [L, M + L]
        own: Memory = []
        for i, layer in enumerate(self.layers):
            own.append(layer.attention.keys_values(x))
            x = layer(x, concatenate(memory[i : i + 1], own[-1:])[0] if memory else own[-1], mask=mask)
        return x, own

    def loss(self, tokens: Tensor, memory: Memory | None) -> Tensor:
        """Mean cross-entropy of hidden words, 0 where there are no texts; ids [B', L] of the first B' <= B rows."""
        masked, hidden = mask_words(tokens, self.share, self.mask_word, self.mask_id, self.words)
        place = torch.arange(tokens.shape[1], device=tokens.device)
        states, _ = self.run(self.embed(masked), first_rows(memory, len(tokens)), place[:, None] >= place)
        logits = self.head(states[hidden])  # [hidden, V]
        return F.cross_entropy(logits, tokens[hidden], reduction="sum") / hidden.sum().clamp(min=1)

    def forward(self, tokens: Tensor, memory: Memory | None) -> Tensor:
        """Teacher forcing: logits [B', L, V], position i predicting token i + 1, as `generate` would see it.

        After the L tokens come L times [MASK]; the one for position i + 1 sees tokens 0..i and itself.
        """
        length, device = tokens.shape[1], tokens.device
        x = torch.cat([self.embed(tokens), self.embed(torch.full_like(tokens, self.mask_id), 1)], 1)  # [B', 2L, D]
        causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()
        own = torch.eye(length, dtype=torch.bool, device=device)
        mask = torch.cat([torch.cat([causal, torch.zeros_like(own)], 1), torch.cat([causal, own], 1)], 0)  # [2L, 2L]
        states, _ = self.run(x, first_rows(memory, len(tokens)), mask)
        return self.head(states[:, length:])

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
            return self.head(states[:, 1])

        return greedy(step, rows, begin, end, min(max_tokens, self.config.max_tokens), device)


def concatenate(before: Memory, after: Memory) -> Memory:
    """Two stretches of keys and values, one after the other."""
    return [(torch.cat([a, c], 2), torch.cat([b, d], 2)) for (a, b), (c, d) in zip(before, after, strict=True)]


def first_rows(memory: Memory | None, rows: int | None) -> Memory:
    return [(keys[:rows], values[:rows]) for keys, values in memory or ()]


class MaskedCaptioner(System):
    """Video Swin before the joint transformer; in training, a masked-LM loss in `extra` replaces the text logits."""

    TEXT_DECODER = "bert"
    FROZEN_TEXT = ("word.", "position.", "embedding_norm.")  # the rest reads video and text together
    encoder: VideoSwin
    bert: MaskedLM

    def score_text(self, output: SystemOutput, encoded: Any, tokens: Tensor) -> None:
        if self.training:
            output.extra["masked_lm"] = self.bert.loss(tokens, self.memory(encoded, len(tokens)))
        else:
            super().score_text(output, encoded, tokens)


@register("SwinBERT", projection=128, bert=SMALL_BERT)
class SwinBERT(MaskedCaptioner):
    TEXT_WEIGHTS = "swinbert"

    def __init__(
        self,
        vocabulary_size: int,
        mask_id: int,
        frames: int = 32,
        size: int = 224,
        encoder: EncoderConfig = STOCK_SWIN,
        projection: int = 512,  # between Swin's width and BERT's
        bert: DecoderConfig = BERT_BASE,
    ):
        super().__init__(VideoSwin(encoder))
        dim, first = bert.dim, nn.Linear(self.encoder.out_dim, projection)
        self.video_in = nn.Sequential(first, nn.Linear(projection, dim), nn.Dropout(bert.dropout))
        grid = self.encoder.grid(frames, size, size)
        self.attention_weights = nn.Parameter(torch.randn(tokens := math.prod(grid), tokens))  # w
        self.bert = MaskedLM(bert, vocabulary_size, mask_id, share=0.5, mask_word=0.8)
        self.class_shape = self.form_shape = (grid[0], dim)

    def mask(self) -> Tensor:
        """The learnt mask [N, N], 1 on the diagonal."""
        diagonal = torch.eye(len(self.attention_weights), dtype=torch.bool, device=self.attention_weights.device)
        return self.attention_weights.sigmoid().masked_fill(diagonal, 1.0)

    def encode(self, features: Tensor, *_: Text) -> tuple[Tensor, Memory]:
        """Swin's tokens [B, N, C] -> their states [B, N, D], and what the text sees of the video."""
        return self.bert.run(self.video_in(features), mask=(self.mask() - 1) * 1e4)

    def class_tokens(self, encoded: tuple[Tensor, Memory]) -> Tensor:
        return encoded[0]

    def further_losses(self, encoded: tuple[Tensor, Memory]) -> dict[str, Tensor]:
        mask = self.mask()
        return {"sparsity": 0.5 * (mask.sum() - len(mask)) / mask.numel()}

    def memory(self, encoded: tuple[Tensor, Memory], rows: int | None = None) -> Memory:
        return first_rows(encoded[1], rows)


@register("LAVENDER", bert=SMALL_BERT)
class LAVENDER(MaskedCaptioner):
    TEXT_WEIGHTS = "lavender"

    def __init__(
        self,
        vocabulary_size: int,
        mask_id: int,
        frames: int = 6,
        size: int = 224,
        encoder: EncoderConfig = SWIN_B,
        bert: DecoderConfig = BERT_BASE,
    ):
        super().__init__(VideoSwin(encoder))
        self.grid = self.encoder.grid(frames, size, size)  # (T', H', W')
        self.video_in = nn.Linear(self.encoder.out_dim, dim := bert.dim)
        self.frame_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.place_position = nn.Parameter(torch.randn(1 + self.grid[1] * self.grid[2], dim) * 0.02)
        self.frame_position = nn.Parameter(torch.randn(self.grid[0], 1, dim) * 0.02)
        self.video_norm = nn.LayerNorm(dim)
        self.task = nn.Parameter(torch.randn(3, dim) * 0.02)  # question, match, caption
        self.bert = MaskedLM(bert, vocabulary_size, mask_id, share=0.15, mask_word=1.0, tied=False)
        self.class_shape = self.form_shape = (1, dim)

    def encode(self, features: Tensor, *_: Text) -> Memory:
        """Swin's tokens [B, N, C] -> what the text sees of the video, N + T' tokens."""
        x = self.video_in(features).unflatten(1, (self.grid[0], -1))  # [B, T', H' W', D]
        x = torch.cat([self.frame_token.expand(*x.shape[:2], 1, -1), x], 2) + self.place_position + self.frame_position
        return self.bert.run(self.video_norm(x).flatten(1, 2))[1]

    def class_tokens(self, encoded: Memory, task: int = 0) -> Tensor:
        """The state at the [MASK] after a task's token, both of which see the video, [B, 1, D]."""
        rows, device = len(encoded[0][0]), self.task.device
        blank = self.bert.embed(torch.full((rows, 1), self.bert.mask_id, device=device))  # [B, 1, D]
        question = torch.cat([self.task[task].expand(rows, 1, -1), blank], 1)
        return self.bert.run(question, encoded, torch.ones(2, 2, dtype=torch.bool, device=device).tril())[0][:, 1:]

    def form_tokens(self, encoded: Memory) -> Tensor:
        return self.class_tokens(encoded, 1)

    def memory(self, encoded: Memory, rows: int | None = None) -> Memory:
        """The video, and after it the task token that asks for a caption."""
        video = first_rows(encoded, rows)
        token = self.task[2].expand(len(video[0][0]), 1, -1)  # [B', 1, D]
        return concatenate(video, self.bert.run(token, video)[1])
