"""Exponents that follow from a study without being declared in it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from math import inf

import torch

from gatewise.core.mixture import leaf_predictors
from gatewise.fit.least_squares import mean_of
from gatewise.objective.parameterization import make_parameterization
from gatewise.theory.arms import Arm
from gatewise.theory.claims import Probe, path_of_error
from gatewise.theory.error_parts import missing_parts, points
from gatewise.theory.inputs import Uniform
from gatewise.theory.paths import LOSS, tensor_path
from gatewise.theory.population.rules import Cube
from gatewise.theory.study import Study

MOST_INPUTS = 3  # that a product rule integrates over in seconds
SIZES = (10**3, 10**6, 10**9)  # any will do where a truth stays
REGULAR = (1.0, 0.1)  # the population exponent of a parameter with the rate -1/2, and its tolerance


def completion(study: Study) -> tuple[Probe, ...]:
    """Return the exponents that verdicts of a study can use, and that it does not declare.

    Those of all other parts of the errors that its exponents are about, and those by the information at the truth of
    arms with as many experts as there are, where a claim names none: with up to three uniform inputs, without ties, and
    without experts that are the same with other signs. They change nothing that is registered.
    """
    by_information = (probe for arm in study.arms for probe in _of_arm(study, arm))
    return (*missing_parts(study.probes), *by_information)


def information_probe(name: str, arm: Arm, path: str, panels: int = 0) -> Probe:
    """Return the exponent of an arm with uniform inputs and as many experts as there are, by the information."""
    inputs = arm.data.inputs
    assert isinstance(inputs, Uniform)
    cube = Cube(inputs.low, inputs.high, inputs.d, panels=panels or (8 if inputs.d == 1 else 2))
    cells = tuple(range(arm.model.mixture.n_leaves))
    return Probe(
        *(name, arm.data, arm.model, path, cells, *REGULAR, "this project", "derived"),
        inputs=cube,
        sizes=SIZES,
    )


def _of_arm(study: Study, arm: Arm) -> Iterable[Probe]:
    """Yield the exponents of an arm by information: of parameters whose claims name no exponent, if its truth stays."""
    data, model = arm.data, arm.model
    alike = data.mixture == model.mixture and not model.ties and not data.moves
    if not (alike and isinstance(data.inputs, Uniform) and data.inputs.d <= MOST_INPUTS) or _mirrored(arm):
        return
    sides = [(claim.arm, claim.series) for claim in study.claims if not claim.probe]
    sides += [(claim.other, claim.other_series or claim.series) for claim in study.claims if claim.other]
    paths = dict.fromkeys(path_of_error(series, model.mixture) for name, series in sides if name == arm.name)
    for path in filter(None, paths):
        if _estimated(arm, path):
            yield information_probe(f"{arm.name}: {path}, by information", arm, path)


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


def _mirrored(arm: Arm) -> bool:
    """Return whether other signs of expert parameters, inside the box, give the same law: a fit may end at any."""
    mixture, truth, limits = arm.model.mixture, arm.data.at(1), arm.model.limits()
    x = points(arm.data.inputs.d)
    means, leaves = leaf_predictors(mixture, truth, x), range(mixture.n_leaves)
    for leaf, signs in product(leaves, product((1.0, -1.0), repeat=len(truth.experts))):
        there = (torch.arange(mixture.n_leaves) == leaf).reshape(mixture.branching)
        other = {name: value.clone() for name, value in truth.experts.items()}
        for sign, value in zip(signs, other.values(), strict=True):
            value[there] *= sign
        moved = any(not value.equal(truth.experts[name]) for name, value in other.items())
        ends = {name: limits.get(f"experts.{name}", (-inf, inf)) for name in other}
        inside = all(bool(((value >= ends[name][0]) & (value <= ends[name][1])).all()) for name, value in other.items())
        if moved and inside and leaf_predictors(mixture, truth._replace(experts=other), x).allclose(means, 1e-9, 1e-12):
            return True
    return False
