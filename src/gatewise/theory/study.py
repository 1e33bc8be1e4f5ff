"""A study: curves, and what is claimed about them. Values only."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatewise.theory.arms import Arm
from gatewise.theory.claims import Claim, Probe


@dataclass(frozen=True)
class Study:
    """Curves and claims about them.

    Attributes
    ----------
    name, title : str
    why : str
        Windows, boxes, replicates, starts and losses, justified before the run.
    arms : tuple of Arm
    claims : tuple of Claim
    seed : int
    comparisons : tuple of (arm, arm, series)
        Whose errors are also compared in rows: how many times more the second needs for the same error.
    probes : tuple of Probe
        Population exponents beside the slopes: they decide what no number of replicates can.

    Raises
    ------
    ValueError
        Without arms, a seed or a name that a folder can have, for two arms or exponents of one name, a claim or a
        comparison about an arm or an exponent there is not, and a claim about a difference, or about another parameter
        than its exponent.
    """

    name: str
    title: str
    why: str
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...] = ()
    seed: int = 0
    comparisons: tuple[tuple[str, str, str], ...] = ()
    probes: tuple[Probe, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set("/\\\0") or self.name in (".", ".."):
            raise ValueError(f"study {self.name!r}: its folder has this name; give one without slashes")
        for name in ("arms", "claims", "comparisons", "probes"):
            if not isinstance(getattr(self, name), tuple):
                raise ValueError(f"study {self.name!r}: {name} must be a tuple, such as {name}=(one,)")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"study {self.name!r}: seed={self.seed!r}: give a whole number that is not negative")
        names = [arm.name for arm in self.arms]
        if not names:
            raise ValueError(f"study {self.name!r} has no arms: there is nothing to run")
        for what, given in (("arms", names), ("exponents", [probe.name for probe in self.probes])):
            if len(set(given)) < len(given):
                raise ValueError(f"study {self.name!r} has {what} {given}: give each a name of its own")
        for one, two, series in self.comparisons:
            if not {one, two} <= set(names):
                raise ValueError(f"study {self.name!r} compares {one!r} and {two!r}, {series}: its arms are {names}")
        for claim in self.claims:
            for name in filter(None, (claim.arm, claim.other)):
                if name not in names:
                    raise ValueError(f"study {self.name!r} claims something of arm {name!r}: its arms are {names}")
            if claim.probe:
                self._check_probe(claim)

    def _check_probe(self, claim: Claim) -> None:
        paths = {probe.name: probe.path for probe in self.probes}
        if claim.probe not in paths:
            raise ValueError(f"study {self.name!r} has no exponent {claim.probe!r}: it has {', '.join(paths)}")
        if claim.series.split(" ")[0] != paths[claim.probe]:
            raise ValueError(
                f"claim about {claim.arm!r}, {claim.series!r}: its exponent {claim.probe!r} is of "
                f"{paths[claim.probe]}; correct the series, or name another exponent"
            )
        if claim.other:
            raise ValueError(
                f"claim about {claim.arm!r} and {claim.other!r}, {claim.series!r}: the exponent {claim.probe!r} says "
                "something of one arm, not of a difference; claim it of that arm"
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
    """Return the study with the two smallest sizes and two replicates: it shows that all runs, and decides nothing."""
    return replace(study, arms=tuple(_quick(arm) for arm in study.arms))


def _quick(arm: Arm) -> Arm:
    starts = replace(arm.starts, count=min(arm.starts.count, 3))
    fewer = replace(arm, replicates=QUICK, starts=starts)
    if isinstance(arm.data.noise, tuple):
        return replace(fewer, data=replace(arm.data, noise=arm.data.noise[:QUICK]))
    return replace(fewer, sizes=tuple(sorted(arm.sizes)[:QUICK]))


def long(study: Study, times: int = 10) -> Study:
    """Return the study with `times` as many replicates: intervals about ``sqrt(times)`` narrower, to run overnight.

    It has the same fingerprint, so that a folder of the standard study is extended, if that has a multiple of 20
    replicates: blocks of other sizes round differently.
    """
    return replace(study, arms=tuple(replace(arm, replicates=times * arm.replicates) for arm in study.arms))
