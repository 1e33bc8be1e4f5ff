"""From the fits of a block to records: losses, errors by parameter, distances, and what the certificate says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, log_density, regression, sample
from gatewise.fit.least_squares import mean_of
from gatewise.fit.many import Plan, fit_block
from gatewise.fit.result import Fit, width
from gatewise.fit.spec import FitSpec
from gatewise.fit.status import Status
from gatewise.objective.parameterization import from_paths
from gatewise.objective.rows import Rows, make_rows
from gatewise.runs.threads import one_thread
from gatewise.theory.arms import Arm, Data, Level, NearTruth
from gatewise.theory.dendrogram import dendrogram
from gatewise.theory.distances import between_laws, between_means, why_not_compared
from gatewise.theory.inputs import Lattice
from gatewise.theory.ridges import directions_of
from gatewise.theory.store import Record
from gatewise.theory.study import Study
from gatewise.theory.truths import behind, holds_truth, log_likelihood
from gatewise.theory.voronoi import (
    LOSSES,
    Hierarchical,
    ParameterErrors,
    Voronoi,
    errors,
    hierarchical_loss,
    voronoi_loss,
)

DATA, STARTS, SEARCH, FURTHER = range(4)  # roles of random numbers
UNCERTIFIED = {Status.separated, Status.stalled}  # at a bound, a floor or a kink of the box, on a ridge: an optimum
LOST = 2.0**53  # a parameter so many times larger than all true ones has no digit left beside them


class FitBatch(NamedTuple):
    """Replicates of one level of one arm that are fitted together."""

    arm: str
    level: Level
    replicates: tuple[int, ...]


def plan_of(study: Study, arm: Arm, level: Level) -> Plan:
    """Return how the replicates of one level are fitted."""
    model, near = arm.model, isinstance(arm.starts, NearTruth)
    plan = Plan(
        model.mixture,
        partial(near_truth, study, arm, level) if near else arm.starts.count,
        method=model.method,
        seed=_seed(study, SEARCH, level),
        spec=FitSpec(model.box or {}, model.fixed or {}, model.ties, gauge=model.gauge, min_scale=model.min_scale),
        max_iter=model.max_iter,
    )
    return plan._replace(subsample=None) if near or arm.data.counted(level.n) is not None else plan


def _seed(study: Study, role: int, level: Level) -> int:
    return int(np.random.SeedSequence(study.seed, spawn_key=(role, level.axis)).generate_state(1)[0])


def _generator(study: Study, role: int, level: Level, replicate: int) -> np.random.Generator:
    """Return the random numbers of a replicate: the same for every arm, so that arms of one truth share their data."""
    return np.random.default_rng(np.random.SeedSequence(study.seed, spawn_key=(role, level.axis, replicate)))


def draw(study: Study, arm: Arm, level: Level, replicate: int) -> Rows:
    """Draw the data of one replicate."""
    data = arm.data
    generator = _generator(study, DATA, level, replicate)
    truth = data.at(level.n)
    if data.counted(level.n) is not None:
        return _counts(data, truth, level.n, generator)
    x = data.inputs.draw(level.n, generator)
    if level.noise is None:
        source = torch.Generator().manual_seed(int(generator.integers(2**63)))
        y, _ = sample(data.mixture, truth, x.mT, x.mT, source)
        return make_rows(x, y.mT)
    mean = regression(data.mixture, truth, x.mT, x.mT).mT
    return make_rows(x, mean + level.noise * torch.from_numpy(generator.standard_normal(mean.shape)))


def _counts(data: Data, truth: Measure, n: int, generator: np.random.Generator) -> Rows:
    """Draw how often every class occurs at every point of the inputs among n rows: a row for each, with its count."""
    assert isinstance(data.inputs, Lattice)
    points, classes = data.inputs.support(), data.mixture.family.support(data.mixture.outputs(truth))
    assert classes is not None
    x, y = points.repeat_interleave(len(classes), 0), classes.repeat(len(points), 1)
    shares = log_density(data.mixture, truth, x.mT, x.mT, y.mT).exp().reshape(len(points), -1).numpy()
    at = generator.multinomial(n, np.full(len(points), 1.0 / len(points)))
    counts = generator.multinomial(at, shares / shares.sum(-1, keepdims=True))
    return make_rows(x, y, weight=torch.from_numpy(counts.ravel()))


def near_truth(study: Study, arm: Arm, level: Level, replicate: int) -> list[Measure]:
    """Return starts near the truth: fitted atoms at true ones, none left out, plus noise.

    They are in any order, but for branches with a fixed parameter. True parameters that the fitted model does
    not have are left out.
    """
    starts = arm.starts
    assert isinstance(starts, NearTruth)
    generator = _generator(study, STARTS, level, replicate)
    width = starts.scale * level.n**-starts.rate
    return [_near(arm, arm.data.at(level.n), width, generator) for _ in range(starts.count)]


def _near(arm: Arm, truth: Measure, width: float, generator: np.random.Generator) -> Measure:
    picks = []
    depth, positive = arm.model.mixture.depth, arm.model.mixture.paths("gates", "temperature")
    fixed = [_levels(path, depth) for path in arm.model.fixed or {}]  # branches up to there are told apart
    branchings = zip(arm.model.mixture.branching, arm.data.mixture.branching, strict=True)
    for level, (k, true) in enumerate(branchings):
        more = generator.integers(true, size=k - true)
        known = any(levels > level for levels in fixed)
        order = np.concatenate([np.arange(true), more])
        picks.append(torch.from_numpy(order if known else generator.permutation(order)))

    def moved(path: str, value: Tensor) -> Tensor:
        for level in range(min(_levels(path, depth), value.ndim)):
            if value.shape[level] == arm.data.mixture.branching[level]:
                value = value.index_select(level, picks[level])
        noise = width * torch.from_numpy(generator.standard_normal(tuple(value.shape)))
        return value + noise.abs() if path.startswith("family.") or path in positive else value + noise

    held = estimated(arm).parameters()
    return from_paths({path: moved(path, v) for path, v in truth.paths().items() if path in held}, depth)


def _levels(path: str, depth: int) -> int:
    """Return how many levels of branches a parameter has at most."""
    return int(path.split(".")[1]) + 1 if path.startswith("gates.") else depth


def estimated(arm: Arm) -> Mixture:
    """Return the fitted mixture of an arm; of least squares, that of the mean."""
    return mean_of(arm.model.mixture) if arm.model.method == "ls" else arm.model.mixture


def work(study: Study, block: FitBatch) -> list[Record]:
    """Fit the replicates of a block and measure them, on one thread: sums over several round differently."""
    with one_thread():
        return _work(study, block)


def _work(study: Study, block: FitBatch) -> list[Record]:
    arm, level = study.arm(block.arm), block.level
    truth = arm.data.at(level.n)
    sets = [draw(study, arm, level, replicate) for replicate in block.replicates]
    inside = holds_truth(arm, level)

    def gap_of(i: int, fit: Fit) -> float | None:
        return behind(arm, truth, sets[i], fit.log_likelihood) if inside else None

    found = fit_block(plan_of(study, arm, level), partial(draw, study, arm, level), block.replicates)
    judged = [(fit, gap_of(i, fit)) for i, fit in enumerate(found)]
    worse = [i for i, (fit, gap) in enumerate(judged) if _worse(gap, fit)]
    for i, fit in zip(worse, _searched_on(study, block, worse), strict=False):
        judged[i] = min(judged[i], (fit, gap_of(i, fit)), key=itemgetter(1))
    fits = [fit for fit, _ in judged]
    measured = measure(arm, truth, [fit.measure for fit in fits])
    if arm.merged:
        measured |= _merged(arm, truth, [fit.measure for fit in fits], sets)
    records = []
    for i, (replicate, (fit, gap)) in enumerate(zip(block.replicates, judged, strict=True)):
        record = {"key": [arm.name, level.axis, replicate], "n": level.n, "block": len(fits)}
        record |= facts(fit, gap, truth)
        record["series"] = {name: _number(values[i]) for name, values in measured.items()}
        if isinstance(arm.starts, NearTruth):
            record |= _distances(arm, fit.measure, near_truth(study, arm, level, replicate), truth)
        records.append(record)
    return records


def _worse(gap: float | None, fit: Fit) -> bool:
    """Return whether a fit is worse than the truth, by more than rounding; None: they are not compared."""
    return gap is not None and gap > width(fit.log_likelihood)


def _searched_on(study: Study, block: FitBatch, worse: Sequence[int]) -> list[Fit]:
    """Fit the replicates in some places of a block again from the further starts of its arm; none if it has none."""
    arm, level = study.arm(block.arm), block.level
    if isinstance(arm.starts, NearTruth) or not arm.starts.more or not worse:
        return []
    plan = plan_of(study, arm, level)._replace(starts=arm.starts.more, seed=_seed(study, FURTHER, level))
    return fit_block(plan, partial(draw, study, arm, level), [block.replicates[i] for i in worse])


def _number(value: float | Tensor | None) -> float | None:
    """Return a number with all its digits, None for what is not finite."""
    return None if value is None or not isfinite(value) else float(value)


def facts(fit: Fit, behind: float | None, truth: Measure) -> dict[str, Any]:
    """Return what a record says about the fit itself; numbers that are not finite become None.

    It is certified if it is a local optimum of its box with no expert starved, no worse than the truth, and at a point:
    where the data say nothing of a parameter, a search may leave it anywhere.
    """
    certificate = fit.certificate
    optimum = certificate.passed and not certificate.starved and not UNCERTIFIED & set(fit.flags)
    lost = not largest(fit.measure) <= LOST * max(1.0, largest(truth))
    return {
        "status": str(fit.status),
        "certified": optimum and not _worse(behind, fit) and not lost,
        "behind": _number(behind),
        "gradient": _number(certificate.gradient),
        "decrement": _number(certificate.decrement),
        "log_likelihood": _number(fit.log_likelihood),
        "hits": fit.starts.hits,
        "gap": _number(fit.starts.gap),
        "active": list(certificate.active),
        "null": list(certificate.null),
        **_unnamed(fit),
        "iterations": fit.n_iter,
        "measure": {path: value.tolist() for path, value in fit.measure.paths().items()},
    }


def _unnamed(fit: Fit) -> dict[str, Any]:
    """Return the paths along null directions where their names leave some out, so that other records stay the same."""
    named = {path for direction in directions_of(fit.certificate.null) for path in direction}
    return {} if set(fit.flat) <= named else {"flat": list(fit.flat)}


def largest(measure: Measure) -> float:
    """Return the largest absolute value of a parameter; NaN if some value is."""
    return float(torch.cat([value.flatten() for value in measure.paths().values()]).abs().max())


def _distances(arm: Arm, fitted: Measure, starts: Sequence[Measure], truth: Measure) -> dict[str, float | None]:
    """Return how far the fit is from its closest start, and how far that start is from the truth; None: undefined."""
    lengths = [_length(fitted, start) for start in starts]
    nearest = starts[int(np.argmin(lengths))]
    pair = _compared(arm, truth, [nearest])
    compare = voronoi_loss if pair[0].depth == 1 else hierarchical_loss
    try:
        away = float(compare(LOSSES["exact"], *pair, rbar=arm.rbar).unweighted)
    except ValueError:
        return {"moved": min(lengths), "start": None}
    return {"moved": min(lengths), "start": away}


def _length(one: Measure, other: Measure) -> float:
    pairs = zip(one.paths().values(), other.paths().values(), strict=True)
    return float(sum(float(((a - b) ** 2).sum()) for a, b in pairs)) ** 0.5


Compared = tuple[Mixture, Measure, Mixture, Measure]


def _compared(arm: Arm, truth: Measure, measures: Sequence[Measure]) -> Compared:
    """Return fitted mixture and measures, and the true ones; of least squares, those of the mean."""
    if arm.model.method == "ls":
        return mean_of(arm.model.mixture), stack(measures), mean_of(arm.data.mixture), truth._replace(family={})
    return arm.model.mixture, stack(measures), arm.data.mixture, truth


def measure(arm: Arm, truth: Measure, measures: Sequence[Measure]) -> dict[str, Tensor]:
    """Return every series of fitted measures at one level that is defined, by name, (R,); see `undefined`."""
    pair = mixture, fitted, true, truth = _compared(arm, truth, measures)
    series = _errors(arm, pair)
    if arm.model.gauge == "none":  # as they stand: losses take off what no data identify
        held = truth.paths()
        for path in mixture.paths("gates", "temperature"):
            if path in held:
                gap = fitted.paths()[path] - held[path]
                series[f"{path} raw"] = gap.abs().reshape(len(gap), -1).mean(-1)
    if arm.model.method == "ls" or why_not_compared(mixture, true, true.outputs(truth)):
        return series | {"mean": between_means(*pair, arm.data.inputs)}
    gaps = between_laws(*pair, arm.data.inputs)
    return series | {"hellinger": gaps.hellinger, "total variation": gaps.total_variation}


def parameter_errors(arm: Arm, truth: Measure, measures: Sequence[Measure]) -> dict[str, Tensor]:
    """Return losses and errors of parameters of fitted measures at one level, by name, (R,)."""
    return _errors(arm, _compared(arm, truth, measures))


def _errors(arm: Arm, pair: Compared) -> dict[str, Tensor]:
    return {} if _no_loss(arm, pair) else _voronoi(arm, pair)


def undefined(arm: Arm, truth: Measure, made_up: Measure) -> dict[str, str]:
    """Return why some series are not defined for an arm, given any fitted measure: by name, ``loss`` for all losses."""
    pair = _compared(arm, truth, [made_up])
    apart = "" if arm.model.method == "ls" else why_not_compared(pair[0], pair[2], pair[2].outputs(truth))
    reasons = {"loss": _no_loss(arm, pair), "hellinger": apart, "total variation": apart}
    return {name: reason for name, reason in reasons.items() if reason}


def _no_loss(arm: Arm, pair: Compared) -> str:
    """Return why the loss that an arm records by itself is not defined, in words; empty if it is, or was asked for."""
    if arm.losses is not None:
        return ""
    try:
        _voronoi(arm, (pair[0], pair[1].map(lambda v: v[:1]), *pair[2:]))
    except ValueError as fault:
        return str(fault)
    return ""


def _voronoi(arm: Arm, pair: Compared) -> dict[str, Tensor]:
    """Return losses and errors by parameter; of two levels, errors of leaves are averaged over the fitted groups."""
    series: dict[str, Tensor] = {}
    found: Voronoi | Hierarchical
    for loss in arm.named_losses():
        if pair[0].depth == 1:
            found = voronoi_loss(loss, *pair, rbar=arm.rbar)
            parts = errors(found)
        else:
            found = hierarchical_loss(loss, *pair, rbar=arm.rbar)
            leaves = {
                path: ParameterErrors(*(v.nanmean(-1) for v in part)) for path, part in errors(found.leaves).items()
            }
            parts = leaves | {path: part for path, part in errors(found.groups).items() if path.startswith("gates.0.")}
        series |= {f"loss {loss.name}": found.value, f"loss {loss.name} unweighted": found.unweighted}
        series |= {"empty": found.empty.double(), "ties": found.ties.double()}
        for path, part in parts.items():
            series |= {f"{path} {name.replace('_', ' ')}": value for name, value in part._asdict().items()}
    return series


def _merged(arm: Arm, truth: Measure, measures: Sequence[Measure], sets: Sequence[Rows]) -> dict[str, Tensor]:
    """Return losses and errors of merged atoms, and how many atoms the dendrogram criterion selects."""
    tree = dendrogram(arm.model.mixture, stack(measures))
    true = arm.data.mixture
    pair = (*tree.at(true.branching[0]), true, truth)
    series = {} if _no_loss(arm, pair) else _voronoi(arm, pair)
    likelihoods = []
    for mixture, merged in zip(tree.mixtures[:-1], tree.measures[:-1], strict=True):
        sums = [log_likelihood(mixture, merged.map(itemgetter(s)), rows) for s, rows in enumerate(sets)]
        likelihoods.append(torch.stack(sums) / sets[0].total)
    criterion = tree.criterion(torch.stack(likelihoods, -1), sets[0].total)
    selected = arm.model.mixture.branching[0] - criterion.argmin(-1)
    return {f"merged {name}": value for name, value in series.items()} | {"selected": selected.double()}


def stack(measures: Sequence[Measure]) -> Measure:
    """Join measures into one with a batch dimension."""

    def join(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    gates = tuple(join(levels) for levels in zip(*(m.gates for m in measures), strict=True))
    return Measure(gates, join([m.experts for m in measures]), join([m.family for m in measures]))
