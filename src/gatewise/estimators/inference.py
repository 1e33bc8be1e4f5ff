"""Standard errors and intervals of a fitted estimator: its data given again, its settings put in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from gatewise.core.mixture import Measure
from gatewise.estimators.again import rows_again, units_again
from gatewise.estimators.declarations import Data
from gatewise.estimators.framed import clusters_of, framed
from gatewise.estimators.inputs import Given
from gatewise.estimators.known import KnownValues
from gatewise.estimators.margins import margins
from gatewise.estimators.names import ReaderNames, aliases, names_of
from gatewise.estimators.predictions import columns_of, inputs_of, offset_of
from gatewise.fit.result import Fit
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.bands import Band, expert_band, gate_band, mean_band
from gatewise.infer.covariance.information import information, standard_errors
from gatewise.infer.covariance.value import TITLES, Information
from gatewise.infer.delta import Derived, delta
from gatewise.infer.hypotheses import HypothesisTest, near_names, ratio_test, read_hypothesis, wald_test
from gatewise.infer.intervals import Intervals, require, wald
from gatewise.infer.profile.likelihood import Profile, profile
from gatewise.markup import lines, page
from gatewise.objective.columns import Columns
from gatewise.objective.rows import Rows

if TYPE_CHECKING:
    from pandas import DataFrame

TestKind: TypeAlias = Literal["wald", "lr"]


@dataclass(frozen=True, eq=False)
class Inference:
    """Standard errors and intervals of a fitted estimator, returned by its method `inference`.

    Attributes
    ----------
    information : Information
        Estimates and covariance matrix, by path and position; `refused` gives the reason if there is none.
    estimator : MixtureOfExpertsRegressor
    rows : Rows
        The data.

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> errors = model.inference(tone.X, tone.y, kind="sandwich")
    >>> errors.standard_errors()["family.scale"].shape, errors.information.kind
    ((2, 1), 'sandwich')
    """

    information: Information
    estimator: Any
    rows: Rows

    def text(self) -> str:
        """Format the intervals as a table, or give the reason why there are none."""
        found = self.information
        if found.refused:
            return found.text()
        notes = [f"Note: {note}" for note in found.notes]
        return "\n".join([f"{TITLES[found.kind]}, n = {self.fit.n:.15g}", self.wald().text(), *notes])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        found = self.information
        if found.refused:
            return found._repr_html_()
        notes = lines(f"Note: {note}" for note in found.notes)
        return page(f"{TITLES[found.kind]}, n = {self.fit.n:.15g}", self.wald()._repr_html_(), notes)

    def to_frame(self, level: float = 0.95) -> DataFrame:
        """Return the normal intervals of all parameters as a data frame, by the names of `summary`.

        Raises
        ------
        ValueError
            If there are no errors, with the reason.
        """
        return self.wald(level).to_frame()

    @property
    def _called(self) -> ReaderNames:
        """What the numbers of the information are called."""
        return names_of(self.estimator)

    @property
    def refused(self) -> str | None:
        """Why there are no standard errors, or None."""
        return self.information.refused

    @property
    def fit(self) -> Fit:
        """The fit behind the estimates."""
        return self.estimator.fit_

    @standard_torch()
    def standard_errors(self) -> dict[str, np.ndarray]:
        """Return the standard errors by path, in the shapes of `measure_`.

        0 means that a parameter is not estimated, NaN that it is not unique.

        Raises
        ------
        ValueError
            If there are none; the message gives the reason.
        """
        require(self.information)
        return {path: value.numpy() for path, value in standard_errors(self.information).items()}

    def wald(self, level: float = 0.95) -> Intervals:
        """Compute Wald intervals for all parameters (`gatewise.wald`), by the names of `summary`."""
        names = self._called.every()
        found = wald(self.information, level)
        return found._replace(names=tuple(names[name] for name in found.names))

    def confint(self, level: float = 0.95) -> DataFrame:
        """Return estimates, standard errors and normal intervals of what is estimated, by the names of `summary`.

        Raises
        ------
        ValueError
            If there are no errors, with the reason, or the level is not between 0 and 1.
        """
        return self.wald(level).to_frame()[~self.information.held.numpy()]

    def vcov(self) -> DataFrame:
        """Return the covariance matrix of what is estimated, with the names of `confint`.

        Raises
        ------
        ValueError
            If there are no errors, with the reason.
        """
        import pandas as pd

        require(self.information)
        called = self._called.every()
        names = [called[name] for name in self.information.names]
        whole = pd.DataFrame(self.information.covariance.numpy(), index=names, columns=names)
        kept = ~self.information.held.numpy()
        return whole.loc[kept, kept]

    def test(self, hypothesis: str, kind: TestKind = "wald") -> HypothesisTest:
        """Test linear hypotheses about the parameters.

        Parameters
        ----------
        hypothesis : str
            Such as ``"x0[0] = x0[1]"`` for the slopes of two experts, ``"2 * x0[0] - x1[0] = 1"``, or several with
            commas between. Names are those of `confint`, with or without the word ``expert`` or ``branch``, or paths
            such as ``experts.coef[0,0,1]``.
        kind : {"wald", "lr"}
            Wald's test with the errors of this result, or the likelihood ratio of a fit under the hypothesis, which is
            for equal parameters and for given values.

        Raises
        ------
        ValueError
            If there are no errors, a name is unknown, or the hypothesis is not linear.

        Examples
        --------
        >>> import numpy as np
        >>> from gatewise import MixtureOfExpertsRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 3))
        >>> y = X @ [1.0, 1.0, 0.0] + rng.normal(size=200)
        >>> found = MixtureOfExpertsRegressor(1, n_init=1).fit(X, y).inference(X, y)
        >>> found.test("x0[0] = x1[0], x2[0] = 0").df
        2
        """
        if kind not in get_args(TestKind):
            raise ValueError(f"kind={kind!r}: choose one of {', '.join(get_args(TestKind))}")
        read = read_hypothesis(self.information, hypothesis, aliases(self._called.every()))
        if kind == "wald":
            return wald_test(self.information, read)
        return ratio_test(self.information, read, self.fit, self.rows)

    def profile(self, name: str, level: float = 0.95) -> Profile:
        """Compute the profile-likelihood interval of one parameter (`gatewise.profile`).

        Parameters
        ----------
        name : str
            As in `confint`, ``x1[expert 0]`` or ``x1[0]``, or a path such as ``experts.coef[0,0,1]``.
        level : float

        Raises
        ------
        ValueError
            If the name is unknown, the fit allows no interval, or the parameter is not estimated.
        """
        called = self._called
        every = called.every()
        entry = self._entry(name, every)
        with called.in_errors():
            found = profile(self.fit, self.rows, entry, level)
        if found.refused:
            raise ValueError(f"this fit has no profile interval of {name}: {called.text(found.refused)}")
        return found._replace(name=every[entry])

    @staticmethod
    def _entry(name: str, every: Mapping[str, str]) -> str:
        """Return the path and position of the number of a name.

        Raises
        ------
        ValueError
            If there is none.
        """
        known = {**aliases(every), **{entry: entry for entry in every}}
        if name not in known:
            raise ValueError(f"{name!r} is no parameter: {near_names(str(name), known)}")
        return known[name]

    def delta(self, function: str | Callable[[Measure], Tensor], level: float = 0.95) -> Derived:
        """Compute a function of the parameters with its standard error by the delta method (`gatewise.delta`).

        Parameters
        ----------
        function : callable Measure -> Tensor, or str
            A function written with torch; or the path of a parameter, such as ``experts.coef``, or the name of a single
            number, as in `profile`.
        level : float
        """
        called = self._called
        if isinstance(function, str) and function not in self.information.shapes:
            function = self._entry(function, called.every())
        with called.in_errors():
            return delta(self.information, function, level)

    def margins(
        self,
        column: str | int,
        X: Data = None,
        at: Mapping[Any, Any] | None = None,
        level: float = 0.95,
        gate_X: Data = None,
        offset: Data = None,
        sample_weight: Data = None,
    ) -> DataFrame:
        """Return the average marginal effect of a column on the mean of y, through experts and gates.

        Of numbers it is the mean over the rows of X of ``d E[y | x] / d column``. Of a factor it is the mean difference
        between setting all rows to each level and to the first, or to the reference that a formula names, as ``C(site,
        Treatment("b"))`` does; factors are text, categories, booleans, and numbers that a formula reads as ``C(year)``.
        Rows that lack a value which a formula reads are left out. The offset stays as it is, unless a formula computes
        it from the column.

        Parameters
        ----------
        column : str or int
            Of X, which is a data frame or an array (``"x0"`` or 0). After `moe` a column of the frame, also one inside
            of a function. Or a column of `gate_X` by its name in the summary: that of its data frame, ``"gate x0"`` of
            an array. Where data frames X and `gate_X` both have a column of this name it is one variable, which moves
            in both; its values must then be equal.
        X : array-like (n, d), optional
            The rows to average over. After `moe` those of the fit, if none are given.
        at : mapping column -> value, or list of values, optional
            Values that these columns have in all rows. With lists there are effects for every combination.
        level : float
        gate_X : array-like (n, g), optional
            Gate inputs of these rows, if fit was given any.
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.
        sample_weight : array-like (n,), optional
            How often each row counts in the average; after `moe` with weights by default those of the frame.

        Returns
        -------
        DataFrame
            A row per response, or class where there are three or more, and per value: estimate, standard error (delta
            method; X is taken as given), z, p, and the ends of the interval.

        Raises
        ------
        ValueError
            If there are no errors, with the reason, no such column, or two different ones of this name.
        TypeError
            If X is missing, or not in memory.

        Examples
        --------
        >>> import numpy as np
        >>> from gatewise import MixtureOfExpertsRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(200, 3))
        >>> y = X @ [1.0, 2.0, 0.0] + rng.normal(size=200)
        >>> found = MixtureOfExpertsRegressor(1, n_init=1).fit(X, y).inference(X, y)
        >>> found.margins("x1", X)["estimate"].round(1).tolist()
        [1.9]
        """
        with self._called.in_errors():
            return margins(self.estimator, self.information, column, X, at, level, gate_X, offset, sample_weight)

    @standard_torch()
    def mean_interval(self, X: Data, level: float = 0.95, gate_X: Data = None, offset: Data = None) -> np.ndarray:
        """Compute pointwise confidence intervals of the mean at the rows of X.

        They cover the mean, not new responses; for these see `predict_interval`.

        Parameters
        ----------
        X : array-like (n, d)
        level : float
        gate_X : array-like (n, g), optional
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.

        Returns
        -------
        ndarray (n, 2) or (n, q, 2)
        """
        given = framed(self.estimator, Given(X, None, gate_x=gate_X, known=KnownValues(offset)), ("offset",))
        parts = columns_of(self.estimator, given.x, given.gate_x)
        known = offset_of(self.estimator, given.known.of(given.x).offset, parts[0].shape[0])
        band = mean_band(self.information, *parts, level=level, offset=known)
        both = _ends(band)
        return both[:, 0] if self.estimator._flat else both

    @standard_torch()
    def expert_interval(self, X: Data, level: float = 0.95, offset: Data = None) -> np.ndarray:
        """Compute pointwise confidence intervals of the mean of every expert at the rows of X, without the gates.

        Parameters
        ----------
        X : array-like (n, d)
        level : float
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.

        Returns
        -------
        ndarray (n, L, 2) or (n, L, q, 2)
        """
        given = framed(self.estimator, Given(X, None, known=KnownValues(offset)), ("offset",))
        x = inputs_of(self.estimator, given.x)
        known = offset_of(self.estimator, given.known.of(given.x).offset, x.shape[0])
        both = _ends(expert_band(self.information, x, level, known))
        both = both.reshape(len(both), -1, self.estimator.n_outputs_, 2)
        return both[:, :, 0] if self.estimator._flat else both

    @standard_torch()
    def gate_interval(self, X: Data, level: float = 0.95, gate_X: Data = None) -> np.ndarray:
        """Compute pointwise confidence intervals of the gate weight of every expert at the rows of X.

        Parameters
        ----------
        X : array-like (n, d)
        level : float
        gate_X : array-like (n, g), optional

        Returns
        -------
        ndarray (n, L, 2)
        """
        return _ends(gate_band(self.information, *self._columns(X, gate_X), level=level))

    def _columns(self, X: Data, gate_X: Data) -> tuple[Columns, Columns]:
        given = framed(self.estimator, Given(X, None, gate_x=gate_X))
        return columns_of(self.estimator, given.x, given.gate_x)


def _ends(band: Band) -> np.ndarray:
    return torch.stack([band.lower, band.upper], -1).movedim(1, 0).numpy()


def infer(estimator: Any, roles: Given, kind: str | None, clusters: Any) -> Inference:
    """Return errors and intervals of a fitted estimator from the data of its fit."""
    with standard_torch():
        wanted = ("response", "offset", "trials", "weights", "groups")
        labels = clusters_of(estimator, roles, clusters)
        roles = framed(estimator, roles, wanted, drop=clusters is None or labels is not clusters)
        data = rows_again(estimator, roles)
        unit = None if labels is None else units_again(roles, labels)
    kept = copy(estimator)
    kept._frame = estimator._frame  # in memory alone: copies and files are without it
    found, called = information(estimator.fit_, data.rows, kind, unit), names_of(kept)
    refused = None if found.refused is None else called.text(found.refused)
    found = found._replace(refused=refused, notes=tuple(map(called.text, found.notes)))
    return Inference(found, kept, data.rows)
