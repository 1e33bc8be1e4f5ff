"""Are the standard errors reached at the number of rows that `sample_size` predicts, and is BIC right as often?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import cpu_seconds, table
from gatewise import (
    GATES,
    Binomial,
    Family,
    Fit,
    Gaussian,
    Measure,
    Mixture,
    Plan,
    Poisson,
    Rows,
    make_rows,
    many_fits,
    maximum_likelihood,
    sample_size,
)
from gatewise.core.families import MeanOnly
from gatewise.core.mixture import regression, sample
from gatewise.infer.covariance.expected import Truth
from gatewise.infer.planning.larger import median_errors
from gatewise.objective.parameterization import from_paths, specifications

INPUTS = 1000  # rows of X, the law of the inputs
GOAL = 0.2  # by which a spread may differ from the wanted standard error
NOISE = 0.4  # standard deviation of the residuals of least squares


class Design(NamedTuple):
    """A truth: gates by level, branching, inputs, family, and the parameters whose errors are wanted."""

    gates: str
    branching: tuple[int, ...]
    d: int
    family: Family
    target: dict[str, float]
    seed: int


ERRORS = {"experts.coef": 0.05}
DESIGNS = (
    Design("softmax", (2,), 3, Gaussian(), {**ERRORS, "gates.0.weight": 0.2}, 0),
    Design("softmax", (3,), 4, Gaussian(), {**ERRORS, "gates.0.weight": 0.2}, 1),
    Design("laplace", (2,), 3, Gaussian(), {**ERRORS, "gates.0.center": 0.15}, 2),
    Design("laplace", (3,), 4, Gaussian(), {**ERRORS, "gates.0.center": 0.3}, 3),
    Design("normalised-sigmoid", (2,), 3, Gaussian(), {**ERRORS, "gates.0.weight": 0.6}, 4),
    Design("cosine", (3,), 3, Gaussian(), {**ERRORS, "gates.0.bias": 0.2}, 5),
    Design("softmax", (2,), 4, Poisson(), {**ERRORS, "gates.0.weight": 0.2}, 6),
    Design("laplace", (2,), 3, Binomial(9), {"experts.coef": 0.1, "gates.0.center": 0.15}, 7),
    Design("softmax softmax", (2, 2), 3, Gaussian(), {**ERRORS, "gates.0.weight": 0.2, "gates.1.weight": 0.3}, 8),
    Design("softmax laplace", (2, 2), 3, Gaussian(), {**ERRORS, "gates.0.weight": 0.2, "gates.1.center": 0.4}, 9),
    Design("sigmoid", (2,), 3, MeanOnly(), {"experts.coef": 0.1, "gates.0.weight": 0.3}, 20),
)


def truth_of(design: Design) -> tuple[Mixture, Measure]:
    """Draw a truth: slopes and locations of about one, means that differ between the experts."""
    rng = np.random.default_rng([2024, design.seed])
    mixture = Mixture(tuple(GATES[name] for name in design.gates.split()), design.branching, family=design.family)
    counts = isinstance(design.family, Poisson | Binomial)
    values = {}
    for path, (spec, shape) in specifications(mixture, design.d, design.d, 1).items():
        size = 0.4 if path.startswith("experts") and counts else 0.3 if spec.role == "intercept" else 1.0
        values[path] = torch.from_numpy(size * rng.normal(size=shape))
    leaves = torch.linspace(-1.0, 1.0, mixture.n_leaves, dtype=torch.float64)
    values["experts.intercept"] += leaves.reshape(values["experts.intercept"].shape) + counts
    if "family.scale" in values:
        values["family.scale"] = 0.4 + 0.2 * values["family.scale"].sigmoid()
    return mixture, from_paths(values, mixture.depth)


def inputs_of(design: Design) -> np.ndarray:
    return np.random.default_rng(design.d).normal(size=(INPUTS, design.d))


def draw(mixture: Mixture, measure: Measure, X: np.ndarray, rows: int, seed: int) -> Rows:
    """Draw a data set: inputs from the rows of X, responses from the truth."""
    rng = np.random.default_rng([7, seed])
    x = torch.from_numpy(X[rng.integers(len(X), size=rows)])
    if mixture.family.has_density:
        y = sample(mixture, measure, x.T, x.T, torch.Generator().manual_seed(seed))[0]
    else:
        mean = regression(mixture, measure, x.T, x.T)
        y = mean + NOISE * torch.from_numpy(rng.normal(size=mean.shape))
    return make_rows(x, y.T)


def fits(mixture: Mixture, measure: Measure, X: np.ndarray, rows: int, sets: int) -> Iterator[Fit]:
    """Fit so many data sets from the truth: no search."""
    method = "ml" if mixture.family.has_density else "ls"
    plan = Plan(mixture, starts=lambda _: [measure], method=method, subsample=None)
    return (fit for _, fit in many_fits(plan, lambda set_: draw(mixture, measure, X, rows, set_), range(sets)))


def planned(mixture: Mixture, measure: Measure, X: np.ndarray) -> Any:
    """Return what `sample_size` takes for a truth: mixture and measure, or a fit by least squares of many rows."""
    if mixture.family.has_density:
        return mixture, measure
    return next(fits(mixture, measure, X, 50 * INPUTS, 1))._replace(measure=measure)


def middle(values: Tensor) -> Tensor:
    """Return half the width of the middle 68.27 % of each column, a standard deviation that no outlier moves."""
    low, high = torch.quantile(values, torch.tensor([0.15865, 0.84135], dtype=torch.float64), 0)
    return 0.5 * (high - low)


def errors_reached(design: Design, sets: int) -> list[dict[str, Any]]:
    """Compare errors at the rows of first-order theory with those wanted, and where they are larger at checked rows."""
    line = compared(design, sets, 0)
    return [line] if line["worst / target"] <= 1 + GOAL else [line, compared(design, sets, sets)]


def compared(design: Design, sets: int, check: int) -> dict[str, Any]:
    """Compare the spread of estimates at the rows needed with the wanted errors, and with those of theory."""
    (mixture, measure), X = truth_of(design), inputs_of(design)
    begin = cpu_seconds()
    needed = sample_size(planned(mixture, measure, X), design.target, X=X, check=check)
    spent = cpu_seconds() - begin
    line: dict[str, Any] = {"gates": design.gates, "experts": mixture.n_leaves, "d": design.d}
    line |= {"family": type(design.family).__name__, "check": check, "rows": needed.rows}
    if needed.rows is None:
        return line | {"decided by": needed.refused}
    names, kept = list(needed.names), needed.unit > 0
    found = list(fits(mixture, measure, X, needed.rows, sets))
    values = [torch.tensor(fit.to_frame()["value"][names].to_numpy(), dtype=torch.float64) for fit in found]
    estimates, theory = torch.stack(values)[:, kept], (needed.unit / needed.rows**0.5)[kept]
    own = int((theory / needed.target[kept]).argmax())
    reached, ratio = middle(estimates), middle(estimates) / theory
    line |= {"decided by": [name for name, one in zip(names, kept.tolist(), strict=True) if one][own]}
    line |= {
        "target": float(needed.target[kept][own]),
        "sd": float(estimates.std(0)[own]),
        "middle": float(reached[own]),
    }
    line |= {"worst / target": float((reached / needed.target[kept]).max())}
    line |= {"median / theory": float(ratio.median())}
    line["within 20 %"] = f"{int(((ratio - 1).abs() <= GOAL).sum())} of {len(ratio)}"
    passed = sum(str(fit.status) in ("converged", "at-kink") for fit in found)
    return line | {"certified": passed, "CPU s": spent}


def told_apart(design: Design, sets: int) -> dict[str, Any]:
    """Compare how often BIC prefers the truth at the predicted number of rows with the wanted probability."""
    (mixture, measure), X = truth_of(design), inputs_of(design)
    measure = nearer(measure)
    fewer = mixture.branching[-1] - 1
    needed = sample_size((mixture, measure), X=X, against=fewer, probability=0.8)
    rows, right = needed.rows, 0
    simpler = replace(mixture, branching=(*mixture.branching[:-1], fewer))
    for number, fit in enumerate(fits(mixture, measure, X, rows, sets)):
        data = draw(mixture, measure, X, rows, number)
        other = maximum_likelihood(simpler, data, starts=10)
        right += 2 * (fit.log_likelihood - other.log_likelihood) > (fit.df - other.df) * np.log(rows)
    told = needed.telling
    line = {"gates": design.gates, "experts": mixture.n_leaves, "d": design.d, "family": type(design.family).__name__}
    line |= {"divergence": told.divergence, "rows": rows, "wanted %": 80.0, "BIC right %": 100.0 * float(right) / sets}
    return line


def larger_model(design: Design, sets: int) -> dict[str, Any]:
    """Compare errors of a model with one expert too many at the rows planned for it, on other data sets."""
    (mixture, measure), X = truth_of(design), inputs_of(design)
    begin, experts = cpu_seconds(), mixture.branching[-1] + 1
    planned = sample_size((mixture, measure), {"experts.coef": 0.1}, X=X, experts=experts, check=sets)
    spent = cpu_seconds() - begin
    line: dict[str, Any] = {"gates": design.gates, "true": mixture.branching[-1], "fitted": experts, "d": design.d}
    line |= {"family": type(design.family).__name__, "rows": planned.rows, "target": 0.1}
    if planned.rows is None or planned.pilot is None:
        return line | {"refused": planned.refused}
    line |= {"exponent": float(planned.pilot.slope[0]), "simulated": float(planned.simulated[0])}
    if bool(planned.simulated.isnan().any()):
        return line | {"CPU s": spent}
    truth = Truth(mixture, measure, torch.from_numpy(X))
    other = median_errors(truth, replace(mixture, branching=(experts,)), ["experts.coef"], sets, 99, planned.rows)
    return line | {"on other data": float(other[0]), "CPU s": spent}


def nearer(measure: Measure) -> Measure:
    """Return a truth whose experts are 0.4 times as far apart."""
    paths = measure.paths()
    for path in ("experts.coef", "experts.intercept"):
        mean = paths[path].mean(0, keepdim=True)
        paths[path] = mean + 0.4 * (paths[path] - mean)
    return from_paths(paths, len(measure.gates))


def run(sets: int = 100, **_: Any) -> dict[str, Any]:
    """Print all three comparisons."""
    begin = cpu_seconds()
    lines = [line for design in DESIGNS for line in errors_reached(design, sets)]
    table(f"errors at the number of rows needed, by the middle 68 % of {sets} data sets", lines)
    told = [told_apart(DESIGNS[k], sets) for k in (0, 6, 1)]
    table(f"how often BIC prefers the truth, {sets} sets", told)
    more = [larger_model(DESIGNS[k], max(10, sets // 4)) for k in (0, 2, 4, 6)]
    table("one expert too many: median errors of its slopes at the rows planned for it", more)
    spent = cpu_seconds() - begin
    noise = f"{100 / (2 * sets) ** 0.5:.0f} % of a spread, {40 / sets**0.5:.0f} of a share"
    print(f"simulation error: {noise}; {spent:.0f} CPU s")
    return {"sets": sets, "errors": lines, "told": told, "larger": more, "CPU s": spent}
