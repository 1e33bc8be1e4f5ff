"""Families: the law of y given a leaf's predictor. ``eta (*B, L, q, n)``, ``y (m, n)``; the dict FAMILIES.

A family's own parameters have one owner per leaf. `value_and_derivatives` gives the log density with first and second
derivatives in the leaf's predictors: the q outputs, then the family's own parameters, entry by entry.
"""

from __future__ import annotations

from typing import Any

from gatewise.core.families.added import UniformNoise, Zero
from gatewise.core.families.base import Family, LeafDerivatives, autograd_leaf_local
from gatewise.core.families.classes import Categorical, OrderedLogit
from gatewise.core.families.counts import Binomial, Poisson
from gatewise.core.families.gaussian import FullGaussian, Gaussian
from gatewise.core.families.mean import MeanOnly
from gatewise.core.families.overdispersed import NegativeBinomial
from gatewise.core.families.positive import Gamma, InverseGaussian, LogNormal
from gatewise.core.families.proportions import Beta
from gatewise.core.families.student import StudentT
from gatewise.core.families.survival import Weibull
from gatewise.core.names import resolve

__all__ = [
    "FAMILIES",
    "Beta",
    "Binomial",
    "Categorical",
    "Family",
    "FullGaussian",
    "Gamma",
    "Gaussian",
    "InverseGaussian",
    "LeafDerivatives",
    "LogNormal",
    "MeanOnly",
    "NegativeBinomial",
    "OrderedLogit",
    "Poisson",
    "StudentT",
    "UniformNoise",
    "Weibull",
    "Zero",
    "autograd_leaf_local",
    "family",
]

FAMILIES: dict[str, Family] = {
    "gaussian": Gaussian(),
    "full-gaussian": FullGaussian(),
    "student-t": StudentT(),
    "poisson": Poisson(),
    "binomial": Binomial(),
    "negative-binomial": NegativeBinomial(),
    "gamma": Gamma(),
    "inverse-gaussian": InverseGaussian(),
    "log-normal": LogNormal(),
    "weibull": Weibull(),
    "beta": Beta(),
    "categorical": Categorical(),
    "ordered": OrderedLogit(),
}


def family(choice: Any) -> Family:
    """Return the family called `choice`, or the family itself; see `names.resolve`."""
    return resolve(choice, Family, "FAMILIES", FAMILIES)
