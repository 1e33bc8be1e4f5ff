"""Families: the law of y given a leaf's predictor. ``eta (*B, L, q, n)``, ``y (m, n)``; the dict FAMILIES.

A family's own parameters have one owner per leaf. `local` gives the log density with first and second derivatives in
the leaf's predictors: the q outputs, then the family's own parameters, entry by entry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import inf, log, pi
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gatewise.core.predictors import Frame, Parameter, Params, as_tuple


class LeafLocal(NamedTuple):
    """Log density of every leaf at every row with its derivatives in the leaf's t predictors.

    Attributes
    ----------
    value : Tensor (*B, L, n)
    first : Tensor (*B, L, t, n)
    second : Tensor (*B, L, t, t, n) or None when only first derivatives were asked for
    """

    value: Tensor
    first: Tensor
    second: Tensor | None


@dataclass(frozen=True)
class Family(ABC):
    """A law of the response: subclasses give parameters, log_prob, mean, variance and sample.

    Attributes
    ----------
    location_scale : bool
        True when y may be shifted and scaled, so that fits can work on a standardised response.
    closed_scale : bool
        True when EM updates `scale` in closed form from weighted residuals.
    discrete : bool
        True when y takes whole numbers from zero.
    """

    location_scale = False
    closed_scale = False
    discrete = False

    def outputs(self, columns: int) -> int:
        """Return the number q of predictors for a response with that many columns."""
        return columns

    def parameters(self, q: int) -> dict[str, Parameter]:
        """Return the family's own parameters of one leaf."""
        return {}

    @abstractmethod
    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the log density ``(*B, L, n)``."""

    @abstractmethod
    def mean(self, params: Params, eta: Tensor) -> Tensor:
        """Return the mean ``(*B, L, q, n)``."""

    @abstractmethod
    def variance(self, params: Params, eta: Tensor) -> Tensor:
        """Return the variance of each output ``(*B, L, q, n)``."""

    @abstractmethod
    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a response ``(*B, L, q, n)`` for every leaf."""

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the distribution function ``P(Y_j <= y_j)`` of every output, ``(*B, L, q, n)``.

        Raises
        ------
        NotImplementedError
            If the family does not say; quantiles and intervals need it.
        """
        raise NotImplementedError(f"{type(self).__name__} has no cdf, which quantiles and intervals need: define one")

    def local(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafLocal:
        """Return the log density with its derivatives in the predictors (automatic differentiation by default)."""
        return autograd_leaf_local(self, params, y, eta, order)

    def invalid(self, y: Tensor) -> str | None:
        """Return what is wrong with a response ``(m, n)`` for this family, or None."""
        return None

    def floored(self, floor: Tensor) -> tuple[Family, dict[str, tuple[Tensor, float]]]:
        """Return the family and the lower bounds that keep standard deviations above `floor` ``(q,)``."""
        return self, {}

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        """Return own parameters to start from, given residual standard deviations ``(*B, L, q)``."""
        return {}

    def link_start(self, y: Tensor) -> Tensor:
        """Return a working response ``(q, n)`` on the scale of the predictor, for starts."""
        return y

    def rescale_response(self, params: Params, frame: Frame) -> tuple[Family, dict[str, Tensor]]:
        """Return family and parameters for the response ``(y - shift) / scale``."""
        return self, dict(params)


def autograd_leaf_local(family: Family, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafLocal:
    """Differentiate a family's log density at every row; the oracle of the closed forms."""
    q, n = eta.shape[-2:]
    names = list(family.parameters(q))
    lead = eta.shape[:-2]
    own = [params[name].expand(lead + params[name].shape[len(lead) :]) for name in names]
    shapes = [p.shape[len(lead) :] for p in own]
    rows = torch.cat([p.reshape(lead + (-1,)) for p in own], -1) if own else eta.new_zeros(lead + (0,))
    stacked = torch.cat([eta, rows.unsqueeze(-1).expand(lead + (rows.shape[-1], n))], -2)
    z = stacked.movedim(-1, 0).detach().clone().requires_grad_(True)  # (n, *B, L, t)
    y_rows = y.movedim(-1, 0).reshape((n,) + (1,) * len(lead) + (y.shape[0], 1))
    with torch.enable_grad():
        pieces, at = {}, q
        for name, shape in zip(names, shapes, strict=True):
            size = shape.numel()
            pieces[name] = z[..., at : at + size].reshape(z.shape[:-1] + shape)
            at += size
        value = family.log_prob(pieces, y_rows, z[..., :q].unsqueeze(-1))[..., 0]
        (first,) = torch.autograd.grad(value.sum(), z, create_graph=order > 1)
        if order < 2:
            return LeafLocal(value.detach().movedim(0, -1), first.movedim(0, -1), None)
        second = [
            torch.autograd.grad(first[..., t].sum(), z, retain_graph=True, allow_unused=True)[0]
            for t in range(z.shape[-1])
        ]
    stack = torch.stack([torch.zeros_like(z) if s is None else s for s in second], -1)
    return LeafLocal(value.detach().movedim(0, -1), first.detach().movedim(0, -1), stack.detach().movedim(0, -1))


