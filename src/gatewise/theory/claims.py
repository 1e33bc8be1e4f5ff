"""What a study claims: slopes of errors, and population exponents; and the words of a verdict. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf, isfinite
from typing import Literal, get_args

from gatewise.core.mixture import Mixture
from gatewise.theory.arms import Data, Model
from gatewise.theory.inputs import Lattice, Uniform
from gatewise.theory.paths import LOSS
from gatewise.theory.population.rules import Ball, Cube

Kind = Literal["equal", "at_most", "at_least", "slower_than_polynomial", "difference"]
Standing = Literal["published", "derived", "recalled", "own"]


@dataclass(frozen=True)
class Claim:
    """A claim about the slope of a log error on log n, fixed before the study runs.

    Attributes
    ----------
    arm : str
    series : str
        Name in the records: "loss", "experts.coef over mean", "hellinger", ...
    kind : {"equal", "at_most", "at_least", "slower_than_polynomial", "difference"}
        "at_most": the error is ``O_P(n^value)``; a faster rate does not contradict it. "at_least": it is not faster.
        "difference": the slope minus that of `other`.
    value, tolerance : float
        Claimed slope, and the deviation from it that still supports the claim.
    source : str
        Paper and theorem, or "this project".
    standing : {"published", "derived", "recalled", "own"}
    other, other_series : str
        Second arm; a claim of any kind is then about the difference of the slopes. Its series, if different.
    probe : str
        Name of a population exponent e that decides the claim if the slopes are inconclusive: does the claim allow the
        slope ``-1 / (2 e)``?

    Raises
    ------
    ValueError
        If the kind or standing is unknown, the value or tolerance is not a number, the slope is positive, or a
        difference has no second arm.

    Examples
    --------
    >>> from gatewise.theory import Claim
    >>> Claim("as many", "hellinger", "equal", -0.5, 0.04, source="2305.03288", standing="published").series
    'hellinger'
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
        head = f"claim about {self.arm!r}, {self.series!r}"
        for name, given, allowed in (("kind", self.kind, Kind), ("standing", self.standing, Standing)):
            if given not in get_args(allowed):
                raise ValueError(f"{head}: {name}={given!r}: choose one of {', '.join(get_args(allowed))}")
        if not isfinite(self.value) or not 0 <= self.tolerance < float("inf"):
            raise ValueError(f"{head}: value={self.value}, tolerance={self.tolerance}: give a slope and a tolerance")
        if self.kind == "difference" and not self.other:
            raise ValueError(f"a difference about {self.arm!r}, {self.series!r}: name the second arm, other=...")
        if self.value > 0 and not self.other:
            raise ValueError(
                f"{head}: a slope of {self.value:+g}, an error that grows with n: the rate n^(-1/2) has the slope -0.5"
            )


class VerdictKind(StrEnum):
    """What is said about a claim."""

    supported = "supported"
    contradicted = "contradicted"
    differs = "differs from recollection"
    unresolved = "unresolved"
    not_identified = "not identified"


def allowed(claim: Claim) -> tuple[float, float]:
    """Return the slopes that a claim allows; of an error that falls slower than every power only a slope of zero."""
    if claim.kind == "slower_than_polynomial":
        return 0.0, inf
    low = -inf if claim.kind == "at_most" else claim.value - claim.tolerance
    return low, inf if claim.kind == "at_least" else claim.value + claim.tolerance


def wanted(claim: Claim) -> str:
    """Return what a claim asks for, in words."""
    if claim.kind == "slower_than_polynomial":
        return "slower than every power of n"
    if claim.kind == "at_most":
        return f"a slope of at most {claim.value + claim.tolerance:+.3f}"
    if claim.kind == "at_least":
        return f"a slope of at least {claim.value - claim.tolerance:+.3f}"
    return f"{claim.value:+.3f} +- {claim.tolerance:.2f}"


def slope_of(exponent: float) -> float:
    """Return the slope of an error with a population exponent e, of the order ``n^(-1 / (2 e))``.

    Examples
    --------
    >>> slope_of(2.0)
    -0.25
    """
    return -1 / (2 * exponent)


def parameter_of(series: str) -> str:
    """Return the path of the parameter that a series is about, or nothing.

    Examples
    --------
    >>> parameter_of("experts.coef over mean"), parameter_of("merged gates.0.weight exact max"), parameter_of("loss")
    ('experts.coef', 'gates.0.weight', '')
    """
    path = series.removeprefix("merged ").split(" ")[0]
    return path if "." in path else ""


