"""Diagnostics of layers: five figures, what they were over the steps, and in words when a router collapses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import log

import torch
from torch import Tensor, nn

from gatewise.core.names import require_one_of
from gatewise.nn.balance import RoutingStatistics, count, token_sums, unpacked
from gatewise.nn.balance.shares import FLOOR
from gatewise.nn.finding import layers
from gatewise.nn.layer import MoE
from gatewise.nn.router import Routing

KEYS = ("load ratio", "normalised entropy", "dead fraction", "maximum share", "mutual information")
DEAD = 0.25  # share of experts without a token that is called a collapse
FEW = 3  # tokens or assignments per expert: with fewer, even ones leave experts without a token
CROWDED = 0.9  # of 1 / S, the most that one expert can have of the assignments of S slots


def summarise(tally: RoutingStatistics) -> dict[str, float]:
    """Compute five routing statistics from sums over tokens; an empty dict if there were no tokens.

    Let s be the load shares of the L experts and p(x) the gate's weights for token x.

    - "load ratio": ``L max_j s_j``, the largest load divided by the mean load;
    - "normalised entropy": ``mean_x H(p(x)) / log L``; 1 if every token is routed evenly;
    - "dead fraction": share of experts that received no token;
    - "maximum share": ``max_j s_j``;
    - "mutual information": ``H(mean_x p(x)) - mean_x H(p(x))`` between token and expert, in nats.

    Parameters
    ----------
    tally : RoutingStatistics
        Such as ``layer.tally()``.

    Returns
    -------
    dict of str to float

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = MoE(8, 16, n_experts=4)
    >>> with observe(layer) as seen:
    ...     _ = layer(torch.randn(100, 8))
    >>> list(seen.figures()[""])
    ['load ratio', 'normalised entropy', 'dead fraction', 'maximum share', 'mutual information']
    """
    if not bool(tally.tokens > 0):
        return {}
    leaves = len(tally.load)
    share = tally.load / tally.load.sum().clamp_min(1)  # of rectified scores a token may have no expert
    mean = tally.importance / tally.importance.sum().clamp_min(FLOOR)
    inside = float(tally.entropy / tally.tokens)
    figures = (
        float(leaves * share.max()),
        inside / log(leaves) if leaves > 1 else 1.0,
        float((tally.load == 0).float().mean()),
        float(share.max()),
        max(float(-torch.xlogy(mean, mean).sum()) - inside, 0.0),
    )
    return dict(zip(KEYS, figures, strict=True))


def diagnostics(model: nn.Module) -> dict[str, dict[str, float]]:
    """Compute the routing statistics of every layer for the last finished optimiser step, without padding.

    Parameters
    ----------
    model : Module

    Returns
    -------
    dict of str to dict
        For each layer, by its name, the five statistics of `summarise`; empty before the first step has finished.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = MoE(8, 16, n_experts=4)
    >>> layer(torch.randn(100, 8)).sum().backward()
    >>> torch.optim.SGD(layer.parameters(), 0.1).step()
    >>> list(diagnostics(layer)[""])[:2]
    ['load ratio', 'normalised entropy']
    """
    return {name: summarise(layer.tally()) for name, layer in layers(model).items()}


class Observation:
    """Routing statistics collected by `observe`.

    Attributes
    ----------
    tallies : dict of str to RoutingStatistics
        Sums over all tokens, by layer.
    index : dict of str to list of Tensor (T, S)
        With ``keep=True``: the leaves selected in every call; -1 for padding and for slots that are empty.
    """

    def __init__(self, keep: bool) -> None:
        self.keep = keep
        self.tallies: dict[str, RoutingStatistics] = {}
        self.index: dict[str, list[Tensor]] = {}

    def add(self, name: str, layer: MoE, routing: Routing, real: Tensor | None, served: Tensor | None) -> None:
        """Take in one call of a layer."""
        with torch.no_grad():
            sums = token_sums(layer.router, routing, real)
            found = count(layer.router, routing, sums, served)
        old = self.tallies.get(name)
        self.tallies[name] = unpacked(found if old is None else old.packed() + found)
        if self.keep:
            index = routing.index.detach()
            there = routing.weight != 0 if layer.router.partial or not routing.ranks else torch.ones_like(index) > 0
            there = there if real is None else there & real[:, None]
            self.index.setdefault(name, []).append(index.where(there, -1))

    def figures(self) -> dict[str, dict[str, float]]:
        """Return the five figures of every layer that was called."""
        return {name: summarise(tally) for name, tally in self.tallies.items()}


@contextmanager
def observe(model: nn.Module, keep: bool = False) -> Iterator[Observation]:
    """Collect routing statistics of all layers while the block runs, in training or evaluation.

    With activation checkpointing, recomputed segments are counted twice. A layer that was compiled together with its
    model is recompiled; to avoid this, observe a forward pass of the uncompiled model under ``no_grad``.

    Parameters
    ----------
    model : Module
    keep : bool
        Whether to store the selected leaves of every token.

    Yields
    ------
    Observation

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import MoE, observe
    >>> layer = MoE(8, 16, 4, top_k=2)
    >>> with observe(layer, keep=True) as seen:
    ...     _ = layer(torch.randn(5, 8))
    >>> torch.cat(seen.index[""]).shape  # experts of every token
    torch.Size([5, 2])
    """
    seen = Observation(keep)
    found = layers(model)
    before = {name: layer.observer for name, layer in found.items()}
    for name, layer in found.items():
        layer.observer = lambda *call, name=name, layer=layer: seen.add(name, layer, *call)
    try:
        yield seen
    finally:
        for name, layer in found.items():
            layer.observer = before[name]


class History:
    """Record the five routing statistics and the loads of every layer over optimiser steps. Call `add` after each step.

    Parameters
    ----------
    model : Module

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = MoE(8, 16, n_experts=4)
    >>> optimizer, history = torch.optim.SGD(layer.parameters(), 0.1), History(layer)
    >>> for _ in range(3):
    ...     layer(torch.randn(50, 8)).square().mean().backward()
    ...     optimizer.step()
    ...     history.add()
    >>> history.load("").shape
    torch.Size([3, 4])
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = layers(model)
        self._figures: dict[str, list[dict[str, float]]] = {name: [] for name in self.layers}
        self._load: dict[str, list[Tensor]] = {name: [] for name in self.layers}

    def add(self) -> None:
        """Take down the last finished step."""
        for name, layer in self.layers.items():
            tally = layer.tally()
            self._figures[name].append(summarise(tally))
            self._load[name].append((tally.load / tally.load.sum().clamp_min(1)).cpu())

    def load(self, name: str) -> Tensor:
        """Return the load shares ``(steps, L)`` of a layer."""
        self._check(name)
        if not self._load[name]:
            raise ValueError("no step was added: call add() after every optimizer.step()")
        return torch.stack(self._load[name])

    def figure(self, name: str, key: str) -> list[float]:
        """Return one of the five figures of a layer by step; nan where a step had no token."""
        self._check(name)
        require_one_of("key", key, KEYS)
        return [step.get(key, float("nan")) for step in self._figures[name]]

    def _check(self, name: str) -> None:
        """Raise unless a layer has that name."""
        if name not in self.layers:
            raise ValueError(f"no layer is called {name!r}: they are {', '.join(map(repr, self.layers)) or 'none'}")


