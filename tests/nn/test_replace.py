"""Replacement finds what it should and keeps outputs, and a padding mask reaches the balance."""

import re

import pytest
import torch
from torch import nn

from gatewise.nn import MoE, replace_ffn, upcycle
from gatewise.nn.padding import follow_mask

transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


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
    with pytest.raises(ValueError, match="call replace_ffn first"):
        follow_mask(Vision())


def encoder(**options):
    block = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, **options)
    return nn.ModuleDict({"encoder": nn.TransformerEncoder(block, 2, enable_nested_tensor=not options)})


@pytest.mark.parametrize("options", [{}, {"activation": "gelu"}, {"activation": nn.SiLU()}, {"norm_first": True}])
def test_blocks_of_torch_compute_what_they_did(options):
    model, x = encoder(**options).eval(), torch.randn(3, 5, 8)
    padding = torch.arange(5) >= torch.tensor([[5], [3], [2]])
    before = model["encoder"](x), model["encoder"](x, src_key_padding_mask=padding)
    assert replace_ffn(model, "encoder.layers.*", {"n_experts": 4, "gate": "laplace"}) == [
        "encoder.layers.0",
        "encoder.layers.1",
    ]
    for training in (True, False):
        model.train(training)
        for block in model["encoder"].layers:
            block.dropout1.p = block.dropout2.p = block.self_attn.dropout = 0.0
        torch.testing.assert_close(model["encoder"](x), before[0], rtol=1e-4, atol=1e-5)
        found = model["encoder"](x, src_key_padding_mask=padding)
        torch.testing.assert_close(found[~padding], before[1][~padding], rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(model["encoder"](x, src_key_padding_mask=padding), found)


def test_a_decoder_block_of_torch_trains_with_experts():
    model = nn.ModuleDict({"block": nn.TransformerDecoderLayer(8, 2, 12, batch_first=True)})
    replace_ffn(model, "block", {"n_experts": 4, "jitter": 0.1})
    follow_mask(model["block"], "tgt_key_padding_mask", padding=True)
    padding = torch.tensor([[False, False, True]])
    out = model["block"](torch.randn(1, 3, 8), torch.randn(1, 4, 8), tgt_key_padding_mask=padding)
    (out * torch.randn(8)).sum().backward()
    layer = model["block"].linear1
    assert all(bool(p.grad.abs().sum() > 0) for p in layer.router.parameters())
    assert int(layer.balancer.now[-3]) == 2


def test_a_block_of_torch_is_replaced_once():
    model = encoder()
    replace_ffn(model, "encoder.layers.0", {"n_experts": 4})
    with pytest.raises(ValueError, match=r"encoder.layers.0: its linear1 is MoE: its network has been replaced"):
        replace_ffn(model, "encoder.layers.*", {"n_experts": 4})
    assert isinstance(model["encoder"].layers[1].linear1, nn.Linear)
