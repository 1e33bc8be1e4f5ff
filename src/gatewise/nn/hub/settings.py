"""The settings of a layer as JSON and back: names of parts, never code."""

from __future__ import annotations

from inspect import signature
from typing import Any, get_type_hints

from gatewise.core import codec
from gatewise.core.codec import CodecError, decode, encode, require_shallow, short
from gatewise.nn.experts import FFN
from gatewise.nn.layer import MoE
from gatewise.nn.params import Anneal, GateParameters


def settings(layer: MoE) -> dict[str, Any]:
    """Return the arguments that build a layer of this shape, as JSON can hold them.

    Raises
    ------
    ValueError
        If experts, a gate or a temperature are code of the user.
    """
    router, balancer, experts = layer.router, layer.balancer, layer.experts
    if not isinstance(experts, FFN):
        raise ValueError(
            "the layer has experts of your own: a file holds names, not code; keep layer.state_dict() and build the "
            "layer by your own code"
        )
    return {
        "dim": layer.dim,
        "hidden": experts.hidden,
        "n_experts": list(router.branching),
        "gate": encode(router.kinds),
        "top_k": router.top_k[0] if len(router.top_k) < len(router.branching) else list(router.top_k),
        "dim_out": experts.dim_out,
        "activation": experts.activation,
        "bias": experts.b_in is not None,
        "normalise": router.normalise,
        "scale": layer.scale,
        "shared": 0 if layer.shared is None else layer.shared.hidden // experts.hidden,
        "backend": layer.backend,
        "capacity": layer.capacity,
        "temperature": _temperature(list(router.gates)),
        "noise": router.noise,
        "balance": balancer.method,
        "balance_weight": balancer.weight,
        "bias_rate": balancer.rate,
        "z_weight": balancer.z_weight,
    }


def build(given: dict[str, Any]) -> MoE:
    """Return a layer of the shape that settings describe.

    Raises
    ------
    CodecError
        If a setting is unknown, missing or of another type, or no layer has it.
    """
    known = set(signature(MoE).parameters) - {"experts"}
    if set(given) != known:
        raise CodecError(
            f"the settings of a layer have unknown fields ({', '.join(sorted(set(given) - known)) or 'none'}) or lack "
            f"some ({', '.join(sorted(known - set(given))) or 'none'}): they were altered, or written by another "
            "version of gatewise"
        )
    schedule = given["temperature"]
    annealed = isinstance(schedule, dict) and set(schedule) == {"anneal"}
    values = {**given, "gate": _upgraded(given["gate"]), "temperature": None if annealed else schedule}
    values = {name: decode(value) for name, value in values.items()}
    if annealed:
        values["temperature"] = codec.build(Anneal, schedule["anneal"], finite=True)
    return codec.build(MoE, values, get_type_hints(MoE.__init__) | {"temperature": str | float | Anneal}, finite=True)


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
