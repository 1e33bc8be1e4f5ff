"""Families against scipy.stats, limits, and responses that are refused."""

import re

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit

from gatewise.core.families import (
    FAMILIES,
    Beta,
    Binomial,
    Categorical,
    FullGaussian,
    Gamma,
    Gaussian,
    InverseGaussian,
    LogNormal,
    NegativeBinomial,
    OrderedLogit,
    Poisson,
    StudentT,
    Weibull,
    family,
)
from gatewise.testing import assert_close, generator

LEAVES, Q, N = 2, 2, 5
G = generator(3)
ETA = torch.randn(LEAVES, Q, N, generator=G, dtype=torch.float64)
Y = torch.randn(Q, N, generator=G, dtype=torch.float64)
COUNTS = torch.tensor([[0, 1, 2, 5, 3], [1, 0, 4, 0, 2]]).double()
SCALE = torch.tensor([[0.5, 2.0], [1.3, 0.7]]).double()
DOF = torch.tensor([[3.0, 250.0], [1.5, 30.0]]).double()
LOWER = torch.tensor([[0.8, -0.4, 1.2], [1.5, 0.9, 0.3]]).double()

POSITIVE, SHARES, OWN = torch.exp(Y), torch.sigmoid(Y), torch.tensor([[0.6, 40.0], [3.0, 1.4]]).double()
EVENTS = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]]).double()
CLASSES = torch.eye(3, dtype=torch.float64)[:, [0, 2, 1, 1, 0]]
LEVELS = torch.tensor([[0, 1, 2, 3, 1], [3, 2, 0, 1, 2]]).double()
GAPS = torch.tensor([[[0.5, 1.5], [2.0, 0.1]], [[1.0, 1.0], [0.3, 0.7]]]).double()


def per_output(density):
    return lambda leaf, i: sum(density(leaf, k, i) for k in range(Q))


def matrix(leaf, floor=(0.0, 0.0)):
    a, b, c = LOWER[leaf].tolist()
    return np.array([[a * a, a * b], [a * b, b * b + c * c]]) + np.diag(np.square(floor))


def weibull(leaf, k, i):
    law = stats.weibull_min(OWN[leaf, k].item(), scale=np.exp(ETA[leaf, k, i].item()))
    return law.logpdf(POSITIVE[k, i].item()) if EVENTS[k, i] else law.logsf(POSITIVE[k, i].item())


def ordered(leaf, k, i):
    cuts = np.r_[-np.inf, 0.0, GAPS[leaf, k].numpy().cumsum(-1), np.inf]
    at = int(LEVELS[k, i])
    return np.log(np.diff(expit(cuts[at : at + 2] - ETA[leaf, k, i].item()))[0])


def categorical(leaf, i):
    odds = np.exp(np.r_[0.0, ETA[leaf, :, i].numpy()])
    return np.log(odds[CLASSES[:, i].argmax()] / odds.sum())


