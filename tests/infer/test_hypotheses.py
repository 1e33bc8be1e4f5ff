"""Tests of linear hypotheses: against regression, between experts, and what cannot be tested."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from gatewise import MixtureOfExpertsRegressor
from gatewise.infer.covariance.point import locate
from gatewise.infer.profile.likelihood import _natural


@pytest.fixture(scope="module")
def line():
    rng = np.random.default_rng(3)
    x = pd.DataFrame(rng.normal(size=(150, 3)), columns=["Temp", "np.log(wind)", "C(site)[T.b]"])
    y = x.to_numpy() @ [1.0, 0.8, 0.1] + rng.normal(size=150)
    return MixtureOfExpertsRegressor(1, n_init=1).fit(x, y), x, y


@pytest.fixture(scope="module")
def two():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(500, 3))
    first = rng.random(500) < 1 / (1 + np.exp(-x[:, 2]))
    y = np.where(first, 2 + x @ [1.0, 0.5, 0.0], -2 + x @ [1.0, -0.5, 0.0]) + 0.5 * rng.normal(size=500)
    return MixtureOfExpertsRegressor(2, n_init=5, random_state=0).fit(x, y), x, y


def test_one_expert_has_the_tests_of_regression(line):
    model, x, y = line
    found = model.inference(x, y)
    other = sm.OLS(y, sm.add_constant(x.to_numpy())).fit()
    scale = (150 - 4) / 150  # maximum likelihood divides by n
    for text, matrix in (
        ("Temp[0] = np.log(wind)[0]", [[0, 1, -1, 0]]),
        ("Temp[expert 0] = 1, C(site)[T.b][0] = 0", ([[0, 1, 0, 0], [0, 0, 0, 1]], [1, 0])),
        ("2 * Temp[0] - np.log(wind)[0] / 4 = 1.5", ([[0, 2, -0.25, 0]], [1.5])),
        ("intercept[0] = 0", [[1, 0, 0, 0]]),
    ):
        wanted = other.wald_test(matrix, use_f=False, scalar=True).statistic / scale
        assert found.test(text).statistic == pytest.approx(wanted, rel=1e-6), text


def test_the_likelihood_ratio_is_that_of_the_smaller_regression(line):
    model, x, y = line
    found = model.inference(x, y).test("C(site)[T.b][0] = 0", kind="lr")
    both = [sm.OLS(y, sm.add_constant(part)).fit().llf for part in (x.to_numpy()[:, :2], x.to_numpy())]
    assert found.statistic == pytest.approx(2 * (both[1] - both[0]), rel=1e-6)
    assert found.df == 1


def test_equal_slopes_of_two_experts_are_tied_and_different_ones_rejected(two):
    model, x, y = two
    found = model.inference(x, y)
    equal, unequal = found.test("x0[0] = x0[1]"), found.test("x1[0] = x1[1]")
    assert equal.p_value > 0.01
    assert unequal.p_value < 1e-10
    again = MixtureOfExpertsRegressor(2, shared="x0", n_init=5, random_state=0).fit(x, y)
    ratio = found.test("x0[0] = x0[1]", kind="lr")
    assert ratio.statistic == pytest.approx(2 * (model.log_likelihood_ - again.log_likelihood_), abs=1e-5)
    assert ratio.df == 1
    assert ratio.statistic == pytest.approx(equal.statistic, rel=0.2)


def test_gates_and_scales_have_names(two):
    model, x, y = two
    found = model.inference(x, y)
    assert found.test("gate weight x2[branch 0] = 0").p_value < 1e-6
    short, long = found.test("gate weight x2[0] = 0"), found.test("gate weight x2[branch 0] = 0")
    assert short == long._replace(hypothesis=short.hypothesis)
    assert found.test("scale[0] = scale[1]").df == 1
    assert found.test("gates.0.weight[0,2] = 0").statistic == found.test("gate weight x2[0] = 0").statistic


def test_repeated_restrictions_count_once(two):
    model, x, y = two
    found = model.inference(x, y)
    assert found.test("x0[0] = x0[1], x0[1] = x0[0]").df == 1
    assert found.test("x0[0] = x0[1] = 1").df == 2


def test_tables_have_the_names_of_the_summary(two):
    model, x, y = two
    found = model.inference(x, y)
    table, matrix = found.confint(0.9), found.vcov()
    assert table.index.tolist() == matrix.index.tolist() == matrix.columns.tolist()
    assert len(table) == model.fit_.df
    assert {"x0[expert 0]", "intercept[expert 1]", "scale[expert 1]", "gate weight x2[branch 0]"} <= set(table.index)
    np.testing.assert_allclose(table["std. error"], np.sqrt(np.diag(matrix)), rtol=1e-12)
    np.testing.assert_array_equal(table.loc["x0[expert 1]", "estimate"], model.coef_[1, 0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x9[0] = 0", "'x9\\[0\\]' is no parameter: names are such as"),
        ("x0[0]", "has no equation"),
        ("x0[0] * x0[1] = 1", "no linear hypothesis"),
        ("x0[0] = ", "cannot be read"),
        ("x0[0] = 1, x0[0] = 2", "contradict each other"),
        ("1 = 1", "without parameters"),
        ("__import__('os').system('true') = 0", "no sum of parameters"),
        ("gate weight x0[1] = 0", "without parameters that are estimated"),
    ],
)
def test_what_is_no_hypothesis_is_refused(two, text, words):
    model, x, y = two
    with pytest.raises(ValueError, match=words):
        model.inference(x, y).test(text)


def test_a_ratio_needs_equal_parameters_or_values(two):
    model, x, y = two
    with pytest.raises(ValueError, match="use kind='wald'"):
        model.inference(x, y).test("2 * x0[0] = x0[1]", kind="lr")
    with pytest.raises(ValueError, match="choose one of wald, lr"):
        model.inference(x, y).test("x0[0] = 0", kind="score")


@pytest.fixture(scope="module")
def places():
    """Inputs far from zero, in other units each, whose gate compares distances from two places."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(400, 3))
    near, far = (np.linalg.norm(z - place, axis=1) for place in ([1.5, 0, 0], [-1.5, 0.5, 0]))
    first = rng.random(400) < 1 / (1 + np.exp(near - far))
    y = np.where(first, 103 + z[:, 0] - 0.3 * z[:, 1], 97 + 0.4 * z[:, 2]) + 0.5 * rng.normal(size=400)
    return z * [1.0, 2.0, 0.5] + [5.0, -3.0, 1.0], y


