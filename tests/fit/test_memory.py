"""A fit that would not fit into memory is refused in words before it begins."""

import numpy as np
import pytest
import torch

from gatewise import MixtureOfExpertsRegressor
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.fit import memory
from gatewise.objective.rows import make_rows

X = np.linspace(-1.0, 1.0, 2000)[:, None]
Y = np.sin(5 * X[:, 0])


def rows():
    return make_rows(torch.from_numpy(X), torch.from_numpy(Y)[:, None])


def deep(levels):
    return Mixture((GATES["softmax"],) * levels, (2,) * levels)


def test_ten_binary_levels_are_refused_in_words(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 4e9)
    with pytest.raises(ValueError, match=r"^1024 experts have 7164 parameters here: .* take about 7.5 GB, and 4.0 GB"):
        MixtureOfExpertsRegressor((2,) * 10).fit(X, Y)


def test_parameters_count_by_their_square_and_rows_little():
    small, large = (memory.needed(deep(levels), rows()) for levels in (8, 9))
    assert 3.5 < large / small < 4.1
    more = make_rows(torch.zeros(10**6, 1).expand(-1, 1), torch.zeros(10**6, 1))
    assert memory.needed(deep(9), more) == large


def test_where_nobody_says_what_is_free_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.require_memory(deep(14), rows())


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    return tmp_path


def test_the_free_memory_of_the_machine_is_read(machine):
    (machine / "meminfo").write_text("MemTotal:  8000 kB\nMemAvailable:    2000 kB\nodd line\n")
    assert memory.available() == 2000 * 1024


@pytest.mark.parametrize(("most", "left"), [("1000000", 450000.0), ("max", 2048000.0)])
def test_a_container_may_have_less(machine, most, left):
    (machine / "meminfo").write_text("MemAvailable: 2000 kB")
    (machine / "memory.max").write_text(most + "\n")
    (machine / "memory.current").write_text("600000\n")
    (machine / "memory.stat").write_text("anon 500000\ninactive_file 50000\n")
    assert memory.available() == left


def test_without_these_files_the_system_is_asked(machine, monkeypatch):
    monkeypatch.setattr(memory.os, "sysconf", {"SC_AVPHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}.__getitem__, raising=False)
    assert memory.available() == 40960.0
    monkeypatch.delattr(memory.os, "sysconf")
    assert memory.available() is None
