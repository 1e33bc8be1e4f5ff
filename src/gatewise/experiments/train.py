"""Training as all experiments do it: seeds, batches, a rate, the check that every gate moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gatewise.nn.diagnostics import History
from gatewise.nn.metrics import gate_movement, gate_state

Batch = Mapping[str, Tensor]


class DataSplit(NamedTuple):
    """Rows of the parts of a data set."""

    train: Tensor
    validation: Tensor
    test: Tensor


class Trained(NamedTuple):
    """Result of `train`.

    Attributes
    ----------
    history : History
        Routing statistics of the layers.
    loss : list of float
        Mean loss of each epoch.
    movement : dict of str to float
        Relative change of each gate parameter.
    unreached : frozenset of str
        Gate parameters whose gradient was zero at every step; only weight decay could change them.
    """

    history: History
    loss: list[float]
    movement: dict[str, float]
    unreached: frozenset[str]

    @property
    def moved(self) -> bool:
        """Whether a gradient reached every gate parameter, and it moved."""
        return not self.unreached and all(distance > 0 for distance in self.movement.values())


def seeded(seed: int, role: int) -> torch.Generator:
    """Create a random generator for a seed and a role, and set torch's global seed for the initialisation of layers.

    Parameters
    ----------
    seed : int
    role : int
        Distinguishes the generators of one seed, such as data and batches.

    Returns
    -------
    torch.Generator

    Examples
    --------
    >>> import torch
    >>> from gatewise.experiments import seeded
    >>> float(torch.rand(1, generator=seeded(0, 1)) - torch.rand(1, generator=seeded(0, 1)))
    0.0
    """
    state = int(np.random.SeedSequence(seed, spawn_key=(role,)).generate_state(1)[0])
    torch.manual_seed(state)
    return torch.Generator().manual_seed(state)


def split_rows(n: int, seed: int, validation: float = 0.15, test: float = 0.15) -> DataSplit:
    """Return random parts of n rows, the same for every gate.

    The test part is the same for all seeds, so that no row of it ever trains a model or chooses a rate; the others are
    drawn anew for every seed.
    """
    fixed = torch.randperm(n, generator=torch.Generator().manual_seed(10_000))
    last, held = round(n * test), round(n * validation)
    rest = fixed[last:]
    rest = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(10_001 + seed))]
    return DataSplit(rest[held:], rest[:held], fixed[:last])


def standard(values: Tensor, rows: Tensor) -> Tensor:
    """Return values ``(n, *, d)`` less their mean, over their standard deviation, both over some rows and ``*``."""
    spread, mean = torch.std_mean(values[rows].flatten(0, -2), 0)
    return (values - mean) / spread.where(spread > 0, 1.0)


def batches(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Return the rows in random order in batches; a last batch of one row is left out."""
    for part in rows[torch.randperm(len(rows), generator=generator)].split(size):
        if len(part) > 1:
            yield part


def train(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    rows: Tensor,
    *,
    epochs: int,
    rate: float,
    generator: torch.Generator,
    batch: int = 64,
    weight_decay: float = 1e-2,
    warm_up: float = 0.0,
    at_epoch: Callable[[int], None] | None = None,
) -> Trained:
    """Train a model with AdamW; the learning rate rises linearly to `rate`, then falls as a half cosine to zero.

    Parameters
    ----------
    model : Module
    loss : callable
        Maps the row numbers of a batch to the loss.
    rows : Tensor (n,)
        Row numbers of the training data.
    epochs : int
    rate : float
        Largest learning rate.
    generator : torch.Generator
        Shuffles the rows.
    batch : int
        Batch size.
    weight_decay : float
    warm_up : float
        Share of the steps in which the learning rate rises; 0: it starts at its largest.
    at_epoch : callable, optional
        Called with the number of each finished epoch.

    Returns
    -------
    Trained

    Raises
    ------
    FloatingPointError
        If the loss is not finite, because the learning rate is too large or the data are not finite.

    Examples
    --------
    >>> import torch
    >>> from gatewise.experiments import seeded, train
    >>> x = torch.linspace(-1, 1, 64)[:, None]
    >>> model = torch.nn.Linear(1, 1)
    >>> def loss(rows):
    ...     return (model(x[rows]) - 2 * x[rows]).square().mean()
    >>> before = loss(torch.arange(64)).item()
    >>> _ = train(model, loss, torch.arange(64), epochs=3, rate=0.05, generator=seeded(0, 0))
    >>> loss(torch.arange(64)).item() < before
    True
    """
    start = gate_state(model)
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=weight_decay)
    steps = epochs * max(1, -(-len(rows) // batch))
    rising = round(warm_up * steps)

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + float(np.cos(np.pi * min((step - rising) / max(steps - rising, 1), 1.0))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    history, by_epoch, unreached = History(model), [], set(start)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for epoch in range(epochs):
        total, count = 0.0, 0
        model.train()
        for part in batches(rows, batch, generator):
            optimizer.zero_grad(set_to_none=True)
            value = loss(part)
            value.backward()
            unreached = {name for name in unreached if _is_zero(parameters[name].grad)}
            optimizer.step()
            schedule.step()
            history.add()
            total, count = total + float(value.detach()) * len(part), count + len(part)
        by_epoch.append(total / max(count, 1))
        if not np.isfinite(by_epoch[-1]):
            raise FloatingPointError(f"the loss of epoch {epoch + 1} is {by_epoch[-1]}: lower the rate {rate:g}")
        if at_epoch is not None:
            at_epoch(epoch)
    model.eval()
    return Trained(history, by_epoch, gate_movement(model, start), frozenset(unreached))


def _is_zero(gradient: Tensor | None) -> bool:
    return gradient is None or not bool(gradient.any())
