"""Video Swin Transformer (Liu et al., CVPR 2022), the encoder that turns frames into F_v.

Parameter names are those of torchvision's ``swin3d`` models, so their checkpoints load as they are and the official
ones after a change of names (`load_encoder`). Any input size and any number of stages work.
"""

import functools
import math
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from efa.config import EncoderConfig
from efa.model.base import read_weights
from efa.utils.errors import InputError

Size = tuple[int, int, int]  # frames, height, width


def relative_position_index(window: Size) -> Tensor:
    """[N, N]: for each pair of a window's N positions, the row of the bias table that holds their offset."""
    axes = torch.meshgrid(*(torch.arange(n) for n in window), indexing="ij")
    place = torch.stack(axes).flatten(1)  # [3, N]
    t, h, w = place[:, :, None] - place[:, None, :] + torch.tensor(window)[:, None, None] - 1  # each [N, N]
    return (t * (2 * window[1] - 1) + h) * (2 * window[2] - 1) + w


@functools.lru_cache(maxsize=64)
def _shift_mask(padded: Size, window: Size, shift: Size, device: torch.device) -> Tensor:
    """[W, N, N], W windows of N positions: 0 where two positions may see each other, -100 across the seam of a roll."""
    with torch.inference_mode(False):  # a cached inference tensor could not take part in training later
        region = torch.zeros(1, *padded, 1, device=device)
        for axis, (n, w, s) in enumerate(zip(padded, window, shift, strict=True)):
            if s:
                at = torch.arange(n, device=device)
                label = (at >= n - w).float() + (at >= n - s).float()  # 0, 1 or 2: three slabs along this axis
                region += (label * 3**axis).view([-1 if i == axis + 1 else 1 for i in range(5)])
        region = _to_windows(region, window)[0, :, :, 0]  # [W, N]
        return (region[:, :, None] != region[:, None, :]).float() * -100.0


def _to_windows(x: Tensor, window: Size) -> Tensor:
    """[B, T, H, W, C] -> [B, windows, N, C]; every axis is a multiple of the window's."""
    (wt, wh, ww), (b, t, h, w, c) = window, x.shape
    x = x.view(b, t // wt, wt, h // wh, wh, w // ww, ww, c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, -1, wt * wh * ww, c)


def _from_windows(x: Tensor, window: Size, padded: Size) -> Tensor:
    """The inverse of `_to_windows`."""
    (wt, wh, ww), (t, h, w) = window, padded
    x = x.view(len(x), t // wt, h // wh, w // ww, wt, wh, ww, -1)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(len(x), t, h, w, -1)


class WindowAttention(nn.Module):
    """Multi-head attention inside 3D windows, shifted by half a window in every second block.

    An axis no longer than the window shrinks the window to itself and is not shifted; a longer one is zero-padded to a
    multiple of the window, and the padding is not masked. Both as in the official code.
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, window: Size, shift: Size, heads: int):
        super().__init__()
        self.window, self.shift, self.heads = window, shift, heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        offsets = math.prod(2 * n - 1 for n in window)
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_position_index(window))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] -> the same shape."""
        b, t, h, w, c = x.shape
        sizes = zip((t, h, w), self.window, self.shift, strict=True)
        window, shift = zip(*((n, 0) if n <= size else (size, s) for n, size, s in sizes), strict=True)
        pt, ph, pw = (-n % size for n, size in zip((t, h, w), window, strict=True))
        if pt or ph or pw:
            x = F.pad(x, (0, 0, 0, pw, 0, ph, 0, pt))
        padded = (t + pt, h + ph, w + pw)
        if any(shift):
            x = x.roll((-shift[0], -shift[1], -shift[2]), dims=(1, 2, 3))
        x = _to_windows(x, window)  # [B, W, N, C]
        windows, n, heads = x.shape[1], x.shape[2], self.heads
        qkv = self.qkv(x).view(b, windows, n, 3, heads, -1).permute(3, 0, 1, 4, 2, 5)  # [3, B, W, heads, N, d]
        index = self.relative_position_index[:n, :n].reshape(-1)
        bias = self.relative_position_bias_table[index].view(n, n, heads).permute(2, 0, 1)  # [heads, N, N]
        if any(shift):  # the mask differs by window, so windows join the heads and the batch stays apart
            mask = _shift_mask(padded, window, shift, x.device).to(bias.dtype)
            bias = (mask[:, None] + bias).flatten(0, 1)  # [W * heads, N, N]
        q, k, v = qkv.flatten(2, 3) if any(shift) else qkv.flatten(1, 2)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype)[None])
        x = x.view(b, windows, heads, n, -1).transpose(2, 3).reshape(b, windows, n, c)
        x = _from_windows(self.proj(x), window, padded)
        if any(shift):
            x = x.roll(shift, dims=(1, 2, 3))
        return x[:, :t, :h, :w]


def stochastic_depth(rate: float) -> nn.Module:
    """Drops a residual branch for a share `rate` of the clips, in training."""
    if not rate:
        return nn.Identity()
    from transformers.models.swin.modeling_swin import SwinDropPath  # takes seconds to load

    return SwinDropPath(rate)


class SwinBlock(nn.Module):
    """Attention and MLP, each after a LayerNorm and with a residual."""

    checkpointing: bool = False  # recompute the block in the backward pass; `training.checkpointing` sets it

    def __init__(self, dim: int, window: Size, shift: Size, heads: int, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window, shift, heads)
        self.norm2 = nn.LayerNorm(dim)
        # the Dropout(0) only keeps torchvision's index 3 of the second layer
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(0.0), nn.Linear(4 * dim, dim))
        self.drop_path = stochastic_depth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H, W, C] -> the same shape."""
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(self._run, x, use_reentrant=False)
        return self._run(x)

    def _run(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Halves height and width, doubles the channels: [B, T, H, W, C] -> [B, T, H/2, W/2, 2C]."""

    def __init__(self, dim: int):
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 2 or x.shape[3] % 2:
            x = F.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
        quarters = [x[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)]  # this order is the checkpoints'
        return self.reduction(self.norm(torch.cat(quarters, -1)))


