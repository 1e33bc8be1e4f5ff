"""The parametric bootstrap of a likelihood ratio: two mixtures fitted to responses drawn from the smaller one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gatewise.fit.many import Plan, fit_block, in_blocks
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.result import Fit
from gatewise.fit.status import Status
from gatewise.infer.draws import drawn_responses, stream, with_responses
from gatewise.objective.rows import Rows
from gatewise.runs.workers import spread

if TYPE_CHECKING:
    from distributed import Client

TOGETHER = 25  # data sets of a block at most


class Ratio(NamedTuple):
    """The log-likelihoods of both mixtures on one data set; `sound`: neither fit is unsound.

    Attributes
    ----------
    replicate : int
        0 is the data themselves.
    small, large : float
    sound : bool
    """

    replicate: int
    small: float
    large: float
    sound: bool

    @property
    def statistic(self) -> float:
        """Twice the log-likelihood ratio: ``2 (log L_large - log L_small)``."""
        return 2.0 * (self.large - self.small)


class Comparison(NamedTuple):
    """Two mixtures and their data: what every data set, the observed one too, is fitted with.

    Attributes
    ----------
    small, large : Fit
        By maximum likelihood. Responses are drawn from the measure of `small`.
    rows : (Rows, Rows)
        The observations as each of them reads them, in one order and with the same units, without weights.
    starts : int
        Of each fit.
    seed : int
    """

    small: Fit
    large: Fit
    rows: tuple[Rows, Rows]
    starts: int
    seed: int

    def draw(self, which: int, replicate: int) -> Rows:
        """Return the rows of one mixture (0: the smaller) with the responses of a replicate; 0: with their own."""
        if replicate == 0:
            return self.rows[which]
        drawn = drawn_responses(self.small.mixture, self.small.measure, self.rows[0], stream(self.seed, replicate))
        return with_responses(self.rows[which], drawn)

    def plans(self) -> tuple[Plan, Plan]:
        """Return how the smaller and the larger mixture are fitted."""
        small, large = (
            Plan(fit.mixture, self.starts, seed=self.seed, spec=fit.spec) for fit in (self.small, self.large)
        )
        return small, large

    def key(self) -> str:
        """Return a hash of all that decides the replicates."""
        held: list[object] = [self.starts, self.seed]
        digest = hashlib.sha256()
        for fit in (self.small, self.large):
            paths = {path: value.tolist() for path, value in fit.measure.paths().items()}
            held += [repr(fit.mixture), paths, repr(fit.spec)]
        digest.update(repr(held).encode())
        for rows in self.rows:
            for part in (rows.x, rows.gate_x, rows.y, rows.offset):
                if part is not None:
                    digest.update(np.ascontiguousarray(part.read(0, rows.n).numpy()).tobytes())
            if rows.ends is not None:
                digest.update(rows.ends.numpy().tobytes())
        return digest.hexdigest()[:16]


def ratios(
    comparison: Comparison, count: int, known: Sequence[int] = (), workers: int | Client = 1
) -> Iterator[tuple[Ratio, ...]]:
    """Yield the log-likelihoods of both mixtures on the data and on `count` drawn data sets, block by block.

    Every data set is fitted in the same way, the observed one too, so that the statistic has one definition. Blocks
    depend on the sizes only: results are bitwise equal for any number of workers, and when they are continued.

    Parameters
    ----------
    comparison : Comparison
    count : int
        Number of data sets to draw.
    known : sequence of int
        Replicates that are not needed again: a block whose replicates are all known is left out.
    workers : int or distributed.Client
        Number of processes, or a client whose workers fit.
    """
    n, plans = comparison.rows[0].n, comparison.plans()
    size = min(len(in_blocks(plan, n, range(TOGETHER))[0]) for plan in plans)
    blocks = [[0], *([*range(at, min(at + size, count + 1))] for at in range(1, count + 1, size))]
    wanted = [block for block in blocks if not set(block) <= set(known)]
    yield from spread(partial(_block, comparison), wanted, workers, ordered=True)


def _block(comparison: Comparison, block: Sequence[int]) -> tuple[Ratio, ...]:
    """Return the log-likelihoods of both mixtures on every data set of a block."""
    small, large = (_fits(comparison, which, plan, block) for which, plan in enumerate(comparison.plans()))
    pairs = zip(block, small, large, strict=True)
    return tuple(Ratio(r, a.log_likelihood, b.log_likelihood, _usable(a) and _usable(b)) for r, a, b in pairs)


def _fits(comparison: Comparison, which: int, plan: Plan, block: Sequence[int]) -> Sequence[Fit]:
    """Return the fits of one mixture to the data sets of a block: in one batch, one by one where rows form units."""
    if comparison.rows[which].ends is None:
        return fit_block(plan, partial(comparison.draw, which), block)
    starts, seed = comparison.starts, comparison.seed
    drawn = (comparison.draw(which, replicate) for replicate in block)
    return [maximum_likelihood(plan.mixture, rows, plan.spec, starts=starts, seed=seed) for rows in drawn]


def _usable(fit: Fit) -> bool:
    return fit.status is not Status.unsound and isfinite(fit.log_likelihood)
