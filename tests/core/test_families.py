"""Families against scipy.stats, limits, and responses that are refused."""

import re

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit

from gatewise.core.families import FAMILIES, Binomial, FullGaussian, Gaussian, Poisson, StudentT, family
from gatewise.testing import assert_close, generator

LEAVES, Q, N = 2, 2, 5
G = generator(3)
ETA = torch.randn(LEAVES, Q, N, generator=G, dtype=torch.float64)
Y = torch.randn(Q, N, generator=G, dtype=torch.float64)
COUNTS = torch.tensor([[0, 1, 2, 5, 3], [1, 0, 4, 0, 2]]).double()
SCALE = torch.tensor([[0.5, 2.0], [1.3, 0.7]]).double()
DOF = torch.tensor([[3.0, 250.0], [1.5, 30.0]]).double()
LOWER = torch.tensor([[0.8, -0.4, 1.2], [1.5, 0.9, 0.3]]).double()


def per_output(density):
    return lambda leaf, i: sum(density(leaf, k, i) for k in range(Q))


def matrix(leaf, floor=(0.0, 0.0)):
    a, b, c = LOWER[leaf].tolist()
    return np.array([[a * a, a * b], [a * b, b * b + c * c]]) + np.diag(np.square(floor))


ORACLES = {
    "gaussian": (
        Gaussian(),
        {"scale": SCALE},
        Y,
        per_output(lambda leaf, k, i: stats.norm.logpdf(Y[k, i], ETA[leaf, k, i], SCALE[leaf, k])),
    ),
    "student-t": (
        StudentT(),
        {"scale": SCALE, "dof": DOF},
        Y,
        per_output(lambda leaf, k, i: stats.t.logpdf(Y[k, i], DOF[leaf, k], ETA[leaf, k, i], SCALE[leaf, k])),
    ),
    "full-gaussian": (
        FullGaussian(),
        {"cholesky": LOWER},
        Y,
        lambda leaf, i: stats.multivariate_normal.logpdf(Y[:, i], ETA[leaf, :, i], matrix(leaf)),
    ),
    "full-gaussian, floor": (
        FullGaussian(floor=(0.5, 1.5)),
        {"cholesky": LOWER},
        Y,
        lambda leaf, i: stats.multivariate_normal.logpdf(Y[:, i], ETA[leaf, :, i], matrix(leaf, (0.5, 1.5))),
    ),
    "poisson": (
        Poisson(),
        {},
        COUNTS,
        per_output(lambda leaf, k, i: stats.poisson.logpmf(COUNTS[k, i], np.exp(ETA[leaf, k, i].item()))),
    ),
    "binomial": (
        Binomial(trials=6),
        {},
        COUNTS,
        per_output(lambda leaf, k, i: stats.binom.logpmf(COUNTS[k, i], 6, expit(ETA[leaf, k, i].item()))),
    ),
    "binomial, successes and failures": (
        Binomial(trials=None),
        {},
        torch.cat([COUNTS, COUNTS.flip(-1)]),
        per_output(
            lambda leaf, k, i: stats.binom.logpmf(
                COUNTS[k, i], COUNTS[k, i] + COUNTS[k, N - 1 - i], expit(ETA[leaf, k, i].item())
            )
        ),
    ),
}


@pytest.mark.parametrize("name", ORACLES)
def test_log_prob_is_that_of_scipy(name):
    law, params, y, oracle = ORACLES[name]
    expected = [[float(oracle(leaf, i)) for i in range(N)] for leaf in range(LEAVES)]
    found = law.log_prob(params, y, ETA)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11)
    assert law.outputs(len(y)) == Q
    assert_close(law.value_and_derivatives(params, y, ETA).value, found, "local")


def test_mean_and_variance_are_those_of_scipy():
    params = {"scale": SCALE, "dof": DOF}
    found = StudentT().variance(params, ETA)[..., 0]
    np.testing.assert_allclose(found, stats.t.var(DOF.numpy(), scale=SCALE.numpy()), rtol=1e-12)
    undefined = {"scale": SCALE, "dof": torch.ones_like(DOF)}
    assert bool(StudentT().mean(undefined, ETA).isnan().all())
    assert bool(StudentT().variance(undefined, ETA).isinf().all())
    for leaf in range(LEAVES):
        found = FullGaussian((0.5, 1.5)).variance({"cholesky": LOWER}, ETA)[leaf, :, 0]
        np.testing.assert_allclose(found, np.diag(matrix(leaf, (0.5, 1.5))), rtol=1e-12)


@pytest.mark.parametrize("dof", [1e6, 1e7, 1e8])
def test_student_t_tends_to_the_gaussian(dof):
    y = torch.linspace(-6, 6, 25, dtype=torch.float64)[None]
    eta, scale = torch.zeros(1, 1, 25).double(), torch.ones(1, 1).double()
    student = StudentT().value_and_derivatives({"scale": scale, "dof": torch.full_like(scale, dof)}, y, eta)
    gaussian = Gaussian().value_and_derivatives({"scale": scale}, y, eta)
    # log t - log N = (z^4 - 2 z^2 - 1) / (4 dof) + O(dof^-2)
    first_order = (y[0] ** 4 - 2 * y[0] ** 2 - 1) / (4 * dof)
    assert_close(student.value - first_order, gaussian.value, "Student-t near its limit", 1e-9)
    assert_close(student.first[..., :2, :], gaussian.first, "its first derivatives", 300 / dof)
    assert_close(student.second[..., :2, :2, :], gaussian.second, "its second derivatives", 300 / dof)
    if dof == 1e8:
        middle = y[0].abs() <= 2
        assert_close(student.value[..., middle], gaussian.value[..., middle], "the limit itself", 1e-7)


def test_the_ratio_of_gamma_functions_is_smooth_where_its_formulas_meet():
    dof = torch.tensor([199.999999, 200.000001]).double()[:, None]
    scale, y, eta = torch.ones(2, 1).double(), torch.ones(1, 1).double(), torch.zeros(2, 1, 1).double()
    local = StudentT().value_and_derivatives({"scale": scale, "dof": dof}, y, eta)
    for part in local:
        assert_close(part[0], part[1], "series and difference meet", 1e-7)


@pytest.mark.parametrize(
    ("law", "values", "words"),
    [
        (Poisson(), [[-1.0]], "a negative value .*Poisson counts start at 0"),
        (Poisson(), [[1.5]], "not whole .1.5.: Poisson needs counts"),
        (Binomial(), [[2.0]], "a value of 2, above trials=1"),
        (Binomial(trials=None), [[1.0]], "an odd number of columns: give successes, then failures"),
    ],
)
def test_responses_outside_a_family_are_named(law, values, words):
    assert re.search(words, law.validate(torch.tensor(values)))


def test_families_are_chosen_by_name_or_given():
    assert family("poisson") is FAMILIES["poisson"]
    assert family(Poisson()) == Poisson()
    with pytest.raises(ValueError, match=r"family 'normal' is unknown: .*the names are gaussian, full-gaussian"):
        family("normal")
    with pytest.raises(TypeError, match="family=1 is a int: give a name of FAMILIES or a Family"):
        family(1)
