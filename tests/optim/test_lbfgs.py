"""L-BFGS: few passes, exact box, honest ends."""

import pytest
import torch

from gatewise.optim import Reason, lbfgs, newton


def test_nearly_one_pass_per_iteration(objective, randn):
    def smooth(x):
        return (torch.cosh(x) * torch.arange(1, 9)).sum() + x.sum() ** 2

    result = lbfgs(objective(smooth), randn(30, 8), None, None)
    assert result.converged.all()
    assert (result.n_pass.sum() / result.n_iter.sum()) < 1.2


@pytest.mark.parametrize("condition", [1e1, 1e3])
def test_bounded_quadratics_agree_with_newton(condition, quadratic, randn):
    rotation = torch.linalg.qr(randn(20, 15, 15))[0]
    values = torch.linspace(1, 1 / condition, 15, dtype=torch.float64)
    fun = quadratic(rotation * values @ rotation.mT, 0.5 * randn(20, 15))
    start = randn(20, 15)
    result, exact = lbfgs(fun, start, -0.5, 0.7, tol=1e-9), newton(fun, start, -0.5, 0.7)
    assert result.converged.all()
    assert (result.x - exact.x).abs().max() < 1e-5
    assert ((result.x == -0.5) | (result.x == 0.7)).equal((exact.x == -0.5) | (exact.x == 0.7))


def test_a_flat_step_is_no_convergence(objective):
    """The value hardly changes far out on this tail, and only the gradient may say that it is over."""
    fun = objective(lambda x: 1e6 + torch.sqrt(1 + x**2).sum() * 1e-3)
    result = lbfgs(fun, torch.full((1, 2), 50.0, dtype=torch.float64), None, None, tol=1e-9)
    assert result.reason[0] == Reason.converged
    assert result.x.abs().max() < 1e-5


def test_negative_curvature_lengthens_the_step(objective):
    """Concave far out: without longer steps this would take thousands of iterations."""
    fun = objective(lambda x: -torch.exp(-0.5 * (x / 30) ** 2).sum() * 30)
    result = lbfgs(fun, torch.full((1, 1), 90.0, dtype=torch.float64), None, None)
    assert result.converged.all()
    assert result.x.abs().max() < 1e-3
    assert result.n_pass[0] < 40


def test_history_of_one(objective, randn):
    fun = objective(lambda x: (x**2 * torch.arange(1, 6)).sum())
    result = lbfgs(fun, randn(5, 5), None, None, history=1)
    assert result.converged.all()
