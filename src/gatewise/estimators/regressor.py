"""MixtureOfExpertsRegressor: a mixture of experts with scikit-learn's interface."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_means, regression, sample
from gatewise.estimators.base import MixtureEstimator
from gatewise.estimators.declarations import (
    Bounds,
    Branching,
    Columns,
    Covariance,
    Data,
    Experts,
    Families,
    Fixed,
    Gates,
    Gauge,
    Method,
    MultiOutputMixin,
    Number,
    RegressorMixin,
    Scale,
    Seed,
    Verbose,
    WeightKind,
)
from gatewise.estimators.framed import framed
from gatewise.estimators.inputs import Given
from gatewise.estimators.known import KnownValues
from gatewise.estimators.lazy import lazy
from gatewise.estimators.options import seed_of
from gatewise.estimators.predictions import evaluate_law, law_of_rows, response_of
from gatewise.estimators.residuals import residuals
from gatewise.estimators.tables import by_name, column_of
from gatewise.estimators.values import plain
from gatewise.fit.arguments import numbers
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.concordance import concordance
from gatewise.infer.predict import interval, quantiles
from gatewise.infer.residuals import ResidualKind


class MixtureOfExpertsRegressor(MultiOutputMixin, RegressorMixin, MixtureEstimator):
    """Mixture-of-experts regression: ``p(y | x) = sum_k pi_k(x) f(y | eta_k(x), scale_k)``.

    The gate weights ``pi_k(x)`` and the experts ``eta_k(x)`` are estimated together by maximum likelihood, EM or least
    squares. In a hierarchy, ``pi_k(x)`` is the product of the gate weights on the path to expert k.

    Parameters
    ----------
    n_experts : int or tuple of int
        Number of experts; one number per level for a hierarchical mixture.
    gate : str, Gate, or a sequence with one per level
        A name of `gatewise.GATES`, or ``Gate(score, link)``; names of levels also as ``"softmax/laplace"``.
    expert : str or Expert, or a list with one per expert
        A name of `gatewise.EXPERTS`, or an Expert. A list has one for each branch of the innermost level.
    family : str or Family, or a list with one per expert
        Distribution of y given the expert: a name of `gatewise.FAMILIES`, or a Family. Those of a list are for one kind
        of response.
    scale : {"free", "shared"}
        Whether each expert has its own scale (standard deviation), or all share one.
    covariance : {"diag", "full"}
        Whether several responses are correlated given the expert (Gaussian family).
    method : {"ml", "em", "ls"}
        Maximum likelihood (EM steps followed by Newton's method), maximum likelihood by EM only, or least squares,
        which estimates only the mean, for any gate including the unnormalised sigmoid.
    n_init : int or "auto"
        Number of starts, including a `start` given to fit. ``"auto"``: twenty, then rounds of fresh starts and of moves
        from the best optima, until these find nothing better.
    alpha : float
        Ridge penalty on centred gate slopes, in standardised units. Centers, directions and quadratic terms are not
        penalised, so a fit with only Laplace or cosine gates raises if alpha is above 0.
    min_scale : float or array (q,), optional
        Floor of the standard deviations, in the units of y. Default: the largest of 1e-6 of the robust spread of the
        residuals from one hyperplane (1e-3 with a full covariance), the rounding error of y, and 1e-8 of its range. An
        expert whose scale is below 3 % of that spread, or of the widest scale, also needs more observations.
    bounds : dict path -> (lower, upper), optional
        Such as ``{"family.scale": (0.1, 2.0)}``; paths are those of `measure_`. Limits lie in the parameter's own range
        and contain what is fixed, and the zeros of the reference branch of a softmax gate.
    fixed : dict path -> value, optional
        Parameters that are not estimated; NaN entries are estimated. Of a softmax gate only differences between
        branches count: hold the reference branch too, at 0, else the branch that is held takes its place, which
        restricts nothing.
    gauge : {"fixed", "none"}
        ``fixed``: parameters that are not identified, such as the temperature of an affine score, are fixed.
    standardize : bool
        True: gates and experts that depend on the units of the inputs (distances, angles, experts without a bias) are
        defined on standardised inputs. False: on the inputs as given. The response is never standardised.
    gate_features : list of int or str, optional
        Columns of X used by the gates; the experts use all columns.
    max_iter : int
        Largest number of EM passes with ``method="em"``.
    max_time : float, optional
        Seconds after which the best fit so far is returned.
    random_state : int, numpy generator or None
        Equal integers give bitwise equal fits.
    device : None or str
        Where the sums over the rows are taken: None or ``"cpu"``, or ``"cuda"``, ``"cuda:0"``, ... for a GPU that torch
        finds, with the same result up to rounding. It pays for many rows and many parameters, on a GPU that is fast in
        double precision; most consumer cards are not. Starts are searched, and predictions computed, by the CPU.
    verbose : bool, int or callable
        Whether to show a progress bar (terminal, notebook) and to log one message per stage to the logger ``gatewise``
        (level INFO). A callable is called with (stage, finished starts, all starts) instead.
    warm_start : bool
        True: a refit uses the previous fit as `start`.
    shared : str or sequence of str
        Columns of X (``x0``, ``x1``, ... where they have no names) whose coefficient is the same in all experts, and
        ``"intercept"``; for linear experts.
    zero_inflated : bool
        Adds a branch whose law is a point mass at zero, for counts: the last branch, and the reference of the gate.
        `n_experts` does not count it.
    noise : bool
        Adds a branch whose law is uniform on the range of y in the data of fit, for numbers: as the branch of zeros.
    weight_kind : {"frequency", "sampling", "importance"}
        What `sample_weight` means. ``frequency``: 2 counts a row twice. ``sampling``: a row stands for so many units of
        the population; standard errors are then robust (sandwich). ``importance``: relative weights, with errors of
        the observed information. The last two are scaled to the mean one, so that n is the number of rows.
    reference : int or sequence of int, optional
        Branch whose softmax gate parameters are zero; one per level of a hierarchy. Default: the last. Estimates and
        errors of the others are differences from it; density and predictions do not depend on it.

    Attributes
    ----------
    coef_, intercept_, scale_ : ndarray ``(*n_experts, q, d), (*n_experts, q), (*n_experts, q)``
        Parameters of the experts, if expert and family have them; without the axis q if y has one dimension. NaN where
        one of several kinds, or a branch of zeros or noise, has none.
    output_ : ndarray ``(*n_experts, q)``
        Output weights, for experts such as ``tanh-unit``.
    dof_ : ndarray ``(*n_experts, q)``
        Degrees of freedom of Student's t.
    size_, shape_, precision_ : ndarray ``(*n_experts, q)``
        Own parameters of the negative binomial; of gamma, inverse Gaussian and Weibull; of the beta family.
    gap_ : ndarray ``(*n_experts, q, levels - 2)``
        Differences between the cutpoints of the ordered logit.
    covariance_ : ndarray ``(*n_experts, q, q)``
        With a full covariance.
    gate_params_ : tuple of dict
        Parameters of the gates, by level and name.
    fit_ : Fit
        The result with certificate and starts.
    mixture_, measure_ : Mixture, Measure
        Model and parameters as torch objects.
    log_likelihood_ : float
        After least squares: that of Gaussian residuals.
    sse_ : float or None
        Sum of squared residuals, after least squares.
    standard_errors_ : dict path -> ndarray, or None
        From the observed information; after least squares with the residual variance ``sse_ / (n q - rank)``. In the
        shapes of `measure_`; 0: not estimated, NaN: not unique.
    standard_errors_reason_ : str or None
        Why there are no standard errors.
    status_ : Status
        How the fit ended; ``status_.words`` explains it.
    converged_ : bool
        Whether the fit is a certified local optimum (possibly at a kink).
    n_experts_ : int
        Number of experts with enough observations for their parameters, zeros and noise not counted.
    n_outputs_, n_iter_, n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X has column names.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(-2.0, 2.0, size=(200, 1))
    >>> first = rng.random(200) < 1 / (1 + np.exp(-2 * x[:, 0]))
    >>> y = np.where(first, 1.0 + x[:, 0], 3.0 - x[:, 0]) + 0.1 * rng.normal(size=200)
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="softmax", n_init=5, random_state=0).fit(x, y)
    >>> model.converged_, model.coef_.shape
    (True, (2, 1))
    >>> sorted(model.intercept_.round(1).tolist())
    [1.0, 3.0]
    >>> model.predict_interval([[0.0]]).round(1).tolist()
    [[0.9, 3.1]]
    """

    def __init__(
        self,
        n_experts: Branching = 2,
        gate: Gates = "softmax",
        expert: Experts = "linear",
        family: Families = "gaussian",
        scale: Scale = "free",
        covariance: Covariance = "diag",
        method: Method = "ml",
        n_init: int | Literal["auto"] = "auto",
        alpha: float = 0.0,
        min_scale: Number | None = None,
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
        shared: str | Sequence[str] = (),
        zero_inflated: bool = False,
        noise: bool = False,
        weight_kind: WeightKind = "frequency",
        reference: int | Sequence[int] | None = None,
    ) -> None:
        self.n_experts = n_experts
        self.gate = gate
        self.expert = expert
        self.family = family
        self.scale = scale
        self.covariance = covariance
        self.method = method
        self.n_init = n_init
        self.alpha = alpha
        self.min_scale = min_scale
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
        self.zero_inflated = zero_inflated
        self.noise = noise
        self.reference = reference

    @lazy
    @standard_torch()
    def predict(self, X: Data, gate_X: Data = None, offset: Data = None) -> np.ndarray:
        """Predict the mean of y given X, ``sum_k pi_k(x) mean_k(x)``; of a fit with trials, the success probability.

        Parameters
        ----------
        X : array-like (n, d)
        gate_X : array-like (n, g)
            Gate inputs, if fit was given any.
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.

        Returns
        -------
        ndarray (n,) or (n, q)
        """
        return self._shaped(evaluate_law(self, regression, 2, X, gate_X, KnownValues(offset), counts=False))

    @standard_torch()
    def predict_experts(self, X: Data, gate_X: Data = None, offset: Data = None) -> np.ndarray:
        """Predict the mean of y of every expert given X, without the gates.

        Parameters
        ----------
        X : array-like (n, d)
        gate_X : array-like (n, g)
            Gate inputs, if fit was given any; they are not looked at.
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.

        Returns
        -------
        ndarray (n, L) or (n, L, q)
            Experts of a hierarchy are counted from zero over all groups.

        Examples
        --------
        >>> import numpy as np
        >>> from gatewise import MixtureOfExpertsRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(100, 3))
        >>> y = np.where(rng.random(100) < 0.5, 4 + X[:, 0], -4 - X[:, 1]) + 0.5 * rng.normal(size=100)
        >>> model = MixtureOfExpertsRegressor(2, gate="constant", n_init=3, random_state=0).fit(X, y)
        >>> means, weights = model.predict_experts(X), model.gate_proba(X)
        >>> bool(np.allclose((weights * means).sum(1), model.predict(X)))
        True
        """
        found = evaluate_law(self, leaf_means, 2, X, gate_X, KnownValues(offset), counts=False)
        return np.ascontiguousarray(found[..., 0] if self._flat else found)

    @standard_torch()
    def predict_quantile(
        self, X: Data, q: Number, gate_X: Data = None, offset: Data = None, trials: Data = None
    ) -> np.ndarray:
        """Compute quantiles of y given X from the distribution function of the whole mixture.

        Parameters
        ----------
        X : array-like (n, d)
        q : float or sequence (m,)
            Probabilities between 0 and 1.
        gate_X : array-like (n, g)
            Gate inputs, if fit was given any.
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.
        trials : array-like (n,), optional
            Number of trials of every row, if fit was given them.

        Returns
        -------
        ndarray (n,) or (n, q), with a last axis m for several probabilities
        """
        levels = numbers("q", q)
        if levels.ndim > 1 or not levels.size:
            raise ValueError(f"q has shape {levels.shape}: give a probability or a list of them")
        tensor = torch.from_numpy(np.atleast_1d(levels).copy())
        function, known = partial(quantiles, levels=tensor), KnownValues(offset, trials)
        found = evaluate_law(self, function, 4 * len(tensor), X, gate_X, known)
        shaped = self._shaped(np.moveaxis(found, 1, 2))
        return shaped if levels.ndim else shaped[..., 0]

    @standard_torch()
    def predict_interval(
        self, X: Data, level: float = 0.9, gate_X: Data = None, offset: Data = None, trials: Data = None
    ) -> np.ndarray:
        """Compute equal-tailed prediction intervals: y lies inside with probability `level`, given the estimates.

        The ends are quantiles of the whole mixture, not of its most probable expert. The uncertainty of the estimates
        is not included.

        Parameters
        ----------
        X : array-like (n, d)
        level : float
        gate_X : array-like (n, g)
            Gate inputs, if fit was given any.
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.
        trials : array-like (n,), optional
            Number of trials of every row, if fit was given them.

        Returns
        -------
        ndarray (n, 2) or (n, q, 2)
            Lower and upper ends.
        """
        known = KnownValues(offset, trials)
        found = evaluate_law(self, partial(interval, level=level), 8, X, gate_X, known)
        return self._shaped(np.moveaxis(found, 1, 2))

    @standard_torch()
    def sample(
        self,
        X: Data,
        random_state: Seed = None,
        gate_X: Data = None,
        offset: Data = None,
        trials: Data = None,
    ) -> np.ndarray:
        """Draw one response for every row of X.

        Parameters
        ----------
        X : array-like (n, d)
        random_state : int, numpy generator or None
        gate_X : array-like (n, g)
            Gate inputs, if fit was given any.
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.
        trials : array-like (n,), optional
            Number of trials of every row, if fit was given them.

        Returns
        -------
        ndarray (n,) or (n, q)
        """
        generator = torch.Generator()
        seed = seed_of(random_state)
        generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) >> 1)
        known = KnownValues(offset, trials)
        return self._shaped(evaluate_law(self, partial(_drawn, generator=generator), 4, X, gate_X, known))

    def score_samples(
        self,
        X: Data = None,
        y: Data = None,
        gate_X: Data = None,
        groups: Data = None,
        offset: Data = None,
        trials: Data = None,
    ) -> np.ndarray:
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
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.
        trials : array-like (n,), optional
            Number of trials of every row, if fit was given them.

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
        return self._log_density(X, y, gate_X=gate_X, groups=groups, offset=offset, trials=trials)

    @standard_torch()
    def residuals(
        self,
        X: Data = None,
        y: Data = None,
        kind: ResidualKind = "quantile",
        gate_X: Data = None,
        offset: Data = None,
        trials: Data = None,
        random_state: Seed = 0,
    ) -> np.ndarray:
        """Return the residuals of the rows ``(n,)`` or ``(n, q)``, of the whole mixture.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, q)
        kind : {"quantile", "pearson", "response"}
            ``quantile``: the normal quantile of the distribution function at y, ``Phi^-1(F(y | x))``, between those
            below y and at y where y is a count or a censored time (randomised; Dunn and Smyth 1996). Standard normal if
            the model is true, for every family; they end at -8.2 and 8.2. Noise (``noise=True``) lies between its
            unbiased ends, a little outside the range of y: it would leave the smallest and the largest y no finite
            residual, being fitted to end there. ``pearson``: ``(y - mean) / sd`` with mean and standard deviation of
            the mixture. ``response``: ``y - mean``. The last two are NaN for censored times, and of shares of
            successes where there are trials.
        gate_X : array-like (n, g)
            Gate inputs, if fit was given any.
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.
        trials : array-like (n,), optional
            Number of trials of every row, if fit was given them.
        random_state : int, numpy generator or None
            Of the randomised residuals.

        Raises
        ------
        ValueError
            For quantile residuals of classes without an order, or after least squares.

        Examples
        --------
        >>> import numpy as np
        >>> from gatewise import MixtureOfExpertsRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(400, 3))
        >>> y = rng.poisson(np.exp(np.where(rng.random(400) < 0.5, 2 + 0.3 * X[:, 0], 0.3 * X[:, 1])))
        >>> model = MixtureOfExpertsRegressor(2, "constant", family="poisson", n_init=5, random_state=0).fit(X, y)
        >>> found = model.residuals(X, y)
        >>> bool(abs(found.mean()) < 0.1), bool(abs(found.std() - 1) < 0.1)
        (True, True)
        """
        return self._shaped(residuals(self, X, y, kind, gate_X, KnownValues(offset, trials), random_state))

    @standard_torch()
    def score(
        self,
        X: Data = None,
        y: Data = None,
        sample_weight: Data = None,
        gate_X: Data = None,
        offset: Data = None,
        trials: Data = None,
    ) -> float:
        """Compute the coefficient of determination of `predict`, like scikit-learn's regressors.

        With trials it is that of the shares of successes. Of times of which some are censored it is Harrell's
        concordance: the share of comparable pairs that the predicted means order as the times are, 0.5 by chance.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, q)
        sample_weight : array-like (n,), optional
        gate_X : array-like (n, g)
            Gate inputs, if fit was given any.
        offset : array-like (n,) or (n, q), optional
            Known part of the predictors of these rows, if fit was given one.
        trials : array-like (n,), optional
            Number of trials of every row, if fit was given them.

        Returns
        -------
        float
        """
        check_is_fitted(self, "fit_")
        given = Given(X, y, sample_weight, gate_X, known=KnownValues(offset, trials))
        given = framed(self, given, ("response", "offset", "trials", "weights"))
        X, y, sample_weight, gate_X, _, known = given
        weight, known = plain("sample_weight", column_of(X, sample_weight)), known.of(X)
        X, y, gate_X = by_name(self, X, y, gate_X)
        response = response_of(self, y, known.trials)
        values = response.read(0, response.shape[0])
        seen = self.mixture_.family.observed(values)
        offset = known.offset
        mean = law_of_rows(self, regression, 2, X, gate_X, KnownValues(offset), counts=False)
        events = self.mixture_.family.events(values)
        if events is not None and not bool((events > 0).all()):
            each = zip(seen.numpy(), events.numpy(), mean.T, strict=True)
            return float(np.mean([concordance(*one, weight) for one in each]))
        return r2_score(seen.T.numpy(), mean, sample_weight=weight)

    def _shaped(self, values: np.ndarray) -> np.ndarray:
        """Drop the output axis (1) when fit was given y of one dimension."""
        return np.ascontiguousarray(values[:, 0] if self._flat else values)


def _drawn(
    mixture: Mixture,
    measure: Measure,
    x: Tensor,
    gate_x: Tensor,
    generator: torch.Generator,
    offset: Tensor | None = None,
) -> Tensor:
    return sample(mixture, measure, x, gate_x, generator, offset)[0]
