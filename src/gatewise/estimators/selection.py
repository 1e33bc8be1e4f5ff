"""`select`: how many experts, which gate and which expert, by an information criterion or cross-validation."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import inf, isfinite, nan, sqrt
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils import _safe_indexing

from gatewise.estimators.again import rows_again
from gatewise.estimators.candidates import Candidate, criteria_of
from gatewise.estimators.collections import on_cluster
from gatewise.estimators.declarations import Data
from gatewise.estimators.framed import framed
from gatewise.estimators.inputs import Given, read_weights
from gatewise.estimators.known import KnownValues
from gatewise.estimators.options import branching
from gatewise.estimators.progress import following
from gatewise.estimators.warnings import FitWarning
from gatewise.fit.arguments import whole
from gatewise.fit.arguments import workers as workers_of
from gatewise.fit.status import Status
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.chance import experts_by_chance
from gatewise.markup import lines, page, table
from gatewise.runs.workers import spread

if TYPE_CHECKING:
    from distributed import Client
    from pandas import DataFrame

By = Literal["bic", "aic", "icl", "cv"]
BY_CHANCE = "by_chance: experts so narrow, on so few rows, that chance finds such ones; chosen only if all have them"
ROLES = ("sample_weight", "gate_X", "groups", "offset", "trials")
LOST = 1e-6  # log-likelihood by which a larger mixture may end below a smaller one


@dataclass(frozen=True)
class Selection:
    """The result of `select`.

    Attributes
    ----------
    candidates : tuple of Candidate
    estimators : tuple of estimators
        Fitted, one per candidate.
    criterion : {"bic", "aic", "icl", "cv"}

    Examples
    --------
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, gate="constant", n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> from gatewise import select
    >>> found = select(model, tone.X, tone.y, n_experts=(1, 2))
    >>> found.criterion, found.best_estimator_.n_experts, len(found.table)
    ('bic', 2, 2)
    """

    candidates: tuple[Candidate, ...]
    estimators: tuple[Any, ...]
    criterion: By

    @property
    def best_index_(self) -> int:
        """Position of the best candidate among those that are not unsound, if possible without experts by chance.

        Raises
        ------
        ValueError
            If all are unsound.
        """
        order = [(*_rank(one, self.criterion), i) for i, one in enumerate(self.candidates)]
        _, rank, best = min(order)
        if rank == inf:
            raise ValueError(
                "every fit is unsound, so that its likelihood compares nothing: allow fewer experts, or a larger "
                "min_scale"
            )
        return best

    @property
    def best_estimator_(self) -> Any:
        """The fitted estimator of the best candidate."""
        return self.estimators[self.best_index_]

    @property
    def table(self) -> DataFrame:
        """All candidates, a row each."""
        import pandas as pd

        return pd.DataFrame([one._asdict() for one in self.candidates])

    def _shown(self) -> dict[str, Sequence[object]]:
        """Return the columns of the table that say something."""
        values = zip(*self.candidates, strict=True)
        columns: dict[str, Sequence[object]] = dict(zip(Candidate._fields, values, strict=True))
        if self.criterion != "cv":
            del columns["cv"], columns["cv_error"]
        for name in ("gate", "expert"):
            if len(set(columns[name]) - {"-"}) <= 1:
                del columns[name]
        if not any(columns["by_chance"]):
            del columns["by_chance"]
        return columns

    def text(self) -> str:
        """Return the table and the choice."""
        import pandas as pd

        shown = pd.DataFrame(self._shown()).to_string(index=False, float_format=lambda v: f"{v:.6g}")
        return f"{shown}\n{self._choice()}"

    def _choice(self) -> str:
        try:
            best = self.candidates[self.best_index_]
        except ValueError as cause:
            return f"No choice: {cause}"
        names = {"bic": "BIC", "aic": "AIC", "icl": "ICL", "cv": "held-out log density"}
        gate = "" if best.gate == "-" else f", gate {best.gate}"
        chosen = f"Best by {names[self.criterion]}: n_experts {best.n_experts}{gate}, expert {best.expert}"
        return f"{chosen}\n{BY_CHANCE}" if any(one.by_chance for one in self.candidates) else chosen

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return page("Choice of a mixture", table(self._shown()), lines([self._choice()]))


def select(
    estimator: Any,
    X: Data = None,
    y: Data = None,
    *,
    n_experts: int | Iterable[int | tuple[int, ...]] = range(1, 6),
    gates: Sequence[Any] | None = None,
    experts: Sequence[Any] | None = None,
    criterion: By = "bic",
    cv: int = 5,
    n_jobs: int | Client = 1,
    **fit_arguments: Any,
) -> Selection:
    """Fit mixtures with several numbers of experts, gates and kinds of experts, and choose one.

    For every gate and expert the mixtures are fitted from small to large. A mixture that ends below the one with an
    expert fewer is fitted again from that one with an expert split, so that the log-likelihood does not fall with the
    number of experts. Rows on a cluster have no such second fit, and no "cv".

    A mixture with an expert that chance finds is chosen only if all have one: an expert whose scale is below 3 % of the
    spread of the residuals about one plane, or of the widest scale, and that rests on fewer than m of n rows, the
    smallest m with ``-(m - p - 1) log(relative scale) >= log C(n, m)`` for p parameters. What it gains grows with the
    number of places that chance can put it, which no penalty per parameter counts. The table names such experts.

    Parameters
    ----------
    estimator : MixtureOfExpertsRegressor
        All other options. It is not changed. After `moe` its formulas are fitted.
    X, y
        As in fit; after `moe` a data frame alone, or nothing for that of the fit.
    n_experts : int, or iterable of int or tuple of int
    gates, experts : sequence, optional
        As `gate` and `expert` of the estimator; by default its own.
    criterion : {"bic", "aic", "icl", "cv"}
        Information criteria count the identified parameters. No regular theory holds for the number of experts, so BIC
        is a convention there; `bootstrap_test` compares two mixtures. "cv": mean log density of held-out rows.
    cv : int
        Number of folds for "cv"; with groups, groups are not divided.
    n_jobs : int or distributed.Client
        Number of processes, or a client of a Dask cluster whose workers fit, one mixture each; the result does not
        depend on it. Rows on a cluster are summed there, and take no n_jobs.
    **fit_arguments
        Other arguments of fit with a value per row: sample_weight, gate_X, groups, offset, trials.

    Returns
    -------
    Selection
        `table`, `best_estimator_`, and a text that notebooks show. `gatewise.plots.criteria` draws it.

    Raises
    ------
    ValueError
        If there is nothing to fit, the criterion is unknown, or rows are on a cluster and n_jobs is given.

    Examples
    --------
    >>> import numpy as np
    >>> from gatewise import MixtureOfExpertsRegressor, select
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 3))
    >>> y = np.where(rng.random(300) < 0.4, 3 + X[:, 0], X @ [1.0, -1.0, 2.0]) + 0.3 * rng.normal(size=300)
    >>> found = select(MixtureOfExpertsRegressor(gate="constant", random_state=0), X, y, n_experts=(1, 2, 3))
    >>> found.best_estimator_.n_experts
    2
    """
    if criterion not in get_args(By):
        raise ValueError(f"criterion={criterion!r}: choose one of {', '.join(get_args(By))}")
    given = (n_experts,) if isinstance(n_experts, int) else n_experts
    sizes = sorted(set(map(branching, given)), key=lambda levels: (len(levels), levels))
    if not sizes:
        raise ValueError("n_experts is empty: give at least one number of experts")
    folds = whole("cv", cv, 2) if criterion == "cv" else 0
    data = _data(estimator, X, y, fit_arguments, folds)
    kinds = [estimator.expert] if experts is None else list(experts)
    levels = [estimator.gate] if gates is None else list(gates)
    chains = [[_Task(kind, one, size) for size in sizes] for kind in kinds for one in levels]
    if len(levels) > 1 and (1,) in sizes:  # one expert has no gate to speak of
        chains = [[_Task(kind, levels[0], (1,))] for kind in kinds] + [chain[1:] for chain in chains if chain[1:]]
    pairs = _fitted(estimator, data, chains, _workers(n_jobs, X))
    if not pairs:
        raise ValueError("gates or experts is empty: give at least one of each")
    for _, model in pairs:
        model._design = getattr(estimator, "_design", None)
        model._frame = (estimator._frame if X is None else X) if model._design is not None else None
    return Selection(tuple(one for one, _ in pairs), tuple(model for _, model in pairs), criterion)


def _data(estimator: Any, X: Any, y: Any, more: Mapping[str, Any], folds: int) -> _Data:
    """Return what is fitted; of a model by a formula what it reads from the frame."""
    if getattr(estimator, "_design", None) is None:
        if X is None or y is None:
            raise TypeError("X or y is missing: give the data")
        if folds and on_cluster(X):
            raise ValueError("criterion='cv' divides the rows, which are on a cluster: choose 'bic', 'aic' or 'icl'")
        return _Data(X, y, more, folds)
    wanted = ("response", "offset", "trials", "weights", "groups")
    if more:
        raise ValueError(f"{', '.join(more)} cannot be given beside a formula, which names its columns")
    given = framed(estimator, Given(X, y), wanted, drop=True)
    roles = {
        "sample_weight": given.sample_weight,
        "gate_X": given.gate_x,
        "groups": given.groups,
        "offset": given.known.offset,
        "trials": given.known.trials,
    }
    labels = estimator._design.labelled  # fits take these, and not a column for every class
    y = estimator.classes_[np.asarray(given.y).argmax(1)] if labels else given.y
    return _Data(given.x, y, {name: value for name, value in roles.items() if value is not None}, folds)


class _Data(NamedTuple):
    """What is fitted: data, further arguments of fit by row, and the number of folds (0: none are wanted)."""

    X: Any
    y: Any
    more: Mapping[str, Any]
    folds: int

    def fit(self, estimator: Any, **start: Any) -> Any:
        """Return the estimator after a fit; what it would warn of stands in the table."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)
            return estimator.fit(self.X, self.y, **self.more, **start)

    def take(self, rows: np.ndarray) -> _Data:
        """Return some of the rows."""
        more = {name: None if v is None else _safe_indexing(v, rows) for name, v in self.more.items()}
        return _Data(_safe_indexing(self.X, rows), _safe_indexing(self.y, rows), more, 0)

    @standard_torch()
    def by_chance(self, model: Any) -> tuple[int, ...]:
        """Return the experts of a fitted model that chance finds."""
        if not _sound(model):
            return ()
        weight, gate_x, groups, offset, trials = map(self.more.get, ROLES)
        y = model._encoded(self.X, self.y)
        given = Given(self.X, y, weight, gate_x, groups, KnownValues(offset, trials))
        return experts_by_chance(model.fit_, rows_again(model, given).rows)

    def weights(self) -> np.ndarray | None:
        """Return the weight of every row, or group of rows in the order of `scores`."""
        weight, groups = self.more.get("sample_weight"), self.more.get("groups")
        if weight is None or groups is None:
            return weight if weight is None else np.asarray(weight, dtype=float)
        return np.asarray(weight, dtype=float)[np.unique(np.asarray(groups), return_index=True)[1]]

    def scores(self, model: Any) -> np.ndarray:
        """Return the log density of every row, or group of rows."""
        return model._log_density(self.X, self.y, **{k: v for k, v in self.more.items() if k != "sample_weight"})


