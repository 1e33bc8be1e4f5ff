"""The sparse blocks of the installed transformers, found in its source, and small ones of every architecture."""

import ast
import importlib
from dataclasses import fields
from inspect import signature
from pathlib import Path

import transformers
from torch import nn

from gatewise.nn.hub import ARCHITECTURES

ROOT = Path(transformers.__file__).parent / "models"
SMALL = (
    dict.fromkeys(("hidden_size", "d_model"), 16)
    | dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 8)
    | dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "moe_top_k"), 3)
    | dict.fromkeys(("intermediate_size", "moe_intermediate_size", "expert_ffn_hidden_size", "d_ff"), 12)
    | dict.fromkeys(("ffn_hidden_size",), 12)
    | dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"), 2)
    | dict.fromkeys(("shared_expert_intermediate_size", "shared_intermediate_size", "share_expert_dim"), 20)
    | dict.fromkeys(("moe_shared_expert_intermediate_size", "shared_experts_intermediate_size"), 20)
    | {"n_group": 4, "num_expert_group": 4, "topk_group": 2, "num_hidden_layers": 2, "vocab_size": 31}
    | {"num_attention_heads": 2, "num_key_value_heads": 2, "router_jitter_noise": 0.0, "zero_expert_num": 0}
)
DBRX = {"hidden_size": 16, "ffn_hidden_size": 12, "moe_num_experts": 8, "moe_top_k": 3}
OWN = {  # fields of single architectures, for what their classes demand
    "dbrx": {"ffn_config": DBRX},
    "deepseek_v4": {"mlp_layer_types": ["moe", "moe"]},
    "ernie4_5_vl_moe_text": {"moe_intermediate_size": [12, 8]},
    "dots3_note_vision_encoder": {"mlp_layer_types": ["sparse"] * 2, "per_layer_config": {0: {}}, "adapter_in_dim": 16},
    "granitemoehybrid": {"mamba_n_heads": 2},
    "qwen3_omni_moe_talker_text": {"shared_expert_intermediate_size": 20},
    "step3p5": {"swiglu_limits": None},
}


def sparse_classes():
    """Return the classes of transformers that build experts: {name: file}, by the calls in their source."""
    found = {}
    for path in sorted(ROOT.glob("*/modeling_*.py")):
        text = path.read_text("utf-8")
        if "xpert" not in text and "MoE" not in text:
            continue
        classes = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
        lines = text.splitlines()
        experts = {name for name, node in classes.items() if holds_experts(name, node, lines)}
        for name, node in classes.items():
            calls = (one.func for one in ast.walk(node) if isinstance(one, ast.Call))
            if {call.id for call in calls if isinstance(call, ast.Name)} & experts - {name}:
                found[name] = path.parent.name
    return found


def holds_experts(name, node, lines):
    """Return whether a class holds the weights of several experts: stacked, in a list, or as rows of an embedding."""
    own = "\n".join(lines[node.lineno - 1 : node.end_lineno])
    stacked = any(
        isinstance(one, ast.Call) and full_name(one.func) in ("torch.empty", "torch.zeros") and many(one)
        for one in ast.walk(node)
    )
    listed = any(full_name(base) in ("nn.ModuleList", "nn.ModuleDict") for base in node.bases) and "num_experts" in own
    rows = "nn.Embedding(self.num_experts" in own
    return (stacked and "router" not in name.lower()) or listed or rows


def full_name(node):
    """Return a name of two parts as it stands in the source, such as ``torch.empty``."""
    two = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    return f"{node.value.id}.{node.attr}" if two else ""


def many(call):
    """Return whether a tensor has a dimension of experts, and two more or a product with it."""
    shape = call.args[0].elts if call.args and isinstance(call.args[0], ast.Tuple) else call.args
    words = [ast.unparse(one) for one in shape]
    return "expert" in words[0] and (len(words) == 3 or "*" in words[0]) if words else False


def module_of(style):
    """Return the module of transformers with the block of a style."""
    row = ARCHITECTURES[style]
    folder = row.folder or style.removesuffix("_text")
    return importlib.import_module(f"transformers.models.{folder}.modeling_{folder}")


def config_class(style):
    """Return the class of the config that a block of a style is built from."""
    module = module_of(style)
    configs = importlib.import_module(module.__name__.replace("modeling_", "configuration_"))
    kinds = [
        one
        for one in vars(configs).values()
        if isinstance(one, type) and issubclass(one, transformers.PreTrainedConfig)
    ]
    return next(one for one in kinds if one.model_type == style)


def small_config(style, **options):
    """Return a config of a style with small sizes."""
    kind = config_class(style)
    known = {field.name for field in fields(kind)} | set(kind.attribute_map)
    own = OWN.get(style, {}) | options
    return kind(**{key: value for key, value in SMALL.items() if key in known} | own)


def small_block(style, config=None, **options):
    """Return a block of a style with random weights, in evaluation."""
    kind = getattr(module_of(style), ARCHITECTURES[style].block)
    config = small_config(style, **options) if config is None else config
    more = {"layer_idx": 0, "intermediate_size": 12}
    block = kind(config, **{name: more[name] for name in signature(kind).parameters if name in more})
    for name, value in block.state_dict().items():
        if value.is_floating_point() and name != "gate.global_scale":
            nn.init.normal_(value, std=0.3 if name.endswith("bias") else 0.5)
    return block.eval()


def output(block, x):
    """Return the output of a block, which some give with the logits of their router."""
    out = block(x)
    return (out[0] if isinstance(out, tuple) else out).reshape(x.shape)
