"""When an optimiser step of a layer ends: hooks on all torch optimisers, the only globals of this package.

Balancing, temperature schedules and diagnostics work per optimiser step, and no forward or backward pass can tell when
one ends. Every layer is listed here while it lives. A step of an optimiser ends a step of a layer

- if it holds the layer's first trainable parameter, or the flat parameter that FullyShardedDataParallel made of it. Of
  optimisers that call each other, as ZeroRedundancyOptimizer does, only the outermost counts, so that all processes
  end a step at the same place;
- if no optimiser holds it, but its gates have changed since: then the optimiser updates copies of the parameters, in
  float32 for example, and from there on all its steps are the layer's;
- if it holds other parameters of the layer, and steps twice before any optimiser that holds the first one, as where the
  experts are trained alone.

What was counted in a backward pass belongs to the gradient of that pass. A step that a GradScaler skips, for gradients
that are not finite, ends none, and its tokens are dropped: in the next forward pass where no optimiser has stepped, and
with a fused optimiser, which steps and changes nothing, at its step. The tokens of a generator's backward pass
through a discriminator are set aside when the generator's optimiser steps, and dropped when the discriminator's does,
if the gradient that was there is gone by then.
"""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import torch
import torch.distributed as dist
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from gatewise.nn.calls import calling_scaler, making_state, running_steps
from gatewise.nn.dispatch import transformed, without_modes
from gatewise.nn.loss_scale import follow
from gatewise.nn.watch import Stepped, StepWatch

_order = itertools.count()
_live: WeakValueDictionary[int, Stepped] = WeakValueDictionary()
_watches: WeakKeyDictionary[Stepped, StepWatch] = WeakKeyDictionary()
_waiting: WeakSet[Stepped] = WeakSet()  # layers that the last optimiser may hold copies of


class _Held:
    """The layers whose first trainable parameter an optimiser holds, itself or in a flat one of FSDP1."""

    def __init__(self, optimizer: Optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.parameters = {id(p) for p in parameters}
        flat = [p for p in parameters if getattr(p, "_is_flat_param", False)]  # see torch's FlatParameter
        self.modules = {id(part.module) for p in flat for part in p._param_infos}

    def __contains__(self, layer: Stepped) -> bool:
        first = layer.first_parameter()
        if first is not None:
            return id(first) in self.parameters
        return bool(self.modules) and any(id(module) in self.modules for module in layer.modules())

    def part_of(self, layer: Stepped) -> bool:
        """Return whether the optimiser holds any parameter of a layer that trains."""
        return any(id(p) in self.parameters for p in layer.parameters() if p.requires_grad)


def register(layer: Stepped) -> None:
    """List a layer, so that the end of a step reaches it."""
    _live[next(_order)] = layer
    _watches[layer] = StepWatch(layer)


def before_forward(layer: Stepped, x: torch.Tensor, training: bool) -> None:
    """End the step of an optimiser of copies, if their values have arrived; in training, see who ends the steps."""
    with without_modes():  # such as selective checkpointing: none of this is part of the layer's computation
        if _waiting and not running_steps():  # inside a step is a closure, whose optimiser moves parameters as it likes
            _settle()
        watch = _watches.get(layer) if training else None  # a replica of DataParallel is not listed
        if watch is not None:
            watch.drop_skipped(layer)
            watch.look(layer, x)


def counts_tokens(layer: Stepped, x: torch.Tensor) -> bool:
    """Return whether tokens count for the balancing: in training, where a parameter of the layer trains.

    A layer without parameters may be one that FSDP1 has made flat.
    """
    if not layer.training or not torch.is_grad_enabled() or x.numel() == 0:
        return False
    if transformed():
        warnings.warn(
            "an MoE layer in training inside a transform of torch.func: nothing is counted and no auxiliary loss "
            "acts there; call model.eval() first, which changes nothing else but the noise of the choice",
            stacklevel=3,
        )
        return False
    return layer.first_parameter() is not None or next(layer.parameters(), None) is None


def processes(layer: Stepped) -> int:
    """Return how many processes add up their tallies of a layer."""
    together = layer.synchronise and dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if together else 1


@torch.no_grad()
def finish(layers: Sequence[Stepped], skipped: torch.Tensor | None = None) -> None:
    """End an optimiser step for layers: tallies of all processes are added up, biases and temperatures move.

    Where `skipped` is positive the optimiser has changed nothing, and the tokens are dropped.
    """
    if not layers:
        return
    together = [layer for layer in layers if processes(layer) > 1]
    if together:
        device = together[0].balancer.now.device
        flat = torch.cat([layer.balancer.now.to(device) for layer in together])
        dist.all_reduce(flat)
        for layer, part in zip(together, flat.split([len(one.balancer.now) for one in together]), strict=True):
            layer.balancer.now.copy_(part)
    for layer in layers:
        layer.balancer.finish(layer.router, skipped)
        _watches[layer].finished(layer)
        _waiting.discard(layer)


def finish_by_hand(layers: Sequence[Stepped]) -> None:
    """End a step for layers because their user says so."""
    for layer in layers:
        _watches[layer].by_hand = True
        _watches[layer].take_back(layer)
    finish(layers)


def _layers() -> list[Stepped]:
    return [layer for _, layer in sorted(_live.items())]


def _settle() -> None:
    """End the step of layers whose gates have changed after the step of an optimiser that does not hold them.

    All processes come here at the same time, as they call the layers and step the optimisers in the same order.
    """
    changed = [layer for layer in _layers() if layer in _waiting and _watches[layer].changed_after_step(layer)]
    later = [_watches[layer].learn(layer) for layer in changed]
    finish(changed)
    for layer, tally in zip(changed, later, strict=True):
        layer.balancer.now.add_(tally)


def _before_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    if running_steps() > 1 or making_state():
        return
    _settle()
    listed = _layers()
    if any(layer.ranks is not None for layer in listed):
        held = _Held(optimizer)
        for layer in (one for one in listed if one in held):
            layer.check()
    for layer in listed:
        _watches[layer].before_step(layer)


@torch.no_grad()
def _after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    if running_steps() > 1 or making_state():
        return
    held, own, scaler = _Held(optimizer), [], calling_scaler()
    skipped = None if scaler is None else getattr(optimizer, "found_inf", None)  # told to fused optimisers
    for layer in _layers():
        watch = _watches[layer]
        if layer in held or watch.learns_from(layer, optimizer, not watch.known and held.part_of(layer)):
            watch.holder = weakref.ref(optimizer)
            watch.take_back(layer)
            follow(layer.balancer, scaler, watch.half)
            own.append(layer)
        else:
            watch.set_aside(layer, optimizer)
            if watch.waits:
                _waiting.add(layer)
    finish(own, skipped)


register_optimizer_step_pre_hook(_before_step)
register_optimizer_step_post_hook(_after_step)
