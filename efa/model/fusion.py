"""Fusion of video and text: equations 1-10 and every variant of Table VI.

F_v [B, N, D] are the video tokens, F_t^g [B, 1, D] the instruction, F_t^s [B, 5, D] the steps. Where the paper is
silent (how video and text reach the common width D, dropout, a branch whose text alone queries), the place says so.
A comment `# (eq-4)` marks the line that does equation 4, `# (alg-1-3)` line 3 of Algorithm 1; the book links to these.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from efa.config import FusionConfig

STEPS = 5


@dataclass
class FusionOutput:
    """Result of the fusion; None where the variant does not compute it.

    Attributes:
        fused: F_f [B, N, D].
        gate: g of eq. 9 [B, N, D]; near 1 trusts the global branch, near 0 the step branch.
        step_attention: [B, 5, N], softmax of eq. 6: where in the video each step looks.
        video_attention: [B, N, 5], softmax of eq. 8: which step each video token reads.
        global_attention: [B, 1, N], softmax of eq. 2.
    """

    fused: Tensor
    gate: Tensor | None = None
    step_attention: Tensor | None = None
    video_attention: Tensor | None = None
    global_attention: Tensor | None = None


class Attention(nn.Module):
    """One head, no output projection: softmax(Q K^T / sqrt(d)) V. Written out, as the weights are an output, too."""

    def __init__(self, dim: int):
        super().__init__()
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [B, n, D], memory [B, m, D] -> result [B, n, D], weights [B, n, m]."""
        q, k, v = self.query(queries), self.key(memory), self.value(memory)
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
        return weights @ v, weights


class Residual(nn.Module):
    """The (+) of eq. 1, 3, 5, 7: 'printed' result + sigma * input, 'released' input + sigma * result."""

    sigma: Tensor

    def __init__(self, config: FusionConfig):
        super().__init__()
        self.printed = config.residual == "printed"
        sigma = torch.tensor(float(config.sigma))
        if config.learn_sigma:
            self.sigma = nn.Parameter(sigma)
        else:
            self.register_buffer("sigma", sigma)

    def forward(self, result: Tensor, given: Tensor) -> Tensor:
        return result + self.sigma * given if self.printed else given + self.sigma * result


