"""Several processes that train one run together, started by `accelerate launch`: who they are, and what they exchange.

Every process sees the same batches and takes its own share of each; gradients are added up once a step, before they are
clipped. That is done here and not by DistributedDataParallel, which averages where a sum is needed, must be told of
parameters that a step leaves alone, and cannot take a step back when one process has no memory left for its share.

Whatever only one process may notice (no memory, a loss that is no number) is asked for before every exchange, so that
all of them notice it at the same place and none waits for another for ever.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from efa.launch.launched import count as count
from efa.launch.launched import main as main
from efa.launch.launched import rank as rank
from efa.utils.errors import PeerLostError

T = TypeVar("T")
FINE, NO_MEMORY, NOT_FINITE = 0, 1, 2  # how a step went; where processes disagree the largest counts
PATIENCE = timedelta(hours=6)  # the others wait while the main process prepares data, validates, predicts and scores
CHUNK = 2**24  # numbers that are exchanged at a time, 64 MB


class Stopped(Exception):  # noqa: N818 it is no error, and never leaves the training step
    """Some process cannot finish its share of the step; raised in every process at the same exchange."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


@functools.cache
def state() -> PartialState:
    """This process's device, and its connection to the others where there are any."""
    waiting = {"timeout": PATIENCE} if count() > 1 else {}
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    return PartialState(cpu=on_cpu, **waiting)


@functools.cache
def _talk() -> dist.ProcessGroup:
    """A connection for what is no gradient, through the CPU, so that asking does not make a GPU wait."""
    assert state().num_processes > 1
    with _connection():
        return dist.new_group(backend="gloo", timeout=PATIENCE)


@contextlib.contextmanager
def _connection() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise PeerLostError("another process of this training has ended; what it says is the reason") from error


def agreed(value: T) -> T:
    """The main process's value, in every process."""
    if count() == 1:
        return value
    box = [value if main() else None]
    with _connection():
        dist.broadcast_object_list(box, src=0, group=_talk())
    return box[0]  # type: ignore[return-value]


def heard(message: T | None) -> T | None:
    """What the first process says that has something to say, in every process."""
    if count() == 1:
        return message
    box: list[T | None] = [None] * count()
    with _connection():
        dist.all_gather_object(box, message, group=_talk())
    return next((one for one in box if one is not None), None)


def added(values: list[float]) -> list[float]:
    """Each value summed over the processes."""
    if count() == 1:
        return values
    total = torch.tensor(values, dtype=torch.float64)
    with _connection():
        dist.all_reduce(total, group=_talk())
    return total.tolist()


def wait() -> None:
    """Until every process is here."""
    if count() > 1:
        with _connection():
            dist.barrier(group=_talk())


def worst(code: int) -> int:
    """The largest code of all processes: `FINE`, `NO_MEMORY` or `NOT_FINITE`."""
    if count() == 1:
        return code
    flag = torch.tensor([code])
    with _connection():
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=_talk())
    return int(flag)


def _added(x: Tensor) -> Tensor:
    if code := worst(FINE):
        raise Stopped(code)
    x = x.contiguous().clone()
    with _connection():
        dist.all_reduce(x)
    return x


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return _added(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return _added(gradient)  # the loss is the sum of all processes' losses, and each depends on the total


def share_weights(model: nn.Module) -> None:
    """The main process's parameters and buffers to every process, in place."""
    if count() > 1:
        with torch.no_grad(), _connection():
            for value in model.state_dict(keep_vars=True).values():
                whole = value.detach().contiguous()
                dist.broadcast(whole, src=0)
                value.copy_(whole)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Adds every parameter's gradient up over the processes, in place; one that none has stays None."""
    if count() == 1:
        return
    own = list(parameters)
    has = torch.tensor([p.grad is not None for p in own], dtype=torch.int8)
    with _connection():
        dist.all_reduce(has, dist.ReduceOp.MAX, group=_talk())
    learning = [p for p, anywhere in zip(own, has.tolist(), strict=True) if anywhere]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
    for some in _chunks(gradients):
        flat = torch.cat([gradient.flatten() for gradient in some])
        with _connection():
            dist.all_reduce(flat)
        for gradient, part in zip(some, flat.split([g.numel() for g in some]), strict=True):
            gradient.copy_(part.view_as(gradient))
    for parameter, gradient in zip(learning, gradients, strict=True):
        parameter.grad = gradient


def _chunks(values: list[Tensor]) -> Iterator[list[Tensor]]:
    chunk: list[Tensor] = []
    for value in values:
        if chunk and (sum(v.numel() for v in chunk) + value.numel() > CHUNK or value.dtype != chunk[0].dtype):
            yield chunk
            chunk = []
        chunk.append(value)
    if chunk:
        yield chunk


@contextlib.contextmanager
def joint_norms(model: nn.Module) -> Iterator[None]:
    """Inside, batch normalisation in training takes mean and variance over the shares of all processes.

    torch's SyncBatchNorm does so on GPUs alone, and cannot be told that another process has run out of memory.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)] if count() > 1 else []
    for norm in norms:
        norm.forward = functools.partial(_normalised, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


@torch.compiler.disable
def _normalised(norm: _BatchNorm, x: Tensor) -> Tensor:
    """[B, C, ...] normalised by the mean and the (biased) variance of all processes' clips."""
    if not norm.training:
        return type(norm).forward(norm, x)
    own, axes = x.to(torch.promote_types(x.dtype, torch.float32)), [axis for axis in range(x.dim()) if axis != 1]
    size = own.new_tensor([own.numel() / own.shape[1]])
    first = _Total.apply(torch.cat([own.sum(axes), size]))
    number = max(1.0, first[-1].item())
    mean = first[:-1] / number
    shape = [-1 if axis == 1 else 1 for axis in range(x.dim())]
    centred = own - mean.view(shape)
    variance = _Total.apply((centred**2).sum(axes)) / number
    if first[-1].item() and norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
        with torch.no_grad():
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked += 1
            share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean.detach(), share)
            norm.running_var.lerp_(variance.detach() * number / max(1.0, number - 1), share)
    y = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    return y.to(x.dtype)
