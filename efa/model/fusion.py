"""Fusion of video and text: equations 1-10 and every variant of Table VI.

The paper's letters: F_v [B, N, D] are the video tokens, F_t^g [B, 1, D] the instruction, F_t^s [B, 5, D] the steps,
F_t^g* and F_t^s* both after they have attended to the video, F_v^g and F_v^s the video after it has attended to these,
G the gate, F_f the fused features. A comment `# (eq-4)` marks the line of equation 4; the book links to it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from efa.config import FusionConfig
from efa.model.base import Text

STEPS = 5


@dataclass
class FusionOutput:
    """Result of the fusion; None where the variant does not compute it."""

    fused: Tensor  # F_f [B, N, D]
    gate: Tensor | None = None  # G of eq. 9 [B, N, D]; near 1 trusts the global branch, near 0 the step branch
    # Softmaxes, averaged over heads: of eq. 6, where in the video a step looks; of eq. 8, which step a token reads
    step_attention: Tensor | None = None  # [B, 5, N]
    video_attention: Tensor | None = None  # [B, N, 5]
    global_attention: Tensor | None = None  # [B, 1, N], of eq. 2


class Attention(nn.Module):
    """Multi-head attention: softmax(Q K^T / sqrt(d_k)) V for each of `heads` parts of width d_k, side by side.

    W_Q, W_K and W_V are all that eq. 2, 4, 6 and 8 print: there is no output projection. Written out, as the weights
    are an output, too.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)  # W_Q
        self.key = nn.Linear(dim, dim)  # W_K
        self.value = nn.Linear(dim, dim)  # W_V

    def forward(self, queries: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [B, n, D], memory [B, m, D] -> result [B, n, D], weights [B, n, m], the mean over heads."""
        parts = self.query(queries), self.key(memory), self.value(memory)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)  # each [B, heads, ., d_k]
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)  # [B, heads, n, m]
        return (weights @ v).transpose(1, 2).flatten(2), weights.mean(1)


class Residual(nn.Module):
    """The sum of eq. 1, 3, 5, 7: 'printed' result + sigma * input, 'released' input + sigma * result."""

    sigma: Tensor  # sigma_1, ..., sigma_4: a vector [D], or a scalar

    def __init__(self, config: FusionConfig):
        super().__init__()
        self.printed = config.residual == "printed"
        sigma = torch.full((config.dim,) if config.sigma_shape == "vector" else (), config.sigma)
        if config.learn_sigma:
            self.sigma = nn.Parameter(sigma)
        else:
            self.register_buffer("sigma", sigma)

    def forward(self, result: Tensor, given: Tensor) -> Tensor:
        return result + self.sigma * given if self.printed else given + self.sigma * result


class Branch(nn.Module):
    """Text queries video, then video queries the updated text. Global branch: eq. 1-4; step branch: eq. 5-8.

    Variants (Table VI): `query='video'` skips the first half. `query='text'` skips the second; the mean of the updated
    text tokens then replaces the attention in eq. 3 (7) - our choice, the paper does not say.

    With one text token (global branch) eq. 4 is a softmax over one key, always 1: its query and key cannot learn.
    """

    def __init__(self, config: FusionConfig):
        super().__init__()
        self.text_queries, self.video_queries = config.query != "video", config.query != "text"
        if self.text_queries:
            self.text_attention = Attention(config.dim, config.heads)
            self.text_residual = Residual(config)
        if self.video_queries:
            self.video_attention = Attention(config.dim, config.heads)
        self.video_residual = Residual(config)
        self.dropout = nn.Dropout(config.dropout)  # on the result of each attention

    def forward(self, video: Tensor, text: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """F_v [B, N, D], F_t [B, S, D] -> F_v^g or F_v^s [B, N, D], weights [B, S, N] and [B, N, S]."""
        text_weights = video_weights = None
        if self.text_queries:
            result, text_weights = self.text_attention(text, video)  # (eq-2, eq-6) Q = F_t, K = V = F_v
            text = self.text_residual(self.dropout(result), text)  # (eq-1, eq-5) F_t*
        if self.video_queries:
            result, video_weights = self.video_attention(video, text)  # (eq-4, eq-8) Q = F_v, K = V = F_t*
        else:
            result = text.mean(1, keepdim=True)  # [B, 1, D], the same for every video token
        return self.video_residual(self.dropout(result), video), text_weights, video_weights  # (eq-3, eq-7)


class Gate(nn.Module):
    """Eq. 9-10: channel by channel, how much of each branch."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(2 * dim, dim)  # W_g, b_g

    def forward(self, of_global: Tensor, of_steps: Tensor) -> tuple[Tensor, Tensor]:
        """F_v^g, F_v^s [B, N, D] -> F_f [B, N, D], G [B, N, D]."""
        gate = self.linear(torch.cat([of_global, of_steps], -1)).sigmoid()  # (eq-9)
        return gate * of_global + (1 - gate) * of_steps, gate  # (eq-10)


class Fusion(nn.Module):
    """Both branches and their merge, from video of width C and text of width E.

    Each is brought to width D by a Linear (nothing where the sizes agree) and a LayerNorm, on which the paper is
    silent. Without the norm, text would count by how short it is: a mean-pooled MiniLM vector has a root mean square
    of 0.2-0.4 that falls with the sentence's length, a video token 1. Learnt vectors replace the text of a clip
    without any. Which text a clip gets (its own, shuffled, another action's) is the caller's business.

    Eq. 5-8 do not see the order of the steps: permuting them permutes the softmax's terms, and F_f stays. With
    `step_position` each step has a learnt vector for its place, and the order can matter.
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
        self.step_position: Tensor | None = None
        if config.step_branch and config.step_position:
            self.step_position = nn.Parameter(torch.randn(1, STEPS, config.dim) * 0.02)
        self.merge: nn.Module | None = None
        if config.global_branch and config.step_branch and config.merge != "add":
            self.merge = Gate(config.dim) if config.merge == "gate" else nn.Linear(2 * config.dim, config.dim)

    def forward(self, video: Tensor, steps: Text, instruction: Text, text_mask: Text = None) -> FusionOutput:
        """Video [B, N, C], steps [B, 5, E] and instruction [B, 1, E], which may be None where no clip sees text.

        `text_mask`, bool [B], is False for a clip without text; None: all have theirs.
        """
        video = self.video_in(video)  # [B, N, D]
        parts, output = [], FusionOutput(video)
        if self.config.global_branch:
            text = self._text(instruction, self.null_instruction, video, text_mask)  # F_t^g [B, 1, D]
            fused, output.global_attention, _ = self.global_branch(video, text)  # eq. 1-4
            parts.append(fused)
        if self.config.step_branch:
            text = self._text(steps, self.null_steps, video, text_mask)  # F_t^s [B, 5, D]
            text = text if self.step_position is None else text + self.step_position
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
