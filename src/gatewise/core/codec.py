"""Values as JSON and back, for models and layers: numbers exactly, tensors, parts by name. No foreign code runs.

What is read is checked against the annotations of what it becomes: a new part needs to be in its package, or in its
catalogue, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import fields, is_dataclass
from inspect import Parameter, signature
from math import isfinite, prod
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import torch

from gatewise.core import experts, families, links, scores
from gatewise.core.by_leaf import ExpertsByLeaf, FamiliesByLeaf
from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.origin import ExpertAbout, ScoreAbout


def kinds(part: Any) -> set[type]:
    """Return the classes of a part and of the parts inside it."""
    inside = [getattr(part, field.name) for field in fields(part)]
    return {type(part)}.union(*(kinds(one) for one in inside if is_dataclass(one)))


BASES = (scores.Score, links.Link, experts.Expert, families.Family)
WRAPPERS = {ScoreAbout, ExpertAbout, ExpertsByLeaf, FamiliesByLeaf}
PARTS = WRAPPERS.union(
    part
    for package in (scores, links, experts, families)
    for part in vars(package).values()
    if isinstance(part, type) and is_dataclass(part) and issubclass(part, BASES) and part not in BASES
)


def known_parts() -> dict[str, type]:
    """Return the classes that a file may name: the parts of gatewise, and those of the catalogues as they are now."""
    catalogued = (*GATES.values(), *EXPERTS.values(), *FAMILIES.values())
    found = PARTS.union(*map(kinds, catalogued))
    return {kind.__name__: kind for kind in sorted(found, key=lambda kind: kind.__name__)}


DTYPES = {"float64": (torch.float64, float), "bool": (torch.bool, bool), "int64": (torch.int64, int)}
DEEPEST = 20  # lists, tuples and parts inside each other: far more than any model has
ODD = ("nan", "inf", "-inf")

Kind = TypeVar("Kind")


class CodecError(ValueError):
    """A value that no file holds, or that no model or layer has; its words say which."""


def encode(value: Any, depth: int = 0) -> Any:
    """Return a value as what JSON can hold.

    Raises
    ------
    CodecError
        For a part that gatewise does not define, any other type, and values too deep inside each other.

    Examples
    --------
    >>> encode((1.5, float("inf"), None))
    {'tuple': [1.5, {'float': 'inf'}, None]}
    >>> decode(encode(GATES["softmax"]))
    Gate(score=Affine(), link=Softmax())
    """
    require_shallow(depth)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if isfinite(value) else {"float": str(float(value))}
    if isinstance(value, torch.Tensor):
        return _encode_tensor(value)
    if isinstance(value, tuple):
        return {"tuple": [encode(v, depth + 1) for v in value]}
    if isinstance(value, list):
        return [encode(v, depth + 1) for v in value]
    if isinstance(value, Mapping):
        return {"dict": {str(k): encode(v, depth + 1) for k, v in value.items()}}
    return _encode_part(value, depth + 1)


def require_shallow(depth: int) -> None:
    """Raise where values stand inside each other deeper than in any model or layer."""
    if depth > DEEPEST:
        raise CodecError(f"values stand inside each other more than {DEEPEST} deep")


def _encode_tensor(value: torch.Tensor) -> dict[str, Any]:
    name = str(value.dtype).removeprefix("torch.")
    name, value = (name, value) if name in DTYPES else ("float64", value.double())
    return {"tensor": [encode(v) for v in value.reshape(-1).tolist()], "shape": list(value.shape), "dtype": name}


def _encode_part(value: Any, depth: int) -> dict[str, Any]:
    name = type(value).__name__
    if known_parts().get(name) is not type(value) or not is_dataclass(value):
        raise CodecError(
            f"{value!r} is a {type(value).__module__}.{name}, which is not part of gatewise: a file holds names, not "
            "code; keep models with your own parts by pickle or joblib, and layers by their state_dict"
        )
    return {"part": name, "fields": {f.name: encode(getattr(value, f.name), depth) for f in fields(value)}}


def decode(value: Any, depth: int = 0) -> Any:
    """Return the value behind what `encode` gave.

    Raises
    ------
    CodecError
        For whatever `encode` does not give: unknown parts, tags and fields, and values of wrong types.
    """
    require_shallow(depth)
    if isinstance(value, list):
        return [decode(v, depth + 1) for v in value]
    if not isinstance(value, dict):
        if type(value) is int and abs(value) >= 2**63:
            raise CodecError(f"{short(value)} is beyond the whole numbers of a model")
        if type(value) is float and not isfinite(value):
            raise CodecError(f"{value} is no number of JSON")
        return value
    match value:
        case {"float": str(odd), **more} if odd in ODD and not more:
            return float(odd)
        case {"tuple": list(inside), **more} if not more:
            return tuple(decode(v, depth + 1) for v in inside)
        case {"dict": dict(inside), **more} if not more:
            return {k: decode(v, depth + 1) for k, v in inside.items()}
        case {"tensor": list(flat), "shape": list(shape), "dtype": str(dtype), **more} if dtype in DTYPES and not more:
            return _decode_tensor(flat, shape, dtype)
        case {"part": str(name), "fields": dict(inside), **more} if not more:
            return _decode_part(name, {k: decode(v, depth + 1) for k, v in inside.items()})
    raise CodecError(f"an entry with the keys {short(list(value))} is not known, or its value is odd")


def _decode_tensor(flat: list[Any], shape: list[Any], name: str) -> torch.Tensor:
    dtype, kind = DTYPES[name]
    values = [decode(v, DEEPEST) for v in flat]
    if not all(matches(v, kind) for v in values):
        raise CodecError(f"a tensor of {name} has other entries")
    if (not all(matches(size, int) and size > 0 for size in shape) and shape != [0]) or prod(shape) != len(flat):
        raise CodecError(f"a tensor of {len(flat)} entries has the shape {short(shape)}")
    return torch.tensor(values, dtype=dtype).reshape(shape)


def _decode_part(name: str, given: Mapping[str, Any]) -> Any:
    parts = known_parts()
    if name not in parts:
        raise CodecError(f"the part {short(name)} is not known: the parts are {', '.join(parts)}")
    return build(parts[name], given, finite=True)


def map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return dicts, lists and tuples inside each other with what stands in them changed."""
    if isinstance(value, Mapping):
        return {name: map_leaves(one, change) for name, one in value.items()}
    return type(value)(map_leaves(one, change) for one in value) if type(value) in (tuple, list) else change(value)


