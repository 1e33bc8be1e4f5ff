"""Few rows make an expert unsound only where its likelihood could grow without bound; trials and outputs count."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from gatewise.core.experts import Constant
from gatewise.core.families import FAMILIES, Binomial, Gaussian
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit import Status, maximum_likelihood
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import make_rows

from ..covering import slow_rest


def latent_classes(items, rare, seed):
    """Patterns of binary items with their frequencies: two classes, and a few rows that have nearly every item."""
    r = np.random.default_rng(seed)
    high = np.where(np.arange(items) < items // 2, 0.85, 0.15)
    chance = np.stack([high, 1 - high])[r.integers(0, 2, 400)]
    seen = np.r_[r.random((400, items)) < chance, r.random((rare, items)) < 0.93].astype(float)
    return np.unique(seen, axis=0, return_counts=True)


def classes(patterns, counts, k, **options):
    mixture = Mixture((GATES["constant"],), (k,), Constant(), Binomial())
    rows = make_rows(np.zeros((len(patterns), 1)), patterns, weight=torch.from_numpy(counts.astype(float)))
    return maximum_likelihood(mixture, rows, **options)


@pytest.mark.parametrize(("items", "rare", "seed"), [(9, 6, 0), (21, 12, 0), (21, 15, 2)])
def test_a_class_of_few_rows_is_kept(items, rare, seed):
    patterns, counts = latent_classes(items, rare, seed)
    fit = classes(patterns, counts, 3)
    assert fit.starts.better_unsound == ()
    assert bool(fit.starts.sound.all())
    assert fit.log_likelihood >= float(fit.starts.log_likelihood.max()) - 1e-6
    assert Status.unsound not in fit.flags
    assert fit.certificate.starved == ()
    assert not fit.certificate.crowded
    smallest = torch.softmax(fit.measure.gates[0]["bias"], -1).min() * counts.sum()
    assert float(smallest) < items + 1  # fewer rows than parameters


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("d", [1, 3])
def test_trials_of_few_grouped_rows_determine_the_parameters(d, q):
    r = np.random.default_rng(0)
    group = np.repeat(np.arange(8), 2)
    x = r.uniform(-1, 1, (16, d))
    trials = r.integers(12, 54, (16, q))
    hits = r.binomial(trials, np.where(r.random(8) < 0.5, 0.15, 0.85)[group][:, None])
    rows = make_rows(x, np.concatenate([hits, trials - hits], 1), ends=torch.arange(2, 17, 2))
    fit = maximum_likelihood(Mixture((GATES["constant"],), (2,), family=Binomial(None)), rows, starts=6)
    assert fit.certificate.rank == 1 + 2 * q * (d + 1)  # as many as there are groups, or more
    assert not fit.certificate.crowded
    assert fit.certificate.starved == ()
    assert Status.unsound not in fit.flags


@pytest.mark.parametrize("name", FAMILIES)
def test_the_likelihood_of_discrete_responses_is_bounded(name):
    assert FAMILIES[name].bounded == (name in ("poisson", "binomial", "negative-binomial", "categorical", "ordered"))


@dataclass(frozen=True)
class Bounded(Gaussian):
    """A Gaussian that is said to be bounded."""

    bounded = True


@pytest.mark.parametrize("d", slow_rest([1, 3, 5], [3]))
def test_an_expert_of_fewer_rows_than_parameters_is_unsound_where_a_density_can_collapse(d):
    r = np.random.default_rng(0)
    x = r.uniform(-1, 1, (40 + d, d))
    y = np.r_[r.standard_normal(40), 50 + 0.2 * r.standard_normal(d)][:, None]
    fixed, rows = {"family.scale": torch.tensor([[1.0], [1.0]])}, make_rows(x, y)
    found = {
        family: maximum_likelihood(Mixture((GATES["constant"],), (2,), family=family), rows, FitSpec(fixed=fixed))
        for family in (Gaussian(), Bounded())
    }
    assert Status.unsound in found[Gaussian()].flags or found[Gaussian()].starts.better_unsound
    assert Status.unsound not in found[Bounded()].flags
    assert found[Bounded()].starts.better_unsound == ()


@pytest.mark.parametrize("q", [2, 4])
def test_every_output_of_a_row_counts(q):
    """Eight rows per expert determine a plane over three inputs and a scale, whatever the number of outputs."""
    r = np.random.default_rng(0)
    x = r.uniform(-1, 1, (16, 3))
    side = np.repeat([0.0, 10.0], 8)[:, None]
    y = side + x[:, :1] + 0.5 * r.standard_normal((16, q))
    fit = maximum_likelihood(Mixture((GATES["constant"],), (2,)), make_rows(x, y), starts=6)
    assert fit.certificate.starved == ()
    assert not fit.certificate.crowded  # 16 q responses for 1 + 10 q parameters
    assert fit.status == Status.converged
