"""What happens to layers once per optimiser step: one hook on all torch optimisers, the only global of this room.

Balancing, temperature schedules and diagnostics need to know when a step ends, and no forward or backward pass can
tell. Every layer is listed here while it lives; after ``optimizer.step()`` those whose parameters it holds end their
step, their tallies averaged over the processes first.
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

if TYPE_CHECKING:
    from gatewise.nn.layer import MoE

_order = itertools.count()
_live: weakref.WeakValueDictionary[int, MoE] = weakref.WeakValueDictionary()


def register(layer: MoE) -> None:
    """List a layer, so that the end of a step reaches it."""
    _live[next(_order)] = layer


def finish_step(model: nn.Module) -> None:
    """End an optimiser step for all layers of a model, in training loops without a torch optimiser.

    Balancing, annealing and diagnostics work per optimiser step. With a torch optimiser the step ends automatically
    after ``optimizer.step()``.

    Parameters
    ----------
    model : Module

    Raises
    ------
    ValueError
        If the model has no MoE layer.
    """
    _finish(layers_of(model))


def layers_of(model: nn.Module) -> list[MoE]:
    """Return the layers of a model; raise ValueError if there are none."""
    from gatewise.nn.layer import MoE

    found = [module for module in model.modules() if isinstance(module, MoE)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no MoE layer: build it with MoE, or call replace_ffn first")
    return found


@torch.no_grad()
def _finish(layers: list[MoE]) -> None:
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
    _finish([layer for _, layer in sorted(_live.items()) if id(layer.first_parameter()) in held])


register_optimizer_step_post_hook(_after_step)
