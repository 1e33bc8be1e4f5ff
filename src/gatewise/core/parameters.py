"""Descriptions of parameters: shape, role, transform and bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, count
from math import prod
from typing import NamedTuple

from gatewise.core.names import did_you_mean

ROLES = {
    "": "nothing that any method asks for",
    "slope": "multiplies the inputs, one entry per feature",
    "intercept": "a constant added to the value",
    "threshold": "a constant added to the slopes' map of the inputs inside a nonlinear function",
    "location": "a point in the space of the inputs",
    "direction": "a direction in the space of the inputs, whose length matters less than where it points",
    "quadratic": "coefficients of the products of the inputs, i <= j, row by row",
    "temperature": "divides a score",
    "output": "multiplies the value of an expert",
    "scale": "a standard deviation or another measure of spread in the units of the response",
    "covariance": "the lower triangle of the root of a covariance, row by row",
    "shape": "the shape of a law, free of units",
}


class Parameter(NamedTuple):
    """Description of one parameter of a score, an expert or a family.

    Attributes
    ----------
    shape : tuple of int
        Shape for one branch, leaf or output.
    role : str
        What the parameter does, one of `ROLES`, such as ``slope`` or ``intercept``. Other code finds parameters by
        role, never by name.
    per : {"branch", "node"}
        ``branch``: one value per branch (or leaf, or output). ``node``: one value for all branches of a gate.
    transform : str or tuple of str
        Map from the unconstrained coordinate to the parameter: ``identity``, ``log`` (parameter = exp(coordinate)) or
        ``reciprocal`` (parameter = 1 / coordinate). A tuple gives one per entry of a one-dimensional parameter.
    bounds : (float, float)
        Closed interval in which the formula and its derivatives are finite. A probability has the bounds
        (0.001, 0.999), say, or is parameterised by its log odds without bounds.
    free : bool
        If False, the parameter is fixed at `initial`.
    initial : float
        Neutral value inside `bounds`, used for fixed parameters and before starting values are known.
    only : tuple of int or None
        Branches of the innermost level whose leaves have this parameter; the other leaves fix it at `initial`. None:
        all.
    at_least : str
        Why values below the lower bound are impossible, as text for messages. An estimate there lies on a bound.
    at_most : str
        The simpler distribution at the upper bound, as text for messages, if that distribution lacks the parameter. An
        estimate there is one of the simpler distribution, and the parameter is not counted.

    Examples
    --------
    >>> from math import inf
    >>> from gatewise import Parameter
    >>> Parameter((3,), "slope").size  # one slope for each of three features
    3
    >>> Parameter((), "scale", transform="log", bounds=(0.0, inf), initial=1.0).transform
    'log'
    """

    shape: tuple[int, ...] = ()
    role: str = ""
    per: str = "branch"
    transform: str | tuple[str, ...] = "identity"
    bounds: tuple[float, float] = (-float("inf"), float("inf"))
    free: bool = True
    initial: float = 0.0
    only: tuple[int, ...] | None = None
    at_least: str = ""
    at_most: str = ""

    @property
    def size(self) -> int:
        """The number of entries."""
        return prod(self.shape)

    @property
    def transforms(self) -> tuple[str, ...]:
        """The transform of every entry."""
        return (self.transform,) * self.size if isinstance(self.transform, str) else self.transform


TRANSFORMS = ("identity", "log", "reciprocal")


def require_usable(part: object, parameters: Mapping[str, Parameter]) -> None:
    """Raise a ValueError for the first parameter of a part whose description no fit could use.

    Examples
    --------
    >>> require_usable("Mine()", {"width": Parameter((), "scale", transform="logg")})
    Traceback (most recent call last):
    ...
    ValueError: Mine(): parameter 'width' has the transform 'logg': did you mean 'log'? the choices are ...
    """
    for name, spec in parameters.items():
        where = f"{part}: parameter {name!r}"
        if not name or "." in name:
            raise ValueError(f"{where}: give a name without dots, which separate the parts of a path")
        words = [("per", spec.per, ("branch", "node")), ("role", spec.role, tuple(ROLES))]
        for what, given, allowed in [*words, *(("transform", one, TRANSFORMS) for one in _each(spec.transform))]:
            if given not in allowed:
                choices = ", ".join(filter(None, allowed))
                raise ValueError(
                    f"{where} has the {what} {given!r}: {did_you_mean(given, allowed)}the choices are {choices}"
                )
        _require_initial(where, spec)


def _require_initial(where: str, spec: Parameter) -> None:
    low, high = spec.bounds
    if not low <= spec.initial <= high:
        raise ValueError(f"{where} has the initial value {spec.initial:g} outside its bounds ({low:g}, {high:g})")
    each = _each(spec.transform)
    if not isinstance(spec.transform, str) and spec.shape != (len(each),):
        raise ValueError(f"{where} has {len(each)} transforms for the shape {spec.shape}: give one per entry, or one")
    if spec.initial <= 0 and {"log", "reciprocal"} & set(each):
        raise ValueError(
            f"{where} has the transform {spec.transform!r} and the initial value {spec.initial:g}: "
            "give a positive one, such as initial=1.0"
        )


def _each(transform: str | tuple[str, ...]) -> tuple[str, ...]:
    return (transform,) if isinstance(transform, str) else transform


def named_by_role(parameters: Mapping[str, Parameter], *roles: str) -> tuple[str, ...]:
    """Return the names of the parameters that have one of the roles.

    Examples
    --------
    >>> named_by_role({"coef": Parameter((2,), "slope"), "height": Parameter((), "output")}, "output")
    ('height',)
    """
    return tuple(name for name, spec in parameters.items() if spec.role in roles)


def fresh_name(wanted: str, taken: Iterable[str]) -> str:
    """Return the wanted name, with the first number from 2 on that makes it new where it is taken.

    Examples
    --------
    >>> fresh_name("temperature", ["weight"]), fresh_name("temperature", ["weight", "temperature"])
    ('temperature', 'temperature_2')
    """
    names = set(taken)
    numbered = (f"{wanted}_{i}" for i in count(2))
    return next(name for name in chain((wanted,), numbered) if name not in names)
