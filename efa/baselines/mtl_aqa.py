"""C3DAVG and MSCADC (Parmar and Morris, CVPR 2019, MTL-AQA), and their captioner S2VT (Venugopalan et al., ICCV 2015).

Original C3DAVG: 103 frames at the end of a dive give six clips of 16 frames of 112 px. Each goes through C3D to pool5
(8,192 values); their mean goes through fc6 to the heads, their sequence to S2VT. Original MSCADC: 16 frames of 180 px,
evenly spaced over 103; a C3D of half the width with batch normalisation, without the last two pools and with its last
two convolutions dilated. Each task's context net squeezes that to 12 channels, looks around with dilated convolutions,
pools, and averages over the clip; the caption's ends in one vector of 1,200 values for S2VT.

Loss of both: heads + 0.01 x caption, summed over words: about `weight_text` = 1 for our mean over 100 words. Adam,
1e-4. S2VT's sizes as in their code (github.com/ParitoshParmar/MTL-AQA, opts.py).

For action form assessment the five answers that name a dive become one of A classes, and the score the verdict. The
originals' heads are linear layers on fc6 (C3DAVG) and the means of two context nets' outputs (MSCADC). Here EFA's heads
read fc6 and the outputs of these two nets, which are as wide as the body. C3DAVG repeats the last frame of a short
clip; MSCADC stretches fewer than 16 frames to 16 by repeating them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efa.baselines.base import System, register
from efa.baselines.c3d import C3DTrunk, he_init
from efa.model.base import Text
from efa.model.decoder import greedy


class S2VT(nn.Module):
    """Two recurrent networks: the first runs over [clips; blanks], the second over [its output, word], where the word
    is blank while clips are read. GRUs, as in the code of MTL-AQA; `dim` is the width of both and of the words.
    """

    def __init__(self, video_dim: int, vocabulary_size: int, dim: int):
        super().__init__()
        self.video = nn.GRU(video_dim, dim, 2, batch_first=True, dropout=0.5)
        self.language = nn.GRU(2 * dim, dim, 2, batch_first=True, dropout=0.5)
        self.word = nn.Embedding(vocabulary_size, dim)
        self.out = nn.Linear(dim, vocabulary_size)

    def forward(self, tokens: Tensor, video: Tensor | None) -> Tensor:
        """Teacher forcing: ids [B, L] and clip vectors [B, M, C] -> logits [B, L, V]; position i predicts token i + 1.

        Without video it is a language model, with zeros for the first network's state.
        """
        words, m = self.word(tokens), 0  # [B, L, D]
        states = torch.zeros_like(words)
        if video is not None:
            m, blank = video.shape[1], video.new_zeros(len(video), tokens.shape[1], video.shape[2])
            states, _ = self.video(torch.cat([video, blank], 1))  # [B, M + L, D]
            words = torch.cat([words.new_zeros(len(video), m, words.shape[2]), words], 1)  # [B, M + L, D]
        return self.out(self.language(torch.cat([states, words], 2))[0][:, m:])

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
    """S2VT reads the clip vectors that `memory` returns."""

    TEXT_DECODER, TEXT_WEIGHTS = "captioner", "s2vt"
    FROZEN_TEXT = ("word.",)  # the rest reads the state of the network that saw the video


class Clips(nn.Module):
    """C3D over one clip after another."""

    def __init__(self, width: int, clip: int):
        super().__init__()
        self.trunk, self.clip = C3DTrunk(width), clip

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> pool5 of each clip, flat [B, M, C]."""
        if missing := -frames.shape[1] % self.clip:
            frames = torch.cat([frames, frames[:, -1:].expand(-1, missing, -1, -1, -1)], 1)
        clips = frames.unflatten(1, (-1, self.clip))  # [B, M, clip, 3, H, W]
        return self.trunk(clips.flatten(0, 1)).movedim(-1, 1).flatten(1).unflatten(0, clips.shape[:2])


@register("C3DAVG", trunk="c3d", clip=3, width=8, hidden=256, word_dim=128)
class C3DAVG(S2VTCaptioner):
    def __init__(
        self,
        vocabulary_size: int,
        clip: int = 16,  # frames that C3D sees at a time
        size: int = 112,
        width: int = 64,  # channels of C3D's first convolution
        hidden: int = 4096,  # of fc6
        word_dim: int = 512,  # width of S2VT
    ):
        encoder = Clips(width, clip)
        super().__init__(encoder)
        dim = encoder.trunk.out_dim * math.prod(encoder.trunk.grid(clip, size))
        self.fc6 = nn.Linear(dim, hidden)
        he_init(self.fc6)
        self.class_shape = self.form_shape = (1, hidden)
        self.captioner = S2VT(dim, vocabulary_size, word_dim)

    def class_tokens(self, encoded: Tensor) -> Tensor:
        """fc6 of the clips' mean, [B, 1, hidden]."""
        return F.relu(self.fc6(encoded.mean(1, keepdim=True)))


