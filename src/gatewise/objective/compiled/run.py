"""Sums of a statistic of a mixture by the compiled machine, on as many threads as torch has."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewise.core.families import MeanOnly
from gatewise.core.mixture import Measure, Mixture
from gatewise.objective.compiled.kernels import compiled
from gatewise.objective.compiled.machine import run
from gatewise.objective.compiled.plan import CompiledPlan, plan
from gatewise.objective.compiled.program import MASS, ORDERS, SQUARES_MASS, SQUARES_VALUE
from gatewise.objective.compiled.tree import Sizes
from gatewise.objective.rows import Block

WORK = 2**15  # rows times members of one task
MOST = 64  # tasks along the rows
TABLE = np.array([math.lgamma(count + 1.0) for count in range(1024)])
NONE = np.empty((1, 0, 0))


class CompiledTask(NamedTuple):
    """Members first..last over rows begin..end; `place` is the place among the runs of rows."""

    place: int
    first: int
    last: int
    begin: int
    end: int


def sums(kind: int, mixture: Mixture, measure: Measure, block: Block, size: int | None = None) -> tuple[Tensor, ...]:
    """Return the sums of a statistic over a block, shapes (S,), (S, M), (S, M, M); (S, L) for the mass.

    Parameters
    ----------
    kind : int
        Place in `KINDS`. In least squares the family means nothing and has no coordinates.
    size : int, optional
        Rows that the machine takes at a time; the sums do not depend on it beyond rounding.
    """
    if kind >= SQUARES_VALUE:
        mixture, measure = replace(mixture, family=MeanOnly(), shared=()), measure._replace(family={})
    program, addresses = ready(kind, mixture, _sizes(mixture, measure, block))
    out = _numbers(program, addresses, packed(mixture, measure).numpy(), block, size or program.size)
    if kind in (MASS, SQUARES_MASS):
        mass = torch.from_numpy(out[:, 1:].copy())
        if kind == MASS:
            mass *= mixture.family.responses(block.y[..., :1])  # of the first row: others have as many
        return (mass,)
    value = torch.from_numpy(out[:, 1].copy())
    if ORDERS[kind] == 0:
        return (value,)
    gradient = torch.from_numpy(out[:, program.gradient])
    if program.hessian is None:
        return value, gradient
    return value, gradient, torch.from_numpy(_unpacked(program, program.hessian, out))


@lru_cache(maxsize=256)
def ready(kind: int, mixture: Mixture, sizes: Sizes) -> tuple[CompiledPlan, np.ndarray]:
    """Return the program of a statistic, and where the kernel of each of its instructions stands in memory."""
    program = plan(kind, mixture, sizes)
    return program, np.array([compiled(int(code)).address for code in program.program[:, 0]], dtype=np.int64)


def _sizes(mixture: Mixture, measure: Measure, block: Block) -> Sizes:
    x, gate_x = block.x, block.gate_x
    same = x is gate_x or (x.data_ptr() == gate_x.data_ptr() and x.shape == gate_x.shape)
    outputs = mixture.outputs(measure)
    return Sizes(x.shape[-2], gate_x.shape[-2], outputs, block.y.shape[-2], same, block.weight is not None)


def packed(mixture: Mixture, measure: Measure) -> Tensor:
    """Return the parameters (S, M) in the order of the local coordinates of `objective.likelihood`."""
    count = measure.members
    parts = []
    for level, (gate, params) in enumerate(zip(mixture.gates, measure.gates, strict=True)):
        lead = (count, *mixture.branching[: level + 1])
        columns = []
        for name, spec in gate.score.parameters(1).items():
            value = params[name] if spec.per == "branch" else params[name].unsqueeze(-1).expand(lead)
            columns.append(value.reshape(*lead, -1))
        parts.append(torch.cat(columns, -1).reshape(count, -1))
    outputs = (count, mixture.n_leaves, mixture.outputs(measure))
    columns = [measure.experts[name].reshape(*outputs, -1) for name in mixture.expert.parameters(1)]
    leaves = [torch.cat(columns, -1).flatten(2)]
    leaves += [measure.family[name].reshape(*outputs[:2], -1) for name in mixture.family.parameters(1)]
    return torch.cat([*parts, torch.cat(leaves, -1).flatten(1)], -1).contiguous()


def _numbers(program: CompiledPlan, addresses: np.ndarray, theta: np.ndarray, block: Block, size: int) -> np.ndarray:
    """Return the numbers (S, numbers): tasks in any order, their sums in fixed order."""
    x, gate_x, y = (np.ascontiguousarray(part.reshape(-1, *part.shape[-2:])) for part in block[:3])
    weight = NONE if block.weight is None else np.ascontiguousarray(block.weight).reshape(1, 1, -1)
    size = min(size, -(-x.shape[-1] // 8) * 8)
    runs, tasks = _tasks(len(theta), x.shape[-1], len(x) == 1, size)
    out = np.zeros((runs, len(theta), program.numbers))
    pending = iter(tasks)

    def work() -> None:
        w = _work_array(program.height, size)
        w[program.filled] = 1.0
        for task in pending:
            run(
                program.program, addresses, program.sources, program.constants, TABLE, x, gate_x, y, weight, theta,
                out[task.place, task.first : task.last],
                program.prologue, task.first, task.last, task.begin, task.end, w,
            )  # fmt: skip

    threads = min(torch.get_num_threads(), len(tasks))
    if threads < 2:
        work()
    else:
        for done in [_pool(threads).submit(work) for _ in range(threads)]:
            done.result()
    return out[0] if runs == 1 else np.add.reduce(out, 0)


def _work_array(height: int, size: int) -> np.ndarray:
    """Return an array (height, size) that starts on a cache line."""
    store = np.empty(height * size + 8)
    skip = -store.ctypes.data % 64 // 8
    return store[skip : skip + height * size].reshape(height, size)


def _tasks(members: int, n: int, shared: bool, size: int) -> tuple[int, list[CompiledTask]]:
    """Return the number of runs of rows, and the tasks: they do not depend on the number of threads."""
    group = min(members, 32 if shared else max(1, WORK // max(n, 1)))
    length = max(WORK // group, -(-n // MOST))
    length = -(-length // size) * size
    begins = range(0, n, length)
    tasks = [
        CompiledTask(place, first, min(first + group, members), begin, min(begin + length, n))
        for place, begin in enumerate(begins)
        for first in range(0, members, group)
    ]
    return max(len(begins), 1), tasks


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="gatewise")


def _forget_pools() -> None:
    """Threads do not survive a fork."""
    _pool.cache_clear()


if os.name == "posix":
    os.register_at_fork(after_in_child=_forget_pools)


def _unpacked(program: CompiledPlan, gather: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Return the Hessian (S, M, M) from the numbers."""
    total = out[:, gather]
    if program.extra is not None:
        places, numbers, factors = program.extra
        with np.errstate(over="ignore", invalid="ignore"):  # points without a value are refused later
            np.add.at(total.T, places, (out[:, numbers] * factors).T)
    size = len(program.gradient)
    return total.reshape(-1, size, size)
