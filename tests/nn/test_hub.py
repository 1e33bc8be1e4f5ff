"""Sparse blocks of transformers equal our layers and go back unchanged."""

import json

import pytest
import torch
from torch import nn

from gatewise.nn import MoE, TopP
from gatewise.nn.hub import (
    GatedShared,
    from_block,
    from_state_dict,
    load_block,
    save_block,
    to_block,
    to_config,
    to_state_dict,
)

transformers = pytest.importorskip("transformers")
safetensors_torch = pytest.importorskip("safetensors.torch")


SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}


SIZES |= {"vocab_size": 31, "num_experts_per_tok": 2, "intermediate_size": 24}


COUNT = {"mixtral": "num_local_experts", "qwen2_moe": "num_experts", "qwen3_moe": "num_experts"}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def config(style, **options):
    sizes = {**SIZES, COUNT.get(style, "n_routed_experts"): 6}
    if style != "mixtral":
        sizes["moe_intermediate_size"] = 12
    if style == "qwen2_moe":
        sizes["shared_expert_intermediate_size"] = 20
    if style == "deepseek_v3":
        sizes |= {"n_group": 1, "topk_group": 1, "n_shared_experts": 2, "q_lora_rank": 4, "kv_lora_rank": 4}
        sizes |= {"qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 4, "first_k_dense_replace": 0}
    return transformers.AutoConfig.for_model(style, **{**sizes, **options})


def block(style, **options):
    names = {"mixtral": "MixtralSparseMoeBlock", "deepseek_v3": "DeepseekV3MoE"}
    names |= {"qwen2_moe": "Qwen2MoeSparseMoeBlock", "qwen3_moe": "Qwen3MoeSparseMoeBlock"}
    module = getattr(getattr(transformers.models, style), f"modeling_{style}")
    made = getattr(module, names[style])(config(style, **options))
    for value in made.parameters():
        nn.init.normal_(value, std=0.5)
    if style == "deepseek_v3":
        made.gate.e_score_correction_bias.normal_(std=0.3)
    return made.eval()


CASES = [
    ("mixtral", {}),
    ("mixtral", {"num_experts_per_tok": 3}),
    ("qwen2_moe", {}),
    ("qwen2_moe", {"norm_topk_prob": True}),
    ("qwen3_moe", {"norm_topk_prob": True}),
    ("qwen3_moe", {"norm_topk_prob": False, "num_experts_per_tok": 1}),
    ("deepseek_v3", {}),
    ("deepseek_v3", {"norm_topk_prob": False, "routed_scaling_factor": 1.5}),
    ("deepseek_v3", {"n_group": 3, "topk_group": 3, "num_experts_per_tok": 4}),
]


@pytest.mark.parametrize(("style", "options"), CASES)
def test_a_block_and_its_layer_have_equal_outputs_and_gradients(style, options):
    theirs = block(style, **options)
    ours = from_block(theirs)
    x = torch.randn(3, 7, 16, requires_grad=True)
    wanted = theirs(x)
    torch.testing.assert_close(ours(x), wanted, rtol=1e-5, atol=1e-5)
    (slope,) = torch.autograd.grad(wanted.square().sum(), x)
    (own,) = torch.autograd.grad(ours(x).square().sum(), x)
    torch.testing.assert_close(own, slope, rtol=1e-4, atol=1e-4 * float(slope.abs().max()))


@pytest.mark.parametrize(("style", "options"), CASES)
def test_weights_return_to_a_block_exactly(style, options):
    theirs, other = block(style, **options), block(style, **options)
    to_block(from_block(theirs), other)
    other_state = other.state_dict()
    assert all(torch.equal(value, other_state[name]) for name, value in theirs.state_dict().items())


def test_the_correction_of_the_choice_changes_the_choice_and_not_the_weights():
    theirs = block("deepseek_v3")
    ours = from_block(theirs)
    x = torch.randn(64, 16)
    routing = ours.router(x)
    _, weights, index = theirs.gate(x)
    order, own = index.argsort(-1), routing.index.argsort(-1)
    assert torch.equal(index.gather(1, order), routing.index.gather(1, own))
    scaled = routing.weight.gather(1, own) * ours.scale
    torch.testing.assert_close(scaled, weights.gather(1, order), rtol=1e-5, atol=1e-6)
    ours.router.offset_0.zero_()
    assert not torch.equal(ours.router(x).index.sort(-1).values, index.sort(-1).values)


def test_the_bias_of_an_imported_gate_is_held_so_that_training_keeps_it_exportable():
    layer = from_block(block("mixtral")).train()
    optimizer = torch.optim.SGD([value for value in layer.parameters() if value.requires_grad], 0.1)
    for _ in range(2):
        layer(torch.randn(32, 16)).square().mean().backward()
        optimizer.step()
    assert int(layer.balancer.steps) == 2
    assert len(to_state_dict(layer, "mixtral")) == 1 + 3 * 6


@pytest.mark.parametrize("style", ["mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v3"])
def test_public_files_of_transformers_are_read_and_written(style, tmp_path):
    model = transformers.AutoModelForCausalLM.from_config(config(style))
    model.save_pretrained(tmp_path / "theirs")
    part = "block_sparse_moe" if style == "mixtral" else "mlp"
    names = safetensors_torch.load_file(tmp_path / "theirs" / "model.safetensors")
    prefix = next(name for name in names if "experts.0." in name).partition("experts.0.")[0]
    assert part in prefix
    layer = load_block(tmp_path / "theirs", prefix)
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(layer(x), model.model.layers[0].mlp(x), rtol=1e-5, atol=1e-6)
    save_block(layer, tmp_path / "ours", style, prefix)
    written = safetensors_torch.load_file(tmp_path / "ours" / "model.safetensors")
    assert set(written) == {name for name in names if name.startswith(prefix)}
    assert all(torch.equal(value, names[name]) for name, value in written.items())
    again = load_block(tmp_path / "ours", prefix)
    assert torch.equal(again(x), layer(x))
    fields = json.loads((tmp_path / "ours" / "config.json").read_text())
    theirs = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert all(theirs.get(name, value) == value for name, value in fields.items())


def test_a_checkpoint_in_parts_is_read_from_the_parts_that_hold_the_block(tmp_path):
    layer = from_block(block("qwen3_moe"))
    state = to_state_dict(layer, "qwen3_moe", "a.")
    halves = dict(list(state.items())[:7]), dict(list(state.items())[7:])
    for i, half in enumerate(halves):
        safetensors_torch.save_file(half, tmp_path / f"part-{i}.safetensors")
    places = {name: f"part-{i}.safetensors" for i, half in enumerate(halves) for name in half}
    places["elsewhere.weight"] = "part-9.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (tmp_path / "config.json").write_text(json.dumps(to_config(layer, "qwen3_moe")))
    x = torch.randn(4, 16)
    assert torch.equal(load_block(tmp_path, "a.")(x), layer(x))
    with pytest.raises(FileNotFoundError, match=r"part-9.*not complete"):
        load_block(tmp_path, "elsewhere.")


@pytest.mark.parametrize(
    ("style", "options", "message"),
    [
        ("mixtral", {"num_experts_per_tok": 1}, "every weight is one"),
        ("mixtral", {"router_jitter_noise": 0.1}, "router_jitter_noise=0.1"),
        ("mixtral", {"hidden_act": "mish"}, "MishActivation is none of silu"),
    ],
)
def test_blocks_that_a_layer_cannot_express_are_refused_in_words(style, options, message):
    with pytest.raises(ValueError, match=message):
        from_block(block(style, **options))


def test_unknown_blocks_styles_and_missing_weights_are_named():
    with pytest.raises(ValueError, match="Linear is not a block"):
        from_block(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="'gpt' is unknown: did you mean 'gpt_oss'"):
        from_state_dict({}, "gpt", {})
    with pytest.raises(KeyError, match=r"no a\.gate\.weight"):
        from_state_dict({}, "mixtral", {}, "a.")


def biased(layer):
    nn.init.ones_(layer.router.gates[0].bias)
    return layer


@pytest.mark.parametrize(
    ("layer", "style", "message"),
    [
        (biased(MoE(8, 4, 3, activation="swiglu")), "mixtral", "a bias in its gate"),
        (MoE(8, 4, 3, activation="swiglu", gate="laplace"), "mixtral", r"gates \(laplace\)"),
        (MoE(8, 4, 3), "mixtral", "built-in 'swiglu' or others with a factor"),
        (MoE(8, 4, 3, activation="swiglu", normalise="before"), "mixtral", "normalise='before'"),
        (MoE(16, 4, 3, activation="swiglu", top_k=1), "mixtral", "normalise='after' with 1 experts per token"),
        (MoE(16, 4, 3, activation="swiglu", normalise="always", top_k=1), "jamba", "normalise='always' with 1"),
        (MoE(16, 4, 3, activation="swiglu", dim_out=24), "mixtral", "dim_out=24"),
        (MoE(8, 4, 3, activation="swiglu", scale=2.0), "qwen3_moe", "scale=2.0"),
        (MoE(8, 4, 3, activation="swiglu", shared=1), "qwen3_moe", "a shared expert of weight one"),
        (MoE(8, 4, 3, activation="swiglu", gate="sigmoid"), "deepseek_v3", "no shared expert"),
        (MoE(8, 4, 3, activation="swiglu"), "qwen2_moe", "needs a GatedShared"),
        (GatedShared(MoE(8, 4, 3, activation="swiglu"), 5), "mixtral", "no place for a GatedShared"),
        (MoE(8, 4, (2, 2), activation="swiglu"), "mixtral", "one level"),
        (MoE(8, 4, 3, activation="swiglu", choice=TopP(0.5)), "mixtral", r"the rule of choice TopP\(p=0.5\)"),
        (MoE(8, 4, 3, activation="swiglu", noise="learned"), "mixtral", "learned noise"),
        (MoE(8, 4, 4, activation="swiglu", null_experts=1), "mixtral", "experts that return zero"),
    ],
)
def test_layers_that_a_style_cannot_express_are_refused_in_words(layer, style, message):
    with pytest.raises(ValueError, match=message):
        to_state_dict(layer, style)


@pytest.mark.parametrize("normalise", ["before", "after"])
def test_the_weight_of_a_single_expert_is_kept_in_files(normalise):
    """A block with norm_topk_prob would give it the weight one, so the file says false."""
    layer, x = MoE(16, 24, 6, activation="swiglu", top_k=1, normalise=normalise), torch.randn(2, 9, 16)
    fields = to_config(layer, "qwen3_moe")
    again = from_state_dict(to_state_dict(layer, "qwen3_moe"), "qwen3_moe", fields)
    assert fields.pop("norm_topk_prob") is False
    torch.testing.assert_close(again(x), layer(x))
    target = block("qwen3_moe", norm_topk_prob=False, num_experts_per_tok=1, moe_intermediate_size=24)
    to_block(layer, target)
    torch.testing.assert_close(target(x), layer(x))


@pytest.mark.parametrize(
    ("style", "options"),
    [
        ("mixtral", {"activation": "swiglu(limit=7.0, up=7.0)"}),
        ("nemotron_h", {"activation": "softplus", "gate": "sigmoid", "shared": 1}),
    ],
)
def test_activations_that_transformers_has_not_are_not_written(style, options):
    with pytest.raises(ValueError, match="has no name for that"):
        to_config(MoE(16, 24, 6, **options), style)


def test_offsets_have_a_place_with_deepseek_only():
    layer = from_block(block("mixtral"))
    layer.router.offset_0[0, 1] = 0.5
    with pytest.raises(ValueError, match="offsets of the choice"):
        to_state_dict(layer, "mixtral")


def test_a_layer_does_not_go_into_a_block_with_other_settings():
    with pytest.raises(ValueError, match="top_k 2 against 3"):
        to_block(from_block(block("mixtral")), block("mixtral", num_experts_per_tok=3))
