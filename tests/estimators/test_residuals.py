"""Residuals: standard normal under the model for every family; of one expert those of statsmodels."""

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from gatewise import Binomial, FitWarning, MixtureOfExpertsRegressor, OrderedLogit, moe

N = 1500
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, 3))
FIRST = RNG.random(N) < 1 / (1 + np.exp(-X[:, 0]))
ETA = np.where(FIRST, 1.5 + 0.3 * X[:, 1], -0.5 - 0.3 * X[:, 2])
TIME = np.exp(ETA) * RNG.weibull(2.0, N)
END = RNG.uniform(0, 8, N)
RESPONSES = {
    "gaussian": ETA + 0.3 * RNG.normal(size=N),
    "student-t": ETA + 0.3 * RNG.standard_t(5, size=N),
    "poisson": RNG.poisson(np.exp(ETA)),
    "negative-binomial": RNG.poisson(np.exp(ETA) * RNG.gamma(4, 0.25, N)),
    "binomial": (RNG.random(N) < 1 / (1 + np.exp(-ETA))).astype(float),
    "gamma": np.exp(ETA) * RNG.gamma(5, 0.2, N),
    "inverse-gaussian": RNG.wald(np.exp(ETA), 5.0),
    "log-normal": np.exp(ETA + 0.3 * RNG.normal(size=N)),
    "beta": RNG.beta(9 / (1 + np.exp(-ETA)), 9 / (1 + np.exp(ETA))),
    "weibull": np.column_stack([np.minimum(TIME, END), TIME <= END]).astype(float),
    "ordered": np.searchsorted([0.0, 1.0, 2.0], ETA + RNG.logistic(size=N)).astype(float),
}


