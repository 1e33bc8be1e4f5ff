"""Which verdicts are about which rate of the literature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES, Gate
from gatewise.core.scores import Activated, Affine, SquaredDistance, Tempered
from gatewise.theory.arms import Arm, NearTruth
from gatewise.theory.claims import Claim
from gatewise.theory.paths import INTERCEPT, VARIANCE
from gatewise.theory.rates import ORDER_ONLY, POLYNOMIAL, RATES, SLOWER, Rate
from gatewise.theory.result import StudyResult
from gatewise.theory.verdict import Verdict

GROUPS = ("gate", "slopes, other expert parameters", "intercept", "variance")
SMALL = 0.01  # exponents closer than this are one
LETTERS = {GATES["softmax"]: "S", GATES["laplace"]: "L"}
EXPERT_NAMES: dict[str, tuple[str, ...]] = {  # experts of the literature: those of EXPERTS
    "linear": ("linear",),
    "constant": ("constant",),
    "polynomial": ("linear", "square", "cube"),
}


class Judgement(NamedTuple):
    """A verdict about a rate, and where it comes from; `near`: fits started near the truth."""

    place: int  # of the result among those given
    verdict: Verdict
    near: bool


class RatedModel(NamedTuple):
    """A model of the rate tables: its rates by group of parameters, each with the verdicts about it."""

    estimator: str
    gate: str
    experts: str
    specification: str
    cells: dict[str, list[tuple[Rate, list[Judgement]]]]

    def judgements(self, group: str | None = None) -> list[Judgement]:
        """Return the verdicts about a group of parameters, or about all of them."""
        chosen = self.cells.values() if group is None else (self.cells[group],)
        return [one for cell in chosen for _, about in cell for one in about]


def judged_rates(results: Sequence[StudyResult]) -> list[RatedModel]:
    """Return the models of `RATES` in order, with the verdicts of studies about each of their rates.

    A verdict is about a rate when its claim is about the same gate, experts, estimator, specification, parameter and
    rate, from the same source, and the starts do not approach the truth with n.
    """
    heads: dict[tuple[str, str, str, str], RatedModel] = {}
    for rate in RATES:
        head = (rate.estimator, rate.gate, rate.experts, rate.specification)
        row = heads.setdefault(head, RatedModel(*head, {group: [] for group in GROUPS}))
        row.cells[group_of(rate.parameter)].append((rate, _about(rate, results)))
    return list(heads.values())


def _about(rate: Rate, results: Sequence[StudyResult]) -> list[Judgement]:
    found = []
    for place, result in enumerate(results):
        for verdict in result.verdicts:
            arm = result.study.arm(verdict.claim.arm)
            if answers(rate, arm, verdict):
                found.append(Judgement(place, verdict, isinstance(arm.starts, NearTruth)))
    return found


def group_of(parameter: str) -> str:
    """Return the column of a parameter.

    Examples
    --------
    >>> group_of("gates.0.temperature"), group_of("experts"), group_of("experts.intercept")
    ('gate', 'slopes, other expert parameters', 'intercept')
    """
    named = {INTERCEPT: GROUPS[2], VARIANCE: GROUPS[3]}
    return named.get(parameter, GROUPS[1] if parameter.startswith("experts") else GROUPS[0])


def answers(rate: Rate, arm: Arm, verdict: Verdict) -> bool:
    """Return whether a verdict is about a row of the rate table; EM and starts that approach the truth never are."""
    claim, method = verdict.claim, arm.model.method
    if isinstance(arm.starts, NearTruth) and arm.starts.rate > 0:
        return False
    about_rate = _same_source(rate, claim) and _same_rate(rate, claim)
    about_model = rate.estimator == method and _same_cell(rate, arm, claim)
    return about_rate and about_model and _same_gate(rate, arm) and _same_experts(rate, arm)


def _same_source(rate: Rate, claim: Claim) -> bool:
    if rate.standing == "derived":
        return claim.standing in ("derived", "own")
    return rate.source in claim.source


def _same_rate(rate: Rate, claim: Claim) -> bool:
    if claim.other:  # which model is the slower one is all that is said of some rates
        return rate.kind == ORDER_ONLY and claim.kind == "at_least"
    if rate.kind == POLYNOMIAL and rate.power is not None:
        exponents = {float(rate.power.rate(m)) for m in (1, 2, 3)}
        return claim.kind in ("equal", "at_most") and any(abs(claim.value - e) < SMALL for e in exponents)
    return rate.kind == SLOWER and claim.kind == "slower_than_polynomial"


def _same_cell(rate: Rate, arm: Arm, claim: Claim) -> bool:
    """Return whether arm and series are of the parameter and of cells that are filled as the row says."""
    path, _, cells = claim.series.partition(" ")
    inside = path == rate.parameter or path.startswith(rate.parameter + ".")
    if rate.specification == "any":
        return inside
    over = arm.model.mixture.n_leaves > arm.data.mixture.n_leaves
    if cells == "raw":  # of a parameter that no data identify, whatever the cells
        return inside and over == (rate.specification == "over")
    if rate.gate == "sigmoid, regime 2":  # no true atom is shared in the limit: every cell has the rate
        return inside and over
    if path.startswith("gates.0.") and arm.model.mixture.depth > 1:  # the outer gate has as many branches as the truth
        return inside and over == (rate.specification == "over") and cells.startswith("exact")
    return inside and over == (rate.specification == "over") and (cells.startswith("over") == over or path == "mass")


def _same_experts(rate: Rate, arm: Arm) -> bool:
    names = {name for name, value in EXPERTS.items() if value == arm.model.mixture.expert}
    if rate.experts == "any":
        return True
    if rate.experts in EXPERT_NAMES:
        return bool(names & set(EXPERT_NAMES[rate.experts]))
    plain = {name for held in EXPERT_NAMES.values() for name in held}
    feed_forward = rate.experts in ("feed-forward", "strongly identifiable")
    return feed_forward and not names & plain and not arm.model.mixture.expert.linear


def _same_gate(rate: Rate, arm: Arm) -> bool:
    gates = arm.model.mixture.gates
    if rate.gate.startswith("hmoe"):
        letters = "".join(LETTERS.get(gate, "?") for gate in gates)
        return letters in rate.gate.removeprefix("hmoe ").split(", ")
    if len(gates) > 1:
        return False
    words = rate.gate.replace(" (sharper)", "")
    if "regime" in words:
        name, _, regime = words.partition(", ")
        sort = f"sigmoid-{regime.replace(' ', '-')}"
        return gates[0] == GATES[name] and sort in {loss.name for loss in arm.named_losses()}
    if words == "input-free":
        return gates[0] == GATES["constant"]
    if words == "activation-dense-to-sparse":
        return _activated(gates[0])
    regimes = {f"normalised-sigmoid, {sort}": f"normalised-sigmoid-{sort}" for sort in ("sparse", "dense")}
    if words in regimes:
        return gates[0] == GATES["normalised-sigmoid"] and regimes[words] in {loss.name for loss in arm.named_losses()}
    named: Mapping[str, Gate] = {**GATES, "gaussian-score": Gate(SquaredDistance())}
    return words in named and gates[0] == named[words]


def _activated(gate: Gate) -> bool:
    return any(gate == Gate(Tempered(Activated(Affine(), fn))) for fn in ("sigmoid", "tanh", "gelu"))
