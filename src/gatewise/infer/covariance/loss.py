"""What information takes from the loss of a fit: the score of every unit, the unit of the objective, and words."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.problem import LIKELIHOOD, SQUARES, Criterion
from gatewise.fit.result import Fit
from gatewise.objective import likelihood, squares
from gatewise.objective.rows import Block


class Meaning(NamedTuple):
    """A loss as information reads it.

    Attributes
    ----------
    scores : callable ``(mixture, measure, block) -> (S, M, m)``
        Gradients of what is maximised in local coordinates, one column per independent unit.
    name, function, improves : str
        The sum over the rows, what it is of the parameters, and how it gets better, in words.
    """

    scores: Callable[[Mixture, Measure, Block], Tensor]
    name: str
    function: str
    improves: str


MEANINGS: dict[Criterion, Meaning] = {
    LIKELIHOOD: Meaning(likelihood.unit_scores, "log-likelihood", "likelihood", "rises"),
    SQUARES: Meaning(squares.unit_scores, "sum of squares", "sum of squares", "falls"),
}


def loss_of(fit: Fit) -> Criterion:
    """Return the loss of a fit."""
    return LIKELIHOOD if fit.sse is None else SQUARES


def residual_degrees(fit: Fit) -> float:
    """Return ``n q - rank``: the numbers that are left over for the residual variance of least squares."""
    outputs = fit.outputs
    return fit.n * outputs - fit.certificate.rank


def residual_variance(fit: Fit) -> float | None:
    """Return ``SSE / (n q - rank)`` in the units of y, NaN without degrees of freedom, None for a likelihood."""
    if fit.sse is None:
        return None
    degrees = residual_degrees(fit)
    return fit.sse / degrees if degrees > 0 else float("nan")
