"""Population exponents as evidence: what ties one to a claim, and how much of an error it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite, prod
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.objective.parameterization import specifications
from gatewise.theory.arms import Arm, Model
from gatewise.theory.claims import Claim, Probe, VerdictKind, path_of_error
from gatewise.theory.inputs import Inputs, Uniform
from gatewise.theory.orders import ONE
from gatewise.theory.paths import LOSS, tensor_path
from gatewise.theory.population.cells import cells_of, owners
from gatewise.theory.population.problem import shifted_level
from gatewise.theory.population.rules import Cube, Region
from gatewise.theory.probes import Probed
from gatewise.theory.voronoi.gauge import conventional

Part = tuple[int, int]  # the true node of a fitted atom, and an entry of its parameter


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
        How many entries of the error no exponent is about, so that they may be slower, and how many there are; those of
        every cell count.
    """

    probed: Probed
    untied: tuple[str, ...]
    left: int = 0
    parts: int = 1


def exponents_of(claim: Claim, arms: Sequence[Arm], probes: Sequence[Probed]) -> tuple[Exponent, ...]:
    """Return what the exponents of a study say about a claim, which is about one arm or the difference of two.

    Of one arm the claim names an exponent. Of a difference there are the exponents of both errors, or none unless both
    have settled ones that are finite.
    """
    if claim.other:
        other = replace(claim, arm=claim.other, series=claim.other_series or claim.series)
        both = [_slowest(side, arm, probes) for side, arm in zip((claim, other), arms, strict=True)]
        known = [one for one in both if one is not None and isfinite(one.probed.local()[-1])]
        return tuple(known) if len(known) == len(both) else ()
    named = next((one for one in probes if claim.probe and one.probe.name == claim.probe), None)
    if named is None:
        return ()
    differ = untied(claim, arms[0], named.probe)
    if differ or named.word is VerdictKind.unresolved:
        return (Exponent(named, differ),)
    slowest = _slowest(claim, arms[0], [named, *probes])
    return () if slowest is None else (slowest,)


def _slowest(claim: Claim, arm: Arm, probes: Sequence[Probed]) -> Exponent | None:
    """Return the largest settled exponent about an error, the first of equal ones; None if there is none."""
    settled = [one for one in probes if one.word is not VerdictKind.unresolved and not untied(claim, arm, one.probe)]
    if not settled:
        return None
    slowest = max(settled, key=lambda one: one.local()[-1])
    parts = parts_of(slowest.probe)
    return Exponent(slowest, (), len(parts.difference(*(covered(one.probe) for one in settled))), len(parts))


def covered(probe: Probe) -> set[Part]:
    """Return what an exponent is about: one entry, fitted atoms of one cell being alike; with sizes all."""
    nodes, _, _ = _nodes(probe)
    return parts_of(probe) if probe.sizes else {(nodes[probe.atom], probe.entry)}


def parts_of(probe: Probe) -> set[Part]:
    """Return all that the error is made of whose exponent this is: entries that are estimated, in cells of its kind."""
    nodes, filled, entries = _nodes(probe)
    over = filled[_atom(probe)] > 1
    return {
        (node, entry)
        for node, count, own in zip(nodes, filled, entries, strict=True)
        for entry in own
        if (count > 1) == over
    }


def _nodes(probe: Probe) -> tuple[list[int], list[float], list[list[int]]]:
    """Return the true node of every fitted atom, how many share it, and the entries that are estimated.

    An atom has none of a parameter that its expert and family lack. Locations that are known up to a common shift are
    measured from the last atom of each node, which has none. A loss has one part.
    """
    mixture, data = probe.model.mixture, probe.data
    if probe.path == LOSS:
        return [0], [1], [[0]]
    d = (probe.inputs or data.inputs).d  # the inputs of the data do not count where the exponent has its own
    path = tensor_path(probe.path, mixture)
    spec, shape = specifications(mixture, d, d, data.mixture.outputs(data.at(1)))[path]
    lead = owners(mixture, path, spec)
    cells = cells_of(probe.cells, mixture.branching, data.mixture.branching)
    known = torch.as_tensor((probe.model.fixed or {}).get(path, torch.nan)).expand(shape)
    free = known.isnan().reshape(prod(shape[:lead]), -1).clone()
    if lead == mixture.depth:
        free[~mixture.owners(path)] = False
    level = shifted_level(mixture, path)
    if level is not None:
        free[mixture.branching[level] - 1 :: mixture.branching[level]] = False
    entries = [row.nonzero()[:, 0].tolist() for row in free]
    if not lead:  # a temperature of the outer gate: one for all of its branches
        return [0], [float(cells.filled(0).max())], entries
    return cells.nodes[lead - 1].tolist(), cells.filled(lead - 1).flatten().tolist(), entries


def _atom(probe: Probe) -> int:
    """Return whose parameter is displaced; with sizes none is, and all cells are alike."""
    return 0 if probe.sizes else probe.atom


def every_part(probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """Return exponents, each followed by those of all other parts of its error: entries, and cells of its kind."""
    found: list[Probe] = []
    for probe in probes:
        nodes, _, _ = _nodes(probe)
        found.append(probe)
        for node, entry in sorted(parts_of(probe) - covered(probe)):
            name = f"{probe.name}, {node}.{entry}"
            found.append(replace(probe, name=name, atom=nodes.index(node), entry=entry))
    return tuple(found)


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
        "kind of cell": (" over" in claim.series) == (_nodes(probe)[1][_atom(probe)] > 1),
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
    return powers == [ONE] and not callable(arm.data.truth)


def _same_truth(arm: Arm, probe: Probe) -> bool:
    """Return whether the truth of an arm is that of an exponent at every size, which one that stays has at one.

    Where noise is the axis of an arm, its truth stays at one size.
    """
    if probe.sizes and isinstance(arm.data.noise, tuple) and callable(arm.data.truth):
        return False
    sizes = {level.n: level.n if probe.sizes else 1 for level in arm.levels()} | {n: n for n in probe.sizes}
    return all(
        _equal(_conventional(arm.data.mixture, arm.data.at(n)), _conventional(probe.data.mixture, probe.data.at(m)))
        for n, m in sizes.items()
    )


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
