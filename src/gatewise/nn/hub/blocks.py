"""Sparse blocks of Mixtral, Qwen-MoE and DeepSeek-V3 as layers, and layers as their weights: equal both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.core.gates import GATES, describe
from gatewise.nn.experts import FFN
from gatewise.nn.hub.recorded import recorded
from gatewise.nn.hub.shared import GatedShared
from gatewise.nn.hub.styles import CORRECTION, Config, Style, block_of, options, style_of
from gatewise.nn.layer import MoE

State = Mapping[str, Tensor]


def from_state_dict(state: State, style: str, config: Config, prefix: str = "", **extra: Any) -> MoE | GatedShared:
    """Return the layer that public weights of a sparse block describe.

    The gates have no bias in these models, so the layer's is held at zero; it can then be exported after training.
    Gates compute in float32, where transformers multiplies by the gate's weight in the model's precision.

    Parameters
    ----------
    state : dict of Tensor
        ``gate.weight``, ``experts.0.w1.weight`` and so on; entries without the prefix are ignored.
    style : str
        A name of STYLES.
    config : dict
        The fields of the model's config.json: num_experts_per_tok, norm_topk_prob, routed_scaling_factor ...
    prefix : str
        What stands before the names, such as "model.layers.0.mlp.".
    **extra
        Options of `MoE` for training: balance, balance_weight, bias_rate, noise, capacity, backend ...

    Returns
    -------
    MoE or GatedShared
        GatedShared for "qwen2_moe".

    Raises
    ------
    KeyError
        If a weight or a field is missing.
    ValueError
        If the style is unknown, or the config asks for what a layer does not do.

    Examples
    --------
    >>> state = {"gate.weight": torch.randn(2, 3)}
    >>> state |= {f"experts.{e}.w{i}.weight": torch.randn(5, 3) for e in range(2) for i in (1, 3)}
    >>> state |= {f"experts.{e}.w2.weight": torch.randn(3, 5) for e in range(2)}
    >>> layer = from_state_dict(state, "mixtral", {"num_experts_per_tok": 2})
    >>> all(torch.equal(value, state[name]) for name, value in to_state_dict(layer, "mixtral").items())
    True
    """
    kind = style_of(style)
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if "gate.weight" not in own:
        raise KeyError(f"there is no {prefix}gate.weight among {len(state)} weights: check prefix={prefix!r}")
    n_experts, dim = own["gate.weight"].shape
    hidden = len(own[f"experts.0.{kind.names[0]}.weight"])
    wide = len(own[f"{kind.shared}{kind.names[0]}.weight"]) if kind.shared else 0
    plain = 0 if kind.shared_gate else wide
    if plain % hidden:
        raise ValueError(f"the shared expert has {plain} hidden units, not a multiple of the {hidden} of every expert")
    layer = MoE(dim, hidden, n_experts, shared=plain // hidden, **options(kind, config), **extra)
    whole = GatedShared(layer, wide) if kind.shared_gate else layer
    whole.to(own[f"experts.0.{kind.names[0]}.weight"].dtype)
    layer.router.to(own["gate.weight"].dtype)
    _read(whole, kind, own)
    return whole


def to_state_dict(layer: MoE | GatedShared, style: str, prefix: str = "") -> dict[str, Tensor]:
    """Return the weights of a layer under their public names.

    Raises
    ------
    ValueError
        If the style has no place for what the layer does.
    """
    kind = style_of(style)
    moe, experts = _checked(layer, style)
    gate = moe.router.gates[0]
    out = {"gate.weight": gate.weight.detach().clone()}
    if kind.gate == "sigmoid":
        out[CORRECTION] = moe.router.offset_0[0].clone()
    for e in range(moe.router.n_leaves):
        out |= _written(experts, e, kind, f"experts.{e}.")
    shared = layer.shared
    if shared is not None:
        out |= _written(shared, 0, kind, kind.shared)
    if isinstance(layer, GatedShared):
        out[f"{kind.shared_gate}weight"] = layer.gate.weight.detach().clone()
    return {f"{prefix}{name}": value for name, value in out.items()}


def to_config(layer: MoE | GatedShared, style: str) -> dict[str, Any]:
    """Return the fields of config.json that belong to the weights of `to_state_dict`."""
    kind = style_of(style)
    moe, experts = _checked(layer, style)
    fields: dict[str, Any] = {
        "model_type": style,
        "hidden_size": moe.dim,
        kind.count: moe.router.n_leaves,
        "num_experts_per_tok": moe.router.slots,
        "hidden_act": "silu",
        "intermediate_size" if style == "mixtral" else "moe_intermediate_size": experts.hidden,
    }
    if kind.renormalised is None:
        fields["norm_topk_prob"] = moe.router.normalise == "after"
    if kind.gate == "sigmoid" and moe.shared is not None:
        fields |= {"routed_scaling_factor": moe.scale, "n_group": 1, "topk_group": 1}
        fields["n_shared_experts"] = moe.shared.hidden // experts.hidden
    if isinstance(layer, GatedShared):
        fields["shared_expert_intermediate_size"] = layer.shared.hidden
    return fields


def from_block(block: Any, **extra: Any) -> MoE | GatedShared:
    """Return the layer that computes what a sparse block of transformers computes.

    Parameters
    ----------
    block : Module
        MixtralSparseMoeBlock, Qwen2MoeSparseMoeBlock, Qwen3MoeSparseMoeBlock or DeepseekV3MoE of transformers 5.
    **extra
        Options of `MoE` for training, see `from_state_dict`.
    """
    style, config = block_of(block)
    layer = from_state_dict(_split(block.state_dict(), style_of(style)), style, config, **extra)
    moe = layer.layer if isinstance(layer, GatedShared) else layer
    moe.recorder = recorded(block.gate)
    return layer.to(block.gate.weight.device).train(block.training)


def to_block(layer: MoE | GatedShared, block: Any) -> None:
    """Copy the weights of a layer into a sparse block of transformers with the same settings.

    Raises
    ------
    ValueError
        If the block would not compute what the layer computes.
    """
    style, config = block_of(block)
    kind = style_of(style)
    wanted, moe = options(kind, config), _checked(layer, style)[0]
    found = {"top_k": moe.router.slots, "normalise": moe.router.normalise, "scale": moe.scale}
    different = [f"{name} {value} against {wanted[name]}" for name, value in found.items() if value != wanted[name]]
    if different:
        raise ValueError(f"layer and {type(block).__name__} differ: {', '.join(different)}; build the block to match")
    block.load_state_dict(_fused(to_state_dict(layer, style), kind))


def _checked(layer: MoE | GatedShared, style: str) -> tuple[MoE, FFN]:
    """Return the mixture of a layer and its experts, or raise if the style has no place for what it does."""
    kind = style_of(style)
    if isinstance(layer, GatedShared) != bool(kind.shared_gate):
        raise ValueError(f"style {style!r} {'needs' if kind.shared_gate else 'has no place for'} a GatedShared layer")
    moe = layer.layer if isinstance(layer, GatedShared) else layer
    router, experts = moe.router, moe.experts
    if len(router.branching) > 1 or router.kinds[0] != GATES[kind.gate]:
        names = ", ".join(describe(one) for one in router.kinds)
        raise ValueError(f"gates ({names}): style {style!r} has one level with the gate {kind.gate!r}")
    if not isinstance(experts, FFN) or experts.activation != "swiglu" or experts.b_in is not None:
        raise ValueError(f"experts {experts}: style {style!r} has the built-in 'swiglu' without biases")
    problems = {
        "a bias in its gate": bool((router.gates[0].bias != 0).any()),
        "offsets of the choice": kind.gate != "sigmoid" and bool((router.offset_0 != 0).any()),
        f"scale={moe.scale}": kind.gate != "sigmoid" and moe.scale != 1.0,
        f"normalise={router.normalise!r}": kind.renormalised is True and router.normalise != "after",
        "a capacity": moe.capacity is not None,
        "no shared expert": kind.shared != "" and layer.shared is None,
        "a shared expert of weight one": moe.shared is not None and (kind.shared == "" or kind.shared_gate != ""),
    }
    found = [problem for problem, is_so in problems.items() if is_so]
    if found:
        raise ValueError(f"the layer has {', '.join(found)}: style {style!r} cannot express that")
    return moe, experts


@torch.no_grad()
def _read(layer: MoE | GatedShared, style: Style, state: State) -> None:
    """Copy public weights into a layer."""
    moe = layer.layer if isinstance(layer, GatedShared) else layer
    gate = moe.router.gates[0]
    gate.weight.copy_(state["gate.weight"])
    gate.bias.zero_().requires_grad_(False)
    if style.gate == "sigmoid":
        moe.router.offset_0.copy_(state[CORRECTION][None])
    parts: list[tuple[nn.Module | None, int, str]] = [
        (moe.experts, e, f"experts.{e}.") for e in range(moe.router.n_leaves)
    ]
    parts += [(layer.shared, 0, style.shared)] if style.shared else []
    for experts, e, prefix in parts:
        assert isinstance(experts, FFN)
        inner, factor, last = (state[f"{prefix}{name}.weight"] for name in style.names)
        experts.w_in[e].copy_(torch.cat([inner, factor]).mT)
        experts.w_out[e].copy_(last.mT)
    if isinstance(layer, GatedShared):
        layer.gate.weight.copy_(state[f"{style.shared_gate}weight"])


def _written(experts: FFN, e: int, style: Style, prefix: str) -> dict[str, Tensor]:
    """Return the public weights of one expert."""
    inner, factor = experts.w_in[e].detach().mT.chunk(2)
    parts = zip(style.names, (inner, factor, experts.w_out[e].detach().mT), strict=True)
    return {f"{prefix}{name}.weight": value.contiguous().clone() for name, value in parts}


def _split(state: State, style: Style) -> dict[str, Tensor]:
    """Return public names for the weights of a block in memory, where those of all experts are stacked."""
    out = {name: value for name, value in state.items() if not name.startswith("experts.")}
    pairs = zip(state["experts.gate_up_proj"], state["experts.down_proj"], strict=True)
    for e, (both, last) in enumerate(pairs):
        parts = zip(style.names, (*both.chunk(2), last), strict=True)
        out |= {f"experts.{e}.{name}.weight": value for name, value in parts}
    return out


def _fused(state: State, style: Style) -> dict[str, Tensor]:
    """Return what `_split` takes."""
    out = {name: value for name, value in state.items() if not name.startswith("experts.")}
    experts = range(len(state["gate.weight"]))
    inner, factor, last = (torch.stack([state[f"experts.{e}.{name}.weight"] for e in experts]) for name in style.names)
    return out | {"experts.gate_up_proj": torch.cat([inner, factor], 1), "experts.down_proj": last}
