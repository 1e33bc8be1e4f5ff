"""Invariances of a gate besides translation, found by probing its score: scale, and the mirror image of two atoms."""

from __future__ import annotations

from functools import lru_cache
from math import log2
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.gates import Gate
from gatewise.core.predictors import Params
from gatewise.core.scores import Score

CLOSE = 1e-10


class GaugeProbe(NamedTuple):
    """What a score does when its locations are multiplied.

    Attributes
    ----------
    degree : float or None
        q with ``score(c w) = c^q score(w)`` for all c > 0 at bias zero, None if there is none.
    odd : bool
        Whether ``score(-w) + score(w)`` is a constant.
    even : bool
        Whether ``score(-w) = score(w)``.
    """

    degree: float | None
    odd: bool
    even: bool


@lru_cache(maxsize=64)
def _probe(score: Score, d: int) -> GaugeProbe:
    generator = torch.Generator().manual_seed(1)
    specs = score.parameters(d)
    places = locations(score, d)
    drawn = {name: torch.randn((2, *specs[name].shape), generator=generator, dtype=torch.float64) for name in places}
    still = {
        name: torch.full((2,) * (spec.per == "branch"), spec.initial, dtype=torch.float64)
        for name, spec in specs.items()
        if name not in places
    }
    x = torch.randn(d, 40, generator=generator, dtype=torch.float64)

    def value(factor: float) -> Tensor:
        return score({**{name: factor * v for name, v in drawn.items()}, **still}, x)

    one, minus, twice, thrice = value(1.0), value(-1.0), value(2.0), value(3.0)
    largest = one.abs().argmax()
    ratio = float(twice.flatten()[largest] / one.flatten()[largest])
    degree = round(log2(ratio), 6) if ratio > 0 else None
    if degree is not None and not (_equal(twice, 2**degree * one) and _equal(thrice, 3**degree * one)):
        degree = None
    both = one + minus
    return GaugeProbe(degree, _equal(both, both.mean().expand_as(both)), _equal(one, minus))


def _equal(a: Tensor, b: Tensor) -> bool:
    return bool(((a - b).abs() <= CLOSE * (1 + b.abs())).all())


def locations(score: Score, d: int = 1) -> tuple[str, ...]:
    """Return the parameters of each branch that place its atom: all but the bias."""
    return tuple(name for name, spec in score.parameters(d).items() if spec.per == "branch" and name != score.bias())


def lengths(gate: Gate, d: int) -> tuple[str, ...]:
    """Return the locations whose length does not matter to a gate, so that `conventional` sets it to one.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> lengths(GATES["cosine"], 2), lengths(GATES["softmax"], 2)
    (('weight',), ())
    """
    names = locations(gate.score, d)
    return names if names and _probe(gate.score, d).degree == 0 else ()


def _locations(gate: Gate, params: Params) -> tuple[dict[str, Tensor], int]:
    """Return the location parameters and the number of features."""
    names = {name: params[name] for name in locations(gate.score)}
    sizes = {name: value.shape[params[gate.score.required_bias()].ndim :] for name, value in names.items()}
    largest = max((value.shape[-1] for value in names.values()), default=1)
    for d in range(1, largest + 1):
        specs = gate.score.parameters(d)
        if all(tuple(specs[name].shape) == tuple(shape) for name, shape in sizes.items()):
            return names, d
    raise ValueError(f"the gate has parameters of shapes {sizes}: no number of features has those")


def _probed(gate: Gate, params: Params) -> tuple[dict[str, Tensor], GaugeProbe | None]:
    names, d = _locations(gate, params)
    return names, _probe(gate.score, d) if names else None


def conventional(gate: Gate, params: Params) -> dict[str, Tensor]:
    """Return the same gate with its scale ridges fixed: temperature one, or locations of unit length.

    A score with ``score(c w) = c^q score(w)`` behind a temperature moves with ``(c w, c^q bias, c^q temperature)``;
    one with q = 0 (cosine) does not depend on the length of w.

    Raises
    ------
    ValueError
        For a score with ``score(-w) = score(w)``: every atom has two signs.
    """
    names, probe = _probed(gate, params)
    out = dict(params)
    if probe is None:
        return out
    if probe.even:
        raise ValueError(
            f"score {gate.score} is the same for w and -w: the sign of {', '.join(names)} is not identified in any "
            "atom, and no loss of the literature is about such a gate"
        )
    if probe.degree == 0:
        length = torch.sqrt(sum(((value * value).sum(-1) for value in names.values()), torch.zeros(())))[..., None]
        return out | {name: value / torch.where(length > 0, length, 1.0) for name, value in names.items()}
    rate = gate.score.bias_rate(params).unsqueeze(-1)
    if probe.degree is None or bool((rate == 1).all()):
        return out
    scale = rate ** (1.0 / probe.degree)
    out |= {name: value * scale.unsqueeze(-1) for name, value in names.items()}
    bias = gate.score.required_bias()
    ones = {name: torch.ones_like(params[name]) for name in gate.score.names("temperature")}
    return out | {bias: params[bias] * rate, **ones}


def mirror_of(gate: Gate, params: Params) -> tuple[str, ...]:
    """Return the locations in which two atoms have a mirror image with the same weights, none for most gates.

    With ``score(-w) + score(w)`` constant and two atoms, ``(w_1, w_2) -> (-w_2, -w_1)`` leaves the difference of the
    scores, and so the weights of a softmax, as they are.
    """
    names, probe = _probed(gate, params)
    odd = probe is not None and probe.odd and gate.link.translation_invariant
    return tuple(names) if odd else ()
