"""Identifiability of any composition of core objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatewise.core.experts import Expert
from gatewise.core.experts import expert as expert_of
from gatewise.core.families import Family, Gaussian
from gatewise.core.families import family as family_of
from gatewise.core.gates import Gate, describe
from gatewise.core.gates import gates as gates_of
from gatewise.core.names import require_one_of
from gatewise.fit.arguments import whole
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.identifiability.check import identify_atom
from gatewise.infer.identifiability.leaf import leaf_atom
from gatewise.infer.identifiability.result import Identifiability

FEATURES = 2  # inputs that show every relation that there is with more


@standard_torch()
def identify(
    gate: str | Gate | Sequence[str | Gate] = "softmax",
    expert: str | Expert = "linear",
    estimator: str = "ml",
    *,
    order: int = 2,
    atoms: int = 1,
    shared_gate: bool = False,
    d: int = FEATURES,
    held: Sequence[str] = (),
    regime: int | None = None,
    include_bias: bool | None = None,
    seed: int = 0,
    family: str | Family | None = None,
    outputs: int = 1,
    group_size: int = 1,
    draws: int = 3,
    samples: int = 2,
    rows: int | None = None,
    proof: bool = False,
) -> Identifiability:
    """Check whether the parameters of a mixture of experts are identifiable, to first or second order.

    One expert contributes the atom ``u = gate numerator * density`` (maximum likelihood) or ``u = gate numerator *
    expert mean`` (least squares). The check searches numerically for linear relations among the derivatives of u. If
    first derivatives are linearly dependent, some parameters are not identified at any sample size. If a relation ties
    a first derivative to second derivatives, parameters may converge slowly in over-specified fits.

    Parameters
    ----------
    gate : str, Gate, or a sequence with one per level
        One gate: a flat mixture. ``(outer, inner)``: a hierarchical mixture.
    expert : str or Expert
    estimator : {"ml", "ls"}
        Maximum likelihood or least squares.
    order : {1, 2}
        Highest order of the derivatives.
    atoms : {1, 2}
        With 2, relations between the derivatives of two different experts are found too.
    shared_gate : bool
        Whether the two atoms have equal gate parameters.
    d : int
        Number of input features.
    held : sequence of str
        Parameters that are fixed, such as ``temperature`` or ``gates.0.weight``.
    regime : {1, 2}, optional
        Only for gates whose scores have no free shift (sigmoid). 1: gate slopes are zero, so an over-specified fit can
        still equal the truth. 2 (default): general slopes (2405.13997).
    include_bias : bool, optional
        Whether to include the gate bias. By default only in regime 2: with a softmax, the derivative in the bias is the
        atom itself.
    seed : int
    family : str or Family, optional
        Distribution of the response for maximum likelihood, by its name in `FAMILIES` or as a Family. Default: Gaussian
        with derivatives in the variance.
    outputs : int
        Number of responses.
    group_size : int
        Number of rows that share an expert (``groups=`` of the estimators), for maximum likelihood. Every row has d
        features and a response; the gate has d features of its own.
    draws, samples : int
        Number of random parameter draws, and of sets of points per draw.
    rows : int, optional
        Points per set; default 100 per derivative.
    proof : bool
        Whether to prove the relations as well, and that there are no others; `Identifiability.proof` holds the result.

    Returns
    -------
    Identifiability
        The relations, the parameters involved, and a verdict.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or a gate has no likelihood.

    Notes
    -----
    The known identities are in 2305.03288 (softmax), 2401.13875 (temperature), 2402.03226 (Laplace) and 2405.13997
    (least squares).

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
    >>> print(identify("cosine", d=2, order=1, proof=True).proof)
    Proof: 6 derivatives, 1 relation that holds identically in x, y and the parameters; the other 5 are independent.
      du/dweight[1] = -(weight[0]/weight[1]) du/dweight[0]
    Directions in which the atom does not change:
      (weight[1], weight[0]) along (weight[1], weight[0])
    No other relation: their values M at 5 rational points and weight[0] = ...
    """
    return identify_parts(
        gate,
        expert,
        estimator,
        order=order,
        atoms=atoms,
        shared_gate=shared_gate,
        d=d,
        held=held,
        regime=regime,
        include_bias=include_bias,
        seed=seed,
        family=family,
        outputs=whole("outputs", outputs, 1),
        group_size=whole("group_size", group_size, 1),
        draws=draws,
        samples=samples,
        rows=rows,
        proof=proof,
    )


def identify_parts(
    gate: str | Gate | Sequence[str | Gate],
    expert: str | Expert,
    estimator: str,
    *,
    d: int = FEATURES,
    held: Sequence[str] = (),
    regime: int | None = None,
    include_bias: bool | None = None,
    family: str | Family | None = None,
    outputs: int = 1,
    gate_inputs: Sequence[int] | None = None,
    shared: Sequence[str] = (),
    group_size: int = 1,
    **plan: Any,
) -> Identifiability:
    """Check an atom of core objects; see `identify`."""
    gates = gates_of(gate)
    chosen = expert_of(expert)
    require_one_of("estimator", estimator, ("ml", "ls"))
    _check_links(gates, estimator)
    free_shift = all(one.link.translation_invariant for one in gates)
    if regime is not None and (free_shift or regime not in (1, 2)):
        raise ValueError(
            f"regime={regime!r}: regimes 1 and 2 are for gates whose scores have no free shift (sigmoid); leave it out"
        )
    if group_size > 1 and estimator == "ls":
        raise ValueError(
            f"group_size={group_size}: least squares takes every row by itself; use estimator='ml', or leave it out"
        )
    law = family_of(family or Gaussian()) if estimator == "ml" else None
    title = f"{' / '.join(describe(one) for one in gates)} gate, {expert} expert, "
    atom = leaf_atom(
        gates,
        chosen,
        law,
        whole("d", d, 1),
        held=(held,) if isinstance(held, str) else held,
        regime=regime,
        include_bias=include_bias,
        title=title + ("maximum likelihood" if estimator == "ml" else "least squares") + _several(outputs, group_size),
        outputs=outputs,
        gate_inputs=gate_inputs,
        shared=shared,
        group_size=group_size,
    )
    return identify_atom(atom, **plan)


def _several(outputs: int, group_size: int) -> str:
    """Return how many responses and rows of a group there are, when there are several."""
    rows = f", groups of {group_size} rows (d counts the inputs of each and of the gate)" if group_size > 1 else ""
    return (f", {outputs} responses" if outputs > 1 else "") + rows


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
