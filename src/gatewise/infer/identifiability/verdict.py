"""What linear relations between derivatives mean for estimates and their rates, in words."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewise.infer.identifiability.result import Identifiability


class IdentifiabilityVerdict(StrEnum):
    """What a check found; the order is the precedence."""

    undecided = "undecided"
    ridge = "ridge"
    interaction = "interaction"
    weak = "weak"
    strong = "strong"

    @property
    def words(self) -> str:
        """What the verdict means."""
        return WORDS[self]


WORDS: dict[IdentifiabilityVerdict, str] = {
    IdentifiabilityVerdict.undecided: "the singular values show no clear gap, or the draws disagree",
    IdentifiabilityVerdict.ridge: "first derivatives vanish or are linearly dependent, so some parameters have no estimate at any "
    "sample size",
    IdentifiabilityVerdict.interaction: "a first derivative is a combination of others and of second ones, so parameters can be "
    "traded against each other where several fitted experts share a true one",
    IdentifiabilityVerdict.weak: "the first derivatives are linearly independent; second ones were not asked for",
    IdentifiabilityVerdict.strong: "no first derivative takes part in a relation between first and second ones",
}


def explain(found: Identifiability) -> str:
    """Return the verdict with the names of the parameters and what it means for rates.

    Rates: 2305.03288, 2402.03226, 2401.13875 and 2405.13997, logarithms left out.
    """
    return EXPLAIN[found.verdict](found)


def _undecided(found: Identifiability) -> str:
    return f"Undecided: {found.doubt}. Repeat with another seed or more rows; nothing is guessed."


def _ridge(found: Identifiability) -> str:
    where = " where two experts have equal gates" if found.shared_gate and found.atoms > 1 else ""
    tied = [name for name in found.unidentified if name not in found.idle]
    reasons = [f"The first derivative in {_list(found.idle)} vanishes: moving it changes nothing"] if found.idle else []
    if tied:
        reasons.append(
            f"The first derivatives in {_list(tied)} are linearly dependent: a direction in which they move changes "
            "nothing"
        )
    return (
        f"Ridge: not identified{where}. {'. '.join(reasons)}, and no sample size gives them a rate. "
        f"Hold {'one parameter of each relation' if tied else _list(found.idle)}, or use another gate or expert."
    )


def _interaction(found: Identifiability) -> str:
    partners = f" (and, through second derivatives, {_list(found.partners)})" if found.partners else ""
    levels = (
        " A leaf sees only a combination of the parameters of its gates; that the inner gate sums to one tells the "
        "levels apart."
    )
    return (
        f"Interaction: {_list(found.parameters)}{partners} can be traded against each other where several fitted "
        "experts share a true one; there they may converge slower than n^-1/4. Such a relation is what a slow rate "
        f"needs, not a proof of one. Experts fitted one to one keep n^-1/2.{levels if found.first_nullity else ''}"
    )


def _weak(found: Identifiability) -> str:
    if not found.splits:
        return (
            "Weakly identifiable: the first derivatives are linearly independent, which is enough for n^-1/2. Behind "
            "this gate and with general slopes several fitted experts do not add up to a true one, so relations of "
            "second order slow nothing; slopes that are zero (regime 1) are another case."
        )
    return (
        "Weakly identifiable: the first derivatives are linearly independent, which is enough for n^-1/2 with the true "
        "number of experts. Whether over-specified fits are slower takes order 2."
    )


def _strong(found: Identifiability) -> str:
    harmless = " The relations between second derivatives alone do no harm." if found.nullity else ""
    return (
        "Strongly identifiable: no first derivative takes part in a relation. Expect n^-1/2 with the true number of "
        f"experts, and n^-1/4 where several fitted experts share a true one.{harmless}"
    )


EXPLAIN = {
    IdentifiabilityVerdict.undecided: _undecided,
    IdentifiabilityVerdict.ridge: _ridge,
    IdentifiabilityVerdict.interaction: _interaction,
    IdentifiabilityVerdict.weak: _weak,
    IdentifiabilityVerdict.strong: _strong,
}


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
