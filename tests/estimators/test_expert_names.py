"""Named experts fit data of their own kind, in any units of the response; the bare forms keep their fixed height."""

import warnings
from dataclasses import dataclass
from itertools import product
from math import erf, sqrt

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from gatewise import EXPERTS, GATES, MixtureOfExpertsRegressor, testing
from gatewise.core.experts import Activation, Expert, Polynomial
from gatewise.core.experts.polynomial import monomials
from gatewise.core.mixture import Mixture
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import AffineTransform, affine
from gatewise.fit.frames import equal_at_the_origin
from gatewise.infer.identifiability import IdentifiabilityVerdict
from gatewise.infer.identifiability.fitted import assess

from ..covering import slow_rest

UNITS = (1e4, 1e3)  # shift and scale of the response
FUNCTIONS = {
    "gelu": np.vectorize(lambda z: 0.5 * z * (1 + erf(z / sqrt(2)))),
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "softplus": lambda z: np.logaddexp(0.0, z),
    "square": np.square,
    "cube": lambda z: z**3,
}
SLOPES = np.array([[2.0, 0.3, 0, 0, -0.2], [-1.5, 0.5, 0, 0.4, 0], [1.0, -1.0, 0.3, 0, 0]])
SHIFTS = np.array([0.5, 1.0, -0.5])


def shares(x, k):
    """A softmax gate that divides the first input into k parts."""
    score = np.stack([3 * x[:, 0], 0 * x[:, 0], -4 - 3 * x[:, 0]], 1)[:, :k]
    weight = np.exp(score - score.max(1, keepdims=True))
    return weight / weight.sum(1, keepdims=True)


def drawn(unit, d, q=1, k=2, n=400, mixed=False, noise=0.1, seed=0):
    """x, y and what the truth makes of them: the mean, and the log density if every row has an expert of its own.

    Without `mixed` the truth is the gated mean and noise around it.
    """
    rng = np.random.default_rng([seed, d, q, k])
    x = rng.uniform(-2, 2, (n, d))
    weight = shares(x, k)
    inside = [x @ SLOPES[j, :d] + SHIFTS[j] for j in range(k)]
    height = np.stack([[(1 - 3 * o) * unit(u) + o * j for o in range(q)] for j, u in enumerate(inside)])  # (k, q, n)
    taken = (weight.cumsum(1) < rng.uniform(size=(n, 1))).sum(1)
    mean = height[taken, :, np.arange(n)] if mixed else np.einsum("nk,kqn->nq", weight, height)
    y = mean + noise * rng.normal(size=mean.shape)
    square = ((y.T - height) ** 2).sum(1)  # (k, n)
    law = (weight.T * np.exp(-square / (2 * noise**2))).sum(0) / (noise * sqrt(2 * np.pi)) ** q
    return x, y, mean, np.log(law.clip(1e-300)).sum()


