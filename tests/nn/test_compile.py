"""The grouped backend compiles, exports and never waits for a device."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gatewise import Affine, Gate, ReLU
from gatewise.nn import Anneal, Choice, ExpertChoice, MoE, Sinkhorn, TopP, finish_step, grouped, products
from gatewise.nn.units import UNITS
from gatewise.testing import assert_close
from gatewise.testing.layers import draw_tokens, loss_gradients, make_layer

OPTIONS = {
    "flat": {},
    "two levels": {"branching": (2, 3), "gate": ("laplace", "softmax")},
    "sigmoid top-1": {"gate": "sigmoid", "top_k": 1, "normalise": "before"},
    "tempered": {"gate": "dense-to-sparse", "temperature": Anneal(2.0, 0.5, 10), "balance": "bias"},
    "shared, no bias": {"bias": False, "activation": "swiglu", "shared": 1, "balance": "switch", "z_weight": 1e-3},
    "capacity": {"capacity": 1.0},
    "dense": {"top_k": None, "balance": "none"},
    "groups": {"branching": (8,), "gate": "sigmoid", "choice": Choice("weights", 4, 2), "balance": "bias"},
    "top-p": {"branching": (2, 4), "top_k": None, "choice": TopP(0.6)},
    "top-p in groups": {"branching": (8,), "choice": Choice("weights", 4, 2, rule=TopP(0.3)), "top_k": 4},
    "expert choice": {"branching": (8,), "choice": ExpertChoice(), "normalise": "before"},
    "sinkhorn": {"branching": (8,), "choice": Sinkhorn()},
    "rectified": {"branching": (8,), "gate": Gate(Affine(), ReLU()), "top_k": None, "balance": "sparsity"},
    "null experts": {"branching": (8,), "null_experts": 2, "identity_experts": 2, "balance": "bias+sequence"},
    "bounds": {"activation": "swiglu(limit=0.5, up=0.5, alpha=1.702, shift=1.0)", "shared": 1, "weigh_inputs": True},
}
CHANCE = {"noise": {"noise": 0.1}, "learned noise": {"noise": "learned"}, "jitter": {"jitter": 0.1}}
# Dynamo makes an instance of every autograd function that it traces.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


def layer_for(options):
    return make_layer(**{"gate": "softmax", "backend": "grouped", **options})


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()


KEPT = {  # what differs in how tokens are routed or balanced, with one type each
    **dict.fromkeys(("flat", "groups", "expert choice"), torch.float32),
    **dict.fromkeys(("two levels", "tempered"), torch.bfloat16),
}
TYPES = [  # the rest in the slow run
    pytest.param(options, dtype, id=f"{name}-{dtype}", marks=[pytest.mark.slow] * (KEPT.get(name) != dtype))
    for name, options in OPTIONS.items()
    for dtype in (torch.float32, torch.bfloat16)
]


@pytest.mark.parametrize(("options", "dtype"), TYPES)
def test_one_graph_gives_what_eager_gives(options, dtype):
    layer = layer_for(options).to(dtype)
    x = draw_tokens(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    loss_gradients(layer, x)
    finish_step(layer)  # from here on an auxiliary loss acts
    expected, booked = loss_gradients(layer, x), layer.balancer.now.clone()
    layer.balancer.now.zero_()
    found = loss_gradients(compiled, x)
    assert booked[-3] == 24
    assert_close(layer.balancer.now, booked, "the compiled layer books what the layer books", 1e-6)
    for name, value in expected.items():
        assert_close(found[f"_orig_mod.{name}" if "." in name else name], value, name, 1e-6)
    with torch.no_grad():
        assert torch.equal(compiled.eval()(x), layer.eval()(x))


def test_a_compiled_layer_does_not_compile_again_when_steps_end():
    layer = layer_for(OPTIONS["tempered"])
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    optimiser = torch.optim.SGD(layer.parameters(), 0.1)
    for step in range(4):
        with torch.compiler.set_stance("default" if step == 0 else "fail_on_recompile"):
            compiled(draw_tokens(layer, seed=step)).sum().backward()
        optimiser.step()
    assert int(layer.balancer.steps) == 4


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, where a graph ends
def test_experts_of_ones_own_compile_without_a_warning():
    """In several graphs, as the rows of an expert depend on the routing; warnings are errors here."""
    layer = MoE(16, n_experts=(2, 2), gate="laplace", experts=lambda: torch.nn.Linear(16, 16), backend="loop")
    compiled, x = torch.compile(layer, backend="aot_eager"), torch.randn(9, 16)
    assert_close(compiled(x), layer(x), "outputs", 1e-6)


def test_autocast_compiles():
    layer = layer_for({})
    x = draw_tokens(layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(compiled(x), layer(x))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")
def test_inductor_gives_what_eager_gives(dtype):
    layer = layer_for(OPTIONS["two levels"]).to(dtype)
    x = draw_tokens(layer)
    expected = loss_gradients(layer, x)
    found = loss_gradients(torch.compile(layer, fullgraph=True), x)
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    for name, value in expected.items():
        assert_close(found[f"_orig_mod.{name}" if "." in name else name], value, name, tolerance)


KINDS = ("flat", "two levels", "groups", "expert choice", "rectified")
TRACED = [  # by Dynamo too, for what differs in kind; the rest in the slow run
    pytest.param(options, strict, id=f"{name}-{strict}", marks=[pytest.mark.slow] * (strict and name not in KINDS))
    for name, options in OPTIONS.items()
    for strict in (False, True)
]


@pytest.mark.parametrize(("options", "strict"), TRACED)
def test_an_exported_layer_gives_what_eager_gives_for_any_number_of_tokens(options, strict):
    layer = layer_for(options).eval()
    tokens = {0: torch.export.Dim("tokens", min=2)}
    exported = torch.export.export(layer, (draw_tokens(layer),), dynamic_shapes=(tokens,), strict=strict).module()
    for count in (2, 7, 50):
        x = draw_tokens(layer, count)
        assert_close(exported(x), layer(x), f"{count} tokens", 1e-6)


def test_sequences_export_with_both_dimensions_free():
    layer = make_layer("laplace", (2, 3), backend="grouped").eval()
    auto = torch.export.Dim.AUTO
    example = (torch.randn(2, 5, 6),)
    exported = torch.export.export(layer, example, dynamic_shapes=({0: auto, 1: auto},)).module()
    x = torch.randn(3, 11, 6)
    assert_close(exported(x), layer(x), "another batch of another length", 1e-6)


def on_a_device_without_values(layer, mask):
    """Run a layer forward and backward on the meta device, where any look at a value raises."""
    layer = copy.deepcopy(layer).to("meta")
    x = draw_tokens(layer).to("meta").requires_grad_()
    real = torch.ones(len(x), dtype=torch.bool, device="meta") if mask else None
    out = layer(x, real)
    out.sum().backward()
    assert out.device.type == "meta"
    trained = [p for name, p in layer.named_parameters() if layer.training or "noises" not in name]
    assert all(p.grad.shape == p.shape for p in (x, *trained))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("options", [*OPTIONS.values(), *CHANCE.values()], ids=[*OPTIONS, *CHANCE])
def test_the_grouped_backend_never_waits_for_the_device(options, mask, dtype):
    layer = layer_for(options).to(dtype)
    on_a_device_without_values(layer, mask)
    on_a_device_without_values(layer.eval(), mask)


def test_the_loop_waits_for_the_device():
    """The check above can fail: the loop needs the number of tokens of every expert."""
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta tensor"):
        on_a_device_without_values(make_layer("softmax", backend="loop"), False)


@pytest.mark.parametrize("bias", [False, True])
def test_the_operators_inside_never_wait_for_the_device(bias):
    """Their own code, which the meta device skips, on tensors without values."""
    layer = MoE(16, 32, n_experts=5, bias=bias).bfloat16().to("meta")
    x = torch.empty(24, 16, device="meta", dtype=torch.bfloat16)
    index, weight = layer.router(x)[:2]
    weights = layer.experts.weights()
    out, *kept = grouped._forward(x, *weights, index, weight.detach(), "gelu", True, True)
    found = grouped._backward(torch.empty_like(out), x, *weights, *kept, "gelu", True)
    expected = (x, *weights, weight.flatten())
    assert all(a.shape == b.shape for a, b in zip(found, expected, strict=True) if b is not None)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", [*UNITS, "swiglu(limit=0.5, up=0.5, alpha=1.702, shift=1.0)"])
def test_products_of_all_rows_give_what_one_pass_over_the_experts_gives(activation, bias, partial, monkeypatch):
    """Grouped products are for other devices and for small problems, the pass for large ones on the CPU."""
    layer = MoE(16, 32, n_experts=5, activation=activation, bias=bias)
    x, gradient = torch.randn(24, 16), torch.randn(24, 16)
    index, weight = layer.router(x)[:2]
    index = index.masked_fill(torch.rand(index.shape) < 0.4, 5) if partial else index
    fixed = [None if part is None else part.detach() for part in layer.experts.weights()]
    unit = grouped.unit(activation)
    monkeypatch.setattr(grouped, "CACHE", 0)
    monkeypatch.setattr(grouped, "EACH", 0)
    monkeypatch.setattr(products, "forward", None)  # it must not run
    out, *kept = grouped._forward(x, *fixed, index, weight.detach(), activation, True, partial)
    *slopes, slope = grouped._backward(gradient, x, *fixed, *kept, activation, partial)
    monkeypatch.undo()
    order, weights = products.DispatchPlan(*kept[1:4]), kept[4]
    assert (int(order.ends[-1]) < 48) == partial
    monkeypatch.setattr(products.F, "grouped_mm", spoilt(products.F.grouped_mm))
    monkeypatch.setattr(torch.Tensor, "new_empty", spoilt_memory(torch.Tensor.new_empty))
    for few, mapped in ((4, products.LARGE), (4, 0), (0, products.LARGE), (0, 0)):
        monkeypatch.setattr(products, "FEW", few)  # none: experts one by one, those with rows
        monkeypatch.setattr(products, "LARGE", mapped)  # bytes of a gradient that is made expert by expert
        value, before = products.forward(x, *fixed, order, weights, unit, partial)
        assert_close(value, out, "outputs", 1e-5)
        *found, sorted_slope = products.backward(gradient, x, *fixed, order, weights, before, unit, partial)
        assert_close(sorted_slope, slope[order.slot], "gradient in the weights", 1e-5)
        for one, other in zip(found, slopes, strict=True):
            assert_close(one, other, "gradients", 1e-5)


class Watch(TorchDispatchMode):
    """Keeps the names of the operators of gatewise that run."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen |= {func.name()} & {"gatewise::feed_forward", "gatewise::feed_forward_backward"}
        return func(*args, **(kwargs or {}))


