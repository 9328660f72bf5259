"""S2VT (Venugopalan et al., ICCV 2015) with GRUs, the captioner of both systems of MTL-AQA, and greedy decoding.

Sizes as in the official code of MTL-AQA (github.com/ParitoshParmar/MTL-AQA, opts.py): each of the two recurrent
networks is a stack of two GRU layers, width 512, words 512, dropout 0.5 between the layers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from efa.baselines.base import Captioner


def greedy(
    step: Callable[[Tensor], Tensor], rows: int, begin: int, end: int, max_tokens: int, device: torch.device
) -> list[list[int]]:
    """Writes the likeliest token again and again until every row has ended.

    Args:
        step: ids just written [B] -> logits of the next one [B, V]; keeps its own state.
        rows: B.
        begin: id given to the first step.
        end: id that ends a row.
        max_tokens: most ids written, `end` included.

    Returns:
        For each row the ids without `begin` and `end`.
    """
    ids = torch.full((rows,), begin, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    written: list[Tensor] = []
    while len(written) < max_tokens and not ended.all():
        ids = step(ids).argmax(-1).masked_fill(ended, end)
        ended |= ids == end
        written.append(ids)
    lines = torch.stack(written, 1).tolist() if written else [[] for _ in range(rows)]
    return [line[: line.index(end)] if end in line else line for line in lines]


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
            seen, m = torch.zeros_like(words), 0
        else:
            m, blank = video.shape[1], video.new_zeros(len(video), tokens.shape[1], video.shape[2])
            seen, _ = self.video(torch.cat([video, blank], 1))  # [B, M + L, D]
            words = torch.cat([words.new_zeros(len(video), m, words.shape[2]), words], 1)  # [B, M + L, D]
        x, _ = self.language(torch.cat([seen, words], 2))
        return self.out(x[:, m:])

    @torch.no_grad()
    def generate(self, video: Tensor, begin: int, end: int, max_tokens: int) -> list[list[int]]:
        """Greedy decoding from clip vectors [B, M, C]; arguments and result as `greedy`. Call in eval mode."""
        seen, first = self.video(video)
        _, second = self.language(torch.cat([seen, torch.zeros_like(seen)], 2))
        blank = video.new_zeros(len(video), 1, video.shape[2])

        def step(ids: Tensor) -> Tensor:
            nonlocal first, second
            seen, first = self.video(blank, first)  # [B, 1, D]
            x, second = self.language(torch.cat([seen, self.word(ids)[:, None]], 2), second)
            return self.out(x[:, 0])

        return greedy(step, len(video), begin, end, max_tokens, video.device)


class S2VTCaptioner(Captioner):
    """What C3DAVG and MSCADC share: S2VT, reading the sequence of clip vectors that `memory` returns.

    `freeze_words` freezes the word embeddings alone: what follows reads the state of the network that saw the video.
    """

    WRITER, WORDS = "captioner", "s2vt"
    captioner: S2VT
