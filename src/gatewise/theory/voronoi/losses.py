"""Voronoi losses as data: which power each parameter has, what is the mass of an atom, what is weighted.

Losses of mixtures with Gaussian-density gates (2305.07572) are left out: `GATES` has no such gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import Tensor

from gatewise.core.names import require_one_of
from gatewise.theory.orders import HALF_R, KNOWN_ORDERS, LEAST_ORDER, ONE, TWO, Power, R
from gatewise.theory.paths import CENTER, COEF, INNER_CENTER, INNER_WEIGHT, INTERCEPT, TEMPERATURE, VARIANCE, WEIGHT


@dataclass(frozen=True)
class Loss:
    """A Voronoi loss between mixing measures: a sum over the cells ``A_j`` of fitted atoms closest to the true atom j.

    ``sum_j |sum_{i in A_j} mass_i - mass*_j| + sum_j sum_{i in A_j} weight_i sum_p ||difference_p||^power(p, |A_j|)``

    Attributes
    ----------
    name : str
    over : mapping path -> Power
        Powers in cells with several atoms.
    rest : Power or None
        Power of the paths that `over` does not name. None: raise an error for them.
    exact : Power
        Power of all parameters in cells with one atom.
    mass : "exp" | "sigmoid" | "share"
        ``exp(bias / temperature)``, ``1 / (1 + exp(-bias))``, or the softmax of the biases over the atoms.
    mass_cells : "all" | "over" | "empty"
        Cells in the first sum. Empty cells are always included and contribute the mass of their true atom.
    weighted : bool
        Whether the differences of an atom are weighted by its mass.
    bias : "none" | "exact" | "all"
        Cells in which ``|bias_i - bias*_j|`` is added.
    source, standing : str
        Reference, and "published", "derived" or "recalled".

    Raises
    ------
    ValueError
        If an option is unknown.

    Examples
    --------
    >>> from gatewise.theory import TWO, Loss
    >>> Loss("split", rest=TWO).rest
    Power(constant=Fraction(2, 1), order=Fraction(0, 1))
    """

    name: str
    over: Mapping[str, Power] = field(default_factory=dict)
    rest: Power | None = None
    exact: Power = ONE
    mass: str = "exp"
    mass_cells: str = "all"
    weighted: bool = True
    bias: str = "none"
    source: str = "own"
    standing: str = "own"

    def __post_init__(self) -> None:
        words = {
            "mass": ("exp", "sigmoid", "share"),
            "mass_cells": ("all", "over", "empty"),
            "bias": ("none", "exact", "all"),
        }
        for name, allowed in words.items():
            require_one_of(f"loss {self.name!r}: {name}", getattr(self, name), allowed)
        if self.mass == "exp" and (self.mass_cells != "all" or self.bias != "none"):
            raise ValueError(
                f"loss {self.name!r}: mass_cells={self.mass_cells!r}, bias={self.bias!r} with mass='exp': biases are "
                "known up to a shift that the mass of all cells fixes; use mass_cells='all' and bias='none'"
            )

    def powers(self, path: str, most: int, rbar: float | None) -> Tensor:
        """Return the power of a path in cells of 0, 1, ..., `most` atoms, ``(most + 1,)``.

        Raises
        ------
        ValueError
            If the loss says nothing of the path.
        """
        power = self.over.get(path, self.rest)
        if power is None:
            raise ValueError(
                f"loss {self.name!r} does not cover {path}: it covers {', '.join(self.over)}. Choose another of "
                "LOSSES, or write Loss(..., over={path: Power(...)}, rest=...)"
            )
        # the unknown rbar(m) matters only beside an empty cell here: `check_orders` has refused the other cases
        beyond = LEAST_ORDER if rbar is None else rbar
        over = [power.at(m, None if m in KNOWN_ORDERS else beyond) for m in range(2, most + 1)]
        return torch.tensor([1.0, float(self.exact.at(1)), *map(float, over)][: most + 1], dtype=torch.float64)

    def check_orders(self, fitted: int, true: int, rbar: float | None) -> None:
        """Raise if a cell of four atoms is possible while no other is empty, and rbar is unknown.

        Raises
        ------
        ValueError
            From `orders.rbar`.
        """
        most = fitted - true + 1
        for power in (*self.over.values(), *((self.rest,) if self.rest is not None else ())):
            if most >= 2:
                power.at(most, rbar)

    def masses(self, bias: Tensor, log_mass: Tensor) -> Tensor:
        """Return the masses ``(*B, k)`` of atoms."""
        if self.mass == "sigmoid":
            return torch.sigmoid(log_mass)
        return torch.softmax(bias, -1) if self.mass == "share" else torch.exp(log_mass)

    def cells_with_mass(self, most: int) -> Tensor:
        """Return whether a cell of 0, 1, ..., `most` atoms has a mass term, ``(most + 1,)``."""
        size = torch.arange(most + 1)
        return {"all": size >= 0, "over": size != 1, "empty": size == 0}[self.mass_cells].double()

    def cells_with_bias(self, most: int) -> Tensor:
        """Return whether a cell of 0, 1, ..., `most` atoms has a bias term, ``(most + 1,)``."""
        size = torch.arange(most + 1)
        return {"none": size < 0, "exact": size == 1, "all": size >= 0}[self.bias].double()


def all_powers(r: float, name: str | None = None) -> Loss:
    """Return ``D_r = mass + sum exp(bias / temperature) sum_p ||difference_p||^r``, every cell alike.

    A rate that is slower than every polynomial shows as ``inf sup E D_r >= c n^(-1/2)`` for every r >= 1 (recalled:
    2401.13875 for dense-to-sparse gates).

    Raises
    ------
    ValueError
        For r < 1.
    """
    if not r >= 1:
        raise ValueError(f"all_powers({r}): the loss is defined for r >= 1")
    power = Power(Fraction(r))
    return Loss(name or f"all-powers-{r:g}", {}, power, power, source="2401.13875", standing="recalled")


def sigmoid(name: str, dense: bool, source: str, standing: str) -> Loss:
    """Return the loss of a mixture with sigmoid gates: of dense ones or regime 2, or of sparse ones or regime 1."""
    power, cells, bias = (ONE, "empty", "all") if dense else (TWO, "over", "exact")
    return Loss(name, {}, power, ONE, "sigmoid", cells, False, bias, source, standing)


def two_level(r1: Power, r2: Power, r3: Power, name: str, source: str = "2410.02935") -> Loss:
    """Return the loss of a two-level mixture with the powers of coef, intercept and variance in over-filled cells.

    ``gates.1`` has power 2 (recalled; uncertain when both gates are softmax).
    """
    gate = {INNER_WEIGHT: TWO, INNER_CENTER: TWO}
    leaf = {COEF: r1, INTERCEPT: r2, VARIANCE: r3}
    return Loss(name, {**gate, **leaf}, source=source, standing="recalled")


SPLIT = {COEF: TWO, INTERCEPT: R, VARIANCE: HALF_R}  # linear Gaussian experts whose only relation is the heat equation

_LOSSES = (
    Loss("exact", rest=ONE, source="2305.03288", standing="published"),
    Loss("laplace", {CENTER: TWO, **SPLIT}, source="2402.03226", standing="published"),
    Loss("softmax", {WEIGHT: R, **SPLIT, COEF: HALF_R}, source="2305.03288", standing="published"),
    Loss("softmax-sharp", {WEIGHT: TWO, **SPLIT}, source="this project", standing="derived"),
    Loss("softmax-strong", rest=TWO, source="2505.10860", standing="published"),
    Loss("input-free", SPLIT, mass="share", source="2505.10860", standing="published"),
    sigmoid("normalised-sigmoid-sparse", False, "2505.10860", "published"),
    sigmoid("normalised-sigmoid-dense", True, "2505.10860", "published"),
    sigmoid("sigmoid-regime-1", False, "2405.13997", "recalled"),
    sigmoid("sigmoid-regime-2", True, "2405.13997", "recalled"),
    all_powers(2, "dense-to-sparse"),
    Loss(
        "activation-dense-to-sparse",
        {WEIGHT: TWO, TEMPERATURE: ONE, **SPLIT},
        source="2401.13875",
        standing="recalled",
    ),
    two_level(TWO, R, HALF_R, "two-level-laplace"),
)

LOSSES: dict[str, Loss] = {loss.name: loss for loss in _LOSSES}
