"""Covariance of the estimates of a fitted mixture: observed information, sandwich, cluster-robust."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.core.names import entry_names
from gatewise.fit.directions import expert_directions, gate_directions, gauge_directions, spectrum
from gatewise.fit.result import Fit
from gatewise.fit.spec import FitSpec
from gatewise.fit.torch_state import standard_torch, standard_torch_for_rows
from gatewise.infer.covariance.limits import interval_limits, limit_notes
from gatewise.infer.covariance.loss import residual_variance
from gatewise.infer.covariance.point import (
    ROUNDING,
    InformationPoint,
    locate,
    other_rows,
    score_products,
    second_order,
    to_data_units,
    unseen_directions,
)
from gatewise.infer.covariance.refusal import exact, refusal, singular, symmetric
from gatewise.infer.covariance.value import OBSERVED, SANDWICH, Information, flat_errors
from gatewise.objective.entries import kinds
from gatewise.objective.parameterization import specifications
from gatewise.objective.rows import Rows


@standard_torch_for_rows
def information(fit: Fit, rows: Rows, kind: str | None = None, clusters: Tensor | None = None) -> Information:
    r"""Compute the covariance matrix of the estimates of a fit.

    Let H be the Hessian of minus the log-likelihood and :math:`s_u` the score of an independent unit with weight w_u.

    - ``observed``: :math:`H^{-1}`; weights are frequencies.
    - ``sandwich``: :math:`H^{-1} J H^{-1}` with :math:`J = \sum_u w_u^2 s_u s_u'`; weights are sampling weights, and
      there is no small-sample factor (HC0). With clusters, scores are first summed within each of the G clusters, and J
      is multiplied by G / (G - 1).

    After least squares, H is the exact Hessian of half the weighted sum of squares, and :math:`s_u` is the sum of r df
    over the rows of a unit, with residuals r and derivatives df of the fitted mean. ``observed`` is then
    :math:`\hat\sigma^2 H^{-1}` with :math:`\hat\sigma^2 = SSE / (n q - rank)`, where n is the sum of the weights, q the
    number of outputs, and rank the number of identified parameters. It assumes independent residuals with equal
    variance, also across outputs; the sandwich assumes only that the units (or clusters) are independent.

    With a ridge penalty (alpha > 0), H is the Hessian of the penalised log-likelihood. The errors do not include the
    bias from shrinkage, and a note says so.

    Parameters
    ----------
    fit : Fit
    rows : Rows
        The data of the fit.
    kind : {"observed", "sandwich"}, optional
        Default: sandwich if the weights of the fit are sampling weights, otherwise observed.
    clusters : Tensor (m,), optional
        Cluster label of each independent unit; requires ``kind="sandwich"``.

    Returns
    -------
    Information
        `refused` gives the reason if the estimates are not asymptotically normal: a separated gate, a flat direction,
        an active bound, a scale on its floor, a kink, zero residuals, a search that stopped early, or rows that are not
        those of the fit.

    Raises
    ------
    ValueError
        If the kind is unknown, or the clusters do not match the data.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> from gatewise.core.mixture import Mixture
    >>> from gatewise.objective.rows import make_rows
    >>> from gatewise.fit import maximum_likelihood
    >>> x = torch.linspace(-1.0, 1.0, 50, dtype=torch.float64)[:, None]
    >>> rows = make_rows(x, 2 * x + torch.cos(40 * x))
    >>> fit = maximum_likelihood(Mixture((GATES["constant"],), (1,)), rows, starts=1)
    >>> errors = standard_errors(information(fit, rows))
    >>> bool(errors["family.scale"][0, 0].isclose(fit.measure.family["scale"][0, 0] / 10))  # scale / sqrt(2 n)
    True
    """
    kind = kind or (SANDWICH if fit.spec.weights == "sampling" else OBSERVED)
    if kind not in (OBSERVED, SANDWICH):
        raise ValueError(f"kind={kind!r}: choose 'observed' or 'sandwich' (HC0)")
    blank = without_errors(fit.mixture, fit.measure, fit.spec, rows, kind)._replace(variance=residual_variance(fit))
    labels = None if clusters is None else _numbered(clusters, rows, kind)
    refused = exact(fit, rows, kind == SANDWICH) or refusal(fit)
    if refused:
        return blank._replace(refused=refused.words, directions=refused.directions)
    point = locate(fit, rows)
    value, _, hessian = second_order(point)
    if other := other_rows(fit, point, value):  # before anything is concluded from them
        return blank._replace(refused=other)
    open_ = open_coordinates(point, fit.certificate.limits)
    gauge = gauge_directions(point.parameterization, point.free)
    values, vectors = spectrum(hessian, open_, gauge)
    refused = singular(point, values, vectors) or symmetric(point, hessian, open_)
    if refused:
        return blank._replace(refused=refused.words, directions=refused.directions)
    root = vectors / torch.sqrt(point.problem.total * values)  # root root' is the inverse of H
    if kind == SANDWICH:
        middle = root.T @ score_products(point, labels) @ root
        factor = 1.0 if labels is None else _factor(int(labels.max()) + 1)
        root = root @ _square_root(factor * middle)
    notes = _notes(fit, rows, labels, len(values), kind)
    return with_errors(blank, point, root, open_, gauge)._replace(notes=notes)


def _factor(count: int) -> float:
    return count / (count - 1)


def _square_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.T))
    return vectors * values.clamp_min(0.0).sqrt()


def _at_convention(point: InformationPoint, root: Tensor, gauge: Tensor) -> tuple[Tensor, Tensor]:
    """Take the covariance ``root root'`` to experts of conventional size, and leave out the directions this fixes.

    Of a unit whose scale can be moved between slopes and output weight the output weight is then known.
    """
    parameterization, known = point.parameterization, point.conventions
    if not len(known):
        return root, gauge
    measure = parameterization.measure(point.free)
    own = expert_directions(parameterization, measure)
    root = root - own @ torch.linalg.solve(own[known], root[known])
    root[known] = 0.0
    return root, gate_directions(parameterization, measure)


def with_errors(blank: Information, point: InformationPoint, root: Tensor, open_: Tensor, gauge: Tensor) -> Information:
    """Carry the covariance ``root root'`` of the free coordinates (P,) to the reported parameters."""
    root, gauge = _at_convention(point, root, gauge)
    natural = point.parameterization.slopes(point.free) * open_
    outer = to_data_units(point)
    half = outer @ (natural @ root)
    free = torch.where(gauge.abs() < ROUNDING, 0.0, gauge)
    directions = torch.cat([unseen_directions(point), natural @ free], -1)
    plain = to_data_units(point, project=False) if point.model.redundant else outer
    undetermined = plain @ directions
    undetermined = torch.where(undetermined.abs() > ROUNDING * (plain.abs() @ directions.abs()), undetermined, 0.0)
    held = (half == 0).all(-1) & (undetermined == 0).all(-1)
    covariance = half @ half.T
    covariance[held] = 0.0
    covariance[:, held] = 0.0
    return blank._replace(covariance=covariance, held=held, undetermined=undetermined)


