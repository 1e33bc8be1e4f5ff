"""Working units: fits run on standardised data and map their parameters back exactly.

A part that cannot be re-expressed exactly in other units (a user's own score without `rescale`, an expert without
`rescale_response`) keeps the units of the data.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor

from gatewise.buffers import buffer
from gatewise.core.experts import Expert
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.predictors import AffineTransform
from gatewise.objective.columns import Columns
from gatewise.objective.parameterization import from_paths, specifications
from gatewise.objective.rows import READ, Rows


class Framing(NamedTuple):
    """Frames of expert inputs, gate inputs and response."""

    x: AffineTransform
    gate_x: AffineTransform
    y: AffineTransform

    def inverse(self) -> Framing:
        """Return the framing back to the units of the data."""
        return Framing(self.x.inverse(), self.gate_x.inverse(), self.y.inverse())


def home(mixture: Mixture, framing: Framing) -> Framing:
    """Return the framing that leads from working units back to the parameters of a mixture.

    These are in the units of the data, and refer to the origin of a part that has one.
    """
    back = framing.inverse()
    of_gates = next((gate.score.reference() for gate in mixture.gates if gate.score.reference()), None)
    x = _from(back.x, framing.x, mixture.expert.reference())
    return Framing(x, _from(back.gate_x, framing.gate_x, of_gates), back.y)


def _from(back: AffineTransform, frame: AffineTransform, origin: tuple[float, ...] | None) -> AffineTransform:
    """Return the frame back to inputs less an origin, given that back to the inputs."""
    if origin is None:
        return back
    return back._replace(shift=(back.shift.new_tensor(origin) - frame.shift) / frame.scale)


Moments = tuple[Tensor, Tensor, Tensor, Tensor, float]  # anchor and unit (d,); about these: mean, squares (d,), weight


def moments_of(rows: Rows, room: str) -> AffineTransform:
    """Return weighted mean and standard deviation of each column of a room of the rows: ``x``, ``gate_x`` or ``y``."""
    return _frame_of(rows.fold(_of_room, _together, room))


def _of_room(rows: Rows, room: str) -> Moments:
    return _moments(getattr(rows, room), rows.weight, rows.ends, READ)


def _together(one: Moments, other: Moments) -> Moments:
    """Return the moments of both sets of rows, about the anchor and in the unit of the first."""
    anchor, unit, mean, squares, total = one
    ratio, more = other[1] / unit, other[4]
    if more == 0:
        return one
    step = (other[0] - anchor) / unit + other[2] * ratio - mean
    squares = squares + other[3] * ratio**2 + step**2 * total * more / (total + more)
    return anchor, unit, mean + step * more / (total + more), squares, total + more


def moments(columns: Columns, weight: Tensor | None, ends: Tensor | None, size: int = READ) -> AffineTransform:
    """Return weighted mean and standard deviation of each column; a constant column gets standard deviation one."""
    return _frame_of(_moments(columns, weight, ends, size))


def _frame_of(found: Moments) -> AffineTransform:
    anchor, unit, first, second, total = found
    sd = torch.sqrt(second / max(total, 1e-300)) * unit
    level = first * unit + anchor
    flat = sd <= 1e-13 * (level.abs() + anchor.abs())
    return AffineTransform(level, torch.where(flat | (sd == 0), 1.0, sd))


def _moments(columns: Columns, weight: Tensor | None, ends: Tensor | None, size: int) -> Moments:
    """Return mean and sum of squared deviations about the first row, in units of the first block."""
    n, d = columns.shape
    rows = row_weights(weight, ends)
    first, second, total = torch.zeros(d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64), 0.0
    anchor = columns.read(0, 1)[:, 0]
    unit = (columns.read(0, min(size, n)) - anchor[:, None]).abs().amax(-1)
    unit = torch.where((unit > 0) & unit.isfinite(), unit, 1.0)  # squares of tiny values would vanish
    for start in range(0, n, size):
        read = columns.read(start, min(start + size, n))
        part = torch.from_numpy(buffer(*read.shape))
        torch.sub(read, anchor[:, None], out=part).div_(unit[:, None])
        w = part.new_ones(part.shape[-1]) if rows is None else rows[start : start + part.shape[-1]]
        block_total = float(w.sum())
        if block_total == 0:
            continue
        mean = part @ w / block_total
        spread = part.sub_(mean[:, None]).square_() @ w
        step = mean - first
        second += spread + step**2 * total * block_total / (total + block_total)
        first += step * block_total / (total + block_total)
        total += block_total
    return anchor, unit, first, second, total


def row_weights(weight: Tensor | None, ends: Tensor | None) -> Tensor | None:
    """Return the weight of every row from those of the units; None when all are one."""
    if weight is None or ends is None:
        return weight
    return torch.repeat_interleave(weight, ends.diff(prepend=ends.new_zeros(1)))


def identity(size: int) -> AffineTransform:
    """Return the frame that changes nothing."""
    return AffineTransform(torch.zeros(size, dtype=torch.float64), torch.ones(size, dtype=torch.float64))


def neutral(mixture: Mixture, d: int, gate_d: int, q: int) -> Measure:
    """Return a measure of the right shapes with every parameter at its neutral value."""
    specs = specifications(mixture, d, gate_d, q)
    values = {path: torch.full(shape, spec.initial, dtype=torch.float64) for path, (spec, shape) in specs.items()}
    return from_paths(values, mixture.depth)


def in_other_units(mixture: Mixture, measure: Measure, framing: Framing) -> tuple[Mixture, Measure]:
    """Return mixture and measure with the same density, up to the units of y, on framed data.

    Raises
    ------
    ValueError
        If a part has no exact form in those units (choose the framing with `choose`).
    """
    gates, gate_params = [], []
    for gate, params in zip(mixture.gates, measure.gates, strict=True):
        moved = gate.rescale(params, framing.gate_x)
        if moved is None:
            if not _trivial(framing.gate_x):
                raise ValueError(f"{gate.score} has no exact form in other units")
            moved = gate, dict(params)
        gates.append(moved[0])
        gate_params.append(moved[1])
    expert, params = mixture.expert, dict(measure.experts)
    for method, frame in ((expert.rescale, framing.x), (None, framing.y)):
        step = method(params, frame) if method else expert.rescale_response(params, frame)
        if step is not None:
            expert, params = cast(Expert, step[0]), step[1]
        elif not _trivial(frame):
            raise ValueError(f"{mixture.expert} has no exact form in other units")
    family, own = mixture.family.rescale_response(measure.family, framing.y)
    moved_mixture = replace(mixture, gates=tuple(gates), expert=expert, family=family)
    return moved_mixture, Measure(tuple(gate_params), params, own)


def _trivial(frame: AffineTransform) -> bool:
    return bool((frame.shift == 0).all() and (frame.scale == 1).all())


def equal_at_the_origin(mixture: Mixture, d: int) -> bool:
    """Return whether shared parameters of experts would not be equal about another origin of their d inputs.

    Two leaves that differ in all they do not share are moved there.
    """
    params = {}
    for name, spec in mixture.expert.parameters(d).items():
        apart = torch.arange(2 * spec.size, dtype=torch.float64).reshape(2, 1, *spec.shape)
        params[name] = apart[:1].expand_as(apart) if f"experts.{name}" in mixture.shared else apart + 1
    one = torch.ones(d, dtype=torch.float64)
    moved = mixture.expert.rescale(params, AffineTransform(one, one))
    tied = [] if moved is None else [moved[1][name] for name in params if f"experts.{name}" in mixture.shared]
    return any(not bool((value[0] == value[1]).all()) for value in tied)


def response_frame(mixture: Mixture, rows: Rows) -> AffineTransform:
    """Return the units of the response: standardised where the family allows it.

    Squares of several outputs count alike, so these keep one common unit; weights that do not sum to one do not carry a
    shift of their experts over to the mean.
    """
    if not mixture.family.location_scale:
        return identity(mixture.family.outputs(rows.y.shape[1]))
    y = moments_of(rows, "y")
    if not mixture.family.has_density:
        y = y._replace(scale=y.scale.square().mean().sqrt().expand(y.scale.shape))
    return y if mixture.normalised else y._replace(shift=torch.zeros_like(y.shift))


def choose(mixture: Mixture, rows: Rows, held: Collection[str]) -> Framing:
    """Return the framing in which a mixture is fitted.

    Parameters
    ----------
    held : collection of paths
        Parameters with bounds, fixed values or ties: their room keeps its origin, so that these stay elementwise.
    """
    d, gate_d, q = rows.x.shape[1], rows.gate_x.shape[1], mixture.family.outputs(rows.y.shape[1])
    at = neutral(mixture, d, gate_d, q)
    x = moments_of(rows, "x")
    gate_x = x if rows.gate_x is rows.x else moments_of(rows, "gate_x")
    y = response_frame(mixture, rows)
    if any(path.startswith("gates.") for path in set(held).difference(mixture.paths("gates", "temperature"))):
        gate_x = AffineTransform(torch.zeros_like(gate_x.shift), gate_x.scale)
    if any(path.startswith("experts.") for path in held) or equal_at_the_origin(mixture, d):
        x = AffineTransform(torch.zeros_like(x.shift), x.scale)
        y = AffineTransform(torch.zeros_like(y.shift), y.scale)
    if any(g.rescale(p, gate_x) is None for g, p in zip(mixture.gates, at.gates, strict=True)):
        gate_x = identity(gate_d)
    if mixture.expert.rescale(at.experts, x) is None:
        x = identity(d)
    if mixture.expert.rescale_response(at.experts, y) is None:
        y = identity(q)
    return Framing(x, gate_x, y)
