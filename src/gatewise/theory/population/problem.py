"""The distance to a truth as a sum of squares in free coordinates, one parameter of one atom held off the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.core.mixture import Measure, Mixture, leaf_predictors, log_density, regression
from gatewise.objective import likelihood, squares, terms
from gatewise.objective.parameterization import Parameterization, from_paths, make_parameterization, specifications
from gatewise.objective.rows import Block
from gatewise.theory.inputs import Nodes
from gatewise.theory.paths import VARIANCE, tensor_path
from gatewise.theory.population.cells import Cells, owners
from gatewise.theory.population.rules import with_response

Box = Mapping[str, tuple[float | Tensor, float | Tensor]]


@dataclass(frozen=True, eq=False)
class FixedCoordinates:
    """One coordinate of one fitted atom, held at a displacement from the truth.

    Attributes
    ----------
    path : str
        A parameter of the mixture, or ``family.variance``.
    atom : int
        Fitted atom.
    entry : int
        Which entry of the atom's parameter, flattened.
    """

    path: str
    atom: int
    entry: int

    def value(self, near: Tensor, displacement: float) -> float:
        """Return the natural value displaced from that of `near` (k, ...), the truth's value for every fitted atom.

        Raises
        ------
        ValueError
            For a variance that would not be positive.
        """
        at = float(near[self.atom].flatten()[self.entry])
        if self.path != VARIANCE:
            return at + displacement
        if at * at + displacement <= 0:
            raise ValueError(
                f"a variance of {at * at:g} displaced by {displacement:g} is not positive: give smaller eps"
            )
        return (at * at + displacement) ** 0.5


class Coordinates(NamedTuple):
    """Free coordinates z of the fitted measure: ``free = mix @ z``, z in the box [lower, upper].

    The weight of an atom in an over-filled cell is the log ratio to one atom of the cell, which the box bounds;
    `ratios` says which coordinates are such ones.
    """

    parameterization: Parameterization
    mix: Tensor
    lower: Tensor
    upper: Tensor
    ratios: Tensor

    def measure(self, z: Tensor) -> Measure:
        """Return the measure without batch."""
        return self.parameterization.measure(self.mix @ z)

    def of(self, measure: Measure) -> Tensor:
        """Return the coordinates of a measure without batch."""
        return torch.linalg.solve(self.mix, self.parameterization.free(measure))


def split(mixture: Mixture, truth: Measure, cells: Cells, d: int, q: int) -> Measure:
    """Return the truth with every branch as often as its cell is filled, its weight shared equally.

    Parameters of a whole gate, such as a temperature, are copied; one that divides the scores divides the biases too.

    Raises
    ------
    ValueError
        If the truth lacks parameters of the mixture.
    """
    paths, specs = truth.paths(), specifications(mixture, d, d, q)
    if absent := [path for path in specs if path not in paths]:
        raise ValueError(
            f"the truth has no {', '.join(absent)}, which the fitted mixture has: give both the same kinds of gates, "
            "experts and family"
        )
    out = {path: cells.copied(paths[path], owners(mixture, path, spec)) for path, (spec, _) in specs.items()}
    measure = from_paths(out, mixture.depth)
    for level in range(mixture.depth):
        bias = _bias(mixture, level)
        if bias is not None:
            out[bias] = out[bias] - cells.filled(level).log() * _temperature(mixture, measure, level)[..., None]
    return from_paths(out, mixture.depth)


def _bias(mixture: Mixture, level: int) -> str | None:
    """Return the path of the biases of a level; None: it has none."""
    name = mixture.gates[level].score.bias()
    return None if name is None else f"gates.{level}.{name}"


def _temperature(mixture: Mixture, measure: Measure, level: int) -> Tensor:
    """Return, per node of a level, what biases are divided by in log weights: the temperature, one without."""
    return 1.0 / mixture.gates[level].score.bias_rate(measure.gates[level])


def coordinates(
    mixture: Mixture,
    near: Measure,
    d: int,
    held: FixedCoordinates,
    displacement: float,
    cells: Cells,
    box: Box,
    ratio: float,
    fixed: Mapping[str, Tensor] | None = None,
) -> Coordinates:
    """Return the coordinates in which one entry is held off the truth and the rest is free.

    Parameters
    ----------
    near : Measure
        The truth with split atoms.
    ratio : float
        Bound on the absolute log ratio of weights inside a cell, at the true temperature.
    fixed : mapping path -> Tensor, optional
        What else is not estimated; NaN entries are.

    Raises
    ------
    ValueError
        For an unknown path or entry, and where a displacement has no meaning: of a weight, of what is fixed, and of a
        location that is relative to an atom of an over-filled cell.
    """
    q = leaf_predictors(mixture, near, torch.zeros(d, 1, dtype=torch.float64)).shape[-2]
    specs = specifications(mixture, d, d, q)
    biases = [_bias(mixture, level) for level in range(mixture.depth)]
    locations = [path for path, (spec, _) in specs.items() if spec.per == "branch" and path not in biases]
    tensor = tensor_path(held.path, mixture)
    if tensor not in locations:
        raise ValueError(f"{held.path!r} is no location of an atom of this mixture: these are {', '.join(locations)}")
    lead = owners(mixture, tensor, specs[tensor][0])
    target = near.paths()[tensor].flatten(0, lead - 1)
    if not (0 <= held.atom < len(target) and 0 <= held.entry < target[0].numel()):
        raise ValueError(
            f"atom={held.atom}, entry={held.entry}: there are {len(target)} atoms with {target[0].numel()} entries "
            f"each in {held.path}, counted from zero"
        )
    if not bool(mixture.owners(tensor)[held.atom]):
        raise ValueError(f"atom={held.atom} has no {held.path}: displace an atom whose expert and family have it")
    off = torch.full_like(target, torch.nan)
    last = _last_sibling(mixture, tensor, held.atom, cells)
    if last == held.atom:
        raise ValueError(
            f"{held.path} is known up to a common shift, and measured from atom {last}, the last of its node: displace "
            "another atom"
        )
    off[held.atom].view(-1)[held.entry] = held.value(target if last is None else target - target[last], displacement)
    if last is not None:
        off[mixture.branching[lead - 1] - 1 :: mixture.branching[lead - 1]] = 0.0
    off = off.reshape(near.paths()[tensor].shape)
    if tensor in (fixed or {}):
        off = _beside(held, off, torch.as_tensor((fixed or {})[tensor], dtype=torch.float64).expand(off.shape), lead)
    parameterization = make_parameterization(mixture, d, d, q, bounds=box, fixed={**(fixed or {}), tensor: off})
    return _ratios(parameterization, near, cells, ratio)


def _beside(held: FixedCoordinates, off: Tensor, known: Tensor, lead: int) -> Tensor:
    """Return the held entry of a parameter together with its entries that are known anyway, NaN where it is free."""
    if not bool(known.flatten(0, lead - 1)[held.atom].flatten()[held.entry].isnan()):
        raise ValueError(f"{held.path!r} is fixed in the model: an exponent is of a parameter that is estimated")
    return torch.where(off.isnan(), known, off)


def shifted_level(mixture: Mixture, path: str) -> int | None:
    """Return the level of a gate whose locations at a path are known up to a common shift of each node; None: none."""
    room, _, name = path.rpartition(".")
    if not room.startswith("gates.") or name not in mixture.gates[int(room[6:])].translation():
        return None
    return int(room[6:])


def _last_sibling(mixture: Mixture, path: str, atom: int, cells: Cells) -> int | None:
    """Return the branch that a location of a gate is measured from, the last of its node; None: the origin."""
    level = shifted_level(mixture, path)
    if level is None:
        return None
    count = mixture.branching[level]
    node = atom // count
    if (filled := int(cells.filled(level).reshape(-1, count)[node, -1])) > 1:
        raise ValueError(
            f"{path} is known up to a common shift, and the last fitted atom, its reference, is one of {filled} in its "
            "cell: put an exactly filled atom last"
        )
    return node * count + count - 1


def _ratios(parameterization: Parameterization, near: Measure, cells: Cells, ratio: float) -> Coordinates:
    """Measure the biases of a cell, within a limit, from one atom of it, the last if the gauge holds it."""
    mixture, size = parameterization.mixture, parameterization.size
    mix, lower, upper = (
        torch.eye(size, dtype=torch.float64),
        parameterization.lower.clone(),
        parameterization.upper.clone(),
    )
    ratios = torch.zeros(size, dtype=torch.bool)
    for level in range(mixture.depth):
        bias = _bias(mixture, level)
        if bias is None:
            continue
        columns = parameterization.columns(bias).flatten().tolist()
        limits = ratio * _temperature(mixture, near, level).flatten()
        for atoms in cells.siblings(level):
            anchor = columns[atoms[-1]] if columns[atoms[-1]] < 0 else columns[atoms[0]]
            limit = float(limits[atoms[0] // mixture.branching[level]])
            for own in (columns[i] for i in atoms if columns[i] not in (anchor, -1)):
                lower[own], upper[own], ratios[own] = -limit, limit, True
                if anchor >= 0:
                    mix[own, anchor] = 1.0
    return Coordinates(parameterization, mix, lower, upper, ratios)


def kinks_of(mixture: Mixture, measure: Measure, d: int, chosen: Sequence[Tensor] | None = None) -> Tensor:
    """Return the points (m, d) at which gates bend: the centers of all levels, or of `chosen` branches of each."""
    found = [torch.empty(0, d)]
    for level, gate in enumerate(mixture.gates):
        for name in gate.score.names("location") if gate.score.kinked() else ():
            centers = measure.gates[level][name].flatten(0, level)
            found.append(centers if chosen is None else centers[chosen[level]])
    return torch.cat(found)


def root_difference(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return ``sqrt p - sqrt q`` from logs, with all its digits however small it is.

    Examples
    --------
    >>> log_p = torch.tensor([2e-13, 0.0, -800.0], dtype=torch.float64)
    >>> root_difference(log_p, torch.tensor([0.0, -1600.0, 0.0], dtype=torch.float64)).tolist()
    [1.00000000000...e-13, 1.0, -1.0]
    """
    half = (log_p - log_q) / 2
    return -torch.exp(torch.maximum(log_p, log_q) / 2) * half.sign() * torch.expm1(-half.abs())


