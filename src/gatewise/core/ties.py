"""Ties: numbers of a chart that are one coordinate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gatewise.core.chart_entries import IDENTITY, LOG
from gatewise.objective.parameterization import Parameterization


def tied(
    parameterization: Parameterization, ties: Sequence[tuple[str, ...]], units: Mapping[str, Tensor]
) -> Parameterization:
    """Return the chart in which the numbers of each tie are one coordinate, that of the first.

    Parameters
    ----------
    chart : Chart
    ties : tuples of names of free coordinates
    units : mapping path -> Tensor of the path's shape
        What one unit of the data is in working units: natural values are equal in the units of the data.

    Raises
    ------
    ValueError
        For a name that is not estimated, one in two ties, and numbers of different kinds.
    """
    names = [name for tie in ties for name in tie]
    for name in names:
        if name not in parameterization.names:
            raise ValueError(
                f"ties has {name!r}, which is not estimated: the names are {', '.join(parameterization.names)}"
            )
        if names.count(name) > 1:
            raise ValueError(f"ties has {name!r} twice: give each number in one tie")
    one = torch.ones((), dtype=torch.float64)
    unit = torch.cat(
        [units.get(path, one).expand(shape).reshape(-1) for path, shape in parameterization.shapes.items()]
    )
    matrix, offset, lower, upper = (
        t.clone()
        for t in (parameterization.matrix, parameterization.offset, parameterization.lower, parameterization.upper)
    )
    for first, *others in ([parameterization.names.index(name) for name in tie] for tie in ties):
        entry = int(matrix[:, first].argmax())
        for other in others:
            rows = matrix[:, other].nonzero()[:, 0]
            if bool((parameterization.kind[rows] != parameterization.kind[entry]).any()):
                raise ValueError(
                    f"{parameterization.names[first]} and {parameterization.names[other]} are of different kinds: no tie"
                )
            ratio = unit[rows[0]] / unit[entry]
            shift = torch.log(ratio) if int(parameterization.kind[entry]) == LOG else torch.zeros_like(one)
            factor = ratio if int(parameterization.kind[entry]) == IDENTITY else one
            matrix[:, first] += matrix[:, other] * factor
            offset[rows] += shift
            lower[first] = torch.maximum(lower[first], (parameterization.lower[other] - shift) / factor)
            upper[first] = torch.minimum(upper[first], (parameterization.upper[other] - shift) / factor)
    dropped = {name for tie in ties for name in tie[1:]}
    kept = [i for i, name in enumerate(parameterization.names) if name not in dropped]
    return replace(
        parameterization,
        matrix=matrix[:, kept],
        offset=offset,
        lower=lower[kept],
        upper=upper[kept],
        names=tuple(parameterization.names[i] for i in kept),
    )
