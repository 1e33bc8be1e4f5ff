"""Constructor arguments turned into the values of core and fit, each checked with the cause and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from gatewise.core.by_leaf import ExpertsByLeaf, FamiliesByLeaf
from gatewise.core.families import FAMILIES, Family, MeanOnly, family
from gatewise.core.gates import gates
from gatewise.core.mixture import Mixture
from gatewise.core.names import require_one_of
from gatewise.core.parameters import Parameter
from gatewise.estimators.kinds import added, added_parts, check_added, experts_of, families_of, for_branches
from gatewise.estimators.known import family_of_trials
from gatewise.estimators.shared import shared_names, shared_ties
from gatewise.fit.arguments import floor, held, is_whole, limits, penalty, scalar, seconds, starts_number, whole
from gatewise.fit.frames import moments_of
from gatewise.fit.order import LeafOrder, require_no_differences
from gatewise.fit.spec import FitSpec
from gatewise.objective.device import Device, place_named
from gatewise.objective.entries import IDENTITY, kinds
from gatewise.objective.parameterization import specifications
from gatewise.objective.rows import Rows

METHODS = ("ml", "em", "ls")


def check_numbers(estimator: Any) -> None:
    """Check the arguments that are plain numbers or flags.

    Raises
    ------
    ValueError, TypeError
        For the first one that is not possible.
    """
    starts_number("n_init", estimator.n_init)
    whole("max_iter", estimator.max_iter, 1)
    penalty(estimator.alpha)
    seconds(estimator.max_time)
    require_one_of("method", estimator.method, METHODS)
    require_one_of("gauge", estimator.gauge, ("fixed", "none"))
    require_one_of("scale", estimator.scale, ("free", "shared"))
    require_one_of("covariance", estimator.covariance, ("diag", "full"))
    require_one_of("weight_kind", estimator.weight_kind, ("frequency", "sampling", "importance"))
    shared_names(estimator.shared)
    check_added(estimator)
    references(estimator.reference, branches(estimator))
    for name in ("standardize", "warm_start"):
        if not isinstance(getattr(estimator, name), bool | np.bool_):
            raise TypeError(f"{name}={getattr(estimator, name)!r}: give True or False")
    verbose = scalar(estimator.verbose)
    if not (callable(verbose) or isinstance(verbose, bool | np.bool_) or (is_whole(verbose) and verbose >= 0)):
        raise ValueError(f"verbose={verbose!r}: give True, False, a whole number from 0, or a function of progress")
    place_named(estimator.device)


def check_trials(estimator: Any) -> None:
    """Check that an estimator fits counts of successes among trials.

    Raises
    ------
    ValueError
        For least squares, and for another family than the binomial one.
    """
    if estimator.method == "ls":
        raise ValueError("trials is given with method='ls', which fits only the mean: leave trials out, or use 'ml'")
    for one in families_of(estimator.family):
        family_of_trials(one)


def branching(n_experts: object) -> tuple[int, ...]:
    """Return the branches per level of `n_experts`: a number, or one number per level.

    Examples
    --------
    >>> branching(3), branching((2, 3))
    ((3,), (2, 3))
    """
    given = scalar(n_experts)
    levels = [scalar(k) for k in given] if isinstance(given, tuple | list | np.ndarray) else [given]
    if not levels or not all(is_whole(k) and k >= 1 for k in levels):
        raise ValueError(
            f"n_experts={n_experts!r}: give a whole number from 1, or one such number per level, such as (2, 3)"
        )
    return tuple(int(k) for k in levels)


def branches(estimator: Any) -> tuple[int, ...]:
    """Return the branches per level of the mixture: the experts, and the branch of zeros or of noise."""
    levels = branching(estimator.n_experts)
    return (*levels[:-1], levels[-1] + bool(added(estimator)))


def references(reference: Any, levels: tuple[int, ...]) -> tuple[int, ...]:
    """Return the reference branch of every level, counted from 0; empty where these are the last ones.

    Raises
    ------
    ValueError
        For what is no branch, or not one per level.

    Examples
    --------
    >>> references(0, (3,)), references((-1, 0), (2, 2)), references(2, (3,)), references(None, (3,))
    ((0,), (1, 0), (), ())
    """
    if reference is None:
        return ()
    many = isinstance(reference, tuple | list | np.ndarray)
    given = [scalar(one) for one in (reference if many else (reference,))]
    fits = len(given) == len(levels) and all(is_whole(one) for one in given)
    if not fits or not all(-count <= one < count for one, count in zip(given, levels, strict=True)):
        several = f"one branch per level of {levels}" if len(levels) > 1 else f"a branch from 0 to {levels[0] - 1}"
        raise ValueError(f"reference={reference!r}: give {several}; None is the last")
    found = tuple(int(one) % count for one, count in zip(given, levels, strict=True))
    return () if all(one == count - 1 for one, count in zip(found, levels, strict=True)) else found


def check_reference(estimator: Any, mixture: Mixture, spec: FitSpec) -> None:
    """Check that the gates can have another reference than the last branch, if one is given.

    Raises
    ------
    ValueError
        For gates without a reference, and with bounds or fixed values that are differences from the last branch.
    """
    reference = references(estimator.reference, mixture.branching)
    if not reference:
        return
    order = LeafOrder(mixture, range(mixture.n_leaves), reference)
    if not any(order.shifted(path) for path in mixture.parameters()):
        raise ValueError(
            f"reference={estimator.reference!r} with gate={estimator.gate!r}, whose parameters are no differences "
            "between branches: leave reference out"
        )
    require_no_differences(order, [(name, path) for name in ("bounds", "fixed") for path in getattr(spec, name)])


def response_family(choice: Any, covariance: str, columns: int) -> Family:
    """Return the family, the Gaussian one with full covariance when asked for and y has several columns."""
    chosen = family(choice)
    if covariance == "diag":
        return chosen
    full = chosen.with_full_covariance()
    if full is None:
        able = [name for name, one in FAMILIES.items() if one.with_full_covariance() is not None]
        raise ValueError(
            f"covariance='full' with family {chosen}, which has none: the families {', '.join(able)} have one"
        )
    return full if columns > 1 else chosen


def on_device(device: Device | None, rows: Rows) -> Rows:
    """Return the rows of a fit with the device that sums over them, if there is one.

    Raises
    ------
    ValueError
        For a device and rows on a cluster.
    """
    if device is not None and rows.elsewhere is not None:
        raise ValueError(
            f"device={str(device.place)!r} with rows on a Dask cluster, whose workers sum on their processors: leave "
            "device=None, or give the rows in memory or as a ParquetTable without a client"
        )
    return replace(rows, device=device)


def mean_only(estimator: Any) -> Family:
    """Return the family of least squares, which has no law and no scale.

    Raises
    ------
    ValueError
        For arguments about a law: they would be ignored.
    """
    neutral = {
        "family": ("gaussian", FAMILIES["gaussian"]),
        "scale": ("free",),
        "covariance": ("diag",),
        "min_scale": (None,),
    }
    for name, values in neutral.items():
        given = getattr(estimator, name)
        if not any(given is value or (type(given) is type(value) and given == value) for value in values):
            raise ValueError(
                f"{name}={given!r} with method='ls': least squares fits only the mean; leave {name} "
                "out, or use method='ml'"
            )
    return MeanOnly()


def shared_paths(scale: str, chosen: Family) -> tuple[str, ...]:
    """Return the paths that all experts share."""
    if scale == "free":
        return ()
    owned = chosen.names("scale", "covariance")
    if not owned:
        raise ValueError(f"scale='shared' with family {chosen}: it has no scale; leave scale='free'")
    return tuple(f"family.{name}" for name in owned)


def mixture_of(estimator: Any, rows: Rows, trials: bool = False) -> Mixture:
    """Return the mixture that an estimator's arguments describe, in the units of the data.

    `trials` says whether y holds the successes and the failures among trials whose number differs by row.

    With `standardize` the parts whose meaning depends on the units of the inputs are those of inputs with mean 0 and
    standard deviation 1. The response keeps its units.
    """
    levels = branches(estimator)
    laws = _laws(estimator, rows.y.shape[1], trials)
    level_gates = gates(estimator.gate, len(levels))
    units = experts_of(estimator.expert)
    if estimator.standardize:
        x = moments_of(rows, "x")
        gate_x = x if rows.gate_x is rows.x else moments_of(rows, "gate_x")
        level_gates = tuple(one.standardised(gate_x) for one in level_gates)
        units = tuple(one.standardised(x) for one in units)
    more = added_parts(estimator, laws, rows)
    count = levels[-1] - len(more[0])
    listed = [isinstance(choice, list | tuple) for choice in (estimator.expert, estimator.family)]
    units = for_branches("expert", units, count, listed[0], more[0])
    laws = for_branches("family", laws, count, listed[1], more[1])
    unit = units[0] if len(units) == 1 else ExpertsByLeaf(units)
    law = laws[0] if len(laws) == 1 else FamiliesByLeaf(laws)
    return Mixture(level_gates, levels, unit, law, shared_paths(estimator.scale, law))


def _laws(estimator: Any, columns: int, trials: bool) -> tuple[Family, ...]:
    """Return the families of an estimator: one, or one for each expert."""
    if estimator.method == "ls":
        return (mean_only(estimator),)
    laws = families_of(estimator.family)
    if len(laws) > 1 and estimator.covariance != "diag":
        raise ValueError(
            f"covariance={estimator.covariance!r} with several families: a full covariance needs one for all experts"
        )
    laws = tuple(response_family(one, estimator.covariance, columns) for one in laws)
    return tuple(family_of_trials(one) for one in laws) if trials else laws


class FixedParameters:
    """Bounds and fixed values by path, in the layout of the fitted attributes.

    A response with one column has no output axis in `coef_`, `intercept_` and `scale_`; here it is put back.
    """

    def __init__(self, mixture: Mixture, d: int, gate_d: int, q: int, flat: bool) -> None:
        self.specs = specifications(mixture, d, gate_d, q)
        self.depth, self.flat = mixture.depth, flat

    def bounds(self, given: Mapping[str, Any] | None) -> dict[str, tuple[Tensor, Tensor]] | None:
        """Return the bounds as tensors of the parameters' shapes."""
        self._known("bounds", given)
        return {
            path: (self._shaped("bounds", path, low), self._shaped("bounds", path, high))
            for path, (low, high) in limits(given).items()
        } or None

    def fixed(self, given: Mapping[str, Any] | None) -> dict[str, Tensor] | None:
        """Return the fixed values as tensors of the parameters' shapes; NaN entries stay free."""
        self._known("fixed", given)
        out = {path: self._shaped("fixed", path, value) for path, value in held(given).items()}
        for path, value in out.items():
            if bool((above_zero(self.specs[path][0]) & (value <= 0)).any()):
                shown = (given or {})[path]
                raise ValueError(f"fixed[{path!r}]={shown!r}: give finite values inside the parameter's range")
        return out or None

    def _known(self, name: str, given: Any) -> None:
        for path in given if isinstance(given, Mapping) else ():
            require_one_of(f"{name} path", path, tuple(self.specs))

    def _shaped(self, name: str, path: str, tensor: Tensor) -> Tensor:
        shape, given = self.specs[path][1], tuple(tensor.shape)
        own = path.startswith(("experts.", "family.")) and len(shape) > self.depth
        if self.flat and own and 0 < tensor.ndim < len(shape):
            tensor = tensor.unsqueeze(self.depth - len(shape) + tensor.ndim + 1)
        try:
            return tensor.broadcast_to(shape).clone()
        except RuntimeError:
            raise ValueError(f"{name}[{path!r}] has shape {given}, the parameter has {shape}") from None


