"""Blocks of ``torch.nn`` transformers: two linear layers among others, and no network to swap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

BLOCKS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


class _Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def network_of(block: Any) -> nn.Module:
    """Return the feed-forward network that a block of torch applies, its dropout left out.

    Raises
    ------
    ValueError
        If it has been replaced already.
    """
    if not isinstance(block.linear1, nn.Linear):
        raise ValueError(f"its linear1 is {type(block.linear1).__name__}: its network has been replaced already")
    fn = block.activation
    inner = fn if isinstance(fn, nn.Module) else _Function(fn)
    return nn.Sequential(block.linear1, inner, block.linear2)


def install(model: nn.Module, block: Any, network: nn.Module) -> None:
    """Put a network in the place of a block's; the dropout behind it stays.

    In evaluation torch computes whole blocks, and encoders of them, by code of its own that reads ``linear1.weight``;
    the block and the encoders of the model are told not to.
    """
    block.linear1, block.linear2 = network, nn.Identity()
    block.activation, block.dropout = nn.Identity(), nn.Identity()
    if isinstance(block, nn.TransformerEncoderLayer):
        block.activation_relu_or_gelu = 0
    for encoder in model.modules():
        if isinstance(encoder, nn.TransformerEncoder) and any(block is one for one in encoder.layers):
            encoder.use_nested_tensor = False
