"""What estimators share: fitting, and what a fit says about its own data."""

from __future__ import annotations

from math import log
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from gatewise.core import derivatives
from gatewise.core.gates import Gate, describe
from gatewise.core.mixture import Mixture, leaf_log_weights, log_density
from gatewise.core.rows import Columns, Rows, columns, make_rows
from gatewise.data.stream import Part
from gatewise.estimators import options
from gatewise.estimators.alerts import GOOD, alert, alert_ridge, ask_theory
from gatewise.estimators.attributes import natural
from gatewise.estimators.declarations import Data, Declared, Kind
from gatewise.estimators.gate_inputs import GateReader, straight
from gatewise.estimators.inference import Errors, Inference, errors_of, infer, settings
from gatewise.estimators.inputs import label_groups, read_inputs, read_training, reject_text
from gatewise.estimators.progress import following
from gatewise.estimators.summary import summary
from gatewise.estimators.summary_value import Summary
from gatewise.estimators.tables import by_name, group_labels
from gatewise.fit.least_squares import least_squares
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.result import Fit
from gatewise.infer.identifiability import Advice, Inputs, Verdict, advise
from gatewise.infer.information import information
from gatewise.infer.predict import Shares, in_blocks, shares


def reads_inputs(gate: Gate) -> bool:
    """Return whether a gate looks at its inputs."""
    return any(spec.shape for spec in gate.score.parameters(2).values())


