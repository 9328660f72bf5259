"""The pose encoder: a skeleton over time -> tokens that take the place of Video Swin's in EFA. Not in the paper."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efa.config import PoseConfig
from formsim.motion import INDEX

_LIMBS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("ankle", "toe"))
BONES = [("pelvis", "neck"), ("hip_r", "hip_l"), ("shoulder_r", "shoulder_l"), ("neck", "head")]
BONES += [(f"{a}_{side}", f"{b}_{side}") for side in "lr" for a, b in _LIMBS]
POINTS = ("head", *(f"{joint}_{side}" for side in "lr" for joint in ("elbow", "wrist", "knee", "ankle")))
_FROM, _TO, _POINT = [INDEX[a] for a, _ in BONES], [INDEX[b] for _, b in BONES], [INDEX[name] for name in POINTS]
FEATURES = 2 * (3 * len(BONES) + 3 * len(POINTS) + 1 + len(POINTS))


def pose_features(joints: Tensor) -> Tensor:
    """Joints [B, T, 20, 3], metres, any heading -> [B, T, FEATURES] of a person who faces along x.

    Directions of the bones, ends of the limbs from the pelvis in torso lengths, heights over the clip's mean, and how
    all of these change over time.
    """
    joints = turn_to_front(joints)
    pelvis, neck = joints[:, :, :1], joints[:, :, INDEX["neck"]]
    torso = (neck - pelvis[:, :, 0]).norm(dim=-1).mean(1).clamp(min=1e-3)[:, None, None]  # [B, 1, 1]
    bones = F.normalize(joints[:, :, _TO] - joints[:, :, _FROM], dim=-1).flatten(2)
    points = ((joints[:, :, _POINT] - pelvis) / torso[..., None]).flatten(2)
    heights = joints[:, :, [0, *_POINT], 2] / torso
    heights = (heights - heights.mean(1, keepdim=True)) * 1.5
    x = torch.cat([bones, points, heights], -1)
    padded = F.pad(x.transpose(1, 2), (1, 1), mode="replicate").transpose(1, 2)
    return torch.cat([x, (padded[:, 2:] - padded[:, :-2]) * 2], -1)


def turn_to_front(joints: Tensor) -> Tensor:
    """Turns [B, T, 20, 3] about z so that the clip's mean heading is x.

    The lines of hips and shoulders give the heading; what the chest faces would not for a person who lies.
    """
    hips, shoulders = (
        F.normalize(joints[:, :, INDEX[f"{part}_l"]] - joints[:, :, INDEX[f"{part}_r"]], dim=-1)
        for part in ("hip", "shoulder")
    )
    left = F.normalize(hips + 0.5 * shoulders, dim=-1)  # [B, T, 3]
    up = F.normalize(joints[:, :, INDEX["neck"]] - joints[:, :, 0], dim=-1)
    chest = torch.linalg.cross(left, up, dim=-1)
    ahead = torch.stack([left[..., 1], -left[..., 0]], -1) + 0.5 * chest[..., :2]
    c, s = F.normalize(ahead.mean(1), dim=-1).unbind(-1)  # cosine and sine of the heading [B]
    x, y, z = joints.unbind(-1)
    c, s = c[:, None, None], s[:, None, None]
    return torch.stack([c * x + s * y, c * y - s * x, z], -1)


class Block(nn.Module):
    """A residual block over time: each frame sees its neighbours and the clip's mean."""

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mix, self.out = nn.Linear(4 * dim, dim), nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        h = self.norm(x)
        padded = F.pad(h, (0, 0, 1, 1))
        seen = torch.cat([padded[:, :-2], h, padded[:, 2:], h.mean(1, keepdim=True).expand_as(h)], -1)
        return x + self.dropout(self.out(F.gelu(self.mix(seen))))


class PoseEncoder(nn.Module):
    """Skeletons [B, T, 20, 3] -> one token a frame, [B, T, 1, 1, C] like `VideoSwin`'s [B, T', H', W', C]."""

    def __init__(self, config: PoseConfig, frames: int):
        super().__init__()
        self.out_dim = config.dim
        self.embed = nn.Linear(FEATURES, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.position = nn.Parameter(torch.randn(1, frames, config.dim) * 0.02)
        self.blocks = nn.ModuleList(Block(config.dim, config.dropout) for _ in range(config.depth))

    def grid(self, frames: int, *_: int) -> tuple[int, int, int]:
        return frames, 1, 1

    def forward(self, joints: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.embed(pose_features(joints)))) + self.position
        for block in self.blocks:
            x = block(x)
        return x[:, :, None, None]
