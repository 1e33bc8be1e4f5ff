"""What `sample_size` returns: rows needed, with what they are needed for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Mixture
from gatewise.infer.text import frame, html_listing, listing, number
from gatewise.markup import lines, page

if TYPE_CHECKING:
    from pandas import DataFrame


class Telling(NamedTuple):
    """Rows needed so that BIC prefers the truth to the best simpler mixture.

    Attributes
    ----------
    simpler : Mixture
    divergence, noise : float
        Kullback-Leibler divergence per row of the simpler mixture nearest to the truth, and its Monte Carlo error.
    variance : float
        Of the log ratio of the two densities.
    df : int
        Parameters that the truth has more.
    probability : float
        With which BIC prefers the truth.
    rows : int or None
        None: the two were not told apart in the simulated rows.
    """

    simpler: Mixture
    divergence: float
    noise: float
    variance: float
    df: int
    probability: float
    rows: int | None


class Pilot(NamedTuple):
    """Errors of simulated data sets to which more experts were fitted than there are.

    Attributes
    ----------
    experts : int
        Branches at the innermost level of the fitted model.
    sizes : tuple of int
        Rows of the data sets.
    errors : Tensor (sizes, m)
        Median errors.
    slope : Tensor (m,)
        Exponents s with which they fall, as n^s.
    sets : int
        Data sets of each size.
    """

    experts: int
    sizes: tuple[int, ...]
    errors: Tensor
    slope: Tensor
    sets: int


class SampleSize(NamedTuple):
    """Rows needed, with a row per number of the targets: what `sample_size` returns.

    Attributes
    ----------
    rows : int or None
        Rows needed for everything that was asked; None: no number of rows is known to be enough, and `refused` says
        why. More than `needed` if a check by simulation asks for more.
    names : tuple of str
        Such as ``experts.coef[0,0,1]``; of an estimator those of its summary, ``x1[expert 0]``.
    estimate : Tensor (m,)
        True values.
    target : Tensor (m,)
        Wanted standard errors.
    unit : Tensor (m,)
        Standard error times the square root of the number of rows; 0: not estimated (a reference branch), NaN: not
        unique.
    noise : Tensor (m,)
        Monte Carlo standard error of `unit`, as a share of it.
    needed : Tensor (m,)
        Rows needed for each number by the expected information; infinite where it is not unique.
    simulated : Tensor (m,)
        Standard error at `rows` rows by simulation, half the width of the middle 68 % of the estimates; NaN without a
        check.
    telling : Telling or None
        Where a simpler mixture was given.
    pilot : Pilot or None
        Where more experts are fitted than there are. `names` are then paths, `needed` follows from the errors of the
        pilot sizes, and `estimate`, `unit` and `noise` are NaN.
    refused : str or None
    notes : tuple of str

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> from gatewise import sample_size
    >>> needed = sample_size(model, {"experts.coef": 0.01}, X=tone.X)
    >>> needed.names, needed.rows is not None
    (('stretchratio[expert 0]', 'stretchratio[expert 1]'), True)
    """

    rows: int | None
    names: tuple[str, ...]
    estimate: Tensor
    target: Tensor
    unit: Tensor
    noise: Tensor
    needed: Tensor
    simulated: Tensor
    telling: Telling | None = None
    refused: str | None = None
    notes: tuple[str, ...] = ()
    pilot: Pilot | None = None

    def text(self) -> str:
        """Return the rows needed, a table of the targets, and the notes."""
        table = listing(self.names, self._columns(), self._shown()) if self.names else []
        return "\n".join([self._title(), *table, *self._words()])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        table = html_listing(self.names, self._columns(), self._shown()) if self.names else ""
        return page(self._title(), table, lines(self._words()))

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row per number of the targets."""
        return frame(self.names, self._columns())

    def _title(self) -> str:
        if self.rows is None:
            return f"Rows needed: no number of rows is known to be enough, because {self.refused}"
        return f"Rows needed: {self.rows}"

    def _shown(self) -> Tensor:
        """Return what says of every row whether it has numbers."""
        return self.unit if self.pilot is None else self.target

    def _columns(self) -> dict[str, Tensor]:
        if self.pilot is not None:
            columns = {"target": self.target, "exponent": self.pilot.slope, "rows": self.needed}
            return {**columns, "simulated": self.simulated}
        columns = {"estimate": self.estimate, "target": self.target, "se sqrt(n)": self.unit}
        columns |= {"noise %": 100 * self.noise, "rows": self.needed}
        return columns if bool(self.simulated.isnan().all()) else {**columns, "simulated": self.simulated}

    def _words(self) -> list[str]:
        words = [] if self.telling is None else [_told(self.telling)]
        words += [] if self.pilot is None else [_piloted(self.pilot)]
        if self.pilot is None and self.rows and self.names and bool(self.simulated.isnan().all()):
            words.append("Errors by first-order theory; check=100 compares them with those of simulated data sets")
        return [*words, *(f"Note: {note}" for note in self.notes)]


def _told(telling: Telling) -> str:
    found = f"divergence {number(telling.divergence)} +- {number(telling.noise)} per row"
    rows = "unknown" if telling.rows is None else telling.rows
    few = telling.simpler.n_leaves
    wanted = f"BIC prefers the truth to {few} expert{'s' * (few > 1)} with probability {telling.probability:g}"
    return f"Rows from which {wanted}: {rows} ({found}, {telling.df} parameters more)"


def _piloted(pilot: Pilot) -> str:
    sizes = f"{min(pilot.sizes)} to {max(pilot.sizes)}"
    return (
        f"With {pilot.experts} experts, by median errors of {pilot.sets} simulated data sets of each of "
        f"{len(pilot.sizes)} sizes, {sizes} rows: they fall as n to the power of the exponent"
    )


def no_rows(reason: str) -> SampleSize:
    """Return that no number of rows is known to be enough, and why."""
    none = torch.zeros(0, dtype=torch.float64)
    return SampleSize(None, (), none, none, none, none, none, none, refused=reason)
