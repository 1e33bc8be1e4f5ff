"""A scorer for searches and cross-validation: the log density of held-out responses."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline


def log_likelihood_scorer(estimator: Any, X: Any, y: Any) -> float:
    """Mean log density ``(1/n) sum_i log p(y_i | x_i)`` of the responses; larger is better. Use it as `scoring`.

    Parameters
    ----------
    estimator : fitted MixtureOfExpertsRegressor, or a Pipeline that ends in one
    X : array-like (n, d)
    y : array-like (n,) or (n, q)

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> x = np.linspace(0.0, 6.0, 60)[:, None]
    >>> y = np.sin(x[:, 0]) + 0.1 * np.cos(40 * x[:, 0])
    >>> cross_val_score(MixtureOfExpertsRegressor(1, n_init=1), x, y, cv=3, scoring=log_likelihood_scorer).shape
    (3,)
    """
    while isinstance(estimator, Pipeline):
        X, estimator = estimator[:-1].transform(X) if len(estimator) > 1 else X, estimator[-1]
    return float(estimator._log_density(X, y).mean())
