"""Distances between laws and functions, against closed forms; inputs against their moments."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.stats import norm

from gatewise.core.experts import EXPERTS
from gatewise.core.families import Binomial, Categorical, Family, Gaussian, Poisson, StudentT
from gatewise.core.families.mean import MeanOnly
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture, log_density
from gatewise.theory import Normal, Uniform
from gatewise.theory.distances import between_laws, between_means


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def single(slope, intercept, scale):
    """One expert behind a gate of one branch."""
    gate = {"weight": tensor([[0.0]]), "bias": tensor([0.0])}
    return Measure(
        (gate,), {"coef": tensor([[[slope]]]), "intercept": tensor([[intercept]])}, {"scale": tensor([[scale]])}
    )


def batch(measure):
    return measure.map(lambda v: v.unsqueeze(0))


ONE = Mixture((GATES["softmax"],), (1,))


@pytest.mark.parametrize(("shift", "s", "t"), [(1.0, 1.0, 1.0), (1e-4, 1.0, 1.0), (0.3, 0.05, 0.4), (3.0, 2.0, 0.5)])
def test_two_gaussians(shift, s, t):
    found = between_laws(ONE, batch(single(0.0, shift, s)), ONE, single(0.0, 0.0, t), Uniform())
    square = 1 - np.sqrt(2 * s * t / (s**2 + t**2)) * np.exp(-0.25 * shift**2 / (s**2 + t**2))
    if s == t:
        square = -np.expm1(-0.125 * shift**2 / s**2)
    assert float(found.hellinger) == pytest.approx(np.sqrt(square), rel=1e-8)
    if s == t:
        assert float(found.total_variation) == pytest.approx(2 * norm.cdf(shift / (2 * s)) - 1, rel=5e-3)


def test_equal_laws_are_at_distance_zero_although_atoms_are_split():
    gate = {"weight": tensor([[1.0], [1.0]]), "bias": tensor([0.0, 2.0])}
    experts = {"coef": tensor([[[2.0]], [[2.0]]]), "intercept": tensor([[1.0], [1.0]])}
    two = Measure((gate,), experts, {"scale": tensor([[0.5], [0.5]])})
    pair = Mixture((GATES["softmax"],), (2,))
    found = between_laws(pair, batch(two), ONE, single(2.0, 1.0, 0.5), Uniform())
    assert float(found.hellinger) < 1e-12
    assert float(found.total_variation) < 1e-12


def test_means_of_lines():
    found = between_means(ONE, batch(single(3.0, 0.5, 1.0)), ONE, single(1.0, 0.5, 1.0), Uniform(-2.0, 2.0))
    assert float(found) == pytest.approx(2 * np.sqrt(4 / 3), rel=1e-12)


def test_batches_equal_loops():
    several = [single(1.0, 0.1 * i, 0.5 + 0.1 * i) for i in range(3)]
    stacked = Measure(
        ({k: torch.stack([m.gates[0][k] for m in several]) for k in ("weight", "bias")},),
        {k: torch.stack([m.experts[k] for m in several]) for k in ("coef", "intercept")},
        {"scale": torch.stack([m.family["scale"] for m in several])},
    )
    truth = single(0.5, 0.0, 0.4)
    whole = between_laws(ONE, stacked, ONE, truth, Uniform())
    alone = [between_laws(ONE, batch(m), ONE, truth, Uniform()) for m in several]
    assert whole.hellinger.tolist() == [float(a.hellinger) for a in alone]


def softmax(k, d, family):
    return Mixture((GATES["softmax"],), (k,), family=family)


def flat(k, d, intercepts, own):
    """A measure that does not depend on its inputs, of k experts with equal weights."""
    zero = torch.zeros(k, 1, d, dtype=torch.float64)
    gate = {"weight": zero[:, 0].clone(), "bias": zero[:, 0, 0].clone()}
    return Measure((gate,), {"coef": zero, "intercept": tensor(intercepts)[:, None]}, own)


@dataclass(frozen=True)
class Geometric(Family):
    """Geometric counts with mean ``exp(eta)``, whose tail is far heavier than a Poisson law's."""

    discrete = True

    def log_prob(self, params, y, eta):
        return (-torch.log1p(torch.exp(eta)) - y * torch.log1p(torch.exp(-eta))).sum(-2)

    def mean(self, params, eta):
        return torch.exp(eta)

    def variance(self, params, eta):
        return torch.exp(eta) * (1 + torch.exp(eta))

    def cdf(self, params, y, eta):
        return torch.where(y < 0, 0.0, -torch.expm1(-(torch.floor(y) + 1) * torch.log1p(torch.exp(-eta))))

    def sample(self, params, eta, generator):
        raise NotImplementedError