def fitted(x, y, k, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MixtureOfExpertsRegressor(k, random_state=0, **options).fit(x, y if y.shape[1] > 1 else y[:, 0])


def explained(model, x, y):
    """Share of the variance of y about its mean that the predictions explain."""
    rest = y - model.predict(x).reshape(y.shape)
    return 1 - (rest**2).sum() / ((y - y.mean(0)) ** 2).sum()


@pytest.mark.parametrize("expert", ["gelu", "relu"])
@pytest.mark.parametrize("data", ["gelu", "relu"])
def test_two_units_behind_a_softmax_are_found_in_awkward_units(data, expert):
    shift, scale = UNITS
    x, y, mean, _ = drawn(FUNCTIONS[data], 1, n=300)
    model = fitted(x, shift + scale * y, 2, expert=expert, method="ls", n_init=5)
    error = 0.5 * np.mean((shift + scale * y[:, 0] - model.predict(x)) ** 2) / scale**2
    truth = 0.5 * np.mean((y - mean) ** 2)
    assert error < (1.03 if data == expert else 1.1) * truth


SLOW = [pytest.param(*sizes, marks=pytest.mark.slow) for sizes in ((3, 1, 1), (5, 1, 2), (1, 2, 2), (3, 2, 3))]


@pytest.mark.parametrize("expert", ["gelu", "relu"])
@pytest.mark.parametrize(("d", "q", "k"), [(5, 2, 1), (3, 1, 2), *SLOW])
def test_the_sum_of_squares_reaches_that_of_the_truth(expert, d, q, k):
    x, y, mean, _ = drawn(FUNCTIONS[expert], d, q, k, n=300)
    model = fitted(x, 1e4 + 1e3 * y, k, expert=expert, method="ls", n_init=20 if k > 2 else 9)
    assert model.sse_ < 1.02e6 * ((y - mean) ** 2).sum()


SIZES = [(5, 1, 1), (1, 2, 2), (3, 1, 2), (5, 2, 2), (3, 1, 3)]
REST = [sizes for sizes in product((1, 3, 5), (1, 2), (1, 2, 3)) if sizes not in SIZES]


@pytest.mark.parametrize(("d", "q", "k"), [*SIZES, *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in REST)])
def test_the_likelihood_reaches_that_of_the_truth(d, q, k):
    x, y, _, truth = drawn(FUNCTIONS["gelu"], d, q, k, n=250, mixed=True)
    shift, scale = UNITS
    model = fitted(x, shift + scale * y, k, expert="gelu", n_init=9)
    assert model.log_likelihood_ + y.size * np.log(scale) > truth


@pytest.mark.parametrize(("d", "k"), slow_rest([(1, 1), (1, 2), (3, 1), (3, 2), (5, 2)], [(1, 2), (3, 1), (5, 2)]))
def test_the_likelihood_of_relu_units_reaches_that_of_the_truth(d, k):
    x, y, _, truth = drawn(FUNCTIONS["relu"], d, 1, k, n=250, mixed=True)
    model = fitted(x, 1e4 + 1e3 * y, k, expert="relu", n_init=9)
    assert model.log_likelihood_ + y.size * np.log(1e3) > truth


def unit_of(name):
    """The function of a one-dimensional index that a named expert is made for."""
    expert = EXPERTS[name]
    if isinstance(expert, Polynomial):
        return lambda u: (u / 2) ** expert.degree - u
    return FUNCTIONS.get(getattr(expert, "fn", ""), lambda u: 0 * u if name == "constant" else u)


@pytest.mark.parametrize("d", slow_rest([1, 3], [3]))
@pytest.mark.parametrize("name", EXPERTS)
def test_every_name_fits_data_of_its_own_kind(name, d, monkeypatch):
    """In awkward units where the expert is free to follow, in its own where its height is fixed."""
    monkeypatch.setattr("gatewise.fit.ends.MOST_ROUNDS", 1)  # which explains as much as the optimum
    bare = isinstance(EXPERTS[name], Activation)
    x, unit = drawn(np.tanh, d, n=100)[0], unit_of(name)
    shifts = (0.0, 0.0) if "no-bias" in name else SHIFTS
    height = np.stack([unit(x @ SLOPES[j, :d] + shifts[j]) + 2 * j * (name == "constant") for j in range(2)], 1)
    mean = (shares(x, 2) * height).sum(1, keepdims=True)
    y = mean + 0.03 * mean.std() * np.random.default_rng(d).normal(size=mean.shape)
    shift, scale = (0.0, 1.0) if bare else UNITS
    model = fitted(x, shift + scale * y, 2, expert=name, method="ls", n_init=5, standardize=not bare)
    assert explained(model, x, shift + scale * y) > 0.99


