"""Mixture says how to read a Measure; the densities, means, responsibilities and samples it defines.

A Measure is the mixing measure G of the papers: named tensors. For branching ``(K_1, ..., K_D)`` and L leaves, gate
parameters of level l are ``(*B, K_1, ..., K_{l+1}, *shape)`` (one temperature per node lacks the last K), expert
parameters ``(*B, K_1, ..., K_D, q, *shape)`` and family parameters ``(*B, K_1, ..., K_D, *shape)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor

from gatewise.core.by_leaf import ExpertsByLeaf, FamiliesByLeaf
from gatewise.core.experts import Expert, Linear
from gatewise.core.families import Family, Gaussian
from gatewise.core.gates import Gate
from gatewise.core.parameters import Parameter
from gatewise.core.tree import expand_nodes, path_log_weights, path_weights

T = TypeVar("T")
FAR = 1e140  # responses whose squares in units of a scale are still floats


class Measure(NamedTuple):
    """The parameters of a mixture as named tensors: the mixing measure G of the papers.

    For a branching ``(K_1, ..., K_D)`` with D levels, q outputs, and any leading batch axes ``*B``:

    Attributes
    ----------
    gates : tuple of mapping name -> Tensor
        One mapping per level. Tensors are ``(*B, K_1, ..., K_{l+1}, *shape)`` at level l; a parameter with one value
        per node, such as a temperature, lacks the last K.
    experts : mapping name -> Tensor
        ``(*B, K_1, ..., K_D, q, *shape)``.
    family : mapping name -> Tensor
        ``(*B, K_1, ..., K_D, *shape)``.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Measure
    >>> measure = Measure(
    ...     gates=({"weight": torch.tensor([[1.5], [0.0]]), "bias": torch.tensor([0.3, 0.0])},),
    ...     experts={"coef": torch.tensor([[[2.0]], [[-1.0]]]), "intercept": torch.tensor([[1.0], [-1.0]])},
    ...     family={"scale": torch.tensor([[0.5], [0.7]])},
    ... )
    >>> list(measure.paths())
    ['gates.0.weight', 'gates.0.bias', 'experts.coef', 'experts.intercept', 'family.scale']
    """

    gates: tuple[Mapping[str, Tensor], ...]
    experts: Mapping[str, Tensor]
    family: Mapping[str, Tensor]

    @property
    def members(self) -> int:
        """Size of the first batch axis."""
        return len(next(iter(self.paths().values())))

    def paths(self) -> dict[str, Tensor]:
        """Return the tensors under their paths, ``gates.0.weight``, ``experts.coef``, ``family.scale``."""
        named = {f"gates.{i}.{k}": v for i, level in enumerate(self.gates) for k, v in level.items()}
        named |= {f"experts.{k}": v for k, v in self.experts.items()}
        return named | {f"family.{k}": v for k, v in self.family.items()}

    def map(self, fn: object) -> Measure:
        """Return the measure with `fn` applied to every tensor."""
        assert callable(fn)
        gates = tuple({k: fn(v) for k, v in level.items()} for level in self.gates)
        return Measure(gates, {k: fn(v) for k, v in self.experts.items()}, {k: fn(v) for k, v in self.family.items()})


@dataclass(frozen=True)
class Mixture:
    """The structure of a mixture of experts, without parameters: ``p(y | x) = sum_l pi_l(x) f(y | h_l(x))``.

    The weight ``pi_l(x)`` of leaf l is the product of the gate weights on the path from the root to the leaf.

    Attributes
    ----------
    gates : tuple of Gate
        One per level, the root first.
    branching : tuple of int
        Number of branches at each level.
    expert : Expert, or a tuple with one per branch of the innermost level
    family : Family, or a tuple with one per branch of the innermost level
    shared : tuple of str
        Paths of parameters that all leaves share, such as ``family.scale``.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> Mixture((GATES["laplace"], GATES["softmax"]), (2, 3)).n_leaves
    6
    """

    gates: tuple[Gate, ...]
    branching: tuple[int, ...]
    expert: Expert = Linear()
    family: Family = Gaussian()
    shared: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.gates) != len(self.branching):
            raise ValueError(f"{len(self.gates)} gates for branching {self.branching}: give one gate per level")
        if not self.branching or min(self.branching) < 1:
            raise ValueError(f"branching {self.branching}: every level needs at least one branch")
        if isinstance(self.expert, tuple):
            object.__setattr__(self, "expert", ExpertsByLeaf(_one_each("expert", self.expert, self.branching)))
        if isinstance(self.family, tuple):
            object.__setattr__(self, "family", FamiliesByLeaf(_one_each("family", self.family, self.branching)))

    @property
    def depth(self) -> int:
        """Number of levels."""
        return len(self.branching)

    @property
    def n_leaves(self) -> int:
        """Number of experts."""
        return prod(self.branching)

    def nodes(self, level: int) -> int:
        """Return the number of gates at a level."""
        return prod(self.branching[:level])

    def parameters(self) -> dict[str, Parameter]:
        """Return what the parameters are by path, ``gates.0.weight``; their shapes are those of one input and output.

        Examples
        --------
        >>> from gatewise.core.gates import GATES
        >>> found = Mixture((GATES["laplace"],), (2,)).parameters()
        >>> {path: spec.role for path, spec in found.items() if path.startswith("gates")}
        {'gates.0.center': 'location', 'gates.0.bias': 'intercept'}
        """
        rooms = {f"gates.{level}": gate.score.parameters(1) for level, gate in enumerate(self.gates)}
        rooms |= {"experts": self.expert.parameters(1), "family": self.family.parameters(1)}
        return {f"{room}.{name}": spec for room, own in rooms.items() for name, spec in own.items()}

    def owners(self, path: str) -> Tensor:
        """Return which leaves ``(L,)`` have a parameter of experts or family, of bool."""
        only, branch = self.parameters()[path].only, torch.arange(self.n_leaves) % self.branching[-1]
        return torch.ones_like(branch).bool() if only is None else torch.isin(branch, branch.new_tensor(only))

    @property
    def titles(self) -> tuple[str, ...]:
        """What the leaves are called whose law has a name, in order; the others are experts and have empty ones."""
        laws = self.family.kinds()
        return tuple(laws[leaf % len(laws)].title for leaf in range(self.n_leaves))

    def outputs(self, measure: Measure) -> int:
        """Return the number q of outputs of a measure, with any batch axes.

        Raises
        ------
        ValueError
            If the expert has no parameter, so that the measure does not determine q.
        """
        for name, spec in self.expert.parameters(1).items():
            value = measure.experts[name]
            return value.shape[value.ndim - 1 - len(spec.shape)]
        raise ValueError(f"{self.expert} has no parameters, so its measure does not determine the number of outputs")

    def paths(self, room: str, *roles: str) -> tuple[str, ...]:
        """Return the paths of a room (``gates``, ``gates.0``, ``experts``, ``family``) whose parameters have a role."""
        found = self.parameters().items()
        return tuple(path for path, spec in found if path.startswith(f"{room}.") and spec.role in roles)

    @property
    def exchangeable(self) -> bool:
        """Whether the leaves are of one kind, so that there is a mixture with one of them fewer."""
        return not (self.expert.by_leaf or self.family.by_leaf)

    @property
    def kinked(self) -> bool:
        """Whether a gate or the expert has a derivative that jumps."""
        return self.expert.kinked() or any(gate.score.kinked() for gate in self.gates)

    def smoothed(self, radius: float) -> Mixture:
        """Return the mixture with every kink rounded off over `radius`."""
        gates = tuple(gate.smoothed(radius) for gate in self.gates)
        return replace(self, gates=gates, expert=cast(Expert, self.expert.smoothed(radius)))

    @property
    def normalised(self) -> bool:
        """Whether the leaf weights are a distribution, so that the mixture has a density."""
        return all(gate.link.normalised for gate in self.gates)


def _one_each(name: str, parts: tuple[T, ...], branching: tuple[int, ...]) -> tuple[T, ...]:
    """Return parts after comparing their number with the branches of the innermost level."""
    if len(parts) != branching[-1]:
        raise ValueError(
            f"{name} has {len(parts)} parts for branching {branching}: give {branching[-1]}, one per branch"
        )
    return parts


def require_density(mixture: Mixture) -> None:
    """Raise unless the leaf weights are a distribution, so that there is a density to evaluate and to draw from.

    Raises
    ------
    ValueError
        For a sigmoid link, and for a top-k link with one branch or with weights that are not renormalised.
    """
    for level, gate in enumerate(mixture.gates):
        if gate.link.normalised:
            continue
        jumps = "Keep two branches or more, renormalised: TopK(k=2)"
        smooth = "Use the gate 'normalised-sigmoid' for a likelihood, or the sigmoid gate in least-squares regression"
        raise ValueError(
            f"gate {level} has the link {type(gate.link).__name__}: its weights do not sum to one, so the mixture has "
            f"no density. {smooth if gate.link.smooth else jumps}"
        )


def require_continuity(mixture: Mixture) -> None:
    """Raise for a gate whose weights jump, such as top-k.

    Raises
    ------
    ValueError
        Naming the gate.
    """
    for level, gate in enumerate(mixture.gates):
        if not gate.link.smooth:
            raise ValueError(
                f"gate {level} has the link {type(gate.link).__name__}: the objective jumps where the kept branches "
                "change, so no optimum can be certified. Use the gate without top-k for estimation"
            )


def leaf_log_weights(mixture: Mixture, measure: Measure, gate_x: Tensor) -> Tensor:
    """Return the log weight of every leaf, ``(*B, L, n)``."""
    return path_log_weights(mixture.gates, measure.gates, gate_x)


def leaf_weights(mixture: Mixture, measure: Measure, gate_x: Tensor) -> Tensor:
    """Return the weight of every leaf, ``(*B, L, n)``; any link, normalised or not."""
    return path_weights(mixture.gates, measure.gates, gate_x)


def leaf_logits(mixture: Mixture, measure: Measure, gate_x: Tensor) -> Tensor:
    """Return ``log(w / (1 - w))`` of the weights w of the leaves, ``(*B, L, n)``; a single leaf has 1e3.

    Weights that do not sum to one are fractions each.
    """
    log_weights = leaf_log_weights(mixture, measure, gate_x)
    if not mixture.normalised:
        return log_weights - torch.log(-torch.expm1(log_weights))
    if mixture.n_leaves == 1:
        return 0.0 * log_weights + 1e3
    others = torch.eye(mixture.n_leaves, dtype=torch.bool)[..., None]
    return log_weights - torch.logsumexp(log_weights.unsqueeze(-3).masked_fill(others, -torch.inf), -2)


def leaf_predictors(mixture: Mixture, measure: Measure, x: Tensor, offset: Tensor | None = None) -> Tensor:
    """Return the predictor of every leaf, ``(*B, L, q, n)``: its expert, and the offset ``(q, n)`` of the rows."""
    eta = _leaves(mixture, mixture.expert(measure.experts, expand_nodes(x, mixture.depth)), 2)
    return eta if offset is None else eta + offset


def leaf_family(mixture: Mixture, measure: Measure) -> dict[str, Tensor]:
    """Return the family's parameters with the leaf dimensions flattened, ``(*B, L, *shape)``."""
    specs = mixture.family.parameters(1)  # the number of their dimensions is that of any number of outputs
    return {name: _leaves(mixture, value, len(specs[name].shape)) for name, value in measure.family.items()}


