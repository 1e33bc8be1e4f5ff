"""Defects found in other packages of mixture layers, each a test that gatewise does not have it."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from gatewise.core.gates import GATES
from gatewise.nn import FFN, MoE, Router, finish_step
from gatewise.nn.balance import count, kept_probability, token_sums, unpacked
from gatewise.nn.balance.statistics import TOKENS
from gatewise.testing import assert_close, assert_unbiased
from gatewise.testing.layers import (
    LAYER_BACKENDS,
    LAYER_BRANCHINGS,
    draw_tokens,
    law_layer_eval,
    law_layer_moves,
    law_layer_parameters,
    law_layer_rows,
    law_layer_scores,
    loss_gradients,
    make_layer,
)

from ..covering import slow_rest

both_backends = pytest.mark.parametrize("backend", LAYER_BACKENDS)
both_depths = pytest.mark.parametrize("branching", LAYER_BRANCHINGS)
every_gate = pytest.mark.parametrize("gate", GATES)


@every_gate
@both_depths
@both_backends
def test_d1_gate_parameters_are_registered_have_a_gradient_and_move(gate, branching, backend):
    layer = make_layer(gate, branching, backend)
    law_layer_parameters(layer)
    law_layer_scores(layer)
    law_layer_moves(layer)


@every_gate
@both_backends
def test_d2_two_calls_in_evaluation_are_bitwise_equal_also_with_noise(gate, backend):
    law_layer_eval(make_layer(gate, (2, 3), backend, noise=1.0))


@both_backends
def test_d2_noise_acts_in_training_only(backend):
    layer = make_layer("softmax", backend=backend, noise=1.0)
    x = draw_tokens(layer)
    torch.manual_seed(0)
    assert not torch.equal(layer.train()(x), layer(x))


@both_depths
@both_backends
def test_d3_outputs_do_not_depend_on_the_batch_or_on_later_tokens(branching, backend):
    law_layer_rows(make_layer("laplace", branching, backend))


CHOICES = {
    "softmax": {"branching": 5},
    "sigmoid": {"branching": 5, "gate": "sigmoid"},
    "laplace top-3": {"branching": 5, "gate": "laplace", "top_k": 3},
    "leaves of a tree": {"branching": (2, 3)},
    "branches of every level": {"branching": (3, 4), "gate": ("laplace", "softmax"), "top_k": (2, 1)},
    "a level kept whole": {"branching": (2, 3), "top_k": (2, 1)},
}


@pytest.mark.parametrize("noise", [0.4, 1.0])
@pytest.mark.parametrize("options", CHOICES.values(), ids=CHOICES)
def test_d4_the_load_estimator_is_the_probability_of_being_kept(options, noise):
    """The same tokens 20000 times: on average the estimate is how often a leaf is kept, and its total k per token."""
    torch.manual_seed(0)
    router, draws = Router(6, noise=noise, **options), 20_000
    routing = router(0.3 * torch.randn(3, 6).repeat_interleave(draws, 0))
    estimate = kept_probability(router, routing).detach()
    kept = torch.zeros_like(estimate).scatter(1, routing.index, 1.0)
    off = (estimate - kept).view(3, draws, -1).mT
    assert_unbiased(off, "the estimate is the probability of being kept")
    assert_unbiased(off.sum(1), "the total is k per token")
    vector = count(router, routing, token_sums(router, routing, expected=True))
    tally = unpacked(vector)
    assert (float(vector[TOKENS]), float(tally.tokens)) == (3 * draws, 3 * draws)
    assert float(tally.smooth.sum()) == pytest.approx(float(estimate.sum()), rel=1e-3)


@both_backends
def test_d5_the_output_of_linear_experts_is_the_weighted_sum(backend):
    layer = make_layer("laplace", (2, 3), backend).double()
    layer.experts = linear = nn.ModuleList(nn.Linear(6, 4) for _ in range(6)).double()
    layer.backend, layer.dim_out = "auto", 4
    x = draw_tokens(layer)
    routing = layer.router(x)
    by_hand = torch.zeros(len(x), 4, dtype=torch.float64)
    for t in range(len(x)):
        for leaf, weight in zip(routing.index[t], routing.weight[t], strict=True):
            by_hand[t] += weight * linear[leaf](x[t])
    assert_close(layer(x), by_hand, "the layer is the weighted sum", 1e-12)


@both_backends
def test_d5_the_output_of_networks_is_the_weighted_sum(backend):
    layer = make_layer("laplace", (2, 3), backend).double()
    x, net = draw_tokens(layer), layer.experts
    routing = layer.router(x)
    hidden = nn.functional.gelu(torch.einsum("td,edh->teh", x, net.w_in) + net.b_in)
    value = torch.einsum("teh,ehq->teq", hidden, net.w_out) + net.b_out
    weight = torch.zeros(len(x), 6, dtype=torch.float64).scatter(1, routing.index, routing.weight)
    assert_close(layer(x), torch.einsum("te,teq->tq", weight, value), "the layer is the weighted sum", 1e-12)


@pytest.mark.parametrize("gate", sorted(GATES.keys() - {"equal", "constant"}))  # those two are in balance at the start
def test_d6_with_default_settings_the_auxiliary_loss_reaches_the_gate(gate):
    def gradients(weight):
        layer = make_layer(gate, balance_weight=weight)
        for _ in range(2):
            loss_gradients(layer, draw_tokens(layer))
            finish_step(layer)
        return [p.grad for p in layer.router.parameters()]

    default, off = gradients(0.1), gradients(0.0)
    assert all(not torch.equal(a, b) for a, b in zip(default, off, strict=True))
    assert MoE(4, 4).balancer.weight == 0.1


@both_backends
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_d7_models_run_forward_and_backward_in_every_dtype(backend, dtype):
    layer = make_layer("laplace", (2, 3), backend, shared=1).to(dtype)
    for name, value in loss_gradients(layer, draw_tokens(layer)).items():
        assert value.dtype == dtype, name
        assert bool(value.isfinite().all()), name


@both_backends
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_d7_autocast_runs_forward_and_backward(backend, dtype):
    layer = make_layer("laplace", (2, 3), backend, shared=1)
    with torch.autocast("cpu", dtype):
        out = layer(draw_tokens(layer))
    assert out.dtype == dtype
    out.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 and bool(p.grad.isfinite().all()) for p in layer.parameters())


def full_size_operations(experts, backend):
    """Number of operations in a forward and backward pass whose result is as large as the experts' weights."""
    layer = make_layer("softmax", (experts,), backend, bias=False)
    x = draw_tokens(layer)
    loss_gradients(layer, x)
    layer.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, profile_memory=True) as found:
        layer(x).square().sum().backward()
    size = layer.experts.w_in.numel() * layer.experts.w_in.element_size()
    return sum(event.self_cpu_memory_usage >= size for event in found.events())


