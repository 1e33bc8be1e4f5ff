"""Products of rows sorted by expert with the matrices of these experts, and what a batch of networks makes of them.

Of few rows, where most experts have none, every expert that has some is multiplied by itself: grouped products of the
CPU go through all experts.

Suffixes of names: A assignments sorted by expert, E experts.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.nn.memory import LARGE, zeros
from gatewise.nn.units import HiddenUnits

FEW = 8  # experts per row from which on going through those that have rows is faster
GROUPED = hasattr(F, "grouped_mm")
TYPES = (torch.float32, torch.bfloat16, torch.float16)  # of F.grouped_mm


class DispatchPlan(NamedTuple):
    """The assignments sorted by expert, stable in the tokens; empty slots stand behind the last end.

    Attributes
    ----------
    token : Tensor (A,)
        Row of x of every assignment.
    slot : Tensor (A,)
        Where the assignment stood, ``token S + slot``.
    ends : Tensor (E,)
        One past the last assignment of every expert, in int32.
    """

    token: Tensor
    slot: Tensor
    ends: Tensor


def plan(index: Tensor, n_experts: int) -> DispatchPlan:
    """Sort the assignments of ``index (T, S)`` by expert."""
    experts, slot = torch.sort(index.flatten(), stable=True)
    numbers = torch.arange(n_experts, device=index.device)
    ends = torch.searchsorted(experts, numbers, right=True, out_int32=True)
    return DispatchPlan(slot // index.shape[1], slot, ends)


class SortedRows(NamedTuple):
    """Where the rows of every expert stand among A rows.

    Attributes
    ----------
    ends : Tensor (E,)
        One past the last row of every expert, in int32.
    filled : list of (int, int, int), optional
        Of few rows: the experts that have some, with their first row and one past their last.
    """

    ends: Tensor
    filled: list[tuple[int, int, int]] | None


def few(rows: int, experts: int) -> bool:
    """Return whether so few rows are there that most experts have none."""
    return FEW * rows <= experts


def groups_of(ends: Tensor, rows: int) -> SortedRows:
    """Return the groups of sorted rows."""
    by_expert = few(rows, ends.shape[0]) and ends.device.type == "cpu"
    return SortedRows(ends, filled_groups(ends) if by_expert else None)


def filled_groups(ends: Tensor) -> list[tuple[int, int, int]]:
    """Return expert, begin and end of the groups that have rows (on the CPU)."""
    stops, begin, found = ends.tolist(), 0, []
    while begin < stops[-1]:
        expert = bisect_right(stops, begin)
        found.append((expert, begin, stops[expert]))
        begin = stops[expert]
    return found


def multiplied(rows: Tensor, weight: Tensor, groups: SortedRows) -> Tensor:
    """Return ``rows_a weight_e(a)`` for rows sorted by expert."""
    if groups.filled is None:
        return F.grouped_mm(rows, weight, offs=groups.ends)
    out = rows.new_empty(rows.shape[0], weight.shape[2])
    for e, begin, end in groups.filled:
        torch.mm(rows[begin:end], weight[e], out=out[begin:end])
    return out


def outer(rows: Tensor, gradient: Tensor, weight: Tensor, groups: SortedRows) -> Tensor:
    """Return the gradients ``rows_e' gradient_e`` of the weights of every expert."""
    small = weight.device.type != "cpu" or weight.numel() * weight.element_size() < LARGE
    if groups.filled is None and small:
        return F.grouped_mm(rows.mT, gradient, offs=groups.ends)
    out = zeros(weight.shape, weight)
    for e, begin, end in groups.filled or filled_groups(groups.ends):
        torch.mm(rows[begin:end].T, gradient[begin:end], out=out[e])
    return out


