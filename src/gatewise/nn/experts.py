"""Experts of a layer: a batch of feed-forward networks, and any expert of core as a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.core.experts import Expert
from gatewise.core.families import Family
from gatewise.core.names import whole
from gatewise.nn.dispatch import dense_batch, grouped, loop
from gatewise.nn.params import unused_name
from gatewise.nn.units import HiddenUnits, unit


class FFN(nn.Module):
    """A batch of E feed-forward networks ``W_out fn(W_in x + b_in) + b_out``.

    The weights are ``w_in (E, d, H)`` and ``w_out (E, H, d_out)``; the biases are ``(E, H)`` and ``(E, d_out)``. For
    gated units such as "swiglu", ``silu(x W_1) * (x W_2)``, w_in is ``(E, d, 2 H)`` with the columns of W_1 first. A
    layer calls it with tokens and their experts; one of a single network can be called with tokens alone.

    Parameters
    ----------
    n_experts, dim, hidden : int
        E, d and H.
    dim_out : int, optional
        Default: `dim`.
    activation : str
        "gelu", "relu", "silu", "swiglu", "geglu" or any other name of `units.UNITS`; SwiGLU with bounds is written
        with them, "swiglu(limit=7.0, up=7.0)", see `units.ClampedSwiGLU`.
    bias : bool
        Whether the networks have biases.

    Examples
    --------
    >>> index, weight = torch.tensor([[0, 2], [1, 2], [2, 3]]), torch.full((3, 2), 0.5)
    >>> FFN(4, 6, 8)(torch.randn(3, 6), index, weight).shape
    torch.Size([3, 6])
    """

    is_transposed = True  # weights are (experts, inputs, outputs): read by peft

    def __init__(
        self,
        n_experts: int,
        dim: int,
        hidden: int,
        dim_out: int | None = None,
        activation: str = "gelu",
        bias: bool = False,
    ) -> None:
        super().__init__()
        dim_out = dim if dim_out is None else dim_out
        given = {"n_experts": n_experts, "dim": dim, "hidden": hidden, "dim_out": dim_out}
        self.n_experts, self.dim, self.hidden, self.dim_out = (whole(name, value) for name, value in given.items())
        if min(given.values()) < 1:
            raise ValueError(f"n_experts={n_experts}, dim={dim}, hidden={hidden}, dim_out={dim_out}: each at least one")
        self.activation = activation
        self.ranks = 1  # processes whose tokens come here; see gatewise.nn.parallel
        width = hidden * (2 if unit(activation).gated else 1)
        self.w_in = nn.Parameter(torch.empty(n_experts, dim, width))
        self.w_out = nn.Parameter(torch.empty(n_experts, hidden, self.dim_out))
        self.b_in = nn.Parameter(torch.empty(n_experts, width)) if bias else None
        self.b_out = nn.Parameter(torch.empty(n_experts, self.dim_out)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every expert as torch.nn.Linear draws its weights, each by itself."""
        for weight, bias in ((self.w_in, self.b_in), (self.w_out, self.b_out)):
            limit = weight.shape[1] ** -0.5
            nn.init.uniform_(weight, -limit, limit)
            if bias is not None:
                nn.init.uniform_(bias, -limit, limit)

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        weight: Tensor | None = None,
        backend: str = "loop",
        partial: bool = False,
    ) -> Tensor:
        """Return ``sum_s weight[t, s] expert_{index[t, s]}(x_t)``: x ``(T, d)``, index and weight ``(T, S)``.

        Without index and weight, the output of the only network. `partial` tells that slots may be empty: their index
        is E.
        """
        if index is None or weight is None:
            if self.n_experts != 1:
                raise ValueError(f"{self.n_experts} networks without index and weight: say which serve each token")
            return self.singles()[0](x)
        if backend == "loop":
            return loop(x, index, weight, self.singles())
        parts: Any = [one if one is None or one.dtype == x.dtype else one.to(x.dtype) for one in self.weights()]
        if backend == "dense":
            return dense_batch(x, index, weight, parts, self.activation)
        return grouped(x, index, weight, parts, self.activation, partial)

    def weights(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Return w_in, w_out, b_in, b_out, with gradients divided by the number of ranks whose tokens come here."""
        if self.ranks == 1:
            return self.w_in, self.w_out, self.b_in, self.b_out
        share = 1.0 / self.ranks
        b_in, b_out = (None if b is None else scaled_gradient(b, share) for b in (self.b_in, self.b_out))
        return scaled_gradient(self.w_in, share), scaled_gradient(self.w_out, share), b_in, b_out

    def singles(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """Return every expert as a function ``(n, d) -> (n, d_out)``; each tensor is unbound once."""
        none = [None] * self.n_experts
        parts = [none if part is None else part.unbind(0) for part in self.weights()]
        return [partial(_single, unit(self.activation), *own) for own in zip(*parts, strict=True)]

    def extra_repr(self) -> str:
        bias = self.b_in is not None
        return f"{self.n_experts} x ({self.dim} -> {self.hidden} -> {self.dim_out}), {self.activation}, bias={bias}"


def scaled_gradient(value: Tensor, factor: float) -> Tensor:
    """Return `value`, whose gradient is multiplied by `factor` on its way back."""
    return _Scaled.apply(value, factor)


class _Scaled(torch.autograd.Function):
    """See `scaled_gradient`."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def _single(
    fn: HiddenUnits, w_in: Tensor, w_out: Tensor, b_in: Tensor | None, b_out: Tensor | None, x: Tensor
) -> Tensor:
    """Return one expert of a batch at x."""
    pre = x @ w_in.to(x.dtype)
    pre = pre if b_in is None else pre + b_in.to(x.dtype)
    out = fn.apply(pre) @ w_out.to(x.dtype)
    return out if b_out is None else out + b_out.to(x.dtype)


