"""The router logits of layers in models of transformers, which looks for modules of its own router's class."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gatewise.nn.router import Routing


class RouterOutput(nn.Module):
    """Return a routing as a router of transformers does: logits ``(T, L)``, weights and indices ``(T, S)``.

    A layer calls it with every routing, so that hooks on it see what hooks on that router would.
    """

    origin: type[nn.Module]

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, routing: Routing) -> tuple[Tensor, Tensor, Tensor]:
        """Return what hooks read."""
        return routing.scores[0][:, 0], routing.weight, routing.index

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return router_output, (self.origin,), self.__dict__


_classes: dict[type[nn.Module], type[RouterOutput]] = {}


def router_output(router: type[nn.Module]) -> RouterOutput:
    """Return a `RouterOutput` that is an instance of a router's class, too."""
    if router not in _classes:
        _classes[router] = type("RouterOutput", (RouterOutput, router), {"origin": router})
    return _classes[router]()


def recorded(router: nn.Module) -> RouterOutput:
    """Return a `RouterOutput` with the hooks of a router: a model that has been called has them in place."""
    made = router_output(type(router))
    for hook in router._forward_hooks.values():
        made.register_forward_hook(hook)
    return made
