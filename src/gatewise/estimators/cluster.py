"""Rows of a fit on a Dask cluster: from collections, or tables with a client, to rows that are elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise import __version__
from gatewise.data.columns import require_names
from gatewise.data.parquet import ParquetTable, opened
from gatewise.estimators.collections import LabelledResponse, aligned, blocks_of, client_of, is_frame, names_of, several
from gatewise.estimators.inputs import Given, Training
from gatewise.estimators.labels import classes_of, read_labels
from gatewise.estimators.pieces import (
    ROLES,
    PieceFacts,
    PieceRoles,
    built,
    facts_of_piece,
    require_readable,
    require_whole_groups,
    rows_of_piece,
)
from gatewise.estimators.slices import slices_of
from gatewise.fit.pipeline import SEARCHED
from gatewise.objective.elsewhere import Pieces, rows_elsewhere
from gatewise.objective.rows import READ, Rows
from gatewise.runs.cluster import ClusterLanes, in_words
from gatewise.runs.journal import Journal, RecordedLanes, RememberingLanes


def read_cluster(estimator: Any, given: Given, gated: bool, checkpoint: Any = None) -> Training:
    """Check the data of a fit where they lie, and return them as rows that are elsewhere.

    Raises
    ------
    ValueError, TypeError
        For roles and partitions that cannot be used, each with the partition and the remedy.
    """
    client, classes = client_of(given.x), None
    if isinstance(given.y, LabelledResponse):
        given, classes = given._replace(y=given.y.y), given.y.classes
    table = isinstance(given.x, ParquetTable)
    with in_words():
        works = (
            _of_table(estimator, given, gated, checkpoint is not None)
            if table
            else _of_collection(estimator, given, gated, classes)
        )
        places = list(works)
        made = client.compute(list(works.values()))
        facts = client.gather([client.submit(facts_of_piece, one, pure=False) for one in made])
        found = require_readable(facts)
        futures = [client.submit(rows_of_piece, made[i], pure=False) for i in found]
    known = list(found.values())
    if known[0].grouped:
        require_whole_groups([one.labels for one in known], [places[i] for i in found], given.groups)
    lanes: Any = RememberingLanes(ClusterLanes(client, futures, [one.size.rows for one in known], movable=table))
    rows = _rows(lanes, known, table)
    if estimator.weight_kind != "frequency" and rows.weighted:
        rows = _with_mean_one(rows)
    if checkpoint is not None:
        journal = Journal(checkpoint, _options(estimator, known), _sums(rows))
        assert isinstance(rows.elsewhere, Pieces)
        rows = replace(rows, elsewhere=replace(rows.elsewhere, lanes=RecordedLanes(lanes, journal)))
    first = known[0]
    estimator.n_features_in_ = first.columns["x"]
    if first.names is not None:
        estimator.feature_names_in_ = np.array(first.names, dtype=object)
    few = rows.n_units <= SEARCHED  # starts are searched on all of so few: they are brought here
    return Training(rows.sample(SEARCHED) if few else rows, first.reader, first.flat)


def _rows(lanes: Any, known: Sequence[PieceFacts], streamed: bool) -> Rows:
    weighted = any(one.weighted for one in known)
    pieces = Pieces(lanes, tuple(one.size for one in known), weighted, known[0].grouped, streamed=streamed)
    return rows_elsewhere(pieces, known[0].columns, known[0].same)


def _of_collection(estimator: Any, given: Given, gated: bool, classes: np.ndarray | None) -> dict[str, Any]:
    """Return the delayed pieces of collections by their place."""
    from dask import delayed

    names = _named_roles(given)
    values = {"X": given.x, **{role: _role(given, role) for role in ROLES if role not in names}}
    values = {role: one for role, one in values.items() if one is not None}
    blocks = {
        role: blocks_of(role, one if role == "X" else aligned(role, one, given.x)) for role, one in values.items()
    }
    read = delayed(partial(built, roles=PieceRoles(_sent(estimator), names, gated, classes)), pure=False)
    count = len(blocks["X"])
    return {
        f"partition {i}": read(f"partition {i}", parts={role: parts[i] for role, parts in blocks.items()})
        for i in range(count)
    }


def _sent(estimator: Any) -> Any:
    """Return the estimator as workers need it: without what listens to the fit, and without its generator."""
    silent = copy(estimator)
    silent.verbose, silent.random_state = 0, None
    return silent


def _named_roles(given: Given) -> dict[str, Any]:
    """Return the names of columns by role, ``X`` among them where y is named: then a frame has all roles.

    Raises
    ------
    ValueError, TypeError
        For a name without a frame, and a column that does not exist or has two roles.
    """
    named = {role: several(_role(given, role)) for role in ROLES}
    named = {role: names for role, names in named.items() if names}
    if not named:
        return {}
    columns = names_of(given.x)
    if not is_frame(given.x) or not columns:
        role, names = next(iter(named.items()))
        raise TypeError(f"{role}={names[0]!r}, and X is no data frame: give a Dask collection with the partitions of X")
    special = [name for role, names in named.items() for name in names if role != "gate_X"]
    require_names(columns, [name for names in named.values() for name in names], "X")
    twice = sorted({name for name in special if special.count(name) > 1})
    if twice:
        raise ValueError(f"column {twice[0]!r} has two roles: give every column one")
    apart = {*special, *named.get("gate_X", ())}
    features = tuple(name for name in columns if name not in apart) or named.get("gate_X", ())
    if not features:
        raise ValueError(f"X has no column besides {', '.join(map(repr, special))}: give it features")
    alone = {role for role in named if isinstance(_role(given, role), str) and role != "gate_X"}
    return {"X": features, **{role: names[0] if role in alone else names for role, names in named.items()}}


def _role(given: Given, role: str) -> Any:
    places = {"y": given.y, "sample_weight": given.sample_weight, "gate_X": given.gate_x, "groups": given.groups}
    return {**places, **given.known._asdict()}[role]


def _of_table(estimator: Any, given: Given, gated: bool, lasting: bool) -> dict[str, Any]:
    """Return the delayed pieces of a table by their place: runs of row groups, with groups whole files.

    Lasting ones are the same on any cluster: a checkpoint is found again only where sums agree to the last bit.
    """
    from dask import delayed

    names = {role: value for role in ROLES if (value := _role(given, role)) is not None}
    wrong = next((role for role, value in names.items() if not several(value)), None)
    if wrong is not None:
        raise TypeError(f"{wrong} is a {type(names[wrong]).__name__}: with a table give the name of a column")
    source = opened(given.x)
    require_names(source.schema.names, [name for value in names.values() for name in several(value)], given.x.name)
    read = delayed(partial(built, roles=PieceRoles(_sent(estimator), names, gated, None)), pure=False)
    threads = None if lasting else sum(given.x.client.nthreads().values())
    pieces = slices_of(given.x, source, given.groups is not None, threads)
    return {place: read(place, parts={"X": table}) for place, table in pieces.items()}


def cluster_classes(x: Any, y: Any) -> np.ndarray:
    """Return the classes of labels that lie on a cluster, sorted.

    Raises
    ------
    ValueError, TypeError
        For labels that are missing or cannot be compared, one class alone, and a table.
    """
    if isinstance(x, ParquetTable):
        raise TypeError("X is a table of Parquet files: for labels of classes read it with dask.dataframe.read_parquet")
    from dask import delayed

    labels = aligned("y", x[y], x) if several(y) and is_frame(x) else aligned("y", y, x)
    client = client_of(x)
    with in_words():
        found = client.gather(client.compute([delayed(_classes)(one) for one in blocks_of("y", labels)]))
    every = [one for one in found if len(one)]
    return classes_of(np.concatenate(every) if every else np.zeros(0))[0]


def _classes(labels: Any) -> np.ndarray:
    values = np.asarray(labels)
    return np.unique(read_labels(None, values.reshape(len(values)))) if len(values) else values.reshape(-1)


def _with_mean_one(rows: Rows) -> Rows:
    """Return rows whose weights have the mean one."""
    assert isinstance(rows.elsewhere, Pieces)
    return replace(rows, elsewhere=replace(rows.elsewhere, factor=rows.n / rows.total))


def _options(estimator: Any, known: Sequence[PieceFacts]) -> Mapping[str, Any]:
    """Return what a checkpoint has to agree with, by its name.

    Raises
    ------
    ValueError
        For an estimator whose starts differ from run to run.
    """
    if estimator.random_state is None:
        raise ValueError(
            "checkpoint is given, and random_state is None: give a number, so that a later fit is the same"
        )
    silent = {"verbose", "max_time"}
    params = {name: repr(one) for name, one in sorted(estimator.get_params(deep=False).items()) if name not in silent}
    first = known[0]
    return {
        "gatewise": __version__,
        "estimator": type(estimator).__name__,
        **params,
        "features": list(first.names) if first.names else first.columns["x"],
        "rows": sum(one.size.rows for one in known),
    }


def _sums(rows: Rows) -> np.ndarray:
    """Return sums over all rows by which data are known again."""
    return rows.fold(_absolute_sums, torch.add).numpy()


def _absolute_sums(rows: Rows) -> Tensor:
    total = torch.zeros(rows.x.shape[1] + rows.gate_x.shape[1] + rows.y.shape[1], 2, dtype=torch.float64)
    for block in rows.blocks(READ):
        gate_x = block.gate_x if block.unit is None else block.gate_x[:, block.unit]
        values = torch.cat([block.x, gate_x, block.y])
        values = values if block.row_weight is None else values * block.row_weight
        total += torch.stack([values.abs().sum(-1), (values + 1.0).abs().sum(-1)], -1)
    return total.flatten()
