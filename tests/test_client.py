"""Many fits on the workers of a Dask cluster: bit for bit those of one process, none lost, cancelled when asked."""

import os
import signal
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

distributed = pytest.importorskip("distributed")
from typer.testing import CliRunner  # noqa: E402

from gatewise import (  # noqa: E402
    GATES,
    Mixture,
    MixtureOfExpertsRegressor,
    Plan,
    bootstrap,
    bootstrap_test,
    make_rows,
    many_fits,
    select,
)
from gatewise.cli import app  # noqa: E402
from gatewise.cli.origin import words_for_user  # noqa: E402
from gatewise.runs.cluster import ClusterLostError  # noqa: E402
from gatewise.runs.workers import spread  # noqa: E402

from .covering import slow_rest  # noqa: E402

rng = np.random.default_rng(0)
X = rng.normal(size=(150, 3))
Y = np.where(rng.random(150) < 0.5, 4 + X[:, 0], X @ [1.0, -1.0, 2.0] - 4) + 0.5 * rng.normal(size=150)


def model(k, gate="constant", **options):
    return MixtureOfExpertsRegressor(k, gate, n_init=2, random_state=0, **options)


@pytest.fixture(scope="module")
def client():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
        with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
            yield client


def test_a_choice_is_that_of_one_process_and_is_followed(client):
    heard = []
    options = {"n_experts": (1, 2), "gates": ("constant", "softmax"), "criterion": "cv", "cv": 2}
    near = select(model(1), X, Y, **options)
    listening = model(1, verbose=lambda *told: heard.append(told))
    far = select(listening, X, Y, n_jobs=client, **options)
    assert repr(far.candidates) == repr(near.candidates)
    assert heard == [("mixtures", i, 3) for i in range(1, 4)]
    for one, other in zip(near.estimators, far.estimators, strict=True):
        assert other.verbose is listening.verbose
        for path, value in one.measure_.paths().items():
            assert (other.measure_.paths()[path] == value).all()


def test_bootstraps_are_those_of_one_process_and_go_on(client, tmp_path):
    two, file = model(2).fit(X, Y), tmp_path / "boot.jsonl"
    near = bootstrap(two, X, Y, n_boot=20)
    bootstrap(two, X, Y, n_boot=10, resume=file, n_jobs=client)
    far = bootstrap(two, X, Y, n_boot=20, resume=file, n_jobs=client)
    assert (far.drawn == near.drawn).all()
    assert far.statuses == near.statuses


def test_a_bootstrap_test_is_that_of_one_process(client):
    one, other = (bootstrap_test(model(1), model(2), X, Y, n_boot=5, n_init=1, n_jobs=jobs) for jobs in (1, client))
    assert other == one


def test_many_fits_are_those_of_one_process_with_a_function_of_the_users(client):
    def draw(replicate):  # travels by value
        numbers = np.random.default_rng(replicate)
        x = numbers.normal(size=(40_000, 3))
        return make_rows(x, x.sum(1, keepdims=True) + numbers.normal(size=(40_000, 1)))

    plan = Plan(Mixture((GATES["softmax"],), (2,)), starts=2, subsample=300)
    one, other = (list(many_fits(plan, draw, range(4), workers=workers)) for workers in (1, client))
    assert [replicate for replicate, _ in other] == [0, 1, 2, 3]
    assert len({fit.log_likelihood for _, fit in other}) == 4
    for (_, left), (_, right) in zip(one, other, strict=True):
        assert left.log_likelihood == right.log_likelihood
        assert left.status == right.status


TASK = """
from gatewise.experiments import Experiment, Metric

def train(job):
    return {"s": job.seed + 0.1, "validation": float(len(job.gate)), "moved": True}

task = Experiment("mine", "Mine", "Why.", ("a",), ("ss", "ll"), {"s": Metric("s")}, train, rates=(0.1, 0.2))
"""


def test_the_command_line_sends_an_experiment_of_the_users_to_the_workers(client, tmp_path):
    (tmp_path / "my_task.py").write_text(TASK)
    words = ["experiment", "run", f"{tmp_path / 'my_task.py'}:task", "--seeds", "2", "--out"]
    records = []
    for place, more in (("near", []), ("far", ["--dask", client.scheduler.address])):
        done = CliRunner().invoke(app, [*words, str(tmp_path / place), *more])
        assert done.exit_code == 0, done.stderr
        records.append(sorted((tmp_path / place / "records.jsonl").read_text().splitlines()))
    assert records[0] == records[1]
    assert len(records[0]) == 12


def slow(folder, number):
    Path(folder, str(number)).touch()
    time.sleep(0.3)
    return number, os.getpid()


def begun(folder):
    return len(list(folder.iterdir()))


@pytest.mark.parametrize("ordered", slow_rest([True, False], [False]))
def test_work_goes_on_when_a_worker_is_killed(client, ordered, tmp_path):
    found = spread(partial(slow, str(tmp_path)), range(8), client, ordered=ordered)
    done = [next(found)]
    os.kill(done[0][1], signal.SIGKILL)
    done += found
    numbers, places = zip(*done, strict=True)
    assert (list(numbers) if ordered else sorted(numbers)) == list(range(8))
    assert os.getpid() not in places
    assert len(set(places)) > 1


def test_an_interruption_cancels_what_has_not_begun(client, tmp_path):
    client.wait_for_workers(2, timeout=60)
    found = spread(partial(slow, str(tmp_path)), range(40), client, ordered=True)
    next(found)
    with pytest.raises(KeyboardInterrupt):
        found.throw(KeyboardInterrupt)
    here = begun(tmp_path)
    time.sleep(1)
    assert 0 < here < 20
    assert begun(tmp_path) <= here + 2  # of each worker the one that it was just about to begin


def met(item):
    return [].index(item)


def told(item):
    return GATES["softmax"] if item else MixtureOfExpertsRegressor(0).fit(X, Y)


def test_errors_bring_their_origin_along(client):
    with pytest.raises(ValueError, match="n_experts") as known:
        list(spread(told, [1, 0, 1], client))
    assert words_for_user(known.value) == str(known.value)
    with pytest.raises(ValueError, match="not in list") as fault:
        list(spread(met, [1, 2, 3], client))
    assert words_for_user(fault.value) is None


def test_what_cannot_be_done_is_said_in_words(client):
    with pytest.raises(ValueError, match=r"n_jobs='all': give a number of processes from 1, or a distributed\.Client"):
        select(model(1), X, Y, n_jobs="all")
    lazy = pytest.importorskip("dask.array").from_array(X, chunks=(50, 3))
    with pytest.raises(ValueError, match="X is on a cluster, whose workers sum its rows: leave n_jobs out"):
        select(model(1), lazy, lazy[:, 0], n_jobs=client)
    with distributed.Client(client.scheduler.address, set_as_default=False) as other:
        works = spread(partial(pow, 2), [3, 4], other, ordered=True)
        assert next(works) == 8
    with pytest.raises(ClusterLostError, match="start a scheduler and workers, and run this again"):
        list(works)