@pytest.mark.parametrize("name", ["polynomial", "cubic"])
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("method", ["ml", "ls"])
def test_one_polynomial_is_regression_on_the_monomials(name, d, method):
    rng = np.random.default_rng(d)
    x = 3 + 2 * rng.normal(size=(200, d))
    y = 1e4 + 100 * (x[:, 0] ** 2 - x.sum(1) + rng.normal(size=200))
    columns = [x[:, i] for i in range(d)]
    columns += [np.prod(x[:, list(factors)], 1) for factors in monomials(d, EXPERTS[name].degree)]
    z = np.stack([(c - c.mean()) / c.std() for c in columns], 1)
    rest = y - y.mean() - z @ np.linalg.lstsq(z, y - y.mean(), rcond=None)[0]
    model = fitted(x, y[:, None], 1, expert=name, method=method, n_init=2)
    expected = -100 * (np.log(2 * np.pi * np.mean(rest**2)) + 1)
    assert model.log_likelihood_ == pytest.approx(expected, rel=1e-10, abs=1e-8)
    assert model.fit_.df == len(columns) + 2
    assert model.status_ == "converged"


@pytest.mark.parametrize("gate", ["softmax", "laplace"])
def test_theory_finds_no_ridge_once_the_scale_of_a_unit_is_a_convention(gate):
    mixture = Mixture((GATES[gate],), (2,), EXPERTS["relu"])
    assert assess(mixture, "ls").verdict is not IdentifiabilityVerdict.ridge
    assert assess(mixture, "ls", gauge="none").verdict is IdentifiabilityVerdict.ridge


@dataclass(frozen=True)
class Renamed(Expert):
    """A hidden unit in other words, and with derivatives by automatic differentiation."""

    def parameters(self, d):
        roles = {"way": "slope", "turn": "threshold", "height": "output", "level": "intercept"}
        return {name: Parameter((d,) if name == "way" else (), role) for name, role in roles.items()}

    def __call__(self, params, x):
        inside = affine(params["way"], params["turn"], x)
        return params["height"][..., None] * torch.sigmoid(inside) + params["level"][..., None]


@dataclass(frozen=True)
class Waves(Expert):
    """A linear expert whose parameter has no role at all."""

    linear = True

    def parameters(self, d):
        return {"heights": Parameter((2 * d + 1,))}

    def __call__(self, params, x):
        return params["heights"] @ torch.cat([torch.sin(x), torch.cos(x), torch.ones_like(x[..., :1, :])], -2)


