"""Feed-forward networks read off modules: their weights, and the activation with which these give what they compute."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from inspect import Parameter, signature
from itertools import permutations
from math import isnan
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatewise.nn.units import UNITS, unit

GATED = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"), ("wi_0", "wi_1", "wo"))
TOLERANCE = 1e-6  # relative error, in float64, within which two networks are the same
# What modules raise that are called with rows alone, and want more or others.
UNCALLABLE = (TypeError, AttributeError, RuntimeError, ValueError, AssertionError, LookupError)
TRANSPOSED = "Conv1D"  # the linear layer of GPT-2, whose weight is (inputs, outputs)


class Dense(NamedTuple):
    """A feed-forward network ``W_out fn(W_in x + b_in) + b_out`` read from a module; weights are ``(inputs, outputs)``.

    Of a gated one ``w_in`` has twice as many columns: those inside the activation first.
    """

    w_in: Tensor
    w_out: Tensor
    b_in: Tensor | None
    b_out: Tensor | None
    activation: str

    @property
    def gated(self) -> bool:
        """Whether half of the columns of ``w_in`` gate the others."""
        return self.w_in.shape[1] != self.w_out.shape[0]

    def __call__(self, x: Tensor) -> Tensor:
        pre = x @ self.w_in if self.b_in is None else x @ self.w_in + self.b_in
        out = unit(self.activation).apply(pre) @ self.w_out
        return out if self.b_out is None else out + self.b_out


def read_ffn(module: nn.Module) -> Dense:
    """Read the weights of a feed-forward network off a module, and its activation off what the module computes.

    The module holds two linear layers, or three, of which two lead to the hidden units. Linear layers are
    ``torch.nn.Linear``, the ``Conv1D`` of GPT-2, and modules with ``in_features`` and ``out_features``, such as linear
    layers with adapters (LoRA), whose sum is read. A copy of the module with random weights is compared with every
    activation of `FFN` on random rows, in every order of the layers, so a module that does anything else, such as a
    residual sum, is refused. Dropout is no part of the network.

    Raises
    ------
    ValueError
        If the module is no such network.

    Examples
    --------
    >>> read_ffn(nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 3))).activation
    'silu'
    """
    linear = linear_layers(module)
    orders = _orders(module, linear)
    order, activation = _reading(module, orders)
    return _weights([linear[name] for name in order])._replace(activation=activation)


def linear_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return the linear layers of a module by name, in the order of their definition; those with adapters as one."""
    found: dict[str, nn.Module] = {}
    for name, one in module.named_modules():
        if is_linear(one) and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = one
    return found


def is_linear(module: nn.Module) -> bool:
    """Return whether a module is an affine map of its inputs: its class or its attributes say so."""
    widths = (getattr(module, name, None) for name in ("in_features", "out_features"))
    return type(module).__name__ == TRANSPOSED or all(isinstance(width, int) for width in widths)


def holds_ffn(module: nn.Module) -> bool:
    """Return whether a module looks like a feed-forward network and nothing more, by its linear layers."""
    linear = linear_layers(module)
    inside = sum(len(list(one.parameters())) for one in linear.values())
    own = [name for name, _ in module.named_children()]
    direct = sum(name in own for name in linear) == len(linear)
    return direct and len(linear) in (2, 3) and inside == len(list(module.parameters())) and not needs(module)


def needs(module: nn.Module) -> list[str]:
    """Return the arguments that a module must be given beside its first."""
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    others = list(signature(module.forward).parameters.items())[1:]
    return [name for name, one in others if one.default is Parameter.empty and one.kind in kinds]


def _orders(module: nn.Module, linear: Mapping[str, nn.Module]) -> list[tuple[str, ...]]:
    """Return the orders in which linear layers may make a network: first, with its factor if any, and last."""
    kind = type(module).__name__
    if len(linear) not in (2, 3):
        raise ValueError(
            f"{kind} has the linear layers {', '.join(linear) or 'none'}: a feed-forward network has two, or three of "
            f"which two lead to the hidden units, such as {' or '.join('/'.join(names) for names in GATED)}"
        )
    sizes = {name: _matrix(one).shape for name, one in linear.items()}
    known = [names for names in GATED if set(names) == set(linear)]
    possible = [names for names in permutations(linear) if _chain([sizes[name] for name in names])]
    if not possible:
        raise ValueError(
            f"{kind} has linear layers {_sizes(linear)} (inputs, outputs): the inputs of the last must be the outputs "
            "of the others, or half of them if gated"
        )
    return list(dict.fromkeys([*(names for names in known if names in possible), *possible]))


def _sizes(linear: Mapping[str, nn.Module]) -> str:
    """Return in words how many inputs and outputs linear layers have."""
    return " and ".join(str(tuple(_matrix(one).shape)) for one in linear.values())


