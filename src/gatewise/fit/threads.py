"""One thread for small problems: their blocks fit in a cache, and handing them out costs more than it gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch

from gatewise.core.mixture import Mixture
from gatewise.core.rows import Rows

P = ParamSpec("P")
R = TypeVar("R")

SMALL = 200_000  # rows up to which one thread is faster


def few_threads(
    fit: Callable[Concatenate[Mixture, Rows, P], R],
) -> Callable[Concatenate[Mixture, Rows, P], R]:
    """Run a fit of few rows on one thread and give torch its threads back."""

    @wraps(fit)
    def run(mixture: Mixture, rows: Rows, /, *args: P.args, **kwargs: P.kwargs) -> R:
        before = torch.get_num_threads()
        if rows.n > SMALL or before == 1:
            return fit(mixture, rows, *args, **kwargs)
        torch.set_num_threads(1)
        try:
            return fit(mixture, rows, *args, **kwargs)
        finally:
            torch.set_num_threads(before)

    return run
