"""What torch's settings of the moment may not change: every public entry point runs in `standard_torch`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch

from gatewise.objective.rows import Rows
from gatewise.runs.threads import one_thread

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

HOME = os.getpid()  # of the process that imported this
SMALL = 200_000  # rows up to which one thread is faster: their blocks fit in a cache


def forked() -> bool:
    """Return whether this process was forked from the one that imported gatewise.

    The threads of torch's OpenMP pool do not survive a fork, but the pool does not know: a child that hands it work
    waits for ever.
    """
    return os.getpid() != HOME


@contextmanager
def standard_torch(n: int = 0) -> Iterator[None]:
    """Run a block with gradients, on the CPU and on one thread; give torch its settings back.

    So results do not depend on `torch.no_grad`, `torch.inference_mode`, `torch.set_default_device` or
    `torch.set_num_threads`. Settings of one thread only are touched; those of the whole process (default dtype,
    deterministic algorithms, anomaly mode) change nothing here.

    Parameters
    ----------
    n : int
        Rows of a fit: above `SMALL` it keeps torch's threads, unless the process was forked.

    Examples
    --------
    >>> with torch.inference_mode(), standard_torch():
    ...     torch.ones(1, requires_grad=True).sum().requires_grad
    True
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if n <= SMALL or forked():
            stack.enter_context(one_thread())
        yield


def standard_torch_for_rows(
    function: Callable[Concatenate[T, Rows, P], R],
) -> Callable[Concatenate[T, Rows, P], R]:
    """Run a function of something and rows in `standard_torch`; where rows are many, on torch's threads."""

    @wraps(function)
    def run(first: T, rows: Rows, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with standard_torch(rows.n):
            return function(first, rows, *args, **kwargs)

    return run
