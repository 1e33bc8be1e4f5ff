"""What a training loop tells the layers of a model: that a step ends, and by what its loss is multiplied."""

from __future__ import annotations

from torch import nn
from torch.amp.grad_scaler import GradScaler

from gatewise.nn.finding import layers_of
from gatewise.nn.loss_scale import set_scale
from gatewise.nn.steps import finish_by_hand


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

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import MoE, diagnostics, finish_step
    >>> layer = MoE(8, 16, 4)
    >>> layer(torch.randn(5, 8)).sum().backward()
    >>> finish_step(layer)  # after an update that no torch optimiser makes
    >>> list(diagnostics(layer)[""])
    ['load ratio', 'normalised entropy', 'dead fraction', 'maximum share', 'mutual information']
    """
    finish_by_hand(layers_of(model))


def set_loss_scale(model: nn.Module, scale: float | GradScaler | None) -> None:
    """Set the factor of the auxiliary gradients of all layers, to match a loss that is multiplied by a factor.

    A layer finds the scale of the GradScaler that steps its optimiser by itself. Call this function where the loss is
    scaled in another way, or where training in float16 is resumed, before the first backward pass.

    Parameters
    ----------
    model : Module
    scale : float, GradScaler or None
        A factor, for all backward passes until the next call; a scaler, whose scale is read in every backward pass; or
        None, as from the start: the scale of the GradScaler that steps the optimiser, one without a scaler.

    Raises
    ------
    ValueError
        If the model has no MoE layer.

    Examples
    --------
    >>> import torch
    >>> from gatewise.nn import MoE, set_loss_scale
    >>> layer = MoE(8, 16, 4)
    >>> set_loss_scale(layer, 1024.0)
    >>> (1024.0 * layer(torch.randn(5, 8)).sum()).backward()
    """
    for layer in layers_of(model):
        set_scale(layer.balancer, scale)
