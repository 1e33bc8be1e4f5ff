"""Newton: exact on quadratics, quadratic at the end, out of saddles, along ridges, to infinity."""

import time

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from torch.nn.functional import cross_entropy, softplus

from gatewise.optim import Reason, decrement, free_set, least_eigenvalue, newton, projected_gradient


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def definite(randn, members, size, condition):
    rotation = torch.linalg.qr(randn(members, size, size))[0]
    values = torch.logspace(0, -np.log10(condition), size, dtype=torch.float64)
    return rotation * values @ rotation.mT


@pytest.mark.parametrize("size", [5, 30])
def test_ill_conditioned_quadratics_take_two_steps(size, quadratic, randn):
    curvature = definite(randn, 20, size, 1e8)
    best = randn(20, size)
    linear = (curvature @ best[..., None])[..., 0]
    result = newton(quadratic(curvature, linear), 3 * randn(20, size), None, None, tol_gradient=1e-13)
    assert result.converged.all()
    assert result.n_iter.max() <= 4
    assert (result.x - best).abs().max() < 1e-6


@pytest.mark.parametrize("condition", [1e1, 1e4, 1e8])
def test_bounded_least_squares_agrees_with_scipy(condition, quadratic, randn):
    design, target = randn(20, 25, 12), randn(20, 25)
    design = design * torch.logspace(0, -np.log10(condition) / 2, 12, dtype=torch.float64)
    curvature, linear = design.mT @ design, (design.mT @ target[..., None])[..., 0]
    result = newton(quadratic(curvature, linear), randn(20, 12), -0.1, 0.3, tol_gradient=1e-12)
    assert result.converged.all()
    assert result.n_iter.max() <= 12
    for i in range(20):
        other = lsq_linear(design[i].numpy(), target[i].numpy(), (-0.1, 0.3), method="bvls", tol=1e-15)
        np.testing.assert_allclose(result.x[i].numpy(), other.x, atol=1e-8)


def test_indefinite_quadratics_in_a_box_end_at_second_order_points(quadratic, randn):
    curvature = randn(100, 12, 12)
    curvature = curvature + curvature.mT
    result = newton(quadratic(curvature, randn(100, 12)), 0.1 * randn(100, 12), -1.0, 1.0)
    assert result.converged.all()
    lower, upper = -torch.ones_like(result.x), torch.ones_like(result.x)
    free = free_set(result.x, result.gradient, lower, upper)
    assert projected_gradient(result.x, result.gradient, lower, upper).abs().max() < 1e-8
    assert (least_eigenvalue(curvature, free)[0] > -1e-8).all()


def test_convergence_is_quadratic(objective):
    errors = []
    result = newton(
        objective(lambda x: torch.cosh(x).sum() + 0.3 * x.prod()),
        torch.tensor([[0.7, 0.5, -0.4]], dtype=torch.float64),
        None,
        None,
        tol_gradient=1e-13,
        on_iter=lambda i, m, v: errors.append(v.item() - 3.0),
    )
    assert result.converged.all()
    assert result.gradient.abs().max() < 1e-13
    assert len(errors) <= 6


@pytest.mark.parametrize("start", [[0.0, 0.0], [1.0, 0.0], [1e-9, 1e-12]])
def test_saddles_are_left(start, objective):
    fun = objective(lambda x: x[0] ** 2 - x[1] ** 2 + x[1] ** 4)
    result = newton(fun, torch.tensor([start], dtype=torch.float64), None, None)
    assert result.converged.all()
    assert result.value[0] == pytest.approx(-0.25, abs=1e-14)
    assert result.n_iter[0] < 20


def test_a_saddle_whose_one_side_is_walled_off_is_left_by_the_other(objective):
    fun = objective(lambda x: x[0] ** 2 - x[1] ** 2 + x[1] ** 4)
    start = torch.zeros(1, 2, dtype=torch.float64)
    lower = torch.tensor([-1.0, 0.0], dtype=torch.float64)
    for result in (newton(fun, start, lower, None), newton(fun, start, None, -lower)):
        assert result.converged.all()
        assert result.value[0] == pytest.approx(-0.25, abs=1e-14)


@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_flat_ridges_are_met_at_a_right_angle(size, objective, randn):
    normal = randn(5)
    start = size * randn(20, 5)
    foot = start - (start @ normal - 1)[:, None] * normal / (normal @ normal)
    result = newton(objective(lambda x: (normal @ x - 1) ** 2), start, None, None)
    assert result.converged.all()
    assert (result.x - foot).abs().max() < 1e-13 * size


def test_a_gauge_does_not_drift(objective, randn):
    design, start = randn(200, 4), randn(10, 12)
    label = torch.distributions.Categorical(logits=design @ randn(4, 3)).sample()
    result = newton(objective(lambda x: cross_entropy(design @ x.reshape(4, 3), label)), start, None, None, scale=200)
    assert result.converged.all()
    assert result.n_iter.max() <= 12
    drift = (result.x - start).reshape(10, 4, 3).sum(-1)
    assert drift.abs().max() < 1e-12


def test_separation_ends_by_its_decrement(objective, randn):
    design = torch.cat([torch.ones(100, 1, dtype=torch.float64), randn(100, 2)], 1)
    sign = torch.where(design[:, 1] > 0.2, -1.0, 1.0)
    fun = objective(lambda x: softplus(sign * (design @ x)).mean())
    result = newton(fun, torch.zeros(1, 3, dtype=torch.float64), None, None, scale=100)
    assert result.converged.all()
    assert result.n_iter[0] <= 40
    _, gradient, hessian = fun(result.x, torch.zeros(1, dtype=torch.long), 2)
    free = torch.ones_like(result.x, dtype=torch.bool)
    assert 100 * decrement(gradient, hessian, free)[0] <= 1e-8
    assert result.value[0] < 1e-9


