"""How much can an independent optimiser still gain from the very point of a fit, by what the fit says of itself?

Hostile problems (those of `optima`), five starts each. From the fit's free coordinates scipy's L-BFGS-B, then its
trust-region method with the exact Hessian, minimise the same objective in the same box. What both gain after a jump, to
the best of points far along every direction about which the Hessian says little, is listed apart: where parameters grow
without limit there are many plateaus, and another one is another optimum. Points that are unsound where the fit is
sound are no gain.
"""

from __future__ import annotations

import time
import warnings
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import Bounds, minimize
from torch import Tensor

from benchmarks.optima import cases, problem
from benchmarks.timing import table
from gatewise import MixtureOfExpertsRegressor
from gatewise.fit.certify import soundness
from gatewise.fit.problem import evaluate
from gatewise.fit.status import Status
from gatewise.infer.covariance.point import InformationPoint, locate

PROBLEMS = 60
STARTS = 5
SEED = 1  # of the problems
GAIN = 1e-6  # nats
ROUNDS = 3  # of both methods, in units of the curvature anew


class Leftover(NamedTuple):
    """A problem, the fit's primary status, all its statuses, what was gained from its point,
    and after a jump, in nats."""

    problem: str
    status: str
    flags: str
    climbing: bool
    gain: float
    after_a_jump: float
    seconds: float


def run(sets: int = PROBLEMS, **_: Any) -> dict[str, Any]:
    """Fit problems of every class, improve each fit by another optimiser, and list the gain by status."""
    found = [leftover(name, number) for name, number in islice(cases(sets), min(PROBLEMS, sets))]
    table("what an independent optimiser gains from the point of a fit", [one._asdict() for one in found])
    lines = [_line(status, found) for status in [*dict.fromkeys(one.status for one in found), "all"]]
    table("by status", lines)
    return {"fits": [one._asdict() for one in found], "statuses": lines}


def _line(status: str, found: list[Leftover]) -> dict[str, Any]:
    some = [one for one in found if status in (one.status, "all")]
    silent = [one.gain for one in some if not one.climbing]
    return {
        "status": status,
        "fits": len(some),
        "say that they still climb": sum(one.climbing for one in some),
        "largest gain of the others": max(silent, default=0.0),
        "of them above 1e-6": sum(gain > GAIN for gain in silent),
        "gain after a jump": sum(one.after_a_jump > GAIN for one in some),
        "CPU s": sum(one.seconds for one in some),
    }


def leftover(name: str, number: int) -> Leftover:
    """Fit one problem and return what another optimiser gains from there."""
    data, begin = problem(name, number, SEED), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixtureOfExpertsRegressor(**data.options, n_init=STARTS, random_state=0).fit(data.x, data.y)
        spent = time.process_time() - begin
        point = locate(model.fit_, model.inference(data.x, data.y).rows)
        here = climbed(point, point.free)
        beyond = climbed(point, _along(point, here))
    gain, jump = (_value(point, point.free) - min(_value(point, free), _value(point, here)) for free in (here, beyond))
    flags, total = model.fit_.flags, point.problem.total
    climbing = Status.stalled in flags
    others = " ".join(map(str, flags[1:]))
    return Leftover(f"{name}, {number}", str(flags[0]), others, climbing, gain * total, jump * total, spent)


def climbed(point: InformationPoint, free: Tensor) -> Tensor:
    """Return the best point that scipy's optimisers reach from free coordinates (P,); sound where the fit is."""
    sound = _sound(point, point.free)
    best = _value(point, free)
    for method in ROUNDS * ("L-BFGS-B", "trust-constr"):
        trial = _improved(point, free, method)
        value = _value(point, trial)
        if value < best and (not sound or _sound(point, trial)):
            best, free = value, trial
    return free


def _value(point: InformationPoint, free: Tensor) -> float:
    return float(evaluate(point.problem, free[None], 0)[0][0])


def _sound(point: InformationPoint, free: Tensor) -> bool:
    return bool(soundness(point.problem, free[None]).sound[0])


def _along(point: InformationPoint, free: Tensor) -> Tensor:
    """Return the best point far along the eigenvectors of the Hessian with less than a nat per unit."""
    hessian = point.problem.total * evaluate(point.problem, free[None], 2)[2][0]
    unit = free.abs().clamp_min(1.0)
    values, vectors = torch.linalg.eigh(hessian * unit * unit[:, None])
    vectors = (unit[:, None] * vectors)[:, values.abs() < 1.0]
    steps = torch.tensor([sign * 2.0**k for k in range(-6, 12) for sign in (1, -1)], dtype=torch.float64)
    trials = point.parameterization.inside(free + steps[:, None, None] * vectors.T).flatten(0, 1)
    trials = torch.cat([free[None], trials])
    value = torch.cat([evaluate(point.problem, some, 0)[0] for some in trials.split(64)])
    if _sound(point, point.free):
        value = torch.where(soundness(point.problem, trials).sound, value, torch.inf)
    return trials[int(torch.nan_to_num(value, nan=torch.inf).argmin())]


def _improved(point: InformationPoint, free: Tensor, method: str) -> Tensor:
    """Return the best point that a method passes from free coordinates (P,)."""
    parameterization, total = point.parameterization, point.problem.total
    curvature = evaluate(point.problem, free[None], 2)[2][0].diagonal()
    unit = (1.0 / (total * curvature.abs()).clamp(1e-6, 1e12).sqrt()).numpy()
    least: list[Any] = [np.inf, free.numpy()]

    def at(z: np.ndarray, order: int) -> Any:
        x = np.clip(z * unit, parameterization.lower.numpy(), parameterization.upper.numpy())
        part = evaluate(point.problem, torch.from_numpy(x)[None], order)[order][0].numpy() * total
        if order == 0 and part < least[0]:
            least[:] = float(part), x
        return (
            part * unit if order == 1 else part * unit[:, None] * unit if order == 2 else np.nan_to_num(part, nan=1e9)
        )

    box = Bounds(parameterization.lower.numpy() / unit, parameterization.upper.numpy() / unit)
    second = {"hess": lambda z: at(z, 2)} if method == "trust-constr" else {}
    limits: dict[str, Any] = {"L-BFGS-B": {"maxiter": 2000, "maxfun": 4000, "ftol": 0, "gtol": 1e-9, "maxcor": 30}}
    limits["trust-constr"] = {"maxiter": 150, "gtol": 1e-10, "xtol": 1e-14}
    minimize(
        lambda z: float(at(z, 0)), free.numpy() / unit, method=method, jac=lambda z: at(z, 1), bounds=box,
        options=limits[method], **second,
    )  # fmt: skip
    return torch.from_numpy(least[1])