def above_zero(spec: Parameter) -> Tensor:
    """Return which entries of a parameter must be above zero."""
    return kinds(spec, spec.shape) != IDENTITY


def spec_of(estimator: Any, mixture: Mixture, d: int, gate_d: int, q: int, flat: bool) -> FitSpec:
    """Return what an estimator's arguments say is estimated, of d inputs, gate_d gate inputs and q outputs."""
    given = FixedParameters(mixture, d, gate_d, q, flat)
    fixed = given.fixed(estimator.fixed) or {}
    names = getattr(estimator, "feature_names_in_", None)
    columns = input_names(d) if names is None else [str(one) for one in names]
    return FitSpec(
        given.bounds(estimator.bounds) or {},
        fixed,
        ties=shared_ties(estimator.shared, mixture, columns, q, fixed),
        alpha=penalty(estimator.alpha),
        gauge=estimator.gauge,
        min_scale=floor(estimator.min_scale, q),
        weights="sampling" if estimator.weight_kind == "sampling" else "frequency",
    )


def input_names(d: int) -> list[str]:
    """Return what the inputs are called where they have no names: x0, x1, ..."""
    return [f"x{i}" for i in range(d)]


def seed_of(random_state: Any) -> int | None:
    """Return a seed: None for a new one each time, a whole number, or one drawn from a generator."""
    if random_state is None:
        return None
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    random_state = scalar(random_state)
    if not is_whole(random_state) or random_state < 0:
        raise ValueError(f"random_state={random_state!r}: give None, a whole number from 0, or a numpy generator")
    return int(random_state)
