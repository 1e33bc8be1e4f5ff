"""One thread for a block of work, and work in processes of one thread each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import joblib
import torch

R = TypeVar("R")
T = TypeVar("T")


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


def in_processes(work: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    """Do a work on items, in processes if there are several workers, and return what comes out when it ends."""
    if workers <= 1 or len(items) <= 1:
        yield from map(work, items)
        return
    pool = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="2*n_jobs", batch_size=1)
    yield from pool(joblib.delayed(work)(item) for item in items)
