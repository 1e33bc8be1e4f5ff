"""The curves of a study: what is drawn, what is fitted, from which starts, at which sizes. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.inputs import Inputs, Uniform
from gatewise.theory.voronoi import LOSSES, Loss

Method = Literal["ml", "ls", "em"]


@dataclass(frozen=True)
class Blind:
    """Starts that know nothing of the truth, drawn from the data.

    Attributes
    ----------
    count : int
        Least squares adds as many random points and screens them.
    """

    count: int = 10


@dataclass(frozen=True)
class NearTruth:
    """Starts at the truth plus Gaussian noise of standard deviation ``scale n^-rate``.

    Fitted atoms go to true atoms at random, none left out. With ``rate > 0`` the noise shrinks as n grows and the slope
    of the errors may be inherited from it (public simulation code: scale .005, rate .083).
    """

    scale: float
    rate: float = 0.0
    count: int = 1


@dataclass(frozen=True)
class Data:
    """What is drawn.

    Attributes
    ----------
    mixture : Mixture
    truth : Measure, or callable n -> Measure
        A callable lets the truth drift with n.
    inputs : Inputs
    noise : float or tuple of float
        Standard deviation of what is added to the mean, instead of a draw from the density (least squares). A tuple is
        swept at one size; the axis is then the effective size ``n (noise[0] / noise)^2``: local asymptotics with a
        design of fixed size.
    """

    mixture: Mixture
    truth: Measure | Callable[[int], Measure]
    inputs: Inputs = Uniform()
    noise: float | tuple[float, ...] | None = None

    def at(self, n: int) -> Measure:
        """Return the truth at a sample size."""
        return self.truth(n) if callable(self.truth) else self.truth


@dataclass(frozen=True)
class Model:
    """What is fitted.

    Attributes
    ----------
    mixture : Mixture
    method : {"ml", "ls", "em"}
    box : mapping path -> (lower, upper)
        The compact set of the parameters, in natural units.
    min_scale : float or None
        Floor of standard deviations, to be given unless the method is least squares.
    fixed : mapping path -> Tensor
        Parts that are not estimated; NaN entries stay free.
    gauge : {"fixed", "none"}
        "none" also estimates a temperature that no data identify.
    max_iter : int
        Passes of method "em", to be stopped early.
    """

    mixture: Mixture
    method: Method = "ml"
    box: Mapping[str, tuple[float | Tensor, float | Tensor]] | None = None
    min_scale: float | None = None
    fixed: Mapping[str, Tensor] | None = None
    gauge: str = "fixed"
    max_iter: int = 1000

    def __post_init__(self) -> None:
        if self.method != "ls" and self.min_scale is None:
            raise ValueError(
                "a likelihood without min_scale: it is unbounded as a standard deviation goes to 0, and the default "
                "floor depends on the data; give the least standard deviation of the study"
            )


class Level(NamedTuple):
    """One abscissa of an arm: rows, noise (least squares), and the effective sample size it stands for."""

    n: int
    noise: float | None
    axis: int


@dataclass(frozen=True)
class Arm:
    """One curve: what is drawn, what is fitted, and a window of sample sizes.

    Attributes
    ----------
    name : str
    data : Data
    model : Model
    sizes : tuple of int
        With a sweep of the noise one size.
    replicates : int
        Those that are judged; more can be added to a folder later.
    starts : Blind or NearTruth
    losses : tuple of str or Loss
        Voronoi losses, or their names in `LOSSES`.
    rbar : int or None
        Order of the polynomial system for cells of four and more atoms.
    merged : bool
        Whether losses and errors are also recorded, as "merged ...", after the fitted atoms have been merged to as many
        as are true, and "selected", the number of atoms that the dendrogram criterion chooses.
    """

    name: str
    data: Data
    model: Model
    sizes: tuple[int, ...]
    replicates: int
    starts: Blind | NearTruth = Blind()
    losses: tuple[str | Loss, ...] = ("exact",)
    rbar: int | None = None
    merged: bool = False

    def __post_init__(self) -> None:
        noise, method = self.data.noise, self.model.method
        if (method == "ls") != (noise is not None):
            raise ValueError(
                f"arm {self.name!r}: method={method!r} with noise={noise}: least squares needs the standard deviation "
                "of the noise, a likelihood takes it from the truth"
            )
        if isinstance(noise, tuple) and len(self.sizes) != 1:
            raise ValueError(f"arm {self.name!r}: sizes {self.sizes} with a sweep of the noise: give one size")
        for loss in self.losses:
            if isinstance(loss, str) and loss not in LOSSES:
                raise ValueError(f"arm {self.name!r}: loss {loss!r} is not one of {', '.join(LOSSES)}")

    def levels(self) -> tuple[Level, ...]:
        """Return the abscissae, smallest first."""
        noise = self.data.noise
        if isinstance(noise, tuple):
            first, n = noise[0], self.sizes[0]
            return tuple(Level(n, s, round(n * (first / s) ** 2)) for s in sorted(noise, reverse=True))
        return tuple(Level(n, noise, n) for n in sorted(self.sizes))

    def named_losses(self) -> tuple[Loss, ...]:
        """Return the losses as values."""
        return tuple(LOSSES[loss] if isinstance(loss, str) else loss for loss in self.losses)
