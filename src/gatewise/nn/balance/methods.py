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
    """Shares of the branches inside every node in the last finished step: one ``(nodes, K)`` per level, rows sum to 1.

    Attributes
    ----------
    load : list of Tensor
        Of the assignments.
    importance : list of Tensor
        Of the weights before top-k.
    expected_load : list of Tensor
        Of the probabilities of being kept; the load, unless the method `reads_expected_load`.
    """

    load: list[Tensor]
    importance: list[Tensor]
    expected_load: list[Tensor]


class ShareSlopes(NamedTuple):
    """Derivatives of a loss in `ExpertShares`, each in the layout of the shares; None: the loss does not read them.

    The load itself has none, for assignments are no differentiable function of the router.
    """

    importance: list[Tensor] | None = None
    expected_load: list[Tensor] | None = None


@dataclass(frozen=True)
class BalanceMethod:
    """What keeps the experts of a layer in use: this base class does nothing, and a method overrides what it needs.

    Attributes
    ----------
    description : str
        What it does, as it stands in the table of docs/layers.md.
    reads_expected_load : bool
        Whether the loss has slopes in the expected load, which costs a normal integral per token and expert.
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
    settings: ClassVar[tuple[str, ...]] = ()

    def loss(self, shares: ExpertShares) -> ShareSlopes:
        """Return the derivatives of the auxiliary loss, the mean over the nodes of a level summed over levels."""
        return ShareSlopes()

    def offset_steps(self, load: list[Tensor]) -> list[Tensor] | None:
        """Return where the offsets of the choice move, in units of the rate, given the shares of load; None: nowhere.

        A share of load and the step of its offset have one shape, ``(nodes, K)``.
        """
        return None


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
    settings = ("weight",)

    def loss(self, shares: ExpertShares) -> ShareSlopes:
        return ShareSlopes([load.shape[-1] * load for load in shares.load])


@dataclass(frozen=True)
class SelectionBias(BalanceMethod):
    """No loss: offsets of the choice rise where the load is below its mean and fall where it is above (2408.15664)."""

    description = "no loss; a selection bias per expert, adjusted by `bias_rate` (2408.15664)"
    settings = ("rate",)

    def offset_steps(self, load: list[Tensor]) -> list[Tensor]:
        return [torch.sign(1 / share.shape[-1] - share) for share in load]


BALANCE_METHODS: dict[str, BalanceMethod] = {
    "importance+load": ImportanceAndLoad(),
    "importance": Importance(),
    "switch": Switch(),
    "bias": SelectionBias(),
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
