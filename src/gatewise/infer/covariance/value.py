"""Estimates with their covariance: what `information` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.infer.text import frame, html_listing, listing
from gatewise.markup import lines, page
from gatewise.objective.parameterization import unflatten

if TYPE_CHECKING:
    from pandas import DataFrame

OBSERVED, SANDWICH, EXPECTED = "observed", "sandwich", "expected"
TITLES = {
    OBSERVED: "Observed information",
    SANDWICH: "Sandwich (robust) errors",
    EXPECTED: "Expected information of one row",
}


class Information(NamedTuple):
    """Estimates with their covariance matrix, in the units of the data, one entry per number of the measure.

    Attributes
    ----------
    mixture : Mixture
    shapes : dict path -> shape
    names : tuple of str
        Such as ``gates.0.weight[0,1]``.
    estimate : Tensor (F,)
    covariance : Tensor (F, F)
        Zero for parameters that are not estimated, such as a reference branch; NaN if there are no standard errors.
    transform : LongTensor (F,)
        0: unrestricted; 1: positive; 2: estimated as its reciprocal (degrees of freedom).
    held : Tensor (F,) of bool
        Parameters that are not estimated.
    undetermined : Tensor (F, l)
        Directions that the data do not determine (collinear columns, the length of a weight in a cosine). A function of
        the parameters that changes along one of them has no unique estimate.
    kind : {"observed", "sandwich", "expected"}
        ``expected``: the covariance is that of a truth, times the number of rows.
    notes : tuple of str
        Remarks for the reader.
    refused : str or None
        Why there are no standard errors.
    directions : tuple of str
        The parameters or experts named in `refused`.
    variance : float or None
        Residual variance ``SSE / (n q - rank)`` after least squares, in squared units of y.
    limits : Tensor (2, F) or None
        Least and largest end of intervals: the bounds of the fit. None: no bounds.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> found = model.inference(tone.X, tone.y).information
    >>> found.names[:2], found.covariance.shape, found.refused
    (('gates.0.bias[0]', 'gates.0.bias[1]'), torch.Size([8, 8]), None)
    """

    mixture: Mixture
    shapes: dict[str, tuple[int, ...]]
    names: tuple[str, ...]
    estimate: Tensor
    covariance: Tensor
    transform: Tensor
    held: Tensor
    undetermined: Tensor
    kind: str
    notes: tuple[str, ...] = ()
    refused: str | None = None
    directions: tuple[str, ...] = ()
    variance: float | None = None
    limits: Tensor | None = None

    def text(self) -> str:
        """Return the estimates with their errors as a table, or why there are none, and the notes."""
        title = f"{TITLES[self.kind]}, {len(self.names)} numbers"
        if self.refused:
            return f"{title}: no errors, because {self.refused}"
        error = flat_errors(self)
        rows = listing(self.names, self._columns(), error)
        return "\n".join([title, *rows, *(f"Note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        title, error = TITLES[self.kind], flat_errors(self)
        if self.refused:
            return page(title, lines([f"No errors, because {self.refused}"]))
        listed = html_listing(self.names, self._columns(), error)
        return page(title, listed, lines(f"Note: {note}" for note in self.notes))

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row per number; errors are NaN where there are none."""
        return frame(self.names, self._columns())

    def _columns(self) -> dict[str, Tensor]:
        return {"estimate": self.estimate, "std. error": flat_errors(self)}

    def measure(self, values: Tensor) -> Measure:
        """Return values ``(*B, F)`` as a measure."""
        return unflatten(self.shapes, values, self.mixture.depth)

    def index(self, name: str) -> int:  # type: ignore[override]
        """Return the position of a parameter.

        Raises
        ------
        ValueError
            For a name that the mixture has not.
        """
        if name not in self.names:
            raise ValueError(f"{name!r} is not a parameter of this mixture: the names are {', '.join(self.names)}")
        return self.names.index(name)


def flat_errors(found: Information) -> Tensor:
    """Return the standard errors (F,) in the order of the names."""
    error = found.covariance.diagonal().clamp_min(0.0).sqrt()
    return torch.where((found.undetermined != 0).any(-1), torch.nan, error)
