"""Scores against the formulas of the papers in numpy, one line each, and the numerics of distances."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.special import erf

from gatewise.core.activations import ACTIVATIONS, activation
from gatewise.core.gates import GATES
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import autograd_local
from gatewise.core.scores import Activated, Affine, Bias, Cosine, Distance, Quadratic, Score, Tempered, expanded_square
from gatewise.testing import assert_close, draw_inputs, draw_parameters, generator, law_local

norm = np.linalg.norm


def logistic(z):
    return 1 / (1 + np.exp(-z))


def gelu(z):
    return z * (1 + erf(z / np.sqrt(2))) / 2


def symmetric(packed):
    """The matrix A with v' A v = sum over i <= j of packed_ij v_i v_j."""
    d = int(np.sqrt(2 * len(packed)))
    upper = np.zeros((d, d))
    upper[np.triu_indices(d)] = packed
    return (upper + upper.T) / 2


# The score of branch k at one input x: w weight or center, b bias, t temperature, A packed quadratic.
FORMULAS = {
    "constant": (Bias(), lambda x, p: p["bias"]),
    "softmax": (Affine(), lambda x, p: p["weight"] @ x + p["bias"]),
    "Laplace": (Distance(), lambda x, p: -norm(p["center"] - x) + p["bias"]),
    "Laplace, weighted": (
        Distance(metric=(0.5, 2.0, 3.0)),
        lambda x, p: (
            p["bias"] - np.sqrt(sum(m**2 * (c - v) ** 2 for m, c, v in zip((0.5, 2, 3), p["center"], x, strict=True)))
        ),
    ),
    "scaled Laplace": (Tempered(Distance()), lambda x, p: (-norm(p["center"] - x) + p["bias"]) / p["temperature"]),
    "dense-to-sparse": (Tempered(Affine()), lambda x, p: (p["weight"] @ x + p["bias"]) / p["temperature"]),
    "sigmoid dense-to-sparse": (
        Tempered(Activated(Affine(), "sigmoid")),
        lambda x, p: (logistic(p["weight"] @ x) + p["bias"]) / p["temperature"],
    ),
    "tanh dense-to-sparse": (
        Tempered(Activated(Affine(), "tanh")),
        lambda x, p: (np.tanh(p["weight"] @ x) + p["bias"]) / p["temperature"],
    ),
    "GELU dense-to-sparse": (
        Tempered(Activated(Affine(), "gelu")),
        lambda x, p: (gelu(p["weight"] @ x) + p["bias"]) / p["temperature"],
    ),
    "activated about an origin": (
        Activated(Affine(), "relu", origin=(0.5, -1.0, 0.2)),
        lambda x, p: max(p["weight"] @ (x - [0.5, -1.0, 0.2]), 0) + p["bias"],
    ),
    "activated distance": (
        Activated(Distance(), "sigmoid"),
        lambda x, p: logistic(-norm(p["center"] - x)) + p["bias"],
    ),
    "cosine": (Cosine(), lambda x, p: p["weight"] @ x / (norm(p["weight"]) * norm(x)) + p["bias"]),
    "perturbed cosine": (
        Cosine(floor=0.1),
        lambda x, p: p["weight"] @ x / ((norm(p["weight"]) + 0.1) * (norm(x) + 0.1)) + p["bias"],
    ),
    "quadratic": (
        Quadratic(),
        lambda x, p: x @ symmetric(p["quadratic"]) @ x + p["weight"] @ x + p["bias"],
    ),
    "quadratic monomial": (
        Quadratic(monomial=True),
        lambda x, p: x @ symmetric(p["quadratic"]) @ x + p["bias"],
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_score_is_its_formula(name):
    score, formula = FORMULAS[name]
    g = generator(1)
    params, x = draw_parameters(score, 3, (), 4, g), draw_inputs(3, 7, g)
    expected = np.empty((4, 7))
    for k in range(4):
        own = {n: (v[k] if n != "temperature" else v).numpy() for n, v in params.items()}
        for i in range(7):
            expected[k, i] = formula(x[:, i].numpy(), own)
    np.testing.assert_allclose(score(params, x).numpy(), expected, rtol=1e-13, atol=1e-13)


WEIGHTS = {
    "softmax": lambda s: np.exp(s) / np.exp(s).sum(),
    "laplace": lambda s: np.exp(s) / np.exp(s).sum(),
    "sigmoid": logistic,
    "normalised-sigmoid": lambda s: logistic(s) / logistic(s).sum(),
    "euclidean-sigmoid": lambda s: logistic(s) / logistic(s).sum(),
    "top-k": lambda s: np.where(s >= np.sort(s)[-2], np.exp(s), 0) / np.exp(np.sort(s)[-2:]).sum(),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_their_formula(name):
    gate, g = GATES[name], generator(2)
    params, x = draw_parameters(gate.score, 3, (), 4, g), draw_inputs(3, 7, g)
    scores = gate.score(params, x).numpy()
    expected = np.stack([WEIGHTS[name](scores[:, i]) for i in range(7)], 1)
    np.testing.assert_allclose(gate.weights(params, x).numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("radius", [0.0, 0.3])
def test_activations_have_their_derivatives(name, radius):
    fn = activation(name, radius)
    z = torch.linspace(-4.05, 4, 24, dtype=torch.float64).requires_grad_(True)
    value = fn.value(z)
    (first,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    assert_close(fn.first(z), first, "first")
    second = torch.zeros_like(z)
    if first.requires_grad:
        second = torch.autograd.grad(first.sum(), z, allow_unused=True, materialize_grads=True)[0]
    assert_close(fn.second(z), second, "second")
    assert_close(fn.pull_back(torch.cos(z), z), torch.cos(z) * first, "pull_back")
    if fn.homogeneous and radius == 0:
        degree = torch.log2(fn.value(torch.tensor(2.0)) / fn.value(torch.tensor(1.0)))
        assert_close(fn.value(3 * z), 3**degree * value, "homogeneous")


def distances(d, metric=None, offset=0.0):
    g = generator(d)
    center = torch.randn(2, 5, d, generator=g, dtype=torch.float64) + offset
    x = torch.randn(d, 9, generator=g, dtype=torch.float64) + offset
    x[:, 0] = center[0, 2]  # an input on a center
    x[:, 1] = center[0, 3] + 1e-7
    return center, x, metric


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("d", [3, 40])
def test_the_expanded_square_is_the_sum_of_squared_differences(d, offset):
    center, x, _ = distances(d, offset=offset)
    for metric in (None, tuple(0.5 + 0.1 * i for i in range(d))):
        factor = torch.ones(d, dtype=torch.float64) if metric is None else torch.tensor(metric, dtype=torch.float64)
        squared = expanded_square(center, x, metric)
        expected = (((center[..., None] - x) * factor[:, None]) ** 2).sum(-2)
        assert_close(squared, expected, "expanded square", 1e-9)
        small = expected[0, 3, 1]  # relative precision where the terms cancel
        assert abs(float(squared[0, 3, 1] / small) - 1) < 1e-6
        assert float(squared[0, 2, 0]) <= 1e-12 * float(expected.max())


@pytest.mark.parametrize("d", [3, 40])
def test_a_distance_can_be_differentiated_twice_and_is_finite_at_its_center(d):
    center, x, _ = distances(d)
    score, bias = Distance(), torch.zeros(2, 5, dtype=torch.float64)
    center = center.requires_grad_(True)
    value = score({"center": center, "bias": bias}, x)
    assert float(value[0, 2, 0].detach()) == pytest.approx(0.0, abs=1e-7)
    (first,) = torch.autograd.grad((value**2).sum(), center, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), center)
    assert bool(value.isfinite().all() & first.isfinite().all() & second.isfinite().all())
    local = score.value_and_derivatives({"center": center.detach(), "bias": bias}, x)
    assert bool(local.jacobian.isfinite().all() & local.curvature(torch.ones_like(value)).isfinite().all())
    assert float(local.jacobian[0, 2, :-1, 0].abs().max()) == 0  # the subgradient in the middle


def test_the_second_derivative_of_a_wide_distance_is_that_of_differences():
    center, x, _ = distances(40)
    x, bias = x[:, 2:], torch.zeros(5, dtype=torch.float64)

    def wide(c):
        return Distance()({"center": c, "bias": bias}, x).sin().sum()

    def plain(c):
        return (-((c[..., None] - x) ** 2).sum(-2).sqrt()).sin().sum()

    both = [torch.autograd.functional.hessian(fn, center[1]) for fn in (wide, plain)]
    assert_close(*both, "second derivatives of the expanded square")


def test_double_backward_of_the_expanded_square_where_it_recomputes():
    center, x, _ = distances(40)
    center = center.requires_grad_(True)
    value = expanded_square(center, x, None)
    (first,) = torch.autograd.grad(value.sum(), center, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), center)
    exact = 2 * (center[..., None] - x).sum(-1)
    assert_close(first, exact, "gradient of the expanded square")
    assert_close(second, 2 * exact * 2 * x.shape[-1], "second backward of the expanded square")


@dataclass(frozen=True)
class Pull(Score):
    """``strength . x^2 + push . x``: a score without a bias."""

    def parameters(self, d):
        return {"strength": Parameter((d,)), "push": Parameter((d,), "slope")}

    def __call__(self, params, x):
        return params["strength"] @ x**2 + params["push"] @ x


WRAPPED = {
    "activated tempered affine": Activated(Tempered(Affine()), "tanh"),
    "activated activated": Activated(Activated(Affine(), "tanh"), "gelu"),
    "activated, no bias inside": Activated(Pull(), "tanh"),
    "activated tempered quadratic": Activated(Tempered(Quadratic()), "sigmoid"),
    "tempered twice": Tempered(Tempered(Affine())),
    "tempered, activated, tempered": Tempered(Activated(Tempered(Distance()), "tanh")),
    "tempered twice around an activation": Tempered(Tempered(Activated(Pull(), "gelu"))),
}


@pytest.mark.parametrize("score", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("d", [1, 3, 4])
def test_wrappers_of_wrappers_have_names_and_derivatives_of_their_own(score, d):
    law_local(score, d=d)
    g = generator(d)
    params = draw_parameters(score, d, (2,), 3, g)
    assert len(params) == len(score.parameters(d))
    x = draw_inputs(d, 5, g)
    exact, automatic = score.value_and_derivatives(params, x), autograd_local(score, params, x)
    weights = torch.randn(2, 3, 5, generator=g, dtype=torch.float64)
    assert_close(exact.jacobian.expand_as(automatic.jacobian), automatic.jacobian, "Jacobian of a wrapped score")
    assert_close(exact.curvature(weights), automatic.curvature(weights), "curvature of a wrapped score")


def test_a_score_that_is_tempered_twice_is_divided_by_both_temperatures():
    g = generator(3)
    score = Tempered(Tempered(Distance()))
    assert list(score.parameters(3)) == ["center", "bias", "temperature", "temperature_2"]
    params = draw_parameters(score, 3, (), 2, g)
    x = draw_inputs(3, 4, g)
    plain = Distance()({"center": params["center"], "bias": params["bias"]}, x)
    both = params["temperature"] * params["temperature_2"]
    assert_close(score(params, x), plain / both, "a distance over two temperatures")
    assert_close(score.bias_rate(params), 1 / both, "how fast the score rises with its bias")
    assert score.held() == ("temperature_2",)


def test_the_bias_of_an_activated_score_stands_outside():
    g = generator(5)
    for score in WRAPPED.values():
        if not isinstance(score, Activated):
            continue
        params = draw_parameters(score, 3, (), 2, g)
        x = draw_inputs(3, 4, g)
        raised = {**params, score.bias(): params[score.bias()] + 0.7}
        assert_close(score(raised, x), score(params, x) + 0.7, "a bias outside the activation adds to the score")


def test_unknown_activations_are_named():
    with pytest.raises(ValueError, match="activation 'swish' is unknown: the names are identity"):
        Activated(Affine(), "swish")


def test_cosine_weights_and_inputs_of_length_zero_are_finite():
    params = {"weight": torch.zeros(2, 3).double(), "bias": torch.tensor([0.0, 1.0]).double()}
    value = Cosine()(params, torch.zeros(3, 4).double())
    assert_close(value, params["bias"][:, None].expand(2, 4), "no direction, no cosine")


def test_a_score_without_a_bias_is_named_with_a_remedy():
    assert Pull().bias() is None
    with pytest.raises(ValueError, match=r"Pull.*has no bias.*role 'intercept'"):
        Pull().required_bias()
    with pytest.raises(ValueError, match="has no bias"):
        Tempered(Pull()).bias_rate(draw_parameters(Tempered(Pull()), 3, (), 2, generator(1)))
