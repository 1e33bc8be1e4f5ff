"""The built-in experts of a layer as one module each, made of linear layers that tools look for by their class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewise.nn.experts import FFN
from gatewise.nn.finding import layers_of
from gatewise.nn.layer import MoE
from gatewise.nn.units import unit


class ExpertNetwork(nn.Module):
    """One feed-forward network ``down(fn(up(x)))`` of two linear layers, ``(n, d) -> (n, d_out)``.

    For "swiglu" the first half of the outputs of `up` goes through the activation and multiplies the second.

    Parameters
    ----------
    experts : FFN
    number : int
        Which of its networks: its weights are copied, with dtype, device, gradient flags and mode.
    """

    def __init__(self, experts: FFN, number: int) -> None:
        super().__init__()
        self.activation = experts.activation
        pairs = (experts.w_in, experts.b_in), (experts.w_out, experts.b_out)
        self.up, self.down = (_linear(weight, bias, number) for weight, bias in pairs)
        self.train(experts.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output."""
        out: Tensor = self.down(unit(self.activation).apply(self.up(x)))
        return out


@torch.no_grad()
def separate_experts(model: nn.Module) -> nn.Module:
    """Replace the batch of built-in experts of every layer by one module each, in place, and return the model.

    Outputs do not change. Tools that look for ``torch.nn.Linear`` find the experts then: dynamic quantisation, pruning,
    adapters by module names. Layers run slower, by the backend "loop", and `save_layer` cannot write them.

    Parameters
    ----------
    model : Module
        A layer or a model with layers. An optimiser has to be made anew.

    Returns
    -------
    Module

    Raises
    ------
    ValueError
        If the model has no layer, or the experts of one are spread over processes, parametrized, wrapped, or modules
        already.

    Examples
    --------
    >>> from gatewise.nn import MoE
    >>> layer, x = MoE(6, 8, n_experts=4), torch.randn(5, 6)
    >>> before = layer(x)
    >>> bool((separate_experts(layer)(x) - before).abs().max() < 1e-6), layer.experts[0]
    (True, ExpertNetwork(
      (up): Linear(in_features=6, out_features=8, bias=False)
      (down): Linear(in_features=8, out_features=6, bias=False)
    ))
    """
    found = layers_of(model)
    for layer in found:
        _require_plain(layer)
    made: dict[nn.Module, nn.ModuleList] = {}  # layers that share experts go on sharing them
    for layer in found:
        if isinstance(layer.experts, FFN):
            batch = layer.experts
            if batch not in made:
                made[batch] = nn.ModuleList(ExpertNetwork(batch, e) for e in range(batch.n_experts))
            layer.experts = made[batch]
        if isinstance(layer.shared, FFN):
            layer.shared = ExpertNetwork(layer.shared, 0)  # type: ignore[assignment]  # called as the batch of one is
        layer.backend = "auto" if layer.backend == "grouped" else layer.backend
    return model


def _require_plain(layer: MoE) -> None:
    """Raise unless the experts of a layer are those of this library, of one process and without parametrizations."""
    for name, experts in (("experts", layer.experts), ("shared", layer.shared)):
        parametrized = getattr(experts, "parametrizations", None)  # see torch.nn.utils.parametrize
        if isinstance(parametrized, nn.ModuleDict):
            weights = ", ".join(parametrized)
            raise ValueError(
                f"layer.{name} has parametrizations, of {weights}, which separate experts would not have: remove them "
                f"by torch.nn.utils.parametrize.remove_parametrizations(layer.{name}, name), and give them to the "
                "linear layers afterwards"
            )
    if layer.ranks is not None:
        raise ValueError("the experts of a layer are spread over processes: separate them before they are spread")
    if isinstance(layer.experts, nn.ModuleList):
        raise ValueError("the experts of a layer are modules already, a ModuleList: there is nothing to separate")
    if type(layer.experts) is not FFN:
        raise ValueError(
            f"the experts of a layer are {type(layer.experts).__name__}, and only built-in ones can be separated: take "
            "wrappers, such as adapters, off first, or make a ModuleList of your own experts"
        )


def _linear(weight: Tensor, bias: Tensor | None, number: int) -> nn.Linear:
    """Return a linear layer with the weights ``(inputs, outputs)`` of one network of a batch."""
    _, inputs, outputs = weight.shape
    own = nn.Linear(inputs, outputs, bias is not None, device=weight.device, dtype=weight.dtype)
    own.weight.copy_(weight[number].mT)
    own.weight.requires_grad_(weight.requires_grad)
    if bias is not None:
        own.bias.copy_(bias[number])
        own.bias.requires_grad_(bias.requires_grad)
    return own
