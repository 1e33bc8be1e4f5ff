"""Population exponents: how the least distance to the truth falls with the displacement of one parameter.

If a fitted atom of an over-filled cell cannot be moved by eps without moving the density by ``c eps^e``, an estimator
whose density error is ``n^(-1/2)`` has an error of ``n^(-1/(2 e))`` in that parameter. The exponent e is a property of
the truth and the model alone: no data are drawn. Quadrature replaces the expectation, and the least distance over all
other parameters is found from many starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import inf, log, nan
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_predictors, require_continuity, require_density
from gatewise.fit.least_squares import mean_of
from gatewise.markup import page, table
from gatewise.theory.distances import why_not_compared
from gatewise.theory.population.cells import cells_of
from gatewise.theory.population.problem import Box, FixedCoordinates, split
from gatewise.theory.population.rules import Cube, Region
from gatewise.theory.population.search import ATTAINED, SearchSide, SearchTask, continued

if TYPE_CHECKING:
    from pandas import DataFrame

TINY, HUGE = 1e-300, 1e300  # in place of distances of zero and of descents that all failed: logarithms are finite
STEEPEST = 8  # exponent that is told from an infinite one: with c eps^8 the largest displacement is not at rounding
HALF = 0.5  # largest relative change of a distance at rounding on finer nodes


class Population(NamedTuple):
    """Minimal distances for decreasing displacements, and the exponents between neighbouring displacements.

    Attributes
    ----------
    path : str
    eps : tuple of float
        Displacements, decreasing.
    distance : tuple of float
        Minimal distance, the smaller of the two signs.
    local : tuple of float
        ``log(distance ratio) / log(eps ratio)`` of neighbours, one value fewer; infinite if the distance is zero.
    trend : float
        Last local exponent minus the previous one; NaN with fewer than three displacements.
    certified : tuple of bool
        For each local exponent: whether the minima at both ends and for both signs are certified, or the distance is
        zero.
    hits : tuple of (int, int)
        For each eps, over both signs: searches that reached the minimum, and all searches.
    sides : tuple of (SearchSide, SearchSide)
        For each eps: the results for positive and negative displacements.

    Examples
    --------
    >>> import torch
    >>> from gatewise import GATES, Measure, Mixture
    >>> from gatewise.theory import population_exponent
    >>> one = Mixture((GATES["constant"],), (1,))
    >>> truth = Measure(
    ...     gates=({"bias": torch.zeros(1).double()},),
    ...     experts={"coef": torch.ones(1, 1, 1).double(), "intercept": torch.zeros(1, 1).double()},
    ...     family={"scale": torch.ones(1, 1).double()},
    ... )
    >>> found = population_exponent(one, truth, one, "experts.intercept", cells=(0,), eps=(0.02, 0.01))
    >>> found.path, len(found.distance), len(found.local)
    ('experts.intercept', 2, 1)
    """

    path: str
    eps: tuple[float, ...]
    distance: tuple[float, ...]
    local: tuple[float, ...]
    trend: float
    certified: tuple[bool, ...]
    hits: tuple[tuple[int, int], ...]
    sides: tuple[tuple[SearchSide, SearchSide], ...]

    @property
    def lacking(self) -> str:
        """Why the last exponent is not certified, in words; empty if it is."""
        if self.certified[-1]:
            return ""
        return next(side.lacking for at in self.sides[-2:] for side in at if side.lacking)

    @property
    def attained(self) -> bool:
        """Whether the truth is reached, but for rounding, at every displacement: no data identify the parameter."""
        return all(e == inf for e in self.local)

    def text(self) -> str:
        """Return a table, one line per displacement; offset and change on finer nodes are the larger of both signs."""
        lines = [f"{self.path}: least distance to the truth", "     eps    distance  exponent  offset  finer   hits"]
        told = ["", *(f"{e:.3f}{'' if c else ' ?'}" for e, c in zip(self.local, self.certified, strict=True))]
        for eps, distance, exponent, hits, pair in zip(
            self.eps, self.distance, told, self.hits, self.sides, strict=True
        ):
            offset, finer = max(s.offset for s in pair), max(s.quadrature for s in pair)
            row = f"{eps:8.4g}  {distance:10.4e}  {exponent:>8}  {offset:.0e}  {finer:.0e}"
            lines.append(f"{row}  {hits[0]}/{hits[1]}")
        if self.attained:
            lines.append("the truth is attained at every displacement: the parameter is not identified")
        if self.trend == self.trend:
            lines.append(f"the last exponent is {self.trend:+.3f} from the one before")
        if not all(self.certified):
            lines.append("?: an end of this exponent is not certified")
        bound = sorted({name for side in self.sides[-1] for name in side.bound})
        return "\n".join([*lines, *([f"at a bound: {', '.join(bound)}"] if bound else [])])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        found = self.to_frame()
        return page(f"{self.path}: least distance to the truth", table({name: list(found[name]) for name in found}))

    def to_frame(self) -> DataFrame:
        """Return a data frame with a row per displacement; an exponent stands at the smaller one of its two."""
        import pandas as pd

        columns = {"eps": self.eps, "distance": self.distance, "exponent": (float("nan"), *self.local)}
        hits, descents = zip(*self.hits, strict=True)
        return pd.DataFrame({**columns, "certified": (None, *self.certified), "hits": hits, "descents": descents})


def population_exponent(
    truth_mixture: Mixture,
    truth: Measure,
    mixture: Mixture,
    path: str,
    *,
    cells: tuple[int, ...],
    atom: int = 0,
    entry: int = 0,
    eps: tuple[float, ...] = (0.2, 0.1, 0.05, 0.025),
    box: Box | None = None,
    fixed: Mapping[str, Tensor] | None = None,
    ratio: float = 1.0,
    inputs: Region | None = None,
    distance: str = "hellinger",
    starts: int = 4,
    step: float = 0.5,
    seed: int = 0,
) -> Population:
    """Compute the population exponent of a parameter: how the distance to the truth grows with its displacement.

    ``D(eps) = min { distance(G, G_*) : theta_atom = theta_* +- eps }`` over fitted measures G in the box, and ``e =
    log(D(eps) / D(eps')) / log(eps / eps')``. The distance is the Hellinger distance, ``(E_X (1/2) int (sqrt p_G - sqrt
    p_*)^2)^(1/2)``, or ``(E_X ||f_G - f_*||^2)^(1/2)``. If an estimator's density error is of order ``n^(-1/2)``, its
    error in the parameter is of order ``n^(-1/(2 e))``.

    Parameters
    ----------
    truth_mixture, truth : Mixture, Measure
        No batch axes, float64.
    mixture : Mixture
        Fitted model, with as many levels and at least as many branches on each.
    path : str
        A parameter other than the gate's bias, such as ``experts.intercept``, or ``family.variance``.
    cells : tuple of int
        The true atom of each fitted atom, such as ``(0, 0, 1)``; with several levels the true leaf of each fitted leaf,
        group by group, such as ``(0, 0, 1, 2, 2, 3)`` for two groups of two fitted by two of three. If the gate is
        determined only up to a common shift, the last fitted atom of its group must be alone in its cell.
    atom, entry : int
        The displaced fitted atom (a leaf, or the branch of an outer gate, counted from zero over all groups), and the
        entry of its parameter. If the gate is determined only up to a common shift, its parameters are measured from
        the last atom of a group, which cannot be displaced.
    eps : tuple of float
        Displacements, decreasing.
    box : mapping path -> (lower, upper), optional
        Bounds of the other parameters, as in the fits.
    fixed : mapping path -> Tensor, optional
        Parameters of the fitted model that are known, as in `FitSpec`; NaN entries are estimated.
    ratio : float
        Bound on the absolute log ratio of weights within a cell; without it, an atom of weight zero could be anywhere.
    inputs : Cube, Ball or Lattice, optional
        Distribution of the inputs; default ``Cube(-2, 2)``. A gate with centers is resolved at the over-specified ones;
        in two or three dimensions use a Ball about the only one.
    distance : {"hellinger", "l2"}
    starts : int
        Random starts for each displacement and sign, in addition to the results of other displacements; up to four
        times as many where a single search found the least distance. They are normal about the truth, with each
        coordinate of size eps^(1/2), eps or eps^2 at random; log ratios of weights are uniform.
    step : float
        Spacing of the quadrature nodes of a continuous response, in standard deviations of the narrowest expert.
    seed : int

    Returns
    -------
    Population

    Raises
    ------
    ValueError
        If the distance or path is unknown, cells do not match, displacements do not decrease, the mixture has no
        density (Hellinger distance), its counts are too many to be summed over, the truth has another number of levels,
        another family or lacks parameters of the mixture, or the displaced atom lacks the parameter or is the one that
        others are measured from.

    Notes
    -----
    A continuous response is integrated over seven standard deviations around the true means, and the distance refers to
    this range. All classes are summed over, and all counts but those to which no true expert gives more than 1e-13.
    An exponent is certified if, at both ends and for both signs, the search ended at an optimum (relative offset of
    steps inside the box below 1e-3, which is a gain of 5e-7 of the distance) that at least two searches found, and
    finer nodes change the distance by less than one per cent. A local exponent is a slope between two displacements,
    not a limit: check its trend. If the distance is zero up to rounding (1e-10, and the eighth power of the largest
    displacement) everywhere, also with finer nodes, the parameter is not identified, and the exponent is infinite.

    Examples
    --------
    >>> from gatewise.core.gates import GATES
    >>> one = Mixture((GATES["constant"],), (1,))
    >>> value = lambda v: torch.tensor(v, dtype=torch.float64)
    >>> truth = Measure(
    ...     ({"bias": value([0.0])},),
    ...     {"coef": value([[[1.0]]]), "intercept": value([[0.0]])},
    ...     {"scale": value([[1.0]])},
    ... )
    >>> found = population_exponent(one, truth, one, "experts.intercept", cells=(0,), eps=(0.02, 0.01))
    >>> round(found.local[0], 3), found.certified
    (1.0, (True,))
    """
    check_models(truth_mixture, mixture, distance)
    if len(eps) < 2 or min(eps) <= 0 or any(b >= a for a, b in pairwise(eps)):
        raise ValueError(f"eps={eps}: give at least two positive displacements, each smaller than the one before")
    inputs, held, densities = inputs or Cube(), FixedCoordinates(path, atom, entry), distance == "hellinger"
    outputs = leaf_predictors(truth_mixture, truth, torch.zeros(inputs.d, 1, dtype=torch.float64)).shape[-2]
    if densities:
        check_response(mixture, truth_mixture, outputs)
    else:
        mixture, truth_mixture, truth = mean_of(mixture), mean_of(truth_mixture), truth._replace(family={})
    over = cells_of(cells, mixture.branching, truth_mixture.branching)
    near = split(mixture, truth, over, inputs.d, outputs)
    limits = box or {}, ratio, fixed or {}
    task = SearchTask(mixture, truth_mixture, truth, near, held, over, *limits, inputs, densities, step)
    up, down = (continued(task, [s * e for e in eps], starts, seed) for s in (1.0, -1.0))
    return _population(path, eps, tuple(zip(up, down, strict=True)))


def check_models(truth_mixture: Mixture, mixture: Mixture, distance: str) -> None:
    """Raise for an unknown distance, other levels, and gates that jump."""
    if distance not in ("hellinger", "l2"):
        raise ValueError(f"distance={distance!r}: choose 'hellinger' or 'l2'")
    if mixture.depth != truth_mixture.depth:
        raise ValueError(
            f"{mixture.depth} fitted levels and {truth_mixture.depth} true ones: give a truth of equal depth"
        )
    for one in (truth_mixture, mixture):
        require_continuity(one)


def check_response(mixture: Mixture, truth_mixture: Mixture, outputs: int) -> None:
    """Raise unless both have densities of one response, of one family."""
    for one in (mixture, truth_mixture):
        require_density(one)
    fault = why_not_compared(mixture, truth_mixture, outputs)
    if not mixture.family.has_density:
        fault = f"{mixture.family} has no density"
    if fault:
        raise ValueError(f"Hellinger's distance: {fault}. Use one response and another family, or distance='l2'")
    kinds, true = mixture.family.kinds(), truth_mixture.family.kinds()
    if any(one not in true for one in kinds) or any(one not in kinds for one in true):
        raise ValueError(
            f"a truth of the family {truth_mixture.family} and a fitted mixture of {mixture.family}: the fit never "
            "reaches the truth, and so there is no exponent. Give both the same family"
        )


def _population(path: str, eps: tuple[float, ...], sides: tuple[tuple[SearchSide, SearchSide], ...]) -> Population:
    distance = tuple(min(up.distance, down.distance) for up, down in sides)
    pairs = list(pairwise(range(len(eps))))
    hits = tuple((up.hits + down.hits, up.starts + down.starts) for up, down in sides)
    nearest = [min(pair, key=lambda side: side.distance) for pair in sides]
    rounding = min(ATTAINED, eps[0] ** STEEPEST)
    if all(side.distance <= rounding and side.quadrature < HALF for side in nearest):
        return Population(path, eps, distance, (inf,) * len(pairs), nan, (True,) * len(pairs), hits, sides)
    sizes = [min(max(d, TINY), HUGE) for d in distance]
    local = tuple(log(sizes[i] / sizes[j]) / log(eps[i] / eps[j]) for i, j in pairs)
    certified = tuple(all(side.certified for at in pair for side in sides[at]) for pair in pairs)
    trend = local[-1] - local[-2] if len(local) > 1 else nan
    return Population(path, eps, distance, local, trend, certified, hits, sides)
