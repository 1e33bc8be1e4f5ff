"""What is known of rows besides their inputs: a term of the predictor (offset), and the trials behind a count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from gatewise.core.by_leaf import FamiliesByLeaf
from gatewise.core.families import Binomial, Family
from gatewise.core.mixture import Mixture
from gatewise.data.parquet import is_table
from gatewise.estimators.arrow import as_source
from gatewise.estimators.tables import column_of
from gatewise.estimators.values import plain
from gatewise.fit.arguments import numbers


class KnownValues(NamedTuple):
    """Offset and trials as they were given: arrays, names of columns of a table, or None."""

    offset: Any = None
    trials: Any = None

    def of(self, x: Any) -> KnownValues:
        """Return them with the columns of a table in place of their names."""
        if not is_table(as_source(x)) and isinstance(self.trials, str):
            raise ValueError(_named("trials", self.trials))
        if isinstance(self.offset, list | tuple) and self.offset and all(isinstance(one, str) for one in self.offset):
            parts = [column_of(x, one) for one in self.offset]
            if any(isinstance(one, str) for one in parts):
                raise ValueError(_named("offset", self.offset))
            return KnownValues(np.stack(parts, 1), column_of(x, self.trials))
        if not is_table(as_source(x)) and isinstance(self.offset, str):
            raise ValueError(_named("offset", self.offset))
        return KnownValues(column_of(x, self.offset), column_of(x, self.trials))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of columns among them."""
        several = self.offset if isinstance(self.offset, list | tuple) else [self.offset]
        return tuple(one for one in [*several, self.trials] if isinstance(one, str))


def _named(role: str, value: Any) -> str:
    return (
        f"{role}={value!r}: a name is for pyarrow tables and Parquet files, whose columns have roles by name; of a "
        f"pandas frame give the column, data[{value!r}]"
    )


def read_offset(offset: Any, n: int, q: int) -> np.ndarray | None:
    """Return the known part of the predictors ``(n, q)``: one number for all rows, one per row, or one per output too.

    Raises
    ------
    ValueError
        For another shape, and for what is no finite number.
    """
    if offset is None:
        return None
    values = numbers("offset", plain("offset", offset))
    values = np.full(n, float(values)) if values.ndim == 0 else values
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != n or values.shape[1] not in (1, q):
        wide = f" or ({n}, {q})" if q > 1 else ""
        raise ValueError(f"offset has shape {np.shape(offset)}, X has {n} rows: give one number per row, ({n},){wide}")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        raise ValueError(
            f"offset is {values[row].tolist()} in row {row}: give finite numbers, such as logs of exposures above 0"
        )
    return np.ascontiguousarray(np.broadcast_to(values, (n, q)))


def read_trials(trials: Any, n: int) -> np.ndarray:
    """Return the number of trials behind every row ``(n,)``.

    Raises
    ------
    ValueError
        For another shape, and for what is no whole number from 1.
    """
    values = numbers("trials", plain("trials", trials))
    values = np.full(n, float(values)) if values.ndim == 0 else values
    if values.shape != (n,):
        raise ValueError(f"trials has shape {values.shape}, X has {n} rows: give one number of trials per row, ({n},)")
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 1) & (values <= 2**53) & (values == np.round(values))))
    if len(wrong):
        raise ValueError(
            f"trials is {values[wrong[0]]:g} in row {wrong[0]}: give whole numbers from 1, leaving out rows without a "
            "trial"
        )
    return values


class Grouped:
    """Successes ``(n, q)`` with the failures that the trials leave beside them, ``(n, 2 q)``, read by rows."""

    def __init__(self, successes: Any, trials: np.ndarray) -> None:
        self.successes, self.trials = successes, trials
        self.shape = (successes.shape[0], 2 * successes.shape[1])

    def __getitem__(self, index: slice | list[int]) -> np.ndarray:
        hits, trials = self.successes[index], self.trials[index][:, None]
        over = np.argwhere(~(hits <= trials))
        if len(over):
            row, column = over[0]
            raise ValueError(
                f"y has {hits[row, column]:g} successes in {trials[row, 0]:g} trials: with trials, y counts the "
                "successes among them, from 0 to their number"
            )
        return np.concatenate([hits, trials - hits], 1)


def family_of_trials(family: Family) -> Family:
    """Return the binomial family whose trials differ by row.

    Raises
    ------
    ValueError
        For another family, and for one with a number of trials of its own.
    """
    if not isinstance(family, Binomial):
        raise ValueError(
            f"trials is given with family {family}: trials belong to counts of them; give family='binomial'"
        )
    if family.trials not in (1, None):
        raise ValueError(
            f"trials is given with family {family}, which has a number of trials of its own: give family='binomial', "
            "or leave trials out"
        )
    return Binomial(None)


def counts_trials(mixture: Mixture) -> bool:
    """Return whether the number of trials differs by row."""
    return any(isinstance(one, Binomial) and one.trials is None for one in mixture.family.kinds())


def require_trials_fit(mixture: Mixture, trials: Any) -> None:
    """Raise for trials of new rows of a model that has none of its own by row.

    Raises
    ------
    ValueError
        With the cause and the remedy.
    """
    if trials is not None and not counts_trials(mixture):
        raise ValueError(
            f"trials is given to a model of the family {mixture.family}, fitted without trials: leave trials out, or "
            "fit with trials"
        )


def with_trials(mixture: Mixture, trials: float) -> Mixture:
    """Return the mixture for rows with this number of trials: its mean and quantiles are counts."""
    laws = tuple(Binomial(int(trials)) if isinstance(one, Binomial) else one for one in mixture.family.kinds())
    return replace(mixture, family=FamiliesByLeaf(laws) if mixture.family.by_leaf else laws[0])


def by_number(trials: np.ndarray) -> list[tuple[float, torch.Tensor]]:
    """Return every number of trials with the positions of its rows.

    Examples
    --------
    >>> [(number, rows.tolist()) for number, rows in by_number(np.array([2.0, 5.0, 2.0]))]
    [(2.0, [0, 2]), (5.0, [1])]
    """
    return [(float(one), torch.from_numpy(np.flatnonzero(trials == one))) for one in np.unique(trials)]
