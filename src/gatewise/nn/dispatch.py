"""Dispatch: send every token to its experts and add up the weighted results. Three backends with one contract.

``loop`` calls one expert after the other: any module, any dtype, twice differentiable; the reference. ``grouped``
runs a batch of feed-forward networks in one operator with a derivative of its own: on the CPU one pass over the
experts with their rows in cache, elsewhere grouped matrix products that never wait for the device. ``dense`` computes
all experts at all tokens and drops what is not needed: no shape depends on the routing, so it exports, and the
transforms of ``torch.func`` apply.

Suffixes of names: T tokens, S slots, A = T S assignments, E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from gatewise.core.transforms import batched_by_vmap
from gatewise.nn.memory import empty
from gatewise.nn.units import unit

BACKENDS = ("auto", "loop", "grouped", "dense")
Expert = Callable[[Tensor], Tensor]
Parts = tuple[Tensor, Tensor, Tensor | None, Tensor | None]  # w_in, w_out, b_in, b_out


class DispatchPlan(NamedTuple):
    """The assignments sorted by expert, stable in the tokens.

    Attributes
    ----------
    token : Tensor (A,)
        Row of x of every assignment.
    slot : Tensor (A,)
        Where the assignment stood, ``token S + slot``.
    ends : Tensor (E,)
        One past the last assignment of every expert.
    """

    token: Tensor
    slot: Tensor
    ends: Tensor


def plan(index: Tensor, n_experts: int) -> DispatchPlan:
    """Sort the assignments of ``index (T, S)`` by expert."""
    sorted_experts, slot = torch.sort(index.flatten(), stable=True)
    ends = torch.searchsorted(sorted_experts, torch.arange(n_experts, device=index.device), right=True)
    return DispatchPlan(slot // index.shape[1], slot, ends)


def served(index: Tensor, n_experts: int, capacity: int, real: Tensor | None = None) -> Tensor:
    """Return which assignments ``(T, S)`` an expert with room for `capacity` tokens serves, padding last.

    Experts serve real tokens before padding and earlier tokens before later ones.
    """
    if torch.onnx.is_in_onnx_export():
        raise ValueError(
            "a limited capacity cannot be exported to ONNX: set layer.capacity = None, for the export only"
        )
    padded = torch.zeros_like(index[:, 0]) if real is None else (~real).long()
    key = (index * 2 + padded[:, None]).flatten()
    ordered, slot = torch.sort(key, stable=True)
    begins = torch.searchsorted(ordered, 2 * torch.arange(n_experts, device=index.device))
    position = torch.arange(slot.shape[0], device=index.device) - begins[ordered // 2]
    kept = torch.empty_like(position, dtype=torch.bool).scatter_(0, slot, position < capacity)
    return kept.view_as(index)


def grouped_reason(x: Tensor) -> str:
    """Return why the grouped backend cannot run on x; empty if it can."""
    if x.device.type == "cpu":
        return ""
    if not hasattr(F, "grouped_mm"):
        return f"torch {torch.__version__} has no F.grouped_mm"
    if x.dtype == torch.float64:
        return "F.grouped_mm has no float64"
    return ""


def transformed() -> bool:
    """Return whether a transform of ``torch.func`` is at work, such as vmap or grad, and no compiler."""
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def chosen_backend(x: Tensor, batch: bool, everyone: bool) -> str:
    """Return the backend that runs a batch of networks, or experts that are modules, on x.

    In exports to ONNX, whose operators know no grouped product, and inside the transforms of ``torch.func`` no shape
    may depend on the routing; experts that are modules and all serve `everyone` have no rows to sort.
    """
    if transformed() or torch.onnx.is_in_onnx_export():
        return "dense"
    if not batch:
        return "dense" if everyone or torch.compiler.is_exporting() else "loop"
    return "loop" if grouped_reason(x) else "grouped"


def loop(x: Tensor, index: Tensor, weight: Tensor, experts: Sequence[Expert]) -> Tensor:
    """Return ``sum_s weight[t, s] expert_{index[t, s]}(x_t)``, expert by expert: ``(T, d) -> (T, d_out)``.

    Every expert is called, with no rows if need be, so that all parameters take part in every backward pass.
    """
    if batched_by_vmap(index):
        raise ValueError("the loop over experts inside torch.vmap: its rows depend on the routing; use backend='dense'")
    sorted_by = plan(index, len(experts))
    weights = weight.flatten()[sorted_by.slot].to(x.dtype)
    ends = sorted_by.ends.tolist()
    total: Tensor | None = None
    for expert, begin, end in zip(experts, [0, *ends[:-1]], ends, strict=True):
        token = sorted_by.token[begin:end]
        value = expert(x.index_select(0, token))
        _check_rows(value, end - begin, total)
        total = value.new_zeros(x.shape[0], value.shape[1]) if total is None else total
        total = total.index_add(0, token, value * weights[begin:end, None])
    assert total is not None
    return total


def _check_rows(value: Tensor, rows: int, total: Tensor | None) -> None:
    """Raise for what an expert returned if it is no tensor with a row per token, as wide as that of the others."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"an expert returned a {type(value).__name__}: wrap it so that it returns one tensor (n, d_out)"
        )
    width = value.shape[-1:] if total is None else total.shape[-1:]
    if value.ndim != 2 or value.shape != (rows, *width):
        wide = "d_out" if total is None else total.shape[-1]
        raise ValueError(
            f"an expert returned the shape {tuple(value.shape)} for {rows} tokens: it must be ({rows}, {wide})"
        )


