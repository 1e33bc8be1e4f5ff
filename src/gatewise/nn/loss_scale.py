"""The factor of the auxiliary gradients: that by which a GradScaler multiplies the loss."""

from __future__ import annotations

import warnings

import torch
from torch.amp.grad_scaler import GradScaler

from gatewise.nn.balance import Balancer


def set_scale(balancer: Balancer, scale: float | GradScaler | None) -> None:
    """Set the factor of the auxiliary gradients; None: that of the scaler that steps the optimiser, as at first."""
    balancer.scale_given = scale is not None
    if isinstance(scale, GradScaler) and scale.is_enabled():
        _share(balancer, scale)
    else:
        _set(balancer, 1.0 if scale is None or isinstance(scale, GradScaler) else float(scale))


def follow(balancer: Balancer, scaler: GradScaler | None, half: bool) -> None:
    """Take the factor of the scaler that has just stepped the optimiser of a layer, unless its user has set one.

    Without a scaler the factor is one; in float16 (`half`) this is said, for a loss may be scaled in another way.
    """
    if balancer.scale_given:
        return
    if scaler is not None and scaler.is_enabled():
        _share(balancer, scaler)
        return
    _set(balancer, 1.0)
    if half and balancer.has_loss and not balancer.scale_told:
        balancer.scale_told = True
        warnings.warn(
            "an MoE layer trains in float16, and no GradScaler stepped its optimiser: if the loss is multiplied by a "
            "factor before the backward pass, the auxiliary gradients are too small by that factor. Call "
            "gatewise.nn.set_loss_scale(model, factor), with 1 if the loss is not scaled",
            stacklevel=2,
        )


def _share(balancer: Balancer, scaler: GradScaler) -> None:
    """Use the tensor in which a scaler keeps its scale, so that every change of it is seen without waiting for it."""
    if scaler._scale is None:  # it is made when the scaler is first used
        scaler.scale(torch.ones((), device=scaler._device))
    assert scaler._scale is not None
    balancer.loss_scale, balancer.scale_shared = scaler._scale, True


def _set(balancer: Balancer, factor: float) -> None:
    if balancer.scale_shared:
        balancer.loss_scale = torch.ones((), dtype=torch.float32, device="cpu")
    balancer.scale_shared = False
    balancer.loss_scale.fill_(factor)
