"""Status of a fit: how it ended, what that means, and what to do."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How a fit ended. If several statuses hold, the first in the order below is reported; `Fit.flags` lists all.

    ``unsound``: an expert has too few observations, or a scale lies on its floor. ``separated``: a parameter has no
    finite estimate. ``unidentified``: the objective is flat in some direction. ``at-kink``: a certified optimum where
    the derivative jumps. ``at-bound``: the optimum lies on a bound. ``stalled``: the search stopped before convergence.
    ``converged``: a certified local optimum.

    Examples
    --------
    >>> Status.converged.words
    'a local optimum: gradient, Newton decrement and curvature passed their tolerances'
    """

    unsound = "unsound"
    separated = "separated"
    unidentified = "unidentified"
    at_kink = "at-kink"
    at_bound = "at-bound"
    stalled = "stalled"
    converged = "converged"

    @property
    def words(self) -> str:
        """The meaning of the status and its remedy."""
        return WORDS[self]


UNAFFECTED = "predictions are unaffected; "
WORDS: dict[Status, str] = {
    Status.unsound: "an expert has too few observations for its parameters and its scale, or a scale lies on its "
    "floor, below which the likelihood would keep rising",
    Status.separated: "a parameter grows without limit while the likelihood still rises, so it has no finite "
    "estimate; for a gate with slopes, add a ridge penalty (alpha); for an expert of counts or classes, use "
    "fewer experts or fewer columns",
    Status.unidentified: "some direction of the parameters leaves the likelihood unchanged, so these parameters have "
    f"no unique estimate; {UNAFFECTED}for unique estimates, use a simpler gate or fewer columns",
    Status.at_kink: "the optimum lies on a kink of the gate or expert, where the derivative jumps; it is a local "
    "optimum, but standard errors do not apply to the parameters at the kink",
    Status.at_bound: "the optimum lies on a bound, or at the end of a parameter's range; a wider bound, within "
    "that range, would give a higher likelihood",
    Status.stalled: "the search stopped before the optimality conditions held; give it more time (max_time), more "
    "passes (max_iter, for EM) or other starts (n_init, random_state)",
    Status.converged: "a local optimum: gradient, Newton decrement and curvature passed their tolerances",
}
