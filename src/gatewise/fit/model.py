"""A model ready to be fitted: mixture and rows in working units, its parameterization, what was noticed of the data."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from math import inf, log
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.families import Family
from gatewise.core.mixture import Measure, Mixture, require_continuity, require_density
from gatewise.core.predictors import AffineTransform
from gatewise.fit import frames
from gatewise.fit.floor import narrow_spread, scale_floor
from gatewise.fit.limits import require_in_range, require_inside, require_resolved, require_slopes
from gatewise.fit.memory import require_memory
from gatewise.fit.spec import FitSpec
from gatewise.objective.columns import Columns
from gatewise.objective.parameterization import Parameterization, from_paths, make_parameterization, specifications
from gatewise.objective.rows import READ, Rows
from gatewise.objective.ties import tied

DEPENDENT = 1e-7  # share of a standardised column's length that others leave unexplained when it depends on them


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
    constants : tuple of str
        Intercepts that move with slopes of these columns, where a constant is a combination of them.
    """

    room: str
    paths: tuple[str, ...]
    extra: list[int]
    seen: Tensor
    constants: tuple[str, ...] = ()


class PreparedModel(NamedTuple):
    """A mixture in working units with its parameterization, ready to be fitted.

    Attributes
    ----------
    given : Mixture
        In the units of the data.
    spec : FitSpec
        With the floor of scales that is used.
    framing : Framing
        Working units.
    parameterization : Parameterization
        Of the working mixture.
    rows : Rows
        In working units.
    jacobian : float
        Log-likelihood in the units of the data minus that in working units, per unit of weight.
    floor : Tensor (P,) of int
        -1 where the lower bound is the floor of a scale, or an end at which the law has no noise; 1 where the upper one
        is such an end; else 0.
    tiny : mapping path -> Tensor
        Below this, in working units, an entry of a scale needs many rows.
    narrow : Tensor (q,) or None
        Below this an expert's spread on the scale of the predictor needs many rows, where y cannot be scaled.
    redundant : tuple of Slopes
        Slopes that are not unique because columns depend on others.
    notes : tuple of str
        What was noticed about the data, in words.
    """

    given: Mixture
    spec: FitSpec
    framing: frames.Framing
    parameterization: Parameterization
    rows: Rows
    jacobian: float
    floor: Tensor
    tiny: Mapping[str, Tensor]
    narrow: Tensor | None
    redundant: tuple[Slopes, ...]
    notes: tuple[str, ...]

    def working(self, measure: Measure) -> Measure:
        """Return a measure of the given mixture in working units."""
        return frames.in_other_units(self.given, measure, self.framing)[1]


def prepare(mixture: Mixture, rows: Rows, spec: FitSpec, framing: frames.Framing | None = None) -> PreparedModel:
    """Move a mixture and its data to working units and build the parameterization.

    Parameters
    ----------
    mixture : Mixture
    rows : Rows
    spec : FitSpec
    framing : Framing, optional
        Working units; by default those that `frames.choose` finds.

    Raises
    ------
    ValueError
        For a gate without a density, fewer rows than leaves, no weight, values that are not finite, or more parameters
        than there is memory for.
    """
    _require_rows(mixture, rows)
    require_memory(mixture, rows)
    require_slopes(mixture, spec.alpha)
    framing = framing or frames.choose(mixture, rows, spec.determined)
    for name, frame in (("X", framing.x), ("gate_X", framing.gate_x), ("y", framing.y)):
        if not bool((frame.shift.isfinite() & frame.scale.isfinite()).all()):
            raise ValueError(f"{name} has values that are not finite or overflow when squared: clean or rescale it")
    d, gate_d, q = rows.x.shape[1], rows.gate_x.shape[1], mixture.family.outputs(rows.y.shape[1])
    neutral = frames.neutral(mixture, d, gate_d, q)
    working = frames.in_other_units(mixture, neutral, framing)[0]
    columns = frames.identity(rows.y.shape[1])
    moved_rows = rows.framed(framing.x, framing.gate_x, framing.y if mixture.family.location_scale else columns)
    units = _units(mixture, neutral, framing, spec.determined)
    require_in_range(spec.bounds, {p: one for p, (one, _) in specifications(mixture, d, gate_d, q).items()})
    require_resolved(mixture, spec.fixed, framing.y.shift, framing.y.scale)
    limits: dict[str, tuple[float | Tensor, float | Tensor]]
    limits = {path: (low * units[path], high * units[path]) for path, (low, high) in spec.bounds.items()}
    held = {path: torch.as_tensor(value, dtype=torch.float64) * units[path] for path, value in spec.fixed.items()}
    jacobian = 0.0
    floors: dict[str, tuple[Tensor, float]] = {}
    tiny: dict[str, Tensor] = {}
    if mixture.family.location_scale and mixture.family.has_density:
        jacobian = -float(torch.log(framing.y.scale).sum())
        scales = scale_floor(rows, spec.min_scale, mixture.family)
        spec = replace(spec, min_scale=scales)
        floor, unit = scales.value / framing.y.scale, torch.ones_like(scales.value)
        mixture = replace(mixture, family=mixture.family.with_scale_floor(scales.value)[0])
        tiny = _thresholds(working, working.family.with_scale_floor(unit)[1], scales.tiny / framing.y.scale)
        family, floors = working.family.with_scale_floor(floor)
        working = replace(working, family=family)
        for name, (low, high) in floors.items():
            below, above = limits.get(f"family.{name}", (low, high))
            limits[f"family.{name}"] = torch.maximum(low, torch.as_tensor(below, dtype=low.dtype)), above
    shrunk = working.paths("gates", "slope") if spec.alpha else ()
    redundant = find_redundant(working, moved_rows, {*spec.determined, *shrunk}, spec.fixed)
    redundant = tuple(slopes._replace(constants=_constants(slopes, working, rows)) for slopes in redundant)
    fixed_parts = _held_slopes(redundant, neutral, held)
    parameterization = make_parameterization(
        working, d, gate_d, q, bounds=limits, fixed=fixed_parts, gauge=spec.gauge, reference=spec.reference
    )
    require_inside(mixture, spec, parameterization, units)
    parameterization = tied(parameterization, spec.ties, units)
    notes = tuple(
        f"column {', '.join(map(str, s.extra))} of {s.room} is constant or a combination of others: its slopes are not "
        "unique"
        for s in redundant
    )
    mask = _at_floor(parameterization, floors) + _at_exact_ends(parameterization, q)
    narrow = None if mixture.family.location_scale else narrow_spread(rows, mixture.family)
    parts = mask, tiny, narrow, redundant
    return PreparedModel(mixture, spec, framing, parameterization, moved_rows, jacobian, *parts, notes)


