"""Conversion: a dense feed-forward network becomes a mixture of its copies, alone or everywhere in a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from gatewise.nn.blocks import install, network_of, place_inside
from gatewise.nn.dense import Dense, holds_ffn, read_ffn
from gatewise.nn.experts import FFN
from gatewise.nn.hub.logits import in_place_of
from gatewise.nn.layer import MoE

READ = {"dim", "hidden", "dim_out", "activation", "bias", "experts"}  # options of MoE that the dense network decides

Match = str | re.Pattern[str] | Callable[[str, nn.Module], bool]


def upcycle(
    dense: nn.Module, n_experts: int | Sequence[int] = 8, jitter: float = 0.0, exact: bool = True, **options: Any
) -> MoE:
    """Build an MoE layer from copies of a dense network, with the same output as the network (2212.05055).

    If the selected weights sum to one, ``sum_s w_s(x) E(x) = E(x)``. This holds with ``normalise="after"`` and
    ``top_k >= 2``, or with ``top_k=None`` and a gate that is normalised over all experts.

    Parameters
    ----------
    dense : Module
        A feed-forward network (see `dense.read_ffn`). Its dropout is omitted.
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

    If a match is a layer of a transformer whose network has no module of its own, such as those of torch, BERT, BART,
    OPT and Whisper, the network inside it is replaced (see `blocks.PLACES`). A copy of the layer is run on random rows
    with the network as it was and as it is read, and the two must agree.

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
        place = place_inside(module)
        if place is not None:
            install(model, module, place, built[id(module)])
            continue
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, in_place_of(module, built[id(module)]))
    return list(found)


@torch.no_grad()
def _fill(experts: FFN, ffn: Dense, jitter: float) -> None:
    """Copy a network into every expert, each weight times ``1 + jitter z``; a bias that it lacks is zero."""
    for own, given in zip(experts.weights(), ffn[:4], strict=True):
        if own is not None:
            own.copy_(torch.zeros_like(own) if given is None else given.expand_as(own))
            own *= 1 + jitter * torch.randn_like(own) if jitter else 1


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
    names = [name for name, one in model.named_modules() if name and (holds_ffn(one) or place_inside(one) is not None)]
    near = get_close_matches(str(match), [name for name, _ in model.named_modules() if name], 3, 0.5)
    known = f"feed-forward networks are {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}" if names else ""
    return "; ".join(filter(None, [known, f"names like it are {', '.join(near)}" if near else ""])) or "it has none"


def _converted(name: str, module: nn.Module, build: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Build the replacement of one module; an error says which module it was."""
    try:
        place = place_inside(module)
        return build(module if place is None else network_of(module, place))
    except ValueError as cause:
        raise ValueError(f"{name}: {cause}") from cause
