"""Laws of fits: of EM, of optima and their certificates, and of what may not matter to a fit.

They are stated about a `Problem` with enough rows to be fitted, such as `fitting_problem` draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import pi
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from gatewise.core.chart import from_paths, make_chart, specifications
from gatewise.core.experts import Expert
from gatewise.core.gates import Gate
from gatewise.core.mixture import (
    Measure,
    Mixture,
    leaf_log_joint,
    leaf_log_weights,
    log_density,
    responsibilities,
)
from gatewise.core.rows import Rows, make_rows
from gatewise.fit import Fit, Status, em, expectation_maximisation, frames, maximum_likelihood
from gatewise.fit import problem as sums
from gatewise.fit.model import prepare
from gatewise.fit.relocate import applies, relocations
from gatewise.fit.starts import draw_starts, seeds
from gatewise.testing.compare import assert_close, batched_derivatives
from gatewise.testing.problems import Problem, draw_measure, drawn_rows, generator, make_problem, sizes

LOCAL = 1e-6  # largest slope of the log-likelihood per row, in any parameter, at a fit that is called an optimum
FITTED = 1e-6  # agreement of two fits of the same data
SOLVED = {Status.converged, Status.at_kink, Status.at_bound, Status.unidentified}


def fitting_problem(
    mixture: Mixture, *, d: int = 2, gate_d: int = 2, columns: int = 1, n: int = 150, seed: int = 0
) -> Problem:
    """Draw a problem whose experts are told apart by the data: intercepts apart, small scales, steep gates.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> fitting_problem(Mixture((GATES["softmax"],), (2,))).y.shape
    torch.Size([1, 150])
    """
    drawn = make_problem(mixture, d=d, gate_d=gate_d, columns=columns, n=2, seed=seed).measure.paths()
    leaves = mixture.n_leaves
    level = torch.arange(leaves, dtype=torch.float64) - 0.5 * (leaves - 1)
    step = 2.0 if mixture.family.location_scale else 1.2
    for path, value in drawn.items():
        if path == "experts.intercept" and path not in mixture.shared:
            moved = value.reshape(leaves, -1) + step * level[:, None]
            drawn[path] = moved.reshape(value.shape)
        elif path in ("family.scale", "family.cholesky"):
            drawn[path] = 0.4 * value
        elif path.endswith(("weight", "center", "quadratic")):
            drawn[path] = 2.0 * value
    return drawn_rows(mixture, from_paths(drawn, mixture.depth), d, gate_d, n, seed + 1)


def rows_of(problem: Problem, **options: Any) -> Rows:
    """Return the rows of a problem; `options` go to `make_rows`."""
    gate_x = None if problem.gate_x is problem.x else problem.gate_x.T
    return make_rows(problem.x.T, problem.y.T, gate_x=gate_x, **options)


def fit_from_truth(problem: Problem, **options: Any) -> Fit:
    """Fit a problem from the measure that drew it."""
    options.setdefault("starts", [problem.measure])
    return maximum_likelihood(problem.mixture, rows_of(problem), **options)


def responsibilities_of(fit: Fit, problem: Problem) -> Tensor:
    """Return the responsibilities ``(L, n)`` of a fit at the rows of a problem."""
    return responsibilities(fit.mixture, fit.measure, problem.x, problem.gate_x, problem.y)


def log_likelihood_of(fit: Fit, problem: Problem) -> Tensor:
    """Return the log-likelihood of a fit, summed over the rows of a problem."""
    return log_density(fit.mixture, fit.measure, problem.x, problem.gate_x, problem.y).sum()


def number(value: float) -> Tensor:
    """Return a number as a tensor of double precision."""
    return torch.tensor(value, dtype=torch.float64)


def _bare(problem: Problem, seed: int, members: int = 3, spread: float = 0.2) -> tuple[sums.Problem, Tensor]:
    """Return a problem of the fitting room in the units of the data, and members (S, P) around the truth."""
    d, gate_d, q = sizes(problem)
    chart = make_chart(problem.mixture, d, gate_d, q)
    g = generator(problem.seed + seed)
    noise = torch.randn(members, chart.size, generator=g, dtype=torch.float64)
    free = torch.clamp(chart.free(problem.measure) + spread * noise, chart.lower, chart.upper)
    return sums.Problem(chart, rows_of(problem)), free


def _mean_loss(problem: Problem, free: Tensor, chart_of: sums.Problem) -> Tensor:
    measure = chart_of.chart.measure(free)
    return -log_density(problem.mixture, measure, problem.x, problem.gate_x, problem.y).mean(-1)


def law_em_monotone(problem: Problem) -> None:
    """EM never raises its objective, whose trace ends at the objective of the point it returns, for every member."""
    bare, free = _bare(problem, 70)
    path = expectation_maximisation(bare, free, max_iter=25)
    trace = torch.stack(path.trace)
    rise = (trace[1:] - trace[:-1]).amax() if len(trace) > 1 else trace.new_zeros(())
    if float(rise) > 1e-12 * (1 + float(trace.abs().max())):
        raise AssertionError(f"broken: EM never raises its objective (rose by {float(rise):.3g})")
    assert_close(trace[0], _mean_loss(problem, free, bare), "the trace of EM begins at the start's objective")
    assert_close(trace[-1], _mean_loss(problem, path.free, bare), "the trace of EM ends at the objective of its point")


def law_em_moves(problem: Problem) -> None:
    """One pass of EM lowers the objective and moves every free parameter of every gate and expert."""
    bare, free = _bare(problem, 71)
    path = expectation_maximisation(bare, free, max_iter=2)
    for _ in range(8):  # a pass that overshoots is halved
        if bool((path.trace[-1] < path.trace[0]).all()):
            break
        path = expectation_maximisation(bare, free, max_iter=path.n_iter + 1)
    if not bool((path.trace[-1] < path.trace[0]).all()):
        raise AssertionError("broken: EM lowers the objective away from an optimum")
    moved = (path.free - free).abs().amin(0).tolist()
    still = [name for name, by in zip(bare.chart.names, moved, strict=True) if by < 1e-9 and "family." not in name]
    if still:
        raise AssertionError(f"broken: EM moves every parameter ({', '.join(still)} stayed)")


def law_em_step(problem: Problem) -> None:
    """EM's step for linear Gaussian experts is weighted least squares, then the root of the mean squared residual.

    With weights the responsibilities, by an independent solver; a shared scale pools the residuals of all leaves.
    """
    mixture = problem.mixture
    bare, free = _bare(problem, 72, members=1, spread=0.05)
    measure = bare.chart.measure(free[0])
    share = responsibilities(mixture, measure, problem.x, problem.gate_x, problem.y)
    design = torch.cat([problem.x, torch.ones_like(problem.x[:1])]).T
    aim = bare.chart.measure(em._expect(bare, free).aim[0])
    coef = aim.experts["coef"].flatten(0, mixture.depth - 1)
    intercept = aim.experts["intercept"].flatten(0, mixture.depth - 1)
    squares = []
    for leaf, weight in enumerate(share):
        root = weight.sqrt()[:, None]
        plane = torch.linalg.lstsq(root * design, root * problem.y.T).solution.T
        assert_close(coef[leaf], plane[:, :-1], "EM's coefficients are weighted least squares", 1e-8)
        assert_close(intercept[leaf], plane[:, -1], "EM's intercepts are weighted least squares", 1e-8)
        squares.append(weight @ (problem.y.T - design @ plane.T) ** 2)
    total, mass = torch.stack(squares), share.sum(-1, keepdim=True)
    if "family.scale" in mixture.shared:
        total, mass = total.sum(0, keepdim=True).expand_as(total), mass.sum(0, keepdim=True)
    scale = aim.family["scale"].flatten(0, mixture.depth - 1)
    assert_close(scale, torch.sqrt(total / mass), "EM's scales are root mean squared residuals", 1e-8)


def law_em_optimum(problem: Problem) -> None:
    """EM ends where Newton's method ends: the same log-likelihood and leaf weights, from a start beside the optimum."""
    optimum = fit_from_truth(problem)
    g = generator(problem.seed + 73)
    beside = optimum.measure.map(lambda v: v * (1 + 0.02 * torch.rand(v.shape, generator=g, dtype=v.dtype)))
    slow = fit_from_truth(problem, starts=[beside], method="em", max_iter=3000)
    values = [number(fit.log_likelihood) for fit in (slow, optimum)]
    assert_close(*values, "EM and Newton's method end at one log-likelihood", 1e-8)
    weights = [leaf_log_weights(fit.mixture, fit.measure, problem.gate_x).exp() for fit in (slow, optimum)]
    assert_close(*weights, "EM and Newton's method end at the same weights", 1e-3)