COUNTS = {
    "poisson": (Poisson(), stats.poisson, lambda eta: (np.exp(eta),)),
    "bernoulli": (Binomial(), stats.bernoulli, lambda eta: (1 / (1 + np.exp(-eta)),)),
    "binomial": (Binomial(7), stats.binom, lambda eta: (7, 1 / (1 + np.exp(-eta)))),
    "geometric": (Geometric(), stats.geom, lambda eta: (1 / (1 + np.exp(eta)), -1)),
}


@pytest.mark.parametrize(("name", "d"), [*((name, 1) for name in COUNTS), ("poisson", 3), ("binomial", 3)])
def test_counts_are_summed(name, d):
    """Two mixtures of two experts against scipy, one of them far from the other so that there is a gap between."""
    family, law, of = COUNTS[name]
    fitted, true = [0.3, 1.0, 5.0], [0.4, 5.2]
    found = between_laws(
        softmax(3, d, family), batch(flat(3, d, fitted, {})), softmax(2, d, family), flat(2, d, true, {}), Uniform(d=d)
    )
    y = np.arange(20_000)
    p, q = (np.mean([law.pmf(y, *of(eta)) for eta in etas], axis=0) for etas in (fitted, true))
    assert float(found.hellinger) == pytest.approx(np.sqrt(0.5 * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum()), rel=1e-10)
    assert float(found.total_variation) == pytest.approx(0.5 * np.abs(p - q).sum(), rel=1e-10)


def test_counts_whose_means_depend_on_three_inputs():
    """Poisson laws have the affinity ``exp(-(sqrt a - sqrt b)^2 / 2)``."""
    law = Mixture((GATES["softmax"],), (1,), family=Poisson())
    one, other = (
        Measure(
            ({"weight": torch.zeros(1, 3).double(), "bias": torch.zeros(1).double()},),
            {"coef": tensor([[[a, 0.5, -1.0]]]), "intercept": tensor([[1.0]])},
            {},
        )
        for a in (1.0, 1.01)
    )
    at, weight = np.polynomial.legendre.leggauss(40)
    x = np.meshgrid(at, at, at)
    mass = np.prod(np.meshgrid(weight, weight, weight), axis=0) / 8
    a, b = (np.exp(1.0 + slope * x[0] + 0.5 * x[1] - x[2]) for slope in (1.0, 1.01))
    square = -(mass * np.expm1(-0.5 * (np.sqrt(a) - np.sqrt(b)) ** 2)).sum()
    found = between_laws(law, batch(one), law, other, Uniform(-1.0, 1.0, 3))
    assert float(found.hellinger) == pytest.approx(np.sqrt(square), rel=1e-9)


def classes(intercepts, slopes):
    """Two experts of three classes behind a softmax gate of three inputs."""
    gate = {"weight": tensor([[1.0, -0.5, 0.3], [0.0, 0.0, 0.0]]), "bias": tensor([0.2, 0.0])}
    return Measure((gate,), {"coef": tensor(slopes), "intercept": tensor(intercepts)}, {})


def test_classes_are_summed_over_all_of_them():
    mixture = Mixture((GATES["softmax"],), (2,), family=Categorical())
    slopes = [[[1.0, 0.5, 0.0], [-1.0, 0.2, 0.4]], [[0.3, -0.6, 1.0], [0.0, 1.0, -0.5]]]
    fitted, truth = classes([[0.5, -0.2], [0.1, 0.3]], slopes), classes([[0.4, -0.1], [0.1, 0.0]], slopes)
    found = between_laws(mixture, batch(fitted), mixture, truth, Uniform(d=3))
    x = torch.rand(200_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).T * 4 - 2
    each = torch.eye(3, dtype=torch.float64)[:, :, None].expand(-1, -1, x.shape[1])
    p, q = (torch.stack([log_density(mixture, law, x, x, y) for y in each]).exp() for law in (fitted, truth))
    assert torch.allclose(p.sum(0), torch.ones_like(p[0]))
    assert float(found.hellinger) ** 2 == pytest.approx(
        float(0.5 * (p.sqrt() - q.sqrt()).square().sum(0).mean()), rel=0.01
    )
    assert float(found.total_variation) == pytest.approx(float(0.5 * (p - q).abs().sum(0).mean()), rel=0.01)
    same = between_laws(mixture, batch(truth), mixture, truth, Uniform(d=3))
    assert float(same.hellinger) == 0.0


def test_counts_that_are_too_large_to_be_summed_have_no_distance():
    law = softmax(1, 1, Poisson())
    found = between_laws(law, batch(flat(1, 1, [80.0], {})), law, flat(1, 1, [1.0], {}), Uniform())
    assert bool(found.hellinger.isnan())


