"""Functions of one number: within two or three units in the last place of extended precision."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from gatewise.objective.compiled import scalar

SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1e-320, -1e-320, 1.0, -1.0, 1e-17, 1e308, -1e308, 709.78, 709.79]
    + [-708.0, -708.3, -745.1, -745.2, 20.0, 20.0001]
)
EXTENDED = np.finfo(np.longdouble).nmant >= 63


def draws():
    rng = np.random.default_rng(0)
    scattered = rng.choice([-1, 1], 40_000) * 10.0 ** rng.uniform(-20, 3, 40_000)
    return np.concatenate([SPECIAL, 10 * rng.normal(size=40_000), rng.uniform(-750, 715, 40_000), scattered])


def positive():
    rng = np.random.default_rng(1)
    about_one = 1 + 10.0 ** rng.uniform(-15, -1, 20_000) * rng.choice([-1, 1], 20_000)
    return np.concatenate([SPECIAL, np.exp(rng.uniform(-745, 709, 40_000)), rng.uniform(0.3, 3, 40_000), about_one])


def below():
    x = -np.abs(draws())
    return x[~(x < -708)]


CASES = {
    "exp": (draws, np.exp, 2),
    "exp_below": (below, np.exp, 2),
    "expm1_below": (lambda: -np.abs(draws()), np.expm1, 2),
    "log": (positive, np.log, 2),
    "log1p_small": (lambda: np.abs(draws()), np.log1p, 2),
    "sigmoid": (lambda: draws()[~(draws() < -700)], lambda x: 1 / (1 + np.exp(-x)), 3),
    "log_sigmoid": (draws, lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))), 3),
    "tanh": (draws, np.tanh, 3),
}


@pytest.mark.skipif(not EXTENDED, reason="this platform has no extended precision to compare with")
@pytest.mark.parametrize("name", CASES)
def test_last_places(name):
    drawn, reference, ulps = CASES[name]
    fn, x = getattr(scalar, name), drawn()

    @numba.njit
    def over(x, out):
        for i in range(len(x)):
            out[i] = fn(x[i])

    found = np.empty_like(x)
    over(x, found)
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.longdouble))
        rounded = exact.astype(float)
        same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
        gap = np.where(same, 0, np.abs(found - exact) / np.spacing(np.abs(rounded)))
    worst = np.argmax(np.nan_to_num(gap, nan=np.inf))
    assert gap[worst] <= ulps, f"{name}({x[worst]!r}) = {found[worst]!r}, {gap[worst]} units off"


def test_normal_law():
    """Within 2e-15 of itself, in the lower tail too, but for the rounding of the square in the exponent."""
    mpmath = pytest.importorskip("mpmath")

    @numba.njit
    def over(x, below, density):
        for i in range(len(x)):
            below[i], density[i] = scalar.normal(x[i])

    x = np.concatenate([SPECIAL, draws()[::400], np.linspace(-37.5, 37.5, 2_001)])
    x = x[~((np.abs(x) > 50) & np.isfinite(x))]
    below, density = np.empty_like(x), np.empty_like(x)
    over(x, below, density)
    for found, law in ((below, mpmath.ncdf), (density, mpmath.npdf)):
        for at, value in zip(x, found, strict=True):
            if not np.isfinite(at):
                assert np.isnan(at) == np.isnan(value)
                continue
            exact = law(mpmath.mpf(at))
            slack = (2e-15 + 1.2e-16 * at**2) * exact + 1e-307
            assert abs(mpmath.mpf(value) - exact) <= slack, f"{law.__name__}({at!r}) = {value!r}"
    assert (below[x == np.inf], below[x == -np.inf], *density[np.isinf(x)]) == (1, 0, 0, 0)


def test_exp_below_ends_at_zero():
    @numba.njit
    def at(x):
        return scalar.exp_below(x)

    assert at(-708.5) == at(-np.inf) == 0.0
    assert np.isnan(at(np.nan))
