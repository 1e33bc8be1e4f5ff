"""Uses beside the usual one: other devices and precisions, frozen parts, transforms, modules of the user's own."""

import copy

import pytest
import torch
from torch import nn

from gatewise.core.gates import GATES
from gatewise.nn import Anneal, MoE, finish_step
from gatewise.testing import assert_close
from gatewise.testing.layers import LAYER_BACKENDS, draw_tokens, loss_gradients, make_layer

both_backends = pytest.mark.parametrize("backend", LAYER_BACKENDS)


@pytest.fixture
def _half_by_default():
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(torch.float32)


@both_backends
def test_the_output_may_be_changed_in_place(backend):
    layer = make_layer("laplace", backend=backend)
    layer(draw_tokens(layer)).relu_().sum().backward()
    assert layer.experts.w_in.grad.any()


@both_backends
def test_in_place_and_out_of_place_residuals_have_the_same_gradient(backend):
    def gradients(add):
        layer = make_layer("laplace", (2, 3), backend, balance_weight=1.0)
        for _ in range(2):
            layer.zero_grad()
            add(layer(x), x).square().sum().backward()
            finish_step(layer)
        return [p.grad for p in layer.parameters()]

    x = draw_tokens(make_layer("laplace"))
    for a, b in zip(gradients(lambda out, x: out.add_(x)), gradients(lambda out, x: out + x), strict=True):
        assert_close(a, b, "gradients", 1e-7)


def test_layers_can_be_built_and_run_on_the_meta_device():
    with torch.device("meta"):
        layer = MoE(6, 8, (2, 3), gate="laplace", bias=True)
    assert {value.device.type for value in (*layer.parameters(), *layer.buffers())} == {"meta"}
    assert layer(torch.randn(3, 6, device="meta")).shape == (3, 6)
    for module in layer.to_empty(device="cpu").modules():
        getattr(module, "reset_parameters", lambda: None)()
    out = layer(torch.randn(3, 6))
    assert bool(out.isfinite().all())
    assert float(layer.balancer.loss_scale) == 1
    assert not layer.balancer.now.any()
    assert bool((layer.router.gates[1].center.std((1, 2)) > 0).all())


@pytest.mark.parametrize("temperature", ["learned", 3.0, Anneal(3.0, 1.0, 5)])
def test_resetting_draws_a_gate_as_building_does(temperature):
    layer = MoE(6, 8, gate="dense-to-sparse", temperature=temperature)
    gate = layer.router.gates[0]
    start = gate.values()["temperature"].clone()
    with torch.no_grad():
        gate.log_temperature += 1
    gate.reset_parameters()
    assert_close(gate.values()["temperature"], start, "the temperature of the start", 1e-5)


@pytest.mark.usefixtures("_half_by_default")
@pytest.mark.parametrize("gate", GATES)
def test_statistics_stay_in_float32_when_half_precision_is_the_default(gate):
    layer = MoE(6, 8, (2, 3), gate=gate)
    assert {p.dtype for p in layer.parameters()} == {torch.bfloat16}
    assert {b.dtype for b in layer.router.buffers(recurse=False)} == {torch.float32}
    assert layer.balancer.now.dtype == layer.balancer.loss_scale.dtype == torch.float32
    layer(torch.randn(24, 6)).sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_offsets_and_tallies_stay_in_float32_in_a_model_of_half_precision(dtype):
    layer = make_layer("softmax", balance="bias", bias_rate=1e-4).to(dtype)
    for _ in range(3):
        layer(draw_tokens(layer)).sum().backward()
        finish_step(layer)
    assert layer.router.offset_0.dtype == layer.balancer.last.dtype == torch.float32
    steps = layer.router.offset_0 / 1e-4
    assert_close(steps, steps.round(), "whole steps", 1e-3)


@both_backends
@pytest.mark.parametrize("part", ["router", "experts"])
def test_a_frozen_part_gets_no_gradient_and_the_others_keep_theirs(backend, part):
    layer = make_layer("laplace", (2, 3), backend, shared=1)
    x = draw_tokens(layer)
    expected = loss_gradients(copy.deepcopy(layer), x)
    getattr(layer, part).requires_grad_(False)
    found = loss_gradients(layer, x)
    assert not any(name.startswith(part) for name in found)
    for name, value in found.items():
        assert_close(value, expected[name], name, 1e-6)


