"""Fits against other programs and formulas: generalised linear models, a box by SciPy, limits of options."""

import time

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from scipy.optimize import minimize

import gatewise.fit.flat
import gatewise.fit.problem
from gatewise.core.families import FAMILIES, Binomial
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, log_density
from gatewise.fit import Status, maximum_likelihood
from gatewise.fit.frames import moments
from gatewise.fit.pipeline import SEARCHED
from gatewise.fit.spec import FitSpec
from gatewise.objective.parameterization import make_parameterization
from gatewise.objective.rows import make_rows
from gatewise.testing import fitting_problem, generator, rows_of


def gated(*names, branching=(2, 2), **parts):
    return Mixture(tuple(GATES[name] for name in names), branching[: len(names)], **parts)


def inputs(n=200, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


GLMS = {
    "poisson": (
        FAMILIES["poisson"],
        lambda eta, r: r.poisson(np.exp(0.5 + eta))[:, None],
        lambda y: (y[:, 0], sm.families.Poisson()),
    ),
    "logistic": (
        FAMILIES["binomial"],
        lambda eta, r: r.binomial(1, 1 / (1 + np.exp(-eta)))[:, None],
        lambda y: (y[:, 0], sm.families.Binomial()),
    ),
    "ten trials": (
        Binomial(trials=10),
        lambda eta, r: r.binomial(10, 1 / (1 + np.exp(-eta)))[:, None],
        lambda y: (np.c_[y, 10 - y], sm.families.Binomial()),
    ),
    "successes and failures": (
        Binomial(trials=None),
        lambda eta, r: np.c_[r.binomial(4, 1 / (1 + np.exp(-eta))), r.binomial(3, 0.5, len(eta))],
        lambda y: (y, sm.families.Binomial()),
    ),
}


@pytest.mark.parametrize("name", GLMS)
def test_one_expert_is_the_generalised_linear_model_of_statsmodels(name):
    family, draw, response = GLMS[name]
    x = inputs()
    y = draw(x @ [0.6, -0.3], np.random.default_rng(1)).astype(float)
    y = y[y.sum(1) > 0] if name == "successes and failures" else y
    x = x[: len(y)]
    fit = maximum_likelihood(gated("softmax", branching=(1,), family=family), make_rows(x, y), starts=1)
    counts, law = response(y)
    other = sm.GLM(counts, sm.add_constant(x), family=law).fit(tol=1e-12)
    np.testing.assert_allclose(fit.measure.experts["coef"][0, 0], other.params[1:], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(fit.measure.experts["intercept"][0, 0], other.params[0], rtol=1e-6)
    np.testing.assert_allclose(fit.log_likelihood, other.llf, rtol=1e-9)
    assert fit.status == Status.converged
    assert fit.df == 3


def test_frequency_weights_are_those_of_statsmodels():
    x, r = inputs(), np.random.default_rng(1)
    y, w = r.poisson(np.exp(x @ [0.6, -0.3])).astype(float), r.integers(0, 4, 200).astype(float)
    rows = make_rows(x, y[:, None], weight=torch.from_numpy(w))
    fit = maximum_likelihood(gated("softmax", branching=(1,), family=FAMILIES["poisson"]), rows, starts=1)
    other = sm.GLM(y, sm.add_constant(x), family=sm.families.Poisson(), freq_weights=w).fit(tol=1e-12)
    np.testing.assert_allclose(fit.measure.experts["coef"][0, 0], other.params[1:], rtol=1e-6)
    np.testing.assert_allclose(fit.log_likelihood, other.llf, rtol=1e-9)
    assert fit.n == w.sum()


PROBLEM = fitting_problem(gated("softmax"), n=150, seed=1)


def loss_of(parameterization, problem):
    def loss(free):
        at = torch.tensor(free, requires_grad=True)
        measure = parameterization.measure(at)
        value = -log_density(parameterization.mixture, measure, problem.x, problem.gate_x, problem.y).mean()
        value.backward()
        return float(value.detach()), at.grad.numpy()

    return loss


BOXES = {
    "a scale": ({"family.scale": (0.6, 0.9)}, "family.scale"),
    "slopes of the experts": ({"experts.coef": (-0.2, 0.2)}, "experts.coef"),
    "intercepts": ({"experts.intercept": (-0.7, 0.6)}, "experts.intercept"),
    "slopes of the gate": ({"gates.0.weight": (-0.5, 0.5)}, "gates.0.weight"),
    "wide": ({"experts.coef": (-50.0, 50.0), "gates.0.weight": (-90.0, 90.0)}, None),
}


@pytest.mark.parametrize("name", BOXES)
def test_a_fit_in_a_box_is_that_of_scipy(name):
    bounds, active = BOXES[name]
    start = maximum_likelihood(PROBLEM.mixture, rows_of(PROBLEM), starts=[PROBLEM.measure])
    fit = maximum_likelihood(PROBLEM.mixture, rows_of(PROBLEM), FitSpec(bounds=bounds), starts=[start.measure])
    parameterization = make_parameterization(fit.mixture, 2, 2, 1, bounds=bounds)
    lower, upper = parameterization.lower.numpy(), parameterization.upper.numpy()
    begin = np.clip(parameterization.free(start.measure).numpy(), lower, upper)
    box = list(zip(lower, upper, strict=True))
    loss = loss_of(parameterization, PROBLEM)
    options = {"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-9}
    other = minimize(loss, begin, jac=True, bounds=box, method="L-BFGS-B", options=options)
    np.testing.assert_allclose(fit.objective, other.fun, rtol=1e-8)
    np.testing.assert_allclose(parameterization.free(fit.measure), other.x, atol=3e-4)
    at_bound = {
        n for n, v, (a, b) in zip(parameterization.names, other.x, box, strict=True) if min(v - a, b - v) < 1e-7
    }
    assert set(fit.certificate.active) | set(fit.certificate.floor) == at_bound
    if active is None:
        assert fit.status == Status.converged
        assert abs(fit.log_likelihood - start.log_likelihood) < 1e-8
    else:
        assert at_bound
        assert all(n.startswith(active) for n in at_bound)
        assert fit.log_likelihood < start.log_likelihood


def test_an_active_bound_is_named_and_a_given_floor_of_the_scale_is_a_floor():
    bounds = {"experts.coef": (-0.2, 0.2)}
    fit = maximum_likelihood(PROBLEM.mixture, rows_of(PROBLEM), FitSpec(bounds=bounds), starts=[PROBLEM.measure])
    assert fit.status == Status.at_bound
    assert fit.certificate.active
    assert float(fit.measure.experts["coef"].abs().max()) <= 0.2 + 1e-12
    floored = maximum_likelihood(PROBLEM.mixture, rows_of(PROBLEM), FitSpec(min_scale=2.0), starts=[PROBLEM.measure])
    assert floored.status == Status.unsound
    assert floored.certificate.floor == ("family.scale[0,0]", "family.scale[1,0]")
    torch.testing.assert_close(floored.measure.family["scale"], torch.full((2, 1), 2.0).double())


def separated_rows(n=200, seed=0):
    r = np.random.default_rng(seed)
    x = r.uniform(-1, 1, (n, 1))
    return x, np.where(x > 0, 3 + x, -3 - x) + 0.3 * r.standard_normal((n, 1))


def test_a_ridge_makes_a_separated_gate_finite():
    x, y = separated_rows()
    mixture = gated("softmax")
    free, penalised = (maximum_likelihood(mixture, make_rows(x, y), FitSpec(alpha=a), starts=4) for a in (0.0, 1.0))
    assert free.status == Status.separated
    assert penalised.status == Status.converged
    slope = penalised.measure.gates[0]["weight"][:, 0] * x.std()
    expected = 0.5 * float(((slope - slope.mean()) ** 2).sum())
    np.testing.assert_allclose(penalised.penalty, expected, rtol=1e-8)
    assert float(slope.abs().max()) < 20
    assert penalised.log_likelihood < free.log_likelihood
    assert penalised.penalty < free.log_likelihood - penalised.log_likelihood + 10


def test_a_large_alpha_is_a_constant_gate():
    rows = rows_of(PROBLEM)
    heavy = maximum_likelihood(PROBLEM.mixture, rows, FitSpec(alpha=1e10), starts=4)
    constant = maximum_likelihood(gated("constant"), rows, starts=4)
    slope = heavy.measure.gates[0]["weight"]
    assert float((slope - slope.mean(0)).abs().max()) < 1e-6
    np.testing.assert_allclose(heavy.log_likelihood, constant.log_likelihood, rtol=1e-6)


def test_alpha_is_a_number_from_zero():
    with pytest.raises(ValueError, match=r"alpha=-1\.0: the ridge penalty is a number from 0"):
        maximum_likelihood(PROBLEM.mixture, rows_of(PROBLEM), FitSpec(alpha=-1.0))


def test_without_a_gauge_the_temperature_is_named_as_the_ridge_it_is():
    rows = rows_of(PROBLEM)
    softmax = maximum_likelihood(PROBLEM.mixture, rows, starts=4)
    for start in (4, 8):
        fit = maximum_likelihood(gated("dense-to-sparse"), rows, FitSpec(gauge="none"), starts=start)
        np.testing.assert_allclose(fit.log_likelihood, softmax.log_likelihood, rtol=1e-9)
        assert fit.status == Status.unidentified
        assert len(fit.certificate.null) == 1
        assert "gates.0.temperature" in fit.certificate.null[0]
        assert fit.df == softmax.df
    held = maximum_likelihood(gated("dense-to-sparse"), rows, starts=4)
    np.testing.assert_allclose(held.log_likelihood, softmax.log_likelihood, rtol=1e-9)
    assert float(held.measure.gates[0]["temperature"]) == 1
    assert held.df == softmax.df
    assert any("gates.0.temperature is not identified" in note for note in held.notes)


def test_without_a_gauge_each_node_has_its_own_ridge():
    problem = fitting_problem(gated("softmax", "softmax"), n=300, seed=1)
    mixture = gated("dense-to-sparse", "dense-to-sparse")
    fit = maximum_likelihood(mixture, rows_of(problem), FitSpec(gauge="none"), starts=4)
    assert len(fit.certificate.null) == 3
    assert all("temperature" in name for name in fit.certificate.null)


@pytest.mark.parametrize("max_time", [1e-9, 0.15])
def test_out_of_time_the_best_so_far_comes_back_and_says_so(max_time):
    problem = fitting_problem(gated("softmax", branching=(6,)), n=3000, seed=2)
    begun = time.monotonic()
    fit = maximum_likelihood(problem.mixture, rows_of(problem), starts=20, max_time=max_time)
    assert time.monotonic() - begun < 5 + max_time
    assert np.isfinite(fit.log_likelihood)
    assert not fit.certificate.passed
    assert Status.stalled in fit.flags
    assert Status.converged not in fit.flags
    assert bool(log_density(fit.mixture, fit.measure, problem.x, problem.gate_x, problem.y).isfinite().all())


def test_without_time_for_second_derivatives_an_unsound_fit_is_still_called_unsound(monkeypatch):
    """A large model must not run long beyond its limit, nor hide that experts hold no rows."""
    problem = fitting_problem(gated("softmax", branching=(6,)), d=3, n=40, seed=2)
    free = maximum_likelihood(problem.mixture, rows_of(problem), starts=2)
    assert free.status is Status.unsound
    monkeypatch.setattr(gatewise.fit.problem, "ENTRY", 1.0)  # second derivatives would take many minutes
    known = []
    monkeypatch.setattr(gatewise.fit.flat, "weak_directions", lambda *_: known.append(1))
    fit = maximum_likelihood(problem.mixture, rows_of(problem), starts=2, max_time=60)
    assert not known
    assert fit.status is Status.unsound
    assert Status.stalled in fit.flags
    assert np.isfinite(fit.log_likelihood)


def test_one_start_is_enough_to_be_told_what_it_found():
    fit = maximum_likelihood(PROBLEM.mixture, rows_of(PROBLEM), starts=1)
    assert len(fit.starts.log_likelihood) == 1
    assert fit.status == Status.converged
    with pytest.raises(ValueError, match="starts=0: give a whole number from 1 to 1000000"):
        maximum_likelihood(PROBLEM.mixture, rows_of(PROBLEM), starts=0)


def test_a_given_start_at_the_optimum_stays_there():
    fit = maximum_likelihood(PROBLEM.mixture, rows_of(PROBLEM), starts=8)
    again = maximum_likelihood(PROBLEM.mixture, rows_of(PROBLEM), starts=[fit.measure])
    np.testing.assert_allclose(again.log_likelihood, fit.log_likelihood, rtol=1e-12)
    for path, value in fit.measure.paths().items():
        torch.testing.assert_close(again.measure.paths()[path], value, rtol=1e-7, atol=1e-9)
    assert again.starts.kind == ("given",)


def test_a_subsampled_search_ends_at_the_optimum_of_all_rows():
    problem = fitting_problem(gated("softmax"), n=SEARCHED + 1000, seed=1)
    fit = maximum_likelihood(problem.mixture, rows_of(problem), starts=4)
    given = maximum_likelihood(problem.mixture, rows_of(problem), starts=[problem.measure])
    assert fit.starts.subsampled
    assert fit.status == Status.converged
    np.testing.assert_allclose(fit.log_likelihood, given.log_likelihood, rtol=1e-10)


def test_a_perturbed_cosine_gate_is_identified_up_to_its_common_shift():
    problem = fitting_problem(gated("perturbed-cosine"), n=300, seed=1)
    fit = maximum_likelihood(problem.mixture, rows_of(problem), starts=4)
    experts = 2 * (3 + 1)
    assert fit.status == Status.converged
    assert fit.df == experts + 2 * 2 - 2 + 1  # two weights but for a common shift, and a bias
    moved = {name: value.clone() for name, value in fit.measure.gates[0].items()}
    floor = fit.mixture.gates[0].score.floor
    unit = moved["weight"] / (moved["weight"].norm(dim=-1, keepdim=True) + floor) + torch.tensor([0.02, -0.03])
    length = unit.norm(dim=-1, keepdim=True)
    moved["weight"] = unit * floor / (1 - length)
    other = fit.measure._replace(gates=(moved,))
    value = log_density(fit.mixture, other, problem.x, problem.gate_x, problem.y).sum()
    assert float(length.max()) < 1
    np.testing.assert_allclose(float(value), fit.log_likelihood, rtol=1e-10)


def test_the_penalty_is_in_standardised_units():
    moved = PROBLEM._replace(x=100 * PROBLEM.x + 7, gate_x=100 * PROBLEM.gate_x + 7)
    fits = [maximum_likelihood(PROBLEM.mixture, rows_of(p), FitSpec(alpha=3.0), starts=2) for p in (PROBLEM, moved)]
    np.testing.assert_allclose(fits[0].penalty, fits[1].penalty, rtol=1e-6)
    frame = moments(rows_of(PROBLEM).gate_x, None, None)
    slope = fits[0].measure.gates[0]["weight"] * frame.scale
    np.testing.assert_allclose(fits[0].penalty, 1.5 * float(((slope - slope.mean(0)) ** 2).sum()), rtol=1e-8)


def test_starts_do_not_depend_on_a_global_generator():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    maximum_likelihood(PROBLEM.mixture, rows_of(PROBLEM), starts=4, seed=generator(1).initial_seed())
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
