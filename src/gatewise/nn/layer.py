"""MoE: a layer of experts behind core gates, flat or on a tree, in the place of a feed-forward network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gatewise.core.gates import Gate
from gatewise.core.names import require_one_of, whole
from gatewise.nn.arguments import check_call
from gatewise.nn.balance import BalanceMethod, Balancer, RoutingStatistics, balanced, unpacked
from gatewise.nn.choice import Choice
from gatewise.nn.construction import experts_of, networks_of, shared_of
from gatewise.nn.dispatch import (
    BACKENDS,
    chosen_backend,
    dense,
    grouped_reason,
    loop,
    of_identity,
    packed,
    served,
    weighed_inputs,
)
from gatewise.nn.experts import FFN
from gatewise.nn.option_names import names_explained
from gatewise.nn.params import Schedule
from gatewise.nn.router import Router, Routing, without_autocast
from gatewise.nn.rules import ChoiceRule
from gatewise.nn.steps import before_forward, counts_tokens, processes, register
from gatewise.nn.watch import first_trainable

if TYPE_CHECKING:
    from gatewise.nn.ranks import Ranks

Observer = Callable[[Routing, Tensor | None, Tensor | None], None]


class MoE(nn.Module):
    """Mixture-of-experts layer: ``y = scale sum_s w_s(x) E_s(x)`` over the selected experts s, plus shared experts.

    Input ``(*, d)``, output ``(*, d_out)``.

    Parameters
    ----------
    dim : int
        Features d of a token.
    hidden : int, optional
        Hidden units of each expert; not needed with `experts`.
    n_experts : int or tuple of int
        Number of experts, or of branches per level: ``(4, 8)`` is four groups of eight experts.
    gate : str, Gate, or a sequence of them
        A name of GATES or a Gate: one for all levels, or one per level, also as ``"softmax/laplace"``.
    top_k, normalise, temperature, noise, choice, jitter :
        See `Router`.
    dim_out : int, optional
        Features of the output; default: `dim`. With custom experts, their output size.
    activation : str
        "gelu", "relu", "silu", "swiglu", "geglu" ...; see `FFN`.
    bias : bool
        Whether the built-in experts have biases.
    scale : float
        Factor of the routed part.
    shared : int or FFN
        Number of shared experts, which process every token with weight one; they form one network with ``shared *
        hidden`` hidden units. Or that network, an FFN of one expert, with its own width, activation and biases.
    experts : sequence of Module, or callable without arguments
        Custom experts ``(n, d) -> (n, d_out)``, one per leaf, or a function that creates one. They use the backends
        "loop" and "dense".
    backend : {"auto", "grouped", "loop", "dense"}
        "grouped": one operator. "loop": one expert after the other. "dense": all experts at all tokens, whose shapes
        do not depend on the routing. "auto": dense in exports to ONNX, inside the transforms of `torch.func`, and for
        custom experts that all serve every token; else grouped if possible. `backend_for(x)` and `repr` show which
        one is used.
    capacity : float, optional
        Each expert processes at most ``ceil(capacity T S / L)`` tokens per call, real tokens before padding, with S
        from `top_k` or the number of given experts. None
        (default): no token is dropped, and outputs do not depend on the batch.
    weigh_inputs : bool
        Whether weights multiply the inputs of the experts, ``E_s(w_s x)``, and not their outputs.
    identity_experts, null_experts : int
        How many of `n_experts` have no weights and cost nothing: some return their input (copy experts, 2410.07348),
        the last ones return zero (null experts, 2406.13233), so that a token has fewer experts where it selects them.
    balance : str or BalanceMethod
        "importance+load", "importance", "switch", "bias", "sequence", "bias+sequence", "sparsity", "none", or your own
        method; see `Balancer`.
    balance_weight, bias_rate, z_weight, token_entropy_weight : float
        See `Balancer`.

    Notes
    -----
    In training, the gradient of the auxiliary losses is added in the backward pass of the output; the training loop
    does not change. Evaluation is deterministic.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = MoE(64, 128, n_experts=(2, 4), gate=("laplace", "softmax"), top_k=2)
    >>> layer(torch.randn(8, 10, 64)).shape
    torch.Size([8, 10, 64])
    """

    experts: FFN | nn.ModuleList

    @names_explained
    def __init__(
        self,
        dim: int,
        hidden: int | None = None,
        n_experts: int | Sequence[int] = 8,
        gate: str | Gate | Sequence[str | Gate] = "softmax",
        top_k: int | Sequence[int] | None = 2,
        dim_out: int | None = None,
        activation: str = "gelu",
        bias: bool = False,
        normalise: str = "after",
        scale: float = 1.0,
        shared: int | FFN = 0,
        experts: Sequence[nn.Module] | Callable[[], nn.Module] | None = None,
        backend: str = "auto",
        capacity: float | None = None,
        temperature: str | float | Schedule = "learned",
        noise: float | str = 0.0,
        balance: str | BalanceMethod = "importance+load",
        balance_weight: float = 0.1,
        bias_rate: float = 1e-2,
        z_weight: float = 0.0,
        choice: Choice | ChoiceRule | None = None,
        weigh_inputs: bool = False,
        identity_experts: int = 0,
        null_experts: int = 0,
        jitter: float = 0.0,
        token_entropy_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.router = Router(dim, n_experts, gate, top_k, normalise, temperature, noise, choice, jitter)
        networks = networks_of(self.router.n_leaves, identity_experts, null_experts, dim_out in (None, dim))
        self.experts = experts_of(experts, networks, dim, hidden, dim_out, activation, bias)
        self.shared = shared_of(shared, dim, hidden, dim_out, activation, bias)
        self.weigh_inputs, self.identity_experts, self.null_experts = weigh_inputs, identity_experts, null_experts
        factors = (balance_weight, bias_rate, z_weight, token_entropy_weight)
        self.balancer = Balancer(self.router.branching, balance, *factors)
        require_one_of("backend", backend, BACKENDS)
        if backend == "grouped" and not isinstance(self.experts, FFN):
            raise ValueError("backend='grouped' runs the built-in experts only: use backend='auto' with your own")
        if capacity is not None and not 1e-6 <= capacity < inf:
            raise ValueError(f"capacity={capacity}: give a positive factor, or None to drop nothing")
        width = dim if dim_out is None and isinstance(self.experts, FFN) else dim_out
        self.dim, self.scale = self.router.dim, scale
        self.dim_out = None if width is None else whole("dim_out", width)  # None: what experts of the user return
        self.backend, self.capacity = backend, capacity
        self.observer: Observer | None = None  # told of every call; see diagnostics.observe
        self.ranks: Ranks | None = None  # where the experts are, if on several processes; see expert_parallel
        self.synchronise = True  # add up the tallies of all processes at the end of a step
        register(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copied or unpickled layer, and list it."""
        super().__setstate__(state)
        register(self)

    def first_parameter(self) -> nn.Parameter | None:
        """Return the parameter whose optimiser ends this layer's steps: the first that trains, if there is one."""
        return first_trainable(self)

    @property
    def built_in(self) -> bool:
        """Whether the experts are one batch of networks, maybe inside a wrapper, and not modules of their own."""
        return not isinstance(self.experts, nn.ModuleList)

    def backend_for(self, x: Tensor) -> str:
        """Return the backend that runs tokens like x ``(T, d)``."""
        if self.backend == "auto":
            built_in = self.built_in
            return chosen_backend(x, built_in, not built_in and self.router.slots == self.router.n_leaves)
        reason = grouped_reason(x) if self.backend == "grouped" else ""
        if reason:
            raise ValueError(f"backend='grouped' cannot run here: {reason}; use backend='auto' or 'loop'")
        return self.backend

    @property
    def networks(self) -> int:
        """Number of experts with weights: the first ones."""
        return self.router.n_leaves - self.identity_experts - self.null_experts

    def forward(self, x: Tensor, mask: Tensor | None = None, experts: Tensor | None = None) -> Tensor:
        """Return the mixture at x ``(*, d)``; `mask (*)` is true for real tokens, false for padding.

        Padding gets an output like any token but counts in no statistic, and a limited capacity serves it last.
        `experts (*, S)`, whole numbers, are the experts of every token if something else than the layer chooses them
        (hash layers, 2106.04426), -1 for none; the gates only weigh them.
        """
        router = self.router
        check_call(router, x, mask, experts, self.training)
        counts = counts_tokens(self, x)
        if not torch.compiler.is_compiling():
            before_forward(self, x, counts)
        tokens = x.reshape(-1, self.dim)
        real = None if mask is None else mask.reshape(-1).bool()
        routing = router(tokens, real, None if experts is None else experts.reshape(-1, experts.shape[-1]))
        index, partial = self._served(routing)
        room = self._within_capacity(routing, index, real)
        if self.observer is not None:
            self.observer(routing, real, room)
        if room is not None:
            index, partial = index.masked_fill(~room, router.n_leaves), True
        out = self._dispatch(tokens, index, routing.weight, partial)
        if self.dim_out is not None and out.shape[-1] != self.dim_out:
            raise ValueError(f"the experts return {out.shape[-1]} features, not dim_out={self.dim_out}")
        if counts:
            length = x.shape[-2] if x.ndim > 1 else 1
            out = balanced(out, self.balancer, router, routing, real, room, length, processes(self))
        if x.ndim == 2:
            return out
        shape = (*x.shape[:-1], out.shape[-1])
        if not out.requires_grad:
            return out.view(shape)
        return torch.ops.aten._unsafe_view(out, shape)  # not a view: FSDP2 asks for that

    def _served(self, routing: Routing) -> tuple[Tensor, bool]:
        """Return the experts of every slot, their number where a slot is empty, and whether one may be."""
        if routing.ranks and not self.router.partial:
            return routing.index, False
        return routing.index.masked_fill(routing.weight == 0, self.router.n_leaves), True

    def _within_capacity(self, routing: Routing, index: Tensor, real: Tensor | None) -> Tensor | None:
        """Return which assignments find room, ``(T, S)``; None when all do."""
        if self.capacity is None or not index.shape[0]:
            return None
        slots = self.router.slots if routing.ranks else index.shape[1]
        millionths = round(self.capacity * 10**6)  # whole numbers: 1.1 times 10 is 11, in floating point it is more
        room = -(-millionths * index.shape[0] * slots // (self.router.n_leaves * 10**6))
        return served(index, self.router.n_leaves, room, real)

    def _dispatch(self, tokens: Tensor, index: Tensor, weight: Tensor, partial: bool) -> Tensor:
        device = tokens.device.type
        if device != "meta" and torch.is_autocast_enabled(device):
            tokens = tokens.to(torch.get_autocast_dtype(device))
        with without_autocast(device) if self.built_in else nullcontext():  # other modules were written for autocast
            identity = None
            if self.identity_experts or self.null_experts:
                if self.identity_experts:
                    identity = of_identity(tokens, index, weight, self.networks, self.identity_experts)
                index, partial = index.clamp_max(self.networks), True
            if self.router.partial:
                index, weight = packed(index, weight, self.networks)
            given = weighed_inputs(tokens, index, weight) if self.weigh_inputs else (tokens, index, weight)
            out = self._compute(*given, partial) if self.ranks is None else self._over_ranks(*given, partial)
            out = out.unflatten(0, index.shape).sum(1) if self.weigh_inputs else out
            out = out if identity is None else out + identity
            out = out if self.scale == 1.0 else out * self.scale
            return out if self.shared is None else out + self.shared(tokens)

    def _over_ranks(self, tokens: Tensor, index: Tensor, weight: Tensor, partial: bool) -> Tensor:
        """Return the weighted sum over the experts of all processes."""
        assert self.ranks is not None
        if not torch.compiler.is_compiling():
            self.check()
        return self.ranks(self._compute, tokens, index, weight)

    def check(self) -> None:
        """Raise if experts that are distributed over processes are averaged or sharded with others."""
        if self.ranks is not None:
            self.ranks.check(self.experts)

    def _compute(self, tokens: Tensor, index: Tensor, weight: Tensor, partial: bool = False) -> Tensor:
        """Return the weighted sum over the experts held here; `partial` tells that slots may be empty."""
        backend = self.backend_for(tokens)
        if isinstance(self.experts, nn.ModuleList):
            return (dense if backend == "dense" else loop)(tokens, index, weight, list(self.experts))
        out: Tensor = self.experts(tokens, index, weight, backend, partial)
        return out

    def expert_outputs(self, x: Tensor) -> Tensor:
        """Return what every expert held here makes of tokens ``(T, d)``, ``(E, T, d_out)``."""
        if isinstance(self.experts, nn.ModuleList):
            return torch.stack([expert(x) for expert in self.experts])
        held = self.networks if self.ranks is None else self.ranks.held.stop - self.ranks.held.start
        one = x.new_ones(len(x), 1)
        return torch.stack([self.experts(x, torch.full_like(one, e, dtype=torch.long), one) for e in range(held)])

    def tally(self) -> RoutingStatistics:
        """Return the tally of the last finished optimiser step; `summarise` makes figures of it."""
        return unpacked(self.balancer.last)

    def extra_repr(self) -> str:
        like = next(self.parameters(), self.router.offset_0)
        reason = "" if self.backend != "grouped" else grouped_reason(like)
        here = f"cannot run: {reason}" if reason else self.backend_for(like)
        capacity = "" if self.capacity is None else f", capacity={self.capacity}"
        return f"backend={self.backend} (here: {here}){capacity}, scale={self.scale}"


class HMoE(MoE):
    """Two-level mixture-of-experts layer: `MoE` with ``n_experts=(groups, experts per group)``.

    Parameters
    ----------
    dim, hidden
        As in `MoE`.
    n_experts : (int, int)
        Number of groups, and of experts in each.
    **options
        Other arguments of `MoE`.

    Examples
    --------
    >>> HMoE(16, 32, n_experts=(2, 3), gate=("laplace", "laplace")).router.branching
    (2, 3)
    """

    def __init__(self, dim: int, hidden: int | None = None, n_experts: Sequence[int] = (4, 8), **options: Any) -> None:
        if isinstance(n_experts, int) or len(n_experts) != 2:
            raise ValueError(f"n_experts={n_experts!r}: give (groups, experts per group), or use MoE")
        super().__init__(dim, hidden, n_experts, **options)
