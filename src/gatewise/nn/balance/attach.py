"""The gradient of the auxiliary loss and the tally of a call, attached to the output of a layer.

Both belong to its backward pass, so they act without any code of the user, and once even when a pass is recomputed.
Compilers see the loss as operators; elsewhere its derivative is that by hand, which takes less time.
"""

from __future__ import annotations

from typing import Any

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
    with torch.no_grad():
        tally = count(router, routing, sums, served)
        known = balancer.coefficients() if acts else None
        slopes = None if known is None else balancer.slopes(known, sums, processes)
    loss = None if known is None else balancer.other_loss(known, router, routing, sums, length, processes)
    if slopes is None or not by_hand:
        linear = None if slopes is None else torch.dot(slopes, sums.sums)
        loss = linear if loss is None else loss if linear is None else linear + loss
        return _Attach.apply(out, balancer.loss_scale, balancer.now, tally, loss)
    inputs, values = sums.inputs._replace(values=()), sums.inputs.values
    return _Attach.apply(out, balancer.loss_scale, balancer.now, tally, loss, inputs, slopes, *sums.parts, *values)


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
        inputs: SumInputs | None = None,
        *linear: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(tally, *linear)
        ctx.now, ctx.scale, ctx.inputs, ctx.dtype = now, scale, inputs, None if loss is None else loss.dtype
        ctx.mark_dirty(out)  # as it is, neither a copy nor a view: the caller may add a residual to it in place
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tally, *linear = ctx.saved_tensors
        ctx.now.add_(tally)
        scale = None
        if ctx.dtype is not None:
            scale = ctx.scale.to(gradient.device, ctx.dtype, non_blocking=True, copy=True)
        if ctx.inputs is None:
            return gradient, None, None, None, scale
        slopes, *others = linear
        found = _gradients(ctx.inputs, slopes * ctx.scale, others)
        return gradient, None, None, None, scale, None, None, *[None] * (len(others) - len(found)), *found


def _gradients(inputs: SumInputs, slopes: Tensor, given: list[Tensor]) -> list[Tensor | None]:
    """Return the gradients in the inputs of sums; `given` are the parts of `TokenSums`, then these values."""
    levels, selections = len(inputs.sparse), len(inputs.least)
    parts, values = given[: levels + selections], given[levels + selections :]
    if not torch.is_grad_enabled():
        return list(pull_back(inputs._replace(values=values), parts, slopes))
    values = [value.view_as(value) for value in values]  # apart: ranks come from log weights
    wanted = [value for value in values if value.requires_grad]
    sums = sums_of(inputs._replace(values=values))[0]
    found = iter(torch.autograd.grad(sums, wanted, slopes, create_graph=True))
    return [next(found) if value.requires_grad else None for value in values]
