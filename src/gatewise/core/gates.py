"""Gate = Score x Link, and the dict GATES of the gates of the literature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

from torch import Tensor

from gatewise.core.links import Link, NormalisedSigmoid, Sigmoid, Softmax, TopK
from gatewise.core.names import name_of, resolve
from gatewise.core.predictors import AffineTransform, Derivatives, Params, weighted_gram
from gatewise.core.scores import Activated, Affine, Bias, Cosine, Distance, Quadratic, Score, Tempered


@dataclass(frozen=True)
class Gate:
    """A gate: a score for every branch, and a link from scores to weights, ``w(x) = link(s_1(x), ..., s_K(x))``.

    A Gate is a description and holds no parameters; `weights` takes them as arguments.

    Attributes
    ----------
    score : Score
    link : Link

    Examples
    --------
    >>> import torch
    >>> gate = Gate(Distance(), Softmax())
    >>> params = {"center": torch.tensor([[0.0], [2.0]]), "bias": torch.zeros(2)}
    >>> gate.weights(params, torch.tensor([[1.0]])).T.tolist()
    [[0.5, 0.5]]
    """

    score: Score = Affine()
    link: Link = Softmax()

    def __post_init__(self) -> None:
        for part, value in (("score", self.score), ("link", self.link)):
            if isinstance(value, str | type):
                raise TypeError(f"{part}={value!r}: give an instance, such as Gate(Cosine(), Sigmoid())")

    def weights(self, params: Params, x: Tensor) -> Tensor:
        """Return the weights ``(*B, K, n)`` of the branches at x ``(*B, d, n)``."""
        return self.link.weights(self.score(params, x))

    def log_weights(self, params: Params, x: Tensor) -> Tensor:
        """Return the log weights ``(*B, K, n)`` of the branches at x ``(*B, d, n)``."""
        return self.link.log_weights(self.score(params, x))

    def numerators(self, params: Params, x: Tensor) -> Tensor:
        """Return the weights before they are divided by their sum over branches, ``(*B, K, n)``."""
        score = self.score(params, x)
        return self.link.logits(score).value.exp() if self.link.normalised else self.link.weights(score)

    def logits(self, params: Params, x: Tensor) -> Derivatives:
        """Return the logits, whose softmax gives the weights, with their derivatives in the parameters."""
        score = self.score.value_and_derivatives(params, x)
        value, first, second = self.link.logits(score.value)
        if first is None:
            return score
        assert second is not None
        inner = score.curvature

        def curvature(weights: Tensor) -> Tensor:
            block = weighted_gram(score.jacobian.expand(shape), weights * second)
            return block if inner is None else block + inner(weights * first)

        shape = first.shape[:-1] + score.jacobian.shape[-2:]
        return Derivatives(value, score.jacobian * first.unsqueeze(-2), curvature)

    def translation(self) -> tuple[str, ...]:
        """Return the parameters whose common shift over the branches leaves the weights unchanged."""
        return self.score.translation() if self.link.translation_invariant else ()

    def tangents(self, params: Params) -> dict[str, Tensor]:
        """Return the directions ``(G, *B, K, *shape)`` at `params` that leave the weights unchanged, shifts aside."""
        return self.score.tangents(params, self.link.translation_invariant)

    def held(self) -> tuple[str, ...]:
        """Return the parameters that the model cannot identify and the fixed gauge holds."""
        return self.score.held()

    def plain(self) -> Gate:
        """Return the gate without values of its own for single features."""
        return replace(self, score=cast(Score, self.score.plain()))

    def smoothed(self, radius: float) -> Gate:
        """Return the gate with its kinks rounded off over `radius`."""
        return replace(self, score=cast(Score, self.score.smoothed(radius)))

    def standardised(self, frame: AffineTransform) -> Gate:
        """Return the gate that is defined on standardised inputs, as a gate of the inputs in their own units."""
        return replace(self, score=self.score.standardised(frame))

    def rescale(self, params: Params, frame: AffineTransform) -> tuple[Gate, dict[str, Tensor]] | None:
        """Return gate and parameters with the same weights on standardised inputs, or None if there are none."""
        moved = self.score.rescale(params, frame)
        return None if moved is None else (replace(self, score=cast(Score, moved[0])), moved[1])


GATES: dict[str, Gate] = {
    "equal": Gate(Bias(free=False), Softmax()),
    "constant": Gate(Bias(), Softmax()),
    "softmax": Gate(Affine(), Softmax()),
    "laplace": Gate(Distance(), Softmax()),
    "scaled-laplace": Gate(Tempered(Distance()), Softmax()),
    "sigmoid": Gate(Affine(), Sigmoid()),
    "normalised-sigmoid": Gate(Affine(), NormalisedSigmoid()),
    "euclidean-sigmoid": Gate(Tempered(Distance()), NormalisedSigmoid()),
    "dense-to-sparse": Gate(Tempered(Affine()), Softmax()),
    "activation-dense-to-sparse": Gate(Tempered(Activated(Affine(), "sigmoid")), Softmax()),
    "tanh-dense-to-sparse": Gate(Tempered(Activated(Affine(), "tanh")), Softmax()),
    "gelu-dense-to-sparse": Gate(Tempered(Activated(Affine(), "gelu")), Softmax()),
    "relu-dense-to-sparse": Gate(Tempered(Activated(Affine(), "relu")), Softmax()),
    "activated": Gate(Activated(Affine(), "sigmoid"), Softmax()),
    "cosine": Gate(Cosine(), Softmax()),
    "perturbed-cosine": Gate(Cosine(floor=0.1), Softmax()),
    "quadratic": Gate(Quadratic(), Softmax()),
    "quadratic-monomial": Gate(Quadratic(monomial=True), Softmax()),
    "top-k": Gate(Affine(), TopK(Softmax(), 2)),
}


def gate(choice: Any) -> Gate:
    """Return the gate called `choice`, or the gate itself; see `names.resolve`.

    Examples
    --------
    >>> gate("laplace").score
    Distance(metric=None, radius=0.0)
    """
    return resolve(choice, Gate, "GATES", GATES)


def gates(choice: Any, depth: int | None = None) -> tuple[Gate, ...]:
    """Return one gate for each of `depth` levels, outer first; by default for as many as are given.

    Given is one for all levels, or one per level in a list, a tuple, or a text of names, ``sigmoid/cosine``.

    Examples
    --------
    >>> [describe(one) for one in gates("sigmoid/cosine")], len(gates("laplace", 2))
    (['sigmoid', 'cosine'], 2)
    """
    given = choice.split("/") if isinstance(choice, str) and "/" in choice else choice
    if not isinstance(given, list | tuple):
        return (gate(given),) * (depth or 1)
    if not given:
        raise ValueError("gate is empty: give one gate, or one per level, outer first")
    if depth is not None and len(given) != depth:
        raise ValueError(
            f"gate has {len(given)} entries for {depth} level{'s' * (depth > 1)}: give one gate for all levels, or one "
            "per level, outer first"
        )
    return tuple(map(gate, given))


def describe(chosen: Gate) -> str:
    """Return the name of a gate in GATES, or its composition in words."""
    return name_of(chosen, GATES) or f"{chosen.link}({chosen.score})"
