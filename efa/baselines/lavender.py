"""LAVENDER (Li et al., CVPR 2023): every task is a masked word. The system that the release of EFA is built on.

Original: 4 to 6 frames of 224 px, Swin-B with temporal stride 1, each frame's tokens headed by a class token, with
learnt places and frames; BERT's word embeddings; a 12-layer BERT over [video; text]; one masked-LM head, whose output
embedding is its own. A task token says what is asked. A question ends in [MASK]; a match of video and text is answered
by "true" or "false", a question by a word, a caption word by word. Masked LM hides 15 % of the words, always by [MASK].
AdamW 2e-5.

For action form assessment the class is a question, the verdict a match ("true": standard form), the explanation a
caption. The class is answered by one learnt token an action, beside the words in the masked-LM head, whose logits are
the class logits. The words of the name are no alternative: the original knows only answers of one word piece, most
action names have several, and a score over several masks would favour short names. "true" and "false" are answer tokens
too: a vocabulary cut to the training texts may lack the words.

The video does not see the text here; in the original that is so for captions but not for questions. One pass over the
video then answers all three.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from efa.baselines.base import SystemOutput, register
from efa.baselines.masked_lm import MaskedCaptioner, MaskedLM, Memory, concatenate, first_rows
from efa.config import DecoderConfig, EncoderConfig, build

TASKS = ("question", "match", "caption")
SMALL: dict[str, Any] = {
    "frames": 6,
    "size": 64,
    "encoder": build("laptop").encoder,
    "bert": DecoderConfig(dim=128, depth=2, heads=4, dropout=0.0, max_tokens=128),
}


@dataclass(frozen=True)
class LAVENDERConfig:
    """The defaults are the original's. `weights` of encoder and BERT, and BERT's `vocabulary`, are not read."""

    frames: int = 6
    size: int = 224  # pixels
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    bert: DecoderConfig = field(default_factory=lambda: DecoderConfig(max_tokens=512))  # BERT-base
    mask_share: float = 0.15  # of the words, hidden in training


@register("LAVENDER", LAVENDERConfig, SMALL)
class LAVENDER(MaskedCaptioner):
    """Class, verdict and caption, all as words."""

    TEXT_WEIGHTS = "lavender"

    def __init__(self, config: LAVENDERConfig, actions: int, vocabulary_size: int, mask_id: int):
        super().__init__(config)
        self.actions, dim = actions, config.bert.dim
        self.grid = self.encoder.grid(config.frames, config.size, config.size)  # (T', H', W')
        self.video_in = nn.Linear(self.encoder.out_dim, dim)
        self.frame_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.place_position = nn.Parameter(torch.randn(1 + self.grid[1] * self.grid[2], dim) * 0.02)
        self.frame_position = nn.Parameter(torch.randn(self.grid[0], 1, dim) * 0.02)
        self.video_norm = nn.LayerNorm(dim)
        self.task = nn.Parameter(torch.randn(len(TASKS), dim) * 0.02)
        self.bert = MaskedLM(config.bert, vocabulary_size, mask_id, config.mask_share, 1.0, answers=actions + 2)

    def encode(self, features: Tensor, steps: Tensor | None = None, text_mask: Tensor | None = None) -> Memory:
        """Swin's tokens [B, N, C] -> what the text sees of the video, N + T' tokens."""
        x = self.video_in(features).unflatten(1, (self.grid[0], -1))  # [B, T', H' W', D]
        x = torch.cat([self.frame_token.expand(*x.shape[:2], 1, -1), x], 2) + self.place_position + self.frame_position
        return self.bert.run(self.video_norm(x).flatten(1, 2))[1]

    def heads(self, encoded: Memory) -> SystemOutput:
        """Asks both questions at once, neither seeing the other."""
        rows, device = len(encoded[0][0]), self.task.device
        blank = self.bert.embed(torch.full((rows, 1), self.bert.mask_id, device=device))  # [B, 1, D]
        parts = [part for task in self.task[:2] for part in (task.expand(rows, 1, -1), blank)]
        pair = torch.ones(2, 2, dtype=torch.bool, device=device).tril()
        states, _ = self.bert.run(torch.cat(parts, 1), encoded, torch.block_diag(pair, pair))  # [B, 4, D]
        answers = self.bert.head(states[:, 1::2])[..., -(self.actions + 2) :]  # [B, 2, A + 2]
        # the last two are "true" and "false"
        return SystemOutput(answers[:, 0, :-2], answers[:, 1, -1] - answers[:, 1, -2])

    def memory(self, encoded: Memory, rows: int | None = None) -> Memory:
        """The video, and after it the task token that asks for a caption."""
        video = first_rows(encoded, rows)
        token = self.task[2].expand(len(video[0][0]), 1, -1)  # [B', 1, D]
        return concatenate(video, self.bert.run(token, video)[1])
