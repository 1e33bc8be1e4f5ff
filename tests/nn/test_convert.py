"""Upcycling is exact, replacement finds what it should, and a padding mask reaches the balance."""

import copy
import re

import pytest
import torch
from torch import nn

from gatewise.core.gates import GATES
from gatewise.nn import MoE
from gatewise.nn.convert import read_ffn, replace_ffn, upcycle
from gatewise.nn.padding import follow_mask

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


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "swish"])
def test_activations_of_transformers_are_recognised_in_gpt2(name):
    module = gpt2_mlp(name)
    assert difference(upcycle(module, 3).eval(), module, dim=8) < 1e-6


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (dense(nn.Mish()), "another activation or does more"),
        (gpt2_mlp("quick_gelu"), "another activation or does more"),
        (Residual(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, 6)), "does more"),
        (nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.LayerNorm(10), nn.Linear(10, 6)), "does more"),
        (nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(9, 6)), r"\(6, 10\) and \(9, 6\)"),
        (nn.Linear(6, 6), "has two, or three called"),
        (nn.GELU(), "linear layers none"),
    ],
)
def test_other_modules_are_refused_in_words(module, message):
    with pytest.raises(ValueError, match=message):
        read_ffn(module)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 1}, "do not sum to one"),
        ({"gate": "sigmoid", "normalise": "before"}, "do not sum to one"),
        ({"top_k": 2, "normalise": "before"}, "do not sum to one"),
        ({"scale": 2.0}, "scale=2.0"),
        ({"shared": 1}, "shared=0"),
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


def gpt2():
    config = transformers.GPT2Config(vocab_size=31, n_positions=16, n_embd=8, n_head=2, n_layer=2)
    return transformers.GPT2LMHeadModel(config), {"input_ids": torch.randint(31, (2, 7))}


def llama():
    config = transformers.LlamaConfig(
        vocab_size=31, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2
    )
    return transformers.LlamaForCausalLM(config), {"input_ids": torch.randint(31, (2, 7))}


def vit():
    config = transformers.ViTConfig(
        hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4
    )
    return transformers.ViTForImageClassification(config), {"pixel_values": torch.randn(2, 3, 8, 8)}


def distilbert():
    config = transformers.DistilBertConfig(vocab_size=31, dim=8, hidden_dim=12, n_layers=2, n_heads=2)
    return transformers.DistilBertModel(config), {"input_ids": torch.randint(31, (2, 7))}