def _chain(sizes: list[Any]) -> bool:
    """Return whether linear layers of these sizes, in this order, make a network."""
    *first, last = sizes
    if len(first) == 1:
        return first[0][1] in (last[0], 2 * last[0])
    return first[0] == first[1] and first[0][1] == last[0]


def _weights(linear: list[nn.Module]) -> Dense:
    """Return the weights of linear layers in their order, as views of parameters; the activation is not known yet."""
    *first, last = linear
    w_in = torch.cat([_matrix(one) for one in first], -1) if len(first) > 1 else _matrix(first[0])
    biases = [_bias(one) for one in first]
    none = all(bias is None for bias in biases)
    parts = [w_in.new_zeros(_matrix(one).shape[1]) if b is None else b for one, b in zip(first, biases, strict=True)]
    b_in = None if none else torch.cat(parts) if len(parts) > 1 else parts[0]
    return Dense(w_in, _matrix(last), b_in, _bias(last), "")


def _plain(linear: Any) -> bool:
    """Return whether the weight of a linear layer is what it multiplies by: nothing inside, nothing around."""
    return isinstance(linear.weight, Tensor) and not list(linear.children()) and linear.weight.is_floating_point()


@torch.no_grad()
def _matrix(linear: Any) -> Tensor:
    """Return the matrix ``(inputs, outputs)`` of a linear layer; what it computes where its weight is not all."""
    if type(linear).__name__ == TRANSPOSED:
        return linear.weight
    if hasattr(linear, "weight") and _plain(linear):
        return linear.weight.mT
    like = next((value for value in linear.parameters() if value.is_floating_point()), torch.empty(0))
    bias, modes = _bias(linear), [(one, one.training) for one in linear.modules()]
    value = linear.eval()(torch.eye(linear.in_features, dtype=like.dtype, device=like.device))
    for one, training in modes:
        one.training = training
    return value if bias is None else value - bias


@torch.no_grad()
def _bias(linear: Any) -> Tensor | None:
    """Return the bias of a linear layer, if it has one."""
    return getattr(linear, "bias", None)


@torch.no_grad()
def _reading(module: nn.Module, orders: list[tuple[str, ...]]) -> tuple[tuple[str, ...], str]:
    """Return the order and the activation with which a module of random weights computes what its weights say."""
    probe, reason = random_copy(module), ""
    found: dict[tuple[tuple[str, ...], str], float] = {}
    with torch.device("cpu"):
        linear = linear_layers(probe)
        for order in orders:
            ffn = _weights([linear[name] for name in order])
            rows = torch.randn(1, 32, len(ffn.w_in), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            rows = rows * 10.0 ** (torch.arange(32) % 4)[:, None]  # large ones too: an activation may have bounds
            try:
                wanted = probe(rows)
            except UNCALLABLE as cause:  # it takes rows of another width, or more than rows
                reason = reason or f"{cause}"
                continue
            found |= {(order, name): error for name, error in _errors(ffn, rows, wanted).items()}
    best = min(found, key=found.__getitem__, default=None)
    if best is None:
        kind = f"{type(module).__name__} with linear layers {_sizes(linear)} (inputs, outputs)"
        raise ValueError(
            f"{kind} cannot be called with tokens alone, or gives other than one tensor of tokens ({reason:.200}): "
            "replace the layer around it, or build one yourself, with MoE(dim, experts=...)"
        )
    if not found[best] < TOLERANCE:
        names = ", ".join(dict.fromkeys(name for _, name in found))
        raise ValueError(
            f"{type(module).__name__} does not compute W_out fn(W_in x + b_in) + b_out with fn one of {names} (nearest "
            f"{best[1]!r}, relative error {found[best]:.2g}): it has another activation or does more; build the layer "
            "yourself, with MoE(dim, experts=...)"
        )
    return best


def _errors(ffn: Dense, rows: Tensor, wanted: object) -> dict[str, float]:
    """Return by activation how far a network is from what a module made of rows, relative to the worst of them.

    {} if what the module made is not a row per row.
    """
    if not isinstance(wanted, Tensor) or wanted.shape != (1, 32, ffn.w_out.shape[1]):
        return {}
    names = [name for name, one in UNITS.items() if one.gated == ffn.gated]
    size = wanted.norm(dim=-1).clamp_min(torch.finfo(wanted.dtype).tiny)
    gaps = {name: ffn._replace(activation=name)(rows) - wanted for name in names}
    errors = {name: float((gap.norm(dim=-1) / size).max()) for name, gap in gaps.items()}
    return {name: error for name, error in errors.items() if not isnan(error)}


def random_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a module on the CPU, in float64 and evaluation, with random weights."""
    probe = copy.deepcopy(module)
    meta = any(value.is_meta for value in probe.parameters())
    probe = (probe.to_empty(device="cpu") if meta else probe.cpu()).double().eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in probe.parameters():
            if value.is_floating_point():
                value.normal_(generator=draw).mul_(2 * max(len(value), 1) ** -0.5)
    return probe
