"""Warnings of a fit that its data explain: light weights, counts without variation."""

from __future__ import annotations

import warnings

import torch

from gatewise.estimators.warnings import SeparatedWarning, UnsoundWarning
from gatewise.fit.result import Fit
from gatewise.fit.status import Status
from gatewise.objective.rows import Columns, Rows


def light(rows: Rows, how: str) -> str:
    """Return what is wrong with weights of a small sum, and the remedy."""
    return (
        f"sample_weight sums to {rows.total:.6g} over {rows.n} rows, {how}: frequency weights count rows, so that 2 "
        f"is a row twice; multiply them by {rows.n / rows.total:.6g} for a sum of the number of rows"
    )


def alert_data(fit: Fit, rows: Rows, stacklevel: int) -> None:
    """Warn where the data explain a status: weights that count as less than one row each, counts without variation."""
    if fit.certificate.starved and rows.total < rows.n:
        text = light(rows, "too few for the parameters of every expert")
        warnings.warn(text, UnsoundWarning, stacklevel=stacklevel + 1)
    if fit.mixture.family.discrete and Status.separated in fit.flags:
        for j, (least, most) in enumerate(extremes(rows.y)):
            if least == most:
                text = (
                    f"every value of column {j} of y is {least:g}: its mean is an end of the family's range, where "
                    "parameters have no finite value; add rows with other values, or leave the column out"
                )
                warnings.warn(text, SeparatedWarning, stacklevel=stacklevel + 1)


def extremes(values: Columns) -> list[tuple[float, float]]:
    """Return least and largest value of every column, read block by block."""
    n = values.shape[0]
    ends = [values.read(i, min(i + 65536, n)).aminmax(dim=-1) for i in range(0, n, 65536)]
    least, most = (torch.stack(side) for side in zip(*ends, strict=True))
    return list(zip(least.amin(0).tolist(), most.amax(0).tolist(), strict=True))
