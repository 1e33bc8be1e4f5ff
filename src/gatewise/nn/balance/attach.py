"""The gradient of the auxiliary loss and the tally of a call, attached to the output of a layer.

Both belong to its backward pass, so they act without any code of the user, and once even when a pass is recomputed.
Compilers see the loss as operators; elsewhere its derivative is that by hand, which takes less time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.nn.balance.balancer import Balancer
from gatewise.nn.balance.statistics import count
from gatewise.nn.balance.token_sums import SumInputs, pull_back, sums_of, token_sums
from gatewise.nn.dispatch import without_modes
from gatewise.nn.grouped import nothing_watches
from gatewise.nn.router import Router, Routing


def balanced(
    out: Tensor,
    balancer: Balancer,
    router: Router,
    routing: Routing,
    real: Tensor | None = None,
    served: Tensor | None = None,
    length: int | None = None,
    processes: int = 1,
) -> Tensor:
    """Return `out`, whose backward pass adds the gradient of the auxiliary loss of a routing and books its tally.

    Parameters
    ----------
    out : Tensor
        The output of a layer; it is changed in place to one with a history, a copy of it where others hold it.
    balancer : Balancer
    router : Router
    routing : Routing
    real : Tensor (T,), optional
        False for padding.
    served : Tensor (T, S), optional
        False for assignments that found no room.
    length : int, optional
        Number of tokens of a sequence; None: all are one.
    processes : int
        Over how many gradients are averaged.
    """
    acts, by_hand = balancer.has_loss, nothing_watches(out, *routing.log_weights)
    if not torch.compiler.is_compiling() and (out._is_view() or torch._C._len_torch_dispatch_stack()):
        with without_modes():  # they keep what they see; a hook on the experts returns views that may not be changed
            out = out.clone()
    if balancer.now.device != out.device:
        balancer.now = balancer.now.to(out.device)
    with torch.set_grad_enabled(acts and not by_hand):
        sums = token_sums(router, routing, real, balancer.rule.reads_expected_load)
        tally = count(router, routing, sums, served)
        known = balancer.coefficients(by_hand) if acts else None
        slopes = [] if known is None else balancer.slopes(known, sums, processes)
    loss = None if known is None else balancer.other_loss(known, router, routing, sums, length, processes)
    if slopes and by_hand:
        by_values = _Linear(sums.inputs, slopes, sums.parts)
        return _Attach.apply(out, balancer.loss_scale, balancer.now, tally, loss, by_values, *sums.values)
    for slope, part in zip(slopes, sums.sums, strict=True) if slopes else ():
        linear = torch.dot(slope.flatten(), part[0])
        loss = linear if loss is None else linear + loss
    return _Attach.apply(out, balancer.loss_scale, balancer.now, tally, loss)


class _Linear(NamedTuple):
    """The part of a loss that is linear in sums: their inputs and parts, see `TokenSums`, and the slopes in them."""

    inputs: SumInputs
    slopes: Sequence[Tensor]
    parts: Sequence[Tensor]


class _Attach(torch.autograd.Function):
    """Pass a layer's output on; backwards, add to the tally and give the losses the gradient `scale`."""

    @staticmethod
    def forward(
        ctx: Any,
        out: Tensor,
        scale: Tensor,
        now: Tensor,
        tally: Tensor,
        loss: Tensor | None,
        linear: _Linear | None = None,
        *values: Tensor,
    ) -> Tensor:
        ctx.now, ctx.scale, ctx.inputs, ctx.dtype = now, scale, None, None if loss is None else loss.dtype
        if linear is None:
            ctx.save_for_backward(tally)
        else:
            ctx.inputs, ctx.sizes = linear.inputs, (len(linear.slopes), len(linear.parts))
            ctx.save_for_backward(tally, *linear.slopes, *linear.parts, *values)
        ctx.mark_dirty(out)  # as it is, neither a copy nor a view: the caller may add a residual to it in place
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tally, *saved = ctx.saved_tensors
        ctx.now.add_(tally)
        scale = None
        if ctx.dtype is not None:
            scale = ctx.scale.to(gradient.device, ctx.dtype, non_blocking=True, copy=True)
        if ctx.inputs is None:
            return gradient, None, None, None, scale
        first, last = ctx.sizes[0], sum(ctx.sizes)
        slopes, parts, values = [slope * ctx.scale for slope in saved[:first]], saved[first:last], saved[last:]
        return gradient, None, None, None, scale, None, *_gradients(ctx.inputs, values, parts, slopes)


def _gradients(
    inputs: SumInputs, values: list[Tensor], parts: list[Tensor], slopes: list[Tensor]
) -> list[Tensor | None]:
    """Return the gradients in the values that sums are made of, with a history of their own where one is asked for."""
    if not torch.is_grad_enabled():
        return list(pull_back(inputs, values, parts, slopes))
    values = [value.view_as(value) for value in values]  # apart: ranks come from log weights
    wanted = [value for value in values if value.requires_grad]
    sums = [one.view_as(slope) for one, slope in zip(sums_of(inputs, values)[0], slopes, strict=True)]
    found = iter(torch.autograd.grad(sums, wanted, slopes, create_graph=True))
    return [next(found) if value.requires_grad else None for value in values]
