"""`sample_size`: how many rows are needed, for a fitted estimator, a fit, or a truth that is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, require_density
from gatewise.estimators.declarations import Data, Verbose
from gatewise.estimators.framed import framed
from gatewise.estimators.inputs import Given
from gatewise.estimators.names import aliases, names_of
from gatewise.estimators.predictions import columns_of
from gatewise.estimators.progress import following
from gatewise.fit.arguments import numbers
from gatewise.fit.result import Fit
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.covariance.expected import Truth
from gatewise.infer.covariance.loss import residual_variance
from gatewise.infer.covariance.refusal import refusal
from gatewise.infer.planning.needed import rows_needed
from gatewise.infer.planning.value import SampleSize, no_rows
from gatewise.objective.parameterization import specifications


@standard_torch()
def sample_size(
    model: Any,
    target: Mapping[str, float] | None = None,
    *,
    X: Data,
    gate_X: Data = None,
    against: int | Mixture | None = None,
    experts: int | None = None,
    probability: float = 0.9,
    simulated: int = 20_000,
    check: int = 0,
    seed: int = 0,
    verbose: Verbose = 0,
) -> SampleSize:
    r"""Compute how many rows are needed for given standard errors, or to tell k experts from fewer.

    The model is taken as the truth, and the rows of X, each with the same probability, as the law of the inputs.

    Standard errors after n rows are :math:`\sqrt{(I^{-1})_{jj} / n}`, in the units of `summary`, with the expected
    information I of one row: the mean outer product of the scores of simulated rows at the truth (after least squares,
    without simulation, that of the slopes of the mean at the rows of X, divided by the residual variance). This is
    first-order theory for the estimate near the truth. Where I is singular, as of a truth with equal experts or an
    expert without weight, estimates converge more slowly than :math:`n^{-1/2}`, and no number is given.

    To tell the truth from a simpler mixture means that BIC prefers the truth with the given probability. The simpler
    mixture nearest to the truth is found by fitting it to the simulated rows. The log-likelihood ratio is taken as
    normal, with the mean ``n D + p / 2`` and the variance ``n V + p / 2``; D and V are mean and variance of the log
    ratio of the densities of one row, D the Kullback-Leibler divergence, and p the number of parameters more.

    With `experts`, the model that will be fitted has more experts than the truth. By theory the errors of experts that
    share a true one fall like :math:`n^{-1/4}` or more slowly, without a known constant. Data sets of four pilot sizes
    are simulated and fitted from the truth with an expert split; the error of a parameter is :math:`(\sum_i w_i
    (\theta_i - \theta^*_i)^2)^{1/2}` over the fitted experts, with their mean weights and the parameters of the true
    expert nearest to each, and its median over the data sets is extrapolated by its own exponent. The number of rows
    found is simulated too, and changed until errors are within 20 % of the target.

    Parameters
    ----------
    model : fitted estimator, Fit, or (Mixture, Measure)
        The truth.
    target : mapping name -> float, optional
        Wanted standard errors: by path, such as ``{"experts.coef": 0.1}``, for all its numbers, or by the name of one
        number, ``experts.coef[0,0,1]``; of an estimator also as in its summary, ``x1[expert 0]``.
    X : array-like (n, d)
        Inputs as they will be observed. Of an estimator, inputs as in fit.
    gate_X : array-like (n, g), optional
        Inputs of the gates, if they differ from X.
    against : int or Mixture, optional
        The simpler mixture, or its number of experts (of branches at the innermost level).
    experts : int, optional
        Number of experts (of branches at the innermost level) of the model that will be fitted, if it has more than the
        truth. `target` then names paths of the experts or the family, such as ``{"experts.coef": 0.1}``.
    probability : float
        With which BIC prefers the truth to `against`.
    simulated : int
        Rows to simulate at least. X is repeated as often as it takes.
    check : int
        Data sets to simulate and fit at the number of rows found, 100 or more: `rows` is raised until the errors that
        they show are within 20 % of the target. 0: first-order theory is taken at its word. With `experts`: data sets
        of every size, 40 if 0.
    seed : int
    verbose : bool, int or callable
        With `experts`: true shows a bar and logs the sizes that are simulated; a function is called with
        (stage, data sets done, all of them).

    Returns
    -------
    SampleSize
        `rows` is the number needed for everything that was asked, None where none is known to be enough; `refused` then
        says why. Numbers of an estimator have the names of its summary.

    Raises
    ------
    ValueError
        If nothing is asked, a name is unknown, a truth has another size than X or violates its own bounds, or the
        mixture has no density.

    Notes
    -----
    Rows are independent: with groups, more are needed. With few rows errors are larger than first-order theory says,
    most of all those of gates whose weights hardly change with a parameter, such as the centers of Laplace gates;
    `check` shows it. A search that misses the best optimum adds to them. `python -m benchmarks sample_size` compares
    predicted errors with simulated ones.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor, sample_size
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 3))
    >>> model = MixtureOfExpertsRegressor(1, n_init=1).fit(X, X.sum(1) + rng.normal(size=300))
    >>> needed = sample_size(model, {"experts.coef": 0.05}, X=X)
    >>> 300 < needed.rows < 500  # about (1 / 0.05)^2
    True
    """
    wanted = {"target": target, "against": against, "chance": probability, "simulated": simulated}
    wanted |= {"check": check, "seed": seed, "experts": experts}
    if isinstance(model, tuple):
        return _needed(model, X, gate_X, wanted, verbose)
    check_is_fitted(model, "fit_")
    called = names_of(model)
    every = called.every()
    numbers_of = aliases(every)
    target = None if target is None else {numbers_of.get(name, name): error for name, error in target.items()}
    with called.in_errors():
        found = _needed(model, X, gate_X, {**wanted, "target": target}, verbose)
    refused = None if found.refused is None else called.text(found.refused)
    names, notes = (every.get(name, name) for name in found.names), map(called.text, found.notes)
    return found._replace(names=tuple(names), refused=refused, notes=tuple(notes))


def _needed(model: Any, X: Data, gate_X: Data, wanted: dict[str, Any], verbose: Verbose) -> SampleSize:
    """Return the rows needed, with numbers by path and position."""
    fit, x, gates = _read(model, X, gate_X)
    if not isinstance(fit, Fit):
        _require_sizes(*fit, x, x if gates is None else gates)
        with following(verbose, "data sets") as progress:
            truth = Truth(*fit, x, gates)
            return rows_needed(truth, **wanted, progress=progress)
    refused = refusal(fit._replace(certificate=fit.certificate._replace(kinks=())))
    if refused:
        return no_rows(f"the model is no truth to plan with: {refused.words}")
    spec = replace(fit.spec, alpha=0.0)
    truth = Truth(fit.mixture, fit.measure, x, gates, spec, residual_variance(fit), fit.certificate.limits)
    with following(verbose, "data sets") as progress:
        out = rows_needed(truth, **wanted, progress=progress)
    return out._replace(notes=(*out.notes, *_taken_for_granted(fit)))


def _read(model: Any, X: Data, gate_X: Data) -> tuple[Fit | tuple[Mixture, Measure], Tensor, Tensor | None]:
    """Return fit, or mixture and measure, with the inputs (n, d) of the experts and (n, g), where others, of gates."""
    if not isinstance(model, tuple):
        given = framed(model, Given(X, None, gate_x=gate_X))
        inputs, gated = columns_of(model, given.x, given.gate_x)
        if model._offset:
            raise ValueError("the model was fitted with an offset, which new samples would need too: fit without one")
        seen = None if gated is inputs else gated.read(0, gated.shape[0]).T
        return model.fit_, inputs.read(0, inputs.shape[0]).T, seen
    if not isinstance(model, Fit) and [type(part) for part in model] != [Mixture, Measure]:
        kinds = ", ".join(type(part).__name__ for part in model)
        raise TypeError(f"model is a tuple of {kinds}: give a fitted estimator, a Fit, or (Mixture, Measure)")
    x, gates = _table("X", X), None if gate_X is None else _table("gate_X", gate_X)
    if gates is not None and len(gates) != len(x):
        raise ValueError(f"gate_X has {len(gates)} rows, X has {len(x)}: pass one row per observation")
    return model, x, gates


def _table(name: str, values: Any) -> Tensor:
    """Return finite inputs as a tensor (n, d)."""
    given = torch.from_numpy(numbers(name, values))
    if given.ndim != 2 or not len(given) or not bool(given.isfinite().all()):
        raise ValueError(f"{name} has shape {tuple(given.shape)}: give finite numbers, one row per observation (n, d)")
    return given


def _require_sizes(mixture: Mixture, measure: Measure, x: Tensor, gates: Tensor) -> None:
    """Raise unless a measure is one of a mixture with a density, for inputs of these sizes."""
    require_density(mixture)
    found = {path: tuple(value.shape) for path, value in measure.paths().items()}
    q = mixture.outputs(measure)
    wanted = {path: shape for path, (_, shape) in specifications(mixture, x.shape[1], gates.shape[1], q).items()}
    if found != wanted:
        raise ValueError(
            f"the measure has the parameters {found}; with these inputs the mixture has {wanted}: give a measure of "
            "this mixture. For a truth with fewer experts than the model there is no information to plan with"
        )


def _taken_for_granted(fit: Fit) -> list[str]:
    """Return what the numbers say nothing about, in words."""
    notes = []
    if fit.certificate.kinks:
        notes.append(f"the estimate lies on a kink at {', '.join(fit.certificate.kinks)}; the truth is taken beside it")
    if fit.spec.alpha > 0:
        notes.append("errors are those without the ridge penalty of the fit")
    return notes