class PatchEmbed(nn.Module):
    """Frames to patches. Stride 1 with a kernel of 2 appends one zero frame, so that T frames give T positions."""

    def __init__(self, patch: Size, temporal_stride: int, dim: int):
        super().__init__()
        self.patch, self.stride = patch, temporal_stride
        self.proj = nn.Conv3d(3, dim, kernel_size=patch, stride=(temporal_stride, *patch[1:]))
        self.norm = nn.LayerNorm(dim)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, 3, H, W] -> [B, T', H', W', C]."""
        t, _, h, w = frames.shape[1:]
        late = (math.ceil(t / self.stride) - 1) * self.stride + self.patch[0] - t
        x = F.pad(frames, (0, -w % self.patch[2], 0, -h % self.patch[1], 0, 0, 0, max(late, 0)))
        return self.norm(self.proj(x.transpose(1, 2)).permute(0, 2, 3, 4, 1))


class VideoSwin(nn.Module):
    """Stages of windowed attention over patches of a clip; `config.dim` channels, doubled by each further stage."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config.patch, config.temporal_stride, config.dim)
        window, total = config.window, sum(config.depths)
        shifts: tuple[Size, Size] = (0, 0, 0), (window[0] // 2, window[1] // 2, window[2] // 2)
        rates = iter([config.drop_path * i / max(total - 1, 1) for i in range(total)])
        layers: list[nn.Module] = []
        for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
            dim = config.dim * 2**stage
            if stage:
                layers.append(PatchMerging(dim // 2))
            blocks = (SwinBlock(dim, window, shifts[i % 2], heads, next(rates)) for i in range(depth))
            layers.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*layers)
        self.out_dim = config.dim * 2 ** (len(config.depths) - 1)
        self.norm = nn.LayerNorm(self.out_dim)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.requires_grad_(not config.frozen)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames [B, T, 3, H, W] -> features [B, T', H', W', C]."""
        x = self.norm(self.features(self.patch_embed(frames)))
        if self.config.pool > 1:
            frame = F.avg_pool2d(x.flatten(0, 1).permute(0, 3, 1, 2), self.config.pool, ceil_mode=True)  # [B T', C, ..]
            x = frame.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
        return x

    def grid(self, frames: int, height: int, width: int) -> Size:
        """(T', H', W') of the features of such a clip."""
        rows, columns = math.ceil(height / self.config.patch[1]), math.ceil(width / self.config.patch[2])
        scale = 2 ** (len(self.config.depths) - 1) * self.config.pool
        return math.ceil(frames / self.config.temporal_stride), math.ceil(rows / scale), math.ceil(columns / scale)


def load_encoder(model: nn.Module, path: str | Path) -> None:
    """Loads a .safetensors or PyTorch's file in place, without ever executing anything in it.

    It must have each of the model's parameters with its size. For Video Swin it may have torchvision's or the official
    names, or be a saved EFA model, whose ``encoder.`` part is taken.

    Raises InputError: the file is missing, broken, needs code to be unpickled, or belongs to another architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file of encoder weights", file=path, hint="give a .safetensors or .pth file")
    state = read_weights(path, "encoder weights")
    for wrapper in ("state_dict", "model"):
        state = state[wrapper] if isinstance(state, dict) and isinstance(state.get(wrapper), dict) else state
    dense = isinstance(state, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized
        for name, value in state.items()
    )
    if not dense or not state:
        raise InputError("this file holds no dictionary of encoder weights", file=path)
    state, own = torchvision_names(state) if isinstance(model, VideoSwin) else state, model.state_dict()
    missing, other = [key for key in own if key not in state], [key for key in state if key not in own]
    sizes = [key for key in own if key in state and own[key].shape != state[key].shape]
    for keys, fault in ((missing, "lacks"), (other, "has, unlike this encoder,"), (sizes, "has another size of")):
        if keys:
            shapes = f": {list(state[keys[0]].shape)}, not {list(own[keys[0]].shape)}" if keys is sizes else ""
            message = f"this file {fault} {keys[0]}{shapes}, and {len(keys) - 1} more"
            raise InputError(message, file=path, hint="set encoder.* to the architecture that it was trained with")
    for key in own:
        if not bool(torch.isfinite(state[key]).all()):
            raise InputError(f"this file holds a value that is no number in {key}", file=path, hint="download it again")
    model.load_state_dict(state)


def torchvision_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Official, torchvision-style or EFA's own names -> this module's; classification heads are dropped."""
    for prefix in ("module.", "backbone.", "encoder."):
        if any(key.startswith(prefix) for key in state):  # where a part is the encoder, the rest is something else
            state = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith((prefix, "cls_head."))}

    def rename(key: str) -> str:
        key = re.sub(r"^layers\.(\d+)\.blocks\.", lambda m: f"features.{2 * int(m[1])}.", key)
        key = re.sub(r"^layers\.(\d+)\.downsample\.", lambda m: f"features.{2 * int(m[1]) + 1}.", key)
        return key.replace(".mlp.fc1.", ".mlp.0.").replace(".mlp.fc2.", ".mlp.3.")

    return {rename(key): value for key, value in state.items() if not key.startswith(("head.", "cls_head."))}
