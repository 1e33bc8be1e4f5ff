"""Bounds, fixed values and a penalty that could not hold as they were given are refused, before a fit begins."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gatewise.core.gates import describe
from gatewise.core.mixture import Mixture
from gatewise.core.names import entry_name
from gatewise.core.parameters import Parameter
from gatewise.fit.spec import FitSpec, Limits
from gatewise.objective.parameterization import Parameterization

NEAR = 1e-9  # share of an end by which a value may be beyond it


def require_slopes(mixture: Mixture, alpha: float) -> None:
    """Raise unless a ridge on gate slopes has a slope to shrink; one branch has no gate, and none to miss.

    Raises
    ------
    ValueError
        Naming the gates and their parameters.
    """
    gates = [gate for gate, branches in zip(mixture.gates, mixture.branching, strict=True) if branches > 1]
    if alpha == 0 or not gates or any(gate.score.names("slope") for gate in gates):
        return
    names = ", ".join(dict.fromkeys(describe(gate.plain()) for gate in gates))
    owned = ", ".join(dict.fromkeys(name for gate in gates for name in gate.score.parameters(1)))
    raise ValueError(
        f"alpha={alpha:g} with the gate {names}: the penalty is on slopes, and this gate has none, only {owned}; "
        "leave alpha=0, or give bounds"
    )


def require_in_range(bounds: Limits, specs: Mapping[str, Parameter]) -> None:
    """Raise unless every finite limit lies in the range of its parameter.

    Raises
    ------
    ValueError
        Naming the limit and the range.
    """
    for path, pair in bounds.items():
        spec, (low, high) = specs[path], (torch.as_tensor(end, dtype=torch.float64) for end in pair)
        least, most = spec.bounds
        beyond_least = low.isfinite() & (low < least - NEAR * abs(least))
        beyond_most = high.isfinite() & (high > most + NEAR * abs(most))
        for end, beyond, values, why in (
            ("lower", beyond_least, low, spec.at_least),
            ("upper", beyond_most, high, spec.at_most),
        ):
            if bool(beyond.any()):
                reason = f" ({why})" if why else ""
                raise ValueError(
                    f"bounds[{path!r}] has the {end} limit {float(values[beyond].flatten()[0]):g}: the parameter "
                    f"ranges from {least:g} to {most:g}{reason}; give limits in that range, or an infinite one"
                )


def require_resolved(mixture: Mixture, fixed: Mapping[str, Tensor], shift: Tensor, scale: Tensor) -> None:
    """Raise for a fixed scale below the last digit of the responses, of mean `shift` and spread `scale`, both (q,).

    No residual is that small unless it is zero, and the squares of others leave the range of floats.

    Raises
    ------
    ValueError
        Naming the parameter, its value and the least one.
    """
    if not mixture.family.location_scale:
        return
    least = torch.finfo(scale.dtype).eps * (shift.abs() + scale)
    for path in mixture.paths("family", "scale"):
        value = fixed.get(path)
        if value is not None and bool((value < least).any()):
            raise ValueError(
                f"fixed[{path!r}] has the value {float(value[value < least][0]):g}, but responses of this size have "
                f"no digits below {float(least.max()):.3g}: give a scale above that"
            )


def require_inside(
    mixture: Mixture, spec: FitSpec, parameterization: Parameterization, units: Mapping[str, Tensor]
) -> None:
    """Raise unless what is not estimated lies within the bounds given for it, so that bounds hold for all reported.

    Raises
    ------
    ValueError
        For a fixed value outside its bounds, and for bounds that leave out the zero of a reference branch.
    """
    for path, (low, high) in spec.bounds.items():
        held = parameterization.columns(path) < 0
        value = parameterization.natural_offset(path) / units[path]
        below, above = (
            torch.as_tensor(low, dtype=value.dtype).expand(held.shape),
            torch.as_tensor(high, dtype=value.dtype).expand(held.shape),
        )
        room = NEAR * torch.maximum(value.abs(), torch.ones_like(value))
        outside = held & ((value < below - room) | (value > above + room))
        given = ~spec.fixed[path].expand(held.shape).isnan() if path in spec.fixed else torch.zeros_like(held)
        if bool((outside & given).any()):
            raise ValueError(_first(path, outside & given, value, below, above, "fixed") + ": change one of them")
        if path.startswith("gates.") and bool(outside.any()):
            level = int(path.split(".")[1])
            if path.rpartition(".")[2] in mixture.gates[level].translation():
                why = (
                    "it belongs to the reference branch, and the others are differences from it; give limits that "
                    "contain zero there, such as one pair of arrays with an entry per branch"
                )
            else:
                why = "the data do not determine it; leave its bounds out"
            raise ValueError(f"{_first(path, outside, value, below, above, 'held')}: {why}")


def _first(path: str, outside: Tensor, value: Tensor, low: Tensor, high: Tensor, how: str) -> str:
    """Say which entry lies outside which limits."""
    where = tuple(outside.nonzero()[0].tolist())
    name = entry_name(path, where)
    ends = f"({float(low[where]):g}, {float(high[where]):g})"
    return f"{name} is {how} at {float(value[where]):g}, outside bounds[{path!r}]={ends}"
