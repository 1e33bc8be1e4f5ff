"""Parameters in the units of the data, about an origin where these units would lose digits."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_predictors, leaf_weights, log_density
from gatewise.core.origin import about
from gatewise.core.predictors import AffineTransform
from gatewise.fit import frames
from gatewise.fit.model import PreparedModel

LOST = 1e-9  # error of a weight, or of an expert in working units, that is too large
DENSITY = 1e-2  # of the error of a log density, that counts like it
SAMPLE = 2048  # rows that are checked


def at_home(model: PreparedModel, working: Mixture, measure: Measure) -> tuple[Mixture, Measure]:
    """Return the given mixture and its measure for one in working units, checked against the latter on rows.

    Where the values of experts and gates in the units of the data would differ by more than 1e-9 of their size, the
    parts refer to the mean of the inputs instead of zero, if they can.
    """

    def moved(given: Mixture) -> tuple[Mixture, Measure, float]:
        there = frames.in_other_units(working, measure, frames.home(given, model.framing))[1]
        return given, there, error(model, (working, measure), (given, there))

    plain = moved(model.given)
    other = None if plain[2] <= LOST else about(model.given, model.framing.x.shift, model.framing.gate_x.shift)
    if other is None:
        return plain[:2]
    origin = moved(other)
    return origin[:2] if origin[2] < 0.1 * plain[2] else plain[:2]


def error(model: PreparedModel, working: tuple[Mixture, Measure], given: tuple[Mixture, Measure]) -> float:
    """Return by how much values in the units of the data differ from those in working units, at some rows."""
    block = model.rows.read(0, min(model.rows.n_units, SAMPLE))
    gate = block.gate_x if block.unit is None else block.gate_x[:, block.unit]
    scaled = working[0].family.location_scale  # of counts the columns of the response need not be the outputs
    parts = ((block.x, model.framing.x), (gate, model.framing.gate_x))
    outside = [_back(part, frame) for part, frame in parts]
    outside.append(_back(block.y, model.framing.y) if scaled else block.y)
    inside = [_into(part, frame) for part, (_, frame) in zip(outside[:2], parts, strict=True)]
    inside.append(_into(outside[2], model.framing.y) if scaled else block.y)
    here, there = (leaf_predictors(*pair, parts[0]) for pair, parts in ((working, inside), (given, outside)))
    there = _into(there, model.framing.y) if scaled else there
    read = [leaf for leaf, title in enumerate(working[0].titles) if not title]  # the other laws read no predictor
    here, there = here[..., read, :, :], there[..., read, :, :]
    gaps = [((there - here).abs() / here.abs().clamp_min(1.0)).max()]
    gaps.append((leaf_weights(*given, outside[1]) - leaf_weights(*working, inside[1])).abs().max())
    if working[0].family.has_density:
        known = log_density(*working, *inside) - log_density(*given, *outside)
        gaps.append(DENSITY * (known - known.median()).abs().max())  # both differ by the logarithm of the unit of y
    return float(torch.nan_to_num(torch.stack(gaps), torch.inf).max())


def _back(values: Tensor, frame: AffineTransform) -> Tensor:
    return values * frame.scale[:, None] + frame.shift[:, None]


def _into(values: Tensor, frame: AffineTransform) -> Tensor:
    return (values - frame.shift[:, None]) / frame.scale[:, None]
