"""Atoms of a mixing measure: masses and locations, scale conventions, coinciding atoms, mirror images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.core.families import Family
from gatewise.core.gates import Gate
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.voronoi.gauge import conventional, locations, mirror_of


class Atoms(NamedTuple):
    """The atoms of a measure, scales fixed by convention.

    Attributes
    ----------
    bias : Tensor (*B, k)
    log_mass : Tensor (*B, k)
        ``bias / temperature``, the bias where there is no temperature.
    locations : dict path -> Tensor (*B, k, size)
        Everything but the bias: ``gates.0.weight``, ``experts.coef``, ``family.variance``, ...
    moving : tuple of str
        Paths that a translation of the gate shifts.
    shifts : bool
        Whether a common shift of the biases changes nothing.
    temperatures : tuple of str
        Paths of what all atoms of a gate share.
    mirror : tuple of str
        Paths in which two atoms may be replaced by their mirror image, see `mirror_of`.
    """

    bias: Tensor
    log_mass: Tensor
    locations: dict[str, Tensor]
    moving: tuple[str, ...]
    shifts: bool
    temperatures: tuple[str, ...]
    mirror: tuple[str, ...]


def _square(family: Family, value: Tensor) -> Tensor:
    return value * value


def _covariance(family: Any, packed: Tensor) -> Tensor:
    size = packed.shape[-1]
    q = next(q for q in range(1, size + 1) if q * (q + 1) // 2 == size)
    (name,) = family.names("covariance")
    return family.covariance({name: packed}, q)


# by role: scales become variances, because rates are about variances
IN_VARIANCE: dict[str, tuple[str, Callable[[Family, Tensor], Tensor]]] = {
    "scale": ("variance", _square),
    "covariance": ("covariance", _covariance),
}


def atoms(mixture: Mixture, measure: Measure) -> Atoms:
    """Return the atoms of a measure with one level of gates.

    Raises
    ------
    ValueError
        For a mixture with more levels.
    """
    if mixture.depth != 1:
        raise ValueError(
            f"branching {mixture.branching}: this is for mixtures with one level; use hierarchical_loss for two"
        )
    return gate_atoms(mixture, measure, 0, True)


def gate_atoms(mixture: Mixture, measure: Measure, level: int, leaves: bool) -> Atoms:
    """Return the atoms below the nodes of a level ``(*B, K_1, ..., K_l)``: gate locations, and leaves if asked."""
    gate: Gate = mixture.gates[level]
    params = conventional(gate, {name: value.double() for name, value in measure.gates[level].items()})
    name = gate.score.required_bias()
    bias = params[name]
    shape = bias.shape
    log_mass = bias * gate.score.bias_rate(params).unsqueeze(-1)
    found = {f"gates.{level}.{place}": params[place] for place in locations(gate.score)}
    for heat in gate.score.names("temperature"):
        found[f"gates.{level}.{heat}"] = params[heat].unsqueeze(-1).expand(shape)
    if leaves:
        found |= {f"experts.{name}": value.double() for name, value in measure.experts.items()}
        found |= dict(_family(mixture.family, measure.family))
    places = {path: value.reshape((*shape, -1)) for path, value in found.items()}
    moving = tuple(f"gates.{level}.{place}" for place in gate.translation() if place != name)
    mirror = () if moving else mirror_of(gate, params)
    shifts = name in gate.translation()
    heats = mixture.paths(f"gates.{level}", "temperature")
    return Atoms(bias, log_mass, places, moving, shifts, heats, tuple(f"gates.{level}.{place}" for place in mirror))


def _family(family: Family, params: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    out = []
    specs = family.parameters(1)
    for name, value in params.items():
        title, change = IN_VARIANCE.get(specs[name].role, (name, lambda _, v: v))
        out.append((f"family.{title}", change(family, value.double())))
    return out


def mirrored(atoms: Atoms) -> Atoms | None:
    """Return the other measure of two atoms with the same weights, or None: ``(w_1, w_2) -> (-w_2, -w_1)``.

    For an activation that is odd up to a constant, and for the cosine, whose scores are odd.
    """
    if not atoms.mirror or atoms.bias.shape[-1] != 2:
        return None
    turned = {path: -atoms.locations[path].flip(-2) for path in atoms.mirror}
    return atoms._replace(locations={**atoms.locations, **turned})


def merged(truth: Atoms, mass: str) -> tuple[Atoms, list[int]]:
    """Return a truth ``(k*,)`` whose coinciding atoms are one, their masses added, and the first index of each.

    Raises
    ------
    ValueError
        If atoms of a sigmoid gate coincide: two sigmoids of different biases do not add up to one.
    """
    stacked = torch.cat(list(truth.locations.values()), -1) if truth.locations else truth.bias.new_zeros(1, 0)
    same = (stacked.unsqueeze(0) == stacked.unsqueeze(1)).all(-1)
    first = _first_true(same)
    kept = sorted(set(first.tolist()))
    if len(kept) == len(first):
        return truth, kept
    if mass == "sigmoid":
        raise ValueError(
            f"true atoms {_pairs(first)} coincide in all but their bias: sigmoids of different biases do not add up to "
            "one atom, so that cells are not defined. Give a truth with distinct atoms"
        )
    together = [torch.logsumexp(truth.log_mass[first == j], 0) for j in kept]
    biases = [torch.logsumexp(truth.bias[first == j], 0) for j in kept]
    locations = {path: value[kept] for path, value in truth.locations.items()}
    return truth._replace(bias=torch.stack(biases), log_mass=torch.stack(together), locations=locations), kept


def _first_true(mask: Tensor) -> Tensor:
    size = mask.shape[-1]
    return torch.where(mask, torch.arange(size), size).amin(-1).clamp_max(size - 1)


def _pairs(first: Tensor) -> str:
    return ", ".join(f"{j} and {i}" for i, j in enumerate(first.tolist()) if i != j)
