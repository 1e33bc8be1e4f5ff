"""A start that is given: a fit, a measure, or the responsibilities of the leaves at the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure
from gatewise.fit.arguments import numbers, starts_number
from gatewise.fit.model import PreparedModel
from gatewise.fit.result import Fit
from gatewise.fit.search.starts import from_shares, given_starts, response_of

Start = Fit | Measure | Tensor | np.ndarray

SURE = 1 - 1e-6  # of shares that are 0 and 1: gates have no finite start otherwise
SUM = 1e-6  # by which the responsibilities of a row may miss one


def count_of(starts: Any, start: Start | None) -> int | Literal["auto"] | Sequence[Measure]:
    """Return the number of starts, "auto", or the measures that a search begins at.

    Raises
    ------
    ValueError
        For no start, and for a start beside a list of measures.
    """
    if isinstance(starts, list | tuple) and not isinstance(starts, Measure):
        if not starts or not all(isinstance(one, Measure) for one in starts) or start is not None:
            raise ValueError("starts is a list: give measures in it, and no other start beside it")
        return starts
    return starts_number("starts", starts)


def point_of(model: PreparedModel, start: Start, generator: np.random.Generator) -> Tensor:
    """Return the free coordinates (P,) of a start.

    Raises
    ------
    ValueError
        If it has another size or family than the model, or values that are not finite.
    """
    if isinstance(start, Fit):
        _require_family(model, start)
        start = start.measure
    if not isinstance(start, Measure):
        return _from_responsibilities(model, start, generator)
    _require_shapes(model, start)
    return given_starts(model.parameterization, [model.working(start)])[0]


def _require_family(model: PreparedModel, start: Fit) -> None:
    mine, other = model.given, start.mixture
    if mine.branching != other.branching:
        raise ValueError(
            f"start has the experts {other.branching}, this model {mine.branching}: give one of equal size"
        )
    if [type(law) for law in mine.family.kinds()] != [type(law) for law in other.family.kinds()]:
        raise ValueError(f"start has the family {other.family}, this model {mine.family}: give one of the same family")


def _require_shapes(model: PreparedModel, start: Measure) -> None:
    found = {path: tuple(value.shape) for path, value in start.paths().items()}
    wanted = model.parameterization.shapes
    if found.keys() != wanted.keys():
        raise ValueError(
            f"start has the parameters {', '.join(found)}; this model has {', '.join(wanted)}: give a start with the "
            "same gate, expert and family"
        )
    for path, shape in wanted.items():
        if found[path] != shape:
            raise ValueError(
                f"start has {path} of shape {found[path]}, this model of shape {shape}: give a start with as many "
                "experts, inputs and responses"
            )
        if not bool(start.paths()[path].isfinite().all()):
            raise ValueError(f"start has values of {path} that are not finite: give a start with finite parameters")


def _from_responsibilities(model: PreparedModel, given: Any, generator: np.random.Generator) -> Tensor:
    """Return the point whose experts and gates are fitted to the rows that each leaf is responsible for."""
    mixture, rows = model.parameterization.mixture, model.rows
    share = torch.from_numpy(numbers("start", given))
    if share.shape != (rows.n, mixture.n_leaves):
        raise ValueError(
            f"start has shape {tuple(share.shape)}: responsibilities have one row per observation and one column per "
            f"expert, {(rows.n, mixture.n_leaves)}; or give a fitted model, a Fit or a Measure"
        )
    if not bool(((share >= 0) & ((share.sum(1, keepdim=True) - 1).abs() <= SUM)).all()):
        raise ValueError("start has rows that are not probabilities: responsibilities are from 0 and sum to 1 in a row")
    block = rows.read(0, rows.n_units)
    softened = SURE * share.T + (1 - SURE) / mixture.n_leaves
    measure = from_shares(mixture, block, response_of(mixture, block), softened, generator, False)
    return given_starts(model.parameterization, [measure])[0]
