"""A process of its own for whatever is measured."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
IMPORTED = ["benchmarks.parts"]  # once, by the process that the others are forked from


def apart(run: Callable[..., T], *arguments: object, threads: int) -> T:
    """`run(*arguments)` in a process that has imported everything, computed nothing and ends with it.

    It is forked from a server that does nothing else: a process that is started anew would, on Linux, inherit the
    largest memory of the one that started it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with ProcessPoolExecutor(1, context, torch.set_num_threads, (threads,)) as pool:
        return pool.submit(run, *arguments).result()
