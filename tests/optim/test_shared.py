"""What both minimisers promise: the box, the batch, the ends."""

import time

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.func import grad

from gatewise.optim import Reason, lbfgs, newton, projected_gradient

METHODS = [lbfgs, newton]


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def barrier(x):
    return (x - torch.log(x)).sum()


def pair(method):
    """The tolerance keyword of a method, tight."""
    return {"tol": 1e-9} if method is lbfgs else {"tol_gradient": 1e-9}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [2, 10])
def test_rosenbrock_from_fifty_starts(method, size, objective, randn):
    result = method(objective(rosenbrock), 2 * randn(50, size), None, None, **pair(method))
    assert result.converged.all()
    assert result.gradient.abs().max() <= 1e-9
    best = result.value < 1
    assert best.sum() >= 30
    assert (result.x[best] - 1).abs().max() < 1e-7


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [2, 10])
def test_rosenbrock_in_a_box_agrees_with_scipy(method, size, objective, randn):
    lower, upper = torch.full((size,), -1.5, dtype=torch.float64), torch.full((size,), 0.8, dtype=torch.float64)
    start = 2 * randn(50, size)
    result = method(objective(rosenbrock), start, lower, upper, **pair(method))
    assert result.converged.all()
    assert ((result.x >= lower) & (result.x <= upper)).all()
    assert ((result.x == lower) | (result.x == upper)).any(1).all()

    def both(z):
        z = torch.from_numpy(z)
        return rosenbrock(z).item(), grad(rosenbrock)(z).numpy()

    reference = minimize(
        both, result.x[0].numpy() - 0.05, jac=True, bounds=[(-1.5, 0.8)] * size, options={"ftol": 1e-15, "gtol": 1e-10}
    )
    assert result.value.min() <= reference.fun + 1e-12
    near = (result.value - reference.fun).abs() < 1e-8
    assert near.any()
    np.testing.assert_allclose(result.x[near][0].numpy(), reference.x, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_one_at_a_time_equals_the_batch(method, objective, randn):
    start = randn(12, 4)
    together = method(objective(rosenbrock), start, -1.0, 0.9, **pair(method))
    for i in range(len(start)):
        alone = method(objective(rosenbrock), start[i : i + 1], -1.0, 0.9, **pair(method))
        assert torch.allclose(alone.x[0], together.x[i], rtol=0, atol=1e-12 if method is newton else 1e-8)
        assert alone.reason[0] == together.reason[i]


@pytest.mark.parametrize("method", METHODS)
def test_finished_members_are_dropped_and_passes_counted(method, objective, randn):
    fun = objective(rosenbrock)
    result = method(fun, randn(20, 3), None, None)
    sizes = [len(call) for call in fun.calls]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    assert sum(sizes) == result.n_pass.sum()
    assert torch.bincount(torch.tensor([m for call in fun.calls for m in call]), minlength=20).equal(result.n_pass)


@pytest.mark.parametrize("method", METHODS)
def test_infeasible_regions_are_avoided(method, objective, randn):
    start = randn(30, 4).abs() * 50 + 0.01
    result = method(objective(barrier), start, None, None, **pair(method))
    assert result.converged.all()
    assert (result.x - 1).abs().max() < 1e-8


@pytest.mark.parametrize("method", METHODS)
def test_infeasible_start_is_a_value(method, objective):
    start = torch.tensor([[-1.0], [2.0]], dtype=torch.float64)
    result = method(objective(barrier), start, None, None)
    assert result.reason.tolist() == [Reason.stalled, Reason.converged]
    assert torch.isinf(result.value[0])


@pytest.mark.parametrize("method", METHODS)
def test_kink_stalls(method, objective, randn):
    result = method(objective(lambda x: (x - 0.3).abs().sum() + 0.5 * (x**2).sum()), randn(20, 1), None, None)
    assert (result.reason == Reason.stalled).all()
    assert (result.x - 0.3).abs().max() < 1e-5
    assert result.n_pass.max() < 150


@pytest.mark.parametrize("method", METHODS)
def test_deadline(method, objective, randn):
    plain = objective(rosenbrock)

    def slow(x, members, order):
        time.sleep(0.02)
        return plain(x, members, order)

    begun = time.monotonic()
    result = method(slow, 3 * randn(5, 6), None, None, deadline=begun + 0.1)
    assert time.monotonic() - begun < 1.0
    assert (result.reason == Reason.time).all()
    past = method(plain, randn(2, 2), None, None, deadline=begun)
    assert (past.reason == Reason.time).all()
    assert (past.n_pass == 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_max_iter_and_report(method, objective, randn):
    seen = []
    result = method(
        objective(rosenbrock),
        3 * randn(4, 5),
        None,
        None,
        max_iter=3,
        on_iter=lambda i, m, v: seen.append((i, len(m), len(v))),
    )
    assert (result.reason == Reason.max_iter).all()
    assert (result.n_iter == 3).all()
    assert seen[0] == (1, 4, 4)
    assert [i for i, _, _ in seen] == list(range(1, len(seen) + 1))


@pytest.mark.parametrize("method", METHODS)
def test_fixed_coordinates_and_starts_outside(method, objective):
    start = torch.tensor([[9.0, 9.0, 9.0]], dtype=torch.float64)
    lower = torch.tensor([-torch.inf, 0.5, -2.0], dtype=torch.float64)
    upper = torch.tensor([torch.inf, 0.5, 2.0], dtype=torch.float64)
    result = method(objective(lambda x: ((x - torch.arange(3)) ** 2).sum()), start, lower, upper)
    assert result.converged.all()
    assert torch.allclose(result.x, torch.tensor([[0.0, 0.5, 2.0]], dtype=torch.float64), atol=1e-6)
    held = method(objective(rosenbrock), start, start, start)
    assert held.converged.all()
    assert held.x.equal(start)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("members", "size"), [(0, 3), (2, 0)])
def test_empty(method, members, size, objective):
    result = method(objective(lambda x: (x**2).sum()), torch.ones(members, size, dtype=torch.float64), None, None)
    assert result.converged.all()
    assert result.x.shape == (members, size)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_input_is_named(method, objective):
    fun = objective(rosenbrock)
    start = torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="float64"):
        method(fun, start.float(), None, None)
    with pytest.raises(ValueError, match="broadcast"):
        method(fun, start, torch.zeros(2, dtype=torch.float64), None)
    with pytest.raises(ValueError, match=r"coordinate 0 has bounds 1.0 and 0.0"):
        method(fun, start, 1.0, 0.0)


def test_projected_gradient_keeps_its_digits():
    x = torch.tensor([[1e10, 0.0, 1.0, 5.0]], dtype=torch.float64)
    gradient = torch.tensor([[1e-9, 2.0, -3.0, 4.0]], dtype=torch.float64)
    lower = torch.tensor([[-torch.inf, 0.0, 0.0, 4.0]], dtype=torch.float64)
    upper = torch.tensor([[torch.inf, 1.0, 1.0, 9.0]], dtype=torch.float64)
    assert projected_gradient(x, gradient, lower, upper).tolist() == [[1e-9, 0.0, 0.0, 1.0]]
