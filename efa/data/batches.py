"""A batch in parts: for the text loss, for several processes, and where memory does not hold all of it at once."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from efa.config import TrainingConfig

Batch = dict[str, Tensor]
Shares = tuple[float, float]  # of the whole batch's clips, and of what its texts weigh


def order_for_text_loss(batch: Batch, config: TrainingConfig) -> Batch:
    """The batch with the explanations to train on first: as many as `text_weight` has, one weight for each.

    Texts of faulty clips teach more, so more of them are taken; the weights make the loss that of the batch.
    """
    has_text = batch["tokens"].any(1)  # padding is 0: a clip without a text has none to train
    size, count = len(has_text), max(1, round(config.text_share * int(has_text.sum())))
    if config.text_share == 1 or count == size or not has_text.any():
        return batch
    faulty = batch["quality"] > 0.5
    groups = [torch.nonzero(faulty & has_text)[:, 0], torch.nonzero(~faulty & has_text)[:, 0]]
    most = min(len(groups[0]), max(count - len(groups[1]), round(config.text_faulty * count)))
    taken = [groups[0][:most], groups[1][: count - most]]
    order = torch.cat([*taken, groups[0][most:], groups[1][count - most :], torch.nonzero(~has_text)[:, 0]])
    each = [torch.full((len(part),), len(of) / max(1, len(part))) for part, of in zip(taken, groups, strict=True)]
    return {name: value[order] for name, value in batch.items()} | {"text_weight": torch.cat(each).to(order.device)}


def learnt_texts(batch: Batch) -> Tensor:
    """The tokens [B', L] of the explanations that a batch trains on."""
    return batch["tokens"][: len(batch.get("text_weight", batch["tokens"]))]


def split_batch(
    batch: Batch, model: nn.Module, micro_batch: int, rank: int = 0, processes: int = 1
) -> Iterator[tuple[Batch, Shares | None]]:
    """This process's part of a batch in pieces of at most `micro_batch` clips, each with its shares of the batch.

    Class, verdict and further terms are means over clips, the text is a weighted mean over word pieces. So each piece's
    losses count by its share of the clips and of the words, and then add up to those of the batch. A batch that needs
    no splitting comes as it is, without shares.
    """
    clips = len(batch["row"]) // processes
    norms = any(isinstance(part, nn.BatchNorm1d) and part.training for part in model.modules())
    least = 2 if norms and processes == 1 else 1  # batch normalisation of vectors needs two
    number = max(1, min(math.ceil(len(batch["row"]) / processes / micro_batch), clips // least))
    if number * processes == 1:
        yield batch, None
        return
    hidden = float(getattr(getattr(model, "bert", None), "share", 0.0))  # of the words, that a masked model predicts
    for i in range(number):
        piece = part_of_batch(batch, i * processes + rank, number * processes)
        yield piece, shares_of_batch(piece, batch, hidden)


def part_of_batch(batch: Batch, first: int, step: int) -> Batch:
    """Every `step`-th clip from `first` on, so that each part gets its share of the texts that are trained."""
    return {name: value[first::step] for name, value in batch.items()}


def shares_of_batch(part: Batch, whole: Batch, hidden: float = 0.0) -> Shares:
    """How much of `whole` a part is: of its clips, and of its texts (0 where there are none)."""
    texts = text_weight(whole, hidden)
    return len(part["row"]) / len(whole["row"]), text_weight(part, hidden) / texts if texts else 0.0


def text_weight(batch: Batch, hidden: float = 0.0) -> float:
    """What a batch's trained texts weigh: the word pieces to predict, each as often as its clip counts; or the share
    `hidden` of them, which a masked language model predicts, whatever a clip counts."""
    tokens = learnt_texts(batch)
    if hidden:
        length = (tokens != 0).sum(1)
        return float((length * hidden).round().clamp(min=1).minimum(length - 1).clamp(min=0).sum())
    words = (tokens[:, 1:] != 0).sum(1)
    return float((words * batch["text_weight"]).sum() if "text_weight" in batch else words.sum())
