"""Which layers a model has, by the names of its modules."""

from __future__ import annotations

from torch import nn

from gatewise.nn.layer import MoE


def layers(model: nn.Module) -> dict[str, MoE]:
    """Find the MoE layers of a model by module name; a model that is itself a layer has the name ``""``."""
    return {name: module for name, module in model.named_modules() if isinstance(module, MoE)}


def layers_of(model: nn.Module) -> list[MoE]:
    """Return the layers of a model; raise ValueError if there are none."""
    found = list(layers(model).values())
    if not found:
        raise ValueError(f"{type(model).__name__} has no MoE layer: build it with MoE, or call replace_ffn first")
    return found


def require_layer(given: nn.Module) -> MoE:
    """Return what was given if it is a layer, or raise a TypeError that names the layers inside it."""
    if isinstance(given, MoE):
        return given
    inside = ", ".join(map(repr, layers(given))) if isinstance(given, nn.Module) else ""
    raise TypeError(f"{type(given).__name__} is no MoE: give {f'one of its layers, {inside}' if inside else 'a layer'}")
