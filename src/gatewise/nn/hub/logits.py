"""Layers in the place of sparse blocks: the models around them find the router's logits, and outputs of two parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gatewise.nn.hub.architectures import ARCHITECTURES, BLOCKS
from gatewise.nn.hub.shared import GatedShared
from gatewise.nn.layer import MoE
from gatewise.nn.router import Router, Routing

MOST = 5  # transformers reads the logits off one of the first five parts of what a router returns


class LogitsRecorder(nn.Module):
    """Passes the logits of a layer's router on, by a call that transformers records as one of its own routers.

    ``model(..., output_router_logits=True)`` hooks all modules of a certain class, which `recorder` adds to this one.

    Parameters
    ----------
    experts : int
        How many of the logits are recorded: those of the experts that are chosen among each other.
    names : tuple of str
        Tensors that the class has, which a model draws anew when it draws its weights: they are empty here.
    """

    def __init__(self, experts: int, names: tuple[str, ...] = ()) -> None:
        nn.Module.__init__(self)  # and not the router of transformers, which has weights
        self.experts, self.names = experts, names
        for name in names:
            self.register_buffer(name, torch.empty(0), persistent=False)

    def forward(self, logits: Tensor) -> tuple[Tensor, ...]:
        """Return the logits ``(T, E)``, in every place from which they may be read."""
        return (logits[:, : self.experts],) * MOST

    def record(self, router: Router, given: Any, routing: Routing) -> None:
        """Hook of the layer's router: pass the logits of a routing on."""
        self(routing.scores[0][:, 0])

    def extra_repr(self) -> str:
        return f"experts={self.experts}"

    def __reduce__(self) -> Any:
        router = next(kind for kind in type(self).__mro__[1:] if not issubclass(kind, LogitsRecorder))
        return recorder, (router, self.experts, self.names), self.__dict__.copy()


def recorder(router: type[nn.Module], experts: int, names: tuple[str, ...] = ()) -> LogitsRecorder:
    """Return a recorder that is of the class of a router of transformers."""
    return type("LogitsRecorder", (LogitsRecorder, router), {})(experts, names)


def record_logits(layer: MoE | GatedShared, block: Any, always: int) -> None:
    """Let ``output_router_logits=True`` find the logits of a layer where it finds those of a block.

    Those of the last experts, which are chosen `always`, are none to transformers.
    """
    row = ARCHITECTURES[BLOCKS[type(block).__name__]]
    moe = layer.layer if isinstance(layer, GatedShared) else layer
    theirs = getattr(block, row.router.partition(".")[0])
    names = tuple(name for name, _ in [*theirs.named_parameters(recurse=False), *theirs.named_buffers(recurse=False)])
    moe.gate = recorder(type(theirs), moe.router.n_leaves - always, names)
    for hook in theirs._forward_hooks.values():  # of a model that has recorded before: it puts them on once
        if "output_capturing_hook" in getattr(hook, "__qualname__", ""):
            moe.gate.register_forward_hook(hook)
    moe.router.register_forward_hook(moe.gate.record)


class WithLogits(nn.Module):
    """A layer that returns its output and the router's logits, as blocks of gpt-oss and Llama 4 do.

    Parameters
    ----------
    layer : MoE
    flat : bool
        Whether both are flattened to one dimension, as blocks of ERNIE 4.5 VL give them.
    """

    def __init__(self, layer: MoE, flat: bool = False) -> None:
        super().__init__()
        self.layer, self.flat = layer, flat

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the mixture and the logits ``(T, E)``; `mask` as in `MoE`."""
        seen: list[Tensor] = []
        handle = self.layer.router.register_forward_hook(lambda router, given, routing: seen.append(routing.scores[0]))
        try:
            out = self.layer(x, mask)
        finally:
            handle.remove()
        logits = seen[0][:, 0] if seen else torch.empty(0)
        return (out.flatten(), logits.flatten()) if self.flat else (out, logits)


def unwrapped(layer: MoE | GatedShared | WithLogits) -> MoE | GatedShared:
    """Return the layer that stands in a model for a block, without what returns two parts of it."""
    return layer.layer if isinstance(layer, WithLogits) else layer


def in_place_of(block: nn.Module, layer: nn.Module) -> nn.Module:
    """Return what stands in a model for a block: the layer, or one that returns two parts as the block does."""
    style = BLOCKS.get(type(block).__name__)
    returns = ARCHITECTURES[style].returns if style else "one"
    return layer if returns == "one" or not isinstance(layer, MoE) else WithLogits(layer, flat=returns == "flat pair")
