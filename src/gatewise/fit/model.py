"""A model ready to be fitted: mixture and rows in working units, chart, and what was noticed about the data."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.chart import Chart, from_paths, make_chart
from gatewise.core.mixture import Measure, Mixture, require_continuity, require_density
from gatewise.core.rows import Columns, Rows
from gatewise.fit import frames

Limits = Mapping[str, tuple[float | Tensor, float | Tensor]]

CHUNK = 65536  # rows read at once
DEPENDENT = 1e-9  # share of a standardised column's variance that others leave unexplained when it depends on them


class Slopes(NamedTuple):
    """The slopes of one room, where some columns of its inputs are constant or depend on others.

    Attributes
    ----------
    room : str
        Name of the inputs.
    paths : tuple of str
        Parameters with one entry per column.
    extra : list of int
        Columns that depend on those before them.
    seen : Tensor (d, r)
        Basis of the directions that the data span.
    """

    room: str
    paths: tuple[str, ...]
    extra: list[int]
    seen: Tensor


class Model(NamedTuple):
    """A mixture in working units with its chart, ready to be fitted.

    Attributes
    ----------
    given : Mixture
        In the units of the data.
    framing : Framing
        Working units.
    chart : Chart
        Of the working mixture.
    rows : Rows
        In working units.
    jacobian : float
        Log-likelihood in the units of the data minus that in working units, per unit of weight.
    floor : Tensor (P,) of bool
        Coordinates whose lower bound is the floor of a scale.
    bounded : frozenset of str
        Paths with bounds that were given; other bounds are the limits of a family.
    redundant : tuple of Slopes
        Slopes that are not unique because columns depend on others.
    notes : tuple of str
        What was noticed about the data, in words.
    """

    given: Mixture
    framing: frames.Framing
    chart: Chart
    rows: Rows
    jacobian: float
    floor: Tensor
    bounded: frozenset[str]
    redundant: tuple[Slopes, ...]
    notes: tuple[str, ...]


def prepare(
    mixture: Mixture,
    rows: Rows,
    *,
    bounds: Limits | None = None,
    fixed: Mapping[str, Tensor] | None = None,
    gauge: str = "fixed",
    min_scale: float | Tensor | None = None,
    alpha: float = 0.0,
    framing: frames.Framing | None = None,
) -> Model:
    """Move a mixture and its data to working units and build the chart.

    Parameters
    ----------
    framing : Framing, optional
        Working units; by default those that `frames.choose` finds.

    Raises
    ------
    ValueError
        For a gate without a density, fewer rows than leaves, no weight, or values that are not finite.
    """
    (require_density if mixture.family.has_density else require_continuity)(mixture)
    if rows.n_units < mixture.n_leaves:
        raise ValueError(f"{rows.n_units} rows for {mixture.n_leaves} experts: give at least one row per expert")
    if not rows.total > 0:
        raise ValueError("the weights sum to zero: nothing to fit")
    for block in rows.blocks(CHUNK):
        fault = mixture.family.invalid(block.y)
        if fault:
            raise ValueError(f"y has {fault}")
    framing = framing or frames.choose(mixture, rows, {**(bounds or {}), **(fixed or {})})
    for name, frame in (("X", framing.x), ("gate_X", framing.gate_x), ("y", framing.y)):
        if not bool((frame.shift.isfinite() & frame.scale.isfinite()).all()):
            raise ValueError(f"{name} has values that are not finite or overflow when squared: clean or rescale it")
    d, gate_d, q = rows.x.shape[1], rows.gate_x.shape[1], mixture.family.outputs(rows.y.shape[1])
    neutral = frames.neutral(mixture, d, gate_d, q)
    working = frames.reframe(mixture, neutral, framing)[0]
    columns = frames.identity(rows.y.shape[1])
    moved_rows = rows.framed(framing.x, framing.gate_x, framing.y if mixture.family.location_scale else columns)
    limits: dict[str, tuple[float | Tensor, float | Tensor]]
    limits, held = _moved(mixture, neutral, framing, bounds or {}, fixed or {})
    jacobian = 0.0
    floors: dict[str, tuple[Tensor, float]] = {}
    if mixture.family.location_scale and mixture.family.has_density:
        jacobian = -float(torch.log(framing.y.scale).sum())
        floor = scale_floor(rows, min_scale)
        mixture = replace(mixture, family=mixture.family.floored(floor)[0])
        family, floors = working.family.floored(floor / framing.y.scale)
        working = replace(working, family=family)
        for name, (low, high) in floors.items():
            below, above = limits.get(f"family.{name}", (low, high))
            limits[f"family.{name}"] = torch.maximum(low, torch.as_tensor(below, dtype=low.dtype)), above
    shrunk = [f"gates.{i}.{name}" for i, g in enumerate(working.gates) for name in g.score.slopes()] if alpha else []
    redundant = find_redundant(working, moved_rows, {*(bounds or {}), *(fixed or {}), *shrunk})
    fixed_parts = _held_slopes(redundant, neutral, held)
    chart = make_chart(working, d, gate_d, q, bounds=limits, fixed=fixed_parts, gauge=gauge)
    notes = tuple(
        f"column {', '.join(map(str, s.extra))} of {s.room} is constant or a combination of others: its slopes are not "
        "unique"
        for s in redundant
    )
    floor_mask, bounded = _on_floor(chart, floors), frozenset(bounds or ())
    return Model(mixture, framing, chart, moved_rows, jacobian, floor_mask, bounded, redundant, notes)


def _on_floor(chart: Chart, floors: Mapping[str, tuple[Tensor, float]]) -> Tensor:
    """Return which free coordinates (P,) have the scale floor, and no higher bound that was given, below them."""
    mask = torch.zeros(chart.size, dtype=torch.bool)
    for name, (low, _) in floors.items():
        column = chart.columns(f"family.{name}")
        value = torch.log(low.clamp_min(0.0)).expand(column.shape)
        used = (column >= 0) & low.isfinite().expand(column.shape)
        mask[column[used]] = chart.lower[column[used]] <= value[used] + 1e-12
    return mask


def scale_floor(rows: Rows, min_scale: float | Tensor | None) -> Tensor:
    """Return the floor of the standard deviation of each response: .01 of its spread unless given.

    Raises
    ------
    ValueError
        If a given floor is not positive.
    """
    spread = frames.moments(rows.y, rows.weight, rows.ends).scale
    if min_scale is None:
        return 0.01 * spread
    floor = torch.as_tensor(min_scale, dtype=torch.float64).expand(spread.shape)
    if not bool((floor > 0).all()):
        raise ValueError(f"min_scale={min_scale}: the floor of a standard deviation is positive")
    return floor


def _moved(
    mixture: Mixture, neutral: Measure, framing: frames.Framing, bounds: Limits, fixed: Mapping[str, Tensor]
) -> tuple[dict[str, tuple[float | Tensor, float | Tensor]], dict[str, Tensor]]:
    """Return bounds and fixed values in working units: elementwise multiples, since these rooms keep their origin."""
    if not bounds and not fixed:
        return {}, {}
    factors = frames.reframe(mixture, neutral.map(torch.ones_like), framing)[1].paths()
    unknown = [path for path in (*bounds, *fixed) if path not in factors]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a parameter of this mixture: the paths are {', '.join(factors)}")
    as_given = neutral.map(torch.ones_like).paths()
    ratio = {path: factors[path] / as_given[path] for path in (*bounds, *fixed)}
    limits: dict[str, tuple[float | Tensor, float | Tensor]] = {
        path: (low * ratio[path], high * ratio[path]) for path, (low, high) in bounds.items()
    }
    return limits, {path: torch.as_tensor(value, dtype=torch.float64) * ratio[path] for path, value in fixed.items()}


def find_redundant(working: Mixture, rows: Rows, determined: Container[str]) -> tuple[Slopes, ...]:
    """Return the slopes that are not unique, by room; bounds, fixed values and a ridge make theirs `determined`."""
    gates = tuple(f"gates.{i}.{name}" for i, gate in enumerate(working.gates) for name in gate.score.slopes())
    experts = tuple(f"experts.{name}" for name in working.expert.slopes())
    found = []
    for room, columns, paths in (("X", rows.x, experts), ("gate_X", rows.gate_x, gates)):
        paths = tuple(path for path in paths if path not in determined)
        moments, covariance = second_moments(columns, rows)
        extra = dependent(covariance, moments) if paths else []
        if extra:
            values, vectors = torch.linalg.eigh(moments)
            found.append(Slopes(room, paths, extra, vectors[:, values > DEPENDENT * values.max()]))
    return tuple(found)


def _held_slopes(redundant: tuple[Slopes, ...], neutral: Measure, held: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hold the slopes of columns that depend on others at zero."""
    fixed = dict(held)
    for _, paths, extra, _ in redundant:
        for path in paths:
            value = fixed.get(path, torch.full_like(neutral.paths()[path], torch.nan)).clone()
            value[..., extra] = torch.where(value[..., extra].isnan(), 0.0, value[..., extra])
            fixed[path] = value
    return fixed


