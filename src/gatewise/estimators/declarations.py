"""What an estimator takes and holds, with types, and scikit-learn's base classes, which come without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np

from gatewise.core.experts import Expert
from gatewise.core.families import Family
from gatewise.core.gates import Gate
from gatewise.core.mixture import Measure, Mixture
from gatewise.fit.result import Fit
from gatewise.fit.status import Status
from gatewise.formulas import FormulaDesign

Array: TypeAlias = np.ndarray
Data: TypeAlias = Any  # an array-like, a data frame, or a table whose columns are named, as `fit` says
Branching: TypeAlias = int | Sequence[int] | Array
Gates: TypeAlias = str | Gate | Sequence[str | Gate]
Experts: TypeAlias = str | Expert | Sequence[str | Expert]
Families: TypeAlias = str | Family | Sequence[str | Family]
Scale: TypeAlias = Literal["free", "shared"]
Covariance: TypeAlias = Literal["diag", "full"]
Method: TypeAlias = Literal["ml", "em", "ls"]
Gauge: TypeAlias = Literal["fixed", "none"]
WeightKind: TypeAlias = Literal["frequency", "sampling", "importance"]
Kind: TypeAlias = Literal["observed", "sandwich"]
Number: TypeAlias = float | Sequence[float] | Array  # or nested sequences, as numpy reads them
Bounds: TypeAlias = Mapping[str, tuple[Any, Any]]  # path -> (lower, upper)
Fixed: TypeAlias = Mapping[str, Any]  # path -> value
Columns: TypeAlias = int | str | Sequence[int] | Sequence[str] | Sequence[int | str]
Seed: TypeAlias = int | np.integer[Any] | np.random.Generator | np.random.RandomState | None
Request: TypeAlias = bool | str | None  # of scikit-learn's metadata routing
Start: TypeAlias = Any  # a fitted estimator, a Fit, a Measure, or an array-like of responsibilities
Verbose: TypeAlias = bool | int | Callable[[str, int, int], object]

if TYPE_CHECKING:
    from gatewise.estimators.errors import ReportedErrors
    from gatewise.estimators.gate_inputs import GateReader
    from gatewise.infer.predict import Shares
    from gatewise.infer.proportions import Proportions

    class BaseEstimator:
        """What is used of scikit-learn's class."""

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def get_metadata_routing(self) -> Any: ...
        def __getstate__(self) -> Any: ...
        def set_fit_request(
            self,
            *,
            sample_weight: Request = ...,
            gate_X: Request = ...,
            groups: Request = ...,
            start: Request = ...,
            offset: Request = ...,
            trials: Request = ...,
            checkpoint: Request = ...,
        ) -> Self: ...
        def set_predict_request(self, *, gate_X: Request = ..., offset: Request = ...) -> Self: ...
        def set_score_request(
            self,
            *,
            sample_weight: Request = ...,
            gate_X: Request = ...,
            offset: Request = ...,
            trials: Request = ...,
        ) -> Self: ...

    class MultiOutputMixin:
        """It tells scikit-learn that y may have several columns."""

    class RegressorMixin:
        """It tells scikit-learn that this is a regressor."""

    class ClassifierMixin:
        """It tells scikit-learn that this is a classifier."""

else:
    from sklearn.base import BaseEstimator as BaseEstimator
    from sklearn.base import ClassifierMixin as ClassifierMixin
    from sklearn.base import MultiOutputMixin as MultiOutputMixin
    from sklearn.base import RegressorMixin as RegressorMixin


class Declared(BaseEstimator):
    """Abstract: the arguments of the constructor, and what a fit leaves behind."""

    n_experts: Branching
    gate: Gates
    expert: Experts
    family: Families
    scale: Scale
    covariance: Covariance
    method: Method
    n_init: int | Literal["auto"]
    alpha: float
    min_scale: Number | None
    bounds: Bounds | None
    fixed: Fixed | None
    gauge: Gauge
    standardize: bool
    gate_features: Columns | None
    max_iter: int
    max_time: float | None
    random_state: Seed
    device: str | None
    verbose: Verbose
    warm_start: bool
    weight_kind: WeightKind
    shared: str | Sequence[str]
    zero_inflated: bool
    noise: bool
    reference: int | Sequence[int] | None

    _given: Any  # these are read by methods of a fitted model: see FittedModel
    _reader: GateReader
    _flat: bool
    _shares: Shares
    _errors: ReportedErrors
    _offset: bool
    _design: FormulaDesign | None
    _proportions: Proportions | None
    _frame: Any  # of a fit by a formula, in memory only

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        return {**state, "_frame": None} if "_frame" in state else state

    coef_: Array
    intercept_: Array
    output_: Array
    bias_: Array
    powers_: Array
    scale_: Array
    covariance_: Array
    dof_: Array
    size_: Array
    shape_: Array
    precision_: Array
    gap_: Array
    gate_params_: tuple[dict[str, Array], ...]
    fit_: Fit
    mixture_: Mixture
    measure_: Measure
    log_likelihood_: float
    sse_: float | None
    standard_errors_: dict[str, Array] | None
    standard_errors_reason_: str | None
    status_: Status
    converged_: bool
    n_experts_: int
    n_outputs_: int
    n_iter_: int
    n_features_in_: int
    feature_names_in_: Array
