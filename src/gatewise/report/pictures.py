"""What a page shows below a fit: residuals, coefficients, effects of inputs, and how well experts are told apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from gatewise.estimators import MixtureOfExpertsRegressor
from gatewise.plots import coefficients, marginal_effects, residual_quantiles, rootogram
from gatewise.report.parquet import PreparedTable
from gatewise.report.reading import Prepared

MOST = 4  # inputs whose effects are drawn


class Shown(NamedTuple):
    """A picture with its caption, and words for those who do not see it."""

    caption: str
    alt: str
    axes: Axes


def pictures_of(model: MixtureOfExpertsRegressor, data: Prepared | PreparedTable) -> list[Shown]:
    """Return the pictures of a fitted model: those that its family and its data allow.

    Residuals and posterior probabilities need a density, effects all rows in memory.

    Parameters
    ----------
    model : fitted regressor
    data : Prepared or PreparedTable
        What it was fitted to.
    """
    rows = _rows(model, data)
    return [*_diagnoses(model, rows, _weights(model, data)), *_effects(model, data, rows)]


def classes_of(model: MixtureOfExpertsRegressor, data: Prepared | PreparedTable) -> str:
    """Return how well the experts are told apart, in words; nothing for one expert and without a density."""
    if model.mixture_.n_leaves == 1 or not model.mixture_.family.has_density:
        return ""
    return str(model.classification(**_rows(model, data), **_weights(model, data)))


def _rows(model: MixtureOfExpertsRegressor, data: Prepared | PreparedTable) -> dict[str, Any]:
    """Return the rows to draw by the names of arguments; nothing where a formula reads them itself."""
    if model._design is not None:
        return {}
    seen = data.drawn
    known = {"X": seen.X, "y": seen.y, "gate_X": seen.gate_x, "groups": seen.groups}
    return {name: value for name, value in known.items() if value is not None}


def _weights(model: MixtureOfExpertsRegressor, data: Prepared | PreparedTable) -> dict[str, Any]:
    """Return the weights of the rows to draw; nothing where there are none or a formula reads them itself."""
    known = model._design is not None or data.drawn.weight is None
    return {} if known else {"sample_weight": data.drawn.weight}


def _diagnoses(model: MixtureOfExpertsRegressor, rows: dict[str, Any], weights: dict[str, Any]) -> Iterator[Shown]:
    if model.mixture_.family.has_density:
        single = {name: value for name, value in rows.items() if name != "groups"}
        alt = "Sorted quantile residuals against normal quantiles, with a 95 % band: on the line if the model is true."
        yield Shown("residuals against normal quantiles", alt, residual_quantiles(model, **single))
        if model.mixture_.n_leaves > 1:
            alt = "How often each expert has which posterior probability: peaks at 0 and 1 where it is told apart."
            yield Shown("posterior probabilities of the experts", alt, rootogram(model, **rows, **weights))
    alt = "Estimated coefficients of every expert with their 95 % intervals, as the table of parameters gives them."
    yield Shown("coefficients of the experts", alt, coefficients(model))


def _effects(model: MixtureOfExpertsRegressor, data: Prepared | PreparedTable, rows: dict[str, Any]) -> Iterator[Shown]:
    """Yield the mean of every expert along the first inputs, the others at their medians."""
    if isinstance(data, PreparedTable):
        return
    if model._design is not None:
        found: Any = model.inference()
        names, inputs = model._design.variables(()), None
    else:
        found = model.inference(**rows, sample_weight=data.weight)
        names, inputs = data.roles.features, data.X
    for name in names[:MOST]:
        alt = f"The mean of every expert along {name}, other inputs at their medians, with pointwise 95 % bands."
        yield Shown(f"effect of {name}", alt, marginal_effects(found, name, inputs))
