"""`bootstrap_test`: is the larger of two mixtures needed? A likelihood ratio with its distribution by simulation."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from sklearn.base import clone

from gatewise.core.mixture import require_density
from gatewise.estimators.again import rows_again
from gatewise.estimators.declarations import Data
from gatewise.estimators.framed import framed
from gatewise.estimators.inputs import Given
from gatewise.estimators.known import KnownValues, counts_trials
from gatewise.estimators.options import seed_of
from gatewise.estimators.progress import following
from gatewise.estimators.warnings import FitWarning
from gatewise.files import require_writable
from gatewise.fit.arguments import whole
from gatewise.fit.arguments import workers as workers_of
from gatewise.fit.status import Status
from gatewise.fit.torch_state import standard_torch
from gatewise.fit.words import members
from gatewise.infer.bootstrap import Comparison, Ratio, ratios
from gatewise.markup import lines, page
from gatewise.objective.rows import MOST, Rows
from gatewise.objective.terms import unit_log_density
from gatewise.runs.records import append, read_lines

if TYPE_CHECKING:
    from distributed import Client
    from pandas import DataFrame

LAW = (
    "where the smaller mixture is true, parameters of the larger one are not identified, so that 2 log LR has no "
    "chi-square distribution; its distribution here is by simulation from the smaller mixture"
)


class BootstrapTest(NamedTuple):
    """The result of `bootstrap_test`.

    Attributes
    ----------
    statistic : float
        Twice the log-likelihood ratio of the data.
    p_value : float
        ``(1 + number of drawn statistics that are not below) / (1 + number of drawn statistics)``.
    error : float
        Its Monte Carlo standard error.
    drawn : tuple of float
        Statistics of the drawn data sets.
    unsound : int
        Number of drawn data sets on which a fit is unsound. They are left out of `drawn`.
    range : (float, float)
        Least and largest p-value, whatever the statistics of those would be.
    small, large : str
        The mixtures in words.
    log_likelihoods : (float, float)
        Of both, by the search that all data sets have.
    notes : tuple of str

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> from gatewise import bootstrap_test
    >>> one = MixtureOfExpertsRegressor(n_experts=1, n_init=1, random_state=0)
    >>> found = bootstrap_test(one, model, tone.X, tone.y, n_boot=3, n_init=1, random_state=0)
    >>> len(found.drawn), found.p_value
    (3, 0.25)
    """

    statistic: float
    p_value: float
    error: float
    drawn: tuple[float, ...]
    unsound: int
    range: tuple[float, float]
    small: str
    large: str
    log_likelihoods: tuple[float, float]
    notes: tuple[str, ...]

    def text(self) -> str:
        """Return the result as a few lines."""
        return "\n".join(self._lines())

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        first, *rest = self._lines()
        return page(first, lines(rest))

    def _lines(self) -> list[str]:
        a, b = self.log_likelihoods
        out = [
            f"Bootstrap test: {self.small} against {self.large}",
            f"log-likelihood {a:.6f} and {b:.6f}; 2 log LR = {self.statistic:.4f}",
            f"p = {self.p_value:.4f} (Monte Carlo standard error {self.error:.4f}, {len(self.drawn)} data sets drawn "
            "from the smaller mixture)",
        ]
        return [*out, *(f"Note: {note}" for note in self.notes)]

    def to_frame(self) -> DataFrame:
        """Return the statistics of the drawn data sets as a data frame."""
        import pandas as pd

        return pd.DataFrame({"statistic": list(self.drawn)})


def bootstrap_test(
    small: Any,
    large: Any,
    X: Data = None,
    y: Data = None,
    *,
    gate_X: Data = None,
    offset: Data = None,
    trials: Data = None,
    groups: Data = None,
    n_boot: int = 99,
    n_init: int = 20,
    n_jobs: int | Client = 1,
    resume: str | os.PathLike[str] | None = None,
    random_state: Any = 0,
    verbose: Any = 0,
) -> BootstrapTest:
    """Test a mixture against a larger one by the parametric bootstrap of the likelihood ratio.

    Responses are drawn from the smaller mixture at the same X, both mixtures are fitted to each of these data sets, and
    the p-value is the share of data sets, the observed one counted, whose likelihood ratio is not below the observed
    one (McLachlan 1987). Nothing else is needed to compare k experts with k + 1: there the likelihood ratio has no
    chi-square distribution, because a superfluous expert is not identified.

    All data sets, the observed one too, are searched in the same way, from `n_init` starts each. So the statistic can
    differ from the difference of `log_likelihood_` after the longer search of `fit`; a note then says so.

    Parameters
    ----------
    small, large : MixtureOfExpertsRegressor
        By maximum likelihood. Those that are not fitted are fitted to X and y; fitted ones must be of these data.
    X, y, gate_X, offset, trials, groups
        As in fit; after `moe` a data frame alone, or nothing for that of the fit. The drawn responses of a group come
        from one expert. Weights are not supported.
    n_boot : int
        Number of data sets to draw: p-values are multiples of ``1 / (n_boot + 1)``.
    n_init : int
        Number of starts of every fit.
    n_jobs : int or distributed.Client
        Number of processes, or a client of a Dask cluster whose workers fit; the result does not depend on it.
    resume : path, optional
        File of the results so far. A test that was interrupted goes on where it stopped.
    random_state : int
        Seed of the data sets.
    verbose : bool, int or callable
        As of `MixtureOfExpertsRegressor`: whether to show progress.

    Returns
    -------
    BootstrapTest

    Raises
    ------
    ValueError
        If a mixture has no density or is unsound on the data, if a fitted one is not of these data, if the file belongs
        to another test, or if y cannot be drawn (without the times of censoring of the rows).

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor, bootstrap_test
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(150, 3))
    >>> y = X.sum(1) + rng.normal(size=150)
    >>> one, two = (MixtureOfExpertsRegressor(k, gate="constant", scale="shared") for k in (1, 2))
    >>> bootstrap_test(one, two, X, y, n_boot=19, n_init=5).p_value > 0.05
    True
    """
    count, starts, workers = whole("n_boot", n_boot, 1), whole("n_init", n_init, 1), workers_of("n_jobs", n_jobs)
    seed = seed_of(random_state)
    data = Given(X, y, gate_x=gate_X, groups=groups, known=KnownValues(offset, trials))
    first, second = _fitted("small", small, data), _fitted("large", large, data)
    if first.fit_.df >= second.fit_.df and first.mixture_.n_leaves > second.mixture_.n_leaves:
        raise ValueError(
            f"small has {first.mixture_.n_leaves} experts, large has {second.mixture_.n_leaves}: give the smaller "
            "mixture first"
        )
    rows = _same_rows("small", first, data), _same_rows("large", second, data)
    _require_same_groups(*rows)
    comparison = Comparison(first.fit_, second.fit_, rows, starts, 0 if seed is None else seed)
    found = _collected(comparison, count, workers, None if resume is None else Path(resume), verbose)
    return _result(found, first, second)


def _fitted(name: str, model: Any, data: Given) -> Any:
    """Return the model, or a fitted clone of it, if it can be compared."""
    if not hasattr(model, "fit_"):
        if data.x is None:
            raise TypeError(f"{name} is not fitted, and X is missing: give the data, or models fitted by moe")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)  # a note of the result says what matters
            known = {"gate_X": data.gate_x, "offset": data.known.offset, "trials": data.known.trials}
            known["groups"] = data.groups
            model = clone(model).fit(data.x, data.y, **{k: v for k, v in known.items() if v is not None})
    require_density(model.mixture_)
    family = model.mixture_.family
    if not family.has_density:
        raise ValueError(f"{name} is fitted by least squares, without a density: use method='ml' or 'em'")
    if family.given and not counts_trials(model.mixture_):  # trials are known
        raise ValueError(
            f"{name} has the family {family}: responses cannot be drawn without {family.given} of the rows"
        )
    if model.fit_.status is Status.unsound:
        raise ValueError(f"{name} is {model.fit_.status}: {model.fit_.status.words}. Its likelihood compares nothing")
    return model


def _same_rows(name: str, model: Any, data: Given) -> Rows:
    """Return the rows of a fit, once it is sure that they are."""
    data = data._replace(y=model._encoded(data.x, data.y))
    rows = rows_again(model, framed(model, data, ("response", "offset", "trials", "weights", "groups"), True)).rows
    if rows.weight is not None:
        raise ValueError(
            f"{name} was fitted with weights, but the test draws one response for every row: repeat each row as often "
            "as its weight says, and fit without weights"
        )
    here = log_likelihood_of(model, rows)
    if abs(here - model.log_likelihood_) > 1e-6 * max(1.0, abs(here)):
        raise ValueError(
            f"{name} has the log-likelihood {model.log_likelihood_:.6f} after its fit, and {here:.6f} on these data: "
            "give the data of its fit, with their groups and without weights, or a model that is not fitted"
        )
    return rows


def _require_same_groups(small: Rows, large: Rows) -> None:
    """Raise unless both mixtures have the same responses in the same groups."""
    first, second = small.ends, large.ends
    alike = first is second if first is None or second is None else torch.equal(first, second)
    if not alike or not torch.equal(small.y.read(0, small.n), large.y.read(0, large.n)):
        raise ValueError(
            "small and large have different groups or responses: fit both to the same y with the same groups, or both "
            "without groups"
        )


@standard_torch()
def log_likelihood_of(model: Any, rows: Rows) -> float:
    """Return the log-likelihood of a fitted model on some rows."""
    total = 0.0
    for block in rows.blocks(MOST):
        values = unit_log_density(model.mixture_, model.measure_, block)
        total += float((values if block.weight is None else values * block.weight).sum())
    return total


def _collected(
    comparison: Comparison, count: int, workers: int | Client, path: Path | None, verbose: Any
) -> list[Ratio]:
    """Return the log-likelihoods on all data sets: those of the file, and the rest, which go into the file."""
    known = [] if path is None else [Ratio(*one) for one in kept_records(path, "bootstrap_test", comparison.key())]
    with following(verbose, "data sets") as progress:
        for block in ratios(comparison, count, [ratio.replicate for ratio in known], workers):
            known.extend(block)
            if path is not None:
                append(path, [list(ratio) for ratio in block])
            if progress is not None:
                progress("likelihood ratios", len(known), count + 1)
    unique = {ratio.replicate: ratio for ratio in known if ratio.replicate <= count}
    return [unique[replicate] for replicate in range(count + 1)]


def kept_records(path: Path, kind: str, key: str) -> list[Any]:
    """Return what a file holds of a bootstrap, known by a kind and a hash; a new file gets its head.

    Raises
    ------
    ValueError
        If it is the file of another one, or none of a bootstrap, which stays as it is.
    OSError
        If it cannot be written.
    """
    require_writable(path)
    found = list(read_lines(path))
    if not found:
        append(path, [{kind: key}])
        return []
    held = [line.record for line in found if line.record is not None]
    if not held or held[0] != {kind: key}:
        raise ValueError(
            f"{path} holds another {kind}, of other data, mixtures, seed or n_init, or is no file of one: give another "
            "path"
        )
    return held[1:]


def _result(found: list[Ratio], small: Any, large: Any) -> BootstrapTest:
    """Return p-value and notes from the log-likelihoods of all data sets."""
    observed, *rest = found
    if not observed.sound:
        raise ValueError(
            "with these starts a fit to the data is unsound, so that they have no likelihood ratio: give more starts "
            "(n_init), fewer experts, or scale='shared'"
        )
    drawn = tuple(ratio.statistic for ratio in rest if ratio.sound)
    lost = len(rest) - len(drawn)
    above = sum(value >= observed.statistic for value in drawn)
    p = (1 + above) / (1 + len(drawn))
    ends = (1 + above) / (1 + len(rest)), (1 + above + lost) / (1 + len(rest))
    notes = _notes(observed, small, large, lost, ends)
    error = sqrt(p * (1 - p) / (1 + len(drawn)))
    words = (_words(small), _words(large))
    return BootstrapTest(
        observed.statistic, p, error, drawn, lost, ends, *words, (observed.small, observed.large), tuple(notes)
    )


def _notes(observed: Ratio, small: Any, large: Any, lost: int, ends: tuple[float, float]) -> Iterator[str]:
    if large.mixture_.n_leaves > small.mixture_.n_leaves:
        yield LAW
    if not small.converged_:
        yield f"responses are drawn from a fit that is {small.fit_.status}: {small.fit_.status.words}"
    if lost:
        yield (
            f"on {lost} data sets a fit is unsound; they are left out. Whatever their ratios were, p would lie between "
            f"{ends[0]:.4f} and {ends[1]:.4f}"
        )
    after = 2.0 * (large.log_likelihood_ - small.log_likelihood_)
    if abs(after - observed.statistic) > 1e-3:
        yield (
            f"the search of fit has 2 log LR = {after:.4f}; the test compares what n_init starts find on every data "
            "set, so give more of them if the two should agree"
        )
    if observed.statistic < 0:
        yield "the larger mixture has the lower likelihood: it does not contain the smaller one, or needs more starts"


def _words(model: Any) -> str:
    """Return the number of experts and what they are."""
    branching, gate = model.mixture_.branching, model._given.gate
    named = gate if isinstance(gate, str) else repr(gate)
    if branching == (1,):
        words = "1 expert"
    elif any(model.mixture_.titles):
        words = f"{members(model.mixture_)} (gate {named})"
    else:
        words = f"{' x '.join(map(str, branching))} experts (gate {named})"
    return words if model._design is None else f"{words} of {model._design.experts.parsed.text}"