class _Task(NamedTuple):
    """A mixture to be fitted."""

    kind: Any
    gate: Any
    levels: tuple[int, ...]

    def plain(self, estimator: Any) -> Any:
        """Return the estimator to be fitted."""
        size = self.levels[0] if len(self.levels) == 1 else self.levels
        return clone(estimator).set_params(n_experts=size, gate=self.gate, expert=self.kind)


class _Fitted(NamedTuple):
    """A fitted mixture, and its held-out density with the standard error over the folds."""

    task: _Task
    model: Any
    held_out: tuple[float, float]


def _workers(n_jobs: Any, x: Any) -> int | Client:
    """Return who fits.

    Raises
    ------
    ValueError
        For more than this process where a cluster works on the rows.
    """
    found = workers_of("n_jobs", n_jobs)
    if on_cluster(x) and found != 1:
        raise ValueError(f"n_jobs={n_jobs!r}, and X is on a cluster, whose workers sum its rows: leave n_jobs out")
    return found


def _fitted(
    estimator: Any, data: _Data, chains: Sequence[Sequence[_Task]], workers: int | Client
) -> list[tuple[Candidate, Any]]:
    """Return candidates and fitted estimators, chain by chain.

    Fits in this process report themselves; of others it is reported how many have ended.
    """
    tasks, here = [task for chain in chains for task in chain], workers == 1
    sent = estimator if here else clone(estimator).set_params(verbose=0)
    alone: list[_Fitted] = []
    with following(0 if here else estimator.verbose, "mixtures") as progress:
        for found in spread(partial(_alone, sent, data), tasks, workers, ordered=True):
            alone.append(found)
            if progress is not None:
                progress("mixtures", len(alone), len(tasks))
    rest = iter(alone)
    fitted = [[*islice(rest, len(chain))] for chain in chains]
    pairs = [pair for chain in spread(partial(_chain, sent, data), fitted, workers, ordered=True) for pair in chain]
    for _, model in pairs:
        model.verbose = estimator.verbose
    return pairs