def _thresholds(working: Mixture, floors: Mapping[str, tuple[Tensor, float]], tiny: Tensor) -> dict[str, Tensor]:
    """Return the tiny scale of every entry that has a floor, given the family's floors for scales of one."""
    of_entries = working.family.with_scale_floor(tiny)[1]
    free = {name: low for name, (low, _) in floors.items() if f"family.{name}" not in working.shared}
    return {
        f"family.{name}": torch.where(low.isfinite(), of_entries[name][0] / low, -torch.inf)
        for name, low in free.items()
    }


def _at_exact_ends(parameterization: Parameterization, q: int) -> Tensor:
    """Return which free coordinates (P,) have an end at which the law has no noise below (-1) or above (1) them."""
    family, ends = parameterization.mixture.family, torch.zeros(parameterization.size, dtype=torch.int8)
    for name, upper in family.exact_ends().items():
        low, high = (log(end) if end > 0 else -inf for end in family.parameters(q)[name].bounds)
        columns = parameterization.columns(f"family.{name}").flatten().unique()
        columns = columns[columns >= 0]
        at = (
            parameterization.upper[columns] >= high - 1e-12 if upper else parameterization.lower[columns] <= low + 1e-12
        )
        ends[columns[at]] = 1 if upper else -1
    return ends


def _at_floor(parameterization: Parameterization, floors: Mapping[str, tuple[Tensor, float]]) -> Tensor:
    """Return which free coordinates (P,) have the scale floor, and no higher bound that was given, below them (-1)."""
    mask = torch.zeros(parameterization.size, dtype=torch.int8)
    for name, (low, _) in floors.items():
        column = parameterization.columns(f"family.{name}")
        value = torch.log(low.clamp_min(0.0)).expand(column.shape)
        used = (column >= 0) & low.isfinite().expand(column.shape)
        mask[column[used]] = -(parameterization.lower[column[used]] <= value[used] + 1e-12).to(torch.int8)
    return mask


def _units(
    mixture: Mixture, neutral: Measure, framing: frames.Framing, determined: frozenset[str]
) -> dict[str, Tensor]:
    """Return what one unit of the data is in working units, of all entries of the paths that keep their origin."""
    if not determined:
        return {}
    factors = frames.in_other_units(mixture, neutral.map(torch.ones_like), framing)[1].paths()
    unknown = [path for path in sorted(determined) if path not in factors]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a parameter of this mixture: the paths are {', '.join(factors)}")
    return {path: factors[path] for path in determined}


def _require_rows(mixture: Mixture, rows: Rows) -> None:
    """Raise unless the mixture can be fitted, to these rows."""
    require_continuity(mixture)
    if mixture.family.has_density:
        require_density(mixture)
    if rows.n_units < mixture.n_leaves:
        raise ValueError(f"{rows.n_units} rows for {mixture.n_leaves} experts: give at least one row per expert")
    if not rows.total > 0:
        raise ValueError("the weights sum to zero: nothing to fit")
    fault = rows.fold(_fault, _first_fault, mixture.family)
    if fault:
        raise ValueError(f"y has {fault}")


