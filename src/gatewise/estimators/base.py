"""What estimators share: fitting, and what a fit says about its own data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from gatewise.core.gates import describe, gates
from gatewise.core.mixture import leaf_log_weights
from gatewise.estimators import predictions
from gatewise.estimators.adopting import adopt
from gatewise.estimators.classification import Classification
from gatewise.estimators.declarations import Data, Declared, Kind, Start
from gatewise.estimators.fitting import fitted, warn
from gatewise.estimators.framed import formula_lines, framed
from gatewise.estimators.inference import Inference, TestKind, infer
from gatewise.estimators.inputs import Given, read_weights
from gatewise.estimators.known import KnownValues
from gatewise.estimators.lazy import lazy
from gatewise.estimators.names import names_of
from gatewise.estimators.relabel import relabelled
from gatewise.estimators.summary import summary
from gatewise.estimators.summary_value import Summary
from gatewise.estimators.tables import column_of, group_labels
from gatewise.estimators.theory import theory as advice_on
from gatewise.estimators.warnings import alert_criteria
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.hypotheses import HypothesisTest

if TYPE_CHECKING:
    from pandas import DataFrame


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
        offset: Data = None,
        trials: Data = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> Self:
        """Fit by maximum likelihood from many starts and certify the result.

        Parameters
        ----------
        X : array-like (n, d)
            Inputs of the experts, and of the gates unless `gate_X` or `gate_features` say otherwise. A memory-mapped
            float64 array is read in place, never copied. Also the path of a Parquet file or of a folder of them, a
            `gatewise.data.ParquetTable` or a pyarrow data set: they are read in batches, and every other argument is
            the name of a column, or a list of names for y and `gate_X`; X is the columns without another role. So it is
            for a pyarrow table in memory where y is a name; with an array for y its columns are X. Also a data frame
            of Dask, with names of its columns for all else, an array of Dask, with Dask collections for all else, or
            ``ParquetTable(path, client=client)``: the workers of the cluster then sum over the rows where these lie.
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
        offset : array-like (n,) or (n, q), optional
            Known term that is added to the predictor of every expert, such as the log of an exposure of counts.
            Predictions of new rows then need theirs.
        trials : array-like (n,), optional
            Numbers of trials, with ``family="binomial"``: y counts the successes among them. `predict` is then the
            probability of success, and all that looks at y needs the trials of new rows.
        checkpoint : str or Path, optional
            File in which a fit to rows on a cluster keeps every pass over them. An interrupted fit that is begun again,
            with the same data, arguments and checkpoint, goes on after the last pass and ends as if nothing had
            happened.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For data or arguments that cannot be used; the message says which, why, and what to do.
        ConnectionError
            Where a cluster is lost, or its workers end one after the other.

        Warns
        -----
        ConvergenceWarning
            A subclass for each way a fit can fail, all of them a `gatewise.FitWarning`.
        """
        given = Given(X, y, sample_weight, gate_X, groups, KnownValues(offset, trials))
        return self._fit(given, start, checkpoint)

    def _fit(self, given: Given, start: Start, checkpoint: Any, classes: np.ndarray | None = None) -> Self:
        """Fit, warn whoever called `fit`, and adopt what was found."""
        found, rows = fitted(self, given, start, checkpoint)
        found = found._replace(classes=classes)
        warn(found, rows, stacklevel=3)
        adopt(self, found)
        return self

    @lazy
    @standard_torch()
    def gate_proba(self, X: Data, gate_X: Data = None) -> np.ndarray:
        """Return the weight ``(n, L)`` of every expert at X, before y is seen.

        Parameters
        ----------
        X : array-like (n, d)
        gate_X : array-like (n, g)
            When fit was given it.
        """
        return predictions.evaluate(self, lambda m, g, x, gate_x: leaf_log_weights(m, g, gate_x).exp(), 2, X, gate_X)

    @standard_torch()
    def responsibilities(
        self,
        X: Data = None,
        y: Data = None,
        gate_X: Data = None,
        groups: Data = None,
        offset: Data = None,
        trials: Data = None,
    ) -> np.ndarray:
        """Return the posterior probability ``(n, L)`` of every expert given X and y.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, q)
        gate_X : array-like (n, g)
            When fit was given it.
        groups : array-like (n,), optional
            Rows with the same label share their responsibility.
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.
        trials : array-like (n,), optional
            Number of trials of every row, if fit was given them.
        """
        return predictions.responsibilities(self, X, y, gate_X, groups, KnownValues(offset, trials))

    def predict_class(
        self,
        X: Data = None,
        y: Data = None,
        gate_X: Data = None,
        groups: Data = None,
        offset: Data = None,
        trials: Data = None,
    ) -> np.ndarray:
        """Return the most probable expert of every row ``(n,)``: given X and y, or without y given X alone.

        Experts of a hierarchy are counted from zero over all groups.

        Parameters
        ----------
        X, y, gate_X, groups, offset, trials
            As `responsibilities`; without y only X and gate_X are looked at.
        """
        if y is None and not (X is None and self._design is not None):
            return self.gate_proba(X, gate_X=gate_X).argmax(1)
        known = {"gate_X": gate_X, "groups": groups, "offset": offset, "trials": trials}
        return self.responsibilities(X, y, **{k: v for k, v in known.items() if v is not None}).argmax(1)

    def classification(
        self,
        X: Data = None,
        y: Data = None,
        gate_X: Data = None,
        groups: Data = None,
        offset: Data = None,
        trials: Data = None,
        sample_weight: Data = None,
    ) -> Classification:
        """Return how well the experts are told apart: sizes, posterior probabilities, entropy and confusion.

        With groups these are of the groups, each of which counts once: the rows of a group come from one expert.

        Parameters
        ----------
        X, y, gate_X, groups, offset, trials
            As `responsibilities`.
        sample_weight : array-like (n,), optional
            How often every row, or its group, counts; after `moe` with weights they are those of the frame.

        Examples
        --------
        >>> import numpy as np
        >>> from gatewise import MixtureOfExpertsRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 3))
        >>> y = np.where(rng.random(200) < 0.5, 4 + X[:, 0], -4 - X[:, 1]) + 0.5 * rng.normal(size=200)
        >>> found = MixtureOfExpertsRegressor(2, gate="constant", n_init=5, random_state=0).fit(X, y)
        >>> found.classification(X, y).entropy > 0.99
        True
        """
        known = {"gate_X": gate_X, "groups": groups, "offset": offset, "trials": trials}
        posterior = self.responsibilities(X, y, **{k: v for k, v in known.items() if v is not None})
        labels, weight = self._labels_and_weights(X, groups, sample_weight, len(posterior))
        if labels is not None:
            first = np.unique(labels, return_index=True)[1]
            posterior, weight = posterior[first], None if weight is None else weight[first]
        leaves = zip(np.ndindex(*self.mixture_.branching), self.mixture_.titles, strict=True)
        names = tuple(title or "/".join(map(str, leaf)) for leaf, title in leaves)
        return Classification(posterior, names, "rows" if labels is None else "groups", weight)

    def _labels_and_weights(
        self, X: Data, groups: Data, sample_weight: Data, n: int
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return the label of the group and the weight of every row, those that are given or that a formula reads."""
        given = Given(X, None, column_of(X, sample_weight), groups=group_labels(X, groups))
        if self._design is not None:
            given = framed(self, given, ("response", "offset", "trials", "weights", "groups"))
        labels = None if given.groups is None else np.asarray(given.groups)
        return labels, read_weights(given.sample_weight, n)

    def _encoded(self, X: Data, y: Data) -> Data:
        """Return y as the mixture takes it."""
        return y

    @standard_torch()
    def _log_density(self, X: Data, y: Data, **known: Data) -> np.ndarray:
        """Return the log density, or log probability, of y at every row, or of every group of rows."""
        gate_X, groups = known.get("gate_X"), known.get("groups")
        given = KnownValues(known.get("offset"), known.get("trials"))
        return predictions.score_samples(self, X, y, gate_X, groups, given)

    def predict(self, X: Data, gate_X: Data = None, offset: Data = None) -> np.ndarray:
        """Return what is predicted at X: subclasses say what."""
        raise NotImplementedError

    def aic(self) -> float:
        """Return ``-2 log L + 2 df`` on the data of fit, df the identified rank; smaller is better.

        Warns
        -----
        UnsoundWarning
            Of an unsound fit: the likelihood has no bound there, so that criteria mean nothing.
        """
        return self._criteria(stacklevel=2)[0]

    def bic(self) -> float:
        """Return ``-2 log L + df log n`` on the data of fit, n the sum of the weights; smaller is better.

        Warns
        -----
        UnsoundWarning
            As `aic`.
        """
        return self._criteria(stacklevel=2)[1]

    def icl(self) -> float:
        """Return BIC + 2 x entropy of the responsibilities on the data of fit; smaller is better.

        NaN after least squares, which has no responsibilities.

        Warns
        -----
        UnsoundWarning
            As `aic`.
        """
        return self._criteria(stacklevel=2)[2]

    def _criteria(self, stacklevel: int | None = None) -> tuple[float, float, float]:
        """Return AIC, BIC and ICL; warn of an unsound fit at a level of the stack, unless None."""
        check_is_fitted(self, "fit_")
        fit, deviance = self.fit_, -2.0 * self.log_likelihood_
        if stacklevel is not None:
            alert_criteria(fit, stacklevel=stacklevel + 1)
        bic = fit.df * log(fit.n) + deviance
        return 2.0 * fit.df + deviance, bic, bic + 2.0 * self._shares.entropy

    def inference(
        self,
        X: Data = None,
        y: Data = None,
        sample_weight: Data = None,
        gate_X: Data = None,
        groups: Data = None,
        kind: Kind | None = None,
        clusters: Data = None,
        offset: Data = None,
        trials: Data = None,
    ) -> Inference:
        """Return standard errors and intervals; the estimator does not keep its data, so they are given again.

        Parameters
        ----------
        X, y, sample_weight, gate_X, groups, offset, trials
            As given to fit.
        kind : {"observed", "sandwich"}
            Inverse of the observed information (after least squares: residual variance times inverse Hessian), or
            robust to a wrong model; weights are then sampling weights. Default: observed, and sandwich after
            ``weight_kind="sampling"``.
        clusters : array-like (n,) or str, optional
            Label of the cluster of every row, for ``kind="sandwich"``: rows of a cluster need not be independent. With
            a table, also the name of its column of labels, of any type.

        Raises
        ------
        ValueError
            For data or labels that cannot be used. That there are no errors is said by `Inference.refused`, and by the
            methods of the result when they are called.
        """
        given = Given(X, y, sample_weight, gate_X, groups, KnownValues(offset, trials))
        return infer(self, given, kind, clusters)

    def confint(self, X: Data = None, y: Data = None, level: float = 0.95, **given: Data) -> DataFrame:
        """Return estimates, standard errors and normal intervals as a data frame, by the names of the summary.

        Parameters
        ----------
        X, y : array-like
            The data of the fit; after `moe` they may be left out, as in the methods below.
        level : float
        **given
            Other arguments of `inference`, such as ``kind="sandwich"`` or the sample_weight of the fit.
        """
        return self.inference(X, y, **given).confint(level)

    def vcov(self, X: Data = None, y: Data = None, **given: Data) -> DataFrame:
        """Return the covariance matrix of the estimates, by the names of the summary; see `confint`."""
        return self.inference(X, y, **given).vcov()

    def test(
        self, hypothesis: str, X: Data = None, y: Data = None, kind: TestKind = "wald", **given: Data
    ) -> HypothesisTest:
        """Test linear hypotheses, such as ``"x0[0] = x0[1]"``; see `Inference.test` and `confint`.

        Other arguments of `inference` are those that describe the data; the errors are from the observed information.
        """
        return self.inference(X, y, **given).test(hypothesis, kind)

    def margins(
        self,
        column: str | int,
        X: Data = None,
        y: Data = None,
        at: Mapping[Any, Any] | None = None,
        level: float = 0.95,
        **given: Data,
    ) -> DataFrame:
        """Return average marginal effects of a column, over the rows of the fit; see `Inference.margins`.

        Other arguments of `inference` are those of the fit, such as its gate_X, offset and sample_weight, which the
        average counts too. `Inference.margins` takes other rows to average over.
        """
        rows = {name: one for name, one in given.items() if name in ("gate_X", "offset", "sample_weight")}
        return self.inference(X, y, **given).margins(column, X, at, level, **rows)

    @standard_torch()
    def relabel(self, by: str | Sequence[int] | None = "size", reference: int | Sequence[int] | None = None) -> Self:
        """Return a fitted copy with its experts in another order, or with another reference of its gates.

        The order of the experts has no meaning; a fixed one makes fits comparable. Density, log-likelihood, predictions
        and standard errors are those of this fit.

        Parameters
        ----------
        by : "size", name of a coefficient, sequence of int, or None
            The largest expert first (by the responsibilities of the data of fit); or the smallest coefficient first,
            such as ``"intercept"`` or the name of a column (``"y1 x"`` with several responses); or the experts in their
            new order, ``[2, 0, 1]`` putting expert 2 first; or None: as they are. In a hierarchy experts are ordered
            within their groups, and groups by the sum of sizes or the mean of coefficients.
        reference : int or sequence of int, optional
            As in the constructor, for the new order. Default: that of the fit.

        Raises
        ------
        ValueError, TypeError
            For an order that is none, that would give an expert a place of another kind (``expert=[...]``, noise,
            zeros), or where experts have bounds, fixed values or ties of their own.

        Examples
        --------
        >>> import numpy as np
        >>> from gatewise import MixtureOfExpertsRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(300, 3))
        >>> y = np.where(rng.random(300) < 0.7, 4 + X[:, 0], -4 - X[:, 1]) + 0.5 * rng.normal(size=300)
        >>> model = MixtureOfExpertsRegressor(2, gate="constant", n_init=3, random_state=0).fit(X, y)
        >>> model.relabel("intercept").intercept_.round().tolist(), model.relabel("size").intercept_.round().tolist()
        ([-4.0, 4.0], [4.0, -4.0])
        """
        return relabelled(self, by, reference)

    @standard_torch()
    def summary(self, theory: bool = False) -> Summary:
        """Return the fit for the reader: model, criteria, status, tables of experts and gates, starts and notes.

        Parameters
        ----------
        theory : bool
            Whether to tell all that identifiability says of the model, not only in one sentence.

        Returns
        -------
        Summary
            A text that shows tables in a notebook; `experts`, `gates`, `criteria` and `to_frame` are data frames.
        """
        check_is_fitted(self, "fit_")
        titles = [describe(gate) for gate in gates(self._given.gate, self.mixture_.depth)]
        criteria = self._criteria()
        advice = advice_on(self.fit_, self.n_features_in_, self._reader)
        words = advice.words if theory else advice.brief
        lines = formula_lines(self._design)
        told = criteria, words, lines, self._proportions
        return summary(self.fit_, self._shares, self._errors, titles, names_of(self), *told)
