"""The truth against what is fitted: does its box hold it, and is a fit worse than it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gatewise.core.gates import Gate
from gatewise.core.mixture import Measure, Mixture, log_density, regression
from gatewise.core.names import entry_names
from gatewise.fit.finalize import profile_loglik
from gatewise.fit.least_squares import mean_of
from gatewise.objective.rows import Rows
from gatewise.theory.arms import Arm, Level
from gatewise.theory.study import Study
from gatewise.theory.voronoi.gauge import conventional

SLACK = 1e-9  # of a limit: truths may lie on it


def holds_truth(arm: Arm, level: Level) -> bool:
    """Return whether the fitted model and its box hold the true law, so that no maximum can be worse than it.

    The same gates, experts and family, with as many leaves or, where weights sum to one and no parameters are tied,
    more.
    """
    fitted, true = arm.model.mixture, arm.data.mixture
    kinds = (fitted.gates, fitted.expert, fitted.family) == (true.gates, true.expert, true.family)
    split = fitted.normalised and fitted.n_leaves > true.n_leaves and not arm.model.ties
    return kinds and (split or fitted.branching == true.branching) and not beyond(arm, level)


def log_likelihood(mixture: Mixture, measure: Measure, rows: Rows) -> Tensor:
    """Return the log-likelihood of a measure without batch, with rows as often as they count."""
    x, gate_x, y, weight = rows.read(0, rows.n)[:4]
    own = log_density(mixture, measure, x, gate_x, y)
    return (own if weight is None else weight * own).sum()


def behind(arm: Arm, truth: Measure, rows: Rows, found: float) -> float:
    """Return the log-likelihood of the truth less that of a fit; of means, with the residual variance of each."""
    if arm.model.method != "ls":
        return float(log_likelihood(arm.data.mixture, truth, rows)) - found
    x, _, y = rows.read(0, rows.n)[:3]
    mixture = mean_of(arm.data.mixture)
    sse = (regression(mixture, truth._replace(family={}), x, x) - y).square().sum()
    return float(profile_loglik(sse, y.numel())) - found


def truths_outside_box(study: Study) -> tuple[str, ...]:
    """List, as sentences, the true parameters that box, minimal scale, ties or fixed values of their arm exclude.

    The errors of such a parameter do not vanish as n grows. Parameters of different kinds of gates or experts, and
    those that the gauge leaves free, are not compared, nor are fixed values of gates. A gate that is determined up to a
    shift is inside if it is inside with some branch as the reference.

    Parameters
    ----------
    study : Study

    Returns
    -------
    tuple of str
        Empty if every box contains its truth.

    Examples
    --------
    >>> from gatewise.theory import STUDIES, truths_outside_box
    >>> truths_outside_box(STUDIES["softmax-exact"])
    ()
    """
    found = [
        f"arm {arm.name!r}: the truth lies outside the fitted model, {words}: its errors will not vanish"
        for arm in study.arms
        for level in arm.levels()
        for words in beyond(arm, level)
    ]
    return tuple(dict.fromkeys(found))


def beyond(arm: Arm, level: Level) -> list[str]:
    """Return, in words, what an arm excludes of its truth at a level: by limits, by ties and by fixed values."""
    compared = _compared(arm, level.n)
    found = _untied(arm, compared) + _fixed_elsewhere(arm, compared)
    for path, values in compared.items():
        low, high = _limits(arm, path, values[0].ndim)
        out = [value[(value < low - SLACK) | (value > high + SLACK)] for value in values]
        if all(len(beyond) for beyond in out):
            limits = f"[{float(low.min()):g}, {float(high.max()):g}]"
            found.append(f"{path} = {float(out[0][0]):g} beyond {limits}")
    return found


def _untied(arm: Arm, compared: Mapping[str, list[Tensor]]) -> list[str]:
    """Return, in words, the ties that the truth breaks, its atoms in their order; none of a truth with fewer atoms."""
    if arm.model.mixture.branching != arm.data.mixture.branching:
        return []
    held: dict[str, float] = {}
    for path, (value, *_) in compared.items():
        held |= dict(zip(entry_names(path, value.shape), value.flatten().tolist(), strict=True))
    known = [{name: held[name] for name in tie if name in held} for tie in arm.model.ties]
    broken = [tie for tie in known if tie and max(tie.values()) - min(tie.values()) > SLACK]
    return [", ".join(f"{name} = {value:g}" for name, value in tie.items()) + ", which are tied" for tie in broken]


def _fixed_elsewhere(arm: Arm, compared: Mapping[str, list[Tensor]]) -> list[str]:
    """Return, in words, fixed values of experts and families that no true leaf has; gates are known up to shifts."""
    fitted, found = arm.model.mixture, []
    for path, given in (arm.model.fixed or {}).items():
        if path.startswith("gates.") or path not in compared:
            continue
        true = compared[path][0].flatten(0, arm.data.mixture.depth - 1)
        own = torch.as_tensor(given, dtype=torch.float64).expand(*fitted.branching, *true.shape[1:])
        for value in own.flatten(0, fitted.depth - 1):
            if not bool((value.isnan() | ((true - value).abs() <= SLACK)).flatten(1).all(1).any()):
                found.append(f"{path} fixed at {value.tolist()}, which no true leaf has")
    return found


def _limits(arm: Arm, path: str, ndim: int) -> tuple[Tensor, Tensor]:
    """Return the limits of a parameter; those of single atoms are joined, for atoms have no order."""
    given = (arm.model.box or {}).get(path, (-torch.inf, torch.inf))
    low, high = (torch.as_tensor(end, dtype=torch.float64) for end in given)
    if path in arm.model.mixture.paths("family", "scale") and arm.model.min_scale is not None:
        low = low.clamp_min(arm.model.min_scale)
    return (low.min(), high.max()) if max(low.ndim, high.ndim) >= ndim else (low, high)


def _compared(arm: Arm, n: int) -> dict[str, list[Tensor]]:
    """Return the true values that the limits of the fitted model are about, of a gate with every reference."""
    fitted, true, truth = arm.model.mixture, arm.data.mixture, arm.data.at(n)
    kept: dict[str, list[Tensor]] = {}
    for i, (gate, params) in enumerate(zip(true.gates, truth.gates, strict=True)):
        if fitted.gates[i : i + 1] == (gate,) and arm.model.gauge == "fixed":
            kept |= {f"gates.{i}.{k}": v for k, v in _referred(gate, i, params).items()}
    if fitted.expert == true.expert:
        kept |= {f"experts.{k}": [v] for k, v in truth.experts.items()}
    return kept | {f"family.{k}": [v] for k, v in truth.family.items() if fitted.family == true.family}


def _referred(gate: Gate, level: int, params: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """Return the parameters of a gate; where only differences are known those from the last branch, then the others."""
    held = conventional(gate, params) if gate.held() else dict(params)
    known = {name: [value] for name, value in held.items() if name not in gate.held()}
    for name in set(gate.translation()) & set(known):
        value = held[name]
        known[name] = [value - value.narrow(level, k, 1) for k in reversed(range(value.shape[level]))]
    return known
