"""How well predictions order times of which some are censored."""

from __future__ import annotations

import numpy as np

CELLS = 2**22  # pairs compared at once


def concordance(time: np.ndarray, event: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the share of comparable pairs that predictions order as the times are: Harrell's C (1982).

    A pair is comparable if the shorter time is that of an event; equal predictions count one half. 0.5 is chance, 1 is
    the right order; NaN where no pair is comparable.

    Parameters
    ----------
    time, predicted : ndarray (n,)
    event : ndarray (n,)
        1 at the time of an event, 0 where it is later.
    weight : ndarray (n,), optional
        A pair weighs the product of those of its rows.

    Examples
    --------
    >>> concordance(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0]), np.array([1.0, 5.0, 2.0]))
    1.0
    >>> concordance(np.array([1.0, 2.0]), np.array([1.0, 1.0]), np.array([3.0, 3.0]))
    0.5
    """
    n = len(time)
    weight = np.ones(n) if weight is None else weight
    firsts = np.flatnonzero(event > 0)
    right = total = 0.0
    size = max(1, CELLS // max(n, 1))
    for at in range(0, len(firsts), size):
        some = firsts[at : at + size]
        later = time[some, None] < time
        later |= (time[some, None] == time) & (event == 0)  # censored then: the event is later
        pair = later * (weight[some, None] * weight)
        order = np.where(predicted > predicted[some, None], 1.0, np.where(predicted == predicted[some, None], 0.5, 0.0))
        right += float((pair * order).sum())
        total += float(pair.sum())
    return right / total if total else float("nan")
