"""RICA2 (Majeedi et al., ECCV 2024): a score from steps that are looked for in the video, each with its uncertainty.

Original: 103 frames of 224 px give 20 windows of 8 frames, 5 apart; I3D, averaged, makes each a vector. Two
convolutions over time and two transformer layers; two decoder layers, whose queries are frozen text embeddings of the
steps that the score sheet knows (T5-XXL, 4,096 values). Each step becomes a Gaussian; a sample of it (one in training,
the mean over 20 at test) goes up the rubric's graph: steps are averaged within their group, a shared MLP, groups are
averaged, an MLP makes the score. Loss: squared error + beta x KL to a standard normal + 0.05 x ranking (steps attend in
order, one window apart) + 0.05 x sparsity (attention close to its centre). AdamW 5e-4, I3D at 0.3 of that.

For action form assessment the queries are the five steps of the clip's action, vectors of our text encoder, or learnt
ones without text. The class, in the original given by the steps, is read by EFA's head from the encoder's states and
picks the steps, as for EFA. The original writes no text; with `decoder` set, EFA's own decoder attends to the windows
and the steps' vectors. The groups are start, movement and end: steps 1, 2-4 and 5. EFA's verdict head, in place of the
graph's last MLP, reads what the graph pools; its logit is the score, learnt by BCE, with the same noise for every clip
and call at test.
"""

import math
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efa.baselines.base import System, register
from efa.baselines.i3d import I3DTrunk
from efa.config import DecoderConfig
from efa.model.base import Text, mlp
from efa.model.decoder import Attention, Decoder
from efa.model.swin import stochastic_depth

STEPS = 5
GROUPS = ((0,), (1, 2, 3), (4,))  # of steps
SAMPLES = 20  # of each step's Gaussian at test
BETA = (1e-5, 5e-3)  # weight of the KL, at first and at last
RANKING = SPARSITY = 0.05  # weights of these losses
DEPTH = 2  # of convolutions, encoder and decoder
DROPOUT = DROP_PATH = 0.1
SMALL: dict[str, Any] = {"windows": 5, "window": 2, "width": 0.25, "frozen_norm": False, "dim": 128, "heads": 4}
SMALL |= {"path_scale": 1.0, "decoder": DecoderConfig(dim=128, depth=1, heads=4, dropout=0.0, max_tokens=128)}


class Windows(nn.Module):
    """I3D over evenly spaced, overlapping windows of a video."""

    def __init__(self, count: int, window: int, width: float, frozen_norm: bool):
        super().__init__()
        self.count, self.window, self.frozen_norm = count, window, frozen_norm
        self.trunk = I3DTrunk(width)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if self.frozen_norm and isinstance(module, nn.BatchNorm3d):
                module.eval()
        return self

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> [B, windows, C]."""
        size = min(self.window, frames.shape[1])
        first = torch.linspace(0, frames.shape[1] - size, self.count, device="cpu").round().long()
        at = (first[:, None] + torch.arange(size, device="cpu")).to(frames.device)  # [windows, window]
        return self.trunk(frames[:, at].flatten(0, 1)).mean((2, 3, 4)).unflatten(0, (-1, len(at)))


class Neighbours(nn.Module):
    """Depth-wise convolution over three neighbours in a sequence and LayerNorm: [B, L, D] -> the same shape."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x.transpose(1, 2)).transpose(1, 2))


class WeighedAttention(Attention):
    """Attention with `weigh`, which returns its weights as well."""

    def weigh(self, queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """[B, L, D], [B, M, D] twice -> [B, L, out_dim] and weights [B, heads, L, M]."""
        q, k, v = (self._split(part) for part in (self.query(queries), self.key(keys), self.value(values)))
        weights = (q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])).softmax(-1)
        x = (F.dropout(weights, self.dropout, self.training) @ v).transpose(1, 2).flatten(2)
        return F.dropout(self.output(x), self.dropout, self.training), weights


class Path(nn.Module):
    """The end of a residual branch: a learnt scale for each channel, and stochastic depth."""

    def __init__(self, dim: int, scale: float):
        super().__init__()
        self.scale = nn.Parameter(torch.full((dim,), scale))
        self.drop = stochastic_depth(DROP_PATH)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.scale * x)


