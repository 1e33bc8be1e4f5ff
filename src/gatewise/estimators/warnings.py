"""Warnings of a fit, one class per status that is a failure, all of them scikit-learn ConvergenceWarnings; the data
that explain them: light weights, counts without variation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import isfinite

from sklearn.exceptions import ConvergenceWarning

from gatewise.estimators.errors import ReportedErrors
from gatewise.fit.floor import FAR_OFF, GIVEN
from gatewise.fit.result import Fit
from gatewise.fit.status import Status
from gatewise.fit.words import beside, directions, expert_name, status_words
from gatewise.infer.identifiability import IdentifiabilityVerdict
from gatewise.objective.rows import Rows, extremes


class FitWarning(ConvergenceWarning):
    """Base class of all warnings about a fit; a subclass of scikit-learn's ConvergenceWarning.

    Examples
    --------
    Turn warnings about fits into errors:

    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", FitWarning)
    """


class UnsoundWarning(FitWarning):
    """Status ``unsound``: a scale lies on its floor, or an expert has too few observations.

    The message gives the floor, what set it, and a remedy.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 3))
    >>> y = X @ [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=60)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     model = MixtureOfExpertsRegressor(2, n_init=1, random_state=0).fit(X[:8], y[:8])
    >>> caught[0].category.__name__, str(model.status_)
    ('UnsoundWarning', 'unsound')
    """


class RefusedWarning(FitWarning):
    """A fit with a much higher log-likelihood was rejected only because one of its scales lies on the floor.

    Every expert of that fit has enough observations. If the noise may be that small, give a smaller `min_scale`.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(0, 10, 200)
    >>> e = rng.standard_normal(200)
    >>> y = np.where(np.arange(200) < 100, 10 + x + 0.15 * e, 50 + 2 * x + 2 * e)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     model = MixtureOfExpertsRegressor(2, "constant", min_scale=0.5, n_init=8, random_state=0).fit(x[:, None], y)
    >>> "RefusedWarning" in {one.category.__name__ for one in caught}
    True
    """


class SeparatedWarning(FitWarning):
    """Status ``separated``: a gate or an expert separates the data, so its parameters have no finite estimate.

    For a gate with slopes, a ridge penalty on them (`alpha`) gives finite estimates.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> x = np.linspace(-1, 1, 100)
    >>> y = np.where(x < 0, 2 + x, -x) + 0.05 * np.random.default_rng(0).normal(size=100)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     model = MixtureOfExpertsRegressor(2, n_init=2, random_state=0).fit(x[:, None], y)
    >>> caught[0].category.__name__, str(model.status_)
    ('SeparatedWarning', 'separated')
    """


class UnidentifiedWarning(FitWarning):
    """Status ``unidentified``: the objective is flat in some direction of the parameters at the estimate.

    The estimates of these parameters are not unique; predictions are unaffected, unless the fit is ``stalled`` as well,
    which the message then says.

    Examples
    --------
    >>> import warnings
    >>> from gatewise.data import load
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> tone = load("tone")
    >>> options = {"gate": "dense-to-sparse", "gauge": "none", "n_init": 1}
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     model = MixtureOfExpertsRegressor(2, **options, random_state=0).fit(tone.X, tone.y)
    >>> caught[0].category.__name__, str(model.status_)
    ('UnidentifiedWarning', 'unidentified')
    """


class BoundWarning(FitWarning):
    """Status ``at-bound``: the optimum lies on a bound given by the user, or at the end of a parameter's range.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 3))
    >>> y = X @ [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=60)
    >>> limits = {"experts.coef": (-1.0, 1.0)}
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     model = MixtureOfExpertsRegressor(1, n_init=1, bounds=limits).fit(X, y)
    >>> caught[0].category.__name__, str(model.status_)
    ('BoundWarning', 'at-bound')
    """


class RidgeWarning(FitWarning):
    """Some parameters of the model are not identified at any sample size (`gatewise.identify`).

    Given when the fit itself does not show it: its status is not ``unidentified`` and standard errors are missing.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 3))
    >>> y = X @ [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=60)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     model = MixtureOfExpertsRegressor(2, gate="cosine", n_init=1, random_state=0).fit(X, y)
    >>> caught[0].category.__name__, str(model.status_)
    ('RidgeWarning', 'converged')
    """


class StalledWarning(FitWarning):
    """Status ``stalled``: the search stopped before the optimality conditions held.

    Examples
    --------
    >>> import warnings
    >>> from gatewise.data import load
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> tone = load("tone")
    >>> options = {"method": "em", "max_iter": 3, "n_init": 1}
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     model = MixtureOfExpertsRegressor(2, "constant", **options, random_state=0).fit(tone.X, tone.y)
    >>> caught[0].category.__name__, str(model.status_)
    ('StalledWarning', 'stalled')
    """


class StartsDisagreeWarning(FitWarning):
    """Too few starts reached the best value, so a better optimum may exist; raise `n_init`.

    Examples
    --------
    >>> import warnings
    >>> from gatewise.data import load
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> tone = load("tone")
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     model = MixtureOfExpertsRegressor(2, n_init=5, random_state=0).fit(tone.X, tone.y)
    >>> caught[0].category.__name__, str(model.status_)
    ('StartsDisagreeWarning', 'converged')
    """


class CollinearWarning(FitWarning):
    """Columns of X or of the gate inputs are constant or linear combinations of others.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 3))
    >>> y = X @ [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=60)
    >>> X = np.column_stack([X, X[:, 0] + X[:, 1]])  # the sum of two columns
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     model = MixtureOfExpertsRegressor(1, n_init=1).fit(X, y)
    >>> caught[0].category.__name__, str(model.status_)
    ('CollinearWarning', 'converged')
    """


CLASSES: dict[Status, type[FitWarning]] = {
    Status.unsound: UnsoundWarning,
    Status.separated: SeparatedWarning,
    Status.unidentified: UnidentifiedWarning,
    Status.at_bound: BoundWarning,
    Status.stalled: StalledWarning,
}
UNBOUNDED = "These criteria mean nothing for an unsound fit: the likelihood has no bound there, so do not compare them"
FAR = 10.0  # log-likelihood above the winner from which a value that a floor refused is worth a warning


def status_text(fit: Fit, named: Callable[[str], str]) -> str:
    """Return what the statuses of a fit mean, what caused them, and what helps.

    Parameters
    ----------
    fit : Fit
    named : callable str -> str
        Puts the names of the reader in place of paths and positions (`ReaderNames.text`).
    """
    return named(f"{status_words(fit)}{_details(fit)}{beside(fit)}")


def _details(fit: Fit) -> str:
    """Return the names of the parameters or experts that caused the primary status; empty if there are none."""
    evidence = fit.certificate
    if fit.status is Status.unsound and fit.sse is None:
        return "".join(f"; {part}" for part in _unsound(fit))
    parts = {
        Status.unsound: [expert_name(fit.mixture, leaf) for leaf in evidence.starved if not fit.mixture.titles[leaf]],
        Status.separated: directions(evidence.separated),
        Status.unidentified: directions(evidence.null),
        Status.at_bound: [*evidence.active, *(note for note in fit.notes if " is at the end of its range" in note)],
        Status.at_kink: list(dict.fromkeys(evidence.kinks)),
    }.get(fit.status, ())
    return f" ({', '.join(parts)})" if parts else ""


def _unsound(fit: Fit) -> list[str]:
    """Return what is unsound about a fit by maximum likelihood, the value and its cause, and what helps."""
    evidence, titles = fit.certificate, fit.mixture.titles
    leaves, starved = titles.count(""), [leaf for leaf in evidence.starved if not titles[leaf]]
    parts = []
    if starved:
        few = leaves == 1 or fit.n <= evidence.rank / leaves + 1
        listed = ", ".join(expert_name(fit.mixture, leaf) for leaf in starved)
        parts.append(f"too few for {listed}: {'give more observations' if few else 'use fewer experts'}")
    if evidence.floor:
        parts.append(f"{', '.join(evidence.floor)} {_place(fit)}: {_off_the_floor(fit)}")
    return parts


def _place(fit: Fit) -> str:
    """Return where scales are that are as small as they may be."""
    return f"on the floor {fit.floor}" if fit.floor else "at the end of the range, where the law has no noise"


def _off_the_floor(fit: Fit) -> str:
    """Return what gives scales that are not on their floor."""
    if GIVEN in fit.floor:
        return "give a smaller min_scale"
    if fit.mixture.family.names("covariance"):
        return "one response determines another, so there is no full covariance: drop one or use covariance='diag'"
    if FAR_OFF in fit.floor:
        return "leave out observations that far from the others"
    if fit.mixture.n_leaves > 1:
        return "an expert fits its observations exactly, so its scale cannot be estimated: use fewer experts"
    return "y is an exact function of X, so there is no scale to estimate"


def floor_words(fit: Fit) -> str:
    """Return the message about a better fit that the floor rejected: how much better, what set the floor, a remedy."""
    rise = fit.starts.floored[0] - (fit.log_likelihood - fit.penalty)
    remedy = "give a smaller min_scale if the noise may be smaller than that" if fit.floor else "use fewer experts"
    return (
        f"a fit with a log-likelihood {rise:.4g} higher, in which every expert has enough observations, was refused "
        f"because a scale lies {_place(fit)}: {remedy}"
    )


def alert(
    fit: Fit, named: Callable[[str], str], names: Sequence[str], gate_names: Sequence[str], stacklevel: int
) -> None:
    """Warn about the primary status, about starts that disagree, and about columns; for `named` see `status_text`."""
    if fit.status in CLASSES:
        text = f"the fit is {fit.status}: {status_text(fit, named)}"
        warnings.warn(text, CLASSES[fit.status], stacklevel=stacklevel + 1)
    if fit.starts.floored and fit.starts.floored[0] > fit.log_likelihood - fit.penalty + FAR:
        warnings.warn(floor_words(fit), RefusedWarning, stacklevel=stacklevel + 1)
    starts = len(fit.starts.log_likelihood)
    if not fit.starts.agree and fit.status not in (Status.unsound, Status.stalled):
        squares = fit.sse is not None
        best = "least sum of squares" if squares else "best log-likelihood"
        scale = " in the log-likelihood of Gaussian residuals" if squares else ""
        gap = f" (the next is {fit.starts.gap:.4g} below{scale})" if isfinite(fit.starts.gap) else ""
        count = f"only {fit.starts.hits}" if fit.starts.hits else "none"
        bound = f"one more start would end higher with a chance of up to {fit.starts.better:.2f} (95 % bound)"
        text = f"{count} of {starts} starts reached the {best}{gap}, and {bound}: a better optimum may exist; "
        text += "raise n_init"
        warnings.warn(text, StartsDisagreeWarning, stacklevel=stacklevel + 1)
    for room, extra in _once(fit.collinear, names, gate_names):
        kind = "constant or a linear combination of other columns"
        listed = ", ".join(extra)
        text = (
            f"column {listed} of {room} is {kind}, so its slopes are not unique; leave it out"
            if len(extra) == 1
            else f"columns {listed} of {room} are each {kind}, so their slopes are not unique; leave them out"
        )
        warnings.warn(text, CollinearWarning, stacklevel=stacklevel + 1)


def unbounded(fit: Fit) -> str:
    """Return why criteria of a fit mean nothing; empty where they do."""
    return UNBOUNDED if Status.unsound in fit.flags and fit.sse is None else ""


def alert_criteria(fit: Fit, stacklevel: int) -> None:
    """Warn where AIC, BIC and ICL mean nothing."""
    if unbounded(fit):
        warnings.warn(unbounded(fit), UnsoundWarning, stacklevel=stacklevel + 1)


def ask_theory(fit: Fit, errors: ReportedErrors) -> bool:
    """Return whether the identifiability check could add something to what the fit shows.

    No check is needed if the status is ``unidentified`` already, if all standard errors are finite (then the Hessian is
    regular at the optimum), or if a gate has a single branch.
    """
    known = Status.unidentified in fit.flags
    proof = errors.values is not None and not any(bool(value.isnan().any()) for value in errors.values.values())
    smooth = all(gate.link.smooth for gate in fit.mixture.gates)
    return smooth and not known and not proof and 1 not in fit.mixture.branching


def alert_ridge(verdict: IdentifiabilityVerdict, words: str, stacklevel: int) -> None:
    """Warn when theory finds first derivatives that depend on each other; slow rates alone are no reason."""
    if verdict is IdentifiabilityVerdict.ridge:
        text = f"some parameters of this model are not identified. {words} Predictions are unaffected."
        warnings.warn(text, RidgeWarning, stacklevel=stacklevel + 1)


def _once(
    collinear: tuple[tuple[str, tuple[int, ...]], ...], names: Sequence[str], gate_names: Sequence[str]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return the names of the dependent columns by room; gates that read X need not say it again."""
    own = {"X": names}
    named = [(room, tuple((own.get(room, gate_names) or range(j + 1))[j] for j in extra)) for room, extra in collinear]
    found = [(room, tuple(map(str, extra))) for room, extra in named]
    seen = [extra for room, extra in found if room == "X"]
    return [(room, extra) for room, extra in found if room == "X" or extra not in seen]


def light(rows: Rows, how: str) -> str:
    """Return what is wrong with weights of a small sum, and the remedy."""
    return (
        f"sample_weight sums to {rows.total:.6g} over {rows.n} rows, {how}: frequency weights count rows, so that 2 "
        f"is a row twice; multiply them by {rows.n / rows.total:.6g} for a sum of the number of rows"
    )


def alert_data(fit: Fit, rows: Rows, stacklevel: int) -> None:
    """Warn where the data explain a status: weights that count as less than one row each, counts without variation."""
    if any(not fit.mixture.titles[leaf] for leaf in fit.certificate.starved) and rows.total < rows.n:
        text = light(rows, "too few for the parameters of every expert")
        warnings.warn(text, UnsoundWarning, stacklevel=stacklevel + 1)
    if fit.mixture.family.discrete and Status.separated in fit.flags:
        for j, (least, most) in enumerate(extremes(rows)):
            if least == most:
                text = (
                    f"every value of column {j} of y is {least:g}: its mean is an end of the family's range, where "
                    "parameters have no finite value; add rows with other values, or leave the column out"
                )
                warnings.warn(text, SeparatedWarning, stacklevel=stacklevel + 1)
