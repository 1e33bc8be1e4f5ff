"""What a Voronoi loss returns, and how results of several truths are combined."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Shift(NamedTuple):
    """The translation that was taken off the fitted gates.

    Attributes
    ----------
    bias : Tensor (*B,)
        Of the log masses: biases over temperatures.
    locations : dict path -> Tensor (*B, size)
    mirrored : Tensor (*B,) of bool
        Whether the mirror image of the truth was closer, see `atoms.mirrored`.
    """

    bias: Tensor
    locations: dict[str, Tensor]
    mirrored: Tensor


class Voronoi(NamedTuple):
    """A Voronoi loss with its cells.

    Attributes
    ----------
    value : Tensor (*B,)
        The least loss that was found over the translations of `voronoi_loss`; NaN if the measure is not finite.
    unweighted : Tensor (*B,)
        The loss with differences weighted by one in place of the masses, at its own best translation.
    cells : LongTensor (*B, k)
        Index of the true atom of every fitted one.
    sizes : LongTensor (*B, k*)
        Fitted atoms of every true one. A true atom that was merged into another one has -1.
    ties : LongTensor (*B,)
        Fitted atoms that are equally close to several true ones. An infimum on the edge of cells, which a fit far from
        the truth may have, counts as one.
    shift : Shift
    differences : dict path -> Tensor (*B, k)
        Norm of fitted minus true for every fitted atom, translation taken off. ``bias`` holds it for the log masses
        of gates with translations, for the biases of others; it says nothing of split atoms, `mass` does.
    mass : Tensor (*B, k*)
        Absolute difference of masses in every cell; NaN for a true atom that was merged into another.
    vanishing : Tensor (*B,) of bool
        Whether shifting the biases to minus infinity would give less than `value`: the fitted mass vanishes and the
        mass of the truth is left, whatever the fit. Such shifts are not among the translations.
    """

    value: Tensor
    unweighted: Tensor
    cells: Tensor
    sizes: Tensor
    ties: Tensor
    shift: Shift
    differences: dict[str, Tensor]
    mass: Tensor
    vanishing: Tensor

    @property
    def empty(self) -> Tensor:
        """Whether some true atom has no fitted one, ``(*B,)``."""
        return (self.sizes == 0).any(-1)


def closest(several: list[Voronoi]) -> Voronoi:
    """Return the comparison with the smallest loss, measure by measure, and the smallest unweighted loss."""
    best = several[0]
    for other in several[1:]:
        closer = other.value < best.value
        image = other.shift._replace(mirrored=torch.ones_like(best.shift.mirrored))
        chosen = _choose(closer, other._replace(shift=image), best)
        best = chosen._replace(unweighted=torch.minimum(other.unweighted, best.unweighted))
    return best


def _choose(closer: Tensor, one: Voronoi, other: Voronoi) -> Voronoi:
    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(closer.reshape(closer.shape + (1,) * (a.ndim - closer.ndim)), a, b)

    return _map(pick, one, other)


def unflatten(found: Voronoi, batch: torch.Size) -> Voronoi:
    """Return the result with its first dimension in the shape of the batch."""
    return _map(lambda v: v.reshape(batch + v.shape[1:]), found)


def _map(fn: Callable[..., Tensor], *found: Voronoi) -> Voronoi:
    """Apply a function to corresponding tensors."""
    first = found[0]

    def entries(read: Callable[[Voronoi], dict[str, Tensor]]) -> dict[str, Tensor]:
        return {key: fn(*(read(v)[key] for v in found)) for key in read(first)}

    shift = Shift(
        fn(*(v.shift.bias for v in found)),
        entries(lambda v: v.shift.locations),
        fn(*(v.shift.mirrored for v in found)),
    )
    names = ("value", "unweighted", "cells", "sizes", "ties", "mass", "vanishing")
    plain = {name: fn(*(getattr(v, name) for v in found)) for name in names}
    return Voronoi(**plain, shift=shift, differences=entries(lambda v: v.differences))


def pick_member(several: list[Voronoi], index: Tensor) -> Voronoi:
    """Return, for every measure, the comparison numbered by `index` ``(*B,)``."""
    best = several[0]
    for number, other in enumerate(several[1:], 1):
        best = _choose(index == number, other, best)
    return best
