"""The order of the experts of a fitted estimator, and the reference of its gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from gatewise.core.mixture import Mixture
from gatewise.core.names import entry_names
from gatewise.estimators.adopting import adopt
from gatewise.estimators.errors import ReportedErrors
from gatewise.estimators.fitting import FittedModel, as_given
from gatewise.estimators.names import names_of
from gatewise.estimators.options import references
from gatewise.fit.arguments import is_whole, scalar
from gatewise.fit.order import LeafOrder, reordered
from gatewise.fit.result import Fit
from gatewise.infer.covariance.refusal import refusal

SIZE = "size"


def relabelled(estimator: Any, by: Any, reference: Any) -> Any:
    """Return a fitted copy with its experts in another order; see `MixtureEstimator.relabel`."""
    check_is_fitted(estimator, "fit_")
    fit = estimator.fit_
    leaves = list(range(fit.mixture.n_leaves)) if by is None else _order(estimator, by)
    branches = fit.mixture.branching
    refs = fit.spec.reference if reference is None else references(reference, branches)
    moved, order = reordered(fit, leaves, refs)
    given = as_given(estimator)
    given.reference = None if not refs else refs[0] if len(refs) == 1 else refs
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(estimator, name):
            setattr(given, name, getattr(estimator, name))
    place = order.maps[-1]
    found = FittedModel(
        moved,
        estimator._reader,
        estimator._flat,
        estimator._shares._replace(totals=estimator._shares.totals[place]),
        _errors(estimator._errors, order, (fit, moved)),
        given,
        estimator._offset,
        estimator._design,
        None if estimator._proportions is None else estimator._proportions.taken(place),
        getattr(estimator, "classes_", None),
    )
    new = as_given(given)
    adopt(new, found, estimator._frame)
    return new


def _order(estimator: Any, by: Any) -> list[int]:
    """Return which expert goes to every place.

    Raises
    ------
    ValueError, TypeError
        For what is neither "size", nor a coefficient of the experts, nor a permutation.
    """
    mixture: Mixture = estimator.mixture_
    if isinstance(by, str):
        sizes = by == SIZE
        keys = -estimator._shares.totals.numpy() if sizes else _coefficient(estimator, by)
        if np.isnan(keys).all():
            raise ValueError(f"by={by!r}: the sizes of the experts are not known; give a permutation")
        return sorted_leaves(mixture, keys, np.sum if sizes else np.nanmean)
    given = [scalar(one) for one in by] if isinstance(by, Sequence | np.ndarray) else []
    if not given or not all(is_whole(one) for one in given):
        raise TypeError(f"by={by!r}: give 'size', the name of a coefficient, or the experts in their new order")
    return [int(one) for one in given]


def _coefficient(estimator: Any, name: str) -> np.ndarray:
    """Return the values of a coefficient of all experts ``(L,)``; NaN of those without."""
    mixture, values = estimator.mixture_, np.full(estimator.mixture_.n_leaves, np.nan)
    numbers = {
        entry: float(one)
        for path, value in estimator.measure_.paths().items()
        for entry, one in zip(entry_names(path, tuple(value.shape)), value.reshape(-1).tolist(), strict=True)
    }
    labels = {label: entry for entry, label in names_of(estimator).every().items()}
    for leaf, index in enumerate(np.ndindex(*mixture.branching)):
        entry = labels.get(f"{name}[expert {'/'.join(map(str, index))}]")
        if entry is not None and bool(mixture.owners(entry.partition("[")[0])[leaf]):
            values[leaf] = numbers[entry]
    if np.isnan(values).all():
        known = dict.fromkeys(label.partition("[expert ")[0] for label in labels if "[expert " in label)
        raise ValueError(f"by={name!r}: give 'size', a permutation, or one of {', '.join(known)}")
    return values


def sorted_leaves(mixture: Mixture, keys: np.ndarray, of_group: Any) -> list[int]:
    """Return the leaves in the order of their keys, within their nodes, and the nodes in that of their groups.

    Experts of different kinds keep the places of their kind; a group's key is `of_group` of those of its experts.
    Keys that are not numbers come last.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> tree = Mixture((GATES["softmax"],) * 2, (2, 2))
    >>> sorted_leaves(tree, np.array([4.0, 3.0, 1.0, 2.0]), np.sum)
    [2, 3, 1, 0]
    """
    blocks = [_within(mixture, keys, start) for start in range(0, mixture.n_leaves, mixture.branching[-1])]
    for count in reversed(mixture.branching[:-1]):
        groups = [blocks[at : at + count] for at in range(0, len(blocks), count)]
        blocks = [
            [leaf for block in sorted(group, key=lambda one: float(of_group(keys[one]))) for leaf in block]
            for group in groups
        ]
    return blocks[0]


def _within(mixture: Mixture, keys: np.ndarray, start: int) -> list[int]:
    """Return the leaves of one node in the order of their keys, every kind in its places."""
    count = mixture.branching[-1]
    units, laws = mixture.expert.kinds(), mixture.family.kinds()
    kinds = [(units[b % len(units)], laws[b % len(laws)]) for b in range(count)]
    out = list(range(start, start + count))
    for kind in dict.fromkeys(kinds):
        places = [b for b in range(count) if kinds[b] == kind]
        ranked = sorted((start + b for b in places), key=lambda leaf: (np.isnan(keys[leaf]), keys[leaf]))
        for place, leaf in zip(places, ranked, strict=True):
            out[place] = leaf
    return out


def _reason(reason: str, order: LeafOrder, fits: tuple[Fit, Fit]) -> str:
    """Return why there are no errors, in the new order; the fits are those of the former order and of the new one."""
    before, after = map(refusal, fits)
    of_fit = before is not None and after is not None and before.words == reason
    return after.words if of_fit and after is not None else order.text(reason)


def _errors(errors: ReportedErrors, order: LeafOrder, fits: tuple[Fit, Fit]) -> ReportedErrors:
    """Return standard errors in the new order, those of gates for differences from the new reference."""
    directions = tuple(
        " & ".join(dict.fromkeys(one for name in direction.split(" & ") for one in order.told(name)))
        for direction in errors.directions
    )
    if errors.values is None:
        return errors._replace(reason=_reason(errors.reason or "", order, fits), directions=directions)
    if errors.between is None and any(order.shifted(path) for path in errors.values):
        return ReportedErrors(None, "the file of the model was written without the covariances that they need")
    values, between = {}, {}
    for path, value in errors.values.items():
        if order.shifted(path):
            assert errors.between is not None
            between[path] = order.between(path, errors.between[path])
            level = int(path.split(".")[1])
            variance = between[path].diagonal(dim1=level, dim2=level + 1).movedim(-1, level)
            values[path] = torch.sqrt(variance.clamp_min(0.0))
        else:
            values[path] = order.moved(path, value)
    notes = tuple(map(order.text, errors.notes))
    return errors._replace(values=values, between=between, notes=notes, directions=directions)
