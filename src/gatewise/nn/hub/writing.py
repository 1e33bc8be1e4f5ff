"""Layers as the weights and the settings of a style, and what a style has no place for."""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor

from gatewise.core.gates import describe
from gatewise.core.gates import gate as gate_of
from gatewise.nn.choice import usual_choice
from gatewise.nn.experts import FFN
from gatewise.nn.finding import require_layer
from gatewise.nn.hub.architectures import Architecture, architecture
from gatewise.nn.hub.logits import WithLogits, unwrapped
from gatewise.nn.hub.options import ACTIVATION, Clamp, Setting, inside
from gatewise.nn.hub.reading import GATES
from gatewise.nn.hub.shared import GatedShared
from gatewise.nn.hub.weights import Experts, Layout, written_one
from gatewise.nn.layer import MoE
from gatewise.nn.rules import Largest
from gatewise.nn.units import ClampedSwiGLU, unit


def written(layer: MoE | GatedShared, row: Architecture, style: str, layout: Layout) -> dict[str, Tensor]:
    """Return the weights of a layer under the names of the block in memory, experts as in `layout`."""
    moe, experts = require_fit(layer, row, style)
    gate, offsets = moe.router.gates[0], moe.router.offset_0[0]
    out = {f"{row.router}weight": gate.weight.detach().clone()}
    if row.router_bias and (gate.bias.requires_grad or bool((gate.bias != 0).any())):
        out[f"{row.router}bias"] = gate.bias.detach().clone()
    values = Experts(*experts.weights())
    if row.joined is not None:
        routed = int((offsets != inf).sum())
        out |= row.joined.written(Experts(values.w_in[routed:], values.w_out[routed:]))
        values, offsets = Experts(values.w_in[:routed], values.w_out[:routed]), offsets[:routed]
    if row.correction is not None:
        out[row.correction.name] = offsets[None].clone() if row.correction.rows else offsets.clone()
    out |= layout.written(values)
    if row.scale_weight:
        out[row.scale_weight] = torch.ones(1)
    return out | _shared(layer, row, moe.scale)


def _shared(layer: MoE | GatedShared, row: Architecture, scale: float) -> dict[str, Tensor]:
    """Return the weights of the shared expert."""
    network = layer.shared
    if network is None:
        return {}
    one = Experts(*network.weights())
    if row.output_bias:
        assert one.b_out is not None
        return {row.output_bias: one.b_out[0].detach().clone()}
    assert row.shared is not None
    if row.shared.average is not None and scale == 0.5:
        one = one._replace(w_out=one.w_out * 2, b_out=None if one.b_out is None else one.b_out * 2)
    out = written_one(one, row.shared.prefix, row.shared.names)
    if isinstance(layer, GatedShared):
        out[f"{row.shared.gate}weight"] = layer.gate.weight.detach().clone()
    return out


def require_fit(layer: MoE | GatedShared, row: Architecture, style: str) -> tuple[MoE, FFN]:
    """Return the mixture of a layer and its experts, or raise if the style has no place for what it does.

    Raises
    ------
    ValueError
        The words say for what.
    """
    gated_shared = bool(row.shared and row.shared.gate)
    if isinstance(layer, GatedShared) != gated_shared:
        raise ValueError(f"style {style!r} {'needs' if gated_shared else 'has no place for'} a GatedShared layer")
    moe = layer.layer if isinstance(layer, GatedShared) else require_layer(layer)
    router, experts = moe.router, moe.experts
    named = GATES.values() if isinstance(row.gate, Setting) else [GATES[row.gate]]
    if len(router.branching) > 1 or router.kinds[0] not in [gate_of(one) for one in named]:
        names = ", ".join(describe(one) for one in router.kinds)
        wanted = " or ".join(describe(gate_of(one)) for one in named)
        raise ValueError(f"gates ({names}): style {style!r} has one level with the gate {wanted!r}")
    if not isinstance(experts, FFN) or unit(experts.activation).gated != row.gated:
        kind = "'swiglu' or others with a factor" if row.gated else "activations without a factor"
        raise ValueError(f"experts {experts}: style {style!r} has the built-in {kind}")
    problems = _router_problems(moe, row) | _other_problems(layer, moe, row)
    if found := [problem for problem, is_so in problems.items() if is_so]:
        raise ValueError(f"the layer has {', '.join(found)}: style {style!r} cannot express that")
    return moe, experts


def _router_problems(moe: MoE, row: Architecture) -> dict[str, bool]:
    """Return what a router may have that the style has no place for, and whether it does."""
    router, choice = moe.router, moe.router.choice
    by = {row.correction.by} if row.correction else {usual_choice(router.kinds).by, "weights"}
    return {
        "a bias in its gate": not row.router_bias and bool((router.gates[0].bias != 0).any()),
        "offsets of the choice": row.correction is None and bool((router.offset_0 != 0).any()),
        f"scale={moe.scale}": row.scale is None and moe.scale not in (1.0, _average(row)),
        f"normalise={router.normalise!r} with {router.slots} experts per token": not isinstance(row.normalise, Setting)
        and row.normalise != divides(moe),
        f"a choice by {choice.by}": choice.by not in by,
        f"a choice from {choice.kept} of {choice.groups} groups": choice.groups != choice.kept and row.groups is None,
        f"the rule of choice {choice.rule}": choice.rule != Largest(),
        "learned noise": router.noise == "learned",
        "a capacity": moe.capacity is not None,
    }


