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
        Data and model, one of the experiment's.
    gate : str
        A gate, a pair of letters, or one of the experiment's baselines.
    seed : int
    rate : float
        Learning rate.
    quick : bool
        A short run that shows that everything works and decides nothing.
    device : str
    folder : Path or None
        Where the user keeps data that no package brings.
    tuning : bool
        Whether the job only scores the learning rate on the validation part.
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
    """A figure of a run: its title, its unit, and whether more is better (None: neither)."""

    title: str
    unit: str = ""
    more: bool | None = True


class Curves(NamedTuple):
    """A picture: the mean over seeds of a list in the outcomes, by x, one line per gate."""

    key: str
    x: tuple[float, ...]
    x_title: str
    y_title: str


class Table(NamedTuple):
    """A picture for each gate: a table of counts in the outcomes (groups x experts) of its first seed."""

    key: str
    groups: tuple[str, ...]
    by: str


Outcome = Mapping[str, Any]  # "validation": float, the measures by name, "moved": bool, and further lists for figures


@dataclass(frozen=True)
class Experiment:
    """An experiment that a user runs by one command.

    Attributes
    ----------
    name, title, why : str
        `why` tells what is compared, on which data, with which settings, and what it cannot show.
    variants : tuple of str
        Data sets and models; each has tables of its own.
    gates : tuple of str
        Compared by default: names of GATES for one level, pairs of letters for two.
    baselines : tuple of str
        Models without a gate that run beside them.
    measures : mapping of str to Metric
        The figures of a run that are tabulated; the claim is judged by all of which more, or less, is better. The
        name "choice" is kept for a list of the first expert of the same tokens in every seed, whose agreement is told.
    run : callable
        ``Job -> Outcome``: the measures, "validation" (more is better) and "moved" (a gradient reached every
        gate parameter, and it moved).
    rates : tuple of float
        Learning rates among which every gate chooses its own on the validation part.
    claim : tuple of str
        Two gates and the words of the claim that the first is better than the second, for the verdict.
    base : str
        The variant that the others change one thing of, on the same data: each is compared with it. Empty if none is.
    needs : tuple of str
        Data sets of `gatewise.data.sources` that its variants use.
    needs_folder : bool
        Whether it runs on a folder of the user only.
    figures : mapping of str to Curves or Table
        Pictures by their titles; a variant whose outcomes lack the key has none.

    Raises
    ------
    ValueError
        For a name that no folder can have, nothing to run, measure or choose from, names that occur twice, rates that
        are not positive, and an unknown base or gates.
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
            raise ValueError(f"{head}: its folder has this name; give one without slashes")
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
                f"{head}: {CHOICE!r} is no measure but the list whose agreement over seeds is told; rename it"
            )
        if self.base and self.base not in self.variants:
            raise ValueError(f"{head}: base={self.base!r} is none of its variants: {'; '.join(self.variants)}")
        if not all(rate > 0 for rate in self.rates):
            raise ValueError(f"{head}: rates={self.rates}: give positive learning rates")
        for gate in self.gates:
            gates_of(gate)


def gates_of(name: str) -> tuple[str, ...]:
    """Return the gate names of a choice: one for a name of GATES, one per level for ``outer/inner`` or letters.

    ``s`` softmax, ``l`` laplace, ``g`` sigmoid, ``d`` dense-to-sparse, ``a`` activation-dense-to-sparse: "sl" is a
    softmax gate over groups with Laplace gates inside.

    Raises
    ------
    ValueError
        If the choice is neither.

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
