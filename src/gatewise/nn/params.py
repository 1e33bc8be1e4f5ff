"""Parameters of a gate as torch parameters: one set per level, drawn so that routing starts nearly even."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gatewise.core.gates import Gate
from gatewise.core.parameters import Parameter, fresh_name

SPREAD = 0.3  # standard deviation over the branches of the scores at the start
Schedule = Callable[[int], float]


class Anneal(NamedTuple):
    """Exponential annealing of a temperature from `start` to `end` over `steps` optimiser steps.

    ``temperature(t) = start (end / start)^(min(t, steps) / steps)``.

    Attributes
    ----------
    start, end : float
        Positive temperatures.
    steps : int

    Examples
    --------
    >>> Anneal(4.0, 1.0, steps=100)(50)
    2.0
    """

    start: float = 2.0
    end: float = 0.1
    steps: int = 1000

    def __call__(self, step: int) -> float:
        """Return the temperature at a step."""
        if not (0 < self.start < inf and 0 < self.end < inf and self.steps > 0):
            raise ValueError(f"{self}: give two positive temperatures and a positive number of steps")
        return self.start * (self.end / self.start) ** (min(step, self.steps) / self.steps)


class GateParameters(nn.Module):
    """The parameters of one level: ``owners + (branches,) + shape`` for each branch, ``owners + shape`` for each node.

    A parameter whose core transform is ``log`` or ``reciprocal`` is stored as ``log_NAME``, so that any step keeps it
    positive, and one that is called like something that modules have, such as ``forward``, as ``forward_2``.

    Parameters
    ----------
    gate : Gate
    owners : tuple of int
        The branches of the levels above, ``()`` at the root.
    branches : int
    dim : int
        Features of a token.
    temperature : "learned", float or callable
        Of a tempered gate: trained, fixed, or given by the number of optimiser steps. Of a gate without a temperature
        it means nothing; of one with several it is the outermost.
    """

    weight: Tensor  # these in gates of an affine score, which public checkpoints have
    bias: Tensor

    def __init__(
        self, gate: Gate, owners: tuple[int, ...], branches: int, dim: int, temperature: str | float | Schedule
    ) -> None:
        super().__init__()
        self.gate, self.owners, self.branches, self.dim = gate, owners, branches, dim
        self.specs = gate.score.parameters(dim)
        self.schedule = temperature if callable(temperature) else None
        self.temperature = temperature
        self.tempered = gate.score.names("temperature")[-1:]
        self.stored: dict[str, str] = {}  # name in core -> name under which it is registered
        start = self._start()
        for name, spec in self.specs.items():
            held = not spec.free or (name in self.tempered and temperature != "learned")
            free = _free(name, spec, start[name])
            self.stored[name] = unused_name(self, f"log_{name}" if _positive_kind(name, spec) else name)
            if held:
                self.register_buffer(self.stored[name], free)
            else:
                self.register_parameter(self.stored[name], nn.Parameter(free))

    def _start(self) -> dict[str, Tensor]:
        """Draw natural values to start from."""
        start = initial(self.gate, self.owners, self.branches, self.dim)
        if isinstance(self.temperature, str):
            return start
        value = _positive(self.temperature, 0) if callable(self.temperature) else self.temperature
        return start | {name: torch.full_like(start[name], value) for name in self.tempered}

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores of all branches: x ``(*, d, T)``, with a dimension of one for each of the levels above."""
        return self.gate.score(self.values(x.dtype), x)

    def reset_parameters(self) -> None:
        """Draw all parameters anew, as after ``to_empty``."""
        self.assign(self._start())

    def values(self, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Return the natural values by their names in core, in `dtype`."""
        out = {}
        for name, spec in self.specs.items():
            free = getattr(self, self.stored[name])
            free = free if dtype is None or free.dtype == dtype else free.to(dtype)
            out[name] = free.exp() if _positive_kind(name, spec) else free
        return out

    @torch.no_grad()
    def assign(self, values: dict[str, Tensor]) -> None:
        """Copy natural values, by their names in core, into the parameters."""
        for name, spec in self.specs.items():
            target = getattr(self, self.stored[name])
            given = values[name]
            if given.shape != target.shape:
                raise ValueError(
                    f"{name} has shape {tuple(given.shape)}, the layer's has {tuple(target.shape)}: "
                    "build the layer with the same branching and number of features"
                )
            target.copy_(_placed(_free(name, spec, given), target))

    @torch.no_grad()
    def anneal(self, step: int) -> None:
        """Set the temperature that the schedule has after `step` optimiser steps."""
        if self.schedule is None:
            return
        for name in self.tempered:
            stored = getattr(self, self.stored[name])
            stored.copy_(_free(name, self.specs[name], torch.full_like(stored, _positive(self.schedule, step))))

    def extra_repr(self) -> str:
        return f"{self.gate.score}, {self.gate.link}, nodes={self.owners or 1}, branches={self.branches}"


def initial(gate: Gate, owners: tuple[int, ...], branches: int, dim: int) -> dict[str, Tensor]:
    """Draw parameters whose scores differ by SPREAD between branches, for inputs of unit variance per feature.

    Vectors are standard normal times a common factor found by bisection, so any score starts nearly even and none
    starts constant. A bounded score that no factor can spread so far gets it from its temperature, if it has one.

    The draws are made on the CPU in float32 and moved to the default device and dtype, so that layers can be built
    on the meta device or in half precision.
    """
    home = torch.empty(())
    with torch.device("cpu"):
        return {name: value.to(home) for name, value in _draw(gate, owners, branches, dim).items()}


def _draw(gate: Gate, owners: tuple[int, ...], branches: int, dim: int) -> dict[str, Tensor]:
    """Draw the parameters of `initial` in float32."""
    values = {}
    for name, spec in gate.score.parameters(dim).items():
        shape = owners + ((branches,) if spec.per == "branch" else ()) + spec.shape
        drawn = spec.free and spec.per == "branch" and spec.shape != ()
        start = torch.randn if drawn else partial(torch.full, fill_value=float(spec.initial))
        values[name] = start(shape, dtype=torch.float32)
    vectors = [name for name, spec in gate.score.parameters(dim).items() if spec.shape != () and spec.free]
    if branches == 1 or not vectors:
        return values
    first = {name: value[(0,) * len(owners)] for name, value in values.items()}
    rows = torch.nn.functional.layer_norm(
        torch.randn(16, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float32), (dim,), eps=1e-6
    ).mT

    def spread(log_factor: float) -> float:
        scaled = {n: v * 10.0**log_factor if n in vectors else v for n, v in first.items()}
        return float(gate.score(scaled, rows).std(-2).mean())

    low, high = -6.0, 2.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if spread(middle) < SPREAD else (low, middle)
    factor = low if low > -5.9 and high < 1.9 else 0.0  # at an end: the factor does not steer the spread
    for name in vectors:
        values[name] = values[name] * 10.0**factor
    reached = spread(factor)
    for name in gate.score.names("temperature")[-1:]:
        if not 0.5 < reached / SPREAD < 2:
            values[name] = values[name] * max(reached / SPREAD, 1e-3)
    return values


def _positive(schedule: Schedule, step: int) -> float:
    """Return the temperature of a schedule at a step."""
    value = schedule(step)
    if not 0 < value < inf:
        raise ValueError(f"the temperature at step {step} is {value}: a schedule must stay positive and finite")
    return value


def _placed(value: Tensor, target: Tensor) -> Tensor:
    """Return a value spread over processes as the target is, with the values of the first one."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(target, DTensor):
        return value
    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)


def unused_name(module: nn.Module, wanted: str) -> str:
    """Return the name under which a module registers a parameter: the wanted one, numbered where the module has it.

    Examples
    --------
    >>> unused_name(nn.Module(), "weight"), unused_name(nn.Module(), "forward")
    ('weight', 'forward_2')
    """
    return fresh_name(wanted, dir(module))


def _free(name: str, spec: Parameter, value: Tensor) -> Tensor:
    """Return the free coordinate of a natural value."""
    return value.log() if _positive_kind(name, spec) else value


def _positive_kind(name: str, spec: Parameter) -> bool:
    """Return whether a parameter is positive, by its transform: a layer keeps its logarithm."""
    if isinstance(spec.transform, str):
        return spec.transform != "identity"
    positive = {kind != "identity" for kind in spec.transform}
    if len(positive) > 1:
        raise ValueError(
            f"{name} has the transforms {spec.transform!r}, some of positive entries and some of others: for layers, "
            "make two parameters of it"
        )
    return positive == {True}
