"""Leaves of different kinds: one expert, or one family, for each branch of the innermost level.

Parameters of the same name and kind are one tensor, in which a leaf whose part lacks it has no entry of its own: it is
held (`Parameter.only`). Every part is evaluated at all leaves and each leaf keeps the values of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeVar, cast

import torch
from torch import Tensor

from gatewise.core.experts import Expert, NoExpert
from gatewise.core.experts.base import Draw
from gatewise.core.families.base import Family, LeafDerivatives
from gatewise.core.parameters import Parameter, fresh_name
from gatewise.core.predictors import AffineTransform, Derivatives, Params, with_constant
from gatewise.core.regression import regress

P = TypeVar("P", Expert, Family)
Names = tuple[dict[str, str], ...]  # for every part, its own names to those of all


def _joined(each: Sequence[dict[str, Parameter]]) -> tuple[dict[str, Parameter], Names]:
    """Return the parameters of all parts, and for every part its names among them."""
    titles: dict[tuple[str, Parameter], str] = {}
    found: dict[str, Parameter] = {}
    names: list[dict[str, str]] = []
    for leaf, own in enumerate(each):
        for key in own.items():
            title = titles.setdefault(key, fresh_name(key[0], found))
            leaves = found[title].only if title in found else ()
            found[title] = key[1]._replace(only=(*(leaves or ()), leaf))
        names.append({name: titles[name, spec] for name, spec in own.items()})
    every = tuple(range(len(each)))
    return {name: spec._replace(only=None) if spec.only == every else spec for name, spec in found.items()}, tuple(
        names
    )


def _own(names: dict[str, str], params: Params) -> dict[str, Tensor]:
    return {name: params[title] for name, title in names.items()}


def _of(leaf: int, count: int, size: int) -> Tensor:
    """Return which of `size` leaves (of several nodes, side by side) are of the kind of one branch."""
    return torch.arange(size) % count == leaf


def _chosen(values: Sequence[Tensor], axis: int) -> Tensor:
    """Return what every leaf has of its own part: the leaves are on an axis counted from the end."""
    out = values[0]
    for leaf, value in enumerate(values[1:], 1):
        out, value = torch.broadcast_tensors(out, value)
        mask = _of(leaf, len(values), out.shape[axis])
        out = torch.where(mask.reshape((-1,) + (1,) * (-axis - 1)), value, out)
    return out


def _columns(names: dict[str, str], own: dict[str, Parameter], joined: dict[str, Parameter]) -> Tensor:
    """Return the place of every column of a part among those of all parameters."""
    at, starts = 0, {}
    for title, spec in joined.items():
        starts[title] = at
        at += spec.size
    return torch.cat(
        [torch.arange(spec.size) + starts[names[name]] for name, spec in own.items()]
        or [torch.zeros(0, dtype=torch.long)]
    )


def _moved(
    parts: tuple[P, ...], names: Names, params: Params, step: Callable[[P, Params], tuple[P, dict[str, Tensor]] | None],
    axis: Callable[[str], int],
) -> tuple[tuple[P, ...], dict[str, Tensor]] | None:  # fmt: skip
    """Move every part to other units; a tensor takes the entries of each leaf from its own part."""
    moved = [step(part, _own(own, params)) for part, own in zip(parts, names, strict=True)]
    if any(one is None for one in moved):
        return None
    done = [one for one in moved if one is not None]
    out = dict(params)
    for leaf, ((_, values), own) in enumerate(zip(done, names, strict=True)):
        for name, title in own.items():
            place = axis(title)
            mask = _of(leaf, len(parts), out[title].shape[place]).reshape((-1,) + (1,) * (-place - 1))
            out[title] = torch.where(mask, values[name], out[title])
    return tuple(part for part, _ in done), out


def _listed(parts: Sequence[object]) -> str:
    """Return the parts in words, each kind once where neighbours are equal."""
    return ", ".join(str(part) for part, _ in groupby(parts))


@dataclass(frozen=True)
class ExpertsByLeaf(Expert):
    """One expert for each branch of the innermost level."""

    parts: tuple[Expert, ...]
    by_leaf = True

    def __str__(self) -> str:
        return _listed([part for part in self.parts if not isinstance(part, NoExpert)])

    @property
    def linear(self) -> bool:  # type: ignore[override]
        return all(part.linear for part in self.parts)

    def kinds(self) -> tuple[Expert, ...]:
        return self.parts

    def _names(self, d: int) -> tuple[dict[str, Parameter], Names]:
        return _joined([part.parameters(d) for part in self.parts])

    def parameters(self, d: int) -> dict[str, Parameter]:
        return self._names(d)[0]

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        _, names = self._names(x.shape[-2])
        values = [part(_own(own, params), x) for part, own in zip(self.parts, names, strict=True)]
        return _chosen(values, -3)

    def value_and_derivatives(self, params: Params, x: Tensor) -> Derivatives:
        d = x.shape[-2]
        joined, names = self._names(d)
        width = sum(spec.size for spec in joined.values())
        locals_ = [
            part.value_and_derivatives(_own(own, params), x) for part, own in zip(self.parts, names, strict=True)
        ]
        places = [_columns(own, part.parameters(d), joined) for part, own in zip(self.parts, names, strict=True)]
        value = _chosen([one.value for one in locals_], -3)
        jacobians = []
        for one, place in zip(locals_, places, strict=True):
            full = value.new_zeros((*value.shape[:-1], width, value.shape[-1]))
            full[..., place, :] = one.jacobian.expand((*value.shape[:-1], len(place), value.shape[-1]))
            jacobians.append(full)

        def curvature(weights: Tensor) -> Tensor:
            total = weights.new_zeros((*weights.shape[:-1], width, width))
            for leaf, (one, place) in enumerate(zip(locals_, places, strict=True)):
                if one.curvature is None:
                    continue
                mask = _of(leaf, len(self.parts), weights.shape[-3])[:, None, None]
                block = one.curvature(torch.where(mask, weights, 0.0))
                total[..., place[:, None], place] += torch.where(mask[..., None], block, 0.0)
            return total

        bent = any(one.curvature is not None for one in locals_)
        return Derivatives(value, _chosen(jacobians, -4), curvature if bent else None)

    def reference(self) -> tuple[float, ...] | None:
        return next((origin for part in self.parts if (origin := part.reference()) is not None), None)

    def kinked(self) -> bool:
        return any(part.kinked() for part in self.parts)

    def plain(self) -> ExpertsByLeaf:
        return replace(self, parts=tuple(cast(Expert, part.plain()) for part in self.parts))

    def standardised(self, inputs: AffineTransform) -> Expert:
        return replace(self, parts=tuple(part.standardised(inputs) for part in self.parts))

    def entries(self, name: str, inputs: Sequence[str]) -> tuple[str, ...]:
        pairs = zip(self.parts, self._names(len(inputs))[1], strict=True)
        found = (part.entries(key, inputs) for part, own in pairs for key, title in own.items() if title == name)
        return next(found, ())

    def held(self) -> tuple[str, ...]:
        pairs = zip(self.parts, self._names(1)[1], strict=True)
        return tuple(dict.fromkeys(own[name] for part, own in pairs for name in part.held()))

    def tangents(self, params: Params) -> dict[str, Tensor]:
        joined, names = self._names(1)
        moves = [part.tangents(_own(own, params)) for part, own in zip(self.parts, names, strict=True)]
        counts = [len(next(iter(move.values()))) if move else 0 for move in moves]
        out: dict[str, Tensor] = {}
        for leaf, (move, own) in enumerate(zip(moves, names, strict=True)):
            for name, value in move.items():
                title, axis = own[name], -2 - len(joined[own[name]].shape)
                mask = _of(leaf, len(self.parts), value.shape[axis]).reshape((-1,) + (1,) * (-axis - 1))
                whole = out.setdefault(title, value.new_zeros((sum(counts), *value.shape[1:])))
                whole[sum(counts[:leaf]) : sum(counts[: leaf + 1])] = torch.where(mask, value, 0.0)
        return out

    def canonical(self, params: Params) -> dict[str, Tensor]:
        found = self._in_units(params, lambda part, own: (part, part.canonical(own)))
        return dict(params) if found is None else found[1]

    def design(self, x: Tensor) -> Tensor:
        """Return those of a plane: the rows of the leaves are sought along planes."""
        return with_constant(x)[0]

    def start(self, x: Tensor, y: Tensor, weight: Tensor, coefficients: Tensor, draw: Draw) -> dict[str, Tensor]:
        joined, names = self._names(len(x))
        out = {
            name: coefficients.new_full((*coefficients.shape[:2], *spec.shape), spec.initial)
            for name, spec in joined.items()
        }
        for leaf, (part, own) in enumerate(zip(self.parts, names, strict=True)):
            begun = part.start(x, y, weight, regress(part.design(x), y, weight), draw)
            for name, title in own.items():
                mask = _of(leaf, len(self.parts), len(weight)).reshape((-1,) + (1,) * (out[title].ndim - 1))
                out[title] = torch.where(mask, begun[name], out[title])
        return out

    def smoothed(self, radius: float) -> ExpertsByLeaf:
        return replace(self, parts=tuple(cast(Expert, part.smoothed(radius)) for part in self.parts))

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]] | None:
        return self._in_units(
            params, lambda part, own: cast("tuple[Expert, dict[str, Tensor]]", part.rescale(own, frame))
        )

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Expert, dict[str, Tensor]] | None:
        return self._in_units(params, lambda part, own: part.rescale_response(own, frame))

    def _in_units(
        self, params: Params, step: Callable[[Expert, Params], tuple[Expert, dict[str, Tensor]] | None]
    ) -> tuple[Expert, dict[str, Tensor]] | None:
        joined, names = self._names(1)
        found = _moved(self.parts, names, params, step, lambda title: -2 - len(joined[title].shape))
        return None if found is None else (replace(self, parts=found[0]), found[1])


@dataclass(frozen=True)
class FamiliesByLeaf(Family):
    """One family for each branch of the innermost level; they share their number of outputs."""

    parts: tuple[Family, ...]
    by_leaf = True

    def __str__(self) -> str:
        return _listed(self.parts)

    @property
    def mean_range(self) -> tuple[float, float]:  # type: ignore[override]
        least, most = zip(*(part.mean_range for part in self.parts if not part.title), strict=True)
        return min(least), max(most)

    @property
    def location_scale(self) -> bool:  # type: ignore[override]
        return all(part.location_scale for part in self.parts)

    @property
    def discrete(self) -> bool:  # type: ignore[override]
        return all(part.discrete for part in self.parts)

    def kinds(self) -> tuple[Family, ...]:
        return self.parts

    @property
    def given(self) -> str:  # type: ignore[override]
        return next((part.given for part in self.parts if part.given), "")

    def outputs(self, columns: int) -> int:
        return self.parts[0].outputs(columns)

    def columns(self, outputs: int) -> int:
        return self.parts[0].columns(outputs)

    def observed(self, y: Tensor) -> Tensor:
        return self.parts[0].observed(y)

    def events(self, y: Tensor) -> Tensor | None:
        return self.parts[0].events(y)

    def responses(self, y: Tensor) -> Tensor:
        return self.parts[0].responses(y)

    def _names(self, q: int) -> tuple[dict[str, Parameter], Names]:
        return _joined([part.parameters(q) for part in self.parts])

    def parameters(self, q: int) -> dict[str, Parameter]:
        return self._names(q)[0]

    def _each(self, params: Params, q: int, of: Callable[[Family, dict[str, Tensor]], Tensor], axis: int) -> Tensor:
        names = self._names(q)[1]
        return _chosen([of(part, _own(own, params)) for part, own in zip(self.parts, names, strict=True)], axis)

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return self._each(params, eta.shape[-2], lambda part, own: part.log_prob(own, y, eta), -2)

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return self._each(params, eta.shape[-2], lambda part, own: part.mean(own, eta), -3)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return self._each(params, eta.shape[-2], lambda part, own: part.variance(own, eta), -3)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return self._each(params, eta.shape[-2], lambda part, own: part.cdf(own, y, eta), -3)

    def sample_like(self, params: Params, y: Tensor, eta: Tensor, generator: torch.Generator) -> Tensor:
        return self._each(params, eta.shape[-2], lambda part, own: part.sample_like(own, y, eta, generator), -3)

    def relative_spread(self, params: Params) -> Tensor | None:
        names = self._names(1)[1]
        each = [part.relative_spread(_own(own, params)) for part, own in zip(self.parts, names, strict=True)]
        known = [one for one in each if one is not None]
        if not known:
            return None
        return _chosen([torch.full_like(known[0], torch.inf) if one is None else one for one in each], -2)

    def exact_ends(self) -> dict[str, bool]:
        pairs = zip(self.parts, self._names(1)[1], strict=True)
        return {own[name]: end for part, own in pairs for name, end in part.exact_ends().items()}

    def cdf_ends(self, params: Params, y: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
        q = eta.shape[-2]
        below = self._each(params, q, lambda part, own: part.cdf_ends(own, y, eta)[0], -3)
        return below, self._each(params, q, lambda part, own: part.cdf_ends(own, y, eta)[1], -3)

    def observed_variance(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return self._each(params, eta.shape[-2], lambda part, own: part.observed_variance(own, y, eta), -3)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        return self._each(params, eta.shape[-2], lambda part, own: part.sample(own, eta, generator), -3)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        q = eta.shape[-2]
        joined, names = self._names(q)
        width = q + sum(spec.size for spec in joined.values())
        values, firsts, seconds = [], [], []
        for part, own in zip(self.parts, names, strict=True):
            one = part.value_and_derivatives(_own(own, params), y, eta, order)
            place = torch.cat([torch.arange(q), q + _columns(own, part.parameters(q), joined)])
            n = one.value.shape[-1]
            first = one.value.new_zeros((*one.value.shape[:-1], width, n))
            first[..., place, :] = one.first
            values.append(one.value)
            firsts.append(first)
            if one.second is not None:
                second = one.value.new_zeros((*one.value.shape[:-1], width, width, n))
                second[..., place[:, None], place, :] = one.second
                seconds.append(second)
        whole = _chosen(seconds, -4) if len(seconds) == len(self.parts) else None
        return LeafDerivatives(_chosen(values, -2), _chosen(firsts, -3), whole)

    def validate(self, y: Tensor) -> str | None:
        return next(filter(None, (part.validate(y) for part in self.parts)), None)

    def with_scale_floor(self, floor: Tensor) -> tuple[Family, dict[str, tuple[Tensor, float]]]:
        names = self._names(len(floor))[1]
        found = [part.with_scale_floor(floor) for part in self.parts]
        limits = {
            own[name]: limit
            for (_, own_limits), own in zip(found, names, strict=True)
            for name, limit in own_limits.items()
        }
        return replace(self, parts=tuple(part for part, _ in found)), limits

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        names = self._names(spread.shape[-1])[1]
        out: dict[str, Tensor] = {}
        for part, own in zip(self.parts, names, strict=True):
            out |= {own[name]: value for name, value in part.start(spread).items()}
        return out

    def working_response(self, y: Tensor) -> Tensor:
        return self.parts[0].working_response(y)

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Family, dict[str, Tensor]]:
        joined, names = self._names(len(frame.scale))
        found = _moved(
            self.parts,
            names,
            params,
            lambda part, own: part.rescale_response(own, frame),
            lambda title: -1 - len(joined[title].shape),
        )
        assert found is not None
        return replace(self, parts=found[0]), found[1]
