"""Rows in pieces: every sum, sample and fit is that of the rows in one place."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit.frames import moments_of
from gatewise.fit.maximum_likelihood import maximum_likelihood
from gatewise.fit.model import factor_of
from gatewise.fit.search.starts import subsample
from gatewise.objective.elsewhere import Here, Pieces, joined, rows_elsewhere, size_of
from gatewise.objective.rows import extremes, make_rows
from gatewise.runs.journal import digest

CUTS = (0, 1, 300, 310, 2500, 3000)


def data(d, q, n=3000, seed=0):
    rng = np.random.default_rng(seed)
    x = 3.0 + rng.normal(size=(n, d)) * np.arange(1, d + 1)
    first = rng.random(n) < 1 / (1 + np.exp(3 - x[:, 0]))
    y = np.where(first, x @ np.ones(d), -x[:, -1] - 4)[:, None] + np.arange(q) + 0.5 * rng.normal(size=(n, q))
    return x, y


def both(d, q, weighted=False, grouped=False, gate=False, cuts=CUTS):
    """The same rows in one place and in pieces."""
    x, y = data(d, q, cuts[-1])
    n, rng = len(x), np.random.default_rng(1)
    units = n // 10 if grouped else n
    weight = torch.from_numpy(rng.integers(1, 4, units).astype(float)) if weighted else None
    parts = []
    for first, last in itertools.pairwise(cuts):
        some, step = slice(first, last), 10 if grouped else 1
        own = None if weight is None else weight[first // step : last // step]
        ends = torch.arange(10, last - first + 1, 10) if grouped else None
        gate_x = x[some, :1] if gate else None
        parts.append(make_rows(x[some], y[some], gate_x=gate_x, weight=own, ends=ends))
    pieces = Pieces(Here(tuple(parts)), tuple(map(size_of, parts)), weighted, grouped)
    columns = {"x": d, "y": q} | ({"gate_x": 1} if gate else {})
    return joined(parts), rows_elsewhere(pieces, columns, not gate)


CASES = [
    {"d": 3, "q": 1},
    {"d": 5, "q": 2, "weighted": True},
    {"d": 3, "q": 2, "gate": True},
    {"d": 3, "q": 1, "weighted": True, "grouped": True, "cuts": (0, 10, 300, 2500, 3000)},
]


@pytest.mark.parametrize("case", CASES)
def test_what_is_taken_of_all_rows_is_the_same(case):
    near, far = both(**case)
    assert (far.n, far.n_units, far.weighted, far.grouped) == (near.n, near.n_units, near.weighted, near.grouped)
    assert far.total == pytest.approx(near.total, rel=1e-15)
    for room in ("x", "gate_x", "y"):
        for one, other in zip(moments_of(near, room), moments_of(far, room), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)
    triangles = [factor_of(rows, "x").centred for rows in (near, far)]
    torch.testing.assert_close(triangles[0].T @ triangles[0], triangles[1].T @ triangles[1], rtol=1e-12, atol=1e-9)
    assert extremes(near) == extremes(far)


@pytest.mark.parametrize("case", CASES)
def test_samples_are_the_same_rows_in_working_units_too(case):
    near, far = both(**case)
    frames = [moments_of(near, room) for room in ("x", "gate_x", "y")]
    for one, other in ((near, far), (near.framed(*frames), far.framed(*frames))):
        drawn = [subsample(rows, np.random.default_rng(3), 50) for rows in (one, other)]
        thinned = [rows.sample(70) for rows in (one, other)]
        for few, same in (drawn, thinned):
            for left, right in zip(few.read(0, few.n_units), same.read(0, same.n_units), strict=True):
                assert (left is None) == (right is None)
                assert left is None or torch.equal(left, right)
        for left, right in zip(one.read(3, 9)[:3], other.read(3, 9)[:3], strict=True):
            assert torch.equal(left, right)


def test_weights_may_be_multiplied_where_they_lie():
    near, far = both(3, 1, weighted=True)
    twice = replace(far, elsewhere=replace(far.elsewhere, factor=2.0))
    assert twice.total == 2 * near.total
    assert torch.equal(twice.read(0, 9).weight, 2 * near.read(0, 9).weight)


@pytest.mark.parametrize(("d", "q", "weighted"), [(3, 1, True), (5, 2, False)])
def test_a_fit_is_that_of_the_rows_in_one_place(d, q, weighted):
    cuts = (0, 20, 9000, 9001, 21000)
    near, far = both(d, q, weighted, cuts=cuts)
    mixture = Mixture((GATES["softmax"],), (2,))
    fits = [maximum_likelihood(mixture, rows, starts=3) for rows in (near, far)]
    assert fits[0].status == fits[1].status
    assert fits[1].log_likelihood == pytest.approx(fits[0].log_likelihood, rel=1e-10)
    for one, other in zip(fits[0].measure.paths().values(), fits[1].measure.paths().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_what_needs_all_rows_in_one_place_says_so():
    _, far = both(3, 1)
    with pytest.raises(ValueError, match="on the workers of a cluster: give it a sample"):
        next(far.blocks(10))


def test_a_piece_is_as_large_as_its_columns():
    near, far = both(3, 1)
    assert near.__sizeof__() > 8 * 4 * near.n
    assert far.__sizeof__() < 1000


def test_rows_are_brought_as_they_are_for_any_frames():
    """So that whoever asks for a sample again, in other units, is given the same answer."""
    asked = []

    class Seen(Here):
        def each(self, works):
            asked.append(digest(works))
            return super().each(works)

    near, far = both(3, 1)
    far = replace(far, elsewhere=replace(far.elsewhere, lanes=Seen(far.elsewhere.lanes.pieces)))
    frames = [moments_of(near, room) for room in ("x", "gate_x", "y")]
    for rows in (far, far.framed(*frames)):
        rows.sample(70)
    assert len(asked) == 2
    assert len(set(asked)) == 1