def law_fit_optimum(problem: Problem) -> None:
    """A fit called an optimum is one: slopes of the log-likelihood below 1e-6 per row, by differences, and curvature.

    The slopes are taken in every parameter of the reported measure, in the units of the data; parameters on kinks and
    bounds, and held ones, are left out. `log_likelihood`, `objective` and `rank` are computed again.
    """
    fit = fit_from_truth(problem)
    assert_solved(fit)
    value = log_likelihood_of(fit, problem)
    assert_close(number(fit.log_likelihood), value, "the reported log-likelihood is the density's")
    assert_close(number(fit.objective), -value / fit.n, "the objective is minus the mean log density")
    assert_stationary(fit, problem)
    _assert_certified(fit, problem)


def assert_solved(fit: Fit) -> None:
    """Raise unless everything that is said of a fit can be said of an optimum."""
    others = [str(flag) for flag in fit.flags if flag not in SOLVED]
    if others:
        raise AssertionError(f"broken: a fit from the truth ends at an optimum (it ended {', '.join(others)})")


def assert_stationary(fit: Fit, problem: Problem, fixed: Mapping[str, Tensor] | None = None) -> None:
    """Raise unless the mean log density has no slope at a fit, by central differences in every free parameter.

    Parameters
    ----------
    fixed : mapping path -> Tensor, optional
        What was not estimated; NaN entries were.
    """
    depth = fit.mixture.depth
    at_rest = (*fit.certificate.kinks, *fit.certificate.active, *fit.certificate.floor)
    skipped = {name.partition("[")[0] for name in at_rest}
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


