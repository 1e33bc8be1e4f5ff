"""First and second derivatives of an atom at random points, and the triangle of their QR factorisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.infer.identifiability.atoms import Atom, Function, points

BLOCK = 4096  # rows whose derivatives are held at once

Curve = Callable[[Tensor], Tensor]  # (p,) -> (n,)


def free_entries(atom: Atom) -> list[int]:
    """Return the places in theta in which derivatives are taken."""
    return [i for i, name in enumerate(atom.names) if name not in atom.held]


class Derivative(NamedTuple):
    """A first or second derivative of an atom.

    Attributes
    ----------
    entries : tuple of str
        The entries of theta in which the derivative is taken, one or two.
    mark : str
        Number of the atom when there are several.
    """

    entries: tuple[str, ...]
    mark: str = ""

    @property
    def label(self) -> str:
        """The derivative as text.

        Examples
        --------
        >>> Derivative(("coef[0]",), "1").label, Derivative(("coef[0]", "intercept")).label
        ('du1/dcoef[0]', 'd2u/dcoef[0] dintercept')
        >>> Derivative(("intercept", "intercept")).label
        'd2u/dintercept2'
        """
        if len(self.entries) == 1:
            return f"du{self.mark}/d{self.entries[0]}"
        a, b = self.entries
        return f"d2u{self.mark}/d{a}2" if a == b else f"d2u{self.mark}/d{a} d{b}"

    @property
    def first(self) -> bool:
        """Whether it is a first derivative."""
        return len(self.entries) == 1


def columns_of(atom: Atom, order: int, atoms: int) -> list[Derivative]:
    """Return the derivatives of all atoms in the order of their columns: first ones, then pairs, atom by atom."""
    names = [atom.names[i] for i in free_entries(atom)]
    i, j = torch.triu_indices(len(names), len(names)).tolist()
    entries: list[tuple[str, ...]] = [(name,) for name in names]
    entries += [(names[a], names[b]) for a, b in zip(i, j, strict=True)] if order == 2 else []
    marks = [str(k + 1) if atoms > 1 else "" for k in range(atoms)]
    return [Derivative(e, mark) for mark in marks for e in entries]


def derivatives(atom: Atom, theta: Tensor, x: Tensor, y: Tensor, order: int) -> Tensor:
    """Return the first, or first and second, derivatives at every row, ``(n, columns)``.

    All rows at once, each with its own copy of theta, so that one pass back gives the gradients of all rows. A function
    that torch cannot map over rows (one that looks at values, or changes tensors in place) is differentiated direction
    by direction instead.

    Raises
    ------
    ValueError
        If the atom does not return one float64 number per row.
    """
    value = atom.function(x, y, theta)
    if value.shape != x.shape[-1:] or value.dtype != torch.float64:
        raise ValueError(
            f"the atom returned {tuple(value.shape)} numbers of {value.dtype} for x {tuple(x.shape)}: return one "
            f"float64 number per row, shape ({x.shape[-1]},)"
        )
    free = torch.tensor(free_entries(atom), dtype=torch.long)
    try:
        return _by_rows(atom.function, theta, free, x, y, order)
    except RuntimeError:  # no rule to map over rows; a fault of the function itself is raised again below
        return _by_directions(lambda at: atom.function(x, y, theta.index_copy(0, free, at)), theta[free], order)


def _by_rows(function: Function, theta: Tensor, free: Tensor, x: Tensor, y: Tensor, order: int) -> Tensor:
    def single(at: Tensor, x_row: Tensor, y_row: Tensor) -> Tensor:
        return function(x_row[:, None], y_row[None], theta.index_copy(0, free, at))[0]

    with torch.enable_grad():
        at = theta[free].expand(len(y), -1).clone().requires_grad_(True)
        value = torch.func.vmap(single, (0, 1, 0))(at, x, y)
        first = _gradient(value, at, order == 2)
        if order == 1:
            return first
        second = [_gradient(first[:, i], at, False)[:, i:] for i in range(len(free))]
    return torch.cat([first, *second], -1).detach()


def _gradient(value: Tensor, at: Tensor, again: bool) -> Tensor:
    """Return the gradient of ``value (n,)`` in its own row of ``at (n, p)``; zero where it does not depend on it."""
    if not value.requires_grad:
        return torch.zeros_like(at)
    (found,) = torch.autograd.grad(value.sum(), at, create_graph=again, retain_graph=True, allow_unused=True)
    return torch.zeros_like(at) if found is None else found


def _by_directions(curve: Curve, at: Tensor, order: int) -> Tensor:
    with torch.enable_grad():
        entries = at.detach().clone().requires_grad_(True)
        first = _directions(curve(entries), entries)
        if order == 1:
            return torch.stack(first, -1).detach()
        second = [_directions(column, entries)[i:] for i, column in enumerate(first)]
    return torch.stack(first + [column for columns in second for column in columns], -1).detach()


def _directions(value: Tensor, entries: Tensor) -> list[Tensor]:
    """Return the derivative of value ``(n,)`` in every entry, differentiable again.

    The gradient of ``weight . value`` is linear in `weight`; its derivative in `weight` is the wanted column.
    """
    if not value.requires_grad:
        return [torch.zeros_like(value)] * len(entries)
    weight = torch.zeros_like(value, requires_grad=True)
    (pulled,) = torch.autograd.grad(value, entries, weight, create_graph=True, allow_unused=True)
    if pulled is None:
        return [torch.zeros_like(value)] * len(entries)
    columns = (torch.autograd.grad(p, weight, create_graph=True, allow_unused=True)[0] for p in pulled)
    return [torch.zeros_like(value) if column is None else column for column in columns]


def triangle(atom: Atom, thetas: Sequence[Tensor], order: int, n: int, generator: torch.Generator) -> Tensor:
    """Return R of the QR factorisation of all columns at n random points, block by block of rows.

    Columns are the derivatives of all atoms, then the atoms themselves. Points are uniform on ``[-1.5, 1.5]^d``,
    responses as the atom says. R has the same norms, singular values and null vectors as the columns, to rounding; a
    matrix of products would square the condition.

    Raises
    ------
    ValueError
        If a derivative is not finite.
    """
    upper: Tensor | None = None
    for start in range(0, n, BLOCK):
        rows = min(BLOCK, n - start)
        x = points(generator, atom.d, rows)
        y = atom.response(generator, rows)
        values = torch.stack([atom.function(x, y, theta) for theta in thetas], -1)
        block = torch.cat([*(derivatives(atom, theta, x, y, order) for theta in thetas), values], -1)
        if not bool(block.isfinite().all()):
            bad = int((~block.isfinite().all(0)).nonzero()[0])
            name = [*(one.label for one in columns_of(atom, order, len(thetas))), *("u" for _ in thetas)][bad]
            raise ValueError(f"{name} is not finite at some point: write the function so that its derivatives exist")
        stacked = block if upper is None else torch.cat([upper, block])
        upper = torch.linalg.qr(stacked, "r").R
    assert upper is not None
    return upper
