"""Rows of Parquet files: every window as in memory, decoded once, in bounded memory, every fault with its remedy."""

import datetime
import decimal
import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from gatewise.data import ParquetTable
from gatewise.data.batches import Files, Scan
from gatewise.data.parquet import as_table, is_parquet, is_table, opened
from gatewise.data.stream import Stream, StreamPart, read_column, validate

N = 1000
NAMES = ("a", "b", "c")
VALUES = np.random.default_rng(0).normal(size=(N, 3))


def frame(rows=slice(None)):
    return pa.table(dict(zip(NAMES, VALUES[rows].T, strict=True)))


def layouts(folder):
    """The same rows as one file with row groups of several sizes, as a folder of files, and as data sets."""
    for size in (7, 100, N):
        pq.write_table(frame(), folder / f"by{size}.parquet", row_group_size=size)
        yield folder / f"by{size}.parquet"
    (folder / "parts" / "deep").mkdir(parents=True)
    for i, (name, rows) in enumerate([("0", (0, 1)), ("1", (1, 402)), ("deep/2", (402, 402)), ("deep/3", (402, N))]):
        pq.write_table(frame(slice(*rows)), folder / "parts" / f"{name}.parquet", row_group_size=50 + i)
    (folder / "parts" / "_temporary.parquet").write_text("not a file of the table")
    yield str(folder / "parts")
    yield ds.dataset(folder / "by100.parquet")
    yield ds.dataset(frame())
    yield ds.dataset(folder / "by7.parquet").filter(pc.field("a") < 100.0)


@pytest.fixture(params=range(7))
def source(request, tmp_path):
    return opened(as_table(list(layouts(tmp_path))[request.param]))


@pytest.mark.parametrize("size", [3, 64, 5000])
def test_every_window_is_that_of_the_rows_in_memory(source, size):
    stream = Stream(source, NAMES, "the table")
    stream.size = size
    windows = [(0, 1), (0, 300), (300, 600), (550, 700), (0, 10), (0, N), (990, N), (5, 5), (N, N), (N - 1, N), (0, 1)]
    for start, stop in windows:
        np.testing.assert_array_equal(stream.rows(start, stop), VALUES[start:stop].T)
        for index in ([start], [], sorted({start % N, stop % N, 999}), list(range(0, N, 7))):
            kept = [i for i in index if i < N]
            np.testing.assert_array_equal(stream.take(np.array(kept, dtype=int)), VALUES[kept].T)


def test_parts_are_sliced_like_arrays(source):
    stream = Stream(source, ("c", "a", "b"), "the table")
    part, pair = StreamPart(stream, ("b",)), StreamPart(stream, ("c", "b"))
    assert (part.shape, len(pair), pair.shape) == ((N, 1), N, (N, 2))
    np.testing.assert_array_equal(part[10:20], VALUES[10:20, 1:2])
    np.testing.assert_array_equal(pair[:], VALUES[:, [2, 1]])
    np.testing.assert_array_equal(pair[[3, 500]], VALUES[[3, 500]][:, [2, 1]])
    np.testing.assert_array_equal(pair[990:2000], VALUES[990:, [2, 1]])
    assert pair[5:3].shape == (0, 2)


class Counting:
    """A source that notes what is read from it."""

    def __init__(self, source):
        self.source, self.begun, self.seen = source, [], 0

    def __getattr__(self, name):
        return getattr(self.source, name)

    def batches(self, names, size, start):
        self.begun.append(start)
        for batch in self.source.batches(names, size, start):
            self.seen += batch.rows
            yield batch


def counted(tmp_path, size):
    pq.write_table(frame(), tmp_path / "rows.parquet", row_group_size=size)
    return Counting(opened(ParquetTable(tmp_path / "rows.parquet")))