def test_the_same_weights_elsewhere_in_memory_give_the_same_bits():
    """Those of a file lie anywhere."""
    layer, x = MoE(8, 16, n_experts=5), torch.randn(24, 8)
    before = loss_gradients(layer, x)
    for part in (layer.experts.w_in, layer.experts.w_out):
        part.data = torch.empty(part.numel() + 1)[1:].view(part.shape).copy_(part.detach())
        assert part.data_ptr() % 16
    after = loss_gradients(layer, x)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("dim", [3, 8])
def test_the_operator_gives_what_runs_where_nothing_watches(dim):
    layer, x = MoE(dim, 16, n_experts=5, bias=True), torch.randn(24, dim)
    plain = loss_gradients(layer, x)
    with Watch() as watch:
        watched = loss_gradients(layer, x)
    assert watch.seen == {"gatewise::feed_forward", "gatewise::feed_forward_backward"}
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def spoilt_memory(new_empty):
    """Memory as it is found."""

    def found(like, *shape):
        return new_empty(like, *shape).fill_(torch.nan)

    return found


def spoilt(product):
    """The grouped product with nan in the rows behind the last end, where a device leaves what was there."""

    def grouped_mm(a, b, offs):
        out = product(a, b, offs=offs)
        if b.ndim == 3:
            out[int(offs[-1]) :] = torch.nan
        return out

    return grouped_mm