def test_a_wholly_frozen_layer_passes_the_gradient_on():
    layer = make_layer("laplace").requires_grad_(False)
    assert not layer(draw_tokens(layer)).requires_grad
    assert loss_gradients(layer, draw_tokens(layer))["x"].any()


@both_backends
def test_functional_call_is_the_layer(backend):
    layer = make_layer("laplace", (2, 3), backend).eval()
    x, state = draw_tokens(layer), {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
    moved = {name: value + 0.01 if name == "router.gates.0.center" else value for name, value in state.items()}
    assert torch.equal(torch.func.functional_call(layer, state, (x,)), layer(x))
    assert not torch.equal(torch.func.functional_call(layer, moved, (x,)), layer(x))


def test_per_sample_gradients_by_functional_transforms():
    """In evaluation and with the loop, whose operations all have their transforms."""
    layer = make_layer("laplace", backend="loop").eval()
    state, x = dict(layer.named_parameters()), draw_tokens(layer)

    def loss(params):
        return torch.func.functional_call(layer, params, (x,)).square().sum()

    found = torch.func.grad(loss)({name: p.detach() for name, p in state.items()})
    expected = loss_gradients(layer, x)
    for name, value in found.items():
        assert_close(value, expected[name], name, 1e-6)


def test_modules_of_the_users_keep_their_autocast():
    layer = MoE(6, n_experts=3, experts=lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 6)))
    x = torch.randn(24, 6)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert_close(out.float(), layer(x), "outputs under autocast", 3e-2)
    out.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in layer.parameters())


def test_modules_of_the_users_are_the_weighted_sum_and_train():
    experts = nn.ModuleList(
        [nn.Linear(6, 2), nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)), nn.Linear(6, 2)]
    )
    layer = MoE(6, n_experts=3, experts=experts, dim_out=2, top_k=None)
    x = torch.randn(24, 6)
    routing = layer.router(x)
    values = torch.stack([expert(x) for expert in experts], 1)
    assert_close(layer(x), (routing.weight[..., None] * values).sum(1), "the weighted sum", 1e-6)
    layer(x).square().sum().backward()
    assert all(bool((p.grad != 0).any()) for p in layer.parameters())


def test_wider_inputs_than_the_model_compute_in_their_own_precision():
    layer = make_layer("laplace", (2, 3))
    x = draw_tokens(layer).double()
    assert_close(layer(x), copy.deepcopy(layer).double()(x), "float64 tokens in a float32 model", 1e-12)


@both_backends
def test_a_layer_learns(backend):
    """Two regimes by the sign of a feature: a mixture of two experts beats what one network of its size can do."""
    torch.manual_seed(0)
    layer = MoE(2, 16, n_experts=2, top_k=1, normalise="before", bias=True, backend=backend)
    optimiser = torch.optim.Adam(layer.parameters(), 0.02)
    x = torch.randn(256, 2)
    y = torch.where(x[:, :1] > 0, x, -x.flip(1))
    first = float((layer(x) - y).square().mean().detach())
    for _ in range(60):
        optimiser.zero_grad()
        (layer(x) - y).square().mean().backward()
        optimiser.step()
    assert float((layer(x) - y).square().mean().detach()) < 0.3 * first
    assert int(layer.balancer.steps) == 60


@pytest.mark.parametrize("gate", [("laplace", "dense-to-sparse"), ("dense-to-sparse", "cosine"), "scaled-laplace"])
def test_a_temperature_falls_at_the_levels_that_have_one(gate):
    layer = make_layer(gate, (2, 4), temperature=Anneal(2.0, 0.5, 3))
    optimizer = torch.optim.SGD(layer.parameters(), 0.01)
    for step in range(4):
        seen = [level.values()["temperature"] for level in layer.router.gates if level.tempered]
        assert len(seen) == (2 if gate == "scaled-laplace" else 1)
        for value in seen:
            assert_close(value, torch.full_like(value, 2.0 * 0.25 ** (step / 3)), "the annealed temperature", 1e-6)
        optimizer.zero_grad()
        layer(draw_tokens(layer)).square().sum().backward()
        optimizer.step()
