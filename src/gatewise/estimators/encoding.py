"""Values as JSON and back: numbers exactly, tensors, parts of a mixture by name. Loading runs no foreign code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch

from gatewise.core.by_leaf import ExpertsByLeaf, FamiliesByLeaf
from gatewise.core.experts import Activation, Constant, Expert, HiddenUnit, Linear, Polynomial
from gatewise.core.families import Binomial, Family, FullGaussian, Gaussian, MeanOnly, Poisson, StudentT
from gatewise.core.gates import Gate
from gatewise.core.links import Link, NormalisedSigmoid, Sigmoid, Softmax, TopK
from gatewise.core.origin import ExpertAbout, ScoreAbout
from gatewise.core.scores import Activated, Affine, Bias, Cosine, Distance, Quadratic, Score, Tempered

SCORES = (Activated, Affine, Bias, Cosine, Distance, Quadratic, Tempered)
LINKS = (NormalisedSigmoid, Sigmoid, Softmax, TopK)
EXPERTS = (Activation, Constant, HiddenUnit, Linear, Polynomial)
LEAVES = (*EXPERTS, Binomial, FullGaussian, Gaussian, MeanOnly, Poisson, StudentT, ExpertsByLeaf, FamiliesByLeaf)
PARTS: dict[str, type] = {part.__name__: part for part in (Gate, ScoreAbout, ExpertAbout, *SCORES, *LINKS, *LEAVES)}
INSIDE: dict[str, type] = {"score": Score, "inner": Score, "link": Link, "expert": Expert}
DTYPES = {"float64": torch.float64, "bool": torch.bool, "int64": torch.int64}


def encode(value: Any) -> Any:
    """Return a value as what JSON can hold.

    Raises
    ------
    ValueError
        For a part that gatewise does not define, and for any other type.

    Examples
    --------
    >>> encode((1.5, float("inf"), None))
    {'tuple': [1.5, {'float': 'inf'}, None]}
    >>> decode(encode(Gate()))
    Gate(score=Affine(), link=Softmax())
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if isfinite(value) else {"float": str(float(value))}
    if isinstance(value, torch.Tensor | np.ndarray):
        return _encode_tensor(value)
    if isinstance(value, tuple):
        return {"tuple": [encode(v) for v in value]}
    if isinstance(value, list):
        return [encode(v) for v in value]
    if isinstance(value, Mapping):
        return {"dict": {str(k): encode(v) for k, v in value.items()}}
    return _encode_part(value)


def _encode_tensor(value: torch.Tensor | np.ndarray) -> dict[str, Any]:
    array = np.asarray(value)
    array = array if array.dtype.name in DTYPES else array.astype(np.float64)
    flat = [encode(v) for v in array.reshape(-1).tolist()]
    return {"tensor": flat, "shape": list(array.shape), "dtype": array.dtype.name}


def _encode_part(value: Any) -> dict[str, Any]:
    name = type(value).__name__
    if PARTS.get(name) is not type(value) or not is_dataclass(value):
        raise ValueError(
            f"{value!r} is a {type(value).__module__}.{name}, which is not part of gatewise: a JSON model holds "
            "names, not code; keep models with your own parts by pickle or joblib"
        )
    return {"part": name, "fields": {f.name: encode(getattr(value, f.name)) for f in fields(value)}}


def decode(value: Any) -> Any:
    """Return the value behind what `encode` gave.

    Raises
    ------
    ValueError
        For an unknown part or tag.
    """
    if isinstance(value, list):
        return [decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float(value["float"])
    if "tuple" in value:
        return tuple(decode(v) for v in value["tuple"])
    if "dict" in value:
        return {k: decode(v) for k, v in value["dict"].items()}
    if "tensor" in value:
        flat = torch.tensor([decode(v) for v in value["tensor"]], dtype=DTYPES[value["dtype"]])
        return flat.reshape(value["shape"])
    if "part" in value:
        return _decode_part(value["part"], value["fields"])
    raise ValueError(f"an entry with the keys {', '.join(map(str, value))} is not known")


def _decode_part(name: str, given: Mapping[str, Any]) -> Any:
    if name not in PARTS:
        raise ValueError(f"the part {name!r} is not known: the parts are {', '.join(PARTS)}")
    inside = {key: decode(v) for key, v in given.items()}
    for key, kind in INSIDE.items():
        if key in inside and not isinstance(inside[key], kind):
            raise ValueError(f"{name} has the {key} {inside[key]!r}, which is not a {kind.__name__}")
    return PARTS[name](**inside)


def check_parts(gates: Any, expert: Any, family: Any) -> None:
    """Raise unless the parts of a mixture are of the right kinds."""
    for kind, parts in ((Gate, gates), (Expert, (expert,)), (Family, (family,))):
        for part in parts:
            if not isinstance(part, kind):
                raise ValueError(f"{part!r} stands where a {kind.__name__} belongs")
