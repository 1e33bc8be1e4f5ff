"""The laws of branches that are added to experts, a point mass at zero and noise, alone and beside other families."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from gatewise.core.by_leaf import ExpertsByLeaf, FamiliesByLeaf
from gatewise.core.codec import CodecError, decode, encode
from gatewise.core.experts import Constant, Linear, NoExpert
from gatewise.core.families import (
    Binomial,
    Gaussian,
    NegativeBinomial,
    Poisson,
    StudentT,
    UniformNoise,
    Zero,
    autograd_leaf_local,
)
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, log_density, responsibilities
from gatewise.core.predictors import AffineTransform
from gatewise.testing import (
    generator,
    law_batched,
    law_blocks,
    law_complete,
    law_derivatives,
    law_expected_score,
    law_frequencies,
    law_parameterization,
    law_rescale,
    law_sample,
    make_problem,
)

COUNTS = {
    "poisson": (Poisson(), Zero()),
    "binomial": (Binomial(6), Zero()),
    "negative binomial": (NegativeBinomial(), Zero()),
    "two kinds": (Poisson(), NegativeBinomial(), Zero()),
}
WIDE = UniformNoise((-30.0,), (30.0,))
NUMBERS = {"gaussian": (Gaussian(), WIDE), "student": (StudentT(), Gaussian(), WIDE)}
LAWS = (law_batched, law_derivatives, law_complete, law_parameterization, law_rescale, law_blocks, law_frequencies)


def mixture_of(laws, gate="softmax"):
    experts = (Linear(), Constant())[: len(laws) - 1]
    return Mixture((GATES[gate],), (len(laws),), (*experts, NoExpert()), laws)


@pytest.mark.parametrize("laws", [*COUNTS.values(), *NUMBERS.values()], ids=[*COUNTS, *NUMBERS])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_mixtures_with_a_branch_without_parameters_obey_the_laws_of_mixtures(laws, law):
    law(make_problem(mixture_of(laws), d=3, n=14, seed=1))


@pytest.mark.parametrize("laws", [COUNTS["two kinds"], NUMBERS["student"]], ids=["counts", "numbers"])
@pytest.mark.parametrize("law", [law_expected_score, law_sample], ids=lambda law: law.__name__)
def test_draws_have_the_density(laws, law):
    law(make_problem(mixture_of(laws), d=3, n=14, seed=2))


def test_the_density_is_that_of_lambert():
    """1992, Technometrics 34: P(0) = p + (1 - p) exp(-m), P(y) = (1 - p) Poisson(y; m)."""
    problem = make_problem(mixture_of((Poisson(), Zero())), d=3, n=9, seed=3)
    y = torch.arange(9.0, dtype=torch.float64)[None] // 2
    found = log_density(problem.mixture, problem.measure, problem.x, problem.gate_x, y).exp()
    mean = (
        problem.measure.experts["coef"][..., 0, 0, :] @ problem.x
        + problem.measure.experts["intercept"][..., 0, 0, None]
    ).exp()
    gate = problem.measure.gates[0]
    logits = gate["weight"] @ problem.gate_x + gate["bias"][..., None]
    p = torch.softmax(logits, -2)[..., 1, :]
    poisson = torch.exp(-mean) * mean ** y[0] / torch.exp(torch.lgamma(y[0] + 1))
    assert_close(found, (y[0] == 0) * p + (1 - p) * poisson, rtol=0, atol=1e-12)
    shares = responsibilities(problem.mixture, problem.measure, problem.x, problem.gate_x, y)
    assert bool((shares[..., 1, :][..., y[0] > 0] == 0).all())
    assert bool(shares.isfinite().all())


BOX = UniformNoise((-1.0,) * 3, (2.0, 3.0, 4.0))


@pytest.mark.parametrize(("law", "q"), [(Zero(), 1), (Zero(), 3), (WIDE, 1), (WIDE, 3), (BOX, 3)])
def test_derivatives_are_zero_and_those_of_automatic_differentiation(law, q):
    y = torch.tensor([0.0, 1.0, 40.0], dtype=torch.float64).expand(q, 3)
    eta = torch.randn(2, 4, q, 3, generator=generator(q), dtype=torch.float64)
    local = law.value_and_derivatives({}, y, eta)
    assert local.value.shape == (2, 4, 3)
    assert not local.first.any()
    assert not local.second.any()
    joined = FamiliesByLeaf((Gaussian(), law))
    params = {"scale": 0.5 + torch.rand(2, 4, q, generator=generator(1), dtype=torch.float64)}
    oracle = autograd_leaf_local(joined, params, y, eta)
    mine = joined.value_and_derivatives(params, y, eta)
    for one, other in zip(mine, oracle, strict=True):
        assert_close(one, other, rtol=1e-14, atol=1e-12)


def test_moments_and_distribution_function_of_noise():
    law, eta = UniformNoise((-1.0, 2.0), (3.0, 10.0)), torch.zeros(1, 2, 20000, dtype=torch.float64)
    drawn = law.sample({}, eta, generator(0))
    assert_close(law.mean({}, eta)[0, :, 0], torch.tensor([1.0, 6.0], dtype=torch.float64))
    assert_close(drawn.mean(-1)[0], law.mean({}, eta)[0, :, 0], rtol=0.02, atol=0)
    assert_close(drawn.var(-1)[0], law.variance({}, eta)[0, :, 0], rtol=0.02, atol=0)
    y = torch.tensor([[-5.0, 0.0, 9.0], [2.0, 4.0, 6.0]], dtype=torch.float64)
    assert_close(law.cdf({}, y, eta[..., :3])[0], torch.tensor([[0, 0.25, 1], [0, 0.25, 0.5]], dtype=torch.float64))
    inside = torch.tensor([[-math.inf, -math.log(32.0), -math.inf]], dtype=torch.float64)
    assert_close(law.log_prob({}, y, eta[..., :3]), inside)


def test_the_ends_of_the_range_stay_inside_in_any_units():
    y = torch.tensor(np.random.default_rng(0).normal(1e6, 0.1, size=(1, 500)), dtype=torch.float64)
    law = UniformNoise((float(y.min()),), (float(y.max()),))
    frame = AffineTransform(y.mean(-1), 3.0 * y.std(-1))
    moved = law.rescale_response({}, frame)[0]
    seen = (y - frame.shift[:, None]) / frame.scale[:, None]
    value = moved.log_prob({}, seen, torch.zeros(1, 1, 500, dtype=torch.float64))
    assert_close(
        value,
        torch.full_like(value, math.log(float(frame.scale)) - math.log(law.high[0] - law.low[0])),
        rtol=0,
        atol=1e-8,
    )
    assert law.log_prob({}, y[:, :1] + 1.0, torch.zeros(1, 1, 1, dtype=torch.float64)).item() == -math.inf


def test_a_start_gives_the_excess_of_zeros_to_the_point_mass_and_few_rows_to_noise():
    weight = torch.ones(1000, dtype=torch.float64)
    y = torch.poisson(torch.full((1, 1000), 2.0, dtype=torch.float64), generator=generator(0))
    y[:, :400] = 0
    share = Zero().start_share(y, weight)
    assert bool((share[y[0] > 0] == 0).all())
    assert abs(float(share.sum()) - 400) < 60
    few = WIDE.start_share(y, weight)
    assert_close(few, torch.full_like(few, 0.05))
    twice = Zero().start_share(torch.cat([y, y], -1), torch.ones(2000, dtype=torch.float64))
    assert_close(Zero().start_share(y, 2 * weight), twice[:1000], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        ((1.0,), (1.0,), "lower end below"),
        ((0.0, 0.0), (1.0,), "lower end below"),
        ((-math.inf,), (1.0,), "finite ends"),
        ((math.nan,), (1.0,), "lower end below"),
    ],
)
def test_noise_without_a_range_is_refused(low, high, words):
    with pytest.raises(ValueError, match=words):
        UniformNoise(low, high)


def test_files_hold_them():
    for part in (
        FamiliesByLeaf((Gaussian(), WIDE)),
        FamiliesByLeaf((Poisson(), Zero())),
        ExpertsByLeaf((Linear(), NoExpert())),
    ):
        assert decode(encode(part)) == part
    wrong = encode(WIDE)
    wrong["fields"]["high"] = wrong["fields"]["low"]
    with pytest.raises(CodecError, match="lower end below"):
        decode(wrong)
