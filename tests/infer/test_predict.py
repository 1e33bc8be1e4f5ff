"""Distribution functions against SciPy, and quantiles as their inverse."""

import numpy as np
import pytest
import torch
from scipy import stats

from gatewise.core.families import FAMILIES, Binomial, Family, FullGaussian, Gaussian, Poisson, StudentT
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture, log_density
from gatewise.infer.predict import cdf, interval, quantiles

WIDE = torch.cat([torch.linspace(-15, 15, 301), torch.tensor([-1e3, 1e3, 0.0])]).double()


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def own_parameters(family, dof=(5.0, 20.0)):
    if isinstance(family, Gaussian):
        return {"scale": column(0.5, 1e-3)}
    if isinstance(family, StudentT):
        return {"scale": column(0.5, 1.0), "dof": column(*dof)}
    if isinstance(family, FullGaussian):
        return {"cholesky": column(0.5, 1.0)}
    return {}


def two_leaves(family, **kwargs):
    mixture = Mixture((GATES["softmax"],), (2,), family=family)
    gates = {"weight": column(1.5, 0.0), "bias": column(-0.3, 0.0)[:, 0]}
    experts = {"coef": column(0.8, -0.5)[..., None], "intercept": column(0.4, 1.1)}
    return mixture, Measure((gates,), experts, own_parameters(family, **kwargs))


@pytest.mark.parametrize("dof", [1.0, 1.3, 2.7, 17.0, 100.0, 199.0, 201.0, 1e4, 1e8])
def test_students_distribution_function_is_scipys(dof):
    params = {"scale": column(1.0), "dof": column(dof)}
    found = StudentT().cdf(params, WIDE[None], torch.zeros(1, 1, len(WIDE)).double())[0, 0]
    np.testing.assert_allclose(found, stats.t.cdf(WIDE.numpy(), dof), atol=1e-13)


def test_students_distribution_function_is_exact_near_the_center():
    z = torch.tensor([1e-8, 1e-6, 1e-3, 0.0], dtype=torch.float64)
    found = StudentT().cdf({"scale": column(1.0), "dof": column(1.0)}, z[None], torch.zeros(1, 1, 4).double())[0, 0]
    np.testing.assert_allclose(found - 0.5, np.arctan(z.numpy()) / np.pi, atol=1e-16)


def test_distribution_functions_of_counts_are_scipys():
    y = torch.arange(-2.0, 40.0).double()
    eta = torch.linspace(-4, 3, len(y)).double()[None, None]
    rate, chance = np.exp(eta[0, 0].numpy()), 1 / (1 + np.exp(-eta[0, 0].numpy()))
    np.testing.assert_allclose(Poisson().cdf({}, y[None], eta)[0, 0], stats.poisson.cdf(y.numpy(), rate), atol=1e-14)
    for trials in (1, 9):
        found = Binomial(trials).cdf({}, y[None], eta)[0, 0]
        np.testing.assert_allclose(found, stats.binom.cdf(y.numpy(), trials, chance), atol=1e-14)


def test_a_full_gaussian_has_normal_margins():
    family = FullGaussian(floor=(0.1, 0.2))
    params = {"cholesky": torch.tensor([[1.0, -0.7, 0.5]], dtype=torch.float64)}
    y, eta = torch.linspace(-2, 2, 9).double().expand(2, 9), torch.full((1, 2, 9), 0.3).double()
    spread = np.sqrt([1 + 0.01, 0.49 + 0.25 + 0.04])[:, None]
    np.testing.assert_allclose(family.cdf(params, y, eta)[0], stats.norm.cdf(y.numpy(), 0.3, spread), atol=1e-14)


@pytest.mark.parametrize("family", [Gaussian(), FullGaussian(), StudentT()], ids=lambda f: type(f).__name__)
def test_the_distribution_function_is_the_integral_of_the_density(family):
    mixture, measure = two_leaves(family)
    x = torch.linspace(-2, 2, 41).double()[None]
    y = torch.linspace(-3, 3, 41).double()[None]
    step = 1e-6
    upper, lower = (cdf(mixture, measure, x, x, y + s) for s in (step, -step))
    density = log_density(mixture, measure, x, x, y).exp()
    np.testing.assert_allclose((upper - lower)[0] / (2 * step), density, atol=1e-6 * float(density.max()) + 1e-6)


@pytest.mark.parametrize("dof", [(5.0, 20.0), (1.0, 1.5)])
@pytest.mark.parametrize("family", [Gaussian(), StudentT()], ids=lambda f: type(f).__name__)
def test_quantiles_invert_the_distribution_function(family, dof):
    mixture, measure = two_leaves(family, dof=dof)
    x = torch.linspace(-3, 3, 60).double()[None]
    levels = torch.tensor([0.99, 1e-6, 0.5, 0.05], dtype=torch.float64)
    found = quantiles(mixture, measure, x, x, levels)
    for level, y in zip(levels, found, strict=True):
        np.testing.assert_allclose(cdf(mixture, measure, x, x, y), float(level), atol=1e-10)
    assert bool((found[[1, 3, 2, 0]].diff(dim=0) > 0).all())


