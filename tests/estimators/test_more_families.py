"""Families of positive responses, counts, shares, classes and times, from a table to a file; what they refuse."""

import json
import time

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from typer.testing import CliRunner

from gatewise import (
    BoundWarning,
    MixtureOfExpertsRegressor,
    UnsoundWarning,
    load_model,
    sample_size,
    save_model,
)
from gatewise.cli import app
from gatewise.core.mixture import mixed
from gatewise.infer.predict import leaves_at

N = 600
pytestmark = pytest.mark.filterwarnings("ignore::gatewise.FitWarning")  # few starts: the tests look at the status


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
    assert model.score(x, y) > 0.05 or name == "weibull"  # where censored times count as if they were those of events
    own = DRAWS[name][1]
    if own is not None:
        found = getattr(model, own[0])
        assert ((found > own[1] / 2.5) & (found < 2.5 * own[1])).all()
    low, high = np.moveaxis(model.predict_interval(x, 0.9), -1, 0)
    if name == "weibull":  # a censored time is below that of its event
        low = 0 * low
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
    told = json.loads(found.stdout)["status"]
    assert told in ("converged", "separated") or (name, told) == ("ordered", "at-bound")  # no row in the middle class
    assert load_model(model).predict(pd.DataFrame(x, columns=["a", "b", "c"])).shape == (N,)
    assert page.stat().st_size > 1000


GAP, SIZE, SHAPE = "family.gap[0,0,0]", "family.size[0,0]", "family.shape[0,0]"


def inputs(n=300):
    r = np.random.default_rng(0)
    x = r.normal(size=(n, 3))
    return x, 0.3 + x @ [0.6, -0.3, 0.2], r


def one_expert(family, y):
    return MixtureOfExpertsRegressor(1, family=family, n_init=1, random_state=0).fit(inputs()[0], y)


SIDE = np.digitize(inputs()[0][:, 0], [0.0, 1.0])  # three classes that an input separates


@pytest.mark.parametrize(
    ("family", "draw", "status", "seen"),
    [
        (
            "categorical",
            lambda eta, r: np.eye(3)[SIDE],
            "separated",
            lambda c: "experts.coef[0,1,0]" in str(c.separated),
        ),
        ("ordered", lambda eta, r: SIDE, "separated", lambda c: "experts.coef[0,0,0]" in str(c.separated)),
        ("binomial", lambda eta, r: np.c_[SIDE > 0, SIDE > 1], "separated", lambda c: len(c.separated) > 0),
        # no row in the middle class; none in the last, whose cutpoint may then lie anywhere
        ("ordered", lambda eta, r: 2 * (eta > r.logistic(size=300)), "at-bound", lambda c: c.active == (GAP,)),
        ("ordered", lambda eta, r: 1 * (eta > r.logistic(size=300)), "unidentified", lambda c: c.null == (GAP,)),
        # counts with less variance than Poisson's: the limit is no bound that was given, and is not counted
        ("negative-binomial", lambda eta, r: r.binomial(20, expit(eta)), "converged", lambda c: c.limits == (SIZE,)),
        ("weibull", lambda eta, r: np.c_[np.exp(eta), 0 * eta], "unsound", lambda c: c.starved == (0,)),
        ("weibull", lambda eta, r: np.c_[np.exp(eta), 1 + 0 * eta], "unsound", lambda c: c.floor == (SHAPE,)),
        ("gamma", lambda eta, r: np.exp(eta), "unsound", lambda c: c.floor == (SHAPE,)),
        ("inverse-gaussian", lambda eta, r: np.exp(eta), "unsound", lambda c: c.floor == (SHAPE,)),
        ("log-normal", lambda eta, r: np.exp(eta), "unsound", lambda c: c.floor == ("family.scale[0,0]",)),
        ("beta", lambda eta, r: expit(eta), "unsound", lambda c: c.floor == ("family.precision[0,0]",)),
    ],
)
def test_a_degenerate_fit_says_what_it_is(family, draw, status, seen):
    _, eta, r = inputs()
    model = one_expert(family, np.asarray(draw(eta, r), dtype=float))
    assert model.status_ == status
    assert seen(model.fit_.certificate)


@pytest.mark.parametrize(
    ("family", "y", "words"),
    [
        ("gamma", lambda eta: np.r_[0.0, np.exp(eta[1:])], r"not positive \(0\): Gamma .* fit the zeros apart"),
        ("beta", lambda eta: np.r_[1.0, expit(eta[1:])], "a value of 1: Beta .* strictly between 0 and 1"),
        ("categorical", lambda eta: SIDE, "y has one column: give one column per class, 1 in that of the row's class"),
        ("ordered", lambda eta: 2 * SIDE, r"a value of 4, .* such as OrderedLogit\(levels=5\)"),
        ("weibull", np.exp, r"an odd number of columns \(1\): give times, then events"),
        ("negative-binomial", np.exp, "a value that is not whole"),
    ],
)
def test_responses_that_a_family_cannot_take_are_refused(family, y, words):
    with pytest.raises(ValueError, match=words):
        one_expert(family, y(inputs()[1]))


