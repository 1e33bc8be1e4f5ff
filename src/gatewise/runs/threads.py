"""One thread for a block of work, and work in processes of one thread each, which end with the process they serve."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import TypeVar

import joblib
import torch

R = TypeVar("R")
T = TypeVar("T")
LOOK = 0.5  # seconds between two looks at whether the parent lives


@contextmanager
def one_thread() -> Iterator[None]:
    """Run a block on one thread and give torch its threads back."""
    before = torch.get_num_threads()
    if before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before > 1:
            torch.set_num_threads(before)


def in_processes(work: Callable[[T], R], items: Sequence[T], workers: int, *, ordered: bool = False) -> Iterator[R]:
    """Do a work on items, in processes if there are several workers, and return what comes out when it ends.

    What is `ordered` comes in the order of the items.

    A process ends within a second of its parent's end, even if that was killed.
    """
    if workers <= 1 or len(items) <= 1:
        yield from map(work, items)
        return
    order = "generator" if ordered else "generator_unordered"
    pool = joblib.Parallel(n_jobs=workers, return_as=order, pre_dispatch="2*n_jobs", batch_size=1)
    yield from pool(joblib.delayed(partial(_while_it_lives, os.getpid(), work))(item) for item in items)


def _while_it_lives(parent: int, work: Callable[[T], R], item: T) -> R:
    """Do a work in a process that ends with its parent."""
    if os.getppid() == parent:  # not a thread of it, nor on another machine
        _watch(parent)
    return work(item)


@cache
def _watch(parent: int) -> None:
    """Start the thread that ends this process once it has another parent: its own has ended.

    On Windows, where a process keeps the number of its parent, the thread waits for ever.
    """

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
