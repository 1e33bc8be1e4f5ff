"""The floor of the scales and the rows that a small scale needs: neither swallows what the data have."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, responsibilities
from gatewise.fit import Status, maximum_likelihood
from gatewise.fit.floor import many_rows, residual_spread, rounding_step, scale_floor
from gatewise.fit.result import unseen_bound
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import make_rows

GAUSSIAN = FAMILIES["gaussian"]


def two_halves(noise=0.15, n=200):
    """Two lines far apart that share the inputs; the noise of the first is far below a hundredth of the spread of y."""
    r = np.random.default_rng(0)
    x, e = r.uniform(0, 10, n), r.standard_normal(n)
    return x[:, None], np.where(np.arange(n) < n // 2, 10 + x + noise * e, 50 + 2 * x + 2 * e)[:, None]


def far_away(n=1000):
    """Two lines in 97 % of the rows and a cloud at 5000."""
    r = np.random.default_rng(0)
    x, first = r.uniform(-2, 2, (n, 1)), r.random((n, 1)) < 0.5
    y = np.where(first, 1 + 2 * x, -3 - x) + 0.3 * r.standard_normal((n, 1))
    return x, np.where(r.random((n, 1)) < 0.03, 5000 + 30 * r.standard_normal((n, 1)), y)


def planes(d, k, n, ratio, seed):
    """Planes with noises in a geometric series from .5 down to .5 / ratio, rows and their expert."""
    r = np.random.default_rng(seed)
    x, z = r.uniform(-2, 2, (n, d)), r.integers(0, k, n)
    coef, level = r.normal(size=(k, d)), 6.0 * np.arange(k)
    noise = 0.5 * np.geomspace(1, 1 / ratio, k)
    return x, (level[z] + (coef[z] * x).sum(1) + noise[z] * r.standard_normal(n))[:, None], coef


def constant(k, **parts):
    return Mixture((GATES["constant"],), (k,), **parts)


def floor_of(x, y, weight=None, family=GAUSSIAN):
    return scale_floor(make_rows(x, y, weight=weight), None, family).value.numpy()


def test_a_narrow_expert_of_half_the_rows_is_kept():
    x, y = two_halves()
    fit = maximum_likelihood(constant(2), make_rows(x, y))
    assert fit.status == Status.converged
    np.testing.assert_allclose(sorted(fit.measure.experts["coef"].flatten().tolist()), [1, 2], atol=0.1)
    apart = sum(
        float(maximum_likelihood(constant(1), make_rows(x[part], y[part]), starts=1).log_likelihood)
        for part in (slice(0, 100), slice(100, 200))
    )
    assert fit.log_likelihood == pytest.approx(apart - 200 * np.log(2), abs=0.1)


def test_a_few_rows_far_away_do_not_merge_the_others():
    fit = maximum_likelihood(constant(3), make_rows(*far_away()))
    assert fit.status == Status.converged
    scale = np.sort(fit.measure.family["scale"].flatten().numpy())
    np.testing.assert_allclose(scale[:2], 0.3, rtol=0.1)
    np.testing.assert_allclose(scale[2], 30, rtol=0.4)


@pytest.mark.parametrize("ratio", [3, 300, 30000])
@pytest.mark.parametrize(("d", "k", "n"), [(1, 2, 120), (3, 2, 200), (5, 3, 400)])
def test_honest_noise_of_any_size_is_estimated(d, k, n, ratio):
    x, y, coef = planes(d, k, n, ratio, seed=d)
    fit = maximum_likelihood(constant(k), make_rows(x, y))
    assert fit.status == Status.converged
    scale, order = fit.measure.family["scale"].flatten().sort(descending=True)
    np.testing.assert_allclose(scale, 0.5 * np.geomspace(1, 1 / ratio, k), rtol=0.25)
    np.testing.assert_allclose(fit.measure.experts["coef"][order, 0], coef, atol=0.3)


@pytest.mark.parametrize("noise", [1e-2, 1e-5])
def test_one_expert_is_ordinary_regression_however_close_the_plane(noise):
    r = np.random.default_rng(3)
    x = r.standard_normal((80, 3))
    y = (100 * x @ [1.0, -2.0, 3.0] + 7 + noise * r.standard_normal(80))[:, None]
    fit = maximum_likelihood(constant(1), make_rows(x, y), starts=1)
    residual = y - np.c_[x, np.ones(80)] @ np.linalg.lstsq(np.c_[x, np.ones(80)], y, rcond=None)[0]
    assert fit.status == Status.converged
    np.testing.assert_allclose(fit.measure.family["scale"].item(), np.sqrt((residual**2).mean()), rtol=1e-6)


@pytest.mark.parametrize("family", ["gaussian", "full-gaussian", "student-t"])
@pytest.mark.parametrize(("d", "n", "seed"), [(1, 40, 0), (2, 120, 1), (4, 60, 2), (6, 100, 3)])
def test_no_few_rows_are_taken_for_an_expert_of_tiny_scale(d, n, seed, family):
    r = np.random.default_rng(seed)
    x, y = r.uniform(-1, 1, (n, d)), r.standard_normal((n, 2 if family == "full-gaussian" else 1))
    rows = make_rows(x, y)
    fit = maximum_likelihood(constant(3, family=FAMILIES[family]), rows, starts=6)
    mass = responsibilities(fit.mixture, fit.measure, rows.x.held, rows.gate_x.held, rows.y.held).sum(-1)
    own = d + 2
    for leaf in range(3):
        values = fit.measure.family["cholesky" if family == "full-gaussian" else "scale"][leaf]
        small = float(values[[0, 2]].min()) if family == "full-gaussian" else float(values.min())
        needed = many_rows(n, own) if small < 0.008 else 3 * own if small < 0.025 else own + 1
        collapsed = float(mass[leaf]) < needed - 0.01
        assert not collapsed or (fit.status == Status.unsound and leaf in fit.certificate.starved)


@pytest.mark.parametrize("d", [1, 3, 5])
@pytest.mark.parametrize("q", [1, 2])
def test_the_floor_belongs_to_the_weighted_set_of_rows_in_its_units(d, q):
    r = np.random.default_rng(d)
    x = r.standard_normal((150, d))
    y = x @ r.normal(size=(d, q)) + np.array([0.1, 5.0])[:q] * r.standard_t(2, size=(150, q))
    plain, order = floor_of(x, y), r.permutation(150)
    np.testing.assert_array_equal(floor_of(x[order], y[order]), plain)
    # rounds of reweighting make 1e-7 of rounding errors, in one of ten draws: up to 4e-5 in 360
    np.testing.assert_allclose(floor_of(1e4 + 3 * x, y), plain, rtol=1e-6)
    np.testing.assert_allclose(floor_of(x, 1e3 - 7 * y), 7 * plain, rtol=1e-6)
    twice = torch.ones(150).double()
    twice[:40] = 2
    doubled = floor_of(np.r_[x, x[:40]], np.r_[y, y[:40]])
    np.testing.assert_array_equal(floor_of(x, y, twice), doubled)
    removed = twice.clone()
    removed[:40] = 0
    np.testing.assert_array_equal(floor_of(x, y, removed), floor_of(x[40:], y[40:]))
    assert (plain < 1e-5 * y.std(0)).all()


@pytest.mark.parametrize(("d", "q"), [(1, 1), (2, 3), (6, 2)])
def test_rounding_sets_the_floor(d, q):
    r = np.random.default_rng(0)
    y = np.round(r.normal(size=(100, q)) * 20, 1)
    np.testing.assert_allclose(floor_of(r.normal(size=(100, d)), y), 0.1 / np.sqrt(12), rtol=1e-6)
    assert rounding_step(torch.from_numpy(1e5 + np.pi * y[:, 0])) == pytest.approx(0.1 * np.pi, rel=1e-6)
    assert rounding_step(torch.from_numpy(r.normal(size=20))) == 0


@pytest.mark.parametrize("n", [6, 8, 30])
def test_a_regression_of_rounded_values_is_sound(n):
    x = np.arange(n, dtype=float)[:, None]
    fit = maximum_likelihood(constant(1), make_rows(x, x + 0.5 * (np.arange(n)[:, None] % 3 == 1)), starts=1)
    assert fit.status == Status.converged


def test_data_without_any_spread_have_a_positive_floor():
    x = np.arange(6.0)[:, None]
    for y in (0 * x, 0 * x + 3, 2 * x + 1):
        assert floor_of(x, y) > 0


def test_the_spread_is_that_of_the_noise_beside_gross_errors():
    r = np.random.default_rng(1)
    x = r.standard_normal((3, 2000))
    y = 50 * x[:1] + 0.2 * r.standard_normal((1, 2000))
    y[0, r.random(2000) < 0.2] += 1e4
    found = residual_spread(torch.from_numpy(x), torch.from_numpy(y), torch.ones(2000).double())
    assert 0.2 < float(found) < 0.35


def test_data_on_disk_have_the_floor_of_those_in_memory(tmp_path):
    r = np.random.default_rng(0)
    table = np.lib.format.open_memmap(tmp_path / "rows.npy", mode="w+", dtype=float, shape=(30000, 4))
    table[:] = r.standard_normal((30000, 4))
    held = make_rows(np.array(table[:, :3]), np.array(table[:, 3:]))
    read = make_rows(table[:, :3], table[:, 3:], hold=False)
    found = [scale_floor(rows, None, GAUSSIAN).value for rows in (held, read)]
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(found[0], 1e-6, rtol=0.05)  # by a part of the rows


def test_the_floor_that_was_given_is_taken_as_it_is():
    rows = make_rows(*two_halves())
    given = scale_floor(rows, 0.5, GAUSSIAN)
    assert given.value.tolist() == [0.5]
    fit = maximum_likelihood(constant(2), rows, FitSpec(min_scale=0.5), starts=20)
    assert fit.starts.floored[0] > fit.log_likelihood + 100
    assert fit.starts.floored[0] in fit.starts.better_unsound


def test_a_shared_scale_needs_no_more_rows_for_being_small():
    x, y, _ = planes(1, 3, 60, 1, seed=4)
    y = y.copy()
    y[:] = np.where(np.arange(60)[:, None] < 6, y + 4000, y)
    shared = replace(constant(4), shared=("family.scale",))
    assert maximum_likelihood(shared, make_rows(x, y)).status == Status.converged


def test_many_rows_are_those_that_chance_does_not_place_near_a_plane():
    assert many_rows(10, 3) == 6  # C(10, 6) = 210 < 100^2, C(10, 5) = 252 > 100
    assert many_rows(200, 3) == 16
    assert many_rows(1000, 3) == 40
    assert many_rows(1e6, 3) == 40
    assert many_rows(30, 3) < many_rows(200, 3) < many_rows(200, 8)


def test_the_bound_of_the_chance_of_something_new_is_never_zero():
    assert unseen_bound(0, 3) == pytest.approx(1 - 0.05 ** (1 / 3))
    assert unseen_bound(0, 20) == pytest.approx(1 - 0.05**0.05)
    assert unseen_bound(2, 20) > 2 / 20
    assert unseen_bound(20, 20) == 1
