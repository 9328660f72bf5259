"""S2VT (Venugopalan et al., ICCV 2015) with GRUs, the captioner of both systems of MTL-AQA.

Sizes as in the official code of MTL-AQA (github.com/ParitoshParmar/MTL-AQA, opts.py): each of the two recurrent
networks is a stack of two GRU layers, width 512, words 512, dropout 0.5 between the layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from efa.baselines.base import System
from efa.model.decoder import greedy


class S2VT(nn.Module):
    """Reads the clip vectors, then writes: the first network runs over [clips; blanks], the second over
    [its output, word], where the word is blank while clips are read.

    Args:
        video_dim: C, length of a clip's vector.
        vocabulary_size: V.
        dim: width of both networks and of the words.
        layers: GRU layers in each.
        dropout: between them.
    """

    def __init__(self, video_dim: int, vocabulary_size: int, dim: int = 512, layers: int = 2, dropout: float = 0.5):
        super().__init__()
        between = dropout if layers > 1 else 0.0  # PyTorch warns of a dropout between layers that are not there
        self.video = nn.GRU(video_dim, dim, layers, batch_first=True, dropout=between)
        self.language = nn.GRU(2 * dim, dim, layers, batch_first=True, dropout=between)
        self.word = nn.Embedding(vocabulary_size, dim)
        self.out = nn.Linear(dim, vocabulary_size)

    def forward(self, tokens: Tensor, video: Tensor | None) -> Tensor:
        """Teacher forcing.

        Args:
            tokens: ids [B, L], padded on the right; no real token sees the padding.
            video: clip vectors [B, M, C]; None: a language model, which reads zeros for the first network's state.

        Returns:
            Logits [B, L, V]; position i predicts token i + 1.
        """
        words = self.word(tokens)  # [B, L, D]
        if video is None:
            states, m = torch.zeros_like(words), 0
        else:
            m, blank = video.shape[1], video.new_zeros(len(video), tokens.shape[1], video.shape[2])
            states, _ = self.video(torch.cat([video, blank], 1))  # [B, M + L, D]
            words = torch.cat([words.new_zeros(len(video), m, words.shape[2]), words], 1)  # [B, M + L, D]
        x, _ = self.language(torch.cat([states, words], 2))
        return self.out(x[:, m:])

    @torch.no_grad()
    def generate(self, video: Tensor, begin: int, end: int, max_tokens: int) -> list[list[int]]:
        """Greedy decoding from clip vectors [B, M, C]; arguments and result as `greedy`. Call in eval mode."""
        states, first = self.video(video)
        _, second = self.language(torch.cat([states, torch.zeros_like(states)], 2))
        blank = video.new_zeros(len(video), 1, video.shape[2])

        def step(ids: Tensor, i: int) -> Tensor:
            nonlocal first, second
            state, first = self.video(blank, first)  # [B, 1, D]
            x, second = self.language(torch.cat([state, self.word(ids)[:, None]], 2), second)
            return self.out(x[:, 0])

        return greedy(step, len(video), begin, end, max_tokens, video.device)


class S2VTCaptioner(System):
    """What C3DAVG and MSCADC share: S2VT, reading the sequence of clip vectors that `memory` returns.

    `freeze_text` freezes the word embeddings alone: the rest reads the state of the network that saw the video.
    """

    TEXT_DECODER, TEXT_WEIGHTS, FROZEN_TEXT = "captioner", "s2vt", ("word.",)
    captioner: S2VT
