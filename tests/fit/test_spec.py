"""What is estimated: a spec is kept with the fit, ties hold numbers together, and information needs the data alone."""

import numpy as np
import pytest
import torch

from gatewise.core.families import FAMILIES
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit.least_squares import least_squares
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.spec import FitSpec
from gatewise.infer.covariance.information import information, standard_errors
from gatewise.infer.profile.likelihood import profile
from gatewise.objective.rows import make_rows
from gatewise.testing import assert_close

TWO = Mixture((GATES["softmax"],), (2,))


@pytest.fixture(scope="module")
def data():
    """Two planes in three features of different units; they have the slope of the third in common."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(240, 3)) * [1.0, 20.0, 0.1] + [0.0, 50.0, 3.0]
    first = rng.random(240) < 1 / (1 + np.exp(-2 * x[:, 0]))
    y = np.where(first, 1 + x[:, 0], 9 - 0.1 * x[:, 1]) + 4 * x[:, 2] + 0.3 * rng.normal(size=240)
    return x, y


def tied_by_hand(x, y, start):
    """The log-likelihood with one common slope, by maximising over its value from a measure."""
    rows = make_rows(x, y[:, None])

    def at(slope):
        held = torch.full((2, 1, 3), torch.nan, dtype=torch.float64)
        held[..., 2] = slope
        return maximum_likelihood(TWO, rows, FitSpec(fixed={"experts.coef": held}), starts=[start]).log_likelihood

    slopes = np.linspace(3.0, 5.0, 9)
    heights = np.array([at(slope) for slope in slopes])
    best = slopes[heights.argmax()]
    fine = np.linspace(best - 0.1, best + 0.1, 5)
    curve = np.polyfit(fine - best, [at(slope) for slope in fine], 4)
    roots = np.roots(np.polyder(curve))
    top = roots[np.abs(roots.imag) < 1e-9].real
    return float(max(np.polyval(curve, t) for t in top if abs(t) < 0.15))


def test_tied_slopes_are_equal_and_at_the_optimum(data):
    x, y = data
    rows = make_rows(x, y[:, None])
    spec = FitSpec(ties=(("experts.coef[0,0,2]", "experts.coef[1,0,2]"),))
    fit = maximum_likelihood(TWO, rows, spec, starts=6)
    coef = fit.measure.experts["coef"][:, 0, 2]
    assert_close(coef[:1], coef[1:], "a tied slope", 1e-12)
    free = maximum_likelihood(TWO, rows, starts=6)
    assert fit.log_likelihood == pytest.approx(tied_by_hand(x, y, free.measure), abs=1e-5)
    assert fit.df == free.df - 1
    assert fit.log_likelihood < free.log_likelihood
    errors = standard_errors(information(fit, rows))["experts.coef"][:, 0, 2]
    assert_close(errors[:1], errors[1:], "the error of a tied slope", 1e-9)
    assert errors[0] < standard_errors(information(free, rows))["experts.coef"][:, 0, 2].min()


def test_scales_of_different_responses_can_be_tied(data):
    x, _ = data
    rng = np.random.default_rng(0)
    y = np.c_[x[:, 0] + rng.normal(size=240), 100 * x[:, 2] + rng.normal(size=240)]
    one = Mixture((GATES["constant"],), (1,))
    rows = make_rows(x, y)
    fit = maximum_likelihood(one, rows, FitSpec(ties=(("family.scale[0,0]", "family.scale[0,1]"),)), starts=1)
    free = maximum_likelihood(one, rows, starts=1)
    pooled = free.measure.family["scale"].square().mean().sqrt()
    assert_close(fit.measure.family["scale"], pooled.expand(1, 2), "a common scale pools the squares", 1e-8)


@pytest.mark.parametrize("estimate", [maximum_likelihood, least_squares])
def test_ties_of_what_is_not_estimated_are_told(data, estimate):
    x, y = data
    rows = make_rows(x, y[:, None])
    with pytest.raises(ValueError, match=r"gates.0.weight\[1,0\]', which is not estimated"):
        estimate(TWO, rows, FitSpec(ties=(("gates.0.weight[1,0]", "gates.0.weight[0,0]"),)), starts=2)
    with pytest.raises(ValueError, match="not a parameter of this mixture"):
        estimate(TWO, rows, FitSpec(ties=(("experts.slope[0]", "experts.coef[0,0,0]"),)), starts=2)
    name = "experts.coef[0,0,0]"
    with pytest.raises(ValueError, match="twice"):
        estimate(TWO, rows, FitSpec(ties=((name, "experts.coef[1,0,0]"), (name, "experts.coef[1,0,1]"))), starts=2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"alpha": -1.0}, "alpha=-1.0: the ridge penalty is a number from 0"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"gauge": "free"}, "gauge='free': choose 'fixed' or 'none'"),
        ({"weights": "analytic"}, "weights='analytic': choose 'frequency' or 'sampling'"),
        ({"min_scale": 0.0}, "min_scale=0.0: give a positive number, or one per column of y"),
        ({"ties": (("family.scale[0,0]",),)}, "a tie holds two different names or more"),
    ],
)
def test_impossible_specs_are_told(wrong, words):
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        FitSpec(**wrong)


SPECS = {
    "plain": FitSpec(),
    "bounds": FitSpec(bounds={"experts.coef": (-3.0, 30.0)}),
    "fixed": FitSpec(fixed={"experts.coef": torch.tensor([[[torch.nan, torch.nan, 4.0]]]).expand(2, 1, 3).double()}),
    "tied": FitSpec(ties=(("experts.coef[0,0,2]", "experts.coef[1,0,2]"),)),
    "ridge": FitSpec(alpha=3.0),
    "floor": FitSpec(min_scale=0.05),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("family", ["gaussian", "mean"])
def test_information_and_profiles_need_the_fit_and_its_rows_alone(data, spec, family):
    x, y = data
    rows = make_rows(x, y[:, None])
    fit = (least_squares if family == "mean" else maximum_likelihood)(TWO, rows, spec, starts=2)
    found = information(fit, rows)
    if fit.status in ("converged", "at-bound"):
        assert found.refused is None or "bound" in found.refused
        interval = profile(fit, rows, "experts.coef[0,0,0]")
        assert interval.refused is None or "bound" in interval.refused
        assert not interval.lower >= interval.estimate  # an end that was not found is NaN


def test_a_fit_keeps_the_floor_that_was_used(data):
    x, y = data
    rows = make_rows(x, y[:, None])
    fit = maximum_likelihood(TWO, rows, starts=4)
    assert fit.spec.min_scale.value.shape == (1,)
    again = maximum_likelihood(TWO, rows, fit.spec, starts=4)
    assert again.log_likelihood == fit.log_likelihood


def test_sampling_weights_have_robust_errors(data):
    x, y = data
    weight = torch.from_numpy(np.random.default_rng(1).uniform(0.5, 2.0, len(x)))
    rows = make_rows(x, y[:, None], weight=weight)
    fit = maximum_likelihood(TWO, rows, FitSpec(weights="sampling"), starts=4)
    assert information(fit, rows).kind == "sandwich"
    robust = standard_errors(information(fit, rows, "sandwich"))["experts.coef"]
    assert torch.equal(standard_errors(information(fit, rows))["experts.coef"], robust)


def test_counts_have_no_floor():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 3))
    rows = make_rows(x, rng.poisson(3.0, size=(80, 1)))
    assert (
        maximum_likelihood(Mixture((GATES["constant"],), (1,), family=FAMILIES["poisson"]), rows).spec.min_scale is None
    )