def dense(x: Tensor, index: Tensor, weight: Tensor, experts: Sequence[Expert]) -> Tensor:
    """Return what `loop` returns, every expert called with all tokens."""
    total: Tensor | None = None
    chosen, factor = _dense_weights(index, weight.to(x.dtype), len(experts))
    for expert, here, own in zip(experts, chosen.T, factor.T, strict=True):
        value = expert(x)
        _check_rows(value, x.shape[0], total)
        part = torch.where(here[:, None], value, 0.0) * own[:, None]
        total = part if total is None else total + part
    assert total is not None
    return total


def dense_batch(x: Tensor, index: Tensor, weight: Tensor, parts: Parts, activation: str) -> Tensor:
    """Return what `loop` returns, for a batch of feed-forward networks: all of them at all tokens."""
    w_in, w_out, b_in, b_out = parts
    pre = x @ w_in if b_in is None else x @ w_in + b_in[:, None]
    value = unit(activation).apply(pre) @ w_out
    value = value if b_out is None else value + b_out[:, None]  # (E, T, d_out)
    chosen, factor = _dense_weights(index, weight.to(x.dtype), len(w_in))
    return torch.einsum("eto,te->to", torch.where(chosen.T[..., None], value, 0.0), factor)


def _dense_weights(index: Tensor, weight: Tensor, n_experts: int) -> tuple[Tensor, Tensor]:
    """Return for all experts ``(T, E)`` whether they serve a token, and their weights, zero where they do not."""
    none = weight.new_zeros(index.shape[0], n_experts)
    chosen = none.scatter(1, index, torch.ones_like(weight)) > 0
    return chosen, none.scatter(1, index, weight)


def grouped(x: Tensor, index: Tensor, weight: Tensor, parts: Parts, activation: str) -> Tensor:
    """Return what `loop` returns, for a batch of feed-forward networks, by one operator."""
    sorted_by = plan(index, len(parts[0]))
    weights = weight.flatten()[sorted_by.slot].to(x.dtype)
    keep = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (x, weights, *parts))
    return feed_forward(x, *parts, sorted_by.token, sorted_by.slot, sorted_by.ends, weights, activation, keep)[0]


