"""How the weights of experts are laid out, in memory and in files: read into what a layer has, and written back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.nn.hub.options import PROJECTIONS, Setting

NUMBERED = ("w1", "w3", "w2")


class Taken(dict[str, Tensor]):
    """Weights by name, taken out one by one: what is left over belongs to nothing."""

    def __missing__(self, name: str) -> Tensor:
        raise KeyError(f"the block lacks {name}: it has {', '.join(sorted(self)[:6])}; check the style and the prefix")

    def take(self, name: str) -> Tensor:
        """Return a weight, and take it out."""
        value = self[name]
        del self[name]
        return value


class Experts(NamedTuple):
    """Weights of one expert or of all, as a layer has them: ``(E, d, H)`` or ``(E, d, 2 H)``, and ``(E, H, d)``."""

    w_in: Tensor
    w_out: Tensor
    b_in: Tensor | None = None
    b_out: Tensor | None = None


class Joined(NamedTuple):
    """Experts that are chosen always, behind the others in the gate and stacked by themselves under these names."""

    names: tuple[str, str, str]
    number: Setting

    def read(self, state: Taken) -> Experts:
        """Take the weights out of a state."""
        first, factor, last = (state.take(name) for name in self.names)
        return Experts(torch.cat([first, factor], 1).mT, last.mT)

    def written(self, experts: Experts) -> dict[str, Tensor]:
        """Return what `read` takes."""
        values = (*experts.w_in.mT.chunk(2, 1), experts.w_out.mT)
        return {name: _own(value) for name, value in zip(self.names, values, strict=True)}


class Stacked(NamedTuple):
    """The weights of all experts in two tensors, ``(E, outputs, inputs)``, with or without biases.

    Attributes
    ----------
    first, last : str
        Their names; biases have "_bias" behind.
    transposed : bool
        Whether they are ``(E, inputs, outputs)``.
    interleaved : bool
        Whether outputs of the first alternate between the activation's and the factor's.
    """

    first: str = "experts.gate_up_proj"
    last: str = "experts.down_proj"
    transposed: bool = False
    interleaved: bool = False

    def present(self, state: Mapping[str, Tensor], dim: int) -> bool:
        """Return whether a state has such weights, for `dim` features."""
        return self.first in state and state[self.first].shape[1 if self.transposed else 2] == dim

    def read(self, state: Taken, gated: bool) -> Experts:
        """Take the weights out of a state."""
        w_in, w_out = (
            value if self.transposed else value.mT for value in (state.take(self.first), state.take(self.last))
        )
        b_in, b_out = state.pop(f"{self.first}_bias", None), state.pop(f"{self.last}_bias", None)
        if self.interleaved:
            w_in, b_in = _sorted(w_in), None if b_in is None else _sorted(b_in)
        return Experts(w_in[: len(w_out)], w_out, b_in, b_out)  # LongCat has more of the first, without a use

    def written(self, experts: Experts) -> dict[str, Tensor]:
        """Return what `read` takes."""
        w_in, w_out, b_in, b_out = experts
        if self.interleaved:
            w_in, b_in = _alternating(w_in), None if b_in is None else _alternating(b_in)
        out = {self.first: w_in if self.transposed else w_in.mT, self.last: w_out if self.transposed else w_out.mT}
        if b_in is not None and b_out is not None:
            out |= {f"{self.first}_bias": b_in, f"{self.last}_bias": b_out}
        return {name: _own(value) for name, value in out.items()}


def _sorted(value: Tensor) -> Tensor:
    """Return columns that alternate between two parts, part after part."""
    return torch.cat([value[..., ::2], value[..., 1::2]], -1)


def _alternating(value: Tensor) -> Tensor:
    """Return the inverse of `_sorted`."""
    return torch.stack(value.chunk(2, -1), -1).flatten(-2)


class Flat(NamedTuple):
    """The weights of all experts under each other in three tensors, ``(E H, d)``: DBRX."""

    names: tuple[str, str, str] = ("experts.mlp.w1", "experts.mlp.v1", "experts.mlp.w2")
    gate: str = "router.layer.weight"

    def present(self, state: Mapping[str, Tensor], dim: int) -> bool:
        """Return whether a state has such weights, for `dim` features."""
        return self.names[0] in state and state[self.names[0]].shape[1] == dim

    def read(self, state: Taken, gated: bool) -> Experts:
        """Take the weights out of a state."""
        n_experts = len(state[self.gate])
        first, factor, last = (state.take(name).unflatten(0, (n_experts, -1)) for name in self.names)
        return Experts(torch.cat([first, factor], 1).mT, last)

    def written(self, experts: Experts) -> dict[str, Tensor]:
        """Return what `read` takes."""
        values = (*experts.w_in.mT.chunk(2, 1), experts.w_out)
        return {name: _own(value.flatten(0, 1)) for name, value in zip(self.names, values, strict=True)}


class Each(NamedTuple):
    """The weights of every expert by themselves: ``experts.E.NAME.weight``, each ``(outputs, inputs)``."""

    names: tuple[str, ...] = PROJECTIONS
    prefix: str = "experts.{}."

    def present(self, state: Mapping[str, Tensor], dim: int) -> bool:
        """Return whether a state has such weights, for `dim` features."""
        first = f"{self.prefix.format(0)}{self.names[0]}.weight"
        return first in state and state[first].shape[1] == dim

    def read(self, state: Taken, gated: bool) -> Experts:
        """Take the weights out of a state."""
        found: list[Experts] = []
        while f"{self.prefix.format(len(found))}{self.names[0]}.weight" in state:
            found.append(read_one(state, self.prefix.format(len(found)), self.names))
        return joined(found)

    def written(self, experts: Experts) -> dict[str, Tensor]:
        """Return what `read` takes."""
        out: dict[str, Tensor] = {}
        for e in range(len(experts.w_in)):
            one = Experts._make(None if part is None else part[e : e + 1] for part in experts)
            out |= written_one(one, self.prefix.format(e), self.names)
        return out


Layout = Stacked | Flat | Each


def joined(parts: list[Experts]) -> Experts:
    """Return the experts of several batches as one."""
    return Experts._make(
        None if values[0] is None else torch.cat([value for value in values if value is not None])
        for values in zip(*parts, strict=True)
    )


def read_one(state: Taken, prefix: str, names: tuple[str, ...]) -> Experts:
    """Take the linear layers of one network out of a state."""
    weights = [state.take(f"{prefix}{name}.weight") for name in names]
    experts = Experts(torch.cat(weights[:-1]).mT[None], weights[-1].mT[None])
    if f"{prefix}{names[0]}.bias" not in state:
        return experts
    biases = [state.take(f"{prefix}{name}.bias") for name in names]
    return experts._replace(b_in=torch.cat(biases[:-1])[None], b_out=biases[-1][None])


def written_one(one: Experts, prefix: str, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return what `read_one` takes."""
    parts = len(names) - 1
    weights = (*one.w_in[0].mT.chunk(parts), one.w_out[0].mT)
    out = {f"{prefix}{name}.weight": _own(value) for name, value in zip(names, weights, strict=True)}
    if one.b_in is not None and one.b_out is not None:
        biases = (*one.b_in[0].chunk(parts), one.b_out[0])
        out |= {f"{prefix}{name}.bias": _own(value) for name, value in zip(names, biases, strict=True)}
    return out


def _own(value: Tensor) -> Tensor:
    """Return a contiguous copy."""
    return value.detach().contiguous().clone()
