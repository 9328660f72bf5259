"""A batch in pieces: for several processes, or because memory does not hold all of it at once.

Class, verdict and further terms are means over clips, the text is a weighted mean over word pieces. So each piece's
losses count by its share of the clips and of the words, and then add up to those of the whole batch.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch import Tensor, nn

from efa.config import TrainingConfig
from efa.utils.errors import InputError

T = TypeVar("T")
Batch = dict[str, Tensor]
Shares = tuple[float, float]  # of the whole batch's clips, and of what its texts weigh
MEND = "set training.checkpointing=true, or take a smaller data.size or model, or more memory"


def order_for_text_loss(batch: Batch, config: TrainingConfig) -> Batch:
    """The batch in an order in which the explanations that are trained come first, and how much each counts.

    Texts of faulty clips teach more, so more of them are taken; weights make up for it, so that the loss stays that of
    the batch.
    """
    told = batch["tokens"].any(1)  # padding is 0: a clip without a text has none to train
    size, count = len(told), max(1, round(config.text_share * int(told.sum())))
    if config.text_share == 1 or count == size or not told.any():
        return batch
    faulty = batch["quality"] > 0.5
    groups = [torch.nonzero(faulty & told)[:, 0], torch.nonzero(~faulty & told)[:, 0]]
    most = min(len(groups[0]), max(count - len(groups[1]), round(config.text_faulty * count)))
    taken = [groups[0][:most], groups[1][: count - most]]
    order = torch.cat([*taken, groups[0][most:], groups[1][count - most :], torch.nonzero(~told)[:, 0]])
    each = [torch.full((len(part),), len(of) / max(1, len(part))) for part, of in zip(taken, groups, strict=True)]
    weight = torch.cat(each).to(order.device)
    return {name: value[order] for name, value in batch.items()} | {"text_weight": weight, "told": torch.tensor(count)}


def part_of(batch: Batch, first: int, step: int) -> Batch:
    """Every `step`-th clip from `first` on, so that each part gets its share of the texts that are trained."""
    part = {name: value[first::step] for name, value in batch.items() if name != "told"}
    if "told" in batch:
        part["told"] = torch.tensor(len(range(first, int(batch["told"]), step)))
    return part


def text_weight(batch: Batch, hidden: float = 0.0) -> float:
    """What a batch's trained texts weigh: the word pieces to predict, each as often as its clip counts.

    Args:
        hidden: share of the words that a masked language model hides, which are then what it predicts, whatever a clip
            counts; 0: each word is predicted from those before it.
    """
    told = batch["tokens"][: int(batch.get("told", len(batch["tokens"])))]
    if hidden:
        length = (told != 0).sum(1)
        return float((length * hidden).round().clamp(min=1).minimum(length - 1).clamp(min=0).sum())
    words = (told[:, 1:] != 0).sum(1)
    return float((words * batch["text_weight"]).sum() if "text_weight" in batch else words.sum())


def shares_of(part: Batch, whole: Batch, hidden: float = 0.0) -> Shares:
    """How much of `whole` a part is: of its clips, and of its texts (0 where there are none)."""
    texts = text_weight(whole, hidden)
    return len(part["row"]) / len(whole["row"]), text_weight(part, hidden) / texts if texts else 0.0


def least_clips(model: nn.Module) -> int:
    """The fewest clips that `model` can be trained on at once: batch normalisation of vectors needs two."""
    return 2 if any(isinstance(part, nn.BatchNorm1d) and part.training for part in model.modules()) else 1


def number_of_pieces(clips: int, size: int, least: int = 1) -> int:
    """Into how many pieces of at most `size` clips (0: any number) a batch goes; none has fewer than `least`."""
    return max(1, min(math.ceil(clips / size) if size else 1, clips // least))


def no_memory(error: BaseException) -> bool:
    """Whether this says that memory is full, a GPU's or the CPU's."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, Exception) and should_reduce_batch_size(error)
    )


def free_memory() -> None:
    """Gives back what nobody holds any more. Call it behind the `except`: there the error still holds tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Halves:
    """`work` on one run of clips after another, `size` at a time; half as many, from then on, where memory is full."""

    def __init__(self, size: int):
        self.size = size

    def over(self, work: Callable[[slice], T], start: int, stop: int) -> Iterator[tuple[slice, T]]:
        """What `work` returns of each stretch of the places from `start` to `stop`, in order.

        Args:
            work: what it says of a clip must not depend on the others.

        Raises:
            InputError: memory does not hold a single clip.
        """
        while start < stop:
            span = slice(start, min(start + self.size, stop))
            try:
                found = [work(span)]
            except RuntimeError as error:
                if not no_memory(error):
                    raise
                found = []
            if found:
                yield span, found[0]
                start = span.stop
                continue
            if span.stop - span.start == 1:
                raise InputError("memory does not hold a single clip", hint=MEND)
            self.size = math.ceil((span.stop - span.start) / 2)
            free_memory()
