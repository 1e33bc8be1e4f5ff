"""Slopes against known answers, and the coverage of their intervals."""

import numpy as np
import pytest
from scipy import stats

from gatewise.theory.slopes import slope

AXIS = (1000, 2000, 4000, 8000, 16000)


def drawn(rate, replicates=60, seed=0, spread=0.5):
    rng = np.random.default_rng(seed)
    return [n**rate * np.exp(spread * rng.standard_normal(replicates)) for n in AXIS]


def test_a_line_without_noise_is_found_exactly():
    found = slope(AXIS, [np.full(3, n**-0.25) for n in AXIS])
    assert found.value == pytest.approx(-0.25, abs=1e-12)
    assert found.median == pytest.approx(-0.25, abs=1e-12)
    assert found.half == pytest.approx(0, abs=1e-12)


def test_the_value_is_that_of_ordinary_least_squares_of_the_logarithms_of_means():
    errors = drawn(-0.5)
    line = stats.linregress(np.log(AXIS), np.log([e.mean() for e in errors]))
    assert slope(AXIS, errors).value == pytest.approx(line.slope, abs=1e-12)


def test_intervals_cover_the_truth():
    inside = 0
    for seed in range(200):
        found = slope(AXIS, drawn(-0.5, seed=seed), seed=seed)
        inside += found.low <= -0.5 <= found.high
    low, high = stats.binom.ppf([0.0005, 0.9995], 200, 0.94)
    assert low <= inside <= high


def test_missing_numbers_are_counted_not_hidden():
    errors = drawn(-0.5)
    errors[1][:7] = np.nan
    found = slope(AXIS, errors)
    assert found.missing == (0, 7, 0, 0, 0)
    assert found.used == (60, 53, 60, 60, 60)
    assert np.isfinite(found.value)


def test_nothing_to_fit_gives_nan():
    empty = [np.full(5, np.nan)] * 4 + [np.ones(5)]
    assert np.isnan(slope(AXIS, empty).value)


def test_series_of_the_same_data_are_resampled_alike():
    errors = drawn(-0.5)
    one, two = slope(AXIS, errors), slope(AXIS, [2 * e for e in errors])
    assert one.draws == pytest.approx(two.draws, abs=1e-12)