def test_an_expert_without_weight_does_not_count():
    """At ``exp(60)`` counts it could not be summed over."""
    law, alone = softmax(2, 3, Poisson()), softmax(1, 3, Poisson())
    two = flat(2, 3, [1.0, 60.0], {})
    two.gates[0]["bias"][1] = -100.0
    found = between_laws(law, batch(two), alone, flat(1, 3, [1.2], {}), Uniform(d=3))
    square = -np.expm1(-0.5 * (np.exp(0.5) - np.exp(0.6)) ** 2)
    assert float(found.hellinger) == pytest.approx(np.sqrt(square), rel=1e-9)


@pytest.mark.parametrize(("dof", "d"), [(1.2, 1), (2.0, 1), (30.0, 1), (3.0, 3)])
def test_heavy_tails_are_integrated_to_their_end(dof, d):
    heavy, light = softmax(1, d, StudentT()), softmax(1, d, Gaussian())
    own = {"scale": tensor([[0.5]]), "dof": tensor([[dof]])}
    found = between_laws(
        light, batch(flat(1, d, [0.2], {"scale": tensor([[0.7]])})), heavy, flat(1, d, [0.0], own), Uniform(d=d)
    )

    def gap(y):
        return 0.5 * (np.sqrt(stats.t.pdf(y, dof, 0, 0.5)) - np.sqrt(stats.norm.pdf(y, 0.2, 0.7))) ** 2

    ends = [0.0, 1.0, 3.0, 10.0, 100.0, np.inf]
    parts = [quad(gap, *pair, epsabs=0, epsrel=1e-11)[0] for pair in pairwise([-e for e in ends[::-1]] + ends[1:])]
    assert float(found.hellinger) == pytest.approx(np.sqrt(sum(parts)), rel=1e-8)


@pytest.mark.parametrize(
    ("fitted", "true", "words"),
    [
        (Poisson(), Gaussian(), r"Poisson\(\) is a law of counts and Gaussian\(\) is none"),
        (Gaussian(), Categorical(), r"one is a law of classes and the other is none"),
        (Binomial(None), Binomial(None), r"Binomial\(trials=None\) has 2 responses"),
    ],
)
def test_laws_without_a_distance_are_refused(fitted, true, words):
    own = {"scale": tensor([[1.0]])} if true == Gaussian() else {}
    with pytest.raises(ValueError, match=words):
        between_laws(
            softmax(1, 1, fitted), batch(flat(1, 1, [0.0], {})), softmax(1, 1, true), flat(1, 1, [0.0], own), Uniform()
        )


def laplace(d, centers, biases=(0.3, 0.0)):
    """Two experts behind a gate with kinks."""
    gate = {"center": tensor(centers), "bias": tensor(biases)}
    coef = torch.zeros(2, 1, d, dtype=torch.float64)
    coef[:, 0, 0] = tensor([1.5, -1.0])
    return Measure((gate,), {"coef": coef, "intercept": tensor([[1.0], [-1.0]])}, {"scale": tensor([[0.5], [0.7]])})


def square_at(mixture, fitted, truth, x):
    """The squared distance at one input (d,), by the trapezoidal rule over the response."""
    y = torch.linspace(-12.0, 12.0, 1201, dtype=torch.float64)
    at = torch.as_tensor(x, dtype=torch.float64)[:, None].expand(-1, len(y))
    p, q = (log_density(mixture, measure, at, at, y[None]).exp() for measure in (fitted, truth))
    return float(0.5 * ((p.sqrt() - q.sqrt()) ** 2).sum() * 0.02)


