"""Records in one file and back: equal bytes, check sums, nothing outside; fits that are run again are the same."""

import io
import json
import tarfile

import pytest
import torch

from gatewise.core.gates import GATES
from gatewise.core.mixture import Measure, Mixture
from gatewise.runs.records import line_of, parsed
from gatewise.theory import Arm, Claim, Data, DataDrivenStarts, Model, Study, Uniform, collect, pack, replay, run_study
from gatewise.theory import unpack as unpacked


def one(*shape):
    return torch.ones(shape, dtype=torch.float64)


MIXTURE = Mixture((GATES["constant"],), (1,))
TRUTH = Measure(({"bias": one(1)},), {"coef": one(1, 1, 3), "intercept": one(1, 1)}, {"scale": 0.5 * one(1, 1)})
ARMS = tuple(
    Arm(name, Data(MIXTURE, TRUTH, Uniform(d=3)), Model(MIXTURE, min_scale=0.1), (40, 80), 20, DataDrivenStarts(1))
    for name in ("first", "second")
)
CLAIM = Claim("first", "hellinger", "equal", -0.5, 0.1, "mine", "own")
STUDY = Study("of three", "One expert", "It is fast.", ARMS, (CLAIM,))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("made") / "of-three"
    run_study(STUDY, home)
    return home


def test_a_packed_study_comes_back_whole(folder, tmp_path):
    index = pack([folder], tmp_path / "a.tar.xz")
    pack([folder], tmp_path / "b.tar.xz")
    assert (tmp_path / "a.tar.xz").read_bytes() == (tmp_path / "b.tar.xz").read_bytes()
    about = index["folders"]["of-three"]
    assert (about["study"], about["fits"], about["seed"]) == ("of three", 80, STUDY.seed)
    assert about["engine"]["torch"]
    assert about["cpu"] > 0
    (back,) = unpacked(tmp_path / "a.tar.xz", tmp_path / "there")
    assert {p.name for p in back.iterdir()} == {"study.json", "records.jsonl", "log.jsonl"}
    assert all((back / p.name).read_bytes() == (folder / p.name).read_bytes() for p in back.iterdir())
    assert [v.reason for v in collect(STUDY, back).verdicts] == [v.reason for v in collect(STUDY, folder).verdicts]
    with pytest.raises(ValueError, match="is there already"):
        unpacked(tmp_path / "a.tar.xz", tmp_path / "there")


def test_folders_without_records_or_with_one_name_are_refused(folder, tmp_path):
    (tmp_path / "of-three").mkdir()
    with pytest.raises(ValueError, match="of different names"):
        pack([folder, tmp_path / "of-three"], tmp_path / "a.tar.xz")
    with pytest.raises(ValueError, match="no records"):
        pack([tmp_path / "of-three"], tmp_path / "a.tar.xz")
    with pytest.raises(ValueError, match="give folders"):
        pack([], tmp_path / "a.tar.xz")


def rewritten(source, target, change):
    """Write an archive with other contents: `change` is called with the dict of names and bytes."""
    with tarfile.open(source, "r:xz") as archive:
        held = {entry.name: archive.extractfile(entry).read() for entry in archive.getmembers()}
    change(held)
    with tarfile.open(target, "w:xz") as archive:
        for name, data in held.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def another_record(held):
    held["of-three/records.jsonl"] = held["of-three/records.jsonl"].replace(b"0.", b"1.", 1)


def without_a_file(held):
    del held["of-three/log.jsonl"]


def elsewhere(held):
    index = json.loads(held["index.json"])
    index["folders"] = {"../outside": index["folders"].pop("of-three")}
    held["index.json"] = json.dumps(index).encode()
    held.update({name.replace("of-three", "../outside"): data for name, data in list(held.items())})


def another_file(held):
    index = json.loads(held["index.json"])
    sums = index["folders"]["of-three"]["sha256"]
    sums["../../key"] = sums["study.json"]
    held["index.json"] = json.dumps(index).encode()
    held["of-three/../../key"] = held["of-three/study.json"]


def later_form(held):
    held["index.json"] = json.dumps(json.loads(held["index.json"]) | {"form": 99}).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (another_record, "another check sum"),
        (without_a_file, "is damaged"),
        (elsewhere, "outside the folders"),
        (another_file, "outside the folders"),
        (later_form, "the form 99"),
    ],
)
def test_a_file_that_was_changed_writes_nothing(folder, tmp_path, change, words):
    pack([folder], tmp_path / "a.tar.xz")
    rewritten(tmp_path / "a.tar.xz", tmp_path / "b.tar.xz", change)
    with pytest.raises(ValueError, match=words):
        unpacked(tmp_path / "b.tar.xz", tmp_path / "deep" / "there")
    assert not (tmp_path / "deep").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"a.tar.xz", "b.tar.xz"}


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "a.tar.xz").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="was not written by gatewise study pack"):
        unpacked(tmp_path / "a.tar.xz", tmp_path / "there")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        unpacked(tmp_path / "b.tar.xz", tmp_path / "there")


def test_fits_that_are_run_again_have_the_same_records(folder, tmp_path):
    assert replay(STUDY, folder, 2) == (40, ())
    (back,) = unpacked_copy(folder, tmp_path)
    lines = (back / "records.jsonl").read_text().splitlines()
    record = parsed(next(line for line in lines if parsed(line)["key"] == ["second", 40, 3]))
    record["log_likelihood"] += 1e-12 * abs(record["log_likelihood"])
    kept = [line for line in lines if parsed(line)["key"] != record["key"]]
    (back / "records.jsonl").write_text("\n".join(kept) + "\n" + line_of(record))
    assert replay(STUDY, back, 2) == (40, (("second", 40, 3),))
    with pytest.raises(ValueError, match="are to be run again"):
        replay(STUDY, back, 0)


def unpacked_copy(folder, home):
    pack([folder], home / "a.tar.xz")
    return unpacked(home / "a.tar.xz", home / "there")
