"""Profile intervals: the values of one parameter that a likelihood-ratio test does not reject."""

from __future__ import annotations

from dataclasses import replace
from math import exp, inf, nan, sqrt
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gatewise.fit.problem import evaluate
from gatewise.fit.result import Fit
from gatewise.fit.torch_state import standard_torch_for_rows
from gatewise.infer.covariance.point import InformationPoint, locate, other_rows, to_data_units
from gatewise.infer.covariance.refusal import exact, refusal
from gatewise.infer.intervals import critical
from gatewise.infer.profile.search import ProfileEnd, ProfileSide, find_end
from gatewise.infer.text import number, percent
from gatewise.markup import lines, page
from gatewise.objective.entries import LOG, RECIPROCAL
from gatewise.objective.parameterization import specifications
from gatewise.objective.rows import Rows

if TYPE_CHECKING:
    from pandas import DataFrame

LONGEST = 0.25  # first step, in units of the coordinate or of one


class Profile(NamedTuple):
    """A profile-likelihood interval of one parameter.

    Attributes
    ----------
    name : str
    estimate, lower, upper, level : float
        An end that does not exist is infinite or zero (`ProfileEnd.flat`), the bound (`ProfileEnd.bound`), or NaN.
    ends : (ProfileEnd, ProfileEnd)
        How the search for the lower and the upper end finished.
    refused : str or None
        Why there is no interval; its ends are then NaN.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> found = model.inference(tone.X, tone.y).profile("stretchratio[0]")
    >>> found.name, found.lower < found.estimate < found.upper
    ('stretchratio[expert 0]', True)
    """

    name: str
    estimate: float
    lower: float
    upper: float
    level: float
    ends: tuple[ProfileEnd, ProfileEnd]
    refused: str | None = None

    def text(self) -> str:
        """Return the interval in a line, and what stands in the way of an end."""
        title = f"{self.name}: {number(self.estimate)}"
        if self.refused:
            return f"{title}, no profile interval, because {self.refused}"
        found = f"{title}, {percent(self.level)} profile interval {number(self.lower)} to {number(self.upper)}"
        sides = zip(("lower", "upper"), self.ends, strict=True)
        return found + "".join(f"; {side} end: {end}" for side, end in sides if end is not ProfileEnd.crossed)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return page("Profile interval", lines([self.text()]))

    def to_frame(self) -> DataFrame:
        """Return a data frame with one row; the columns ``lower end`` and ``upper end`` say how the search came out."""
        import pandas as pd

        found = {name: [getattr(self, name)] for name in ("estimate", "lower", "upper", "level")}
        found |= {f"{side} end": [str(end)] for side, end in zip(("lower", "upper"), self.ends, strict=True)}
        return pd.DataFrame(found, index=pd.Index([self.name], name="parameter"))


@standard_torch_for_rows
def profile(fit: Fit, rows: Rows, name: str, level: float = 0.95) -> Profile:
    r"""Compute a profile-likelihood interval: all values t with ``2 (l - max l given t) <= c``.

    c is the quantile of the chi-square distribution with one degree of freedom. After least squares, the condition is
    ``(min SSE given t - SSE) / s^2 <= c`` with the residual variance ``s^2 = SSE / (n q - rank)``. The other parameters
    are optimised again at every t. The interval is invariant under transformations of the parameter. It also exists for
    a separated gate or a flat direction, where it is unbounded on one or both sides.

    Parameters
    ----------
    fit : Fit
    rows : Rows
        The data of the fit.
    name : str
        Such as ``experts.coef[0,0,1]``, as in `Information.names`.
    level : float
        Coverage probability.

    Returns
    -------
    Profile
        With `refused` set if a scale lies on its floor, the optimum lies at a kink or on a bound, the search stopped
        too early, or the rows are not those of the fit.

    Raises
    ------
    ValueError
        If the name is unknown, the parameter is not estimated (a reference branch), or the level is not between 0 and
        1.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> from gatewise.core.mixture import Mixture
    >>> from gatewise.fit import maximum_likelihood
    >>> from gatewise.objective.rows import make_rows
    >>> x = torch.linspace(-1.0, 1.0, 50, dtype=torch.float64)[:, None]
    >>> rows = make_rows(x, 2 * x + torch.cos(40 * x))
    >>> fit = maximum_likelihood(Mixture((GATES["constant"],), (1,)), rows, starts=1)
    >>> found = profile(fit, rows, "experts.coef[0,0,0]")
    >>> found.lower < found.estimate < found.upper
    True
    """
    width = critical(level)
    path, position = _split(fit, name)
    refused = exact(fit, rows, robust=False) or refusal(fit, open_ended=True)
    if refused:
        return _refused(fit, name, level, refused.words)
    point = _at_convention(_aligned(fit, rows, path, position))
    column = int(point.parameterization.columns(path)[position])
    if column < 0 or point.parameterization.lower[column] == point.parameterization.upper[column]:
        raise ValueError(
            f"{name} is not estimated: it belongs to the reference branch, is held, or its column depends on others"
        )
    value, _, curvature = (part[0] for part in evaluate(point.problem, point.free[None], 2))
    other = other_rows(fit, point, float(value))
    if other:
        return _refused(fit, name, level, other)
    start = float(point.free[column])
    below, above = (ProfileSide(point.problem, column, float(value), sign) for sign in (-1, 1))
    _, free, state = above.height(start, point.free)
    if state is ProfileEnd.better:
        return Profile(name, float(fit.measure.paths()[path][position]), nan, nan, level, (state, state))
    # small steps first: far away the experts could change places
    step = min(width * _error(curvature, column) / sqrt(point.problem.total), LONGEST * max(1.0, abs(start)))
    found = [find_end(side, free, width, step) for side in (below, above)]
    entry = int(point.parameterization.entries_of(path)[position])
    estimate = float(fit.measure.paths()[path][position])
    numbers = [(_natural(point, entry, estimate, at - start, at), end) for at, end in found]
    (lower, low), (upper, high) = (
        sorted(numbers, key=lambda pair: pair[0]) if int(point.parameterization.kind[entry]) == RECIPROCAL else numbers
    )
    return Profile(name, estimate, lower, upper, level, (low, high))


