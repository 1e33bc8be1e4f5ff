"""The operator behind the backend "grouped": a batch of feed-forward networks at sorted tokens, and its derivative.

It is made of grouped matrix products. On the CPU it chooses by size, as measured: grouped products while the hidden
values fit into the cache, else one pass over the experts. Assignments behind the last end are empty slots: nothing is
computed for them, and what stands in their rows is not read.

Compilers, exporters and whatever else watches operators see ``gatewise::feed_forward``. Where nothing watches, a
function of autograd runs the same code: the way through an operator written in Python takes longer than a small layer.

Suffixes of names: T tokens, A assignments sorted by expert, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from gatewise.nn import products
from gatewise.nn.memory import empty, zeros
from gatewise.nn.units import unit

PLAIN = (Tensor, torch.nn.Parameter)
CACHE = 2 * 2**20  # bytes of hidden values up to which products of all experts are faster than a pass over these
EACH = 2**17  # and bytes of those of an expert


def _forward(
    x: Tensor,
    w_in: Tensor,
    w_out: Tensor,
    b_in: Tensor | None,
    b_out: Tensor | None,
    index: Tensor,
    weight: Tensor,
    activation: str,
    keep: bool,
    partial: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the weighted sum ``(T, d_out)``, and what the derivative needs.

    That is, if `keep`, the values before the activation ``(A, H)``; the plan of the dispatch; and the weights in its
    order. `partial` tells that there may be empty slots.
    """
    fn, order = unit(activation), products.plan(index, w_in.shape[0])
    token, slot, ends = order
    weights = weight.flatten().index_select(0, slot)
    weights = weights if weights.dtype == x.dtype else weights.to(x.dtype)
    if _by_products(x, w_in, w_out, token.shape[0]):
        out, pre = products.forward(x, w_in, w_out, b_in, b_out, order, weights, fn, partial)
        return out, pre if keep else pre.new_empty(0, pre.shape[1]), token, slot, ends, weights
    out = x.new_zeros(x.shape[0], w_out.shape[2])
    kept = empty((len(token) if keep else 0, w_in.shape[2]), x)
    for e, begin, end in products.filled_groups(ends):
        rows = x.index_select(0, token[begin:end])
        pre = kept[begin:end] if keep else rows.new_empty(end - begin, w_in.shape[2])
        _matmul(rows, w_in[e], None if b_in is None else b_in[e], pre)
        value = _matmul(fn.apply(pre), w_out[e], None if b_out is None else b_out[e])
        out.index_add_(0, token[begin:end], value.mul_(weights[begin:end, None]))
    return out, kept, token, slot, ends, weights


_operator = torch.library.custom_op("gatewise::feed_forward", mutates_args=())(_forward)


@_operator.register_fake
def _(x, w_in, w_out, b_in, b_out, index, weight, activation, keep, partial):  # type: ignore[no-untyped-def]
    rows = index.numel()
    pre = x.new_empty(rows if keep else 0, w_in.shape[2])
    token, slot = index.new_empty(rows), index.new_empty(rows)
    ends = index.new_empty(w_in.shape[0], dtype=torch.int32)
    return x.new_empty(x.shape[0], w_out.shape[2]), pre, token, slot, ends, x.new_empty(rows)


def _backward(
    gradient: Tensor,
    x: Tensor,
    w_in: Tensor,
    w_out: Tensor,
    b_in: Tensor | None,
    b_out: Tensor | None,
    pre: Tensor,
    token: Tensor,
    slot: Tensor,
    ends: Tensor,
    weight: Tensor,
    activation: str,
    partial: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients in x, w_in, w_out, b_in, b_out (empty for a bias that is not there) and weight ``(T S,)``.

    With hidden units a and the gradient g of a token's output, that of the weight is ``(g W_out') . a + g . b_out``:
    the expert's output is not needed again.
    """
    fn, order = unit(activation), products.DispatchPlan(token, slot, ends)
    if _by_products(x, w_in, w_out, token.shape[0]):
        found = products.backward(gradient, x, w_in, w_out, b_in, b_out, order, weight, pre, fn, partial)
        return (*found[:5], _unsorted(found[5], slot))
    d_x, d_in, d_out = torch.zeros_like(x), zeros(w_in.shape, w_in), zeros(w_out.shape, w_out)
    d_b_in = w_in.new_zeros(b_in.shape if b_in is not None else 0)
    d_b_out = w_in.new_zeros(b_out.shape if b_out is not None else 0)
    d_weight = torch.zeros_like(weight)
    for e, begin, end in products.filled_groups(ends):
        here, scale = token[begin:end], weight[begin:end, None]
        rows, g, before = x.index_select(0, here), gradient.index_select(0, here), pre[begin:end]
        hidden, through = fn.differentiated(before)
        back = torch.mm(g, w_out[e].T)
        d_weight[begin:end] = (back * hidden).sum(-1)
        if b_out is not None:
            d_weight[begin:end] += g @ b_out[e]
        torch.mm(hidden.T, g.mul_(scale), out=d_out[e])
        d_before = through(back.mul_(scale))
        torch.mm(rows.T, d_before, out=d_in[e])
        d_x.index_add_(0, here, torch.mm(d_before, w_in[e].T))
        if b_in is not None:
            torch.sum(d_before, 0, out=d_b_in[e])
        if b_out is not None:
            torch.sum(g, 0, out=d_b_out[e])
    return d_x, d_in, d_out, d_b_in, d_b_out, _unsorted(d_weight, slot)


_backward_operator = torch.library.custom_op("gatewise::feed_forward_backward", mutates_args=())(_backward)


@_backward_operator.register_fake
def _(gradient, x, w_in, w_out, b_in, b_out, pre, token, slot, ends, weight, activation, partial):  # type: ignore[no-untyped-def]
    d_b_in = w_in.new_empty(0) if b_in is None else torch.empty_like(b_in)
    d_b_out = w_in.new_empty(0) if b_out is None else torch.empty_like(b_out)
    d_in, d_out = w_in.new_empty(w_in.shape), w_out.new_empty(w_out.shape)
    return torch.empty_like(x), d_in, d_out, d_b_in, d_b_out, torch.empty_like(weight)


Shape = Sequence[int]


@register_flop_formula(torch.ops.gatewise.feed_forward)
def _flops(x: Shape, w_in: Shape, w_out: Shape, b_in: Any, b_out: Any, index: Shape, *_: Any, **__: Any) -> int:
    """Return the floating-point operations of the products, as torch's flop counter counts them."""
    return 2 * index[0] * index[1] * (w_in[1] * w_in[2] + w_out[1] * w_out[2])


