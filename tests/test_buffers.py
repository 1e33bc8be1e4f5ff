import threading

import numpy as np
import pytest
import torch

from gatewise import buffers
from gatewise.buffers import KEPT, LEAST, MOST, buffer

ROWS = 20_000


def place(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a[1:, ::3].T,
        lambda a: np.asarray(memoryview(a[2])),
        lambda a: torch.from_numpy(a)[0].view(100, -1),
        lambda a: torch.from_numpy(a[:, 5:]).T.numpy(),
    ],
)
def test_memory_that_is_read_is_not_written_again(view):
    first = buffer(3, ROWS)
    first[:] = 7.0
    kept = view(first)
    del first
    for _ in range(2 * KEPT):
        buffer(3, ROWS)[:] = 0.0
    assert bool((kept == 7.0).all())


def test_memory_that_nobody_reads_is_used_again(monkeypatch):
    monkeypatch.setattr(buffers, "_STORE", buffers._Store())
    first = buffer(3, ROWS)
    where = place(first)
    del first
    again = buffer(2, ROWS)
    assert place(again) == where
    assert again.shape == (2, ROWS)
    assert again.dtype == np.float64
    others = [buffer(3, ROWS) for _ in range(KEPT)]
    assert len({place(one) for one in [again, *others]}) == KEPT + 1
    del again, others
    assert len({place(buffer(3, ROWS)) for _ in range(3 * KEPT)}) <= KEPT


@pytest.mark.parametrize("count", [0, 1, LEAST // 8 - 1, LEAST // 8, MOST // 8, MOST // 8 + 1])
def test_any_size(count):
    found = [buffer(count) for _ in range(2)]
    assert [one.size for one in found] == [count, count]
    assert not count or place(found[0]) != place(found[1])


def test_threads_have_buffers_of_their_own():
    found = []

    def work():
        for _ in range(50):
            mine = buffer(4, ROWS)
            mine[:] = threading.get_ident()
            found.append(bool((mine == threading.get_ident()).all()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 200
    assert all(found)
