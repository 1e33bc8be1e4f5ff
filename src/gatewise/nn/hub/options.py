"""What an architecture may choose beside its weights: where its settings stand, and what its parts do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from gatewise.nn.units import FUNCTIONS, GATED

PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


class Setting(NamedTuple):
    """Where a setting stands.

    Attributes
    ----------
    field : str
        Of config.json; empty if it has none.
    attribute : str
        Of a block in memory: a path such as "gate.top_k".
    default : object
        Where config.json lacks the field.
    """

    field: str
    attribute: str
    default: Any = None

    @property
    def key(self) -> str:
        """How the setting is called here: by its field, or its attribute where it has no field."""
        return self.field or self.attribute

    def of(self, config: Mapping[str, Any]) -> Any:
        """Return the value in a config."""
        return config.get(self.key, self.default)


class Unread(NamedTuple):
    """A setting that no layer has, and why it must be zero, false or absent."""

    place: Setting
    why: str


class Groups(NamedTuple):
    """A choice limited to a few groups of experts; see `gatewise.nn.Choice`.

    Attributes
    ----------
    number, kept : Setting
        How many groups there are, and how many of them experts are chosen from.
    best : int
        How many of its experts a group ranks by.
    closed : float, optional
        The rank of experts in other groups; None: they are never chosen.
    method : Setting, optional
        The setting that must be "group_limited_greedy" for the limit to act.
    """

    number: Setting = Setting("n_group", "gate.num_group")
    kept: Setting = Setting("topk_group", "gate.topk_group")
    best: int = 2
    closed: float | None = None
    method: Setting | None = None


class Clamp(NamedTuple):
    """SwiGLU with bounds, `ClampedSwiGLU`: where its numbers stand. A limit of zero, or none, is no limit."""

    limit: Setting
    up: Setting | None = None  # None: the same limit
    alpha: Setting | None = None  # None: 1
    shift: float = 0.0
    bound: str = "before"

    def places(self) -> list[Setting]:
        """Return where the numbers stand."""
        return [place for place in (self.limit, self.up, self.alpha) if place is not None]


class Correction(NamedTuple):
    """What is added to the weights, or scores, when experts are chosen (2412.19437, equation 16).

    Attributes
    ----------
    name : str
        Of its tensor.
    rows : bool
        Whether that is ``(1, experts)``.
    by : str
        To what it is added: "weights" or "scores".
    switch : str
        The setting that says whether a block has it; empty if all have.
    """

    name: str = "gate.e_score_correction_bias"
    rows: bool = False
    by: str = "weights"
    switch: str = ""


class SharedExpert(NamedTuple):
    """An expert that serves every token.

    Attributes
    ----------
    prefix : str
        Of its weights.
    names : tuple of str
        Its linear layers: that inside the activation, the factor, the last; two where the first two are one, or where
        there is no factor.
    gate : str
        Prefix of the weight of the shared expert; empty if it serves with weight one.
    activation : Setting or Clamp
    width : str
        The field of config.json with its hidden units, or with a number by which those of an expert are multiplied.
    times : bool
        Which of both.
    optional : bool
        Whether blocks may lack it.
    average : Setting, optional
        The setting that is "average" where half the sum of routed and shared experts is the output.
    """

    prefix: str
    names: tuple[str, ...] = PROJECTIONS
    gate: str = ""
    activation: Setting | Clamp = Setting("hidden_act", "act_fn", "silu")
    width: str = ""
    times: bool = False
    optional: bool = False
    average: Setting | None = None


ACTIVATION = {  # name in transformers -> name here
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu-tanh",
    "gelu_fast": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu_accurate": "gelu-tanh",
    "quick_gelu": "quick-gelu",
    "relu": "relu",
    "relu2": "relu-squared",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "linear": "identity",
}
SCORES = {"sigmoid": torch.sigmoid, "sqrtsoftplus": lambda z: torch.nn.functional.softplus(z).sqrt()}


def function_name(fn: Any) -> str:
    """Return what transformers calls an elementwise function: found by its values."""
    probe = torch.linspace(-4, 4, 33, device="cpu", dtype=torch.float64)
    known = {name: FUNCTIONS[own].value for name, own in ACTIVATION.items()} | SCORES
    value = fn(probe)
    same = [name for name, one in known.items() if torch.allclose(value, one(probe), rtol=1e-6, atol=1e-7)]
    if not same:
        raise ValueError(f"{type(fn).__name__} is none of {', '.join(known)}: a layer has no such activation")
    return same[0]


def inside(unit: str) -> str:
    """Return what transformers calls the activation inside a unit; the unit's own name where it is not gated."""
    own = GATED.get(unit, unit)
    return next((name for name, one in ACTIVATION.items() if one == own), own)


def gated(activation: str) -> str:
    """Return the gated unit with an activation of transformers inside."""
    own = plain(activation)
    return next(name for name, one in GATED.items() if one == own)


def plain(activation: str) -> str:
    """Return the name here of an activation of transformers."""
    if activation not in ACTIVATION:
        raise ValueError(f"hidden_act={activation!r}: a layer has {', '.join(ACTIVATION)}")
    return ACTIVATION[activation]
