"""What a layer may be called with."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.nn.router import Router


def check_call(router: Router, x: Tensor, mask: Tensor | None, experts: Tensor | None, training: bool) -> None:
    """Raise for what a layer, in training or not, cannot be called with."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x is a {type(x).__name__}: give a tensor (*, {router.dim})")
    if x.is_nested or x.layout != torch.strided:
        kind = "nested" if x.is_nested else f"of the layout {x.layout}"
        raise ValueError(
            f"x is {kind}: give a dense tensor (*, {router.dim}), such as x.to_dense(); of nested sequences "
            "their tokens, x.values(), or padded ones with a mask"
        )
    if x.ndim == 0 or x.shape[-1] != router.dim:
        raise ValueError(f"x has the shape {tuple(x.shape)}: its last dimension must be dim={router.dim}")
    if not x.is_floating_point():
        raise ValueError(f"x has the dtype {x.dtype}: give features in floating point")
    if mask is not None and mask.shape != x.shape[:-1]:
        raise ValueError(f"mask has the shape {tuple(mask.shape)}, x {tuple(x.shape)}: give {tuple(x.shape[:-1])}")
    if mask is not None and mask.is_floating_point():
        raise ValueError(f"mask has the dtype {mask.dtype}: give true for real tokens, false for padding")
    if experts is not None and (experts.ndim != x.ndim or experts.shape[:-1] != x.shape[:-1]):
        wanted = f"({', '.join(map(str, x.shape[:-1]))}, S)"
        raise ValueError(f"experts has the shape {tuple(experts.shape)}, x {tuple(x.shape)}: give {wanted}")
    trains = training and torch.is_grad_enabled()
    if x.ndim > 2 and x.shape[-2] == 1 and not trains and experts is None and router.depends_on_batch:
        raise ValueError(
            f"x has the shape {tuple(x.shape)}, one token of every sequence, as in decoding with a cache, and "
            f"{router.choice.rule} chooses among all tokens of a call: the outputs would not be those of the "
            "whole sequence. Give whole sequences (use_cache=False), or tokens (T, d) if these are; for a causal "
            "model train with a choice that does not depend on the batch, such as TopP or the default"
        )
