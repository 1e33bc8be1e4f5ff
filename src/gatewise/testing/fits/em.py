"""Laws of expectation-maximisation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gatewise.core.mixture import (
    leaf_log_weights,
    log_density,
    responsibilities,
)
from gatewise.fit import em, expectation_maximisation
from gatewise.fit import problem as sums
from gatewise.objective.parameterization import make_parameterization
from gatewise.testing.compare import assert_close
from gatewise.testing.fits.laws import (
    fit_from_truth,
    number,
    rows_of,
)
from gatewise.testing.problems import ExampleProblem, generator, sizes


def _bare(problem: ExampleProblem, seed: int, members: int = 3, spread: float = 0.2) -> tuple[sums.Problem, Tensor]:
    """Return a problem of the fitting room in the units of the data, and members (S, P) around the truth."""
    d, gate_d, q = sizes(problem)
    parameterization = make_parameterization(problem.mixture, d, gate_d, q)
    g = generator(problem.seed + seed)
    noise = torch.randn(members, parameterization.size, generator=g, dtype=torch.float64)
    free = parameterization.inside(parameterization.free(problem.measure) + spread * noise)
    return sums.Problem(parameterization, rows_of(problem)), free


def _mean_loss(problem: ExampleProblem, free: Tensor, bare: sums.Problem) -> Tensor:
    measure = bare.parameterization.measure(free)
    return -log_density(problem.mixture, measure, problem.x, problem.gate_x, problem.y).mean(-1)


def law_em_monotone(problem: ExampleProblem) -> None:
    """EM never raises its objective, whose trace ends at the objective of the point it returns, for every member.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_em_monotone
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_em_monotone(problem)
    """
    bare, free = _bare(problem, 70)
    path = expectation_maximisation(bare, free, max_iter=25)
    trace = torch.stack(path.trace)
    rise = (trace[1:] - trace[:-1]).amax() if len(trace) > 1 else trace.new_zeros(())
    if float(rise) > 1e-12 * (1 + float(trace.abs().max())):
        raise AssertionError(f"broken: EM never raises its objective (rose by {float(rise):.3g})")
    assert_close(trace[0], _mean_loss(problem, free, bare), "the trace of EM begins at the start's objective")
    assert_close(trace[-1], _mean_loss(problem, path.free, bare), "the trace of EM ends at the objective of its point")


def law_em_moves(problem: ExampleProblem) -> None:
    """One pass of EM lowers the objective and moves every free parameter of every gate and expert.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_em_moves
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_em_moves(problem)
    """
    bare, free = _bare(problem, 71)
    path = expectation_maximisation(bare, free, max_iter=2)
    for _ in range(8):  # a pass that overshoots is halved
        if bool((path.trace[-1] < path.trace[0]).all()):
            break
        path = expectation_maximisation(bare, free, max_iter=path.n_iter + 1)
    if not bool((path.trace[-1] < path.trace[0]).all()):
        raise AssertionError("broken: EM lowers the objective away from an optimum")
    moved = (path.free - free).abs().amin(0).tolist()
    still = [
        name for name, by in zip(bare.parameterization.names, moved, strict=True) if by < 1e-9 and "family." not in name
    ]
    if still:
        raise AssertionError(f"broken: EM moves every parameter ({', '.join(still)} stayed)")


def law_em_step(problem: ExampleProblem) -> None:
    """EM's step for linear Gaussian experts is weighted least squares, then the root of the mean squared residual.

    With weights the responsibilities, by an independent solver; a shared scale pools the residuals of all leaves.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_em_step
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_em_step(problem)
    """
    mixture = problem.mixture
    bare, free = _bare(problem, 72, members=1, spread=0.05)
    measure = bare.parameterization.measure(free[0])
    share = responsibilities(mixture, measure, problem.x, problem.gate_x, problem.y)
    design = torch.cat([problem.x, torch.ones_like(problem.x[:1])]).T
    aim = bare.parameterization.measure(em._expect(bare, free).aim[0])
    names = mixture.expert.names("slope"), mixture.expert.names("intercept"), mixture.family.names("scale")
    values = {**aim.experts, **aim.family}
    coef, intercept, scale = (values[name].flatten(0, mixture.depth - 1) for (name,) in names)
    squares = []
    for leaf, weight in enumerate(share):
        root = weight.sqrt()[:, None]
        plane = torch.linalg.lstsq(root * design, root * problem.y.T).solution.T
        assert_close(coef[leaf], plane[:, :-1], "EM's coefficients are weighted least squares", 1e-8)
        assert_close(intercept[leaf], plane[:, -1], "EM's intercepts are weighted least squares", 1e-8)
        squares.append(weight @ (problem.y.T - design @ plane.T) ** 2)
    total, mass = torch.stack(squares), share.sum(-1, keepdim=True)
    if set(mixture.paths("family", "scale")) & set(mixture.shared):
        total, mass = total.sum(0, keepdim=True).expand_as(total), mass.sum(0, keepdim=True)
    assert_close(scale, torch.sqrt(total / mass), "EM's scales are root mean squared residuals", 1e-8)


def law_em_optimum(problem: ExampleProblem) -> None:
    """EM ends where Newton's method ends: the same log-likelihood and leaf weights, from a start beside the optimum.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_em_optimum
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_em_optimum(problem)
    """
    optimum = fit_from_truth(problem)
    g = generator(problem.seed + 73)
    beside = optimum.measure.map(lambda v: v * (1 + 0.02 * torch.rand(v.shape, generator=g, dtype=v.dtype)))
    slow = fit_from_truth(problem, starts=[beside], method="em", max_iter=3000)
    value, best = (number(fit.log_likelihood) for fit in (slow, optimum))
    assert_close(value, best, "EM and Newton's method end at one log-likelihood", 1e-8)
    weights, wanted = (leaf_log_weights(fit.mixture, fit.measure, problem.gate_x).exp() for fit in (slow, optimum))
    assert_close(weights, wanted, "EM and Newton's method end at the same weights", 1e-3)


EM_LAWS: tuple[Callable[[ExampleProblem], None], ...] = (law_em_monotone, law_em_moves)
