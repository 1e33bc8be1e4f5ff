"""Rows: blocks cover every row once and cut no unit, whatever holds the data."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.core.predictors import AffineTransform
from gatewise.objective.rows import make_rows
from gatewise.testing import assert_close


def data(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)), rng.normal(size=(n, 1)), rng.normal(size=(n, 3))


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=12), size=st.integers(1, 20), units=st.booleans())
def test_blocks_cover_every_row_once_and_cut_no_unit(sizes, size, units):
    counts = torch.tensor(sizes)
    n = int(counts.sum())
    x, y, gate_x = data(n)
    ends = counts.cumsum(0) if units else None
    weight = torch.arange(1.0, 1 + (len(sizes) if units else n), dtype=torch.float64)
    rows = make_rows(x, y, gate_x=gate_x, weight=weight, ends=ends)
    blocks = list(rows.blocks(size))
    assert_close(torch.cat([b.y for b in blocks], -1), torch.tensor(y.T), "every row once, in order")
    assert_close(torch.cat([b.x for b in blocks], -1), torch.tensor(x.T), "every row once, in order")
    assert_close(torch.cat([b.weight for b in blocks]), weight, "every unit once, in order")
    first = torch.arange(n) if ends is None else ends - counts
    assert_close(torch.cat([b.gate_x for b in blocks], -1), torch.tensor(gate_x.T)[:, first], "gate inputs")
    if units:
        assert [int(u) for b in blocks for u in torch.bincount(b.unit)] == sizes
        assert rows.total == pytest.approx(float(weight @ counts.double()))
    else:
        assert max(b.y.shape[-1] for b in blocks) <= size
        assert rows.total == pytest.approx(float(weight.sum()))


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=8), seed=st.integers(0, 99))
def test_taken_units_are_their_rows(sizes, seed):
    counts = torch.tensor(sizes)
    ends, n = counts.cumsum(0), sum(sizes)
    x, y, gate_x = data(n)
    rows = make_rows(x, y, gate_x=gate_x, ends=ends)
    picked = torch.tensor(np.random.default_rng(seed).random(len(sizes)) < 0.5).nonzero()[:, 0]
    if not len(picked):
        return
    taken = rows.take(picked)
    blocks = [rows.read(int(u), int(u) + 1) for u in picked]
    whole = taken.read(0, taken.n_units)
    assert_close(whole.y, torch.cat([b.y for b in blocks], -1), "rows of the units taken")
    assert_close(whole.gate_x, torch.cat([b.gate_x for b in blocks], -1), "gate inputs of the units taken")


@pytest.mark.parametrize("ends", [None, torch.tensor([2, 3, 7, 10])])
def test_rows_read_from_a_file_are_those_in_memory(tmp_path, ends):
    x, y, gate_x = data(10)
    np.save(tmp_path / "x.npy", x)
    lazy = make_rows(np.load(tmp_path / "x.npy", mmap_mode="r"), y, gate_x=gate_x, ends=ends, hold=False)
    held = make_rows(x, y, gate_x=gate_x, ends=ends)
    g = torch.Generator().manual_seed(0)
    frames = [
        AffineTransform(torch.randn(k, generator=g).double(), 1 + torch.rand(k, generator=g).double())
        for k in (2, 3, 1)
    ]
    for one, other in ((lazy, held), (lazy.framed(*frames).framed(*frames), held.framed(*frames).framed(*frames))):
        for a, b in zip(one.blocks(4), other.blocks(4), strict=True):
            for name in ("x", "gate_x", "y"):
                assert_close(getattr(a, name), getattr(b, name), name)
    units = torch.tensor([0, 2])
    assert_close(lazy.take(units).read(0, 2).x, held.take(units).read(0, 2).x, "taken")


def test_without_gate_inputs_the_gate_sees_the_expert_inputs():
    x, y, _ = data(4)
    rows = make_rows(x, y)
    block = rows.read(0, 4)
    assert block.gate_x is block.x
    moved = rows.framed(*[AffineTransform(torch.ones(k).double(), 2 * torch.ones(k).double()) for k in (2, 2, 1)])
    assert moved.gate_x is moved.x


def test_rows_are_copied_so_that_the_caller_may_change_the_array():
    x, y, _ = data(4)
    rows = make_rows(x, y)
    before = rows.read(0, 4).x.clone()
    x[:] = 0
    assert_close(rows.read(0, 4).x, before, "own copy")


def test_unequal_numbers_of_rows_are_refused():
    x, y, gate_x = data(4)
    with pytest.raises(ValueError, match="gate_x has 3 rows, x has 4: pass one row per observation"):
        make_rows(x, y, gate_x=gate_x[:3])
    with pytest.raises(ValueError, match="y has 2 rows, x has 4"):
        make_rows(x, y[:2])
