"""Pieces that the studies of the papers are made of: measures, boxes, claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from gatewise.core.experts import Expert, Linear
from gatewise.core.families import Family, Gaussian
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.arms import Arm, Data, Model
from gatewise.theory.claims import Claim, Probe, Standing, parameter_of, path_of_error
from gatewise.theory.completion import information_probe
from gatewise.theory.inputs import Uniform
from gatewise.theory.paths import COEF, INTERCEPT, VARIANCE
from gatewise.theory.population.rules import Cube

Numbers: TypeAlias = "float | Sequence[Numbers]"
Box = dict[str, tuple[float | Tensor, float | Tensor]]

LEAF = (COEF, INTERCEPT, VARIANCE)
FLOOR = 0.1  # of standard deviations
SCALES: Box = {"family.scale": (FLOOR, 2.0)}

EXACT = 0.04  # tolerance where every cell is exactly filled
OVER = 0.06  # half of the distance between -1/8 and -1/4: no slope supports two claims
WIDE = 0.1  # tolerance where 40 replicates leave intervals of about .05 on either side
DENSITY = 0.05  # tolerance of slopes of density and mean errors
OWN = "this project"
LINEAR, GAUSSIAN = Linear(), Gaussian()


def tensor(values: Numbers) -> Tensor:
    """Return numbers in double precision."""
    return torch.tensor(values, dtype=torch.float64)


def flat(gate: str, k: int, expert: Expert = LINEAR, family: Family = GAUSSIAN) -> Mixture:
    """Return a mixture with one level."""
    return Mixture((GATES[gate],), (k,), expert, family)


def measure(gate: Mapping[str, Numbers], experts: Mapping[str, Numbers], scale: Numbers | None = None) -> Measure:
    """Return a measure with one level; without `scale` one that has a mean only."""
    family = {} if scale is None else {"scale": tensor(scale)}
    return Measure(({k: tensor(v) for k, v in gate.items()},), {k: tensor(v) for k, v in experts.items()}, family)


def box(**limits: float | tuple[float, float]) -> Box:
    """Return limits of parameters by their last name: a number b stands for [-b, b]; every leaf has the same.

    Names of the inner gate of two levels begin with ``inner_``.

    Examples
    --------
    >>> box(weight=4.0, temperature=(0.2, 3.0))
    {'gates.0.weight': (-4.0, 4.0), 'gates.0.temperature': (0.2, 3.0)}
    """
    out: Box = {}
    for name, limit in limits.items():
        level = int(name.startswith("inner_"))
        last = name.removeprefix("inner_")
        room = "experts" if last in ("coef", "intercept", "output") else f"gates.{level}"
        out[f"{room}.{last}"] = limit if isinstance(limit, tuple) else (-limit, limit)
    return out


def exact(path: str) -> str:
    """Return the series of a parameter in exactly filled cells."""
    return f"{path} exact mean"


def over(path: str) -> str:
    """Return the series of a parameter in over-filled cells."""
    return f"{path} over mean"


def raw(path: str) -> str:
    """Return the series of a parameter as it stands, also where no data identify it."""
    return f"{path} raw"


def equal(arm: str, series: str, value: float, tolerance: float, source: str, standing: Standing) -> Claim:
    """Return the claim that a slope is `value` up to `tolerance`."""
    return Claim(arm, series, "equal", value, tolerance, source, standing)


def bound(arm: str, series: str, value: float, source: str, standing: Standing = "published") -> Claim:
    """Return the claim that an error is at most ``O_P(n^value)``; the tolerance is `OVER`."""
    return Claim(arm, series, "at_most", value, OVER, source, standing)


def slow(arm: str, series: str, source: str, standing: Standing = "published") -> Claim:
    """Return the claim that an error falls slower than every power of n."""
    return Claim(arm, series, "slower_than_polynomial", 0.0, 0.1, source, standing)


def same(
    arm: str, other: str, series: str, source: str = OWN, standing: Standing = "own", other_series: str = ""
) -> Claim:
    """Return the claim that two arms have the same slope up to `OVER`, in one series or each in its own."""
    return Claim(arm, series, "difference", 0.0, OVER, source, standing, other, other_series)


def density(arm: str, paper: str, tolerance: float = DENSITY) -> Claim:
    """Return the claim that the Hellinger distance falls as ``n^(-1/2)``: the bound of the paper, taken as sharp."""
    return equal(arm, "hellinger", -0.5, tolerance, f"{paper}, bound; {OWN}, sharp", "derived")


def mean(arm: str, paper: str, tolerance: float = DENSITY) -> Claim:
    """Return the claim that the error of the regression function falls as ``n^(-1/2)``: the bound, taken as sharp."""
    return equal(arm, "mean", -0.5, tolerance, f"{paper}, bound; {OWN}, sharp", "derived")


def exponent(start: str, path: str) -> str:
    """Return the name of the population exponent of a parameter."""
    return f"{start}: {path}"


def alone(start: str) -> str:
    """Return the start of the names of exponents of an atom that is alone in its cell, in an over-filled mixture."""
    return f"{start}, exact cell"


def decided(claims: Iterable[Claim], start: str, mixture: Mixture | None = None) -> tuple[Claim, ...]:
    """Return claims; those about parameters name the exponents that decide them if slopes leave them open.

    With the fitted mixture, those about losses do too: these have the exponent of all parameters together.
    """
    found = []
    for claim in claims:
        path = parameter_of(claim.series) if mixture is None else path_of_error(claim.series, mixture)
        found.append(replace(claim, probe=exponent(start, path)) if path else claim)
    return tuple(found)


def exact_leaves(arm: str, source: str, standing: Standing, tolerance: float = EXACT) -> tuple[Claim, ...]:
    """Return the claims that the parameters of exactly fitted Gaussian experts fall as ``n^(-1/2)``."""
    return tuple(equal(arm, exact(path), -0.5, tolerance, source, standing) for path in LEAF)


def regular_probes(arm: Arm, paths: Iterable[str], panels: int = 0) -> tuple[Probe, ...]:
    """Return the exponents of an arm with as many experts as there are, one level, by the information at the truth."""
    return tuple(information_probe(exponent(arm.name, path), arm, path, panels) for path in paths)


def law(d: int) -> Uniform:
    """Return inputs uniform on ``[-2, 2]^d``."""
    return Uniform(d=d)


def likelihood(data: Data, k: int, limits: Box) -> Model:
    """Return the model with k innermost branches that is fitted to data by maximum likelihood."""
    branching = (*data.mixture.branching[:-1], k)
    return Model(replace(data.mixture, branching=branching), box={**limits, **SCALES}, min_scale=FLOOR)


def split_probes(
    name: str,
    data: Data,
    model: Model,
    claimed: Mapping[str, tuple[float, float]],
    cells: tuple[int, ...] = (0, 0, 1),
    atom: int = 0,
) -> tuple[Probe, ...]:
    """Return the population exponents, value and tolerance by path, of an atom in a cell with two, of smooth models."""
    d = data.inputs.d
    inputs, starts = (None, 6) if d == 1 else (Cube(d=d, panels=1), 4)  # six nodes along every of several inputs
    falling = {VARIANCE: (0.04, 0.02, 0.01, 0.005), COEF: (0.1, 0.05, 0.025, 0.0125)}  # variances stay positive
    return tuple(
        Probe(
            *(exponent(name, path), data, model, path, cells, *claim, OWN, "derived"),
            atom=atom,
            eps=falling.get(path, (0.2, 0.1, 0.05, 0.025)),
            inputs=inputs,
            starts=starts,
        )
        for path, claim in claimed.items()
    )
