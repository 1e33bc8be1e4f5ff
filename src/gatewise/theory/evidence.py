"""What a verdict rests on: curves, what identifies a parameter, and an exponent with what ties it to its claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.arms import Arm, Model
from gatewise.theory.claims import Claim, Probe, parameter_of
from gatewise.theory.curves import Curve, curve
from gatewise.theory.inputs import Inputs, Uniform
from gatewise.theory.population.rules import Cube, Region
from gatewise.theory.probes import Probed
from gatewise.theory.ridges import estimated_path, ridge
from gatewise.theory.slopes import Slope, less
from gatewise.theory.study import Study
from gatewise.theory.voronoi.gauge import conventional


class Exponent(NamedTuple):
    """A population exponent that a claim names.

    Attributes
    ----------
    probed : Probed
    untied : tuple of str
        What the exponent and the arm of the claim differ in: then it says nothing of the claim. Empty if it is of the
        same truth, model, method, box, inputs and kind of cell.
    """

    probed: Probed
    untied: tuple[str, ...]


class Evidence(NamedTuple):
    """What is known about a claim.

    Attributes
    ----------
    claim : Claim
    curves : tuple of Curve
        Of the arm of the claim, and of the arm it is compared with.
    slope, later, certified : Slope
        Of the curve, or the difference of both: of all sizes, without the smallest third, of certified fits.
    ridge : str
        Why the derivatives of the model say that the data do not identify the parameter, or one that a loss sums; empty
        if they do not.
    absent : tuple of str
        Arms of the claim that have not been run.
    exponent : Exponent or None
    """

    claim: Claim
    curves: tuple[Curve, ...]
    slope: Slope
    later: Slope
    certified: Slope
    ridge: str
    absent: tuple[str, ...]
    exponent: Exponent | None


def gather(study: Study, frame: pd.DataFrame, claim: Claim, probes: Sequence[Probed]) -> Evidence:
    """Return the evidence on a claim of a study: from its table of fits, and from its population exponents."""
    arm = study.arm(claim.arm)
    sides = [(claim.arm, claim.series)]
    sides += [(claim.other, claim.other_series or claim.series)] if claim.other else []
    curves = tuple(curve(frame, study.arm(name), series) for name, series in sides)
    probed = next((one for one in probes if claim.probe and one.probe.name == claim.probe), None)
    return Evidence(
        claim,
        curves,
        slope=_combined([c.slope for c in curves]),
        later=_combined([c.later for c in curves]),
        certified=_combined([c.certified for c in curves]),
        ridge=next(filter(None, (_ridge(study.arm(name), series) for name, series in sides)), ""),
        absent=tuple(name for name, _ in sides if not (frame["arm"] == name).any()),
        exponent=None if probed is None else Exponent(probed, untied(claim, arm, probed.probe)),
    )


def _combined(slopes: Sequence[Slope]) -> Slope:
    """Return a slope, or the first less the second."""
    return slopes[0] if len(slopes) == 1 else less(*slopes)


def _ridge(arm: Arm, series: str) -> str:
    """Return, in words, why no data identify a series; nothing if the derivatives of the model do not say so."""
    names = ridge(arm, series)
    if not names:
        return ""
    told = f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not identified"
    if names == (estimated_path(arm, series),):
        return f"{told}: the objective is constant along a ridge, so there is no rate"
    return f"{told}: the objective is constant along a ridge, and {series} sums their errors, so there is no rate"


def untied(claim: Claim, arm: Arm, probe: Probe) -> tuple[str, ...]:
    """Return what a population exponent and the arm of a claim differ in, in words; empty if it is of that arm.

    Truths are compared by their densities: gates in their conventional form, so that a temperature that no data
    identify does not count.
    """
    same = {
        "true mixture": arm.data.mixture == probe.data.mixture,
        "truth": _same_truth(arm, probe),
        "fitted model": arm.model.mixture == probe.model.mixture,
        "method": arm.model.method == probe.model.method,
        "ties": arm.model.ties == probe.model.ties,
        "fixed parameters": _equal(arm.model.fixed or {}, probe.model.fixed or {}),
        "box": _equal(_box(arm.model), _box(probe.model)),
        "inputs": _same_inputs(arm.data.inputs, probe),
        "kind of cell": (" over" in claim.series) == (probe.cells.count(probe.cells[probe.atom]) > 1),
        "parameter": parameter_of(claim.series) == probe.path,
    }
    return tuple(name for name, holds in same.items() if not holds)


def _same_truth(arm: Arm, probe: Probe) -> bool:
    one = _conventional(probe.data.mixture, probe.data.at(1))
    return all(_equal(_conventional(arm.data.mixture, arm.data.at(level.n)), one) for level in arm.levels())


def _conventional(mixture: Mixture, truth: Measure) -> dict[str, Tensor]:
    gates = tuple(conventional(gate, params) for gate, params in zip(mixture.gates, truth.gates, strict=True))
    return truth._replace(gates=gates).paths()


def _box(model: Model) -> dict[str, tuple[float | Tensor, float | Tensor]]:
    """Return the limits of a model, the floor of its scales among them."""
    limits, floor = dict(model.box or {}), model.min_scale
    if floor is None:
        return limits
    for path in model.mixture.paths("family", "scale"):
        low, high = limits.get(path, (0.0, float("inf")))
        limits[path] = (torch.as_tensor(low, dtype=torch.float64).clamp_min(floor), high)
    return limits


def _same_inputs(inputs: Inputs, probe: Probe) -> bool:
    """Return whether an exponent is of the law that the rows of an arm are drawn from."""
    region: Region | None = probe.inputs
    if region is None:
        return probe.data.inputs == inputs
    if not isinstance(region, Cube) or not isinstance(inputs, Uniform):
        return False
    return (region.low, region.high, region.d) == (inputs.low, inputs.high, inputs.d)


def _equal(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Return whether two mappings have the same paths and values, tensors or pairs of limits."""
    return set(one) == set(other) and all(_same(one[path], other[path]) for path in one)


def _same(one: object, other: object) -> bool:
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    a, b = (torch.as_tensor(value, dtype=torch.float64) for value in (one, other))
    return a.shape == b.shape and bool(a.isclose(b, 0.0, 0.0, equal_nan=True).all())  # NaN: an entry that is free
