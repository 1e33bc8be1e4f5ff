"""Laws of parameterizations and rows: coordinates, ties, fixed parts, bounds, units of measurement, blocks, weights."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from gatewise.core.experts import Expert
from gatewise.core.gates import Gate
from gatewise.core.mixture import Measure, Mixture, leaf_log_weights, log_density
from gatewise.core.names import path_of
from gatewise.core.predictors import AffineTransform
from gatewise.objective import likelihood, terms
from gatewise.objective.parameterization import Parameterization, from_paths, make_parameterization, specifications
from gatewise.objective.rows import Rows, make_rows
from gatewise.testing.compare import assert_close
from gatewise.testing.mixtures import blocks_with_units, readings, slow_log_likelihood
from gatewise.testing.problems import UNIT_ENDS, ExampleProblem, dense, draw_frame, framed, generator, sizes


def _inside(parameterization: Parameterization, seed: int) -> Tensor:
    """Draw free coordinates in the box."""
    normal = 0.5 * torch.randn(parameterization.size, generator=generator(seed), dtype=torch.float64)
    return parameterization.inside(normal)


def law_parameterization(problem: ExampleProblem) -> None:
    """Free coordinates survive the way to a measure and back; a measure survives it up to its gauge.

    For the fixed gauge the held parameters must be at their initial value, so only the free coordinates are compared.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_parameterization, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_parameterization(problem)
    """
    mixture = problem.mixture
    for gauge in ("fixed", "none"):
        parameterization = make_parameterization(mixture, *sizes(problem), gauge=gauge)
        if len({*parameterization.names}) != parameterization.size:
            raise AssertionError(f"broken: {parameterization.size} free coordinates have as many names")
        free = _inside(parameterization, problem.seed)
        assert_close(
            parameterization.free(parameterization.measure(free)), free, f"free -> measure -> free, gauge {gauge}"
        )
        batch = torch.stack([free, free + 0.0]).unsqueeze(1)
        again = parameterization.free(parameterization.measure(batch))
        _assert_columns(parameterization)
        assert_close(again, batch, f"free -> measure -> free in a batch, gauge {gauge}")
    back = parameterization.measure(parameterization.free(problem.measure))
    for what, read in readings(problem).items():
        assert_close(read(back), read(problem.measure), f"measure -> free -> measure, gauge none: {what}")


def _assert_columns(parameterization: Parameterization) -> None:
    """Raise unless `columns` finds the coordinates by the names that they carry."""
    found = set()
    for path, shape in parameterization.shapes.items():
        column = parameterization.columns(path)
        if tuple(column.shape) != shape:
            raise AssertionError(f"broken: columns of {path} have its shape")
        used = column[column >= 0].tolist()
        if not all(path_of(parameterization.names[c]) == path for c in used):
            raise AssertionError(f"broken: columns of {path} are its own coordinates")
        found |= {*used}
    if len(found) != parameterization.size:
        raise AssertionError(f"broken: columns find all {parameterization.size} free coordinates (found {len(found)})")


def law_fixed(problem: ExampleProblem) -> None:
    """A fixed entry keeps its value and costs one coordinate; the entries beside it stay free.

    In a gate that only knows differences between branches it takes the place of the reference, and costs none.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_fixed, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_fixed(problem)
    """
    mixture, paths = problem.mixture, problem.measure.paths()
    plain = make_parameterization(mixture, *sizes(problem), gauge="none")
    for path, value in paths.items():
        if path in mixture.shared or not any(name.startswith(path) for name in plain.names):
            continue
        given = torch.full_like(value, torch.nan)
        first = (0,) * value.ndim
        given[first] = value[first]
        parameterization = make_parameterization(mixture, *sizes(problem), gauge="none", fixed={path: given})
        left = plain.size - (not _is_difference(problem, path))
        if parameterization.size != left:
            raise AssertionError(
                f"broken: fixing one entry of {path} leaves {left} coordinates (found {parameterization.size})"
            )
        kept = parameterization.measure(_inside(parameterization, problem.seed)).paths()[path]
        assert_close(kept[first], value[first], f"the fixed entry of {path} keeps its value")


def _is_difference(problem: ExampleProblem, path: str) -> bool:
    """Return whether only differences of a path between branches matter."""
    room, _, name = path.rpartition(".")
    gates = problem.mixture.gates
    return room.startswith("gates.") and name in gates[int(room.split(".")[1])].translation()


def law_bounds(problem: ExampleProblem) -> None:
    """The ends of the box are the natural bounds, for every parameter; inside the box the values are inside.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_bounds, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_bounds(problem)
    """
    mixture, paths = problem.mixture, problem.measure.paths()
    specs = specifications(mixture, *sizes(problem))
    least = {path: max(0.7, specs[path][0].bounds[0]) for path in paths}
    bounds = {path: (low, min(low + 1.2, specs[path][0].bounds[1])) for path, low in least.items()}
    parameterization = make_parameterization(mixture, *sizes(problem), gauge="none", bounds=bounds)
    if not bool((parameterization.lower < parameterization.upper).all()):
        raise AssertionError("broken: lower bounds of free coordinates are below the upper ones")
    used = parameterization.matrix.abs().sum(1) > 0
    ends = torch.stack(
        [parameterization.constrained(parameterization.lower), parameterization.constrained(parameterization.upper)]
    )[:, used]
    low, high = (
        torch.cat([torch.full_like(paths[p], bounds[p][i]).flatten() for p in parameterization.shapes]) for i in (0, 1)
    )
    low, high = low[used], high[used]
    assert_close(ends.amin(0), low, "the box has the natural lower bounds")
    assert_close(ends.amax(0), high, "the box has the natural upper bounds")
    inside = parameterization.constrained((parameterization.lower + parameterization.upper) / 2)[used]
    if not bool(((inside > low) & (inside < high)).all()):
        raise AssertionError("broken: values inside the box are inside the natural bounds")


def law_ties(problem: ExampleProblem) -> None:
    """A shared parameter has one coordinate for all leaves, and all leaves have its value.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_ties, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_ties(problem)
    """
    mixture = problem.mixture
    depth, leaves = mixture.depth, mixture.n_leaves
    plain = make_parameterization(replace(mixture, shared=()), *sizes(problem), gauge="none")
    for path, value in problem.measure.paths().items():
        if path.startswith("gates."):
            continue
        parameterization = make_parameterization(replace(mixture, shared=(path,)), *sizes(problem), gauge="none")
        one = value[(0,) * depth].numel()
        if parameterization.size != plain.size - (leaves - 1) * one:
            raise AssertionError(f"broken: sharing {path} leaves {one} coordinates for it")
        shared = parameterization.measure(_inside(parameterization, problem.seed)).paths()[path].flatten(0, depth - 1)
        assert_close(shared, shared[:1].expand_as(shared), f"all leaves have the shared {path}")


def rescaled(
    mixture: Mixture, measure: Measure, x: AffineTransform, gate_x: AffineTransform, y: AffineTransform
) -> tuple[Mixture, Measure] | None:
    """Return mixture and measure in other units of inputs, gate inputs and response, or None where there are none.

    Parameters
    ----------
    mixture : Mixture
    measure : Measure
    x, gate_x, y : AffineTransform
        The changes of units.

    Returns
    -------
    (Mixture, Measure) or None

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import draw_frame, generator, make_problem, rescaled
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3, gate_d=2)
    >>> frames = [draw_frame(size, generator(0)) for size in (3, 2, 1)]
    >>> mixture, measure = rescaled(problem.mixture, problem.measure, *frames)
    >>> measure.experts["coef"].shape
    torch.Size([2, 1, 3])
    """
    gates = [g.rescale(p, gate_x) for g, p in zip(mixture.gates, measure.gates, strict=True)]
    inputs = mixture.expert.rescale(measure.experts, x)
    if inputs is None or any(moved is None for moved in gates):
        return None
    experts = cast(tuple[Expert, dict[str, Tensor]], inputs)
    family = mixture.family, dict(measure.family)
    if mixture.family.location_scale:
        response = experts[0].rescale_response(experts[1], y)
        if response is None:
            return None
        experts, family = response, mixture.family.rescale_response(measure.family, y)
    known = cast(list[tuple[Gate, dict[str, Tensor]]], gates)
    other = replace(mixture, gates=tuple(gate for gate, _ in known), expert=experts[0], family=family[0])
    return other, Measure(tuple(params for _, params in known), experts[1], family[1])


def law_rescale(problem: ExampleProblem) -> None:
    """In other units of inputs and response the leaf weights are the same, and the density up to the units of y.

    ``log p(y | x) = log p'(y' | x') - sum log scale of y``.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_rescale, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_rescale(problem)
    """
    mixture, measure, x, gate_x, y, seed = problem
    g = generator(seed + 70)
    d, gate_d, q = sizes(problem)
    frames = draw_frame(d, g), draw_frame(gate_d, g), draw_frame(q, g)
    moved = rescaled(mixture, measure, *frames)
    if moved is None:
        return
    other, own = moved
    z, gate_z = framed(x, frames[0]), framed(gate_x, frames[1])
    weights = leaf_log_weights(mixture, measure, gate_x).exp()
    assert_close(leaf_log_weights(other, own, gate_z).exp(), weights, "other units keep the leaf weights")
    if not dense(mixture):
        return
    response, change = y, 0.0
    if mixture.family.location_scale:
        response, change = framed(y, frames[2]), float(torch.log(frames[2].scale).sum())
    expected = log_density(mixture, measure, x, gate_x, y)
    found = log_density(other, own, z, gate_z, response) - change
    assert_close(found, expected, "other units keep the density")


def _totals(mixture: Mixture, measure: Measure, rows: Rows, size: int) -> list[Tensor]:
    """Return log-likelihood, gradient and Hessian summed over blocks of about `size` rows."""
    batch = measure.map(lambda v: v[None])
    parts = [likelihood.hessian(mixture, batch, block) for block in rows.blocks(size)]
    return [torch.stack(p).sum(0)[0] for p in zip(*parts, strict=True)]


def _assert_totals(found: list[Tensor], expected: list[Tensor], why: str) -> None:
    for one, other, what in zip(found, expected, ("value", "gradient", "Hessian"), strict=False):
        assert_close(one, other, f"{why}: {what}", 1e-9)


def _eight(problem: ExampleProblem) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first eight rows as ``x (n, d), y (n, c), gate_x (n, g)``."""
    n = UNIT_ENDS[-1]
    return problem.x.T[:n], problem.y.T[:n], problem.gate_x.T[:n]