def _other_problems(layer: MoE | GatedShared, moe: MoE, row: Architecture) -> dict[str, bool]:
    """Return what experts may have that the style has no place for, and whether they do."""
    needs = row.shared is not None and not row.shared.optional
    own = moe.shared
    weights = [] if own is None else [own.w_in, own.w_out]
    biased = isinstance(moe.experts, FFN) and moe.experts.b_in is not None
    stacked = getattr(row.experts, "transposed", False)
    return {
        f"dim_out={moe.dim_out}": moe.dim_out != moe.dim,
        "no shared expert": needs and layer.shared is None,
        "no bias of its output": row.output_bias != "" and own is None,
        "a shared expert of weight one": own is not None
        and (row.shared is None or row.shared.gate != "")
        and row.output_bias == "",
        "a shared expert that is more than a bias": row.output_bias != ""
        and any(bool((w != 0).any()) for w in weights),
        "experts that return their input": moe.identity_experts > 0 and row.identity is None,
        "experts that return zero": moe.null_experts > 0,
        "weights on its inputs": moe.weigh_inputs and not row.weigh_inputs,
        "weights on its outputs": row.weigh_inputs and not moe.weigh_inputs,
        "biases in its experts": biased and not (stacked and row.router_bias),
        "no biases in its experts": not biased and stacked and row.router_bias,
    }


def divides(moe: MoE) -> bool:
    """Return whether kept weights are divided by their sum, which "after" leaves out for a single one."""
    router = moe.router
    return router.normalise == "always" or (router.normalise == "after" and router.slots > 1)


def _average(row: Architecture) -> float:
    """Return the scale of a style whose output is half a sum."""
    return 0.5 if row.shared is not None and row.shared.average is not None else 1.0


def to_config(layer: MoE | GatedShared | WithLogits, style: str) -> dict[str, Any]:
    """Return the fields of config.json that belong to the weights of `to_state_dict`.

    Parameters
    ----------
    layer : MoE or GatedShared
        Also as it stands in a model for a block.
    style : str
        A model type of the table in docs/guide/engineer/sparse-blocks.md, such as "mixtral".

    Returns
    -------
    dict of str to value

    Examples
    --------
    >>> from gatewise.nn import MoE, to_config
    >>> to_config(MoE(8, 16, 4, activation="swiglu", bias=False), "mixtral")["num_local_experts"]
    4
    """
    row = architecture(style)
    layer = unwrapped(layer)
    moe, experts = require_fit(layer, row, style)
    router = moe.router
    joined = int(router.offset_0.isinf().sum())
    fields: dict[str, Any] = {
        "model_type": style,
        "hidden_size": moe.dim,
        row.count: router.n_leaves - joined - moe.identity_experts,
    }
    fields |= {row.width: experts.hidden, row.top_k.field: router.slots - joined}
    if isinstance(row.gate, Setting):
        fields[row.gate.field] = next(name for name, one in GATES.items() if gate_of(one) == router.kinds[0])
    if isinstance(row.normalise, Setting):
        fields[row.normalise.field] = divides(moe)
    if row.scale is not None:
        fields[row.scale.field] = moe.scale
    if row.correction is not None and row.correction.switch:
        fields[row.correction.switch] = True
    if row.joined is not None:
        fields[row.joined.number.field] = joined
    if row.identity is not None:
        fields[row.identity.field] = moe.identity_experts
    fields |= _group_fields(moe, row) | _shared_fields(layer, row, experts)
    units = [(row.activation, experts.activation)]
    units += [(row.shared.activation, layer.shared.activation)] if row.shared and layer.shared is not None else []
    for place, name in units:
        for key, value in _unit_fields(place, name, style).items():
            if fields.setdefault(key, value) != value:
                raise ValueError(
                    f"experts have {experts.activation!r}, the shared expert {name!r}: style {style!r} has one {key} "
                    "for both"
                )
    return fields


def _group_fields(moe: MoE, row: Architecture) -> dict[str, Any]:
    """Return the fields of a choice from groups."""
    if row.groups is None:
        return {}
    choice, method = moe.router.choice, row.groups.method
    limited = "group_limited_greedy" if choice.groups > choice.kept else "greedy"
    fields: dict[str, Any] = {row.groups.number.field: choice.groups, row.groups.kept.field: choice.kept}
    return fields | ({} if method is None else {method.field: limited})


def _unit_fields(place: Setting | Clamp, activation: str, style: str) -> dict[str, Any]:
    """Return the fields of an activation; raise where config.json has none and it is not the usual one."""
    values: dict[Setting, Any] = {}
    if isinstance(place, Setting):
        values[place] = inside(activation)
        if values[place] not in ACTIVATION:
            raise ValueError(f"experts with {activation!r}: config.json of style {style!r} has no name for that")
    else:
        made, usual = unit(activation), ClampedSwiGLU()
        for name, one in (("limit", place.limit), ("up", place.up), ("alpha", place.alpha)):
            if one is not None:
                value = getattr(made, name, getattr(usual, name))
                values[one] = None if value == inf else value
    for one, value in values.items():
        if not one.field and value != one.default:
            raise ValueError(f"experts with {activation!r}: config.json of style {style!r} has no field for that")
    return {one.field: value for one, value in values.items() if one.field}


def _shared_fields(layer: MoE | GatedShared, row: Architecture, experts: FFN) -> dict[str, Any]:
    """Return the fields of the shared expert."""
    if row.shared is None:
        return {}
    fields: dict[str, Any] = {}
    if row.shared.average is not None:
        moe = layer.layer if isinstance(layer, GatedShared) else layer
        fields[row.shared.average.field] = "average" if moe.scale == 0.5 else "sum"
    width = 0 if layer.shared is None else layer.shared.hidden
    if not row.shared.times:
        return fields | {row.shared.width: width}
    if width % experts.hidden:
        raise ValueError(
            f"the shared expert has {width} hidden units, not a multiple of the {experts.hidden} of every expert: this "
            "style has no place for that"
        )
    return fields | {row.shared.width: width // experts.hidden}
