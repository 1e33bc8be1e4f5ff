"""Problems to fit, and what laws of fits ask of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gatewise.core.mixture import (
    Mixture,
    log_density,
    responsibilities,
)
from gatewise.core.names import path_of
from gatewise.fit import Fit, Status, maximum_likelihood
from gatewise.objective.parameterization import from_paths, specifications
from gatewise.objective.rows import Rows, make_rows
from gatewise.testing.compare import assert_close
from gatewise.testing.problems import ExampleProblem, added, drawn_rows, make_problem, sizes

LOCAL = 1e-6  # largest slope of the log-likelihood per row, in any parameter, at a fit that is called an optimum
FITTED = 1e-6  # agreement of two fits of the same data
STEEP = ("slope", "direction", "location", "quadratic")  # roles of gates that are doubled, so that these are steep
SOLVED = {Status.converged, Status.at_kink, Status.at_bound, Status.unidentified}


def fitting_problem(
    mixture: Mixture, *, d: int = 2, gate_d: int = 2, columns: int = 1, n: int = 150, seed: int = 0
) -> ExampleProblem:
    """Draw a problem whose experts are told apart by the data: intercepts apart, small scales, steep gates.

    Parameters
    ----------
    mixture : Mixture
    d, gate_d, columns : int
        Numbers of expert inputs, gate inputs and response columns.
    n : int
        Number of rows.
    seed : int

    Returns
    -------
    ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES
    >>> fitting_problem(Mixture((GATES["softmax"],), (2,))).y.shape
    torch.Size([1, 150])
    """
    drawn = make_problem(mixture, d=d, gate_d=gate_d, columns=columns, n=2, seed=seed).measure.paths()
    leaves = mixture.n_leaves
    level = torch.arange(leaves, dtype=torch.float64) - 0.5 * (leaves - 1)
    step = 2.0 if mixture.family.location_scale else 1.2
    for path, value in drawn.items():
        if path in added(mixture) and path not in mixture.shared:
            moved = value.reshape(leaves, -1) + step * level[:, None]
            drawn[path] = moved.reshape(value.shape)
        elif path.removeprefix("family.") in mixture.family.names("scale", "covariance"):
            drawn[path] = 0.4 * value
        elif path in mixture.paths("gates", *STEEP):
            drawn[path] = 2.0 * value
    return drawn_rows(mixture, from_paths(drawn, mixture.depth), d, gate_d, n, seed + 1)


def rows_of(problem: ExampleProblem, **options: Any) -> Rows:
    """Return the rows of a problem; `options` go to `make_rows`.

    Parameters
    ----------
    problem : ExampleProblem
    **options
        Of `make_rows`, such as weights.

    Returns
    -------
    Rows

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import make_problem, rows_of
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3, gate_d=2)
    >>> rows_of(problem).y.shape
    (8, 1)
    """
    gate_x = None if problem.gate_x is problem.x else problem.gate_x.T
    return make_rows(problem.x.T, problem.y.T, gate_x=gate_x, **options)


def parts_of(problem: ExampleProblem) -> tuple[Any, Any, Any]:
    """Return the columns of the experts, of the gates and of the response."""
    rows = rows_of(problem)
    return rows.x, rows.gate_x, rows.y


def picked(problem: ExampleProblem, rows: Tensor) -> ExampleProblem:
    """Return the problem at some of its rows."""
    return problem._replace(x=problem.x[:, rows], gate_x=problem.gate_x[:, rows], y=problem.y[:, rows])


def fit_from_truth(problem: ExampleProblem, **options: Any) -> Fit:
    """Fit a problem from the measure that drew it.

    Parameters
    ----------
    problem : ExampleProblem
    **options
        Of `FitSpec`.

    Returns
    -------
    Fit

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fit_from_truth, fitting_problem
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> str(fit_from_truth(problem).status)
    'converged'
    """
    options.setdefault("starts", [problem.measure])
    return maximum_likelihood(problem.mixture, rows_of(problem), **options)


def responsibilities_of(fit: Fit, problem: ExampleProblem) -> Tensor:
    """Return the responsibilities ``(L, n)`` of a fit at the rows of a problem.

    Parameters
    ----------
    fit : Fit
    problem : ExampleProblem

    Returns
    -------
    Tensor (L, n)

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fit_from_truth, fitting_problem, responsibilities_of
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> responsibilities_of(fit_from_truth(problem), problem).shape
    torch.Size([2, 150])
    """
    return responsibilities(fit.mixture, fit.measure, problem.x, problem.gate_x, problem.y)


def log_likelihood_of(fit: Fit, problem: ExampleProblem) -> Tensor:
    """Return the log-likelihood of a fit, summed over the rows of a problem."""
    return log_density(fit.mixture, fit.measure, problem.x, problem.gate_x, problem.y).sum()


def number(value: float) -> Tensor:
    """Return a number as a tensor of double precision."""
    return torch.tensor(value, dtype=torch.float64)


def assert_solved(fit: Fit) -> None:
    """Raise unless everything that is said of a fit can be said of an optimum.

    Parameters
    ----------
    fit : Fit

    Raises
    ------
    AssertionError
        Naming what does not hold.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import assert_solved, fit_from_truth, fitting_problem
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> assert_solved(fit_from_truth(problem))
    """
    others = [str(flag) for flag in fit.flags if flag not in SOLVED]
    if others:
        raise AssertionError(f"broken: a fit from the truth ends at an optimum (it ended {', '.join(others)})")


def assert_stationary(fit: Fit, problem: ExampleProblem, fixed: Mapping[str, Tensor] | None = None) -> None:
    """Raise unless the mean log density has no slope at a fit, by central differences in every free parameter.

    Parameters
    ----------
    fit : Fit
    problem : ExampleProblem
        The rows of the fit.
    fixed : mapping path -> Tensor, optional
        What was not estimated; NaN entries were.

    Raises
    ------
    AssertionError
        Naming the parameter with the steepest slope.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import assert_stationary, fit_from_truth, fitting_problem
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> assert_stationary(fit_from_truth(problem), problem)
    """
    depth = fit.mixture.depth
    at_rest = (*fit.certificate.kinks, *fit.certificate.active, *fit.certificate.floor)
    skipped = {path_of(name) for name in at_rest}
    specs = specifications(fit.mixture, *sizes(problem))
    for path, slope in slopes_of(fit, problem).items():
        if path in skipped or not specs[path][0].free:
            continue
        known = ~fixed[path].isnan() if fixed and path in fixed else torch.zeros_like(slope, dtype=torch.bool)
        rest = slope.masked_fill(known, 0.0)
        rest = rest.flatten(0, depth - 1).sum(0) if path in fit.mixture.shared else rest
        if float(rest.abs().max()) > LOCAL:
            raise AssertionError(
                f"broken: the likelihood has no slope at a fit ({float(rest.abs().max()):.2g} in {path})"
            )


def slopes_of(fit: Fit, problem: ExampleProblem, step: float = 1e-5) -> dict[str, Tensor]:
    """Return central differences of the mean log density in every entry of the measure of a fit, by path.

    In units of the largest entry of their path; of the logarithm where parameters are positive.

    Parameters
    ----------
    fit : Fit
    problem : ExampleProblem
    step : float
        Half the distance of the two values.

    Returns
    -------
    dict of str to Tensor

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fit_from_truth, fitting_problem, slopes_of
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> max(float(slope.abs().max()) for slope in slopes_of(fit_from_truth(problem), problem).values()) < 1e-6
    True
    """
    paths, depth = fit.measure.paths(), fit.mixture.depth
    specs = specifications(fit.mixture, *sizes(problem))
    out = {}
    for path, value in paths.items():
        signed = specs[path][0].bounds[0] < 0
        size = step * (value.abs().max().clamp_min(1e-3).expand_as(value) if signed else value)
        moves = torch.diag(size.flatten()).reshape(-1, *value.shape)
        ends = []
        for move in (moves, -moves):
            batch = {name: other.expand(len(moves), *other.shape) for name, other in paths.items()}
            measure = from_paths({**batch, path: value + move}, depth)
            ends.append(log_density(fit.mixture, measure, problem.x, problem.gate_x, problem.y).mean(-1))
        out[path] = ((ends[0] - ends[1]) / (2 * step)).reshape(value.shape)
    return out


def assert_same_fit(found: Fit, expected: Fit, problem: ExampleProblem, why: str, tolerance: float = FITTED) -> None:
    """Compare two fits: log-likelihoods, statuses, ranks, and responsibilities up to the order of the leaves."""
    one, other = (number(fit.log_likelihood) for fit in (found, expected))
    assert_close(one, other, f"{why}: log-likelihood", tolerance)
    for what in ("status", "df"):
        one, other = getattr(found, what), getattr(expected, what)
        if one != other:
            raise AssertionError(f"broken: {why}: {what} ({one}, expected {other})")
    shares = [responsibilities_of(fit, problem) for fit in (found, expected)]
    assert_close(matched(*shares), shares[1], f"{why}: responsibilities", 100 * tolerance)


def matched(found: Tensor, expected: Tensor) -> Tensor:
    """Return rows of `found` (L, n) in the order that is closest to `expected`, each used once."""
    gap = (found[:, None] - expected).abs().sum(-1)
    order = torch.zeros(len(found), dtype=torch.long)
    for _ in range(len(found)):
        one, other = divmod(int(gap.argmin()), len(found))
        order[other] = one
        gap[one], gap[:, other] = torch.inf, torch.inf
    return found[order]