def without_errors(mixture: Mixture, measure: Measure, spec: FitSpec, rows: Rows, kind: str) -> Information:
    """Return everything but the covariance."""
    paths = measure.paths()
    specs = specifications(mixture, rows.x.shape[1], rows.gate_x.shape[1], mixture.outputs(measure))
    names = [name for path, (_, shape) in specs.items() for name in entry_names(path, shape)]
    count = len(names)
    return Information(
        mixture=mixture,
        shapes={path: shape for path, (_, shape) in specs.items()},
        names=tuple(names),
        estimate=torch.cat([paths[path].reshape(-1) for path in specs]),
        covariance=torch.full((count, count), torch.nan, dtype=torch.float64),
        transform=torch.cat([kinds(spec, shape).flatten() for spec, shape in specs.values()]),
        held=torch.zeros(count, dtype=torch.bool),
        undetermined=torch.zeros(count, 0, dtype=torch.float64),
        kind=kind,
        limits=torch.cat(
            [interval_limits(path, one, shape, spec).reshape(2, -1) for path, (one, shape) in specs.items()], 1
        ),
    )


def _numbered(clusters: Tensor, rows: Rows, kind: str) -> Tensor:
    """Return the clusters of the units as numbers from zero."""
    if kind != SANDWICH:
        raise ValueError(f"clusters are given with kind={kind!r}: cluster-robust errors need kind='sandwich'")
    if clusters.shape != (rows.n_units,):
        raise ValueError(
            f"clusters has shape {tuple(clusters.shape)}, there are {rows.n_units} independent units: give one label "
            "per unit"
        )
    labels = torch.unique(clusters, return_inverse=True)[1]
    if int(labels.max()) == 0:
        raise ValueError("all units are in one cluster: cluster-robust errors need at least two clusters")
    return labels


def open_coordinates(point: InformationPoint, limits: Collection[str]) -> Tensor:
    """Return which free coordinates (P,) are estimated: not held together, not at one of the limits of the family."""
    at_limit = torch.tensor([name in limits for name in point.parameterization.names], dtype=torch.bool)
    return (point.parameterization.upper > point.parameterization.lower) & ~at_limit


def _notes(fit: Fit, rows: Rows, labels: Tensor | None, count: int, kind: str) -> tuple[str, ...]:
    out = []
    if fit.sse is not None and rows.ends is not None and kind == OBSERVED:
        out.append("errors treat the rows of a group as independent given the mean; kind='sandwich' does not")
    if fit.penalty > 0:
        out.append("errors are those of the penalised estimate; they do not include the bias from shrinkage")
    if labels is not None and int(labels.max()) + 1 <= count:
        out.append(f"{int(labels.max()) + 1} clusters for {count} parameters: cluster-robust errors are too small")
    out += [f"{name} is at the limit of its family and is treated as known" for name in fit.certificate.limits]
    return (*out, *limit_notes(fit.spec, fit.measure.paths()))


@standard_torch()
def standard_errors(found: Information) -> dict[str, Tensor]:
    """Return the standard errors by path, in the shapes of the measure.

    Zero: not estimated (a reference branch, a part that is held); NaN: not unique, or all refused.
    """
    return found.measure(flat_errors(found)).paths()