def second_moments(columns: Columns, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return weighted second moments (d, d) about zero and about the mean, in working units."""
    n, d = columns.shape
    total, mean = torch.zeros(d, d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    weights = frames.row_weights(rows.weight, rows.ends, n)
    for start in range(0, n, CHUNK):
        part = columns.read(start, min(start + CHUNK, n))
        weighed = part if weights is None else part * weights[start : start + part.shape[-1]]
        total += weighed @ part.T
        mean += weighed.sum(-1)
    mean = mean / rows.total
    return total / rows.total, total / rows.total - torch.outer(mean, mean)


def dependent(covariance: Tensor, moments: Tensor) -> list[int]:
    """Return the columns that are constant or linear combinations of the columns before them."""
    left, out = covariance.clone(), []
    for j in range(len(left)):
        constant = float(covariance[j, j]) <= 1e-20 * float(moments[j, j])
        if constant or float(left[j, j]) <= DEPENDENT * float(covariance[j, j]):
            out.append(j)
            continue
        left = left - torch.outer(left[:, j], left[j]) / left[j, j]
    return out


def shortest(model: Model, measure: Measure) -> Measure:
    """Return the measure whose slopes have the least norm among those with the same values on the data."""
    changed = measure.paths()
    for _, paths, _, seen in model.redundant:
        for path in paths:
            changed[path] = changed[path] @ seen @ seen.T
    return from_paths(changed, model.chart.mixture.depth)
