"""method="ls": a mean for any gate, with the certificate and without a law."""

import numpy as np
import pytest

from gatewise import MixtureOfExpertsRegressor, load_model, save_model


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
    assert "not in this release" in softmax.standard_errors_reason_


def test_a_saved_model_predicts_the_same(table, fitted, tmp_path):
    save_model(fitted, tmp_path / "model.json")
    again = load_model(tmp_path / "model.json")
    np.testing.assert_array_equal(again.predict(table[0]), fitted.predict(table[0]))
    assert again.sse_ == fitted.sse_
    assert again.summary() == fitted.summary()


def test_the_summary_tells_the_sum_of_squares_and_what_theory_says(fitted):
    text = fitted.summary()
    assert "sum of squared residuals" in text
    assert "Theory: Weakly identifiable" in text
    assert "ICL" not in text
