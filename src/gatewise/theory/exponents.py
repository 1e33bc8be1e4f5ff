"""Population exponents as evidence: what ties one to a claim, and how much of an error it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.arms import Arm
from gatewise.theory.claims import Claim, Probe, VerdictKind, path_of_error
from gatewise.theory.error_parts import covered, is_over, parts_of, reachable
from gatewise.theory.inputs import Inputs, Lattice, Uniform
from gatewise.theory.orders import ONE
from gatewise.theory.paths import LOSS
from gatewise.theory.population.rules import Cube, Region
from gatewise.theory.probes import Probed
from gatewise.theory.voronoi.gauge import conventional


class Exponent(NamedTuple):
    """A population exponent that speaks of the error of a claim.

    Attributes
    ----------
    probed : Probed
        Of the settled exponents of the study about this error the largest, which says how slow it is; the one that the
        claim names if that has not settled.
    untied : tuple of str
        What the named exponent and the arm of the claim differ in: then it says nothing of the claim. Empty if it is of
        the same truth, model, method, box, inputs and kind of cell.
    left, parts : int
        How many parts of the error no exponent is about, so that they may be slower, and how many there are: entries,
        in every cell of the kind, for every choice of the true atoms that are shared.
    """

    probed: Probed
    untied: tuple[str, ...]
    left: int = 0
    parts: int = 1


def exponents_of(claim: Claim, arms: Sequence[Arm], probes: Sequence[Probed]) -> tuple[Exponent, ...]:
    """Return what the exponents of a study say about a claim, which is about one arm or the difference of two.

    Of one arm the claim names an exponent; if it names none, those of single cells count, if the truth stays. Of a
    difference there are the exponents of both errors, or none unless both have settled ones that are finite.
    """
    if claim.other:
        other = replace(claim, arm=claim.other, series=claim.other_series or claim.series)
        both = [_slowest(side, arm, probes) for side, arm in zip((claim, other), arms, strict=True)]
        known = [one for one in both if one is not None and isfinite(one.probed.local()[-1])]
        return tuple(known) if len(known) == len(both) else ()
    if not claim.probe:
        single = [one for one in probes if not one.probe.data.moves and not is_over(one.probe)]
        regular = _slowest(claim, arms[0], single)
        return () if regular is None else (regular,)
    named = next((one for one in probes if one.probe.name == claim.probe), None)
    if named is None:
        return ()
    differ = untied(claim, arms[0], named.probe)
    if differ or named.word is VerdictKind.unresolved:
        return (Exponent(named, differ),)
    slowest = _slowest(claim, arms[0], [named, *probes])
    return () if slowest is None else (slowest,)


def _slowest(claim: Claim, arm: Arm, probes: Sequence[Probed]) -> Exponent | None:
    """Return the largest settled exponent about an error, the first of equal ones; None if there is none."""
    own = [one for one in probes if not untied(claim, arm, one.probe)]
    settled = [one for one in own if one.word is not VerdictKind.unresolved]
    if not settled:
        return None
    slowest = max(settled, key=lambda one: one.local()[-1])
    absent = [one for one in own if one.excluded() and not reachable(one.probe)]
    parts = parts_of(slowest.probe)
    left = parts.difference(*(covered(one.probe) for one in (*settled, *absent)))
    return Exponent(slowest, (), len(left), len(parts))


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
        "box": _equal(arm.model.limits(), probe.model.limits()),
        "inputs": _same_inputs(arm.data.inputs, probe),
        "kind of cell": (" over" in claim.series) == is_over(probe),
        "parameter": path_of_error(claim.series, arm.model.mixture) == probe.path,
        "loss": probe.path != LOSS or _sums_errors(claim, arm),
    }
    return tuple(name for name, holds in same.items() if not holds)


def _sums_errors(claim: Claim, arm: Arm) -> bool:
    """Return whether a loss is of the order of all errors: of a truth that stays, with the power one in single cells.

    Masses that vanish with n would hide errors, and squares would halve their order.
    """
    name = claim.series.removeprefix("loss ").removesuffix(" unweighted")
    powers = [loss.exact for loss in arm.named_losses() if loss.name == name]
    return powers == [ONE] and not arm.data.moves


def _same_truth(arm: Arm, probe: Probe) -> bool:
    """Return whether the truth of an arm is that of an exponent at every size, which one that stays has at one.

    Where noise is the axis of an arm, its truth stays at one size.
    """
    if probe.sizes and isinstance(arm.data.noise, tuple) and arm.data.moves:
        return False
    sizes = {level.n: level.n if probe.sizes else 1 for level in arm.levels()} | {n: n for n in probe.sizes}
    return all(
        _equal(_conventional(arm.data.mixture, arm.data.at(n)), _conventional(probe.data.mixture, probe.data.at(m)))
        for n, m in sizes.items()
    )


def _conventional(mixture: Mixture, truth: Measure) -> dict[str, Tensor]:
    gates = tuple(conventional(gate, params) for gate, params in zip(mixture.gates, truth.gates, strict=True))
    return truth._replace(gates=gates).paths()


def _same_inputs(inputs: Inputs, probe: Probe) -> bool:
    """Return whether an exponent is of the law that the rows of an arm are drawn from."""
    region: Region | None = probe.inputs
    if region is None:
        return probe.data.inputs == inputs
    if isinstance(inputs, Lattice):
        return region == inputs
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
