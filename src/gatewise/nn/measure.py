"""A fitted mixture as a layer: one gate, two users."""

from __future__ import annotations

from gatewise.core.mixture import Measure, Mixture
from gatewise.nn.experts import CoreExpert
from gatewise.nn.layer import MoE


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
    sizes = [
        value.shape[-1]
        for gate, values in zip(mixture.gates, measure.gates, strict=True)
        for name, value in values.items()
        if gate.score.parameters(2)[name].shape == (2,)
    ]
    if not sizes:
        raise ValueError(
            "no gate has a parameter per input, so the number of inputs is unknown: build the layer by MoE"
        )
    return sizes[0]
