"""What `gatewise predict` writes for every row: the mean, and if wanted an interval, the expert, weights, chances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from gatewise.estimators.classifier import MixtureOfExpertsClassifier


class PredictionColumns(NamedTuple):
    """What is wanted beside the prediction.

    Attributes
    ----------
    interval : float or None
        Level of a prediction interval: columns `lower` and `upper`.
    expert : bool
        The most probable expert before y is seen: column `expert`.
    gate : bool
        The weight of every expert: columns `gate 0`, `gate 1`, ...
    chances : bool
        Of a classifier, the probability of every class: columns `probability of a`, ...
    """

    interval: float | None = None
    expert: bool = False
    gate: bool = False
    chances: bool = False

    def check(self, model: Any) -> None:
        """Raise for what a model cannot give.

        Raises
        ------
        ValueError
            With what to do.
        """
        labelled = isinstance(model, MixtureOfExpertsClassifier)
        if self.interval is not None and labelled:
            raise ValueError("--interval is for numbers, and the model predicts classes: give --proba instead")
        if self.chances and not labelled:
            raise ValueError("--proba is for models of classes, and this one predicts numbers: give --interval instead")


MEAN = PredictionColumns()  # nothing beside it


def column_names(model: Any, wanted: PredictionColumns, responses: Sequence[str] = ()) -> list[str]:
    """Return the names of the columns that are wanted; `responses` are the names of several responses."""
    names = _named("prediction", responses)
    if wanted.interval is not None:
        names += [*_named("lower", responses), *_named("upper", responses)]
    names += ["expert"] if wanted.expert else []
    names += [f"gate {k}" for k in range(model.mixture_.n_leaves)] if wanted.gate else []
    return names + [f"probability of {one}" for one in model.classes_] if wanted.chances else names


def predicted_columns(
    model: Any, wanted: PredictionColumns, complete: pd.Series, responses: Sequence[str] = (), *given: Any, **more: Any
) -> tuple[pd.DataFrame, int]:
    """Return the columns that are wanted for all rows, empty where a row is not complete, and how many are not.

    Parameters
    ----------
    model : fitted estimator
    wanted : PredictionColumns
    complete : Series of bool
        Which rows have all inputs.
    responses : sequence of str
        Names, if there are several responses.
    *given, **more
        Inputs of the complete rows, as in ``model.predict``.
    """
    names, empty = column_names(model, wanted, responses), int((~complete).sum())
    if not complete.any():
        return pd.DataFrame(float("nan"), index=complete.index, columns=names), empty
    parts = [model.predict(*given, **more)]
    if wanted.interval is not None:
        ends = model.predict_interval(*given, level=wanted.interval, **more)
        parts += [ends[..., 0], ends[..., 1]]
    parts += [model.predict_class(*given, **more)] if wanted.expert else []
    parts += [model.gate_proba(*given, **more)] if wanted.gate else []
    parts += [model.predict_proba(*given, **more)] if wanted.chances else []
    columns = [column for part in parts for column in (part.T if part.ndim > 1 else part[None])]
    found = pd.DataFrame(dict(zip(names, columns, strict=True)), index=complete.index[complete])
    whole = {name: "Int64" for name in found if found[name].dtype.kind in "iu"}  # stays whole beside gaps
    return found.astype(whole).reindex(complete.index), empty


def _named(name: str, responses: Sequence[str]) -> list[str]:
    return [name] if len(responses) < 2 else [f"{name} of {one}" for one in responses]
