"""Whether a tensor is one of many inside ``torch.vmap``, where no shape may depend on its values."""

from __future__ import annotations

import torch
from torch import Tensor

functorch = torch._C._functorch


def batched_gradient(value: Tensor) -> bool:
    """Return whether a gradient stands for several, by vmap or by ``torch.autograd.grad(is_grads_batched=True)``."""
    return functorch.is_legacy_batchedtensor(value) or batched_by_vmap(value)


def batched_by_vmap(value: Tensor) -> bool:
    """Return whether vmap runs over a tensor, inside whatever other transforms of ``torch.func``.

    Examples
    --------
    >>> seen = []
    >>> _ = torch.vmap(lambda x: (seen.append(batched_by_vmap(x)), x)[1])(torch.zeros(3))
    >>> seen, batched_by_vmap(torch.zeros(3))
    ([True], False)
    """
    while functorch.is_functorch_wrapped_tensor(value):
        if functorch.is_batchedtensor(value):
            return True
        value = functorch.get_unwrapped(value)
    return False
