"""Many fits in blocks: the same fits one by one, for any number of workers."""

import numpy as np
import pytest
import torch

from gatewise.core.experts import EXPERTS
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, sample
from gatewise.fit import Status, least_squares, many, maximum_likelihood
from gatewise.fit.least_squares import mean_of
from gatewise.fit.many import Plan, fit_block, many_fits
from gatewise.fit.model import prepare
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import make_rows, stacked
from gatewise.testing import draw_measure, generator

SOFTMAX = Mixture((GATES["softmax"],), (2,))


def draw(replicate, gate="softmax", n=300):
    mixture = Mixture((GATES[gate],), (2,))
    measure = draw_measure(mixture, 1, 1, 1, generator(3))
    g = generator(1000 + replicate)
    x = 4 * torch.rand(1, n, generator=g, dtype=torch.float64) - 2
    return make_rows(x.T, sample(mixture, measure, x, x, g)[0].T)


def draw_fewer(replicate):
    return draw(replicate, n=150)


def draw_laplace(replicate):
    return draw(replicate, "laplace", 150)


def draw_mean(replicate):
    rng = np.random.default_rng(replicate)
    x = rng.uniform(-2, 2, (250, 1))
    y = np.tanh(2 * x) / (1 + np.exp(-2 * x)) + np.tanh(1 - x) / (1 + np.exp(2 * x)) + 0.05 * rng.normal(size=x.shape)
    return make_rows(x, y)


def same(one, other):
    a, b = one.measure.paths(), other.measure.paths()
    return one.objective == other.objective and all(torch.equal(a[path], b[path]) for path in a)


def test_the_number_of_workers_changes_no_bit(monkeypatch):
    monkeypatch.setattr(many, "CELLS", 300 * 5 * 3)  # three replicates in a block
    plan = Plan(SOFTMAX, starts=4)
    one = list(many_fits(plan, draw, range(7)))
    two = list(many_fits(plan, draw, range(7), workers=2))
    assert [r for r, _ in one] == list(range(7))
    assert all(same(a, b) for (_, a), (_, b) in zip(one, two, strict=True))


@pytest.mark.parametrize(("gate", "rows"), [("softmax", draw_fewer), ("laplace", draw_laplace)])
def test_each_fit_is_that_of_its_data_alone(gate, rows):
    mixture = Mixture((GATES[gate],), (2,))
    for replicate, fit in many_fits(Plan(mixture, 4, spec=FitSpec(min_scale=0.01)), rows, range(3)):
        alone = maximum_likelihood(mixture, rows(replicate), FitSpec(min_scale=0.01), starts=[fit.measure])
        assert fit.status in (Status.converged, Status.at_kink)
        assert fit.certificate.passed
        assert fit.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-6)


def test_least_squares_of_many_data_sets():
    mixture = Mixture((GATES["sigmoid"],), (2,), EXPERTS["bare-tanh"])
    for replicate, fit in many_fits(Plan(mixture, starts=10, method="ls"), draw_mean, range(2)):
        alone = least_squares(mixture, draw_mean(replicate), starts=[fit.measure])
        assert fit.sse == pytest.approx(alone.sse, rel=1e-9)
        assert fit.sse <= least_squares(mixture, draw_mean(replicate)).sse * 1.02
        assert fit.certificate.passed


def test_starts_may_be_given_per_replicate_and_larger_data_are_searched_on_a_part():
    truth = draw_measure(SOFTMAX, 1, 1, 1, generator(3))
    plan = Plan(SOFTMAX, starts=lambda replicate: [truth], subsample=100)
    fits = dict(many_fits(plan, draw, [4, 9]))
    assert sorted(fits) == [4, 9]
    for replicate, fit in fits.items():
        assert fit.starts.subsampled
        assert fit.log_likelihood == pytest.approx(maximum_likelihood(SOFTMAX, draw(replicate)).log_likelihood)


def test_progress_counts_replicates(monkeypatch):
    monkeypatch.setattr(many, "CELLS", 300 * 5 * 2)
    seen = []
    list(many_fits(Plan(SOFTMAX), draw, range(5), progress=lambda *told: seen.append(told)))
    assert seen == [("fits", 2, 5), ("fits", 4, 5), ("fits", 5, 5)]


