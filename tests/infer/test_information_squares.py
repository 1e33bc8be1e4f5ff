"""Errors after least squares: against statsmodels, numeric derivatives and repeated samples; every refusal."""

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from scipy import optimize, stats
from statsmodels.tools.numdiff import approx_fprime, approx_hess

from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture, leaf_weights, regression
from gatewise.fit import least_squares
from gatewise.fit.least_squares import mean_of
from gatewise.fit.spec import FitSpec
from gatewise.infer.bands import gate_band, mean_band
from gatewise.infer.covariance.information import information, standard_errors
from gatewise.infer.delta import delta
from gatewise.infer.intervals import wald
from gatewise.infer.profile.likelihood import profile
from gatewise.objective.columns import columns
from gatewise.objective.parameterization import make_parameterization
from gatewise.objective.rows import make_rows
from gatewise.testing import draw_measure, generator

ONE = Mixture((GATES["constant"],), (1,))
STEP = Mixture((GATES["sigmoid"],), (1,), EXPERTS["constant"])
TWO = Mixture((GATES["softmax"],), (2,))


def tensor(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.fixture(scope="module")
def line():
    """One line, 80 rows of two inputs with unequal noise, in 20 clusters that share an effect."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(80, 2))
    cluster = np.repeat(np.arange(20), 4)
    noise = (0.3 + np.abs(x[:, 0])) * rng.normal(size=80) + 0.5 * rng.normal(size=20)[cluster]
    return x, 100 + 7 * (x @ [0.5, -2.0] + noise), cluster


@pytest.fixture(scope="module")
def step():
    """A sigmoid of one input, 200 rows with noise that grows, fitted."""
    rng = np.random.default_rng(5)
    x = rng.uniform(-3, 5, size=200)
    y = 20 / (1 + np.exp(-(0.8 * x - 0.4))) + (0.5 + 0.3 * np.abs(x)) * rng.normal(size=200)
    rows = make_rows(x[:, None], y[:, None])
    return x, y, rows, least_squares(STEP, rows, starts=5)


def ordered(errors):
    """Return errors of ONE in the order of statsmodels: constant, slopes."""
    return np.concatenate([errors["experts.intercept"].ravel(), errors["experts.coef"].ravel()])


def test_one_linear_expert_has_the_errors_of_statsmodels(line):
    x, y, cluster = line
    rows = make_rows(x, y[:, None])
    fit = least_squares(ONE, rows, starts=1)
    model = sm.OLS(y, sm.add_constant(x))
    plain, robust = information(fit, rows), information(fit, rows, "sandwich")
    np.testing.assert_allclose(ordered(standard_errors(plain)), model.fit().bse, rtol=1e-6)
    np.testing.assert_allclose(plain.variance, model.fit().mse_resid, rtol=1e-8)  # df: n - rank
    np.testing.assert_allclose(ordered(standard_errors(robust)), model.fit(cov_type="HC0").bse, rtol=1e-6)
    clustered = information(fit, rows, "sandwich", torch.from_numpy(cluster))
    arguments = {"groups": cluster, "use_correction": False}
    expected = model.fit(cov_type="cluster", cov_kwds=arguments).bse * np.sqrt(20 / 19)
    np.testing.assert_allclose(ordered(standard_errors(clustered)), expected, rtol=1e-6)
    mean = model.fit().get_prediction(sm.add_constant(x)).se_mean
    np.testing.assert_allclose(mean_band(plain, columns(x)).error[0], mean, rtol=1e-6)


def test_weights_count_rows_and_outputs_share_one_variance(line):
    x, y, _ = line
    weight = 1 + np.arange(80) % 3
    weighed = make_rows(x, y[:, None], weight=tensor(weight.astype(float)))
    found = information(least_squares(ONE, weighed, starts=1), weighed)
    expected = sm.OLS(np.repeat(y, weight), sm.add_constant(np.repeat(x, weight, axis=0))).fit()
    np.testing.assert_allclose(ordered(standard_errors(found)), expected.bse, rtol=1e-6)
    robust = information(least_squares(ONE, weighed, starts=1), weighed, "sandwich")
    sampled = sm.WLS(y, sm.add_constant(x), weights=weight).fit(cov_type="HC0")  # sampling weights
    np.testing.assert_allclose(ordered(standard_errors(robust)), sampled.bse, rtol=1e-6)
    both = np.column_stack([y, 3 * np.sin(y) + x[:, 0]])
    rows = make_rows(x, both)
    fit = least_squares(ONE, rows, starts=1)
    stacked = sm.OLS(both.T.ravel(), np.kron(np.eye(2), sm.add_constant(x)))
    errors = standard_errors(information(fit, rows))
    found = np.column_stack([errors["experts.intercept"][0], errors["experts.coef"][0]]).ravel()
    np.testing.assert_allclose(found, stacked.fit().bse, rtol=1e-6)
    errors = standard_errors(information(fit, rows, "sandwich"))
    found = np.column_stack([errors["experts.intercept"][0], errors["experts.coef"][0]]).ravel()
    arguments = {"groups": np.tile(np.arange(80), 2), "use_correction": False}
    np.testing.assert_allclose(found, stacked.fit(cov_type="cluster", cov_kwds=arguments).bse, rtol=1e-6)


def logistic(theta, x):
    weight, bias, height = theta
    return height / (1 + np.exp(-(weight * x + bias)))


def test_a_sigmoid_gate_has_the_errors_of_numeric_derivatives(step):
    x, y, rows, fit = step
    start = [float(fit.measure.paths()[path]) for path in ("gates.0.weight", "gates.0.bias", "experts.intercept")]
    theta, _ = optimize.curve_fit(lambda x, *theta: logistic(theta, x), x, y, start)
    np.testing.assert_allclose(start, theta, rtol=1e-5)
    bend = approx_hess(theta, lambda theta: 0.5 * ((y - logistic(theta, x)) ** 2).sum())
    slopes = approx_fprime(theta, lambda theta: logistic(theta, x), centered=True)
    residuals, inverse = y - logistic(theta, x), np.linalg.inv(bend)
    variance = (residuals**2).sum() / (200 - 3)
    scores = slopes * residuals[:, None]
    summed = np.add.reduceat(scores, np.arange(0, 200, 5))
    fives, at = torch.arange(200) // 5, tensor([[0.5, 2.0]])
    for found, covariance in (
        (information(fit, rows), variance * inverse),
        (information(fit, rows, "sandwich"), inverse @ scores.T @ scores @ inverse),
        (information(fit, rows, "sandwich", fives), 40 / 39 * inverse @ summed.T @ summed @ inverse),
    ):
        np.testing.assert_allclose(found.covariance, covariance, rtol=2e-4, atol=1e-7)
        error = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(wald(found).error, error, rtol=1e-4)
        gradient = approx_fprime(theta, lambda theta: logistic(theta, np.array([0.5, 2.0])), centered=True)
        expected = np.sqrt(np.diag(gradient @ covariance @ gradient.T))
        np.testing.assert_allclose(mean_band(found, columns(at.T)).error[0], expected, rtol=1e-4)
        curve = delta(found, lambda measure: regression(fit.mixture, measure, at, at)[0])
        np.testing.assert_allclose(curve.error, expected, rtol=1e-4)
        design = np.array([[0.5, 1.0], [2.0, 1.0]])  # a single unnormalised weight is the sigmoid of its score
        logit = design @ theta[:2]
        spread = 1.959964 * np.sqrt(np.diag(design @ covariance[:2, :2] @ design.T))
        band = gate_band(found, columns(at.T))
        np.testing.assert_allclose(band.lower[0], 1 / (1 + np.exp(spread - logit)), rtol=1e-5)
        np.testing.assert_allclose(band.upper[0], 1 / (1 + np.exp(-spread - logit)), rtol=1e-5)
    gauss_newton = np.sqrt(np.diag(variance * np.linalg.inv(slopes.T @ slopes)))
    assert np.abs(wald(information(fit, rows)).error.numpy() / gauss_newton - 1).max() > 1e-3  # the exact Hessian


CASES = {
    "softmax": TWO,
    "laplace": Mixture((GATES["laplace"],), (2,)),
    "sigmoid": Mixture((GATES["sigmoid"],), (2,), EXPERTS["gelu-unit"]),
    "quadratic": Mixture((GATES["quadratic"],), (2,), EXPERTS["constant"]),
    "tree": Mixture((GATES["softmax"], GATES["laplace"]), (2, 2), EXPERTS["constant"]),
}


@pytest.mark.parametrize("name", CASES)
def test_errors_of_curves_are_those_of_automatic_derivatives_in_the_units_of_the_data(name):
    mixture, rng = mean_of(CASES[name]), np.random.default_rng(2)
    parameterization = make_parameterization(mixture, 2, 2, 1)
    truth = draw_measure(mixture, 2, 2, 1, generator(4)).map(lambda value: 1.5 * value)
    x = rng.normal(size=(600, 2)) * [1.0, 1.5] + [0.3, 0.0]
    y = regression(mixture, truth, tensor(x.T), tensor(x.T)).numpy().T
    rows = make_rows(x, y + 0.05 * y.std() * rng.normal(size=y.shape))
    fit = least_squares(mixture, rows, starts=[truth])
    inputs, answer, near = rows.x.held, rows.y.held, rows.x.held[:, :6]

    def residuals(free):
        return (answer - regression(mixture, parameterization.measure(free), inputs, inputs))[0]

    def curves(measure):
        return torch.cat([regression(mixture, measure, near, near), leaf_weights(mixture, measure, near)]).flatten()

    at = parameterization.free(fit.measure)
    jacobian = torch.autograd.functional.jacobian
    bend = torch.autograd.functional.hessian(lambda free: 0.5 * (residuals(free) ** 2).sum(), at)
    scores = jacobian(residuals, at) * residuals(at)[:, None]
    slope, inverse = jacobian(lambda free: curves(parameterization.measure(free)), at), torch.linalg.inv(bend)
    variance = fit.sse / (600 - parameterization.size)
    for kind, covariance in (("observed", variance * inverse), ("sandwich", inverse @ scores.T @ scores @ inverse)):
        found = information(fit, rows, kind)
        assert found.refused is None, found.refused
        expected = (slope @ covariance @ slope.T).diagonal().sqrt()
        np.testing.assert_allclose(delta(found, curves).error, expected, rtol=1e-5)
        near_rows = columns(near.T)
        both = torch.cat([mean_band(found, near_rows).error, gate_band(found, near_rows).error])
        np.testing.assert_allclose(both.flatten(), expected, rtol=1e-5)


def test_a_profile_ends_where_the_sum_of_squares_has_risen_by_its_quantile(step, line):
    x, y, rows, fit = step
    found = profile(fit, rows, "gates.0.weight[0,0]", 0.9)
    variance = fit.sse / 197
    for end in (found.lower, found.upper):
        done = optimize.least_squares(lambda rest, end=end: y - logistic([end, *rest], x), [0.0, 20.0], xtol=1e-14)
        assert (2 * done.cost - fit.sse) / variance == pytest.approx(stats.chi2.ppf(0.9, 1), rel=1e-5)
    assert found.lower < found.estimate < found.upper
    rows = make_rows(line[0], line[1][:, None])
    fit = least_squares(ONE, rows, starts=1)
    found, intervals = profile(fit, rows, "experts.coef[0,0,1]"), wald(information(fit, rows))
    at = intervals.names.index("experts.coef[0,0,1]")
    assert (found.lower, found.upper) == pytest.approx((float(intervals.lower[at]), float(intervals.upper[at])))


def test_rows_of_a_group_are_not_independent_around_the_mean(line):
    x, y, cluster = line
    flat = np.zeros((80, 1))
    rows = make_rows(x, y[:, None], gate_x=flat, ends=torch.arange(4, 81, 4))
    fit = least_squares(ONE, rows, starts=1)
    grouped, plain = information(fit, rows, "sandwich"), information(fit, rows)
    model = sm.OLS(y, sm.add_constant(x))
    arguments = {"groups": cluster, "use_correction": False}
    expected = model.fit(cov_type="cluster", cov_kwds=arguments).bse
    np.testing.assert_allclose(ordered(standard_errors(grouped)), expected, rtol=1e-6)
    np.testing.assert_allclose(ordered(standard_errors(plain)), model.fit().bse, rtol=1e-6)
    assert not grouped.notes
    assert "rows of a group as independent" in plain.notes[0]


TRUTH = Measure(
    ({"weight": tensor([[2.0], [0.0]]), "bias": tensor([0.3, 0.0])},),
    {"coef": tensor([[[1.0]], [[-2.0]]]), "intercept": tensor([[1.0], [0.5]])},
    {},
)


@pytest.mark.parametrize("samples", [100, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("spread", [0.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_intervals_cover_the_truth_as_often_as_they_say(spread, samples):
    rng = np.random.default_rng(11)
    at = tensor([[-1.0, 0.5]])
    truth = torch.cat([TRUTH.experts["coef"].flatten(), regression(TWO, TRUTH, at, at)[0]])
    inside = {"observed": 0, "sandwich": 0}
    for _ in range(samples):
        x = rng.uniform(-2, 2, size=(300, 1))
        mean = regression(TWO, TRUTH, tensor(x.T), tensor(x.T))[0].numpy()
        noise = 0.15 * (1 + spread * (x[:, 0] ** 2 - 1)) * rng.normal(size=300)
        rows = make_rows(x, (mean + noise)[:, None])
        fit = least_squares(TWO, rows, starts=[TRUTH])
        for kind in inside:
            found = information(fit, rows, kind)
            if found.refused:  # counts as a miss
                continue
            intervals, band = wald(found), mean_band(found, columns(at.T))
            chosen = [i for i, name in enumerate(intervals.names) if name.startswith("experts.coef")]
            lower = torch.cat([intervals.lower[chosen], band.lower[0]])
            upper = torch.cat([intervals.upper[chosen], band.upper[0]])
            inside[kind] = inside[kind] + ((lower < truth) & (truth < upper)).long()
    low, high = stats.binom.interval(0.999, samples, 0.95)
    counts = {kind: count.tolist() for kind, count in inside.items()}
    if spread == 0:
        assert all(low <= count <= high for count in (*counts["observed"], *counts["sandwich"])), counts
    else:
        assert all(low <= count <= high for count in counts["sandwich"]), counts
        assert min(counts["observed"]) < low, counts  # one variance for all is wrong here


def test_refusals_speak_of_the_sum_of_squares(line, step):
    x, y, _ = line
    rows = make_rows(x, y[:, None])
    fit = least_squares(ONE, rows, starts=1)
    other = information(fit, make_rows(x, y[:, None] + x[:, :1]))
    assert "these rows have the sum of squares" in other.refused
    assert "log-likelihood" not in other.refused
    exact = make_rows(x, (1 + x @ [1.0, 2.0])[:, None])
    fit = least_squares(ONE, exact, starts=1)
    assert "residuals vanish" in information(fit, exact).refused
    assert "residuals vanish" in information(fit, exact, "sandwich").refused
    assert "residuals vanish" in profile(fit, exact, "experts.coef[0,0,0]").refused
    light = make_rows(x, y[:, None], weight=torch.full((80,), 1 / 80, dtype=torch.float64))
    fit = least_squares(ONE, light, starts=1)
    assert "no degrees of freedom" in information(fit, light).refused
    assert "no degrees of freedom" in profile(fit, light, "experts.coef[0,0,0]").refused
    robust = information(fit, light, "sandwich")  # sampling weights of any sum
    np.testing.assert_allclose(
        ordered(standard_errors(robust)), sm.OLS(y, sm.add_constant(x)).fit(cov_type="HC0").bse, rtol=1e-6
    )
    flat = Mixture((GATES["constant"],), (2,))
    fit = least_squares(flat, rows, starts=3)
    assert "the sum of squares does not change along" in information(fit, rows).refused
    bounded = {"experts.coef": (-1.0, 1.0)}
    fit = least_squares(ONE, rows, FitSpec(bounds=bounded), starts=1)
    words = information(fit, rows).refused
    assert "experts.coef" in words
    assert "lies on a bound" in words
    sharp = np.linspace(-1, 1, 80)[:, None]
    jump = make_rows(sharp, np.sign(sharp) + 0.01 * x[:, :1])
    fit = least_squares(Mixture((GATES["softmax"],), (2,), EXPERTS["constant"]), jump, starts=4)
    assert "the sum of squares falls without limit" in information(fit, jump).refused


def test_a_ridge_is_noted_and_weights_of_the_gate_sum_to_one(line):
    x, y, _ = line
    rows = make_rows(x, (y + 20 * np.maximum(x[:, 0], 0) ** 2)[:, None])
    fit = least_squares(TWO, rows, FitSpec(alpha=0.5), starts=4)
    found = information(fit, rows)
    assert found.refused is None, found.refused
    assert "penalised estimate" in found.notes[0]
    band = gate_band(found, columns(x))
    np.testing.assert_allclose(band.estimate, leaf_weights(fit.mixture, fit.measure, tensor(x.T)), rtol=1e-12)
    np.testing.assert_allclose(band.lower[0] + band.upper[1], 1.0, rtol=1e-12)
