"""Objectives for the minimisers, differentiated by autograd."""

import pytest
import torch
from torch.func import grad, jacrev, vmap


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def randn():
    generator = torch.Generator().manual_seed(20240917)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def objective():
    """Turn a function of one point (P,) into a batched objective that logs the members of every call."""

    def make(function):
        orders = vmap(function), vmap(grad(function)), vmap(jacrev(grad(function)))

        def fun(x, members, order):
            fun.calls.append(members.tolist())
            return tuple(f(x) for f in orders[: order + 1])

        fun.calls = []
        return fun

    return make


@pytest.fixture
def quadratic():
    """Batched x'Hx / 2 - b'x from stacks of H (S, P, P) and b (S, P)."""

    def make(curvature, linear):
        def fun(x, members, order):
            h, b = curvature[members], linear[members]
            hx = (h @ x[..., None])[..., 0]
            return (0.5 * (x * hx).sum(-1) - (b * x).sum(-1), hx - b, h)[: order + 1]

        return fun

    return make
