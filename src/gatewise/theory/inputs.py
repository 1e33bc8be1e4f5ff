"""Laws of the inputs of a study: rows drawn from them, nodes to integrate over them, and means over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import pi
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy import special
from scipy.stats import qmc
from torch import Tensor

NODES = {1: 128, 2: 32, 3: 16}  # Gauss nodes per dimension
CLOUD = 2**10  # Sobol points in more dimensions
PANELS, ORDER = 8, 8  # of an interval that is halved where a function is not smooth: panels at first, nodes of each
EXACT = 1e-7  # share of a mean by which a panel and its halves may differ
NOTHING = 1e-20  # means below this are rounding
HALVINGS, ROUGH = 30, 256  # rounds of them, and panels that may be rough at once
REACH = 9.0  # standard deviations beyond which a normal law has no mass in floats


@cache
def gauss(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss-Legendre nodes and weights on [-1, 1], computed once."""
    return np.polynomial.legendre.leggauss(count)


class Nodes(NamedTuple):
    """Points x (d, m) and weights (m,) that sum to one."""

    x: Tensor
    weight: Tensor


class InputInterval(NamedTuple):
    """A law of one input as an interval and its density there, x ``(m,)`` to ``(m,)``."""

    low: float
    high: float
    density: Callable[[Tensor], Tensor]


