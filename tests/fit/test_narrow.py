"""Positive numbers and shares: a narrow expert on few rows is a collapse, one on many rows is found."""

import warnings

import numpy as np
import pytest

from gatewise import FitWarning, MixtureOfExpertsRegressor

RNG = np.random.default_rng(8)
N = 90
X = RNG.normal(size=(N, 3))
WIDE = {
    "gamma": np.exp(0.5 + 0.4 * X[:, 0]) * RNG.gamma(3, 1 / 3, N),
    "log-normal": np.exp(0.5 + 0.4 * X[:, 0] + 0.6 * RNG.normal(size=N)),
    "weibull": np.exp(0.5 + 0.4 * X[:, 0]) * RNG.weibull(1.8, N),
    "beta": RNG.beta(2.0, 3.0, N),
}


def columns(family, y):
    return np.column_stack([y, np.ones(len(y))]) if family == "weibull" else y


def fitted(family, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        model = MixtureOfExpertsRegressor(2, "constant", family=family, n_init=15, random_state=0, **options)
        return model.fit(X, columns(family, y))


def spread(model):
    own = {name: value.flatten(0, 0) for name, value in model.measure_.family.items()}
    return model.mixture_.family.relative_spread(own)[:, 0].numpy()


@pytest.mark.parametrize("family", WIDE)
def test_a_narrow_expert_on_few_rows_is_no_estimate(family):
    y = WIDE[family].copy()
    y[:5] = y[0]  # some equal values: the density of an expert there has no bound
    model = fitted(family, y, expert="constant")
    width = spread(model)
    assert model.status_ == "unsound" or (width > 0.01 * width.max()).all()
    assert (model.status_ == "unsound") == bool(model.fit_.certificate.starved)


@pytest.mark.parametrize("family", WIDE)
def test_a_narrow_expert_on_many_rows_is_found(family):
    y = WIDE[family].copy()
    half = np.arange(N) < 45
    near = 0.4 * RNG.weibull(200.0, N) if family == "weibull" else 0.4 + 0.002 * RNG.normal(size=N)
    y[half] = near[half]
    model = fitted(family, y, expert="constant")
    width = spread(model)
    assert model.status_ == "converged"
    assert width.min() < 0.01 * width.max()
    assert 40 < model._shares.totals[int(width.argmin())] < 50


def test_a_known_collapse_of_shares_is_not_taken_for_an_optimum():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    eta = np.where(rng.random(200) < 0.5, 1 + 0.5 * x[:, 0], -1 + 0.3 * x[:, 1])
    for draw in (lambda: rng.gamma(4, 0.25, 200), lambda: rng.wald(np.exp(eta), 4), lambda: rng.normal(size=200)):
        draw()  # the state at which the data were drawn that had a collapse
    y = rng.beta(5 / (1 + np.exp(-eta)), 5 / (1 + np.exp(eta)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        model = MixtureOfExpertsRegressor(2, "constant", family="beta", n_init=10, random_state=0).fit(x, y)
    assert (model.precision_ < 100).all()
    assert any(value > model.log_likelihood_ + 1 for value in model.fit_.starts.better_unsound)
