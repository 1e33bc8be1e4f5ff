"""How much many claims of one study may be decided by chance: the false discovery rate of its verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import numpy as np
from scipy.stats import false_discovery_control, norm

from gatewise.theory.claims import VerdictKind, allowed
from gatewise.theory.verdict import Verdict


def false_discovery_rates(verdicts: Sequence[Verdict]) -> tuple[float, ...]:
    """Return, for each verdict, the expected share of wrong ones among those of the study that are as sure or surer.

    Benjamini and Hochberg's adjustment (1995) of a p-value: of a supported claim the larger of the two one-sided tests
    that the slope lies outside the range that the claim allows, of a contradicted one the test that it lies inside. The
    slope is normal with the standard deviation of its bootstrap. NaN where the slope decided nothing, and where only a
    population exponent did.
    """
    values = np.array([_p_value(verdict) for verdict in verdicts])
    known = np.isfinite(values)
    found = np.full(len(values), nan)
    if known.any():
        found[known] = false_discovery_control(values[known], method="bh")
    return tuple(found.tolist())


def _p_value(verdict: Verdict) -> float:
    slope, (low, high) = verdict.slope, allowed(verdict.claim)
    finite = slope.draws[np.isfinite(slope.draws)]
    if not len(finite) or verdict.claim.kind == "slower_than_polynomial":
        return nan
    spread = max(float(finite.std()), 1e-300)
    inside = bool(low <= slope.low and slope.high <= high)
    outside = bool(slope.high < low or slope.low > high)
    if verdict.word is VerdictKind.supported and inside:
        return float(max(norm.cdf((low - slope.value) / spread), norm.cdf((slope.value - high) / spread)))
    if verdict.word in (VerdictKind.contradicted, VerdictKind.differs) and outside:
        return float(norm.cdf(-max(low - slope.value, slope.value - high) / spread))
    return nan
