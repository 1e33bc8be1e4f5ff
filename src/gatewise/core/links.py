"""Links: scores to log weights. Branches are on dimension -2, rows last: ``(*B, K, n) -> (*B, K, n)``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

LINEAR = 40.0  # below minus this, softplus(s) equals exp(s) in every precision


class Logits(NamedTuple):
    """Values whose softmax gives the weights, with elementwise derivatives in the score (None: identity)."""

    value: Tensor
    first: Tensor | None = None
    second: Tensor | None = None


@dataclass(frozen=True)
class Link(ABC):
    """A map from the scores of K branches to their weights. Scores are ``(*B, K, n)``, and so are the weights.

    Write a new link as a subclass with `log_weights`; `logits` or `slopes` are needed for maximum likelihood.

    Attributes
    ----------
    normalised : bool
        Whether the weights sum to one, so that a likelihood exists.
    smooth : bool
        Whether the weights are continuous in the scores; False for top-k.
    translation_invariant : bool
        Whether adding a constant to all scores leaves the weights unchanged.
    sparse : bool
        Whether weights may be exactly zero; layers leave out what such a branch would compute.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Link
    >>> class Cloglog(Link):
    ...     normalised = False
    ...     translation_invariant = False
    ...
    ...     def log_weights(self, scores):
    ...         return torch.log(-torch.expm1(-torch.exp(scores)))
    >>> print(Cloglog().weights(torch.tensor([[0.0], [1.0]])).numpy().round(3))
    [[0.632]
     [0.934]]
    """

    normalised = True
    smooth = True
    translation_invariant = True
    sparse = False

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
    """Softmax link: ``w_k = exp(s_k) / sum_j exp(s_j)``.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Softmax
    >>> print(Softmax().weights(torch.tensor([[0.0, 2.0], [0.0, 0.0]])).numpy().round(3))  # two branches, two rows
    [[0.5   0.881]
     [0.5   0.119]]
    """

    def log_weights(self, scores: Tensor) -> Tensor:
        return torch.log_softmax(scores, -2)

    def weights(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores, -2)

    def logits(self, scores: Tensor) -> Logits:
        return Logits(scores)


@dataclass(frozen=True)
class Sigmoid(Link):
    """Sigmoid link: ``w_k = 1 / (1 + exp(-s_k))`` for each branch separately (2405.13997).

    The weights do not sum to one, so there is no likelihood: use it for least squares or in neural layers.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Sigmoid
    >>> print(Sigmoid().weights(torch.tensor([[0.0, 2.0], [0.0, 0.0]])).numpy().round(3))  # two branches, two rows
    [[0.5   0.881]
     [0.5   0.5  ]]
    """

    normalised = False
    translation_invariant = False

    def log_weights(self, scores: Tensor) -> Tensor:
        return logsigmoid(scores)

    def weights(self, scores: Tensor) -> Tensor:
        return torch.sigmoid(scores)

    def slopes(self, scores: Tensor) -> Tensor:
        return torch.sigmoid(-scores)


@dataclass(frozen=True)
class SqrtSoftplus(Link):
    """Square root of the softplus: ``w_k = sqrt(log(1 + exp(s_k)))``, each branch separately, as DeepSeek-V4 has it.

    The weights do not sum to one and have no upper limit: use it for least squares or in neural layers.

    Examples
    --------
    >>> import torch
    >>> from gatewise import SqrtSoftplus
    >>> scores = torch.tensor([[0.0, 2.0], [0.0, -2.0]])  # two branches, two rows
    >>> print(SqrtSoftplus().weights(scores).numpy().round(3))
    [[0.833 1.458]
     [0.833 0.356]]
    """

    normalised = False
    translation_invariant = False

    def log_weights(self, scores: Tensor) -> Tensor:
        low = scores < -LINEAR  # softplus(s) is exp(s) there, and log of it s, which exp(s) = 0 cannot give
        return 0.5 * torch.where(low, scores, softplus(scores.clamp_min(-LINEAR)).log())

    def weights(self, scores: Tensor) -> Tensor:
        return softplus(scores).sqrt()

    def slopes(self, scores: Tensor) -> Tensor:
        low = scores < -LINEAR
        inside = scores.clamp_min(-LINEAR)
        return 0.5 * torch.where(low, torch.ones_like(scores), torch.sigmoid(inside) / softplus(inside))


@dataclass(frozen=True)
class ReLU(Link):
    """Rectified scores: ``w_k = max(s_k, 0)``, each branch separately (ReMoE, 2412.14711).

    The weights do not sum to one, and those of all branches may be zero: use it in neural layers.

    Examples
    --------
    >>> import torch
    >>> from gatewise import ReLU
    >>> ReLU().weights(torch.tensor([[0.5, 2.0], [1.0, -2.0]])).tolist()  # two branches, two rows
    [[0.5, 2.0], [1.0, 0.0]]
    """

    normalised = False
    translation_invariant = False
    sparse = True

    def log_weights(self, scores: Tensor) -> Tensor:
        zero = scores <= 0  # their derivative is zero, which the logarithm would turn into nan
        return torch.where(zero, -torch.inf, torch.where(zero, 1.0, scores).log())

    def weights(self, scores: Tensor) -> Tensor:
        return torch.relu(scores)

    def slopes(self, scores: Tensor) -> Tensor:
        zero = scores <= 0
        return torch.where(zero, 0.0, torch.where(zero, 1.0, scores).reciprocal())


@dataclass(frozen=True)
class NormalisedSigmoid(Link):
    """Normalised sigmoid link: ``w_k = sigmoid(s_k) / sum_j sigmoid(s_j)`` (2505.10860).

    Equivalent to a softmax of ``log sigmoid(s_k)``.

    Examples
    --------
    >>> import torch
    >>> from gatewise import NormalisedSigmoid
    >>> scores = torch.tensor([[0.0, 2.0], [0.0, 0.0]])  # two branches, two rows
    >>> print(NormalisedSigmoid().weights(scores).numpy().round(3))
    [[0.5   0.638]
     [0.5   0.362]]
    """

    translation_invariant = False

    def log_weights(self, scores: Tensor) -> Tensor:
        return torch.log_softmax(logsigmoid(scores), -2)

    def logits(self, scores: Tensor) -> Logits:
        down = torch.sigmoid(-scores)
        return Logits(logsigmoid(scores), down, -down * (1 - down))


@dataclass(frozen=True)
class TopK(Link):
    """Top-k link: apply a link to the k largest scores; the other weights are zero (2309.13850).

    Attributes
    ----------
    link : Link
        The link that is applied to the scores.
    k : int
        Number of branches to keep.
    renormalise : bool
        True: apply the link to the kept scores only, so the kept weights sum to one. With ``k = 1`` the weight of the
        full link is kept instead, because a single renormalised weight is always one and has no gradient. False: apply
        the link to all scores and set the weights of the other branches to zero.

    Examples
    --------
    >>> import torch
    >>> from gatewise import TopK
    >>> scores = torch.tensor([[2.0], [1.0], [0.0]])  # three branches, one row
    >>> print(TopK(k=2).weights(scores).numpy().round(3))
    [[0.731]
     [0.269]
     [0.   ]]
    >>> print(TopK(k=2, renormalise=False).weights(scores).numpy().round(3))
    [[0.665]
     [0.245]
     [0.   ]]
    """

    link: Link = Softmax()
    k: int = 2
    renormalise: bool = True
    smooth = False
    sparse = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"TopK got k={self.k}: keep at least one branch")

    @property
    def full(self) -> bool:
        """Whether the kept weights are those of the full link."""
        return self.k == 1 or not self.renormalise or not self.link.normalised

    @property
    def normalised(self) -> bool:  # type: ignore[override]
        """Whether the kept weights sum to one."""
        return not self.full

    def dropped(self, scores: Tensor) -> Tensor:
        """Return the mask of the branches that are left out, lowest index winning ties."""
        k = min(self.k, scores.shape[-2])
        if torch.onnx.is_in_onnx_export():  # which knows no stable sort; there the lowest index wins ties of topk
            kept = torch.topk(scores, k, dim=-2).indices
        else:
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
