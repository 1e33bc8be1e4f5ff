"""Directions that the data do not identify, and which errors move along them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gatewise.core.mixture import Mixture
from gatewise.core.names import path_of
from gatewise.infer.identifiability import Advice, MixtureInputs, advise
from gatewise.theory.arms import Arm, Model
from gatewise.theory.claims import parameter_of
from gatewise.theory.paths import tensor_path
from gatewise.theory.voronoi.gauge import lengths

Directions = tuple[tuple[str, ...], ...]  # of one fit, each by the paths of the parameters that it moves


def estimated_path(arm: Arm, series: str) -> str:
    """Return the path of the parameter that a series is about, or nothing: rates of scales are those of variances."""
    return tensor_path(parameter_of(series), arm.model.mixture)


def known(model: Model) -> tuple[str, ...]:
    """Return the paths of the parameters that a model fixes, be it some of their entries or by a box without width."""
    fixed = [path for path, value in (model.fixed or {}).items() if not bool(torch.as_tensor(value).isnan().all())]
    box = [path for path, (low, high) in (model.box or {}).items() if bool((torch.as_tensor(low) == high).any())]
    return tuple(dict.fromkeys([*fixed, *box]))


def derivatives(arm: Arm, order: int, by_convention: bool = False) -> Advice:
    """Return what derivatives up to an order say of the fitted model of an arm.

    Parameters that the model fixes are held, also those of which it fixes some entries: no ridge of all entries is one
    of the others.

    Parameters
    ----------
    by_convention : bool
        Whether to hold temperatures and lengths that losses set to one before they compare, whatever the gauge.
    """
    model, d = arm.model, arm.data.inputs.d
    gauge, held = model.gauge, list(known(model))
    if by_convention:
        gauge = "fixed"
        gates = enumerate(model.mixture.gates)
        held += [f"gates.{level}.{name}" for level, gate in gates for name in lengths(gate, d)]
    estimator = "ls" if model.method == "ls" else "ml"
    truth = arm.data.at(arm.levels()[0].n)
    outputs = arm.data.mixture.outputs(truth) if truth.experts else 1
    return advise(model.mixture, estimator, gauge, MixtureInputs(d), outputs, tuple(dict.fromkeys(held)), order)


def ridge(arm: Arm, series: str) -> tuple[str, ...]:
    """Return the paths of the parameters of a series that no data identify, as the derivatives of the model say.

    Nothing where the model ties parameters, or its leaves are of several kinds: the check knows neither.
    """
    summed, path = _summed(arm, series), estimated_path(arm, series)
    if not (path or summed) or arm.model.ties or not arm.model.mixture.exchangeable:
        return ()
    found = derivatives(arm, 1, by_convention=not path or arm.model.gauge == "fixed").unidentified
    return tuple(one for one in found if one == path or one in summed)


def moves(arm: Arm, series: str, directions: Directions) -> bool:
    """Return whether a series of a fit is another one elsewhere along directions that its certificate calls null.

    The error of a parameter is, along a direction that moves the parameter, and a loss along one that moves any of
    those that it sums. It stays as it is along a direction that shifts weight between equal atoms, which moves biases
    alone behind a softmax, and along scales that losses take off: a temperature that no data identify, with the other
    parameters of its gate.
    """
    path, summed = estimated_path(arm, series), _summed(arm, series)
    if path:
        return any(path in direction for direction in directions)
    split = series.removeprefix("merged ").startswith("bias over")  # of equal atoms each has a bias, and no mass
    shifts = [] if split else _shifting(arm.model.mixture)
    left = [one for one in directions if not any(biases.issuperset(one) for biases in shifts)]
    rooms, count = _scaled(arm)
    scales = [one for one in left if all(moved.startswith(rooms) for moved in one)] if rooms else []
    left = left if len(scales) > count else [one for one in left if one not in scales]
    return any(moved in summed for one in left for moved in one)


def _summed(arm: Arm, series: str) -> tuple[str, ...]:
    """Return the paths of the parameters that a loss sums; masses and biases are those of the innermost gate."""
    mixture, name = arm.model.mixture, series.removeprefix("merged ")
    if name.startswith("loss "):
        return tuple(mixture.parameters())
    inner = mixture.paths(f"gates.{mixture.depth - 1}", "intercept", "temperature")
    return inner if name.startswith(("mass ", "bias ")) else ()


def _shifting(mixture: Mixture) -> list[set[str]]:
    """Return the biases of each gate of which a common shift changes nothing."""
    gates = [(level, gate) for level, gate in enumerate(mixture.gates) if gate.link.translation_invariant]
    return [{f"gates.{level}.{gate.score.bias()}"} for level, gate in gates if gate.score.bias()]


def _scaled(arm: Arm) -> tuple[tuple[str, ...], int]:
    """Return the rooms of gates that are estimated with a scale that losses take off, and how many such scales."""
    if arm.model.gauge == "fixed":
        return (), 0
    given, gates = known(arm.model), enumerate(arm.model.mixture.gates)
    rooms = [(f"gates.{level}.", level) for level, gate in gates if gate.held()]
    rooms = [(room, level) for room, level in rooms if not any(path.startswith(room) for path in given)]
    return tuple(room for room, _ in rooms), sum(arm.model.mixture.nodes(level) for _, level in rooms)


def directions_of(null: Sequence[str], flat: Sequence[str] = ()) -> Directions:
    """Return the null directions of a record: by the names of their largest entries, and with what these leave out.

    Examples
    --------
    >>> directions_of(["gates.0.bias[0] & experts.coef[1,0]"], ["gates.0.bias", "experts.coef", "family.scale"])
    (('gates.0.bias', 'experts.coef', 'family.scale'),)
    """
    named = [tuple(dict.fromkeys(path_of(part) for part in name.split(" & "))) for name in null]
    rest = [path for path in flat if not any(path in one for one in named)]
    return tuple((*one, *rest) for one in named or [()] if one or rest)
