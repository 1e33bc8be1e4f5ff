"""When the compiler is loaded, and what happens where it or the folder for its results is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import torch
from numba import cfunc, types
from numba.core import caching

import gatewise
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.objective import compiled
from gatewise.objective.rows import make_rows, stacked

from .conftest import draw

FIT = """
import sys
import numpy as np
{before}
from gatewise import MixtureOfExpertsRegressor
from gatewise.objective.accumulate import engine
for n in {sizes}:
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n, 1))
    y = np.where(X[:, 0] + 0.5 * rng.normal(size=n) > 0, 2, -1) * X[:, 0] + 0.1 * rng.normal(size=n)
    print(MixtureOfExpertsRegressor(n_experts=2, n_init=2, random_state=0).fit(X, y).status_)
    print("numba.core" in sys.modules, engine() if n > 900 else "")
"""
VALUE = """
import torch
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.objective import compiled, likelihood
from gatewise.objective.rows import make_rows
from gatewise.testing.problems import draw_measure, generator
mixture = Mixture((GATES["constant"],), (2,))
measure = draw_measure(mixture, 1, 1, 1, generator(0)).map(lambda part: part.unsqueeze(0))
draws = torch.randn(100, 2, generator=generator(1), dtype=torch.float64)
print(compiled.accumulate(likelihood.value, mixture, measure, make_rows(draws[:, :1], draws[:, 1:])))
"""


def printed(code, **environment):
    """What a program prints in a process of its own, where warnings are errors, and to whom it complains: nobody."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_compiler_is_loaded_for_large_problems_alone():
    small, without, large, found = printed(FIT.format(sizes=(200, 1000), before=""))
    assert small == large == "converged"
    assert (without.split(), found.split()[0]) == (["False"], "True")


def test_a_platform_without_the_compiler_sums_by_the_reference():
    status, found = printed(FIT.format(sizes=(1000,), before='sys.modules["numba"] = None'))
    assert (status, found.split()) == ("converged", ["False", "reference"])


def test_whether_it_pays_depends_on_the_data_and_the_model_alone():
    mixture = Mixture((GATES["softmax"],), (2,))
    measure, _ = draw(mixture, members=1, same=True)
    parameters = 2 * 3 + 2 * 4  # slopes and intercepts of two branches and two experts, and two scales
    n = -(-compiled.LEAST // parameters)

    def rows(n):
        return make_rows(torch.zeros(n, 2), torch.zeros(n, 1))

    assert compiled.pays(measure, rows(n))
    assert not compiled.pays(measure, rows(n - 1))
    many, _ = draw(mixture, members=50, same=True)
    assert not compiled.pays(many, rows(n - 1))
    assert compiled.pays(measure, stacked([rows(10), rows(10)]))


@pytest.mark.parametrize("error", [RuntimeError, OSError, EOFError])
@pytest.mark.parametrize("when", ["__init__", "load_overload", "save_overload"])
def test_a_cache_that_fails_is_done_without(when, error, monkeypatch):
    from gatewise.objective.compiled.kernels import kept

    asked = count()

    def fails(*args):
        next(asked)
        raise error("no space left")

    monkeypatch.setattr(caching.FunctionCache, when, fails)

    def twice(x):
        return 2.0 * x

    assert kept(cfunc, types.float64(types.float64), twice, {}).ctypes(4.0) == 8.0
    assert next(asked) == 1


@pytest.mark.slow
def test_no_folder_can_be_written(tmp_path, capsys):
    """An installation that is read-only, and a home that is none."""
    package = tmp_path / "gatewise"
    shutil.copytree(Path(gatewise.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "objective" / "compiled" / "__pycache__").touch()
    nowhere = tmp_path / "file"
    nowhere.touch()
    homes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "NUMBA_CACHE_DIR"), str(nowhere / "below"))
    exec(VALUE, {})
    here = capsys.readouterr().out.splitlines()
    assert printed(VALUE, PYTHONPATH=str(tmp_path), PYTHONDONTWRITEBYTECODE="1", **homes) == here


@pytest.mark.slow
def test_two_processes_may_compile_at_once(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", VALUE], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    first, second = (process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert list(tmp_path.rglob("*.nbc"))
    assert first == second == "\n".join([*printed(VALUE, NUMBA_CACHE_DIR=str(tmp_path)), ""])
