"""Fit and what it holds: a measure, the objective, a status and the certificate behind it."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from scipy.special import betaincinv
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.core.names import entry_names
from gatewise.fit.spec import FitSpec
from gatewise.fit.status import Status
from gatewise.fit.words import beside, status_words
from gatewise.markup import lines, page, table

if TYPE_CHECKING:
    from pandas import DataFrame

AGREE = 3  # starts at the best value
UNLIKE = frozenset(
    {"given", "fixed", "constant gates", "plain gates", "nested", "untempered", "split", "near-zero"}
)  # starts that are not drawn
GAIN = 1e-6  # log-likelihood below which what further steps still gain counts as nothing
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


def better_bound(starts: int) -> float:
    """Return the 95 % upper bound of the chance that one more start ends higher than so many starts did.

    That chance has the distribution Beta(1, m), whatever the distribution of the ends: ``1 - .05^(1/m)``. It is below
    .05 from 59 starts on.

    Examples
    --------
    >>> round(better_bound(3), 2), round(better_bound(59), 3)
    (0.63, 0.05)
    """
    return 1.0 - 0.05 ** (1.0 / starts) if starts else 1.0


class Certificate(NamedTuple):
    """Evidence that an end point is a local optimum. Derivatives refer to standardised units.

    Attributes
    ----------
    gradient : float
        Largest entry of the projected gradient of the mean objective; must be below 1e-8.
    decrement : float
        Newton decrement times n: the increase of the log-likelihood that a Newton step still predicts; must be below
        1e-8.
    curvature : float
        Smallest eigenvalue of the Hessian over the free coordinates, relative to its diagonal, without flat directions.
    rank : int
        Number of identified parameters: the degrees of freedom in information criteria.
    null : tuple of str
        Directions in which the likelihood is flat, by parameter names.
    separated : tuple of str
        Parameters that diverge.
    active : tuple of str
        Parameters on a bound: one given by the user, or the end of the parameter's range.
    limits : tuple of str
        Parameters at a limit at which the distribution is a simpler one, such as degrees of freedom at the Gaussian
        limit; these are not counted.
    floor : tuple of str
        Scales on their floor.
    starved : tuple of int
        Leaves with too few observations for their parameters, or for so small a scale.
    kinks : tuple of str
        Parameters at a kink of the objective.
    crowded : bool
        Whether there are fewer responses than parameters.
    passed : bool
        Whether gradient, decrement, curvature and gain are within their tolerances, and all directions classified.
    gain : float
        Increase of the log-likelihood that further steps found, along flat directions too, when polishing ended: below
        1e-6, or the fit is ``stalled`` as well. Infinite where there was no time to look.
    classified : bool
        False: there was no time to tell null directions from separated ones, so none is listed.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> certificate = model.fit_.certificate
    >>> certificate.passed, certificate.gradient < 1e-8, certificate.decrement < 1e-8, certificate.rank
    (True, True, True, 7)
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
    gain: float = 0.0
    classified: bool = True


class Starts(NamedTuple):
    """Where the starts of a search ended: evidence about the global optimum, not a proof.

    Attributes
    ----------
    log_likelihood : Tensor (S,)
        Value at the end of each start, on the observations it was searched on. Fresh starts of later rounds that fell
        behind were ended early.
    kind : tuple of str
        How each start was made.
    sound : Tensor (S,) of bool
        Whether every expert has enough observations and no scale lies on its floor.
    hits : int
        Number of starts that reached the best value.
    gap : float
        Difference in log-likelihood between the best value and the next one; infinite if all starts agree.
    unseen : float
        95 % upper bound of the probability that one more start ends at a new value (`unseen_bound`).
    better_unsound : tuple of float
        Higher log-likelihoods that were rejected as unsound.
    moved : bool
        True if the best value was found after the search, by moving an expert or refining at a kink, so no start ended
        there.
    subsampled : bool
        True if the search used a subsample and only the best end points were refined on all observations.
    floored : tuple of float
        The part of `better_unsound` that only the floor of a scale rejected; every expert has enough observations.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> starts = model.fit_.starts
    >>> starts.hits, len(starts.kind), starts.better_unsound
    (1, 1, ())
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

    @property
    def better(self) -> float:
        """95 % upper bound of the chance that one more start ends higher, by those drawn alike (`better_bound`)."""
        return better_bound(sum(kind not in UNLIKE for kind in self.kind))

    @property
    def agree(self) -> bool:
        """Whether more than half of the starts reached the best value, or three of them."""
        return self.hits >= min(AGREE, 1 + len(self.kind) // 2)

    def __repr__(self) -> str:
        return f"<Starts: {self.hits} of {len(self.log_likelihood)} reached the value taken>"

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row per start: its kind, where it ended, and whether that is sound."""
        import pandas as pd

        ends = {"log_likelihood": self.log_likelihood.tolist(), "sound": self.sound.tolist()}
        return pd.DataFrame({"kind": list(self.kind), **ends})


