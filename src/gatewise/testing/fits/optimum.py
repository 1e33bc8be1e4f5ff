"""Laws of fits: they end at optima, and their certificates, penalties and degrees of freedom are true."""

from __future__ import annotations

from dataclasses import replace
from math import pi

import torch
from torch import Tensor

from gatewise.core.mixture import (
    Measure,
    Mixture,
    leaf_log_joint,
    leaf_log_weights,
    log_density,
)
from gatewise.fit import Fit, Status, frames, maximum_likelihood
from gatewise.fit.spec import FitSpec
from gatewise.objective.parameterization import make_parameterization
from gatewise.testing.compare import assert_close, batched_derivatives
from gatewise.testing.fits.laws import (
    FITTED,
    LOCAL,
    assert_same_fit,
    assert_solved,
    assert_stationary,
    fit_from_truth,
    log_likelihood_of,
    number,
    parts_of,
    rows_of,
)
from gatewise.testing.problems import ExampleProblem, draw_measure, generator, sizes


def law_fit_optimum(problem: ExampleProblem) -> None:
    """A fit called an optimum is one: slopes of the log-likelihood below 1e-6 per row, by differences, and curvature.

    The slopes are taken in every parameter of the reported measure, in the units of the data; parameters on kinks and
    bounds, and held ones, are left out. `log_likelihood`, `objective` and `rank` are computed again.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_optimum
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_optimum(problem)
    """
    fit = fit_from_truth(problem)
    assert_solved(fit)
    value = log_likelihood_of(fit, problem)
    assert_close(number(fit.log_likelihood), value, "the reported log-likelihood is the density's")
    assert_close(number(fit.objective), -value / fit.n, "the objective is minus the mean log density")
    assert_stationary(fit, problem)
    _assert_certified(fit, problem)


def _assert_certified(fit: Fit, problem: ExampleProblem) -> None:
    """Compare the rank with that of an automatic Hessian in free coordinates, and check its sign."""
    d, gate_d, q = sizes(problem)
    parameterization = make_parameterization(fit.mixture, d, gate_d, q)

    def loss(free: Tensor) -> Tensor:
        measure = parameterization.measure(free)
        return -log_density(fit.mixture, measure, problem.x, problem.gate_x, problem.y).mean(-1)

    if fit.certificate.kinks or fit.certificate.active or fit.certificate.floor:
        return
    _, _, hessian = batched_derivatives(loss, parameterization.free(fit.measure))
    size = hessian.diagonal().abs().sqrt().clamp_min(1e-150)
    values = torch.linalg.eigvalsh(hessian / size[:, None] / size)
    rank = int((values > 1e-9).sum())
    if rank != fit.certificate.rank:
        raise AssertionError(f"broken: the rank is that of the Hessian ({fit.certificate.rank}, expected {rank})")
    if float(values.min()) < -1e-7:
        raise AssertionError(f"broken: the Hessian has no negative eigenvalue at a fit ({float(values.min()):.2g})")


def law_fit_one_expert(problem: ExampleProblem) -> None:
    """One linear Gaussian expert is ordinary least squares: coefficients, scale, and log-likelihood by its formula.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_one_expert
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_one_expert(problem)
    """
    mixture = replace(problem.mixture, gates=problem.mixture.gates[:1], branching=(1,), shared=())
    fit = maximum_likelihood(mixture, rows_of(problem), starts=1)
    design = torch.cat([problem.x, torch.ones_like(problem.x[:1])]).T
    plane = torch.linalg.lstsq(design, problem.y.T).solution.T
    variance = ((problem.y.T - design @ plane.T) ** 2).mean(0)
    values, slopes = fit.measure.paths(), mixture.paths("experts", "slope")
    paths = slopes, mixture.paths("experts", "intercept"), mixture.paths("family", "scale")
    slope, intercept, scale = (values[path] for (path,) in paths)
    assert_close(slope[0], plane[:, :-1], "one expert has the slopes of least squares", 1e-8)
    assert_close(intercept[0], plane[:, -1], "one expert has least squares' intercept", 1e-8)
    assert_close(scale[0], variance.sqrt(), "one expert's scale is the residuals'", 1e-8)
    n = problem.y.shape[-1]
    expected = -0.5 * n * (torch.log(2 * pi * variance) + 1).sum()
    assert_close(number(fit.log_likelihood), expected, "one expert's log-likelihood is the formula's", 1e-9)
    if not {Status.converged, Status.unidentified}.issuperset(fit.flags) or fit.df != plane.numel() + len(variance):
        raise AssertionError(f"broken: one expert is an ordinary regression (it is {fit.status} with {fit.df} df)")


