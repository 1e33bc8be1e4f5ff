"""A score, an expert and a family of one's own: what has to be written, and that the laws hold for it.

Nothing is registered: ``Gate(Cauchy())`` is a gate wherever a gate is asked for. Derivatives come from automatic
differentiation; write `value_and_derivatives` (and `rescale`, to fit in standardised units) when speed matters, and run
the laws again. CONTRIBUTING.md has these parts too and checks them one by one, which tests/test_docs.py runs.
"""

from dataclasses import dataclass
from math import inf

import pytest
import torch

from gatewise.core.experts import Expert
from gatewise.core.families import Family
from gatewise.core.gates import Gate
from gatewise.core.links import NormalisedSigmoid
from gatewise.core.mixture import Mixture
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import affine
from gatewise.core.scores import Score, Tempered
from gatewise.testing import (
    assert_close,
    check_expert,
    check_family,
    check_gate,
    check_problem,
    law_local,
    make_problem,
)


@dataclass(frozen=True)
class Cauchy(Score):
    """``bias - log(1 + ||x - center||^2)``."""

    def parameters(self, d):
        return {"center": Parameter((d,), "location"), "bias": Parameter((), "intercept")}

    def __call__(self, params, x):
        difference = params["center"][..., None] - x.unsqueeze(-3)
        return params["bias"][..., None] - torch.log1p((difference**2).sum(-2))


@dataclass(frozen=True)
class Wave(Expert):
    """``height * sin(coef . x + intercept)``."""

    def parameters(self, d):
        return {
            "coef": Parameter((d,), "slope"),
            "intercept": Parameter((), "threshold"),
            "height": Parameter((), "output", initial=1.0),
        }

    def __call__(self, params, x):
        return params["height"][..., None] * torch.sin(affine(params["coef"], params["intercept"], x))


@dataclass(frozen=True)
class Gamma(Family):
    """Gamma with mean ``exp(eta)`` and coefficient of variation ``1 / sqrt(shape)``, for positive responses."""

    def parameters(self, q):
        return {"shape": Parameter((q,), "shape", transform="log", bounds=(0.0, inf), initial=1.0)}

    def log_prob(self, params, y, eta):
        shape = params["shape"][..., None]
        rate = shape * torch.exp(-eta)
        return (shape * torch.log(rate) + (shape - 1) * torch.log(y) - rate * y - torch.lgamma(shape)).sum(-2)

    def mean(self, params, eta):
        return torch.exp(eta)

    def variance(self, params, eta):
        return torch.exp(2 * eta) / params["shape"][..., None]

    def sample(self, params, eta, generator):
        shape = params["shape"][..., None].expand_as(eta)
        return torch._standard_gamma(shape, generator=generator) * torch.exp(eta) / shape

    def validate(self, y):
        return "a value that is not positive" if bool((y <= 0).any()) else None

    def working_response(self, y):
        return torch.log(y)


def test_it_composes_with_links_and_wrappers():
    check_gate(Gate(Tempered(Cauchy()), NormalisedSigmoid()))


def test_all_three_in_one_tree():
    mixture = Mixture((Gate(Cauchy()), Gate(Tempered(Cauchy()))), (2, 3), Wave(), Gamma())
    check_problem(make_problem(mixture, columns=2))


@dataclass(frozen=True)
class Root(Cauchy):
    """Wrong on purpose: every branch looks at the mean of all centers."""

    def __call__(self, params, x):
        center = params["center"].mean(-2, keepdim=True).expand_as(params["center"])
        return super().__call__({**params, "center": center}, x)


@dataclass(frozen=True)
class Steep(Wave):
    """Wrong on purpose: `value_and_derivatives` forgets the height in its Jacobian."""

    def value_and_derivatives(self, params, x):
        local = super().value_and_derivatives(params, x)
        return local._replace(jacobian=local.jacobian / params["height"][..., None, None])


@dataclass(frozen=True)
class Loose(Gamma):
    """Wrong on purpose: not a density."""

    def log_prob(self, params, y, eta):
        return super().log_prob(params, y, eta) + 0.01


@pytest.mark.parametrize(
    ("check", "part", "words"),
    [
        (check_gate, Gate(Root()), "broken: the Jacobian is the numerical derivative"),
        (check_expert, Steep(), "broken: the Jacobian is the automatic derivative"),
        (check_family, Loose(), "broken: the density has mass one"),
    ],
)
def test_mistakes_are_named(check, part, words):
    with pytest.raises(AssertionError, match=words):
        check(part)


def test_the_fallback_differentiates_batches():
    law_local(Cauchy(), d=1)
    law_local(Cauchy(), d=4, seed=3)
    params = {"center": torch.zeros(5, 2, 3, 2).double(), "bias": torch.arange(3.0).double().expand(5, 2, 3)}
    x = torch.ones(2, 4).double()
    local = Cauchy().value_and_derivatives(params, x)
    assert local.jacobian.shape == (5, 2, 3, 3, 4)
    expected = torch.full((5, 2, 3, 4), 2 / 3, dtype=torch.float64)
    assert_close(local.jacobian[..., 0, :], expected, "2 (x - c) / (1 + |x - c|^2)")
