"""One thread for small problems: their blocks fit in a cache, and handing them out costs more than it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import joblib
import torch

from gatewise.core.mixture import Mixture
from gatewise.core.rows import Rows

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

SMALL = 200_000  # rows up to which one thread is faster


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


def few_threads(
    fit: Callable[Concatenate[Mixture, Rows, P], R],
) -> Callable[Concatenate[Mixture, Rows, P], R]:
    """Run a fit of few rows on one thread and give torch its threads back."""

    @wraps(fit)
    def run(mixture: Mixture, rows: Rows, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with nullcontext() if rows.n > SMALL else one_thread():
            return fit(mixture, rows, *args, **kwargs)

    return run


def in_processes(work: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    """Do a work on items, in processes if there are several workers, and return what comes out when it ends."""
    if workers <= 1 or len(items) <= 1:
        yield from map(work, items)
        return
    pool = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="2*n_jobs", batch_size=1)
    yield from pool(joblib.delayed(work)(item) for item in items)
