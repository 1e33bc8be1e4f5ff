"""MixtureOfExpertsClassifier: multinomial-logit experts under any gate, with scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal, Self

import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from gatewise.core.experts import Expert
from gatewise.core.mixture import regression
from gatewise.estimators.base import MixtureEstimator
from gatewise.estimators.cluster import cluster_classes
from gatewise.estimators.collections import LabelledResponse, on_cluster
from gatewise.estimators.declarations import (
    Bounds,
    Branching,
    ClassifierMixin,
    Columns,
    Data,
    Fixed,
    Gates,
    Gauge,
    Kind,
    Seed,
    Start,
    Verbose,
    WeightKind,
)
from gatewise.estimators.inference import Inference
from gatewise.estimators.inputs import Given
from gatewise.estimators.labels import classes_of, read_labels
from gatewise.estimators.lazy import lazy
from gatewise.estimators.predictions import evaluate
from gatewise.fit.torch_state import standard_torch


class MixtureOfExpertsClassifier(ClassifierMixin, MixtureEstimator):
    """Mixture-of-experts classification: ``P(y = c | x) = sum_k pi_k(x) softmax_c(intercept_k + coef_k x)``.

    The gate weights ``pi_k(x)`` and the experts are estimated together by maximum likelihood (2310.14188). The first
    class is the reference: coefficients are those of the log odds of each other class against it.

    Parameters
    ----------
    n_experts, gate, expert, n_init, alpha, bounds, fixed, gauge, standardize, gate_features
        As in `MixtureOfExpertsRegressor`.
    max_iter, max_time, random_state, device, verbose, warm_start, shared, weight_kind, reference
        As in `MixtureOfExpertsRegressor`.
    method : {"ml", "em"}
        Maximum likelihood (EM steps followed by Newton's method), or by EM only.

    Attributes
    ----------
    classes_ : ndarray (K,)
        The labels, sorted; the first is the reference.
    coef_, intercept_ : ndarray ``(*n_experts, K - 1, d), (*n_experts, K - 1)``
        Of the log odds of each class but the first, if the expert has them.
    gate_params_, fit_, mixture_, measure_, log_likelihood_, status_, converged_, standard_errors_, ...
        As in `MixtureOfExpertsRegressor`.

    Notes
    -----
    Where classes can be told apart without error, coefficients have no finite estimate and the fit is ``separated``, as
    of a logistic regression; probabilities are then 0 and 1. Fewer experts or fewer columns give finite estimates.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(600, 3))
    >>> first = rng.random(600) < 1 / (1 + np.exp(-2 * X[:, 0]))
    >>> odds = np.where(first, 3 * X[:, 1], -3 * X[:, 1] + X[:, 2])
    >>> y = np.where(rng.random(600) < 1 / (1 + np.exp(-odds)), "yes", "no")
    >>> model = MixtureOfExpertsClassifier(2, n_init=5, random_state=0).fit(X, y)
    >>> model.classes_.tolist(), model.predict_proba(X[:2]).shape
    (['no', 'yes'], (2, 2))
    >>> model.score(X, y) > 0.65
    True
    """

    family = "categorical"
    scale = "free"
    covariance = "diag"
    min_scale = None
    zero_inflated = False
    noise = False
    classes_: np.ndarray

    def __init__(
        self,
        n_experts: Branching = 2,
        gate: Gates = "softmax",
        expert: str | Expert = "linear",
        method: Literal["ml", "em"] = "ml",
        n_init: int | Literal["auto"] = "auto",
        alpha: float = 0.0,
        bounds: Bounds | None = None,
        fixed: Fixed | None = None,
        gauge: Gauge = "fixed",
        standardize: bool = True,
        gate_features: Columns | None = None,
        max_iter: int = 1000,
        max_time: float | None = None,
        random_state: Seed = None,
        device: str | None = None,
        verbose: Verbose = 0,
        warm_start: bool = False,
        shared: Any = (),
        weight_kind: WeightKind = "frequency",
        reference: int | Sequence[int] | None = None,
    ) -> None:
        self.n_experts = n_experts
        self.gate = gate
        self.expert = expert
        self.method = method
        self.n_init = n_init
        self.alpha = alpha
        self.bounds = bounds
        self.fixed = fixed
        self.gauge = gauge
        self.standardize = standardize
        self.gate_features = gate_features
        self.max_iter = max_iter
        self.max_time = max_time
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.warm_start = warm_start
        self.weight_kind = weight_kind
        self.shared = shared
        self.reference = reference

    def fit(  # type: ignore[override]
        self,
        X: Data,
        y: Data,
        sample_weight: Data = None,
        gate_X: Data = None,
        groups: Data = None,
        start: Start = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> Self:
        """Fit by maximum likelihood from many starts and certify the result.

        Parameters
        ----------
        X, sample_weight, gate_X, groups, start, checkpoint
            As in `MixtureOfExpertsRegressor.fit`.
        y : array-like (n,)
            Labels of classes: numbers, text or booleans.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For y with one class, or with numbers that are no classes, and as `MixtureOfExpertsRegressor.fit`.
        """
        if self.method not in ("ml", "em"):
            raise ValueError(f"method={self.method!r}: choose 'ml' or 'em'")
        if on_cluster(X):
            classes = cluster_classes(X, y)
            columns: Any = LabelledResponse(y, classes)
        else:
            classes, columns = classes_of(read_labels(X, y))
        return self._fit(Given(X, columns, sample_weight, gate_X, groups), start, checkpoint, classes)

    @lazy
    @standard_torch()
    def predict_proba(self, X: Data, gate_X: Data = None) -> np.ndarray:
        """Return the probability of every class ``(n, K)``, in the order of `classes_`.

        Parameters
        ----------
        X : array-like (n, d)
        gate_X : array-like (n, g)
            Gate inputs, if fit was given any.
        """
        check_is_fitted(self, "fit_")
        others = evaluate(self, regression, 2, X, gate_X)
        found = np.concatenate([1.0 - others.sum(1, keepdims=True), others], 1).clip(0.0, 1.0)
        return found / found.sum(1, keepdims=True)

    def predict_log_proba(self, X: Data, gate_X: Data = None) -> np.ndarray:
        """Return the logarithm of `predict_proba`, ``(n, K)``; minus infinity for a probability of zero."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, gate_X=gate_X))

    @lazy
    def predict(self, X: Data, gate_X: Data = None) -> np.ndarray:  # type: ignore[override]
        """Return the most probable class of every row ``(n,)``.

        Parameters
        ----------
        X : array-like (n, d)
        gate_X : array-like (n, g)
            Gate inputs, if fit was given any.
        """
        check_is_fitted(self, "fit_")
        return self.classes_[self.predict_proba(X, gate_X=gate_X).argmax(1)]

    def score(self, X: Data = None, y: Data = None, sample_weight: Data = None, gate_X: Data = None) -> float:
        """Return the share of rows whose class is predicted, weighted by `sample_weight`; after `moe` of a frame."""
        if self._design is None or y is not None:
            return float(accuracy_score(read_labels(X, y), self.predict(X, gate_X=gate_X), sample_weight=sample_weight))
        frame = self._frame if X is None else X
        if frame is None:
            raise TypeError("the frame of the fit is not in memory, since files do not hold it: give a data frame")
        labels = self._design.matrices(frame, ("response",), X is None).y
        kept = frame[self._design.complete(frame, ("response",))] if X is None else frame
        return float(accuracy_score(labels, self.predict(kept), sample_weight=sample_weight))

    def responsibilities(  # type: ignore[override]
        self, X: Data = None, y: Data = None, gate_X: Data = None, groups: Data = None
    ) -> np.ndarray:
        """Return the posterior probability ``(n, L)`` of every expert given X and the class; see fit."""
        return super().responsibilities(X, self._encoded(X, y), gate_X, groups)

    def _log_density(self, X: Data, y: Data, **known: Data) -> np.ndarray:
        return super()._log_density(X, self._encoded(X, y), **known)

    def inference(  # type: ignore[override]
        self,
        X: Data = None,
        y: Data = None,
        sample_weight: Data = None,
        gate_X: Data = None,
        groups: Data = None,
        kind: Kind | None = None,
        clusters: Data = None,
    ) -> Inference:
        """Return standard errors and intervals from the data of the fit; see `MixtureOfExpertsRegressor.inference`."""
        return super().inference(X, self._encoded(X, y), sample_weight, gate_X, groups, kind, clusters)

    def _encoded(self, X: Data, y: Data) -> Any:
        """Return one column per class ``(n, K)``: 1 in that of the row's class; None where a formula reads it.

        Labels that lie on a cluster are encoded there.

        Raises
        ------
        ValueError
            For a label that the fit has not seen.
        """
        check_is_fitted(self, "fit_")
        if y is None and self._design is not None:
            return None
        if on_cluster(X):
            return LabelledResponse(y, self.classes_)
        given = read_labels(X, y)
        place = np.searchsorted(self.classes_, given).clip(0, len(self.classes_) - 1)
        if len(unknown := given[self.classes_[place] != given]):
            raise ValueError(f"y has {unknown[0]!r}, which is none of the classes {self.classes_.tolist()}")
        return np.eye(len(self.classes_))[place]
