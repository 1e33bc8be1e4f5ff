"""Fitted mixtures side by side: their criteria, and `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatewise.core.experts import EXPERTS, expert
from gatewise.core.gates import describe, gates
from gatewise.core.names import name_of
from gatewise.fit.status import Status

if TYPE_CHECKING:
    from pandas import DataFrame


class Candidate(NamedTuple):
    """One fitted mixture and its criteria.

    Attributes
    ----------
    n_experts : int or tuple of int
    gate, expert : str
    log_likelihood : float
    df : int
        Number of identified parameters.
    aic, bic, icl : float
        Smaller is better.
    cv : float
        Mean log density of a held-out row; larger is better. NaN unless asked for.
    cv_error : float
        Its standard error over the folds.
    entropy : float
        Of the responsibilities.
    least_share : float
        Smallest share of an expert in the rows.
    status : str
    agreeing, starts : int
        Number of starts that reached the value taken, and of all.
    by_chance : tuple of int
        Experts so narrow, on so few rows, that chance finds such ones; `select` looks for them.
    """

    n_experts: int | tuple[int, ...]
    gate: str
    expert: str
    log_likelihood: float
    df: int
    aic: float
    bic: float
    icl: float
    cv: float
    cv_error: float
    entropy: float
    least_share: float
    status: str
    agreeing: int
    starts: int
    by_chance: tuple[int, ...] = ()


def criteria_of(model: Any) -> Candidate:
    """Return the criteria of a fitted model."""
    aic, bic, icl = model._criteria()
    fit, shares = model.fit_, model._shares
    totals = shares.totals.numpy()
    given = gates(model.gate, model.mixture_.depth)
    gate = "-" if model.mixture_.n_leaves == 1 else "/".join(dict.fromkeys(map(describe, given)))
    return Candidate(
        model.n_experts,
        gate,
        _expert_name(model.expert),
        model.log_likelihood_,
        fit.df,
        aic,
        bic,
        icl,
        nan,
        nan,
        float(shares.entropy),
        float(totals.min() / totals.sum()),
        str(fit.status),
        fit.starts.hits,
        len(fit.starts.log_likelihood),
    )


def _expert_name(choice: Any) -> str:
    """Return the name of a kind of expert, or the names of several."""
    if isinstance(choice, list | tuple):
        return ", ".join(map(_expert_name, choice))
    return name_of(expert(choice), EXPERTS) or str(choice)


def _require_same_response(one: Any, other: Any) -> None:
    """Raise where two models by formulas have different responses, or different weights."""
    texts = [[part.text for part in model._design.experts.parsed.responses] for model in (one, other)]
    if one._frame is None or other._frame is None:
        same, what = texts[0] == texts[1], "responses"
    else:
        read = [model._design.matrices(model._frame, drop=True) for model in (one, other)]
        same, what = np.array_equal(read[0].y, read[1].y), "responses"
        first, second = (np.broadcast_to(_weights(part), len(part.x)) for part in read)
        if same and not np.array_equal(first, second):
            same, what = False, "weights"
    if not same:
        raise ValueError(
            f"the models of {' and '.join(' + '.join(text) for text in texts)} have different {what}: criteria compare "
            "fits to the same values, in the same order and units"
        )


def _weights(read: Any) -> Any:
    """Return the weights that a formula read, or 1."""
    return 1.0 if read.weights is None else read.weights


def compare(*models: Any, names: Sequence[str] | None = None) -> DataFrame:
    """Return a table of fitted models of the same rows: a row each, with the criteria of `select`.

    Parameters
    ----------
    *models : fitted estimators
    names : sequence of str, optional
        Of the rows; by default the formulas, or 0, 1, ...

    Returns
    -------
    DataFrame
        The columns of `Selection.table` without held-out densities and ``by_chance``, and ``delta_bic``, the BIC less
        the smallest one of the models that are not unsound.

    Raises
    ------
    ValueError
        Without models, for models of different numbers of rows, or by formulas of different responses or weights, and
        for other numbers of names.
    TypeError
        For what is no fitted estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor, compare
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 3))
    >>> y = X.sum(1) + rng.normal(size=100)
    >>> line = MixtureOfExpertsRegressor(1, n_init=1).fit(X, y)
    >>> level = MixtureOfExpertsRegressor(1, expert="constant", n_init=1).fit(X, y)
    >>> compare(line, level, names=["line", "level"])["delta_bic"].idxmin()
    'line'
    """
    import pandas as pd

    if not models:
        raise ValueError("compare has no models: give fitted estimators")
    for model in models:
        if not hasattr(model, "fit_"):
            raise TypeError(f"compare has a {type(model).__name__}: give fitted estimators, one after the other")
    rows = {model.fit_.n for model in models}
    if len(rows) > 1:
        raise ValueError(
            f"the models have {', '.join(f'{n:g}' for n in sorted(rows))} rows: criteria compare fits to the same "
            "rows; leave rows with missing values out of the data of all"
        )
    by_formula = [model for model in models if model._design is not None]
    for one, other in pairwise(by_formula):
        _require_same_response(one, other)
    if names is not None and len(names) != len(models):
        raise ValueError(f"names has {len(names)} entries for {len(models)} models: give one for each")
    found = [criteria_of(model) for model in models]
    titles = [str(i) if model._design is None else model._design.experts.parsed.text for i, model in enumerate(models)]
    table = pd.DataFrame([one._asdict() for one in found], index=titles if names is None else list(names))
    sound = table["bic"].where(table["status"] != Status.unsound)
    return table.drop(columns=["cv", "cv_error", "by_chance"]).assign(delta_bic=table["bic"] - sound.min())
