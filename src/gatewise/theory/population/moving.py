"""Exponents of standard errors, by the information at the truth of every size, which may move with n.

Where every true atom is fitted by one atom, estimates have the standard errors that the information at the truth
gives. If the truth stays where it is, they are of order ``n^(-1/2)``. If two experts approach each other as n grows,
the information vanishes on the way, and errors fall more slowly. No data are drawn, so n may be as large as needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import inf, log
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_predictors
from gatewise.fit.least_squares import mean_of
from gatewise.objective.parameterization import make_parameterization
from gatewise.theory.paths import LOSS, VARIANCE, tensor_path
from gatewise.theory.population.exponent import check_models, check_response
from gatewise.theory.population.problem import (
    Box,
    Coordinates,
    density_squares,
    kinks_of,
    mean_squares,
)
from gatewise.theory.population.rules import Cube, Region

FINER = 1e-2  # relative change of a standard error on finer nodes from which on it has no certificate
FURTHER = (4, 8)  # times as many nodes, of one input, while the error changes on finer ones
PER_ROW = 8.0  # the squared Hellinger distance of a step is an eighth of its length by the information of one row
SINGULAR = 1e-12  # relative eigenvalue, or relative root of the diagonal, of an information that is singular
BLOCK = 4096  # inputs of the quadrature whose derivatives are in memory at a time
CONTAINED = 1e-7  # distance of the truth from the model at the same parameters that is rounding


class MovingTruth(NamedTuple):
    """Standard errors at the truth of every size, and the exponents between neighbouring sizes.

    Attributes
    ----------
    path : str
    sizes : tuple of int
    error : tuple of float
        Root of the sum of the squared standard errors of all entries, in least squares for noise of variance one;
        infinite where the information is singular.
    local : tuple of float
        ``log(n ratio) / (2 log(error ratio))`` of neighbours: errors are of order ``n^(-1 / (2 e))``. Infinite where
        they do not fall.
    certified : tuple of bool
        For each local exponent: whether at both ends the model contains the truth, inside its box, the information is
        regular, and the standard error the same on finer nodes.
    lacking : str
        Why the last exponent is not certified; empty if it is.

    Examples
    --------
    >>> from gatewise.theory import MovingTruth
    >>> print(MovingTruth("experts.coef", (100, 10_000), (0.1, 0.01), (1.0,), (True,), "").text())
    experts.coef: standard error by the information at the truth
           n       error  exponent
       1e+02  1.0000e-01
       1e+04  1.0000e-02     1.000
    """

    path: str
    sizes: tuple[int, ...]
    error: tuple[float, ...]
    local: tuple[float, ...]
    certified: tuple[bool, ...]
    lacking: str

    def text(self) -> str:
        """Return a table, one line per size."""
        told = ["", *(f"{e:.3f}{'' if c else ' ?'}" for e, c in zip(self.local, self.certified, strict=True))]
        rows = zip(self.sizes, self.error, told, strict=True)
        head = [f"{self.path}: standard error by the information at the truth", "       n       error  exponent"]
        lines = [f"{n:8.2g}  {error:10.4e}  {exponent:>8}".rstrip() for n, error, exponent in rows]
        doubt = [] if all(self.certified) else ["?: an end of this exponent is not certified"]
        return "\n".join([*head, *lines, *doubt])


class _Error(NamedTuple):
    """A standard error at one size, and why it may be wrong; nothing if nothing speaks against it."""

    value: float
    lacking: str


def moving_truth(
    truth_mixture: Mixture,
    truth: Callable[[int], Measure],
    mixture: Mixture,
    path: str,
    *,
    sizes: tuple[int, ...],
    box: Box | None = None,
    fixed: Mapping[str, Tensor] | None = None,
    inputs: Region | None = None,
    distance: str = "hellinger",
    step: float = 0.5,
) -> MovingTruth:
    """Compute how fast the standard errors of a parameter fall where the truth moves with n.

    Parameters
    ----------
    truth_mixture : Mixture
    truth : callable n -> Measure
        No batch axes, float64.
    mixture : Mixture
        Fitted model, with as many branches as the truth on every level.
    path : str
        A parameter, such as ``experts.coef`` or ``family.variance``; ``loss``: all together, as losses sum them.
    sizes : tuple of int
        Increasing.
    box : mapping path -> (lower, upper), optional
        Bounds of the parameters, as in the fits.
    fixed : mapping path -> Tensor, optional
        Parameters of the fitted model that are known; NaN entries are estimated.
    inputs : Cube, Ball or Lattice, optional
        Distribution of the inputs; default ``Cube(-2, 2)``.
    distance : {"hellinger", "l2"}
        "hellinger": maximum likelihood; "l2": least squares, with the same noise at every size.
    step : float
        Spacing of the quadrature nodes of a continuous response, in standard deviations of the narrowest expert.

    Returns
    -------
    MovingTruth

    Raises
    ------
    ValueError
        If the distance is unknown, sizes do not increase, the mixtures have other branches, the path is unknown or of
        what is fixed, or the response has several numbers or another family (Hellinger distance).

    Notes
    -----
    Standard errors describe estimates whose errors are small against the distance at which the truth becomes singular.
    This holds if they fall faster than that distance, which is not checked. A continuous response is integrated over
    seven standard deviations around the true means, so that standard errors of heavy tails are too large.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> one, zero = Mixture((GATES["constant"],), (1,)), torch.zeros(1, 1).double()
    >>> def quieter(n):  # noise of standard deviation n^(-1/4)
    ...     return Measure(
    ...         ({"bias": zero[0]},), {"coef": zero[..., None], "intercept": zero}, {"scale": zero + n**-0.25}
    ...     )
    >>> found = moving_truth(one, quieter, one, "experts.coef", sizes=(100, 10_000))
    >>> round(-1 / (2 * found.local[0]), 3), found.certified  # the error falls as n^(-3/4)
    (-0.75, (True,))
    """
    check_models(truth_mixture, mixture, distance)
    if len(sizes) < 2 or sizes[0] < 1 or any(b <= a for a, b in pairwise(sizes)):
        raise ValueError(f"sizes={sizes}: give at least two sizes, each larger than the one before")
    if mixture.branching != truth_mixture.branching:
        raise ValueError(
            f"{mixture.branching} fitted branches and {truth_mixture.branching} true ones: standard errors are of "
            "models with as many experts as there are; use population_exponent"
        )
    inputs = inputs or Cube()
    at_zero = torch.zeros(inputs.d, 1, dtype=torch.float64)
    outputs = leaf_predictors(truth_mixture, truth(sizes[0]), at_zero).shape[-2]
    if distance == "hellinger":
        check_response(mixture, truth_mixture, outputs)
    else:
        mixture, truth_mixture = mean_of(mixture), mean_of(truth_mixture)
    free = make_parameterization(mixture, inputs.d, inputs.d, outputs, bounds=box, fixed=dict(fixed or {}))
    none = torch.zeros(free.size, dtype=torch.bool)
    here = Coordinates(free, torch.eye(free.size, dtype=torch.float64), free.lower, free.upper, none)
    task = _Task(mixture, truth_mixture, path, here, inputs, step)
    ends: list[_Error] = []
    for i, n in enumerate(sizes):
        stays = i > 0 and all(map(torch.equal, truth(n).paths().values(), truth(sizes[i - 1]).paths().values()))
        again = stays and not ends[-1].lacking  # the information of a row is the same
        ends.append(_Error(ends[-1].value * (sizes[i - 1] / n) ** 0.5, "") if again else _error(task, truth(n), n))
    pairs = list(pairwise(zip(sizes, ends, strict=True)))
    local = tuple(_exponent(m, one.value, n, two.value) for (m, one), (n, two) in pairs)
    certified = tuple(not (one.lacking or two.lacking) for (_, one), (_, two) in pairs)
    lacking = next((end.lacking for end in ends[-2:] if end.lacking), "")
    return MovingTruth(path, sizes, tuple(end.value for end in ends), local, certified, lacking)


class _Task(NamedTuple):
    """Everything but the size."""

    mixture: Mixture
    truth_mixture: Mixture
    path: str
    here: Coordinates
    inputs: Region
    step: float


def _exponent(m: int, before: float, n: int, after: float) -> float:
    falls = 0.0 < after < before < inf
    return log(n / m) / (2.0 * log(before / after)) if falls else inf


def _error(task: _Task, truth: Measure, n: int) -> _Error:
    """Return the standard error at a size, checked on finer nodes."""
    truth = truth if task.mixture.family.has_density else truth._replace(family={})
    at = task.here.of(truth)
    slopes = _slopes(task, at)
    if not bool(((at > task.here.lower) & (at < task.here.upper)).all()):
        return _Error(inf, f"the truth at n = {n:g} lies at a bound of the box, or outside")
    (away, coarse), (_, fine) = (_at_nodes(task, truth, at, slopes, finer) for finer in (1, 2))
    for finer in FURTHER if task.inputs.d == 1 else ():
        if not (away < CONTAINED and FINER * fine <= abs(fine - coarse) < inf):
            break
        coarse, (_, fine) = fine, _at_nodes(task, truth, at, slopes, finer)
    if not away < CONTAINED:
        return _Error(
            inf,
            f"the model does not contain the truth at n = {n:g}: correct its fixed values; a temperature that no data "
            "identify is held at one",
        )
    if fine == inf:
        return _Error(fine, f"the information at n = {n:g} is singular: a direction is not identified")
    change = abs(fine - coarse) / fine
    doubt = f"finer nodes change the error at n = {n:g} by {100 * change:.2g} %"
    return _Error(fine / n**0.5, "" if change < FINER else doubt)


def _at_nodes(task: _Task, truth: Measure, at: Tensor, slopes: Tensor, finer: int) -> tuple[float, float]:
    """Return how far the model is from the truth, and the standard error of one row: infinite if not identified."""
    nodes = task.inputs.graded(torch.empty(0, task.inputs.d), kinks_of(task.mixture, truth, task.inputs.d), 1.0, finer)
    away, information = 0.0, at.new_zeros(len(at), len(at))
    for x, weight in zip(nodes.x.split(BLOCK, -1), nodes.weight.split(BLOCK), strict=True):
        given = task.here, task.truth_mixture, truth, nodes._replace(x=x, weight=weight)
        if task.mixture.family.has_density:
            residual, jacobian = density_squares(*given, task.step / finer).density_both(at)
            information += PER_ROW * jacobian.mT @ jacobian
        else:
            residual, jacobian = mean_squares(*given).mean_both(at)
            information += jacobian.mT @ jacobian
        away += float(residual.square().sum())
    away **= 0.5
    size = information.diagonal().sqrt()
    scaled = information / (size[:, None] * size)
    lost = not bool((size > SINGULAR * size.max()).all())  # NaN too: nothing but rounding is left of a parameter
    if lost or float(torch.linalg.eigvalsh(scaled)[0]) < SINGULAR:
        return away, inf
    root = torch.linalg.solve_triangular(torch.linalg.cholesky(scaled), (slopes / size).mT, upper=False)
    return away, float(root.norm())


def _slopes(task: _Task, at: Tensor) -> Tensor:
    """Return the derivatives of all entries of the parameter, or of all parameters, in the coordinates (entries, P)."""
    known = tuple(task.mixture.parameters())
    path = tensor_path(task.path, task.mixture)
    if task.path != LOSS and path not in known:
        raise ValueError(f"{task.path!r} is no parameter of this mixture: these are {', '.join(known)}")
    counted = known if task.path == LOSS else (path,)
    squared = task.mixture.paths("family", "scale") if task.path in (LOSS, VARIANCE) else ()

    def values(point: Tensor) -> Tensor:
        found = task.here.measure(point).paths()
        each = [found[one].square() if one in squared else found[one] for one in counted]
        return torch.cat([one.flatten() for one in each])

    slopes: Tensor = torch.autograd.functional.jacobian(values, at)
    if not bool(slopes.any()):
        raise ValueError(f"{task.path!r} is fixed in the model: an exponent is of a parameter that is estimated")
    return slopes
