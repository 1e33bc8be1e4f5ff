"""Methods that keep the experts of a layer in use, and the dict BALANCE_METHODS of their names.

A method is a loss of the shares of the experts, steps of the offsets of their choice, or neither. A new one is one
class below and one line of the dict; ``MoE(..., balance=MyMethod())`` takes one that has no name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from gatewise.core.names import name_of, require_one_of
from gatewise.nn.balance.shares import cv_slopes


class ExpertShares(NamedTuple):
    """Shares of the branches inside every node in a finished step: one ``(nodes, K)`` per level, rows sum to 1.

    For methods `of_sequences` those of B sequences of this call, ``(B, nodes, K)``.

    Attributes
    ----------
    load : list of Tensor
        Of the assignments.
    importance : list of Tensor
        Of the weights before top-k.
    expected_load : list of Tensor
        Of the probabilities of being kept; the load, unless the method `reads_expected_load`.
    experts : Tensor ()
        Mean number of experts of a token.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import ExpertShares
    >>> even = [torch.full((1, 4), 0.25)]  # one node with four branches
    >>> shares = ExpertShares(even, even, even)
    >>> shares.load[0].sum(-1).tolist()
    [1.0]
    """

    load: list[Tensor]
    importance: list[Tensor]
    expected_load: list[Tensor]
    experts: Tensor = torch.tensor(1.0)


class ShareSlopes(NamedTuple):
    """Derivatives of a loss in `ExpertShares`, each in the layout of the shares; None: the loss does not read them.

    The load itself has none, for assignments are no differentiable function of the router.

    Attributes
    ----------
    importance, expected_load : list of Tensor or None
        In the layout of the shares, ``(nodes, K)`` per level.
    weights : Tensor (L,) or None
        In the mean weight of every leaf over tokens: as the gate computes it, not divided by a sum.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import ShareSlopes
    >>> ShareSlopes(importance=[torch.zeros(1, 4)]).expected_load is None
    True
    """

    importance: list[Tensor] | None = None
    expected_load: list[Tensor] | None = None
    weights: Tensor | None = None


@dataclass(frozen=True)
class BalanceMethod:
    """What keeps the experts of a layer in use: this base class does nothing, and a method overrides what it needs.

    Attributes
    ----------
    description : str
        What it does, as it stands in the table of docs/guide/engineer/balancing.md.
    reads_expected_load : bool
        Whether the loss has slopes in the expected load, which costs a normal integral per token and expert.
    of_sequences : bool
        Whether the shares, and so the loss, are those of every sequence by itself; a sequence is what stands along the
        last but one dimension of a layer's input.
    adapts : bool
        Whether the factor of the loss changes from step to step, by `next_factor`.
    settings : tuple of str
        The numbers of the `Balancer` that the method reads: "weight" of a loss, "rate" of offsets.

    Examples
    --------
    >>> shares = [torch.tensor([[0.5, 0.25, 0.25]])]
    >>> Switch().loss(ExpertShares(shares, shares, shares)).importance
    [tensor([[1.5000, 0.7500, 0.7500]])]
    """

    description: ClassVar[str] = "no balancing"
    reads_expected_load: ClassVar[bool] = False
    of_sequences: ClassVar[bool] = False
    adapts: ClassVar[bool] = False
    settings: ClassVar[tuple[str, ...]] = ()

    def loss(self, shares: ExpertShares) -> ShareSlopes:
        """Return the derivatives of the auxiliary loss, the mean over the nodes of a level summed over levels."""
        return ShareSlopes()

    def offset_steps(self, load: list[Tensor]) -> list[Tensor] | None:
        """Return where the offsets of the choice move, in units of the rate, given the shares of load; None: nowhere.

        A share of load and the step of its offset have one shape, ``(nodes, K)``.
        """
        return None

    def first_factor(self) -> float:
        """Return the factor of the loss in the first step, of methods that adapt it."""
        return 1.0

    def next_factor(self, factor: Tensor, experts: Tensor) -> Tensor:
        """Return the factor of the loss after a step in which tokens had so many `experts` on average."""
        return factor


@dataclass(frozen=True)
class Importance(BalanceMethod):
    """``CV^2(importance)``, which lets the choice be uneven while the weights are even (1701.06538, equation 7)."""

    description = "lowers the squared coefficient of variation of the weights (1701.06538)"
    settings = ("weight",)

    def loss(self, shares: ExpertShares) -> ShareSlopes:
        return ShareSlopes(cv_slopes(shares.importance))


@dataclass(frozen=True)
class ImportanceAndLoad(BalanceMethod):
    """``CV^2(importance) + CV^2(load)``, the load by `kept_probability` (1701.06538, equation 11; 2402.03226)."""

    description = "lowers those of the weights and of the load (1701.06538)"
    reads_expected_load = True
    settings = ("weight",)

    def loss(self, shares: ExpertShares) -> ShareSlopes:
        return ShareSlopes(cv_slopes(shares.importance), cv_slopes(shares.expected_load))


@dataclass(frozen=True)
class Switch(BalanceMethod):
    """``K sum_j f_j P_j`` of the shares f of load and P of importance (2101.03961, equation 4)."""

    description = "lowers the loss of the Switch Transformer (2101.03961)"
    settings: ClassVar[tuple[str, ...]] = ("weight",)

    def loss(self, shares: ExpertShares) -> ShareSlopes:
        return ShareSlopes([load.shape[-1] * load for load in shares.load])


@dataclass(frozen=True)
class SelectionBias(BalanceMethod):
    """No loss: offsets of the choice rise where the load is below its mean and fall where it is above (2408.15664)."""

    description = "no loss; a selection bias per expert, adjusted by `bias_rate` (2408.15664)"
    settings = ("rate",)

    def offset_steps(self, load: list[Tensor]) -> list[Tensor]:
        return [torch.sign(1 / share.shape[-1] - share) for share in load]


@dataclass(frozen=True)
class SequenceWise(Switch):
    """The Switch loss of every sequence by itself, averaged over tokens (2412.19437, equations 17 to 20).

    With f the shares of a sequence's assignments, times their number L, and P its mean normalised weights,
    ``sum_i f_i P_i``. The paper's factor is 1e-4. Its f counts the largest weights; this one the experts that serve,
    which offsets of the choice move.
    """

    description = "lowers the loss of the Switch Transformer in every sequence (DeepSeek-V3, 2412.19437)"
    of_sequences = True


@dataclass(frozen=True)
class SelectionBiasAndSequence(SequenceWise):
    """The offsets of `SelectionBias` and the loss of `SequenceWise`, as DeepSeek-V3 has both (2412.19437)."""

    description = "both of the lines above, as DeepSeek-V3 has them (2412.19437)"
    settings: ClassVar[tuple[str, ...]] = ("weight", "rate")

    def offset_steps(self, load: list[Tensor]) -> list[Tensor]:
        return SelectionBias().offset_steps(load)


@dataclass(frozen=True)
class Sparsity(BalanceMethod):
    """An L1 loss of the weights whose factor steers the number of experts per token, for `ReLU` gates (2412.14711).

    ``factor / T sum_te f_e w_te`` with ``f_e = L / (experts T) sum_t [w_te > 0]``, so that busy experts pay more. After
    every step the factor is multiplied by `growth` where tokens had more than `experts` experts on average, else
    divided by it. Every layer keeps its own factor, whereas the paper has one for the layers of a model together.

    Attributes
    ----------
    experts : float
        The mean number of experts per token to aim at.
    start, growth : float
        The factor in the first step; by what it changes.

    Examples
    --------
    >>> from gatewise import Affine, Gate, ReLU
    >>> from gatewise.nn import MoE, Sparsity
    >>> MoE(8, 16, 4, Gate(Affine(), ReLU()), top_k=None, normalise="before", balance=Sparsity(2)).balancer
    Balancer(sparsity)
    """

    description = "an L1 loss of the weights that leaves a token two experts on average (ReMoE, 2412.14711)"
    adapts = True
    experts: float = 2.0
    start: float = 1e-8
    growth: float = 1.2

    def __post_init__(self) -> None:
        if not (self.experts > 0 and self.start > 0 and self.growth > 1):
            raise ValueError(f"{self}: give positive numbers, and a growth above one")

    def loss(self, shares: ExpertShares) -> ShareSlopes:
        leaves = torch.ones(1, 1, device=shares.experts.device)
        for level in shares.load:
            leaves = (leaves.reshape(-1, 1) * level).reshape(1, -1)
        return ShareSlopes(weights=leaves[0] * leaves.numel() * shares.experts / self.experts)

    def first_factor(self) -> float:
        return self.start

    def next_factor(self, factor: Tensor, experts: Tensor) -> Tensor:
        return factor * self.growth ** torch.sign(experts - self.experts)


BALANCE_METHODS: dict[str, BalanceMethod] = {
    "importance+load": ImportanceAndLoad(),
    "importance": Importance(),
    "switch": Switch(),
    "bias": SelectionBias(),
    "sequence": SequenceWise(),
    "bias+sequence": SelectionBiasAndSequence(),
    "sparsity": Sparsity(),
    "none": BalanceMethod(),
}


def method_name(method: BalanceMethod) -> str | None:
    """Return the name of a method in BALANCE_METHODS, or None."""
    return name_of(method, BALANCE_METHODS)


def balance_method(choice: str | BalanceMethod) -> BalanceMethod:
    """Return the method called `choice`, or the method itself.

    Raises
    ------
    ValueError
        If no method has that name.
    """
    if isinstance(choice, BalanceMethod):
        return choice
    require_one_of("balance", choice, BALANCE_METHODS)
    return BALANCE_METHODS[choice]