def law_blocks(problem: ExampleProblem) -> None:
    """The size of the blocks does not matter, with and without units; sums are those of a loop over units.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_blocks, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_blocks(problem)
    """
    mixture, measure = problem.mixture, problem.measure
    if not dense(mixture):
        return
    x, y, gate_x = _eight(problem)
    for where, block in blocks_with_units(problem).items():
        ends = None if block.unit is None else torch.tensor(UNIT_ENDS)
        rows = make_rows(x, y, gate_x=gate_x, weight=block.weight, ends=ends)
        once = _totals(mixture, measure, rows, len(x))
        slow = slow_log_likelihood(mixture, measure, block)
        assert_close(once[0], slow, f"one block of {where} sums a loop over units", 1e-9)
        _assert_totals(_totals(mixture, measure, rows, 5), once, f"blocks of five {where} are one block")
        batch = measure.map(lambda v: v[None])
        single = [likelihood.gradient(mixture, batch, part) for part in rows.blocks(1)]
        found = [torch.stack(part).sum(0)[0] for part in zip(*single, strict=True)]
        _assert_totals(found, once[:2], f"blocks of one of {where} are one block")


def law_frequencies(problem: ExampleProblem) -> None:
    """Weight 2 is the row twice, weight 0 is the row removed, weight 1 is no weight.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_frequencies, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_frequencies(problem)
    """
    mixture, measure = problem.mixture, problem.measure
    if not dense(mixture):
        return
    x, y, gate_x = _eight(problem)
    n = len(x)
    times = torch.tensor([1, 2, 0, 1, 2, 1, 0, 3][:n])
    index = torch.repeat_interleave(torch.arange(n), times)

    def totals(index: Tensor, weight: Tensor | None) -> list[Tensor]:
        rows = make_rows(x[index], y[index], gate_x=gate_x[index], weight=weight)
        return _totals(mixture, measure, rows, n)

    everyone = torch.arange(n)
    weighted = totals(everyone, times.double())
    _assert_totals(weighted, totals(index, None), "weight 2 is the row twice, weight 0 none")
    ones = totals(everyone, torch.ones(n, dtype=torch.float64))
    _assert_totals(ones, totals(everyone, None), "weight 1 is no weight")