def path_of_error(series: str, mixture: Mixture) -> str:
    """Return the path of the parameter whose exponent an error has, or nothing.

    Masses and biases are those of the innermost gate, and the error of a mass has the exponent of the bias. A loss has
    that of all parameters, which is called ``loss``. Errors after merging have none: these are other estimates.
    """
    if series.startswith("merged "):
        return ""
    if series.startswith("loss "):
        return LOSS
    if not series.startswith(("mass ", "bias ")):
        return parameter_of(series)
    level = mixture.depth - 1
    bias = mixture.gates[level].score.bias()
    return f"gates.{level}.{bias}" if bias else ""


@dataclass(frozen=True)
class Probe:
    """A claim about a population exponent, which is computed without data (`population_exponent`).

    Attributes
    ----------
    name : str
    data, model : Data, Model
        True and fitted model, with its box and method. A truth that depends on n is taken at n = 1 without `sizes`.
    path, cells, atom, entry, eps, ratio, starts
        As in `population_exponent`. With sizes the path may be ``loss``: all parameters together.
    inputs : Cube, Ball, Lattice or None
        Distribution of the inputs. None: ``Cube(-2, 2)``, if the data have the same distribution.
    sizes : tuple of int
        With as many experts as there are: sizes at which the truth is taken, which may move with n. The exponent is
        then that of the standard errors of all entries, by the information at the truth, as in `moving_truth`; atom,
        entry, eps, ratio and starts are ignored. Of a truth that stays it is one if the information is regular.
        (): one entry of the parameter of one atom is displaced.
    value, tolerance : float
        Claimed exponent e; errors are then of order ``n^(-1 / (2 e))``. Infinite: the parameter is not identified.
    source, standing : str
        As in `Claim`.

    Raises
    ------
    ValueError
        If `inputs` is missing and the data are not ``Uniform(-2, 2)``, the standing is unknown, the exponent is
        invalid, the model ties parameters, or the exponent of a loss has no sizes.

    Examples
    --------
    >>> from gatewise.theory import STUDIES
    >>> probe = STUDIES["softmax-over"].probes[0]
    >>> probe.path, probe.value, probe.standing
    ('experts.intercept', 4.0, 'derived')
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
    inputs: Cube | Ball | Lattice | None = None
    starts: int = 8
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.standing not in get_args(Standing):
            raise ValueError(
                f"exponent {self.name!r}: standing={self.standing!r}: choose one of {', '.join(get_args(Standing))}"
            )
        if not self.value > 0 or not 0 <= self.tolerance < float("inf"):
            raise ValueError(
                f"exponent {self.name!r}: value={self.value}, tolerance={self.tolerance}: give a positive exponent "
                "(infinite where the parameter is not identified) and a tolerance"
            )
        if self.model.ties:
            raise ValueError(
                f"exponent {self.name!r}: its model ties {self.model.ties[0]}: exponents are of models without ties; "
                "judge the arm by its slopes"
            )
        if self.sizes and (len(self.sizes) < 2 or list(self.sizes) != sorted(set(self.sizes)) or self.sizes[0] < 1):
            raise ValueError(
                f"exponent {self.name!r}: sizes={self.sizes}: give at least two, each larger than the one before"
            )
        if self.path == LOSS and not self.sizes:
            raise ValueError(
                f"exponent {self.name!r}: a loss is not one entry that can be displaced: with as many experts as there "
                "are give sizes, such as sizes=(1000, 1_000_000); with more of them name a parameter"
            )
        alone = self.model.mixture.branching == self.data.mixture.branching and len(set(self.cells)) == len(self.cells)
        if self.sizes and not alone:
            raise ValueError(
                f"exponent {self.name!r}: {self.model.mixture.branching} fitted branches, "
                f"{self.data.mixture.branching} true ones and cells={self.cells}: with sizes, "
                "exponents are of models with as many experts as there are, each in a cell of its own; leave sizes out"
            )
        if self.inputs is None and self.data.inputs != Uniform():
            raise ValueError(
                f"exponent {self.name!r}: its data have the inputs {self.data.inputs}: give the exponent the "
                "same distribution, such as inputs=Cube(low, high), or the lattice"
            )