def _leaves(mixture: Mixture, value: Tensor, trailing: int) -> Tensor:
    return value.flatten(value.ndim - trailing - mixture.depth, value.ndim - trailing - 1)


def leaf_log_joint(mixture: Mixture, measure: Measure, x: Tensor, gate_x: Tensor, y: Tensor) -> Tensor:
    """Return log weight + log density of every leaf, ``(*B, L, n)``."""
    require_density(mixture)
    eta = leaf_predictors(mixture, measure, x)
    log_prob = mixture.family.log_prob(leaf_family(mixture, measure), y, eta)
    return leaf_log_weights(mixture, measure, gate_x) + log_prob


def log_density(mixture: Mixture, measure: Measure, x: Tensor, gate_x: Tensor, y: Tensor) -> Tensor:
    """Return ``log p_G(y | x)`` for every row, ``(*B, n)`` (2410.02935: the density p_G; any depth).

    Raises
    ------
    ValueError
        If the leaf weights do not sum to one (sigmoid; top-k without renormalisation).
    """
    return torch.logsumexp(leaf_log_joint(mixture, measure, x, gate_x, y), -2)


def responsibilities(mixture: Mixture, measure: Measure, x: Tensor, gate_x: Tensor, y: Tensor) -> Tensor:
    """Return the posterior probability of every leaf at every row, ``(*B, L, n)``."""
    require_density(mixture)
    eta, own = leaf_predictors(mixture, measure, x), leaf_family(mixture, measure)
    log_weights = leaf_log_weights(mixture, measure, gate_x)
    joint, nearer = (log_weights + mixture.family.log_prob(own, *pair) for pair in ((y, eta), shrunk(y, eta)))
    return posterior(log_weights, joint, nearer)


