"""From the best point to a Fit: at rest, certified, in the units of the data."""

from __future__ import annotations

from dataclasses import replace
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.certify import certify, flags, responses, soundness
from gatewise.fit.digits import at_home
from gatewise.fit.directions import expert_directions, outputs_of
from gatewise.fit.ends import Ends
from gatewise.fit.floor import Floor
from gatewise.fit.model import PreparedModel, shortest
from gatewise.fit.problem import Problem, evaluate
from gatewise.fit.result import Certificate, Fit, Starts, unseen_bound, width
from gatewise.fit.settle import settle_best, unsettled


class Criteria(NamedTuple):
    """The numbers of points (S, P) in the units of the data, all (S,): sse is None for a likelihood."""

    objective: Tensor
    log_likelihood: Tensor
    penalty: Tensor
    sse: Tensor | None = None


def finalize(
    model: PreparedModel,
    problem: Problem,
    points: Tensor,
    ends: Ends,
    n_iter: int,
    polished: bool,
    deadline: float | None,
) -> Fit:
    """Return the fit at the best of some points (C, P), best first, in the units of the data.

    Parameters
    ----------
    ends : where the starts ended
    n_iter : iterations spent
    polished : whether the point is put on kinks and polished along flat directions first
    deadline : until when that may take, and the certificate
    """
    rest = settle_best(problem, points, deadline) if polished else unsettled(problem, points[0], deadline)
    problem, point = rest.problem, rest.point
    kinks = (*rest.kinks, *rest.hinged)
    certificate, flat = certify(problem, point, kinks, rest.pinned, rest.gain, rest.here, deadline)
    reached = criteria(model, problem, point[None])
    of_starts = criteria(model, ends.problem, ends.points)
    whole = ends.problem.rows is problem.rows
    best = float(reached.log_likelihood - reached.penalty) if whole else None
    values = of_starts.log_likelihood - of_starts.penalty
    summary = summarise(values, ends.kinds, ends.sound, best)
    summary = summary._replace(floored=_floored(ends, values, summary))
    certificate = certificate._replace(rank=certificate.rank + len(rest.hinged))  # held by the data, not by the model
    working = shortest(model, problem.parameterization.measure(point))
    given, measure = at_home(model, problem.parameterization.mixture, working)
    held = flags(certificate, problem.parameterization)
    shortened = (path for slopes in model.redundant for path in (*slopes.paths, *slopes.constants))
    return Fit(
        mixture=given,
        spec=model.spec,
        measure=_conventional(model, given, measure),
        objective=float(reached.objective),
        log_likelihood=float(reached.log_likelihood),
        penalty=float(reached.penalty),
        n=problem.total,
        status=held[0],
        flags=held,
        certificate=certificate,
        starts=summary,
        n_iter=n_iter,
        collinear=tuple((slopes.room, tuple(slopes.extra)) for slopes in model.redundant),
        notes=model.notes + _notes(problem, point, certificate) + _origin_note(given),
        sse=None if reached.sse is None else float(reached.sse),
        floor=model.spec.min_scale.text() if isinstance(model.spec.min_scale, Floor) else "",
        flat=tuple(dict.fromkeys([*flat, *shortened])),
    )


def evaluated(model: PreparedModel, problem: Problem) -> Fit:
    """Return the fit of a model of which every parameter is fixed."""
    nothing = torch.zeros(1, 0, dtype=torch.float64)
    value, sound = evaluate(problem, nothing, 0)[0], torch.ones(1, dtype=torch.bool)
    fit = finalize(model, problem, nothing, Ends(problem, nothing, value, sound, 0, ("fixed",)), 0, False, None)
    return fit._replace(notes=(*fit.notes, "every parameter is fixed: the model is evaluated, nothing is estimated"))


def _conventional(model: PreparedModel, given: Mixture, measure: Measure) -> Measure:
    """Return a measure in the units of the data with experts of conventional size, where nothing given holds them."""
    bounded = any(path.startswith("experts.") for path in model.spec.determined)
    if bounded or expert_directions(model.parameterization, measure).shape[1] < outputs_of(model.parameterization):
        return measure
    return measure._replace(experts=given.expert.canonical(measure.experts))


