"""What every family is: a law of the response given a leaf's predictor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.parameters import Parameter, named_by_role
from gatewise.core.predictors import AffineTransform, Params


class LeafDerivatives(NamedTuple):
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


SummedSecond = Callable[[Tensor, Tensor], Tensor]
"""``(weight (*B, L, n), jacobian (*B, L, q or 1, C, n)) -> (*B, L, q C + t - q, q C + t - q)``: the weighted sum over
the rows of second derivatives in a leaf's t predictors, the outputs carried to their C columns by the Jacobian.
"""


@dataclass(frozen=True)
class Family(ABC):
    """Base class of families: distributions of the response given the linear predictor eta of an expert.

    A new family needs `parameters`, `log_prob`, `mean`, `variance` and `sample`. Everything else follows from the roles
    of its parameters: a parameter with role ``scale`` starts at the spread of the residuals, has the floor of standard
    deviations, and changes with the units of y.

    Attributes
    ----------
    location_scale : bool
        True if y may be shifted and scaled, so that fits can standardise it internally.
    has_closed_form_scale : bool
        True if EM updates the parameter with role ``scale`` in closed form from weighted residuals.
    discrete : bool
        True if y takes the values 0, 1, 2, ...
    has_density : bool
        False for a mean without a distribution (least squares).
    by_leaf : bool
        True if the leaves have different kinds of families and are therefore not exchangeable.
    robust : bool
        True if outlying observations hardly affect the estimates. They would mislead least squares, so fits also start
        from experts fitted without some of the observations.
    mean_range : (float, float)
        Open interval that contains the mean. Confidence bands of means stay inside it.
    title : str
        What a leaf of this law is called in tables, such as ``zeros``; empty: by the number of its expert.
    given : str
        What must be known of a row, besides its inputs, to draw its response, such as ``number of trials``; empty:
        nothing.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Family
    >>> class Laplace(Family):
    ...     def log_prob(self, params, y, eta):
    ...         return torch.distributions.Laplace(eta, torch.ones(())).log_prob(y).sum(-2)
    ...
    ...     def mean(self, params, eta):
    ...         return eta
    ...
    ...     def variance(self, params, eta):
    ...         return torch.full_like(eta, 2.0)
    ...
    ...     def sample(self, params, eta, generator):
    ...         signed = 2 * torch.rand(eta.shape, generator=generator, dtype=eta.dtype) - 1
    ...         return eta - signed.sign() * torch.log1p(-signed.abs())
    >>> one = torch.zeros(1, 1)  # one output, one row
    >>> round(float(Laplace().log_prob({}, one, one)), 4)
    -0.6931
    """

    location_scale = False
    has_closed_form_scale = False
    discrete = False
    has_density = True
    by_leaf = False
    robust = False
    mean_range = (-inf, inf)
    title = ""
    given = ""

    @property
    def bounded(self) -> bool:
        """Whether the likelihood of a few rows is bounded, as that of discrete responses is: it never exceeds one.

        Elsewhere an expert that holds few rows can make the likelihood as large as it likes, and is refused.
        """
        return self.discrete

    def kinds(self) -> tuple[Family, ...]:
        """Return the families of the leaves: itself, or the different ones of `by_leaf`."""
        return (self,)

    def outputs(self, columns: int) -> int:
        """Return the number q of predictors for a response with that many columns."""
        return columns

    def columns(self, outputs: int) -> int:
        """Return the number of columns of a response with q outputs."""
        return outputs

    def support(self, outputs: int) -> Tensor | None:
        """Return the responses ``(c, m)`` of a law that takes m values and no others; None for other laws."""
        return None

    def observed(self, y: Tensor) -> Tensor:
        """Return a response ``(c, n)`` on the scale of the mean, ``(q, n)``."""
        return y

    def events(self, y: Tensor) -> Tensor | None:
        """Return which of the observed responses ``(q, n)`` of y ``(c, n)`` are censored: 0; None: none can be."""
        return None

    def responses(self, y: Tensor) -> Tensor:
        """Return how many single responses each row of y ``(c, n)`` tells of, ``(n,)``: outputs, or trials."""
        return y.new_full(y.shape[:-2] + y.shape[-1:], self.outputs(y.shape[-2]))

    def parameters(self, q: int) -> dict[str, Parameter]:
        """Return the family's own parameters of one leaf."""
        return {}

    def names(self, *roles: str) -> tuple[str, ...]:
        """Return the names of the parameters that have one of the roles."""
        return named_by_role(self.parameters(1), *roles)

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

    def sample_like(self, params: Params, y: Tensor, eta: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a response ``(*B, L, c, n)`` for rows that are known by their response y ``(c, n)``: with its trials.

        Raises
        ------
        ValueError
            If what has to be known of the rows (`given`) is not known from y.
        """
        if self.given:
            raise ValueError(f"responses of {self} cannot be drawn without {self.given} of the rows")
        return self.sample(params, eta, generator)

    def covariance(self, params: Params, q: int) -> Tensor | None:
        """Return the covariance of q outputs given the expert ``(*B, L, q, q)``; None: they are independent."""
        return None

    def with_full_covariance(self) -> Family | None:
        """Return the same law with correlated outputs; None where there is none."""
        return None

    def marginal(self) -> Family:
        """Return the law of one output."""
        return self

    def cdf(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the distribution function ``P(Y_j <= y_j)`` of every output, ``(*B, L, q, n)``.

        Raises
        ------
        NotImplementedError
            If the family does not say; quantiles and intervals need it.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no cdf, which quantiles and intervals need: define the method cdf"
        )

    def cdf_ends(self, params: Params, y: Tensor, eta: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``P(Y_j < y_j)`` and ``P(Y_j <= y_j)`` of an observed response ``(c, n)``, each ``(*B, L, q, n)``.

        They are equal where y has a density. Randomised quantile residuals lie between them.
        """
        above = self.cdf(params, y, eta)
        return (self.cdf(params, y - 1.0, eta) if self.discrete else above), above

    def observed_variance(self, params: Params, y: Tensor, eta: Tensor) -> Tensor:
        """Return the variance of `observed` of each output, ``(*B, L, q, n)``, of rows with the response y."""
        return self.variance(params, eta)

    def value_and_derivatives(self, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
        """Return the log density with its derivatives in the predictors (automatic differentiation by default)."""
        return autograd_leaf_local(self, params, y, eta, order)

    def summed_second(self, params: Params, y: Tensor, eta: Tensor) -> SummedSecond | None:
        """Return the sum over the rows of second derivatives, where it costs less than these; None: it does not."""
        return None

    def validate(self, y: Tensor) -> str | None:
        """Return what is wrong with a response ``(m, n)`` for this family, or None."""
        return None

    def with_scale_floor(self, floor: Tensor) -> tuple[Family, dict[str, tuple[Tensor, float]]]:
        """Return the family and the lower bounds that keep standard deviations above `floor` ``(q,)``."""
        return self, dict.fromkeys(self.names("scale"), (floor, inf))

    def start(self, spread: Tensor) -> dict[str, Tensor]:
        """Return own parameters to start from, given residual standard deviations ``(*B, L, q)``.

        Scales start at these, everything else at its initial value.
        """
        lead, found = spread.shape[:-1], {}
        for name, spec in self.parameters(spread.shape[-1]).items():
            value = spread if spec.shape else spread.mean(-1)
            found[name] = value if spec.role == "scale" else spread.new_full(lead + spec.shape, spec.initial)
        return found

    def relative_spread(self, params: Params) -> Tensor | None:
        """Return about how far `working_response` lies from the predictor, a standard deviation ``(*B, L, q)``.

        For laws whose density grows without limit as it shrinks, and whose y cannot be scaled; None: for no other.
        """
        return None

    def exact_ends(self) -> dict[str, bool]:
        """Return the own parameters with an end of the range at which the law has no noise: True for the upper one.

        Where y can be scaled the floor of standard deviations takes their place.
        """
        return {}

    def start_share(self, y: Tensor, weight: Tensor) -> Tensor | None:
        """Return how much of every row ``(n,)`` a leaf of this law takes where a search begins; None: it is drawn.

        The response ``(q, n)`` is that of `observed`, and the rows have weights ``(n,)``.
        """
        return None

    def working_response(self, y: Tensor) -> Tensor:
        """Return a working response ``(q, n)`` on the scale of the predictor, for starts."""
        return y

    def rescale_response(self, params: Params, frame: AffineTransform) -> tuple[Family, dict[str, Tensor]]:
        """Return family and parameters for the response ``(y - shift) / scale``."""
        return self, {**params, **{name: params[name] / frame.scale for name in self.names("scale")}}


def autograd_leaf_local(family: Family, params: Params, y: Tensor, eta: Tensor, order: int = 2) -> LeafDerivatives:
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
            return LeafDerivatives(value.detach().movedim(0, -1), first.movedim(0, -1), None)
        second = [
            torch.autograd.grad(first[..., t].sum(), z, retain_graph=True, allow_unused=True)[0]
            for t in range(z.shape[-1])
        ]
    stack = torch.stack([torch.zeros_like(z) if s is None else s for s in second], -1)
    return LeafDerivatives(value.detach().movedim(0, -1), first.detach().movedim(0, -1), stack.detach().movedim(0, -1))


def diagonal_blocks(pairs: Tensor, q: int) -> Tensor:
    """Place blocks of p predictors per output, ``(*B, L, p, p, q, n)``, into ``(*B, L, p q, p q, n)``."""
    p = pairs.shape[-3]
    if q == 1:
        return pairs[..., 0, :]
    spread = pairs.unsqueeze(-2) * torch.eye(q, dtype=pairs.dtype)[..., None]
    return spread.transpose(-4, -3).reshape(pairs.shape[:-4] + (p * q, p * q, pairs.shape[-1]))
