"""A study: what is drawn, what is fitted, what is measured, and what is claimed about it. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.theory.inputs import Inputs, Uniform
from gatewise.theory.population_rules import Ball, Cube
from gatewise.theory.voronoi import LOSSES, Loss

Method = Literal["ml", "ls", "em"]
Kind = Literal["equal", "at_most", "at_least", "slower_than_polynomial", "difference"]
Standing = Literal["published", "derived", "recalled", "own"]


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


@dataclass(frozen=True)
class Claim:
    """A statement about the slope of a series on the logarithm of n, fixed before the study runs.

    Attributes
    ----------
    arm : str
    series : str
        As the records name it: "loss", "experts.coef over mean", "hellinger", ...
    kind : {"equal", "at_most", "at_least", "slower_than_polynomial", "difference"}
        "at_most": the error is ``O_P(n^value)``, faster never contradicts it; "at_least": it is no faster.
        "difference": slope less that of `other`.
    value, tolerance : float
    source : str
        Paper and theorem, or this project.
    standing : {"published", "derived", "recalled", "own"}
    other, other_series : str
        The second arm; with it, any kind is about the difference of the slopes. Its series, if it is another one.
    probe : str
        The population exponent, by its name, that decides if the slopes leave the claim open.
    """

    arm: str
    series: str
    kind: Kind
    value: float
    tolerance: float
    source: str
    standing: Standing
    other: str = ""
    other_series: str = ""
    probe: str = ""

    def __post_init__(self) -> None:
        if self.kind == "difference" and not self.other:
            raise ValueError(f"a difference about {self.arm!r}, {self.series!r}: name the second arm, other=...")


@dataclass(frozen=True)
class Probe:
    """A population exponent that is claimed: no data are drawn, see `population_exponent`.

    Attributes
    ----------
    name : str
    data, model : Data, Model
        Truth and fitted mixture, its box and method; the truth is that of n = 1.
    path, cells, atom, entry, eps, ratio, starts
        As `population_exponent` takes them.
    inputs : Cube, Ball or None
    value, tolerance : float
        The exponent e claimed; errors then fall as ``n^(-1 / (2 e))``.
    source, standing : str
        As in `Claim`.
    """

    name: str
    data: Data
    model: Model
    path: str
    cells: tuple[int, ...]
    value: float
    tolerance: float
    source: str
    standing: Standing
    atom: int = 0
    entry: int = 0
    eps: tuple[float, ...] = (0.2, 0.1, 0.05, 0.025, 0.0125)
    ratio: float = 1.0
    inputs: Cube | Ball | None = None
    starts: int = 8


@dataclass(frozen=True)
class Study:
    """Curves and claims about them.

    Attributes
    ----------
    name, title : str
    why : str
        Windows, boxes, replicates, starts and losses, justified before the run.
    arms : tuple of Arm
    claims : tuple of Claim
    seed : int
    comparisons : tuple of (arm, arm, series)
        Whose errors are also compared in rows: how many times more the second needs for the same error.
    probes : tuple of Probe
        Population exponents beside the slopes: they decide what no number of replicates can.

    Raises
    ------
    ValueError
        For two arms of one name, a claim about an arm or a population exponent there is not, and one with a slope that
        is not that of its exponent.
    """

    name: str
    title: str
    why: str
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...] = ()
    seed: int = 0
    comparisons: tuple[tuple[str, str, str], ...] = ()
    probes: tuple[Probe, ...] = ()

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError(f"study {self.name!r} has arms {names}: give each a name of its own")
        for claim in self.claims:
            for name in filter(None, (claim.arm, claim.other)):
                if name not in names:
                    raise ValueError(f"study {self.name!r} claims something of arm {name!r}: its arms are {names}")
            if claim.probe:
                self._check_probe(claim)

    def _check_probe(self, claim: Claim) -> None:
        exponents = {probe.name: probe.value for probe in self.probes}
        if claim.probe not in exponents:
            raise ValueError(f"study {self.name!r} has no exponent {claim.probe!r}: it has {', '.join(exponents)}")
        rate = -1 / (2 * exponents[claim.probe])
        if claim.kind != "equal" or abs(claim.value - rate) > 1e-9:
            raise ValueError(
                f"claim about {claim.arm!r}, {claim.series!r}: {claim.kind} {claim.value:g}, but the exponent "
                f"{claim.probe!r} says that the slope is equal to {rate:g}"
            )

    def arm(self, name: str) -> Arm:
        """Return an arm by name.

        Raises
        ------
        ValueError
            If there is none of this name.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ValueError(f"study {self.name!r} has no arm {name!r}: it has {', '.join(arm.name for arm in self.arms)}")

    def fits(self) -> int:
        """Return the number of fits."""
        return sum(len(arm.levels()) * arm.replicates for arm in self.arms)


QUICK = 2  # sizes, and replicates, of the quick tier


def quick(study: Study) -> Study:
    """Return the study with the two smallest sizes and two replicates: it shows that all runs, and decides nothing."""
    return replace(study, arms=tuple(_quick(arm) for arm in study.arms))


def _quick(arm: Arm) -> Arm:
    starts = replace(arm.starts, count=min(arm.starts.count, 3))
    fewer = replace(arm, replicates=QUICK, starts=starts)
    if isinstance(arm.data.noise, tuple):
        return replace(fewer, data=replace(arm.data, noise=arm.data.noise[:QUICK]))
    return replace(fewer, sizes=tuple(sorted(arm.sizes)[:QUICK]))


def long(study: Study, times: int = 10) -> Study:
    """Return the study with `times` as many replicates: intervals about ``sqrt(times)`` narrower, to run overnight.

    It has the same fingerprint, so that a folder of the standard study is extended.
    """
    return replace(study, arms=tuple(replace(arm, replicates=times * arm.replicates) for arm in study.arms))