def _alone(estimator: Any, data: _Data, task: _Task) -> _Fitted:
    """Return the fit of one mixture."""
    plain = task.plain(estimator)
    model = data.fit(clone(plain))
    return _Fitted(task, model, _held_out(plain, data) if data.folds else (nan, nan))


def _chain(estimator: Any, data: _Data, chain: Sequence[_Fitted]) -> list[tuple[Candidate, Any]]:
    """Return candidates of one gate and expert, small ones first, none of which lies below the one before."""
    pairs: list[tuple[Candidate, Any]] = []
    for (kind, gate, levels), model, (mean, error) in chain:
        before = pairs[-1][1] if pairs else None
        if before is not None and before.mixture_.branching == (levels[0] - 1,) and len(levels) == 1:
            model = _not_below(model, before, _Task(kind, gate, levels).plain(estimator), data)
        found = criteria_of(model)._replace(cv=mean, cv_error=error, by_chance=data.by_chance(model))
        pairs.append((found, model))
    return pairs


def _not_below(model: Any, before: Any, plain: Any, data: _Data) -> Any:
    """Return the model, or one from an expert of the smaller model that is split, if the model lies below that."""
    if not _sound(before) or (_sound(model) and model.log_likelihood_ >= before.log_likelihood_ - LOST):
        return model
    if on_cluster(data.X):  # whose rows have no responsibilities here
        return model
    more = {k: v for k, v in data.more.items() if k != "sample_weight"}
    shares = before.responsibilities(data.X, data.y, **more)
    rng = np.random.default_rng(0)
    for leaf in np.argsort(-shares.sum(0), kind="stable"):
        if _sound(model) and model.log_likelihood_ >= before.log_likelihood_ - LOST:
            return model
        part = rng.uniform(0.3, 0.7, len(shares)) * shares[:, leaf]
        split = np.column_stack([np.delete(shares, leaf, 1), part, shares[:, leaf] - part])
        other = data.fit(clone(plain), start=split)
        if (_sound(other), other.log_likelihood_) > (_sound(model), model.log_likelihood_):
            model = other
    return model


