"""What stands between the two products of a feed-forward network: the dict UNITS of names, and clamped ones by options.

A name is all that a layer, a file and an operator keep of it: ``"gelu"``, ``"swiglu"``, ``"swiglu(limit=7.0)"``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from gatewise.core.activations import ACTIVATIONS, ActivationFunction
from gatewise.core.names import look_up, require_one_of
from gatewise.core.transforms import batched_gradient

QUICK = 1.702  # of the approximation of gelu by a sigmoid (1606.08415, section 2)
BOUNDS = ("before", "after", "soft")
PullBack = Callable[[Tensor], Tensor]


class HiddenUnits(Protocol):
    """From the values before the activation ``(n, H)``, or ``(n, 2 H)`` when gated, to the hidden units ``(n, H)``."""

    @property
    def gated(self) -> bool:
        """Whether half of the inputs gate the others."""

    def apply(self, pre: Tensor) -> Tensor:
        """Return the hidden units of `pre`."""

    def differentiated(self, pre: Tensor) -> tuple[Tensor, PullBack]:
        """Return the hidden units, and a function from the gradient in them to that in `pre`."""


class Unit(NamedTuple):
    """An elementwise activation, and whether half of its inputs gate the others: ``fn(a) b``."""

    fn: ActivationFunction
    gated: bool = False

    def apply(self, pre: Tensor) -> Tensor:
        """Return the hidden units ``(n, H)`` of ``pre (n, H)``, or ``(n, 2 H)`` when gated."""
        if not self.gated:
            return self.fn.value(pre)
        first, second = pre.chunk(2, -1)
        return self.fn.value(first) * second

    def differentiated(self, pre: Tensor) -> tuple[Tensor, PullBack]:
        """Return the hidden units, and a function from the gradient in them to that in `pre`."""
        if not self.gated:
            return self.fn.value(pre), lambda gradient: self.fn.pull_back(gradient, pre)
        first, second = pre.chunk(2, -1)
        value = self.fn.value(first)

        def through(gradient: Tensor) -> Tensor:
            if torch.is_grad_enabled() or batched_gradient(gradient):  # such gradients are not written in place
                return torch.cat([self.fn.pull_back(gradient * second, first), gradient * value], -1)
            both = torch.empty_like(pre)
            d_first, d_second = both.chunk(2, -1)
            torch.mul(gradient, value, out=d_second)
            d_first.copy_(self.fn.pull_back(gradient * second, first))
            return both

        return value * second, through


class ClampedSwiGLU(NamedTuple):
    """``f(a) (g(b) + shift)``: SwiGLU with bounded factors, as gpt-oss and DeepSeek-V4 have it.

    Attributes
    ----------
    limit : float
        Of the factor f from above.
    up : float
        Of the factor g, from both sides.
    alpha : float
        Slope of the sigmoid in ``a sigmoid(alpha a)``.
    shift : float
        Added to g.
    bound : {"before", "after", "soft"}
        "before": f is ``c sigmoid(alpha c)`` with ``c = min(a, limit)``; "after": ``min(a sigmoid(alpha a), limit)``;
        "soft": ``limit tanh(a / limit) sigmoid(alpha a)``, and g is ``up tanh(b / up)``.

    Examples
    --------
    >>> ClampedSwiGLU(7.0, 7.0, alpha=1.702, shift=1.0).name
    'swiglu(limit=7.0, up=7.0, alpha=1.702, shift=1.0)'
    >>> unit(ClampedSwiGLU(7.0, 7.0).name)
    ClampedSwiGLU(limit=7.0, up=7.0, alpha=1.0, shift=0.0, bound='before')
    """

    limit: float = inf
    up: float = inf
    alpha: float = 1.0
    shift: float = 0.0
    bound: str = "before"

    @property
    def gated(self) -> bool:
        """Whether half of the inputs gate the others: they do."""
        return True

    @property
    def name(self) -> str:
        """The name by which `unit` finds it: options that differ from the defaults, "swiglu" if none does."""
        changed = [f"{k}={v}" for k, v in self._asdict().items() if v != self._field_defaults[k]]
        return f"swiglu({', '.join(changed)})" if changed else "swiglu"

    def apply(self, pre: Tensor) -> Tensor:
        """Return the hidden units ``(n, H)`` of ``pre (n, 2 H)``."""
        (first, _), (second, _) = self._factors(pre)
        return first * second

    def differentiated(self, pre: Tensor) -> tuple[Tensor, PullBack]:
        """Return the hidden units, and a function from the gradient in them to that in `pre`."""
        (first, d_first), (second, d_second) = self._factors(pre)
        return first * second, lambda gradient: torch.cat(
            [gradient * second * d_first, gradient * first * d_second], -1
        )

    def _factors(self, pre: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return both factors with their derivatives."""
        a, b = pre.chunk(2, -1)
        if self.bound == "soft":
            (first, d_first), (second, d_second) = _soft(a, self.limit), _soft(b, self.up)
            s = torch.sigmoid(self.alpha * a)
            return (first * s, d_first * s + first * self.alpha * s * (1 - s)), (second + self.shift, d_second)
        c = a.clamp(max=self.limit) if self.bound == "before" else a
        s = torch.sigmoid(self.alpha * c)
        first, d_first = c * s, s * (1 + self.alpha * c * (1 - s))
        inside = (a if self.bound == "before" else first) <= self.limit
        return (
            (first.clamp(max=self.limit), d_first * inside),
            (b.clamp(-self.up, self.up) + self.shift, (b.abs() <= self.up).to(b.dtype)),
        )