ORACLES = {
    "gamma": (
        Gamma(),
        {"shape": OWN},
        POSITIVE,
        per_output(
            lambda leaf, k, i: stats.gamma.logpdf(
                POSITIVE[k, i].item(), OWN[leaf, k].item(), scale=np.exp(ETA[leaf, k, i].item()) / OWN[leaf, k].item()
            )
        ),
    ),
    "inverse-gaussian": (
        InverseGaussian(),
        {"shape": OWN},
        POSITIVE,
        per_output(
            lambda leaf, k, i: stats.invgauss.logpdf(
                POSITIVE[k, i].item(), np.exp(ETA[leaf, k, i].item()) / OWN[leaf, k].item(), scale=OWN[leaf, k].item()
            )
        ),
    ),
    "log-normal": (
        LogNormal(),
        {"scale": SCALE},
        POSITIVE,
        per_output(
            lambda leaf, k, i: stats.lognorm.logpdf(
                POSITIVE[k, i].item(), SCALE[leaf, k].item(), scale=np.exp(ETA[leaf, k, i].item())
            )
        ),
    ),
    "weibull": (Weibull(), {"shape": OWN}, torch.cat([POSITIVE, EVENTS]), per_output(weibull)),
    "beta": (
        Beta(),
        {"precision": OWN},
        SHARES,
        per_output(
            lambda leaf, k, i: stats.beta.logpdf(
                SHARES[k, i].item(),
                OWN[leaf, k].item() * expit(ETA[leaf, k, i].item()),
                OWN[leaf, k].item() * expit(-ETA[leaf, k, i].item()),
            )
        ),
    ),
    "negative-binomial": (
        NegativeBinomial(),
        {"size": OWN},
        COUNTS,
        per_output(
            lambda leaf, k, i: stats.nbinom.logpmf(
                COUNTS[k, i].item(),
                OWN[leaf, k].item(),
                OWN[leaf, k].item() / (OWN[leaf, k].item() + np.exp(ETA[leaf, k, i].item())),
            )
        ),
    ),
    "categorical": (Categorical(), {}, CLASSES, categorical),
    "ordered": (OrderedLogit(levels=4), {"gap": GAPS}, LEVELS, per_output(ordered)),
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
        (Gamma(), [[2.0, 0.0]], r"not positive .0.: Gamma is a law of positive numbers; fit the zeros apart"),
        (LogNormal(), [[-3.0]], r"not positive .-3.: LogNormal"),
        (InverseGaussian(), [[0.0]], r"not positive .0.: InverseGaussian"),
        (NegativeBinomial(), [[0.5]], "not whole .0.5.: NegativeBinomial needs counts"),
        (Beta(), [[0.5, 1.0]], r"a value of 1: .* strictly between 0 and 1; .* move zeros and ones inside"),
        (Categorical(), [[0.0, 2.0]], "one column: give one column per class"),
        (Categorical(), [[0.0, 1.0], [1.0, 1.0]], r"the row \[1.0, 1.0\]: give one column per class"),
        (Categorical(), [[0.0], [0.0]], r"the row \[0.0, 0.0\]"),
        (OrderedLogit(), [[3.0]], r"a value of 3, above the last of 3 classes .* such as OrderedLogit\(levels=4\)"),
        (OrderedLogit(), [[-1.0]], "a negative value"),
        (Weibull(), [[1.0]], r"an odd number of columns .1.: give times, then events"),
        (Weibull(), [[1.0], [2.0]], "an event of 2: give 1 where the event was at this time and 0 where"),
        (Weibull(), [[0.0], [1.0]], "a time that is not positive"),
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


def test_the_negative_binomial_tends_to_the_poisson_law():
    y, eta = torch.arange(12.0, dtype=torch.float64)[None], torch.full((1, 1, 12), 1.2, dtype=torch.float64)
    mean = torch.exp(eta[:, 0])
    for size in (1e4, 1e6, 1e8):
        found = NegativeBinomial().value_and_derivatives({"size": torch.full((1, 1), size).double()}, y, eta)
        poisson = Poisson().value_and_derivatives({}, y, eta)
        # log NB - log Poisson = ((y - m)^2 - y) / (2 size) + O(size^-2), and the slope in 1 / size is that of size 1
        gap = ((y - mean) ** 2 - y) / 2
        assert_close(size * (found.value - poisson.value), gap, "the first term of its error", 1e-6 + 1e3 / size)
        assert_close(-(size**2) * found.first[:, 1], gap, "its slope in 1 / size", 1e-6 + 1e3 / size)
        of_inverse = size**4 * found.second[:, 1, 1] + 2 * size**3 * found.first[:, 1]
        assert bool(of_inverse.isfinite().all())
        assert_close(found.first[:, :1], poisson.first, "its slope in eta", 1e3 / size)


@pytest.mark.parametrize("levels", [1, 0, -2])
def test_a_number_of_classes_that_cannot_be_is_refused(levels):
    with pytest.raises(ValueError, match=f"levels={levels}: give the number of ordered classes of y, a whole number"):
        OrderedLogit(levels)


@pytest.mark.parametrize("levels", [2.5, "3", True, None])
def test_a_number_of_classes_of_another_type_is_refused(levels):
    with pytest.raises(TypeError, match="give the number of ordered classes of y, a whole number from 2"):
        OrderedLogit(levels)


@pytest.mark.parametrize("q", [1, 3])
def test_two_classes_are_the_binomial_law(q):
    g = generator(q)
    eta = torch.randn(2, q, 6, generator=g, dtype=torch.float64)
    y = (torch.rand(q, 6, generator=g) < 0.5).double()
    found = OrderedLogit(2).value_and_derivatives({}, y, eta)
    for part, other in zip(found, Binomial().value_and_derivatives({}, y, eta), strict=True):
        assert_close(part, other, "two ordered classes")
    one = torch.stack([1 - y[0], y[0]])
    for part, other in zip(
        Categorical().value_and_derivatives({}, one, eta[:, :1]),
        Binomial().value_and_derivatives({}, y[:1], eta[:, :1]),
        strict=True,
    ):
        assert_close(part, other, "two classes")