def criteria(model: PreparedModel, problem: Problem, free: Tensor) -> Criteria:
    """Return the numbers of points (S, P) of a parameterization of the model, in the units of the data."""
    plain = replace(problem, unit=1.0)
    value, penalty = evaluate(plain, free, 0)[0], problem.penalty(free)[0]
    if problem.parameterization.mixture.family.has_density:
        return Criteria(value - model.jacobian, (model.jacobian - value) * problem.total + penalty, penalty)
    square = float(model.framing.y.scale[0].square())
    count = problem.total * model.rows.y.shape[1]
    sse = 2.0 * square * (value * problem.total - penalty)
    return Criteria(value * square, profile_loglik(sse, count), penalty * square, sse)


def profile_loglik(sse: Tensor, count: float) -> Tensor:
    """Return the Gaussian log-likelihood of `count` residuals with this sum of squares at its best variance."""
    return -0.5 * count * (torch.log(2 * pi * (sse / count).clamp_min(1e-300)) + 1.0)


def summarise(log_likelihood: Tensor, kinds: tuple[str, ...], sound: Tensor, taken: float | None) -> Starts:
    """Describe where the starts ended, against the value that was taken (None: it was found on other rows)."""
    best = float(log_likelihood[sound].max() if bool(sound.any()) else log_likelihood.nan_to_num(-torch.inf).max())
    best = best if taken is None else taken
    near = width(best)
    hit = sound & ((log_likelihood - best).abs() <= near)
    below = log_likelihood[sound & (log_likelihood < best - near)]
    groups = torch.unique(torch.round(log_likelihood[log_likelihood.isfinite()] / near), return_counts=True)[1]
    return Starts(
        log_likelihood=log_likelihood,
        kind=kinds,
        sound=sound,
        hits=int(hit.sum()),
        gap=best - float(below.max()) if len(below) else float("inf"),
        unseen=unseen_bound(int((groups == 1).sum()), len(log_likelihood)),
        better_unsound=tuple(sorted(log_likelihood[~sound & (log_likelihood > best + near)].tolist(), reverse=True)),
        moved=taken is not None and not bool(hit.any()),
        subsampled=taken is None,
    )


def _floored(ends: Ends, log_likelihood: Tensor, summary: Starts) -> tuple[float, ...]:
    """Return the values refused as unsound, highest first, in which every expert has observations enough."""
    if not summary.better_unsound:
        return ()
    refused = ~ends.sound & (log_likelihood >= min(summary.better_unsound))
    state = soundness(ends.problem, ends.points[refused])
    only = state.floor.any(-1) & ~state.starved.any(-1)
    return tuple(sorted(log_likelihood[refused][only].tolist(), reverse=True))


def _origin_note(given: Mixture) -> tuple[str, ...]:
    """Say that the parameters refer to an origin, and to which."""
    parts = (("X", given.expert), *(("gate_X", gate.score) for gate in given.gates))
    points = {name: part.reference() for name, part in parts}
    return tuple(
        f"{name} lies so far from zero that parameters would lose digits: they refer to {name} minus "
        f"({', '.join(f'{value:.10g}' for value in point)})"
        for name, point in points.items()
        if point is not None
    )


def _notes(problem: Problem, point: Tensor, certificate: Certificate) -> tuple[str, ...]:
    parameterization = problem.parameterization
    held = [f"{path} is not identified with this score and is fixed at 1" for path in parameterization.held]
    flat = [f"{name} leaves the objective unchanged" for name in certificate.null]
    ends = {name: parameterization.end(name, point) for name in (*certificate.limits, *certificate.active)}
    flat += [f"{name} is at the limit of its family ({ends[name][2]}) and not counted" for name in certificate.limits]
    flat += [f"{name} is at the end of its range, {end[0]:g}: {end[1]}" for name, end in ends.items() if end[1]]
    few = f"{responses(problem):.15g} responses for {certificate.rank} parameters: the data do not determine them"
    return (*held, *flat, *([few] if certificate.crowded else []))
