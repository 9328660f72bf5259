"""What a run may change of a frozen trunk's features: the stand-in for fine-tuning the trunk, as the paper does.

A frozen trunk, a frozen language model, and attention between them leave nothing in between that can compute: equations
1-10 are linear maps, softmaxes and one sigmoid. So whatever stands for a fault must stand in the features already. This
perceptron gives some of that back, to every system whose row asks for it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Adapter(nn.Module):
    """Standardises features and adds what a perceptron makes of the whole clip: x' + W2 relu(W1 mean(x')).

    Args:
        shape: (N, C) of the features.
        groups: their tokens are averaged in so many runs (frames) before W1 sees them; where N is no multiple of it,
            W1 sees every token.
        hidden: units of the perceptron.
    """

    def __init__(self, shape: tuple[int, int], groups: int, hidden: int):
        super().__init__()
        tokens, channels = shape
        self.groups = groups if tokens % groups == 0 else tokens
        self.norm = nn.BatchNorm1d(tokens * channels, affine=False)  # of each channel at each place, over clips
        self.down = nn.Linear(self.groups * channels, hidden)
        self.up = nn.Linear(hidden, tokens * channels)
        nn.init.kaiming_normal_(self.down.weight, nonlinearity="relu")
        nn.init.normal_(self.up.weight, std=hidden**-0.5)  # what is added starts as large as the features

    def forward(self, features: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        x = self.standardised(features)
        seen = x.unflatten(1, (self.groups, -1)).mean(2)  # [B, groups, C]
        return x + self.up(F.relu(self.down(seen.flatten(1)))).view_as(x)

    def standardised(self, features: Tensor) -> Tensor:
        """x' [B, N, C], without what is added. What names the action reads this: else its loss, three times as heavy,
        takes the perceptron for itself (form AUC of Video Swin .72 instead of .79).
        """
        return self.norm(features.flatten(1)).view_as(features)
