"""Links: scores to log weights. Branches are on dimension -2, rows last: ``(*B, K, n) -> (*B, K, n)``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class Logits(NamedTuple):
    """Values whose softmax gives the weights, with elementwise derivatives in the score (None: identity)."""

    value: Tensor
    first: Tensor | None = None
    second: Tensor | None = None


@dataclass(frozen=True)
class Link(ABC):
    """A map from scores to branch weights.

    Attributes of every link: `normalised` (weights sum to one), `smooth` (weights have no jumps), and
    `translation_invariant` (a common shift of all scores changes nothing).
    """

    normalised = True
    smooth = True
    translation_invariant = True

    @abstractmethod
    def log_weights(self, scores: Tensor) -> Tensor:
        """Return the log weights of the branches."""

    def weights(self, scores: Tensor) -> Tensor:
        """Return the weights of the branches."""
        return self.log_weights(scores).exp()

    def logits(self, scores: Tensor) -> Logits:
        """Return logits whose softmax gives the weights.

        Raises
        ------
        TypeError
            If the weights are not normalised.
        """
        raise TypeError(f"{type(self).__name__} weights are not a softmax of logits")

    def slopes(self, scores: Tensor) -> Tensor:
        """Return ``d log weight / d score`` where each branch has a weight of its own.

        Raises
        ------
        TypeError
            If the weight of a branch depends on the other scores.
        """
        raise TypeError(f"{type(self).__name__} weights depend on all scores of a node")


@dataclass(frozen=True)
class Softmax(Link):
    """``exp(s_k) / sum_j exp(s_j)``."""

    def log_weights(self, scores: Tensor) -> Tensor:
        return torch.log_softmax(scores, -2)

    def weights(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores, -2)

    def logits(self, scores: Tensor) -> Logits:
        return Logits(scores)


@dataclass(frozen=True)
class Sigmoid(Link):
    """``1 / (1 + exp(-s_k))`` for each branch alone: not a distribution, for regression only (2405.13997)."""

    normalised = False
    translation_invariant = False

    def log_weights(self, scores: Tensor) -> Tensor:
        return logsigmoid(scores)

    def weights(self, scores: Tensor) -> Tensor:
        return torch.sigmoid(scores)

    def slopes(self, scores: Tensor) -> Tensor:
        return torch.sigmoid(-scores)


@dataclass(frozen=True)
class NormalisedSigmoid(Link):
    """``sigmoid(s_k) / sum_j sigmoid(s_j)`` (2505.10860): a softmax of log sigmoid."""

    translation_invariant = False

    def log_weights(self, scores: Tensor) -> Tensor:
        return torch.log_softmax(logsigmoid(scores), -2)

    def logits(self, scores: Tensor) -> Logits:
        down = torch.sigmoid(-scores)
        return Logits(logsigmoid(scores), down, -down * (1 - down))


@dataclass(frozen=True)
class TopK(Link):
    """Keep the k largest scores of each row (2309.13850); weights of the others are zero.

    Attributes
    ----------
    link : Link
        The link applied to the scores.
    k : int
        How many branches stay.
    renormalise : bool
        True: the kept weights are the link of the kept scores alone; with k = 1 the full weight is kept instead,
        since a renormalised single weight is one and gives the gate no gradient. False: the full weights are masked.
    """

    link: Link = Softmax()
    k: int = 2
    renormalise: bool = True
    smooth = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"TopK got k={self.k}: keep at least one branch")

    @property
    def full(self) -> bool:
        """Whether the kept weights are those of the full link."""
        return self.k == 1 or not self.renormalise or not self.link.normalised

    def dropped(self, scores: Tensor) -> Tensor:
        """Return the mask of the branches that are left out, lowest index winning ties."""
        k = min(self.k, scores.shape[-2])
        kept = torch.sort(scores, dim=-2, descending=True, stable=True).indices[..., :k, :]
        return torch.ones_like(scores, dtype=torch.bool).scatter(-2, kept, False)

    def log_weights(self, scores: Tensor) -> Tensor:
        dropped = self.dropped(scores)
        if self.full:
            return self.link.log_weights(scores).masked_fill(dropped, -torch.inf)
        return self.link.log_weights(scores.masked_fill(dropped, -torch.inf))

    def weights(self, scores: Tensor) -> Tensor:
        dropped = self.dropped(scores)
        if self.full:
            return self.link.weights(scores).masked_fill(dropped, 0.0)
        return self.link.weights(scores.masked_fill(dropped, -torch.inf))