def law_units(problem: ExampleProblem) -> None:
    """The rows of a unit share their responsibility and the gate inputs of the first; units of one row are rows.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_units, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_units(problem)
    """
    mixture, measure = problem.mixture, problem.measure
    if not dense(mixture):
        return
    x, y, gate_x = _eight(problem)
    batch = measure.map(lambda v: v[None])
    rows = make_rows(x, y, gate_x=gate_x)
    single = replace(rows, ends=torch.arange(1, len(x) + 1))
    plain = _totals(mixture, measure, rows, len(x))
    _assert_totals(_totals(mixture, measure, single, len(x)), plain, "units of one row are rows")
    grouped = replace(rows, ends=torch.tensor(UNIT_ENDS))
    block = grouped.read(0, len(UNIT_ENDS))
    t = terms.mixture_terms(mixture, batch, block)
    density = terms.unit_log_density(mixture, measure, block)
    assert_close(density, t.log_density[0], "unit_log_density is that of the derivatives")
    shared = terms.unit_responsibilities(mixture, measure, block)
    assert_close(shared, t.leaf[0], "unit_responsibilities are those of the derivatives")
    for u, stop in enumerate(UNIT_ENDS):
        start = UNIT_ENDS[u - 1] if u else 0
        joint = leaf_log_weights(mixture, measure, gate_x.T[:, start : start + 1])[:, 0]
        for i in range(start, stop):
            row = ExampleProblem(mixture, measure, x.T[:, i : i + 1], gate_x.T[:, i : i + 1], y.T[:, i : i + 1])
            joint = joint + _leaf_log_prob(row)
        assert_close(t.leaf[0, :, u], torch.softmax(joint, -1), "a unit has one responsibility", 1e-9)
        assert_close(t.log_density[0, u], torch.logsumexp(joint, -1), "a unit has the sum's density", 1e-9)


