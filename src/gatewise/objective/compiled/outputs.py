"""How experts and families are written as instructions; the dicts EXPERTS, FAMILIES."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gatewise.core.experts import Activation, Constant, HiddenUnit, Linear, Polynomial
from gatewise.core.experts.polynomial import monomials
from gatewise.core.families import Binomial, Gaussian, Poisson
from gatewise.objective.compiled import codes
from gatewise.objective.compiled.parts import (
    CompiledPart,
    Design,
    Owners,
    PartInputs,
    PredictorSlot,
    activate,
    linear_part,
    ones_of,
    run_of,
    with_bias,
)
from gatewise.objective.compiled.program import Program, Ref


def linear_expert(p: Program, expert: Linear, inputs: PartInputs, owners: Owners, output: int) -> CompiledPart:
    """Write ``coef . x + intercept``."""
    return linear_part(p, owners, run_of(p, inputs, None, constant=True))


def constant_expert(p: Program, expert: Constant, inputs: PartInputs, owners: Owners, output: int) -> CompiledPart:
    """Write ``intercept``."""
    return linear_part(p, owners, ones_of(p))


def activation_expert(p: Program, expert: Activation, inputs: PartInputs, owners: Owners, output: int) -> CompiledPart:
    """Write ``location + spread output fn(coef . (x - origin) + intercept)``."""
    count = owners.total
    design = run_of(p, inputs, expert.origin, constant=expert.bias)
    inner = linear_part(p, owners, design)
    value, first, second = activate(p, inner, count, expert.fn, expert.radius)
    spread = 1.0 if expert.spread is None else expert.spread[output]
    location = 0.0 if expert.location is None else expert.location[output]
    weight = owners.at + design.columns

    def scaled(ref: Ref, at: int, constant: float = 0.0) -> Ref:
        if at < 0 and spread == 1.0 and constant == 0.0:
            return ref
        to = Ref(p.rows(count))
        places = p.constant(spread), p.constant(constant)
        p.emit(codes.SCALE, count, to.row, *ref, at, owners.stride, *places)
        return to

    outer = weight if expert.output else -1
    total = scaled(value, outer, location)
    if p.order == 0:
        return CompiledPart(total, inner.slots, [], {})
    slopes, curvatures = [scaled(first, outer)], {}
    if p.order > 1:
        curvatures = {(0, 0): scaled(second, outer)}
    if not expert.output:
        return CompiledPart(total, inner.slots, slopes, curvatures)
    if p.order > 1:
        curvatures[0, 1] = scaled(first, -1)
    return CompiledPart(
        total, [*inner.slots, PredictorSlot(design.columns, ones_of(p))], [*slopes, scaled(value, -1)], curvatures
    )


def hidden_unit_expert(p: Program, expert: HiddenUnit, inputs: PartInputs, owners: Owners, output: int) -> CompiledPart:
    """Write ``output fn(coef . x + bias) + intercept``."""
    unit = activation_expert(p, expert.unit, inputs, owners, output)
    return with_bias(p, unit, owners, inputs.d + 2)


def polynomial_expert(p: Program, expert: Polynomial, inputs: PartInputs, owners: Owners, output: int) -> CompiledPart:
    """Write ``coef . x + powers . (products of the inputs) + intercept``."""
    products = monomials(inputs.d, expert.degree)
    return linear_part(
        p, owners, Design(-2, p.products(inputs.source, inputs.d, products), inputs.d + len(products) + 1)
    )


class Leaf(NamedTuple):
    """Derivatives of the log density of one output in its predictor and in its own family parameters."""

    first: list[Ref]
    second: dict[tuple[int, int], Ref]


def gaussian_family(p: Program, family: Gaussian, y: int, eta: Ref, to: Ref, owners: Owners) -> Leaf:
    """Write the normal law; `owners` are those of the scale."""
    count = owners.total
    first, second = p.rows(2 * count), p.rows(3 * count)
    p.emit(codes.GAUSSIAN, count, y, eta.row, to.row, first, second, owners.at, owners.stride, p.order)
    curvatures = {(0, 0): Ref(second), (0, 1): Ref(second + count), (1, 1): Ref(second + 2 * count)}
    return Leaf([Ref(first), Ref(first + count)], curvatures)


def poisson_family(p: Program, family: Poisson, y: int, eta: Ref, to: Ref, owners: Owners) -> Leaf:
    """Write the Poisson law."""
    return _count_family(p, codes.POISSON, (), y, eta, to, owners)


def binomial_family(p: Program, family: Binomial, y: int, eta: Ref, to: Ref, owners: Owners) -> Leaf:
    """Write the binomial law."""
    return _count_family(p, codes.BINOMIAL, (p.constant(float(family.trials or 1)),), y, eta, to, owners)


def _count_family(p: Program, code: int, trials: tuple[int, ...], y: int, eta: Ref, to: Ref, owners: Owners) -> Leaf:
    count = owners.total
    base = p.base(y, trials)
    first, second = p.rows(count), p.rows(count)
    p.emit(code, count, y, base, eta.row, to.row, first, second, *trials, p.order)
    return Leaf([Ref(first)], {(0, 0): Ref(second)})


EXPERTS: dict[type, Callable[..., CompiledPart]] = {
    Linear: linear_expert,
    Constant: constant_expert,
    Activation: activation_expert,
    HiddenUnit: hidden_unit_expert,
    Polynomial: polynomial_expert,
}
FAMILIES: dict[type, Callable[..., Leaf]] = {
    Gaussian: gaussian_family,
    Poisson: poisson_family,
    Binomial: binomial_family,
}
