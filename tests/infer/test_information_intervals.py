"""Intervals: Wald on the scale of each parameter, the delta method, bands, and profiles against closed forms."""

from math import erfc, exp, inf, isnan, log, sqrt

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from gatewise.core.families import Poisson, StudentT
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, log_density, regression
from gatewise.fit import maximum_likelihood
from gatewise.fit.spec import FitSpec
from gatewise.infer.bands import gate_band, mean_band
from gatewise.infer.covariance.information import information, standard_errors
from gatewise.infer.delta import delta
from gatewise.infer.intervals import critical, ends, wald
from gatewise.infer.profile.likelihood import ProfileEnd, profile
from gatewise.objective.columns import columns
from gatewise.objective.entries import RECIPROCAL
from gatewise.objective.rows import make_rows

ONE = Mixture((GATES["constant"],), (1,))
TWO = Mixture((GATES["softmax"],), (2,))
CHI = stats.chi2.ppf(0.95, 1)


@pytest.fixture(scope="module")
def line():
    """One line: 40 rows of two inputs far from zero, fitted."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 2)) * [2.0, 0.5] + [30.0, -4.0]
    y = 1 + x @ [0.5, -2.0] + rng.normal(size=40)
    rows = make_rows(x, y[:, None])
    return x, y, rows, maximum_likelihood(ONE, rows, starts=1)


@pytest.fixture(scope="module")
def lines():
    """Two lines behind a softmax gate: 200 rows of one input, fitted."""
    rng = np.random.default_rng(4)
    x = rng.uniform(-2, 2, size=(200, 1))
    first = rng.random(200) < 1 / (1 + np.exp(-0.3 - 1.5 * x[:, 0]))
    y = np.where(first, 1 + 1.5 * x[:, 0], -1 - x[:, 0]) + np.where(first, 0.5, 0.7) * rng.normal(size=200)
    rows = make_rows(x, y[:, None])
    return x, y, rows, maximum_likelihood(TWO, rows, starts=5)


def test_wald_intervals_are_normal_and_those_of_scales_are_so_on_the_log_scale(lines):
    _, _, rows, fit = lines
    found = information(fit, rows)
    table = wald(found, 0.9)
    width = stats.norm.ppf(0.95)
    for i, name in enumerate(table.names):
        estimate, error = float(table.estimate[i]), float(table.error[i])
        lower, upper = float(table.lower[i]), float(table.upper[i])
        if name.startswith("family.scale"):
            ratio = exp(width * error / estimate)
            assert (lower, upper) == pytest.approx((estimate / ratio, estimate * ratio))
            assert isnan(table.z[i])
            assert isnan(table.p[i])
        else:
            assert (lower, upper) == pytest.approx((estimate - width * error, estimate + width * error))
        if name == "gates.0.weight[0,0]":
            assert float(table.z[i]) == pytest.approx(estimate / error)
            assert float(table.p[i]) == pytest.approx(erfc(abs(estimate / error) / sqrt(2)))
        if name == "gates.0.bias[1]":
            assert (error, lower, upper) == (0, 0, 0)
            assert isnan(table.z[i])
    assert table.level == 0.9


def test_degrees_of_freedom_have_the_interval_of_their_reciprocal():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1))
    rows = make_rows(x, (1 + x[:, 0] + rng.standard_t(4, 400))[:, None])
    found = information(maximum_likelihood(Mixture((GATES["constant"],), (1,), family=StudentT()), rows), rows)
    table = wald(found)
    at = found.index("family.dof[0,0]")
    dof, error = float(table.estimate[at]), float(table.error[at])
    low, high = 1 / dof - critical(0.95) * error / dof**2, 1 / dof + critical(0.95) * error / dof**2
    assert float(table.lower[at]) == pytest.approx(1 / high)
    assert float(table.upper[at]) == pytest.approx(1 / low if low > 0 else inf)
    lower, upper = ends(*(torch.tensor([v], dtype=torch.float64) for v in (8.0, 5.0)), torch.tensor([RECIPROCAL]), 2.0)
    assert float(lower) == pytest.approx(8 / 2.25)  # 1 / 8 + 2 * 5 / 64
    assert float(upper) == inf


def test_the_delta_method_is_the_gradient_through_the_covariance(line, lines):
    x, _, rows, fit = line
    design = np.c_[x, np.ones(40)]
    scale = float(fit.measure.family["scale"])
    covariance = scale**2 * np.linalg.inv(design.T @ design)
    found = information(fit, rows)
    at = torch.tensor([28.0, -3.0], dtype=torch.float64)
    mean = delta(found, lambda m: m.experts["coef"][0, 0] @ at + m.experts["intercept"][0, 0], 0.9)
    v = np.r_[at.numpy(), 1.0]
    error = np.sqrt(v @ covariance @ v)
    assert float(mean.error) == pytest.approx(error, rel=1e-6)
    assert float(mean.upper - mean.lower) == pytest.approx(2 * stats.norm.ppf(0.95) * error, rel=1e-6)
    ratio = delta(found, lambda m: torch.stack([m.experts["coef"][0, 0, 0] / m.experts["coef"][0, 0, 1], at[0]]))
    a, b = fit.measure.experts["coef"][0, 0].tolist()
    gradient = np.array([1 / b, -a / b**2, 0.0])
    assert ratio.error.tolist() == pytest.approx([np.sqrt(gradient @ covariance @ gradient), 0.0], rel=1e-6)
    _, _, rows, fit = lines
    found = information(fit, rows)
    matrix = delta(found, lambda m: m.experts["coef"].reshape(2, 1))
    assert matrix.estimate.shape == matrix.error.shape == (2, 1)
    assert matrix.covariance.shape == (2, 2)
    np.testing.assert_allclose(matrix.error[:, 0], standard_errors(found)["experts.coef"].flatten())


def test_bands_are_those_of_the_delta_method_and_weights_stay_between_zero_and_one(lines):
    _, _, rows, fit = lines
    found = information(fit, rows)
    near = torch.linspace(-4.0, 4.0, 7, dtype=torch.float64)[None]
    mean = mean_band(found, columns(near.T), level=0.9)
    same = delta(found, lambda m: regression(fit.mixture, m, near, near), 0.9)
    for name in ("estimate", "error", "lower", "upper"):
        np.testing.assert_allclose(getattr(mean, name), getattr(same, name), rtol=1e-9)
    gate = gate_band(found, columns(near.T))
    assert gate.estimate.shape == (2, 7)
    np.testing.assert_allclose(gate.estimate.sum(0), 1.0)
    assert bool(((gate.lower > 0) & (gate.lower < gate.estimate) & (gate.estimate < gate.upper)).all())
    assert bool((gate.upper < 1).all())
    logit = delta(found, lambda m: m.gates[0]["weight"][0, 0] * near[0] + m.gates[0]["bias"][0])
    np.testing.assert_allclose(torch.logit(gate.upper[0]), logit.upper, rtol=1e-7)
    alone = gate_band(information(maximum_likelihood(ONE, rows, starts=1), rows), columns(near.T))
    assert alone.lower.tolist() == alone.upper.tolist() == [[1.0] * 7]


def test_the_band_of_a_mean_of_counts_is_positive():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 1))
    rows = make_rows(x, rng.poisson(np.exp(-1.5 + x[:, 0]))[:, None])
    found = information(maximum_likelihood(Mixture((GATES["constant"],), (1,), family=Poisson()), rows), rows)
    at = columns([[-3.0]])
    band = mean_band(found, at)
    logarithm = delta(found, lambda m: m.experts["intercept"][0, 0] - 3 * m.experts["coef"][0, 0, 0])
    assert float(band.lower) == pytest.approx(exp(logarithm.lower))
    assert float(band.upper) == pytest.approx(exp(logarithm.upper))


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_levels_are_probabilities(lines, level):
    _, _, rows, fit = lines
    with pytest.raises(ValueError, match="between 0 and 1"):
        wald(information(fit, rows), level)
    with pytest.raises(ValueError, match="between 0 and 1"):
        profile(fit, rows, "family.scale[0,0]", level)


def test_profiles_of_one_gaussian_expert_have_their_closed_forms(line):
    x, y, rows, fit = line
    design = np.c_[x, np.ones(40)]
    inverse = np.linalg.inv(design.T @ design)
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    reach = np.sqrt(residual @ residual * (exp(CHI / 40) - 1) * inverse.diagonal())
    for i, name in enumerate(["experts.coef[0,0,0]", "experts.coef[0,0,1]", "experts.intercept[0,0]"]):
        found = profile(fit, rows, name)
        assert found.ends == (ProfileEnd.crossed, ProfileEnd.crossed)
        assert found.lower == pytest.approx(found.estimate - reach[i], abs=1e-6 * reach[i])
        assert found.upper == pytest.approx(found.estimate + reach[i], abs=1e-6 * reach[i])
    scale = profile(fit, rows, "family.scale[0,0]", 0.99)

    def ratio(s):
        return 40 * (2 * log(s / scale.estimate) + (scale.estimate / s) ** 2 - 1) - stats.chi2.ppf(0.99, 1)

    low = optimize.brentq(ratio, 0.3 * scale.estimate, scale.estimate, xtol=1e-12)
    high = optimize.brentq(ratio, scale.estimate, 3 * scale.estimate, xtol=1e-12)
    assert (scale.lower, scale.upper) == pytest.approx((low, high), rel=1e-6)


@pytest.mark.parametrize("name", ["gates.0.weight[0,0]", "gates.0.bias[0]", "experts.intercept[1,0]"])
def test_the_ends_of_a_profile_are_where_an_independent_optimiser_says(lines, name):
    x, y, rows, fit = lines
    found = profile(fit, rows, name)
    assert found.ends == (ProfileEnd.crossed, ProfileEnd.crossed)
    assert found.lower < found.estimate < found.upper
    paths = fit.measure.paths()
    order = ["gates.0.weight[0,0]", "gates.0.bias[0]", "experts.coef[0,0,0]", "experts.coef[1,0,0]"]
    order += ["experts.intercept[0,0]", "experts.intercept[1,0]"]
    start = [float(paths["gates.0.weight"][0, 0]), float(paths["gates.0.bias"][0])]
    start += [*paths["experts.coef"].flatten().tolist(), *paths["experts.intercept"].flatten().tolist()]
    start += paths["family.scale"].log().flatten().tolist()

    def minus_log_likelihood(p):
        log_odds = p[1] + p[0] * x[:, 0]
        one = stats.norm.logpdf(y, p[4] + p[2] * x[:, 0], np.exp(p[6])) - np.logaddexp(0, -log_odds)
        two = stats.norm.logpdf(y, p[5] + p[3] * x[:, 0], np.exp(p[7])) - np.logaddexp(0, log_odds)
        return -np.logaddexp(one, two).sum()

    at = order.index(name)
    others = np.delete(np.arange(8), at)
    assert minus_log_likelihood(start) == pytest.approx(-fit.log_likelihood, abs=1e-8)
    for end in (found.lower, found.upper):

        def held(p, end=end):
            whole = np.empty(8)
            whole[others], whole[at] = p, end
            return minus_log_likelihood(whole)

        best = optimize.minimize(held, np.array(start)[others], method="BFGS", options={"gtol": 1e-6})
        assert 2 * (best.fun + fit.log_likelihood) == pytest.approx(CHI, abs=1e-5)


def test_the_profile_of_a_separated_gate_is_open_on_one_side():
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-1, 1, 60))
    rows = make_rows(x[:, None], (np.where(x < 0, 5 + x, -5 - x) + 0.3 * rng.normal(size=60))[:, None])
    fit = maximum_likelihood(TWO, rows, starts=5)
    found = profile(fit, rows, "gates.0.weight[0,0]")
    sign = np.sign(found.estimate)
    shut, opened = (found.lower, found.upper) if sign > 0 else (found.upper, found.lower)
    assert opened == sign * inf
    assert np.isfinite(shut)
    assert set(found.ends) == {ProfileEnd.crossed, ProfileEnd.flat}
    assert "open on this side" in ProfileEnd.flat


def test_a_profile_stops_at_a_bound(lines):
    _, _, rows, fit = lines
    scale = float(fit.measure.family["scale"].max())
    bounds = {"family.scale": (0.1, 1.02 * scale)}
    boxed = maximum_likelihood(TWO, rows, FitSpec(bounds=bounds), starts=5)
    wide = int(boxed.measure.family["scale"].argmax())
    found = profile(boxed, rows, f"family.scale[{wide},0]")
    assert found.ends == (ProfileEnd.crossed, ProfileEnd.bound)
    assert found.upper == pytest.approx(1.02 * scale)


def test_a_profile_of_degrees_of_freedom_runs_from_low_to_high():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1))
    rows = make_rows(x, (1 + x[:, 0] + rng.standard_t(4, 400))[:, None])
    found = profile(
        maximum_likelihood(Mixture((GATES["constant"],), (1,), family=StudentT()), rows), rows, "family.dof[0,0]"
    )
    assert found.ends == (ProfileEnd.crossed, ProfileEnd.crossed)
    assert 1 < found.lower < found.estimate < found.upper


def test_a_better_optimum_on_the_way_is_reported(lines):
    _, _, rows, fit = lines
    other = fit.measure.map(torch.clone)
    other.experts["coef"][0] += 0.05
    x, y = rows.x.held, rows.y.held
    value = float(log_density(fit.mixture, other, x, x, y).sum())
    found = profile(fit._replace(measure=other, log_likelihood=value), rows, "experts.coef[1,0,0]")
    assert found.ends == (ProfileEnd.better, ProfileEnd.better)
    assert isnan(found.lower)
    assert isnan(found.upper)


def test_profiles_are_refused_in_words(lines):
    _, _, rows, fit = lines
    with pytest.raises(ValueError, match="reference branch"):
        profile(fit, rows, "gates.0.weight[1,0]")
    for name in (
        "experts.slope[0,0,0]",
        "experts.coef",
        "experts.coef[0,0,7]",
        "experts.coef[0,0]",
        "experts.coef[-1,0,0]",
    ):
        with pytest.raises(ValueError, match="is not a parameter of this mixture"):
            profile(fit, rows, name)
    floor = torch.tensor([0.6], dtype=torch.float64)
    held = maximum_likelihood(TWO, rows, FitSpec(min_scale=floor), starts=5)
    found = profile(held, rows, "experts.coef[0,0,0]")
    assert "floor of the scale" in found.refused
    assert isnan(found.lower)
    assert found.ends == (ProfileEnd.refused, ProfileEnd.refused)
    assert "those of the fit" in profile(fit, rows.take(torch.arange(150)), "experts.coef[0,0,0]").refused


def test_intervals_end_at_the_bounds_of_the_fit(line):
    _, _, rows, free = line
    slope, error = float(free.measure.experts["coef"][0, 0, 0]), None
    error = float(standard_errors(information(free, rows))["experts.coef"][0, 0, 0])
    bounds = {
        "experts.coef": (slope - 10.0, slope + error),
        "family.scale": (0.0, 1.01 * float(free.measure.family["scale"])),
    }
    fit = maximum_likelihood(ONE, rows, FitSpec(bounds=bounds), starts=1)
    assert fit.status == "converged"
    found = information(fit, rows)
    assert found.notes == ("intervals of experts.coef, family.scale end at the bounds of the fit",)
    for intervals in (wald(found), delta(found, "experts.coef"), delta(found, "family.scale")):
        top = torch.cat([intervals.upper.flatten()])
        assert float(top.max()) <= max(high for _, high in bounds.values()) + 1e-12 or intervals.upper.ndim == 1
    both = wald(found)
    at = [both.names.index(name) for name in ("experts.coef[0,0,0]", "family.scale[0,0]")]
    assert both.upper[at].tolist() == pytest.approx([bounds["experts.coef"][1], bounds["family.scale"][1]], rel=1e-15)
    plain = wald(information(free, rows))
    assert both.lower[at].tolist() == pytest.approx(plain.lower[at].tolist(), rel=1e-6)


def test_a_scale_has_one_interval_whoever_asks(lines):
    fit, rows = lines[-1], lines[-2]
    found = information(fit, rows)
    both = wald(found, 0.9)
    for path in ("family.scale", "experts.coef"):
        own = [i for i, name in enumerate(both.names) if name.startswith(path)]
        whole = delta(found, path, 0.9)
        assert_same = zip((whole.lower, whole.upper), (both.lower[own], both.upper[own]), strict=True)
        for one, other in assert_same:
            np.testing.assert_allclose(one.flatten(), other, rtol=1e-12)
    one = delta(found, "family.scale[1,0]", 0.9)
    at = both.names.index("family.scale[1,0]")
    assert (float(one.lower), float(one.upper)) == pytest.approx((float(both.lower[at]), float(both.upper[at])))
