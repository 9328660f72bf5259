"""One training step up to its gradient: in pieces, by several processes, and stopped where a loss is no number."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from efa import pieces, processes
from efa.config import TrainingConfig
from efa.inputs import TrainingInputs
from efa.pieces import Batch, Shares
from efa.utils.errors import Diverged, InputError
from efa.utils.files import write_safely

Losses = Callable[[Batch, Shares | None], dict[str, Tensor]]
MEMORY = "memory.json"  # in a run's folder: how many clips at once memory holds, where it does not hold a batch
MAX_NAMED = 8  # clips that an error names


class Gradients:
    """A batch's gradient, by as many pieces as memory asks for and as many processes as there are.

    Losses of the pieces count by their shares (`efa.pieces`) and their gradients are added up, so that the optimizer
    sees the batch's gradient whatever the pieces. That is exact, but for the order of sums, where what is said of a
    clip depends on nothing but the clip. In training it also depends

    - on its batch mates, through batch normalisation: the adapter's, the heads' with `fusion.pool_norm`, those of
      MSCADC's heads, and of the trunks of I3D, TSM, MSCADC and RICA2 where they are not frozen. A piece is normalised
      by its own mean and variance, and moves the running ones. Over processes both are those of all shares.
    - on random numbers: noise, dropout, hidden texts, the words that SwinBERT and LAVENDER hide, RICA2's samples.
      Pieces and processes draw others than the whole batch would.

    No system's loss compares clips with each other; none is contrastive.

    Where memory is full, the step begins again with half as many clips at once: gradients are dropped, random state and
    running statistics are put back. The smaller number holds for the rest of the run, also when it goes on later.

    Args:
        model: whose parameters learn.
        losses: of a batch, or of a piece that has these shares of one; `total` is the one to minimise.
        inputs: for the clips' names.
        config: `micro_batch` and `clip`.
        folder: where a run keeps what it learnt of memory, in memory.json.
        report: told when memory is full.
    """

    def __init__(
        self,
        model: nn.Module,
        losses: Losses,
        inputs: TrainingInputs,
        config: TrainingConfig,
        folder: Path,
        report: Callable[[str], None],
    ):
        self.model, self.losses, self.inputs, self.config = model, losses, inputs, config
        self.folder, self.report = folder, report
        limits = (config.micro_batch, processes.agreed(micro_batch(folder)))
        self.limit = min((n for n in limits if n), default=0)  # clips at once in one process; 0: all
        self.hidden = float(getattr(getattr(model, "bert", None), "share", 0.0))  # words that a masked model predicts

    def of(self, batch: Batch, epoch: int, step: int) -> dict[str, float]:
        """Fills each parameter's gradient, clipped, and returns the whole batch's losses by name.

        Raises:
            Diverged: a loss, before its gradient is taken, or the gradient is no finite number.
            InputError: memory does not hold the smallest piece.
        """
        count = processes.count()
        own = pieces.part_of(batch, processes.rank(), count) if count > 1 else batch
        with processes.joint_norms(self.model):
            while True:
                before = _Before(self.model)
                sums: dict[str, float] = {}
                code, fault = self._attempt(own, batch, sums)
                if code == processes.FINE:
                    break
                self.model.zero_grad(set_to_none=True)
                if code == processes.NOT_FINITE:
                    raise diverged(*(processes.heard(fault) or ((), [])), self.inputs, epoch, step)
                before.restore()
                pieces.free_memory()
                self._halve(len(batch["row"]))
        processes.sum_gradients(self.model.parameters())
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if not torch.isfinite(norm):
            self.model.zero_grad(set_to_none=True)
            raise diverged(("gradient",), batch["row"].tolist(), self.inputs, epoch, step)
        return dict(zip(sums, processes.added(list(sums.values())), strict=True))

    def _attempt(
        self, own: Batch, whole: Batch, sums: dict[str, float]
    ) -> tuple[int, tuple[tuple[str, ...], list[int]] | None]:
        """How it went, in the worst process, and what in this one is no finite number: parts of the loss, and rows."""
        fault = None
        try:
            self._add_up(own, whole, sums)
            code = processes.FINE
        except processes.Stopped as stopped:
            return stopped.code, None
        except _NotFiniteError as error:
            code, fault = processes.NOT_FINITE, (error.parts, error.rows)
        except RuntimeError as error:
            if not pieces.no_memory(error):
                raise
            code = processes.NO_MEMORY
        return processes.worst(code), fault

    def _add_up(self, own: Batch, whole: Batch, sums: dict[str, float]) -> None:
        number = self._number(len(whole["row"]), self.limit)
        for i in range(number):
            piece = pieces.part_of(own, i, number) if number > 1 else own
            shares = None if piece is whole else pieces.shares_of(piece, whole, self.hidden)
            parts = self.losses(piece, shares)
            if bad := not_finite(parts):
                raise _NotFiniteError(bad, piece["row"].tolist())
            parts["total"].backward()
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.item()

    def _number(self, clips: int, limit: int) -> int:
        """Into how many pieces every process cuts its share of so many clips."""
        count = processes.count()
        least = pieces.least_clips(self.model) if count == 1 else 1
        return min(clips // count, pieces.number_of_pieces(math.ceil(clips / count), limit, least))

    def _halve(self, clips: int) -> None:
        number, share = self._number(clips, self.limit), math.ceil(clips / processes.count())
        size = math.ceil(share / number)
        smaller = math.ceil(size / 2)
        if self._number(clips, smaller) == number:
            raise InputError(f"memory does not hold {size} clip{'s' * (size > 1)} at once", hint=pieces.MEND)
        self.limit = smaller
        self.report(f"memory is full: {smaller} clips at once instead of {size}, with the gradient of the same batch")
        if processes.main():
            text = json.dumps({"micro_batch": smaller})
            write_safely(self.folder / MEMORY, lambda path: path.write_text(text, encoding="utf-8"))


class _Before:
    """Random state and running statistics before a step, for when it has to begin again."""

    def __init__(self, model: nn.Module):
        norms = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.training]
        self.buffers = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
        self.random = torch.get_rng_state()
        self.on_gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    @torch.no_grad()
    def restore(self) -> None:
        for buffer, value in self.buffers:
            buffer.copy_(value)
        torch.set_rng_state(self.random)
        if self.on_gpu is not None:
            torch.cuda.set_rng_state(self.on_gpu)


class _NotFiniteError(Exception):
    def __init__(self, parts: tuple[str, ...], rows: list[int]):
        super().__init__(parts, rows)
        self.parts, self.rows = parts, rows


def not_finite(parts: dict[str, Tensor]) -> tuple[str, ...]:
    """Names of the losses that are no finite numbers; none where the total is one."""
    if torch.isfinite(parts["total"]):
        return ()
    bad = (name for name, value in parts.items() if name != "total" and not torch.isfinite(value))
    return tuple(bad) or ("further term",)


def diverged(parts: tuple[str, ...], rows: list[int], inputs: TrainingInputs, epoch: int, step: int = 0) -> Diverged:
    """The error that names parts of the loss, the place and the clips; step 0 is validation."""
    clips = tuple(inputs.dataset.table["clip_id"].iloc[rows].head(MAX_NAMED))
    what = "the gradient" if parts == ("gradient",) else f"the loss ({', '.join(parts)})"
    place = f"epoch {epoch}, step {step}" if step else f"validation after epoch {epoch}"
    ids = f"{', '.join(clips)}{', ...' if len(rows) > MAX_NAMED else ''}"
    hint = "set lower training.lr and training.head_lr, or look for broken values in these clips"
    return Diverged(
        f"{what} is no finite number in {place}; clips {ids} ({hint})", epoch=epoch, step=step, clips=clips, parts=parts
    )


def micro_batch(folder: Path) -> int:
    """How many clips at once memory held when the run in `folder` ran out of it; 0: it never did."""
    path = folder / MEMORY
    return int(json.loads(path.read_text(encoding="utf-8"))["micro_batch"]) if path.is_file() else 0
