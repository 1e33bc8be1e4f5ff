"""Names that users type: what a name stands for, and one wording where it stands for nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import product
from operator import index
from typing import Any, TypeVar

Named = TypeVar("Named")
SYNONYMS = {  # what else a thing is called, in a gate or in a family
    "normal": ("gaussian",),
    "t": ("student-t",),
    "student": ("student-t",),
    "bernoulli": ("binomial",),
    "ols": ("linear",),
    "multinomial": ("softmax", "categorical"),
    "multinomial logit": ("softmax", "categorical"),
    "logit": ("softmax", "binomial"),
    "logistic": ("softmax", "binomial"),
    "concomitant": ("softmax",),
}


def look_up(kind: str, name: str, table: Mapping[str, Named]) -> Named:
    """Return what a catalogue has under a name, or raise a ValueError with the close name and all names."""
    if name not in table:
        raise ValueError(f"{kind} {name!r} is unknown: {did_you_mean(name, table)}the names are {', '.join(table)}")
    return table[name]


def resolve(choice: Any, of: type[Any], title: str, table: Mapping[str, Named]) -> Named:
    """Return the part called `choice`, or `choice` itself when it is one; a TypeError where it is neither."""
    if isinstance(choice, of):
        return choice
    kind = of.__name__.lower()
    if isinstance(choice, type):
        words = (
            f"an instance, such as {choice.__name__}()" if issubclass(choice, of) else f"an instance of {of.__name__}"
        )
        raise TypeError(f"{kind}={choice.__name__} is a class: give {words}, or a name of {title}")
    if not isinstance(choice, str):
        article = "an" if kind[0] in "aeiou" else "a"
        raise TypeError(
            f"{kind}={choice!r} is a {type(choice).__name__}: give a name of {title} or {article} {of.__name__}"
        )
    return look_up(kind, choice, table)


def require_one_of(name: str, value: object, allowed: Collection[str]) -> None:
    """Raise a ValueError unless the argument `name` is one of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        near = did_you_mean(value, allowed)
        raise ValueError(f"{name}={value!r} is unknown: {near}the choices are {', '.join(map(repr, allowed))}")


def whole(name: str, value: Any) -> int:
    """Return the argument `name` as a number of Python, or raise a TypeError unless it is a whole number."""
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}: give a whole number") from None


def did_you_mean(name: object, names: Collection[str]) -> str:
    """Return a question after the closest name, to stand in a message; empty where none is close."""
    text = " ".join(str(name).lower().replace("-", " ").replace("_", " ").split())
    other = [one for one in SYNONYMS.get(text, ()) if one in names]
    near = other or get_close_matches(str(name), names, 1)
    return f"did you mean {near[0]!r}? " if near else ""


def name_of(part: Any, table: Mapping[str, Any]) -> str | None:
    """Return the first name that a catalogue has for a part; None where it has none."""
    return next((name for name, value in table.items() if value == part), None)


def entry_name(path: str, place: Iterable[int]) -> str:
    """Return the name of one entry of a parameter, such as ``gates.0.weight[0,1]``."""
    inside = ",".join(map(str, place))
    return f"{path}[{inside}]" if inside else path


def entry_names(path: str, shape: Sequence[int]) -> list[str]:
    """Return the names of all entries of a parameter."""
    return [entry_name(path, place) for place in product(*map(range, shape))]


def path_of(name: str) -> str:
    """Return the path in the name of an entry."""
    return name.partition("[")[0]
