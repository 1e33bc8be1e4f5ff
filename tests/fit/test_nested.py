"""Starts from simpler mixtures: a fit does not end below one of them that was fitted on the way."""

import numpy as np
import pytest
import torch

from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit import maximum_likelihood
from gatewise.fit.model import prepare
from gatewise.fit.search.nested import held_values
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import make_rows

from ..covering import slow_rest


def counts(d=3, n=400):
    """Counts of two rates that the inputs do not tell apart: constant gates are the truth."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(n, d))
    rate = np.where(rng.uniform(size=n) < 0.4, np.exp(1.5 + 0.5 * x[:, 0]), np.exp(-0.5 - 0.3 * x[:, 1]))
    return make_rows(x, rng.poisson(rate)[:, None].astype(float))


def kinds(gate, **held):
    mixture = Mixture((GATES[gate],), (2,))
    return {kind: set(values) for kind, values in held_values(prepare(mixture, counts(), FitSpec(**held))).items()}


def test_the_simpler_mixtures_of_each_gate():
    assert kinds("softmax") == {"constant gates": {"gates.0.weight"}}
    assert set(kinds("quadratic")) == {"constant gates", "plain gates"}
    assert set(kinds("activation-dense-to-sparse")) == {"constant gates", "plain gates"}
    assert set(kinds("dense-to-sparse")) == {"constant gates"}  # its temperature is the size of its slopes
    assert kinds("constant") == kinds("laplace") == {}


def test_values_that_are_determined_already_are_left():
    assert kinds("softmax", bounds={"gates.0.weight": (-2.0, 2.0)}) == {}


@pytest.mark.parametrize("family", ["poisson", "gaussian"])
@pytest.mark.parametrize("gate", ["softmax", "quadratic"])
@pytest.mark.parametrize("seed", slow_rest(range(3), [0]))
def test_a_fit_does_not_end_below_a_simpler_one_from_as_many_starts(family, gate, seed):
    rows, parts = counts(), {"family": FAMILIES[family]}
    mixture = Mixture((GATES[gate],), (3,), **parts)
    fit = maximum_likelihood(mixture, rows, starts=5, seed=seed)
    for held in held_values(prepare(mixture, rows, FitSpec())).values():
        simpler = maximum_likelihood(mixture, rows, FitSpec(fixed=held), starts=5, seed=seed)
        unsound = str(simpler.status) == "unsound"
        assert unsound or fit.log_likelihood >= simpler.log_likelihood - 1e-6, (fit.starts, simpler.starts)
    assert {"constant gates"} <= set(fit.starts.kind)
    assert bool(torch.isfinite(fit.starts.log_likelihood).all())
