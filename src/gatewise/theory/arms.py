"""The curves of a study: what is drawn, what is fitted, from which starts, at which sizes. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.core.names import require_one_of
from gatewise.fit.spec import FitSpec
from gatewise.theory.inputs import Inputs, Lattice, Uniform
from gatewise.theory.voronoi import LOSSES, Loss

Method = Literal["ml", "ls", "em"]
METHODS, GAUGES = ("ml", "ls", "em"), ("fixed", "none")


@dataclass(frozen=True, repr=False)
class DataDrivenStarts:
    """Starts drawn from the data, without knowledge of the truth.

    Attributes
    ----------
    count : int
        Number of starts. Least squares adds as many random points, and screens them.
    more : int
        Number of further starts of a replicate whose fit has a worse objective than the truth: no maximum has, so that
        the search is not over. They know no more of the truth than that.

    Raises
    ------
    ValueError
        If `count` is less than one, or `more` is negative.

    Examples
    --------
    >>> from gatewise.theory import DataDrivenStarts
    >>> DataDrivenStarts(3).count
    3
    >>> DataDrivenStarts(10, more=40)
    DataDrivenStarts(count=10, more=40)
    """

    count: int = 10
    more: int = 0

    def __post_init__(self) -> None:
        _check_starts(self.count)
        if not self.more >= 0:
            raise ValueError(f"{self.more} more starts: give none or a positive number")

    def __repr__(self) -> str:  # it is part of fingerprints: those of studies without more starts are older than them
        more = f", more={self.more}" if self.more else ""
        return f"{type(self).__name__}(count={self.count}{more})"


@dataclass(frozen=True)
class NearTruth:
    """Starts at the true parameters plus Gaussian noise with standard deviation ``scale n^-rate``.

    Fitted atoms are assigned to true atoms at random, so that every true atom gets one. With ``rate > 0`` the noise
    shrinks as n grows, and the slope of the errors may be inherited from it (public simulation code uses .005 and
    .083).

    Attributes
    ----------
    scale, rate : float
    count : int
        Number of starts.

    Raises
    ------
    ValueError
        If the scale or the rate is negative, or `count` is less than one.

    Examples
    --------
    >>> from gatewise.theory import NearTruth
    >>> start = NearTruth(0.005, rate=0.083)  # that of published simulations: it shrinks as n grows
    >>> start.scale, start.rate
    (0.005, 0.083)
    """

    scale: float
    rate: float = 0.0
    count: int = 1

    def __post_init__(self) -> None:
        _check_starts(self.count)
        if not (self.scale >= 0 and self.rate >= 0):
            raise ValueError(f"starts near the truth with scale={self.scale}, rate={self.rate}: neither is negative")


def _check_starts(count: int) -> None:
    if not count >= 1:
        raise ValueError(f"{count} starts: give at least one")


@dataclass(frozen=True)
class Data:
    """The data-generating model of an arm.

    Attributes
    ----------
    mixture : Mixture
    truth : Measure, or callable n -> Measure
        True parameters; a callable lets them depend on n.
    inputs : Inputs
        Distribution of the inputs. Rows of classes on a `Lattice` are kept as counts.
    noise : float or tuple of float
        For least squares: standard deviation of the noise added to the mean, instead of a draw from the density. With a
        tuple, the noise varies at a single sample size, and the axis is the effective size ``n (noise[0] / noise)^2``
        (local asymptotics with a fixed design).

    Examples
    --------
    >>> import torch
    >>> from gatewise import GATES, Measure, Mixture
    >>> from gatewise.theory import Data, Uniform
    >>> mixture = Mixture((GATES["softmax"],), (2,))
    >>> truth = Measure(
    ...     gates=({"weight": torch.tensor([[1.5], [0.0]]).double(), "bias": torch.tensor([0.3, 0.0]).double()},),
    ...     experts={
    ...         "coef": torch.tensor([[[1.5]], [[-1.0]]]).double(),
    ...         "intercept": torch.tensor([[1.0], [-1.0]]).double(),
    ...     },
    ...     family={"scale": torch.tensor([[0.5], [0.7]]).double()},
    ... )
    >>> data = Data(mixture, truth, Uniform(-2, 2))
    >>> data.inputs.d
    1
    """

    mixture: Mixture
    truth: Measure | Callable[[int], Measure]
    inputs: Inputs = Uniform()
    noise: float | tuple[float, ...] | None = None

    def at(self, n: int) -> Measure:
        """Return the truth at a sample size."""
        return self.truth(n) if callable(self.truth) else self.truth

    @property
    def moves(self) -> bool:
        """Whether the truth depends on n."""
        return callable(self.truth)

    def counted(self, n: int) -> int | None:
        """Return how many different rows there are, of inputs on a lattice with classes; None: each row is its own."""
        if not isinstance(self.inputs, Lattice) or self.noise is not None:
            return None
        classes = self.mixture.family.support(self.mixture.outputs(self.at(n)))
        return None if classes is None else len(self.inputs.support()) * len(classes)


@dataclass(frozen=True)
class Model:
    """The fitted model of an arm.

    Attributes
    ----------
    mixture : Mixture
    method : {"ml", "ls", "em"}
    box : mapping path -> (lower, upper)
        Compact parameter set, in the units of the data.
    min_scale : float or None
        Floor of standard deviations; required unless the method is least squares.
    fixed : mapping path -> Tensor
        Parameters that are not estimated; NaN entries are estimated.
    ties : tuple of tuples of names
        Parameters that are equal, as in `gatewise.FitSpec`: ``(("gates.0.weight[0,1]", "experts.coef[0,0,1]"),)``.
    gauge : {"fixed", "none"}
        "none" also estimates parameters that are not identified, such as a temperature.
    max_iter : int
        Number of passes for method "em".

    Raises
    ------
    ValueError
        If the method or gauge is unknown, a likelihood has no `min_scale`, or a tie has only one name.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.theory import Model
    >>> Model(Mixture((GATES["softmax"],), (3,)), box={"experts.coef": (-4.0, 4.0)}, min_scale=0.1).method
    'ml'
    """

    mixture: Mixture
    method: Method = "ml"
    box: Mapping[str, tuple[float | Tensor, float | Tensor]] | None = None
    min_scale: float | None = None
    fixed: Mapping[str, Tensor] | None = None
    gauge: str = "fixed"
    max_iter: int = 1000
    ties: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        FitSpec(ties=self.ties)  # raises for a tie of one name
        require_one_of("method", self.method, METHODS)
        require_one_of("gauge", self.gauge, GAUGES)
        if self.method != "ls" and self.min_scale is None:
            raise ValueError(
                "a likelihood without min_scale: it is unbounded as a standard deviation goes to 0, and the default "
                "floor depends on the data; give a floor of the standard deviations for the study"
            )

    def limits(self) -> dict[str, tuple[float | Tensor, float | Tensor]]:
        """Return the box, with the floor of the scales in it."""
        limits = dict(self.box or {})
        if self.min_scale is None:
            return limits
        for path in self.mixture.paths("family", "scale"):
            low, high = limits.get(path, (0.0, float("inf")))
            limits[path] = (torch.as_tensor(low, dtype=torch.float64).clamp_min(self.min_scale), high)
        return limits


class Level(NamedTuple):
    """One abscissa of an arm: sample size, noise (least squares), the effective size it stands for, and its rows.

    There are fewer rows than the sample has where they are counts.
    """

    n: int
    noise: float | None
    axis: int
    rows: int


@dataclass(frozen=True)
class Arm:
    """One curve of a study: the true model, the fitted model, the sample sizes, and how fits are started.

    Attributes
    ----------
    name : str
    data : Data
    model : Model
    sizes : tuple of int
        Sample sizes; a single one if the noise varies.
    replicates : int
        Number of replicates used for verdicts. A folder can be extended later if this is a multiple of 20.
    starts : DataDrivenStarts or NearTruth
    losses : tuple of str or Loss, or None
        Voronoi losses, or their names in `LOSSES`. None: ``("exact",)`` where it is defined, and no loss where it is
        not, as between models of different parameters or with three levels of gates.
    rbar : int or None
        Order of the polynomial system for cells with four or more atoms.
    merged : bool
        Whether to record losses and errors also after merging the fitted atoms to the true number ("merged ..."), and
        the number of atoms that the dendrogram criterion selects ("selected").

    Raises
    ------
    ValueError
        If sizes, replicates, starts or noise are invalid, or a loss is unknown.

    Examples
    --------
    >>> import torch
    >>> from gatewise import GATES, Measure, Mixture
    >>> from gatewise.theory import Arm, Data, DataDrivenStarts, Model
    >>> mixture = Mixture((GATES["softmax"],), (2,))
    >>> truth = Measure(
    ...     gates=({"weight": torch.tensor([[1.5], [0.0]]).double(), "bias": torch.tensor([0.3, 0.0]).double()},),
    ...     experts={
    ...         "coef": torch.tensor([[[1.5]], [[-1.0]]]).double(),
    ...         "intercept": torch.tensor([[1.0], [-1.0]]).double(),
    ...     },
    ...     family={"scale": torch.tensor([[0.5], [0.7]]).double()},
    ... )
    >>> arm = Arm("as many", Data(mixture, truth), Model(mixture, min_scale=0.05), (200, 400), 4, DataDrivenStarts(3))
    >>> arm.sizes
    (200, 400)
    """

    name: str
    data: Data
    model: Model
    sizes: tuple[int, ...]
    replicates: int
    starts: DataDrivenStarts | NearTruth = DataDrivenStarts()
    losses: tuple[str | Loss, ...] | None = None
    rbar: int | None = None
    merged: bool = False

    def __post_init__(self) -> None:
        noise, method = self.data.noise, self.model.method
        if (method == "ls") != (noise is not None):
            raise ValueError(
                f"arm {self.name!r}: method={method!r} with noise={noise}: least squares needs the standard deviation "
                "of the noise, a likelihood takes it from the truth"
            )
        if not isinstance(self.replicates, int) or self.replicates < 1:
            raise ValueError(f"arm {self.name!r}: replicates={self.replicates!r}: give a whole number of at least one")
        if not isinstance(self.starts, DataDrivenStarts | NearTruth):
            raise ValueError(
                f"arm {self.name!r}: starts={self.starts!r}: give DataDrivenStarts(count) or NearTruth(scale, rate)"
            )
        self._check_window()
        if isinstance(self.losses, str):
            raise ValueError(f"arm {self.name!r}: losses={self.losses!r}: give a tuple, ({self.losses!r},)")
        for loss in self.losses or ():
            if isinstance(loss, str) and loss not in LOSSES:
                raise ValueError(f"arm {self.name!r}: loss {loss!r} is not one of {', '.join(LOSSES)}")

    def _check_window(self) -> None:
        sizes, noise, head = self.sizes, self.data.noise, f"arm {self.name!r}"
        if not isinstance(sizes, tuple | list) or not sizes or not all(isinstance(n, int) and n >= 1 for n in sizes):
            raise ValueError(f"{head}: sizes={sizes!r}: give a tuple of int, numbers of rows, such as (1000, 2500)")
        if isinstance(noise, tuple) and len(sizes) != 1:
            raise ValueError(f"{head}: sizes {sizes} with several noise levels: give one size")
        steps = noise if isinstance(noise, tuple) else () if noise is None else (noise,)
        if noise == () or not all(isinstance(s, float | int) and 0 < s < inf for s in steps):
            raise ValueError(f"{head}: noise={noise}: give one positive standard deviation, or a tuple of them")
        axis = [level.axis for level in self.levels()]
        if len(set(axis)) < len(axis) or min(axis) < 1:
            raise ValueError(
                f"{head}: sizes {axis}: give every size, or noise, once; the largest noise first, so that effective "
                "sizes grow from the number of rows"
            )

    def levels(self) -> tuple[Level, ...]:
        """Return the abscissae, smallest first."""
        noise = self.data.noise
        if isinstance(noise, tuple):
            first, n = noise[0], self.sizes[0]
            return tuple(Level(n, s, round(n * (first / s) ** 2), n) for s in sorted(noise, reverse=True))
        return tuple(Level(n, noise, n, self.data.counted(n) or n) for n in sorted(self.sizes))

    def named_losses(self) -> tuple[Loss, ...]:
        """Return the losses as values."""
        given = ("exact",) if self.losses is None else self.losses
        return tuple(LOSSES[loss] if isinstance(loss, str) else loss for loss in given)
