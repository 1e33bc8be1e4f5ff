"""Maximum likelihood: starts by a few EM steps, L-BFGS and Newton's method; or by EM alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gatewise.core.mixture import Mixture
from gatewise.fit.arguments import seconds, seed_number, whole
from gatewise.fit.em import expectation_maximisation
from gatewise.fit.ends import Ends, ends_of
from gatewise.fit.given import Start, count_of
from gatewise.fit.pipeline import AUTO, Clock, FitTask, Method, Points, Progress, Starting, estimate
from gatewise.fit.problem import LIKELIHOOD, Problem, newton_polish, objective
from gatewise.fit.result import Fit
from gatewise.fit.search.starts import given_starts
from gatewise.fit.spec import FitSpec
from gatewise.fit.torch_state import standard_torch_for_rows
from gatewise.objective.rows import Rows
from gatewise.optim import Reason, lbfgs

PLAIN = {"temperature": 1.0, "quadratic": 0.0}  # values at which a gate is a simpler one
ROUGH, SHORT = 150, 40  # iterations of L-BFGS, of starts and of moves
CHOSEN = 8  # moves that are carried through Newton's method
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
    in one batch, on at most 2000 units: some EM steps, then L-BFGS with bounds, then Newton's method with the exact
    Hessian. The best end points are refined on all observations. Results are bitwise reproducible for a seed.

    Parameters
    ----------
    mixture : Mixture
    rows : Rows
        The data, from `make_rows`.
    spec : FitSpec
        Bounds, fixed values, ties, ridge penalty, gauge, floor of scales.
    starts : "auto", int or sequence of Measure
        Number of starts, or starting values in the units of the data. ``"auto"``: batches of twenty, until three starts
        reach the best value, at most three batches.
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

    def improve(problem: Problem, free: Tensor, clock: Clock) -> Ends:
        clock.progress("EM", 0, len(free))
        path = expectation_maximisation(problem, free, max_iter=max_iter, tol_gradient=1e-9, deadline=clock.deadline)
        return ends_of(problem, path.free, path.value, path.n_iter)

    return Method(LIKELIHOOD, improve, 0, no_more_starts, None)


def no_more_starts(task: FitTask) -> Points:
    """Return no further starts."""
    return Points(torch.zeros(0, task.model.parameterization.size, dtype=torch.float64), ())


def rough(problem: Problem, free: Tensor, clock: Clock, iterations: int = ROUGH) -> tuple[Tensor, Tensor, int]:
    """Return where EM and L-BFGS lead: points (S, P), objectives (S,), and the iterations spent."""
    clock.progress("EM", 0, len(free))
    path = expectation_maximisation(problem, free, max_iter=PASSES, tol_gradient=1e-9, deadline=clock.deadline)
    if len(free) == 1:  # nothing to choose from: Newton's method at once takes the fewest passes
        return path.free, path.value, path.n_iter
    clock.progress("L-BFGS", 0, len(free))
    lower, upper = problem.parameterization.lower, problem.parameterization.upper
    on_iter = clock.counted("L-BFGS", len(free))
    options: dict[str, Any] = {"tol": 1e-4, "max_iter": iterations, "deadline": clock.deadline, "on_iter": on_iter}
    done = lbfgs(objective(problem), path.free, lower, upper, **options)
    return done.x.clone(), done.value.clone(), path.n_iter + int(done.n_iter.max())


def improve(problem: Problem, free: Tensor, clock: Clock, iterations: int = ROUGH, keep: int | None = None) -> Ends:
    """Return where starts (S, P) lead: EM, L-BFGS, and Newton's method for the best `keep` of them, or for all."""
    points, value, spent = rough(problem, free, clock, iterations)
    if clock.late():
        return ends_of(problem, points, value, spent)
    chosen = torch.argsort(torch.nan_to_num(value, nan=torch.inf), stable=True)[:keep].sort().values
    clock.progress("Newton", 0, len(chosen))
    points[chosen], value[chosen], more = _newton(problem, points[chosen], clock, 100 if len(free) == 1 else 80)
    return ends_of(problem, points, value, spent + more)


def _newton(problem: Problem, free: Tensor, clock: Clock, max_iter: int) -> tuple[Tensor, Tensor, int]:
    """Run Newton's method with the exact Hessian from free coordinates (S, P), a second time where it is not done."""
    done = newton_polish(problem, free, max_iter, clock.deadline, on_iter=clock.counted("Newton", len(free)))
    late = done.reason == Reason.max_iter
    spent = int(done.n_iter.max())
    if bool(late.any()):
        again = newton_polish(problem, done.x[late], max_iter, clock.deadline)
        done.x[late], done.value[late] = again.x, again.value
        spent += int(again.n_iter.max())
    return done.x, done.value, spent


def more_starts(task: FitTask) -> Points:
    """Return the optimum of the mixture without quadratic terms and with temperatures of one, where it is nested."""
    model = task.model
    parameterization = model.parameterization
    held = {
        path: torch.full(parameterization.shapes[path], value, dtype=torch.float64)
        for role, value in PLAIN.items()
        for path in parameterization.mixture.paths("gates", role)
        if bool((parameterization.columns(path) >= 0).any())
    }
    nothing_left = not parameterization.mixture.paths("gates", "slope", "direction")
    if not held or nothing_left or task.drawn < 2:
        return no_more_starts(task)
    plain = task.nested(model.given, replace(model.spec, fixed={**model.spec.fixed, **held}), task.drawn, task.seed)
    return Points(given_starts(parameterization, [task.model.working(plain.measure)]), ("nested",))


def brief(problem: Problem, free: Tensor, clock: Clock) -> Ends:
    """Return where moves (S, P) lead in few iterations; the most promising are carried through."""
    return improve(problem, free, clock, SHORT, CHOSEN)


NEWTON = Method(LIKELIHOOD, improve, 1, more_starts, brief)