def law_fit_nested(problem: ExampleProblem, larger: Mixture, starts: int = 20) -> None:
    """A larger mixture, of which the problem's is a special case, never ends at a lower log-likelihood.

    Parameters
    ----------
    problem : ExampleProblem
    larger : Mixture
        A mixture that contains that of the problem.
    starts : int
        Number of starts of every fit.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_nested
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_nested(problem, Mixture((GATES["softmax"],), (3,)))
    """
    rows = rows_of(problem)
    small, large = (maximum_likelihood(m, rows, starts=starts) for m in (problem.mixture, larger))
    if large.log_likelihood < small.log_likelihood - FITTED * (1 + abs(small.log_likelihood)):
        raise AssertionError(
            f"broken: a larger nested model has no lower likelihood ({large.log_likelihood:.6f} below "
            f"{small.log_likelihood:.6f})"
        )


def law_fit_given_starts(problem: ExampleProblem) -> None:
    """Given starts may come in any order, with leaves in any order; the best of them is taken.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_given_starts
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_given_starts(problem)
    """
    g = generator(problem.seed + 75)
    starts = [problem.measure, *(draw_measure(problem.mixture, *sizes(problem), g) for _ in range(2))]
    fit, again = (fit_from_truth(problem, starts=chosen) for chosen in (starts, starts[::-1]))
    assert_same_fit(again, fit, problem, "the order of given starts does not matter")
    if not problem.mixture.kinked:  # on kinks, rounding decides between optima
        ends = fit.starts.log_likelihood.flip(0)
        assert_close(again.starts.log_likelihood, ends, "each start ends where it does alone", FITTED)
    best = float(fit.starts.log_likelihood[fit.starts.sound].max())
    if fit.starts.kind != ("given",) * 3 or fit.log_likelihood < best - FITTED:
        raise AssertionError("broken: the best of the given starts is taken")


def law_fit_groups(problem: ExampleProblem, size: int = 3) -> None:
    """Rows of a group share one leaf: the log-likelihood of the fit is the sum over groups, by brute force.

    ``sum_i log sum_l pi_l(first gate input of i) prod_j p_l(y_ij | x_ij)``, with no slope left in any parameter.

    Parameters
    ----------
    problem : ExampleProblem
    size : int
        Rows of a group.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_groups
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_groups(problem)
    """
    n = problem.y.shape[-1] // size * size
    ends = torch.arange(size, n + 1, size)
    grouped = problem._replace(
        x=problem.x[:, :n],
        gate_x=problem.gate_x[:, :n].unflatten(-1, (-1, size))[..., :1].expand(-1, -1, size).flatten(1),
        y=_same_leaf(problem, n, size),
    )
    fit = maximum_likelihood(problem.mixture, rows_of(grouped, ends=ends), starts=[problem.measure])
    mixture = fit.mixture
    assert_solved(fit)

    def brute(measure: Measure) -> Tensor:
        joint = leaf_log_joint(mixture, measure, grouped.x, grouped.gate_x, grouped.y)
        weight = leaf_log_weights(mixture, measure, grouped.gate_x)
        total = (joint - weight).unflatten(-1, (-1, size)).sum(-1) + weight[..., ::size]
        return torch.logsumexp(total, -2).sum(-1)

    assert_close(number(fit.log_likelihood), brute(fit.measure), "groups share a leaf: log-likelihood")
    parameterization = make_parameterization(mixture, *sizes(problem))
    _, slope, _ = batched_derivatives(
        lambda free: brute(parameterization.measure(free)) / n, parameterization.free(fit.measure)
    )
    slope = slope[torch.tensor([name not in fit.certificate.active for name in parameterization.names])]
    if float(slope.abs().max()) > LOCAL:
        raise AssertionError(
            f"broken: the likelihood of groups has no slope at the fit ({float(slope.abs().max()):.2g})"
        )


def _same_leaf(problem: ExampleProblem, n: int, size: int) -> Tensor:
    """Return responses ``(c, n)`` of which those of one group come from one leaf."""
    mixture, measure = problem.mixture, problem.measure
    weight = leaf_log_weights(mixture, measure, problem.gate_x[:, :n]).exp()[:, ::size]
    leaf = torch.multinomial(weight.T, 1, generator=generator(problem.seed + 76))[:, 0].repeat_interleave(size)
    eta = mixture.expert(measure.experts, problem.x[:, :n]).flatten(0, mixture.depth - 1)
    family = {k: v.flatten(0, mixture.depth - 1) for k, v in measure.family.items()}
    drawn = mixture.family.sample(family, eta, generator(problem.seed + 77))
    return drawn[leaf, :, torch.arange(n)].T


