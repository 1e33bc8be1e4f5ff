"""Experts and families of different kinds, one for all branches or one for each; the branches of zeros and of noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from gatewise.core.experts import Expert, NoExpert, expert
from gatewise.core.families import Categorical, Family, OrderedLogit, UniformNoise, Zero, family
from gatewise.objective.rows import Rows, extremes

Part = TypeVar("Part", Expert, Family)
ADDED = ("zero_inflated", "noise")


def experts_of(choice: Any) -> tuple[Expert, ...]:
    """Return the experts of `choice`: one, or those of a list or tuple with one for each branch.

    Examples
    --------
    >>> experts_of(["linear", "constant"])
    (Linear(), Constant())
    """
    return _each("expert", choice, expert)


def families_of(choice: Any) -> tuple[Family, ...]:
    """Return the families of `choice`: one, or those of a list or tuple with one for each branch.

    Raises
    ------
    ValueError
        For families of different responses: counts beside numbers, say.
    """
    laws = _each("family", choice, family)
    kinds = {(one.discrete, one.location_scale, one.given, one.outputs(2), one.has_density) for one in laws}
    if len(kinds) > 1:
        raise ValueError(
            f"family={choice!r}: one response cannot have all of them; give families of one kind of response, such as "
            "'gaussian' and 'student-t', 'poisson' and 'negative-binomial', or 'gamma' and 'log-normal'"
        )
    if len(laws) > 1 and any(one.names("covariance") for one in laws):
        raise ValueError(f"family={choice!r}: a full covariance needs one family for all experts; give that one alone")
    return laws


def _each(name: str, choice: Any, read: Callable[[Any], Part]) -> tuple[Part, ...]:
    if not isinstance(choice, list | tuple):
        return (read(choice),)
    if not choice:
        raise ValueError(f"{name}={choice!r} is empty: give one for all experts, or one for each")
    return tuple(read(one) for one in choice)


def added(estimator: Any) -> str:
    """Return which argument adds a branch, ``zero_inflated`` or ``noise``; empty: neither.

    Raises
    ------
    ValueError
        For both.
    """
    given = [name for name in ADDED if getattr(estimator, name)]
    if len(given) > 1:
        raise ValueError("zero_inflated and noise are both given: one is for counts, the other for numbers; give one")
    return given[0] if given else ""


def check_added(estimator: Any) -> None:
    """Check the flags that add a branch.

    Raises
    ------
    TypeError, ValueError
        For what is no flag, for both, and with least squares or several levels.
    """
    for name in ADDED:
        if not isinstance(getattr(estimator, name), bool | np.bool_):
            raise TypeError(f"{name}={getattr(estimator, name)!r}: give True or False")
    name = added(estimator)
    if name and estimator.method == "ls":
        raise ValueError(f"{name}=True with method='ls', which fits only the mean: leave it out, or use method='ml'")
    if name and np.ndim(estimator.n_experts) and len(estimator.n_experts) > 1:
        raise ValueError(
            f"{name}=True with n_experts={estimator.n_experts!r}: the branch is added to a mixture of one level; give "
            "n_experts as a number"
        )


def for_branches(
    name: str, parts: tuple[Part, ...], experts: int, listed: bool, more: tuple[Part, ...]
) -> tuple[Part, ...]:
    """Return the one part of all branches, or the parts of each: those of the experts, then of the branch added.

    Parameters
    ----------
    name : of the argument
    parts : one for all experts, or one for each
    experts : number of experts of the innermost level
    listed : whether the argument was a list
    more : part of the branch added, if any

    Raises
    ------
    ValueError
        For another number of parts than of experts.

    Examples
    --------
    >>> for_branches("expert", experts_of("linear"), 2, False, (NoExpert(),))
    (Linear(), Linear(), NoExpert())
    """
    if listed and len(parts) != experts:
        raise ValueError(
            f"{name} has {len(parts)} entries for {experts} experts: give one for all, or {experts}, one for each "
            "branch of the innermost level"
        )
    if not more and len(set(parts)) == 1:
        return parts[:1]
    return (parts if listed else parts * experts) + more


def added_parts(estimator: Any, laws: tuple[Family, ...], rows: Rows) -> tuple[tuple[Expert, ...], tuple[Family, ...]]:
    """Return expert and family of the branch that an estimator adds, none or one of each.

    Raises
    ------
    ValueError
        For a response that cannot have such a branch.
    """
    name, law = added(estimator), laws[0]
    if name == "zero_inflated":
        classes = isinstance(law, Categorical | OrderedLogit)
        if not law.discrete or classes:
            what = "classes" if classes else "numbers, whose density is none at a single value"
            raise ValueError(
                f"zero_inflated=True with family {law}: it is for counts, and this is a law of {what}; give a family "
                "of counts such as 'poisson' or 'negative-binomial', or model whether y is zero apart from its size"
            )
        return (NoExpert(),), (Zero(),)
    if name == "noise":
        if law.discrete or law.given or law.names("covariance"):
            raise ValueError(
                f"noise=True with family {law}: the uniform law on the range of y is for numbers without correlation "
                "or censoring; give a family such as 'gaussian', 'student-t' or 'gamma', or leave noise out"
            )
        return (NoExpert(),), (_uniform(rows),)
    return (), ()


def _uniform(rows: Rows) -> UniformNoise:
    """Return the uniform law on the range of every response."""
    low, high = zip(*extremes(rows), strict=True)
    constant = [j for j, pair in enumerate(zip(low, high, strict=True)) if pair[0] == pair[1]]
    if constant:
        j = constant[0]
        raise ValueError(
            f"noise=True, and every value of column {j} of y is {low[j]:g}: it has no range for noise; leave noise out"
        )
    return UniformNoise(low, high)
