"""Coefficients that all experts share, by the names of their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from torch import Tensor

from gatewise.core.experts import Linear, NoExpert
from gatewise.core.mixture import Mixture
from gatewise.core.names import did_you_mean, entry_name

INTERCEPT = "intercept"  # what users call the constant of an expert


def shared_names(shared: Any) -> tuple[str, ...]:
    """Return the names in the argument `shared`: one, or several different ones.

    Raises
    ------
    TypeError, ValueError
        For what is no name, and for a name given twice.

    Examples
    --------
    >>> shared_names("x0"), shared_names(["x0", "intercept"])
    (('x0',), ('x0', 'intercept'))
    """
    names = (shared,) if isinstance(shared, str) else shared
    if not isinstance(names, list | tuple) or not all(isinstance(one, str) for one in names):
        raise TypeError(f"shared={shared!r}: give names of columns, or 'intercept', such as ('x0', 'intercept')")
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise ValueError(f"shared={shared!r} has {twice[0]!r} twice: give each name once")
    return tuple(names)


def shared_ties(
    shared: Any, mixture: Mixture, columns: Sequence[str], outputs: int, fixed: Mapping[str, Tensor]
) -> tuple[tuple[str, ...], ...]:
    """Return the ties of a fit in which all experts have equal coefficients of some columns, one for every output.

    Parameters
    ----------
    shared : name or sequence of names
        Of columns, or ``"intercept"``.
    mixture : Mixture
    columns : names of the inputs of the experts
    outputs : number of outputs
    fixed : mapping path -> Tensor
        Values that are not estimated; NaN entries are.

    Raises
    ------
    ValueError
        For an unknown name, experts that are not linear, and a coefficient that is fixed too.
    """
    names = shared_names(shared)
    slope, constant = ("".join(mixture.paths("experts", role)) for role in ("slope", "intercept"))
    plain = all(isinstance(one, Linear | NoExpert) for one in mixture.expert.kinds())
    if names and not plain:
        raise ValueError(
            f"shared={shared!r} with the expert {mixture.expert}: only coefficients of linear experts can be shared; "
            "give expert='linear', or leave shared out"
        )
    leaves = owners(mixture, slope) if names else []
    ties = []
    for name, output in product(names, range(outputs)):
        path, last = _place(name, columns, slope, constant)
        entries = [(*leaf, output, *last) for leaf in leaves]
        if path in fixed and any(not bool(fixed[path][entry].isnan()) for entry in entries):
            raise ValueError(f"shared has {name!r}, whose coefficient is fixed in {path}: leave one of the two out")
        ties.append(tuple(entry_name(path, entry) for entry in entries))
    return tuple(ties) if len(leaves) > 1 else ()


def owners(mixture: Mixture, path: str) -> list[tuple[int, ...]]:
    """Return the leaves that have a parameter."""
    every = product(*map(range, mixture.branching))
    return [leaf for leaf, own in zip(every, mixture.owners(path).tolist(), strict=True) if own]


def _place(name: str, columns: Sequence[str], slope: str, constant: str) -> tuple[str, tuple[int, ...]]:
    """Return the path of a coefficient and its index behind the output."""
    if name == INTERCEPT and name not in columns:
        return constant, ()
    if name == INTERCEPT:
        raise ValueError("shared has 'intercept', which is a column of X too: give that column another name")
    if name not in columns:
        near = did_you_mean(name, [*columns, INTERCEPT])
        raise ValueError(
            f"shared has {name!r}, which is not a column of X: {near}the names are {', '.join(columns)}, {INTERCEPT}"
        )
    return slope, (list(columns).index(name),)


def is_common(mixture: Mixture, tie: Sequence[str]) -> bool:
    """Return whether a tie makes one coefficient equal in all experts."""
    path, _, index = tie[0].rstrip("]").partition("[")
    if not path.startswith("experts.") or not index:
        return False
    rest = [int(one) for one in index.split(",")][mixture.depth :]
    return {*tie} == {entry_name(path, (*leaf, *rest)) for leaf in owners(mixture, path)}
