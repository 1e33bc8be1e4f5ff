"""Conversion: a dense feed-forward network becomes a mixture of its copies, alone or everywhere in a model."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatewise.nn.blocks import BLOCKS, install, network_of
from gatewise.nn.experts import FFN
from gatewise.nn.layer import MoE
from gatewise.nn.units import UNITS, unit

WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {  # class of a linear layer -> its weight as (inputs, outputs)
    "Linear": lambda weight: weight.mT,
    "Conv1D": lambda weight: weight,
}
GATED = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"), ("wi_0", "wi_1", "wo"))
READ = {"dim", "hidden", "dim_out", "activation", "bias", "experts"}  # options of MoE that the dense network decides
TOLERANCE = 1e-6  # relative error, in float64, within which two networks are the same

Match = str | re.Pattern[str] | Callable[[str, nn.Module], bool]


class Dense(NamedTuple):
    """A feed-forward network ``W_out fn(W_in x + b_in) + b_out`` read from a module; weights are ``(inputs, outputs)``.

    Of a gated one ``w_in`` has twice as many columns: those inside the activation first.
    """

    w_in: Tensor
    w_out: Tensor
    b_in: Tensor | None
    b_out: Tensor | None
    activation: str

    def __call__(self, x: Tensor) -> Tensor:
        pre = x @ self.w_in if self.b_in is None else x @ self.w_in + self.b_in
        out = unit(self.activation).apply(pre) @ self.w_out
        return out if self.b_out is None else out + self.b_out


def read_ffn(module: nn.Module) -> Dense:
    """Read the weights of a feed-forward network off a module, and its activation off what the module computes.

    The module holds two linear layers in the order of use, or three called as in one of GATED; they are
    ``torch.nn.Linear`` or the ``Conv1D`` of GPT-2. A copy of it with random weights is compared with every activation
    of `FFN` on random rows, so a module that does anything else, such as a residual sum, is refused. Dropout is no
    part of the network.

    Raises
    ------
    ValueError
        If the module is no such network.

    Examples
    --------
    >>> read_ffn(nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 3))).activation
    'silu'
    """
    return _weights(module)._replace(activation=_activation(module))


def upcycle(
    dense: nn.Module, n_experts: int | Sequence[int] = 8, jitter: float = 0.0, exact: bool = True, **options: Any
) -> MoE:
    """Build an MoE layer from copies of a dense network, with the same output as the network (2212.05055).

    If the selected weights sum to one, ``sum_s w_s(x) E(x) = E(x)``. This holds with ``normalise="after"`` and
    ``top_k >= 2``, or with ``top_k=None`` and a gate that is normalised over all experts.

    Parameters
    ----------
    dense : Module
        A feed-forward network (see `read_ffn`). Its dropout is omitted.
    n_experts : int or tuple of int
    jitter : float
        Multiply every weight of every expert by ``1 + jitter z`` with z standard normal. With 0, the experts are equal
        until training on different tokens separates them.
    exact : bool
        Whether to raise if the layer, apart from the jitter, is not equal to `dense`.
    **options
        Options of `MoE`: gate, top_k, balance and so on.

    Returns
    -------
    MoE

    Raises
    ------
    ValueError
        If `dense` is not a supported network, an option is determined by it, or `exact` is set and the layer would
        differ.

    Examples
    --------
    >>> dense = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
    >>> x = torch.randn(5, 4)
    >>> bool((upcycle(dense, 6)(x) - dense(x)).abs().max() < 1e-5)
    True
    """
    if own := READ & set(options):
        raise ValueError(
            f"{', '.join(sorted(own))}: upcycle takes this from the network; leave it out, or use MoE(...)"
        )
    ffn = read_ffn(dense)
    hidden, dim_out = ffn.w_out.shape
    device = "cpu" if ffn.w_in.is_meta else ffn.w_in.device  # gates are drawn: that takes values
    bias = ffn.b_in is not None or ffn.b_out is not None
    with torch.device(device):
        layer = MoE(
            ffn.w_in.shape[0], hidden, n_experts, dim_out=dim_out, activation=ffn.activation, bias=bias, **options
        )
    if exact:
        _check_exact(layer)
    layer = layer.to(ffn.w_in.device, ffn.w_in.dtype).train(dense.training)
    assert isinstance(layer.experts, FFN)
    _fill(layer.experts, ffn, jitter)
    return layer


def replace_ffn(
    model: nn.Module, match: Match, to: Callable[[nn.Module], nn.Module] | Mapping[str, Any] | None = None
) -> list[str]:
    """Replace the feed-forward networks of a model in place, and return the names of the replaced modules.

    If a match is a ``torch.nn.TransformerEncoderLayer`` or ``TransformerDecoderLayer``, the network inside it is
    replaced, because torch does not give that network a module of its own.

    Parameters
    ----------
    model : Module
    match : str, compiled pattern or function
        A glob pattern for the full name (``"*.mlp"``; ``*`` matches dots too), a compiled regular expression for the
        full name, or a function ``(name, module) -> bool``. Modules inside a match are not searched.
    to : function or dict, optional
        A function from the old module to the new one, or options of `upcycle`.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If nothing matches or a match cannot be converted. The model is then unchanged.

    Examples
    --------
    >>> model = nn.ModuleDict({"mlp": nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))})
    >>> replace_ffn(model, "mlp", {"n_experts": 4, "gate": "laplace"})
    ['mlp']
    """
    if isinstance(to, nn.Module):
        raise ValueError(
            f"to is a single {type(to).__name__}: give options, or a function that makes a layer for every match"
        )
    build = to if callable(to) else (lambda dense: upcycle(dense, **(to or {})))
    found = _matches(model, match)
    if not found:
        raise ValueError(f"match={match!r} matches no module of {type(model).__name__}: {_candidates(model, match)}")
    built: dict[int, nn.Module] = {}  # a module that is used twice stays one module
    for name, module in found.items():
        if id(module) not in built:
            built[id(module)] = _converted(name, module, build)
    for name, module in found.items():
        if isinstance(module, BLOCKS):
            install(model, module, built[id(module)])
            continue
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, built[id(module)])
    return list(found)


@torch.no_grad()
def _fill(experts: FFN, ffn: Dense, jitter: float) -> None:
    """Copy a network into every expert, each weight times ``1 + jitter z``; a bias that it lacks is zero."""
    for own, given in zip(experts.weights(), ffn[:4], strict=True):
        if own is not None:
            own.copy_(torch.zeros_like(own) if given is None else given.expand_as(own))
            own *= 1 + jitter * torch.randn_like(own) if jitter else 1


def _weights(module: nn.Module) -> Dense:
    """Return the weights that a module holds, as views of its parameters; the activation is not known yet."""
    linear = {name: one for name, one in module.named_modules() if type(one).__name__ in WEIGHTS}
    for names in GATED:
        if len(linear) == 3 and set(names) == set(linear):
            return _gated(*(linear[name] for name in names))
    if len(linear) != 2:
        raise ValueError(
            f"{type(module).__name__} has the linear layers {', '.join(linear) or 'none'}: a feed-forward network has "
            f"two, or three called {' or '.join('/'.join(names) for names in GATED)}"
        )
    first: Any
    second: Any
    first, second = linear.values()
    w_in, w_out = _matrix(first), _matrix(second)
    if w_in.shape[1] not in (w_out.shape[0], 2 * w_out.shape[0]):
        raise ValueError(
            f"{type(module).__name__} has linear layers {tuple(w_in.shape)} and {tuple(w_out.shape)} (inputs, "
            "outputs): the inputs of the second must be the outputs of the first, or half of them if gated"
        )
    return Dense(w_in, w_out, first.bias, second.bias, "")


def _gated(inner: Any, factor: Any, last: Any) -> Dense:
    """Return the weights of ``last(fn(inner(x)) * factor(x))``."""
    pair = (inner, factor)
    zeros = [one.weight.new_zeros(_matrix(one).shape[1]) if one.bias is None else one.bias for one in pair]
    b_in = None if inner.bias is None and factor.bias is None else torch.cat(zeros)
    return Dense(torch.cat([_matrix(one) for one in pair], -1), _matrix(last), b_in, last.bias, "")


def _matrix(linear: Any) -> Tensor:
    return WEIGHTS[type(linear).__name__](linear.weight)


@torch.no_grad()
def _activation(module: nn.Module) -> str:
    """Return the activation with which a module of random weights computes what its weights say."""
    probe = copy.deepcopy(module)
    probe = (probe.to_empty(device="cpu") if next(module.parameters()).is_meta else probe.cpu()).double().eval()
    draw = torch.Generator().manual_seed(0)
    for value in probe.parameters():
        value.normal_(generator=draw).mul_(2 * max(len(value), 1) ** -0.5)
    ffn = _weights(probe)
    names = [name for name, one in UNITS.items() if one.gated == (ffn.w_in.shape[1] != ffn.w_out.shape[0])]
    with torch.device("cpu"):
        rows = torch.randn(1, 32, len(ffn.w_in), generator=draw, dtype=torch.float64)
        wanted = probe(rows)
    errors = {name: float((ffn._replace(activation=name)(rows) - wanted).norm() / wanted.norm()) for name in names}
    best = min(errors, key=errors.__getitem__)
    if not errors[best] < TOLERANCE:
        raise ValueError(
            f"{type(module).__name__} does not compute W_out fn(W_in x + b_in) + b_out with fn one of "
            f"{', '.join(names)} (nearest {best!r}, relative error {errors[best]:.2g}): it has another activation or "
            "does more; build the layer yourself, with MoE(dim, experts=...)"
        )
    return best


@torch.no_grad()
def _check_exact(layer: MoE) -> None:
    """Raise unless the layer equals its experts when these are equal."""
    rows = torch.empty(64, layer.dim, device="cpu").normal_(generator=torch.Generator().manual_seed(0))
    total = layer.router(rows.to(layer.router.offset_0.device)).weight.sum(-1)
    reasons = []
    if not bool(((total - 1).abs() < 1e-5).all()):
        reasons.append(
            f"the kept weights of a token do not sum to one (from {float(total.min()):.3g} to "
            f"{float(total.max()):.3g}): use top_k of at least 2 with normalise='after', or top_k=None with a gate "
            "that is normalised"
        )
    reasons += [f"scale={layer.scale}: use 1"] if layer.scale != 1.0 else []
    reasons += ["shared experts add to the output: use shared=0"] if layer.shared is not None else []
    reasons += [f"capacity={layer.capacity} may drop tokens: use None"] if layer.capacity is not None else []
    if reasons:
        raise ValueError(f"the layer would not equal the dense network: {'; '.join(reasons)}; or pass exact=False")


def _matches(model: nn.Module, match: Match) -> dict[str, nn.Module]:
    """Return the outermost modules that match, without the model itself."""
    if isinstance(match, str):
        chosen = lambda name, module: fnmatchcase(name, match)  # noqa: E731
    else:
        chosen = match if callable(match) else (lambda name, module: match.fullmatch(name) is not None)
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if name and not inside and chosen(name, module):
            found[name] = module
    return found


def _candidates(model: nn.Module, match: Match) -> str:
    """Return in words which modules could have been meant."""
    names = [name for name, module in model.named_modules() if name and _holds_ffn(module)]
    near = get_close_matches(str(match), [name for name, _ in model.named_modules() if name], 3, 0.5)
    known = f"feed-forward networks are {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}" if names else ""
    return "; ".join(filter(None, [known, f"names like it are {', '.join(near)}" if near else ""])) or "it has none"


def _holds_ffn(module: nn.Module) -> bool:
    """Return whether a module holds the linear layers of a feed-forward network directly."""
    linear = [name for name, one in module.named_children() if type(one).__name__ in WEIGHTS]
    return len(linear) == 2 or any(set(names) == set(linear) for names in GATED)


def _converted(name: str, module: nn.Module, build: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Build the replacement of one module; an error says which module it was."""
    try:
        return build(network_of(module) if isinstance(module, BLOCKS) else module)
    except ValueError as cause:
        raise ValueError(f"{name}: {cause}") from cause
