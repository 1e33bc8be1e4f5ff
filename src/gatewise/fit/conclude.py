"""From the best point to a Fit: settled on kinks, certified, in the units of the data."""

from __future__ import annotations

from dataclasses import replace
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.fit import frames
from gatewise.fit.certify import certify, flags
from gatewise.fit.hinges import settle_on_hinges
from gatewise.fit.kinks import settle_on_kinks
from gatewise.fit.model import Model, shortest
from gatewise.fit.problem import Problem, box_of, evaluate, newton_polish
from gatewise.fit.result import Certificate, Fit, Starts, width

SMALLEST = 1e-24  # residual variance, of the variance of y, that counts as none


class Searched(NamedTuple):
    """Where starts ended.

    Attributes
    ----------
    problem : Problem
        That they were searched on, on all rows or a subsample.
    points : Tensor (S, P)
    kinds : tuple of str
    sound : Tensor (S,) of bool
    """

    problem: Problem
    points: Tensor
    kinds: tuple[str, ...]
    sound: Tensor


class Ending(NamedTuple):
    """The numbers of points (S, P) in the units of the data, all (S,): sse is None for a likelihood."""

    objective: Tensor
    log_likelihood: Tensor
    penalty: Tensor
    sse: Tensor | None = None


def conclude(
    model: Model, problem: Problem, point: Tensor, searched: Searched, n_iter: int, kinks: bool, deadline: float | None
) -> Fit:
    """Return the fit at the best point (P,), in the units of the data.

    Parameters
    ----------
    searched : where the starts ended
    n_iter : iterations spent
    kinks : whether a mixture with kinks is settled on them first
    """
    names: tuple[str, ...] = ()
    hinged: tuple[str, ...] = ()
    pinned: Tensor | None = None
    if kinks and model.chart.mixture.kinked:
        point, names, pinned = settle_on_kinks(scaled(problem, point), point, deadline)
        problem = scaled(problem, point)
        point = newton_polish(problem, point[None], 60, deadline, box_of(problem.chart, point, pinned)).x[0]
        problem, point, hinged, pinned = settle_on_hinges(problem, point, pinned, deadline)
    if not problem.chart.mixture.family.has_density:  # the residual variance, and with it every tolerance, has moved
        problem = scaled(problem, point)
        if problem.chart.size:
            point = newton_polish(problem, point[None], 60, deadline, box_of(problem.chart, point, pinned)).x[0]
    ending = endings(model, problem, point[None])
    ends = endings(model, searched.problem, searched.points)
    whole = searched.problem.rows is problem.rows
    best = float(ending.log_likelihood - ending.penalty) if whole else None
    summary = summarise(ends.log_likelihood - ends.penalty, searched.kinds, searched.sound, best)
    certificate = certify(problem, point, (*names, *hinged), pinned)
    certificate = certificate._replace(rank=certificate.rank + len(hinged))  # held by the data, not by the model
    reduced = model._replace(chart=problem.chart)
    working = shortest(reduced, problem.chart.measure(point))
    held = flags(certificate, problem.chart)
    return Fit(
        mixture=model.given,
        measure=frames.reframe(problem.chart.mixture, working, model.framing.inverse())[1],
        objective=float(ending.objective),
        log_likelihood=float(ending.log_likelihood),
        penalty=float(ending.penalty),
        n=problem.total,
        status=held[0],
        flags=held,
        certificate=certificate,
        starts=summary,
        n_iter=n_iter,
        collinear=tuple((slopes.room, tuple(slopes.extra)) for slopes in model.redundant),
        notes=model.notes + _notes(model, certificate),
        sse=None if ending.sse is None else float(ending.sse),
    )


def evaluated(model: Model, problem: Problem) -> Fit:
    """Return the fit of a model of which every parameter is fixed."""
    nothing = torch.zeros(1, 0, dtype=torch.float64)
    fit = conclude(
        model, problem, nothing[0], Searched(problem, nothing, ("fixed",), torch.tensor([True])), 0, False, None
    )
    return fit._replace(notes=(*fit.notes, "every parameter is fixed: the model is evaluated, nothing is estimated"))


def scaled(problem: Problem, point: Tensor) -> Problem:
    """Divide a sum of squares by the residual variance at a point (P,), so that differences are log-likelihoods."""
    if problem.chart.mixture.family.has_density:
        return problem
    variance = 2.0 * float(evaluate(replace(problem, unit=1.0), point[None], 0)[0][0])
    return replace(problem, unit=max(variance, SMALLEST))


def endings(model: Model, problem: Problem, free: Tensor) -> Ending:
    """Return the numbers of points (S, P) of a chart of the model, in the units of the data."""
    plain = replace(problem, unit=1.0)
    value, penalty = evaluate(plain, free, 0)[0], problem.penalty(free)[0]
    if problem.chart.mixture.family.has_density:
        return Ending(value - model.jacobian, (model.jacobian - value) * problem.total + penalty, penalty)
    square = float(model.framing.y.scale[0]) ** 2
    count = problem.total * model.rows.y.shape[1]
    sse = 2.0 * square * (value * problem.total - penalty)
    return Ending(value * square, profiled(sse, count), penalty * square, sse)


def profiled(sse: Tensor, count: float) -> Tensor:
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
        unseen=float((groups == 1).sum()) / len(log_likelihood),
        better_unsound=tuple(sorted(log_likelihood[~sound & (log_likelihood > best + near)].tolist(), reverse=True)),
        moved=taken is not None and not bool(hit.any()),
        subsampled=taken is None,
    )


def _notes(model: Model, certificate: Certificate) -> tuple[str, ...]:
    held = [f"{path} is not identified with this score and is held at 1" for path in model.chart.held]
    flat = [f"{name} leaves the objective unchanged" for name in certificate.null]
    flat += [f"{name} is at the limit of its family (Gaussian tails) and not counted" for name in certificate.limits]
    units = model.rows.n_units
    crowd = [f"{units} rows for {certificate.rank} parameters: they are not determined"] if certificate.crowded else []
    return (*held, *flat, *crowd)