def convolution(inputs: int, outputs: int, padding: int = 0, dilation: int = 1) -> list[nn.Module]:
    """3 x 3 x 3, batch normalisation, ReLU."""
    conv = nn.Conv3d(inputs, outputs, 3, padding=padding, dilation=dilation)
    return [conv, nn.BatchNorm3d(outputs), nn.ReLU()]


class DilatedC3D(nn.Module):
    """The body. Its last convolution loses a position at each border, as the original's does."""

    def __init__(self, width: int):
        super().__init__()
        w = width
        layers = [*convolution(3, w, 1), nn.MaxPool3d((1, 2, 2)), *convolution(w, 2 * w, 1), nn.MaxPool3d(2)]
        layers += [*convolution(2 * w, 4 * w, 1), *convolution(4 * w, 4 * w, 1), nn.MaxPool3d(2)]
        layers += [*convolution(4 * w, 8 * w, 1), *convolution(8 * w, 8 * w, 1)]
        layers += [*convolution(8 * w, 8 * w, 2, dilation=2), *convolution(8 * w, 8 * w, 1, dilation=2)]
        self.layers = nn.Sequential(*layers)
        he_init(self)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> [B, T', H', W', 8 width], of `grid`."""
        t = frames.shape[1]
        at = torch.arange(max(t, 16), device=frames.device) * t // max(t, 16)  # 0, 0, 1, ... below 16 frames
        return self.layers(frames[:, at].transpose(1, 2)).movedim(1, -1)

    @staticmethod
    def grid(frames: int, size: int) -> tuple[int, int, int]:
        """(T', H', W') of such a clip; (2, 20, 20) for 16 frames of 180 px."""
        return max(frames, 16) // 4 - 2, size // 8 - 2, size // 8 - 2


class Context(nn.Module):
    """A task's own net: [B, C, T', H', W'] -> [B, outputs, (T' + 2) / 2, (H' + 2) / 2, (W' + 2) / 2].

    A border that repeats the map's edge, nine positions wide in the original, makes up for what the convolutions lose.
    """

    def __init__(self, inputs: int, bottleneck: int, outputs: int, dilations: tuple[int, int] = (2, 4)):
        super().__init__()
        b, (third, fourth) = bottleneck, dilations
        layers = [nn.Conv3d(inputs, b, 1, padding=1), nn.ReplicationPad3d(3 + third + fourth), *convolution(b, 2 * b)]
        layers += [*convolution(2 * b, 2 * b), *convolution(2 * b, 4 * b, dilation=third)]
        layers += [*convolution(4 * b, 8 * b, dilation=fourth), *convolution(8 * b, 8 * b)]
        layers += [nn.Conv3d(8 * b, b, 1), nn.BatchNorm3d(b), nn.ReLU(), nn.MaxPool3d(2)]
        self.layers = nn.Sequential(*layers, *convolution(b, b, 1), nn.Conv3d(b, outputs, 3, padding=1))
        he_init(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


# Small, a map of 4 x 8 x 8 is less than the original's reach, nine to each side, so nothing is dilated.
@register("MSCADC", trunk="mscadc", width=8, bottleneck=2, dilations=(1, 1), word_dim=128)
class MSCADC(S2VTCaptioner):
    def __init__(
        self,
        vocabulary_size: int,
        frames: int = 16,
        size: int = 180,
        width: int = 32,  # channels of the first convolution
        bottleneck: int = 12,  # channels that a context net squeezes the body's to
        dilations: tuple[int, int] = (2, 4),  # of a context net's third and fourth convolution
        word_dim: int = 512,  # width of S2VT
    ):
        super().__init__(DilatedC3D(width))
        self.dropout = nn.Dropout(0.5)
        self.grid = DilatedC3D.grid(frames, size)
        self.class_context, self.form_context, self.caption_context = (
            Context(8 * width, bottleneck, outputs, dilations) for outputs in (8 * width, 8 * width, bottleneck)
        )
        self.class_shape = self.form_shape = ((self.grid[0] + 2) // 2, 8 * width)
        dim = bottleneck * math.prod((n + 2) // 2 - 1 for n in self.grid)
        self.captioner = S2VT(dim, vocabulary_size, word_dim)

    def encode(self, features: Tensor, *_: Text) -> Tensor:
        """The body's positions [B, N, C] -> its map after dropout [B, C, T', H', W']."""
        return self.dropout(features.transpose(1, 2).unflatten(2, self.grid))

    def class_tokens(self, encoded: Tensor) -> Tensor:
        return self.class_context(encoded).flatten(2).transpose(1, 2)  # [B, T'' H'' W'', 8 width]

    def form_tokens(self, encoded: Tensor) -> Tensor:
        return self.form_context(encoded).flatten(2).transpose(1, 2)

    def memory(self, encoded: Tensor, rows: int | None = None) -> Tensor:
        """The map -> the one vector that S2VT reads [B', 1, D]; a pool of 2 with stride 1 takes one more position."""
        return F.max_pool3d(self.caption_context(encoded[:rows]), 2, 1).flatten(1)[:, None]
