"""A tree of gates: level l is the same gate with l more leading dimensions, so depth is one more batch dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gatewise.core.gates import Gate
from gatewise.core.predictors import Params


def along_paths(steps: Sequence[Tensor], combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine what the branches on the path to every leaf have: ``(*B, nodes, K, n)`` per level -> ``(*B, L, n)``."""
    total = steps[0].squeeze(-3)
    for step in steps[1:]:
        total = combine(total.unsqueeze(-2), step).flatten(-3, -2)
    return total


def path_log_weights(gates: Sequence[Gate], params: Sequence[Params], x: Tensor) -> Tensor:
    """Return the log probability ``(*B, L, n)`` of every leaf at x ``(*B, d, n)``: the sum of log weights on its path.

    The parameters of a level are tensors ``(*B, K_1, ..., K_l, K_{l+1}, *shape)``.
    """
    levels = enumerate(zip(gates, params, strict=True))
    logs = [_by_node(gate.log_weights(values, expand_nodes(x, level)), level) for level, (gate, values) in levels]
    return along_paths(logs, torch.add)


def path_weights(gates: Sequence[Gate], params: Sequence[Params], x: Tensor) -> Tensor:
    """Return the weight of every leaf given x, a product along its path, ``(*B, L, n)``; any link."""
    levels = enumerate(zip(gates, params, strict=True))
    weights = [_by_node(gate.weights(values, expand_nodes(x, level)), level) for level, (gate, values) in levels]
    return along_paths(weights, torch.mul)


def expand_nodes(x: Tensor, level: int) -> Tensor:
    """Return x ``(*B, d, n)`` with `level` node dimensions of size one before its last two."""
    for _ in range(level):
        x = x.unsqueeze(-3)
    return x


def _by_node(value: Tensor, level: int) -> Tensor:
    """Return ``(*B, K_1, ..., K_l, K, n)`` with one dimension for the nodes of the level."""
    return value.unsqueeze(-3) if level == 0 else value.flatten(-2 - level, -3)
