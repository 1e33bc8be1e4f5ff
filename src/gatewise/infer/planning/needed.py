"""How many rows are needed: for standard errors, and to tell a mixture from one with fewer experts."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import torch
from torch import Tensor

from gatewise.core.mixture import Mixture
from gatewise.fit.arguments import positive, probability, whole
from gatewise.infer.covariance.expected import ExpectedInformation, Truth, expected_information, simulate
from gatewise.infer.covariance.value import Information, flat_errors
from gatewise.infer.delta import places_of
from gatewise.infer.planning.check import checked
from gatewise.infer.planning.larger import Progress, rows_for_larger
from gatewise.infer.planning.telling import tell_apart
from gatewise.infer.planning.value import SampleSize, Telling, no_rows

SETS = 40  # data sets of each size where more experts are fitted than there are
SLOW = (
    "Estimates near such a truth, an over-specified one among others, converge more slowly than n^-1/2 or not at all: "
    "identify() says of which gates and experts. experts= plans for a model with more experts than the truth"
)


def rows_needed(
    truth: Truth,
    target: Mapping[str, Any] | None,
    against: int | Mixture | None,
    chance: float,
    simulated: int,
    check: int,
    seed: int,
    experts: int | None = None,
    progress: Progress | None = None,
) -> SampleSize:
    """Return the rows needed; see `gatewise.sample_size`."""
    if target is None and against is None and experts is None:
        raise ValueError(
            "neither target nor against is given: give target={'experts.coef': 0.1} for standard errors, or against=1 "
            "for telling the mixture from one of 1 expert"
        )
    chance, check, seed = probability("probability", chance), whole("check", check, 0), whole("seed", seed, 0)
    if experts is not None:
        if against is not None:
            raise ValueError(f"experts={experts!r} and against={against!r}: ask for one of them at a time")
        return rows_for_larger(truth, {} if target is None else target, experts, check or SETS, seed, progress)
    if against is not None and chance <= 0.5:
        raise ValueError(f"probability={chance:g}: give more than 0.5, the chance of a coin")
    rows = simulate(truth, whole("simulated", simulated, 1000), seed)
    found = expected_information(truth, rows)
    if found.information.refused:
        return no_rows(f"{found.information.refused}. {SLOW}")
    out = _for_errors(found, {} if target is None else target, truth, check, seed)
    return out if against is None else _with_telling(out, tell_apart(truth, rows, against, found.rank, chance, seed))


def _for_errors(
    found: ExpectedInformation, target: Mapping[str, Any], truth: Truth, check: int, seed: int
) -> SampleSize:
    """Return the rows needed for standard errors, at least one more than there are parameters."""
    information, least = found.information, found.rank + 1
    wanted = _wanted(information, target)
    places = wanted.isfinite().nonzero()[:, 0]
    names = tuple(information.names[i] for i in places.tolist())
    goal, unit, noise = wanted[places], flat_errors(information)[places], found.noise[places]
    needed = torch.where(unit.isnan(), inf, torch.ceil((unit / goal).square()))
    none = torch.full_like(goal, torch.nan)
    out = SampleSize(least, names, information.estimate[places], goal, unit, noise, needed, none)
    if not names:
        return out
    if bool(needed.isinf().any()):
        open_ = [name for name, rows in zip(names, needed.tolist(), strict=True) if rows == inf]
        words = f"the data leave {', '.join(open_)} open: other values give the same density"
        return out._replace(rows=None, refused=words)
    if not bool((unit > 0).any()):
        raise ValueError(f"target has {', '.join(target)}: none of it is estimated; give a parameter that is")
    out = out._replace(rows=max(least, int(needed.max())))
    return checked(truth, out, places, check, seed) if check else out


def _wanted(information: Information, target: Mapping[str, Any]) -> Tensor:
    """Return the wanted standard error of every number (F,), the strictest where there are several, or infinity."""
    wanted = torch.full((len(information.names),), inf, dtype=torch.float64)
    for name, goal in target.items():
        error = float(positive(f"target[{name!r}]", goal, (), "give the wanted standard error, a number above 0"))
        places = places_of(information, name)
        wanted[places] = wanted[places].clamp_max(error)
    return wanted


def _with_telling(out: SampleSize, telling: Telling) -> SampleSize:
    if telling.rows is None:
        words = "the truth was not told from the simpler mixture in the simulated rows; simulate more"
        return out._replace(rows=None, refused=out.refused or words, telling=telling)
    return out._replace(rows=None if out.refused else max(out.rows or 0, telling.rows), telling=telling)
