"""Identifiability of a mixture as it is fitted: the worst finding over the kinds of its leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, cast

from gatewise.core.by_leaf import ExpertsByLeaf, FamiliesByLeaf
from gatewise.core.experts import Expert
from gatewise.core.families import Family, MeanOnly
from gatewise.core.mixture import Mixture
from gatewise.core.names import require_one_of
from gatewise.core.parameters import Parameter
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.identifiability.compose import FEATURES, identify_parts
from gatewise.infer.identifiability.result import Identifiability
from gatewise.infer.identifiability.verdict import IdentifiabilityVerdict

OUTPUTS, TRIALS = 3, 5  # responses and trials beyond which more of them tell nothing new
ORDER = 2  # highest order of derivatives
WORST = (
    IdentifiabilityVerdict.ridge,
    IdentifiabilityVerdict.undecided,
    IdentifiabilityVerdict.interaction,
    IdentifiabilityVerdict.weak,
    IdentifiabilityVerdict.strong,
)


@standard_torch()
def assess(
    mixture: Mixture,
    estimator: str = "ml",
    gauge: str = "fixed",
    outputs: int = 1,
    gate_inputs: Sequence[int] | None = None,
    *,
    d: int = FEATURES,
    held: Sequence[str] = (),
    order: int = ORDER,
) -> Identifiability:
    """Check a mixture as it is fitted, and return the finding that matters.

    What parts hold for single features (the scales of standardised inputs) is left out: it changes units, and no
    relation between derivatives depends on these.

    One atom at second order where over-specified experts can share a true one (softmax-type gates), at first order for
    gates of general slopes without a free shift, such as sigmoid; and two atoms at first order, which is what is
    returned when only they show a ridge (input-free weights in least squares). Experts and families of several kinds
    are checked one by one, and the worst finding is returned. Results are remembered.

    Parameters
    ----------
    mixture : Mixture
    estimator : {"ml", "ls"}
    gauge : {"fixed", "none"}
        ``fixed`` holds what fits hold by default, such as a temperature that no data can identify.
    outputs : int
        Number of responses. Several binary ones, or counts out of several trials, tell classes apart that one cannot;
        of a Gaussian or Student's t one is enough, and no more than three of others are taken.
    gate_inputs : sequence of int, optional
        The inputs of the gates by number, when they are not those of the experts, which are 0 to d - 1.
    d : int
        Number of inputs of the experts.
    held : sequence of str
        Paths of parameters that are not estimated, such as ``gates.0.weight``.
    order : {1, 2}
        1 finds ridges alone, at less cost, with one sample of points for each draw of the parameters.

    Raises
    ------
    ValueError
        If there is nothing to check: a gate without a likelihood, or a number of trials that differs by row.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> plain = Mixture((GATES["dense-to-sparse"],), (3,))
    >>> str(assess(plain).verdict), str(assess(plain, gauge="none").verdict)
    ('interaction', 'ridge')
    >>> str(assess(Mixture((GATES["constant"],), (2,)), "ls").verdict)
    'ridge'
    """
    require_one_of("gauge", gauge, ("fixed", "none"))
    plain = replace(
        mixture,
        gates=tuple(gate.plain() for gate in mixture.gates),
        branching=tuple(min(branches, 2) for branches in mixture.branching),  # atoms do not know how many there are
    )
    inputs = None if gate_inputs is None else tuple(gate_inputs)
    found = []
    for expert, family in _kinds(mixture, estimator):
        count = 1 if estimator == "ls" or family.location_scale else min(outputs, OUTPUTS)
        kind = replace(plain, expert=expert, family=family)
        if kind.expert.by_leaf != mixture.expert.by_leaf or kind.family.by_leaf != mixture.family.by_leaf:
            _check_held(held, expert.parameters(d), family.parameters(count))
        found.append(_assess(kind, estimator, gauge, count, inputs, d, tuple(held), order))
    return min(found, key=lambda one: WORST.index(one.verdict))


def _kinds(mixture: Mixture, estimator: str) -> list[tuple[Expert, Family]]:
    """Return the pairs of expert and family that leaves have, as the check takes them; not those without parameters."""
    expert, family = mixture.expert, mixture.family
    pairs: dict[tuple[Expert, Family], None] = {}
    for i in range(mixture.branching[-1]):
        own = expert.parts[i % len(expert.parts)] if isinstance(expert, ExpertsByLeaf) else expert
        law = family.parts[i % len(family.parts)] if isinstance(family, FamiliesByLeaf) else family
        if law.title:
            continue
        pairs[cast(Expert, own.plain()), MeanOnly() if estimator == "ls" else _of_few_trials(law)] = None
    return list(pairs)


def _check_held(held: Sequence[str], expert: Mapping[str, Parameter], family: Mapping[str, Parameter]) -> None:
    """Raise where a parameter that is held is not one of every leaf."""
    known = {*(f"experts.{name}" for name in expert), *(f"family.{name}" for name in family)}
    if any(not path.startswith("gates.") and path not in known for path in held):
        raise ValueError("parameters that only some experts have are fixed")


def _of_few_trials(family: Family) -> Family:
    """Return a binomial family of no more trials than the check needs; densities of many vanish nearly everywhere."""
    trials = getattr(family, "trials", None)
    return family if trials is None else cast(Family, replace(cast(Any, family), trials=min(trials, TRIALS)))


@lru_cache(maxsize=256)
def _assess(
    mixture: Mixture,
    estimator: str,
    gauge: str,
    outputs: int,
    gate_inputs: tuple[int, ...] | None,
    d: int,
    held: tuple[str, ...],
    order: int,
) -> Identifiability:
    parts = {f"gates.{level}": one for level, one in enumerate(mixture.gates)} | {"experts": mixture.expert}
    by_gauge = [f"{part}.{name}" for part, one in parts.items() for name in one.held()] if gauge == "fixed" else []
    free_shift = all(one.link.translation_invariant for one in mixture.gates)
    one = mixture.family.marginal()
    if one.outputs(2 * outputs) == outputs:
        raise ValueError("the number of trials differs by row, and with it what the data can tell apart")
    check = partial(
        identify_parts,
        mixture.gates,
        mixture.expert,
        estimator,
        d=d,
        held=(*by_gauge, *(path for path in held if one is mixture.family or not path.startswith("family."))),
        family=one if estimator == "ml" else None,
        outputs=outputs,
        gate_inputs=gate_inputs,
        shared=mixture.shared,
        samples=order,
    )
    single, pair = check(order=order if free_shift else 1), check(order=1, atoms=2)
    return (
        pair
        if pair.verdict is IdentifiabilityVerdict.ridge and single.verdict is not IdentifiabilityVerdict.ridge
        else single
    )