def slopes_of(fit: Fit, problem: Problem, step: float = 1e-5) -> dict[str, Tensor]:
    """Return central differences of the mean log density in every entry of the measure of a fit, by path.

    In units of the largest entry of their path; of the logarithm where parameters are positive.
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


def _assert_certified(fit: Fit, problem: Problem) -> None:
    """Compare the rank with that of an automatic Hessian in free coordinates, and check its sign."""
    d, gate_d, q = sizes(problem)
    chart = make_chart(fit.mixture, d, gate_d, q)

    def loss(free: Tensor) -> Tensor:
        measure = chart.measure(free)
        return -log_density(fit.mixture, measure, problem.x, problem.gate_x, problem.y).mean(-1)

    if fit.certificate.kinks or fit.certificate.active or fit.certificate.floor:
        return
    _, _, hessian = batched_derivatives(loss, chart.free(fit.measure))
    size = hessian.diagonal().abs().sqrt().clamp_min(1e-150)
    values = torch.linalg.eigvalsh(hessian / size[:, None] / size)
    rank = int((values > 1e-9).sum())
    if rank != fit.certificate.rank:
        raise AssertionError(f"broken: the rank is that of the Hessian ({fit.certificate.rank}, expected {rank})")
    if float(values.min()) < -1e-7:
        raise AssertionError(f"broken: the Hessian has no negative eigenvalue at a fit ({float(values.min()):.2g})")


def law_fit_one_expert(problem: Problem) -> None:
    """One linear Gaussian expert is ordinary least squares: coefficients, scale, and log-likelihood by its formula."""
    mixture = replace(problem.mixture, gates=problem.mixture.gates[:1], branching=(1,), shared=())
    fit = maximum_likelihood(mixture, rows_of(problem), starts=1)
    design = torch.cat([problem.x, torch.ones_like(problem.x[:1])]).T
    plane = torch.linalg.lstsq(design, problem.y.T).solution.T
    variance = ((problem.y.T - design @ plane.T) ** 2).mean(0)
    assert_close(fit.measure.experts["coef"][0], plane[:, :-1], "one expert has the slopes of least squares", 1e-8)
    assert_close(fit.measure.experts["intercept"][0], plane[:, -1], "one expert has least squares' intercept", 1e-8)
    assert_close(fit.measure.family["scale"][0], variance.sqrt(), "one expert's scale is the residuals'", 1e-8)
    n = problem.y.shape[-1]
    expected = -0.5 * n * (torch.log(2 * pi * variance) + 1).sum()
    assert_close(number(fit.log_likelihood), expected, "one expert's log-likelihood is the formula's", 1e-9)
    if not {Status.converged, Status.unidentified}.issuperset(fit.flags) or fit.df != plane.numel() + len(variance):
        raise AssertionError(f"broken: one expert is an ordinary regression (it is {fit.status} with {fit.df} df)")


def law_fit_nested(problem: Problem, larger: Mixture, starts: int = 20) -> None:
    """A larger mixture, of which the problem's is a special case, never ends at a lower log-likelihood."""
    rows = rows_of(problem)
    small, large = (maximum_likelihood(m, rows, starts=starts) for m in (problem.mixture, larger))
    if large.log_likelihood < small.log_likelihood - FITTED * (1 + abs(small.log_likelihood)):
        raise AssertionError(
            f"broken: a larger nested model has no lower likelihood ({large.log_likelihood:.6f} below "
            f"{small.log_likelihood:.6f})"
        )


