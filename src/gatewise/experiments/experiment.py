"""What an experiment is: a value with its variants, gates and measures, and a function that runs one job of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from gatewise.core.gates import describe, gates

SHORT = {"s": "softmax", "l": "laplace", "g": "sigmoid", "d": "dense-to-sparse", "a": "activation-dense-to-sparse"}
FLAT = ("softmax", "sigmoid", "laplace", "dense-to-sparse", "activation-dense-to-sparse")
CHOICE = "choice"  # in outcomes: the first expert of tokens that are the same for all seeds
PAIRS = ("ss", "sl", "ls", "ll")


class Job(NamedTuple):
    """One training run.

    Attributes
    ----------
    variant : str
        Data and model, one of the experiment's variants.
    gate : str
        A gate, a pair of letters, or a baseline.
    seed : int
    rate : float
        Learning rate.
    quick : bool
        Whether this is a short run for a smoke test.
    device : str
    folder : Path or None
        Folder with the user's data.
    tuning : bool
        Whether the job only scores the learning rate on the validation data.

    Examples
    --------
    >>> from gatewise.experiments import Job
    >>> job = Job("only", "sl", seed=0, rate=0.001, quick=True)
    >>> job.gate, job.device
    ('sl', 'cpu')
    """

    variant: str
    gate: str
    seed: int
    rate: float
    quick: bool = False
    device: str = "cpu"
    folder: Path | None = None
    tuning: bool = False

    def key(self) -> str:
        """Return the name of the job in the store: all that its result depends on but the device."""
        short = ", quick" if self.quick else ""
        return (
            f"{self.variant} | {self.gate} | {'tuning' if self.tuning else 'test'} {self.seed} | {self.rate:g}{short}"
        )


class Metric(NamedTuple):
    """A metric of a run: title, unit, and whether larger (True), smaller (False) or neither (None) is better.

    Attributes
    ----------
    title : str
    unit : str
    more : bool or None
        Whether larger is better (True), smaller (False), or neither (None).

    Examples
    --------
    >>> from gatewise.experiments import Metric
    >>> Metric("loss", "nats", more=False)
    Metric(title='loss', unit='nats', more=False)
    """

    title: str
    unit: str = ""
    more: bool | None = True


class Curves(NamedTuple):
    """A figure: the mean over seeds of a list in the outcomes, against x, with one line per gate.

    Attributes
    ----------
    key : str
        The list in the outcomes.
    x : tuple of float
        Where its entries lie.
    x_title, y_title : str
        Of the axes, with units.

    Examples
    --------
    >>> from gatewise.experiments import Curves
    >>> Curves("loss by epoch", (1.0, 2.0, 3.0), "epoch", "loss in nats").x
    (1.0, 2.0, 3.0)
    """

    key: str
    x: tuple[float, ...]
    x_title: str
    y_title: str


class Table(NamedTuple):
    """A figure for each gate: a table of counts (groups by experts) from the outcome of its first seed.

    Attributes
    ----------
    key : str
        The table in the outcomes, groups by experts.
    groups : tuple of str
        Names of its rows.
    by : str
        What a row stands for, such as a class.

    Examples
    --------
    >>> from gatewise.experiments import Table
    >>> Table("routing", ("cat", "dog"), "class").groups
    ('cat', 'dog')
    """

    key: str
    groups: tuple[str, ...]
    by: str


Outcome = Mapping[str, Any]  # "validation": float, the measures by name, "moved": bool, and further lists for figures


@dataclass(frozen=True)
class Experiment:
    """An applied experiment: data, models, gates and metrics, run with one command.

    Attributes
    ----------
    name, title, why : str
        `why` explains what is compared, on which data, with which settings, and what the experiment cannot show.
    variants : tuple of str
        Data sets and models; results are tabulated for each.
    gates : tuple of str
        Gates compared by default: names of GATES for one level, pairs of letters for two.
    baselines : tuple of str
        Models without a gate, run for comparison.
    measures : mapping of str to Metric
        Metrics to tabulate. The claim is judged by all metrics that have a direction. The name "choice" is reserved for
        a list with the first expert of the same tokens for every seed, from which the agreement between seeds is
        computed.
    run : callable
        ``Job -> Outcome``: the metrics, "validation" (larger is better) and "moved" (whether a gradient reached every
        gate parameter and it changed).
    rates : tuple of float
        Learning rates from which each gate selects one on the validation data.
    claim : tuple of str
        Two gates, and the claim in words that the first is better than the second.
    base : str
        The variant that the others modify in one respect, on the same data; each is compared with it. Empty if none.
    needs : tuple of str
        Data sets of `gatewise.data.sources` that the variants use.
    needs_folder : bool
        Whether the experiment needs a folder with the user's data.
    figures : mapping of str to Curves or Table
        Figures by title; variants whose outcomes lack the key have none.

    Raises
    ------
    ValueError
        If the name cannot be a folder name, there is nothing to run, measure or select from, names occur twice, rates
        are not positive, or the base or a gate is unknown.

    Examples
    --------
    >>> from gatewise.experiments import Experiment, Metric
    >>> def run(job):
    ...     score = 0.8 + 0.01 * job.seed + (0.1 if job.gate == "ll" else 0.0)
    ...     return {"accuracy": score, "validation": score, "moved": True}
    >>> words, metrics = ("task", "A made-up task", "Shows the calls."), {"accuracy": Metric("accuracy")}
    >>> task = Experiment(*words, variants=("only",), gates=("ss", "ll"), measures=metrics, run=run)
    >>> task.gates, task.rates
    (('ss', 'll'), (0.0003, 0.001, 0.003))
    """

    name: str
    title: str
    why: str
    variants: tuple[str, ...]
    gates: tuple[str, ...]
    measures: Mapping[str, Metric]
    run: Callable[[Job], Outcome]
    baselines: tuple[str, ...] = ()
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    claim: tuple[str, str, str] = ("ll", "ss", "Laplace gates at both levels are better than softmax gates at both")
    base: str = ""
    needs: tuple[str, ...] = ()
    needs_folder: bool = False
    figures: Mapping[str, Curves | Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        head = f"experiment {self.name!r}"
        if not self.name or set(self.name) & set("/\\\0") or self.name in (".", ".."):
            raise ValueError(f"{head}: the name is also that of its folder; use no slashes")
        for what in ("variants", "gates", "baselines", "rates"):
            if not isinstance(getattr(self, what), tuple):
                raise ValueError(f"{head}: {what} must be a tuple, such as {what}=(one,)")
        for what in ("variants", "gates", "measures", "rates"):
            if not getattr(self, what):
                raise ValueError(f"{head} has no {what}")
        for names in (self.variants, (*self.baselines, *self.gates)):
            if len(set(names)) < len(names):
                raise ValueError(f"{head} has {', '.join(names)}: give names of its own to each")
        if CHOICE in self.measures:
            raise ValueError(
                f"{head}: {CHOICE!r} is reserved for the list whose agreement over seeds is computed; rename the metric"
            )
        if self.base and self.base not in self.variants:
            raise ValueError(f"{head}: base={self.base!r} is not one of its variants: {'; '.join(self.variants)}")
        if not all(rate > 0 for rate in self.rates):
            raise ValueError(f"{head}: rates={self.rates}: give positive learning rates")
        for gate in self.gates:
            gates_of(gate)


def gates_of(name: str) -> tuple[str, ...]:
    """Translate the name of a gate combination into gate names, one per level.

    A name of GATES is one level. ``outer/inner``, or two letters, are two levels: ``s`` softmax, ``l`` laplace, ``g``
    sigmoid, ``d`` dense-to-sparse, ``a`` activation-dense-to-sparse. "sl" is a softmax gate over groups with Laplace
    gates inside.

    Parameters
    ----------
    name : str

    Returns
    -------
    tuple of str

    Raises
    ------
    ValueError
        If the name is none of these.

    Examples
    --------
    >>> gates_of("sl"), gates_of("laplace"), gates_of("sigmoid/cosine")
    (('softmax', 'laplace'), ('laplace',), ('sigmoid', 'cosine'))
    """
    if len(name) == 2 and set(name) <= set(SHORT):
        return tuple(SHORT[letter] for letter in name)
    try:
        return tuple(map(describe, gates(name, 2 if "/" in name else 1)))
    except ValueError as cause:
        letters = ", ".join(f"{letter} {gate}" for letter, gate in SHORT.items())
        raise ValueError(f"{cause}; two of them stand as outer/inner, or as two letters ({letters})") from None
