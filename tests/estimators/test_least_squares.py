"""method="ls": a mean for any gate, with the certificate and without a law."""

import numpy as np
import pytest
import statsmodels.api as sm

from gatewise import MixtureOfExpertsRegressor, load_model, save_model
from gatewise.estimators.warnings import (
    BoundWarning,
    CollinearWarning,
    StartsDisagreeWarning,
    UnidentifiedWarning,
    alert,
)
from gatewise.report.facts import facts


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (400, 2))
    left = 1 / (1 + np.exp(-2 * x[:, 0]))
    y = left * np.tanh(x[:, 1] + 0.5) + (1 - left) * np.tanh(2 * x[:, 0] - 1) + 0.05 * rng.normal(size=400)
    return x, y


@pytest.fixture(scope="module")
def fitted(table):
    return MixtureOfExpertsRegressor(2, gate="sigmoid", expert="tanh", method="ls", random_state=0).fit(*table)


def test_the_mean_is_the_sum_of_weighted_experts(table, fitted):
    x, y = table
    weights = fitted.gate_proba(x)
    assert fitted.converged_
    assert fitted.sse_ == pytest.approx(((y - fitted.predict(x)) ** 2).sum(), rel=1e-10)
    assert fitted.score(x, y) > 0.95
    assert weights.shape == (400, 2)
    assert not np.allclose(weights.sum(1), 1)  # the sigmoid gate is not a distribution


def test_what_needs_a_law_is_refused_in_words(table, fitted):
    x, y = table
    softmax = MixtureOfExpertsRegressor(2, expert="tanh", method="ls", n_init=3, random_state=0).fit(x, y)
    for model in (fitted, softmax):
        for call in (model.sample, model.predict_interval):
            with pytest.raises((TypeError, ValueError), match=r"likelihood|density"):
                call(x[:3])
        with pytest.raises((TypeError, ValueError), match=r"likelihood|density"):
            model.score_samples(x, y)
    assert np.isnan(softmax.icl())


def test_a_saved_model_predicts_the_same(table, fitted, tmp_path):
    save_model(fitted, tmp_path / "model.json")
    again = load_model(tmp_path / "model.json")
    np.testing.assert_array_equal(again.predict(table[0]), fitted.predict(table[0]))
    assert again.sse_ == fitted.sse_
    assert again.summary() == fitted.summary()


def test_the_summary_tells_the_sum_of_squares_and_what_theory_says(fitted):
    text = fitted.summary()
    assert "sum of squared residuals" in text
    assert "Theory: estimates converge at n^-1/2 if every expert is needed" in text
    assert "Theory: Weakly identifiable" in fitted.summary(theory=True)
    assert "ICL" not in text


def test_errors_are_kept_shown_and_given_again(table, fitted):
    x, y = table
    found, text = fitted.inference(x, y), fitted.summary()
    variance = fitted.sse_ / (400 - fitted.fit_.certificate.rank)
    assert found.information.variance == pytest.approx(variance, rel=1e-12)
    for path, error in found.standard_errors().items():
        np.testing.assert_array_equal(error, fitted.standard_errors_[path])
    assert f"residual variance {variance:.6g} times the inverse Hessian" in " ".join(text.split())
    low, high = found.mean_interval(x[:9]).T
    assert ((low < fitted.predict(x[:9])) & (fitted.predict(x[:9]) < high)).all()
    low, high = np.moveaxis(found.gate_interval(x[:9]), -1, 0)
    assert ((low < fitted.gate_proba(x[:9])) & (fitted.gate_proba(x[:9]) < high)).all()
    profile = found.profile("gates.0.weight[0,0]")
    assert profile.lower < profile.estimate < profile.upper


def test_one_expert_has_the_errors_of_ordinary_least_squares(table):
    x, y = table
    model = MixtureOfExpertsRegressor(1, method="ls", n_init=1, random_state=0).fit(x, y)
    ols = sm.OLS(y, sm.add_constant(x))
    np.testing.assert_allclose(model.standard_errors_["experts.coef"].ravel(), ols.fit().bse[1:], rtol=1e-6)
    robust = model.inference(x, y, kind="sandwich", clusters=np.arange(400) // 8).standard_errors()
    arguments = {"groups": np.arange(400) // 8, "use_correction": False}
    expected = np.sqrt(50 / 49) * ols.fit(cov_type="cluster", cov_kwds=arguments).bse
    np.testing.assert_allclose(robust["experts.coef"].ravel(), expected[1:], rtol=1e-6)


def test_words_are_of_the_sum_of_squares_and_no_branch_is_a_reference_without_need(table, fitted):
    x, y = table
    assert "last branch is the reference" not in fitted.summary()
    with pytest.warns(UnidentifiedWarning, match="leaves the sum of squares unchanged") as heard:
        flat = MixtureOfExpertsRegressor(2, gate="constant", method="ls", n_init=5, random_state=0).fit(x, y)
    texts = [str(one.message) for one in heard] + [flat.summary(), facts(flat)["status_in_words"]]
    texts = [text.replace("log-likelihood of Gaussian residuals", "") for text in texts]
    assert not any("likelihood" in text.split("Status")[-1] for text in texts), texts
    assert "last branch is the reference" in flat.summary()
    assert "the sum of squares does not change along" in flat.standard_errors_reason_
    with pytest.warns(BoundWarning, match="a wider bound would give a lower sum of squares"):
        MixtureOfExpertsRegressor(1, method="ls", n_init=1, bounds={"experts.coef": (0.0, 0.1)}).fit(x, y)


def test_starts_that_disagree_are_said_to_have_reached_a_sum_of_squares(fitted):
    lonely = fitted.fit_._replace(starts=fitted.fit_.starts._replace(hits=1, gap=2.5))
    words = r"reached the least sum of squares \(the next is 2.5 below in the log-likelihood of Gaussian residuals\)"
    with pytest.warns(StartsDisagreeWarning, match=words):
        alert(lonely, str, [], [], 1)


@pytest.mark.parametrize("method", ["ls", "ml"])
def test_constant_columns_alone_leave_a_fit_with_an_intercept(method):
    y = np.random.default_rng(0).normal(size=60)
    with pytest.warns(CollinearWarning):
        model = MixtureOfExpertsRegressor(1, method=method).fit(np.ones((60, 2)), y)
    assert float(model.predict(np.ones((1, 2)))[0]) == pytest.approx(float(y.mean()))
    assert model.status_ == "converged"