def _soft(x: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Return ``limit tanh(x / limit)`` and its derivative."""
    if limit == inf:
        return x, torch.ones_like(x)
    t = torch.tanh(x / limit)
    return limit * t, 1 - t * t


def _quick_first(z: Tensor) -> Tensor:
    s = torch.sigmoid(QUICK * z)
    return s * (1 + QUICK * z * (1 - s))


def _quick_second(z: Tensor) -> Tensor:
    s = torch.sigmoid(QUICK * z)
    return QUICK * s * (1 - s) * (2 + QUICK * z * (1 - 2 * s))


FUNCTIONS = ACTIVATIONS | {  # the core's, and two that only networks have
    "quick-gelu": ActivationFunction(lambda z: z * torch.sigmoid(QUICK * z), _quick_first, _quick_second),
    "relu-squared": ActivationFunction(  # 2109.08668
        lambda z: torch.relu(z).square(), lambda z: 2 * torch.relu(z), lambda z: 2.0 * (z > 0), power=2
    ),
}
GATED = {  # 2002.05202: name of the gated unit -> name of the activation inside the product
    "swiglu": "silu",
    "geglu": "gelu",
    "geglu-tanh": "gelu-tanh",
    "quick-geglu": "quick-gelu",
    "reglu": "relu",
    "squared-reglu": "relu-squared",
    "glu": "sigmoid",
    "tanh-glu": "tanh",
    "bilinear": "identity",
}
UNITS: dict[str, Unit] = {name: Unit(fn) for name, fn in FUNCTIONS.items()}
UNITS |= {name: Unit(FUNCTIONS[inside], gated=True) for name, inside in GATED.items()}
OPTIONS = re.compile(r"swiglu\((.+)\)")
_clamped_units: dict[str, ClampedSwiGLU] = {}  # those asked for so far, by name


def unit(name: str) -> HiddenUnits:
    """Return the activation called `name`, such as "gelu", "swiglu" or "swiglu(limit=7.0, up=7.0)".

    Raises
    ------
    TypeError
        If `name` is no name.
    ValueError
        If there is none, or an option in brackets is unknown or no number.

    Examples
    --------
    >>> unit("geglu").gated, unit("relu-squared").apply(torch.tensor([-1.0, 3.0]))
    (True, tensor([0., 9.]))
    """
    if name in UNITS or name in _clamped_units:  # compiled graphs come no further: the layer asked when it was built
        return UNITS[name] if name in UNITS else _clamped_units[name]
    if not isinstance(name, str):
        raise TypeError(f"activation={name!r} is a {type(name).__name__}: give a name, such as 'gelu' or 'swiglu'")
    found = OPTIONS.fullmatch(name)
    if found is None:
        return look_up("activation", name, UNITS)
    _clamped_units[name] = _clamped(name, found[1])
    return _clamped_units[name]


def _clamped(name: str, options: str) -> ClampedSwiGLU:
    """Return SwiGLU with the bounds that stand in brackets."""
    given = dict(part.strip().partition("=")[::2] for part in options.split(","))
    if strange := given.keys() - set(ClampedSwiGLU._fields):
        raise ValueError(f"activation {name!r} has {', '.join(sorted(strange))}: {', '.join(ClampedSwiGLU._fields)}")
    bound = given.pop("bound", "before")
    require_one_of("bound", bound, BOUNDS)
    try:
        numbers = {key: float(value) for key, value in given.items()}
    except ValueError as cause:
        raise ValueError(f"activation {name!r}: {cause}; write numbers, as in 'swiglu(limit=7.0)'") from cause
    made = ClampedSwiGLU(**numbers, bound=bound)
    if not (made.limit > 0 and made.up > 0):
        raise ValueError(f"activation {name!r}: limits are positive, or left out")
    return made
