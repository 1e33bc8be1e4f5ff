"""Settings of a sparse block, from its config.json or from the block in memory, as options of a layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from typing import Any

from gatewise.core.gates import Gate
from gatewise.core.links import SqrtSoftplus
from gatewise.core.scores import Affine
from gatewise.nn.choice import Choice
from gatewise.nn.hub.architectures import ARCHITECTURES, BLOCKS, REFUSED, Architecture
from gatewise.nn.hub.options import Clamp, Setting, function_name, gated, plain
from gatewise.nn.units import ClampedSwiGLU

Config = Mapping[str, Any]
GATES: dict[str, str | Gate] = {
    "softmax": "softmax",
    "sigmoid": "sigmoid",
    "sqrtsoftplus": Gate(Affine(), SqrtSoftplus()),
}
COUNTS = {"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"}  # what configs call one number
ROUTING = re.compile(r"expert|moe|router|route_scale|topk|top_k|n_group|scoring|swiglu|jitter|softcap")
ELSEWHERE = {  # fields that match, and say nothing about what a block computes
    "output_router_logits",
    "experts_per_token",  # of gpt-oss, beside num_experts_per_tok
    "uniform_expert_assignment",  # of DBRX's benchmarks
    "add_router_probs",
    "router_aux_loss_coef",
    "router_z_loss_coef",
    "aux_loss_alpha",
    "moe_loss_weight",
    "router_dtype",
    "router_ignore_padding_tokens",
    "expert_capacity",  # a note of its row
    "enable_moe_fp32_combine",
    "expert_layer_offset",
    "expert_layer_period",
    "interleave_moe_layer_step",
    "moe_layers",
    "moe_layer_freq",
    "moe_layer_interval",
    "moe_layer_start_index",
    "moe_layer_end_index",
    "moe_shared_expert_overlap",
    "num_experts_per_layer",
    "moe_norm_min",  # far below any sum of weights
    "index_topk",  # of attention
    "index_topk_blocks",
    "index_topk_freq",
    "mamba_n_groups",
    "n_groups",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rms_norm_eps_moe_gate",
    "shared_expert_sink",
}
NEUTRAL = {"n_group": 1, "topk_group": 1, "num_expert_group": 1, "moe_routed_scaling_factor": 1.0}


def places(row: Architecture) -> list[Setting]:
    """Return where the settings of a row stand, but for those of its shared expert."""
    found: list[Any] = [row.gate, row.top_k, row.normalise, row.scale, *_of_unit(row.activation)]
    found += [*row.groups] if row.groups else []
    found += [one.place for one in row.zero]
    found += [row.shared.average] if row.shared else []
    found += [row.joined.number] if row.joined else []
    found += [row.identity]
    return [place for place in found if isinstance(place, Setting)]


def _of_unit(activation: Setting | Clamp) -> list[Setting]:
    """Return where the settings of a unit stand."""
    return activation.places() if isinstance(activation, Clamp) else [activation]


def check_config(row: Architecture, config: Config, style: str) -> None:
    """Raise if a config asks for what no layer, or not this style, does.

    Raises
    ------
    ValueError
        For such a setting, and for one about experts or routing that the style does not know.
    """
    for place, why in row.zero:
        if place.of(config):
            raise ValueError(f"{place.key}={place.of(config)}: {why}")
    said = dict(row.says)
    for name, value in said.items():
        if config.get(name, value) != value:
            raise ValueError(f"{name}={config[name]!r}: blocks of style {style!r} have {value!r}; check the style")
    known = {place.key for place in places(row)} | ELSEWHERE | COUNTS | said.keys() | {row.width}
    known |= {*row.ignores, row.correction.switch if row.correction else ""}
    known |= {row.shared.width, *(place.key for place in _of_unit(row.shared.activation))} if row.shared else set()
    for name in config.keys() - known:
        value, neutral = config[name], (None, False, 0, NEUTRAL.get(name))
        if ROUTING.search(name) and not isinstance(value, list | dict) and value not in neutral:
            raise ValueError(
                f"{name}={value!r} is no setting of style {style!r}, whose blocks would ignore it: check the style, or "
                "leave the field out if it says nothing about this block"
            )


def check_count(config: Config, n_experts: int) -> None:
    """Raise if a config has another number of experts than the weights."""
    for name in COUNTS & config.keys():
        if isinstance(config[name], int) and config[name] != n_experts:
            raise ValueError(f"{name}={config[name]}, but there are weights of {n_experts} experts: check the prefix")


def options(row: Architecture, config: Config) -> dict[str, Any]:
    """Return the options of `MoE` that a config asks for.

    Raises
    ------
    KeyError
        If the number of experts of a token is missing.
    ValueError
        If the config asks for what a layer does not do.
    """
    gate = row.gate.of(config) if isinstance(row.gate, Setting) else row.gate
    if gate not in GATES:
        raise ValueError(f"{row.gate.key if isinstance(row.gate, Setting) else 'gate'}={gate!r}: {', '.join(GATES)}")
    top_k = row.top_k.of(config)
    if not isinstance(top_k, int):
        raise KeyError(f"the config has {row.top_k.key}={top_k!r}: give the number of experts of a token in this block")
    joined = row.joined.number.of(config) if row.joined else 0
    after = _normalised(row, config, gate)
    if after and top_k + joined == 1:
        raise ValueError(
            f"{row.top_k.key}=1 with weights divided by their sum: every weight is one and the gate gets no "
            "gradient; a layer keeps the gate's weight instead, so its output would differ"
        )
    scale = 1.0 if row.scale is None else float(row.scale.of(config))
    return {
        "gate": GATES[gate],
        "top_k": top_k + joined,
        "normalise": "after" if after else "before",
        "scale": scale * (0.5 if averaged(row, config) else 1.0),
        "activation": activation(row.activation, config, row.gated),
        "choice": _choice(row, config),
        "weigh_inputs": row.weigh_inputs,
        "identity_experts": (row.identity.of(config) or 0) if row.identity else 0,
    }


def averaged(row: Architecture, config: Config) -> bool:
    """Return whether half the sum of routed and shared experts is the output."""
    place = row.shared.average if row.shared else None
    return place is not None and place.of(config) == "average" and bool(config.get(row.shared.width, 1))  # type: ignore[union-attr]


def activation(place: Setting | Clamp, config: Config, with_factor: bool) -> str:
    """Return the name of the unit that a config asks for."""
    if isinstance(place, Clamp):
        limit = place.limit.of(config) or inf
        up = limit if place.up is None else place.up.of(config) or inf
        alpha = 1.0 if place.alpha is None else place.alpha.of(config)
        return ClampedSwiGLU(float(limit), float(up), float(alpha), place.shift, place.bound).name
    own = place.of(config)
    return gated(own) if with_factor else plain(own)


def config_of(block: Any) -> tuple[str, dict[str, Any]]:
    """Return the style of a block of transformers, and its settings as in a config.

    Raises
    ------
    ValueError
        If the class is unknown or not read, or an activation is one that no layer has.
    """
    name = type(block).__name__
    if name in REFUSED:
        raise ValueError(f"{name} is not read: {REFUSED[name]}")
    if name not in BLOCKS:
        raise ValueError(
            f"{name} is not a block that can be read: they are {', '.join(sorted(BLOCKS))}; for one with the same "
            "layout pass its weights to from_state_dict"
        )
    style = BLOCKS[name]
    row = ARCHITECTURES[style]
    shared = getattr(block, row.shared.prefix.rstrip("."), None) if row.shared else None
    owners = [(block, place) for place in places(row)]
    owners += (
        [(shared, place) for place in _of_unit(row.shared.activation)] if row.shared and shared is not None else []
    )
    found = {place.key: _at(owner, place.attribute) for owner, place in owners if place.attribute}
    config = {key: function_name(value) if callable(value) else value for key, value in found.items()}
    _require_silu(row, block, shared)
    if row.shared and shared is None:
        config[row.shared.width] = 0
    return style, config


def _at(owner: Any, path: str) -> Any:
    """Return an attribute, or an entry, by its path; None where there is none."""
    for part in path.split("."):
        owner = getattr(owner, part, None)
    return owner


def _require_silu(row: Architecture, block: Any, shared: Any) -> None:
    """Raise if a clamped unit has another activation than SiLU inside."""
    pairs = [(row.activation, block.experts if hasattr(block, "experts") else None)]
    pairs += [(row.shared.activation, shared)] if row.shared else []
    for place, owner in pairs:
        fn = getattr(owner, "act_fn", None)
        if isinstance(place, Clamp) and place.bound != "soft" and fn is not None and function_name(fn) != "silu":
            raise ValueError(f"{type(block).__name__} has {function_name(fn)!r} between bounds: a layer has SiLU there")


def _normalised(row: Architecture, config: Config, gate: str) -> bool:
    """Return whether kept weights are divided by their sum."""
    if not isinstance(row.normalise, Setting):
        return row.normalise
    value = row.normalise.of(config)
    if value not in (None, False, True):
        raise ValueError(f"{row.normalise.key}={value}: a layer divides weights by their sum (1), or not (None)")
    return bool(value) or (isinstance(row.gate, Setting) and gate == "softmax")


def _choice(row: Architecture, config: Config) -> Choice | None:
    """Return by what the experts are chosen; None: as any layer with that gate does."""
    groups, kept = 1, 1
    if row.groups is not None:
        method = row.groups.method
        if method is None or method.of(config) == "group_limited_greedy":
            groups, kept = row.groups.number.of(config) or 1, row.groups.kept.of(config) or 1
    if groups <= kept:
        return None if row.correction is None else Choice(row.correction.by)
    by = "weights" if row.correction is None else row.correction.by
    assert row.groups is not None
    return Choice(by, groups, kept, row.groups.best, row.groups.closed)