def _assert_same_fit(found: Fit, expected: Fit, problem: Problem, why: str, tolerance: float = FITTED) -> None:
    """Compare two fits: log-likelihoods, statuses, ranks, and responsibilities up to the order of the leaves."""
    values = [number(fit.log_likelihood) for fit in (found, expected)]
    assert_close(*values, f"{why}: log-likelihood", tolerance)
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


def law_fit_starts(problem: Problem, count: int = 8) -> None:
    """Starts are drawn from the set of weighted rows: not from their order, and a weight of two is the row twice.

    So are the places to which an expert may be moved.
    """
    order = torch.randperm(problem.y.shape[-1], generator=generator(problem.seed + 78))
    weight, repeated = weighted_and_repeated(problem)
    pairs = {
        "the order of the rows": (rows_of(problem), rows_of(_picked(problem, order))),
        "a weight for repeated rows": (rows_of(problem, weight=weight), rows_of(repeated)),
    }
    for why, both in pairs.items():
        models = [prepare(problem.mixture, rows) for rows in both]
        drawn = [draw_starts(model.chart, model.rows, count, seeds(0, 1)[0])[0] for model in models]
        assert_close(drawn[1], drawn[0], f"starts do not depend on {why}", FITTED)
        whole = [sums.Problem(model.chart, model.rows) for model in models]
        if applies(whole[0]):
            at = drawn[0][0]
            moved = [relocations(part, at)[:2] for part in whole]
            assert_close(moved[1], moved[0], f"moved experts do not depend on {why}", FITTED)