@both_backends
def test_d8_the_backward_pass_makes_as_many_full_size_gradients_for_32_experts_as_for_8(backend):
    assert full_size_operations(32, backend) <= full_size_operations(8, backend) <= 8


def test_d8_every_weight_is_unbound_once(monkeypatch):
    calls = []
    right = torch.Tensor.unbind
    monkeypatch.setattr(torch.Tensor, "unbind", lambda self, dim=0: calls.append(self.shape) or right(self, dim))
    layer = make_layer("softmax", (32,), "loop")
    layer(draw_tokens(layer))
    assert calls.count(layer.experts.w_in.shape) == calls.count(layer.experts.w_out.shape) == 1


ROUTINGS = {
    "random": lambda n: torch.stack([torch.randperm(5)[:2] for _ in range(n)]),
    "all to one pair": lambda n: torch.tensor([[3, 1]]).expand(n, 2),
    "empty experts": lambda n: torch.tensor([[0, 4], [4, 0]]).repeat(n // 2, 1),
}


@both_backends
@pytest.mark.parametrize("choose", ROUTINGS.values(), ids=ROUTINGS)
def test_d9_every_assignment_is_served(backend, choose, monkeypatch):
    """Experts that return one: the output is the sum of the weights, whatever the routing."""
    torch.manual_seed(0)
    layer = make_layer("softmax", backend=backend)
    with torch.no_grad():
        for p in layer.experts.parameters():
            p.zero_()
        layer.experts.b_out.fill_(1.0)
    index, x = choose(24).contiguous(), draw_tokens(layer)
    routing = layer.router(x)._replace(index=index, weight=torch.ones(24, 2))
    monkeypatch.setattr(layer.router, "forward", lambda *given: routing)
    out = layer(x)
    assert torch.equal(out, torch.full_like(out, 2.0))
    out.sum().backward()
    finish_step(layer)
    tally = layer.tally()
    assert float(tally.offered) == float(tally.served) == float(tally.load.sum()) == 48


MEMORY = """
import sys, torch
from pathlib import Path
from gatewise.nn import MoE
torch.set_num_threads(1)
layer = MoE(64, 128, n_experts=16, backend=sys.argv[1])
def resident(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))
layer(torch.randn(512, 64)).sum().backward()
for tokens in (8_192, 32_768):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = resident("VmRSS")
    layer(torch.randn(tokens, 64)).sum().backward()
    print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("backend", slow_rest(LAYER_BACKENDS, ["grouped"]))
def test_d10_peak_memory_is_linear_in_the_tokens(backend):
    """Four times the tokens: a linear peak is four times as high, a quadratic one sixteen times."""
    found = subprocess.run([sys.executable, "-c", MEMORY, backend], check=True, capture_output=True, text=True)
    small, large = map(int, found.stdout.split())
    assert 0 < large < 7 * small, (small, large)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_d11_the_grouped_backend_compiles_in_full_graphs(dtype):
    torch._dynamo.reset()
    layer = make_layer("softmax", backend="grouped").to(dtype).eval()
    x = draw_tokens(layer)
    assert torch.equal(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))


@both_backends
def test_d12_a_float32_model_computes_in_float32(backend, monkeypatch):
    layer = make_layer("laplace", (2, 3), backend)
    assert {p.dtype for p in layer.parameters()} == {torch.float32}
    wide = make_layer("laplace", (2, 3), backend).double()
    x = draw_tokens(layer)
    assert_close(layer(x).double(), wide(x.double()), "outputs have the accuracy of float32", 1e-6)
    assert layer(x).dtype == torch.float32


def test_a_batched_network_draws_every_expert_by_itself():
    torch.manual_seed(0)
    experts = FFN(64, 256, 32)
    assert abs(float(experts.w_in.detach().std()) * 3**0.5 * 16 - 1) < 0.01
    assert len({*experts.w_in[:, 0, 0].tolist()}) == 64
