"""Padding: the masks that the sequences of a model come with reach the layers inside, whatever its blocks pass on."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.nn.finding import layers, layers_of

SEQUENCES = {"input_ids", "inputs_embeds"}  # arguments by which the stacks of transformers are given a sequence


class SequenceMask:
    """The mask that a module was last called with, for the layers inside it; a copy has none."""

    def __init__(self, module: nn.Module, name: str, argument: str, padding: bool) -> None:
        self.name, self.argument, self.padding = name or type(module).__name__, argument, padding
        self.place = _place(module, argument)
        self.mask: Tensor | None = None
        self.start: int | None = None  # tokens that a cache holds before those of this call

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"mask": None, "start": None}

    def note(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note what a module is called with."""
        given = args[self.place] if self.place is not None and self.place < len(args) else None
        mask = kwargs.get(self.argument, given)
        if isinstance(mask, Mapping):  # one for every kind of attention, with the same padding
            mask = next((one for one in mask.values() if one is not None), None)
        if mask is not None and not isinstance(mask, Tensor):
            raise ValueError(
                f"{self.argument} of {self.name} is a {type(mask).__name__}: a layer cannot read padding off it; call "
                "`remove` of what follow_mask returned, or give the model a tensor"
            )
        self.mask = ~mask.bool() if self.padding and mask is not None else mask
        found = (getattr(value, "get_seq_length", None) for value in (*args, *kwargs.values()))  # that of a cache
        held = next((length for length in found if length is not None), None)
        self.start = None if held is None or mask is None else int(held())

    def hand(
        self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Give a layer the mask of its tokens."""
        if self.mask is None or "mask" in kwargs or len(args) > 1:
            return None
        return args, {**kwargs, "mask": self._of(args[0].shape[:-1])}

    def _of(self, rows: torch.Size) -> Tensor | None:
        """Return the mask of tokens of a shape: ``(batch, length)``, or some or all of them in one row."""
        assert self.mask is not None
        mask = self.mask if self.mask.ndim == 2 else self._attended(self.mask, rows)
        in_a_row = 1 in (len(rows), rows[0]) and rows.numel() < mask.numel()
        unpadded = in_a_row and rows.numel() == int((mask != 0).sum())
        if len(rows) == 2 and mask.shape[1] > rows[1] and mask.shape[0] == rows[0]:
            start = mask.shape[1] - rows[1] if self.start is None else self.start
            mask = mask[:, start : start + rows[1]]
        elif in_a_row and self.start is not None and (self.start or not unpadded) and rows.numel() % len(mask) == 0:
            mask = mask[:, self.start :][:, : rows.numel() // len(mask)]  # new tokens, one sequence behind the other
        if mask.numel() == rows.numel():
            return mask.reshape(rows)
        if unpadded:
            return None  # the model took the padding out
        raise ValueError(
            f"{self.argument} of {self.name} has the shape {tuple(self.mask.shape)}, the tokens of a layer inside "
            f"{tuple(rows)}: they are not the sequence of that mask; call follow_mask on the module that is called "
            "with their own, or give the layer mask= yourself"
        )

    def _attended(self, mask: Tensor, rows: torch.Size) -> Tensor:
        """Return which tokens attend to themselves by a mask ``(batch, heads or none, queries, keys)``.

        True or one where a query attends to a key, or in floating point what is added to the scores.
        """
        allowed = mask > torch.finfo(mask.dtype).min / 2 if mask.is_floating_point() else mask.bool()
        if mask.ndim == 4:
            allowed = allowed.any(1)
        queries, keys = allowed.shape[-2:]
        start = keys - queries if self.start is None else self.start
        own = allowed.diagonal(start, -2, -1)
        return own.expand(rows[0], -1) if len(own) == 1 and len(rows) == 2 else own


class MaskFollower:
    """Hooks that hand the padding masks of a model to its layers; made by `follow_mask`, taken off by `remove`."""

    def __init__(self, model: nn.Module, argument: str, padding: bool) -> None:
        layers_of(model)
        sources = {"": SequenceMask(model, "", argument, padding)}
        self.handles = [model.register_forward_pre_hook(sources[""].note, with_kwargs=True)]
        for name, layer in layers(model).items():
            owner = _owner(model, name, argument)
            if owner not in sources:
                module = model.get_submodule(owner)
                sources[owner] = SequenceMask(module, owner, argument, padding)
                self.handles.append(module.register_forward_pre_hook(sources[owner].note, with_kwargs=True))
            self.handles.append(layer.register_forward_pre_hook(sources[owner].hand, with_kwargs=True))

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self.handles:
            handle.remove()


def _owner(model: nn.Module, layer: str, argument: str) -> str:
    """Return the name of the innermost module around a layer that is called with a sequence and its mask."""
    owner, path = "", layer.split(".") if layer else []
    for depth in range(1, len(path)):
        name = ".".join(path[:depth])
        module = model.get_submodule(name)
        known = inspect.signature(module.forward).parameters
        if argument in known and SEQUENCES & set(known):
            owner = name
        elif isinstance(module, nn.TransformerEncoder | nn.TransformerDecoder) and argument not in known:
            own = "tgt" if isinstance(module, nn.TransformerDecoder) else "src"
            raise ValueError(
                f"{name} has no argument {argument!r}: it is given the mask of its own sequence; call "
                f"follow_mask(model.{name}, '{own}_key_padding_mask', padding=True), and so for every other stack"
            )
    return owner


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
    """Pass the padding masks of a model on to all its MoE layers.

    Padding is then excluded from all routing statistics. A layer follows the innermost module around it that takes a
    sequence (`input_ids` or `inputs_embeds`) and the mask under the same name, such as the encoder or the decoder of
    T5, else the model: without a mask for a decoder, all its tokens count. A mask is kept until the next call of its
    module, so segments that are recomputed in the backward pass get it too.

    Parameters
    ----------
    model : Module
    argument : str
        Name of the argument that holds the mask: ``(batch, length)``, also with the tokens that a cache holds, with
        numbers of packed sequences, zero for padding, or of queries and keys ``(batch, heads, queries, keys)``, by
        which padding does not attend to itself. The tokens of a layer may be in one row, also without padding.
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
        If the model has no MoE layer, or its forward has no such argument, or a stack inside it takes its mask under
        another name; when the model is called, if a mask does not fit the tokens of a layer.

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
