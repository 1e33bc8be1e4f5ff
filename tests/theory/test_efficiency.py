"""Sample efficiency against power laws, whose ratio of rows is known."""

import numpy as np
import pytest

from gatewise.theory.curves import Curve
from gatewise.theory.efficiency import POINTS, efficiency
from gatewise.theory.slopes import slope

SIZES = (100, 300, 1000, 3000, 10_000, 30_000)


def curve(arm, errors, axis=SIZES, series="mean"):
    errors = tuple(np.asarray(e, dtype=float) for e in errors)
    found = slope(axis, errors)
    return Curve(arm, series, axis, errors, found, found, found, (0.0,) * len(axis))


def power(arm, size, rate, noise=0.0, seed=0, replicates=200):
    shape = np.random.default_rng(seed).standard_normal((len(SIZES), replicates))
    factors = np.exp(noise * shape - noise**2 / 2)
    return curve(arm, [size * n**rate * f for n, f in zip(SIZES, factors, strict=True)])


def test_power_laws_have_their_ratio():
    found = efficiency(power("fast", 1.0, -0.5), power("slow", 1.0, -0.25))
    assert len(found.errors) == POINTS
    np.testing.assert_allclose(found.errors[[0, -1]], [0.1, 30_000**-0.25], rtol=1e-12)
    np.testing.assert_allclose(found.rows_first, found.errors**-2, rtol=1e-9)
    np.testing.assert_allclose(found.rows_second, found.errors**-4, rtol=1e-9)
    np.testing.assert_allclose(found.ratio, found.errors**-2, rtol=1e-9)


def test_parallel_curves_have_a_constant_ratio_and_its_inverse():
    one, two = power("a", 1.0, -0.5), power("b", 2.0, -0.5)
    np.testing.assert_allclose(efficiency(one, two).ratio, 4.0, rtol=1e-9)
    np.testing.assert_allclose(efficiency(two, one).ratio, 0.25, rtol=1e-9)


def test_the_interval_covers_the_true_ratio():
    """In the middle of the range, 100 data sets: binomial(100, .95) lies in 87..100 with probability .9996."""
    covered, middle = 0, POINTS // 2
    for seed in range(100):
        found = efficiency(power("a", 1.0, -0.5, 0.5, 2 * seed, 60), power("b", 2.0, -0.5, 0.5, 2 * seed + 1, 60))
        covered += found.low[middle] <= 4.0 <= found.high[middle]
        assert found.high[middle] / found.low[middle] < 3.0
    assert covered >= 87


def test_replicates_of_the_same_data_are_paired():
    """It shows where both curves pass an error between the same two sizes: here nearly everywhere."""
    one, two = power("a", 1.0, -0.5, 0.5, seed=1), power("b", 1.01, -0.5, 0.5, seed=1)
    apart = power("b", 1.01, -0.5, 0.5, seed=2)
    paired, unpaired = (np.log([e.high[2:-2], e.low[2:-2]]) for e in (efficiency(one, two), efficiency(one, apart)))
    assert (paired[0] - paired[1] < 0.5 * (unpaired[0] - unpaired[1])).all()


def test_an_end_beyond_the_window_is_open():
    found = efficiency(power("a", 1.0, -0.5, 0.5, seed=1), power("b", 2.0, -0.5, 0.5, seed=2))
    assert found.high[-1] == np.inf
    assert np.isfinite(found.ratio).all()
    assert "inf" in found.text().splitlines()[-1]


def test_a_curve_that_rises_again_counts_where_it_first_falls():
    bent = curve("bent", [[e] for e in (0.8, 0.4, 0.1, 0.2, 0.1, 0.05)])
    found = efficiency(curve("straight", [[e] for e in (0.8, 0.4, 0.1, 0.09, 0.07, 0.05)]), bent)
    at = found.errors >= 0.1
    np.testing.assert_allclose(found.ratio[at], 1.0, rtol=1e-12)
    assert (found.ratio[~at][:-1] > 1.0).all()


def test_missing_numbers_are_left_out():
    errors = [np.append(e, np.nan) for e in power("a", 1.0, -0.5).errors]
    np.testing.assert_allclose(efficiency(curve("a", errors), power("b", 2.0, -0.5)).ratio, 4.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            power("far", 1000.0, -0.5),
            "a from 0.1 down to 0.00577 and far from 100 down to 5.77 have no errors in common",
        ),
        (curve("zero", [[0.0]] * 6), "two sizes with positive means"),
        (curve("short", [[0.1], *[[np.nan]] * 5]), "two sizes with positive means"),
        (power("b", 1.0, -0.5)._replace(series="loss"), "compare curves of the same series"),
    ],
)
def test_what_cannot_be_compared_is_refused(second, message):
    with pytest.raises(ValueError, match=message):
        efficiency(power("a", 1.0, -0.5), second)