def law_fit_ties(problem: ExampleProblem) -> None:
    """Parameters named in `shared` are equal over the leaves at the fit, and fewer: not better than free ones.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_ties
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_ties(problem)
    """
    fit = fit_from_truth(problem)
    for path in problem.mixture.shared:
        value = fit.measure.paths()[path].flatten(0, problem.mixture.depth - 1)
        assert_close(value, value[:1].expand_as(value), f"a shared {path} is equal over the leaves", 0.0)
    free = maximum_likelihood(replace(problem.mixture, shared=()), rows_of(problem), starts=[fit.measure])
    if free.log_likelihood < fit.log_likelihood - 1e-9 * abs(fit.log_likelihood):
        raise AssertionError("broken: sharing parameters raises no likelihood")
    saved = sum(fit.measure.paths()[path].numel() for path in problem.mixture.shared)
    saved -= saved // problem.mixture.n_leaves
    if free.df - fit.df != saved:
        raise AssertionError(f"broken: shared parameters are counted once ({free.df - fit.df} saved, expected {saved})")


def law_fit_fixed(problem: ExampleProblem) -> None:
    """Fixed parts keep their values, in the units given, and the others are at an optimum given these.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_fixed
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_fixed(problem)
    """
    paths = problem.measure.paths()
    held = {path: value.clone() for path, value in paths.items() if path.startswith("experts.")}
    name = next(iter(held))
    part = torch.where(torch.arange(held[name].numel()).reshape(held[name].shape) == 0, held[name] + 0.1, torch.nan)
    for fixed in ({name: part}, held):
        fit = fit_from_truth(problem, spec=FitSpec(fixed=fixed))
        for path, value in fixed.items():
            known = ~value.isnan()
            assert_close(fit.measure.paths()[path][known], value[known], f"a fixed {path} keeps its value")
        assert_stationary(fit, problem, fixed)


def law_fit_ridge(problem: ExampleProblem, alpha: float = 5.0) -> None:
    """The penalty is ``alpha / 2 sum ||w_k - mean w||^2`` of slopes in standardised units; it shrinks them.

    The penalised log-likelihood has no slope at the fit, and a large alpha makes the slopes of all branches equal.

    Parameters
    ----------
    problem : ExampleProblem
    alpha : float
        Ridge penalty on gate slopes.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_ridge
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_ridge(problem)
    """
    frame = frames.moments(parts_of(problem)[1], None, None)
    plain, fit, heavy = (fit_from_truth(problem, spec=FitSpec(alpha=a)) for a in (0.0, alpha, 1e9))
    sizes_of = [_centred_square(f.measure, f.mixture, frame.scale) for f in (plain, fit, heavy)]
    assert_close(number(fit.penalty), 0.5 * alpha * sizes_of[1], "the penalty is its formula", 1e-8)
    if plain.penalty != 0:
        raise AssertionError(f"broken: there is no penalty without alpha (found {plain.penalty})")
    if not sizes_of[0] > sizes_of[1] > sizes_of[2] or float(sizes_of[2]) > 1e-9:
        raise AssertionError(f"broken: alpha shrinks the slopes ({', '.join(f'{float(v):.3g}' for v in sizes_of)})")
    value = -(number(fit.log_likelihood) - fit.penalty) / fit.n
    assert_close(number(fit.objective), value, "the objective holds the penalty")
    parameterization = make_parameterization(fit.mixture, *sizes(problem))

    def penalised(free: Tensor) -> Tensor:
        measure = parameterization.measure(free)
        total = log_density(fit.mixture, measure, problem.x, problem.gate_x, problem.y).mean(-1)
        return total - 0.5 * alpha / fit.n * _centred_square(measure, fit.mixture, frame.scale)

    slope = batched_derivatives(penalised, parameterization.free(fit.measure))[1]
    if float(slope.abs().max()) > LOCAL:
        raise AssertionError(
            f"broken: the penalised likelihood has no slope at the fit ({float(slope.abs().max()):.2g})"
        )


def _centred_square(measure: Measure, mixture: Mixture, scale: Tensor) -> Tensor:
    """Return ``sum ||w_k - mean w||^2`` over all gates, slopes in standardised units."""
    total = torch.zeros((), dtype=torch.float64)
    for level, (gate, params) in enumerate(zip(mixture.gates, measure.gates, strict=True)):
        for name in gate.score.names("slope"):
            slope = params[name] * scale
            batch = slope.ndim - level - 2
            total = total + ((slope - slope.mean(-2, keepdim=True)) ** 2).flatten(batch).sum(-1)
    return total