@register_flop_formula(torch.ops.gatewise.feed_forward_backward)
def _flops_back(gradient: Any, x: Any, w_in: Shape, w_out: Shape, b_in: Any, b_out: Any, *rest: Any, **_: Any) -> int:
    return 4 * rest[0][0] * (w_in[1] * w_in[2] + w_out[1] * w_out[2])


def _no_second(ctx, *gradients):  # type: ignore[no-untyped-def]
    raise NotImplementedError("the grouped backend has first derivatives only: use backend='loop' for second ones")


_backward_operator.register_autograd(_no_second)


def _save(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, _, weight, activation, _, partial = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.activation, ctx.partial, ctx.shape = activation, partial, weight.shape


def _save_operator(ctx, inputs, output):  # type: ignore[no-untyped-def]
    _save(ctx, inputs, output)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # only the first output has a gradient: no zeros in the place of the others


def _pull_back(ctx, gradient, *_):  # type: ignore[no-untyped-def]
    if gradient is None:  # what follows has none, as a function of autograd may
        return (None,) * len(ctx.needs_input_grad)
    saved = ctx.saved_tensors
    direct = not torch.is_grad_enabled() and nothing_watches(gradient, *saved[:2])
    run: Any = _backward if direct else _backward_operator
    d_x, d_in, d_out, d_b_in, d_b_out, d_weight = run(gradient.contiguous(), *saved, ctx.activation, ctx.partial)
    d_b_in, d_b_out = None if saved[3] is None else d_b_in, None if saved[4] is None else d_b_out
    return d_x, d_in, d_out, d_b_in, d_b_out, None, d_weight.view(ctx.shape), None, None, None


_operator.register_autograd(_pull_back, setup_context=_save_operator)


class _FeedForward(torch.autograd.Function):
    """The operator where nothing watches."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        output = _forward(*inputs)
        _save(ctx, inputs, output)
        ctx.set_materialize_grads(False)
        return output[0]

    backward = staticmethod(_pull_back)


def feed_forward(x: Tensor, w_in: Tensor, *others: Any, keep: bool, partial: bool) -> Tensor:
    """Return the weighted sum ``(T, d_out)`` of a batch of networks at tokens; arguments as in `_forward`.

    `keep` tells that gradients are wanted.
    """
    direct = nothing_watches(x, w_in)
    if direct and keep:
        out: Tensor = _FeedForward.apply(x, w_in, *others, keep, partial)
    else:
        run: Any = _forward if direct else _operator
        out = run(x, w_in, *others, keep, partial)[0]
    return out


def nothing_watches(*tensors: Tensor) -> bool:
    """Return whether operators just run on plain tensors with values: no compiler, mode or transform sees them."""
    if (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._get_tracing_state() is not None
    ):
        return False
    return not [one for one in tensors if type(one) not in PLAIN or one.is_meta]  # quicker than a generator


def _by_products(x: Tensor, w_in: Tensor, w_out: Tensor, rows: int) -> bool:
    """Return whether products of all rows run, and not one pass over the experts.

    On the CPU they save the calls for every expert, which are most of the time of a small problem, or of experts with
    few rows. A pass is faster where the hidden values of all experts leave the cache. The choice must not depend on
    where weights lie in memory: a layer that is loaded again gives the same bits.
    """
    (experts, inputs, width), (_, hidden, outputs) = w_in.shape, w_out.shape
    if x.device.type != "cpu" or products.few(rows, experts):
        return True
    size = x.element_size()
    if rows * width * size > max(CACHE, EACH * experts) or x.dtype not in products.TYPES or not products.GROUPED:
        return False
    aligned = gcd(inputs, width, hidden, outputs) * size % 16 == 0  # as grouped products want their strides
    return aligned and w_in.is_contiguous() and w_out.is_contiguous()


def _unsorted(value: Tensor, slot: Tensor) -> Tensor:
    """Return values of the sorted assignments ``(A,)`` where these stood."""
    return torch.zeros_like(value).index_add_(0, slot, value)


def _matmul(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    """Return ``rows weight + bias``."""
    return torch.mm(rows, weight, out=out) if bias is None else torch.addmm(bias, rows, weight, out=out)