def _held_out(plain: Any, data: _Data) -> tuple[float, float]:
    """Return the mean log density of held-out rows (or groups), and its standard error over the folds.

    Rows count as often as their weight says; those without weight are left out.
    """
    weight = read_weights(data.more.get("sample_weight"), len(data.y))
    if weight is not None and not (weight > 0).all():
        return _held_out(plain, data.take(np.flatnonzero(weight))._replace(folds=data.folds))
    groups = data.more.get("groups")
    rows = np.arange(len(data.y))
    if groups is None:
        parts = KFold(data.folds, shuffle=True, random_state=0).split(rows)
    else:
        parts = GroupKFold(data.folds).split(rows, groups=groups)
    means = []
    for train, test in parts:
        model = data.take(train).fit(clone(plain))
        held = data.take(test)
        means.append(float(np.average(held.scores(model), weights=held.weights())))
    return float(np.mean(means)), float(np.std(means, ddof=1) / sqrt(len(means)))


def _sound(model: Any) -> bool:
    return model.fit_.status is not Status.unsound and isfinite(model.log_likelihood_)


def _rank(one: Candidate, criterion: By) -> tuple[bool, float]:
    """Return what is smallest for the best candidate; infinite for one that is unsound or has no such number."""
    value = -one.cv if criterion == "cv" else getattr(one, criterion)
    usable = one.status != Status.unsound and isfinite(value)
    return not usable or bool(one.by_chance), value if usable else inf