@pytest.mark.parametrize("shift", [1.0, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("inputs", [Uniform(), Normal()], ids=["uniform", "normal"])
def test_kinks_of_laplace_gates_are_seen(shift, inputs):
    mixture = Mixture((GATES["laplace"],), (2,))
    fitted, truth = laplace(1, [[-0.4 + shift], [0.9]]), laplace(1, [[-0.4], [0.9]])
    points = sorted({-0.4, -0.4 + shift, 0.9})
    ends = (-2.0, *points, 2.0) if inputs == Uniform() else (-9.0, -4.0, *points, 4.0, 9.0)

    def value(x):
        mass = 0.25 if inputs == Uniform() else stats.norm.pdf(x)
        return mass * square_at(mixture, fitted, truth, [x])

    exact = sum(quad(value, *pair, epsabs=0, epsrel=1e-9)[0] for pair in pairwise(ends))
    found = between_laws(mixture, batch(fitted), mixture, truth, inputs)
    assert float(found.hellinger) == pytest.approx(np.sqrt(exact), rel=1e-7)


def test_weights_that_jump_are_integrated_between_their_jumps():
    """Of three experts two are kept; the strips where fit and truth keep others are a hundredth wide."""
    mixture = Mixture((GATES["top-k"],), (3,))

    def kept(slope):
        gate = {"weight": tensor([[slope], [0.0], [-1.0]]), "bias": tensor([0.0, 0.3, 0.1])}
        return Measure((gate,), *laplace(1, [[0.0], [0.0]])[1:]).map(lambda v: torch.cat([v, v[:1] + 0.5])[:3])

    fitted, truth = kept(1.01), kept(1.0)
    x = torch.linspace(-2.0, 2.0, 400_001, dtype=torch.float64)
    masks = [mixture.gates[0].weights(m.gates[0], x[None]) > 0 for m in (fitted, truth)]
    jumps = [float(x[i]) for mask in masks for i in (mask[:, 1:] != mask[:, :-1]).any(0).nonzero()[:, 0]]
    ends = sorted({-2.0, *jumps, 2.0})
    exact = sum(
        quad(lambda v: 0.25 * square_at(mixture, fitted, truth, [v]), *pair, epsabs=1e-12, epsrel=1e-7)[0]
        for pair in pairwise(ends)
    )
    found = between_laws(mixture, batch(fitted), mixture, truth, Uniform())
    assert float(found.hellinger) == pytest.approx(np.sqrt(exact), rel=1e-3)  # the ends are rounded to 1e-5


def test_three_inputs_behind_a_laplace_gate():
    """Against 36^3 Gauss-Legendre nodes; 1024 Sobol points are 2e-4 off."""
    mixture = Mixture((GATES["laplace"],), (2,))
    fitted = laplace(3, [[-0.4, 0.5, 0.1], [0.9, -0.3, 0.2]], (0.4, 0.0))
    truth = laplace(3, [[-0.5, 0.6, 0.0], [0.9, -0.4, 0.2]])
    at, weight = np.polynomial.legendre.leggauss(36)
    x = torch.from_numpy(np.stack([v.ravel() for v in np.meshgrid(at, at, at)])) * 2.0
    mass = torch.from_numpy(np.prod(np.meshgrid(weight, weight, weight), axis=0).ravel() / 8.0)
    total = 0.0
    for y in torch.linspace(-8.0, 8.0, 161, dtype=torch.float64):
        row = y.expand(1, x.shape[1])
        p, q = (log_density(mixture, m, x, x, row).exp() for m in (fitted, truth))
        total += float((mass * 0.05 * (p.sqrt() - q.sqrt()) ** 2).sum())
    found = between_laws(mixture, batch(fitted), mixture, truth, Uniform(d=3))
    assert float(found.hellinger) == pytest.approx(np.sqrt(total), rel=5e-5)


def test_means_of_kinked_experts():
    """``relu(x - 0.37)`` against zero: the mean of the square is ``1.63^3 / 12``."""
    unit = Mixture((GATES["constant"],), (1,), EXPERTS["relu-unit"], MeanOnly())
    names = unit.expert.parameters(1)
    assert unit.expert.kinked()
    gate = {"bias": tensor([0.0])}

    def measure(size):
        values = {"slope": 1.0, "threshold": -0.37, "output": size, "intercept": 0.0}
        experts = {
            name: torch.full((1, 1, *spec.shape), values[spec.role], dtype=torch.float64)
            for name, spec in names.items()
        }
        return Measure((gate,), experts, {})

    found = between_means(unit, batch(measure(1.0)), unit, measure(0.0), Uniform())
    assert float(found) == pytest.approx(np.sqrt(1.63**3 / 12), rel=1e-6)


@pytest.mark.parametrize("inputs", [Uniform(-1.0, 3.0), Uniform(-1.0, 3.0, 3), Normal(), Normal(2), Uniform(grid=True)])
def test_nodes_and_rows_have_the_moments_of_the_law(inputs):
    nodes, rows = inputs.nodes(), inputs.draw(20_000, np.random.default_rng(0))
    assert rows.shape == (20_000, inputs.d)
    mean = (nodes.weight * nodes.x).sum(-1)
    square = (nodes.weight * nodes.x**2).sum(-1)
    assert float(nodes.weight.sum()) == pytest.approx(1.0, abs=1e-12)
    exact = (1.0, 7 / 3) if inputs == Uniform(-1.0, 3.0, inputs.d) else (0.0, 1.0)
    exact = (0.0, 4 / 3) if inputs == Uniform(grid=True) else exact
    assert mean.tolist() == pytest.approx([exact[0]] * inputs.d, abs=5e-3)
    assert square.tolist() == pytest.approx([exact[1]] * inputs.d, abs=1.5e-2)
    assert rows.mean(0).tolist() == pytest.approx([exact[0]] * inputs.d, abs=0.05)
    assert (rows**2).mean(0).tolist() == pytest.approx([exact[1]] * inputs.d, abs=0.1)


def test_impossible_inputs_are_refused():
    with pytest.raises(ValueError, match="low < high"):
        Uniform(1.0, 1.0)
    with pytest.raises(ValueError, match="d=1 only"):
        Uniform(d=2, grid=True)
