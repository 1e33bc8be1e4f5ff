"""Styles: how public checkpoints call the weights of a sparse block and the settings that its config.json holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

Config = Mapping[str, Any]


class Style(NamedTuple):
    """The layout of a sparse block: ``experts.E.NAME.weight`` in a checkpoint, each ``(outputs, inputs)``.

    Attributes
    ----------
    names : tuple of str
        Names of the projection inside the SiLU, of its factor, and of the last one: ``last(silu(inner x) * factor x)``.
    gate : str
        Name in GATES: "softmax", or "sigmoid" with a correction of the choice (2412.19437, equation 16).
    renormalised : bool or None
        Whether kept weights are divided by their sum; None: `norm_topk_prob` of the config says.
    shared : str
        Prefix of the shared expert; empty if there is none.
    shared_gate : str
        Prefix of the weight of the shared expert; empty if it serves with weight one.
    count : str
        What the config calls the number of experts.
    """

    names: tuple[str, str, str]
    gate: str = "softmax"
    renormalised: bool | None = None
    shared: str = ""
    shared_gate: str = ""
    count: str = "num_experts"  # type: ignore[assignment]  # no method of a tuple here


PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
CORRECTION = "gate.e_score_correction_bias"
STYLES: dict[str, Style] = {  # keys: model_type of config.json
    "mixtral": Style(("w1", "w3", "w2"), renormalised=True, count="num_local_experts"),
    "qwen2_moe": Style(PROJECTIONS, shared="shared_expert.", shared_gate="shared_expert_gate."),
    "qwen3_moe": Style(PROJECTIONS),
    "deepseek_v3": Style(PROJECTIONS, gate="sigmoid", shared="shared_experts.", count="n_routed_experts"),
}


def style_of(name: str) -> Style:
    """Return the style of a model type.

    Raises
    ------
    ValueError
        If none has that name.
    """
    if name not in STYLES:
        raise ValueError(f"style {name!r} is unknown: choose one of {', '.join(STYLES)}")
    return STYLES[name]


def options(style: Style, config: Config) -> dict[str, Any]:
    """Return the options of `MoE` that a config asks for.

    Raises
    ------
    ValueError
        If the config asks for what a layer does not do.
    """
    top_k = config["num_experts_per_tok"]
    renormalised = config.get("norm_topk_prob", False) if style.renormalised is None else style.renormalised
    _check(config, top_k, renormalised)
    return {
        "gate": style.gate,
        "top_k": top_k,
        "normalise": "after" if renormalised else "before",
        "scale": float(config.get("routed_scaling_factor", 1.0)) if style.gate == "sigmoid" else 1.0,
        "activation": "swiglu",
    }


def _check(config: Config, top_k: int, renormalised: bool) -> None:
    if renormalised and top_k == 1:
        raise ValueError(
            "num_experts_per_tok=1 with weights divided by their sum: every weight is one and the gate gets no "
            "gradient; a layer keeps the gate's weight instead, so its output would differ"
        )
    groups, kept = config.get("n_group") or 1, config.get("topk_group") or 1
    if groups > kept:
        raise ValueError(
            f"n_group={groups} with topk_group={kept}: the choice is limited to {kept} groups of experts, ranked by "
            "their two best; a layer ranks experts alone, so its choice would differ"
        )
    if config.get("router_jitter_noise"):
        raise ValueError(
            f"router_jitter_noise={config['router_jitter_noise']} multiplies the inputs in training; a layer does not: "
            "set it to 0"
        )
    if config.get("hidden_act", "silu") not in ("silu", "swish"):
        raise ValueError(f"hidden_act={config['hidden_act']!r}: the experts of a layer have 'silu' inside a product")


class BlockStyle(NamedTuple):
    """A class of transformers: its style and where an instance keeps the settings of the config."""

    style: str
    config: Callable[[Any], Config]


def _mixtral(block: Any) -> Config:
    return {"num_experts_per_tok": block.top_k, "router_jitter_noise": block.jitter_noise}


def _qwen(block: Any) -> Config:
    return {"num_experts_per_tok": block.gate.top_k, "norm_topk_prob": block.gate.norm_topk_prob}


def _deepseek(block: Any) -> Config:
    gate = block.gate
    return {
        "num_experts_per_tok": gate.top_k,
        "norm_topk_prob": gate.norm_topk_prob,
        "routed_scaling_factor": gate.routed_scaling_factor,
        "n_group": gate.num_group,
        "topk_group": gate.topk_group,
    }


BLOCKS: dict[str, BlockStyle] = {
    "MixtralSparseMoeBlock": BlockStyle("mixtral", _mixtral),
    "Qwen2MoeSparseMoeBlock": BlockStyle("qwen2_moe", _qwen),
    "Qwen3MoeSparseMoeBlock": BlockStyle("qwen3_moe", _qwen),
    "DeepseekV3MoE": BlockStyle("deepseek_v3", _deepseek),
}


def block_of(block: Any) -> tuple[str, Config]:
    """Return the style of a block of transformers, and its settings as in a config.

    Raises
    ------
    ValueError
        If the class is unknown, or its experts have another activation.
    """
    name = type(block).__name__
    if name not in BLOCKS:
        raise ValueError(
            f"{name} is not a block that can be read: they are {', '.join(BLOCKS)}; for one with the same layout "
            "pass its weights to from_state_dict"
        )
    probe = torch.linspace(-4, 4, 33, device="cpu", dtype=torch.float64)
    if not torch.allclose(block.experts.act_fn(probe), nn.functional.silu(probe)):
        raise ValueError(f"the experts of {name} do not have SiLU: the experts of a layer have it inside a product")
    style, config = BLOCKS[name]
    return style, config(block)
