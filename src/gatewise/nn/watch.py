"""What is known of the optimiser steps of one layer: who ends them, and what was counted for others."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol
from weakref import WeakSet

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer
from torch.utils.weak import TensorWeakRef

from gatewise.nn.balance import Balancer
from gatewise.nn.calls import running_steps
from gatewise.nn.router import Router

UNANNOUNCED = 2  # updates of a layer without a step of an optimiser, before its user is told


class Stepped(Protocol):
    """What a step needs to know of a layer."""

    balancer: Balancer
    router: Router
    synchronise: bool
    training: bool
    ranks: Any

    def first_parameter(self) -> nn.Parameter | None:
        """Return a parameter by which the optimiser of the layer is known."""

    def modules(self) -> Iterator[nn.Module]:
        """Return all modules of the layer."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return all parameters of the layer."""

    def check(self) -> None:
        """Raise if the layer cannot train as it is."""


class Aside(NamedTuple):
    """What a layer had counted when an optimiser stepped that does not hold it.

    Attributes
    ----------
    tally : Tensor (3 L + 4,)
    gradient : TensorWeakRef, optional
        The gradient of the layer's first parameter at that time, if there was one.
    optimizer : weak reference to an Optimizer
    gates : Tensor, optional
        The layer's first parameter before that step, where the optimiser may hold a copy of it.
    """

    tally: Tensor
    gradient: TensorWeakRef | None
    optimizer: weakref.ref[Optimizer]
    gates: Tensor | None


class StepWatch:
    """The optimiser of a layer, as far as it is known, and what was set aside for it.

    Attributes
    ----------
    holder : weak reference to an Optimizer, optional
        The optimiser that ended the last step.
    learned : bool
        Whether the holder is known by its effect, not by the parameters that it holds.
    by_hand : bool
        Whether the user ends the steps.
    half : bool
        Whether the last forward pass in training computed in float16.
    """

    def __init__(self, layer: Stepped) -> None:
        self.holder: weakref.ref[Optimizer] | None = None
        self.learned = self.by_hand = self.half = self.told = False
        self.aside: Aside | None = None
        self.before: Tensor | None = None  # the first parameter before the step that is running
        self.seen: Tensor | None = None  # the first parameter in the last forward pass
        self.changes = 0
        self.parts: WeakSet[Optimizer] = WeakSet()  # those that hold parameters of the layer, but not the first
        self.scale: tuple[int, int] | None = None  # the scaler's tensor and its version in the last forward pass
        self.mark = _mark(layer)

    @property
    def known(self) -> bool:
        """Whether it is known who ends the steps."""
        return self.by_hand or (self.holder is not None and self.holder() is not None)

    @property
    def waits(self) -> bool:
        """Whether the layer's parameters have to be looked at: they may be changed by the last optimiser."""
        return self.aside is not None and self.aside.gates is not None

    def pending(self, layer: Stepped) -> bool:
        """Return whether anything was counted since the last step, or since something was set aside."""
        return _mark(layer) != self.mark

    def drop_skipped(self, layer: Stepped) -> None:
        """Drop what was counted for a step that the GradScaler skipped: its scale is a new one, and nothing stepped.

        A scaler updates its scale in place once per step, which the version of the tensor tells without reading it.
        """
        balancer, before = layer.balancer, self.scale
        self.scale = (id(balancer.loss_scale), balancer.loss_scale._version) if balancer.scale_shared else None
        if before is None or self.scale is None or before[0] != self.scale[0] or before == self.scale:
            return
        if self.pending(layer):
            balancer.now.zero_()
            self.mark = _mark(layer)

    def look(self, layer: Stepped, x: Tensor) -> None:
        """Note a forward pass in training; warn if parameters change and no optimiser says so."""
        device = x.device.type
        cast = device != "meta" and torch.is_autocast_enabled(device)
        self.half = (torch.get_autocast_dtype(device) if cast else x.dtype) == torch.float16
        if self.known or self.told or self.aside is not None or running_steps():
            return
        if not isinstance(layer.first_parameter(), nn.Parameter | None):  # given for this call, by functional_call
            return
        now = _first_values(layer)
        if self.seen is not None and _differ(now, self.seen):
            self.changes += 1
        self.seen = now
        if self.changes >= UNANNOUNCED:
            self.told = True
            warnings.warn(
                f"the parameters of an MoE layer have changed {self.changes} times, but no step of a torch optimiser "
                "was seen: its balancing, temperatures and statistics stand still. Call "
                "gatewise.nn.finish_step(model) after every update",
                stacklevel=4,
            )

    def before_step(self, layer: Stepped) -> None:
        """Keep the values that a layer has before the step of an optimiser that may hold copies of them."""
        if not self.known and (self.pending(layer) or self.aside is not None):
            self.before = _first_values(layer)

    def learns_from(self, layer: Stepped, optimizer: Optimizer, part: bool) -> bool:
        """Return whether a step that has just ended is the layer's, by what is known or by its effect on the layer.

        An optimiser of some of the layer's parameters (`part`) is, if it steps again before the optimiser of the gates.
        """
        if self.known:
            return self.learned and not self.by_hand and self.holder is not None and self.holder() is optimizer
        again = part and optimizer in self.parts
        if part:
            self.parts.add(optimizer)
        self.learned = again or (self.before is not None and _differ(_first_values(layer), self.before))
        return self.learned

    def changed_after_step(self, layer: Stepped) -> bool:
        """Return whether the values of a layer that was set aside are others than before that step."""
        gates = None if self.aside is None else self.aside.gates
        return gates is not None and not self.known and _differ(_first_values(layer), gates)

    def learn(self, layer: Stepped) -> Tensor:
        """Take the optimiser that stepped last for the layer's, count what was set aside; return what came later."""
        assert self.aside is not None
        now, aside, self.aside = layer.balancer.now, self.aside, None
        self.holder, self.learned = aside.optimizer, True
        later = now.clone()
        now.copy_(aside.tally)
        return later

    def set_aside(self, layer: Stepped, optimizer: Optimizer) -> None:
        """Set aside what was counted for an optimiser that has stepped and does not hold the layer."""
        gates, self.before = self.before, None
        if not self.pending(layer):
            return
        self.take_back(layer)
        first = layer.first_parameter()
        gradient = None if first is None or first.grad is None else TensorWeakRef(first.grad)
        now = layer.balancer.now
        self.aside = Aside(now.clone(), gradient, weakref.ref(optimizer), gates)
        now.zero_()
        self.mark = _mark(layer)

    def take_back(self, layer: Stepped) -> None:
        """Count what was set aside, unless new tokens were counted since and the gradient of the old ones is gone."""
        aside, self.aside = self.aside, None
        if aside is None or (self.pending(layer) and _gone(layer, aside.gradient)):
            return
        layer.balancer.now.add_(aside.tally.to(layer.balancer.now.device))

    def finished(self, layer: Stepped) -> None:
        """Note that a step has ended."""
        self.before = self.seen = self.aside = None
        self.changes = 0
        self.parts.clear()
        self.mark = _mark(layer)