def feed_forward(dim: int, hidden: int, path_scale: float) -> nn.Sequential:
    """LayerNorm, two layers with GELU between, and the end of the branch."""
    drop = nn.Dropout(DROPOUT)
    up, down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
    return nn.Sequential(nn.LayerNorm(dim), up, nn.GELU(), drop, down, drop, Path(dim, path_scale))


class EncoderLayer(nn.Module):
    """Self-attention whose queries, keys and values are each convolved first, and an MLP of the same width."""

    def __init__(self, dim: int, heads: int, path_scale: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.queries, self.keys, self.values = Neighbours(dim), Neighbours(dim), Neighbours(dim)
        self.attention = WeighedAttention(dim, heads, DROPOUT)
        self.path = Path(dim, path_scale)
        self.mlp = feed_forward(dim, dim, path_scale)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D] -> the same shape."""
        y = self.norm(x)
        x = x + self.path(self.attention.weigh(self.queries(y), self.keys(y), self.values(y))[0])
        return x + self.mlp(x)


class DecoderLayer(nn.Module):
    """Cross-attention that scales and shifts the queries, channel by channel, and an MLP; no self-attention."""

    def __init__(self, dim: int, heads: int, path_scale: float):
        super().__init__()
        self.norm, self.memory_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.queries = Neighbours(dim)
        self.attention = WeighedAttention(dim, heads, DROPOUT, 2 * dim)
        self.mlp = feed_forward(dim, 4 * dim, path_scale)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [B, S, D], video [B, W, D] -> queries [B, S, D] and weights [B, heads, S, W]."""
        memory = self.memory_norm(memory)
        result, weights = self.attention.weigh(self.queries(self.norm(x)), memory, memory)
        scale, shift = result.chunk(2, 2)  # each [B, S, D]
        x = x * scale + shift
        return x + self.mlp(x), weights


class Encoded(NamedTuple):
    """A clip and its steps, after the attention layers, and the steps' Gaussians."""

    states: Tensor  # of the windows [B, W, D]
    steps: Tensor  # [B, 5, D]
    weights: Tensor  # of the steps' attention to the windows, all layers [B, depth * heads, 5, W]
    mean: Tensor  # [B, 5, D / 2]
    log_variance: Tensor