def shrunk(y: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
    """Return response and predictors in proportion, none of them beyond `FAR`."""
    size = torch.maximum(eta.abs().amax((-3, -2), keepdim=True), y.abs().amax(-2, keepdim=True))
    share = FAR / size.clamp_min(FAR)
    return share * y, share * eta


def posterior(log_weights: Tensor, joint: Tensor, nearer: Tensor) -> Tensor:
    """Return the posterior probability of every leaf, ``(*B, L, n)``, where no density of a row may exist in floats.

    There the densities at the row moved towards zero decide (`nearer`, see `shrunk`), and if these are all zero too
    only the weights of the gates.
    """
    for other in (nearer, log_weights):
        joint = torch.where(joint.amax(-2, keepdim=True) == -torch.inf, other, joint)
    return torch.softmax(joint, -2)


def leaf_means(mixture: Mixture, measure: Measure, x: Tensor, gate_x: Tensor, offset: Tensor | None = None) -> Tensor:
    """Return the mean of every leaf, ``(*B, L, q, n)``; the gate inputs are not looked at."""
    return mixture.family.mean(leaf_family(mixture, measure), leaf_predictors(mixture, measure, x, offset))


def regression(mixture: Mixture, measure: Measure, x: Tensor, gate_x: Tensor, offset: Tensor | None = None) -> Tensor:
    """Return ``f_G(x)``, the weighted sum of the leaf means, ``(*B, q, n)``; any link, normalised or not."""
    return mixed(leaf_weights(mixture, measure, gate_x), leaf_means(mixture, measure, x, gate_x, offset))


def mixed(weights: Tensor, values: Tensor) -> Tensor:
    """Return the sum ``(*B, q, n)`` of values ``(*B, L, q, n)`` over the leaves with weights ``(*B, L, n)``."""
    return (weights.unsqueeze(-2) * values).sum(-3)


def sample(
    mixture: Mixture,
    measure: Measure,
    x: Tensor,
    gate_x: Tensor,
    generator: torch.Generator,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw one response per row: y ``(q, n)`` and the leaf it came from ``(n,)``, for a measure without batch.

    A top-k gate can be drawn from, although no fit of it can be certified.
    """
    require_density(mixture)
    weights = leaf_log_weights(mixture, measure, gate_x).exp()
    leaf = torch.multinomial(weights.T, 1, generator=generator)[:, 0]
    eta = leaf_predictors(mixture, measure, x, offset)
    drawn = mixture.family.sample(leaf_family(mixture, measure), eta, generator)
    return drawn[leaf, :, torch.arange(len(leaf))].T, leaf
