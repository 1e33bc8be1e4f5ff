"""Families at the ends of what floats can hold: finite or infinite numbers, never NaN; counts checked in words."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from scipy import special, stats

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
)
from gatewise.core.families.incomplete_beta import incomplete_beta
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture, regression, responsibilities
from gatewise.infer.predict import quantiles
from gatewise.objective.rows import Block
from gatewise.objective.terms import unit_responsibilities

PREDICTORS = [0.0, 1e-300, 36.0, 700.0, 720.0, 1e4, 1e160, 1e300, 1e308]
PREDICTORS += [-value for value in PREDICTORS[1:]]
RESPONSES = [0.0, 0.5, 3.0, 1e9, 1e20, 1e155, 1e160, 1e300, 1e308]
RESPONSES += [-value for value in RESPONSES[1:]]
COUNTS = [0.0, 1.0, 2.0, 9.0, 1e6, 2.0**53]
POSITIVE = [1e-300, 1e-8, 0.5, 3.0, 1e9, 1e155, 1e300, 1e308]
SHARES = [1e-300, 1e-16, 0.3, 0.5, 1 - 2.0**-53]
SHAPES = [1e-3, 0.3, 1.0, 50.0, 1e4, 1e8]
SCALES = [1e-300, 1e-160, 1e-8, 1.0, 1e8, 1e160, 1e300]
MOST = 2**53


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def rows(values, q=1):
    pairs = list(product(values, PREDICTORS))
    y, eta = tensor([[pair[0] for pair in pairs]]), tensor([[[pair[1] for pair in pairs]]])
    return torch.cat([y, y.flip(-1)][:q]), torch.cat([eta] * q, -2)


def indicators(q):
    """Every class with every predictor, the others moved along."""
    y = torch.eye(q + 1, dtype=torch.float64).repeat_interleave(len(PREDICTORS), 1)
    eta = tensor(PREDICTORS).repeat(q + 1)
    return y, torch.stack([eta.roll(j) for j in range(q)])[None]


CASES = {
    "gaussian": (Gaussian(), [{"scale": tensor([[s]])} for s in SCALES], rows(RESPONSES)),
    "student-t": (
        StudentT(),
        [{"scale": tensor([[s]]), "dof": tensor([[dof]])} for s in SCALES for dof in (1.1, 2.0, 5.0, 201.0, 1e8)],
        rows(RESPONSES),
    ),
    "full-gaussian": (
        FullGaussian(),
        [{"cholesky": tensor([[s, side, 1.0]])} for s in SCALES for side in (0.0, -1.0, 1e300)],
        rows(RESPONSES, 2),
    ),
    "full-gaussian, floor": (
        FullGaussian((1.0, 1e-100)),
        [{"cholesky": tensor([[s, side, 1.0]])} for s in SCALES for side in (0.0, -1.0, 1e300)],
        rows(RESPONSES, 2),
    ),
    "poisson": (Poisson(), [{}], rows(COUNTS)),
    "bernoulli": (Binomial(), [{}], rows([0.0, 1.0])),
    "binomial": (Binomial(MOST), [{}], rows(COUNTS)),
    "gamma": (Gamma(), [{"shape": tensor([[s]])} for s in SHAPES], rows(POSITIVE)),
    "inverse-gaussian": (InverseGaussian(), [{"shape": tensor([[s]])} for s in SHAPES], rows(POSITIVE)),
    "log-normal": (LogNormal(), [{"scale": tensor([[s]])} for s in (1e-8, 1.0, 1e8, 1e300)], rows(POSITIVE)),
    "weibull": (
        Weibull(),
        [{"shape": tensor([[s]])} for s in SHAPES],
        (torch.cat([rows(POSITIVE)[0], (torch.arange(len(POSITIVE) * len(PREDICTORS)) % 2)[None]]), rows(POSITIVE)[1]),
    ),
    "beta": (Beta(), [{"precision": tensor([[s]])} for s in SHAPES], rows(SHARES)),
    "negative-binomial": (NegativeBinomial(), [{"size": tensor([[s]])} for s in SHAPES], rows(COUNTS)),
    "categorical": (Categorical(), [{}], indicators(3)),
    "ordered": (OrderedLogit(), [{"gap": tensor([[[s]]])} for s in (1e-6, 1.0, 1e3, 1e300)], rows([0.0, 1.0, 2.0])),
    "successes and failures": (Binomial(None), [{}], (torch.cat([rows(COUNTS, 2)[0]]), rows(COUNTS)[1])),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_ever_nan(name):
    family, many, (y, eta) = CASES[name]
    for params in many:
        log_prob, variance = family.log_prob(params, y, eta), family.variance(params, eta)
        assert not bool((log_prob.isnan() | (log_prob == torch.inf)).any())
        assert bool((variance >= 0).all())
        assert not bool(family.mean(params, eta).isnan().any())
        assert not bool(family.sample(params, eta, torch.Generator().manual_seed(0)).isnan().any())
        if family != Binomial(None):
            below = family.cdf(params, family.observed(y), eta)
            assert bool(((below >= 0) & (below <= 1)).all())


def test_log_densities_that_have_a_value_have_it():
    """Where a careless formula is infinity minus infinity."""
    nine, far = tensor([[9.0]]), tensor([[[1e308]]])
    assert float(Binomial(9).log_prob({}, nine, far)) == 0.0
    assert float(Binomial(9).log_prob({}, tensor([[0.0]]), far)) == -torch.inf
    assert float(Poisson().log_prob({}, nine, tensor([[[1e307]]]))) == -torch.inf
    student = StudentT().log_prob({"scale": tensor([[1e-300]]), "dof": tensor([[3.0]])}, tensor([[1e300]]), 0 * far)
    z = stats.t.logpdf(1e100, 3) - 4 * 500 * np.log(10) + 300 * np.log(10)  # the tail is z^-4, and z = 1e100 1e500
    np.testing.assert_allclose(float(student), z, rtol=1e-12)
    tail = Binomial(30_000).log_prob({}, tensor([[30_000.0]]), tensor([[[21.0]]]))
    np.testing.assert_allclose(float(tail), -30_000 * np.log1p(np.exp(-21.0)), rtol=1e-12)


@pytest.mark.parametrize("size", [1e100, 1e153, 1e160, 1e300, -1e300, 1e308])
@pytest.mark.parametrize("scales", [(0.3, 0.6), (0.6, 0.3), (5.0, 4.0)])
def test_the_widest_gaussian_takes_a_response_that_is_far_from_all(size, scales):
    mixture = Mixture((GATES["constant"],), (2,))
    zero = torch.zeros(2, 1, dtype=torch.float64)
    experts = {"coef": zero[..., None], "intercept": zero}
    measure = Measure(({"bias": zero[:, 0]},), experts, {"scale": tensor(scales)[:, None]})
    x, y = zero[:1], tensor([[size]])
    expected = [[float(scales[0] > scales[1])], [float(scales[1] > scales[0])]]
    assert responsibilities(mixture, measure, x, x, y).tolist() == expected
    batch = measure.map(lambda value: value[None])
    assert unit_responsibilities(mixture, batch, Block(x, x, y))[0].tolist() == expected


def test_where_every_density_is_zero_the_weights_decide():
    mixture = Mixture((GATES["constant"],), (2,), family=Poisson())
    experts = {"coef": torch.zeros(2, 1, 1).double(), "intercept": tensor([[800.0], [900.0]])}
    measure = Measure(({"bias": tensor([np.log(3.0), 0.0])},), experts, {})
    found = responsibilities(mixture, measure, tensor([[0.0]]), tensor([[0.0]]), tensor([[2.0]]))
    torch.testing.assert_close(found, tensor([[0.75], [0.25]]))


@pytest.mark.parametrize("mean", [30.0, 1e10, 1e13, 1e17, 1e19, 1e30, 1e300])
def test_poisson_counts_of_any_mean_are_drawn(mean):
    eta = tensor(np.log(mean)).expand(1, 1, 4000)
    drawn, mean = Poisson().sample({}, eta, torch.Generator().manual_seed(1)), float(torch.exp(eta[0, 0, 0]))
    assert bool((drawn == drawn.round()).all())
    z = (drawn / mean - 1) * np.sqrt(mean)
    assert abs(float(z.mean())) < 4 / np.sqrt(4000) + 1e-16 * np.sqrt(mean)
    if mean < 1e29:  # beyond, neighbouring floats are further apart than one standard deviation
        np.testing.assert_allclose(float(z.std()), 1.0, atol=0.05)


def test_poisson_counts_beyond_all_floats_are_infinite_and_their_mean_the_largest():
    eta = tensor([[[800.0, 1e300, -1e300]]])
    assert Poisson().sample({}, eta, torch.Generator().manual_seed(0)).flatten().tolist() == [torch.inf, torch.inf, 0.0]
    large, larger, none = Poisson().mean({}, eta).flatten().tolist()
    assert 1.7976e308 < large == larger < torch.inf
    assert none == 0.0


@pytest.mark.parametrize(("low", "high"), [(-0.3, 1), (0, 3), (2.9, 3.1), (3, 6), (6, 9), (-0.3, 9)])
def test_the_incomplete_beta_function_is_scipys(low, high):
    r = np.random.default_rng(0)
    a, b = 10 ** r.uniform(low, high, (2, 2000))
    a, b = np.minimum(a, b), np.maximum(a, b)  # of x above 1 / 2 its complement would have to be given exactly
    mean = a / (a + b)
    x = np.clip(mean + 3 * r.normal(size=2000) * np.sqrt(mean * (1 - mean) / (a + b + 1)), 1e-12, 0.9)
    for other in (False, True):
        given = (b, a, 1 - x, x) if other else (a, b, x, 1 - x)
        found = incomplete_beta(*map(torch.from_numpy, given)).numpy()
        found = 1 - found if other else found
        assert (np.abs(found - special.betainc(a, b, x)) <= 1e-13 + 1e-15 * np.sqrt(b)).all()


def test_the_incomplete_beta_function_is_exact_in_its_tails():
    a, b, x = tensor([3.0, 5e4, 2e6]), tensor([40.0, 7e4, 2e6]), tensor([1e-6, 0.40, 0.494])
    expected = special.betainc(a.numpy(), b.numpy(), x.numpy())
    np.testing.assert_allclose(incomplete_beta(a, b, x, 1 - x), expected, rtol=1e-10)
    ends = incomplete_beta(a[:1], b[:1], tensor([0.0, 1.0]), tensor([1.0, 0.0]))
    assert ends.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("trials", [1, 30, 30_000, 10**9, 10**12])
def test_binomial_distribution_functions_are_scipys_for_any_number_of_trials(trials):
    p = torch.sigmoid(torch.linspace(-9, 9, 200).double())
    y = torch.floor(trials * p + torch.sqrt(trials * p * (1 - p)) * torch.linspace(-4, 4, 200).double())
    found = Binomial(trials).cdf({}, y[None], torch.logit(p)[None, None])[0, 0]
    np.testing.assert_allclose(
        found, stats.binom.cdf(y.numpy(), trials, p.numpy()), atol=1e-14 * np.sqrt(trials) + 1e-13
    )


def steps(function):
    """Return how many tensor operations a call takes."""
    count = 0

    class Counter(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            nonlocal count
            count += 1
            return func(*args, **(kwargs or {}))

    with Counter():
        function()
    return count


@pytest.mark.parametrize(
    "law",
    [
        lambda size: (Binomial(int(size)), {}, size // 2),
        lambda size: (StudentT(), {"scale": tensor([[1.0]]), "dof": tensor([[min(size, 1e8)]])}, 1.5),
        lambda size: (Poisson(), {}, size),
    ],
    ids=["binomial", "student-t", "poisson"],
)
def test_no_distribution_function_costs_more_for_larger_parameters(law):
    taken = []
    for size in (10.0, 1e3, 1e5, 1e8, 1e15):
        family, params, y = law(size)
        eta = tensor([[[np.log(size) if family == Poisson() else 0.1]]])
        taken.append(steps(partial(family.cdf, params, tensor([[float(y)]]), eta)))
    assert max(taken) < 6000  # ten trials take 1300


@pytest.mark.parametrize(
    ("family", "own", "eta", "ends"),
    [
        (Binomial(MOST), {}, 800.0, (MOST, MOST)),
        (Binomial(MOST), {}, -800.0, (0, 0)),
        (Poisson(), {}, 800.0, (torch.inf, torch.inf)),
        (StudentT(), {"scale": 1e300, "dof": 1.1}, 0.0, tuple(1e300 * stats.t.ppf([0.05, 0.95], 1.1))),
        (StudentT(), {"scale": 1e-300, "dof": 1.1}, 0.0, tuple(1e-300 * stats.t.ppf([0.05, 0.95], 1.1))),
        (StudentT(), {"scale": 1.0, "dof": 1.1}, 1e300, (1e300, 1e300)),
        (Gaussian(), {"scale": 1.0}, -1e300, (-1e300, -1e300)),
    ],
)
def test_quantiles_of_extreme_laws(family, own, eta, ends):
    mixture = Mixture((GATES["constant"],), (1,), family=family)
    experts = {"coef": tensor([[[0.0]]]), "intercept": tensor([[eta]])}
    measure = Measure(({"bias": tensor([0.0])},), experts, {k: tensor([[v]]) for k, v in own.items()})
    x = tensor([[0.0]])
    found = quantiles(mixture, measure, x, x, tensor([0.05, 0.95]))[:, 0, 0]
    np.testing.assert_allclose(found, ends, rtol=1e-10)


@pytest.mark.parametrize("trials", [float("nan"), 2.5, 3.0, True, "3", np.bool_(True), torch.tensor(3)])
def test_trials_of_another_type_are_refused(trials):
    with pytest.raises(TypeError, match="give the number of trials of every row, a whole number from 1 to 2\\^53"):
        Binomial(trials)


@pytest.mark.parametrize("trials", [0, -3, 2**53 + 1, 10**400])
def test_numbers_of_trials_that_cannot_be_are_refused(trials):
    with pytest.raises(ValueError, match="a whole number from 1 to 2\\^53, or None where y has a column of successes"):
        Binomial(trials)


def test_whole_numbers_of_numpy_are_trials():
    assert Binomial(np.int64(9)) == Binomial(9)
    assert type(Binomial(np.int64(9)).trials) is int


@pytest.mark.parametrize("name", ["poisson", "negative-binomial", "gamma", "inverse-gaussian", "log-normal", "weibull"])
def test_means_beyond_the_largest_number_spoil_nothing_where_their_expert_has_no_weight(name):
    family = FAMILIES[name]
    mixture = Mixture((GATES["softmax"],), (2,), family=family)
    x = torch.tensor([[900.0, 1.0, 0.0], [-1.0, 0.5, 2.0]], dtype=torch.float64)
    coef = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 0.1, 0.1]]], dtype=torch.float64)
    gate = {"weight": torch.tensor([[-100.0, 0.0, 0.0], [0.0] * 3]).double(), "bias": torch.zeros(2).double()}
    shapes = {name: torch.ones(2, 1).double() for name in family.parameters(1)}
    measure = Measure((gate,), {"coef": coef.requires_grad_(), "intercept": torch.zeros(2, 1).double()}, shapes)
    found = regression(mixture, measure, x.mT, x.mT)
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found[0, 0], family.mean(shapes, torch.tensor([[[0.1]], [[0.1]]]).double())[1, 0, 0])
    found[0, 0].log().backward()
    assert bool(coef.grad.isfinite().all())
