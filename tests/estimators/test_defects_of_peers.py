"""Defects found in other packages, each a test that this one does not have it; named after the survey's ids."""

import time
import warnings

import numpy as np
import pytest
import torch

from gatewise import GATES, MixtureOfExpertsRegressor, Status, data, maximum_likelihood
from gatewise.core.mixture import Mixture, log_density
from gatewise.estimators.warnings import FitWarning, SeparatedWarning, StalledWarning, StartsDisagreeWarning
from gatewise.fit import em
from gatewise.objective.parameterization import from_paths
from gatewise.objective.rows import make_rows

SMOOTH_GATES = [
    name
    for name, gate in GATES.items()
    if gate.link.normalised and gate.link.smooth and name != "equal" and not gate.score.kinked()
]
LONG = ("gelu-dense-to-sparse", "tanh-dense-to-sparse", "relu-dense-to-sparse")  # as activation-dense-to-sparse
REFERENCE = -50596.7745  # of the set with d=1, k=2, n=100 000


def quiet_fit(model, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return model.fit(*args, **kwargs)


def check_single_start(synthetic, seed):
    x, y, _ = synthetic(1, 2, 100000)
    model = quiet_fit(MixtureOfExpertsRegressor(n_init=1, random_state=seed), x, y)
    assert not model.converged_ or abs(model.log_likelihood_ - REFERENCE) < 1


@pytest.mark.parametrize("seed", range(3))
def test_s01_false_convergence(synthetic, seed):
    check_single_start(synthetic, seed)


@pytest.mark.slow
def test_s01_false_convergence_20_of_20(synthetic):
    for seed in range(20):
        check_single_start(synthetic, seed)


@pytest.mark.parametrize("gate", [pytest.param(g, marks=pytest.mark.slow) if g in LONG else g for g in SMOOTH_GATES])
def test_s02_every_gate_parameter_moves_in_the_first_step_that_is_taken(lines, gate):
    before, after = (
        quiet_fit(MixtureOfExpertsRegressor(gate=gate, method="em", max_iter=n, n_init=1, random_state=0), *lines)
        for n in (1, 6)
    )
    fixed = {"temperature"} if before.mixture_.gates[0].held() else set()
    for name, value in before.gate_params_[0].items():
        moved = value != after.gate_params_[0][name]
        if name in before.mixture_.gates[0].translation():
            moved = moved[:-1]
        assert moved.all() or name in fixed, name
    assert after.log_likelihood_ > before.log_likelihood_


def test_s02_a_failing_solver_surfaces(lines, monkeypatch):
    def broken(*args):
        raise TypeError("cholesky() got an unexpected keyword argument")

    monkeypatch.setattr(em, "solve_positive", broken)
    with pytest.raises(TypeError, match="unexpected keyword"):
        MixtureOfExpertsRegressor(n_init=1).fit(*lines)


@pytest.mark.parametrize("seed", range(6))
def test_s03_no_expert_is_dropped_in_silence(synthetic, seed):
    x, y, _ = synthetic(1, 5, 1000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = MixtureOfExpertsRegressor(5, n_init=1, random_state=seed).fit(x, y)
    assert model.coef_.shape == (5, 1)
    assert model.n_experts_ == 5 or (model.status_ is Status.unsound and caught)


def test_s04_a_separated_gate_is_reported():
    temperature = data.load("tempanomalies")
    model = MixtureOfExpertsRegressor(random_state=0)
    with pytest.warns(SeparatedWarning, match="grows without limit") as caught:
        model.fit(temperature.X.astype(float), temperature.y)
    assert len(caught) == 1
    assert model.log_likelihood_ >= 102.72
    assert model.status_ is Status.separated
    assert not model.converged_
    assert "Status: separated" in model.summary()


@pytest.mark.parametrize(("d", "k"), [(1, 2), (1, 3), (1, 5), (5, 2), (5, 3), (5, 5)])
def test_s06_default_settings_reach_what_a_start_at_the_truth_reaches(synthetic, d, k):
    x, y, truth = synthetic(d, k, 1000)
    paths = {f"gates.0.{name}": truth[name] for name in ("weight", "bias")}
    paths |= {"experts.coef": truth["coef"][:, None], "experts.intercept": truth["intercept"][:, None]}
    paths |= {"family.scale": truth["scale"][:, None]}
    start = from_paths({path: torch.from_numpy(value) for path, value in paths.items()}, 1)
    reference = maximum_likelihood(Mixture((GATES["softmax"],), (k,)), make_rows(x, y[:, None]), starts=[start])
    model = MixtureOfExpertsRegressor(k, random_state=0).fit(x, y)
    assert model.converged_
    assert model.log_likelihood_ > reference.log_likelihood - 0.01


@pytest.mark.parametrize("family", ["gaussian", "student-t", "poisson"])
def test_s07_the_reported_estimate_is_stationary(lines, family):
    x, y = lines
    if family == "poisson":  # two laws far apart, each of half of the rows
        rng = np.random.default_rng(0)
        y = (
            rng.poisson(np.exp(np.where(rng.uniform(size=len(x)) < 0.5, 3.0 + 0.3 * x[:, 1], 1.0 - 0.3 * x[:, 0])))
            * 1.0
        )
    y = y + 0.5 * np.random.default_rng(0).standard_t(3, len(y)) if family == "student-t" else y
    model = quiet_fit(MixtureOfExpertsRegressor(family=family, random_state=0), x, y)
    assert model.converged_, model.status_.words
    paths = {name: value.clone().requires_grad_(True) for name, value in model.measure_.paths().items()}
    rows = torch.from_numpy(x.T.copy())
    density = log_density(model.mixture_, from_paths(paths, 1), rows, rows, torch.from_numpy(y[None]))
    assert float(density.detach().sum()) == pytest.approx(model.log_likelihood_, abs=1e-8)
    gradients = torch.autograd.grad(density.mean(), list(paths.values()))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-6


def test_s08_hits_are_reported_and_disagreeing_starts_warn():
    tone = data.load("tone")
    model = MixtureOfExpertsRegressor(gate="constant", random_state=0).fit(tone.X, tone.y)
    starts = model.fit_.starts
    count = len(starts.log_likelihood)
    assert 3 <= starts.hits < count
    assert f"{starts.hits} of {count} reached the best value" in model.summary()
    for seed in range(40):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            few = MixtureOfExpertsRegressor(gate="constant", n_init=5, random_state=seed).fit(tone.X, tone.y)
        told = any(issubclass(w.category, StartsDisagreeWarning) for w in caught)
        assert told == (few.fit_.starts.hits < 3 and few.status_ is not Status.unsound)
        if told:
            return
    pytest.fail("no seed had starts that disagree")


def test_s10_every_solver_ends_within_its_budget_with_a_status(synthetic):
    x, y, _ = synthetic(5, 2, 200)
    began = time.monotonic()
    full = quiet_fit(MixtureOfExpertsRegressor((2, 2), random_state=0), x, y)
    assert time.monotonic() - began < 60
    assert full.status_ in Status
    for stopped in ({"max_time": 1e-3}, {"method": "em", "max_iter": 3}):
        with pytest.warns(StalledWarning, match="stopped before"):
            model = MixtureOfExpertsRegressor(2, n_init=3, random_state=0, **stopped).fit(x, y)
        assert model.status_ is Status.stalled
        assert np.isfinite(model.predict(x)).all()


@pytest.mark.parametrize("gate", ["softmax", "laplace", "quadratic-monomial", "activation-dense-to-sparse"])
def test_s11_weights_are_frequencies(lines, gate):
    x, y = lines[0][:150], lines[1][:150]
    weight = np.arange(150) % 3
    model = MixtureOfExpertsRegressor(gate=gate, n_init=6, random_state=3)
    weighted = quiet_fit(model, x, y, sample_weight=weight).predict(x)
    order = np.random.default_rng(0).permutation(int(weight.sum()))
    repeated = quiet_fit(model, np.repeat(x, weight, 0)[order], np.repeat(y, weight)[order])
    np.testing.assert_allclose(repeated.predict(x), weighted, rtol=1e-6, atol=1e-6)
    assert repeated.fit_.n == weight.sum()