def _finite(value: Any) -> bool:
    """Return whether all floats are finite; parts inside have been checked."""
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, tuple | list):
        return all(map(_finite, value))
    return not isinstance(value, float) or isfinite(value)


def build(
    kind: type[Kind],
    given: Any,
    hints: Mapping[str, Any] | None = None,
    finite: bool = False,
    later: Container[str] = (),
) -> Kind:
    """Return what a class makes of decoded arguments, each of its annotated type and none left out.

    `hints` are the types of the arguments where these are no fields, `finite` wants all numbers to be finite, and
    `later` are the arguments with defaults that files of an earlier schema lack.

    Raises
    ------
    CodecError
        For unknown and missing fields, values of other types, and those that the part itself refuses.

    Examples
    --------
    >>> build(known_parts()["Cosine"], {"floor": 0.1, "metric": (1.0, 2.0)}, later=("origin",))
    Cosine(floor=0.1, origin=None, metric=(1.0, 2.0))
    """
    if not isinstance(given, Mapping):
        raise CodecError(f"{short(given)} stands where the fields of a {kind.__name__} belong")
    if finite and not _finite(given):
        raise CodecError(f"{kind.__name__} has a number that is not finite")
    known, hints = signature(kind).parameters, hints or get_type_hints(kind)
    absent = [name for name in known if name not in given]
    missing = [name for name in absent if known[name].default is Parameter.empty]
    unknown = [name for name in given if name not in known]
    if missing or unknown:
        words = [f"lacks {name}" for name in missing] + [f"has an unknown {short(name)}" for name in unknown]
        raise CodecError(f"the {kind.__name__} {', '.join(words)}")
    for name, value in given.items():
        checked(f"{name} of the {kind.__name__}", value, hints[name])
    try:
        built = kind(**given)
    except (ValueError, TypeError) as cause:
        raise CodecError(str(cause)) from cause
    if left_out := [name for name in absent if name not in later]:
        raise CodecError(f"the {kind.__name__} lacks {', '.join(left_out)}")
    return built


def checked(name: str, value: Any, hint: Any) -> Any:
    """Return a decoded value, or raise a CodecError unless it is of an annotated type."""
    if not matches(value, hint):
        raise CodecError(f"{name} is {short(value)}: {_words(hint)} belongs there")
    return value


def matches(value: Any, hint: Any) -> bool:
    """Return whether a decoded value is of an annotated type, entry by entry; True is no number.

    Examples
    --------
    >>> matches((1.0, 2), tuple[float, ...]), matches(True, int), matches(None, tuple[float, ...] | None)
    (True, False, True)
    """
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(matches(value, one) for one in inside)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inside)
    if origin is tuple and inside[-1] is not Ellipsis:
        return type(value) is tuple and len(value) == len(inside) and all(map(matches, value, inside))
    if origin in (tuple, list, Sequence):
        return (
            type(value) in (list, tuple) and isinstance(value, origin) and all(matches(one, inside[0]) for one in value)
        )
    if origin in (dict, Mapping):
        return type(value) is dict and all(matches(k, inside[0]) and matches(v, inside[1]) for k, v in value.items())
    if hint in (int, float) and type(value) is int:
        return hint is int or abs(value) < 2**53
    if hint in (int, float, bool, str, type(None)):
        return type(value) is hint
    return hint is Any or isinstance(value, hint)


def short(value: Any) -> str:
    """Return a value as a short text of one line."""
    return f"{' '.join(repr(value).split()):.80}"


def _words(hint: Any) -> str:
    return f"a {hint.__name__}" if isinstance(hint, type) and not get_args(hint) else str(hint)
