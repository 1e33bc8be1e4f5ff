"""Families of classes: Categorical for classes without an order, OrderedLogit for classes with one."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from numbers import Integral

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from gatewise.core.families.base import Family, LeafDerivatives
from gatewise.core.families.counts import Binomial, count_fault
from gatewise.core.parameters import Parameter
from gatewise.core.predictors import Params


@dataclass(frozen=True)
class Categorical(Family):
    """Categorical family: one class of several in every row, by a multinomial logit.

    A response has one column per class, 1 in that of its class and 0 elsewhere. The first class is the reference: each
    of the other q classes has a predictor, the log odds of it against the first, so ``P(class 0) = 1 / (1 + sum_j
    exp(eta_j))`` and ``P(class j) = exp(eta_j) P(class 0)`` (McFadden 1974). Means, predictions and distribution
    functions are those of the columns after the first; `probabilities` gives all of them.

    Examples
    --------
    >>> y = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    >>> round(float(Categorical().log_prob({}, y, torch.zeros(1, 2, 1, dtype=torch.float64)).exp()), 12)
    0.333333333333
    """

    discrete = True
    mean_range = (0.0, 1.0)

    def outputs(self, columns: int) -> int:
        return columns - 1

    def columns(self, outputs: int) -> int:
        return outputs + 1

    def support(self, outputs: int) -> Tensor:
        return torch.eye(outputs + 1, dtype=torch.float64)

    def observed(self, y: Tensor) -> Tensor:
        """Return the columns of all classes but the first."""
        return y[..., 1:, :]

    def log_probabilities(self, eta: Tensor) -> Tensor:
        """Return the log probability of every class, the first included, ``(*B, L, q + 1, n)``."""
        return torch.log_softmax(torch.cat([torch.zeros_like(eta[..., :1, :]), eta], -2), -2)

    def probabilities(self, eta: Tensor) -> Tensor:
        """Return the probability of every class, the first included, ``(*B, L, q + 1, n)``."""
        return self.log_probabilities(eta).exp()

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        found = self.log_probabilities(eta)
        return torch.where(y > 0, found, 0.0).sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        p = self.mean(params, eta)
        value, first = self.log_prob(params, y, eta), self.observed(y) - p
        if order < 2:
            return LeafDerivatives(value, first, None)
        second = p.unsqueeze(-2) * p.unsqueeze(-3)
        second = second - p.unsqueeze(-2) * torch.eye(p.shape[-2], dtype=p.dtype)[..., None]
        return LeafDerivatives(value, first, second)

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        """Return the probabilities of all classes but the first."""
        return self.probabilities(eta)[..., 1:, :]

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        p = self.mean(params, eta)
        return p * (1 - p)

    def marginal(self) -> Binomial:
        return Binomial()

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the distribution function of every column after the first, which is 0 or 1."""
        p = self.mean(params, eta)
        return torch.where(y >= 1, 1.0, torch.where(y >= 0, 1 - p, 0.0))

    def cdf_ends(self, params: Params, y: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError(
            "Categorical has classes without an order, so that none is below another: use the residuals of another "
            "kind, or family='ordered'"
        )

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a class for every leaf, in columns ``(*B, L, q + 1, n)``."""
        p = self.probabilities(eta)
        place = torch.rand(eta[..., :1, :].shape, generator=generator, dtype=eta.dtype)
        chosen = (place >= p.cumsum(-2)[..., :-1, :]).sum(-2, keepdim=True)
        return torch.zeros_like(p).scatter(-2, chosen, 1.0)

    def validate(self, y: Tensor) -> str | None:
        columns = y.shape[-2]
        how = "give one column per class, 1 in that of the row's class and 0 elsewhere (pandas.get_dummies makes them)"
        if columns < 2:
            return f"one column: {how}"
        wrong = ((y != 0) & (y != 1)).any(-2) | (y.sum(-2) != 1)
        if not bool(wrong.any()):
            return None
        return f"the row {[round(v, 6) for v in y[..., wrong][:, 0].tolist()]}: {how}"

    def working_response(self, y: Tensor) -> Tensor:
        return torch.log((y[..., 1:, :] + 0.5) / (y[..., :1, :] + 0.5))


@dataclass(frozen=True)
class OrderedLogit(Family):
    """Ordered logit family (proportional odds): classes 0, 1, ..., ``levels - 1``, outputs independent given the leaf.

    ``P(Y <= k) = 1 / (1 + exp(eta - c_k))`` with cutpoints ``c_0 = 0 < c_1 < ...`` (McCullagh 1980). The parameter
    `gap` holds the positive differences ``c_k - c_(k-1)``; the first cutpoint is 0, because the predictor has an
    intercept. The mean is that of the class numbers.

    Attributes
    ----------
    levels : int
        The number of classes, from 2.

    Raises
    ------
    TypeError, ValueError
        If `levels` is not an integer from 2.

    Examples
    --------
    >>> law, params = OrderedLogit(), {"gap": torch.ones(1, 1, 1, dtype=torch.float64)}
    >>> y, eta = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, dtype=torch.float64)
    >>> round(float(law.log_prob(params, y, eta).exp()), 12)
    0.5
    """

    levels: int = 3
    discrete = True

    def __post_init__(self) -> None:
        words = f"levels={self.levels!r}: give the number of ordered classes of y, a whole number from 2"
        if isinstance(self.levels, bool) or not isinstance(self.levels, Integral):
            raise TypeError(words)
        if self.levels < 2:
            raise ValueError(words)
        object.__setattr__(self, "levels", int(self.levels))

    @property
    def mean_range(self) -> tuple[float, float]:  # type: ignore[override]
        """From the first class to the last."""
        return 0.0, float(self.levels - 1)

    def parameters(self, q: int) -> dict[str, Parameter]:
        if self.levels == 2:
            return {}
        near = "two cutpoints would be equal, and no row in the class between them"
        gap = Parameter((q, self.levels - 2), "shape", "branch", "log", (1e-6, inf), initial=1.0, at_least=near)
        return {"gap": gap}

    def support(self, outputs: int) -> Tensor | None:
        return torch.arange(self.levels, dtype=torch.float64)[None] if outputs == 1 else None

    def _cutpoints(self, params: Params, eta: Tensor) -> Tensor:
        """Return the cutpoints ``(*B, L, q, levels - 1)``."""
        first = eta.new_zeros((*eta.shape[:-1], 1))
        if self.levels == 2:
            return first
        return torch.cat([first, params["gap"].cumsum(-1).expand((*eta.shape[:-1], self.levels - 2))], -1)

    def _ends(self, params: Params, y: Tensor, eta: Tensor) -> tuple[Tensor, ...]:
        """Return masks of rows with a cutpoint above and below, and the predictor from both, ``(*B, L, q, n)``."""
        cuts = self._cutpoints(params, eta)
        index = y.long().expand(eta.shape)
        above, below = index < self.levels - 1, index > 0
        upper = cuts.gather(-1, index.clamp(max=self.levels - 2)) - eta
        lower = cuts.gather(-1, (index - 1).clamp_min(0)) - eta
        return above, below, upper, lower

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        above, below, upper, lower = self._ends(params, y, eta)
        found = torch.where(above, logsigmoid(upper), 0.0) + torch.where(below, logsigmoid(-lower), 0.0)
        if self.levels > 2:
            between = above & below
            index = (y.long().expand(eta.shape) - 1).clamp(0, self.levels - 3)
            gap = params["gap"].expand((*eta.shape[:-1], self.levels - 2)).gather(-1, index)
            found = found + torch.where(between, torch.log(-torch.expm1(-torch.where(between, gap, 1.0))), 0.0)
        return found.sum(-2)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        above, below, upper, lower = self._ends(params, y, eta)
        over, under = above * torch.sigmoid(-upper), below * torch.sigmoid(lower)  # slopes in the upper, lower cutpoint
        index = y.expand(eta.shape).unsqueeze(-2)
        number = torch.arange(1.0, self.levels - 1, dtype=eta.dtype)[:, None]
        up, down = (index >= number).to(eta.dtype), (index - 1 >= number).to(eta.dtype)  # (*B, L, q, levels - 2, n)
        here = up - down
        gap = params["gap"].unsqueeze(-1) if self.levels > 2 else eta.new_zeros((*eta.shape[:-1], 0, 1))
        own = up * over.unsqueeze(-2) - down * under.unsqueeze(-2) + here / torch.expm1(gap)
        value, first = self.log_prob(params, y, eta), torch.cat([under - over, own.flatten(-3, -2)], -2)
        if order < 2:
            return LeafDerivatives(value, first, None)
        bend, curve = over * torch.sigmoid(upper), under * torch.sigmoid(-lower)
        mixed = up * bend.unsqueeze(-2) + down * curve.unsqueeze(-2)
        each = -(up.unsqueeze(-2) * up.unsqueeze(-3) * bend[..., None, None, :])
        each = each - down.unsqueeze(-2) * down.unsqueeze(-3) * curve[..., None, None, :]
        square = torch.eye(self.levels - 2, dtype=eta.dtype)[..., None]
        each = each - square * (here / (4 * torch.sinh(0.5 * gap) ** 2)).unsqueeze(-2)
        return LeafDerivatives(value, first, _by_output(-(bend + curve), mixed, each))

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return self._exceed(params, eta).sum(-2)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        exceed = self._exceed(params, eta)
        weight = 2 * torch.arange(self.levels - 1, dtype=eta.dtype)[:, None] + 1
        return ((weight * exceed).sum(-2) - exceed.sum(-2) ** 2).clamp_min(0.0)

    def _exceed(self, params: Params, eta: Tensor) -> Tensor:
        """Return ``P(Y > k)`` for every cutpoint, ``(*B, L, q, levels - 1, n)``."""
        return torch.sigmoid(eta.unsqueeze(-2) - self._cutpoints(params, eta).unsqueeze(-1))

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        exceed = self._exceed(params, eta)
        shape = torch.broadcast_shapes(y.shape, eta.shape)
        index = torch.floor(y).clamp(0, self.levels - 2).long().expand(shape).unsqueeze(-2)
        below = 1 - exceed.expand((*shape[:-1], *exceed.shape[-2:])).gather(-2, index).squeeze(-2)
        return torch.where(y < 0, 0.0, torch.where(y >= self.levels - 1, 1.0, below))

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        place = torch.rand(eta.shape, generator=generator, dtype=eta.dtype)
        return (place.unsqueeze(-2) < self._exceed(params, eta)).sum(-2).to(eta.dtype)

    def validate(self, y: Tensor) -> str | None:
        fault = count_fault(y, "OrderedLogit")
        if fault or not bool((y > self.levels - 1).any()):
            return fault
        most = float(y.max())
        return (
            f"a value of {most:g}, above the last of {self.levels} classes 0, ..., {self.levels - 1}: number the "
            f"classes from 0, and give their number, such as OrderedLogit(levels={most + 1:.0f})"
        )

    def working_response(self, y: Tensor) -> Tensor:
        return torch.log((y + 0.5) / (self.levels - 0.5 - y))


def _by_output(eta: Tensor, mixed: Tensor, own: Tensor) -> Tensor:
    """Place second derivatives in every output and its m own parameters into ``(*B, L, q + q m, q + q m, n)``."""
    q, m, n = mixed.shape[-3:]
    out = eta.new_zeros((*eta.shape[:-2], q * (m + 1), q * (m + 1), n))
    for k in range(q):
        place = slice(q + k * m, q + (k + 1) * m)
        out[..., k, k, :] = eta[..., k, :]
        out[..., k, place, :] = out[..., place, k, :] = mixed[..., k, :, :]
        out[..., place, place, :] = own[..., k, :, :, :]
    return out
