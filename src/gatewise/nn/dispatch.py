"""Dispatch: send every token to its experts and add up the weighted results. Three backends with one contract.

``loop`` calls one expert after the other: any module, any dtype, twice differentiable; the reference. ``grouped``
runs a batch of feed-forward networks in one operator with a derivative of its own: grouped matrix products that never
wait for the device, and for many hidden values on the CPU one pass over the experts. ``dense`` computes
all experts at all tokens and drops what is not needed: no shape depends on the routing, so it exports, and the
transforms of ``torch.func`` apply.

An expert whose number is E or more is nobody: a slot with it is empty, its weight is not read, and nothing is computed.

Suffixes of names: T tokens, S slots, A = T S assignments, E experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _disable_current_modes

from gatewise.core.transforms import batched_by_vmap
from gatewise.nn.grouped import feed_forward
from gatewise.nn.products import plan
from gatewise.nn.units import unit

BACKENDS = ("auto", "loop", "grouped", "dense")
Expert = Callable[[Tensor], Tensor]
Parts = tuple[Tensor, Tensor, Tensor | None, Tensor | None]  # w_in, w_out, b_in, b_out


def served(index: Tensor, n_experts: int, capacity: int, real: Tensor | None = None) -> Tensor:
    """Return which assignments ``(T, S)`` an expert with room for `capacity` tokens serves, padding last.

    Experts serve real tokens before padding and earlier tokens before later ones. Slots with the expert `n_experts` are
    empty.
    """
    if in_onnx_export():
        raise ValueError(
            "a limited capacity cannot be exported to ONNX: set layer.capacity = None, for the export only"
        )
    padded = torch.zeros_like(index[:, 0]) if real is None else (~real).long()
    key = (index * 2 + padded[:, None]).flatten()
    ordered, slot = torch.sort(key, stable=True)
    begins = torch.searchsorted(ordered, 2 * torch.arange(n_experts + 1, device=index.device))
    position = torch.arange(slot.shape[0], device=index.device) - begins[ordered // 2]
    kept = torch.empty_like(position, dtype=torch.bool).scatter_(0, slot, position < capacity)
    return kept.view_as(index)


def packed(index: Tensor, weight: Tensor, n_experts: int) -> tuple[Tensor, Tensor]:
    """Return experts and weights ``(T, S)`` without the slots that no token needs, which takes their number.

    Compilers, exports and transforms keep all slots, for no shape may depend on the values there.
    """
    if index.shape[1] < 2 or torch.compiler.is_compiling() or transformed() or in_onnx_export():
        return index, weight
    empty = index >= n_experts
    known = len(index) > 0 and index.device.type != "meta"
    most = index.shape[1] - int(empty.sum(1).min()) if known else index.shape[1]
    if most == index.shape[1]:
        return index, weight
    first = torch.sort(empty, dim=1, stable=True).indices[:, : max(most, 1)]
    return index.gather(1, first), weight.gather(1, first)


def weighed_inputs(tokens: Tensor, index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a token per slot, times its weight, for one expert each: those without weight add nothing."""
    rows = tokens[:, None] * weight[..., None].to(tokens.dtype)
    return rows.flatten(0, 1), index.reshape(-1, 1), (weight != 0).to(weight.dtype).reshape(-1, 1)


def of_identity(tokens: Tensor, index: Tensor, weight: Tensor, first: int, number: int) -> Tensor:
    """Return what experts that return their input add, `number` of them from `first` on: the input times weights."""
    inside = (index >= first) & (index < first + number)
    return tokens * weight.masked_fill(~inside, 0).sum(-1, keepdim=True).to(tokens.dtype)


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
    """Return whether a transform of ``torch.func``, such as vmap, or forward mode is at work, and no compiler."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def in_onnx_export() -> bool:
    """Return whether an export to ONNX is at work; it traces or compiles, and to ask torch itself takes longer."""
    traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    return traced and torch.onnx.is_in_onnx_export()


def without_modes() -> AbstractContextManager[Any]:
    """Return a context in which no mode, such as one that counts or keeps what operators return, sees them."""
    return _disable_current_modes() if torch._C._len_torch_dispatch_stack() else nullcontext()


def chosen_backend(x: Tensor, batch: bool, everyone: bool) -> str:
    """Return the backend that runs a batch of networks, or experts that are modules, on x.

    In exports to ONNX, whose operators know no grouped product, and inside the transforms of ``torch.func`` no shape
    may depend on the routing; experts that are modules and all serve `everyone` have no rows to sort.
    """
    if transformed() or in_onnx_export():
        return "dense"
    if not batch:
        return "dense" if everyone or torch.compiler.is_exporting() else "loop"
    return "loop" if grouped_reason(x) else "grouped"


def loop(x: Tensor, index: Tensor, weight: Tensor, experts: Sequence[Expert]) -> Tensor:
    """Return ``sum_s weight[t, s] expert_{index[t, s]}(x_t)``, expert by expert: ``(T, d) -> (T, d_out)``.

    Every expert is called, with no rows if need be, so that all parameters take part in every backward pass.
    """
    if not torch.compiler.is_compiling() and batched_by_vmap(index):
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
    none = weight.new_zeros(index.shape[0], n_experts + 1)  # the last column is nobody's
    index = index.clamp_max(n_experts)
    chosen = none.scatter(1, index, torch.ones_like(weight)) > 0
    return chosen[:, :n_experts], none.scatter_add(1, index, weight)[:, :n_experts]


def grouped(x: Tensor, index: Tensor, weight: Tensor, parts: Parts, activation: str, partial: bool = False) -> Tensor:
    """Return what `loop` returns, for a batch of feed-forward networks, by one operator.

    `partial` tells that slots may be empty.
    """
    keep = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (x, weight, *parts))
    return feed_forward(x, *parts, index, weight, activation, keep=keep, partial=partial)
