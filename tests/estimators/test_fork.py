"""After a fork: children of a process that used several threads fit and predict, and end."""

import subprocess
import sys

import pytest

PARENT = """
import os, sys, threading
import numpy as np, torch
from gatewise import MixtureOfExpertsRegressor, maximum_likelihood
from gatewise.core.gates import GATES
from gatewise.core.mixture import Mixture
from gatewise.objective.rows import make_rows

torch.set_num_threads(4)
rng = np.random.default_rng(0)
x = rng.normal(size=(250, 3))
y = np.where(rng.random(250) < 0.5, 3 * x[:, 0], x[:, -1] - 4) + rng.normal(size=250)
many = rng.normal(size=(60000, 3))
model = MixtureOfExpertsRegressor(2, gate="softmax", n_init=2, random_state=0).fit(x, y)
expected = model.predict(many)
threads = len(os.listdir("/proc/self/task"))
torch.randn(600, 600) @ torch.randn(600, 600)
torch.randn(10**6).exp().sum()
assert len(os.listdir("/proc/self/task")) > 1, "the parent used one thread only"


def work(what):
    if what == "fit":
        again = MixtureOfExpertsRegressor(2, gate="softmax", n_init=2, random_state=0).fit(x, y)
        return bool((again.predict(x) == model.predict(x)).all())
    if what == "predict":
        return bool(np.allclose(model.predict(many), expected, rtol=1e-12))
    if what == "quantile":
        return bool(np.isfinite(model.predict_interval(many[:20000])).all())
    if what == "infer":
        return bool(np.isfinite(model.inference(x, y).mean_interval(many)).all())
    if what == "responsibilities":
        return bool(np.isfinite(model.responsibilities(many, expected)).all())
    rows = make_rows(x, y[:, None])
    fit = maximum_likelihood(Mixture((GATES["softmax"],), (2,)), rows, starts=2)
    return fit.log_likelihood > -1000


KINDS = ["fit", "predict", "quantile", "infer", "responsibilities", "engine"]
"""

BY_FORK = """
for what in KINDS:
    child = os.fork()
    if not child:
        before = torch.get_num_threads()
        good = work(what) and torch.get_num_threads() == before
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, what
    print(what)
"""

BY_POOL = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
    for what, good in zip(KINDS, pool.map(work, KINDS)):
        assert good, what
        print(what)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and other systems spawn")
@pytest.mark.parametrize("way", [BY_FORK, BY_POOL], ids=["os.fork", "ProcessPoolExecutor"])
def test_children_of_a_threaded_process_fit_and_predict(way, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARENT + way], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["fit", "predict", "quantile", "infer", "responsibilities", "engine"]