OWN = dict.fromkeys(("gamma", "inverse-gaussian", "weibull"), "shape") | {"log-normal": "scale", "beta": "precision"}


@pytest.mark.parametrize("family", OWN)
def test_two_experts_without_noise_say_so_soon(family):
    x = inputs()[0]
    eta = np.where(np.random.default_rng(5).random(300) < 0.5, 1 + 0.5 * x[:, 1], -0.5 - 0.5 * x[:, 2])
    y = expit(eta) if family == "beta" else np.exp(eta)
    y = np.c_[y, np.ones(300)] if family == "weibull" else y
    begin = time.process_time()
    with pytest.warns(UnsoundWarning, match="the law has no noise: an expert fits its observations exactly"):
        model = MixtureOfExpertsRegressor(2, "constant", family=family, n_init=5, random_state=0).fit(x, y)
    assert time.process_time() - begin < 20
    assert set(model.fit_.certificate.floor) == {f"family.{OWN[family]}[{leaf},0]" for leaf in (0, 1)}
    np.testing.assert_allclose(np.sort(model.coef_.reshape(2, 3)[:, 1]), [0, 0.5], atol=1e-3)


def test_times_of_nearly_no_noise_are_fitted():
    x = inputs()[0]
    rng = np.random.default_rng(5)
    first = rng.random(300) < 0.5
    eta = np.where(first, 1 + 0.5 * x[:, 1], -0.5 - 0.5 * x[:, 2])
    y = np.c_[np.exp(eta) * rng.weibull(500, 300), np.ones(300)]
    model = MixtureOfExpertsRegressor(2, "constant", family="weibull", n_init=5, random_state=0).fit(x, y)
    alone = 0.0
    for side in (first, ~first):
        one = MixtureOfExpertsRegressor(1, family="weibull", n_init=1).fit(x[side], y[side])
        alone += one.log_likelihood_ + side.sum() * np.log(side.mean())
    assert model.status_ == "converged"
    assert model.log_likelihood_ == pytest.approx(alone, abs=1.0)  # hardly a row is in doubt
    np.testing.assert_allclose(model.shape_, 500, rtol=0.3)


def test_a_bound_below_the_end_of_the_range_is_a_bound():
    x = inputs()[0]
    with pytest.warns(BoundWarning, match="at-bound"):
        model = MixtureOfExpertsRegressor(1, family="gamma", n_init=1, bounds={"family.shape": (1.0, 50.0)}).fit(
            x, np.exp(x[:, 0])
        )
    assert model.fit_.certificate.active == (SHAPE,)


def test_all_probabilities_of_classes_are_those_of_the_family():
    """Predictions are those of all classes but the first; the family gives all."""
    x, y, model = fitted("categorical")
    measure, mixture = model.measure_, model.mixture_
    at = leaves_at(mixture, measure, *[torch.from_numpy(x.T.copy())] * 2)
    each = mixture.family.probabilities(at.eta)
    found = mixed(at.weights, each)
    np.testing.assert_allclose(found[1:].T.numpy(), model.predict(x), rtol=1e-12)
    np.testing.assert_allclose(found.sum(0).numpy(), 1.0, rtol=1e-12)
    mean_log = float(torch.log((found * torch.from_numpy(y.T.copy())).sum(0)).sum())
    assert mean_log == pytest.approx(model.log_likelihood_)


def test_planning_asks_for_responses_that_can_be_drawn():
    x, _, model = fitted("weibull")
    with pytest.raises(ValueError, match=r"the time of censoring of Weibull\(\) differs by row, .* that you simulate"):
        sample_size(model, {"family.shape": 0.1}, X=x)


def test_latent_classes_of_several_items():
    """Items of 0 and 1 are independent given the class: several columns of a binomial family, constant gates."""
    r = np.random.default_rng(0)
    member = r.random(800) < 0.4
    chance = np.where(member[:, None], [0.9, 0.8, 0.85, 0.2], [0.2, 0.1, 0.3, 0.8])
    y = (r.random((800, 4)) < chance).astype(float)
    model = MixtureOfExpertsRegressor(2, gate="constant", expert="constant", family="binomial", random_state=0)
    model.fit(np.zeros((800, 1)), y)
    assert model.status_ == "converged"
    found = expit(model.intercept_)
    found = found[np.argsort(found[:, 3])]
    np.testing.assert_allclose(found, [[0.9, 0.8, 0.85, 0.2], [0.2, 0.1, 0.3, 0.8]], atol=0.08)
