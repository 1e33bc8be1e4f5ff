"""The settings of a layer as JSON and back: names of parts, never code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from inspect import signature
from typing import Any, NamedTuple, TypeVar, get_type_hints

from torch import nn

from gatewise.core import codec
from gatewise.core.codec import CodecError, decode, encode, require_shallow, short
from gatewise.core.experts import Expert
from gatewise.core.families import Family
from gatewise.nn.balance.methods import BALANCE_METHODS, BalanceMethod, method_name
from gatewise.nn.choice import Choice, usual_choice
from gatewise.nn.experts import FFN, CoreExpert, empty_expert
from gatewise.nn.layer import MoE
from gatewise.nn.params import Anneal, GateParameters
from gatewise.nn.rules import CHOICE_RULES, Largest

Kind = TypeVar("Kind")


class SharedSettings(NamedTuple):
    """A network of shared experts that is not a multiple of the others."""

    hidden: int
    activation: str
    bias: bool


def settings(layer: MoE) -> dict[str, Any]:
    """Return the arguments that build a layer of this shape, as JSON can hold them.

    Raises
    ------
    ValueError
        If experts, a gate or a temperature are code of the user.
    """
    router, balancer, laws = layer.router, layer.balancer, _laws(layer)
    later = {  # settings that files of the second schema may lack: written where they say something
        "choice": None if router.choice == usual_choice(router.kinds) else _choice(router.choice),
        "weigh_inputs": layer.weigh_inputs,
        "identity_experts": layer.identity_experts,
        "null_experts": layer.null_experts,
        "jitter": router.jitter,
        "token_entropy_weight": balancer.token_entropy_weight,
    }
    ffn = layer.experts if isinstance(layer.experts, FFN) else layer.shared
    return {
        "dim": layer.dim,
        "hidden": ffn and ffn.hidden,
        "n_experts": list(router.branching),
        "gate": encode(router.kinds),
        "top_k": router.top_k[0] if len(router.top_k) < len(router.branching) else list(router.top_k),
        "dim_out": layer.dim_out,
        "activation": "gelu" if ffn is None else ffn.activation,
        "bias": ffn is not None and ffn.b_in is not None,
        "normalise": router.normalise,
        "scale": layer.scale,
        "shared": _shared(layer.shared, layer.experts),
        "experts": laws,
        "backend": layer.backend,
        "capacity": layer.capacity,
        "temperature": _temperature(router.levels),
        "noise": router.noise,
        "balance": _method(balancer.rule),
        "balance_weight": balancer.weight,
        "bias_rate": balancer.rate,
        "z_weight": balancer.z_weight,
    } | {name: value for name, value in later.items() if value}


def build(given: dict[str, Any]) -> MoE:
    """Return a layer of the shape that settings describe.

    Raises
    ------
    CodecError
        If a setting is unknown, missing or of another type, or no layer has it.
    """
    missing: dict[str, Any] = {"experts": None, "choice": None, "weigh_inputs": False}
    missing |= {"identity_experts": 0, "null_experts": 0, "jitter": 0.0, "token_entropy_weight": 0.0}
    known, given = set(signature(MoE).parameters), {**missing, **given}
    more, less = (", ".join(sorted(names)) for names in (given.keys() - known, known - given.keys()))
    if more or less:
        raise CodecError(f"the settings have unknown fields ({more}) or lack some ({less}): they were altered")
    schedule = given["temperature"]
    annealed = isinstance(schedule, dict) and set(schedule) == {"anneal"}
    values = {**given, "gate": _upgraded(given["gate"]), "temperature": None if annealed else schedule}
    values = {name: decode(value) for name, value in values.items()}
    if annealed:
        values["temperature"] = codec.build(Anneal, schedule["anneal"], finite=True)
    if values["choice"] is not None:
        values["choice"] = _built_choice(values["choice"])
    if isinstance(values["balance"], dict):
        values["balance"] = _built("balance", values["balance"], {n: type(m) for n, m in BALANCE_METHODS.items()})
    if isinstance(values["shared"], dict):
        kept = codec.build(SharedSettings, values["shared"])
        dim, dim_out = (codec.checked(name, values[name], int) for name in ("dim", "dim_out"))
        values["shared"] = FFN(1, dim, kept.hidden, dim_out, kept.activation, kept.bias)
    hints = get_type_hints(MoE.__init__) | {"temperature": str | float | Anneal, "experts": nn.ModuleList | None}
    laws = codec.checked("experts of the layer", values["experts"], list[tuple[Expert, Family]] | None)
    if laws is not None:
        sizes = [codec.checked(name, values[name], int) for name in ("dim", "dim_out")]
        values["experts"] = nn.ModuleList(empty_expert(*law, *sizes) for law in laws)
    return codec.build(MoE, values, hints, finite=True)


def _choice(choice: Choice) -> Any:
    """Return a choice as JSON can hold it; its rule, where it is no top-k, by its name and options."""
    given = choice._asdict()
    rule = given.pop("rule")
    if rule != Largest():
        name = next((name for name, kind in CHOICE_RULES.items() if kind is type(rule)), None)
        if name is None:
            raise ValueError(
                f"choice={rule!r} is a rule of your own: a file holds names, not code; give it a name in CHOICE_RULES, "
                "or keep layer.state_dict()"
            )
        given["rule"] = {"name": name, **_options(rule)}
    return encode(given)


def _built_choice(given: Any) -> Choice:
    """Return the choice that `_choice` wrote."""
    rule = given.get("rule") if isinstance(given, dict) else None
    found = given if rule is None else {**given, "rule": _built("rule of the choice", rule, CHOICE_RULES)}
    return codec.build(Choice, found, later=("rule",))


def _method(rule: BalanceMethod) -> Any:
    """Return the name of a balancing method, or that of its kind with its options."""
    name = method_name(rule)
    kind = next((n for n, one in BALANCE_METHODS.items() if type(one) is type(rule)), None)
    if name is None and kind is None:
        raise ValueError(
            f"balance={rule!r} is a method of your own: a file holds names, not code; give it a name in "
            "BALANCE_METHODS, or keep layer.state_dict()"
        )
    return name or encode({"name": kind, **_options(rule)})


def _options(part: Any) -> dict[str, Any]:
    """Return the fields of a rule or a method."""
    return {field.name: getattr(part, field.name) for field in fields(part)}


def _built(what: str, given: Any, kinds: Mapping[str, type[Kind]]) -> Kind:
    """Return the rule or method that a file names, with its options."""
    name = given.get("name") if isinstance(given, dict) else None
    if not isinstance(name, str) or name not in kinds:
        raise CodecError(f"the {what} {short(given)} is not known: they are {', '.join(kinds)}")
    return codec.build(kinds[name], {key: value for key, value in given.items() if key != "name"}, finite=True)


def _shared(shared: FFN | None, experts: nn.Module) -> Any:
    """Return the number of shared experts, or what their network is where it is no multiple of the others."""
    if shared is None:
        return 0
    own = SharedSettings(shared.hidden, shared.activation, shared.b_in is not None)
    if not isinstance(experts, FFN):
        return own.hidden // shared.hidden
    like = own[1:] == (experts.activation, experts.b_in is not None) and not own.hidden % experts.hidden
    return own.hidden // experts.hidden if like else encode(dict(own._asdict()))


def _laws(layer: MoE) -> Any:
    """Return expert and family of every leaf of a fitted mixture; None where experts are built in."""
    if isinstance(layer.experts, FFN):
        return None
    if not isinstance(layer.experts, nn.ModuleList):
        raise ValueError(
            f"the experts of the layer are wrapped by {type(layer.experts).__name__}: merge it with them first, as "
            "merge_and_unload of peft does, or keep layer.state_dict()"
        )
    if layer.dim_out is None or not all(type(one) is CoreExpert for one in layer.experts):
        raise ValueError(
            "the layer has experts of your own: a file holds names, not code; keep layer.state_dict() and build the "
            "layer by your own code"
        )
    return encode([(one.expert, one.family) for one in layer.experts])


def _upgraded(gates: Any) -> Any:
    """Return gates as the first schema has them, ``{"score": {"Affine": {}}, "link": ...}``, in today's form."""
    if not isinstance(gates, list):
        return gates
    return [_part({"Gate": one}) if isinstance(one, dict) and "part" not in one else one for one in gates]


def _part(value: Any, depth: int = 0) -> Any:
    """Return ``{name: fields}`` as a part, and a list as a tuple."""
    require_shallow(depth)
    if isinstance(value, list):
        return {"tuple": value}
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not all(isinstance(inside, dict) for inside in value.values()):
        raise CodecError(f"{short(value)} is no part of a gate")
    ((name, inside),) = value.items()
    return {"part": name, "fields": {key: _part(one, depth + 1) for key, one in inside.items()}}


def _temperature(gates: list[GateParameters]) -> str | float | dict[str, Any]:
    """Return the temperature that the gates were built with; the value itself is among the weights."""
    tempered = [gate.temperature for gate in gates if gate.tempered]
    given = tempered[0] if tempered else "learned"
    if not callable(given):
        return given
    if not isinstance(given, Anneal):
        raise ValueError(f"temperature={given!r} is code: a file holds names; use Anneal, or keep layer.state_dict()")
    return {"anneal": given._asdict()}