def phi3():
    config = transformers.Phi3Config(
        vocab_size=31,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return transformers.Phi3ForCausalLM(config), {"input_ids": torch.randint(31, (2, 7))}


def gpt_neox():
    config = transformers.GPTNeoXConfig(
        vocab_size=31, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2
    )
    return transformers.GPTNeoXForCausalLM(config), {"input_ids": torch.randint(31, (2, 7))}


@pytest.mark.parametrize(
    ("make", "match"),
    [(gpt2, "*.mlp"), (llama, "*.mlp"), (vit, "*.mlp"), (distilbert, "*.ffn"), (phi3, "*.mlp"), (gpt_neox, "*.mlp")],
)
def test_d12_transformers_keep_their_outputs_when_their_networks_are_replaced(make, match):
    model, inputs = make()
    model.eval()
    with torch.no_grad():
        before = model(**inputs)[0]
        names = replace_ffn(model, match, {"n_experts": 4, "gate": "laplace"})
        after = model(**inputs)[0]
    assert len(names) == 2
    assert all(isinstance(model.get_submodule(name), MoE) for name in names)
    assert float((after - before).abs().max()) < 1e-5
    model.train()
    model(**inputs)[0].square().sum().backward()
    assert all(model.get_submodule(name).router.gates[0].center.grad is not None for name in names)


class Mlp(nn.Module):
    """The feed-forward network of vision transformers in timm."""

    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1, self.act, self.drop1 = nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(0.1)
        self.norm, self.fc2, self.drop2 = nn.Identity(), nn.Linear(hidden, dim), nn.Dropout(0.1)

    def forward(self, x):
        return self.drop2(self.fc2(self.norm(self.drop1(self.act(self.fc1(x))))))


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), nn.MultiheadAttention(dim, 2, batch_first=True)
        self.norm2, self.mlp = nn.LayerNorm(dim), Mlp(dim, 4 * dim)

    def forward(self, x):
        seen = self.norm1(x)
        x = x + self.attn(seen, seen, seen, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Vision(nn.Module):
    def __init__(self, depth=3, dim=8):
        super().__init__()
        self.patch_embed = nn.Conv2d(1, dim, 4, 4)
        self.blocks, self.head = nn.Sequential(*(Block(dim) for _ in range(depth))), nn.Linear(dim, 10)

    def forward(self, image):
        return self.head(self.blocks(self.patch_embed(image).flatten(2).mT).mean(1))


@pytest.mark.parametrize(
    ("match", "names"),
    [
        ("blocks.*.mlp", ["blocks.0.mlp", "blocks.1.mlp", "blocks.2.mlp"]),
        (re.compile(r"blocks\.[02]\.mlp"), ["blocks.0.mlp", "blocks.2.mlp"]),
        (lambda name, module: type(module) is Mlp and "1" in name, ["blocks.1.mlp"]),
        ("*.mlp*", ["blocks.0.mlp", "blocks.1.mlp", "blocks.2.mlp"]),
    ],
)
def test_d12_a_vision_transformer_is_matched_by_glob_expression_and_function(match, names):
    model, image = Vision().eval(), torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        before = model(image)
        assert replace_ffn(model, match) == names
        assert float((model(image) - before).abs().max()) < 1e-5


def test_a_function_builds_the_replacement():
    model = Vision()
    replace_ffn(model, "*.mlp", lambda dense: MoE(8, 5, 3, gate="cosine"))
    assert model.blocks[0].mlp.experts.hidden == 5
    assert model.blocks[0].mlp is not model.blocks[1].mlp


def test_a_module_used_twice_stays_one_module():
    model = Vision()
    model.blocks[2].mlp = model.blocks[0].mlp
    seen = []
    assert len(replace_ffn(model, "*.mlp", lambda dense: seen.append(dense) or upcycle(dense))) == 3
    assert len(seen) == 2
    assert model.blocks[2].mlp is model.blocks[0].mlp


def test_no_match_names_what_could_have_been_meant():
    with pytest.raises(ValueError, match=r"feed-forward networks are blocks\.0\.mlp.*names like it are"):
        replace_ffn(Vision(), "blocks.0.mpl")
    with pytest.raises(ValueError, match="it has none"):
        replace_ffn(nn.Sequential(nn.GELU()), "mlp")


def test_a_failure_names_the_module_and_changes_nothing():
    model = Vision()
    model.blocks[1].mlp.act = nn.Mish()
    with pytest.raises(ValueError, match=r"^blocks\.1\.mlp: Mlp does not compute"):
        replace_ffn(model, "*.mlp")
    assert all(type(block.mlp) is Mlp for block in model.blocks)


@pytest.mark.parametrize("recompute", [False, True])
def test_d6_padding_reaches_the_statistics_by_the_attention_mask_of_the_model(recompute):
    model, inputs = gpt2()
    if recompute:
        model.activation_checkpointing_enable()
    replace_ffn(model, "*.mlp", {"n_experts": 4})
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 4:] = 0
    follower = follow_mask(model)
    model.train()
    model(**inputs, attention_mask=mask).logits.sum().backward()
    layer = model.transformer.h[0].mlp
    assert int(layer.balancer.now[-3]) == 11
    follower.remove()
    layer.balancer.now.zero_()
    model(**inputs, attention_mask=mask).logits.sum().backward()
    assert int(layer.balancer.now[-3]) == 14


class Cached(nn.Module):
    """A model that is given the mask of all tokens so far and only the new ones as inputs."""

    def __init__(self):
        super().__init__()
        self.mlp = MoE(6, 4, 3)

    def forward(self, x, attention_mask):
        return self.mlp(x)


@pytest.mark.parametrize(("new", "real"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_d6_a_mask_longer_than_the_new_tokens_belongs_to_the_last_of_them(new, real):
    model = Cached()
    follow_mask(model)
    model(torch.randn(1, new, 6), attention_mask=torch.tensor([[0, 1, 0, 1]])).sum().backward()
    assert int(model.mlp.balancer.now[-3]) == real


def test_d6_generation_with_a_cache_runs_with_the_mask():
    model, inputs = gpt2()
    replace_ffn(model, "*.mlp", {"n_experts": 4, "capacity": 1.0, "exact": False})
    follow_mask(model)
    mask = torch.ones(2, 7, dtype=torch.long)
    made = model.eval().generate(**inputs, attention_mask=mask, max_new_tokens=3, pad_token_id=0)
    assert made.shape == (2, 10)


def test_a_model_without_layers_has_no_mask_to_follow():
    with pytest.raises(ValueError, match="call replace_ffn before"):
        follow_mask(Vision())
