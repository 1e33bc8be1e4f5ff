"""The calls that lead here: which optimisers step now, and which scaler of the loss called them.

Nothing else connects them. An optimiser does not know that another one calls its ``step``, nor which GradScaler does;
trainers such as those of transformers, Accelerate and Lightning keep their scalers to themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any

from torch.amp.grad_scaler import GradScaler
from torch.optim.optimizer import Optimizer

STEP = Optimizer.profile_hook_step(lambda *_: None).__code__  # around every step


def running_steps() -> int:
    """Return how many steps of optimisers this thread is in, each called by the one before."""
    return sum(1 for _ in _objects(STEP))


def calling_scaler() -> GradScaler | None:
    """Return the GradScaler whose ``step`` this thread is in, if there is one."""
    return next(_objects(GradScaler.step.__code__), None)


def making_state() -> bool:
    """Return whether this thread is in the step of zero gradients by which torch makes an optimiser's state to load."""
    module = sys.modules.get("torch.distributed.checkpoint.state_dict")
    maker = getattr(module, "_init_optim_state", None)
    return maker is not None and any(code is maker.__code__ for code in _codes())


def _codes() -> Iterator[CodeType]:
    """Return the code of all running calls, the innermost first."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        yield frame.f_code


def _objects(code: CodeType) -> Iterator[Any]:
    """Return the `self` of all running calls of a method, the innermost first."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is code:
            yield frame.f_locals["self"]
