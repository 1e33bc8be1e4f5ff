"""A reference engine: one EM pass of k linear Gaussian experts behind a softmax gate, in chunked numpy.

Arrays are ``(B, p, n)`` and ``(B, k, n)``, rows last, read in chunks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Truth = dict[str, np.ndarray]


class Pass(NamedTuple):
    """Sums over rows: log-likelihood (B,), weighted moments of the design and with y, of y, and of the gate."""

    value: np.ndarray
    gram: np.ndarray  # (B, k, Q)
    cross: np.ndarray  # (B, k, p)
    square: np.ndarray  # (B, k)
    mass: np.ndarray  # (B, k)
    gate_gradient: np.ndarray  # (B, k - 1, p)
    gate_hessian: np.ndarray  # (B, k (k - 1) / 2, Q), pairs of the first k - 1 branches


def em_pass(x: np.ndarray, y: np.ndarray, at: Truth, chunk: int = 8192) -> Pass:
    """Sum over x ``(B, n, d)`` stored as ``(B, d, n)`` and y ``(B, n)`` at parameters with leading B.

    Replicates are taken together as long as their rows fit into one chunk.
    """
    count, _, n = x.shape
    width = max(1, chunk // n)
    parts = []
    for first in range(0, count, width):
        some = slice(first, first + width)
        here = {name: value[some] for name, value in at.items()}
        total: list[np.ndarray] = []
        for start in range(0, n, chunk):
            rows = slice(start, start + chunk)
            sums = _chunk(x[some, :, rows], y[some, rows], here)
            total = list(sums) if not total else [a + b for a, b in zip(total, sums, strict=True)]
        parts.append(total)
    return Pass(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _chunk(x: np.ndarray, y: np.ndarray, at: Truth) -> Pass:
    count, d, n = x.shape
    k = at["bias"].shape[-1]
    design = np.empty((count, d + 1, n))
    design[:, :d], design[:, d] = x, 1.0
    gate = np.concatenate([at["slope"], at["bias"][..., None]], -1)
    logits = gate @ design
    residual = at["experts"] @ design
    np.subtract(y[:, None], residual, out=residual)
    joint = residual * residual
    joint *= -0.5 / at["variance"][..., None]
    joint += logits
    joint -= 0.5 * np.log(2 * np.pi * at["variance"])[..., None]
    gate_value = _softmax(logits)
    value = _softmax(joint) - gate_value
    share, leaf = logits, joint
    i, j = np.triu_indices(d + 1)
    products = design[:, i] * design[:, j]
    pull = leaf - share
    a, b = np.triu_indices(k - 1)
    pairs = share[:, a] * share[:, b]
    pairs[:, a == b] -= share[:, : k - 1]
    weighed = leaf * y[:, None]
    turned = design.swapaxes(1, 2)
    return Pass(
        value.sum((-1, -2)),
        leaf @ products.swapaxes(1, 2),
        weighed @ turned,
        (weighed @ y[..., None])[..., 0],
        leaf.sum(-1),
        pull[:, : k - 1] @ turned,
        pairs @ products.swapaxes(1, 2),
    )


def _softmax(values: np.ndarray) -> np.ndarray:
    """Turn values (B, k, n) into their softmax over k in place; return the log of the normaliser (B, 1, n)."""
    top = values.max(1, keepdims=True)
    values -= top
    np.exp(values, out=values)
    total = values.sum(1, keepdims=True)
    values /= total
    return top + np.log(total)
