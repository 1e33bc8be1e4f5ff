"""Fusion of modalities by mixtures of experts, in the style of FuseMoE (2402.03226).

Any modality may be missing, by a mask, and observations at irregular times become tokens by attention over time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.core.gates import Gate
from gatewise.core.names import require_one_of
from gatewise.nn.balance import Balancer, RoutingStatistics, unpacked
from gatewise.nn.balance.coefficients import LossCoefficients
from gatewise.nn.balance.token_sums import TokenSums
from gatewise.nn.layer import MoE
from gatewise.nn.router import Router, Routing, leaf_probabilities

ROUTERS = ("joint", "per-modality", "disjoint")
SMALLEST = 1e-6  # of a probability in a logarithm


def modality_entropy(p: Tensor) -> Tensor:
    """Return ``(1/M) sum_m H(p_m) - H((1/M) sum_m p_m)`` of the mean gates p ``(M, L)`` of M modalities (2402.03226).

    Minus the mutual information of modality and expert in nats: least, ``-log M``, when no expert serves two
    modalities; zero when all modalities are routed alike.

    Examples
    --------
    >>> modality_entropy(torch.eye(2)), modality_entropy(torch.full((2, 3), 1 / 3))
    (tensor(-0.6931), tensor(0.))
    """
    mean = p.mean(0)
    return torch.xlogy(mean, mean).sum() - torch.xlogy(p, p).sum(-1).mean()


class FusionMoE(nn.Module):
    """Fuse the tokens of several modalities into one token of `dim` features, with mixtures of experts (2402.03226).

    Each modality is embedded by a linear map and a layer norm.

    - "joint": one router and its experts see the concatenated embeddings of all modalities.
    - "per-modality": each modality has its own router; the experts are shared.
    - "disjoint": each modality has its own router and experts.

    In the last two cases the result is the mean over the modalities that are present, or zero if there are none.

    Parameters
    ----------
    dims : dict of str to int
        Features of each modality.
    dim, hidden : int
        Features of the result; hidden units of an expert.
    n_experts : int or tuple of int
        Experts per router, flat or ``(groups, experts per group)``.
    router : {"joint", "per-modality", "disjoint"}
    gate, top_k :
        See `MoE`.
    entropy_weight : float
        Factor of `modality_entropy`. It acts on "per-modality" only: "joint" has one gate for all modalities, and with
        disjoint experts the value is always ``-log M``.
    **options :
        Options of `MoE`. For "per-modality" the default balance is "none": balancing would spread each modality over
        all experts, the opposite of what the entropy loss does.

    Notes
    -----
    The content of a missing modality has no effect and may be NaN. "joint" replaces it by a learned embedding;
    otherwise it is left out of the mean, and its token out of all statistics. The gradient of the entropy loss is added
    in the backward pass and does not depend on how a batch is split: its factor ``(1/M) log(mean p_j / p_mj)`` is that
    of the previous optimiser step.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> fusion = FusionMoE({"vitals": 7, "notes": 32}, dim=16, hidden=32, n_experts=4, router="per-modality")
    >>> x = {"vitals": torch.randn(5, 7), "notes": torch.randn(5, 32)}
    >>> there = {"notes": torch.tensor([True, True, False, True, False])}
    >>> fusion(x, there).shape
    torch.Size([5, 16])
    >>> optimiser = torch.optim.Adam(fusion.parameters())
    >>> fusion(x, there).square().mean().backward()
    >>> optimiser.step()
    >>> {name: int(load.sum()) for name, load in fusion.routing_table().items()}  # tokens times two experts
    {'vitals': 10, 'notes': 6}
    """

    layers: Sequence[MoE]

    def __init__(
        self,
        dims: Mapping[str, int],
        dim: int,
        hidden: int,
        n_experts: int | Sequence[int] = 8,
        router: str = "joint",
        gate: str | Gate | Sequence[str | Gate] = "laplace",
        top_k: int | Sequence[int] | None = 2,
        entropy_weight: float = 1e-2,
        **options: Any,
    ) -> None:
        super().__init__()
        require_one_of("router", router, ROUTERS)
        if not dims or not isinstance(dims, Mapping):
            raise ValueError(f"dims={dims!r}: give the features of every modality by its name, {{'vitals': 7}}")
        self.names, self.router = tuple(dims), router
        self.features = tuple(dims.values())
        self.embeddings = nn.ModuleList(nn.Sequential(nn.Linear(d, dim), nn.LayerNorm(dim)) for d in self.features)
        joint = router == "joint"
        options = {"balance": "none" if router == "per-modality" else "importance+load", "dim_out": dim} | options
        width = dim * len(dims) if joint else dim
        layers = [MoE(width, hidden, n_experts, gate, top_k, **options) for _ in (["joint"] if joint else dims)]
        if router == "per-modality":
            share_experts(layers, entropy_weight)
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]  # its elements have no type of their own
        self.missing = nn.ParameterList(nn.Parameter(torch.randn(dim)) for _ in (dims if joint else ()))

    def forward(self, x: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the fused tokens ``(*, dim)``.

        Parameters
        ----------
        x : dict of Tensor ``(*, d_m)``
            The modalities; one that is not given is missing everywhere.
        present : dict of Tensor ``(*)`` or of its first dimensions, optional
            True where a modality is there. Modalities without a mask are there where they are given.
        """
        values, there = self._filled(x, present or {})
        tokens = [embed(value) for embed, value in zip(self.embeddings, values, strict=True)]
        if self.router == "joint":
            parts = zip(tokens, there, self.missing, strict=True)
            side_by_side = torch.cat([torch.where(mask[..., None], t, gap.to(t.dtype)) for t, mask, gap in parts], -1)
            return self.layers[0](side_by_side, torch.stack(there).any(0))
        out = [layer(t, mask) * mask[..., None] for layer, t, mask in zip(self.layers, tokens, there, strict=True)]
        return torch.stack(out).sum(0) / torch.stack(there).sum(0).clamp_min(1)[..., None]

    def routing_table(self) -> dict[str, Tensor]:
        """Return how many tokens of each modality (of "joint": all together) every expert got in the last step."""
        names = ("joint",) if self.router == "joint" else self.names
        return {name: layer.tally().load for name, layer in zip(names, self.layers, strict=True)}

    def _filled(self, x: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the content of every modality, zero where it is missing, and where it is there."""
        if unknown := [name for name in (*x, *present) if name not in self.names]:
            raise ValueError(f"the modality {unknown[0]!r} is unknown: this layer fuses {', '.join(self.names)}")
        if not x:
            raise ValueError("no modality is given: give at least one, and a mask of those that are missing")
        some, first = next(iter(x.items()))
        values, there = [], []
        for name, features in zip(self.names, self.features, strict=True):
            value = x[name] if name in x else first.new_zeros(*first.shape[:-1], features)
            if value.shape != (*first.shape[:-1], features):
                given = f"{name} has the shape {tuple(value.shape)}, {some} {tuple(first.shape)}"
                want = (*first.shape[:-1], features)
                raise ValueError(f"{given}: give {name} the shape {want}; TimeAttention makes tokens equal in number")
            mask = torch.as_tensor(present.get(name, True), device=value.device).bool() & (name in x)
            if mask.shape != value.shape[: mask.ndim]:
                raise ValueError(f"the mask of {name} has the shape {tuple(mask.shape)}, {name} {tuple(value.shape)}")
            mask = mask.reshape(*mask.shape, *[1] * (value.ndim - 1 - mask.ndim)).expand(value.shape[:-1])
            values.append(torch.where(mask[..., None], value, 0.0))
            there.append(mask)
        return values, there

    def extra_repr(self) -> str:
        return f"{self.router}: {', '.join(f'{n} ({d})' for n, d in zip(self.names, self.features, strict=True))}"


def share_experts(layers: Sequence[MoE], entropy_weight: float) -> None:
    """Give layers the experts of the first one, and the entropy of their mean gates as an auxiliary loss."""
    olds = [layer.balancer for layer in layers]
    balancers = [
        EntropyBalancer(old.branching, old.rule, old.weight, old.rate, old.z_weight, old.token_entropy_weight)
        for old in olds
    ]
    for layer, balancer in zip(layers, balancers, strict=True):
        layer.experts, layer.shared, layer.balancer = layers[0].experts, layers[0].shared, balancer
        balancer.regularise(balancers, entropy_weight)


class EntropyBalancer(Balancer):
    """A balancer that also adds `modality_entropy` over the routers of all modalities to the auxiliary loss."""

    def regularise(self, everyone: Sequence[Balancer], factor: float) -> None:
        """Set the balancers of all modalities, this one among them, and the factor of the loss."""
        self.everyone, self.factor = everyone, factor

    @property
    def has_loss(self) -> bool:
        """Whether the balancer adds a gradient."""
        return self.factor > 0 or super().has_loss

    def other_loss(
        self,
        known: LossCoefficients,
        router: Router,
        routing: Routing,
        sums: TokenSums,
        length: int | None = None,
        processes: int = 1,
    ) -> Tensor | None:
        """Return what these tokens add to the auxiliary loss beside `slopes`, linear in their gates."""
        tallies = [unpacked(other.recent) for other in self.everyone]
        seen = torch.stack([tally.tokens > 0 for tally in tallies])
        modalities = seen.sum().clamp_min(1)
        mean = torch.stack([_mean_gate(tally) for tally in tallies]).sum(0) / modalities
        own = unpacked(self.recent)
        slope = (mean.clamp_min(SMALLEST) / _mean_gate(own).clamp_min(SMALLEST)).log()
        each = leaf_probabilities(routing) @ slope.to(routing.weight.dtype)
        tokens = self.divisor(own.tokens.clamp_min(1), sums, processes)
        total = processes * (sums.weight @ each) / (modalities * tokens)
        other, entropy = super().other_loss(known, router, routing, sums, length, processes), self.factor * total
        return entropy * (own.tokens > 0) if other is None else other + entropy * (own.tokens > 0)


def _mean_gate(tally: RoutingStatistics) -> Tensor:
    """Return the mean weights of all leaves, zero without tokens."""
    return tally.importance / tally.tokens.clamp_min(1)


class TimeAttention(nn.Module):
    """Turn observations at irregular times into tokens at fixed reference times, by attention over time.

    ``out(r) = W sum_i softmax_i(q(phi(r)) . k(phi(t_i)) / sqrt(e)) v_i`` with several heads and the learned time
    embedding ``phi(t) = (w_0 t + a_0, sin(w_1 t + a_1), ...)`` of e features (mTAND, 2101.10318, equations 1 to 3,
    discrete form). The order of the observations does not matter. Masked observations have no effect and may be NaN.

    Parameters
    ----------
    features, dim : int
        Features of an observation and of a token.
    references : Tensor or sequence (R,)
        Reference times, such as ``torch.linspace(0, 48, 24)``.
    time_dim, heads : int
        Features of the time embedding; number of attention heads.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> attend = TimeAttention(7, 16, torch.linspace(0, 1, 4))
    >>> attend(torch.randn(3, 9, 7), torch.rand(3, 9), torch.rand(3, 9) < 0.8).shape
    torch.Size([3, 4, 16])
    """

    references: Tensor

    def __init__(
        self, features: int, dim: int, references: Tensor | Sequence[float], time_dim: int = 16, heads: int = 2
    ) -> None:
        super().__init__()
        self.heads, self.time_dim = heads, time_dim
        self.register_buffer("references", torch.as_tensor(references, dtype=torch.get_default_dtype()).clone())
        self.time = nn.Linear(1, time_dim)
        self.query, self.key = (nn.Linear(time_dim, heads * time_dim) for _ in range(2))
        self.out = nn.Linear(heads * features, dim)

    def embed(self, times: Tensor) -> Tensor:
        """Return the time embedding: ``(*)`` -> ``(*, e)``, one linear feature, the others periodic."""
        phase = self.time(times[..., None])
        return torch.cat([phase[..., :1], phase[..., 1:].sin()], -1)

    def forward(self, values: Tensor, times: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return tokens ``(*, R, dim)`` from values ``(*, n, d)`` at times ``(*, n)`` where `mask (*, n)` is true."""
        if times.shape != values.shape[:-1] or (mask is not None and mask.shape != times.shape):
            given = f"values have the shape {tuple(values.shape)}, times {tuple(times.shape)}"
            raise ValueError(f"{given}: give times and mask the shape {tuple(values.shape[:-1])}")
        seen = torch.ones_like(times, dtype=torch.bool) if mask is None else mask.bool()
        values, times = torch.where(seen[..., None], values, 0.0), torch.where(seen, times, 0.0)
        queries = self.query(self.embed(self.references)).unflatten(-1, (self.heads, -1)).movedim(-2, -3)
        keys = self.key(self.embed(times)).unflatten(-1, (self.heads, -1)).movedim(-2, -3)
        scores = queries @ keys.mT * self.time_dim**-0.5
        scores = scores.masked_fill(~seen[..., None, None, :], torch.finfo(scores.dtype).min)
        return self.out((scores.softmax(-1) @ values[..., None, :, :]).movedim(-3, -2).flatten(-2))
