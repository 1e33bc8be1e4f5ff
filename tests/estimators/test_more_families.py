"""Families of positive responses, counts, shares, classes and times, from a table to a file; what they refuse."""

import json

import numpy as np
import pytest
import torch
from scipy.special import expit
from typer.testing import CliRunner

from gatewise import (
    MixtureOfExpertsRegressor,
    load_model,
    save_model,
)
from gatewise.cli import app

N = 600


def two_regimes(d=3, n=N):
    """Inputs, and a predictor with one regime on either side of the first input."""
    r = np.random.default_rng(d)
    x = r.uniform(-2, 2, (n, d))
    first = r.random(n) < expit(4 * x[:, 0])
    slopes = np.array([0.7, -0.4, 0.3, 0.2])[:d]
    return x, np.where(first, 1.0 + x @ slopes, -0.5 - x @ slopes), r


def classes_of(eta, r):
    odds = np.exp(np.c_[0 * eta, eta, 0.5 - 0.5 * eta])
    place = r.random((len(eta), 1)) >= (odds / odds.sum(1, keepdims=True)).cumsum(1)[:, :2]
    return np.eye(3)[place.sum(1)]


def censored(eta, r):
    time, end = np.exp(eta) * r.weibull(3, len(eta)), r.uniform(0.5, 8, len(eta))
    return np.c_[np.minimum(time, end), time <= end].astype(float)


def shares_of(eta, r):
    return r.beta(20 * expit(eta), 20 * expit(-eta))


DRAWS = {  # name, data, the parameter they are drawn with
    "gamma": (lambda eta, r: np.exp(eta) * r.gamma(9, 1 / 9, len(eta)), ("shape_", 9.0)),
    "inverse-gaussian": (lambda eta, r: r.wald(np.exp(eta), 8), ("shape_", 8.0)),
    "log-normal": (lambda eta, r: np.exp(eta + 0.3 * r.normal(size=len(eta))), ("scale_", 0.3)),
    "negative-binomial": (lambda eta, r: r.poisson(np.exp(1 + eta) * r.gamma(9, 1 / 9, len(eta))), ("size_", 9.0)),
    "beta": (shares_of, ("precision_", 20.0)),
    "categorical": (classes_of, None),
    "ordered": (lambda eta, r: np.digitize(3 * eta + r.logistic(size=len(eta)), [0, 1.5]), ("gap_", 1.5)),
    "weibull": (censored, ("shape_", 3.0)),
}
ONE_COLUMN = [name for name in DRAWS if name not in ("categorical", "weibull")]


def fitted(name, k=2):
    x, eta, r = two_regimes()
    y = np.asarray(DRAWS[name][0](eta, r), dtype=float)
    return x, y, MixtureOfExpertsRegressor(k, family=name, n_init=4, random_state=0).fit(x, y)


@pytest.mark.parametrize("name", DRAWS)
def test_a_model_is_fitted_summarised_inferred_predicted_and_kept(name, tmp_path):
    x, y, model = fitted(name)
    assert model.status_ in ("converged", "separated")  # a gate of three inputs may be as sharp as it likes
    assert type(model.mixture_.family).__name__ in str(model.summary())
    seen = model.mixture_.family.observed(torch.from_numpy(np.atleast_2d(y.T).copy())).numpy()
    mean = model.predict(x)
    assert mean.reshape(N, -1).T.shape == seen.shape
    assert model.score(x, y) > 0.05
    own = DRAWS[name][1]
    if own is not None:
        found = getattr(model, own[0])
        assert ((found > own[1] / 2.5) & (found < 2.5 * own[1])).all()
    low, high = np.moveaxis(model.predict_interval(x, 0.9), -1, 0)
    inside = ((seen >= low.reshape(N, -1).T) & (seen <= high.reshape(N, -1).T)).mean()
    assert inside > 0.86
    assert model.sample(x, random_state=0).shape == y.shape
    assert model.score_samples(x, y).sum() == pytest.approx(model.log_likelihood_)
    save_model(model, tmp_path / "model.json")
    again = load_model(tmp_path / "model.json")
    np.testing.assert_array_equal(again.predict(x), mean)
    assert str(again.summary()) == str(model.summary())


@pytest.mark.parametrize("name", ONE_COLUMN)
def test_the_command_line_takes_its_name(name, tmp_path):
    x, eta, r = two_regimes()
    y = DRAWS[name][0](eta, r)
    table, model, page = tmp_path / "t.csv", tmp_path / "m.json", tmp_path / "page.html"
    np.savetxt(table, np.c_[x, y], delimiter=",", header="a,b,c,y", comments="", fmt="%.12g")
    words = ["fit", str(table), "--target", "y", "--family", name, "--starts", "2", "--json"]
    found = CliRunner().invoke(app, [*words, "--out", str(model), "--report", str(page)])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["status"] in ("converged", "separated")
    assert load_model(model).predict(x).shape == (N,)
    assert page.stat().st_size > 1000