class MixtureEstimator(Declared):
    """Abstract: subclasses give the constructor and the predictions."""

    def fit(self, X: Data, y: Data, sample_weight: Data = None, gate_X: Data = None, groups: Data = None) -> Self:
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
        options.check_numbers(self)
        levels = options.branching(self.n_experts)
        gated = any(reads_inputs(gate) for gate in options.gates(self.gate, len(levels)))
        data = read_training(self, X, y, sample_weight, gate_X, groups, gated)
        leaves = int(np.prod(levels))
        if data.rows.n_units < leaves:
            raise ValueError(f"n_samples={data.rows.n_units} for {leaves} experts: give at least one row per expert")
        mixture = options.mixture_of(self, data.rows)
        given = settings(self, mixture, data.rows, data.flat)
        search = {
            "starts": int(self.n_init),
            "seed": options.seed_of(self.random_state),
            "max_time": self.max_time,
        }
        with following(self.verbose) as progress:
            fit = self._search(mixture, data.rows, given, {**search, "progress": progress})
        self._adopt(fit, data.reader, data.flat)
        self._describe(shares(fit.mixture, fit.measure, data.rows), errors_of(information(fit, data.rows, **given)))
        alert(fit, list(getattr(self, "feature_names_in_", ())), stacklevel=2)
        if ask_theory(fit, self._errors):
            alert_ridge(*self._theory(order=1), stacklevel=2)
        return self

    def _search(self, mixture: Mixture, rows: Rows, given: dict[str, Any], search: dict[str, Any]) -> Fit:
        """Return the fit of a mixture by the method that was asked for."""
        if self.method == "ls":
            del given["min_scale"]
            return least_squares(mixture, rows, **search, **given)
        solver = "em" if self.method == "em" else "newton"
        return maximum_likelihood(mixture, rows, method=solver, max_iter=int(self.max_iter), **search, **given)

    def _adopt(self, fit: Fit, reader: GateReader, flat: bool) -> None:
        """Set the attributes of the fit itself, before anything is said about it."""
        self._reader, self._flat = reader, flat
        self.fit_, self.mixture_, self.measure_ = fit, fit.mixture, fit.measure
        self.log_likelihood_, self.status_ = fit.log_likelihood, fit.status
        self.sse_ = fit.sse
        self.converged_ = fit.status in GOOD and fit.certificate.passed
        self.n_iter_ = fit.n_iter
        self.n_experts_ = fit.mixture.n_leaves - len(fit.certificate.starved)
        self.n_outputs_ = next(iter(fit.measure.experts.values())).shape[fit.mixture.depth]
        for name, value in natural(fit.mixture, fit.measure, flat).items():
            setattr(self, name, value)

    def _describe(self, taken: Shares, errors: Errors) -> None:
        """Set what is computed about a fit: shares of the experts, standard errors or why there are none."""
        self._shares, self._errors = taken, errors
        values = errors.values
        self.standard_errors_ = None if values is None else {path: value.numpy() for path, value in values.items()}
        self.standard_errors_reason_ = errors.reason

    def _columns(self, X: Any, gate_X: Any) -> tuple[Columns, Columns]:
        """Check inputs of a prediction and return those of experts and gates."""
        check_is_fitted(self, "fit_")
        X, _, gate_X = by_name(self, X, None, gate_X)
        x = read_inputs(self, X, reset=False)
        gates = gate_X if isinstance(gate_X, Part) else self._reader.read(x, gate_X)
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
        if isinstance(y, Part):
            if y.shape[1] != wanted:
                raise ValueError(f"y has the columns {', '.join(y.names)}: give {wanted} as in fit")
            return columns(y, hold=False)
        reject_text(y)
        y = straight(np.asarray(y, dtype=np.float64))
        y = y[:, None] if y.ndim == 1 else y
        if y.ndim != 2 or y.shape[1] != wanted or not np.isfinite(y).all():
            raise ValueError(f"y has the shape {y.shape}: give finite numbers, {wanted} per row as in fit")
        return columns(y, hold=False)

    def _response_columns(self) -> int:
        trials = getattr(self.mixture_.family, "trials", 1)
        return self.n_outputs_ * (2 if trials is None else 1)

    def gate_proba(self, X: Data, gate_X: Data = None) -> np.ndarray:
        """Return the weight ``(n, L)`` of every expert at X, before y is seen.

        Parameters
        ----------
        X : array-like (n, d)
        gate_X : array-like (n, g)
            When fit was given it.
        """
        return self._evaluate(lambda m, g, x, gate_x: leaf_log_weights(m, g, gate_x).exp(), 2, X, gate_X)

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
        check_is_fitted(self, "fit_")
        groups = group_labels(X, groups)
        X, y, gate_X = by_name(self, X, y, gate_X)
        x, gates = self._columns(X, gate_X)
        response = self._response(y)
        n = x.shape[0]
        if response.shape[0] != n:
            raise ValueError(f"y has {response.shape[0]} rows, X has {n}: pass one response per observation")
        label = None if groups is None else label_groups(groups, n)
        order = None  # groups are read side by side
        if label is not None and bool((np.diff(label) < 0).any()):
            order = np.argsort(label, kind="stable")
        ends = None if label is None else torch.from_numpy(np.cumsum(np.bincount(label)))
        parts = [part.source if order is None else part.source[order.tolist()] for part in (x, response, gates)]
        rows = make_rows(*parts[:2], gate_x=parts[2], ends=ends, hold=False)
        out = np.empty((n, self.mixture_.n_leaves))
        at = 0
        for block in rows.blocks(16384):
            leaf = derivatives.unit_responsibilities(self.mixture_, self.measure_, block)
            part = derivatives.by_row(leaf, block).T.numpy()
            here = slice(at, at + len(part))
            out[here if order is None else order[here]] = part
            at += len(part)
        return out

    def score_samples(self, X: Data, y: Data = None, gate_X: Data = None) -> np.ndarray:
        """Return the log density ``log p(y | x)`` of every row, ``(n,)``.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, q), optional
            Left out: the density at the predicted mean, which says how concentrated the response is there.
        gate_X : array-like (n, g)
            When fit was given it.
        """
        check_is_fitted(self, "fit_")
        X, y, gate_X = by_name(self, X, y, gate_X)
        y = self.predict(X, gate_X=gate_X) if y is None else y
        return self._evaluate(log_density, 4, X, gate_X, self._response(y))

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
        gates = [describe(gate) for gate in options.gates(self.gate, self.mixture_.depth)]
        criteria = self.aic(), self.bic(), self.icl()
        theory = self._theory().words
        return summary(self.fit_, self._shares, self._errors, gates, inputs, gate_inputs, criteria, theory)

    def _theory(self, order: int = 2) -> Advice:
        """Return what identifiability says of the fitted mixture, or why it was not checked, with words.

        What was given as fixed is not estimated, and so no ridge; the check knows whole parameters only.
        """
        d, reader = self.n_features_in_, self._reader
        inputs = Inputs(d, tuple(range(d, d + reader.count)) if reader.given else reader.chosen)
        estimator = "ml" if self.fit_.sse is None else "ls"
        whole = {path: not bool(np.isnan(np.asarray(value, float)).any()) for path, value in (self.fixed or {}).items()}
        held = sorted(path for path, all_ in whole.items() if all_)
        found = advise(self.mixture_, estimator, self.gauge, inputs, self.n_outputs_, held, order)
        if found.verdict is Verdict.ridge and not all(whole.values()):
            return Advice(Verdict.undecided, "not checked: some entries of a parameter are fixed and others are not")
        return found