def _split(fit: Fit, name: str) -> tuple[str, tuple[int, ...]]:
    """Return the path of a name and its position in the tensor there."""
    path, _, inside = name.partition("[")
    paths = fit.measure.paths()
    position = tuple(int(part) for part in inside.removesuffix("]").split(",") if part.strip().isdecimal())
    shape = paths[path].shape if path in paths else None
    if shape is None or len(position) != len(shape) or any(i >= n for i, n in zip(position, shape, strict=True)):
        raise ValueError(
            f"{name!r} is not a parameter of this mixture: give a path and a position in its tensor, such as "
            f"'experts.intercept[0,0]'; the shapes are {', '.join(f'{p} {tuple(v.shape)}' for p, v in paths.items())}"
        )
    return path, position


def _aligned(fit: Fit, rows: Rows, path: str, position: tuple[int, ...]) -> InformationPoint:
    """Return the fit in working units in which one parameter is a multiple of the reported one."""
    point = locate(fit, rows)
    entry = int(point.parameterization.entries_of(path)[position])
    row = to_data_units(point)[entry].abs()
    row[entry] = 0.0
    if not bool(row.any()):
        return point
    q = fit.outputs
    spec, _ = specifications(fit.mixture, rows.x.shape[1], rows.gate_x.shape[1], q)[path]
    # bounds on a path keep the origin of its inputs
    return locate(fit, rows, replace(fit.spec, bounds={path: spec.bounds, **fit.spec.bounds}))


def _at_convention(point: InformationPoint) -> InformationPoint:
    """Return the point of a problem in which what is a convention of experts stays where it is."""
    parameterization, known = point.parameterization, point.conventions
    lower, upper = parameterization.lower.clone(), parameterization.upper.clone()
    lower[known] = upper[known] = point.free[known]
    parameterization = replace(parameterization, lower=lower, upper=upper)
    return point._replace(problem=replace(point.problem, parameterization=parameterization))


def _refused(fit: Fit, name: str, level: float, words: str) -> Profile:
    path, position = _split(fit, name)
    estimate = float(fit.measure.paths()[path][position])
    return Profile(name, estimate, nan, nan, level, (ProfileEnd.refused, ProfileEnd.refused), words)


def _error(curvature: Tensor, column: int) -> float:
    """Return the standard error of a coordinate for one row, given the others where that is not possible."""
    factor, fault = torch.linalg.cholesky_ex(curvature)
    if not int(fault):
        variance = float(torch.cholesky_inverse(factor)[column, column])
        if 0 < variance < inf:
            return sqrt(variance)
    return 1.0 / sqrt(max(abs(float(curvature[column, column])), 1e-12))


def _natural(point: InformationPoint, entry: int, estimate: float, moved: float, at: float) -> float:
    """Return the parameter in the units of the data at a value of its free coordinate, `moved` from the estimate.

    The place of an input, such as the centre of a gate, has an origin of its own in the units of the data.
    """
    factor = float(to_data_units(point)[entry, entry])
    kind = int(point.parameterization.kind[entry])
    if kind == LOG:
        return inf if at >= 700 else factor * exp(at)  # nan for an end that was not found
    return factor / at if kind == RECIPROCAL else estimate + factor * moved
