"""What a fit says of itself: its primary status for the objective that was fitted, and what else holds beside it."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf
from typing import TYPE_CHECKING

from gatewise.fit.status import UNAFFECTED, Status

if TYPE_CHECKING:
    from gatewise.core.mixture import Mixture
    from gatewise.fit.result import Fit

OF_SQUARES: dict[Status, str] = {
    Status.unsound: "an expert has too little weight for its parameters; use fewer experts",
    Status.separated: "a parameter grows without limit while the sum of squares still falls, so it has no finite "
    "estimate; for a gate with slopes, add a ridge penalty (alpha); otherwise use fewer experts or fewer columns",
    Status.unidentified: "some direction of the parameters leaves the sum of squares unchanged, so these parameters "
    f"have no unique estimate; {UNAFFECTED}for unique estimates, use a simpler gate or fewer columns",
    Status.at_bound: "the optimum lies on a bound; a wider bound would give a lower sum of squares",
}
VANISHING = (Status.separated, Status.unidentified)  # what a fit is in which the share of a branch goes to zero
STARVED = "an expert has too few observations for its parameters; use fewer experts"


def status_words(fit: Fit) -> str:
    """Return the meaning of the primary status and its remedy, for the objective that was fitted.

    That predictions are unaffected is said only where nothing is left to gain.
    """
    if fit.status is Status.unsound and fit.sse is None and not fit.certificate.floor:
        return STARVED
    if fit.status in VANISHING and (empty := empty_branches(fit)):
        return f"{empty}: the data do not ask for it, and the gate has no finite or no unique estimate; fit without it"
    words = fit.status.words if fit.sse is None else OF_SQUARES.get(fit.status, fit.status.words)
    return words.replace(UNAFFECTED, "") if Status.stalled in fit.flags else words


def directions(names: Sequence[str]) -> list[str]:
    """Return directions, each the names of its parameters with ``&``, in words: those that share some together.

    Examples
    --------
    >>> directions(["b & a", "c & b", "d & e"])
    ['2 directions of a, b, c', 'd & e']
    """
    groups: list[tuple[set[str], list[str]]] = []
    for name in names:
        mine, joined = set(name.split(" & ")), [name]
        for group in [group for group in groups if group[0] & mine]:
            groups.remove(group)
            mine, joined = mine | group[0], [*group[1], *joined]
        groups.append((mine, joined))
    return [
        joined[0] if len(joined) == 1 else f"{len(joined)} directions of {', '.join(sorted(mine))}"
        for mine, joined in groups
    ]


def members(mixture: Mixture) -> str:
    """Return how many experts a mixture has, and what else: ``2 experts``, ``1 expert and zeros``."""
    named = [title for title in mixture.titles if title]
    count = mixture.n_leaves - len(named)
    return " and ".join([f"{count} expert{'s' * (count != 1)}", *dict.fromkeys(named)])


def expert_name(mixture: Mixture, leaf: int) -> str:
    """Return what a leaf is called: ``expert 2``, in a hierarchy ``expert 1/0``."""
    place = []
    for count in reversed(mixture.branching):
        leaf, branch = divmod(leaf, count)
        place.append(str(branch))
    return f"expert {'/'.join(reversed(place))}"


def empty_branches(fit: Fit) -> str:
    """Return which branches without parameters hold less than one row, in words; empty: none of them."""
    titles = fit.mixture.titles
    empty = dict.fromkeys(titles[leaf] for leaf in fit.certificate.starved if titles[leaf])
    return f"the branch {', '.join(empty)} holds less than one row" if empty else ""


def beside(fit: Fit) -> str:
    """Return the statuses that hold beside the primary one, and why a search stopped; empty if there are none."""
    others = [flag for flag in fit.flags if flag is not fit.status]
    listed = [f"{flag} ({stopped(fit)})" if flag is Status.stalled else str(flag) for flag in others]
    said = fit.status in VANISHING
    empty = "" if said or not empty_branches(fit) else f"; {empty_branches(fit)}: fit without it"
    return f"; also {', '.join(listed)}{empty}" if listed else empty


def stopped(fit: Fit) -> str:
    """Return how far a search that stopped may be from the end of its climb."""
    evidence, squares = fit.certificate, fit.sse is not None
    function = "log-likelihood of Gaussian residuals" if squares else "log-likelihood"
    if not evidence.classified:
        return "there was no time to tell which flat directions lead to infinity; raise max_time"
    if isinf(evidence.gain):
        return f"there was no time to see whether the {function} still rises; raise max_time"
    if fit.climbing:
        return (
            f"still climbing: the last steps raised the {function} by {evidence.gain:.2g}, and predictions may change"
        )
    return f"not every optimality condition holds, yet further steps raised the {function} by less than 1e-6"
