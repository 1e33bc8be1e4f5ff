"""A study on a real scheduler with workers as processes of their own, one of which is killed while it works."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gatewise.theory import load_study as load
from gatewise.theory import run_study as run
from gatewise.theory.store import lines_of

distributed = pytest.importorskip("distributed")
FILE = Path(__file__).with_name("small_study.py")
ENV = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def start(*command):
    return subprocess.Popen([sys.executable, "-m", "dask", *command], env=ENV, stderr=subprocess.DEVNULL)


@pytest.fixture
def cluster(tmp_path):
    file = tmp_path / "scheduler.json"
    scheduler = start("scheduler", "--scheduler-file", str(file), "--port", "0", "--no-dashboard")
    options = ("--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard")
    workers = [start("worker", *options, "--local-directory", str(tmp_path)) for _ in range(2)]
    yield file, workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


def test_a_cluster_gives_the_same_store_although_a_worker_is_killed(cluster, tmp_path):
    file, workers = cluster
    study = load(f"{FILE}:study")
    run(study, tmp_path / "alone")
    killed = []

    def kill_one(done, total):
        if not killed:
            killed.append(time.monotonic())
            workers[0].kill()

    with distributed.Client(scheduler_file=str(file), timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        run(study, tmp_path / "cluster", workers=client, progress=kill_one)
        assert killed
    assert lines_of(tmp_path / "cluster") == lines_of(tmp_path / "alone")