def test_parts_that_read_side_by_side_decode_once(tmp_path):
    source = counted(tmp_path, 70)
    stream = Stream(source, NAMES, "the table")
    stream.size = 64
    parts = [StreamPart(stream, names) for names in (("a", "b"), ("c",), ("b",))]
    for passes in (1, 2):
        for start in range(0, N, 90):
            for part in parts:
                part[start : start + 90]
        assert (len(source.begun), source.seen) == (passes, passes * N)
    index = list(range(0, N, 3))
    for part in parts:
        part[index]
    assert (len(source.begun), source.seen) == (3, 3 * N)


def test_row_groups_without_wanted_rows_are_passed_over(tmp_path):
    source = counted(tmp_path, 100)
    stream = Stream(source, NAMES, "the table")
    stream.size = 64
    np.testing.assert_array_equal(stream.take(np.array([5, 950])), VALUES[[5, 950]].T)
    assert source.begun == [5, 950]
    assert source.seen <= 200
    stream.rows(420, 430)
    assert source.begun[-1] == 420
    assert source.seen <= 300


def test_a_plain_data_set_is_read_as_files_and_a_filtered_one_keeps_its_filter(tmp_path):
    pq.write_table(frame(), tmp_path / "rows.parquet")
    whole = ds.dataset(tmp_path / "rows.parquet")
    assert isinstance(opened(ParquetTable(whole)), Files)
    some = opened(ParquetTable(whole.filter(pc.field("b") > 0)))
    assert isinstance(some, Scan)
    wanted = VALUES[VALUES[:, 1] > 0]
    assert some.rows == len(wanted)
    np.testing.assert_array_equal(Stream(some, NAMES, "t").rows(0, some.rows), wanted.T)


def test_a_fragment_with_some_row_groups_has_their_rows_only(tmp_path):
    pq.write_table(frame(), tmp_path / "rows.parquet", row_group_size=100)
    (fragment,) = ds.dataset(tmp_path / "rows.parquet").get_fragments()
    some = ds.FileSystemDataset([fragment.subset(row_group_ids=[2, 7])], frame().schema, fragment.format)
    source = opened(ParquetTable(some))
    wanted = np.r_[VALUES[200:300], VALUES[700:800]]
    np.testing.assert_array_equal(Stream(source, NAMES, "t").rows(0, source.rows), wanted.T)


