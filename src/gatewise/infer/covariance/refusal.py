"""Why a fit has no normal errors, in words that name the direction."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from gatewise.fit.certify import NULL
from gatewise.fit.directions import direction_name
from gatewise.fit.frames import moments_of
from gatewise.fit.result import Fit
from gatewise.fit.words import directions, expert_name
from gatewise.infer.covariance.loss import MEANINGS, loss_of, residual_degrees
from gatewise.infer.covariance.point import InformationPoint, score_squares
from gatewise.objective.rows import Rows

FEW = 1024  # units of a sample, nearly always enough to show that scores are not zero
ZERO = 1e-12  # sum of squared scores, in units of the information, that is none
EXACT = 1e-20  # residual variance, of the variance of y, from which no errors can be told
SIMPLER = "use a simpler gate or fewer columns"


class Refusal(NamedTuple):
    """Why a fit has no normal errors: the directions or parts concerned, and a sentence with their names."""

    directions: tuple[str, ...]
    words: str


def refusal(fit: Fit, open_ended: bool = False) -> Refusal | None:
    """Return why a fit has no normal errors, or None.

    Parameters
    ----------
    open_ended : bool
        Whether directions without an end are allowed, as profiles do.
    """
    certificate, meaning = fit.certificate, MEANINGS[loss_of(fit)]
    if open_ended:
        certificate = certificate._replace(separated=(), null=())
    starved = tuple(expert_name(fit.mixture, leaf) for leaf in certificate.starved)
    reasons = (
        (
            certificate.floor,
            "the estimate of {names} lies on the floor of the scale; use fewer experts or another min_scale",
        ),
        (starved, "{names} has too few observations for its parameters; use fewer experts"),
        (
            certificate.separated,
            "the {function} {improves} without limit along {names}, so there is no finite estimate; a profile interval "
            "has one finite end, and a ridge penalty (alpha) gives a gate with slopes a finite estimate",
        ),
        (certificate.null, "the {function} does not change along {names}, so the information is singular; {remedy}"),
        (
            certificate.kinks,
            "the optimum lies on a kink at {names}, where the {name} has no second derivative; use the bootstrap",
        ),
        (
            certificate.active,
            "the estimate of {names} lies on a bound and is not asymptotically normal; widen the "
            "bound, within the parameter's range, or fix it",
        ),
    )
    for names, words in reasons:
        if names:
            listed = ", ".join(directions(list(dict.fromkeys(names))))
            return Refusal(names, words.format(names=listed, remedy=SIMPLER, **meaning._asdict()))
    if certificate.crowded:
        return Refusal((), f"there are fewer responses than parameters ({certificate.rank})")
    if not certificate.passed:
        return Refusal(
            (), "the search stopped before the optimality conditions held; give it more time or other starts"
        )
    return None


def exact(fit: Fit, rows: Rows, robust: bool) -> Refusal | None:
    """Return why least squares has no residual variance to take errors from, or None.

    Parameters
    ----------
    robust : bool
        Whether errors are those of a sandwich, which asks for residuals but not for their degrees of freedom.
    """
    if fit.sse is None:
        return None
    degrees = residual_degrees(fit)
    if degrees <= 0 and not robust:
        words = (
            f"{degrees + fit.certificate.rank:.6g} weighted responses for {fit.certificate.rank} parameters leave no"
        )
        return Refusal((), f"{words} degrees of freedom for the residual variance; give more rows, or kind='sandwich'")
    spread = moments_of(rows, "y").scale
    if fit.sse / fit.n <= EXACT * float((spread * spread).sum()):
        return Refusal((), "the residuals vanish up to rounding, so there is no residual variance to estimate")
    return None


def singular(point: InformationPoint, values: Tensor, vectors: Tensor) -> Refusal | None:
    """Return which direction has no information, or None."""
    if not bool(values.isfinite().all()):
        return Refusal((), "the Hessian has entries that are not finite")
    flat = (values <= NULL).nonzero()[:, 0].tolist()
    names = tuple(direction_name(point.parameterization, vectors[:, k]) for k in flat)
    return Refusal(names, f"the information is singular along {', '.join(names)}; {SIMPLER}") if names else None


def symmetric(point: InformationPoint, hessian: Tensor, open_: Tensor) -> Refusal | None:
    """Return which parameters have scores of zero at every row, as coefficients inside a square do at zero, or None.

    The objective is then the same on both sides of the estimate, which is not normal.
    """
    size = ZERO * point.problem.total * hessian.diagonal().abs()
    few = replace(point.problem, rows=point.problem.rows.sample(FEW))
    zero = open_ & (score_squares(point._replace(problem=few)) <= size)  # more rows only add to the squares
    if bool(zero.any()):
        zero = zero & (score_squares(point) <= size)
    names = tuple(point.parameterization.names[i] for i in zero.nonzero()[:, 0].tolist())
    function = MEANINGS[point.problem.loss].function
    listed = ", ".join(names)
    words = f"the {function} is symmetric about the estimate of {listed}, which is not asymptotically normal; {SIMPLER}"
    return Refusal(names, words) if names else None
