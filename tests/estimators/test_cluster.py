"""Fits on a cluster with workers as processes: equal to memory, lazy predictions, faults in words, kills survived."""

import itertools
import json
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

dd = pytest.importorskip("dask.dataframe")
import dask.array as da  # noqa: E402
import pyarrow as pa  # noqa: E402
from dask import delayed  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from gatewise import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor, select  # noqa: E402
from gatewise.cli import app  # noqa: E402
from gatewise.data import ParquetTable  # noqa: E402
from gatewise.estimators import slices  # noqa: E402
from gatewise.runs.cluster import ClusterLanes, ClusterLostError, Lane, shared_out  # noqa: E402

X = ["x0", "x1", "x2"]
CUTS = (0, 0, 100, 11001, 20999, 21000)
ENV = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def frame(n=21000, d=3, q=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    first = rng.random(n) < 1 / (1 + np.exp(-2 * x[:, 0]))
    names = ["y"] if q == 1 else [f"y{j}" for j in range(q)]
    y = {
        name: np.where(first, 1 + j + x.sum(1), -1 - x[:, 1]) + 0.3 * rng.normal(size=n) for j, name in enumerate(names)
    }
    inputs = {f"x{i}": x[:, i] for i in range(d)}
    more = {"w": rng.integers(0, 4, n).astype(float), "g": np.arange(n) // 3}
    odds = np.where(first, 2 * x[:, 1], -2 * x[:, 1] + x[:, 2])
    labels = np.where(rng.random(n) < 1 / (1 + np.exp(-odds)), "yes", "no")
    return pd.DataFrame({**inputs, **y, **more, "c": labels})


FRAME = frame()


def parted(data, cuts=CUTS):
    """A Dask frame of unequal partitions, the first of which is empty."""
    parts = [delayed(data.iloc[a:b]) for a, b in itertools.pairwise(cuts)]
    return dd.from_delayed(parts, meta=data.iloc[:0])


def model(cls=MixtureOfExpertsRegressor, k=2, gate="softmax", **options):
    return cls(k, gate, n_init=2, random_state=0, **options)


def assert_same(one, other, rtol=1e-10):
    assert one.status_ == other.status_
    assert other.log_likelihood_ == pytest.approx(one.log_likelihood_, rel=rtol)
    for left, right in zip(one.measure_.paths().values(), other.measure_.paths().values(), strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=rtol)
    for path, error in one.standard_errors_.items():
        np.testing.assert_allclose(other.standard_errors_[path], error, rtol=1e-8)


@pytest.fixture(scope="module")
def client():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
        with LocalCluster(**options) as cluster, Client(cluster) as client:
            yield client


def test_a_frame_of_unequal_partitions_with_weights_gives_the_fit_in_memory(client):
    near = model().fit(FRAME[X], FRAME["y"], sample_weight=FRAME["w"])
    lazy = parted(FRAME)[["y", *X, "w"]]
    far = model().fit(lazy, "y", sample_weight="w")
    assert_same(near, far)
    assert far.feature_names_in_.tolist() == X
    predicted = far.predict(parted(FRAME))
    assert isinstance(predicted, dd.Series)
    np.testing.assert_allclose(predicted.compute(), near.predict(FRAME[X]), rtol=1e-9, atol=1e-9)
    shares = far.gate_proba(parted(FRAME))
    assert isinstance(shares, dd.DataFrame)
    np.testing.assert_allclose(shares.compute(), near.gate_proba(FRAME[X]), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_arrays_of_unknown_length_with_two_responses_give_the_fit_in_memory(client, tmp_path):
    data = frame(d=5, q=2)
    inputs = [f"x{i}" for i in range(5)]
    lazy = parted(data)
    x, y = lazy[inputs].to_dask_array(), lazy[["y0", "y1"]].to_dask_array()
    near = model().fit(data[inputs].to_numpy(), data[["y0", "y1"]].to_numpy())
    far = model().fit(x, y, checkpoint=tmp_path / "fit")
    assert_same(near, far)
    found = far.predict(x)
    assert isinstance(found, da.Array)
    np.testing.assert_allclose(found.compute(), near.predict(data[inputs].to_numpy()), rtol=1e-9, atol=1e-9)
    size = (tmp_path / "fit").stat().st_size
    again = model().fit(x, y, checkpoint=tmp_path / "fit")
    assert (tmp_path / "fit").stat().st_size == size  # no pass was made: all were found
    assert again.log_likelihood_ == far.log_likelihood_
    with pytest.raises(ValueError, match=r"another fit, with n_experts '2' in place of '3'"):
        model(k=3).fit(x, y, checkpoint=tmp_path / "fit")


def test_files_are_read_by_the_workers(client, tmp_path):
    for i, (first, last) in enumerate(((0, 3000), (3000, 21000))):
        pq.write_table(pa.Table.from_pandas(FRAME[[*X, "y"]].iloc[first:last]), tmp_path / f"{i}.parquet", 5000)
    near = model().fit(tmp_path, "y")
    far = model().fit(ParquetTable(tmp_path, X, client=client), "y")
    assert_same(near, far)
    np.testing.assert_allclose(far.inference(ParquetTable(tmp_path, X, client=client), "y", kind="sandwich").vcov(),
                               near.inference(tmp_path, "y", kind="sandwich").vcov(), rtol=1e-8)  # fmt: skip


def run(*command):
    return CliRunner().invoke(app, ["fit", *map(str, command)])


def test_the_command_line_reads_several_files_on_the_workers_and_goes_on_when_asked(client, tmp_path):
    files = [tmp_path / f"{i}.parquet" for i in range(2)]
    for path, some in zip(files, (slice(0, 9000), slice(9000, 21000)), strict=True):
        FRAME[[*X, "y"]].iloc[some].to_parquet(path)
    options = ("--target", "y", "--starts", "2", "--json")
    near, cluster = run(*files, *options), ("--dask", client.scheduler.address, "--checkpoint", tmp_path / "fit")
    far = run(*files, *options, *cluster)
    assert (near.exit_code, far.exit_code) == (0, 0), far.output
    found = [json.loads(one.stdout) for one in (near, far)]
    assert found[1]["status"] == found[0]["status"]
    assert found[1]["log_likelihood"] == pytest.approx(found[0]["log_likelihood"], rel=1e-10)
    assert run(*files, *options, *cluster, "--resume").exit_code == 0
    for words, more in (
        ("exists: give --resume to go on", cluster),
        ("give --dask ADDRESS too", cluster[2:]),
        ("--resume is given without --checkpoint", (*cluster[:2], "--resume")),
    ):
        done = run(*files, *options, *more)
        assert (done.exit_code, words in done.stderr) == (2, True), done.output


def test_a_file_that_goes_away_is_one_clear_error_and_nothing_is_lost(client, tmp_path):
    rows, away = tmp_path / "rows.parquet", tmp_path / "away"
    FRAME[[*X, "y"]].to_parquet(rows, row_group_size=5000)

    def heard(stage, done, total):
        if stage == "Newton" and rows.exists():
            rows.rename(away)

    table, kept = ParquetTable(rows, X, client=client), tmp_path / "fit"
    with pytest.raises(OSError, match=r"rows\.parquet"):
        model(verbose=heard).fit(table, "y", checkpoint=kept)
    size = kept.stat().st_size
    away.rename(rows)
    assert_same(model().fit(FRAME[X], FRAME["y"]), model().fit(table, "y", checkpoint=kept))
    assert kept.stat().st_size > size


def test_a_checkpoint_is_found_again_by_another_number_of_threads(client, tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "SHORT", 3000)
    monkeypatch.setattr(slices, "PIECES", 2)
    data = FRAME[[*X, "y"]].assign(w=np.random.default_rng(1).uniform(0.5, 2.0, len(FRAME)))
    data.to_parquet(tmp_path / "rows.parquet", row_group_size=1000)
    table, kept = ParquetTable(tmp_path / "rows.parquet", X, client=client), tmp_path / "fit"
    sizes, found = [], []
    for threads in (1, 2):
        monkeypatch.setattr(client, "nthreads", lambda threads=threads: {"worker": threads})
        weighted = model(weight_kind="sampling")
        found.append(weighted.fit(table, "y", sample_weight="w", checkpoint=kept).log_likelihood_)
        sizes.append(kept.stat().st_size)
    assert sizes[0] == sizes[1]  # no pass was made: all were found
    assert found[0] == found[1]


FAULTS = [
    (lambda lazy: (lazy, "y"), r"partition \d: X holds text in the column c"),
    (lambda lazy: (lazy[[*X, "y"]], "z"), "X has no column 'z'"),
    (lambda lazy: (lazy[[*X, "y"]].assign(x0=np.nan), "y"), r"partition \d: Input X contains NaN"),
    (lambda lazy: (lazy[X], lazy["y"].repartition(npartitions=2)), "y has 2 partitions, X has 5"),
    (lambda lazy: (lazy[X], FRAME["y"]), "y is a Series, and X a Dask collection"),
    (lambda lazy: (lazy[X].to_dask_array(), "y"), "y='y', and X is no data frame"),
    (lambda lazy: (lazy.partitions[0][[*X, "y"]], "y"), "X has no rows"),
]


@pytest.mark.parametrize(("case", "words"), FAULTS)
def test_what_cannot_be_fitted_is_said_in_words(client, case, words):
    with pytest.raises((ValueError, TypeError), match=words):
        model().fit(*case(parted(FRAME)))


def test_more_that_cannot_be_done_is_said_in_words(client, tmp_path):
    lazy = parted(FRAME)[[*X, "y", "g"]]
    with pytest.raises(ValueError, match=r"a group has rows in partition 3 and in partition 4: .*shuffle\(on='g'\)"):
        model(gate="constant").fit(lazy, "y", groups="g")
    with pytest.raises(ValueError, match="checkpoint is given, and X is not on a Dask cluster"):
        model().fit(FRAME[X], FRAME["y"], checkpoint=tmp_path / "fit")
    with pytest.raises(ValueError, match="checkpoint is given, and random_state is None"):
        MixtureOfExpertsRegressor(2).fit(lazy[[*X, "y"]], "y", checkpoint=tmp_path / "fit")
    small = model().fit(parted(FRAME.iloc[:200], (0, 50, 200))[[*X, "y"]], "y")  # few rows are brought here
    with pytest.raises(TypeError, match="X is a Dask collection, of which fit"):
        small.predict_interval(lazy)


@pytest.mark.slow
def test_mixtures_are_chosen_on_a_cluster_and_the_rest_is_refused(client):
    lazy = parted(FRAME)[[*X, "y"]]
    found = select(model(), lazy, "y", n_experts=(1, 2))
    assert found.best_estimator_.n_experts == 2
    best, few = found.best_estimator_, FRAME[X].iloc[:500]
    near = model().fit(FRAME[X], FRAME["y"])
    one, other = (each.margins("x0", few) for each in (best.inference(lazy, "y"), near.inference(FRAME[X], FRAME["y"])))
    np.testing.assert_allclose(one, other, rtol=1e-8)
    for ask, words in (
        (lambda: select(model(), lazy, "y", n_experts=(1, 2), criterion="cv"), "criterion='cv' divides the rows"),
        (lambda: best.margins("x0", lazy, "y"), "margins average over rows in memory"),
        (lambda: best.inference(lazy, "y", kind="sandwich", clusters=FRAME["g"]), "clusters are for rows in one place"),
        (lambda: best.inference(lazy[["x1", "x0", "x2", "y"]], "y"), "X has the columns x1, x0, x2, fit was given"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            ask()


def test_who_works_on_what_follows_the_places():
    lanes = shared_out({"a": 2, "b": 1}, [4, 4, 1, 1, 5], ["a", "a", "b", "gone", "b"])
    assert lanes == (Lane("a", (0,)), Lane("a", (1, 3)), Lane("b", (2, 4)))
    assert shared_out({"a": 1}, [3], None) == (Lane("a", (0,)),)


def test_a_closed_client_is_said_in_words(client):
    with Client(client.scheduler.address, set_as_default=False) as other:
        lanes = ClusterLanes(other, [other.submit(abs, -3)], [1], True)
        assert lanes.fold(abs, max) == 3
    with pytest.raises(ClusterLostError, match="start a scheduler and workers, and fit again"):
        lanes.fold(abs, max)


@pytest.mark.slow
def test_groups_classes_gates_and_sampling_weights_give_the_fit_in_memory(client):
    big = frame(90000)
    lazy = parted(big, (0, 99, 12000, 90000))
    near = model(gate="constant").fit(big[X], big["y"], groups=big["g"])
    assert_same(near, model(gate="constant").fit(lazy[[*X, "y", "g"]], "y", groups="g"))
    near = model(MixtureOfExpertsClassifier).fit(FRAME[X], FRAME["c"])
    far = model(MixtureOfExpertsClassifier).fit(parted(FRAME)[[*X, "c"]], "c")
    assert_same(near, far, 1e-8)
    assert (far.predict(parted(FRAME)).compute() == near.predict(FRAME[X])).all()
    assert far.predict_proba(parted(FRAME)).compute().shape == (21000, 2)
    near = model(weight_kind="sampling").fit(FRAME[X[1:]], FRAME["y"], FRAME["w"], FRAME[["x0"]])
    far = model(weight_kind="sampling").fit(parted(FRAME)[[*X, "y", "w"]], "y", "w", "x0")
    assert_same(near, far)
    assert far.predict(parted(FRAME)).compute().shape == (21000,)


@pytest.mark.slow
def test_counts_with_offset_and_trials_give_the_fit_in_memory(client):
    rng = np.random.default_rng(0)
    data = FRAME[X].assign(t=rng.integers(1, 20, 21000).astype(float), o=rng.normal(size=21000))
    data["y"] = rng.binomial(data["t"].astype(int), 1 / (1 + np.exp(-data["x0"] - data["o"])))
    one = MixtureOfExpertsRegressor(1, family="binomial", n_init=1, random_state=0)
    near = one.fit(data[X], data["y"], trials=data["t"], offset=data["o"])
    far = MixtureOfExpertsRegressor(1, family="binomial", n_init=1, random_state=0)
    far.fit(parted(data), "y", trials="t", offset="o")
    assert_same(near, far)
    lazy = far.predict(parted(data), offset="o").compute()
    np.testing.assert_allclose(lazy, near.predict(data[X], offset=data["o"]), rtol=1e-9)


def start(*command):
    return subprocess.Popen([sys.executable, "-m", "dask", *command], env=ENV, stderr=subprocess.DEVNULL)


@pytest.fixture
def processes(tmp_path):
    file = tmp_path / "scheduler.json"
    scheduler = start("scheduler", "--scheduler-file", str(file), "--port", "0", "--no-dashboard")
    options = ("--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard")
    workers = [start("worker", *options, "--local-directory", str(tmp_path)) for _ in range(2)]
    yield file, scheduler, workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a client whose scheduler is killed
@pytest.mark.parametrize("files", [False, True])
def test_a_worker_that_is_killed_is_survived_and_a_scheduler_costs_no_pass(processes, tmp_path, files):
    file, scheduler, workers = processes
    near = model().fit(FRAME[X], FRAME["y"])
    FRAME[[*X, "y"]].to_parquet(tmp_path / "rows.parquet", row_group_size=2000)

    def data(client):
        path = tmp_path / "rows.parquet"
        return ParquetTable(path, X, client=client) if files else dd.from_pandas(FRAME[[*X, "y"]], npartitions=5)

    def killing(process):
        def heard(stage, done, total):
            if stage == "Newton" and process.poll() is None:
                process.kill()
                time.sleep(0.5)

        return heard

    with Client(scheduler_file=str(file), timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        far = model(verbose=killing(workers[0])).fit(data(client), "y")
        assert workers[0].poll() is not None
        assert_same(near, far)
        with pytest.raises(ClusterLostError, match="goes on from the last pass"):
            model(verbose=killing(scheduler)).fit(data(client), "y", checkpoint=tmp_path / "fit")
    kept = (tmp_path / "fit").stat().st_size
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as again, Client(again) as client:
        far = model().fit(data(client), "y", checkpoint=tmp_path / "fit")
        assert_same(near, far)
    assert (tmp_path / "fit").stat().st_size > kept
