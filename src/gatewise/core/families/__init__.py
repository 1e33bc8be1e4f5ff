"""Families: the law of y given a leaf's predictor. ``eta (*B, L, q, n)``, ``y (m, n)``; the dict FAMILIES.

A family's own parameters have one owner per leaf. `value_and_derivatives` gives the log density with first and second derivatives in
the leaf's predictors: the q outputs, then the family's own parameters, entry by entry.
"""

from __future__ import annotations

from gatewise.core.families.base import Family, LeafDerivatives, autograd_leaf_local
from gatewise.core.families.counts import Binomial, Poisson
from gatewise.core.families.gaussian import FullGaussian, Gaussian
from gatewise.core.families.mean import MeanOnly
from gatewise.core.families.student import StudentT

__all__ = [
    "FAMILIES",
    "Binomial",
    "Family",
    "FullGaussian",
    "Gaussian",
    "LeafDerivatives",
    "MeanOnly",
    "Poisson",
    "StudentT",
    "autograd_leaf_local",
    "family",
]

FAMILIES: dict[str, Family] = {
    "gaussian": Gaussian(),
    "full-gaussian": FullGaussian(),
    "student-t": StudentT(),
    "poisson": Poisson(),
    "binomial": Binomial(),
}


def family(choice: str | Family) -> Family:
    """Return the family called `choice`, or the family itself.

    Raises
    ------
    ValueError
        If no family has that name.
    TypeError
        If `choice` is neither a name nor a Family.
    """
    if isinstance(choice, Family):
        return choice
    if not isinstance(choice, str):
        raise TypeError(f"family={choice!r} is a {type(choice).__name__}: give a name of FAMILIES or a Family")
    if choice not in FAMILIES:
        raise ValueError(f"family {choice!r} is unknown: the names are {', '.join(FAMILIES)}")
    return FAMILIES[choice]
