"""Layers of transformers that hold two linear layers among others, and no network to swap: BERT, BART, OPT, torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatewise.nn.dense import TOLERANCE, UNCALLABLE, holds_ffn, is_linear, linear_layers, needs, random_copy, read_ffn

TORCH = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


class NetworkPlace(NamedTuple):
    """Where a layer keeps its feed-forward network: the paths of two linear layers and of the function between them.

    Attributes
    ----------
    first, activation, last : str
    rates : str
        The attribute with the dropout between them: a module, or a rate; empty if there is none.
    """

    first: str
    activation: str
    last: str
    rates: str = ""


PLACES = (  # the first whose paths all exist serves; those of torch, OPT and BART, BERT, and BLOOM and MPT
    NetworkPlace("linear1", "activation", "linear2", "dropout"),
    NetworkPlace("fc1", "activation_fn", "fc2", "activation_dropout"),
    NetworkPlace("intermediate.dense", "intermediate.intermediate_act_fn", "output.dense"),
    NetworkPlace("dense_h_to_4h", "gelu_impl", "dense_4h_to_h"),
    NetworkPlace("up_proj", "act", "down_proj"),
)


class _Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def place_of(layer: nn.Module) -> NetworkPlace | None:
    """Return where a layer keeps its feed-forward network; None if it is not one of the PLACES."""
    for place in PLACES:
        first, function, last = (_at(layer, path) for path in place[:3])
        replaced = isinstance(layer, TORCH) or isinstance(last, nn.Identity)
        if callable(function) and isinstance(first, nn.Module) and (replaced or (is_linear(first) and is_linear(last))):
            return place
    return None


def place_inside(layer: nn.Module) -> NetworkPlace | None:
    """Return where a layer keeps its network among other things; None if it is the network, or has none."""
    place = place_of(layer)
    whole = place is not None and holds_ffn(layer) and set(linear_layers(layer)) == {place.first, place.last}
    return None if whole else place


def network_of(layer: nn.Module, place: NetworkPlace) -> nn.Module:
    """Return the feed-forward network that a layer applies, its dropout left out.

    Raises
    ------
    ValueError
        If it has been replaced already, or the layer does more than apply it.
    """
    first, function, last = (_at(layer, path) for path in place[:3])
    if not is_linear(first):
        raise ValueError(f"its {place.first} is {type(first).__name__}: its network has been replaced already")
    network = nn.Sequential(first, function if isinstance(function, nn.Module) else _Function(function), last)
    network.train(layer.training)
    if not isinstance(layer, TORCH):
        _require_equal(layer, place)
    return network


def install(model: nn.Module, layer: nn.Module, place: NetworkPlace, network: nn.Module) -> None:
    """Put a network in the place of a layer's; the dropout behind it stays.

    In evaluation torch computes whole blocks, and encoders of them, by code of its own that reads ``linear1.weight``;
    the block and the encoders of the model are told not to.
    """
    _put(layer, place.first, network)
    _put(layer, place.last, nn.Identity())
    _put(layer, place.activation, nn.Identity())
    if place.rates:
        rate = getattr(layer, place.rates, None)
        setattr(layer, place.rates, nn.Identity() if isinstance(rate, nn.Module) else 0.0)
    if isinstance(layer, nn.TransformerEncoderLayer):
        layer.activation_relu_or_gelu = 0
    for encoder in model.modules():
        if isinstance(encoder, nn.TransformerEncoder) and any(layer is one for one in encoder.layers):
            encoder.use_nested_tensor = False


class _Read(nn.Module):
    """A network as it is read."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.read = read_ffn(network)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(x)


@torch.no_grad()
def _require_equal(layer: nn.Module, place: NetworkPlace) -> None:
    """Raise unless a copy of a layer computes the same with its network as it is read in the place of its own."""
    probe = random_copy(layer)
    first, function, last = (_at(probe, path) for path in place[:3])
    inner = function if isinstance(function, nn.Module) else _Function(function)
    network = _Read(nn.Sequential(first, inner, last))
    with torch.device("cpu"):
        rows = torch.randn(1, 6, first.in_features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        wanted = _run(probe, rows)
        install(probe, probe, place, network)
        try:
            reason = f"relative error {float((_run(probe, rows) - wanted).norm() / wanted.norm()):.2g}"
            same = bool((_run(probe, rows) - wanted).norm() < TOLERANCE * wanted.norm())
        except ValueError as cause:  # what stands between no longer fits
            reason, same = str(cause), False
    if not same:
        raise ValueError(
            f"{type(layer).__name__} does more between {place.first} and {place.last} than apply {place.activation} "
            f"({reason:.200}): replace them by hand"
        )


def _run(layer: nn.Module, rows: Tensor) -> Tensor:
    """Return what a layer makes of rows; where it needs more arguments: None, the rows, or a mask of ones."""
    reasons = []
    for value in (None, rows, rows.new_ones(1, 1, rows.shape[1], rows.shape[1])):
        try:
            out: Any = layer(rows, **dict.fromkeys(needs(layer), value))
            return out if isinstance(out, Tensor) else out[0]
        except UNCALLABLE as cause:
            reasons.append(f"{type(cause).__name__}: {cause}")
    raise ValueError(
        f"{type(layer).__name__} cannot be run on hidden states alone ({reasons[0]:.120}), so that its network cannot "
        "be checked: replace its linear layers by hand"
    )


def _at(layer: nn.Module, path: str) -> Any:
    """Return what stands at a path; None where nothing does."""
    found: Any = layer
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _put(layer: nn.Module, path: str, value: nn.Module) -> None:
    """Set what stands at a path."""
    parent, _, name = path.rpartition(".")
    owner = layer.get_submodule(parent)
    if not isinstance(getattr(owner, name), nn.Module):
        delattr(owner, name)  # a function, which torch would keep beside the module
    setattr(owner, name, value)