@register("RICA2", trunk="i3d", **SMALL)
class RICA2(System):
    TEXT_DECODER = TEXT_WEIGHTS = "decoder"
    READS_STEPS = True
    noise: Tensor

    def __init__(
        self,
        vocabulary_size: int,
        text_dim: int,
        windows: int = 20,
        window: int = 8,  # frames that I3D sees at a time
        width: float = 1.0,  # share of I3D's channels
        frozen_norm: bool = True,  # I3D's batch statistics stay those of its weights; not with random weights
        dim: int = 512,
        heads: int = 8,
        path_scale: float = 1e-4,  # where the learnt scale of a residual branch starts
        decoder: DecoderConfig | None = None,  # not the original's
    ):
        encoder = Windows(windows, window, width, frozen_norm)
        super().__init__(encoder)
        half = dim // 2
        self.convolutions = nn.ModuleList(
            nn.Conv1d(encoder.trunk.out_dim if i == 0 else dim, dim, 3, padding=1) for i in range(DEPTH)
        )
        self.layers = nn.ModuleList(EncoderLayer(dim, heads, path_scale) for _ in range(DEPTH))
        self.dropout = nn.Dropout(DROPOUT)
        self.text_in = nn.Linear(text_dim, dim)
        self.null_steps = nn.Parameter(torch.randn(STEPS, dim))
        self.step_layers = nn.ModuleList(DecoderLayer(dim, heads, path_scale) for _ in range(DEPTH))
        self.step_norm = nn.LayerNorm(dim)
        self.step_base = nn.Linear(dim, half)
        self.gaussian = mlp(half, half, 2 * half)  # mean and log variance of each step
        self.group_mlp = mlp(half, half, half)
        self.class_shape, self.form_shape = (windows, dim), (1, half)
        generator = torch.Generator("cpu").manual_seed(0)
        noise = torch.randn(SAMPLES, 1, STEPS, half, generator=generator, device="cpu")
        self.register_buffer("noise", noise, persistent=False)
        self.decoder = Decoder(decoder, vocabulary_size, dim) if decoder else None

    def encode_windows(self, features: Tensor) -> Tensor:
        """Windows [B, W, C] -> encoder states [B, W, D]."""
        x = features.transpose(1, 2)
        for i, convolution in enumerate(self.convolutions):
            x = F.relu(convolution(x if i == 0 else self.dropout(x)))  # [B, D, W]
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return x

    def encode(self, features: Tensor, steps: Text = None, text_mask: Text = None) -> Encoded:
        """Looks for steps [B, 5, E] in windows [B, W, C]."""
        states = self.encode_windows(features)
        queries = self.null_steps.expand(len(features), -1, -1)  # [B, 5, D]
        if steps is not None:
            mask = steps.new_ones(len(steps), dtype=torch.bool) if text_mask is None else text_mask
            queries = torch.where(mask[:, None, None], self.text_in(steps), queries)
        weights: list[Tensor] = []
        for layer in self.step_layers:
            queries, attention = layer(queries, states)
            weights.append(attention)  # [B, heads, 5, W]
        queries = self.step_norm(queries)
        gaussian = self.gaussian(F.relu(self.step_base(queries))).chunk(2, 2)
        return Encoded(states, queries, torch.cat(weights, 1), *gaussian)

    def memory(self, encoded: Encoded, rows: int | None = None) -> Tensor:
        """Windows and steps [B', W + 5, D]."""
        return torch.cat([encoded.states, encoded.steps], 1)[:rows]

    def class_tokens(self, encoded: Encoded) -> Tensor:
        return encoded.states

    def form_tokens(self, encoded: Encoded) -> Tensor:
        """What the graph pools for each sample of each clip, [samples B, 1, D / 2]."""
        noise = torch.randn_like(encoded.mean)[None] if self.training else self.noise
        sampled = encoded.mean + (encoded.log_variance / 2).exp() * noise  # [samples, B, 5, D / 2]
        groups = torch.stack([sampled[..., group, :].mean(-2) for group in GROUPS], -2)  # [samples, B, 3, D / 2]
        return self.group_mlp(groups).mean(-2).flatten(0, 1)[:, None]

    def further_losses(self, encoded: Encoded) -> dict[str, Tensor]:
        kl = (encoded.mean**2 + encoded.log_variance.exp() - encoded.log_variance - 1) / 2  # [B, 5, D / 2]
        ranking, sparsity = attention_losses(encoded.weights)
        extra = {"kl": self.beta * kl.mean((0, 2)).sum(), "ranking": RANKING * ranking}
        return extra | {"sparsity": SPARSITY * sparsity}

    @property
    def beta(self) -> float:
        """Weight of the KL: constant for 30 / 350 of the training, then tripled every 10 / 350 up to its end."""
        return min(BETA[1], BETA[0] * 3.0 ** max(0, math.floor((self.progress * 350 - 30) / 10)))


def attention_losses(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Ranking and sparsity (after TPT, Bai et al., ECCV 2022) of cross-attention [B, heads, S, W].

    A step's centre is its mean place, 1..W. Ranking: centres follow each other, and keep from both ends, by a margin of
    one, or of (W - 1) / (S + 1) where that is less. Sparsity: the mean distance from the centre.
    """
    s, w = weights.shape[2:]
    place = torch.arange(1, w + 1, device=weights.device, dtype=weights.dtype)
    centre = (weights * place).sum(-1)  # [B, heads, S]
    sparsity = (weights * (place - centre[..., None]).abs()).sum(-1).mean()
    margin = min(1.0, (w - 1) / (s + 1))
    order = F.relu(margin - centre.diff(dim=-1)).mean()
    ends = F.relu(margin - (centre[..., 0] - 1)).mean() + F.relu(margin - (w - centre[..., -1])).mean()
    return order + ends, sparsity
