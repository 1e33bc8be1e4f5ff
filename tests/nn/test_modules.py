"""Gates and experts are called as modules: hooks, adapters, quantisation, pruning, counters and shards see them."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import remove_parametrizations
from torch.nn.utils.prune import l1_unstructured
from torch.utils.flop_counter import FlopCounterMode

from gatewise.nn import MoE, save_layer, separate_experts
from gatewise.nn.hub.shared import GatedShared
from gatewise.nn.metrics import expert_similarity
from gatewise.testing import assert_close
from gatewise.testing.layers import draw_tokens, loss_gradients, make_layer

BACKENDS = ("grouped", "loop", "dense")
every_backend = pytest.mark.parametrize("backend", BACKENDS)
OPTIONS = {
    "biases": {},
    "swiglu": {"activation": "swiglu", "bias": False},
    "shared": {"shared": 2, "scale": 0.5},
    "other outputs": {"dim_out": 3},
}


@every_backend
def test_hooks_of_every_part_are_called_forward_and_backward(backend):
    layer, seen = make_layer("laplace", (2, 3), backend, shared=1), []
    for name, module in layer.named_modules():
        module.register_forward_hook(lambda *_, name=name: seen.append(name))
        if not isinstance(module, MoE) and name != "router":  # whose output is no tensor, and whose input is a view
            module.register_full_backward_hook(lambda *_, name=name: seen.append(f"back {name}"))
    layer(draw_tokens(layer).requires_grad_()).sum().backward()
    parts = {"router.gates.0", "router.gates.1", "experts", "shared"}
    assert parts | {f"back {name}" for name in parts} <= set(seen)
    assert len(seen) == len(set(seen))


def test_hooks_of_experts_of_ones_own_are_called():
    layer, seen = MoE(6, n_experts=3, experts=lambda: nn.Linear(6, 6)), []
    for e, expert in enumerate(layer.experts):
        expert.register_forward_hook(lambda *_, e=e: seen.append(e))
    layer(torch.randn(5, 6))
    assert seen == [0, 1, 2]


def test_what_a_hook_returns_is_the_output_of_the_experts():
    layer = make_layer("softmax")
    layer.experts.register_forward_hook(lambda module, args, out: 0 * out)
    assert not layer(draw_tokens(layer)).any()


def test_the_shared_expert_of_a_gate_is_called():
    layer, seen = GatedShared(MoE(6, 8, 4), hidden=12), []
    layer.shared.register_forward_hook(lambda *_: seen.append("shared"))
    layer(torch.randn(5, 6))
    assert seen == ["shared"]


@every_backend
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_floating_point_operations_are_counted(activation, backend):
    layer = MoE(8, 16, 4, top_k=2, activation=activation, backend=backend).eval()  # in training come statistics
    x = torch.randn(20, 8, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        layer(x).sum().backward()
    rows = 20 * (4 if backend == "dense" else 2)
    experts = 2 * rows * 8 * 16 * (3 if activation == "swiglu" else 2)
    gates = 2 * 20 * 8 * 4
    weighting = 3 * 2 * 20 * 4 * 8 if backend == "dense" else 0
    assert counter.get_total_flops() == 3 * (experts + gates) + weighting


def test_the_layers_parts_can_be_called_alone():
    layer = make_layer("laplace", (2, 3), shared=1)
    x = draw_tokens(layer)
    index, weight = layer.router(x)[:2]
    expected = layer.experts(x, index, weight) + layer.shared(x)
    assert_close(layer(x), expected, "experts and the shared one", 1e-6)
    with pytest.raises(ValueError, match="6 networks without index and weight: say which serve each token"):
        layer.experts(x)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_separate_experts_compute_and_train_as_the_batch(options):
    layer = make_layer("laplace", (2, 3), "auto", **options)
    other = separate_experts(copy.deepcopy(layer))
    x = draw_tokens(layer)
    expected, found = loss_gradients(layer, x), loss_gradients(other, x)
    assert_close(found["output"], expected["output"], "outputs", 1e-5)
    assert_close(found["x"], expected["x"], "gradients of the inputs", 1e-5)
    for e in range(6):
        name = f"experts.{e}.up.weight"
        assert_close(found[name], expected["experts.w_in"][e].mT, name, 1e-5)
    assert sum(p.numel() for p in other.parameters()) == sum(p.numel() for p in layer.parameters())
    linear = [module for module in other.modules() if isinstance(module, nn.Linear)]
    assert len(linear) == 2 * (6 + ("shared" in options))
    assert_close(expert_similarity(other, x).pairs, expert_similarity(layer, x).pairs, "similarity", 1e-5)


def test_separate_experts_keep_what_is_frozen_shared_and_of_another_dtype(tmp_path):
    layer = make_layer("softmax").double()
    layer.experts.w_in.requires_grad_(False)
    separate_experts(layer.eval())
    assert [p.requires_grad for p in layer.experts[2].parameters()] == [False, True, True, True]
    assert layer.experts[0].down.weight.dtype == torch.float64
    assert not layer.experts[0].training
    with pytest.raises(ValueError, match="modules already, a ModuleList: there is nothing to separate"):
        separate_experts(layer)
    with pytest.raises(ValueError, match="experts of your own"):
        save_layer(layer, tmp_path)


@pytest.mark.parametrize("name", ["experts", "shared"])
def test_parametrized_experts_are_separated_once_they_are_plain(name):
    layer = MoE(6, 8, 3, shared=1)
    weight_norm(getattr(layer, name), "w_in")
    x = torch.randn(20, 6)
    expected = layer(x)
    with pytest.raises(
        ValueError, match=rf"layer.{name} has parametrizations, of w_in, .*remove_parametrizations\(layer"
    ):
        separate_experts(layer)
    remove_parametrizations(getattr(layer, name), "w_in")
    assert_close(separate_experts(layer)(x), expected, "outputs", 1e-6)


def test_wrapped_experts_are_refused_with_a_remedy():
    layer = MoE(6, 8, 3)
    layer.experts = nn.Sequential(layer.experts)
    with pytest.raises(ValueError, match=r"experts of a layer are .*take wrappers, such as adapters, off first"):
        separate_experts(layer)


def test_dynamic_quantisation_reaches_separate_experts():
    torch.manual_seed(0)
    layer = MoE(16, 32, 4, shared=1).eval()
    x = torch.randn(50, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao moves to torchao
        quantised = torch.ao.quantization.quantize_dynamic(separate_experts(copy.deepcopy(layer)), {nn.Linear})
    kinds = [type(module).__module__ for module in quantised.modules() if type(module).__name__ == "Linear"]
    assert len(kinds) == 10
    assert all("quantized" in kind for kind in kinds)
    difference = (quantised(x) - layer(x)).norm() / layer(x).norm()
    assert 0 < float(difference.detach()) < 0.05


def test_pruning_reaches_separate_experts():
    layer = separate_experts(MoE(6, 8, 3))
    l1_unstructured(layer.experts[1].up, "weight", amount=0.5)
    layer(torch.randn(20, 6)).sum().backward()
    assert float((layer.experts[1].up.weight == 0).float().mean()) == 0.5


ADAPTED = {
    "experts": ["mlp.experts.w_in", "mlp.experts.w_out"],
    "one gate": ["gates.0.center"],
    "all": ["mlp.experts.w_in", "gates.0.center", "gates.1.weight"],
}


def adapted(model, x, **options):
    """Train low-rank adapters for three steps; return the model, and its layer."""
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(model, peft.LoraConfig(r=2, **options))
    free = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(free, 0.5)
    for _ in range(3):
        optimiser.zero_grad()
        model(x).square().mean().backward()
        assert all(p.grad is not None for p in free)
        optimiser.step()
    return model, next(module for module in model.modules() if isinstance(module, MoE))


@every_backend
@pytest.mark.parametrize("targets", ADAPTED.values(), ids=ADAPTED)
def test_low_rank_adapters_of_parameters_train_and_merge(targets, backend):
    layer = make_layer(("laplace", "softmax"), (2, 3), backend, bias=False, dim=6)
    x = draw_tokens(layer)
    before, plain = copy.deepcopy(layer), nn.ModuleDict({"mlp": layer})
    plain.forward = lambda x: plain["mlp"](x)
    model, inside = adapted(plain, x, target_parameters=targets)
    assert int(inside.balancer.steps) == 3
    assert float(inside.tally().tokens) == len(x)
    after = model.eval()(x).detach()
    assert not torch.allclose(after, before.eval()(x), atol=1e-3)
    assert_close(model.merge_and_unload()["mlp"](x), after, "merged", 1e-6)


def test_low_rank_adapters_of_modules_train():
    layer = separate_experts(make_layer("softmax"))
    x = draw_tokens(layer)
    before = copy.deepcopy(layer)
    model, _ = adapted(layer, x, target_modules=r"experts\.\d+\.(up|down)")
    assert sum("lora_A" in name for name, _ in model.named_parameters()) == 10
    assert not torch.allclose(model(x), before(x), atol=1e-3)
