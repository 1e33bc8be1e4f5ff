"""What `gatewise fit` and `gatewise predict` are asked for: columns by their roles, or a formula."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class AskedCluster(NamedTuple):
    """The options of `gatewise fit` about a cluster: a client, or None, and the file of a checkpoint."""

    client: Any = None
    checkpoint: Path | None = None


class Asked(NamedTuple):
    """The options of `gatewise fit` that name columns."""

    target: str | None
    features: str | None
    gate_features: str | None
    weights: str | None
    groups: str | None
    formula: str | None
    gate_formula: str | None
    offset: str | None
    trials: str | None
    shared: str | None
    sep: str = ","
    decimal: str = "."

    def check(self) -> None:
        """Raise unless these are either columns by their roles, or a formula.

        Raises
        ------
        ValueError
            With the option, and what to do.
        """
        if self.formula is None:
            for name in ("gate_formula", "offset", "trials", "shared"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{_option(name)} is given without --formula: give --formula 'y ~ x' too")
            if self.target is None:
                raise ValueError("neither --target nor --formula is given: name the response, or give 'y ~ x'")
            return
        for name in ("target", "features", "gate_features"):
            if getattr(self, name) is not None:
                option = _option(name)
                raise ValueError(f"{option} is given with --formula, which names the columns: leave {option} out")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def names(text: str | None, mark: str = ",") -> tuple[str, ...]:
    """Return the names in a list that a user wrote.

    Examples
    --------
    >>> names("a, b"), names(None)
    (('a', 'b'), ())
    """
    return tuple(name.strip() for name in text.split(mark) if name.strip()) if text else ()


def fit_asked(
    tables: Sequence[Path],
    asked: Asked,
    choice: dict[str, Any],
    drawn: bool,
    progress: Callable[[str, int, int], None],
    cluster: AskedCluster = AskedCluster(),  # noqa: B008 (frozen)
) -> tuple[Any, Any]:
    """Return the prepared table and the outcome of the fit; `drawn` says whether a page shows it."""
    from gatewise.data.parquet import is_parquet
    from gatewise.report import formula as formulas
    from gatewise.report import own_data, parquet, reading
    from gatewise.report.delimited import read_table

    targets, table, form = names(asked.target), tables[0], form_of(tables[0], asked.sep, asked.decimal)
    in_files = all(map(is_parquet, tables))
    many_files = len(tables) > 1 or cluster.client is not None
    if many_files and not (in_files and asked.formula is None):
        raise ValueError("several files, and --dask, are for Parquet files with --target: give these")
    if many_files:
        targets = (str(asked.target),)
    classes = choice.get("family") == "categorical"  # labels of one column, which are texts mostly
    if len(targets) > 1 or (targets and classes and not many_files):
        frame = formulas.read_any(table, form)
        columns = names(asked.features), names(asked.gate_features)
        named = formulas.roles_of_columns(frame, targets, *columns, asked.weights, asked.groups)
        if drawn:
            formulas.require_drawable(named, choice.get("family"))
        return formulas.fit_formula(str(table), frame, named, choice, progress, form)
    if asked.formula is None:
        columns = names(asked.features), names(asked.gate_features)
        roles = reading.Roles(str(asked.target), *columns, asked.weights, asked.groups)
        files = list(tables) if len(tables) > 1 else table
        prepared: Any = (
            parquet.prepare_table(files, roles, cluster.client)
            if in_files
            else reading.prepare(read_table(table, form), roles, form)
        )
        kept = None if cluster.checkpoint is None else str(cluster.checkpoint)
        return prepared, own_data.fit_table(str(table), prepared, choice, progress, kept)
    parts = asked.gate_formula, asked.offset, asked.trials, asked.weights, asked.groups
    by = formulas.FormulaRoles(asked.formula, *parts, names(asked.shared, ";"))
    if drawn:
        formulas.require_drawable(by, choice.get("family"))
    return formulas.fit_formula(str(table), formulas.read_any(table, form), by, choice, progress, form)


def form_of(table: Path, sep: str, decimal: str) -> Any:
    """Return how a table of text is written.

    Raises
    ------
    ValueError
        For marks that cannot be meant, or given with Parquet, which has none.
    """
    from gatewise.data.parquet import is_parquet
    from gatewise.report.delimited import COMMAS, TextFormat

    form = TextFormat(sep, decimal).check()
    if form != COMMAS and is_parquet(table):
        raise ValueError(f"--sep and --decimal are for text files, and {table} is Parquet: leave them out")
    return form


def predicted(model: Any, table: Path, wanted: Any, sep: str = ",", decimal: str = ".") -> Iterable[tuple[Any, int]]:
    """Return what is wanted for the rows of a table in pieces, each with its number of rows without it."""
    from gatewise.data.parquet import is_parquet
    from gatewise.report import formula as formulas
    from gatewise.report import parquet, reading
    from gatewise.report.delimited import read_table

    wanted.check(model)
    form = form_of(table, sep, decimal)
    if model._design is not None:
        return [formulas.predict(model, formulas.read_any(table, form), wanted)]
    if is_parquet(table):
        return parquet.predictions(model, table, wanted)
    return [reading.predict(model, read_table(table, form), wanted)]
