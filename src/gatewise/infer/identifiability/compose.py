"""Identifiability of mixtures made of core objects: `identify` for any composition, `assess` for a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from gatewise.core.experts import Expert
from gatewise.core.experts import expert as expert_of
from gatewise.core.families import Family, FullGaussian, Gaussian
from gatewise.core.families import family as family_of
from gatewise.core.gates import Gate, describe
from gatewise.core.gates import gate as gate_of
from gatewise.core.mixture import Mixture
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.identifiability.check import identify_atom, whole_number
from gatewise.infer.identifiability.leaf import leaf_atom
from gatewise.infer.identifiability.result import Identifiability
from gatewise.infer.identifiability.verdict import Verdict


@standard_torch()
def identify(
    gate: str | Gate | Sequence[str | Gate] = "softmax",
    expert: str | Expert = "linear",
    estimator: str = "ml",
    *,
    order: int = 2,
    atoms: int = 1,
    shared_gate: bool = False,
    d: int = 2,
    held: Sequence[str] = (),
    regime: int | None = None,
    include_bias: bool | None = None,
    seed: int = 0,
    family: str | Family | None = None,
    draws: int = 3,
    samples: int = 2,
    rows: int | None = None,
) -> Identifiability:
    """Check which parameters of a mixture of experts can be told apart, to first or second order.

    The atom of one expert is ``u = gate numerator * density`` (maximum likelihood) or ``u = gate numerator * expert``
    (least squares). Linear relations between its first derivatives mean parameters without an estimate; relations that
    tie a first derivative to second ones are what slow rates in over-specified fits come from.

    Parameters
    ----------
    gate : str, Gate or one per level
        One: a flat mixture. ``(outer, inner)``: a hierarchical one.
    expert : str or Expert
    estimator : {"ml", "ls"}
        Maximum likelihood or least squares.
    order : {1, 2}
    atoms : {1, 2}
        Two atoms show what one cannot: relations between experts.
    shared_gate : bool
        Give two atoms equal gates.
    d : int
        Number of features.
    held : sequence of str
        Parameters that are not estimated, such as ``temperature`` or ``gates.0.weight``.
    regime : {1, 2}, optional
        For gates whose scores have no free shift (sigmoid): 1 puts the gate slopes to zero, where an over-specified fit
        can still reach the truth; 2, the default for these, takes general slopes (2405.13997).
    include_bias : bool, optional
        Whether the gate bias is one of the parameters; default: in regime 2 only, since behind a softmax its derivative
        is the atom itself.
    seed : int
    family : str or Family, optional
        Law of the response for maximum likelihood, by its name in `FAMILIES` or as a Family; default: Gaussian, by its
        variance.
    draws, samples : int
        Draws of the parameters, and of the points for each of them.
    rows : int, optional
        Points per draw; default 100 per derivative.

    Returns
    -------
    Identifiability

    Raises
    ------
    ValueError, TypeError
        If an argument is not possible.

    Notes
    -----
    Identities: 2305.03288 (softmax), 2401.13875 (temperature), 2402.03226 (Laplace), 2405.13997 (least squares).

    Examples
    --------
    >>> found = identify("softmax", "linear", d=1)
    >>> found.nullity, found.parameters, str(found.verdict)
    (3, ('coef', 'variance'), 'interaction')
    >>> for equation in found.equations:
    ...     print(equation)
    d2u/dweight dintercept = du/dcoef
    d2u/dcoef dintercept = 2 d2u/dweight dvariance
    d2u/dintercept2 = 2 du/dvariance
    >>> str(identify("laplace", "gelu-no-bias", "ls").verdict)
    'strong'
    """
    gates = _gates(gate)
    chosen = expert_of(expert)
    if estimator not in ("ml", "ls"):
        raise ValueError(f"estimator={estimator!r}: give 'ml' (maximum likelihood) or 'ls' (least squares)")
    _check_links(gates, estimator)
    free_shift = all(one.link.translation_invariant for one in gates)
    if regime is not None and (free_shift or regime not in (1, 2)):
        raise ValueError(
            f"regime={regime!r}: regimes 1 and 2 are for gates whose scores have no free shift (sigmoid); leave it out"
        )
    law = family_of(family or Gaussian()) if estimator == "ml" else None
    title = f"{' / '.join(describe(one) for one in gates)} gate, {_expert_name(expert)} expert, "
    atom = leaf_atom(
        gates,
        chosen,
        law,
        whole_number("d", d, 1),
        held=(held,) if isinstance(held, str) else held,
        regime=regime,
        include_bias=include_bias,
        title=title + ("maximum likelihood" if estimator == "ml" else "least squares"),
    )
    return identify_atom(
        atom, order=order, atoms=atoms, shared_gate=shared_gate, seed=seed, draws=draws, samples=samples, rows=rows
    )


@lru_cache(maxsize=256)
@standard_torch()
def assess(mixture: Mixture, estimator: str = "ml", gauge: str = "fixed") -> Identifiability:
    """Check a mixture as it is fitted, with two features, and return the finding that matters.

    One atom at second order where over-specified experts can share a true one (softmax-type gates), at first order for
    gates of general slopes without a free shift, such as sigmoid; and two atoms at first order, which is what is
    returned when only they show a ridge (input-free weights in least squares). Results are remembered.

    Parameters
    ----------
    mixture : Mixture
    estimator : {"ml", "ls"}
    gauge : {"fixed", "none"}
        ``fixed`` holds what fits hold by default, such as a temperature that no data can identify.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> plain = Mixture((GATES["dense-to-sparse"],), (3,))
    >>> str(assess(plain).verdict), str(assess(plain, gauge="none").verdict)
    ('interaction', 'ridge')
    >>> str(assess(Mixture((GATES["constant"],), (2,)), "ls").verdict)
    'ridge'
    """
    if gauge not in ("fixed", "none"):
        raise ValueError(f"gauge={gauge!r}: give 'fixed' or 'none'")
    deep = mixture.depth > 1
    held = [
        f"gates.{level}.{name}" if deep else name
        for level, one in enumerate(mixture.gates)
        for name in (one.held() if gauge == "fixed" else ())
    ]
    free_shift = all(one.link.translation_invariant for one in mixture.gates)
    one = Gaussian() if isinstance(mixture.family, FullGaussian) else mixture.family  # of one response
    family = one if estimator == "ml" else None
    order = 2 if free_shift else 1
    single = identify(mixture.gates, mixture.expert, estimator, order=order, held=held, family=family)
    pair = identify(mixture.gates, mixture.expert, estimator, order=1, atoms=2, held=held, family=family)
    return pair if pair.verdict is Verdict.ridge and single.verdict is not Verdict.ridge else single


def _gates(choice: str | Gate | Sequence[str | Gate]) -> tuple[Gate, ...]:
    levels = choice if isinstance(choice, tuple | list) else (choice,)
    if not levels:
        raise ValueError("gate is empty: give one gate, or one per level, outer first")
    return tuple(gate_of(one) for one in levels)


def _check_links(gates: Sequence[Gate], estimator: str) -> None:
    for one in gates:
        name = type(one.link).__name__
        if not one.link.smooth:
            raise ValueError(f"gate {describe(one)!r} has the link {name}, which jumps: check the gate without it")
        if estimator == "ml" and not one.link.normalised:
            raise ValueError(
                f"gate {describe(one)!r} has the link {name}: its weights do not sum to one, so there is no "
                "likelihood. Use estimator='ls', or the gate 'normalised-sigmoid'"
            )


def _expert_name(choice: str | Expert) -> str:
    return choice if isinstance(choice, str) else str(choice)
