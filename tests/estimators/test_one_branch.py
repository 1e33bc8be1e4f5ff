"""A gate with one branch has the weight one: nothing of it is estimated, counted, tested or named."""

from functools import cache
from itertools import product

import numpy as np
import pytest

from gatewise import GATES, MixtureOfExpertsRegressor
from gatewise.fit.status import Status
from gatewise.infer.covariance.information import standard_errors

from ..covering import slow_rest

DENSE = [name for name, gate in GATES.items() if gate.link.normalised and gate.link.smooth]


def drawn(d, n=100):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(n, d))
    return x, x[:, 0] - 0.5 * x[:, -1] ** 2 + 0.5 * rng.normal(size=n)


def fitted(d, k, gate, **settings):
    """Gates that depend on units are those of the data as given: some are compared with those of other tests."""
    settings = {"standardize": False, "n_init": 3, "random_state": 0, **settings}
    return MixtureOfExpertsRegressor(k, gate, **settings).fit(*drawn(d))


@cache
def regressed(d, method):
    return fitted(d, 1, "constant", method=method)


@pytest.mark.parametrize("method", ["ml", "em", "ls"])
@pytest.mark.parametrize("gate", DENSE)
@pytest.mark.parametrize("d", slow_rest([1, 4], [4]))
def test_one_expert_is_a_regression_under_every_gate(d, gate, method):
    model, plain = fitted(d, 1, gate, method=method), regressed(d, method)
    assert model.status_ is Status.converged
    assert model.converged_
    assert model.fit_.df == plain.fit_.df == d + 2
    assert model.fit_.notes == ()
    assert model.log_likelihood_ == pytest.approx(plain.log_likelihood_, abs=1e-9)
    errors = model.standard_errors_
    assert errors is not None
    assert all((errors[path] == 0).all() for path in errors if path.startswith("gates."))
    np.testing.assert_allclose(errors["experts.coef"], plain.standard_errors_["experts.coef"], rtol=1e-6)
    text = model.summary()
    assert "one branch with weight 1: nothing to estimate" in text
    assert "Theory: one expert, and no gate" in text
    for word in ("center", "weight x", "temperature", "fixed", "not unique"):
        assert word not in text
    assert (model.gate_proba(drawn(d)[0]) == 1).all()


@cache
def tame(d, k=2, gate="softmax"):
    """A tame problem, whose optimum is found through both ways of writing it."""
    return fitted(d, k, gate, scale="shared", alpha=0.1, n_init=12)


GATE_NAMES = ("laplace", "dense-to-sparse", "normalised-sigmoid", "activation-dense-to-sparse")
USUAL = {(gate, place % 2, 3) for place, gate in enumerate(GATE_NAMES)} | {("laplace", 1, 3), ("laplace", 0, 1)}


@pytest.mark.parametrize(("gate", "level", "d"), slow_rest(list(product(GATE_NAMES, (0, 1), (1, 3))), USUAL))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_level_of_one_branch_is_as_if_it_were_not_there(d, level, gate):
    flat = tame(d)
    gates = (gate, "softmax") if level == 0 else ("softmax", gate)
    tree = tame(d, (1, 2) if level == 0 else (2, 1), gates)
    assert tree.log_likelihood_ == pytest.approx(flat.log_likelihood_, abs=1e-6)
    assert tree.fit_.df == flat.fit_.df
    assert tree.status_ is flat.status_
    theory, expected = (model.summary().partition("Theory: ")[2] for model in (tree, flat))
    assert theory == expected
    for path, value in standard_errors(tree.inference(*drawn(d)).information).items():
        if path.startswith(f"gates.{level}."):
            assert bool((value == 0).all())


def test_an_unnormalised_gate_of_one_branch_is_estimated():
    x, _ = drawn(1)
    y = 3 / (1 + np.exp(-2 * x[:, 0])) + 0.1 * np.cos(9 * x[:, 0])
    model = MixtureOfExpertsRegressor(1, "sigmoid", "constant", method="ls", n_init=5, random_state=0).fit(x, y)
    assert model.gate_params_[0]["weight"][0, 0] == pytest.approx(2, abs=0.2)
    assert model.fit_.df == 4
    assert "weight x0" in model.summary()


def test_groups_need_no_gate_inputs_where_no_gate_divides():
    x, y = drawn(3)
    label = np.arange(100) // 4
    model = MixtureOfExpertsRegressor(1, n_init=1, random_state=0).fit(x, y, groups=label)
    assert model.score_samples(x, y, groups=label).sum() == pytest.approx(model.log_likelihood_, abs=1e-9)
