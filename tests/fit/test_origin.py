"""Inputs far from zero: what a fit predicts in the units of the data is what was certified."""

from itertools import product

import numpy as np
import pytest
import torch

from gatewise import MixtureOfExpertsRegressor, load_model, save_model
from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES, Gate
from gatewise.core.mixture import Mixture, log_density, regression
from gatewise.core.origin import ExpertAbout, ScoreAbout
from gatewise.core.predictors import AffineTransform, autograd_local
from gatewise.core.scores import Activated, Affine, Cosine, Distance, Quadratic, Tempered
from gatewise.fit import maximum_likelihood
from gatewise.fit.frames import moments
from gatewise.fit.least_squares import least_squares
from gatewise.infer.covariance.information import information, standard_errors
from gatewise.objective.rows import make_rows

from ..covering import slow_rest
from ..own_parts import OwnScore


def data(d, n=300):
    """Two planes told apart by a logistic gate; inputs are whole multiples of 2^-10, so that shifts are exact."""
    r = np.random.default_rng(d)
    x = np.round(r.standard_normal((n, d)) * 1024) / 1024
    first = r.random(n) < 1 / (1 + np.exp(-3 * x[:, 0]))
    y = np.where(first, 1 + 2 * x[:, 0], -1 - x.sum(1)) + 0.3 * r.standard_normal(n)
    return x, y[:, None]


def scored(fit, x, y):
    x, y = (torch.from_numpy(np.ascontiguousarray(part.T)) for part in (x, y))
    return float(log_density(fit.mixture, fit.measure, x, x, y).sum())


def of_standardised(gate, rows):
    """The fit with a gate of standardised inputs, which moves with them."""
    gate = GATES[gate].standardised(moments(rows.x, None, None))
    return maximum_likelihood(Mixture((gate,), (2,)), rows, starts=4)


GATE_NAMES = ("softmax", "quadratic", "laplace", "cosine", "activated", "constant")


@pytest.mark.parametrize("d", slow_rest([1, 3], [3]))
@pytest.mark.parametrize(("gate", "shift"), [("softmax", 0.0), *((gate, 1e9) for gate in GATE_NAMES)])
def test_the_log_likelihood_of_the_parameters_is_the_certified_one(d, gate, shift):
    x, y = data(d)
    near, far = (of_standardised(gate, make_rows(x + s, y)) for s in (0.0, shift))
    assert far.log_likelihood == pytest.approx(near.log_likelihood, abs=1e-5)  # 1e9 leaves seven digits to the mean
    assert scored(far, x + shift, y) == pytest.approx(far.log_likelihood, abs=1e-7)
    assert (far.mixture.expert.reference() is None) == (shift == 0)
    slopes = [np.sort(fit.measure.experts["coef"], axis=None) for fit in (far, near)]
    np.testing.assert_allclose(*slopes, rtol=1e-5, atol=1e-6)
    assert any("lies so far from zero" in note for note in far.notes) == (shift > 0)


def test_a_column_that_hardly_varies_beside_its_size_is_predicted_from():
    x, y = data(1)
    x = np.c_[x, 1e6 + 1e-9 * np.random.default_rng(0).standard_normal(len(x))]
    fit = maximum_likelihood(Mixture((GATES["quadratic"],), (2,)), make_rows(x, y), starts=4)
    assert scored(fit, x, y) == pytest.approx(fit.log_likelihood, abs=1e-6)


TREES = list(product(("linear", "tanh-unit", "polynomial"), ("softmax-quadratic", "laplace-constant")))

USUAL = (("linear", "softmax-quadratic"), ("tanh-unit", "laplace-constant"))


@pytest.mark.parametrize(("name", "gate"), slow_rest(TREES, USUAL))
def test_experts_of_least_squares_at_two_levels_are_those_of_near_inputs(name, gate):
    x, y = data(3, 200)
    model = Mixture(tuple(GATES[g] for g in gate.split("-")), (2, 2), expert=EXPERTS[name])
    far = x + 1e8
    fit = least_squares(model, make_rows(far, y), starts=2)
    at = torch.from_numpy(np.ascontiguousarray(far.T))
    residual = y[:, 0] - regression(fit.mixture, fit.measure, at, at)[0].numpy()
    assert (residual**2).sum() == pytest.approx(fit.sse, rel=1e-7)