def weighted_and_repeated(problem: Problem) -> tuple[Tensor, Problem]:
    """Return weights from zero to three, and the problem with each row as often as its weight says."""
    n = problem.y.shape[-1]
    weight = torch.tensor([2.0, 0.0, 1.0, 1.0, 3.0], dtype=torch.float64).repeat(n // 5 + 1)[:n]
    return weight, _picked(problem, torch.repeat_interleave(torch.arange(n), weight.long()))


def _picked(problem: Problem, rows: Tensor) -> Problem:
    return problem._replace(x=problem.x[:, rows], gate_x=problem.gate_x[:, rows], y=problem.y[:, rows])


def law_fit_order(problem: Problem, starts: int = 4) -> None:
    """The order of the rows does not matter to what is found."""
    order = torch.randperm(problem.y.shape[-1], generator=generator(problem.seed + 74))
    moved = _picked(problem, order)
    fit = maximum_likelihood(problem.mixture, rows_of(problem), starts=starts)
    again = maximum_likelihood(problem.mixture, rows_of(moved), starts=starts)
    _assert_same_fit(again, fit, problem, "the order of the rows does not matter")


def law_fit_blocks(problem: Problem) -> None:
    """The size of the blocks in which rows are read does not matter."""
    fit = fit_from_truth(problem)
    for cells, fewest, most in ((2**10, 5, 16), (2**12, 64, 64)):
        with patch.multiple(sums, CELLS=cells, FEWEST=fewest, MOST=most):
            small = fit_from_truth(problem)
        _assert_same_fit(small, fit, problem, "the size of blocks does not matter")
        assert_close(number(small.log_likelihood), number(fit.log_likelihood), "blocks add up")


def law_fit_frequencies(problem: Problem, starts: int = 4) -> None:
    """A weight of two is the row twice, a weight of zero is no row: for the starts and for the fit."""
    weight, repeated = weighted_and_repeated(problem)
    for options in ({"starts": [problem.measure]}, {"starts": starts}):
        fit = maximum_likelihood(problem.mixture, rows_of(problem, weight=weight), **options)
        again = maximum_likelihood(problem.mixture, rows_of(repeated), **options)
        _assert_same_fit(fit, again, problem, "a weight counts how often a row is there")
        if fit.n != again.n:
            raise AssertionError(f"broken: n is the sum of the weights ({fit.n}, expected {again.n})")


def law_fit_repeats(problem: Problem, starts: int = 4) -> None:
    """A fit repeats to the last bit for a seed, and leaves the global generators alone."""
    before = torch.random.get_rng_state()
    one, other = (maximum_likelihood(problem.mixture, rows_of(problem), starts=starts, seed=3) for _ in range(2))
    if not torch.equal(before, torch.random.get_rng_state()):
        raise AssertionError("broken: a fit leaves the global generator alone")
    paths = other.measure.paths()
    for path, value in one.measure.paths().items():
        if not torch.equal(value, paths[path]):
            raise AssertionError(f"broken: a fit repeats to the last bit for a seed ({path} differs)")
    if one.log_likelihood != other.log_likelihood or not torch.equal(
        one.starts.log_likelihood, other.starts.log_likelihood
    ):
        raise AssertionError("broken: a fit repeats to the last bit for a seed (the log-likelihood differs)")


def law_fit_given_starts(problem: Problem) -> None:
    """Given starts may come in any order, with leaves in any order; the best of them is taken."""
    g = generator(problem.seed + 75)
    starts = [problem.measure, *(draw_measure(problem.mixture, *sizes(problem), g) for _ in range(2))]
    fit, again = (fit_from_truth(problem, starts=chosen) for chosen in (starts, starts[::-1]))
    _assert_same_fit(again, fit, problem, "the order of given starts does not matter")
    if not problem.mixture.kinked:  # on kinks, rounding decides between optima
        ends = fit.starts.log_likelihood.flip(0)
        assert_close(again.starts.log_likelihood, ends, "each start ends where it does alone", FITTED)
    best = float(fit.starts.log_likelihood[fit.starts.sound].max())
    if fit.starts.kind != ("given",) * 3 or fit.log_likelihood < best - FITTED:
        raise AssertionError("broken: the best of the given starts is taken")


def law_fit_streamed(problem: Problem) -> None:
    """Rows read piece by piece from an array are fitted as rows held in memory, to 1e-10."""
    held = fit_from_truth(problem)
    arrays = [part.T.contiguous().numpy() for part in (problem.x, problem.y, problem.gate_x)]
    rows = make_rows(arrays[0], arrays[1], gate_x=arrays[2], hold=False)
    streamed = maximum_likelihood(problem.mixture, rows, starts=[problem.measure])
    assert_close(number(streamed.log_likelihood), number(held.log_likelihood), "streamed rows are rows in memory")
    shares = [responsibilities_of(fit, problem) for fit in (streamed, held)]
    assert_close(*shares, "streamed rows are rows in memory: responsibilities", FITTED)


def law_fit_units(problem: Problem, starts: int = 2) -> None:
    """Other units, ``1e6 x + 1e8`` and ``1e-6 y - 3``, change no responsibility: the fit follows the data.

    A gate or an expert that depends on the units by definition is fitted in its `standardised` form, and so is every
    gate once more. Counts keep their units.
    """
    frames_of = [frames.moments(part, None, None) for part in _parts(problem)]
    forms = {_standardised(problem.mixture, frames_of)}
    if _equivariant(problem, frames_of):
        forms.add(problem.mixture)
    moved = problem._replace(x=1e6 * problem.x + 1e8, gate_x=1e6 * problem.gate_x + 1e8)
    if problem.mixture.family.location_scale:
        moved = moved._replace(y=1e-6 * problem.y - 3)
    frames_moved = [frames.moments(part, None, None) for part in _parts(moved)]
    for mixture in forms:
        plain = mixture == problem.mixture
        other = mixture if plain else _standardised(problem.mixture, frames_moved)
        fit = maximum_likelihood(mixture, rows_of(problem), starts=starts)
        again = maximum_likelihood(other, rows_of(moved), starts=starts)
        shares = responsibilities_of(fit, problem), responsibilities_of(again, moved)
        assert_close(matched(*shares), shares[1], "other units change no responsibility", 1e-6)
        if fit.status != again.status:
            raise AssertionError(f"broken: other units change no status ({again.status}, expected {fit.status})")


def _parts(problem: Problem) -> tuple[Any, Any, Any]:
    rows = rows_of(problem)
    return rows.x, rows.gate_x, rows.y


def _standardised(mixture: Mixture, parts: list[Any]) -> Mixture:
    gates = tuple(gate.standardised(parts[1]) for gate in mixture.gates)
    return replace(mixture, gates=gates, expert=mixture.expert.standardised(parts[0], parts[2]))


def _equivariant(problem: Problem, parts: list[Any]) -> bool:
    """Return whether every part of the mixture is the same part in other units."""
    measure, mixture = problem.measure, problem.mixture
    moved: list[tuple[Gate | Expert, Any]] = [
        (gate, gate.rescale(params, parts[1])) for gate, params in zip(mixture.gates, measure.gates, strict=True)
    ]
    moved.append((mixture.expert, mixture.expert.rescale(measure.experts, parts[0])))
    return all(found is not None and found[0] == part for part, found in moved)


def law_fit_groups(problem: Problem, size: int = 3) -> None:
    """Rows of a group share one leaf: the log-likelihood of the fit is the sum over groups, by brute force.

    ``sum_i log sum_l pi_l(first gate input of i) prod_j p_l(y_ij | x_ij)``, with no slope left in any parameter.
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
    chart = make_chart(mixture, *sizes(problem))
    _, slope, _ = batched_derivatives(lambda free: brute(chart.measure(free)) / n, chart.free(fit.measure))
    slope = slope[torch.tensor([name not in fit.certificate.active for name in chart.names])]
    if float(slope.abs().max()) > LOCAL:
        raise AssertionError(
            f"broken: the likelihood of groups has no slope at the fit ({float(slope.abs().max()):.2g})"
        )


def _same_leaf(problem: Problem, n: int, size: int) -> Tensor:
    """Return responses ``(c, n)`` of which those of one group come from one leaf."""
    mixture, measure = problem.mixture, problem.measure
    weight = leaf_log_weights(mixture, measure, problem.gate_x[:, :n]).exp()[:, ::size]
    leaf = torch.multinomial(weight.T, 1, generator=generator(problem.seed + 76))[:, 0].repeat_interleave(size)
    eta = mixture.expert(measure.experts, problem.x[:, :n]).flatten(0, mixture.depth - 1)
    family = {k: v.flatten(0, mixture.depth - 1) for k, v in measure.family.items()}
    drawn = mixture.family.sample(family, eta, generator(problem.seed + 77))
    return drawn[leaf, :, torch.arange(n)].T


def law_fit_ties(problem: Problem) -> None:
    """Parameters named in `shared` are equal over the leaves at the fit, and fewer: not better than free ones."""
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


def law_fit_fixed(problem: Problem) -> None:
    """Fixed parts keep their values, in the units given, and the others are at an optimum given these."""
    paths = problem.measure.paths()
    held = {path: value.clone() for path, value in paths.items() if path.startswith("experts.")}
    name = next(iter(held))
    part = torch.where(torch.arange(held[name].numel()).reshape(held[name].shape) == 0, held[name] + 0.1, torch.nan)
    for fixed in ({name: part}, held):
        fit = fit_from_truth(problem, fixed=fixed)
        for path, value in fixed.items():
            known = ~value.isnan()
            assert_close(fit.measure.paths()[path][known], value[known], f"a fixed {path} keeps its value")
        assert_stationary(fit, problem, fixed)


def law_fit_ridge(problem: Problem, alpha: float = 5.0) -> None:
    """The penalty is ``alpha / 2 sum ||w_k - mean w||^2`` of slopes in standardised units; it shrinks them.

    The penalised log-likelihood has no slope at the fit, and a large alpha makes the slopes of all branches equal.
    """
    frame = frames.moments(_parts(problem)[1], None, None)
    plain, fit, heavy = (fit_from_truth(problem, alpha=a) for a in (0.0, alpha, 1e9))
    sizes_of = [_centred_square(f.measure, f.mixture, frame.scale) for f in (plain, fit, heavy)]
    assert_close(number(fit.penalty), 0.5 * alpha * sizes_of[1], "the penalty is its formula", 1e-8)
    if plain.penalty != 0:
        raise AssertionError(f"broken: there is no penalty without alpha (found {plain.penalty})")
    if not sizes_of[0] > sizes_of[1] > sizes_of[2] or float(sizes_of[2]) > 1e-9:
        raise AssertionError(f"broken: alpha shrinks the slopes ({', '.join(f'{float(v):.3g}' for v in sizes_of)})")
    value = -(number(fit.log_likelihood) - fit.penalty) / fit.n
    assert_close(number(fit.objective), value, "the objective holds the penalty")
    chart = make_chart(fit.mixture, *sizes(problem))

    def penalised(free: Tensor) -> Tensor:
        measure = chart.measure(free)
        total = log_density(fit.mixture, measure, problem.x, problem.gate_x, problem.y).mean(-1)
        return total - 0.5 * alpha / fit.n * _centred_square(measure, fit.mixture, frame.scale)

    slope = batched_derivatives(penalised, chart.free(fit.measure))[1]
    if float(slope.abs().max()) > LOCAL:
        raise AssertionError(
            f"broken: the penalised likelihood has no slope at the fit ({float(slope.abs().max()):.2g})"
        )


def _centred_square(measure: Measure, mixture: Mixture, scale: Tensor) -> Tensor:
    """Return ``sum ||w_k - mean w||^2`` over all gates, slopes in standardised units."""
    total = torch.zeros((), dtype=torch.float64)
    for gate, params in zip(mixture.gates, measure.gates, strict=True):
        for name in gate.score.slopes():
            slope = params[name] * scale
            batch = measure.experts["intercept"].ndim - mixture.depth - 1
            total = total + ((slope - slope.mean(-2, keepdim=True)) ** 2).flatten(batch).sum(-1)
    return total


EM_LAWS: tuple[Callable[[Problem], None], ...] = (law_em_monotone, law_em_moves)
FIT_LAWS: tuple[Callable[[Problem], None], ...] = (
    law_fit_optimum,
    law_fit_starts,
    law_fit_order,
    law_fit_blocks,
    law_fit_frequencies,
    law_fit_repeats,
    law_fit_given_starts,
    law_fit_streamed,
    law_fit_units,
)
