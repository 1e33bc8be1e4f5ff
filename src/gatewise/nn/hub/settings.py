"""The settings of a layer as JSON and back: names of parts, never code."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from gatewise.core.gates import GATES, Gate
from gatewise.core.links import NormalisedSigmoid, Sigmoid, Softmax, TopK
from gatewise.core.scores import Activated, Affine, Bias, Cosine, Distance, Quadratic, Tempered
from gatewise.nn.experts import FFN
from gatewise.nn.layer import MoE
from gatewise.nn.params import Anneal, GateParameters

SCORES = (Activated, Affine, Bias, Cosine, Distance, Quadratic, Tempered)
LINKS = (NormalisedSigmoid, Sigmoid, Softmax, TopK)
PARTS: dict[str, type] = {part.__name__: part for part in (*SCORES, *LINKS)}


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
        "gate": [gate_name(kind) for kind in router.kinds],
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
    ValueError
        If a setting is unknown or missing.
    """
    known = set(settings(MoE(1, 1, 1, top_k=1)))
    if set(given) != known:
        raise ValueError(
            f"the settings of a layer have unknown fields ({', '.join(sorted(set(given) - known)) or 'none'}) or lack "
            f"some ({', '.join(sorted(known - set(given))) or 'none'}): they were altered, or written by another "
            "version of gatewise"
        )
    gates = [gate_of(one) for one in given["gate"]]
    temperature = given["temperature"]
    if isinstance(temperature, dict):
        temperature = Anneal(**temperature["anneal"])
    return MoE(**{**given, "gate": gates, "temperature": temperature})


def gate_name(gate: Gate) -> str | dict[str, Any]:
    """Return a gate's name in GATES, or its composition.

    Examples
    --------
    >>> gate_name(Gate(Tempered(Cosine()), Softmax()))["score"]["Tempered"]["inner"]
    {'Cosine': {'floor': 0.0, 'origin': None, 'metric': None}}
    """
    names = [name for name, value in GATES.items() if value == gate]
    return names[0] if names else {"score": _encode(gate.score), "link": _encode(gate.link)}


def gate_of(given: str | dict[str, Any]) -> Gate:
    """Return the gate that `gate_name` describes."""
    if isinstance(given, str):
        if given not in GATES:
            raise ValueError(f"gate {given!r} is unknown: the names are {', '.join(GATES)}")
        return GATES[given]
    return Gate(_decode(given["score"]), _decode(given["link"]))


def _encode(value: Any) -> Any:
    if not is_dataclass(value):
        return list(value) if isinstance(value, tuple) else value
    name = type(value).__name__
    if PARTS.get(name) is not type(value):
        raise ValueError(f"{value!r} is not part of gatewise: a file holds names, not code; keep layer.state_dict()")
    return {name: {field.name: _encode(getattr(value, field.name)) for field in fields(value)}}


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, dict):
        return value
    ((name, inside),) = value.items()
    if name not in PARTS:
        raise ValueError(f"the part {name!r} of a gate is unknown: the parts are {', '.join(PARTS)}")
    return PARTS[name](**{key: _decode(one) for key, one in inside.items()})


def _temperature(gates: list[GateParameters]) -> str | float | dict[str, Any]:
    """Return the temperature that the gates were built with; the value itself is among the weights."""
    tempered = [gate.temperature for gate in gates if gate.tempered]
    given = tempered[0] if tempered else "learned"
    if not callable(given):
        return given
    if not isinstance(given, Anneal):
        raise ValueError(f"temperature={given!r} is code: a file holds names; use Anneal, or keep layer.state_dict()")
    return {"anneal": given._asdict()}
