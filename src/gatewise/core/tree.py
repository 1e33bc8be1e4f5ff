"""A tree of gates: level l is the same gate with l more leading dimensions, so depth is one more batch dimension."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from gatewise.core.gates import Gate
from gatewise.core.predictors import Params


def path_log_weights(gates: Sequence[Gate], params: Sequence[Params], x: Tensor) -> Tensor:
    """Return the log probability of every leaf given x: a sum of log weights on the path from the root.

    Parameters
    ----------
    gates : one gate per level
    params : one mapping per level, tensors ``(*B, K_1, ..., K_l, K_{l+1}, *shape)``
    x : Tensor ``(*B, d, n)``

    Returns
    -------
    Tensor ``(*B, K_1, ..., K_L, n)``
    """
    total: Tensor | None = None
    for level, (gate, values) in enumerate(zip(gates, params, strict=True)):
        step = gate.log_weights(values, expand_nodes(x, level))
        total = step if total is None else total.unsqueeze(-2) + step
    assert total is not None
    return total


def expand_nodes(x: Tensor, level: int) -> Tensor:
    """Return x ``(*B, d, n)`` with `level` node dimensions of size one before its last two."""
    for _ in range(level):
        x = x.unsqueeze(-3)
    return x
