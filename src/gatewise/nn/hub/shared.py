"""A layer with an expert that serves every token by a weight of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewise.nn.experts import FFN
from gatewise.nn.layer import MoE


class GatedShared(nn.Module):
    """``layer(x) + sigmoid(v . x) shared(x)``: the shared expert of Qwen2-MoE, ``(*, d) -> (*, d_out)``.

    Parameters
    ----------
    layer : MoE
    hidden : int
        Hidden units of the shared expert, a "swiglu" network without biases.

    Examples
    --------
    >>> GatedShared(MoE(8, 16, 4), hidden=12)(torch.randn(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, layer: MoE, hidden: int) -> None:
        super().__init__()
        self.layer = layer
        self.shared = FFN(1, layer.dim, hidden, layer.dim_out, "swiglu")
        self.gate = nn.Linear(layer.dim, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mixture plus the weighted shared expert; `mask` as in `MoE`."""
        tokens = x.reshape(-1, self.layer.dim)
        shared = torch.sigmoid(self.gate(tokens)) * self.shared(tokens)
        return self.layer(x, mask) + shared.reshape(*x.shape[:-1], -1)
