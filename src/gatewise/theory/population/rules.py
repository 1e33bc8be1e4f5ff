"""Nodes to integrate a small difference of two mixtures over inputs and a response, fine where the difference is.

The unsquared distance of the Laplace gate bends at its center. Two centers at ``c +- eps`` in place of one at c differ
from it by a bump of height eps on a ball of radius eps, which a rule that is blind to c does not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, pi
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_family, leaf_predictors
from gatewise.objective.rows import Block
from gatewise.theory.distances import LARGEST, Law, count_ranges
from gatewise.theory.inputs import Nodes

NEAR = 4  # panels of half a displacement on each side of an over-filled center
ORDER = 6  # Gauss-Legendre nodes of a panel
RADIAL, HEIGHTS, TURNS = 3, 6, 6  # nodes of a radial panel, of cos(polar angle) and of the turn about the axis
WIDE = 7.0  # standard deviations from the outermost means to the ends of the response


class Region(Protocol):
    """Where the inputs are uniform."""

    @property
    def d(self) -> int:
        """Number of inputs."""
        ...

    def graded(self, near: Tensor, breaks: Tensor, eps: float, finer: int) -> Nodes:
        """Return nodes that resolve lengths of eps at the points `near` (m, d) and end panels at `breaks` (m, d)."""
        ...


@dataclass(frozen=True)
class Cube:
    """Quadrature for uniform inputs on ``[low, high]^d``: Gauss-Legendre panels, refined at kinks if ``d = 1``.

    Attributes
    ----------
    low, high : float
    d : int
    panels : int
        Number of equal panels per edge, with six nodes each; one is enough if the mixture does not depend on the
        inputs.

    Examples
    --------
    >>> nodes = Cube(0.0, 1.0).graded(torch.tensor([[0.3]]), torch.empty(0, 1), 0.01, 1)
    >>> round(float((nodes.weight * (nodes.x[0] - 0.3).abs()).sum()), 12)
    0.29
    """

    low: float = -2.0
    high: float = 2.0
    d: int = 1
    panels: int = 8

    def graded(self, near: Tensor, breaks: Tensor, eps: float, finer: int = 1) -> Nodes:
        """Return the nodes; see `Region`.

        Raises
        ------
        ValueError
            For kinks in more than one dimension, where panels of a product rule cannot follow them.
        """
        if self.d > 1 and len(near):
            raise ValueError(
                f"inputs on a cube in {self.d} dimensions and a gate with a kink: a product rule does not resolve it. "
                "Use Ball about the over-specified center"
            )
        ends = sorted({*np.linspace(self.low, self.high, self.panels + 1).tolist(), *breaks.flatten().tolist()})
        ends += [a + (b - a) * i / finer for a, b in pairwise(ends) for i in range(1, finer)]
        steps = _steps(eps, self.high - self.low, finer)
        ends += [float(point) + side * step for point in near.flatten() for side in (-1, 1) for step in (0.0, *steps)]
        at, weight = legendre([end for end in ends if self.low <= end <= self.high], ORDER)
        grids = torch.meshgrid(*[at] * self.d, indexing="ij")
        masses = torch.meshgrid(*[weight / (self.high - self.low)] * self.d, indexing="ij")
        return Nodes(torch.stack([g.flatten() for g in grids]), torch.stack([m.flatten() for m in masses]).prod(0))


@dataclass(frozen=True)
class Ball:
    """Quadrature for uniform inputs on a ball in two or three dimensions: polar panels refined towards the center.

    Attributes
    ----------
    center : tuple of float
        Center of the over-specified atom.
    radius : float

    Raises
    ------
    ValueError
        If the dimension is not two or three.

    Examples
    --------
    >>> nodes = Ball((0.0, 0.0, 0.0), 2.0).graded(torch.zeros(1, 3), torch.zeros(1, 3), 0.1, 1)
    >>> round(float((nodes.weight * (nodes.x**2).sum(0)).sum()), 12)
    2.4
    """

    center: tuple[float, ...]
    radius: float

    def __post_init__(self) -> None:
        if len(self.center) not in (2, 3):
            raise ValueError(f"a ball about {self.center}: polar panels exist for 2 and 3 inputs; use Cube for others")

    @property
    def d(self) -> int:
        """Number of inputs."""
        return len(self.center)

    def graded(self, near: Tensor, breaks: Tensor, eps: float, finer: int = 1) -> Nodes:
        """Return the nodes; see `Region`. Panels do not end at `breaks`.

        Raises
        ------
        ValueError
            If a point of `near` is not the center of the ball.
        """
        center = torch.tensor(self.center, dtype=torch.float64)
        if len(near) and float((near - center).abs().max()) > 0:
            raise ValueError(
                f"a ball about {self.center}, but over-specified centers at {near.tolist()}: they must agree"
            )
        radii, weight = legendre(
            [0.0, *(s for s in _steps(eps, self.radius, finer) if s < self.radius), self.radius], RADIAL
        )
        weight = weight * self.d * radii ** (self.d - 1) / self.radius**self.d
        direction, share = _directions(self.d, finer)
        x = center[:, None, None] + radii[:, None] * direction[:, None, :]
        return Nodes(x.flatten(1), (weight[:, None] * share).flatten())


def _directions(d: int, finer: int) -> tuple[Tensor, Tensor]:
    """Return unit vectors (d, m), the first coordinate their axis, and weights (m,) that sum to one."""
    count = TURNS * finer * (4 if d == 2 else 1)
    turn = 2 * pi * (torch.arange(count, dtype=torch.float64) + 0.3) / count
    if d == 2:
        return torch.stack([turn.cos(), turn.sin()]), torch.full((count,), 1.0 / count, dtype=torch.float64)
    height, weight = legendre([-1.0, 1.0], HEIGHTS * finer)
    across = (1 - height * height).sqrt()[:, None]
    parts = [height[:, None].expand(-1, count), across * turn.cos(), across * turn.sin()]
    return torch.stack([p.flatten() for p in parts]), (weight / 2 / count)[:, None].expand(-1, count).flatten()


def _steps(eps: float, reach: float, finer: int) -> list[float]:
    """Return distances from a kink at which panels end: by half displacements, then twice as far each time."""
    near = [eps * (i + 1) / (2 * finer) for i in range(NEAR * finer)]
    far = [near[-1]]
    while far[-1] < reach:
        far.append(far[-1] * 2.0 ** (1.0 / finer))
    return near + far[1:]


def legendre(ends: list[float], order: int) -> tuple[Tensor, Tensor]:
    """Return Gauss-Legendre nodes and weights (m,) on the panels between `ends`."""
    places = np.unique(np.asarray(ends))
    places = places[np.append(True, np.diff(places) > 1e-9 * (places[-1] - places[0]))]
    at, weight = np.polynomial.legendre.leggauss(order)
    half = np.diff(places)[:, None] / 2
    x = places[:-1, None] + half * (1 + at)
    return torch.from_numpy(x.flatten()), torch.from_numpy((half * weight).flatten())


def with_response(mixture: Mixture, measure: Measure, nodes: Nodes, step: float) -> tuple[Block, Tensor]:
    """Return rows (x, y) and weights for integrals over the law of the inputs and the values of the response.

    All classes have weight one, and so have counts, but for a mass of 1e-13 per expert. A response on the line has
    equally spaced nodes at every x: the trapezoidal rule, whose error for a smooth function that vanishes at both ends
    falls faster than every power of the spacing.

    Parameters
    ----------
    step : float
        Spacing in standard deviations of the narrowest expert.

    Raises
    ------
    ValueError
        For counts that are too many to be summed over.
    """
    support, width = mixture.family.support(mixture.outputs(measure)), torch.ones(1, dtype=torch.float64)
    if support is not None:
        y = support[..., None].expand(-1, -1, len(nodes.weight))
    elif mixture.family.discrete:
        y = _counts(mixture, measure, nodes.x)
    else:
        y, width = _spaced(mixture, measure, nodes.x, step)
    count = y.shape[1]
    x = nodes.x.repeat(1, count)
    return Block(x, x, y.flatten(1)), (width * nodes.weight).expand(count, -1).flatten()


def _counts(mixture: Mixture, measure: Measure, x: Tensor) -> Tensor:
    """Return the counts (1, c, m) that experts take at the inputs (d, m), as many at each."""
    low, high = count_ranges(Law(mixture, measure.map(lambda v: v[None])), x)
    used = high > low
    first = torch.where(used, low, torch.inf).amin(0)
    count = float((high.amax(0) - first).max())
    if not count * x.shape[-1] <= LARGEST:
        raise ValueError(
            f"true counts of up to {float(high.max()):.3g} at {x.shape[-1]} inputs are too many to be summed over "
            f"({LARGEST:.2g} pairs at most): give a truth with smaller means, or distance='l2'"
        )
    return (first + torch.arange(int(count), dtype=torch.float64)[:, None])[None]


def _spaced(mixture: Mixture, measure: Measure, x: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Return equally spaced responses (1, c, m) at the inputs (d, m), and their distance (m,)."""
    eta = leaf_predictors(mixture, measure, x)
    family = leaf_family(mixture, measure)
    mean, spread = mixture.family.mean(family, eta)[:, 0], mixture.family.variance(family, eta)[:, 0].sqrt()
    low, high = (mean - WIDE * spread).amin(0), (mean + WIDE * spread).amax(0)
    count = ceil(float((high - low).max() / (step * spread.min())))
    y = low + (high - low) * ((torch.arange(count, dtype=torch.float64) + 0.5) / count)[:, None]
    return y[None], (high - low) / count