class Branch(nn.Module):
    """Text queries video, then video queries the updated text. Global branch: eq. 1-4; step branch: eq. 5-8.

    Variants (Table VI): `query='video'` skips the first half, so that video queries the unchanged text. `query='text'`
    skips the second half; the mean of the updated text tokens then replaces the attention in eq. 3 (7), as the branch
    must still return one vector a video token - our choice, the paper does not say.

    With one text token (global branch) eq. 4 is a softmax over one key, always 1, as in the paper: its query and key
    weights cannot learn.
    """

    def __init__(self, config: FusionConfig):
        super().__init__()
        self.text_queries, self.video_queries = config.query != "video", config.query != "text"
        if self.text_queries:
            self.text_attention = Attention(config.dim)
            self.text_residual = Residual(config)
        if self.video_queries:
            self.video_attention = Attention(config.dim)
        self.video_residual = Residual(config)
        self.dropout = nn.Dropout(config.dropout)  # on the result of each attention

    def forward(self, video: Tensor, text: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """F_v [B, N, D], F_t [B, S, D] -> updated F_v [B, N, D], weights [B, S, N] and [B, N, S]."""
        text_weights = video_weights = None
        if self.text_queries:
            result, text_weights = self.text_attention(text, video)  # (eq-2, eq-6) Q = F_t, K = V = F_v
            text = self.text_residual(self.dropout(result), text)  # (eq-1, eq-5)
        if self.video_queries:
            result, video_weights = self.video_attention(video, text)  # (eq-4, eq-8) Q = F_v, K = V = F_t'
        else:
            result = text.mean(1, keepdim=True)  # [B, 1, D], the same for every video token
        return self.video_residual(self.dropout(result), video), text_weights, video_weights  # (eq-3, eq-7)


class Gate(nn.Module):
    """Eq. 9-10: channel by channel, how much of each branch."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(2 * dim, dim)

    def forward(self, of_global: Tensor, of_steps: Tensor) -> tuple[Tensor, Tensor]:
        """F_g, F_s [B, N, D] -> F_f [B, N, D], g [B, N, D]."""
        g = self.linear(torch.cat([of_global, of_steps], -1)).sigmoid()  # (eq-9)
        return g * of_global + (1 - g) * of_steps, g  # (eq-10)


class Fusion(nn.Module):
    """Both branches and their merge.

    Video and text are brought to width D by a Linear each (nothing where the sizes agree) and a LayerNorm, on which
    the paper is silent. Without the norm, text would count by how short it is: a mean-pooled MiniLM vector has a root
    mean square of 0.2-0.4 that falls with the sentence's length, a video token 1.

    Where a clip has no text (`text_mask` False, or variant `text='none'`), learnt vectors replace it. For
    `text='shuffled'` the caller passes another action's text.

    Args:
        config: the variant.
        video_dim: C.
        text_dim: E.
    """

    def __init__(self, config: FusionConfig, video_dim: int, text_dim: int):
        super().__init__()
        self.config = config
        self.video_in = self._input(video_dim)
        self.text_in = None if config.text == "none" else self._input(text_dim)
        if config.global_branch:
            self.null_instruction = nn.Parameter(torch.randn(1, 1, config.dim))
            self.global_branch = Branch(config)
        if config.step_branch:
            self.null_steps = nn.Parameter(torch.randn(1, STEPS, config.dim))
            self.step_branch = Branch(config)
        self.merge: nn.Module | None = None
        if config.global_branch and config.step_branch and config.merge != "add":
            self.merge = Gate(config.dim) if config.merge == "gate" else nn.Linear(2 * config.dim, config.dim)

    def forward(
        self, video: Tensor, steps: Tensor | None, instruction: Tensor | None, text_mask: Tensor | None = None
    ) -> FusionOutput:
        """Fuses a batch of clips; no clip sees another's text.

        Args:
            video: [B, N, C].
            steps: [B, 5, E]; may be None where no clip sees text.
            instruction: [B, 1, E]; likewise.
            text_mask: bool [B], False for a clip without text; None: all have theirs.
        """
        video = self.video_in(video)  # [B, N, D]
        parts, output = [], FusionOutput(video)
        if self.config.global_branch:
            text = self._text(instruction, self.null_instruction, video, text_mask)  # F_t^g [B, 1, D]
            fused, output.global_attention, _ = self.global_branch(video, text)  # eq. 1-4
            parts.append(fused)
        if self.config.step_branch:
            text = self._text(steps, self.null_steps, video, text_mask)  # F_t^s [B, 5, D]
            fused, output.step_attention, output.video_attention = self.step_branch(video, text)  # eq. 5-8
            parts.append(fused)
        if len(parts) == 1:
            output.fused = parts[0]
        elif isinstance(self.merge, Gate):
            output.fused, output.gate = self.merge(*parts)  # eq. 9-10
        elif self.merge is not None:
            output.fused = self.merge(torch.cat(parts, -1))
        else:
            output.fused = parts[0] + parts[1]
        return output

    def _input(self, size: int) -> nn.Module:
        dim = self.config.dim
        return nn.Sequential(nn.Identity() if size == dim else nn.Linear(size, dim), nn.LayerNorm(dim))

    def _text(self, given: Tensor | None, null: Tensor, video: Tensor, mask: Tensor | None) -> Tensor:
        if self.text_in is None or given is None:
            return null.expand(len(video), -1, -1)
        text = self.text_in(given)  # [B, S, D]
        mask = torch.ones(len(video), dtype=torch.bool, device=video.device) if mask is None else mask
        return torch.where(mask[:, None, None], text, null.to(text.dtype))
