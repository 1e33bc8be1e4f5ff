"""What an error is made of: entries of the atoms of one kind of cell, whichever true atoms are the shared ones.

With more atoms than there are, a fit may share any of the true ones, and an error falls like its slowest part. A
population exponent is of one part; those of the others follow from it, so that studies need not declare them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice, product
from math import inf, prod
from typing import Any

import torch
from torch import Tensor

from gatewise.core.parameters import Parameter
from gatewise.core.tree import path_weights
from gatewise.objective.parameterization import specifications
from gatewise.theory.claims import Probe
from gatewise.theory.paths import LOSS, tensor_path
from gatewise.theory.population.cells import cells_of, owners
from gatewise.theory.population.problem import shifted_level, split
from gatewise.theory.voronoi.gauge import locations

MOST = 200  # choices of a model, and orders of its atoms, that are looked at

Cells = tuple[int, ...]
Kind = tuple[int, int]  # the true node of a fitted atom, and what kind of atom it is in the model
Choice = tuple[Kind, ...]  # which kinds of fitted atoms share each true leaf
Part = tuple[Choice, Kind, int]  # a choice, a kind of atom in it, and an entry of its parameter


def nodes_of(probe: Probe) -> tuple[list[int], list[float], list[list[int]]]:
    """Return the true node of every fitted atom, how many share it, and the entries that are estimated.

    An atom has none of a parameter that its expert and family lack. Locations that are known up to a common shift are
    measured from the last atom of each node, which has none. A loss has one part.
    """
    mixture, data = probe.model.mixture, probe.data
    if probe.path == LOSS:
        return [0], [1], [[0]]
    path = tensor_path(probe.path, mixture)
    spec, shape = _specifications(probe)[path]
    lead = owners(mixture, path, spec)
    cells = cells_of(probe.cells, mixture.branching, data.mixture.branching)
    known = torch.as_tensor((probe.model.fixed or {}).get(path, torch.nan)).expand(shape)
    free = known.isnan().reshape(prod(shape[:lead]), -1).clone()
    if lead == mixture.depth:
        free[~mixture.owners(path)] = False
    level = shifted_level(mixture, path)
    if level is not None:
        free[mixture.branching[level] - 1 :: mixture.branching[level]] = False
    entries = [row.nonzero()[:, 0].tolist() for row in free]
    if not lead:  # a temperature of the outer gate: one for all of its branches
        return [0], [float(cells.filled(0).max())], entries
    return cells.nodes[lead - 1].tolist(), cells.filled(lead - 1).flatten().tolist(), entries


def is_over(probe: Probe) -> bool:
    """Return whether the displaced atom shares its true one; with sizes none is displaced, and all cells are alike."""
    return nodes_of(probe)[1][0 if probe.sizes else probe.atom] > 1


def kinds_of(probe: Probe) -> list[Kind]:
    """Return the cell of every fitted atom, and its kind: a model may know or bound parameters of some atoms only."""
    nodes, _, _ = nodes_of(probe)
    return list(zip(nodes, _natures(probe) if len(nodes) == len(probe.cells) else [0] * len(nodes), strict=True))


def choice_of(probe: Probe) -> Choice:
    """Return which kinds of fitted atoms share each true leaf: exponents that agree in it are of one choice."""
    return tuple(sorted(zip(probe.cells, _natures(probe), strict=True)))


def covered(probe: Probe) -> set[Part]:
    """Return what an exponent is about: one entry, fitted atoms of one kind being alike; with sizes all."""
    return parts_of(probe) if probe.sizes else {(choice_of(probe), kinds_of(probe)[probe.atom], probe.entry)}


def parts_of(probe: Probe) -> set[Part]:
    """Return all that the error is made of whose exponent this is: the entries of every choice of the shared atoms.

    Where fits have choices that are not listed, they are one part that no exponent covers.
    """
    found, complete = choices(probe)
    parts = {part for choice in found for part in _own_parts(choice)}
    return parts if complete else parts | {((), (0, 0), 0)}


def every_part(probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """Return exponents, each followed by those of its other entries, and of the other cells of its kind."""
    found: list[Probe] = []
    for probe in probes:
        kinds = kinds_of(probe)
        found.append(probe)
        for _, kind, entry in sorted(_own_parts(probe) - covered(probe)):
            atom = kinds.index(kind)
            first = next(i for i, (node, _) in enumerate(kinds) if node == kind[0])
            name = f"{probe.name}, {kind[0]}.{entry}{'' if atom == first else f', atom {atom}'}"
            found.append(replace(probe, name=name, atom=atom, entry=entry))
    return tuple(found)


def missing_parts(probes: Sequence[Probe]) -> tuple[Probe, ...]:
    """Return the exponents of all parts of the errors that exponents are about, those left out that there are.

    None of an error whose choices cannot be listed: no exponents show that it is fast.
    """
    known: dict[str, set[Part]] = {}
    for probe in probes:
        known.setdefault(_error(probe), set()).update(covered(probe))
    found = []
    for probe in (one for one in probes if choices(one)[1]):
        held = known[_error(probe)]
        for other in (choice for part in every_part([probe]) for choice in choices(part)[0]):
            if not covered(other) <= held:
                held |= covered(other)
                found.append(other)
    return tuple(found)


def choices(probe: Probe) -> tuple[tuple[Probe, ...], bool]:
    """Return an exponent, those of the same entry with other true atoms shared, and whether fits have no other choice.

    If all fitted atoms of a node are alike, true leaves change places; else fitted ones of a mixture with one level do,
    as far as what the model knows of them allows. There are other choices where a node has two or more atoms too many,
    or groups are shared.

    Examples
    --------
    >>> from gatewise.theory import STUDIES
    >>> found, complete = choices(STUDIES["softmax-over"].probes[0])
    >>> [one.name for one in found], complete
    (['softmax, d=1: experts.intercept', 'softmax, d=1: experts.intercept, cells 1 1 0'], True)
    """
    mixture, true = probe.model.mixture, probe.data.mixture.branching
    alike = len(set(_natures(probe))) == 1
    if probe.sizes or (mixture.branching == true and (alike or not mixture.exchangeable)):
        return (probe,), True
    if not (mixture.exchangeable and _agrees(probe)):
        return (probe,), False
    relabelled = _relabelled(probe.cells, true[-1])
    others = [replace(probe, cells=cells, name=_named(probe, cells)) for cells in relabelled]
    groups = mixture.branching[:-1] == true[:-1] and (
        mixture.depth == 1 or any(locations(gate.score) for gate in mixture.gates)
    )
    complete = groups and len(others) < MOST and (mixture.branching[-1] - true[-1] <= 1 or true[-1] == 1)
    if alike and all(map(_agrees, others)):
        return (probe, *others), complete
    if mixture.depth > 1:
        return (probe, *filter(_agrees, others)), False
    orders = [order for cells in (probe.cells, *relabelled) for order in _permutations(cells)]
    others, every = _rearranged(probe, orders)
    return (probe, *others), complete and every and len(orders) < MOST


def points(d: int) -> Tensor:
    """Return a few inputs (d, n) in general position, at which functions of the inputs are compared."""
    return torch.randn(d, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def reachable(probe: Probe) -> bool:
    """Return whether the true law is one with these cells: atoms that share a true one can have its weight together.

    Softmax gates always can. Sigmoids that are added up, or normalised, can where the true weight is constant.
    """
    mixture, data = probe.model.mixture, probe.data
    truth, d = data.at(1), (probe.inputs or data.inputs).d
    cells = cells_of(probe.cells, mixture.branching, data.mixture.branching)
    near = split(mixture, truth, cells, d, data.mixture.outputs(truth))
    x = points(d)
    fitted, real = path_weights(mixture.gates, near.gates, x), path_weights(data.mixture.gates, truth.gates, x)
    summed = torch.zeros_like(real).index_add(0, torch.tensor(probe.cells), fitted)
    other = real[~summed.isclose(real, 1e-9, 1e-12).all(-1)]  # what halves of the true weight do not add up to
    return _agrees(probe) and other.allclose(other[:, :1].expand_as(other), 1e-9, 1e-12)


def _named(probe: Probe, cells: Cells) -> str:
    return f"{probe.name}, cells {' '.join(map(str, cells))}"


def _own_parts(probe: Probe) -> set[Part]:
    """Return the entries that are estimated, in cells of its kind, with the atoms shared as they are here."""
    _, filled, entries = nodes_of(probe)
    over, choice = is_over(probe), choice_of(probe)
    return {
        (choice, kind, entry)
        for kind, count, own in zip(kinds_of(probe), filled, entries, strict=True)
        for entry in own
        if (count > 1) == over
    }


def _error(probe: Probe) -> str:
    """Return what tells errors apart: the truth, the fitted model, the parameter, the inputs, the kind of cell."""
    data, model = probe.data, probe.model
    values = (data.mixture, _listed(data.at(1).paths()), model.mixture, model.method, model.min_scale, probe.inputs)
    limits = {path: [torch.as_tensor(end).tolist() for end in ends] for path, ends in (model.box or {}).items()}
    return repr((*values, limits, _listed(model.fixed or {}), probe.path, is_over(probe), probe.sizes))


def _listed(values: Any) -> dict[str, Any]:
    return {path: torch.as_tensor(value).tolist() for path, value in values.items()}


def _specifications(probe: Probe) -> dict[str, tuple[Parameter, tuple[int, ...]]]:
    data, d = probe.data, (probe.inputs or probe.data.inputs).d  # the exponent may have inputs of its own
    return specifications(probe.model.mixture, d, d, data.mixture.outputs(data.at(1)))


def _natures(probe: Probe) -> list[int]:
    """Return the kind of every fitted leaf, which is its first one: they have the same limits and known values."""
    mixture, model = probe.model.mixture, probe.model
    rows: list[list[Any]] = [[] if mixture.exchangeable else [leaf] for leaf in range(mixture.n_leaves)]
    for path, (spec, shape) in _specifications(probe).items():
        if owners(mixture, path, spec) < mixture.depth:
            continue
        known = _unshifted(probe, path, torch.as_tensor((model.fixed or {}).get(path, torch.nan)).expand(shape))
        ends = (torch.as_tensor(end).expand(shape) for end in (model.box or {}).get(path, (-inf, inf)))
        for part in (known, *ends):
            for row, own in zip(rows, part.reshape(mixture.n_leaves, -1).tolist(), strict=True):
                row.append(own)
    told = [repr(row) for row in rows]  # NaN is not equal to itself
    return [told.index(row) for row in told]


def _unshifted(probe: Probe, path: str, known: Tensor) -> Tensor:
    """Return known values without the zero of the last branch of a node, if it only fixes a common shift."""
    mixture, level = probe.model.mixture, shifted_level(probe.model.mixture, path)
    if level is None:
        return known
    count = mixture.branching[level]
    nodes = known.reshape(prod(mixture.branching[:level]), count, -1).clone()
    nodes[nodes[:, :-1].isnan().flatten(1).all(1), -1] = torch.nan
    return nodes.reshape(known.shape)


def _agrees(probe: Probe) -> bool:
    """Return whether what a model knows of atoms, and the limits it has for them, hold for those they stand for."""
    mixture, data, model = probe.model.mixture, probe.data, probe.model
    specs, truth = _specifications(probe), data.at(1).paths()
    cells = cells_of(probe.cells, mixture.branching, data.mixture.branching)
    for path in {*(model.fixed or {}), *(model.box or {})} & set(truth):
        spec, shape = specs[path]
        real, level = cells.copied(truth[path], owners(mixture, path, spec)), shifted_level(mixture, path)
        if level is not None:  # known up to a common shift, and measured from the last branch
            real = real - real.select(level, mixture.branching[level] - 1).unsqueeze(level)
        known = torch.as_tensor((model.fixed or {}).get(path, torch.nan)).expand(shape)
        if not bool(torch.where(known.isnan(), real, known).isclose(real).all()):
            return False
        low, high = (torch.as_tensor(end) for end in (model.box or {}).get(path, (-inf, inf)))
        bias = path.startswith("gates.") and spec.role == "intercept"  # a shared branch has another one
        if not bias and not bool(((low <= real) & (real <= high)).all()):
            return False
    return True


@lru_cache(maxsize=256)
def _relabelled(cells: Cells, size: int) -> tuple[Cells, ...]:
    """Return the cells of other choices: the true leaves of each node, `size` of them, change places."""
    filled = [cells.count(leaf) for leaf in range(max(cells) + 1)]
    firsts = range(0, len(filled), size)
    orders = [list(_orders(filled[first : first + size])) for first in firsts]
    found = []
    for others in islice(product(*orders), 1, MOST + 1):
        places = [first + place for first, order in zip(firsts, others, strict=True) for place in order]
        found.append(tuple(places[cell] for cell in cells))
    return tuple(found)


def _permutations(values: Sequence[int]) -> Iterator[list[int]]:
    """Yield the different orders of numbers, some of which may be equal; at most MOST."""
    from sympy.utilities.iterables import multiset_permutations  # takes a third of a second to import

    return islice(multiset_permutations(sorted(values)), MOST)


def _orders(filled: Sequence[int]) -> Iterator[list[int]]:
    """Yield where each true leaf of a node may go so that others are the shared ones; at first all stay."""
    leaves = list(range(len(filled)))
    yield leaves
    for other in _permutations(filled):
        free = {count: [leaf for leaf in leaves if other[leaf] == count] for count in filled}
        if other != list(filled):
            yield [free[count].pop(0) for count in filled]


def _rearranged(probe: Probe, orders: Sequence[Sequence[int]]) -> tuple[list[Probe], bool]:
    """Return exponents with fitted atoms in other orders, by choice and kind of atom, and whether there is no other.

    Where locations are measured from the last atom, it must be alone in its cell.
    """
    agreeing = [other for other in (replace(probe, cells=tuple(order)) for order in orders) if _agrees(other)]
    shifted = shifted_level(probe.model.mixture, probe.path) is not None
    over, own, found = is_over(probe), choice_of(probe), dict[Choice, list[Probe]]()
    for other in agreeing:
        choice = choice_of(other)
        if choice == own or choice in found or (shifted and other.cells.count(other.cells[-1]) > 1):
            continue
        _, filled, entries = nodes_of(other)
        atoms = [i for i, free in enumerate(entries) if probe.entry in free and (filled[i] > 1) == over]
        kinds = kinds_of(other)
        first = sorted({kinds[atom]: atom for atom in reversed(atoms)}.values())
        name = _named(probe, other.cells)
        found[choice] = [replace(other, name=f"{name}, atom {atom}", atom=atom) for atom in first]
    every = {choice_of(other) for other in agreeing} <= {own, *found} and all(found.values())
    return [other for some in found.values() for other in some], every