@pytest.mark.parametrize(("d", "columns"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("expert", ["relu", "sigmoid", "cubic"])
def test_starts_do_not_depend_on_the_order_of_the_rows(expert, d, columns):
    mixture = Mixture((GATES["softmax"],), (2,), EXPERTS[expert])
    testing.law_fit_starts(testing.make_problem(mixture, d=d, gate_d=d, columns=columns, n=60))


@pytest.mark.parametrize("d", [1, 3])
def test_starts_follow_roles_and_not_names(d):
    x, y, _, truth = drawn(FUNCTIONS["sigmoid"], d, mixed=True, n=200, noise=0.03)
    for expert in ("sigmoid", Renamed()):
        assert fitted(x, y, 2, expert=expert, n_init=5).log_likelihood_ > truth


@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_linear_expert_without_roles_starts_at_its_regression(d):
    x, _, _, _ = drawn(np.tanh, d, n=200)
    design = np.column_stack([np.sin(x), np.cos(x), np.ones(len(x))])
    y = design @ np.arange(2 * d + 1.0)[:, None] + np.random.default_rng(d).normal(size=(200, 1))
    rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    model = fitted(x, y, 1, expert=Waves(), n_init=1)
    assert model.log_likelihood_ == pytest.approx(-100 * (np.log(2 * np.pi * np.mean(rest**2)) + 1), rel=1e-10)


@pytest.mark.parametrize("d", [1, 3])
def test_experts_about_an_origin_share_their_parameters_at_any_number_of_inputs(d):
    standard = EXPERTS["gelu-no-bias"].standardised(AffineTransform(torch.ones(d).double(), 2 * torch.ones(d).double()))
    assert not equal_at_the_origin(Mixture((GATES["softmax"],), (2,), standard, shared=("experts.coef",)), d)


@pytest.mark.parametrize(
    ("expert", "shared", "moves"),
    [
        ("linear", ("coef",), False),
        ("linear", ("intercept",), True),
        ("linear", ("coef", "intercept"), False),
        ("relu", ("output",), False),
        ("relu", ("bias",), True),
        ("relu", ("coef", "intercept"), False),
        ("polynomial", ("coef",), True),
        ("polynomial", ("powers",), False),
        ("polynomial", ("coef", "powers"), False),
    ],
)
def test_what_leaves_share_stays_equal_in_working_units(expert, shared, moves):
    mixture = Mixture((GATES["softmax"],), (2,), EXPERTS[expert], shared=tuple(f"experts.{name}" for name in shared))
    assert equal_at_the_origin(mixture, 2) is moves


def test_a_summary_names_the_products_of_the_inputs():
    x, y, _, _ = drawn(np.square, 2, n=100)
    named = MixtureOfExpertsRegressor(1, expert="cubic", n_init=2, random_state=0).fit(x, y[:, 0]).summary()
    for term in ("x0^2", "x0 x1", "x1^2", "x0^3", "x0^2 x1", "x0 x1^2", "x1^3"):
        assert f" {term} " in named


def test_standardize_leaves_the_response_alone():
    """An expert of fixed height has the same predictions with and without: only inputs are standardised."""
    x, y, _, _ = drawn(np.tanh, 2, n=200)
    for name in ("bare-tanh", "tanh", "polynomial"):
        models = [fitted(x, 5 + 3 * y, 2, expert=name, n_init=3, standardize=s) for s in (True, False)]
        assert models[0].mixture_ == models[1].mixture_
        assert models[0].log_likelihood_ == models[1].log_likelihood_
    moved = fitted(x, 5 + 3 * y, 2, expert="tanh-no-bias", n_init=2).mixture_.expert
    assert moved.origin is not None
    assert (moved.location, moved.spread) == (None, None)


@pytest.mark.parametrize("d", [1, 3])
def test_the_scale_of_a_relu_unit_is_a_convention_and_its_slopes_have_errors(d):
    x, y, _, _ = drawn(FUNCTIONS["relu"], d, q=2 - d % 2, k=1, n=300)
    model = fitted(x, y, 1, expert="relu", n_init=5, gate="constant")
    q = y.shape[1]
    assert model.status_ == "converged"
    assert model.fit_.df == q * (d + 2) + q
    experts = model.measure_.experts
    assert np.allclose(experts["output"].abs(), 1.0)
    found = model.inference(x, y if q > 1 else y[:, 0])
    errors = found.standard_errors()
    assert bool((errors["experts.output"] == 0).all())
    assert all(bool((errors[f"experts.{name}"] > 0).all()) for name in ("coef", "bias", "intercept"))
    assert "fixed" in model.summary()


def test_errors_of_a_relu_unit_are_those_with_the_output_weight_held():
    x, y, _, _ = drawn(FUNCTIONS["relu"], 3, k=1, n=300)
    free = fitted(x, y, 1, expert="relu", gate="constant", n_init=5)
    sign = free.measure_.experts["output"].numpy()
    held = fitted(x, y, 1, expert="relu", gate="constant", n_init=5, fixed={"experts.output": sign})
    assert held.log_likelihood_ == pytest.approx(free.log_likelihood_, abs=1e-7)
    assert held.fit_.df == free.fit_.df
    one, other = (model.inference(x, y[:, 0]).standard_errors() for model in (free, held))
    for path, value in one.items():
        np.testing.assert_allclose(value, other[path], rtol=1e-5, atol=1e-9, err_msg=path)
    one, other = (model.inference(x, y[:, 0]).profile("experts.coef[0,0,1]") for model in (free, held))
    np.testing.assert_allclose((one.lower, one.upper), (other.lower, other.upper), rtol=1e-4)
