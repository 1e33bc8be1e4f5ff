"""Maximum likelihood: starts by a few EM steps, L-BFGS and Newton's method; or by EM alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gatewise.core.mixture import Mixture
from gatewise.fit.arguments import seconds, seed_number, whole
from gatewise.fit.clock import Clock, Progress
from gatewise.fit.em import expectation_maximisation
from gatewise.fit.ends import Ends, ends_of, most_promising
from gatewise.fit.given import Start, count_of
from gatewise.fit.pipeline import AUTO, Starting, estimate
from gatewise.fit.problem import LIKELIHOOD, Problem, newton_polish, quasi_newton
from gatewise.fit.result import Fit
from gatewise.fit.search.nested import held_values
from gatewise.fit.search.starts import given_starts
from gatewise.fit.spec import FitSpec
from gatewise.fit.task import FitTask, Method, Points
from gatewise.fit.torch_state import standard_torch_for_rows
from gatewise.objective.rows import Rows
from gatewise.optim import Reason

NESTED = 5  # starts from which simpler mixtures are fitted too, by as many
EARLY, SHORT, LONG = 12, 40, 150  # iterations of L-BFGS: of all, of the most promising, of data sets fitted together
PASSES = 10  # EM steps before


@standard_torch_for_rows
def maximum_likelihood(
    mixture: Mixture,
    rows: Rows,
    spec: FitSpec = FitSpec(),  # noqa: B008 (frozen)
    *,
    starts: Starting = AUTO,
    start: Start | None = None,
    seed: int | None = 0,
    max_time: float | None = None,
    method: str = "newton",
    max_iter: int = 1000,
    progress: Progress | None = None,
) -> Fit:
    """Fit a mixture by maximum likelihood, and certify the result.

    Minimises ``-(1/n) sum_i w_i log p_G(y_i | x_i) + alpha / (2 n) sum_k ||slope_k - mean slope||^2``. All starts run
    in one batch, on 2000 units where there are more than 20,000: some EM steps, then L-BFGS with bounds, then Newton's
    method with the exact Hessian. The best end points are refined on all observations. Results are bitwise reproducible
    for a seed.

    Parameters
    ----------
    mixture : Mixture
    rows : Rows
        The data, from `make_rows`.
    spec : FitSpec
        Bounds, fixed values, ties, ridge penalty, gauge, floor of scales.
    starts : "auto", int or sequence of Measure
        Number of starts, or starting values in the units of the data. ``"auto"``: twenty, then rounds of fresh starts
        and of moves from the best optima, until these find nothing better.
    start : Fit, Measure or Tensor (n, L), optional
        Starting point of the first of the `starts`: a fit or measure of the same mixture, or responsibilities (the
        probability of each leaf for each observation). The other starts are drawn.
    seed : int, optional
    max_time : float, optional
        Seconds after which the best result so far is returned.
    method : {"newton", "em"}
        ``em``: EM only, until the gradient meets its tolerance or after `max_iter` passes.
    max_iter : int
        Largest number of EM passes.
    progress : callable, optional
        Called as ``progress(stage, done, total)`` with the number of starts that have finished a stage.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        If a gate defines no density, a path is unknown, bounds are impossible, a start has another size or family,
        there are fewer observations than leaves, values are not finite, or the family does not allow the response.

    Examples
    --------
    >>> import torch
    >>> from gatewise.core.gates import GATES
    >>> from gatewise.objective.rows import make_rows
    >>> x = torch.linspace(-1.0, 1.0, 50, dtype=torch.float64)[:, None]
    >>> fit = maximum_likelihood(Mixture((GATES["constant"],), (1,)), make_rows(x, 2 * x + torch.cos(40 * x)), starts=1)
    >>> str(fit.status), fit.df
    ('converged', 3)
    """
    max_iter, starts, seed = whole("max_iter", max_iter, 1), count_of(starts, start), seed_number(seed)
    if method not in ("newton", "em"):
        raise ValueError(f"method={method!r}: choose 'newton' or 'em'")
    how = NEWTON if method == "newton" else em_alone(max_iter)
    return estimate(mixture, rows, spec, how, starts, seed, Clock.of(seconds(max_time), progress), start)


def em_alone(max_iter: int) -> Method:
    """Return EM to the gradient tolerance, with so many passes at most."""

    def improve(problem: Problem, free: Tensor, clock: Clock, iterations: int | None = None) -> Ends:
        clock.progress("EM", 0, len(free))
        path = expectation_maximisation(
            problem, free, max_iter=iterations or max_iter, tol_gradient=1e-9, deadline=clock.deadline
        )
        return ends_of(problem, path.free, path.value, path.n_iter)

    return Method(LIKELIHOOD, None, improve, 0, no_more_starts, False)


def no_more_starts(task: FitTask) -> Points:
    """Return no further starts."""
    return Points(torch.zeros(0, task.model.parameterization.size, dtype=torch.float64), ())


def rough(problem: Problem, free: Tensor, clock: Clock, share: float = 1.0, iterations: int = SHORT) -> Ends:
    """Return where EM and L-BFGS lead from starts (S, P): after a few iterations, the most promising share of them."""
    clock.progress("EM", 0, len(free))
    path = expectation_maximisation(problem, free, max_iter=PASSES, tol_gradient=1e-9, deadline=clock.deadline)
    ends = ends_of(problem, path.free, path.value, path.n_iter)
    if len(free) == 1:  # nothing to choose from: Newton's method at once takes the fewest passes
        return ends
    chosen = torch.arange(len(free))
    for leg in (iterations,) if share == 1.0 else (EARLY, iterations - EARLY):
        clock.progress("L-BFGS", 0, len(chosen))
        on_iter = clock.counted("L-BFGS", len(chosen))
        found = quasi_newton(problem, ends.points[chosen], 1e-4, leg, clock.deadline, on_iter)
        ends = ends.with_new(chosen, ends_of(problem, *found))
        chosen = most_promising(ends, share)
    return ends


def improve(problem: Problem, free: Tensor, clock: Clock, iterations: int | None = None) -> Ends:
    """Return where Newton's method leads from points (S, P), in so many iterations at most."""
    clock.progress("Newton", 0, len(free))
    most = iterations or (100 if len(free) == 1 else 80)
    done = newton_polish(problem, free, most, clock.deadline, on_iter=clock.counted("Newton", len(free)))
    late, spent = done.reason == Reason.max_iter, int(done.n_iter.max())
    if iterations is None and bool(late.any()):  # a second time, in units of the curvature there
        again = newton_polish(problem, done.x[late], most, clock.deadline)
        done.x[late], done.value[late] = again.x, again.value
        spent += int(again.n_iter.max())
    return ends_of(problem, done.x, done.value, spent)


def more_starts(task: FitTask) -> Points:
    """Return the optima of simpler mixtures: with constant gates, and without quadratic terms and temperatures."""
    model, points = task.model, no_more_starts(task)
    if task.drawn < NESTED:
        return points
    for kind, held in held_values(model).items():
        if task.clock.late():
            break
        simpler = replace(model.spec, fixed={**model.spec.fixed, **held})
        measure = task.nested(model.given, simpler, NESTED, task.seed).measure
        points = points.and_(Points(given_starts(model.parameterization, [model.working(measure)]), (kind,)))
    return points


NEWTON = Method(LIKELIHOOD, rough, improve, 1, more_starts, True)
