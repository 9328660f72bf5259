"""C3D (Tran et al., ICCV 2015): eight 3 x 3 x 3 convolutions, the trunk of C3DAVG as well.

The original classifies 16 consecutive frames of 112 px by a linear layer on fc7. Here EFA's heads read fc7. Input is
normalised as in C3DAVG (ImageNet's mean and deviation) instead of subtracting the original's mean clip. Pools round up:
the original's round down and leave nothing of six frames at pool4.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from efa.baselines.base import System, register
from efa.model.base import Text

LAYERS = ((1,), (2,), (4, 4), (8, 8), (8, 8))  # channels of the convolutions over `width`; a pool after each row


class C3DTrunk(nn.Module):
    """Everything before fc6: five rows of convolutions with ReLU, each followed by a max pool."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.out_dim = LAYERS[-1][-1] * width
        layers: list[nn.Module] = []
        channels = 3
        for row, factors in enumerate(LAYERS):
            for factor in factors:
                layers += [nn.Conv3d(channels, factor * width, 3, padding=1), nn.ReLU()]
                channels = factor * width
            window = (1 if row == 0 else 2, 2, 2)  # pool1 leaves time alone
            padding = (0, 1, 1) if row == len(LAYERS) - 1 else 0  # 7 x 7 -> 4 x 4, as the original's pool5
            layers.append(nn.MaxPool3d(window, padding=padding, ceil_mode=True))
        self.layers = nn.Sequential(*layers)
        he_init(self)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> [B, T', H', W', 8 width], of `grid`; C3D: pool5."""
        return self.layers(frames.transpose(1, 2)).movedim(1, -1)

    @staticmethod
    def grid(frames: int, size: int) -> tuple[int, int, int]:
        """(T', H', W') of such a clip; (1, 4, 4) for 16 frames of 112 px."""
        side = math.ceil(size / 16) // 2 + 1
        return math.ceil(frames / 16), side, side


@register("C3D", trunk="c3d", width=8, hidden=256)
class C3D(System):
    """`width` channels of the first convolution, `hidden` values of fc6 and fc7."""

    def __init__(self, frames: int = 16, size: int = 112, width: int = 64, hidden: int = 4096):
        trunk = C3DTrunk(width)
        super().__init__(trunk)
        self.fc6 = nn.Linear(trunk.out_dim * math.prod(trunk.grid(frames, size)), hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        he_init(self.fc6)
        he_init(self.fc7)
        self.dropout = nn.Dropout(0.5)
        self.class_shape = self.form_shape = (1, hidden)

    def encode(self, features: Tensor, *_: Text) -> Tensor:
        """pool5 [B, N, C] -> fc7 [B, 1, D]."""
        x = F.relu(self.fc6(features.transpose(1, 2).flatten(1)))  # channels first, the order of released weights
        return F.relu(self.fc7(self.dropout(x)))[:, None]


def he_init(module: nn.Module) -> None:
    """He initialisation in place: without normalisation layers, torch's default shrinks the signal at every ReLU."""
    for part in module.modules():
        if isinstance(part, (nn.Conv3d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