class CoreExpert(nn.Module):
    """An expert of a fitted mixture as a torch module: the mean of the response, ``(n, d) -> (n, q)``.

    Parameters
    ----------
    expert : Expert
    family : Family
        Maps the linear predictor to the mean.
    params : dict of Tensor
        ``(q, *shape)``: parameters of the expert of this leaf.
    family_params : dict of Tensor
        Parameters of the family of this leaf. The scale does not affect the mean and is stored as a buffer.

    Examples
    --------
    >>> import torch
    >>> from gatewise import Gaussian, Linear
    >>> from gatewise.nn import CoreExpert
    >>> params = {"coef": torch.tensor([[2.0, 1.0]]), "intercept": torch.tensor([0.5])}
    >>> expert = CoreExpert(Linear(), Gaussian(), params, {"scale": torch.tensor([1.0])})
    >>> expert(torch.tensor([[1.0, 3.0]])).tolist()
    [[5.5]]
    """

    def __init__(
        self, expert: Expert, family: Family, params: dict[str, Tensor], family_params: dict[str, Tensor]
    ) -> None:
        super().__init__()
        self.expert, self.family = expert, family
        self.names: dict[str, str] = {}  # name in core -> name under which it is registered
        self.family_names: dict[str, str] = {}
        for name, value in params.items():
            self.names[name] = unused_name(self, name)
            self.register_parameter(self.names[name], nn.Parameter(value.clone()))
        for name, value in family_params.items():
            self.family_names[name] = unused_name(self, f"family_{name}")
            self.register_buffer(self.family_names[name], value.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean response at x."""
        eta = self.expert({name: getattr(self, own) for name, own in self.names.items()}, x.mT)
        family = {name: getattr(self, own) for name, own in self.family_names.items()}
        return self.family.mean(family, eta).mT


def empty_expert(expert: Expert, family: Family, dim: int, outputs: int) -> CoreExpert:
    """Return one leaf with parameters of zero, for inputs of `dim` features."""
    params = {name: torch.zeros(outputs, *spec.shape) for name, spec in expert.parameters(dim).items()}
    return CoreExpert(
        expert, family, params, {name: torch.zeros(spec.shape) for name, spec in family.parameters(outputs).items()}
    )
