"""Compiled statistics: the sums of `objective.likelihood` and `objective.squares` in one pass over the rows.

A mixture is written as a short program over rows that stay in the processor's cache (`plan`), from kernels of scores,
links, experts and families that exist once each (`parts`), and one compiled machine runs every program. Kernels are
compiled when a program first needs them, and kept on the disk. What has no kernel is left to the reference, and so are
small problems, which would wait for the compiler longer than for their sums (`pays`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module

import torch
from torch import Tensor

from gatewise.core.families import Binomial
from gatewise.core.mixture import Measure, Mixture
from gatewise.core.scores import Activated, Affine, Score, Tempered
from gatewise.objective import likelihood, squares
from gatewise.objective.compiled.outputs import EXPERTS, FAMILIES
from gatewise.objective.compiled.parts import LINKS, SCORES
from gatewise.objective.likelihood import mass  # `likelihood` is also the name of a module beside this one
from gatewise.objective.rows import Block, Rows
from gatewise.objective.terms import Statistic

OF_LIKELIHOOD: tuple[Callable[..., object], ...] = (
    likelihood.value,
    likelihood.gradient,
    likelihood.hessian,
    likelihood.expected_complete_hessian,
    mass,
)
OF_SQUARES: tuple[Callable[..., object], ...] = (
    squares.value,
    squares.gradient,
    squares.gauss_newton,
    squares.hessian,
    squares.mass,
)
KINDS = OF_LIKELIHOOD + OF_SQUARES  # in the order of `program`
ROWS = 2**17  # rows read at a time where they are not held in memory
LEAST = 6_000  # rows times parameters: a default search of so many repays the loading of the compiler


@cache
def available() -> bool:
    """Return whether the compiler can be loaded, which takes a moment; not every platform of Python has it."""
    try:
        import_module("numba")
    except (ImportError, OSError):
        return False
    return True


def pays(measure: Measure, rows: Rows) -> bool:
    """Return whether compiled sums are worth the loading of the compiler: many rows, or a batch of data sets.

    The two engines round differently, so the answer depends on the data set and the model alone: not on what has been
    loaded or compiled before, and not on how many members are at work. ``python -m benchmarks first_call`` prints the
    times behind `LEAST`.
    """
    parameters = sum(part.numel() for part in measure.paths().values()) // measure.members
    return rows.batched or rows.n * parameters >= LEAST


def _score_covered(score: Score) -> bool:
    if type(score) is Tempered:
        score = score.inner
    if type(score) is Activated:
        return type(score.inner) is Affine
    return type(score) in SCORES and type(score) is not Tempered


def covers(stat: Callable[..., object], mixture: Mixture) -> bool:
    """Return whether every part that a statistic reads has a kernel. A user's own part, a subclass too, has none.

    The kernels of scores and links stand in `parts`, those of experts and families in `outputs`: one dict each.
    """
    weighted = mixture.normalised or stat in OF_SQUARES
    gates = weighted and all(type(gate.link) in LINKS and _score_covered(gate.score) for gate in mixture.gates)
    if stat in OF_SQUARES:
        return gates and (type(mixture.expert) in EXPERTS or stat is squares.mass)
    family = mixture.family
    trials = family.trials is not None if type(family) is Binomial else True
    return gates and trials and type(mixture.expert) in EXPERTS and type(family) in FAMILIES


def statistic(stat: Callable[..., object], mixture: Mixture) -> Statistic | None:
    """Return the compiled equivalent of a statistic, or None.

    Parameters
    ----------
    stat : function of `objective.likelihood` or `objective.squares`
        ``value``, ``gradient``, ``hessian``, ``mass``, of likelihoods ``expected_complete_hessian``, of squares
        ``gauss_newton``.
    mixture : Mixture

    Returns
    -------
    callable or None
        ``(mixture, measure, block) -> sums`` with the shapes and meaning of the reference for a measure with one
        batch dimension; a likelihood of rows in groups (``block.unit``) is not for it. None when there is no compiler,
        or no kernel for the statistic or a part.

    Examples
    --------
    >>> from gatewise.core.families import StudentT
    >>> from gatewise.core.gates import GATES
    >>> statistic(likelihood.gradient, Mixture((GATES["softmax"],), (2,), family=StudentT())) is None
    True
    """
    if stat not in KINDS or not covers(stat, mixture) or not available():
        return None
    from gatewise.objective.compiled.run import sums  # the compiler is loaded when it is first needed

    kind = KINDS.index(stat)

    def compiled(mixture: Mixture, measure: Measure, block: Block) -> tuple[Tensor, ...]:
        if stat in OF_SQUARES:
            block = squares.ungrouped(block)
        if block.unit is not None:
            raise ValueError("the rows are in groups (block.unit), which compiled statistics do not know: use the stat")
        return sums(kind, mixture, measure, block)

    return compiled


def accumulate(
    stat: Callable[..., object], mixture: Mixture, measure: Measure, rows: Rows
) -> tuple[Tensor, ...] | None:
    """Sum a statistic over all rows with compiled kernels, or return None where the reference must do it.

    Rows with an offset are left to the reference.

    Rows in memory are read in place and in one go; others in blocks, summed in fixed order.
    """
    if rows.offset is not None or (rows.ends is not None and stat not in OF_SQUARES):
        return None
    compiled = statistic(stat, mixture)
    if compiled is None:
        return None
    columns = (rows.x, rows.gate_x, rows.y)
    held = rows.ends is None and all(part.held is not None and part.frame is None for part in columns)
    total: tuple[Tensor, ...] | None = None
    for block in rows.blocks(max(rows.n, 1) if held else ROWS):
        if any(part.dtype != torch.float64 or part.device.type != "cpu" for part in block[:3]):
            return None
        sums = compiled(mixture, measure, block)
        if stat is mass and not bool(sums[0].isfinite().all()):
            return None  # a row without density, whose nearest leaf the reference finds
        total = sums if total is None else tuple(a + b for a, b in zip(total, sums, strict=True))
    return total
