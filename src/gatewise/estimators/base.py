"""What estimators share: fitting, and what a fit says about its own data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from math import log, prod
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from gatewise.core.gates import describe
from gatewise.core.mixture import Measure, Mixture, leaf_log_weights, require_density
from gatewise.data.stream import StreamPart
from gatewise.estimators import options
from gatewise.estimators.attributes import reported_values
from gatewise.estimators.declarations import Data, Declared, Kind, Start
from gatewise.estimators.gate_inputs import GateReader, as_native, gated_levels, gates_read_rows
from gatewise.estimators.inference import Inference, ReportedErrors, errors_of, infer
from gatewise.estimators.inputs import VARY, Training, read_inputs, read_training, reject_text
from gatewise.estimators.progress import following
from gatewise.estimators.summary import summary
from gatewise.estimators.summary_value import Summary
from gatewise.estimators.tables import by_name, group_labels, vary_inside
from gatewise.estimators.values import labels, plain
from gatewise.estimators.warnings import GOOD, SeparatedWarning, UnsoundWarning, alert, alert_ridge, ask_theory
from gatewise.fit.arguments import MOST_STARTS, numbers, whole
from gatewise.fit.least_squares import least_squares
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.result import Fit
from gatewise.fit.spec import FitSpec
from gatewise.fit.status import Status
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.covariance.information import information
from gatewise.infer.identifiability import Advice, IdentifiabilityVerdict, MixtureInputs, advise
from gatewise.infer.predict import Shares, in_blocks, shares
from gatewise.objective import likelihood
from gatewise.objective.rows import Columns, Rows, columns, make_rows

SEEN = ("n_features_in_", "feature_names_in_")
OWN_STATE = ("random_state", "verbose")  # what these hold goes on changing, and no method of a fitted model reads it


def as_given(estimator: Any) -> Any:
    """Return an unfitted estimator with copies of the same arguments, which later changes of these do not reach."""
    params = estimator.get_params(deep=False)
    return type(estimator)(**{name: v if name in OWN_STATE else deepcopy(v) for name, v in params.items()})


def _prepared(
    given: Any, X: Any, y: Any, sample_weight: Any, gate_X: Any, groups: Any
) -> tuple[Training, Mixture, FitSpec]:
    """Return checked rows, the mixture and what is estimated."""
    options.check_numbers(given)
    levels = options.branching(given.n_experts)
    gated = gates_read_rows(options.gates(given.gate, len(levels)), levels)
    data = read_training(given, X, y, sample_weight, gate_X, groups, gated)
    leaves = prod(levels)
    if data.rows.n_units < leaves:
        raise ValueError(f"n_samples={data.rows.n_units} for {leaves} experts: give at least one row per expert")
    if data.rows.total < leaves and given.method != "ls":
        raise ValueError(light(data.rows, f"fewer than the {leaves} experts"))
    mixture = options.mixture_of(given, data.rows)
    rows, outputs = data.rows, mixture.family.outputs(data.rows.y.shape[1])
    return data, mixture, options.spec_of(given, mixture, rows.x.shape[1], rows.gate_x.shape[1], outputs, data.flat)


def _start(estimator: Any, start: Any, data: Training) -> Any:
    """Return what a search begins at, in the order of the rows that are fitted; None: starts are drawn."""
    if start is None and estimator.warm_start:
        return getattr(estimator, "fit_", None)
    if isinstance(start, MixtureEstimator):
        check_is_fitted(start, "fit_")
        return start.fit_
    if start is None or isinstance(start, Fit | Measure):
        return start
    return data.ordered(numbers("start", plain("start", start)))


class MixtureEstimator(Declared):
    """Abstract: subclasses give the constructor and the predictions."""

    def fit(
        self,
        X: Data,
        y: Data,
        sample_weight: Data = None,
        gate_X: Data = None,
        groups: Data = None,
        start: Start = None,
    ) -> Self:
        """Fit by maximum likelihood from many starts and certify the result.

        Parameters
        ----------
        X : array-like (n, d)
            Inputs of the experts, and of the gates unless `gate_X` or `gate_features` say otherwise. A memory-mapped
            float64 array is read in place, never copied. Also the path of a Parquet file or of a folder of them, a
            `gatewise.data.ParquetTable` or a pyarrow data set: they are read in batches, and every other argument is
            the name of a column, or a list of names for y and `gate_X`; X is the columns without another role. So it is
            for a pyarrow table in memory where y is a name; with an array for y its columns are X.
        y : array-like (n,) or (n, q)
        sample_weight : array-like (n,), optional
            Frequency weights: 2 counts a row twice, 0 leaves it out.
        gate_X : array-like (n, g), optional
            Inputs of the gates.
        groups : array-like (n,), optional
            Rows with the same label come from one expert: they share their responsibility, their gate inputs and their
            weight.
        start : fitted estimator, Fit, Measure or array-like (n, L), optional
            Where the first of the `n_init` starts begins, the others being drawn: a model of the same size and family,
            or responsibilities, the probability of every expert at every row. By default drawn too, or with
            ``warm_start=True`` the fit before.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For data or arguments that cannot be used; the message says which, why, and what to do.

        Warns
        -----
        ConvergenceWarning
            A subclass for each way a fit can fail, all of them a `gatewise.FitWarning`.
        """
        given = as_given(self)
        with standard_torch():
            data, mixture, spec = _prepared(given, X, y, sample_weight, gate_X, groups)
            begin = _start(self, start, data)
        search = {
            "starts": whole("n_init", self.n_init, 1, MOST_STARTS),
            "start": begin,
            "seed": options.seed_of(self.random_state),
            "max_time": self.max_time,
        }
        with following(self.verbose) as progress:
            fit = self._search(mixture, data.rows, spec, {**search, "progress": progress})
        errors = errors_of(information(fit, data.rows))
        self._adopt(fit, data.reader, data.flat, shares(fit.mixture, fit.measure, data.rows), errors, given)
        alert(fit, list(getattr(self, "feature_names_in_", ())), stacklevel=2)
        alert_data(fit, data.rows, stacklevel=2)
        if ask_theory(fit, errors):
            alert_ridge(*self._theory(order=1), stacklevel=2)
        return self

    def _search(self, mixture: Mixture, rows: Rows, spec: FitSpec, search: dict[str, Any]) -> Fit:
        """Return the fit of a mixture by the method that was asked for."""
        if self.method == "ls":
            return least_squares(mixture, rows, spec, **search)
        solver = "em" if self.method == "em" else "newton"
        return maximum_likelihood(mixture, rows, spec, method=solver, max_iter=self.max_iter, **search)

    def _adopt(
        self, fit: Fit, reader: GateReader, flat: bool, taken: Shares, errors: ReportedErrors, given: Self | None = None
    ) -> None:
        """Set the fitted attributes, none of an earlier fit left.

        Parameters
        ----------
        given : estimator, optional
            Unfitted, with the arguments of the fit and what it saw of X; default: those of this estimator.
        """
        seen = {name: value for name, value in vars(given or self).items() if name in SEEN}
        self._given = given or as_given(self)
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)
        self._reader, self._flat, self._shares, self._errors = reader, flat, taken, errors
        values = errors.values
        found: dict[str, Any] = {
            **reported_values(fit.mixture, fit.measure, flat),  # a parameter called fit is in measure_ alone
            **seen,
            "standard_errors_": None if values is None else {path: value.numpy() for path, value in values.items()},
            "standard_errors_reason_": errors.reason,
            "fit_": fit,
            "mixture_": fit.mixture,
            "measure_": fit.measure,
            "log_likelihood_": fit.log_likelihood,
            "status_": fit.status,
            "sse_": fit.sse,
            "converged_": fit.status in GOOD and fit.certificate.passed,
            "n_iter_": fit.n_iter,
            "n_experts_": fit.mixture.n_leaves - len(fit.certificate.starved),
            "n_outputs_": next(iter(fit.measure.experts.values())).shape[fit.mixture.depth],
        }
        for name, value in found.items():
            setattr(self, name, value)

    def _columns(self, X: Any, gate_X: Any) -> tuple[Columns, Columns]:
        """Check inputs of a prediction and return those of experts and gates."""
        check_is_fitted(self, "fit_")
        X, _, gate_X = by_name(self, plain("X", X), None, gate_X)
        x = read_inputs(self, X, reset=False)
        gates = gate_X if isinstance(gate_X, StreamPart) else self._reader.read(x, gate_X)
        inputs = columns(x, hold=False)
        return inputs, inputs if gates is None else columns(gates, hold=False)

    def _evaluate(self, function: Any, width: int, X: Any, gate_X: Any, *more: Columns) -> np.ndarray:
        """Return ``function(mixture, measure, x, gate_x, ...)`` for all rows, with rows first."""
        x, gates = self._columns(X, gate_X)
        for part in more:
            if part.shape[0] != x.shape[0]:
                raise ValueError(f"y has {part.shape[0]} rows, X has {x.shape[0]}: pass one response per observation")

        def block(*parts: torch.Tensor) -> torch.Tensor:
            return function(self.mixture_, self.measure_, *parts)

        size = self.mixture_.n_leaves * self.n_outputs_ * width
        return np.moveaxis(in_blocks(block, size, x, gates, *more).numpy(), -1, 0)

    def _response(self, y: Any) -> Columns:
        """Check a response like that of fit."""
        wanted = self._response_columns()
        if isinstance(y, StreamPart):
            if y.shape[1] != wanted:
                raise ValueError(f"y has the columns {', '.join(y.names)}: give {wanted} as in fit")
            return columns(y, hold=False)
        y = plain("y", y)
        reject_text(y)
        y = as_native(np.asarray(y, dtype=np.float64))
        y = y[:, None] if y.ndim == 1 else y
        if y.ndim != 2 or y.shape[1] != wanted or not np.isfinite(y).all():
            raise ValueError(f"y has the shape {y.shape}: give finite numbers, {wanted} per row as in fit")
        return columns(y, hold=False)

    def _response_columns(self) -> int:
        return self.mixture_.family.columns(self.n_outputs_)

    @standard_torch()
    def gate_proba(self, X: Data, gate_X: Data = None) -> np.ndarray:
        """Return the weight ``(n, L)`` of every expert at X, before y is seen.

        Parameters
        ----------
        X : array-like (n, d)
        gate_X : array-like (n, g)
            When fit was given it.
        """
        return self._evaluate(lambda m, g, x, gate_x: leaf_log_weights(m, g, gate_x).exp(), 2, X, gate_X)

    @standard_torch()
    def responsibilities(self, X: Data, y: Data, gate_X: Data = None, groups: Data = None) -> np.ndarray:
        """Return the posterior probability ``(n, L)`` of every expert given X and y.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, q)
        gate_X : array-like (n, g)
            When fit was given it.
        groups : array-like (n,), optional
            Rows with the same label share their responsibility.
        """
        rows, order = self._rows(X, y, gate_X, groups)
        out = np.empty((rows.n, self.mixture_.n_leaves))
        at = 0
        for block in rows.blocks(16384):
            leaf = likelihood.unit_responsibilities(self.mixture_, self.measure_, block)
            part = likelihood.rows_from_units(leaf, block).T.numpy()
            here = slice(at, at + len(part))
            out[here if order is None else order[here]] = part
            at += len(part)
        lost = np.flatnonzero(~np.isfinite(out).all(1))
        if len(lost):
            raise ValueError(
                f"y of row {lost[0]} is so far from every expert that all densities are zero in floating point: it has "
                "no responsibilities; leave such rows out, or check the units of y"
            )
        return out

    @standard_torch()
    def score_samples(self, X: Data, y: Data = None, gate_X: Data = None, groups: Data = None) -> np.ndarray:
        """Return the log density ``log p(y | x)`` of every row ``(n,)``, or of every group of rows.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, q)
        gate_X : array-like (n, g)
            When fit was given it.
        groups : array-like (n,), optional
            Rows with the same label come from one expert: the result then holds the log density of each of the m
            groups, ``(m,)``, in the order of ``np.unique(groups)`` (of a table, in the order of its rows).

        Raises
        ------
        TypeError
            Without y: there is no density of X. `log_likelihood_scorer` is for searches and cross-validation.

        Examples
        --------
        >>> import numpy as np
        >>> from gatewise import MixtureOfExpertsRegressor
        >>> x = np.repeat(np.arange(20.0), 2)[:, None]
        >>> y = np.sin(x[:, 0]) + np.tile([-0.1, 0.1], 20)
        >>> model = MixtureOfExpertsRegressor(1, n_init=1, random_state=0).fit(x, y, groups=x[:, 0])
        >>> scores = model.score_samples(x, y, groups=x[:, 0])
        >>> scores.shape, bool(np.isclose(scores.sum(), model.log_likelihood_))
        ((20,), True)
        """
        if y is None:
            raise TypeError(
                "score_samples needs y: it returns the density of y given X. Pass y; in a pipeline or a search, which "
                "pass X alone, use scoring=gatewise.log_likelihood_scorer"
            )
        rows, _ = self._rows(X, y, gate_X, groups)
        require_density(self.mixture_)
        parts = [likelihood.unit_log_density(self.mixture_, self.measure_, block) for block in rows.blocks(16384)]
        return torch.cat(parts).numpy()

    def _rows(self, X: Any, y: Any, gate_X: Any, groups: Any) -> tuple[Rows, np.ndarray | None]:
        """Return checked rows with the rows of a group side by side, and their order (None: that given)."""
        check_is_fitted(self, "fit_")
        groups = group_labels(X, groups)
        X, y, gate_X = by_name(self, plain("X", X), y, gate_X)
        x, gates = self._columns(X, gate_X)
        response = self._response(y)
        n = x.shape[0]
        if response.shape[0] != n:
            raise ValueError(f"y has {response.shape[0]} rows, X has {n}: pass one response per observation")
        label = None if groups is None else labels("groups", groups, n)
        order = None  # groups are read side by side
        if label is not None and bool((np.diff(label) < 0).any()):
            order = np.argsort(label, kind="stable")
        ends = None if label is None else np.cumsum(np.bincount(label))
        parts = [part.source if order is None else part.source[order.tolist()] for part in (x, response, gates)]
        if (
            ends is not None
            and gates_read_rows(self.mixture_.gates, self.mixture_.branching)
            and vary_inside(parts[2], ends)
        ):
            raise ValueError(VARY)
        kept = None if ends is None else torch.from_numpy(ends)
        return make_rows(*parts[:2], gate_x=parts[2], ends=kept, hold=False), order

    def predict(self, X: Data, gate_X: Data = None) -> np.ndarray:
        """Return what is predicted at X: subclasses say what."""
        raise NotImplementedError

    def aic(self) -> float:
        """Return ``-2 log L + 2 df`` on the data of fit, df the identified rank; smaller is better."""
        check_is_fitted(self, "fit_")
        return 2.0 * self.fit_.df - 2.0 * self.log_likelihood_

    def bic(self) -> float:
        """Return ``-2 log L + df log n`` on the data of fit, n the sum of the weights; smaller is better."""
        check_is_fitted(self, "fit_")
        return self.fit_.df * log(self.fit_.n) - 2.0 * self.log_likelihood_

    def icl(self) -> float:
        """Return BIC + 2 x entropy of the responsibilities on the data of fit; smaller is better.

        NaN after least squares, which has no responsibilities.
        """
        return self.bic() + 2.0 * self._shares.entropy

    def inference(
        self,
        X: Data,
        y: Data,
        sample_weight: Data = None,
        gate_X: Data = None,
        groups: Data = None,
        kind: Kind = "observed",
        clusters: Data = None,
    ) -> Inference:
        """Return standard errors and intervals; the estimator does not keep its data, so they are given again.

        Parameters
        ----------
        X, y, sample_weight, gate_X, groups
            As given to fit.
        kind : {"observed", "sandwich"}
            Inverse of the observed information (after least squares: residual variance times inverse Hessian), or
            robust to a wrong model; weights are then sampling weights.
        clusters : array-like (n,) or str, optional
            Label of the cluster of every row, for ``kind="sandwich"``: rows of a cluster need not be independent. With
            a table, also the name of its column of labels, of any type.

        Raises
        ------
        ValueError
            For data or labels that cannot be used. That there are no errors is said by `Inference.refused`, and by the
            methods of the result when they are called.
        """
        return infer(self, X, y, sample_weight, gate_X, groups, kind, clusters)

    @standard_torch()
    def summary(self) -> Summary:
        """Return the fit for the reader: model, criteria, status, tables of experts and gates, starts and notes.

        Returns
        -------
        Summary
            A text that shows tables in a notebook; `experts`, `gates`, `criteria` and `to_frame` are data frames.
        """
        check_is_fitted(self, "fit_")
        names = getattr(self, "feature_names_in_", None)
        inputs = [f"x{i}" for i in range(self.n_features_in_)] if names is None else list(names)
        fallback = [f"{'gate ' if self._reader.given else ''}x{i}" for i in range(self._reader.count)]
        gate_inputs = list(self._reader.names or fallback)
        gates = [describe(gate) for gate in options.gates(self._given.gate, self.mixture_.depth)]
        criteria = self.aic(), self.bic(), self.icl()
        theory = self._theory().words
        return summary(self.fit_, self._shares, self._errors, gates, inputs, gate_inputs, criteria, theory)

    def _theory(self, order: int = 2) -> Advice:
        """Return what identifiability says of the fitted mixture, or why it was not checked, with words.

        What was fixed is not estimated, and so no ridge; the check knows whole parameters only.
        """
        mixture, spec, d, reader = self.mixture_, self.fit_.spec, self.n_features_in_, self._reader
        kept = gated_levels(mixture.gates, mixture.branching)
        if not kept:
            words = "one expert, and no gate: there is nothing that it could be confused with"
            return Advice(IdentifiabilityVerdict.undecided, words)
        told = replace(
            mixture, gates=tuple(mixture.gates[i] for i in kept), branching=tuple(mixture.branching[i] for i in kept)
        )
        inputs = MixtureInputs(d, tuple(range(d, d + reader.count)) if reader.given else reader.chosen)
        whole = {path: not bool(value.isnan().any()) for path, value in spec.fixed.items()}
        held = sorted(told_path(path, kept) for path, all_ in whole.items() if all_ and told_path(path, kept))
        estimator = "ml" if self.fit_.sse is None else "ls"
        found = advise(told, estimator, spec.gauge, inputs, self.n_outputs_, held, order)
        if found.verdict is IdentifiabilityVerdict.ridge and not all(whole.values()):
            return Advice(
                IdentifiabilityVerdict.undecided,
                "not checked: some entries of a parameter are fixed and others are not",
            )
        if found.verdict is IdentifiabilityVerdict.ridge and spec.ties:
            return Advice(IdentifiabilityVerdict.undecided, "not checked: some parameters are tied")
        return found


def told_path(path: str, kept: Sequence[int]) -> str:
    """Return the path of a parameter where some levels of gates are left out; empty where its own level is.

    Examples
    --------
    >>> told_path("gates.2.weight", (0, 2)), told_path("gates.1.weight", (0, 2)), told_path("experts.coef", (0, 2))
    ('gates.1.weight', '', 'experts.coef')
    """
    room, _, rest = path.partition(".")
    if room != "gates":
        return path
    level, _, name = rest.partition(".")
    return f"gates.{kept.index(int(level))}.{name}" if int(level) in kept else ""


def light(rows: Rows, how: str) -> str:
    """Return what is wrong with weights of a small sum, and the remedy."""
    return (
        f"sample_weight sums to {rows.total:.6g} over {rows.n} rows, {how}: frequency weights count rows, so that 2 "
        f"is a row twice; multiply them by {rows.n / rows.total:.6g} for a sum of the number of rows"
    )


def alert_data(fit: Fit, rows: Rows, stacklevel: int) -> None:
    """Warn where the data explain a status: weights that count as less than one row each, counts without variation."""
    if fit.certificate.starved and rows.total < rows.n:
        text = light(rows, "too few for the parameters of every expert")
        warnings.warn(text, UnsoundWarning, stacklevel=stacklevel + 1)
    if fit.mixture.family.discrete and Status.separated in fit.flags:
        for j, (least, most) in enumerate(extremes(rows.y)):
            if least == most:
                text = (
                    f"every value of column {j} of y is {least:g}: its mean is an end of the family's range, where "
                    "parameters have no finite value; add rows with other values, or leave the column out"
                )
                warnings.warn(text, SeparatedWarning, stacklevel=stacklevel + 1)


def extremes(values: Columns) -> list[tuple[float, float]]:
    """Return least and largest value of every column, read block by block."""
    n = values.shape[0]
    ends = [values.read(i, min(i + 65536, n)).aminmax(dim=-1) for i in range(0, n, 65536)]
    least, most = (torch.stack(side) for side in zip(*ends, strict=True))
    return list(zip(least.amin(0).tolist(), most.amax(0).tolist(), strict=True))
