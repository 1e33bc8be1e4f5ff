"""Status of a fit: one primary word by precedence, in words with the remedy."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How a fit ended; the order is the precedence when several hold."""

    unsound = "unsound"
    separated = "separated"
    unidentified = "unidentified"
    at_kink = "at-kink"
    at_bound = "at-bound"
    stalled = "stalled"
    converged = "converged"

    @property
    def words(self) -> str:
        """What the status means and what to do."""
        return WORDS[self]


WORDS: dict[Status, str] = {
    Status.unsound: "an expert has too few observations for its parameters and its scale, or a scale lies on its "
    "floor, below which the likelihood would go on rising",
    Status.separated: "a parameter grows without limit while the likelihood still rises, so it has no finite "
    "estimate; for a gate, a ridge penalty (alpha) makes it finite; for an expert of counts, use fewer experts or "
    "fewer columns",
    Status.unidentified: "some direction of the parameters leaves the likelihood unchanged, so these parameters have "
    "no unique estimate; predictions are unaffected; for estimates, use a simpler gate or fewer columns",
    Status.at_kink: "the optimum lies on a kink of the gate or expert, where the derivative jumps; it passed the test "
    "for a local optimum there, but standard errors do not apply to the parameters at the kink",
    Status.at_bound: "the optimum lies on a bound that was given, or on the end of a parameter's range; a wider bound "
    "would give a higher likelihood",
    Status.stalled: "the search stopped before the optimality conditions held; give it more time (max_time), more "
    "passes (max_iter, for EM) or other starts (n_init, random_state)",
    Status.converged: "a local optimum: gradient, Newton decrement and curvature passed their tolerances",
}
