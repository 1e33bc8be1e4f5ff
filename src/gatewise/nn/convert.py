"""Conversion: the feed-forward networks of a model become mixtures, by names and patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from gatewise.nn.blocks import install, network_of, place_inside
from gatewise.nn.dense import holds_ffn
from gatewise.nn.hub.architectures import BLOCKS
from gatewise.nn.hub.logits import in_place_of
from gatewise.nn.upcycling import upcycle

Match = str | re.Pattern[str] | Callable[[str, nn.Module], bool]


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
        sparse = "; it is a sparse block: give to=from_block" if type(module).__name__ in BLOCKS else ""
        raise ValueError(f"{name}: {cause}{sparse}") from cause
