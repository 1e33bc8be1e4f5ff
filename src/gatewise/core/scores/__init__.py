"""Scores: what a gate compares. ``(params, x) -> (*B, K, n)`` for K branches and n rows.

Every gate of the literature is one of these scores with one link of `links`.
"""

from gatewise.core.scores.base import Affine, Bias, Quadratic, Score
from gatewise.core.scores.composed import Activated, Tempered
from gatewise.core.scores.distance import Cosine, Distance, SquaredDistance, expanded_square

__all__ = [
    "Activated",
    "Affine",
    "Bias",
    "Cosine",
    "Distance",
    "Quadratic",
    "Score",
    "SquaredDistance",
    "Tempered",
    "expanded_square",
]
