"""Heads for the kinds of answers there are: what a model must put out, its loss, and the figures of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, roc_auc_score
from torch import Tensor


class Head(NamedTuple):
    """A kind of answers.

    Attributes
    ----------
    loss : callable
        ``(scores (n, outputs), y) -> scalar``.
    measures : callable
        ``(scores, y) -> figures by name``.
    score : callable
        ``(scores, y) -> the figure that chooses among models``, more is better.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    measures: Callable[[Tensor, Tensor], Mapping[str, float]]
    score: Callable[[Tensor, Tensor], float]


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Return the share of rows whose class has the highest score: ``scores (n, C)``, ``y (n,)``."""
    return float((_array(scores.argmax(-1)) == _array(y)).mean())


def multi_class_measures(scores: Tensor, y: Tensor) -> dict[str, float]:
    """Return accuracy, AUROC (every class against the others, mean) and macro F1: ``scores (n, C)``, ``y (n,)``."""
    probability, label, guess = _array(scores.softmax(-1)), _array(y), _array(scores.argmax(-1))
    own = label[:, None] == np.arange(probability.shape[1])
    present = np.unique(label)
    return {
        "accuracy": accuracy(scores, y),
        "auroc": float(np.mean([roc_auc_score(own[:, c], probability[:, c]) for c in two_valued(own)])),
        "f1": float(f1_score(label, guess, labels=present, average="macro", zero_division=0)),
    }


def multi_label_measures(scores: Tensor, y: Tensor) -> dict[str, float]:
    """Return AUROC, AUPRC (average precision) and F1 at probability 1/2, means over labels: ``(n, L)`` both.

    Labels with one value only among the rows have neither curve and are left out of all three.
    """
    truth, given = _array(y), _array(scores)
    labels = two_valued(truth)
    truth, given = truth[:, labels], given[:, labels]
    each = [(truth[:, c], given[:, c]) for c in range(len(labels))]
    return {
        "auroc": float(np.mean([roc_auc_score(t, s) for t, s in each])),
        "auprc": float(np.mean([average_precision_score(t, s) for t, s in each])),
        "f1": float(np.mean([f1_score(t, s > 0, zero_division=0) for t, s in each])),
    }


def has_both(truth: np.ndarray) -> np.ndarray:
    """Return which columns of truth ``(n, L)`` have both values."""
    return np.asarray(truth.min(0) != truth.max(0))


def two_valued(truth: np.ndarray) -> np.ndarray:
    """Return the columns of truth ``(n, L)`` that have both values.

    Raises
    ------
    ValueError
        If there is none: no curve is defined then.
    """
    found = np.flatnonzero(has_both(truth))
    if not len(found):
        raise ValueError(
            f"none of {truth.shape[1]} labels has both values in the {len(truth)} rows that are scored, so AUROC is "
            "undefined: score more rows, or drop labels that hardly occur"
        )
    return found


def regression_measures(scores: Tensor, y: Tensor) -> dict[str, float]:
    """Return the mean absolute error and Pearson's correlation of ``scores (n, 1)`` and ``y (n, 1)``.

    Where one of them is constant the correlation is undefined and stated as zero: such an answer tells nothing.
    """
    guess, truth = (_array(value.double()).reshape(-1) for value in (scores, y))
    constant = np.ptp(guess) == 0 or np.ptp(truth) == 0
    return {
        "mae": float(mean_absolute_error(truth, guess)),
        "correlation": 0.0 if constant else float(stats.pearsonr(truth, guess).statistic),
    }


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def of_labels(scores: Tensor, y: Tensor) -> Tensor:
    """Return the mean logistic loss over rows and labels: ``(n, L)`` both."""
    return F.binary_cross_entropy_with_logits(scores, y.to(scores.dtype))


def of_classes(scores: Tensor, y: Tensor) -> Tensor:
    """Return the cross-entropy of scores ``(n, C)`` and classes ``(n,)``."""
    return F.cross_entropy(scores, y)


def of_numbers(scores: Tensor, y: Tensor) -> Tensor:
    """Return the mean squared error: ``(n, 1)`` both."""
    return F.mse_loss(scores, y.to(scores.dtype))


MULTI_CLASS = Head(of_classes, multi_class_measures, accuracy)
MULTI_LABEL = Head(of_labels, multi_label_measures, lambda scores, y: multi_label_measures(scores, y)["auroc"])
BINARY = MULTI_LABEL  # one label
REGRESSION = Head(of_numbers, regression_measures, lambda scores, y: -regression_measures(scores, y)["mae"])


def combined(head: Head, scores: Tensor, there: Tensor) -> Tensor:
    """Return the mean of several models' scores ``(M, *, outputs)`` over those that take part, ``there (M, *)``.

    For classes, the mean of log probabilities; for labels, of log odds.
    """
    each = scores.log_softmax(-1) if head.loss is of_classes else scores
    weight = there[..., None].to(each.dtype)
    return (each * weight).sum(0) / weight.sum(0).clamp_min(torch.finfo(each.dtype).tiny)
