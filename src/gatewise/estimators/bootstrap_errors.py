"""`bootstrap`: standard errors, intervals and bands of a fit from refits to drawn data sets."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from gatewise.core.mixture import Measure, leaf_means, leaf_weights, regression, require_density
from gatewise.core.names import entry_names, require_one_of
from gatewise.estimators.again import rows_again
from gatewise.estimators.bootstrap import kept_records, log_likelihood_of
from gatewise.estimators.declarations import Data
from gatewise.estimators.framed import framed
from gatewise.estimators.inputs import Given
from gatewise.estimators.known import KnownValues, counts_trials
from gatewise.estimators.names import names_of
from gatewise.estimators.options import seed_of
from gatewise.estimators.predictions import columns_of, offset_of
from gatewise.estimators.progress import following
from gatewise.fit.arguments import probability, whole
from gatewise.fit.arguments import workers as workers_of
from gatewise.fit.status import Status
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.predict import in_blocks
from gatewise.infer.resampling import BootstrapKind, Replicate, Resampling, replicates
from gatewise.markup import lines, page, table
from gatewise.objective.parameterization import unflatten
from gatewise.runs.records import append

if TYPE_CHECKING:
    from distributed import Client
    from pandas import DataFrame

USUAL = (Status.converged, Status.at_kink, Status.at_bound, Status.unsound)
FEWEST = 2  # replicates for a standard error


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Refits of a model to drawn data sets, returned by `bootstrap`.

    Attributes
    ----------
    estimator : fitted estimator
    drawn : ndarray (B, F)
        The numbers of the measures of B refits, in the order of `names`; experts in the order of the fit.
    names : tuple of str
        Such as ``experts.coef[0,0,1]``.
    log_likelihoods : ndarray (B,)
    kind : {"case", "parametric"}
    statuses : dict status -> number of refits
    unsound : int
        Number of refits that are unsound, and left out.
    notes : tuple of str

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> from gatewise import bootstrap
    >>> refits = bootstrap(model, tone.X, tone.y, n_boot=5, random_state=0)
    >>> refits.drawn.shape, refits.statuses
    ((5, 8), {'converged': 5})
    """

    estimator: Any
    drawn: np.ndarray
    names: tuple[str, ...]
    log_likelihoods: np.ndarray
    kind: BootstrapKind
    statuses: dict[str, int]
    unsound: int
    notes: tuple[str, ...]

    @property
    def estimated(self) -> np.ndarray:
        """Which numbers are estimated ``(F,)``: those that are not the same in all refits."""
        return (self.drawn != self.drawn[:1]).any(0)

    def standard_errors(self) -> dict[str, np.ndarray]:
        """Return the standard deviations of the refits by path, in the shapes of `measure_`; 0: not estimated."""
        errors = np.where(self.estimated, self.drawn.std(0, ddof=1), 0.0)
        return {path: value.numpy() for path, value in self._measure(torch.from_numpy(errors)).paths().items()}

    def confint(self, level: float = 0.95) -> DataFrame:
        """Return estimates, standard errors and percentile intervals of what is estimated, by the names of `summary`.

        The ends are quantiles of the refits (Efron 1979): no normal law is assumed, and ranges are kept.

        Raises
        ------
        ValueError
            If the level is not between 0 and 1.
        """
        import pandas as pd

        low, high = self._quantiles(self.drawn, level)
        found = self.estimated
        estimate = torch.cat([value.reshape(-1) for value in self.estimator.measure_.paths().values()]).numpy()
        known = names_of(self.estimator).every()
        parts = {
            "estimate": estimate, "std. error": self.drawn.std(0, ddof=1), "lower": low, "upper": high,
        }  # fmt: skip
        rows = [known[name] for name, one in zip(self.names, found, strict=True) if one]
        return pd.DataFrame({head: values[found] for head, values in parts.items()}, index=rows)

    def vcov(self) -> DataFrame:
        """Return the covariance matrix of what is estimated over the refits, with the names of `confint`."""
        import pandas as pd

        known = names_of(self.estimator).every()
        names = [known[name] for name, one in zip(self.names, self.estimated, strict=True) if one]
        found = np.atleast_2d(np.cov(self.drawn[:, self.estimated], rowvar=False))
        return pd.DataFrame(found, index=names, columns=names)

    def mean_interval(self, X: Data, level: float = 0.95, gate_X: Data = None, offset: Data = None) -> np.ndarray:
        """Return pointwise percentile intervals of the mean of y at the rows of X, ``(n, 2)`` or ``(n, q, 2)``."""
        found = self._band(lambda *parts: regression(self.estimator.mixture_, *parts), X, level, gate_X, offset)
        return found[:, 0] if self.estimator._flat else found

    def expert_interval(self, X: Data, level: float = 0.95, gate_X: Data = None, offset: Data = None) -> np.ndarray:
        """Return pointwise percentile intervals of the mean of every expert, ``(n, L, 2)`` or ``(n, L, q, 2)``."""

        def means(*parts: Any) -> torch.Tensor:
            return leaf_means(self.estimator.mixture_, *parts).flatten(-3, -2)

        found = self._band(means, X, level, gate_X, offset)
        found = found.reshape(len(found), -1, self.estimator.n_outputs_, 2)
        return found[:, :, 0] if self.estimator._flat else found

    def gate_interval(self, X: Data, level: float = 0.95, gate_X: Data = None) -> np.ndarray:
        """Return pointwise percentile intervals of the gate weight of every expert at the rows of X, ``(n, L, 2)``."""
        offset = 0.0 if self.estimator._offset else None

        def weights(measure: Measure, x: Any, gate_x: Any, *_: Any) -> torch.Tensor:
            return leaf_weights(self.estimator.mixture_, measure, gate_x)

        return self._band(weights, X, level, gate_X, offset)

    @standard_torch()
    def _band(self, curve: Any, X: Data, level: float, gate_X: Data, offset: Data) -> np.ndarray:
        """Return percentile intervals ``(n, c, 2)`` of the curves of all refits."""
        given = framed(self.estimator, Given(X, None, gate_x=gate_X, known=KnownValues(offset)), ("offset",))
        parts = [*columns_of(self.estimator, given.x, given.gate_x)]
        known = offset_of(self.estimator, given.known.of(given.x).offset, parts[0].shape[0])
        parts += [] if known is None else [known]
        measure = self._measure(torch.from_numpy(self.drawn))
        leaves = self.estimator.mixture_.n_leaves * self.estimator.n_outputs_
        found = in_blocks(lambda *block: curve(measure, *block), leaves * len(self.drawn), *parts).numpy()
        return np.moveaxis(np.stack(self._quantiles(found, level), -1), 1, 0)

    def _measure(self, values: torch.Tensor) -> Measure:
        shapes = {path: tuple(value.shape) for path, value in self.estimator.measure_.paths().items()}
        return unflatten(shapes, values, self.estimator.mixture_.depth)

    def _quantiles(self, values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
        level = probability("level", level)
        low, high = np.quantile(values, [0.5 * (1 - level), 0.5 * (1 + level)], axis=0)
        return low, high

    def to_frame(self) -> DataFrame:
        """Return the numbers of all refits, by the names of `summary`, and their log-likelihoods; a row per refit."""
        import pandas as pd

        known = names_of(self.estimator).every()
        found = pd.DataFrame(self.drawn, columns=[known[name] for name in self.names])
        return found.assign(**{"log-likelihood": self.log_likelihoods})

    def text(self) -> str:
        """Return the intervals as a table, and the notes."""
        shown = self.confint().to_string(float_format=lambda value: f"{value:.6g}")
        return "\n".join([self._title(), shown, *(f"Note: {note}" for note in self.notes)])

    def _title(self) -> str:
        what = "units drawn with replacement" if self.kind == "case" else "responses drawn from the fit"
        return f"Bootstrap, {len(self.drawn)} data sets: {what}; 95 % percentile intervals"

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        found = self.confint()
        columns = {"parameter": list(found.index), **{name: list(found[name]) for name in found}}
        return page(self._title(), table(columns), lines(f"Note: {note}" for note in self.notes))


def bootstrap(
    model: Any,
    X: Data = None,
    y: Data = None,
    *,
    sample_weight: Data = None,
    gate_X: Data = None,
    groups: Data = None,
    offset: Data = None,
    trials: Data = None,
    n_boot: int = 199,
    kind: BootstrapKind = "case",
    n_init: int = 1,
    n_jobs: int | Client = 1,
    resume: str | os.PathLike[str] | None = None,
    random_state: Any = 0,
    verbose: Any = 0,
) -> Bootstrap:
    """Compute standard errors, intervals and bands of a fit by the bootstrap.

    The model is fitted again to `n_boot` drawn data sets, each time from the fit itself, and the experts of a refit are
    put into the order of the fit: the one in which their responsibilities of the data agree most (within groups and
    kinds, if there are any).

    Parameters
    ----------
    model : fitted MixtureOfExpertsRegressor or MixtureOfExpertsClassifier
    X, y, sample_weight, gate_X, groups, offset, trials
        As in fit; after `moe` a data frame alone, or nothing for that of the fit.
    n_boot : int
        Number of data sets.
    kind : {"case", "parametric"}
        ``case``: rows, or groups of rows, are drawn with replacement (Efron 1979); nothing is assumed of the law of y.
        ``parametric``: responses are drawn from the fit at the same X.
    n_init : int
        Starts of every refit: the fit itself, and others that are drawn.
    n_jobs : int or distributed.Client
        Number of processes, or a client of a Dask cluster whose workers fit; the result does not depend on it.
    resume : path, optional
        File of the results so far. A bootstrap that was interrupted goes on where it stopped.
    random_state : int
        Seed of the data sets.
    verbose : bool, int or callable
        As of `MixtureOfExpertsRegressor`: whether to show progress.

    Returns
    -------
    Bootstrap

    Raises
    ------
    ValueError
        If the fit is unsound, responses cannot be drawn (after least squares, or censored times), the file belongs to
        another bootstrap, or fewer than two refits are sound.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor, bootstrap
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> y = np.where(rng.random(200) < 0.5, 4 + X[:, 0], -4 - X[:, 1]) + 0.5 * rng.normal(size=200)
    >>> model = MixtureOfExpertsRegressor(2, gate="constant", n_init=3, random_state=0).fit(X, y)
    >>> found = bootstrap(model, X, y, n_boot=49)
    >>> bool((found.standard_errors()["experts.coef"] < 0.1).all())
    True
    """
    check_is_fitted(model, "fit_")
    require_one_of("kind", kind, get_args(BootstrapKind))
    count, starts, workers = whole("n_boot", n_boot, FEWEST), whole("n_init", n_init, 1), workers_of("n_jobs", n_jobs)
    _require_usable(model, kind)
    seed = seed_of(random_state)
    given = Given(X, None if y is None else model._encoded(X, y), sample_weight, gate_X, groups)
    given = given._replace(known=KnownValues(offset, trials))
    with standard_torch():
        given = framed(model, given, ("response", "offset", "trials", "weights", "groups"), True)
        rows = rows_again(model, given).rows
    if model.mixture_.family.has_density:
        here, then = log_likelihood_of(model, rows), model.log_likelihood_
        if abs(here - then) > 1e-6 * max(1.0, abs(here)):
            raise ValueError(
                f"the log-likelihood was {then:.6f} after the fit, and is {here:.6f} on these data: give the data of "
                "the fit, with its weights, groups, offset and trials"
            )
    resampling = Resampling(model.fit_, rows, kind, starts, 0 if seed is None else seed)
    return _result(model, kind, _collected(resampling, count, workers, resume, verbose))


def _require_usable(model: Any, kind: str) -> None:
    """Raise for a fit whose refits would mean nothing, and for responses that cannot be drawn."""
    family = model.mixture_.family
    if model.status_ is Status.unsound:
        raise ValueError(f"the fit is {model.status_}: {model.status_.words}. Its bootstrap would mean nothing")
    if kind == "case":
        return
    if not family.has_density:
        raise ValueError("a least-squares fit has no law to draw responses from: use kind='case'")
    require_density(model.mixture_)
    if family.given and not counts_trials(model.mixture_):
        raise ValueError(f"responses of {family} cannot be drawn without {family.given} of the rows: use kind='case'")


def _collected(
    resampling: Resampling, count: int, workers: int | Client, resume: str | os.PathLike[str] | None, verbose: Any
) -> list[Replicate]:
    """Return the refits to all data sets: those of the file, and the rest, which go into the file."""
    path = None if resume is None else Path(resume)
    known = [] if path is None else [Replicate(*one) for one in kept_records(path, "bootstrap", resampling.key())]
    with following(verbose, "data sets") as progress:
        for block in replicates(resampling, count, [one.number for one in known], workers):
            known.extend(block)
            if path is not None:
                append(path, [list(one) for one in block])
            if progress is not None:
                progress("refits", len(known), count)
    unique = {one.number: one for one in known if one.number <= count}
    return [unique[number] for number in range(1, count + 1)]


def _result(model: Any, kind: BootstrapKind, found: list[Replicate]) -> Bootstrap:
    sound = [one for one in found if one.status != Status.unsound]
    lost = len(found) - len(sound)
    if len(sound) < FEWEST:
        raise ValueError(
            f"{lost} of {len(found)} refits are unsound: an expert has too few rows in most data sets; use fewer "
            "experts, or scale='shared'"
        )
    names = [name for path, value in model.measure_.paths().items() for name in entry_names(path, value.shape)]
    statuses = dict(Counter(one.status for one in found))
    notes = []
    if lost:
        notes.append(f"{lost} refits are unsound and left out")
    odd = {name: number for name, number in statuses.items() if name not in USUAL}
    if odd:
        told = ", ".join(f"{number} {name}" for name, number in odd.items())
        notes.append(f"of the refits are {told}: single estimates there are not unique or have no limit, which makes "
                     "standard errors large; percentile intervals use their order only")  # fmt: skip
    drawn = np.array([one.values for one in sound])
    values = np.array([one.log_likelihood for one in sound])
    return Bootstrap(model, drawn, tuple(names), values, kind, statuses, lost, tuple(notes))
