"""Which of the processes this is that `accelerate launch` has started; known before anything heavy is imported."""

from __future__ import annotations

import os
import sys


def count() -> int:
    """How many processes train one run, 1 without `accelerate launch`."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def rank() -> int:
    """This process's number; 0 is the main one, which alone writes, predicts, scores and prints."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def main() -> bool:
    """Whether this is the main process; the only one is."""
    return rank() == 0


def connected() -> bool:
    """Whether this process has met the others, so that it may fail where they do not."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()