def test_a_straight_descent_takes_growing_steps_to_its_bound(quadratic):
    flat = torch.zeros(1, 1, 1, dtype=torch.float64)
    fun = quadratic(flat, flat[0] + 1e-3)
    result = newton(fun, torch.zeros(1, 1, dtype=torch.float64), None, 1e6)
    assert result.converged.all()
    assert result.x.item() == 1e6
    assert result.n_iter[0] < 25


def test_singular_minimum_is_reached(objective, randn):
    result = newton(objective(lambda x: (x**4).sum() + x.sum() ** 2), randn(20, 3), None, None)
    assert result.converged.all()
    assert result.value.max() < 1e-10


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e10])
def test_rounding_of_the_value_does_not_stop_it(offset, objective, randn):
    result = newton(objective(lambda x: rosenbrock(x) + offset), 2 * randn(30, 4), None, None)
    assert result.converged.all()
    assert result.gradient.abs().max() <= 1e-8


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_badly_scaled_coordinates(unit, objective, randn):
    scale = torch.tensor([1e-2, 1.0, 1e2, 1.0], dtype=torch.float64)
    fun = objective(lambda x: unit * rosenbrock(x / scale))
    result = newton(fun, 2 * randn(30, 4) * scale, None, None, max_iter=300)
    assert result.converged.all()


def test_noise_in_the_gradient_stalls(objective, randn):
    plain = objective(rosenbrock)

    def noisy(x, members, order):
        value, *rest = plain(x, members, order)
        return (value, rest[0] + 1e-6 * torch.sin(1e9 * x).sign(), *rest[1:])

    result = newton(noisy, randn(10, 3), None, None)
    assert (result.reason == Reason.stalled).sum() >= 8
    assert result.gradient.abs().max() < 1e-5


def test_scale_multiplies_the_decrement(quadratic):
    curvature = torch.eye(1, dtype=torch.float64).expand(2, 1, 1)
    fun = quadratic(curvature, torch.zeros(2, 1, dtype=torch.float64))
    start = torch.full((2, 1), 1e-3, dtype=torch.float64)
    tolerances = {"tol_gradient": 1.0, "tol_decrement": 1e-5}
    assert newton(fun, start, None, None, scale=1.0, **tolerances).n_iter.tolist() == [0, 0]
    assert newton(fun, start, None, None, scale=torch.tensor([1.0, 1e3]), **tolerances).n_iter.tolist() == [0, 1]


def test_decrement_and_least_eigenvalue_on_the_free_block(randn):
    hessian, gradient = definite(randn, 3, 6, 1e3), randn(3, 6)
    free = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 1], [0, 0, 0, 0, 0, 0]]).bool()
    found, (least, vector) = decrement(gradient, hessian, free), least_eigenvalue(hessian, free)
    for i, keep in enumerate(free[:2]):
        block, slope = hessian[i][keep][:, keep], gradient[i][keep]
        assert found[i].item() == pytest.approx(0.5 * (slope @ torch.linalg.solve(block, slope)).item(), rel=1e-9)
        assert least[i].item() == pytest.approx(torch.linalg.eigvalsh(block)[0].item(), rel=1e-9)
        assert (vector[i][~keep] == 0).all()
        assert vector[i].norm().item() == pytest.approx(1.0)
    assert (found[2], least[2], vector[2].abs().sum()) == (0, 0, 0)


def test_decrement_of_null_directions():
    hessian = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]], dtype=torch.float64).expand(3, 2, 2)
    gradient = torch.tensor([[1e-3, 0.0], [1e-3, 1e-20], [1e-3, 1e-3]], dtype=torch.float64)
    found = decrement(gradient, hessian, torch.ones(3, 2, dtype=torch.bool))
    assert found[:2].tolist() == pytest.approx([5e-7, 5e-7], rel=1e-12)
    assert found[2] > 1e6


@pytest.mark.parametrize("size", [3, 8])
def test_random_smooth_functions_end_at_second_order_points(size, objective, randn):
    mix, shift = randn(2 * size, size), randn(2 * size)
    fun = objective(lambda x: (torch.sin(mix @ x + shift) + 0.05 * (mix @ x) ** 2).sum())
    result = newton(fun, 2 * randn(60, size), -1.0, 1.5)
    assert result.converged.all()
    assert result.n_iter.double().mean() < 20
    lower, upper = torch.full_like(result.x, -1.0), torch.full_like(result.x, 1.5)
    _, gradient, hessian = fun(result.x, torch.arange(60), 2)
    assert projected_gradient(result.x, gradient, lower, upper).abs().max() <= 1e-8
    assert (least_eigenvalue(hessian, free_set(result.x, gradient, lower, upper))[0] > -1e-6).all()


def test_little_overhead(quadratic, randn):
    """A quartic of 20 members by 20 coordinates: far under the cost of any pass over data."""

    def fun(x, members, order):
        return ((x**4).sum(-1), 4 * x**3, torch.diag_embed(12 * x**2))[: order + 1]

    start = randn(20, 20)
    newton(fun, start, None, None)
    begun = time.perf_counter()
    result = newton(fun, start, None, None)
    assert (time.perf_counter() - begun) / result.n_iter.max().item() < 0.02
