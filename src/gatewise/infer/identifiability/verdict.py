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
    IdentifiabilityVerdict.undecided: "the singular values show no clear gap, or the random draws disagree",
    IdentifiabilityVerdict.ridge: "first derivatives vanish or are linearly dependent, so some parameters are not "
    "identified at any sample size",
    IdentifiabilityVerdict.interaction: "a first derivative is a linear combination of other first and second "
    "derivatives, so parameters may converge slowly where several fitted experts share a true one",
    IdentifiabilityVerdict.weak: "the first derivatives are linearly independent; second derivatives were not checked",
    IdentifiabilityVerdict.strong: "no linear relation among first and second derivatives involves a first derivative",
}


BRIEF = {  # what a reader of a fit needs to know; a ridge and what is undecided are told whole
    IdentifiabilityVerdict.interaction: "estimates converge at n^-1/2 if every expert is needed; superfluous experts "
    "may slow some of them below n^-1/4",
    IdentifiabilityVerdict.weak: "estimates converge at n^-1/2 if every expert is needed",
    IdentifiabilityVerdict.strong: "estimates converge at n^-1/2 if every expert is needed, and at n^-1/4 where "
    "several experts share a true one",
}


def explain(found: Identifiability) -> str:
    """Explain a verdict: the parameters concerned and the convergence rates to expect.

    Rates are those of 2305.03288, 2402.03226, 2401.13875 and 2405.13997, without logarithmic factors.
    """
    return EXPLAIN[found.verdict](found)


def _undecided(found: Identifiability) -> str:
    return f"Undecided: {found.doubt}. Repeat with another seed or more rows."


def _ridge(found: Identifiability) -> str:
    where = " where two experts have equal gates" if found.shared_gate and found.atoms > 1 else ""
    tied = [name for name in found.unidentified if name not in found.idle]
    reasons = [f"The first derivative in {_list(found.idle)} vanishes: moving it changes nothing"] if found.idle else []
    if tied:
        reasons.append(
            f"The first derivatives in {_list(tied)} are linearly dependent: moving them together in some direction "
            "changes nothing"
        )
    return (
        f"Ridge: not identified{where} at any sample size. {'. '.join(reasons)}. "
        f"Fix {'one parameter of each relation' if tied else _list(found.idle)}, or use another gate or expert."
    )


def _interaction(found: Identifiability) -> str:
    partners = f" (and, through second derivatives, {_list(found.partners)})" if found.partners else ""
    apart = "the sum-to-one constraint of the inner gate tells the levels apart"
    if found.of_gates != found.dependent:
        apart = "that its weights sum to one tells them apart from those of its experts"
    levels = f" One leaf alone determines only a combination of the parameters of its gates; {apart}."
    return (
        f"Interaction: {_list(found.parameters)}{partners} have linearly dependent derivatives. Where several fitted "
        "experts share a true one, these parameters may converge more slowly than n^-1/4; the relation is necessary "
        "for a slow rate, not sufficient. Experts that match one true expert each converge at n^-1/2."
        f"{levels if found.first_nullity else ''}"
    )


def _weak(found: Identifiability) -> str:
    if not found.splits:
        return (
            "Weakly identifiable: the first derivatives are linearly independent, which suffices for n^-1/2. With this "
            "gate and nonzero slopes, several fitted experts cannot add up to a true one, so second-order relations do "
            "not matter; gates with zero slopes (regime 1) behave differently."
        )
    return (
        "Weakly identifiable: the first derivatives are linearly independent, which suffices for n^-1/2 with the true "
        "number of experts. Use order 2 to check whether over-specified fits converge more slowly."
    )


def _strong(found: Identifiability) -> str:
    harmless = " Relations among second derivatives alone do not matter." if found.nullity else ""
    return (
        "Strongly identifiable: no linear relation involves a first derivative. Expect n^-1/2 with the true number of "
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
