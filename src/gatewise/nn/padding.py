"""Padding: the mask that a model is called with reaches the layers inside it, whatever its blocks pass on."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from gatewise.nn.layer import layers_of


class MaskFollower:
    """Hooks that hand a model's padding mask to its layers; made by `follow_mask`, taken off by `remove`."""

    def __init__(self, model: nn.Module, argument: str, padding: bool) -> None:
        self.argument, self.padding = argument, padding
        self.mask: Tensor | None = None
        layers = layers_of(model)
        self.place = _place(model, argument)
        self.handles = [model.register_forward_pre_hook(self._note, with_kwargs=True)]
        self.handles += [layer.register_forward_pre_hook(self._pass, with_kwargs=True) for layer in layers]

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self.handles:
            handle.remove()

    def _note(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = args[self.place] if self.place is not None and self.place < len(args) else None
        mask = kwargs.get(self.argument, given)
        self.mask = ~mask.bool() if self.padding and mask is not None else mask

    def _pass(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if self.mask is None or "mask" in kwargs:
            return None
        rows = args[0].shape[:-1]
        mask = self.mask if len(rows) == 1 else self.mask[:, -rows[-1] :]  # a cache holds the tokens before
        return args, {**kwargs, "mask": mask.reshape(rows) if mask.numel() == rows.numel() else mask}


def _place(model: nn.Module, argument: str) -> int | None:
    """Return the position of an argument of a model's forward; None if it goes by keyword only."""
    known = inspect.signature(model.forward).parameters
    positional = [name for name, one in known.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    if argument not in known and not any(one.kind is one.VAR_KEYWORD for one in known.values()):
        raise ValueError(
            f"the forward of {type(model).__name__} has no argument {argument!r}: name one of {', '.join(known)}"
        )
    return positional.index(argument) if argument in positional else None


def follow_mask(model: nn.Module, argument: str = "attention_mask", padding: bool = False) -> MaskFollower:
    """Pass the padding mask of a model on to all its MoE layers.

    Padding is then excluded from all routing statistics. The mask is kept until the next call of the model, so segments
    that are recomputed in the backward pass get it too.

    Parameters
    ----------
    model : Module
    argument : str
        Name of the argument of the model's forward that holds the mask ``(batch, length)``.
    padding : bool
        False: the mask is true (or one) for real tokens. True: it is true for padding, like torch's
        ``src_key_padding_mask``.

    Returns
    -------
    MaskFollower
        Its method `remove` undoes the call.

    Raises
    ------
    ValueError
        If the model has no MoE layer, or its forward has no such argument.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import MoE
    >>> class Model(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.mlp = MoE(4, 8, 2)
    ...
    ...     def forward(self, x, attention_mask=None):
    ...         return self.mlp(x)
    >>> model = Model()
    >>> follower = follow_mask(model)
    >>> model(torch.randn(1, 3, 4), attention_mask=torch.tensor([[1, 1, 0]])).sum().backward()
    >>> int(model.mlp.balancer.now[-3])  # tokens that count
    2
    """
    return MaskFollower(model, argument, padding)
