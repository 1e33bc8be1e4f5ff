"""Every shape of input, and how evenly a new layer routes."""

from math import log

import pytest
import torch

from gatewise.core.gates import GATES
from gatewise.nn import FFN, HMoE, MoE, Router
from gatewise.nn.router import leaf_probabilities
from gatewise.testing import assert_close
from gatewise.testing.layers import LAYER_BACKENDS, LAYER_BRANCHINGS, draw_tokens, make_layer

both_backends = pytest.mark.parametrize("backend", LAYER_BACKENDS)
both_depths = pytest.mark.parametrize("branching", LAYER_BRANCHINGS)
SQUARED = ("quadratic", "quadratic-monomial")  # d^2 parameters for each branch
ANGLES = ("cosine", "perturbed-cosine")  # bounded, without a temperature


@both_backends
@both_depths
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (2, 3, 4, 6), (0, 6), (2, 0, 6), (1, 6), (1, 1, 6)])
def test_leading_dimensions_are_those_of_the_input(shape, branching, backend):
    layer = make_layer("laplace", branching, backend, dim_out=4)
    x = torch.randn(shape, requires_grad=True)
    out = layer(x)
    assert out.shape == (*shape[:-1], 4)
    assert_close(out, layer(x.reshape(-1, 6)).reshape(out.shape), "rows are rows", 1e-6)
    out.square().sum().backward()
    assert x.grad.shape == shape
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in layer.parameters())


@both_backends
@pytest.mark.parametrize("capacity", [None, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_an_empty_batch_changes_nothing(backend, capacity, noise):
    layer = make_layer("softmax", backend=backend, capacity=capacity, noise=noise)
    layer(torch.randn(0, 6), torch.ones(0, dtype=torch.bool)).sum().backward()
    assert not layer.balancer.now.any()
    assert all(not p.grad.any() for p in layer.parameters())


@both_backends
def test_fewer_tokens_than_experts(backend):
    layer = make_layer("softmax", (4, 16), backend)
    layer(torch.randn(3, 6)).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


@both_backends
@both_depths
def test_inputs_need_not_be_contiguous(branching, backend):
    layer = make_layer("laplace", branching, backend)
    views = {
        "transposed": torch.randn(4, 6, 5).mT,
        "strided": torch.randn(4, 5, 12)[..., ::2],
        "expanded": torch.randn(1, 1, 6).expand(4, 5, 6),
    }
    for what, x in views.items():
        assert not x.is_contiguous(), what
        assert_close(layer(x), layer(x.contiguous()), what, 1e-6)
        layer(x).mT[..., ::2].square().sum().backward()


@both_backends
def test_weights_need_not_be_contiguous(backend):
    layer = make_layer("softmax", backend=backend)
    x = draw_tokens(layer)
    expected = layer(x).detach()
    layer.experts.w_in = torch.nn.Parameter(layer.experts.w_in.detach().mT.contiguous().mT)
    out = layer(x)
    assert_close(out, expected, "weights stored by columns", 1e-6)
    out.sum().backward()


@both_backends
def test_inputs_without_gradient(backend):
    layer = make_layer("softmax", backend=backend)
    x = draw_tokens(layer)
    layer(x).sum().backward()
    assert x.grad is None
    assert layer.experts.w_in.grad.any()


@pytest.mark.parametrize(
    ("gate", "dim"), [(gate, dim) for gate in GATES for dim in (16, 256, 4096) if dim <= 256 or gate not in SQUARED]
)
def test_a_new_router_is_nearly_even_and_not_constant(gate, dim):
    """For layer-normed tokens: normalised entropy at least .9; scores differ, where the gate sees its inputs."""
    torch.manual_seed(1)
    x = torch.nn.functional.layer_norm(torch.randn(64, dim), (dim,))
    for branching in ((8,), (2, 4)):
        with torch.no_grad():
            routing = Router(dim, branching, gate, top_k=None)(x)
        if gate == "top-k":  # its entropy is at most that of two branches per node
            routing = routing._replace(log_weights=tuple(score.log_softmax(-1) for score in routing.scores))
        share = leaf_probabilities(routing)
        assert float(-torch.xlogy(share, share).sum(-1).mean() / log(8)) >= 0.9
        if gate not in ("equal", "constant"):
            widest = dim**-0.5 if gate in ANGLES else 0.3  # angles between directions drawn evenly
            assert float(routing.scores[-1].std(-1).mean()) > widest / 3


@pytest.mark.parametrize("gate", [name for name in GATES if name not in ("equal", "constant")])
def test_every_node_has_a_gate_of_its_own(gate):
    """At the second level too: no two groups share their inner parameters."""
    torch.manual_seed(0)
    inner = Router(16, (3, 4), gate).gates[1].values()
    vectors = [value for value in inner.values() if value.ndim == 3]
    assert vectors
    assert all(not torch.equal(value[0], value[1]) for value in vectors)


@both_backends
def test_one_branch_and_one_expert(backend):
    one = make_layer("softmax", (1,), backend, top_k=1)
    x = draw_tokens(one)
    assert_close(one(x), one.experts(x), "one expert is its network", 1e-6)
    assert make_layer("laplace", (1, 1, 1), backend, top_k=1)(x).shape == x.shape


@both_backends
def test_a_shared_expert_is_added_with_weight_one(backend):
    plain = make_layer("softmax", backend=backend, scale=2.0)
    layer = make_layer("softmax", backend=backend, scale=2.0, shared=3)
    layer.load_state_dict(plain.state_dict(), strict=False)
    x = draw_tokens(layer)
    assert layer.shared.hidden == 3 * 8
    assert_close(layer(x), plain(x) + layer.shared(x), "routed plus shared", 1e-6)


def test_aliases_and_names():
    assert HMoE(6, 8, (2, 3)).router.branching == (2, 3)
    assert MoE(6, 8, 5).router.slots == 2
    assert MoE(6, 8, (2, 3), top_k=(1, 2)).router.slots == 2
    assert MoE(6, 8, (2, 3), top_k=None).router.slots == 6
    assert repr(FFN(2, 6, 8, activation="swiglu")) == "FFN(2 x (6 -> 8 -> 6), swiglu, bias=False)"
    assert "here: grouped" in repr(MoE(6, 8))
    assert "here: dense" in repr(MoE(6, n_experts=2, experts=lambda: torch.nn.Linear(6, 6)))
    assert "here: loop" in repr(MoE(6, n_experts=3, experts=lambda: torch.nn.Linear(6, 6)))
