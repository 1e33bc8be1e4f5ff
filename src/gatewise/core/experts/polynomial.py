"""Polynomials in the inputs, linear in their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from math import comb

import torch
from torch import Tensor

from gatewise.core.experts.base import Expert
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import AffineTransform, Derivatives, Params, ones_like_rows


@cache
def monomials(d: int, degree: int) -> tuple[tuple[int, ...], ...]:
    """Return the products of at least two of d inputs up to a degree, each as the inputs that are multiplied.

    Examples
    --------
    >>> monomials(2, 3)
    ((0, 0), (0, 1), (1, 1), (0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1))
    """
    powers = range(2, degree + 1)
    return tuple(found for power in powers for found in combinations_with_replacement(range(d), power))


def _words(factors: Sequence[str]) -> str:
    """Return a product in words: ``age^2 dose``."""
    counts = {name: factors.count(name) for name in factors}
    return " ".join(name if count == 1 else f"{name}^{count}" for name, count in counts.items())


@dataclass(frozen=True)
class Polynomial(Expert):
    """Polynomial expert, linear in its parameters.

    ``h(x) = coef . x + powers . m(x) + intercept`` with m(x) all products of 2 to `degree` inputs. `powers` follows
    the order of `monomials`: ``x_i x_j`` for i <= j, row by row, then the products of three inputs, and so on.

    Attributes
    ----------
    degree : int

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[1.0, 2.0, 3.0]])
    >>> params = {"coef": torch.zeros(1, 1), "powers": torch.ones(1, 1), "intercept": torch.ones(1)}
    >>> Polynomial(degree=2)(params, x).tolist()
    [[2.0, 5.0, 10.0]]
    """

    degree: int = 2

    linear = True

    def __post_init__(self) -> None:
        whole = isinstance(self.degree, int) and not isinstance(self.degree, bool)
        if not whole or self.degree < 2:
            raise ValueError(f"degree={self.degree!r}: give a whole number from 2; Linear() is the first degree")

    def parameters(self, d: int) -> dict[str, Parameter]:
        count = comb(d + self.degree, d) - 1 - d
        powers = Parameter((count,), "quadratic" if self.degree == 2 else "")
        return {"coef": Parameter((d,), "slope"), "powers": powers, "intercept": Parameter((), "intercept")}

    def entries(self, name: str, inputs: Sequence[str]) -> tuple[str, ...]:
        if name != "powers":
            return super().entries(name, inputs)
        return tuple(_words([inputs[i] for i in product]) for product in monomials(len(inputs), self.degree))

    def design(self, x: Tensor) -> Tensor:
        """Return the inputs, their products and a constant ``(*B, P, n)`` for x ``(*B, d, n)``."""
        columns = [x[..., i, :] for i in range(x.shape[-2])]
        known: dict[tuple[int, ...], Tensor] = {(i,): column for i, column in enumerate(columns)}
        for product in monomials(len(columns), self.degree):
            known[product] = known[product[:-1]] * columns[product[-1]]
        return torch.cat([torch.stack(list(known.values()), -2), ones_like_rows(x)], -2)

    def _coefficients(self, params: Params) -> Tensor:
        return torch.cat([params["coef"], params["powers"], params["intercept"][..., None]], -1)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        return self._coefficients(params) @ self.design(x)

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        design = self.design(x)
        return Derivatives(self._coefficients(params) @ design, design.unsqueeze(-3))

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        moved = self._coefficients(params) @ self._expansion(frame)
        d = len(frame.scale)
        return self, {"coef": moved[..., :d], "powers": moved[..., d:-1], "intercept": moved[..., -1]}

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]]:
        coef, powers = (params[name] / frame.scale[:, None] for name in ("coef", "powers"))
        return self, {"coef": coef, "powers": powers, "intercept": (params["intercept"] - frame.shift) / frame.scale}

    def _expansion(self, frame: AffineTransform) -> Tensor:
        """Return the matrix (P, P) that expands the products of ``x = shift + scale z`` in those of z.

        One input at a time: ``(s + k z)^a = sum_b binomial(a, b) s^(a - b) k^b z^b``.
        """
        d = len(frame.scale)
        columns = (*((i,) for i in range(d)), *monomials(d, self.degree), ())
        times = torch.tensor([[column.count(i) for i in range(d)] for column in columns], dtype=torch.long)
        powers = range(self.degree + 1)
        ways = frame.scale.new_tensor([[comb(a, b) for b in powers] for a in powers])
        gap = torch.tensor([[max(a - b, 0) for b in powers] for a in powers], dtype=torch.long)
        out = frame.scale.new_ones(len(columns), len(columns))
        for i in range(d):
            one = ways * frame.shift[i] ** gap * frame.scale[i] ** torch.arange(self.degree + 1)
            out = out * one[times[:, None, i], times[None, :, i]]
        return out
