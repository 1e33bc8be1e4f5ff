"""Sparse blocks of transformers as layers, and layers as their weights: equal both ways."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import torch
from torch import Tensor

from gatewise.nn.choice import usual_choice
from gatewise.nn.experts import FFN
from gatewise.nn.hub.architectures import ARCHITECTURES, Architecture, architecture
from gatewise.nn.hub.logits import WithLogits, record_logits, unwrapped
from gatewise.nn.hub.reading import Config, activation, averaged, check_config, check_count, config_of, options
from gatewise.nn.hub.shared import GatedShared
from gatewise.nn.hub.weights import Experts, Layout, Taken, joined, read_one
from gatewise.nn.hub.writing import divides, written
from gatewise.nn.layer import MoE

State = Mapping[str, Tensor]


def from_state_dict(state: State, style: str, config: Config, prefix: str = "", **extra: Any) -> MoE | GatedShared:
    """Return the layer that public weights of a sparse block describe.

    The gates have no bias in most of these models, so the layer's is held at zero; it can then be exported after
    training. Gates compute in float32, where transformers multiplies by the gate's weight in the model's precision.

    Parameters
    ----------
    state : dict of Tensor
        ``gate.weight``, ``experts.0.w1.weight`` and so on, as checkpoints or as blocks in memory have them; entries
        without the prefix are ignored.
    style : str
        A model type of the table in docs/guide/engineer/sparse-blocks.md.
    config : dict
        The fields of the model's config.json: num_experts_per_tok, norm_topk_prob, routed_scaling_factor ...
    prefix : str
        What stands before the names, such as "model.layers.0.mlp.".
    **extra
        Options of `MoE` for training: balance, balance_weight, bias_rate, noise, capacity, backend ...

    Returns
    -------
    MoE or GatedShared
        GatedShared where the shared expert has a gate, as in "qwen2_moe".

    Raises
    ------
    KeyError
        If a weight or a field is missing.
    ValueError
        If the style is unknown, the config asks for what a layer does not do, or weights are left over.

    Examples
    --------
    >>> state = {"gate.weight": torch.randn(2, 3)}
    >>> state |= {f"experts.{e}.w{i}.weight": torch.randn(5, 3) for e in range(2) for i in (1, 3)}
    >>> state |= {f"experts.{e}.w2.weight": torch.randn(3, 5) for e in range(2)}
    >>> layer = from_state_dict(state, "mixtral", {"num_experts_per_tok": 2})
    >>> all(torch.equal(value, state[name]) for name, value in to_state_dict(layer, "mixtral").items())
    True
    """
    row = architecture(style)
    config = config.get("text_config", config) if row.top_k.field not in config else config
    config = config.get("ffn_config", config)  # of DBRX
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    own = Taken({_renamed(name, row): value for name, value in own.items()})
    gate = f"{row.router}weight"
    if gate not in own:
        raise KeyError(f"there is no {prefix}{gate} among {len(state)} weights: check prefix={prefix!r}")
    n_rows, dim = own[gate].shape
    layouts = [one for one in (row.checkpoint, row.experts) if one is not None and one.present(own, dim)]
    if not layouts:
        names = ", ".join(sorted(own)[:6])
        raise KeyError(
            f"there are no experts of style {style!r} for {dim} features under {prefix!r}, which has {names}: check "
            "the style"
        )
    check_config(row, config, style)
    others = [one for one in (row.joined and row.joined.number, row.identity) if one is not None]
    networks = n_rows - sum(one.of(config) or 0 for one in others)
    check_count(config, networks)
    if row.identity is not None:  # transformers writes weights for them, which it does not use
        unused = tuple(f"experts.{e}." for e in range(networks, n_rows))
        own = Taken({name: value for name, value in own.items() if not name.startswith(unused)})
    return _layer(own, row, config, layouts[0], extra)


def to_state_dict(layer: MoE | GatedShared | WithLogits, style: str, prefix: str = "") -> dict[str, Tensor]:
    """Return the weights of a layer under their public names.

    Parameters
    ----------
    layer : MoE or GatedShared
        Also as it stands in a model for a block.
    style : str
        A model type of the table in docs/guide/engineer/sparse-blocks.md, such as "mixtral".
    prefix : str
        What stands before every name.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    ValueError
        If the style has no place for what the layer does.

    Examples
    --------
    >>> from gatewise.nn import MoE, to_state_dict
    >>> layer = MoE(8, 16, 4, activation="swiglu", bias=False)
    >>> list(to_state_dict(layer, "mixtral", "block."))[0]
    'block.gate.weight'
    """
    row = architecture(style)
    out = written(unwrapped(layer), row, style, row.checkpoint or row.experts)
    return {f"{prefix}{_original(name, row)}": value for name, value in out.items()}


def from_block(block: Any, **extra: Any) -> MoE | GatedShared:
    """Return the layer that computes what a sparse block of transformers computes.

    In the place of the block (``replace_ffn(model, "*.mlp", from_block)``) ``output_router_logits=True`` finds the
    logits of the layer's router; the auxiliary loss that the model makes of them comes beside that of the layer, so
    build it with ``balance="none"`` where you use theirs.

    Parameters
    ----------
    block : Module
        A sparse block of transformers 5, such as MixtralSparseMoeBlock;
        docs/guide/engineer/sparse-blocks.md has the table.
    **extra
        Options of `MoE` for training, see `from_state_dict`.

    Returns
    -------
    MoE or GatedShared
        `GatedShared` where a gate weighs the shared expert.

    Raises
    ------
    ValueError
        If the class is unknown or not read, or the block does what a layer does not do; the words say what.

    Examples
    --------
    >>> from gatewise.nn import from_block
    >>> from transformers import MixtralConfig
    >>> from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
    >>> block = MixtralSparseMoeBlock(MixtralConfig(hidden_size=8, intermediate_size=16, num_local_experts=4))
    >>> from_block(block).router.branching
    (4,)
    """
    style, config = config_of(block)
    row = ARCHITECTURES[style]
    check_config(row, config, style)
    layer = _layer(Taken(block.state_dict()), row, config, row.experts, extra)
    record_logits(layer, block, row.joined.number.of(config) if row.joined else 0)
    return layer.to(next(block.parameters()).device).train(block.training)


def to_block(layer: MoE | GatedShared | WithLogits, block: Any) -> None:
    """Copy the weights of a layer into a sparse block of transformers with the same settings.

    Parameters
    ----------
    layer : MoE or GatedShared
        Also as it stands in a model for a block.
    block : Module
        A sparse block of transformers, which is changed in place.

    Raises
    ------
    ValueError
        If the block would not compute what the layer computes.

    Examples
    --------
    >>> from gatewise.nn import from_block, to_block
    >>> from transformers import MixtralConfig
    >>> from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
    >>> block = MixtralSparseMoeBlock(MixtralConfig(hidden_size=8, intermediate_size=16, num_local_experts=4))
    >>> to_block(from_block(block), block)
    """
    style, config = config_of(block)
    row = ARCHITECTURES[style]
    check_config(row, config, style)
    layer = unwrapped(layer)
    state, target = written(layer, row, style, row.experts), block.state_dict()
    moe = layer.layer if isinstance(layer, GatedShared) else layer
    wanted = options(row, config)
    if row.scale_weight:
        state[row.scale_weight] = torch.full_like(target[row.scale_weight], moe.scale / wanted["scale"])
        wanted["scale"] = moe.scale
    if row.shared is not None and layer.shared is not None:
        wanted["shared activation"] = activation(row.shared.activation, config, row.gated)
    _require_same(layer, moe, wanted, type(block).__name__)
    _drop_offsets(state, row, target, type(block).__name__)
    if row.identity is not None:  # the block has rows for them that it does not use
        state = {name: torch.cat([value, target[name][len(value) :]]) for name, value in state.items()}
    block.load_state_dict(state)


def _drop_offsets(state: dict[str, Tensor], row: Architecture, target: State, name: str) -> None:
    """Leave out the correction of the choice if the block lacks it; raise if it says something."""
    lacks = row.correction is not None and row.correction.switch and row.correction.name not in target
    if lacks and row.correction is not None and bool((state.pop(row.correction.name) != 0).any()):
        raise ValueError(f"the layer has offsets of the choice: {name} has no place for them with these settings")


def _require_same(layer: MoE | GatedShared, moe: MoE, wanted: dict[str, Any], name: str) -> None:
    """Raise unless a layer has the options that a block has."""
    kept = "after" if divides(moe) else "before"
    found = {"top_k": moe.router.slots, "normalise": kept, "scale": moe.scale}
    found |= {"activation": getattr(moe.experts, "activation", None), "choice": moe.router.choice}
    wanted = {**wanted, "choice": wanted["choice"] or usual_choice(moe.router.kinds)}
    if "shared activation" in wanted and layer.shared is not None:
        found["shared activation"] = layer.shared.activation
    different = [f"{key} {value} against {wanted[key]}" for key, value in found.items() if value != wanted[key]]
    if different:
        raise ValueError(f"layer and {name} differ: {', '.join(different)}; build the block to match")


def _layer(state: Taken, row: Architecture, config: Config, layout: Layout, extra: dict[str, Any]) -> MoE | GatedShared:
    """Build a layer of the shape that weights have, and copy them into it."""
    chosen = options(row, config)
    experts = layout.read(state, row.gated)
    offsets = _offsets(state, row)
    if row.joined is not None:
        more = row.joined.read(state)
        experts = joined([experts, more])
        offsets = torch.cat([offsets, offsets.new_full((len(more.w_in),), inf)]) if offsets is not None else None
    shared = _shared(state, row, config)
    weight, bias = state.take(f"{row.router}weight"), state.pop(f"{row.router}bias", None)
    n_experts, dim = weight.shape
    gate = state.take(f"{row.shared.gate}weight") if row.shared and row.shared.gate else None
    chosen["scale"] *= float(state.take(row.scale_weight)) if row.scale_weight else 1.0
    if state:
        names = ", ".join(sorted(state)[:4])
        raise ValueError(
            f"{len(state)} weights belong to no part of this style: {names}{' ...' if len(state) > 4 else ''}; check "
            "the style and the prefix, and leave out what is not of the block"
        )
    has_bias = experts.b_in is not None
    own = None if gate is not None else shared
    network = 0 if own is None else _network(own[0], own[1], dim)
    layer = MoE(dim, experts.w_out.shape[1], n_experts, shared=network, bias=has_bias, **chosen, **extra)
    whole: MoE | GatedShared = layer if gate is None or shared is None else GatedShared(layer, shared[0].w_out.shape[1])
    whole.to(experts.w_in.dtype)
    layer.router.to(weight.dtype)
    _fill(whole, weight, bias, offsets, experts, shared and shared[0], gate)
    if row.output_bias:
        _hold(layer)
    return whole


def _offsets(state: Taken, row: Architecture) -> Tensor | None:
    """Take the correction of the choice out of a state."""
    if row.correction is None or (row.correction.switch and row.correction.name not in state):
        return None
    return state.take(row.correction.name).flatten()


def _shared(state: Taken, row: Architecture, config: Config) -> tuple[Experts, str] | None:
    """Take the shared expert out of a state, with the name of its unit."""
    if row.output_bias:
        bias = state.take(row.output_bias)
        none = bias.new_zeros(1, len(bias), 1)
        return Experts(none, none.mT, bias.new_zeros(1, 1), bias[None]), "relu"
    if row.shared is None:
        return None
    first = f"{row.shared.prefix}{row.shared.names[0]}.weight"
    if first not in state and row.shared.optional:
        return None
    one = read_one(state, row.shared.prefix, row.shared.names)
    if averaged(row, config):
        one = one._replace(w_out=one.w_out / 2, b_out=None if one.b_out is None else one.b_out / 2)
    unit = activation(row.shared.activation, config, row.gated)
    if row.shared.gate and unit != "swiglu":
        raise ValueError(f"the shared expert has {unit!r}: GatedShared has 'swiglu'")
    return one, unit


def _network(one: Experts, unit: str, dim: int) -> FFN:
    """Return an empty network for a shared expert."""
    return FFN(1, dim, one.w_out.shape[1], activation=unit, bias=one.b_in is not None)


@torch.no_grad()
def _fill(
    layer: MoE | GatedShared,
    weight: Tensor,
    bias: Tensor | None,
    offsets: Tensor | None,
    experts: Experts,
    shared: Experts | None,
    shared_gate: Tensor | None,
) -> None:
    """Copy weights into a layer; a bias that the gate does not have is held at zero."""
    moe = layer.layer if isinstance(layer, GatedShared) else layer
    gate = moe.router.gates[0]
    gate.weight.copy_(weight)
    if bias is None:
        gate.bias.zero_().requires_grad_(False)
    else:
        gate.bias.copy_(bias)
    if offsets is not None:
        moe.router.offset_0.copy_(offsets[None])
    for network, values in ((moe.experts, experts), (layer.shared, shared)):
        for name, value in (values._asdict() if values is not None else {}).items():
            if value is not None:
                getattr(network, name).copy_(value)
    if shared_gate is not None and isinstance(layer, GatedShared):
        layer.gate.weight.copy_(shared_gate)


def _hold(layer: MoE) -> None:
    """Hold all of a shared network but its last bias, which then is a bias of the output."""
    assert layer.shared is not None
    for name, value in layer.shared.named_parameters():
        value.requires_grad_(name == "b_out")


def _renamed(name: str, row: Architecture) -> str:
    """Return what the block in memory calls a weight of a file."""
    for theirs, ours in row.renamed:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _original(name: str, row: Architecture) -> str:
    """Return what files call a weight of the block in memory."""
    for theirs, ours in row.renamed:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name
