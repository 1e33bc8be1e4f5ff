"""Batched minimisation of general functions with bounds. Depends on torch only."""

from .box import free_set, projected_gradient
from .lbfgs import lbfgs
from .newton import newton
from .result import Objective, OnIter, Reason, Result, late, unmoved
from .spectrum import decrement, least_eigenvalue

__all__ = [
    "Objective",
    "OnIter",
    "Reason",
    "Result",
    "decrement",
    "free_set",
    "late",
    "lbfgs",
    "least_eigenvalue",
    "newton",
    "projected_gradient",
    "unmoved",
]
