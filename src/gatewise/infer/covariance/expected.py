"""Expected information of one row: what a truth and the law of the inputs say of errors before there are responses."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, log_density, regression, sample
from gatewise.fit import frames
from gatewise.fit.directions import gauge_directions, spectrum
from gatewise.fit.problem import evaluate
from gatewise.fit.spec import FitSpec
from gatewise.infer.covariance.information import open_coordinates, with_errors, without_errors
from gatewise.infer.covariance.point import RELATIVE, InformationPoint, located, score_products
from gatewise.infer.covariance.refusal import singular
from gatewise.infer.covariance.value import EXPECTED, Information, flat_errors
from gatewise.objective.rows import Rows, make_rows

PARTS = 10  # of the simulated rows, which show their noise
BESIDE = 1e-6  # by how much the mean log density of a truth may miss that of the parameters taken for it


class Truth(NamedTuple):
    """A law of inputs and responses.

    Attributes
    ----------
    mixture, measure : Mixture, Measure
    x : Tensor (n, d)
        Inputs; every row has the same probability.
    gate_x : Tensor (n, g) or None
        Inputs of the gates; None: those of the experts.
    spec : FitSpec
        What will be estimated.
    variance : float or None
        Of the residuals, which are independent of the inputs, for least squares; None: maximum likelihood.
    limits : tuple of str
        Coordinates at a limit of the family, which are not estimated.
    """

    mixture: Mixture
    measure: Measure
    x: Tensor
    gate_x: Tensor | None = None
    spec: FitSpec = FitSpec()
    variance: float | None = None
    limits: tuple[str, ...] = ()

    @property
    def gates(self) -> Tensor:
        """The inputs of the gates (n, g)."""
        return self.x if self.gate_x is None else self.gate_x


class ExpectedInformation(NamedTuple):
    """The expected information of one row of a truth.

    Attributes
    ----------
    information : Information
        With the covariance of the estimates times the number of rows, or why there is none (`refused`).
    noise : Tensor (F,)
        Standard error of each of its errors, by the simulated rows, as a share of it.
    rank : int
        Number of identified parameters.
    """

    information: Information
    noise: Tensor
    rank: int


def simulate(truth: Truth, count: int, seed: int) -> Rows:
    """Draw at least `count` rows: every input as often as the others, in random order.

    For least squares the rows are the inputs with their means: the information does not depend on the residuals.
    """
    n = len(truth.x)
    generator = torch.Generator().manual_seed(seed)
    if truth.variance is not None:
        return draw(truth._replace(variance=0.0), torch.arange(n), generator)
    return draw(truth, torch.randperm(n * ceil(count / n), generator=generator) % n, generator)


def draw(truth: Truth, index: Tensor, generator: torch.Generator) -> Rows:
    """Draw a response for every input that is named, with normal residuals for least squares."""
    x, gates = truth.x[index], truth.gates[index]
    if truth.variance is None:
        _require_responses(truth)
        y, _ = sample(truth.mixture, truth.measure, x.T, gates.T, generator)
    else:
        y = regression(truth.mixture, truth.measure, x.T, gates.T)
        y = y + truth.variance**0.5 * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    return make_rows(x, y.T, gate_x=None if truth.gate_x is None else gates)


def data_set(truth: Truth, rows: int, seed: int, number: int) -> Rows:
    """Draw a data set of some rows: inputs at random, with their responses. Another `number` is another data set."""
    generator = torch.Generator().manual_seed(10**6 * (seed + 1) + number)
    return draw(truth, torch.randint(len(truth.x), (rows,), generator=generator), generator)


def _require_responses(truth: Truth) -> None:
    """Raise for a family whose rows tell more than it draws."""
    family = truth.mixture.family
    if family.given:
        raise ValueError(
            f"the {family.given} of {family} differs by row, and that of new rows is unknown: give a family without "
            "it, such as Binomial(trials=m) for m trials in every row, or repeat the fit on rows that you simulate"
        )


def expected_information(truth: Truth, rows: Rows) -> ExpectedInformation:
    """Average the information of simulated rows at the truth.

    For maximum likelihood this is the mean outer product of scores. Its expectation is that of minus the second
    derivatives, which have far more noise where a gate bends, as at the center of a distance; and it is singular
    exactly, not only in the limit, where the expected information is.

    Parameters
    ----------
    truth : Truth
    rows : Rows
        From `simulate`.

    Raises
    ------
    ValueError
        If the truth violates what the specification holds, or lies below the floor of a scale.
    """
    point = located(truth.mixture, truth.measure, rows, truth.spec, truth.variance)
    _require_same(truth, point, rows)
    blank = without_errors(truth.mixture, _reported(point), truth.spec, rows, EXPECTED)
    open_ = open_coordinates(point, truth.limits)
    gauge = gauge_directions(point.parameterization, point.free)
    parts = _parts(point)
    values, vectors = spectrum(parts.mean(0), open_, gauge)
    noise = torch.zeros(len(blank.names), dtype=torch.float64)
    refused = singular(point, values, vectors)
    if refused:
        blank = blank._replace(refused=refused.words, directions=refused.directions)
        return ExpectedInformation(blank, noise, len(values))

    def inverse(values: Tensor, vectors: Tensor) -> Information:
        return with_errors(blank, point, vectors / values.sqrt(), open_, gauge)

    found = inverse(values, vectors)
    if len(parts) > 1:
        without = (parts.sum(0) - parts) / (len(parts) - 1)
        errors = [flat_errors(inverse(*spectrum(one, open_, gauge))) for one in without]
        noise = _jackknife(torch.stack(errors)) / flat_errors(found)
    return ExpectedInformation(found, noise, len(values))


def _jackknife(left_out: Tensor) -> Tensor:
    """Return the standard errors (F,) of what is estimated without each of some parts of the rows, (parts, F)."""
    return ((len(left_out) - 1) * left_out.var(0, unbiased=False)).sqrt()


def _reported(point: InformationPoint) -> Measure:
    """Return the parameters in the units of the data, with the reference branch at zero."""
    model, measure = point.model, point.parameterization.measure(point.free)
    return frames.in_other_units(point.parameterization.mixture, measure, frames.home(model.given, model.framing))[1]


def _parts(point: InformationPoint) -> Tensor:
    """Return the mean information (parts, P, P) of parts of the rows; of squares, which have no noise, of all rows."""
    if not point.parameterization.mixture.family.has_density:
        return evaluate(point.problem, point.free[None], 2)[2]
    rows = point.problem.rows
    cuts = [rows.n * k // PARTS for k in range(PARTS + 1)]
    found = []
    for first, last in pairwise(cuts):
        part = replace(point.problem, rows=rows.take(torch.arange(first, last)))
        found.append(score_products(point._replace(problem=part), None) / (last - first))
    return torch.stack(found)


def _require_same(truth: Truth, point: InformationPoint, rows: Rows) -> None:
    """Raise unless the coordinates say the same of the rows as the truth that was given."""
    value = float(evaluate(point.problem, point.free[None], 0)[0])
    if truth.variance is None:
        block = rows.read(0, rows.n)
        given = float(log_density(truth.mixture, truth.measure, block.x, block.gate_x, block.y).mean())
        apart = abs(point.model.jacobian - value - given) - RELATIVE * abs(given)
    else:
        apart = value
    if not apart <= BESIDE:
        raise ValueError(
            "the parameters of the truth lie outside the bounds, fixed values, ties or the floor of the scales of the "
            "model: give a truth that the model can be"
        )
