"""The dendrogram of a mixing measure: atoms merged pair by pair, and how many atoms it suggests."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture
from gatewise.objective.parameterization import from_paths


class Dendrogram(NamedTuple):
    """A measure merged step by step.

    Attributes
    ----------
    mixtures, measures : tuple
        With k, k - 1, ..., 1 atoms; measures keep their batch dimension (S, ...).
    heights : Tensor (S, k - 1)
        Dissimilarity of the two atoms that each step merges.
    """

    mixtures: tuple[Mixture, ...]
    measures: tuple[Measure, ...]
    heights: Tensor

    def at(self, count: int) -> tuple[Mixture, Measure]:
        """Return the measure with `count` atoms."""
        step = len(self.measures) - count
        return self.mixtures[step], self.measures[step]

    def criterion(self, log_likelihood: Tensor, n: float) -> Tensor:
        """Return the dendrogram criterion ``-(height + log(n) mean log-likelihood)`` (S, k - 1) of k, ..., 2 atoms.

        Parameters
        ----------
        log_likelihood : Tensor (S, k - 1)
            Mean log-likelihood of the merged measures with k, ..., 2 atoms.
        n : float
        """
        return -(self.heights + torch.log(torch.tensor(float(n))) * log_likelihood)


def dendrogram(mixture: Mixture, measure: Measure) -> Dendrogram:
    """Merge, again and again, the two atoms with the smallest ``p_i p_j / (p_i + p_j) ||theta_i - theta_j||^2``.

    The masses p are ``exp(bias)``, normalised to one so that translations of the biases change nothing; merged atoms
    add their masses and average their gates, experts and variances by them. Merged atoms of an over-fitted mixture
    recover the rate of the exactly fitted one without a search over the number of atoms (2510.12744; the rule is
    recalled from it, not quoted).

    Parameters
    ----------
    mixture : Mixture
        One level, a gate with a bias.
    measure : Measure
        With one batch dimension (S, ...).

    Raises
    ------
    ValueError
        For more levels, shared parameters, and gates or families that this does not cover.
    """
    _check(mixture)
    mixtures, measures, heights = [mixture], [measure], []
    for count in range(mixture.branching[0] - 1, 0, -1):
        measure, height = _merged(mixture, measure)
        mixture = replace(mixture, branching=(count,))
        mixtures.append(mixture)
        measures.append(measure)
        heights.append(height)
    stacked = torch.stack(heights, -1) if heights else torch.zeros(measure.members, 0)
    return Dendrogram(tuple(mixtures), tuple(measures), stacked)


def _check(mixture: Mixture) -> None:
    score = mixture.gates[0].score
    apart = not mixture.shared and all(spec.per == "branch" for spec in score.parameters(1).values())
    known = all(spec.role == "scale" for spec in mixture.family.parameters(1).values())
    if not (mixture.depth == 1 and apart and score.bias() and known):
        raise ValueError(
            f"gates {mixture.gates}, family {mixture.family}, branching {mixture.branching}: a dendrogram is drawn of "
            "mixtures with one level, a bias and nothing shared between atoms, and families with a scale or nothing"
        )


def _merged(mixture: Mixture, measure: Measure) -> tuple[Measure, Tensor]:
    """Merge the closest pair of every member; return the measure with one atom fewer and the heights (S,)."""
    values = measure.paths()
    scales, name = mixture.paths("family", "scale"), mixture.gates[0].score.required_bias()
    values |= {path: values[path] ** 2 for path in scales}  # variances are averaged
    bias = values.pop(f"gates.0.{name}")
    mass = torch.softmax(bias, -1)
    theta = torch.cat([value.flatten(2) for value in values.values()], -1)
    gap = ((theta.unsqueeze(2) - theta.unsqueeze(1)) ** 2).sum(-1)
    both = mass.unsqueeze(2) + mass.unsqueeze(1)
    apart = mass.unsqueeze(2) * mass.unsqueeze(1) / both.clamp_min(1e-300) * gap
    k = bias.shape[-1]
    apart = torch.where(torch.ones(k, k).triu(1).bool(), apart, torch.inf)
    height, place = apart.flatten(1).min(-1)
    first, second = place // k, place % k
    # row i of `share` says how much of every atom goes into the new atom i
    rows = torch.stack([torch.cat([torch.arange(j), torch.arange(j + 1, k)]) for j in second.tolist()])
    share = torch.nn.functional.one_hot(rows, k).to(mass.dtype)
    member = torch.arange(len(mass))
    share[member, first - (first > second).long(), second] = 1.0
    pooled = share @ mass.unsqueeze(-1)
    weight = share * mass.unsqueeze(1) / pooled.clamp_min(1e-300)
    out = {
        path: (weight @ value.flatten(2)).reshape(len(mass), k - 1, *value.shape[2:]) for path, value in values.items()
    }
    out |= {path: out[path].sqrt() for path in scales}
    level = bias.logsumexp(-1, keepdim=True)
    return from_paths({**out, f"gates.0.{name}": pooled[..., 0].log() + level}, 1), height
