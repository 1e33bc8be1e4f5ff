"""Rows far from everything: fits of Student's t reach the optimum that leaves them out, from the default starts."""

from itertools import product

import numpy as np
import pytest
import torch

from gatewise.core.families import FAMILIES, StudentT
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit import maximum_likelihood
from gatewise.fit.model import prepare
from gatewise.fit.search.starts import draw_starts, seeds
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import make_rows
from gatewise.testing.families import law_family_local

from ..covering import slow_rest

N = 300


def line(d, seed):
    r = np.random.default_rng(seed)
    x = r.uniform(-2, 2, (N, d))
    return x, 1 + 2 * x[:, 0] + 0.3 * r.standard_normal(N), r


def leverage_row(d, seed):
    x, y, _ = line(d, seed)
    x[0] = 100.0
    return x, y, [[1.0, 2.0, *[0.0] * (d - 1)]]


def age_code(d, seed):
    x, _, r = line(d, seed)
    x[:, 0] = r.uniform(20, 80, N)
    y = 10 + 0.5 * x[:, 0] + 2 * r.standard_normal(N)
    x[5, 0] = 999.0
    return x, y, [[10.0, 0.5, *[0.0] * (d - 1)]]


def two_lines(d, seed):
    x, _, r = line(d, seed)
    first = r.random(N) < 0.5
    y = np.where(first, 2 + 2 * x[:, 0], -2 - 2 * x[:, 0]) + 0.3 * r.standard_normal(N)
    x[0] = 100.0
    return x, y, [[2.0, 2.0, *[0.0] * (d - 1)], [-2.0, -2.0, *[0.0] * (d - 1)]]


def gross_errors(d, seed):
    x, _, r = line(d, seed)
    first = r.random(N) < 0.5
    y = np.where(first, 2 + 2 * x[:, 0], -2 - 2 * x[:, 0]) + 0.3 * r.standard_normal(N)
    y[:30] += r.choice([-1, 1], 30) * r.uniform(50, 100, 30)
    return x, y, [[2.0, 2.0, *[0.0] * (d - 1)], [-2.0, -2.0, *[0.0] * (d - 1)]]


ROWS = (leverage_row, age_code, two_lines, gross_errors)
USUAL = {*((data, 3, 0) for data in ROWS), (leverage_row, 1, 1), (gross_errors, 5, 1)}


@pytest.mark.parametrize(("data", "d", "seed"), slow_rest(list(product(ROWS, (1, 3, 5), (0, 1))), USUAL))
def test_the_default_starts_find_the_lines(data, d, seed):
    x, y, lines = data(d, seed)
    fit = maximum_likelihood(
        Mixture((GATES["constant"],), (len(lines),), family=StudentT()), make_rows(x, y[:, None]), FitSpec()
    )
    experts = fit.measure.experts
    found = np.concatenate([experts["intercept"].numpy(), experts["coef"][:, 0].numpy()], 1)
    scale = 2.0 if data is age_code else 0.3
    found = found[np.argsort(-found[:, 0])]
    unit = np.array([30.0 if data is age_code else 1.0, *[1.0] * d])
    np.testing.assert_allclose(found / unit, np.array(lines) / unit, atol=0.6 * scale)


@pytest.mark.parametrize("d", [1, 3])
def test_the_value_is_that_of_the_plane_held_at_the_truth_or_better(d):
    x, y, _ = leverage_row(d, 0)
    mixture, rows = Mixture((GATES["constant"],), (1,), family=StudentT()), make_rows(x, y[:, None])
    free = maximum_likelihood(mixture, rows)
    truth = {"experts.coef": np.array([[[2.0, *[0.0] * (d - 1)]]]), "experts.intercept": np.array([[1.0]])}
    held = maximum_likelihood(mixture, rows, FitSpec(fixed=truth))
    assert free.log_likelihood >= held.log_likelihood
    assert free.starts.hits > 1


def test_only_robust_families_leave_rows_out():
    x, y, _ = leverage_row(3, 0)
    taken = {name: family for name, family in FAMILIES.items() if family.validate(torch.as_tensor(y)[None]) is None}
    assert {"gaussian", "full-gaussian", "student-t"} <= set(taken)
    for name, family in taken.items():
        model = prepare(Mixture((GATES["softmax"],), (2,), family=family), make_rows(x, y[:, None]), FitSpec())
        kinds = draw_starts(model.parameterization, model.rows, 10, seeds(0, 1)[0])[1]
        assert ("trimmed" in kinds) == family.robust == (name == "student-t")


@pytest.mark.parametrize("dof", [1.1, 2.0, 199.0, 201.0, 1e8])
@pytest.mark.parametrize("q", [1, 3])
def test_written_derivatives_are_the_automatic_ones_for_any_degrees_of_freedom(dof, q, monkeypatch):
    from gatewise.testing import families

    drawn = families._drawn

    def with_dof(*args):
        params, eta = drawn(*args)
        return {**params, "dof": 0 * params["dof"] + dof}, eta

    monkeypatch.setattr(families, "_drawn", with_dof)
    if dof < 1e4:  # numerical differences in degrees of freedom vanish beyond
        law_family_local(StudentT(), q)