@torch.library.custom_op("gatewise::feed_forward", mutates_args=())
def feed_forward(
    x: Tensor,
    w_in: Tensor,
    w_out: Tensor,
    b_in: Tensor | None,
    b_out: Tensor | None,
    token: Tensor,
    slot: Tensor,
    ends: Tensor,
    weight: Tensor,
    activation: str,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Return the weighted sum ``(T, d_out)`` and, if `keep`, the values before the activation ``(A, H)``."""
    fn = unit(activation)
    if x.device.type != "cpu":
        rows = x.index_select(0, token)
        pre = _affine_groups(rows, w_in, b_in, ends)
        value = _affine_groups(fn.apply(pre), w_out, b_out, ends) * weight[:, None]
        return _collect(value, slot, x.shape[0]), pre if keep else pre.new_empty(0, pre.shape[1])
    out = x.new_zeros(x.shape[0], w_out.shape[2])
    kept = empty((len(token) if keep else 0, w_in.shape[2]), x)
    for e, begin, end in _groups(ends):
        rows = x.index_select(0, token[begin:end])
        pre = kept[begin:end] if keep else rows.new_empty(end - begin, w_in.shape[2])
        _matmul(rows, w_in[e], None if b_in is None else b_in[e], pre)
        value = _matmul(fn.apply(pre), w_out[e], None if b_out is None else b_out[e])
        out.index_add_(0, token[begin:end], value.mul_(weight[begin:end, None]))
    return out, kept


@feed_forward.register_fake
def _(x, w_in, w_out, b_in, b_out, token, slot, ends, weight, activation, keep):  # type: ignore[no-untyped-def]
    rows = token.shape[0] if keep else 0
    return x.new_empty(x.shape[0], w_out.shape[2]), x.new_empty(rows, w_in.shape[2])


@torch.library.custom_op("gatewise::feed_forward_backward", mutates_args=())
def feed_forward_backward(
    gradient: Tensor,
    x: Tensor,
    w_in: Tensor,
    w_out: Tensor,
    b_in: Tensor | None,
    b_out: Tensor | None,
    token: Tensor,
    slot: Tensor,
    ends: Tensor,
    weight: Tensor,
    pre: Tensor,
    activation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients in x, w_in, w_out, b_in, b_out and weight (empty for a bias that is not there).

    With hidden units a and the gradient g of a token's output, that of the weight is ``(g W_out') . a + g . b_out``:
    the expert's output is not needed again.
    """
    fn = unit(activation)
    if x.device.type != "cpu":
        return _backward_groups(gradient, x, w_in, w_out, b_in, b_out, token, slot, ends, weight, pre, fn)
    d_x, d_in, d_out = torch.zeros_like(x), empty(w_in.shape, w_in), empty(w_out.shape, w_out)
    d_b_in = w_in.new_zeros(b_in.shape if b_in is not None else 0)
    d_b_out = w_in.new_zeros(b_out.shape if b_out is not None else 0)
    d_weight = torch.empty_like(weight)
    idle = set(range(len(ends)))
    for e, begin, end in _groups(ends):
        idle.discard(e)
        here, scale = token[begin:end], weight[begin:end, None]
        rows, g, before = x.index_select(0, here), gradient.index_select(0, here), pre[begin:end]
        hidden = fn.apply(before)
        back = torch.mm(g, w_out[e].T)
        d_weight[begin:end] = (back * hidden).sum(-1)
        if b_out is not None:
            d_weight[begin:end] += g @ b_out[e]
        torch.mm(hidden.T, g.mul_(scale), out=d_out[e])
        d_before = fn.pull_back(back.mul_(scale), before)
        torch.mm(rows.T, d_before, out=d_in[e])
        d_x.index_add_(0, here, torch.mm(d_before, w_in[e].T))
        if b_in is not None:
            torch.sum(d_before, 0, out=d_b_in[e])
        if b_out is not None:
            torch.sum(g, 0, out=d_b_out[e])
    for e in idle:
        d_in[e].zero_()
        d_out[e].zero_()
    return d_x, d_in, d_out, d_b_in, d_b_out, d_weight


@feed_forward_backward.register_fake
def _(gradient, x, w_in, w_out, b_in, b_out, token, slot, ends, weight, pre, activation):  # type: ignore[no-untyped-def]
    d_b_in = w_in.new_empty(0) if b_in is None else torch.empty_like(b_in)
    d_b_out = w_in.new_empty(0) if b_out is None else torch.empty_like(b_out)
    d_in, d_out = w_in.new_empty(w_in.shape), w_out.new_empty(w_out.shape)
    return torch.empty_like(x), d_in, d_out, d_b_in, d_b_out, torch.empty_like(weight)


Shape = Sequence[int]


@register_flop_formula(torch.ops.gatewise.feed_forward)
def _flops(x: Shape, w_in: Shape, w_out: Shape, b_in: Any, b_out: Any, token: Shape, *_: Any, **__: Any) -> int:
    """Return the floating-point operations of the products, as torch's flop counter counts them."""
    return 2 * token[0] * (w_in[1] * w_in[2] + w_out[1] * w_out[2])


@register_flop_formula(torch.ops.gatewise.feed_forward_backward)
def _flops_back(gradient: Any, x: Any, w_in: Shape, w_out: Shape, b_in: Any, b_out: Any, *rest: Any, **_: Any) -> int:
    return 4 * rest[0][0] * (w_in[1] * w_in[2] + w_out[1] * w_out[2])


def _no_second(ctx, *gradients):  # type: ignore[no-untyped-def]
    raise NotImplementedError("the grouped backend has first derivatives only: use backend='loop' for second ones")


feed_forward_backward.register_autograd(_no_second)


def _save(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, activation, _ = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.activation = activation
    ctx.mark_non_differentiable(output[1])


def _pull_back(ctx, gradient, _):  # type: ignore[no-untyped-def]
    x, w_in, w_out, b_in, b_out, token, slot, ends, weight, pre = ctx.saved_tensors
    found = feed_forward_backward(
        gradient.contiguous(), x, w_in, w_out, b_in, b_out, token, slot, ends, weight, pre, ctx.activation
    )
    d_x, d_in, d_out, d_b_in, d_b_out, d_weight = found
    d_b_in, d_b_out = None if b_in is None else d_b_in, None if b_out is None else d_b_out
    return d_x, d_in, d_out, d_b_in, d_b_out, None, None, None, d_weight, None, None


feed_forward.register_autograd(_pull_back, setup_context=_save)


def _groups(ends: Tensor) -> list[tuple[int, int, int]]:
    """Return expert, begin and end of the groups that have rows (on the CPU)."""
    stops = ends.tolist()
    return [(e, b, s) for e, (b, s) in enumerate(zip([0, *stops[:-1]], stops, strict=True)) if s > b]


def _matmul(rows: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    """Return ``rows weight + bias``."""
    return torch.mm(rows, weight, out=out) if bias is None else torch.addmm(bias, rows, weight, out=out)


def _affine_groups(rows: Tensor, weight: Tensor, bias: Tensor | None, ends: Tensor) -> Tensor:
    """Return ``rows_a weight_e(a) + bias_e(a)`` for rows sorted by expert."""
    out = F.grouped_mm(rows, weight, offs=ends.to(torch.int32))
    return out if bias is None else out + bias.index_select(0, _expert_of(ends, len(rows)))


def _expert_of(ends: Tensor, rows: int) -> Tensor:
    """Return the expert of every sorted assignment."""
    return torch.searchsorted(ends, torch.arange(rows, device=ends.device), right=True)


def _collect(value: Tensor, slot: Tensor, tokens: int) -> Tensor:
    """Add up the slots of every token in their order, so that the sum is the same every time."""
    unsorted = torch.empty_like(value).index_copy_(0, slot, value)
    return unsorted.view(tokens, -1, value.shape[1]).sum(1)


def _backward_groups(gradient, x, w_in, w_out, b_in, b_out, token, slot, ends, weight, pre, fn):  # type: ignore[no-untyped-def]
    """Return the gradients by grouped matrix products; see `feed_forward_backward`."""
    offs = ends.to(torch.int32)
    rows, g, scale = x.index_select(0, token), gradient.index_select(0, token), weight[:, None]
    hidden = fn.apply(pre)
    back = F.grouped_mm(g, w_out.mT, offs=offs)
    d_weight = (back * hidden).sum(-1)
    expert = None if b_in is None and b_out is None else _expert_of(ends, len(rows))
    if b_out is not None:
        d_weight = d_weight + (g * b_out.index_select(0, expert)).sum(-1)
    g = g * scale
    d_out = F.grouped_mm(hidden.mT, g, offs=offs)
    d_pre = fn.pull_back(back * scale, pre)
    d_in = F.grouped_mm(rows.mT, d_pre, offs=offs)
    d_x = _collect(F.grouped_mm(d_pre, w_in.mT, offs=offs), slot, x.shape[0])
    empty = w_in.new_empty(0)
    d_b_in = empty if b_in is None or expert is None else torch.zeros_like(b_in).index_add_(0, expert, d_pre)
    d_b_out = empty if b_out is None or expert is None else torch.zeros_like(b_out).index_add_(0, expert, g)
    return d_x, d_in, d_out, d_b_in, d_b_out, d_weight
