"""What weights mean: frequencies, sampling weights with robust errors, relative weights."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from gatewise import MixtureOfExpertsRegressor, load_model, moe, save_model


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(9)
    x = rng.normal(size=(200, 3))
    w = rng.uniform(0.2, 40.0, 200)
    w[5] = 0.0
    return x, x @ [1.0, -0.5, 0.2] + rng.normal(size=200) * np.exp(0.3 * x[:, 0]), w


def fit(data, kind, scale=1.0):
    x, y, w = data
    return MixtureOfExpertsRegressor(1, n_init=1, weight_kind=kind).fit(x, y, sample_weight=scale * w)


def test_sampling_weights_have_robust_errors(data):
    x, y, w = data
    model = fit(data, "sampling")
    wanted = sm.WLS(y, sm.add_constant(x), weights=w).fit().get_robustcov_results("HC0")
    np.testing.assert_allclose(np.r_[model.intercept_, model.coef_[0]], wanted.params, rtol=1e-8)
    np.testing.assert_allclose(model.standard_errors_["experts.coef"][0, 0], wanted.bse[1:], rtol=1e-6)
    assert model.fit_.n == pytest.approx(199)
    assert "sandwich, for sampling weights" in model.summary()
    np.testing.assert_allclose(
        model.inference(x, y, w).standard_errors()["experts.coef"], model.standard_errors_["experts.coef"]
    )
    with pytest.raises(ValueError, match="use kind='wald'"):
        model.test("x0[0] = 0", x, y, kind="lr", sample_weight=w)


@pytest.mark.parametrize("kind", ["sampling", "importance"])
def test_their_unit_does_not_matter(data, kind):
    one, many = fit(data, kind), fit(data, kind, 1000.0)
    assert one.log_likelihood_ == pytest.approx(many.log_likelihood_, rel=1e-10)
    np.testing.assert_allclose(one.standard_errors_["experts.coef"], many.standard_errors_["experts.coef"], rtol=1e-8)


def test_importance_weights_are_frequencies_of_mean_one(data):
    x, y, w = data
    scaled = w * (199 / w.sum())
    same = MixtureOfExpertsRegressor(1, n_init=1).fit(x, y, sample_weight=scaled)
    model = fit(data, "importance")
    assert model.log_likelihood_ == pytest.approx(same.log_likelihood_)
    np.testing.assert_allclose(model.standard_errors_["experts.coef"], same.standard_errors_["experts.coef"])


def test_the_kind_travels(data, tmp_path):
    x, y, w = data
    model = fit(data, "sampling")
    save_model(model, tmp_path / "m.json")
    again = load_model(tmp_path / "m.json")
    assert again.weight_kind == "sampling"
    np.testing.assert_array_equal(again.inference(x, y, w).vcov(), model.inference(x, y, w).vcov())
    frame = pd.DataFrame(x, columns=list("abc")).assign(y=y, w=w)
    other = moe("y ~ a + b + c", frame, weights="w", weight_kind="sampling", n_experts=1, n_init=1)
    np.testing.assert_allclose(other.standard_errors_["experts.coef"], model.standard_errors_["experts.coef"])
    with pytest.raises(ValueError, match="weight_kind"):
        MixtureOfExpertsRegressor(weight_kind="pweight").fit(x, y)
