"""Columns that nearly depend on each other are kept as long as double precision tells them apart."""

import numpy as np
import pytest
import torch

from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, regression
from gatewise.fit import Status, maximum_likelihood
from gatewise.fit.model import dependent, factor_of
from gatewise.objective.rows import make_rows

SOFTMAX = GATES["softmax"]


def powers(t, degree):
    return np.stack([t**p for p in range(1, degree + 1)], 1)


def curve(degree=3, noise=0.8, seed=0):
    """Years, the same centred in decades, and a polynomial with noise."""
    r = np.random.default_rng(seed)
    years = np.arange(1950.0, 2021.0)
    centred = (years - 1985) / 10
    y = powers(centred, degree) @ [0.5, -0.2, 0.05, 0.02][:degree] + noise * r.standard_normal(len(years))
    return years, centred, y[:, None]


def mean(fit, x):
    x = torch.from_numpy(np.ascontiguousarray(x.T))
    return regression(fit.mixture, fit.measure, x, x)[0].numpy()


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_powers_of_years_are_those_of_centred_years(degree):
    years, centred, y = curve(degree)
    model = Mixture((SOFTMAX,), (1,))
    fit, other = (maximum_likelihood(model, make_rows(powers(t, degree), y), starts=1) for t in (years, centred))
    assert fit.status == other.status == Status.converged
    assert fit.collinear == ()
    assert fit.df == other.df == degree + 2
    assert fit.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-8)
    np.testing.assert_allclose(mean(fit, powers(years, degree)), mean(other, powers(centred, degree)), atol=1e-7)


def test_gates_and_experts_on_powers_of_years_reach_the_optimum_of_centred_ones():
    r = np.random.default_rng(1)
    years = np.repeat(np.arange(1950.0, 2021.0), 4)
    centred = (years - 1985) / 10
    first = r.random(len(years)) < 1 / (1 + np.exp(-centred))
    y = np.where(first, 8 + centred, -(centred**2))[:, None] + 0.5 * r.standard_normal((len(years), 1))
    model = Mixture((SOFTMAX,), (2,))
    fit, other = (maximum_likelihood(model, make_rows(powers(t, 2), y), starts=20) for t in (years, centred))
    assert fit.status == other.status == Status.converged
    assert fit.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-6)


def read_of(x, tmp_path):
    table = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=float, shape=x.shape)
    table[:] = x
    return make_rows(table, np.zeros((len(x), 1)), hold=False)


@pytest.mark.parametrize("d", [2, 3, 6])
@pytest.mark.parametrize(("size", "found"), [(1e-5, []), (1e-6, []), (1e-9, [1]), (0.0, [1])])
def test_a_column_is_told_from_others_down_to_1e_7_of_its_length(d, size, found, tmp_path):
    r = np.random.default_rng(d)
    x = 3.0 + r.standard_normal((70000, d))
    x[:, 1] = 2 * x[:, 0] - 5 + size * r.standard_normal(len(x))
    for rows in (make_rows(x, np.zeros((len(x), 1))), read_of(x, tmp_path)):
        assert dependent(factor_of(rows, "x").centred) == found


def test_weights_and_constant_columns_are_seen():
    r = np.random.default_rng(0)
    x = np.c_[r.standard_normal(50), np.full(50, 7.0), r.standard_normal((50, 2))]
    x[:, 3] = x[:, 0] + x[:, 2]
    x[40:, 1] = 0.0
    weight = torch.ones(50).double()
    weight[40:] = 0
    rows = make_rows(x, np.zeros((50, 1)), weight=weight)
    assert dependent(factor_of(rows, "x").centred) == [1, 3]
