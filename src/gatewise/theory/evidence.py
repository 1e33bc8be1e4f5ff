"""What a verdict rests on: curves, what identifies a parameter, and population exponents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from gatewise.theory.arms import Arm
from gatewise.theory.claims import Claim
from gatewise.theory.curves import Curve, curve
from gatewise.theory.exponents import Exponent, exponents_of
from gatewise.theory.probes import Probed
from gatewise.theory.ridges import estimated_path, ridge
from gatewise.theory.slopes import Slope, less
from gatewise.theory.study import Study
from gatewise.theory.truths import beyond


class Evidence(NamedTuple):
    """What is known about a claim.

    Attributes
    ----------
    claim : Claim
    curves : tuple of Curve
        Of the arm of the claim, and of the arm it is compared with.
    slope, later, certified : Slope
        Of the curve, or the difference of both: of all sizes, without the smallest third, of certified fits.
    ridge : str
        Why the derivatives of the model say that the data do not identify the parameter, or one that a loss sums; empty
        if they do not.
    absent : tuple of str
        Arms of the claim that have not been run.
    outside : tuple of str
        True parameters that the fitted model excludes, in words.
    exponents : tuple of Exponent
        The one that the claim names, or that of single cells if it names none, or those of both sides of a difference.
    """

    claim: Claim
    curves: tuple[Curve, ...]
    slope: Slope
    later: Slope
    certified: Slope
    ridge: str
    absent: tuple[str, ...]
    outside: tuple[str, ...]
    exponents: tuple[Exponent, ...]


def gather(study: Study, frame: pd.DataFrame, claim: Claim, probes: Sequence[Probed]) -> Evidence:
    """Return the evidence on a claim of a study: from its table of fits, and from its population exponents."""
    sides = [(claim.arm, claim.series)]
    sides += [(claim.other, claim.other_series or claim.series)] if claim.other else []
    curves = tuple(curve(frame, study.arm(name), series) for name, series in sides)
    return Evidence(
        claim,
        curves,
        slope=_combined([c.slope for c in curves]),
        later=_combined([c.later for c in curves]),
        certified=_combined([c.certified for c in curves]),
        ridge=next(filter(None, (_ridge(study.arm(name), series) for name, series in sides)), ""),
        absent=tuple(name for name, _ in sides if not (frame["arm"] == name).any()),
        outside=tuple(dict.fromkeys(words for name, _ in sides for words in _outside(study.arm(name)))),
        exponents=exponents_of(claim, [study.arm(name) for name, _ in sides], probes),
    )


def _combined(slopes: Sequence[Slope]) -> Slope:
    """Return a slope, or the first less the second."""
    return slopes[0] if len(slopes) == 1 else less(*slopes)


def _outside(arm: Arm) -> list[str]:
    """Return, in words, what the box, the least scale, ties or fixed values of an arm exclude of its truth."""
    return [words for level in arm.levels() for words in beyond(arm, level)]


def _ridge(arm: Arm, series: str) -> str:
    """Return, in words, why no data identify a series; nothing if the derivatives of the model do not say so."""
    names = ridge(arm, series)
    if not names:
        return ""
    *first, last = names
    told = f"{', '.join(first)} and {last} are" if first else f"{last} is"
    summed = "" if estimated_path(arm, series) else f", and {series} is another one along it"
    return f"{told} not identified: the objective is constant along a ridge{summed}, so there is no rate"
