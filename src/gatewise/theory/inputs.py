"""Laws of the inputs of a study: rows drawn from them, and nodes to integrate over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy import special
from scipy.stats import qmc
from torch import Tensor

LINE, CLOUD = 128, 2**10  # nodes in one dimension; Sobol points in more


@cache
def gauss(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss-Legendre nodes and weights on [-1, 1], computed once."""
    return np.polynomial.legendre.leggauss(count)


class Nodes(NamedTuple):
    """Points x (d, m) and weights (m,) that sum to one."""

    x: Tensor
    weight: Tensor


class Inputs(Protocol):
    """Base class of input distributions. A subclass is a frozen dataclass with `d`, `draw` and `nodes`.

    Its repr identifies the distribution, so it must show all its parameters.
    """

    @property
    def d(self) -> int:
        """Number of inputs."""
        ...

    def draw(self, n: int, generator: np.random.Generator) -> Tensor:
        """Return rows (n, d)."""
        ...

    def nodes(self) -> Nodes:
        """Return nodes for integrals over the law."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Uniform inputs on ``[low, high]^d``.

    Attributes
    ----------
    low, high : float
    d : int
    grid : bool
        With ``d = 1``: equally spaced inputs from `low` to `high` (a fixed design) instead of random ones.

    Raises
    ------
    ValueError
        If the interval is empty or unbounded, d is less than one, or a grid has more than one dimension.

    Examples
    --------
    >>> Uniform(0.0, 1.0, grid=True).draw(3, np.random.default_rng(0)).flatten().tolist()
    [0.0, 0.5, 1.0]
    """

    low: float = -2.0
    high: float = 2.0
    d: int = 1
    grid: bool = False

    def __post_init__(self) -> None:
        if not -np.inf < self.low < self.high < np.inf:
            raise ValueError(f"inputs between {self.low} and {self.high}: give low < high, both finite")
        if self.d < 1:
            raise ValueError(f"{self.d} inputs: give at least one")
        if self.grid and self.d > 1:
            raise ValueError(f"a grid in {self.d} dimensions: equally spaced inputs exist for d=1 only")

    def draw(self, n: int, generator: np.random.Generator) -> Tensor:
        """Return rows (n, d)."""
        if self.grid:
            return torch.linspace(self.low, self.high, n, dtype=torch.float64)[:, None]
        return torch.from_numpy(generator.uniform(self.low, self.high, (n, self.d)))

    def nodes(self) -> Nodes:
        """Return Gauss-Legendre nodes in one dimension, a fixed Sobol set in more."""
        if self.d == 1:
            at, weight = gauss(LINE)
            x = self.low + (self.high - self.low) * (at + 1.0) / 2.0
            return Nodes(torch.from_numpy(x)[None], torch.from_numpy(weight / 2.0))
        x = self.low + (self.high - self.low) * _cloud(self.d)
        return Nodes(torch.from_numpy(x.T.copy()), torch.full((CLOUD,), 1.0 / CLOUD, dtype=torch.float64))


@dataclass(frozen=True)
class Normal:
    """Standard normal inputs ``N(0, I_d)``."""

    d: int = 1

    def draw(self, n: int, generator: np.random.Generator) -> Tensor:
        """Return rows (n, d)."""
        return torch.from_numpy(generator.standard_normal((n, self.d)))

    def nodes(self) -> Nodes:
        """Return Gauss-Legendre nodes on [-8, 8] under the density in one dimension, a fixed Sobol set in more."""
        if self.d == 1:
            at, weight = gauss(LINE)
            mass = weight * np.exp(-32.0 * at * at)
            return Nodes(torch.from_numpy(8.0 * at)[None], torch.from_numpy(mass / mass.sum()))
        x = special.ndtri(_cloud(self.d))
        return Nodes(torch.from_numpy(x.T.copy()), torch.full((CLOUD,), 1.0 / CLOUD, dtype=torch.float64))


@cache
def _cloud(d: int) -> np.ndarray:
    """Return a fixed Sobol set (CLOUD, d) inside the unit cube."""
    return np.clip(qmc.Sobol(d, scramble=True, seed=0).random(CLOUD), 1e-12, 1.0 - 1e-12)
