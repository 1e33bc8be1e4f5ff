"""Exponents that follow from a study without being declared in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from math import inf

import torch
from torch import Tensor

from gatewise.core.mixture import leaf_predictors
from gatewise.fit.least_squares import mean_of
from gatewise.objective.parameterization import make_parameterization
from gatewise.theory.arms import Arm
from gatewise.theory.claims import Probe, path_of_error
from gatewise.theory.error_parts import choices, missing_parts, nodes_of, points, reachable
from gatewise.theory.inputs import Lattice, Uniform
from gatewise.theory.paths import LOSS, VARIANCE, tensor_path
from gatewise.theory.population.rules import Cube
from gatewise.theory.study import Study

MOST_INPUTS = 3  # that a product rule integrates over in seconds
SIZES = (10**3, 10**6, 10**9)  # any will do where a truth stays
ALONE = (0.1, 0.05, 0.025)  # displacements of a parameter in a single cell
REGULAR = (1.0, 0.1)  # the population exponent of a parameter with the rate -1/2, and its tolerance


def completion(study: Study) -> tuple[Probe, ...]:
    """Return the exponents that verdicts of a study can use, and that it does not declare.

    Those of all other parts of the errors that its exponents are about, and where a claim names none: those by the
    information at the truth of arms with as many experts as there are, and those of single cells of arms with one more
    in every node. There they are with up to three uniform inputs, without ties, and without experts that are the same
    with other signs. They change nothing that is registered.
    """
    by_information = (probe for arm in study.arms for probe in _by_information(study, arm))
    alone = tuple(probe for arm in study.arms for probe in _of_single_cells(study, arm))
    return (*missing_parts(study.probes), *by_information, *alone, *missing_parts(alone))


def information_probe(name: str, arm: Arm, path: str, panels: int = 0) -> Probe:
    """Return the exponent of an arm with uniform inputs and as many experts as there are, by the information."""
    cells = tuple(range(arm.model.mixture.n_leaves))
    panels = panels or (8 if arm.data.inputs.d == 1 else 2)
    values = name, arm.data, arm.model, path, cells, *REGULAR, "this project"
    return Probe(*values, "derived", inputs=_region(arm, panels), sizes=SIZES)


def _region(arm: Arm, panels: int) -> Cube | Lattice:
    """Return where an arm has its inputs, uniform ones or those of a lattice."""
    inputs = arm.data.inputs
    if isinstance(inputs, Lattice):
        return inputs
    assert isinstance(inputs, Uniform)
    return Cube(inputs.low, inputs.high, inputs.d, panels=panels)


def _by_information(study: Study, arm: Arm) -> Iterable[Probe]:
    """Yield the exponents by information of parameters whose claims name none, of as many experts as there are."""
    if arm.data.mixture == arm.model.mixture and _regular(arm):
        for path in _paths(study, arm):
            yield information_probe(f"{arm.name}: {path}, by information", arm, path)


def _of_single_cells(study: Study, arm: Arm) -> Iterable[Probe]:
    """Yield one exponent each of parameters in single cells whose claims name none, of one expert more in every node.

    The first expert of every node is the one that is fitted twice; other choices follow (`missing_parts`). There are
    none where the model lacks the true law: the distance stays, and larger displacements would not show it.
    """
    mixture, true = arm.model.mixture, arm.data.mixture
    more = (*true.branching[:-1], true.branching[-1] + 1)
    alike = mixture.exchangeable and true.exchangeable and mixture == replace(true, branching=more)
    if not (alike and _regular(arm)):
        return
    width = true.branching[-1]
    cells = tuple(first + i for first in range(0, true.n_leaves, width) for i in (0, *range(width)))
    biases = [f"gates.{level}.{gate.score.bias()}" for level, gate in enumerate(mixture.gates)]
    for path in _paths(study, arm, "exact"):
        if path in (LOSS, *biases):
            continue  # neither is displaced
        values = f"{arm.name}: {path}, single cells", arm.data, arm.model, path, cells, *REGULAR
        nodes = _region(arm, 8 if arm.data.inputs.d == 1 else 1)
        shorter = path == VARIANCE or isinstance(nodes, Lattice)  # sums over a lattice are exact however small they are
        eps = tuple(e / 5 if shorter else e for e in ALONE)
        probe = Probe(*values, "this project", "derived", inputs=nodes, eps=eps)
        _, filled, entries = nodes_of(probe)
        places = [(atom, own[0]) for atom, own in enumerate(entries) if own and filled[atom] == 1]
        if places and all(map(reachable, choices(probe)[0])):
            atom, entry = places[0]
            yield replace(probe, atom=atom, entry=entry)


def _regular(arm: Arm) -> bool:
    """Return whether the truth of an arm stays, its inputs are uniform, and no other parameters give its law nearby."""
    data, model = arm.data, arm.model
    known = isinstance(data.inputs, Uniform | Lattice) and data.inputs.d <= MOST_INPUTS
    return known and not model.ties and not data.moves and not _mirrored(arm)


def _paths(study: Study, arm: Arm, kind: str = "") -> Iterable[str]:
    """Yield the parameters of an arm that are estimated and whose claims name no exponent, in cells of a kind."""
    sides = [(claim.arm, claim.series) for claim in study.claims if not claim.probe]
    sides += [(claim.other, claim.other_series or claim.series) for claim in study.claims if claim.other]
    own = (series for name, series in sides if name == arm.name and (not kind or kind in series.split()))
    paths = dict.fromkeys(path_of_error(series, arm.model.mixture) for series in own)
    return (path for path in paths if path and _estimated(arm, path))


def _estimated(arm: Arm, path: str) -> bool:
    """Return whether a parameter is neither fixed by the study nor, like a temperature, by convention."""
    least_squares, d = arm.model.method == "ls", arm.data.inputs.d
    mixture = mean_of(arm.model.mixture) if least_squares else arm.model.mixture
    outputs = arm.data.mixture.outputs(arm.data.at(1))
    here = make_parameterization(mixture, d, d, outputs, bounds=arm.model.limits(), fixed=arm.model.fixed)
    if path == LOSS:
        return here.size > 0
    tensor = tensor_path(path, mixture)
    return tensor in mixture.parameters() and bool((here.columns(tensor) >= 0).any())


def _widest(arm: Arm, limits: tuple[float | Tensor, float | Tensor]) -> tuple[float | Tensor, float | Tensor]:
    """Return limits for the true atoms: of single fitted atoms, where these are others, they are joined."""
    if arm.data.mixture == arm.model.mixture:
        return limits
    low, high = (torch.as_tensor(end, dtype=torch.float64) for end in limits)
    return low.min(), high.max()


def _mirrored(arm: Arm) -> bool:
    """Return whether other signs of expert parameters, inside the box, give the same law: a fit may end at any."""
    mixture, truth, limits = arm.data.mixture, arm.data.at(1), arm.model.limits()
    x = points(arm.data.inputs.d)
    means, leaves = leaf_predictors(mixture, truth, x), range(mixture.n_leaves)
    for leaf, signs in product(leaves, product((1.0, -1.0), repeat=len(truth.experts))):
        there = (torch.arange(mixture.n_leaves) == leaf).reshape(mixture.branching)
        other = {name: value.clone() for name, value in truth.experts.items()}
        for sign, value in zip(signs, other.values(), strict=True):
            value[there] *= sign
        moved = any(not value.equal(truth.experts[name]) for name, value in other.items())
        ends = {name: _widest(arm, limits.get(f"experts.{name}", (-inf, inf))) for name in other}
        inside = all(bool(((value >= ends[name][0]) & (value <= ends[name][1])).all()) for name, value in other.items())
        if moved and inside and leaf_predictors(mixture, truth._replace(experts=other), x).allclose(means, 1e-9, 1e-12):
            return True
    return False
