"""A model of which all, or all but a part, is fixed: it is evaluated, and nothing is estimated that is not free."""

import numpy as np
import pytest
import torch

from gatewise import GATES, MixtureOfExpertsRegressor, maximum_likelihood
from gatewise.core.mixture import Mixture, log_density
from gatewise.fit.least_squares import least_squares
from gatewise.fit.spec import FitSpec
from gatewise.fit.status import Status
from gatewise.objective.rows import make_rows

MODELS = [
    {"gate": "softmax"},
    {"gate": "laplace", "standardize": False},
    {"gate": "constant", "family": "student-t"},
    {"gate": "quadratic", "n_experts": (2, 2)},
    {"gate": "softmax", "scale": "shared", "n_experts": 3},
    {"gate": "softmax", "method": "em"},
    {"gate": "sigmoid", "method": "ls"},
    {"gate": "dense-to-sparse", "expert": "tanh", "method": "ls", "standardize": False},
    {"gate": "softmax", "family": "poisson", "n_experts": 1},
]


def drawn(d, settings, q=1, n=80):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(n, d))
    y = np.stack(
        [np.where(x[:, 0] + rng.logistic(size=n) > 0, 2 + x[:, -1], -1 - j) for j in range(q)], 1
    ) + 0.4 * rng.normal(size=(n, q))
    return x, (np.abs(y).round() if settings.get("family") == "poisson" else y)


def values(model):
    """The parameters of a fit as what `fixed` takes."""
    return {path: value.numpy() for path, value in model.measure_.paths().items()}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("settings", MODELS, ids=str)
@pytest.mark.parametrize(("d", "q"), [(1, 2), (3, 1), (5, 1)])
def test_a_model_of_which_everything_is_fixed_is_evaluated(d, q, settings):
    settings = {"n_experts": 2, "n_init": 1, "random_state": 0, **settings}
    x, y = drawn(d, settings, q)
    model = MixtureOfExpertsRegressor(**settings).fit(x, y)
    moved = {
        path: value + 0.25 * np.sin(np.arange(value.size)).reshape(value.shape) for path, value in values(model).items()
    }
    if settings.get("scale") == "shared":
        moved["family.scale"] = np.full_like(moved["family.scale"], 0.7)
    if "family.dof" in moved:
        moved["family.dof"] = np.clip(moved["family.dof"], 2.0, 1e8)
    fixed = {path: np.abs(v) if path.startswith("family.") or "temperature" in path else v for path, v in moved.items()}
    again = MixtureOfExpertsRegressor(**settings, fixed=fixed).fit(x, y)
    assert again.status_ is Status.converged
    assert again.converged_
    assert again.fit_.df == (settings.get("method") == "ls")
    assert "every parameter is fixed" in again.summary().replace("\n  ", " ")
    for path, value in values(again).items():
        np.testing.assert_allclose(value, fixed[path], atol=1e-12)
    if settings.get("method") == "ls":
        # 1e-12 of the sum where nothing cancels; with d = 1 tanh has an output and an intercept of 8e8: 2e-11
        away = y - again.predict(x).reshape(y.shape)
        rounded = np.finfo(float).eps * max(float(v.abs().max()) for v in again.measure_.experts.values())
        bound = 1e-12 * (away**2).sum() + 2 * rounded * np.abs(away).sum()
        assert abs(again.sse_ - (away**2).sum()) < bound
    else:
        inside = (torch.tensor(part.T) for part in (x, x, y))
        by_hand = log_density(again.mixture_, again.measure_, *inside).sum()
        assert again.log_likelihood_ == pytest.approx(float(by_hand), rel=1e-10)
        assert again.log_likelihood_ == pytest.approx(again.score_samples(x, y).sum(), rel=1e-10)
    errors = again.inference(x, y)
    assert errors.refused or all((one == 0).all() for one in errors.standard_errors().values())


@pytest.mark.parametrize("d", [1, 3])
def test_the_engine_evaluates_too(d):
    x, y = drawn(d, {})
    rows, mixture = make_rows(x, y), Mixture((GATES["softmax"],), (2,))
    for fit in (maximum_likelihood, least_squares):
        free = fit(mixture, rows, starts=3)
        held = fit(mixture, rows, FitSpec(fixed=free.measure.paths()), starts=3)
        assert held.objective == pytest.approx(free.objective, abs=1e-12)
        assert held.status is Status.converged
        assert held.certificate.rank == 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("free", ["gates.0.bias", "experts.coef", "experts.intercept", "family.scale"])
def test_all_but_one_parameter_can_be_fixed(d, free):
    x, y = drawn(d, {})
    model = MixtureOfExpertsRegressor(2, n_init=3, random_state=0).fit(x, y)
    fixed = {path: value for path, value in values(model).items() if path != free}
    again = MixtureOfExpertsRegressor(2, n_init=2, random_state=0, fixed=fixed).fit(x, y)
    assert again.log_likelihood_ == pytest.approx(model.log_likelihood_, abs=1e-6)
    np.testing.assert_allclose(values(again)[free], values(model)[free], atol=1e-4)


def test_a_scale_that_is_fixed_below_the_floor_is_taken_as_given():
    x, y = drawn(3, {})
    model = MixtureOfExpertsRegressor(1, n_init=1, random_state=0).fit(x, y)
    fixed = {**values(model), "family.scale": np.array([[1e-3]])}
    again = MixtureOfExpertsRegressor(1, n_init=1, random_state=0, fixed=fixed).fit(x, y)
    residual = (y - model.predict(x)) / 1e-3
    expected = (-0.5 * residual**2 - np.log(1e-3) - 0.5 * np.log(2 * np.pi)).sum()
    assert again.log_likelihood_ == pytest.approx(expected, rel=1e-9)


def test_a_slope_of_a_gate_is_known_where_that_of_the_reference_is_held_too():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(400, 3))
    first = rng.random(400) < 1 / (1 + np.exp(-1.5 * x[:, 0]))
    y = np.where(first, 3 + x[:, 1], -3 + x[:, 2]) + 0.5 * rng.normal(size=400)
    nan, options = np.nan, {"n_init": 2, "random_state": 0}
    free = MixtureOfExpertsRegressor(2, **options).fit(x, y)
    one, both = (
        MixtureOfExpertsRegressor(2, fixed={"gates.0.weight": [[0.0, nan, nan], [other, nan, nan]]}, **options).fit(
            x, y
        )
        for other in (nan, 0.0)
    )
    assert one.log_likelihood_ == pytest.approx(free.log_likelihood_, abs=1e-6)
    assert both.log_likelihood_ < free.log_likelihood_ - 10
    assert free.inference(x, y).test("gate weight x0[0] = 0", kind="lr").statistic == pytest.approx(
        2 * (free.log_likelihood_ - both.log_likelihood_), abs=1e-5
    )