def test_what_cannot_be_done_is_said():
    with pytest.raises(ValueError, match="choose 'ml'"):
        list(many_fits(Plan(SOFTMAX, method="lsq"), draw, [0]))
    with pytest.raises(ValueError, match="a batch needs one size"):
        stacked([draw(0), draw(1, n=200)])
    assert list(many_fits(Plan(SOFTMAX), draw, [])) == []


def test_ties_and_bounds_are_those_of_single_fits():
    tied = Mixture((GATES["sigmoid"],), (2,), EXPERTS["bare-tanh"], shared=("experts.coef",))
    ((_, fit),) = many_fits(Plan(tied, starts=10, method="ls"), draw_mean, [0])
    coef = fit.measure.experts["coef"]
    assert torch.equal(coef[0], coef[1])

    def scaled(replicate):
        rows = draw(0)
        return make_rows(rows.x.read(0, 300).T, rows.y.read(0, 300).T * (1.0, 1e6, 1e-6)[replicate])

    plan = Plan(SOFTMAX, spec=FitSpec(bounds={"experts.intercept": (-1e9, 1e9)}))
    fits = [fit for _, fit in many_fits(plan, scaled, range(3))]
    assert {fit.status for fit in fits} == {Status.converged}
    assert len({fit.df for fit in fits}) == 1
    assert all(
        f.log_likelihood == pytest.approx(fits[0].log_likelihood - 300 * np.log(s), rel=1e-9)
        for f, s in zip(fits, (1.0, 1e6, 1e-6), strict=True)
    )


def test_two_components_that_merge_are_no_saddle():
    """The weight of two equal components has no curvature: what rounding leaves beside it is none either."""
    mixture = Mixture((GATES["constant"],), (2,), EXPERTS["constant"])
    spec = FitSpec({"experts.intercept": (-3.0, 3.0), "gates.0.bias": (-2.0, 2.0)}, {"family.scale": torch.ones(2, 1)})
    plan = Plan(mixture, 10, spec=spec, seed=1)

    def drawn(number):
        rng = np.random.default_rng(number)
        return make_rows(rng.uniform(-2, 2, size=(2000, 3)), rng.normal(size=(2000, 1)))

    fits = fit_block(plan, drawn, tuple(range(12)))
    merged = [fit for fit in fits if fit.status is Status.unidentified]
    assert merged
    assert not [fit for fit in fits if Status.stalled in fit.flags]


def test_data_sets_in_other_units_whose_ties_differ_there_are_no_batch():
    """A slope of the gate that is a slope of an expert is another multiple of it in units of another y."""
    ties = tuple((f"gates.0.weight[0,{i}]", f"experts.coef[0,0,{i}]") for i in range(3))
    x = 2 * torch.rand(200, 3, generator=generator(0), dtype=torch.float64) - 1
    y = x[:, :1] + torch.randn(200, 1, generator=generator(1), dtype=torch.float64)
    for given, alike in (((), True), (ties, False)):
        one, other = (
            prepare(mean_of(SOFTMAX), make_rows(x, size * y), FitSpec(ties=given)).parameterization
            for size in (1.0, 3.0)
        )
        assert many._alike(one, other) == alike


def test_ends_that_few_rows_order_badly_are_all_tried_on_the_rest():
    truth = draw_measure(SOFTMAX, 3, 3, 1, generator(3))

    def rows(replicate):
        g = generator(2000 + replicate)
        x = 4 * torch.rand(3, 4000, generator=g, dtype=torch.float64) - 2
        return make_rows(x.T, sample(SOFTMAX, truth, x, x, g)[0].T)

    plan = Plan(Mixture((GATES["softmax"],), (3,)), starts=8)  # one expert more than there are
    all_ends = [fit.log_likelihood for _, fit in many_fits(plan, rows, range(5))]
    two_ends = [fit.log_likelihood for _, fit in many_fits(plan._replace(kept=2), rows, range(5))]
    gain = np.subtract(all_ends, two_ends)
    assert gain.min() > -1e-6
    assert (gain > 0.1).any()