@pytest.mark.parametrize("family", [Poisson(), Binomial(9)], ids=lambda f: type(f).__name__)
def test_quantiles_of_counts_are_the_least_that_suffice(family):
    mixture, measure = two_leaves(family)
    x = torch.linspace(-3, 6, 60).double()[None]
    levels = torch.tensor([1e-3, 0.5, 0.999], dtype=torch.float64)
    for level, y in zip(levels, quantiles(mixture, measure, x, x, levels), strict=True):
        assert bool((cdf(mixture, measure, x, x, y) >= level).all())
        assert bool((cdf(mixture, measure, x, x, y - 1) < level).all())
        assert bool((y == y.round()).all())
        assert bool((y >= 0).all())


def test_an_interval_lies_between_its_tails():
    mixture, measure = two_leaves(Gaussian())
    x = torch.linspace(-3, 3, 20).double()[None]
    low, high = interval(mixture, measure, x, x, 0.8)
    np.testing.assert_allclose(cdf(mixture, measure, x, x, low), 0.1, atol=1e-9)
    np.testing.assert_allclose(cdf(mixture, measure, x, x, high), 0.9, atol=1e-9)


def test_a_quantile_at_zero_is_found_in_few_steps():
    mixture, _ = two_leaves(Gaussian())
    even = Measure(
        ({"weight": column(0.0, 0.0), "bias": torch.zeros(2).double()},),
        {"coef": column(0.0, 0.0)[..., None], "intercept": column(-1.0, 1.0)},
        {"scale": column(1.0, 1.0)},
    )
    x = torch.zeros(1, 3).double()
    np.testing.assert_allclose(quantiles(mixture, even, x, x, torch.tensor([0.5]).double()), 0.0, atol=1e-12)


def test_a_family_without_distribution_function_says_so():
    x = torch.zeros(1, 2).double()
    mixture, measure = two_leaves(Binomial(None))
    with pytest.raises(NotImplementedError, match="trials of a new row is not known"):
        quantiles(mixture, measure, x, x, torch.tensor([0.5]).double())
    with pytest.raises(NotImplementedError, match="has no cdf"):
        Family.cdf(Poisson(), {}, x, x)


@pytest.mark.parametrize("family", [Gaussian(), StudentT(), Poisson()], ids=lambda f: type(f).__name__)
def test_a_leaf_without_weight_beyond_the_floats_does_not_matter(family):
    mixture, measure = two_leaves(family, dof=(5.0, 1.5))
    far = 709.7 if isinstance(family, Poisson) else 1.7e308
    measure.gates[0]["bias"][1] = -1e4
    measure.gates[0]["weight"].zero_()
    measure.experts["intercept"][1] = far
    measure.experts["coef"][1] = 0.0
    for name in family.names("scale"):
        measure.family[name][1] = 1e308
    x, levels = torch.linspace(-3, 3, 12).double().reshape(1, 12), torch.tensor([0.025, 0.975], dtype=torch.float64)
    alone = Mixture((GATES["softmax"],), (1,), family=family)
    kept = Measure(
        ({name: value[:1] for name, value in measure.gates[0].items()},),
        {name: value[:1] for name, value in measure.experts.items()},
        {name: value[:1] for name, value in measure.family.items()},
    )
    found, wanted = (quantiles(*model, x, x, levels) for model in ((mixture, measure), (alone, kept)))
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("name", ["weibull", "log-normal"])
def test_a_leaf_beyond_the_floats_that_has_half_of_the_weight_makes_only_the_upper_end_infinite(name, q):
    family = FAMILIES[name]
    own = {one: column(1.5, 1.5).repeat(1, q) for one in family.names("scale") or family.names("shape")}
    gates = ({"bias": torch.zeros(2, dtype=torch.float64)},)
    experts = {"coef": torch.zeros(2, q, 3).double(), "intercept": column(0.7, 4e47).repeat(1, q)}
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = torch.tensor([0.05, 0.25, 0.95], dtype=torch.float64)
    mixture = Mixture((GATES["constant"],), (2,), family=family)
    found = quantiles(mixture, Measure(gates, experts, own), x, x, levels)
    alone = Mixture((GATES["constant"],), (1,), family=family)
    kept = Measure(({"bias": gates[0]["bias"][:1]},), *({k: v[:1] for k, v in part.items()} for part in (experts, own)))
    np.testing.assert_allclose(found[:2], quantiles(alone, kept, x, x, 2 * levels[:2]), rtol=1e-12)
    assert torch.isposinf(found[2]).all()