class Fit(NamedTuple):
    """The result of an estimation. A fit never raises because it failed: check `status`.

    Attributes
    ----------
    mixture, measure : Mixture, Measure
        Model and estimates, in the units of the data.
    spec : FitSpec
        What was estimated, including the floor of the scales that was used.
    objective : float
        Weighted mean of minus the log density (or of half the squared residual), plus the penalty.
    log_likelihood : float
        After least squares: that of Gaussian residuals with the best-fitting variance.
    penalty : float
        Ridge penalty on the log-likelihood scale; zero without a penalty.
    n : float
        Sum of the weights.
    status : Status
        How the fit ended.
    flags : tuple of Status
        All statuses that hold, the primary one first.
    certificate : Certificate
        The evidence for a local optimum.
    starts : Starts
        The evidence about the global optimum.
    n_iter : int
        Number of iterations.
    collinear : tuple of (str, tuple of int)
        Columns of X and of gate_X that are constant or linear combinations of earlier columns.
    notes : tuple of str
        Remarks for the reader.
    sse : float or None
        Weighted sum of squared residuals, after least squares.
    floor : str
        Floor of the scales and what set it, as text; empty if there are no scales.
    flat : tuple of str
        Paths of all parameters that the null directions of the certificate move, whose names are of the largest entries
        of each, and of slopes of collinear columns, which are the shortest of many; where a constant is one of these,
        of intercepts too. Not in files of models.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> fit = model.fit_
    >>> str(fit.status), round(fit.log_likelihood, 3), fit.n, fit.measure.experts["coef"].shape
    ('converged', 141.198, 150.0, torch.Size([2, 1, 1]))
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
    flat: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Number of outputs of the experts."""
        return self.mixture.outputs(self.measure)

    @property
    def df(self) -> int:
        """Degrees of freedom: the identified rank, and one for the residual variance of least squares."""
        return self.certificate.rank + (self.sse is not None)

    @property
    def climbing(self) -> bool:
        """Whether polishing ended while further steps still raised the log-likelihood, or before any were made."""
        return self.certificate.gain > GAIN

    def text(self) -> str:
        """Return size, status and criteria in some lines."""
        value = f"log-likelihood = {self.log_likelihood:.6f}"
        squares = [] if self.sse is None else [f"sum of squared residuals = {self.sse:.8g}"]
        found = [
            f"{value}   df = {self.df}   n = {self.n:.15g}",
            *squares,
            f"{self.status}: {status_words(self)}{beside(self)}",
        ]
        return "\n".join([repr(self)[1:-1], *found, repr(self.starts)[1:-1], *(f"Note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        leaves = self.mixture.n_leaves
        stopped = self.status is not Status.stalled and Status.stalled in self.flags
        status = f"{self.status} and {'still climbing' if self.climbing else 'stalled'}" if stopped else self.status
        return f"<Fit: {leaves} expert{'s' * (leaves != 1)}, {status}, log-likelihood {self.log_likelihood:.6g}>"

    def _repr_html_(self) -> str:
        found = self.to_frame()
        title, *more = self.text().split("\n")
        return page(title, lines(more), table({"parameter": list(found.index), "value": list(found["value"])}))

    def to_frame(self) -> DataFrame:
        """Return a data frame with the value of every parameter."""
        import pandas as pd

        paths = self.measure.paths().items()
        names = [name for path, value in paths for name in entry_names(path, value.shape)]
        values = [number for _, value in paths for number in value.reshape(-1).tolist()]
        return pd.DataFrame({"value": values}, index=pd.Index(names, name="parameter"))
