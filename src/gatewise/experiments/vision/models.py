"""The models of the vision experiments: one layer, and a transformer, with experts or dense ones of equal size."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewise.experiments.experiment import gates_of
from gatewise.nn import MoE

EQUAL_FLOPS, EQUAL_PARAMETERS = "dense, equal FLOPs", "dense, equal parameters"


class TokenRouting(NamedTuple):
    """How tokens get their experts.

    Attributes
    ----------
    groups : (int, int)
        Groups and experts in each; a flat gate has as many experts.
    kept : int, (int, int) or None
        Experts that serve a token, branches per level, or all.
    balance : str
        As `MoE` takes it.
    """

    groups: tuple[int, int] = (2, 4)
    kept: int | tuple[int, int] | None = 2
    balance: str = "importance+load"

    @property
    def experts(self) -> int:
        """How many experts there are."""
        return prod(self.groups)

    @property
    def serving(self) -> int:
        """How many experts serve a token."""
        if self.kept is None:
            return self.experts
        return prod(self.kept) if isinstance(self.kept, tuple) else self.kept

    @property
    def scores(self) -> float:
        """How many scores a router computes: between those of a flat one and of one with two levels."""
        return self.experts + self.groups[0] / 2


class VisionSetting(NamedTuple):
    """Sizes for one data set.

    Attributes
    ----------
    data : str
        Name of the images.
    hidden : int
        Hidden units of an expert of the one layer.
    patch, dim, blocks, heads : int
        Pixels along the side of a token, features, blocks and attention heads of the transformer. Its experts have
        `dim` hidden units, so two of them are as large as the feed-forward networks of the other blocks.
    epochs : tuple of int
        Of the one layer and of the transformer.
    batch : int
    routing : Routing
    """

    data: str
    hidden: int
    patch: int
    dim: int
    blocks: int
    heads: int
    epochs: tuple[int, int]
    batch: int
    routing: TokenRouting = TokenRouting()


def equal_flops(routing: TokenRouting, dim: int, hidden: int, dim_out: int) -> int:
    """Return the hidden units of a dense network with the multiplications of the experts that serve, and their router.

    An expert of `hidden` units has ``hidden (dim + dim_out)``, a score ``dim``.
    """
    return round(routing.serving * hidden + routing.scores * dim / (dim + dim_out))


def equal_parameters(routing: TokenRouting, dim: int, hidden: int, dim_out: int) -> int:
    """Return the hidden units of a dense network with as many parameters as all experts and their router."""
    total = routing.experts * (hidden * (dim + dim_out + 1) + dim_out) + routing.scores * (dim + 1)
    return round((total - dim_out) / (dim + dim_out + 1))


def dense(dim: int, hidden: int, dim_out: int) -> nn.Module:
    """Return a feed-forward network."""
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim_out))


def feed_forward(gate: str, routing: TokenRouting, dim: int, hidden: int, dim_out: int) -> nn.Module:
    """Return the layer that is compared: experts of `hidden` units behind gates, or a dense one of equal size."""
    if gate == EQUAL_FLOPS:
        return dense(dim, equal_flops(routing, dim, hidden, dim_out), dim_out)
    if gate == EQUAL_PARAMETERS:
        return dense(dim, equal_parameters(routing, dim, hidden, dim_out), dim_out)
    gates = gates_of(gate)
    flat = len(gates) == 1
    experts, kept = (routing.experts, routing.serving) if flat else (routing.groups, routing.kept)
    return MoE(dim, hidden, experts, gates, top_k=kept, dim_out=dim_out, bias=True, balance=routing.balance)


class OneLayer(nn.Module):
    """A classifier of one layer: pixels -> experts -> scores of the classes."""

    def __init__(self, gate: str, setting: VisionSetting, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.layer = feed_forward(gate, setting.routing, channels * height * width, setting.hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


class TransformerBlock(nn.Module):
    """Attention among the tokens, then a feed-forward part, each behind a norm and added to its input.

    Causal: a token attends to itself and to those before it.
    """

    def __init__(self, dim: int, heads: int, feed: nn.Module, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.before, self.between = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.project, self.back = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.feed = feed

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, dim = x.shape
        parts = self.project(self.before(x)).view(rows, tokens, 3, self.heads, dim // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        mixed = mixed.transpose(1, 2).reshape(rows, tokens, dim)
        x = x + self.back(mixed)
        return x + self.feed(self.between(x))


class Transformer(nn.Module):
    """A vision transformer: patches with learned places, blocks of which the 2nd, 4th, ... hold the experts, mean."""

    def __init__(self, gate: str, setting: VisionSetting, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        dim, self.patch = setting.dim, setting.patch
        tokens = (height // self.patch) * (width // self.patch)
        self.embed = nn.Linear(channels * self.patch**2, dim)
        self.place = nn.Parameter(0.5 * torch.randn(tokens, dim))  # as large as what `embed` gives at the start
        plain, compared = partial(dense, dim, 2 * dim, dim), partial(feed_forward, gate, setting.routing, dim, dim, dim)
        self.blocks = nn.Sequential(
            *(
                TransformerBlock(dim, setting.heads, compared() if number % 2 else plain())
                for number in range(setting.blocks)
            )
        )
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)) + self.place
        return self.head(self.norm(self.blocks(tokens)).mean(1))