def forward(
    x: Tensor,
    w_in: Tensor,
    w_out: Tensor,
    b_in: Tensor | None,
    b_out: Tensor | None,
    order: DispatchPlan,
    weight: Tensor,
    fn: HiddenUnits,
    partial: bool,
) -> tuple[Tensor, Tensor]:
    """Return the weighted sum ``(T, d_out)`` and the values before the activation ``(A, H)``; weights in that order."""
    token, slot, ends = order
    groups = groups_of(ends, token.shape[0])
    expert = None if b_in is None and b_out is None else expert_of(ends, token.shape[0])
    pre = _affine(x.index_select(0, token), w_in, b_in, groups, expert)
    value = _affine(fn.apply(pre), w_out, b_out, groups, expert).mul_(weight.unsqueeze(-1))
    value = _filled_only(value, ends) if partial else value
    return _collect(value, token, slot, x.shape[0]), pre


def backward(
    gradient: Tensor,
    x: Tensor,
    w_in: Tensor,
    w_out: Tensor,
    b_in: Tensor | None,
    b_out: Tensor | None,
    order: DispatchPlan,
    weight: Tensor,
    pre: Tensor,
    fn: HiddenUnits,
    partial: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients in x, w_in, w_out, b_in, b_out and, in that order, weight; see `gatewise.nn.grouped`."""
    token, slot, ends = order
    groups = groups_of(ends, token.shape[0])
    expert = None if b_in is None and b_out is None else expert_of(ends, token.shape[0])
    g, scale = gradient.index_select(0, token), weight.unsqueeze(-1)
    hidden, through = fn.differentiated(pre)
    back = multiplied(g, w_out.mT, groups)
    d_weight = (back * hidden).sum(-1)
    if b_out is not None and expert is not None:
        d_weight = d_weight + (g * b_out.index_select(0, expert)).sum(-1)
    g, d_pre = g.mul_(scale), through(back.mul_(scale))
    if partial:
        g, d_pre, d_weight = (_filled_only(value, ends) for value in (g, d_pre, d_weight))
    d_out = outer(hidden, g, w_out, groups)
    d_in = outer(x.index_select(0, token), d_pre, w_in, groups)
    d_rows = multiplied(d_pre, w_in.mT, groups)
    d_x = _collect(_filled_only(d_rows, ends) if partial else d_rows, token, slot, x.shape[0])
    return d_x, d_in, d_out, _bias_gradient(b_in, d_pre, expert), _bias_gradient(b_out, g, expert), d_weight


def expert_of(ends: Tensor, rows: int) -> Tensor:
    """Return the expert of every sorted assignment, the last one for empty slots."""
    numbers = torch.arange(rows, device=ends.device, dtype=ends.dtype)
    return torch.searchsorted(ends, numbers, right=True, out_int32=True).clamp_max(len(ends) - 1)


def _affine(rows: Tensor, weight: Tensor, bias: Tensor | None, groups: SortedRows, expert: Tensor | None) -> Tensor:
    """Return ``rows_a weight_e(a) + bias_e(a)`` for rows sorted by expert."""
    out = multiplied(rows, weight, groups)
    return out if bias is None or expert is None else out.add_(bias.index_select(0, expert))


def _bias_gradient(bias: Tensor | None, gradient: Tensor, expert: Tensor | None) -> Tensor:
    """Return the sums of the gradients of every expert; empty where there is no bias."""
    if bias is None or expert is None:
        return gradient.new_empty(0)
    return torch.zeros_like(bias).index_add_(0, expert, gradient)


def _filled_only(value: Tensor, ends: Tensor) -> Tensor:
    """Return rows with zero for empty slots, which products leave as the memory was."""
    filled = torch.arange(len(value), device=value.device) < ends[-1]
    return torch.where(filled.reshape(-1, *[1] * (value.ndim - 1)), value, 0.0)


def _collect(value: Tensor, token: Tensor, slot: Tensor, tokens: int) -> Tensor:
    """Add up the rows of every token, in an order that is the same every time.

    Devices add up in no order, and half precision wants one rounding: there the slots are put side by side.
    """
    if value.device.type == "cpu" and value.dtype in (torch.float32, torch.float64):
        return value.new_zeros(tokens, value.shape[1]).index_add_(0, token, value)
    unsorted = torch.empty_like(value).index_copy_(0, slot, value)
    return unsorted.view(tokens, len(slot) // max(tokens, 1), value.shape[1]).sum(1)
