"""Fit and what it holds: a measure, the objective, a status and the certificate behind it."""

from __future__ import annotations

from itertools import product
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from scipy.special import betaincinv
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.spec import FitSpec
from gatewise.fit.status import Status
from gatewise.markup import lines, page, table

if TYPE_CHECKING:
    from pandas import DataFrame

SAME = 1e-3  # log-likelihoods closer than this (times a millionth of their size, if larger) are one value


def width(log_likelihood: float) -> float:
    """Return how far a log-likelihood may be from this one and count as the same value."""
    return max(SAME, 1e-6 * abs(log_likelihood)) if isfinite(log_likelihood) else SAME


def unseen_bound(alone: int, starts: int) -> float:
    """Return the 95 % upper bound of the chance that one more start ends at a value not seen yet.

    Of a binomial probability (Clopper and Pearson), `alone` of the starts having ended at a value that no other reached
    (Good and Turing): ``1 - .05^(1/m)`` for none of m.

    Examples
    --------
    >>> round(unseen_bound(0, 3), 2), round(unseen_bound(0, 59), 3), unseen_bound(3, 3)
    (0.63, 0.05, 1.0)
    """
    return 1.0 if alone >= starts else float(betaincinv(alone + 1, starts - alone, 0.95))


class Certificate(NamedTuple):
    """Evidence that a point is a local optimum, in working units, and whether it is sound.

    Attributes
    ----------
    gradient : float
        Largest projected gradient of the weighted-mean objective; certified at 1e-8.
    decrement : float
        Newton decrement times n, the rise of the log-likelihood still to be had; certified at 1e-8.
    curvature : float
        Least eigenvalue of the Hessian over the free coordinates, in units of its diagonal; null directions left out.
    rank : int
        Identified parameters: the degrees of freedom of information criteria.
    null : tuple of str
        Directions the likelihood does not see, in names.
    separated : tuple of str
        Parameters that grow without limit.
    active : tuple of str
        Bounds that hold the point: those given, and ends of a parameter's range.
    limits : tuple of str
        Parameters at a limit where the law is a simpler one, such as degrees of freedom where the tails are Gaussian;
        not counted.
    floor : tuple of str
        Scales on their floor.
    starved : tuple of int
        Leaves with too few responses for their parameters, or for so small a scale.
    kinks : tuple of str
        Parameters that sit on a kink.
    crowded : bool
        Whether there are fewer responses than parameters.
    passed : bool
        Whether gradient, decrement and curvature are within their tolerances.
    """

    gradient: float
    decrement: float
    curvature: float
    rank: int
    null: tuple[str, ...] = ()
    separated: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    floor: tuple[str, ...] = ()
    starved: tuple[int, ...] = ()
    kinks: tuple[str, ...] = ()
    crowded: bool = False
    passed: bool = False


class Starts(NamedTuple):
    """What the starts found: evidence about the global optimum, never a proof.

    Attributes
    ----------
    log_likelihood : Tensor (S,)
        Where each start ended, on the rows it was searched on.
    kind : tuple of str
    sound : Tensor (S,) of bool
    hits : int
        Starts that ended at the value that was taken.
    gap : float
        Log-likelihood from the best sound value to the next one that differs; infinite when all agree.
    unseen : float
        95 % upper bound of the chance that one more start ends at a value not seen yet (`unseen_bound`).
    better_unsound : tuple of float
        Higher log-likelihoods that were refused as unsound.
    moved : bool
        True when the value taken was found afterwards, by moving an expert or settling on a kink: no start ended there.
    subsampled : bool
        True when the search ran on a subsample and only the best were carried on to all rows.
    floored : tuple of float
        Those of `better_unsound` that only the floor of a scale refused: every expert has observations enough.
    """

    log_likelihood: Tensor
    kind: tuple[str, ...]
    sound: Tensor
    hits: int
    gap: float
    unseen: float
    better_unsound: tuple[float, ...]
    moved: bool
    subsampled: bool
    floored: tuple[float, ...] = ()

    def __repr__(self) -> str:
        return f"<Starts: {self.hits} of {len(self.log_likelihood)} reached the value taken>"

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row per start: its kind, where it ended, and whether that is sound."""
        import pandas as pd

        ends = {"log_likelihood": self.log_likelihood.tolist(), "sound": self.sound.tolist()}
        return pd.DataFrame({"kind": list(self.kind), **ends})


class Fit(NamedTuple):
    """The result of an estimation. Failures are values here: read `status`.

    Attributes
    ----------
    mixture, measure
        Model and parameters in the units of the data.
    spec : FitSpec
        What was estimated, with the floor of scales that was used.
    objective : float
        Weighted mean of minus the log density, or of half the square of the residual, plus the penalty.
    log_likelihood : float
        In least squares that of a Gaussian law around the mean with the variance that fits best.
    penalty : float
        Penalty on the log-likelihood scale, zero when none was asked for.
    n : float
        Sum of the weights.
    status : Status
    flags : tuple of Status
        Every status that holds, the primary one first.
    certificate : Certificate
    starts : Starts
    n_iter : int
    collinear : tuple of (str, tuple of int)
        Columns of X and of gate_X that are constant or depend on those before them.
    notes : tuple of str
        What the reader should know, in words.
    sse : float or None
        Weighted sum of squared residuals, of a least-squares fit.
    floor : str
        Floor of the scales and what set it, in words; empty where there are no scales.
    """

    mixture: Mixture
    spec: FitSpec
    measure: Measure
    objective: float
    log_likelihood: float
    penalty: float
    n: float
    status: Status
    flags: tuple[Status, ...]
    certificate: Certificate
    starts: Starts
    n_iter: int
    collinear: tuple[tuple[str, tuple[int, ...]], ...] = ()
    notes: tuple[str, ...] = ()
    sse: float | None = None
    floor: str = ""

    @property
    def outputs(self) -> int:
        """Number of outputs of the experts."""
        return next(iter(self.measure.experts.values())).shape[self.mixture.depth]

    @property
    def df(self) -> int:
        """Degrees of freedom: the identified rank, and one for the residual variance of least squares."""
        return self.certificate.rank + (self.sse is not None)

    def text(self) -> str:
        """Return size, status and criteria in some lines."""
        value = f"log-likelihood = {self.log_likelihood:.6f}"
        squares = [] if self.sse is None else [f"sum of squared residuals = {self.sse:.8g}"]
        found = [f"{value}   df = {self.df}   n = {self.n:.15g}", *squares, f"{self.status}: {self.status.words}"]
        return "\n".join([repr(self)[1:-1], *found, repr(self.starts)[1:-1], *(f"Note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        leaves = self.mixture.n_leaves
        return f"<Fit: {leaves} expert{'s' * (leaves != 1)}, {self.status}, log-likelihood {self.log_likelihood:.6g}>"

    def _repr_html_(self) -> str:
        found = self.to_frame()
        title, *more = self.text().split("\n")
        return page(title, lines(more), table({"parameter": list(found.index), "value": list(found["value"])}))

    def to_frame(self) -> DataFrame:
        """Return a data frame with the value of every parameter."""
        import pandas as pd

        paths = self.measure.paths().items()
        names = [_entry(path, index) for path, value in paths for index in product(*map(range, value.shape))]
        values = [number for _, value in paths for number in value.reshape(-1).tolist()]
        return pd.DataFrame({"value": values}, index=pd.Index(names, name="parameter"))


def _entry(path: str, index: tuple[int, ...]) -> str:
    return f"{path}[{','.join(map(str, index))}]" if index else path