class Squares(NamedTuple):
    """Residuals whose squares sum to the squared distance, and their Jacobian, at coordinates z."""

    coordinates: Coordinates
    block: Block
    root: Tensor
    target: Tensor

    def density(self, z: Tensor) -> Tensor:
        """Return ``sqrt(w / 2) (sqrt p_G - sqrt p_*)`` by expm1 of the difference of logs: exact when it is tiny."""
        fitted = log_density(self.coordinates.parameterization.mixture, self.coordinates.measure(z), *self.block[:3])
        return self.root * root_difference(fitted, self.target)

    def density_both(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residuals of densities with their Jacobian (n, P)."""
        natural, pull = self._pull(z)
        measure = self.coordinates.parameterization.unflatten(natural)
        t = terms.mixture_terms(self.coordinates.parameterization.mixture, measure, self.block, 1)
        slopes = likelihood.scores(t, self.block).rows()[0] * (self.root / 2 * torch.exp(t.log_density[0] / 2))
        return self.root * root_difference(t.log_density[0], self.target), slopes.mT @ pull

    def mean(self, z: Tensor) -> Tensor:
        """Return ``sqrt(w) (f_G - f_*)``."""
        fitted = regression(self.coordinates.parameterization.mixture, self.coordinates.measure(z), *self.block[:2])
        return ((fitted - self.target) * self.root).flatten()

    def mean_both(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residuals of means with their Jacobian (n q, P)."""
        natural, pull = self._pull(z)
        mixture = self.coordinates.parameterization.mixture
        t, parts = squares.mean_terms(mixture, self.coordinates.parameterization.unflatten(natural), self.block)
        slopes = [(rows[0] * self.root).mT @ pull for rows in squares.slopes_of_mean(mixture, t, parts, self.block)]
        return ((parts[0].sum(0) - self.target) * self.root).flatten(), torch.cat(slopes)

    def _pull(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return natural values (1, F) and the derivatives (M, P) of local coordinates in z."""
        parameterization = self.coordinates.parameterization
        natural = parameterization.constrained(self.coordinates.mix @ z)[None]
        unit = torch.eye(len(parameterization.local), dtype=torch.float64)
        return natural, parameterization.pull_gradient(
            natural.expand(len(unit), -1).contiguous(), unit
        ) @ self.coordinates.mix


def density_squares(here: Coordinates, mixture: Mixture, truth: Measure, nodes: Nodes, step: float) -> Squares:
    """Return half the integral of ``(sqrt p_G - sqrt p_*)^2`` as a sum of squares."""
    block, weight = with_response(mixture, truth, nodes, step)
    target = log_density(mixture, truth, *block[:3])
    possible = target > -torch.inf  # a count of successes does not exceed the trials
    block = Block(*(part[:, possible] for part in block[:3]))
    return Squares(here, block, (weight[possible] / 2).sqrt(), target[possible])


def mean_squares(here: Coordinates, mixture: Mixture, truth: Measure, nodes: Nodes) -> Squares:
    """Return the integral of ``||f_G - f_*||^2`` as a sum of squares."""
    target = regression(mixture, truth, nodes.x, nodes.x)
    return Squares(here, Block(nodes.x, nodes.x, target), nodes.weight.sqrt(), target)