def first_trainable(module: nn.Module) -> nn.Parameter | None:
    """Return the first parameter of a module that trains, in the order of ``parameters()``, which makes names too."""
    for parameter in module._parameters.values():
        if parameter is not None and parameter.requires_grad:
            return parameter
    for child in module._modules.values():
        found = None if child is None else first_trainable(child)
        if found is not None:
            return found
    return None


def _mark(layer: Stepped) -> tuple[int, int]:
    """Return what changes whenever a layer counts tokens."""
    return id(layer.balancer.now), layer.balancer.now._version


def _gone(layer: Stepped, gradient: TensorWeakRef | None) -> bool:
    """Return whether a gradient that a layer had is no longer its gradient."""
    first = layer.first_parameter()
    return gradient is not None and (first is None or first.grad is not gradient())


@torch.no_grad()
def _first_values(layer: Stepped) -> Tensor | None:
    """Return a copy of the first trainable parameter, of its local part if it is spread over processes."""
    first: Tensor | None = layer.first_parameter()
    if first is not None and dist.is_available() and dist.is_initialized():
        from torch.distributed.tensor import DTensor

        first = first.to_local() if isinstance(first, DTensor) else first
    return None if first is None or first.is_meta else first.detach().clone()


def _differ(one: Tensor | None, other: Tensor | None) -> bool:
    """Return whether two copies of one parameter, whole or in part alike, have other values."""
    if one is None or other is None or one.shape != other.shape or one.device != other.device:
        return False
    return not torch.equal(one, other.to(one.dtype))
