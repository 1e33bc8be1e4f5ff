"""One gate, three users: a fitted mixture, its estimator and a layer give the same weights and the same means."""

import numpy as np
import pytest
import torch

from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, leaf_log_weights, regression
from gatewise.estimators import MixtureOfExpertsRegressor
from gatewise.nn import from_measure
from gatewise.nn.router import leaf_probabilities
from gatewise.testing import assert_close, generator, make_problem

from ..whole_path import brief_fits  # noqa: F401

CASES = {
    "softmax": {"gate": "softmax", "n_experts": 3},
    "laplace": {"gate": "laplace", "n_experts": 3},
    "cosine": {"gate": "cosine", "n_experts": 2},
    "two laplace levels": {"gate": ("laplace", "laplace"), "n_experts": (2, 2)},
    "laplace over softmax": {"gate": ("laplace", "softmax"), "n_experts": (2, 3)},
}


def small_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2)) * [1.0, 3.0] + [0.0, 5.0]
    y = np.where(X[:, 0] > 0, X[:, 1], 2 - X[:, 0]) + 0.3 * rng.normal(size=60)
    return X, y


@pytest.mark.filterwarnings("ignore::gatewise.estimators.warnings.FitWarning")
@pytest.mark.usefixtures("brief_fits")
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_a_fitted_model_is_a_layer(options, standardize):
    X, y = small_data()
    model = MixtureOfExpertsRegressor(**options, standardize=standardize, n_init=1, max_iter=5, random_state=0).fit(
        X, y
    )
    layer = from_measure(model.mixture_, model.measure_).eval()
    x = torch.as_tensor(X)
    share = leaf_probabilities(layer.router(x))
    assert_close(share.detach(), torch.as_tensor(model.gate_proba(X)), "gate_proba", 1e-12)
    assert_close(layer(x)[:, 0], torch.as_tensor(model.predict(X)), "predictions", 1e-12)


def problem_for(gate, branching=(3,)):
    """A problem whose gates see the inputs of its experts."""
    problem = make_problem(Mixture((GATES[gate],) * len(branching), branching))
    dim = problem.gate_x.shape[0]
    coef = torch.randn(*branching, 1, dim, generator=generator(0), dtype=torch.float64)
    measure = problem.measure._replace(experts={**problem.measure.experts, "coef": coef})
    return problem._replace(measure=measure, x=problem.gate_x)


@pytest.mark.parametrize("branching", [(3,), (2, 3), (2, 2, 2)])
@pytest.mark.parametrize("gate", GATES)
def test_any_measure_is_a_layer(gate, branching):
    mixture, measure, x, *_ = problem = problem_for(gate, branching)
    layer = from_measure(mixture, measure)
    routing = layer.router(x.mT)
    found = torch.zeros(x.shape[1], mixture.n_leaves, dtype=torch.float64)
    found = found.scatter(1, routing.index, routing.weight)
    weights = leaf_log_weights(mixture, problem.measure, x).exp().mT
    assert_close(found, weights, "weights of the leaves", 1e-12)
    coef, intercept = (measure.experts[name].flatten(0, len(branching) - 1) for name in ("coef", "intercept"))
    means = (coef @ x)[:, 0] + intercept
    assert_close(layer(x.mT)[:, 0], (weights.mT * means).sum(0), "means", 1e-12)


def test_gates_and_experts_with_different_inputs_are_refused():
    problem = make_problem(Mixture((GATES["laplace"],), (3,)))
    with pytest.raises(ValueError, match="gates and experts have 2 and 3 inputs: a layer gives them the same tokens"):
        from_measure(problem.mixture, problem.measure)


@pytest.mark.parametrize("dim", [1, 4])
@pytest.mark.parametrize("gate", ["equal", "constant"])
def test_the_number_of_inputs_is_given_where_no_shape_tells_it(gate, dim):
    problem = make_problem(Mixture((GATES[gate],), (3,), expert=EXPERTS["constant"]), d=dim, gate_d=dim)
    mean = regression(problem.mixture, problem.measure, problem.x, problem.gate_x).mT
    assert_close(from_measure(problem.mixture, problem.measure, dim)(problem.x.mT), mean, "means", 1e-12)
    with pytest.raises(ValueError, match=r"same shapes for several numbers of inputs: say which"):
        from_measure(problem.mixture, problem.measure)


@pytest.mark.parametrize("gate", ["equal", "quadratic-monomial", "laplace"])
@pytest.mark.parametrize("expert", ["constant", "cubic", "gelu-no-bias"])
def test_the_number_of_inputs_is_that_of_the_shapes(gate, expert):
    problem = make_problem(Mixture((GATES[gate],), (3,), expert=EXPERTS[expert]), d=3, gate_d=3)
    if (gate, expert) != ("equal", "constant"):
        assert from_measure(problem.mixture, problem.measure).dim == 3
        with pytest.raises(ValueError, match="dim=2, but gates and experts have 3 inputs"):
            from_measure(problem.mixture, problem.measure, 2)


def test_a_loaded_layer_trains():
    problem = problem_for("laplace")
    layer = from_measure(problem.mixture, problem.measure)
    layer(problem.x.mT).square().sum().backward()
    assert all(bool((p.grad != 0).any()) for p in layer.parameters())
