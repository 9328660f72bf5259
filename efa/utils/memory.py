"""What to do where memory does not hold a batch: the same work, fewer clips at once."""

import math
from collections.abc import Callable
from typing import TypeVar

from accelerate.utils import find_executable_batch_size

from efa.utils.errors import InputError

T = TypeVar("T")
HINT = "set training.checkpointing=true, or take a smaller data.size or model, or more memory"


def halve_on_full_memory(
    work: Callable[[int], T], size: int, on_halving: Callable[[int], object] = lambda size: None
) -> T:
    """`work(size)`, restarted with half the size as often as memory is full; `on_halving` gets each new size.

    `work` gets how many clips to take at once. What it says of a clip must not depend on the others.

    Raises InputError: memory does not hold a single clip.
    """

    def smaller() -> int:
        nonlocal size
        if size == 1:
            raise InputError("memory does not hold a single clip", hint=HINT)
        size = math.ceil(size / 2)
        on_halving(size)
        return size

    return find_executable_batch_size(work, size, smaller)()


def run_in_batches(work: Callable[[slice], T], count: int, size: int) -> list[T]:
    """What `work` returns of each slice of at most `size` places out of `count`, in order; errors as above."""
    return halve_on_full_memory(
        lambda size: [work(slice(start, min(start + size, count))) for start in range(0, count, size)], min(size, count)
    )
