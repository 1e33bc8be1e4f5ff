"""The arguments of an estimator that were read from a file, after the checks of a fit."""

from __future__ import annotations

from collections.abc import Container
from inspect import signature
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from gatewise.core.by_leaf import FamiliesByLeaf
from gatewise.core.codec import map_leaves, matches, short
from gatewise.core.gates import gates
from gatewise.core.mixture import Measure, Mixture
from gatewise.estimators import options
from gatewise.estimators.base import MixtureEstimator
from gatewise.estimators.gate_inputs import choose_columns
from gatewise.estimators.kinds import added, experts_of, families_of
from gatewise.fit.arguments import floor, numbers

K = TypeVar("K", bound=MixtureEstimator)


class DataSizes(NamedTuple):
    """Numbers of inputs of experts and gates, and of outputs."""

    d: int
    gate_d: int
    q: int


def require(holds: bool, words: str) -> None:
    """Raise a ValueError with the words unless something holds."""
    if not holds:
        raise ValueError(words)


def unfitted(
    kind: type[K],
    given: dict[str, Any],
    mixture: Mixture,
    measure: Measure,
    names: list[str] | None,
    sizes: DataSizes,
    later: Container[str],
) -> K:
    """Return an estimator with the arguments of the file, after the checks of a fit; of those `later` may lack."""
    known = signature(kind).parameters
    if unknown := set(given) - set(known):
        raise ValueError(f"the estimator has no argument {short(min(unknown))}")
    if missing := [name for name in known if name not in given and name not in later]:
        raise ValueError(f"the arguments of the estimator lack {missing[0]}")
    arrays = map_leaves(given, lambda value: value.numpy() if isinstance(value, Tensor) else value)
    estimator = kind(**arrays)
    try:
        _check_arguments(estimator, mixture, measure, names, sizes)
    except TypeError as cause:
        raise ValueError(str(cause)) from cause
    return estimator


def _check_arguments(
    estimator: MixtureEstimator, mixture: Mixture, measure: Measure, names: list[str] | None, sizes: DataSizes
) -> None:
    options.check_numbers(estimator)
    levels = options.branches(estimator)
    require(levels == mixture.branching, f"n_experts={levels} for branches {mixture.branching}")
    gates(estimator.gate, mixture.depth)
    for choice, parts in (
        (estimator.expert, experts_of(estimator.expert)),
        (estimator.family, families_of(estimator.family)),
    ):
        own = mixture.titles[: levels[-1]].count("")
        require(not isinstance(choice, list | tuple) or len(parts) == own, f"{short(choice)} for {own} experts")
    named = [title for title in mixture.titles if title]
    whole = isinstance(estimator.family, FamiliesByLeaf)  # of a Fit that no estimator made
    fits = whole or len(named) == bool(added(estimator))
    require(fits, f"the branches {', '.join(named)} are not those of the arguments")
    floor(estimator.min_scale, sizes.q)
    if estimator.gate_features is not None:
        choose_columns(estimator.gate_features, sizes.d, None if names is None else tuple(names))
    options.seed_of(estimator.random_state)
    require(matches(estimator.verbose, int | bool), f"verbose={short(estimator.verbose)}: a number belongs there")
    _check_paths("fixed", estimator.fixed, measure)
    _check_paths("bounds", estimator.bounds, measure)
    for path, pair in (estimator.bounds or {}).items():
        require(isinstance(pair, tuple | list) and len(pair) == 2, f"bounds of {path} are no pair: {short(pair)}")


def _check_paths(name: str, given: Any, measure: Measure) -> None:
    """Raise unless an argument gives numbers to parameters."""
    require(given is None or isinstance(given, dict), f"{name}={short(given)}: paths with values belong there")
    for path, value in (given or {}).items():
        require(path in measure.paths(), f"{name} has {short(path)}, which is no parameter of the mixture")
        for part in value if name == "bounds" and isinstance(value, tuple | list) else (value,):
            numbers(f"{name}[{path!r}]", part)