def _fault(rows: Rows, family: Family) -> str:
    """Return what no response of a family can be, in words; empty: nothing."""
    found = (family.validate(block.y) for block in rows.blocks(READ))
    return next(filter(None, found), "")


def _first_fault(one: str, other: str) -> str:
    return one or other


def find_redundant(
    working: Mixture, rows: Rows, determined: Container[str], fixed: Mapping[str, Tensor] = MappingProxyType({})
) -> tuple[Slopes, ...]:
    """Return the slopes that are not unique, by room; bounds, fixed values and a ridge make theirs `determined`.

    A constant, and what adds up to one, is redundant beside an intercept; not where all intercepts are `fixed`.
    """
    gates, experts = working.paths("gates", "slope"), working.paths("experts", "slope")
    found: list[Slopes] = []
    factor: Factor | None = None
    for room, place, paths in (("X", "x", experts), ("gate_X", "gate_x", gates)):
        paths = tuple(path for path in paths if path not in determined)
        if not paths:
            continue
        same = place == "x" or rows.gate_x is rows.x
        factor = factor if factor is not None and same else factor_of(rows, place)
        constants = working.paths("experts", "intercept") if room == "X" else ()
        held = bool(constants) and all(path in fixed and not bool(fixed[path].isnan().any()) for path in constants)
        extra = dependent(factor.about_zero if held else factor.centred)
        if extra:
            rank = factor.about_zero.shape[1] - len(dependent(factor.about_zero))
            found.append(Slopes(room, paths, extra, torch.linalg.svd(factor.about_zero).Vh[:rank].T))
    return tuple(found)


def _constants(slopes: Slopes, working: Mixture, rows: Rows) -> tuple[str, ...]:
    """Return the intercepts that move with redundant slopes, in the units of the data."""
    room, place = ("experts", "x") if slopes.room == "X" else ("gates", "gate_x")
    alone = dependent(factor_of(rows, place).about_zero)
    return working.paths(room, "intercept") if len(alone) < len(slopes.extra) else ()


def _held_slopes(redundant: tuple[Slopes, ...], neutral: Measure, held: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hold the slopes of columns that depend on others at zero."""
    fixed = dict(held)
    for _, paths, extra, *_ in redundant:
        for path in paths:
            value = fixed.get(path, torch.full_like(neutral.paths()[path], torch.nan)).clone()
            value[..., extra] = torch.where(value[..., extra].isnan(), 0.0, value[..., extra])
            fixed[path] = value
    return fixed


class Factor(NamedTuple):
    """The columns of a room as a triangular factor: weighted rows have the Gram matrix of its rows.

    Attributes
    ----------
    centred : Tensor (r, d)
        Of the columns less their means, in units of their standard deviations.
    about_zero : Tensor (r + 1, d)
        Of the columns themselves.
    """

    centred: Tensor
    about_zero: Tensor


def factor_of(rows: Rows, place: str) -> Factor:
    """Return the factor of the columns ``x`` or ``gate_x``, updated block by block: no digit is lost to squares."""
    frame = frames.moments_of(rows, place)
    factor = rows.fold(_triangle, _both_triangles, place, frame)
    mean = rows.total**0.5 * frame.shift
    return Factor(factor, torch.cat([factor * frame.scale, mean[None]]))


def _both_triangles(one: Tensor, other: Tensor) -> Tensor:
    return torch.linalg.qr(torch.cat([one, other]), mode="r").R


def _triangle(rows: Rows, place: str, frame: AffineTransform) -> Tensor:
    columns: Columns = getattr(rows, place)
    n, d = columns.shape
    weights = frames.row_weights(rows.weight, rows.ends)
    moved = columns.framed(frame)
    factor = torch.zeros(0, d, dtype=torch.float64)
    for start in range(0, n, READ):
        part = moved.read(start, min(start + READ, n))
        part = part if weights is None else part * weights[start : start + part.shape[-1]].sqrt()
        factor = torch.linalg.qr(torch.cat([factor, part.T]), mode="r").R
    return factor


def dependent(factor: Tensor) -> list[int]:
    """Return the columns of a factor (r, d) that are zero or linear combinations of the columns before them."""
    basis, out = factor.new_zeros(len(factor), 0), []
    for j, column in enumerate(factor.T):
        left = column
        for _ in range(2):  # once more takes away what rounding left
            left = left - basis @ (basis.T @ left)
        if float(left.norm()) <= DEPENDENT * float(column.norm()):
            out.append(j)
        else:
            basis = torch.cat([basis, (left / left.norm())[:, None]], 1)
    return out


def shortest(model: PreparedModel, measure: Measure) -> Measure:
    """Return the measure whose slopes have the least norm among those with the same values on the data."""
    changed = measure.paths()
    for _, paths, _, seen, _ in model.redundant:
        for path in paths:
            changed[path] = changed[path] @ seen @ seen.T
    return from_paths(changed, model.parameterization.mixture.depth)
