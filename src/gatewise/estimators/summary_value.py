"""What `summary` returns: the text for the reader, and its numbers as data frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gatewise.estimators.terms import LEVEL, REFERENCE, TermGroup
from gatewise.infer.proportions import Proportions
from gatewise.markup import page, table, verbatim

if TYPE_CHECKING:
    from pandas import DataFrame, Series


class Row(NamedTuple):
    """One parameter: of which part (``expert``, ``gate 0``) and expert or branch, its numbers, and a word instead."""

    part: str
    owner: str
    parameter: str
    estimate: float
    error: float
    z: float
    p: float
    lower: float
    upper: float
    note: str


HEADS = ("part", "owner", "parameter", "estimate", "std. error", "z", "p", "lower", "upper", "note")


class Summary(str):
    """Summary of a fitted model: a text to print, tables in a notebook, and data frames.

    A Summary is a str, so it can be searched, split and written to a file.

    Parameters
    ----------
    text : str
        What is printed.
    head, tail : sequence of str
        Lines above and below the tables, for notebooks.
    rows, mixed : sequence of Row
        The rows of the tables, and those of the mixing proportions.
    criteria : mapping of str to float, optional

    Attributes
    ----------
    proportions : DataFrame
        Mixing proportions, one row per expert: the gates averaged over the data of fit (rows of a group count once),
        with standard errors (delta method, inputs as given) and 95 % intervals, normal on the logit scale.
    experts, gates : DataFrame
        One row per parameter: ``owner`` (expert, branch or node, such as ``0/1``), ``parameter``, ``estimate``, ``std.
        error``, ``z``, ``p``, ``lower``, ``upper`` (95 %), and ``note``, which says why there is no standard error
        (reference, fixed, on a kink, ...). Gates also have ``part``, such as ``gate 0``.
    criteria : Series
        Log-likelihood, degrees of freedom, number of observations, AIC, BIC, ICL; after least squares also SSE.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]], [0.0, 1.0, 2.5, 3.0, 4.0, 5.5]
    >>> found = MixtureOfExpertsRegressor(1, n_init=1).fit(X, y).summary()
    >>> found.experts[["parameter", "estimate"]].round(3).to_dict("list")
    {'parameter': ['intercept', 'x0', 'scale'], 'estimate': [0.024, 1.057, 0.215]}
    >>> found.splitlines()[0]
    'Mixture of 1 expert'
    """

    _head: tuple[str, ...]
    _rows: tuple[Row, ...]
    _tail: tuple[str, ...]
    _criteria: dict[str, float]
    _mixed: tuple[Row, ...]

    def __new__(
        cls,
        text: str,
        head: Sequence[str] = (),
        rows: Sequence[Row] = (),
        tail: Sequence[str] = (),
        criteria: Mapping[str, float] | None = None,
        mixed: Sequence[Row] = (),
    ) -> Summary:
        self = super().__new__(cls, text)
        self._head, self._rows, self._tail, self._criteria = tuple(head), tuple(rows), tuple(tail), dict(criteria or {})
        self._mixed = tuple(mixed)
        return self

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        first, *more = self._head or self.splitlines()
        parts = [table({name: [value] for name, value in self._criteria.items()})] if self._criteria else []
        parts += [table(self._shares(), "Mixing proportions")] if self._mixed else []
        for part in dict.fromkeys(row.part for row in self._rows):
            own = [row[1:] for row in self._rows if row.part == part and row.note != REFERENCE]
            if not own:
                continue
            parts.append(table(dict(zip(HEADS[1:], zip(*own, strict=True), strict=True)), part))
        return page(first, verbatim(more), *parts, verbatim(self._tail))

    @property
    def proportions(self) -> DataFrame:
        """The mixing proportions of the experts; empty where there is one, or where they are not known."""
        import pandas as pd

        return pd.DataFrame(self._shares())

    def _shares(self) -> dict[str, list[Any]]:
        heads = {"owner": "owner", "estimate": "estimate", "error": "std. error", "lower": "lower", "upper": "upper"}
        return {head: [getattr(row, name) for row in self._mixed] for name, head in heads.items()}

    @property
    def experts(self) -> DataFrame:
        """The parameters of the experts and of the family."""
        frame = self.to_frame()
        return frame[frame["part"] == "expert"].drop(columns="part").reset_index(drop=True)

    @property
    def gates(self) -> DataFrame:
        """The parameters of the gates of all levels."""
        frame = self.to_frame()
        return frame[frame["part"] != "expert"].reset_index(drop=True)

    @property
    def criteria(self) -> Series:
        """Log-likelihood, degrees of freedom, number of observations and information criteria."""
        import pandas as pd

        return pd.Series(self._criteria, name="value", dtype=float)

    def to_frame(self) -> DataFrame:
        """Return all parameters as one data frame: the columns of `experts` and `gates`, with their ``part``."""
        import pandas as pd

        return pd.DataFrame(list(self._rows), columns=list(HEADS))


def proportion_rows(mixed: Proportions, names: Sequence[str]) -> list[Row]:
    """Return a row for the mixing proportion of every expert."""
    nothing, (lower, upper) = float("nan"), mixed.ends(LEVEL)
    errors = [nothing] * len(names) if mixed.error is None else mixed.error.tolist()
    return [
        Row("proportions", name, "proportion", estimate, error, nothing, nothing, low, high, "")
        for name, estimate, error, low, high in zip(
            names, mixed.estimate.tolist(), errors, lower.tolist(), upper.tolist(), strict=True
        )
    ]


def rows_of(part: str, groups: Sequence[TermGroup]) -> Iterator[Row]:
    """Yield a row for every parameter of the experts, or of the branches or nodes of a gate."""
    nothing = (float("nan"),) * 5
    for group in groups:
        owner = "/".join(map(str, group.owner))
        for term in group.terms:
            error, z, p, lower, upper = term.numbers or nothing
            yield Row(part, owner, term.name, term.estimate, error, z, p, lower, upper, term.word)
