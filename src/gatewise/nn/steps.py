"""What happens to layers once per optimiser step: one hook on all torch optimisers, the only global of this room.

Balancing, temperature schedules and diagnostics need to know when a step ends, and no forward or backward pass can
tell. Every layer is listed here while it lives; after ``optimizer.step()`` those whose parameters it holds end their
step, their tallies averaged over the processes first.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from gatewise.nn.balance import Balancer
from gatewise.nn.router import Router


class Stepped(Protocol):
    """What a step needs to know of a layer."""

    balancer: Balancer
    router: Router
    synchronise: bool

    def first_parameter(self) -> nn.Parameter | None:
        """Return a parameter by which the optimiser of the layer is known."""


_order = itertools.count()
_live: weakref.WeakValueDictionary[int, Stepped] = weakref.WeakValueDictionary()


def register(layer: Stepped) -> None:
    """List a layer, so that the end of a step reaches it."""
    _live[next(_order)] = layer


@torch.no_grad()
def finish(layers: Sequence[Stepped]) -> None:
    """End an optimiser step for layers: statistics are averaged over processes, biases and temperatures move."""
    if not layers:
        return
    together = [layer for layer in layers if layer.synchronise]
    if together and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        device = together[0].balancer.now.device
        flat = torch.cat([layer.balancer.now.to(device) for layer in together])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for layer, part in zip(together, flat.split([len(one.balancer.now) for one in together]), strict=True):
            layer.balancer.now.copy_(part)
    for layer in layers:
        layer.balancer.finish(layer.router)


def _after_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    finish([layer for _, layer in sorted(_live.items()) if id(layer.first_parameter()) in held])


register_optimizer_step_post_hook(_after_step)
