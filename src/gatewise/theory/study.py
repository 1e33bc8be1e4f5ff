"""A study: curves, and what is claimed about them. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gatewise.theory.arms import Arm
from gatewise.theory.claims import Claim, Probe, path_of_error


@dataclass(frozen=True)
class Study:
    """A convergence study: arms (curves), and claims about their slopes.

    Attributes
    ----------
    name, title : str
    why : str
        Justification of sample sizes, boxes, replicates, starts and losses, written before the run.
    arms : tuple of Arm
    claims : tuple of Claim
    seed : int
    comparisons : tuple of (arm, arm, series)
        Pairs of arms to compare in sample efficiency: how many times as many observations the second needs for the same
        error.
    probes : tuple of Probe
        Population exponents, which decide claims that replicates cannot.
    schema : int
        Version of what records hold. Raise it when you change the losses of a study whose records you want to keep.
    migrations : mapping of int to callable
        ``{1: function}``: a function that makes a record of version 2 from one of version 1. A record is a dict; the
        errors of a fit are in ``record["series"]``. ``run(study, folder, resume=True)`` carries the records on, and
        keeps the files as they were in ``schema-1``.

    Raises
    ------
    ValueError
        If there are no arms, the name, seed or schema is invalid, two arms or exponents have the same name, a claim or
        comparison refers to an arm or exponent that does not exist, or a claim and its exponent are about different
        parameters.

    Examples
    --------
    >>> from gatewise.theory import STUDIES, Study
    >>> arm = STUDIES["softmax-exact"].arms[0]
    >>> study = Study("mine", "As many experts as there are", "Why these sizes, box and starts.", (arm,))
    >>> study.fits() == len(arm.sizes) * arm.replicates
    True
    """

    name: str
    title: str
    why: str
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...] = ()
    seed: int = 0
    comparisons: tuple[tuple[str, str, str], ...] = ()
    probes: tuple[Probe, ...] = ()
    schema: int = 1
    migrations: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set("/\\\0") or self.name in (".", ".."):
            raise ValueError(f"study {self.name!r}: the name is also that of its folder; use no slashes")
        for name in ("arms", "claims", "comparisons", "probes"):
            if not isinstance(getattr(self, name), tuple):
                raise ValueError(f"study {self.name!r}: {name} must be a tuple, such as {name}=(one,)")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"study {self.name!r}: seed={self.seed!r}: give a non-negative integer")
        if not isinstance(self.schema, int) or self.schema < 1:
            raise ValueError(f"study {self.name!r}: schema={self.schema!r}: give the version of its records, from 1")
        names = [arm.name for arm in self.arms]
        if not names:
            raise ValueError(f"study {self.name!r} has no arms: there is nothing to run")
        for what, given in (("arms", names), ("exponents", [probe.name for probe in self.probes])):
            if len(set(given)) < len(given):
                raise ValueError(f"study {self.name!r} has {what} {given}: give each a different name")
        for one, two, series in self.comparisons:
            if not {one, two} <= set(names):
                raise ValueError(f"study {self.name!r} compares {one!r} and {two!r}, {series}: its arms are {names}")
        for claim in self.claims:
            for name in filter(None, (claim.arm, claim.other)):
                if name not in names:
                    raise ValueError(f"study {self.name!r} has a claim about arm {name!r}: its arms are {names}")
            if claim.probe:
                self._check_probe(claim)

    def _check_probe(self, claim: Claim) -> None:
        paths = {probe.name: probe.path for probe in self.probes}
        if claim.probe not in paths:
            raise ValueError(f"study {self.name!r} has no exponent {claim.probe!r}: it has {', '.join(paths)}")
        if path_of_error(claim.series, self.arm(claim.arm).model.mixture) != paths[claim.probe]:
            raise ValueError(
                f"claim about {claim.arm!r}, {claim.series!r}: its exponent {claim.probe!r} is of "
                f"{paths[claim.probe]}; correct the series, or name another exponent"
            )
        if claim.other:
            raise ValueError(
                f"claim about {claim.arm!r} and {claim.other!r}, {claim.series!r}: the exponent {claim.probe!r} is of "
                "one arm. A difference is decided by the exponents of both, which the study looks up: leave probe empty"
            )

    def arm(self, name: str) -> Arm:
        """Return an arm by name.

        Raises
        ------
        ValueError
            If there is none of this name.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise ValueError(f"study {self.name!r} has no arm {name!r}: it has {', '.join(arm.name for arm in self.arms)}")

    def fits(self) -> int:
        """Return the number of fits."""
        return sum(len(arm.levels()) * arm.replicates for arm in self.arms)


QUICK = 2  # sizes, and replicates, of the quick tier


def quick(study: Study) -> Study:
    """Reduce a study to the two smallest sizes and two replicates: a smoke test that decides nothing.

    Parameters
    ----------
    study : Study

    Returns
    -------
    Study

    Examples
    --------
    >>> from gatewise.theory import STUDIES, quick
    >>> quick(STUDIES["softmax-exact"]).fits()
    4
    """
    return replace(study, arms=tuple(_quick(arm) for arm in study.arms))


def _quick(arm: Arm) -> Arm:
    starts = replace(arm.starts, count=min(arm.starts.count, 3))
    fewer = replace(arm, replicates=QUICK, starts=starts)
    if isinstance(arm.data.noise, tuple):
        return replace(fewer, data=replace(arm.data, noise=arm.data.noise[:QUICK]))
    return replace(fewer, sizes=tuple(sorted(arm.sizes)[:QUICK]))


def long(study: Study, times: int = 10) -> Study:
    """Multiply the number of replicates of a study; intervals become about ``sqrt(times)`` narrower.

    A folder of the standard study can be extended, if its number of replicates is a multiple of 20; blocks of other
    sizes are rounded differently.

    Parameters
    ----------
    study : Study
    times : int

    Returns
    -------
    Study

    Examples
    --------
    >>> from gatewise.theory import STUDIES, long
    >>> study = STUDIES["softmax-exact"]
    >>> long(study).fits() / study.fits()
    10.0
    """
    return replace(study, arms=tuple(replace(arm, replicates=times * arm.replicates) for arm in study.arms))