def _diagonal_blocks(pairs: Tensor, q: int) -> Tensor:
    """Place blocks of p predictors per output, ``(*B, L, p, p, q, n)``, into ``(*B, L, p q, p q, n)``."""
    p = pairs.shape[-3]
    if q == 1:
        return pairs[..., 0, :]
    spread = pairs.unsqueeze(-2) * torch.eye(q, dtype=pairs.dtype)[..., None]
    return spread.transpose(-4, -3).reshape(pairs.shape[:-4] + (p * q, p * q, pairs.shape[-1]))


@dataclass(frozen=True)
class Gaussian(Family):
    """``N(eta, scale^2)`` for each output, independent given the leaf; `scale` is the standard deviation."""

    location_scale = True
    closed_scale = True

    def parameters(self, q: int) -> dict[str, Parameter]:
        return {"scale": Parameter((q,), transform="log", bounds=(0.0, inf), initial=1.0)}

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        scale = params["scale"][..., None]
        z = (y - eta) / scale
        return (-0.5 * z * z - torch.log(scale) - 0.5 * log(2 * pi)).sum(-2)

    def local(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafLocal:
        inverse = 1.0 / params["scale"][..., None]
        z = (y - eta) * inverse
        square = z * z
        value = torch.sub(torch.log(inverse) - 0.5 * log(2 * pi), square, alpha=0.5).sum(-2)
        first = torch.cat([z * inverse, (square - 1) * inverse], -2)
        if order < 2:
            return LeafLocal(value, first, None)
        v = inverse * inverse
        mixed = z * (-2 * v)
        blocks = torch.stack([(-v).expand_as(z), mixed, mixed, torch.addcmul(v, square, v, value=-3)], -3)
        return LeafLocal(value, first, _diagonal_blocks(blocks.unflatten(-3, (2, 2)), eta.shape[-2]))

    def floored(self, floor: Tensor) -> tuple[Family, dict[str, tuple[Tensor, float]]]:
        return self, {"scale": (floor, inf)}

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        return {"scale": spread}

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return eta

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return (params["scale"] ** 2)[..., None].expand_as(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return torch.special.ndtr((y - eta) / params["scale"][..., None])

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(eta.shape, generator=generator, dtype=eta.dtype)
        return eta + params["scale"][..., None] * noise

    def rescale_response(self, params: Params, frame: Frame) -> tuple[Family, dict[str, Tensor]]:
        return self, {**params, "scale": params["scale"] / frame.scale}


@dataclass(frozen=True)
class FullGaussian(Family):
    """Multivariate ``N(eta, diag(floor)^2 + L L')`` with `cholesky` the rows of the lower triangle of L, packed.

    Attributes
    ----------
    floor : tuple of float, optional
        Standard deviation per output that the covariance never falls below; None: no floor.
    """

    floor: tuple[float, ...] | None = None
    location_scale = True

    def parameters(self, q: int) -> dict[str, Parameter]:
        kinds = tuple("log" if i == j else "identity" for i in range(q) for j in range(i + 1))
        return {"cholesky": Parameter((len(kinds),), transform=kinds, initial=1.0)}

    def factor(self, params: Params, q: int) -> Tensor:
        """Return L ``(*B, L, q, q)``."""
        packed = params["cholesky"]
        i, j = torch.tril_indices(q, q)
        lower = packed.new_zeros(packed.shape[:-1] + (q, q))
        lower[..., i, j] = packed
        return lower

    def covariance(self, params: Params, q: int) -> Tensor:
        """Return the covariance ``(*B, L, q, q)``."""
        lower = self.factor(params, q)
        product = lower @ lower.mT
        return product if self.floor is None else product + torch.diag(lower.new_tensor(self.floor) ** 2)

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        q = eta.shape[-2]
        # one Cholesky factor per leaf, then a triangular solve over the rows
        root, _ = torch.linalg.cholesky_ex(self.covariance(params, q))
        z = torch.linalg.solve_triangular(root, y - eta, upper=False)
        size = torch.log(root.diagonal(dim1=-2, dim2=-1)).sum(-1)[..., None]
        return -0.5 * (z * z).sum(-2) - size - 0.5 * q * log(2 * pi)

    def floored(self, floor: Tensor) -> tuple[Family, dict[str, tuple[Tensor, float]]]:
        q = len(floor)
        i, j = torch.tril_indices(q, q)
        lower = torch.where(i == j, 1e-3 * floor[i], -inf)
        return replace(self, floor=as_tuple(floor)), {"cholesky": (lower, inf)}

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        q = spread.shape[-1]
        i, j = torch.tril_indices(q, q)
        return {"cholesky": torch.where(i == j, spread[..., i], 0.0)}

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return eta

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        diagonal = self.covariance(params, eta.shape[-2]).diagonal(dim1=-2, dim2=-1)
        return diagonal[..., None].expand_as(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the marginal distribution function of every output."""
        return torch.special.ndtr((y - eta) / torch.sqrt(self.variance(params, eta)))

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        root = torch.linalg.cholesky(self.covariance(params, eta.shape[-2]))
        return eta + root @ torch.randn(eta.shape, generator=generator, dtype=eta.dtype)

    def rescale_response(self, params: Params, frame: Frame) -> tuple[Family, dict[str, Tensor]]:
        q = len(frame.scale)
        rows = frame.scale[torch.tril_indices(q, q)[0]]
        floor = None if self.floor is None else as_tuple(frame.scale.new_tensor(self.floor) / frame.scale)
        return replace(self, floor=floor), {**params, "cholesky": params["cholesky"] / rows}


@dataclass(frozen=True)
class StudentT(Family):
    """Student's t with location eta, `scale` and `dof` degrees of freedom; 1 / dof = 0 is the Gaussian."""

    location_scale = True

    def parameters(self, q: int) -> dict[str, Parameter]:
        return {
            "scale": Parameter((q,), transform="log", bounds=(0.0, inf), initial=1.0),
            "dof": Parameter((q,), transform="reciprocal", bounds=(1.0, 1e8), initial=8.0),
        }

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        scale, dof = params["scale"][..., None], params["dof"][..., None]
        z = (y - eta) / scale
        power = 0.5 * (dof + 1) * torch.log1p(z * z / dof)
        return (_half_gamma_ratio(0.5 * dof) - 0.5 * torch.log(pi * dof) - torch.log(scale) - power).sum(-2)

    def floored(self, floor: Tensor) -> tuple[Family, dict[str, tuple[Tensor, float]]]:
        return self, {"scale": (floor, inf)}

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        return {"scale": spread, "dof": torch.full_like(spread, 8.0)}

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        defined = params["dof"][..., None] > 1
        return torch.where(defined, eta, torch.nan)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        dof = params["dof"]
        factor = torch.where(dof > 2, dof / (dof - 2).clamp_min(1e-300), inf)
        return (params["scale"] ** 2 * factor)[..., None].expand_as(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return _student_cdf((y - eta) / params["scale"][..., None], params["dof"][..., None])

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        dof = params["dof"][..., None].expand_as(eta)
        normal = torch.randn(eta.shape, generator=generator, dtype=eta.dtype)
        chi2 = 2 * torch._standard_gamma(0.5 * dof, generator=generator)
        return eta + params["scale"][..., None] * normal * torch.sqrt(dof / chi2)

    def rescale_response(self, params: Params, frame: Frame) -> tuple[Family, dict[str, Tensor]]:
        return self, {**params, "scale": params["scale"] / frame.scale}


def _half_gamma_ratio(a: Tensor) -> Tensor:
    """Return ``log Gamma(a + 1/2) - log Gamma(a)``, by its asymptotic series where the difference cancels."""
    large = a > 100
    safe = torch.where(large, 1.0, a)
    far = torch.where(large, a, 100.0)
    series = 0.5 * torch.log(far) - 1 / (8 * far) + 1 / (192 * far**3) - 1 / (640 * far**5)
    return torch.where(large, series, torch.lgamma(safe + 0.5) - torch.lgamma(safe))


def _student_cdf(z: Tensor, dof: Tensor) -> Tensor:
    """Return the distribution function of Student's t.

    With ``a = dof / 2``, ``x = dof / (dof + z^2)`` and ``y = 1 - x`` the lower tail at -|z| is ``I_x(a, 1/2) / 2`` and
    also ``(1 - I_y(1/2, a)) / 2``. Both have power series of positive terms; that in the smaller of x and y is summed.
    """
    z, dof = torch.broadcast_tensors(z, dof)
    size = torch.where(dof > 200, z.abs().clamp(max=12.0), z.abs())  # beyond, the tail is below 1e-20
    a, square = 0.5 * dof, size * size
    x, y = 1.0 / (1.0 + square / dof), 1.0 / (1.0 + dof / square)
    far = x <= y
    log_factor = _half_gamma_ratio(a) - a * torch.log1p(square / dof) + 0.5 * torch.log(y)
    term = torch.exp(log_factor) / (pi**0.5 * torch.where(far, a, 0.5))
    base, ratio = torch.where(far, a + 1.0, 1.5), torch.where(far, x, y)
    total = term.clone()
    for n in range(600):
        term = term * ratio * (a + 0.5 + n) / (base + n)
        total = total + term
        if n % 16 == 15 and bool((term <= 1e-17 * total).all()):
            break
    tail = 0.5 * torch.where(far, total, 1.0 - total)
    return torch.where(z > 0, 1.0 - tail, tail)


@dataclass(frozen=True)
class Poisson(Family):
    """Poisson counts with log link: mean ``exp(eta)``, outputs independent given the leaf."""

    discrete = True

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        return (y * eta - torch.exp(eta) - torch.lgamma(y + 1)).sum(-2)

    def local(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafLocal:
        mean = torch.exp(eta)
        value = (y * eta - mean - torch.lgamma(y + 1)).sum(-2)
        return LeafLocal(value, y - mean, _diagonal_blocks(-mean[..., None, None, :, :], eta.shape[-2]))

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        return torch.exp(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return torch.exp(eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        below = torch.special.gammaincc(torch.floor(y).clamp_min(0.0) + 1.0, torch.exp(eta))
        return torch.where(y < 0, 0.0, below)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        return torch.poisson(torch.exp(eta), generator=generator)

    def invalid(self, y: Tensor) -> str | None:
        return _count_fault(y, "Poisson")

    def link_start(self, y: Tensor) -> Tensor:
        return torch.log(y + 0.5)


@dataclass(frozen=True)
class Binomial(Family):
    """Binomial counts with logit link.

    Attributes
    ----------
    trials : int or None
        Number of trials of every row (1: Bernoulli). None: the response has two columns, successes and failures.
    """

    trials: int | None = 1
    discrete = True

    def outputs(self, columns: int) -> int:
        return columns if self.trials is not None else columns // 2

    def _counts(self, y: Tensor) -> tuple[Tensor, Tensor | float]:
        if self.trials is not None:
            return y, float(self.trials)
        half = y.shape[-2] // 2
        return y[..., :half, :], y[..., :half, :] + y[..., half:, :]

    def log_prob(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        hits, trials = self._counts(y)
        return (hits * eta - trials * softplus(eta) + _log_choose(trials, hits)).sum(-2)

    def local(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafLocal:
        hits, trials = self._counts(y)
        p = torch.sigmoid(eta)
        bend = -trials * p * torch.sigmoid(-eta)
        second = _diagonal_blocks(bend[..., None, None, :, :], eta.shape[-2])
        return LeafLocal(self.log_prob(params, y, eta), hits - trials * p, second)

    def mean(self, params: Params, eta: Tensor) -> Tensor:
        """Return the mean count; the probability when the number of trials differs by row."""
        return (self.trials or 1) * torch.sigmoid(eta)

    def variance(self, params: Params, eta: Tensor) -> Tensor:
        return (self.trials or 1) * torch.sigmoid(eta) * torch.sigmoid(-eta)

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the sum of the probabilities of 0, ..., y successes; needs a fixed number of trials."""
        if self.trials is None:
            raise NotImplementedError(
                "Binomial(trials=None) has no cdf: the number of trials of a new row is not known"
            )
        count = torch.arange(self.trials + 1, dtype=eta.dtype)
        choose = _log_choose(float(self.trials), count)
        total = torch.zeros(torch.broadcast_shapes(y.shape, eta.shape), dtype=eta.dtype)
        for j, log_ways in zip(range(self.trials + 1), choose, strict=True):
            chance = torch.exp(log_ways + j * eta - self.trials * softplus(eta))
            total = total + torch.where(y >= j, chance, 0.0)
        return total.clamp(max=1.0)

    def sample(self, params: Params, eta: Tensor, generator: torch.Generator) -> Tensor:
        """Draw counts; without a number of trials, one trial in rows of successes and failures ``(*B, L, 2 q, n)``."""
        count = torch.full_like(eta, float(self.trials or 1))
        hits = torch.binomial(count, torch.sigmoid(eta), generator=generator)
        return hits if self.trials is not None else torch.cat([hits, count - hits], -2)

    def invalid(self, y: Tensor) -> str | None:
        fault = _count_fault(y, "Binomial")
        if fault or self.trials is None:
            odd = self.trials is None and y.shape[-2] % 2
            return fault or ("an odd number of columns: give successes, then failures" if odd else None)
        if bool((y > self.trials).any()):
            return f"a value of {float(y.max()):g}, above trials={self.trials}"
        return None

    def link_start(self, y: Tensor) -> Tensor:
        hits, trials = self._counts(y)
        return torch.log((hits + 0.5) / (trials - hits + 0.5))


def _log_choose(trials: Tensor | float, hits: Tensor) -> Tensor:
    total = torch.as_tensor(trials, dtype=hits.dtype)
    return torch.lgamma(total + 1) - torch.lgamma(hits + 1) - torch.lgamma(total - hits + 1)


def _count_fault(y: Tensor, family: str) -> str | None:
    if bool((y < 0).any()):
        return f"a negative value ({float(y.min()):g}): {family} counts start at 0"
    if bool((y != y.round()).any()):
        first = float(y[y != y.round()][0])
        return f"a value that is not whole ({first:g}): {family} needs counts"
    return None


FAMILIES: dict[str, Family] = {
    "gaussian": Gaussian(),
    "full-gaussian": FullGaussian(),
    "student-t": StudentT(),
    "poisson": Poisson(),
    "binomial": Binomial(),
}


def family(choice: str | Family) -> Family:
    """Return the family called `choice`, or the family itself.

    Raises
    ------
    ValueError
        If no family has that name.
    TypeError
        If `choice` is neither a name nor a Family.
    """
    if isinstance(choice, Family):
        return choice
    if not isinstance(choice, str):
        raise TypeError(f"family={choice!r} is a {type(choice).__name__}: give a name of FAMILIES or a Family")
    if choice not in FAMILIES:
        raise ValueError(f"family {choice!r} is unknown: the names are {', '.join(FAMILIES)}")
    return FAMILIES[choice]