@pytest.mark.parametrize(
    ("gate", "names"),
    [
        ("laplace", ["gate center x0[0]", "gate center x2[1]", "gate bias[0]", "intercept[1]", "scale[0]"]),
        ("quadratic", ["gate weight x0[0]", "gate quadratic x2^2[0]", "x1[0]"]),
    ],
)
@pytest.mark.parametrize("standardize", [True, False])
def test_a_profile_ends_where_the_likelihood_ratio_says(places, gate, names, standardize):
    x, y = places
    options = {"gate": gate, "standardize": standardize, "n_init": 3, "random_state": 0}
    found = MixtureOfExpertsRegressor(2, **options).fit(x, y).inference(x, y)
    for name in names:
        interval = found.profile(name)
        assert interval.lower < interval.estimate < interval.upper
        for end in (interval.lower, interval.upper):
            assert found.test(f"{name} = {end!r}", kind="lr").statistic == pytest.approx(
                stats.chi2.ppf(0.95, 1), abs=1e-4
            )


def test_profiles_of_places_move_with_the_inputs(places):
    x, y = places
    options = {"gate": "laplace", "n_init": 3, "random_state": 0}
    here, there = (
        MixtureOfExpertsRegressor(2, **options).fit(one, y).inference(one, y).profile("gate center x1[1]")
        for one in (x, 10 * x - 40)
    )
    for end in ("estimate", "lower", "upper"):
        assert getattr(there, end) == pytest.approx(10 * getattr(here, end) - 40, rel=1e-5)


def test_a_false_hypothesis_costs_the_degrees_of_freedom_of_its_restrictions(places):
    """Gates with one place in common along the only direction in which they differ leave the others open."""
    x, y = places
    model = MixtureOfExpertsRegressor(2, gate="laplace", n_init=3, random_state=0).fit(x, y)
    found = model.inference(x, y).test("gate center x0[0] = gate center x0[1]", kind="lr")
    assert found.df == 1
    assert found.p_value == pytest.approx(stats.chi2.sf(found.statistic, 1))


def test_an_end_that_is_not_found_is_no_number(places):
    x, y = places
    model = MixtureOfExpertsRegressor(2, gate="laplace", n_init=3, random_state=0).fit(x, y)
    found = model.inference(x, y)
    point = locate(model.fit_, found.rows)
    entries = {kind: int((point.parameterization.kind == kind).nonzero()[0]) for kind in (0, 1)}
    for entry in entries.values():
        assert np.isnan(_natural(point, entry, 1.0, np.nan, np.nan))
    assert _natural(point, entries[1], 1.0, 800.0, 800.0) == np.inf