class Inputs(Protocol):
    """Base class of input distributions. A subclass is a frozen dataclass with `d`, `draw` and `nodes`.

    Its repr identifies the distribution, so it must show all its parameters. A law of one input that also has
    ``line() -> InputInterval`` is integrated over panels that are halved at kinks and jumps, instead of at its nodes.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import torch
    >>> from gatewise.theory import Inputs, Uniform
    >>> @dataclass(frozen=True)
    ... class Halves(Inputs):
    ...     d: int = 1
    ...
    ...     def draw(self, n, generator):  # uniform on [-1, 1], with as many rows on either side of zero
    ...         sign = torch.where(torch.arange(n) < n // 2, -1.0, 1.0).double()
    ...         return sign[:, None] * torch.from_numpy(generator.random((n, self.d)))
    ...
    ...     def nodes(self):
    ...         return Uniform(-1, 1, self.d).nodes()
    >>> round(float(Halves().nodes().weight.sum()), 12)
    1.0
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
        """Return a product of Gauss-Legendre nodes in up to three dimensions, a fixed Sobol set in more."""
        if self.d in NODES:
            at, weight = gauss(NODES[self.d])
            return _product(self.low + (self.high - self.low) * (at + 1.0) / 2.0, weight / 2.0, self.d)
        return _equal(self.low + (self.high - self.low) * _cloud(self.d))

    def line(self) -> InputInterval:
        """Return the interval of a single input."""
        return InputInterval(self.low, self.high, lambda x: torch.full_like(x, 1.0 / (self.high - self.low)))


@dataclass(frozen=True)
class Normal:
    """Standard normal inputs ``N(0, I_d)``.

    Attributes
    ----------
    d : int
        Number of inputs.

    Examples
    --------
    >>> from gatewise.theory import Normal
    >>> Normal(3).d
    3
    """

    d: int = 1

    def draw(self, n: int, generator: np.random.Generator) -> Tensor:
        """Return rows (n, d)."""
        return torch.from_numpy(generator.standard_normal((n, self.d)))

    def nodes(self) -> Nodes:
        """Return a product of Gauss nodes in up to three dimensions, a fixed Sobol set in more.

        Those of one input are Gauss-Legendre nodes on [-8, 8] under the density, those of two or three Gauss-Hermite.
        """
        if self.d == 1:
            at, weight = gauss(NODES[1])
            mass = weight * np.exp(-32.0 * at * at)
            return _product(8.0 * at, mass / mass.sum(), 1)
        if self.d in NODES:
            at, mass = np.polynomial.hermite_e.hermegauss(NODES[self.d])
            return _product(at, mass / mass.sum(), self.d)
        return _equal(special.ndtri(_cloud(self.d)))

    def line(self) -> InputInterval:
        """Return the interval that holds all the mass of a single input, in floats."""
        return InputInterval(-REACH, REACH, lambda x: torch.exp(-0.5 * x * x) / (2.0 * pi) ** 0.5)


@dataclass(frozen=True)
class Lattice:
    """Inputs at equally spaced points in ``[low, high]^d``, all equally likely.

    Rows at the same point with the same class are one row that counts for many, so that the size of a sample does not
    matter to the time of a fit: rates of classes may be seen at a billion rows.

    Attributes
    ----------
    points : int
        Along every axis, the ends of the interval among them.
    low, high : float
    d : int

    Raises
    ------
    ValueError
        If there are fewer than two points, the interval is empty or unbounded, or d is less than one.

    Examples
    --------
    >>> Lattice(3, -1, 1, d=2).support().tolist()[:4]
    [[-1.0, -1.0], [-1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]]
    """

    points: int
    low: float = -2.0
    high: float = 2.0
    d: int = 1

    def __post_init__(self) -> None:
        if not self.points >= 2:
            raise ValueError(f"{self.points} points along every axis: give at least two")
        Uniform(self.low, self.high, self.d)  # raises for what is no interval

    def draw(self, n: int, generator: np.random.Generator) -> Tensor:
        """Return rows (n, d)."""
        at = torch.linspace(self.low, self.high, self.points, dtype=torch.float64)
        return at[torch.from_numpy(generator.integers(self.points, size=(n, self.d)))]

    def nodes(self) -> Nodes:
        """Return all points with equal weights."""
        return _equal(self.support().numpy())

    def graded(self, near: Tensor, breaks: Tensor, eps: float, finer: int = 1) -> Nodes:
        """Return all points, over which the integrals of population exponents are exact sums; see `Region`."""
        return self.nodes()

    def support(self) -> Tensor:
        """Return all points (points^d, d)."""
        at = torch.linspace(self.low, self.high, self.points, dtype=torch.float64)
        return torch.cartesian_prod(*[at] * self.d).reshape(-1, self.d)


@cache
def _cloud(d: int) -> np.ndarray:
    """Return a fixed Sobol set (CLOUD, d) inside the unit cube."""
    return np.clip(qmc.Sobol(d, scramble=True, seed=0).random(CLOUD), 1e-12, 1.0 - 1e-12)


def _product(at: np.ndarray, weight: np.ndarray, d: int) -> Nodes:
    """Return the nodes of independent inputs of one law, given those of one."""
    grids, masses = (np.meshgrid(*[part] * d, indexing="ij") for part in (at, weight))
    x = np.stack([grid.ravel() for grid in grids])
    return Nodes(torch.from_numpy(x), torch.from_numpy(np.prod(masses, axis=0).ravel()))


def _equal(points: np.ndarray) -> Nodes:
    """Return points (m, d) as nodes of equal weights."""
    return Nodes(torch.from_numpy(points.T.copy()), torch.full((len(points),), 1.0 / len(points), dtype=torch.float64))


def expectation(fn: Callable[[Tensor], Tensor], inputs: Inputs, breaks: Sequence[float] = ()) -> Tensor:
    """Return the means ``E f(X)`` (c,) of a function x (d, m) -> (c, m).

    A law of one input is integrated over panels that begin and end at `breaks`, where f is known to bend. A panel is
    halved as long as its integral of the first component differs from the sum of its halves by more than 1e-7 of the
    whole, so kinks and jumps elsewhere are found too. Other laws are averaged over their nodes.
    """
    line = line_of(inputs)
    if line is None:
        nodes = inputs.nodes()
        return (nodes.weight * fn(nodes.x)).sum(-1)
    return _halved(fn, line, breaks)


def line_of(inputs: Inputs) -> InputInterval | None:
    """Return the interval and density of a law of one input; None of others, and where the law does not say."""
    line = getattr(inputs, "line", None)
    return line() if line is not None and inputs.d == 1 else None


def _halved(fn: Callable[[Tensor], Tensor], line: InputInterval, breaks: Sequence[float]) -> Tensor:
    inside = [point for point in breaks if line.low < point < line.high]
    ends = torch.from_numpy(np.unique([*np.linspace(line.low, line.high, PANELS + 1), *inside]))
    low, high = ends[:-1], ends[1:]
    whole = _on_panels(fn, line, low, high)
    done = whole.new_zeros(len(whole))
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        left, right = _on_panels(fn, line, torch.cat([low, middle]), torch.cat([middle, high])).chunk(2, -1)
        halves = left + right
        total = (done + halves.sum(-1))[0].abs().clamp_min(NOTHING)
        rough = (halves - whole)[0].abs() > EXACT * total
        if not 0 < int(rough.sum()) <= ROUGH:
            return done + halves.sum(-1)
        done = done + halves[:, ~rough].sum(-1)
        low, high = (torch.stack(pair)[:, rough].flatten() for pair in ((low, middle), (middle, high)))
        whole = torch.stack([left, right], 1)[:, :, rough].flatten(1)
    return done + whole.sum(-1)


def _on_panels(fn: Callable[[Tensor], Tensor], line: InputInterval, low: Tensor, high: Tensor) -> Tensor:
    """Return the integrals (c, P) of a function under a law of one input over the panels from low to high (P,)."""
    at, weight = (torch.from_numpy(part) for part in gauss(ORDER))
    x = low[:, None] + (high - low)[:, None] * (at + 1.0) / 2.0
    mass = line.density(x) * (high - low)[:, None] * weight / 2.0
    value = fn(x.reshape(1, -1))
    return (value.reshape(len(value), *x.shape) * mass).sum(-1)
