"""One table: data that make a fit difficult or impossible, and what must be said about each.

A row is the data, the model, the status that must come first, other flags that must be there, and further checks. The
reason for a status stands with its row.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from gatewise import data
from gatewise.core.experts import EXPERTS
from gatewise.core.families import FAMILIES, Binomial
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture, log_density, responsibilities
from gatewise.fit import Status, maximum_likelihood
from gatewise.fit.floor import many_rows
from gatewise.fit.spec import FitSpec
from gatewise.objective.rows import make_rows

UNSOUND, SEPARATED, UNIDENTIFIED = Status.unsound, Status.separated, Status.unidentified
AT_KINK, CONVERGED = Status.at_kink, Status.converged
LAPLACE = {UNIDENTIFIED, AT_KINK}


def mixture(gate="softmax", k=2, **parts):
    return Mixture((GATES[gate],), (k,), **parts)


def rng(seed=0):
    return np.random.default_rng(seed)


def two_lines(n=200, seed=0, noise=0.3):
    """Two lines that share the inputs, told apart by a logistic gate of slope 3."""
    r = rng(seed)
    x = r.uniform(-1, 1, (n, 1))
    first = r.random((n, 1)) < 1 / (1 + np.exp(-3 * x))
    return x, np.where(first, 1 + 2 * x, -1 - x) + noise * r.standard_normal((n, 1))


def in_the_plane():
    """Two planes over two inputs."""
    r = rng()
    x = r.uniform(-1, 1, (200, 2))
    first = r.random(200) < 1 / (1 + np.exp(-3 * x[:, 0]))
    return x, (np.where(first, 1 + 2 * x[:, 0], -1 - x[:, 0]) + 0.3 * r.standard_normal(200))[:, None]


def split(n=200):
    """Two lines, the first exactly where x is positive."""
    r = rng()
    x = r.uniform(-1, 1, (n, 1))
    return x, np.where(x > 0, 3 + x, -3 - x) + 0.3 * r.standard_normal((n, 1))


def shipped(name):
    found = data.load(name)
    return found.X.to_numpy(float), found.y.to_numpy(float)[:, None]


def with_x(change):
    x, y = two_lines()
    return change(x), y


def with_y(change):
    x, y = two_lines()
    return x, change(y)


def outlier(values, size=1e12):
    values = values.copy()
    values[3] = size
    return values


def line(n=200):
    r = rng(1)
    x = r.uniform(-1, 1, (n, 1))
    return x, 1 + 2 * x + 0.3 * r.standard_normal((n, 1))


def repeated(points, times):
    x, y = zip(*points, strict=True)
    return np.repeat(np.array(x)[:, None], times, 0), np.repeat(np.array(y)[:, None], times, 0)


def at_three_inputs():
    """Two levels of y at each of three inputs, with noise: few different inputs, and a regular problem."""
    r = rng(5)
    x = np.tile([0.0, 1.0, 2.0], 60)[:, None]
    high = r.random((180, 1)) < np.array([0.2, 0.5, 0.8])[x.astype(int)]
    return x, np.where(high, 4 - x, x - 4) + 0.4 * r.standard_normal((180, 1))


def counts(level):
    r = rng(2)
    x = r.uniform(-1, 1, (200, 1))
    first = r.random((200, 1)) < 1 / (1 + np.exp(-3 * x))
    return x, r.poisson(np.exp(level + np.where(first, 0.5 * x, -0.5 - 0.2 * x))).astype(float)


def coins():
    r = rng(3)
    x = r.integers(0, 3, (300, 1)).astype(float)
    return x, (r.random((300, 1)) < 0.3 + 0.2 * x).astype(float)


def same(fit, other, tolerance=1e-6):
    """Assert that two fits have the same responsibilities, each at its own data."""
    shares = [responsibilities(f.mixture, f.measure, r.x.held, r.gate_x.held, r.y.held) for f, r in (fit, other)]
    shares = [s if s[0, 0] < s[1, 0] else s.flip(0) for s in shares]
    assert float((shares[0] - shares[1]).abs().max()) < tolerance


def fitted(x, y, model, **options):
    rows = make_rows(x, y)
    return maximum_likelihood(model, rows, starts=8, **options), rows


@cache
def plain_lines():
    """Two lines in plain units, fitted."""
    return fitted(*two_lines(), mixture())


def like_two_lines(fit, rows):
    """The same optimum as in plain units: no sign of the scale or the offset of the data."""
    same((fit, rows), plain_lines())


def with_note_and_least_norm(fit, rows):
    """Twice the same column: named; equal slopes in units of the columns are the shortest; as many df as without."""
    assert any("column 1 of X is constant or a combination of others" in note for note in fit.notes)
    for slopes in (fit.measure.experts["coef"][:, 0], fit.measure.gates[0]["weight"]):
        np.testing.assert_allclose(slopes[:, 1], slopes[:, 0] / 2, atol=1e-9)  # the second column is twice the first
    plain = plain_lines()[0]
    assert fit.df == plain.df
    np.testing.assert_allclose(fit.log_likelihood, plain.log_likelihood, rtol=1e-9)
    np.testing.assert_allclose(
        fit.measure.experts["coef"][:, 0] @ torch.tensor([1.0, 2.0]).double(), weighted_gradient(plain)
    )


def weighted_gradient(fit):
    return fit.measure.experts["coef"][:, 0, 0]


def constant_column_has_slope_zero(fit, rows):
    assert any("column 1 of X is constant" in note for note in fit.notes)
    assert float(fit.measure.experts["coef"][..., 1].abs().max()) == 0
    assert float(fit.measure.gates[0]["weight"][:, 1].abs().max()) == 0
    assert fit.df == plain_lines()[0].df


def on_floor(fit, rows):
    assert fit.certificate.floor


def starved_leaves_are(fit, rows):
    mass = responsibilities(fit.mixture, fit.measure, rows.x.held, rows.gate_x.held, rows.y.held).sum(-1)
    parameters = fit.mixture.expert.parameters(rows.x.shape[1])
    own = sum(int(np.prod(spec.shape)) for spec in parameters.values()) + 1
    scale = fit.measure.family["scale"][:, 0]
    needed = torch.where(scale < 0.03 * scale.max(), 3 * own, own + 1)
    needed = torch.where(scale < 0.01 * scale.max(), many_rows(fit.n, own), needed)
    assert tuple((mass < needed).nonzero()[:, 0].tolist()) == fit.certificate.starved


def floor_or_starved(fit, rows):
    assert fit.certificate.floor or fit.certificate.starved
    starved_leaves_are(fit, rows)


def crowded(fit, rows):
    assert fit.certificate.crowded
    assert any("responses for" in note for note in fit.notes)


def reaches(value):
    def check(fit, rows):
        assert fit.log_likelihood >= value

    return check


def rank(expected):
    def check(fit, rows):
        assert fit.df == expected

    return check


def change(fit, rows, moved):
    parts = rows.x.held, rows.gate_x.held, rows.y.held
    before, after = (log_density(fit.mixture, m, *parts).sum() for m in (fit.measure, moved))
    return float(after - before)


def is_local_maximum(fit, rows, step=1e-5):
    """No direction leads up from the measure, kinks included: one-sided differences along many lines."""
    g = torch.Generator().manual_seed(0)
    size = {path: value.abs().clamp_min(0.1) for path, value in fit.measure.paths().items()}
    worst = -np.inf
    for i in range(300):
        keep = i % 3  # all parameters, the gate alone, its centers alone
        moves = {path: torch.randn(value.shape, generator=g).double() for path, value in size.items()}
        if keep:
            moves = {p: m * p.startswith("gates.0." if keep == 1 else "gates.0.center") for p, m in moves.items()}
        for distance in (step, 0.1 * step):
            params = {k: v + distance * size[k] * moves[k] for k, v in fit.measure.paths().items()}
            gates = ({k.removeprefix("gates.0."): v for k, v in params.items() if k.startswith("gates.")},)
            experts = {k.removeprefix("experts."): v for k, v in params.items() if k.startswith("experts.")}
            own = {k.removeprefix("family."): v for k, v in params.items() if k.startswith("family.")}
            worst = max(worst, change(fit, rows, type(fit.measure)(gates, experts, own)))
    assert worst < 1e-8


def trades_with_its_bias(fit, rows, leaf):
    """Whether a center lies beyond the inputs at which its branch matters: moving it and its bias changes nothing."""
    gate = fit.measure.gates[0]
    out = 1.0 if float(gate["center"][leaf, 0]) > float(rows.x.held.mean()) else -1.0
    moved = {name: value.clone() for name, value in gate.items()}
    moved["center"][leaf] += out
    moved["bias"][leaf] += 1.0
    return abs(change(fit, rows, fit.measure._replace(gates=(moved,)))) < 1e-9


def as_the_centers_lie(fit, rows):
    """Which optimum is found is a matter of the search; what is said of it must be true of it."""
    is_local_maximum(fit, rows)
    outside = any(trades_with_its_bias(fit, rows, leaf) for leaf in range(2))
    assert (UNIDENTIFIED in fit.flags) == outside
    assert (AT_KINK in fit.flags) == bool(fit.certificate.kinks)
    kinks_are_inputs(fit, rows)


def kinks_are_inputs(fit, rows):
    is_local_maximum(fit, rows)
    centers = fit.measure.gates[0]["center"]
    for name in fit.certificate.kinks:
        leaf = int(name[name.index("[") + 1 : -1])
        gap = (rows.x.held - centers[leaf][:, None]).norm(dim=0).min()
        assert float(gap) < 1e-9 * float(rows.x.held.abs().max())


def same_measure_as_without_weights(fit, rows):
    plain = plain_lines()[0]
    same((fit, rows), (plain, rows), 1e-5)
    np.testing.assert_allclose(fit.log_likelihood / fit.n, plain.log_likelihood / 200, rtol=1e-8)


def held_and_named(fit, rows):
    assert any("gates.0.temperature is not identified" in note for note in fit.notes)
    like_two_lines(fit, rows)


def better_ones_are_listed(fit, rows):
    assert fit.certificate.starved == ()
    assert fit.certificate.floor == ()
    starved_leaves_are(fit, rows)
    assert all(value > fit.log_likelihood for value in fit.starts.better_unsound)


@dataclass
class Case:
    data: Callable[[], tuple[np.ndarray, np.ndarray]]
    status: Status | set[Status]
    model: Mixture = field(default_factory=mixture)
    flags: tuple[Status, ...] = ()
    check: Callable[[Any, Any], None] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    weight: float | None = None


BERNOULLI, POISSON = Binomial(), FAMILIES["poisson"]
TABLE = {
    # a line through copies of two points leaves no residual: its scale falls to the floor
    "copies of five points": Case(
        lambda: repeated([(0, 0), (1, 1.2), (2, 1.9), (3, 5), (4, 4)], 20), UNSOUND, check=on_floor
    ),
    # few inputs, but noise at each
    "three different inputs": Case(at_three_inputs, CONVERGED),
    "lines without noise": Case(lambda: two_lines(noise=0), UNSOUND, check=on_floor),
    "constant response": Case(lambda: with_y(lambda y: 0 * y + 3), UNSOUND, check=on_floor),
    "constant response, large": Case(lambda: with_y(lambda y: 0 * y + 1e9 / 3), UNSOUND, check=on_floor),
    # the classes of the gate do not overlap: its slope grows without limit
    "separated gate": Case(split, SEPARATED),
    "tempanomalies": Case(lambda: shipped("tempanomalies"), SEPARATED, check=reaches(102.72)),
    "mcycle": Case(lambda: shipped("mcycle"), CONVERGED, check=reaches(-614.6)),
    "mcycle, constant gate": Case(lambda: shipped("mcycle"), CONVERGED, mixture("constant")),
    "collinear columns": Case(lambda: with_x(lambda x: np.c_[x, 2 * x]), CONVERGED, check=with_note_and_least_norm),
    "constant column": Case(
        lambda: with_x(lambda x: np.c_[x, 0 * x + 5]), CONVERGED, check=constant_column_has_slope_zero
    ),
    # ten rows, eight parameters: each expert has four rows or more at the optimum that is taken
    "ten rows": Case(lambda: two_lines(10), CONVERGED, check=better_ones_are_listed),
    # two experts need four rows each; and six rows do not determine eight parameters
    "fewer rows than parameters": Case(lambda: two_lines(6), UNSOUND, flags=(UNIDENTIFIED,), check=crowded),
    "as many rows as experts": Case(lambda: two_lines(2), UNSOUND, flags=(UNIDENTIFIED,), check=crowded),
    # beside a deviation of 1e12 doubles leave no digits for the others: all of them lie within the floor of 1e4
    "outlier of 1e12 in y": Case(lambda: with_y(outlier), UNSOUND, check=on_floor),
    # the gate may give the one row far away to either expert, for certain; beside it the other inputs are all alike
    "outlier of 1e12 in X": Case(lambda: (outlier(two_lines(60)[0]), two_lines(60)[1]), {SEPARATED, UNIDENTIFIED}),
    # the sample has a regular optimum of two experts, though the population has not
    "one expert, fitted with two": Case(line, CONVERGED),
    "one expert, fitted with two, constant gate": Case(line, CONVERGED, mixture("constant")),
    "two equal outputs, full covariance": Case(
        lambda: with_y(lambda y: np.c_[y, y]), UNSOUND, mixture(family=FAMILIES["full-gaussian"]), check=on_floor
    ),
    "two equal outputs": Case(lambda: with_y(lambda y: np.c_[y, y]), CONVERGED),
    # a center beyond the inputs trades with its bias; a center on an input is on a kink
    "Laplace gate of one input": Case(two_lines, LAPLACE, mixture("laplace"), check=as_the_centers_lie),
    "Laplace gate of tone": Case(lambda: shipped("tone"), AT_KINK, mixture("laplace"), check=as_the_centers_lie),
    "Laplace gate of whole numbers": Case(
        lambda: with_x(lambda x: np.round(3 * x)), LAPLACE, mixture("laplace"), check=as_the_centers_lie
    ),
    "scale of 1e-12": Case(lambda: tuple(1e-12 * part for part in two_lines()), CONVERGED, check=like_two_lines),
    "scale of 1e12": Case(lambda: tuple(1e12 * part for part in two_lines()), CONVERGED, check=like_two_lines),
    "offset of 1e9": Case(lambda: tuple(1e9 + part for part in two_lines()), CONVERGED, check=like_two_lines),
    # a mean of zero has the logarithm minus infinity
    "no counts at all": Case(lambda: with_y(lambda y: 0 * y), SEPARATED, mixture(k=1, family=POISSON)),
    "all successes": Case(lambda: with_y(lambda y: 0 * y + 1), SEPARATED, mixture(k=1, family=BERNOULLI)),
    "separated logistic regression": Case(
        lambda: with_y(lambda y: (two_lines()[0] > 0).astype(float)), SEPARATED, mixture(k=1, family=BERNOULLI)
    ),
    "counts of a million": Case(lambda: counts(13.8), CONVERGED, mixture(family=POISSON)),
    # one probability at each of three inputs is all that there is to learn, and six parameters
    "two logistic regressions": Case(coins, UNIDENTIFIED, mixture(family=BERNOULLI), check=rank(3)),
    "two coins": Case(
        coins,
        UNIDENTIFIED,
        mixture("constant", family=BERNOULLI, expert=EXPERTS["constant"]),
        check=rank(1),
    ),
    # with ten trials a mixture of two coins is identified
    "two coins thrown ten times": Case(
        lambda: (two_lines()[0], rng(4).binomial(10, np.where(rng(5).random((200, 1)) < 0.4, 0.2, 0.8)).astype(float)),
        CONVERGED,
        mixture("constant", family=Binomial(trials=10), expert=EXPERTS["constant"]),
        check=rank(3),
    ),
    # no optimum of eight experts has four rows and a positive scale in each
    "eight experts for two lines": Case(two_lines, UNSOUND, mixture(k=8), check=floor_or_starved),
    "dense-to-sparse gate": Case(two_lines, UNIDENTIFIED, mixture("dense-to-sparse"), check=held_and_named),
    "dense-to-sparse gate, free": Case(
        two_lines, UNIDENTIFIED, mixture("dense-to-sparse"), options={"spec": FitSpec(gauge="none")}, check=rank(8)
    ),
    "cosine gate": Case(in_the_plane, CONVERGED, mixture("cosine"), check=rank(11)),
    # frequencies: 2e-4 of an observation has no two experts
    "weights of 1e-6": Case(two_lines, UNSOUND, weight=1e-6, check=same_measure_as_without_weights),
    "weights of 1e6": Case(two_lines, CONVERGED, weight=1e6, check=same_measure_as_without_weights),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_status_of_pathological_data(name):
    case = TABLE[name]
    x, y = case.data()
    weight = None if case.weight is None else torch.full((len(x),), case.weight, dtype=torch.float64)
    rows = make_rows(x, y, weight=weight)
    fit = maximum_likelihood(case.model, rows, starts=8, **case.options)
    assert fit.status in (case.status if isinstance(case.status, set) else {case.status}), fit.certificate
    assert set(case.flags) <= set(fit.flags), fit.certificate
    assert all(bool(value.isfinite().all()) for value in fit.measure.paths().values())
    assert np.isfinite(fit.log_likelihood)
    if fit.status == CONVERGED:
        assert fit.flags == (CONVERGED,)
        assert fit.certificate.passed
    if case.check is not None:
        case.check(fit, make_rows(x, y))


@pytest.mark.parametrize("family", [POISSON, BERNOULLI], ids=str)
def test_two_experts_for_counts_without_variation_are_said_to_run_away(family):
    x, y = two_lines()
    level = 1.0 if family == BERNOULLI else 0.0
    fit = maximum_likelihood(mixture(family=family), make_rows(x, 0 * y + level), starts=8)
    assert SEPARATED in fit.flags
    assert abs(fit.log_likelihood) < 1e-6


def test_a_symmetric_start_is_left():
    """Two equal experts are a saddle point: the fit does not call it an optimum."""
    x, y = two_lines()
    found = maximum_likelihood(mixture(), make_rows(x, y), starts=8)
    one = maximum_likelihood(mixture(k=1), make_rows(x, y), starts=1)
    paths = {k: v[:1].expand(2, *v.shape[1:]).clone() for k, v in one.measure.paths().items()}
    start = type(found.measure)(
        ({k: torch.zeros_like(v) for k, v in found.measure.gates[0].items()},),
        {"coef": paths["experts.coef"], "intercept": paths["experts.intercept"]},
        {"scale": paths["family.scale"]},
    )
    fit = maximum_likelihood(mixture(), make_rows(x, y), starts=[start])
    assert fit.status != CONVERGED or fit.log_likelihood > one.log_likelihood + 1


X, Y = two_lines(20)
REFUSED = {
    "unnormalised sigmoid": (mixture("sigmoid"), X, Y, {}, "weights do not sum to one.*'normalised-sigmoid'"),
    "top-k": (mixture("top-k"), X, Y, {}, "the objective jumps.*Use the gate without top-k"),
    "no rows": (mixture(), X[:0], Y[:0], {}, "0 rows for 2 experts: give at least one row per expert"),
    "fewer rows than experts": (mixture(k=3), X[:2], Y[:2], {}, "2 rows for 3 experts"),
    "weights of zero": (mixture(), X, Y, {"weight": torch.zeros(20).double()}, "the weights sum to zero"),
    "missing value in X": (mixture(), outlier(X, np.nan), Y, {}, "X has values that are not finite"),
    "missing value in y": (mixture(), X, outlier(Y, np.nan), {}, "y has values that are not finite"),
    "infinite value in X": (mixture(), outlier(X, np.inf), Y, {}, "X has values that are not finite"),
    "infinite value in y": (mixture(), X, outlier(Y, np.inf), {}, "y has values that are not finite"),
    "negative counts": (mixture(family=POISSON), X, 0 * Y - 1, {}, "a negative value .-1.: Poisson counts"),
    "halves": (mixture(family=POISSON), X, 0 * Y + 0.5, {}, "a value that is not whole .0.5.: Poisson needs counts"),
    "two successes of one trial": (mixture(family=BERNOULLI), X, 0 * Y + 2, {}, "a value of 2, above trials=1"),
    "rows that differ": (mixture(), X, Y[:5], {}, "y has 5 rows, x has 20"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_fitted_is_refused_in_words(name):
    model, x, y, options, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        maximum_likelihood(model, make_rows(x, y, **options), starts=2)


def test_weights_of_zero_are_no_rows_for_the_table_too():
    x, y = two_lines()
    bad_x, bad_y = np.r_[x, np.full((3, 1), 50.0)], np.r_[y, np.full((3, 1), -1e3)]
    weight = torch.cat([torch.ones(200), torch.zeros(3)]).double()
    fit = maximum_likelihood(mixture(), make_rows(bad_x, bad_y, weight=weight), starts=8)
    plain = maximum_likelihood(mixture(), make_rows(x, y), starts=8)
    np.testing.assert_allclose(fit.log_likelihood, plain.log_likelihood, rtol=1e-9)
    assert fit.status == plain.status == CONVERGED


def test_a_point_beside_a_kinked_optimum_is_seen_to_be_none():
    fit, rows = fitted(*shipped("tone"), mixture("laplace"))
    for name, shape in (("center", (2, 1)), ("bias", (2,))):
        step = torch.tensor([0.0, 0.05]).reshape(shape)
        moved = {**fit.measure.gates[0], name: fit.measure.gates[0][name] + step}
        with pytest.raises(AssertionError):
            is_local_maximum(fit._replace(measure=fit.measure._replace(gates=(moved,))), rows)


def test_a_center_far_away_costs_one_parameter_and_no_expert():
    """Two centers of which one has run away: along its ray, with its bias, nothing changes. All else is determined.

    Its score changes by a million where a weight changes by one, which is no reason to call an expert undetermined.
    """
    draws = rng()
    x = draws.normal(size=(150, 3))
    inside = np.linalg.norm(x, axis=1) < 1.5
    y = np.where(inside, 2 + x[:, 0], -1 - x[:, 1]) + 0.3 * draws.normal(size=150)
    fit = maximum_likelihood(mixture("laplace"), make_rows(x, y[:, None]), starts=1)
    assert fit.measure.gates[0]["center"].abs().max() > 1e4
    assert fit.status is UNIDENTIFIED
    assert fit.df == 16
