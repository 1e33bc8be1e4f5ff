"""Distances between laws and functions, against closed forms; inputs against their moments."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.theory import Normal, Uniform
from gatewise.theory.distances import between_densities, between_means


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
    found = between_densities(ONE, batch(single(0.0, shift, s)), ONE, single(0.0, 0.0, t), Uniform().nodes())
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
    found = between_densities(pair, batch(two), ONE, single(2.0, 1.0, 0.5), Uniform().nodes())
    assert float(found.hellinger) < 1e-12
    assert float(found.total_variation) < 1e-12


def test_means_of_lines():
    found = between_means(ONE, batch(single(3.0, 0.5, 1.0)), ONE, single(1.0, 0.5, 1.0), Uniform(-2.0, 2.0).nodes())
    assert float(found) == pytest.approx(2 * np.sqrt(4 / 3), rel=1e-12)


def test_batches_equal_loops():
    several = [single(1.0, 0.1 * i, 0.5 + 0.1 * i) for i in range(3)]
    stacked = Measure(
        ({k: torch.stack([m.gates[0][k] for m in several]) for k in ("weight", "bias")},),
        {k: torch.stack([m.experts[k] for m in several]) for k in ("coef", "intercept")},
        {"scale": torch.stack([m.family["scale"] for m in several])},
    )
    nodes, truth = Uniform().nodes(), single(0.5, 0.0, 0.4)
    whole = between_densities(ONE, stacked, ONE, truth, nodes)
    alone = [between_densities(ONE, batch(m), ONE, truth, nodes) for m in several]
    assert whole.hellinger.tolist() == [float(a.hellinger) for a in alone]


def test_counts_are_refused():
    counts = Mixture((GATES["softmax"],), (1,), family=FAMILIES["poisson"])
    with pytest.raises(ValueError, match="location-scale"):
        between_densities(counts, batch(single(0.0, 0.0, 1.0)), ONE, single(0.0, 0.0, 1.0), Uniform().nodes())


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