def _leaf_log_prob(row: ExampleProblem) -> Tensor:
    """Return the log density of one row in every leaf (L,), a leaf at a time."""
    mixture, measure = row.mixture, row.measure
    out = []
    for leaf in torch.cartesian_prod(*map(torch.arange, mixture.branching)).reshape(-1, mixture.depth).tolist():
        node = tuple(leaf)
        eta = mixture.expert({k: v[node] for k, v in measure.experts.items()}, row.x)
        own = {k: v[node].unsqueeze(0) for k, v in measure.family.items()}
        out.append(mixture.family.log_prob(own, row.y, eta.unsqueeze(0))[0, 0])
    return torch.stack(out)


def law_paths(problem: ExampleProblem) -> None:
    """A measure is its named tensors: `paths` and `from_paths` are inverse, shapes the parameterization's.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import law_paths, make_problem
    >>> problem = make_problem(Mixture((GATES["softmax"],), (2,)), d=3)
    >>> law_paths(problem)
    """
    parameterization = make_parameterization(problem.mixture, *sizes(problem))
    paths = problem.measure.paths()
    if {k: tuple(v.shape) for k, v in paths.items()} != parameterization.shapes:
        raise AssertionError("broken: the tensors of a measure have the paths and shapes of its parameterization")
    again = from_paths(paths, problem.mixture.depth).paths()
    for path, value in paths.items():
        assert_close(again[path], value, f"from_paths returns {path}")
