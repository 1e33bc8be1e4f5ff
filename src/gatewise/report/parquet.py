"""A user's Parquet files: which column does what, a sample of rows to draw, predictions piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gatewise.data.parquet import ParquetTable, opened
from gatewise.data.stream import MOST, Stream, StreamPart
from gatewise.estimators.tables import group_ends
from gatewise.report.predicting import MEAN, PredictionColumns
from gatewise.report.reading import Prepared, Roles, filled, inputs_of, predict

DRAWN = 2000  # rows that pictures show at most


class PreparedTable(NamedTuple):
    """Names of columns in Parquet files, as a regressor takes them; no row is left out.

    Attributes
    ----------
    roles : Roles
        With the features filled in.
    X : ParquetTable
    y, weight, groups : str, str or None, str or None
    gate_x : list of str or None
        When the gates see columns that the experts do not.
    rows : int
    """

    roles: Roles
    X: ParquetTable
    y: str
    gate_x: list[str] | None
    weight: str | None
    groups: str | None
    rows: int
    dropped: int = 0

    @property
    def drawn(self) -> Prepared:
        """At most 2000 rows, evenly spaced, of which groups are whole."""
        roles, source = self.roles, opened(self.X)
        used = tuple(dict.fromkeys((*roles.features, *roles.gate_features, roles.target)))
        index, label = _spaced(source, self.groups, self.X.name)
        values = StreamPart(Stream(source, used, self.X.name), used)[index.tolist()]

        def chosen(names: Sequence[str]) -> pd.DataFrame:
            return pd.DataFrame(values[:, [used.index(name) for name in names]], columns=list(names))

        gates = chosen(self.gate_x) if self.gate_x else None
        groups = None if label is None else pd.Series(label)
        return Prepared(roles, chosen(roles.features), chosen([roles.target])[roles.target], gates, None, groups, 0)

    @property
    def shown(self) -> str:
        """What a page says about the rows that its pictures show."""
        few = self.rows > DRAWN
        return f" The figures show about {DRAWN} of them, evenly spaced." if few else ""

    def code(self, path: str) -> tuple[str, str]:
        """Return Python that names the table, and the arguments of fit."""
        roles = self.roles
        more = f", sample_weight={roles.weights!r}" if roles.weights else ""
        more += f", gate_X={self.gate_x!r}" if self.gate_x else ""
        more += f", groups={roles.groups!r}" if roles.groups else ""
        lines = "from gatewise import MixtureOfExpertsRegressor\nfrom gatewise.data import ParquetTable\n\n"
        source = list(map(str, self.X.source)) if isinstance(self.X.source, list | tuple) else str(path)
        more_of_table = ""
        if self.X.client is not None:
            lines = f"from distributed import Client\n{lines}client = Client({self.X.client.scheduler.address!r})\n"
            more_of_table = ", client=client"
        lines += f"table = ParquetTable({source!r}, columns={list(roles.features)!r}{more_of_table})\n"
        return lines, f"table, {roles.target!r}{more}"


def prepare_table(path: str | Path | Sequence[Path], roles: Roles, client: Any = None) -> PreparedTable:
    """Check the names of the columns that are used; their values are checked by the fit, by the workers of a client.

    Raises
    ------
    OSError, ValueError
        For files that cannot be read, and for an unknown name.
    """
    source = _opened(ParquetTable(path))
    roles = filled(pd.DataFrame(columns=source.schema.names), roles)
    apart = not set(roles.gate_features) <= set(roles.features)
    return PreparedTable(
        roles,
        ParquetTable(path, roles.features, client),
        roles.target,
        list(roles.gate_features) if apart else None,
        roles.weights,
        roles.groups,
        source.rows,
    )


def _opened(table: ParquetTable) -> Any:
    try:
        return opened(table)
    except ModuleNotFoundError as cause:
        raise ValueError(str(cause)) from cause


def _spaced(source: Any, groups: str | None, table: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the positions of rows to draw and, with groups, a label for each of them."""
    if groups is None:
        step = -(-source.rows // DRAWN)
        return np.arange(0, source.rows, step), None
    ends = group_ends(source, groups, table)
    step = -(-source.rows // DRAWN)
    chosen = np.arange(0, len(ends), step)
    starts = np.concatenate([[0], ends[:-1]])
    parts: Sequence[np.ndarray] = [np.arange(starts[one], ends[one]) for one in chosen]
    return np.concatenate(parts), np.repeat(chosen, [len(part) for part in parts])


def predictions(
    model: Any,
    path: str | Path,
    wanted: PredictionColumns = MEAN,
) -> Iterator[tuple[pd.DataFrame, int]]:
    """Yield what `reading.predict` returns for one piece of the rows after another."""
    table, names = ParquetTable(path), inputs_of(model)
    stream = Stream(_opened(table), names, table.name, missing=True)
    for start in range(0, stream.source.rows, MOST):
        values = stream.rows(start, min(start + MOST, stream.source.rows))
        yield predict(model, pd.DataFrame(values.T, columns=names), wanted)
