"""One thread for small problems: their blocks fit in a cache, and handing them out costs more than it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch

from gatewise.core.mixture import Mixture
from gatewise.core.rows import Rows

P = ParamSpec("P")
R = TypeVar("R")

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
