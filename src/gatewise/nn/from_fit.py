"""A fitted mixture as a layer: one gate, two users."""

from __future__ import annotations

from gatewise.core.mixture import Measure, Mixture
from gatewise.nn.experts import CoreExpert
from gatewise.nn.layer import MoE

MANY = 97  # a number of inputs that no shape has for another reason


def from_measure(mixture: Mixture, measure: Measure) -> MoE:
    """Return a dense layer in the measure's precision that reproduces ``regression(mixture, measure)``.

    Parameters
    ----------
    mixture : Mixture
    measure : Measure
        One measure without batch dimensions, such as those of a fitted model.

    Returns
    -------
    MoE
        Its router gives the weights of the mixture, its experts are those of the mixture.

    Raises
    ------
    ValueError
        If gates and experts have different inputs, or none.
    """
    coefficients = next(iter(measure.experts.values()))
    dim = _inputs(mixture, measure)
    leaves = mixture.n_leaves
    depth = mixture.depth
    experts = [
        CoreExpert(
            mixture.expert,
            mixture.family,
            {name: value.flatten(0, depth - 1)[i] for name, value in measure.experts.items()},
            {name: value.flatten(0, depth - 1)[i] for name, value in measure.family.items()},
        )
        for i in range(leaves)
    ]
    layer = MoE(
        dim,
        n_experts=mixture.branching,
        gate=mixture.gates,
        top_k=None,
        dim_out=coefficients.shape[depth],
        normalise="before",
        experts=experts,
        balance="none",
    ).to(coefficients.dtype)
    for gate, values in zip(layer.router.gates, measure.gates, strict=True):
        gate.assign(dict(values))
    return layer


def _inputs(mixture: Mixture, measure: Measure) -> int:
    """Return the number of inputs that a measure's parameters belong to."""
    parts = [(gate.score, values) for gate, values in zip(mixture.gates, measure.gates, strict=True)]
    sizes = {
        value.shape[-1]
        for part, values in [*parts, (mixture.expert, measure.experts)]
        for name, value in values.items()
        if part.parameters(MANY)[name].shape[-1:] == (MANY,)
    }
    if not sizes:
        raise ValueError("no gate or expert has a parameter per input, so their number is unknown: build it by MoE")
    if len(sizes) > 1:
        raise ValueError(
            f"gates and experts have {' and '.join(map(str, sorted(sizes)))} inputs: a layer gives them the same tokens"
        )
    return sizes.pop()
