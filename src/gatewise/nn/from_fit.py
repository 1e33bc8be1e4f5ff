"""A fitted mixture as a layer: one gate, two users."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.core.predictors import Predictor
from gatewise.nn.experts import CoreExpert
from gatewise.nn.layer import MoE


def from_measure(mixture: Mixture, measure: Measure, dim: int | None = None) -> MoE:
    """Return a dense layer in the measure's precision that reproduces ``regression(mixture, measure)``.

    Parameters
    ----------
    mixture : Mixture
    measure : Measure
        One measure without batch dimensions, such as those of a fitted model.
    dim : int, optional
        Number of inputs. By default the one that the shapes of the parameters belong to; where they are the same for
        any number, as behind constant gates and experts, it has to be given.

    Returns
    -------
    MoE
        Its router gives the weights of the mixture, its experts are those of the mixture.

    Raises
    ------
    ValueError
        If the parameters belong to other inputs than `dim`, to different ones, or to any number of them.

    Examples
    --------
    >>> import torch
    >>> from gatewise import MixtureOfExpertsRegressor
    >>> from gatewise.data import load
    >>> from gatewise.nn import from_measure
    >>> tone = load("tone")
    >>> model = MixtureOfExpertsRegressor(n_experts=2, n_init=1, random_state=0).fit(tone.X, tone.y)
    >>> layer = from_measure(model.mixture_, model.measure_)
    >>> torch.allclose(layer(torch.tensor(tone.X.to_numpy()))[:, 0], torch.tensor(model.predict(tone.X)))
    True
    """
    dim = _inputs(mixture, measure, dim)
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
        dim_out=mixture.outputs(measure),
        normalise="before",
        experts=experts,
        balance="none",
    ).to(next(iter(measure.paths().values())).dtype)
    for gate, values in zip(layer.router.gates, measure.gates, strict=True):
        gate.assign(dict(values))
    return layer


def _inputs(mixture: Mixture, measure: Measure, given: int | None) -> int:
    """Return the number of inputs that a measure's parameters belong to."""
    gates = [(gate.score, values) for gate, values in zip(mixture.gates, measure.gates, strict=True)]
    found = [_widths(part, values) for part, values in [*gates, (mixture.expert, measure.experts)]]
    known = [one for one in found if one is not None]
    wide = " and ".join(map(str, sorted(set[int]().union(*known))))
    fits = set.intersection(*known) if known else {given}
    if given is not None and given not in fits:
        raise ValueError(f"dim={given}, but gates and experts have {wide} inputs: give theirs, or leave dim out")
    if not fits:
        raise ValueError(f"gates and experts have {wide} inputs: a layer gives them the same tokens")
    number = given if len(fits) > 1 else fits.pop()
    if number is None:
        raise ValueError(
            "the parameters of gates and experts have the same shapes for several numbers of inputs: say which, as in "
            "from_measure(mixture, measure, dim=3)"
        )
    return number


def _widths(part: Predictor, values: Mapping[str, Tensor]) -> set[int] | None:
    """Return the numbers of inputs with which the parameters of a part have the shapes they have; None: any number.

    A parameter that depends on their number has at least one entry for each.
    """
    largest = max((max(value.shape, default=1) for value in values.values()), default=1)
    fits = [all(map(_ends_with, values.values(), shapes)) for shapes in _shapes(part, values, largest + 1)]
    return None if all(fits) else {d for d, fit in enumerate(fits, 1) if fit}


def _shapes(part: Predictor, names: Iterable[str], most: int) -> Iterator[list[tuple[int, ...]]]:
    """Return the shapes of the parameters of a part for every number of inputs up to the given one."""
    for d in range(1, most + 1):
        specs = part.parameters(d)
        yield [specs[name].shape for name in names]


def _ends_with(value: Tensor, shape: tuple[int, ...]) -> bool:
    return tuple(value.shape[value.ndim - len(shape) :]) == shape