KINDS = {
    "float32": pa.array(np.arange(N) / 8, pa.float32()),
    "float16": pa.array((np.arange(N) % 7).astype(np.float16)),
    "int8": pa.array(np.arange(N) % 100, pa.int8()),
    "uint64": pa.array(np.arange(N).astype(np.uint64) + 2**60),
    "truth": pa.array(np.arange(N) % 3 == 0),
    "dictionary": pa.array(np.arange(N) % 5 * 0.5).dictionary_encode(),
    "decimal": pa.array([decimal.Decimal(i) / 4 for i in range(N)], pa.decimal128(20, 2)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_files", [True, False])
def test_numbers_of_every_type_become_floats(kind, in_files, tmp_path):
    column = KINDS[kind]
    table = pa.table({"v": column, "a": VALUES[:, 0]})
    if in_files:
        pq.write_table(table, tmp_path / "rows.parquet", row_group_size=64)
    given = ParquetTable(tmp_path / "rows.parquet" if in_files else ds.dataset(table))
    expected = np.array([float(value) for value in column.to_pylist()])
    np.testing.assert_array_equal(read_column(given, "v"), expected)
    validate(opened(given), ("v",), given.name)


def test_folders_named_after_values_are_columns_and_files_may_differ_in_type(tmp_path):
    for year, kind in ((2023, pa.int32()), (2024, pa.float64())):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(pa.table({"v": pa.array([1, 2], kind)}), tmp_path / f"year={year}" / "0.parquet")
    source = opened(ParquetTable(tmp_path))
    expected = [[1.0, 2.0, 1.0, 2.0], [2023.0, 2023.0, 2024.0, 2024.0]]
    np.testing.assert_array_equal(Stream(source, ("v", "year"), "t").rows(0, 4), expected)
    assert source.certain("year")
    assert not source.certain("v")


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("in_files", [True, False])
def test_what_is_no_finite_number_is_named_with_row_and_remedy(bad, in_files, tmp_path):
    values = [0.5] * 300
    values[217] = bad
    table = pa.table({"good": [1.0] * 300, "dose": pa.array(values, from_pandas=False)})
    if in_files:
        pq.write_table(table, tmp_path / "rows.parquet", row_group_size=100)
    given = ParquetTable(tmp_path / "rows.parquet" if in_files else ds.dataset(table))
    kind = "missing values" if bad is None else "NaN" if np.isnan(bad) else "infinite values"
    with pytest.raises(ValueError, match=re.escape(f"column 'dose' of {given.name} has {kind}, first in row 217 (")):
        validate(opened(given), ("good", "dose"), given.name)
    with pytest.raises(ValueError, match="has " + kind):
        read_column(given, "dose")
    remedy = ds.dataset(table).filter(pc.is_finite(pc.field("dose")))
    assert read_column(ParquetTable(remedy), "dose").tolist() == [0.5] * 299
    validate(opened(given), ("good",), given.name)


def test_missing_values_come_as_nan_where_they_are_allowed(tmp_path):
    columns = {"a": pa.array([1.0, None]), "b": pa.array([None, 3], pa.int8()), "c": pa.array([True, None])}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    stream = Stream(opened(ParquetTable(tmp_path / "rows.parquet")), NAMES, "t", missing=True)
    np.testing.assert_array_equal(stream.rows(0, 2), [[1.0, np.nan], [np.nan, 3.0], [1.0, np.nan]])


def test_statistics_spare_a_pass_over_whole_numbers_and_find_their_missing_values(tmp_path):
    whole = pa.table({"i": pa.array(range(N)), "t": [True] * N, "f": [1.0] * N, "h": pa.array([1] * 999 + [None])})
    pq.write_table(whole, tmp_path / "rows.parquet", row_group_size=100)
    source = Counting(opened(ParquetTable(tmp_path / "rows.parquet")))
    validate(source, ("i", "t"), "t")
    assert source.seen == 0
    with pytest.raises(ValueError, match="column 'h' of t has missing values, first in row 999"):
        validate(source, ("i", "h"), "t")
    pq.write_table(whole, tmp_path / "bare.parquet", write_statistics=False)
    bare = Counting(opened(ParquetTable(tmp_path / "bare.parquet")))
    validate(bare, ("i", "f"), "t")
    assert bare.seen == N


OTHERS = {
    "text": (pa.array(["red"]), "text"),
    "category": (pa.array(["red"]).dictionary_encode(), "text"),
    "day": (pa.array([datetime.date(2024, 1, 1)]), "values of type date32[day]"),
    "list": (pa.array([[1.0]]), "values of type list<"),
    "nothing": (pa.nulls(1), "values of type null"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_column_that_holds_no_numbers_is_named_before_any_row_is_read(name, tmp_path):
    column, words = OTHERS[name]
    pq.write_table(pa.table({"a": [1.0], name: column}), tmp_path / "rows.parquet")
    source = Counting(opened(ParquetTable(tmp_path / "rows.parquet")))
    with pytest.raises(ValueError, match=re.escape(f"column {name!r} holds {words}") + ".*leave it out by naming"):
        Stream(source, ("a", name), "t")
    assert source.seen == 0


def test_faults_of_paths_and_names(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.parquet: check the path"):
        opened(ParquetTable(tmp_path / "none.parquet"))
    with pytest.raises(ValueError, match=r"has no files \*\.parquet"):
        opened(ParquetTable(tmp_path))
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"rows\.csv cannot be read as Parquet \(.*pandas\.read_csv"):
        opened(ParquetTable(tmp_path / "rows.csv"))
    pq.write_table(frame(slice(0, 0)), tmp_path / "empty.parquet")
    with pytest.raises(ValueError, match=r"empty\.parquet has no rows"):
        opened(ParquetTable(tmp_path / "empty.parquet"))
    with pytest.raises(TypeError, match="the source of a table is a int: give a path"):
        opened(ParquetTable(3))
    source = opened(ParquetTable(ds.dataset(frame())))
    with pytest.raises(ValueError, match="t has no column 'aa': did you mean 'a'\\? its columns are a, b, c"):
        Stream(source, ("aa",), "t")
    twice = pa.table([[1.0], [2.0]], names=["a", "a"])
    with pytest.raises(ValueError, match="the data set has two columns 'a'"):
        read_column(ParquetTable(ds.dataset(twice)), "a")
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match=r"twice\.parquet cannot be read as Parquet \(.*duplicate"):
        read_column(ParquetTable(tmp_path / "twice.parquet"), "a")
    for wrong in ((), ("a", "a"), (1,)):
        with pytest.raises(ValueError, match="give at least one name, and each one once"):
            ParquetTable("rows.parquet", wrong)


def test_a_file_of_a_folder_that_lacks_a_column_is_named(tmp_path):
    pq.write_table(frame(), tmp_path / "0.parquet")
    pq.write_table(frame().drop_columns(["b"]), tmp_path / "1.parquet")
    with pytest.raises(ValueError, match=r"1\.parquet has no column 'b'"):
        validate(opened(ParquetTable(tmp_path)), ("a", "b"), "t")


def test_a_table_that_shrinks_while_it_is_read_is_an_error():
    source = Scan(ds.dataset(frame()), N + 1)
    with pytest.raises(ValueError, match=f"t ends after {N} rows and had {N + 1}: do not change it"):
        Stream(source, ("a",), "t").rows(0, N + 1)


def test_what_counts_as_a_table(tmp_path):
    pq.write_table(frame(), tmp_path / "rows.pq")
    tables = ("rows.parquet", tmp_path, ParquetTable("x"), ds.dataset(frame()))
    assert all(is_table(one) for one in tables)
    assert not any(is_table(one) for one in (VALUES, [[1.0]], None, frame()))
    assert is_parquet(tmp_path)
    assert is_parquet("new.PARQUET")
    assert not is_parquet("rows.csv")
    table = ParquetTable("rows.parquet", "a")
    assert as_table(table) is table
    assert table.columns == ("a",)


MEMORY = """
import re, sys
from pathlib import Path
import pyarrow.dataset, pyarrow.parquet
from gatewise.data import ParquetTable
from gatewise.data.parquet import opened
from gatewise.data.stream import Stream
def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) / 1000
base = most = anonymous()
stream = Stream(opened(ParquetTable(sys.argv[1])), [f"x{i}" for i in range(8)], "t")
for start in range(0, 2_000_000, 10_000):
    stream.rows(start, start + 10_000)
    most = max(most, anonymous())
print(most - base)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_row_group(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "one-group.parquet"
    table = pa.table({f"x{i}": rng.normal(size=2_000_000) for i in range(8)})
    pq.write_table(table, path, row_group_size=2_000_000)
    done = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 80  # MB; the row group has 128


def test_without_pyarrow_a_table_says_what_to_install_and_nothing_else_misses_it():
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import numpy as np\n"
        "from gatewise import MixtureOfExpertsRegressor\n"
        "model = MixtureOfExpertsRegressor(1, n_init=1).fit(np.arange(9.0)[:, None], np.arange(9.0) % 4)\n"
        "try:\n    model.fit('rows.parquet', 'y')\n"
        "except ModuleNotFoundError as fault:\n    print(fault)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    words = "reading rows.parquet needs pyarrow, which is not installed: pip install 'gatewise[parquet]'"
    assert done.stdout.strip() == words


def test_importing_gatewise_imports_no_pyarrow():
    code = "import sys, gatewise, gatewise.data; print('pyarrow' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