def test_a_score_of_the_users_own_stays_about_zero():
    x, y = data(3)
    rows = make_rows(x + 1e9, y, gate_x=x)
    fit = maximum_likelihood(Mixture((Gate(OwnScore()),), (2,)), rows, starts=4)
    assert fit.mixture.gates[0].score == OwnScore()
    assert fit.mixture.expert.reference() is None


def test_standard_errors_are_those_of_near_inputs():
    x, y = data(3)
    model = Mixture((GATES["softmax"],), (2,))
    near, far = (make_rows(x + shift, y) for shift in (0.0, 1e8))
    start = maximum_likelihood(model, near, starts=4)
    fits = maximum_likelihood(model, near, starts=[start.measure]), maximum_likelihood(model, far, starts=4)
    found = [standard_errors(information(fit, rows)) for fit, rows in zip(fits, (near, far), strict=True)]
    for path in ("experts.coef", "family.scale", "gates.0.weight"):
        a, b = (np.sort(errors[path].flatten().numpy()) for errors in found)
        np.testing.assert_allclose(b, a, rtol=1e-4)
    assert float(found[1]["experts.intercept"].max()) < 1  # at the origin, not 1e8 away from the data


def test_a_model_about_an_origin_is_saved_and_fitted_again(tmp_path):
    x, y = data(2)
    model = MixtureOfExpertsRegressor(2, gate="quadratic", n_init=4, random_state=0).fit(x + 1e8, y[:, 0])
    save_model(model, tmp_path / "model.json")
    again = load_model(tmp_path / "model.json")
    np.testing.assert_array_equal(again.predict(x + 1e8), model.predict(x + 1e8))
    assert "so far from zero" in again.summary()
    fit = maximum_likelihood(model.mixture_, make_rows(x, y), starts=[model.measure_])
    assert np.isfinite(fit.log_likelihood)
    assert scored(fit, x, y) == pytest.approx(fit.log_likelihood, abs=1e-7)


SCORES = [Affine(), Quadratic(), Quadratic(monomial=True), Distance(), Cosine(), Activated(Affine(), "tanh")]


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("inner", [*SCORES, Tempered(Affine())], ids=str)
def test_a_score_about_an_origin_is_the_score_of_the_difference(inner, d):
    g = torch.Generator().manual_seed(0)
    origin = tuple(torch.randn(d, generator=g).double().tolist())
    part = ScoreAbout(inner, origin)
    params = {
        name: torch.rand((2,) * (spec.per == "branch") + spec.shape, generator=g).double() + 0.5
        for name, spec in part.parameters(d).items()
    }
    x = torch.randn(d, 7, generator=g).double()
    value = inner(params, x - torch.tensor(origin).double()[:, None])
    assert torch.equal(part(params, x), value)
    torch.testing.assert_close(
        part.value_and_derivatives(params, x).jacobian.expand_as(autograd_local(part, params, x).jacobian),
        autograd_local(part, params, x).jacobian,
    )
    frame = AffineTransform(torch.randn(d, generator=g).double(), torch.rand(d, generator=g).double() + 0.5)
    moved, there = part.rescale(params, frame)
    torch.testing.assert_close(moved(there, (x - frame.shift[:, None]) / frame.scale[:, None]), value)
    assert part.translation() == inner.translation()
    assert Gate(part).held() == Gate(inner).held()


@pytest.mark.parametrize("name", ["linear", "relu-unit", "gelu", "tanh-no-bias"])
def test_an_expert_about_an_origin_is_the_expert_of_the_difference(name):
    g = torch.Generator().manual_seed(1)
    inner, origin = EXPERTS[name], (0.5, -2.0, 1.0)
    part = ExpertAbout(inner, origin)
    params = {n: torch.randn((2,) + s.shape, generator=g).double() for n, s in part.parameters(3).items()}
    x = torch.randn(3, 7, generator=g).double()
    value = inner(params, x - torch.tensor(origin).double()[:, None])
    assert torch.equal(part(params, x), value)
    y = AffineTransform(torch.ones(2).double(), 3 * torch.ones(2).double())
    scaled, there = part.rescale_response(params, y)
    torch.testing.assert_close(scaled(there, x), (value - 1) / 3)
    moved, there = part.rescale(params, AffineTransform(torch.ones(3).double(), 2 * torch.ones(3).double()))
    torch.testing.assert_close(moved(there, (x - 1) / 2), value)
