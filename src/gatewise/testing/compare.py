"""Comparisons that fail in words, and differences by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

EXACT, NUMERICAL = 1e-10, 2e-6  # two closed forms; a closed form against a difference quotient


def assert_close(found: Tensor, expected: Tensor, what: str, tolerance: float = EXACT) -> None:
    """Raise unless ``max |found - expected| <= tolerance (1 + max |expected|)``; equal infinities are equal.

    Parameters
    ----------
    found, expected : Tensor
    what : str
        What should hold, for the message.
    tolerance : float

    Raises
    ------
    AssertionError
        With `what`, the largest difference and where it is.

    Examples
    --------
    >>> assert_close(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]), "the two sums agree")
    Traceback (most recent call last):
    AssertionError: broken: the two sums agree (off by 0.5 at [1]: 2.5, expected 2)
    """
    if found.shape != expected.shape:
        raise AssertionError(f"broken: {what} (shape {tuple(found.shape)}, expected {tuple(expected.shape)})")
    if not found.numel():
        return
    found, expected = found.detach(), expected.detach()
    gap = torch.where(found == expected, 0.0, (found - expected).abs()).nan_to_num(torch.inf, torch.inf)
    finite = expected[expected.isfinite()]
    size = 1 + (float(finite.abs().max()) if finite.numel() else 0.0)
    if float(gap.max()) > tolerance * size:
        at = [int(i) for i in torch.unravel_index(gap.argmax(), gap.shape)]
        one, other = float(found[tuple(at)]), float(expected[tuple(at)])
        raise AssertionError(
            f"broken: {what} (off by {float(gap.max()):.3g} at {at}: {one:.10g}, expected {other:.10g})"
        )


def assert_unbiased(draws: Tensor, what: str, limit: float = 5.0) -> None:
    """Raise unless the mean of draws ``(..., n)`` is within `limit` standard errors of zero, entry by entry.

    Parameters
    ----------
    draws : Tensor
        ``(..., n)``, n independent draws.
    what : str
        What should hold, for the message.
    limit : float
        Standard errors that the mean may be away from zero.

    Raises
    ------
    AssertionError
        With `what` and the largest z-score.

    Examples
    --------
    >>> import torch
    >>> from gatewise.testing import assert_unbiased, generator
    >>> assert_unbiased(torch.randn(3, 1000, generator=generator(0)), "the draws have mean zero")
    """
    mean = draws.mean(-1)
    error = draws.std(-1) / draws.shape[-1] ** 0.5
    scale = draws.abs().amax(-1)
    z = torch.where(mean.abs() <= 1e-12 * (1 + scale), 0.0, mean / error).abs().nan_to_num(torch.inf)
    if z.numel() and float(z.max()) > limit:
        raise AssertionError(
            f"broken: {what} (a mean of {draws.shape[-1]} draws is {float(z.max()):.1f} standard errors off)"
        )


def quotient(fn: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-5) -> Tensor:
    """Return the central differences of a batched function, derivative last.

    Parameters
    ----------
    fn : callable, ``(S, P) -> (S, ...)``
    at : Tensor (P,)
    step : float
        Half the distance of the two values.

    Returns
    -------
    Tensor ``(..., P)``

    Examples
    --------
    >>> import torch
    >>> from gatewise.testing import quotient
    >>> slopes = quotient(lambda z: (z**2).sum(-1), torch.tensor([1.0, 2.0], dtype=torch.float64))
    >>> [round(float(slope), 6) for slope in slopes]
    [2.0, 4.0]
    """
    steps = step * torch.eye(len(at), dtype=at.dtype)
    if not len(at):
        return fn(at[None])[0].unsqueeze(-1)[..., :0]
    return ((fn(at + steps) - fn(at - steps)) / (2 * step)).movedim(0, -1)


def batched_derivatives(fn: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return value, gradient (P,) and Hessian (P, P) by automatic differentiation of a batched function.

    Member i of a batch of P copies gives row i of the Hessian, so two backward passes do.

    Parameters
    ----------
    fn : callable, ``(S, P) -> (S,)``
    at : Tensor (P,)
        Where the derivatives are taken.

    Returns
    -------
    (Tensor, Tensor, Tensor)
        Value, gradient (P,) and Hessian (P, P).

    Examples
    --------
    >>> import torch
    >>> from gatewise.testing import batched_derivatives
    >>> value, gradient, hessian = batched_derivatives(lambda z: (z**3).sum(-1), torch.tensor([1.0, 2.0]))
    >>> gradient.tolist(), hessian.tolist()
    ([3.0, 12.0], [[6.0, 0.0], [0.0, 12.0]])
    """
    size = len(at)
    copies = at.detach().expand(max(size, 1), size).clone().requires_grad_(True)
    value = fn(copies)
    if not value.requires_grad:
        return value[0], torch.zeros_like(at), at.new_zeros(size, size)
    (gradient,) = torch.autograd.grad(value.sum(), copies, create_graph=True)
    if not gradient.requires_grad:
        return value[0].detach(), gradient[0], at.new_zeros(size, size)
    (hessian,) = torch.autograd.grad(gradient.diagonal().sum(), copies)
    return value[0].detach(), gradient[0].detach(), hessian
