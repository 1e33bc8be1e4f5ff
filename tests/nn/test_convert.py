"""Upcycling is exact, and what cannot be upcycled is told in words."""

import copy

import pytest
import torch
from torch import nn

from gatewise.core.gates import GATES
from gatewise.nn import upcycle
from gatewise.nn.dense import read_ffn

transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Gated(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(6, 10, bias=bias), nn.Linear(6, 10, bias=False)
        self.down_proj = nn.Linear(10, 6, bias=bias)

    def forward(self, x):
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Bounded(Gated):
    """SwiGLU whose factors have bounds, as those of gpt-oss have."""

    def forward(self, x):
        inner = self.gate_proj(x).clamp(max=7.0)
        return self.down_proj(nn.functional.silu(inner) * self.up_proj(x).clamp(-7.0, 7.0))


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_up_proj, self.down_proj = nn.Linear(6, 20), nn.Linear(10, 6)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        return self.down_proj(nn.functional.silu(gate) * up)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def dense(activation=None, bias=(True, True)):
    first, second = nn.Linear(6, 10, bias=bias[0]), nn.Linear(10, 6, bias=bias[1])
    return nn.Sequential(first, activation or nn.GELU(), nn.Dropout(0.3), second)


def gpt2_mlp(activation="gelu_new"):
    config = transformers.GPT2Config(n_embd=8, n_head=2, n_layer=1, activation_function=activation)
    return transformers.models.gpt2.modeling_gpt2.GPT2MLP(32, config)


def difference(layer, module, dim=6):
    x = torch.randn(3, 5, dim)
    with torch.no_grad():
        return float((layer(x) - module.eval()(x)).abs().max())


@pytest.mark.parametrize("name", sorted(GATES))
def test_upcycled_layer_equals_the_dense_network_for_every_gate(name):
    module = dense()
    assert difference(upcycle(module, 5, gate=name, top_k=2).eval(), module) < 1e-6


@pytest.mark.parametrize(
    ("n_experts", "options"),
    [
        ((2, 3), {"top_k": 2}),
        ((2, 3), {"top_k": (2, 2), "gate": ("laplace", "sigmoid")}),
        (4, {"top_k": None, "normalise": "before", "gate": "laplace"}),
        (4, {"top_k": 3, "backend": "loop"}),
        (1, {"top_k": 1}),
        (4, {"top_k": 1, "normalise": "always"}),
        (4, {"top_k": 1, "normalise": "always", "gate": "sigmoid"}),
        ((2, 3), {"top_k": (1, 2), "normalise": "always"}),
        ((2, 3), {"top_k": (1, 1), "normalise": "always", "gate": ("laplace", "cosine")}),
    ],
)
def test_upcycling_is_exact_on_trees_and_without_top_k(n_experts, options):
    module = dense()
    assert difference(upcycle(module, n_experts, **options).eval(), module) < 1e-6


@pytest.mark.parametrize(
    ("module", "activation"),
    [
        (dense(nn.ReLU()), "relu"),
        (dense(nn.GELU("tanh"), (True, False)), "gelu-tanh"),
        (dense(nn.SiLU(), (False, True)), "silu"),
        (dense(nn.GELU(), (False, False)), "gelu"),
        (Gated(bias=False), "swiglu"),
        (Gated(bias=True), "swiglu"),
        (Fused(), "swiglu"),
    ],
)
def test_weights_and_activation_are_read_off_the_module(module, activation):
    layer = upcycle(module, 3)
    assert layer.experts.activation == activation
    assert difference(layer.eval(), module) < 1e-6


@pytest.mark.parametrize(
    "name", ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "swish", "quick_gelu", "relu2"]
)
def test_activations_of_transformers_are_recognised_in_gpt2(name):
    module = gpt2_mlp(name)
    assert difference(upcycle(module, 3).eval(), module, dim=8) < 1e-6


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (dense(nn.Mish()), "another activation or does more"),
        (gpt2_mlp("mish"), "another activation or does more"),
        (Bounded(bias=False), "another activation or does more"),
        (Residual(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, 6)), "does more"),
        (nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.LayerNorm(10), nn.Linear(10, 6)), "does more"),
        (nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(9, 6)), r"\(6, 10\) and \(9, 6\)"),
        (nn.Linear(6, 6), "has two, or three of which two lead"),
        (nn.GELU(), "linear layers none"),
    ],
)
def test_other_modules_are_refused_in_words(module, message):
    with pytest.raises(ValueError, match=message):
        read_ffn(module)


@pytest.mark.parametrize("hidden", [16, 64, 256])
@pytest.mark.parametrize("activation", [nn.ReLU6(), nn.Hardtanh(-8, 8), nn.Hardtanh(0, 100)], ids=str)
def test_activations_with_bounds_are_not_taken_for_those_without(activation, hidden):
    """They differ for large values only, which a trained network has and small random ones have not."""
    module = nn.Sequential(nn.Linear(16, hidden), activation, nn.Linear(hidden, 16))
    with pytest.raises(ValueError, match="another activation or does more"):
        read_ffn(module)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 1}, "do not sum to one"),
        ({"gate": "sigmoid", "normalise": "before"}, "do not sum to one"),
        ({"top_k": 2, "normalise": "before"}, "do not sum to one"),
        ({"scale": 2.0}, "scale=2.0"),
        ({"capacity": 1.0}, "may drop"),
    ],
)
def test_a_layer_that_would_not_be_exact_is_refused_unless_asked_for(options, message):
    with pytest.raises(ValueError, match=message):
        upcycle(dense(), 4, **options)
    assert upcycle(dense(), 4, exact=False, **options).router.n_leaves == 4


def test_reading_leaves_the_module_and_the_random_numbers_as_they_were():
    module = dense()
    before, mode = copy.deepcopy(module.state_dict()), module.training
    state = torch.get_rng_state()
    read_ffn(module)
    assert torch.equal(state, torch.get_rng_state())
    assert module.training == mode
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_jitter_breaks_the_symmetry_by_its_size():
    module = dense()
    layer = upcycle(module, 200, jitter=0.1)
    ratio = layer.experts.w_in / module[0].weight.mT
    assert float(ratio.std(0).mean().detach()) == pytest.approx(0.1, rel=0.05)
    assert torch.equal(upcycle(module, 2).experts.w_in[0], upcycle(module, 2).experts.w_in[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_precision_and_mode_are_those_of_the_dense_network(dtype):
    module = dense().to(dtype).eval()
    layer = upcycle(module, 4)
    assert layer.experts.w_in.dtype == dtype
    assert not layer.training
    with torch.no_grad():
        x = torch.randn(7, 6, dtype=dtype)
        error = float((layer(x) - module(x)).abs().max())
    assert error < (1e-12 if dtype == torch.float64 else 2e-2)


def test_upcycling_on_the_meta_device_gives_the_right_shapes():
    with torch.device("meta"):
        module = dense(nn.SiLU())
        layer = upcycle(module, 4)
    assert layer.experts.activation == "silu"
    assert all(value.is_meta for value in layer.parameters())
    assert layer.experts.w_in.shape == (4, 6, 10)
