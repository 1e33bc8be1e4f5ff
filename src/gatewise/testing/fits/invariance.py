"""Laws of fits: what may not matter to them, such as the order of the rows, blocks, and units."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from gatewise.core.experts import Expert
from gatewise.core.gates import Gate
from gatewise.core.mixture import (
    Mixture,
)
from gatewise.fit import frames, maximum_likelihood
from gatewise.fit.model import prepare
from gatewise.fit.problem import Problem
from gatewise.fit.search.moves import KINDS, moves
from gatewise.fit.search.starts import draw_starts, seeds
from gatewise.fit.spec import FitSpec
from gatewise.objective import rows as blocks
from gatewise.objective.rows import make_rows
from gatewise.testing.compare import assert_close
from gatewise.testing.fits.laws import (
    FITTED,
    assert_same_fit,
    fit_from_truth,
    matched,
    number,
    parts_of,
    picked,
    responsibilities_of,
    rows_of,
)
from gatewise.testing.problems import ExampleProblem, generator


def law_fit_starts(problem: ExampleProblem, count: int = 8) -> None:
    """Starts are drawn from the set of weighted rows: not from their order, and a weight of two is the row twice.

    So are the places to which an expert may be moved.

    Parameters
    ----------
    problem : ExampleProblem
    count : int
        Number of starts.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_starts
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_starts(problem)
    """
    order = torch.randperm(problem.y.shape[-1], generator=generator(problem.seed + 78))
    weight, repeated = weighted_and_repeated(problem)
    pairs = {
        "the order of the rows": (rows_of(problem), rows_of(picked(problem, order))),
        "a weight for repeated rows": (rows_of(problem, weight=weight), rows_of(repeated)),
    }
    for why, both in pairs.items():
        models = [prepare(problem.mixture, rows, FitSpec()) for rows in both]
        drawn = [draw_starts(model.parameterization, model.rows, count, seeds(0, 1)[0])[0] for model in models]
        assert_close(drawn[1], drawn[0], f"starts do not depend on {why}", FITTED)
        whole = [Problem(model.parameterization, model.rows) for model in models]
        moved = [moves(part, drawn[0][:2], 3 * len(KINDS), seeds(0, 1)[0])[0] for part in whole]
        assert_close(moved[1], moved[0], f"moves do not depend on {why}", FITTED)


def weighted_and_repeated(problem: ExampleProblem) -> tuple[Tensor, ExampleProblem]:
    """Return weights from zero to three, and the problem with each row as often as its weight says."""
    n = problem.y.shape[-1]
    weight = torch.tensor([2.0, 0.0, 1.0, 1.0, 3.0], dtype=torch.float64).repeat(n // 5 + 1)[:n]
    return weight, picked(problem, torch.repeat_interleave(torch.arange(n), weight.long()))


def law_fit_order(problem: ExampleProblem, starts: int = 4) -> None:
    """The order of the rows does not matter to what is found.

    Parameters
    ----------
    problem : ExampleProblem
    starts : int
        Number of starts of every fit.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_order
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_order(problem)
    """
    order = torch.randperm(problem.y.shape[-1], generator=generator(problem.seed + 74))
    moved = picked(problem, order)
    fit = maximum_likelihood(problem.mixture, rows_of(problem), starts=starts)
    again = maximum_likelihood(problem.mixture, rows_of(moved), starts=starts)
    assert_same_fit(again, fit, problem, "the order of the rows does not matter")


def law_fit_blocks(problem: ExampleProblem) -> None:
    """The size of the blocks in which rows are read does not matter.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_blocks
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_blocks(problem)
    """
    fit = fit_from_truth(problem)
    for cells, fewest, most in ((2**10, 5, 16), (2**12, 64, 64)):
        with patch.multiple(blocks, CELLS=cells, FEWEST=fewest, MOST=most):
            small = fit_from_truth(problem)
        assert_same_fit(small, fit, problem, "the size of blocks does not matter")
        assert_close(number(small.log_likelihood), number(fit.log_likelihood), "blocks add up")


def law_fit_frequencies(problem: ExampleProblem, starts: int = 4) -> None:
    """A weight of two is the row twice, a weight of zero is no row: for the starts and for the fit.

    Parameters
    ----------
    problem : ExampleProblem
    starts : int
        Number of starts of every fit.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_frequencies
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_frequencies(problem)
    """
    weight, repeated = weighted_and_repeated(problem)
    for options in ({"starts": [problem.measure]}, {"starts": starts}):
        fit = maximum_likelihood(problem.mixture, rows_of(problem, weight=weight), **options)
        again = maximum_likelihood(problem.mixture, rows_of(repeated), **options)
        assert_same_fit(fit, again, problem, "a weight counts how often a row is there")
        if fit.n != again.n:
            raise AssertionError(f"broken: n is the sum of the weights ({fit.n}, expected {again.n})")


def law_fit_repeats(problem: ExampleProblem, starts: int = 4) -> None:
    """A fit repeats to the last bit for a seed, and leaves the global generators alone.

    Parameters
    ----------
    problem : ExampleProblem
    starts : int
        Number of starts of every fit.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_repeats
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_repeats(problem)
    """
    before = torch.random.get_rng_state()
    one, other = (maximum_likelihood(problem.mixture, rows_of(problem), starts=starts, seed=3) for _ in range(2))
    if not torch.equal(before, torch.random.get_rng_state()):
        raise AssertionError("broken: a fit leaves the global generator alone")
    paths = other.measure.paths()
    for path, value in one.measure.paths().items():
        if not torch.equal(value, paths[path]):
            raise AssertionError(f"broken: a fit repeats to the last bit for a seed ({path} differs)")
    if one.log_likelihood != other.log_likelihood or not torch.equal(
        one.starts.log_likelihood, other.starts.log_likelihood
    ):
        raise AssertionError("broken: a fit repeats to the last bit for a seed (the log-likelihood differs)")


def law_fit_streamed(problem: ExampleProblem) -> None:
    """Rows read piece by piece from an array are fitted as rows held in memory, to 1e-10.

    Parameters
    ----------
    problem : ExampleProblem

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_streamed
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_streamed(problem)
    """
    held = fit_from_truth(problem)
    arrays = [part.T.contiguous().numpy() for part in (problem.x, problem.y, problem.gate_x)]
    rows = make_rows(arrays[0], arrays[1], gate_x=arrays[2], hold=False)
    streamed = maximum_likelihood(problem.mixture, rows, starts=[problem.measure])
    assert_close(number(streamed.log_likelihood), number(held.log_likelihood), "streamed rows are rows in memory")
    shares, expected = (responsibilities_of(fit, problem) for fit in (streamed, held))
    assert_close(shares, expected, "streamed rows are rows in memory: responsibilities", FITTED)


def law_fit_units(problem: ExampleProblem, starts: int = 2) -> None:
    """Other units, ``1e6 x + 1e8`` and ``1e-6 y - 3``, change no responsibility: the fit follows the data.

    A gate or an expert that depends on the units of x by definition is fitted in its `standardised` form, and so is
    every gate once more. Counts, and the response of an expert with a height of its own, keep their units.

    Parameters
    ----------
    problem : ExampleProblem
    starts : int
        Number of starts of every fit.

    Examples
    --------
    >>> from gatewise import GATES, Mixture
    >>> from gatewise.testing import fitting_problem, law_fit_units
    >>> problem = fitting_problem(Mixture((GATES["softmax"],), (2,)))
    >>> law_fit_units(problem)
    """
    frames_of = [frames.moments(part, None, None) for part in parts_of(problem)]
    forms = {_standardised(problem.mixture, frames_of)}
    if _equivariant(problem, frames_of):
        forms.add(problem.mixture)
    moved = problem._replace(x=1e6 * problem.x + 1e8, gate_x=1e6 * problem.gate_x + 1e8)
    if problem.mixture.family.location_scale and _free_height(problem, frames_of):
        moved = moved._replace(y=1e-6 * problem.y - 3)
    frames_moved = [frames.moments(part, None, None) for part in parts_of(moved)]
    for mixture in forms:
        plain = mixture == problem.mixture
        other = mixture if plain else _standardised(problem.mixture, frames_moved)
        fit = maximum_likelihood(mixture, rows_of(problem), starts=starts)
        again = maximum_likelihood(other, rows_of(moved), starts=starts)
        shares = responsibilities_of(fit, problem), responsibilities_of(again, moved)
        assert_close(matched(*shares), shares[1], "other units change no responsibility", 1e-6)
        if fit.status != again.status:
            raise AssertionError(f"broken: other units change no status ({again.status}, expected {fit.status})")


def _standardised(mixture: Mixture, parts: list[Any]) -> Mixture:
    gates = tuple(gate.standardised(parts[1]) for gate in mixture.gates)
    return replace(mixture, gates=gates, expert=mixture.expert.standardised(parts[0]))


def _free_height(problem: ExampleProblem, parts: list[Any]) -> bool:
    """Return whether the expert is the same expert in other units of the response."""
    found = problem.mixture.expert.rescale_response(problem.measure.experts, parts[2])
    return found is not None and found[0] == problem.mixture.expert


def _equivariant(problem: ExampleProblem, parts: list[Any]) -> bool:
    """Return whether every part of the mixture is the same part in other units."""
    measure, mixture = problem.measure, problem.mixture
    moved: list[tuple[Gate | Expert, Any]] = [
        (gate, gate.rescale(params, parts[1])) for gate, params in zip(mixture.gates, measure.gates, strict=True)
    ]
    moved.append((mixture.expert, mixture.expert.rescale(measure.experts, parts[0])))
    return all(found is not None and found[0] == part for part, found in moved)
