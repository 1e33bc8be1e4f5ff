"""Every sparse block of the installed transformers is read and written exactly, or refused by name."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers")

from tests.nn.blocks_of_transformers import (  # noqa: E402
    DBRX,
    config_class,
    module_of,
    output,
    small_block,
    small_config,
    sparse_classes,
)

from gatewise.nn import MoE, from_block, from_state_dict, load_block, save_block, to_block, to_config, to_state_dict  # noqa: E402
from gatewise.nn.hub import ARCHITECTURES, REFUSED  # noqa: E402
from gatewise.nn.hub.table import markdown  # noqa: E402

LIMITS = {"swiglu_limit": 0.5}  # small enough to act
GREEDY = {"topk_method": "group_limited_greedy"}
VARIANTS = {
    "aria_text": [{"mlp_bias": True}],
    "axk2": [{"n_group": None, "topk_group": None}],
    "beam": [{"norm_topk_prob": False}],
    "cohere2_moe": [
        {"expert_selection_fn": "sigmoid"},
        {"expert_selection_fn": "sigmoid", "norm_topk_prob": False},
        {"shared_expert_combination_strategy": "sum"},
        {"num_shared_experts": 0},
    ],
    "dbrx": [{"ffn_config": DBRX | {"moe_normalize_expert_weights": None}}],
    "deepseek_ocr2_text": [GREEDY],
    "deepseek_v2": [GREEDY, GREEDY | {"routed_scaling_factor": 2.5}],
    "deepseek_v3": [{"norm_topk_prob": False, "routed_scaling_factor": 1.5}, {"n_group": 1, "topk_group": 1}],
    "deepseek_v4": [LIMITS, {"scoring_func": "sigmoid"}, {"mlp_bias": True}],
    "ernie4_5_moe": [{"moe_num_shared_experts": 0}],
    "flint": [{"norm_topk_prob": False}],
    "glm5_next_text": [LIMITS],
    "gpt_oss": [LIMITS],
    "hy_v4": [LIMITS],
    "hunyuan_v1_moe": [{"mlp_bias": True}],
    "inkling2_text": [{"mlp_gate_softcap": 0.5, "mlp_up_softcap": 0.25}, {"scoring_func": "sqrtsoftplus"}],
    "kolibri1": [{"norm_topk_prob": True}],
    "laguna": [{"moe_routed_scaling_factor": 2.5}],
    "lfm2_moe": [{"use_expert_bias": False}, {"norm_topk_prob": False}],
    "llama4_text": [{"num_experts_per_tok": 1}],
    "longcat_flash": [{"zero_expert_num": 4}, {"zero_expert_num": 2, "moe_topk": 6}],
    "minimax_m3_vl_text": [LIMITS],
    "mixtral": [{"hidden_act": "gelu"}, {"hidden_act": "relu2"}],
    "nemotron_h": [{"mlp_hidden_act": "silu"}],
    "openai_privacy_filter": [LIMITS],
    "qwen2_moe": [{"norm_topk_prob": True}],
    "qwen3_moe": [{"norm_topk_prob": True}, {"num_experts_per_tok": 1}, {"hidden_act": "gelu_pytorch_tanh"}],
    "step3p5": [{"swiglu_limits": [0.5, 0.5], "swiglu_limits_shared": [0.25, 0.25]}],
    "switch_transformers": [{"router_bias": True}],
    "unlimited_ocr_text": [GREEDY],
}
CASES = [(style, options) for style in ARCHITECTURES for options in [{}, *VARIANTS.get(style, [])]]
BY_CASE = pytest.mark.parametrize(("style", "options"), CASES, ids=lambda one: str(one))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def mixture(layer):
    return layer if isinstance(layer, MoE) else layer.layer


def test_every_block_of_the_installed_transformers_is_in_the_table_or_refused():
    listed = {row.block for row in ARCHITECTURES.values()} | REFUSED.keys()
    found = sparse_classes()
    assert len(found) > 70
    assert {name: folder for name, folder in found.items() if name not in listed} == {}


def test_no_name_of_the_table_is_missing_from_the_installed_transformers():
    missing = [style for style, row in ARCHITECTURES.items() if not hasattr(module_of(style), row.block)]
    assert missing == []
    assert len({row.block for row in ARCHITECTURES.values()}) == len(ARCHITECTURES)
    assert [style for style in ARCHITECTURES if config_class(style).model_type != style] == []


@BY_CASE
def test_a_block_and_its_layer_are_equal_and_weights_go_back_exactly(style, options):
    block = small_block(style, **options)
    layer = from_block(block)
    x = torch.randn(2, 9, 16)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    wanted = output(block, theirs)
    size = float(wanted.abs().max().detach())
    assert mixture(layer).router.n_leaves > mixture(layer).router.slots
    torch.testing.assert_close(layer(ours), wanted, rtol=0, atol=1e-5 * max(size, 1.0))
    (found,) = torch.autograd.grad(layer(ours).square().sum(), ours)
    (slope,) = torch.autograd.grad(wanted.square().sum(), theirs)
    torch.testing.assert_close(found, slope, rtol=0, atol=1e-4 * float(slope.abs().max()))
    other = small_block(style, **options)
    to_block(layer, other)
    state, used = other.state_dict(), {"experts.gate_up_proj": 8}  # LongCat has more rows, which it does not use
    for name, value in block.state_dict().items():
        assert torch.equal(value[: used.get(name)], state[name][: used.get(name)])


@pytest.mark.parametrize("style", ARCHITECTURES)
def test_a_trained_layer_goes_into_a_block_that_computes_the_same(style):
    block = small_block(style)
    layer = from_block(block, **({"balance": "bias"} if ARCHITECTURES[style].correction else {})).train()
    optimizer = torch.optim.SGD([value for value in layer.parameters() if value.requires_grad], 1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        layer(torch.randn(32, 16)).square().mean().backward()
        optimizer.step()
    x = torch.randn(2, 9, 16)
    before = output(block, x)
    to_block(layer.eval(), block)
    wanted = layer(x)
    size = float(wanted.detach().abs().max())
    assert float((before - wanted).detach().abs().max()) > 1e-4 * size
    torch.testing.assert_close(output(block, x), wanted, rtol=0, atol=1e-5 * max(size, 1.0))


@BY_CASE
def test_weights_and_settings_of_a_style_build_the_layer_anew(style, options):
    layer = from_block(small_block(style, **options))
    state = to_state_dict(layer, style, "a.b.")
    if "swiglu_limits" in options:
        with pytest.raises(ValueError, match="no field for that"):
            to_config(layer, style)
        return
    again = from_state_dict(state, style, to_config(layer, style), "a.b.")
    x = torch.randn(5, 16)
    torch.testing.assert_close(again(x), layer(x), rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match=r"1 weights belong to no part of this style: more\.weight"):
        from_state_dict(state | {"a.b.more.weight": x}, style, to_config(layer, style), "a.b.")


def in_files(style, block, config):
    """Return the weights of a block as transformers saves them, without what stands before their names."""
    mapping = pytest.importorskip("transformers.conversion_mapping")
    loading = pytest.importorskip("transformers.core_model_loading")
    part = {"jamba": "feed_forward", "lfm2_moe": "feed_forward", "llama4_text": "feed_forward", "dbrx": "ffn"}
    part = part.get(style, "block_sparse_moe" if style.startswith("granite") else "mlp")
    get = mapping.get_checkpoint_conversion_mapping
    row = ARCHITECTURES[style]
    keys = (f"{row.block.removesuffix('Moe')}Model", style, row.folder or style.removesuffix("_text"))
    given = next((one for key in keys if (one := get(key)) is not None), [])
    model = SimpleNamespace(_weight_conversions=given, config=config, get_parameter=block.get_parameter)
    before = f"model.layers.0.{part}."
    state = {f"{before}{name}": value for name, value in block.state_dict().items()}
    saved = loading.revert_weight_conversion(model, state) if given else state
    outside = re.compile(r"^.*layers\.0\.(mlp|ffn|block_sparse_moe|feed_forward|moe)?\.?")
    return {outside.sub("", name): value for name, value in saved.items()}


FILES = [style for style, row in ARCHITECTURES.items() if row.files and style != "qwen3_vl_moe_text"]


@pytest.mark.parametrize("style", FILES)
def test_weights_have_the_names_and_the_layout_in_which_transformers_saves_them(style):
    config = small_config(style)
    block = small_block(style, config)
    layer = from_block(block)
    ours, theirs = to_state_dict(layer, style), in_files(style, block, config)
    assert set(ours) == set(theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    again = from_state_dict(theirs, style, config.to_dict())
    x = torch.randn(5, 16)
    assert torch.equal(again(x), layer(x))


def test_checkpoints_of_qwen3_vl_may_have_experts_either_way_round():
    layer = from_block(small_block("qwen3_vl_moe_text"))
    config, x = to_config(layer, "qwen3_vl_moe_text"), torch.randn(5, 16)
    state = to_state_dict(layer, "qwen3_vl_moe_text")
    assert state["experts.gate_up_proj"].shape == (8, 16, 24)
    turned = {name: value.mT if "experts" in name else value for name, value in state.items()}
    for one in (state, turned):
        assert torch.equal(from_state_dict(one, "qwen3_vl_moe_text", config)(x), layer(x))


def test_experts_outside_the_groups_of_axk2_win_against_negative_ranks():
    block = small_block("axk2")
    block.gate.e_score_correction_bias -= 2.0
    layer, x = from_block(block), torch.randn(64, 16)
    torch.testing.assert_close(layer(x), output(block, x[None])[0], rtol=1e-5, atol=1e-4)
    assert without(layer, {"closed": None}) > 1e-2


@pytest.mark.parametrize("style", ["deepseek_v4", "inkling2_text"])
def test_checkpoints_that_hold_a_block_by_other_names_are_refused_in_words(style, tmp_path):
    layer = from_block(small_block(style))
    with pytest.raises(ValueError, match=f"{style}.*by other names.*from_block"):
        save_block(layer, tmp_path, style, "a.")
    save_block(from_block(small_block("qwen3_moe")), tmp_path, "qwen3_moe", "a.")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": style}))
    with pytest.raises(ValueError, match=f"{style}.*by other names.*from_block"):
        load_block(tmp_path, "a.")


@pytest.mark.parametrize("name", REFUSED)
def test_blocks_that_are_not_read_are_refused_by_name(name):
    block = type(name, (nn.Module,), {})()
    with pytest.raises(ValueError, match=f"{name} is not read: {re.escape(REFUSED[name])}"):
        from_block(block)


def test_the_guide_has_the_table():
    """To write it: python -c 'from gatewise.nn.hub.table import markdown; print(markdown())'."""
    guide = (Path(__file__).parents[2] / "docs/guide/engineer/sparse-blocks.md").read_text("utf-8")
    begin, end = (f"<!-- table of architectures: {word} -->\n" for word in ("begin", "end"))
    assert guide.partition(begin)[2].partition(end)[0] == markdown() + "\n"


@pytest.mark.parametrize(
    ("style", "other", "message"),
    [
        ("qwen2_moe", "qwen3_moe", r"shared_expert_intermediate_size=20 is no setting of style 'qwen3_moe'"),
        ("deepseek_v3", "qwen3_moe", r"(routed_scaling_factor|n_group|topk_group|n_shared_experts)=.* is no setting"),
        ("qwen3_moe", "deepseek_v3", r"lacks gate\.e_score_correction_bias"),
        ("qwen3_moe", "flint", r"lacks shared_expert\.gate_proj\.weight"),
    ],
)
def test_a_block_read_as_another_style_raises(style, other, message):
    config = small_config(style)
    state = dict(small_block(style, config).state_dict())
    with pytest.raises((ValueError, KeyError), match=message):
        from_state_dict(state, other, config.to_dict())


def test_weights_that_are_left_over_raise_by_name():
    config = small_config("qwen2_moe", shared_expert_intermediate_size=0)
    state = dict(small_block("qwen2_moe").state_dict())
    with pytest.raises(ValueError, match=r"4 weights belong to no part of this style: shared_expert\.down_proj"):
        from_state_dict(state, "qwen3_moe", {"num_experts_per_tok": 2})
    assert config.num_experts_per_tok == 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"moe_router_softcap": 3.0}, "moe_router_softcap=3.0 is no setting of style 'qwen3_moe'.*check the style"),
        ({"scoring_func": "sigmoid"}, "scoring_func='sigmoid' is no setting"),
        ({"num_experts": 9}, "num_experts=9, but there are weights of 8 experts"),
        ({"hidden_act": "mish"}, "hidden_act='mish'"),
        ({"num_experts_per_tok": None}, "num_experts_per_tok=None: give the number"),
        ({"num_experts_per_tok": [2, 4]}, r"num_experts_per_tok=\[2, 4\]: give the number"),
    ],
)
def test_settings_that_no_block_of_a_style_has_raise_by_name(config, message):
    state = dict(small_block("qwen3_moe").state_dict())
    with pytest.raises((ValueError, KeyError), match=message):
        from_state_dict(state, "qwen3_moe", {"num_experts_per_tok": 2} | config)


def test_what_a_style_says_anyhow_must_be_said_so():
    state = dict(small_block("deepseek_v3").state_dict())
    fine = {"num_experts_per_tok": 2, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "n_group": 1}
    assert from_state_dict(state, "deepseek_v3", fine).router.slots == 2
    with pytest.raises(ValueError, match="scoring_func='softmax': blocks of style 'deepseek_v3' have 'sigmoid'"):
        from_state_dict(state, "deepseek_v3", fine | {"scoring_func": "softmax"})


def without(layer, field):
    """Return the output of a layer with one of its settings as usual."""
    moe, x = mixture(layer), torch.randn(64, 16)
    before = layer(x)
    moe.router.choice = moe.router.choice._replace(**field)
    return float((layer(x) - before).detach().abs().max())


@pytest.mark.parametrize(
    ("style", "field"),
    [
        ("deepseek_v3", {"kept": 4}),
        ("deepseek_v3", {"best": 1}),
        ("kolibri1", {"by": "weights"}),
        ("ernie4_5_moe", {"by": "log weights"}),
    ],
)
def test_every_part_of_a_choice_matters(style, field):
    assert without(from_block(small_block(style)), field) > 1e-2


def test_a_file_of_a_model_of_several_kinds_of_input_is_read_by_its_text_config(tmp_path):
    layer = from_block(small_block("qwen3_vl_moe_text"))
    save_block(layer, tmp_path, "qwen3_vl_moe_text", "model.language_model.layers.0.mlp.")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3_vl_moe", "text_config": config}))
    x = torch.randn(4, 16)
    assert torch.equal(load_block(tmp_path, "model.language_model.layers.0.mlp.")(x), layer(x))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(KeyError, match="lacks model_type"):
        load_block(tmp_path, "model.language_model.layers.0.mlp.")


def test_weights_that_transformers_writes_for_the_identity_experts_of_longcat_are_left_out():
    config = small_config("longcat_flash", zero_expert_num=4)
    block = small_block("longcat_flash", config)
    saved, x = in_files("longcat_flash", block, config), torch.randn(5, 16)
    assert "experts.11.up_proj.weight" in saved
    layer = from_state_dict(saved, "longcat_flash", config.to_dict())
    assert layer.identity_experts == 4
    torch.testing.assert_close(layer(x), block(x[None])[0], rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="experts that return their input"):
        to_state_dict(layer, "jamba")