def fitted(x, y, *args, fit=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return MixtureOfExpertsRegressor(*args, **{"n_init": 3, "random_state": 0, **options}).fit(x, y, **(fit or {}))


@pytest.mark.parametrize("family", RESPONSES)
def test_quantile_residuals_are_standard_normal(family):
    law = OrderedLogit(levels=4) if family == "ordered" else family
    model = fitted(X, RESPONSES[family], 2, family=law)
    found = model.residuals(X, RESPONSES[family])
    assert found.shape == model.predict(X).shape
    found = found.reshape(-1)  # y of times and events has two columns, and one mean
    assert stats.kstest(found, "norm").pvalue > 0.01
    if family not in ("negative-binomial", "binomial", "ordered", "beta"):  # a model that is wrong shows
        wrong = fitted(X[:, :1] ** 2, RESPONSES[family], 1, family=law)
        assert stats.kstest(wrong.residuals(X[:, :1] ** 2, RESPONSES[family]).reshape(-1), "norm").pvalue < 1e-3


def test_of_one_gaussian_they_are_the_same_up_to_the_scale():
    y = RESPONSES["gaussian"]
    model = fitted(X, y, 1)
    response = model.residuals(X, y, "response")
    np.testing.assert_allclose(response, y - model.predict(X), atol=1e-12)
    for kind in ("pearson", "quantile"):
        np.testing.assert_allclose(model.residuals(X, y, kind), response / model.scale_[0], rtol=1e-7, atol=1e-9)
    ls = fitted(X, y, 1, method="ls")
    expected = sm.OLS(y, sm.add_constant(X)).fit().resid_pearson
    np.testing.assert_allclose(ls.residuals(X, y, "pearson"), expected, rtol=1e-7)
    with pytest.raises(ValueError, match="kind='pearson'"):
        ls.residuals(X, y)


def test_pearson_residuals_of_one_expert_are_those_of_statsmodels():
    trials = RNG.integers(3, 12, N)
    hits = RNG.binomial(trials, 1 / (1 + np.exp(-ETA)))
    glm = sm.GLM(np.column_stack([hits, trials - hits]), sm.add_constant(X), sm.families.Binomial()).fit()
    for y, fit in ((hits, {"trials": trials}), (np.column_stack([hits, trials - hits]), None)):
        options = {} if fit else {"family": Binomial(trials=None)}
        model = fitted(X, y, 1, **{"family": "binomial", **options}, fit=fit)
        found = model.residuals(X, y, "pearson", **(fit or {}))
        np.testing.assert_allclose(found.reshape(-1), glm.resid_pearson, rtol=1e-6, atol=1e-8)
        quantile = model.residuals(X, y, **(fit or {})).reshape(-1)
        p = glm.predict()
        below, above = stats.binom.cdf(hits - 1, trials, p), stats.binom.cdf(hits, trials, p)
        assert ((stats.norm.cdf(quantile) >= below - 1e-9) & (stats.norm.cdf(quantile) <= above + 1e-9)).all()
    counts = RESPONSES["poisson"]
    glm = sm.GLM(counts, sm.add_constant(X), sm.families.Poisson(), offset=0.1 * X[:, 0]).fit()
    model = fitted(X, counts, 1, family="poisson", fit={"offset": 0.1 * X[:, 0]})
    found = model.residuals(X, counts, "pearson", offset=0.1 * X[:, 0])
    np.testing.assert_allclose(found, glm.resid_pearson, rtol=1e-6, atol=1e-8)


def test_pearson_residuals_of_a_mixture_have_its_variance():
    y = RESPONSES["poisson"]
    model = fitted(X, y, 2, family="poisson")
    draws = np.stack([model.sample(X[:5], random_state=i) for i in range(8000)])
    sd = (y - model.predict(X))[:5] / model.residuals(X, y, "pearson")[:5]
    np.testing.assert_allclose(sd, draws.std(0), rtol=0.06)


def test_censored_times_have_randomised_residuals_only():
    y = RESPONSES["weibull"]
    model = fitted(X, y, 2, family="weibull")
    censored = y[:, 1] == 0
    found = [model.residuals(X, y, random_state=seed)[:, 0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0][censored] != found[2][censored]).all()
    np.testing.assert_array_equal(found[0][~censored], found[2][~censored])
    assert (np.isnan(model.residuals(X, y, "response")[:, 0]) == censored).all()
    assert (np.isnan(model.residuals(X, y, "pearson")[:, 0]) == censored).all()


def with_noise(q, seed):
    """Return inputs, a mixture of two lines, and one row of twenty anywhere between -40 and 40."""
    rng = np.random.default_rng(seed)
    x, first = rng.normal(size=(400, 3)), rng.random(400) < 0.5
    y = np.where(first, 4 + x[:, 0], -4 - x[:, 1])[:, None] + 0.5 * rng.normal(size=(400, q))
    noise = rng.random(400) < 0.05
    y[noise] = rng.uniform(-40, 40, (int(noise.sum()), q))
    return x, y if q > 1 else y[:, 0]


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_the_ends_of_noise_are_no_outliers(q, seed):
    x, y = with_noise(q, seed)
    model = fitted(x, y, 2, gate="constant", noise=True)
    found, y = model.residuals(x, y).reshape(400, q), y.reshape(400, q)
    assert (found[y.argmin(0), range(q)] < -2).all()
    assert (found[y.argmax(0), range(q)] > 2).all()
    assert (np.abs(found) < 4.5).all()
    assert all(stats.kstest(found[:, j], "norm").pvalue > 0.01 for j in range(q))


def test_residuals_beside_noise_are_those_of_its_unbiased_ends():
    x, y = with_noise(1, 0)
    model = fitted(x, y, 2, gate="constant", noise=True)
    count = model._shares.totals[-1].item()
    step = (y.max() - y.min()) / (count - 1)
    weights = model.gate_proba(x[:1])[0]
    means = x @ model.coef_.T + model.intercept_
    two = stats.norm.cdf((y[:, None] - means[:, :2]) / model.scale_[:2])
    place = (y - y.min() + step) / (y.max() - y.min() + 2 * step)
    expected = stats.norm.ppf(two @ weights[:2] + weights[2] * place)
    np.testing.assert_allclose(model.residuals(x, y), expected, atol=1e-8)
    far = np.where(np.arange(400) < 200, 1e3, -1e3)  # which neither an expert nor noise could give
    np.testing.assert_allclose(np.abs(model.residuals(x, far)), 8.2095, atol=1e-3)
    np.testing.assert_allclose(model.relabel("intercept").residuals(x, y), expected, atol=1e-8)


def test_zeros_noise_several_responses_groups_and_formulas():
    zeros = np.where(RNG.random(N) < 0.3, 0, RESPONSES["poisson"])
    inflated = fitted(X, zeros, 2, family="poisson", zero_inflated=True)
    assert stats.kstest(inflated.residuals(X, zeros), "norm").pvalue > 0.01
    both = np.column_stack([RESPONSES["gaussian"], 1 + RESPONSES["gaussian"] + RNG.normal(size=N)])
    full = fitted(X, both, 2, covariance="full")
    found = full.residuals(X, both)
    assert found.shape == (N, 2)
    assert all(stats.kstest(found[:, j], "norm").pvalue > 0.01 for j in range(2))
    frame = pd.DataFrame(X, columns=list("abc")).assign(y=RESPONSES["poisson"], id=RNG.permutation(N) // 3)
    frame.loc[3, "a"] = np.nan
    model = moe("y ~ a + b", frame, groups="id", gate="constant", family="poisson", n_init=3, random_state=0)
    kept = frame.dropna()
    response = model.residuals(kind="response")
    np.testing.assert_allclose(response, kept["y"] - model.predict(kept), atol=1e-10)
    np.testing.assert_array_equal(model.residuals(kept, kind="response"), response)


def test_what_has_no_order_is_refused():
    y = np.eye(3)[RNG.integers(0, 3, N)]
    model = fitted(X, y, 1, family="categorical")
    assert model.residuals(X, y, "pearson").shape == (N, 2)
    with pytest.raises(ValueError, match="without an order"):
        model.residuals(X, y)
    with pytest.raises(ValueError, match="kind='deviance' is unknown"):
        model.residuals(X, y, "deviance")


def test_they_do_not_depend_on_the_numbers_that_the_data_were_drawn_from():
    rng = np.random.default_rng(0)  # as the random_state of the fit
    zero = rng.random(N) < 0.3
    y = np.where(zero, 0, np.random.default_rng(9).poisson(np.exp(X @ [0.4, -0.3, 0.2])))
    model = fitted(X, y, 1, gate="constant", family="poisson", zero_inflated=True)
    assert stats.kstest(model.residuals(X, y), "norm").pvalue > 0.01
