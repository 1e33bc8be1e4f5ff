"""Atoms: the function u(x, y; theta) whose weighted sum over leaves is what a mixture estimates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

Function = Callable[[Tensor, Tensor, Tensor], Tensor]


def normal_response(generator: torch.Generator, n: int) -> Tensor:
    """Draw responses ``(n,)`` from N(0, 2^2), which covers the atoms; it need not be the law of a model."""
    return 2.0 * torch.randn(n, generator=generator, dtype=torch.float64)


def points(generator: torch.Generator, d: int, n: int, reach: float = 1.0) -> Tensor:
    """Draw inputs ``(d, n)``, uniform on ``[-1.5, 1.5]^d``, each moved out by a factor from 1 to `reach`.

    The logarithm of the factor is uniform, so that every scale has its share of the points.
    """
    near = 3.0 * torch.rand(d, n, generator=generator, dtype=torch.float64) - 1.5
    return near if reach == 1.0 else near * reach ** torch.rand(n, generator=generator, dtype=torch.float64)


class Atom(NamedTuple):
    """A function whose derivatives in theta are tested for independence.

    Attributes
    ----------
    function : callable
        ``u(x, y, theta) -> (n,)`` for x ``(d, n)``, y ``(n,)``, theta ``(p,)``: row by row, differentiable by torch.
    names : tuple of str
        Name of every entry of theta; ``coef[0]`` is an entry of the parameter ``coef``.
    draw : callable
        ``draw(generator) -> theta``, a random value in general position.
    d : int
        Number of features.
    held : tuple of str
        Entries in which no derivative is taken.
    levels : tuple of tuple of str
        Entries of the gate of each level. A second atom has them in common when the two share a gate. A relation
        between two levels is no ridge, because the inner gate is normalised over its branches.
    response : callable
        ``response(generator, n) -> y``.
    splits : bool
        Whether several fitted atoms can add up to a true one, so that second order counts.
    title : str
        What the atom stands for, in words.
    factors : tuple of tuple of str
        Groups of entries, first the bias of a gate, or an empty name where there is none, then the other entries of
        that gate. A bias in front of weights that sum to one multiplies the atom and is left out, so a direction of the
        others that does the same is no parameter of its own.
    shared : tuple of str
        Entries that all atoms have in common.
    ratio : callable or None
        ``ratio(x, y, theta) -> (n,)``, constant along the directions that leave what is estimated unchanged, where this
        is more than the atom: a mean is a sum of atoms over a sum of weights. None: the atom is.
    paths : mapping of str
        For a leaf of a mixture, the path in a measure of every parameter, such as ``gates.0.weight`` for ``weight``.
    """

    function: Function
    names: tuple[str, ...]
    draw: Callable[[torch.Generator], Tensor]
    d: int
    held: tuple[str, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    response: Callable[[torch.Generator, int], Tensor] = normal_response
    splits: bool = True
    title: str = "user-defined atom"
    factors: tuple[tuple[str, ...], ...] = ()
    shared: tuple[str, ...] = ()
    ratio: Function | None = None
    paths: Mapping[str, str] = {}
