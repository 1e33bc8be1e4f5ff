"""The bootstrap of a fit: refits to drawn data sets, with their experts in the order of the fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gatewise.core.mixture import Mixture, leaf_weights
from gatewise.fit.least_squares import least_squares
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.order import is_orderable, reordered
from gatewise.fit.result import Fit
from gatewise.fit.torch_state import standard_torch
from gatewise.infer.draws import drawn_responses, drawn_units, stream, with_responses
from gatewise.objective import terms
from gatewise.objective.rows import MOST, Block, Rows
from gatewise.runs.workers import spread

if TYPE_CHECKING:
    from distributed import Client

BootstrapKind: TypeAlias = Literal["case", "parametric"]
TOGETHER = 10  # data sets of a block
APART = -1e12  # agreement of experts that cannot stand for each other


class Replicate(NamedTuple):
    """A refit: its number, status, log-likelihood and the numbers of its measure (F,), experts in the fit's order."""

    number: int
    status: str
    log_likelihood: float
    values: list[float]


class Resampling(NamedTuple):
    """A fit, its data, and how data sets are drawn and fitted.

    Attributes
    ----------
    fit : Fit
    rows : Rows
        The data of the fit.
    kind : {"case", "parametric"}
    starts : int
        Starts of every refit; the first one is the fit itself.
    seed : int
    """

    fit: Fit
    rows: Rows
    kind: BootstrapKind
    starts: int
    seed: int

    def draw(self, replicate: int) -> Rows:
        """Return a data set, by its number from 1."""
        fit, numbers = self.fit, stream(self.seed, replicate)
        if self.kind == "case":
            return drawn_units(self.rows, fit.spec.weights == "sampling", numbers)
        return with_responses(self.rows, drawn_responses(fit.mixture, fit.measure, self.rows, numbers))

    def refit(self, replicate: int) -> Replicate:
        """Return the fit to a data set, with its experts in the order of the fit to the data."""
        rows = self.draw(replicate)
        search = maximum_likelihood if self.fit.mixture.family.has_density else least_squares
        found = search(self.fit.mixture, rows, self.fit.spec, starts=self.starts, start=self.fit, seed=self.seed)
        found = in_order(found, self.fit, self.rows)
        values = [float(one) for value in found.measure.paths().values() for one in value.reshape(-1)]
        return Replicate(replicate, str(found.status), found.log_likelihood, values)

    def key(self) -> str:
        """Return a hash of all that decides the replicates."""
        paths = {path: value.tolist() for path, value in self.fit.measure.paths().items()}
        held = [repr(self.fit.mixture), paths, repr(self.fit.spec), self.kind, self.starts, self.seed]
        digest = hashlib.sha256(repr(held).encode())
        for part in (self.rows.x, self.rows.gate_x, self.rows.y, self.rows.offset):
            if part is not None:
                digest.update(np.ascontiguousarray(part.read(0, self.rows.n).numpy()).tobytes())
        for one in (self.rows.weight, self.rows.ends):
            digest.update(b"-" if one is None else one.numpy().tobytes())
        return digest.hexdigest()[:16]


def replicates(
    resampling: Resampling, count: int, known: Sequence[int] = (), workers: int | Client = 1
) -> Iterator[tuple[Replicate, ...]]:
    """Yield the refits to `count` data sets, block by block; bitwise equal for any number of workers.

    A block whose replicates are all `known` is left out.
    """
    blocks = [range(at, min(at + TOGETHER, count + 1)) for at in range(1, count + 1, TOGETHER)]
    wanted = [block for block in blocks if not set(block) <= set(known)]
    yield from spread(partial(_block, resampling), wanted, workers, ordered=True)


def _block(resampling: Resampling, block: Sequence[int]) -> tuple[Replicate, ...]:
    with standard_torch():
        return tuple(resampling.refit(replicate) for replicate in block)


def in_order(fit: Fit, like: Fit, rows: Rows) -> Fit:
    """Return a fit with its experts in the order of another one, whose responsibilities of the rows they share most.

    Experts that bounds, fixed values or ties tell apart keep their places.
    """
    mixture = fit.mixture
    if mixture.n_leaves == 1 or not is_orderable(fit):
        return fit
    agreement = torch.zeros(mixture.n_leaves, mixture.n_leaves, dtype=torch.float64)
    for block in rows.blocks(MOST):
        first, second = (_taken(mixture, one, block) for one in (like, fit))
        agreement += first @ second.T
    return reordered(fit, assigned(mixture, agreement.numpy()))[0]


def _taken(mixture: Mixture, fit: Fit, block: Block) -> Tensor:
    """Return how much of every unit belongs to every leaf ``(L, m)``; after least squares by the gates alone."""
    if mixture.family.has_density:
        return terms.unit_responsibilities(mixture, fit.measure, block)
    return leaf_weights(mixture, fit.measure, block.gate_x)


def assigned(mixture: Mixture, agreement: np.ndarray) -> list[int]:
    """Return which leaf belongs to every place: the permutation of a tree with the largest agreement ``(L, L)``.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> assigned(Mixture((GATES["constant"],), (3,)), np.eye(3)[[2, 0, 1]])
    [2, 0, 1]
    """
    units, laws = mixture.expert.kinds(), mixture.family.kinds()
    count = mixture.branching[-1]
    kinds = [(units[b % len(units)], laws[b % len(laws)]) for b in range(count)]
    apart = np.array([[APART * (one != other) for other in kinds] for one in kinds])

    def of_leaves(a: int, b: int) -> tuple[float, list[int]]:
        here = agreement[a * count : (a + 1) * count, b * count : (b + 1) * count] + apart
        places = linear_sum_assignment(here, maximize=True)[1]
        return float(here[np.arange(count), places].sum()), [b * count + int(one) for one in places]

    best: Callable[[int, int], tuple[float, list[int]]] = of_leaves
    for size in reversed(mixture.branching[:-1]):
        best = partial(_of_groups, best, size)
    return best(0, 0)[1]


def _of_groups(
    inner: Callable[[int, int], tuple[float, list[int]]], count: int, a: int, b: int
) -> tuple[float, list[int]]:
    """Return the best agreement of the groups of two nodes, and the leaves of the second in that order."""
    pairs = {(i, j): inner(a * count + i, b * count + j) for i, j in product(range(count), repeat=2)}
    values = np.array([[pairs[i, j][0] for j in range(count)] for i in range(count)])
    places = linear_sum_assignment(values, maximize=True)[1]
    leaves = [leaf for i, j in enumerate(places) for leaf in pairs[i, int(j)][1]]
    return float(values[np.arange(count), places].sum()), leaves