def collapse(seen: nn.Module | Observation) -> list[str]:
    """List the layers whose router has collapsed, one sentence per layer with a remedy; empty if there are none.

    A router counts as collapsed if more than a quarter of its experts received no token, or if one expert has more than
    90 % of the largest possible share (1 / S of the assignments with S experts per token) and more than four times the
    mean load. A layer without a finished step, or with fewer than three tokens and assignments per expert, is listed as
    unknown.

    Parameters
    ----------
    seen : Module or Observation
        A model (its last finished step, filled up by earlier ones where that was short) or what `observe` collected.

    Returns
    -------
    list of str

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = MoE(8, 16, n_experts=4)
    >>> collapse(layer)
    ['layer itself: no step has finished yet, so nothing is known']
    """
    if isinstance(seen, nn.Module):
        tallies = {name: unpacked(layer.balancer.recent) for name, layer in layers(seen).items()}
    else:
        tallies = seen.tallies
    words = []
    for name, tally in tallies.items():
        title, found = f"layer {name or 'itself'}", summarise(tally)
        if not found:
            words.append(f"{title}: no step has finished yet, so nothing is known")
            continue
        if max(tally.offered, tally.tokens) < FEW * len(tally.load):
            words.append(f"{title}: {tally.offered:.0f} assignments are too few for {len(tally.load)} experts to tell")
            continue
        dead, share, ratio = found["dead fraction"], found["maximum share"], found["load ratio"]
        slots = max(float(tally.offered / tally.tokens), 1.0)
        if dead > DEAD or (share > CROWDED / slots and ratio > 4):
            words.append(
                f"{title}: {dead:.0%} of the experts served no token and the busiest has {share:.0%} of the "
                f"assignments, {ratio:.1f} times the mean. Raise balance_weight, use balance='bias', or lower the "
                "learning rate of the router"
            )
    return words
