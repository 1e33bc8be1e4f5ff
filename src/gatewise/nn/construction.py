"""What a layer is built of: its experts, built in or the user's, and the network of its shared ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from gatewise.core.names import whole
from gatewise.nn.experts import FFN


def experts_of(
    given: Sequence[nn.Module] | Callable[[], nn.Module] | None,
    leaves: int,
    dim: int,
    hidden: int | None,
    dim_out: int | None,
    activation: str,
    bias: bool,
) -> FFN | nn.ModuleList:
    """Return the built-in experts, or the user's as a ModuleList with one per leaf."""
    if given is None:
        if hidden is None:
            raise ValueError("hidden is missing: give the hidden units of every expert, or experts=[...] of your own")
        return FFN(leaves, dim, hidden, dim_out, activation, bias)
    if isinstance(given, nn.Module) and not isinstance(given, nn.ModuleList):
        raise ValueError(f"experts is one {type(given).__name__}: give one per leaf, or a function that makes one")
    own = [given() for _ in range(leaves)] if callable(given) and not isinstance(given, nn.ModuleList) else list(given)
    if len(own) != leaves:
        raise ValueError(f"{len(own)} experts for {leaves} leaves: give one per leaf")
    return nn.ModuleList(own)


def shared_of(
    given: int | FFN, dim: int, hidden: int | None, dim_out: int | None, activation: str, bias: bool
) -> FFN | None:
    """Return the network of the shared experts, if there are any."""
    if isinstance(given, FFN):
        sizes = (given.n_experts, given.dim, given.dim_out)
        if sizes != (1, dim, dim if dim_out is None else dim_out):
            raise ValueError(f"shared is {given}: give an FFN of one expert from {dim} to {dim_out or dim} features")
        return given
    if whole("shared", given) < 0:
        raise ValueError(f"shared={given}: give the number of shared experts, zero or more")
    if given and hidden is None:
        raise ValueError(f"shared={given} without hidden: give the hidden units of one shared expert")
    return FFN(1, dim, given * (hidden or 0), dim_out, activation, bias) if given else None


def networks_of(leaves: int, identity: int, null: int, same: bool) -> int:
    """Return how many of the experts have weights."""
    if min(identity, null) < 0 or identity + null >= leaves or (identity and not same):
        raise ValueError(
            f"identity_experts={identity} and null_experts={null} of {leaves} experts: together fewer than these, and "
            "identity experts in layers with dim_out=dim"
        )
    return leaves - identity - null
