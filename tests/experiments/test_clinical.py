"""Clinical tables in generated files: what is read, what is refused and in which words, and models on them."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch

from gatewise.experiments.clinical import stays as clinical
from gatewise.experiments.clinical import tables
from gatewise.experiments.clinical.stays import CLINICAL, ClinicalModel, load, prepared, scores
from gatewise.experiments.clinical.tables import read_stays
from gatewise.experiments.experiment import Job

STAYS = "stay_id,split,died\na1,train,0\na2,train,1\nb1,validation,1\nc1,test,0\n"
EVENTS = """stay_id,time,variable,value
a2,3.5,pulse,80
a1,1.0,pulse,60
a1,0.5,lactate,2.5
a1,1.0,lactate,1.5
a1,1.0,pulse,64
c1,-2,pulse,100
"""
NOTES = "stay_id,e0,e1\nb1,1.5,-2\na1,0.25,4\na2,1,2\n"


def write(folder, **files):
    for name, content in {"stays": STAYS, "events": EVENTS, "notes": NOTES, **files}.items():
        if content is not None:
            (folder / f"{name}.csv").write_text(content, "utf-8")
    return folder


def cohort(folder, n=160, labels=1, seed=0):
    """Stays whose labels follow the level of a series, or, where there is none, their notes."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, labels))
    stay = [f"s{i}" for i in range(n)]
    frame = pd.DataFrame({"stay_id": stay, "split": ["train", "train", "validation", "test"] * (n // 4)})
    for c in range(labels):
        frame[f"label{c}"] = (hidden[:, c] + 0.3 * rng.normal(size=n) > 0).astype(int)
    frame.to_csv(folder / "stays.csv", index=False)
    rows = []
    for i in range(n):
        for time in np.sort(rng.uniform(0, 48, rng.integers(2, 9))) if i % 5 else ():
            rows += [(stay[i], time, f"v{c}", 50 + 10 * hidden[i, c] + rng.normal()) for c in range(labels)]
    order = rng.permutation(len(rows))
    table = pd.DataFrame([rows[i] for i in order], columns=["stay_id", "time", "variable", "value"])
    table.to_csv(folder / "events.csv", index=False)
    for name, keep in (("notes", [i for i in range(n) if i % 5 == 0 or i % 3]), ("images", range(0, n, 2))):
        embedding = pd.DataFrame(hidden[list(keep)] + 0.2 * rng.normal(size=(len(keep), labels)))
        embedding.columns = [f"e{c}" for c in range(labels)]
        embedding.insert(0, "stay_id", [stay[i] for i in keep])
        embedding.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.mark.parametrize("chunk", [2, 200_000])
def test_what_is_read(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(tables, "CHUNK", chunk)
    found = read_stays(write(tmp_path))
    assert found.stay.tolist() == ["a1", "a2", "b1", "c1"]
    assert found.split.tolist() == [0, 0, 1, 2]
    assert found.labels.tolist() == [[0], [1], [1], [0]]
    assert found.names == ("died",)
    assert found.series.variables == ("lactate", "pulse")
    assert found.series.start.tolist() == [0, 2, 3, 3, 4]
    assert found.series.times.tolist() == [0.5, 1.0, 3.5, -2.0]
    nan = float("nan")
    assert np.array_equal(found.series.values, [[2.5, nan], [1.5, 62], [nan, 80], [nan, 100]], equal_nan=True)
    assert list(found.embeddings) == ["notes"]
    assert found.embeddings["notes"].there.tolist() == [True, True, True, False]
    assert found.embeddings["notes"].values.tolist() == [[0.25, 4], [1, 2], [1.5, -2], [0, 0]]


def test_padded_series(tmp_path):
    values, times, mask = read_stays(write(tmp_path)).series.padded(np.array([2, 0, 3]))
    assert times.tolist() == [[0, 0], [0.5, 1.0], [-2.0, 0]]
    assert mask.tolist() == [[[False, False]] * 2, [[True, False], [True, True]], [[False, True], [False, False]]]
    assert values[1].tolist() == [[2.5, 0.0], [1.5, 62.0]]
    assert not values[~mask].any()
    assert values.dtype == times.dtype == torch.float32


def test_the_order_of_rows_does_not_matter(tmp_path):
    lines = EVENTS.splitlines()
    (tmp_path / "other").mkdir()
    turned = "\n".join([lines[0], *lines[:0:-1]]) + "\n"
    one, two = read_stays(write(tmp_path)), read_stays(write(tmp_path / "other", events=turned))
    assert one.series.variables == two.series.variables
    for first, second in zip(one.series[:3], two.series[:3], strict=True):
        assert np.array_equal(first, second, equal_nan=True)


def test_packed_files_and_a_mark_at_the_beginning_are_read(tmp_path):
    write(tmp_path, events=None, stays="\ufeff" + STAYS)
    (tmp_path / "events.csv.gz").write_bytes(gzip.compress(EVENTS.encode()))
    assert len(read_stays(tmp_path).series.times) == 4


def test_stays_are_text(tmp_path):
    stays = "stay_id,split,died\n01,train,0\n1,validation,1\nx1,test,1\n"
    events = "stay_id,time,variable,value\n01,0,p,1\n1,0,p,2\n"
    found = read_stays(write(tmp_path, stays=stays, events=events, notes="stay_id,e\nx1,1\n"))
    assert found.series.values[:, 0].tolist() == [1.0, 2.0]


def cell(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


BAD = {
    "no column": (
        "events",
        EVENTS.replace("variable", "itemid"),
        "line 1: no column variable, but stay_id, time, itemid",
    ),
    "column twice": ("notes", NOTES.replace("e1", "e0"), "line 1: the column 'e0' occurs twice"),
    "unknown stay": ("events", cell(EVENTS, "a1,0.5", "zz,0.5"), "line 4: stay_id 'zz' is not in stays.csv"),
    "unknown stay in notes": ("notes", cell(NOTES, "a1", "zz"), "line 3: stay_id 'zz' is not in stays.csv"),
    "value": ("events", cell(EVENTS, "2.5", "high"), "line 4: value 'high' is no finite number"),
    "empty value": ("events", cell(EVENTS, "2.5", ""), "line 4: value '' is no finite number"),
    "infinite": ("events", cell(EVENTS, "2.5", "inf"), "line 4: value 'inf' is no finite number"),
    "nan": ("notes", cell(NOTES, "0.25", "NaN"), "line 3: e0 'NaN' is no finite number"),
    "huge": ("events", cell(EVENTS, "2.5", "1e39"), "line 4: value '1e39' is no finite number below 1e"),
    "true": ("events", cell(EVENTS, "2.5", "True"), "line 4: value 'True' is no finite number"),
    "time": ("events", cell(EVENTS, "0.5", "12:30"), "line 4: time '12:30' is no finite number"),
    "variable": ("events", cell(EVENTS, "lactate", " "), "line 4: variable ' ' is no name"),
    "stay twice": ("stays", STAYS + "a1,test,0\n", "line 6: stay_id 'a1' occurs twice"),
    "notes twice": ("notes", NOTES + "b1,0,0\n", "line 5: stay_id 'b1' occurs twice"),
    "part": ("stays", cell(STAYS, "validation", "dev"), "line 4: split 'dev' is no part; write one of train"),
    "empty part": ("stays", cell(STAYS, "test", "train"), "has no stay with split test"),
    "label": ("stays", cell(STAYS, "train,0", "train,2"), "line 2: died '2' is no label; write 0 or 1"),
    "empty label": ("stays", cell(STAYS, "train,0", "train,"), "line 2: died '' is no finite number"),
    "no label": ("stays", STAYS.replace(",died", "").replace(",0", "").replace(",1", ""), "no column of labels"),
    "no data": ("stays", STAYS + "d1,test,0\n", "line 6: stay_id 'd1' has neither events nor an embedding"),
    "short": ("events", cell(EVENTS, "a1,0.5,lactate,2.5", "a1,0.5"), "line 4: variable '' is no name"),
    "long": ("events", cell(EVENTS, "lactate,2.5", "lactate,2.5,7"), "is not a UTF-8 table .*line 4"),
    "all long": ("notes", "stay_id,e0\nb1,1,2\na1,1,2\n", "is not a UTF-8 table"),
    "blank line": ("events", cell(EVENTS, "a1,0.5", "\na1,0.5"), "line 4: stay_id '' names no stay"),
    "empty stay": ("stays", STAYS + ",test,1\n", "line 6: stay_id '' names no stay"),
    "no stays": ("stays", "stay_id,split,died\n", "has no stay with split train"),
    "empty file": ("notes", "", "is not a UTF-8 table"),
    "no events": ("events", EVENTS.splitlines()[0] + "\n", "has no rows: give at least one observation"),
    "no notes": ("notes", "stay_id,e0\n", "has no rows"),
    "no embedding": ("notes", "stay_id\na1\n", "has no column but stay_id"),
}


@pytest.mark.parametrize("chunk", [1, 200_000])
@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_refused_with_file_line_and_remedy(tmp_path, monkeypatch, name, chunk):
    monkeypatch.setattr(tables, "CHUNK", chunk)
    file, content, words = BAD[name]
    with pytest.raises(ValueError, match=words) as caught:
        read_stays(write(tmp_path, **{file: content}))
    assert f"{file}.csv" in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "notes.csv").write_bytes(b"stay_id,e0\na1,\xff\n")
    with pytest.raises(ValueError, match=r"notes\.csv is not a UTF-8 table with a header line"):
        read_stays(tmp_path)


@pytest.mark.parametrize("lacks", ["folder", "stays", "events"])
def test_without_data_the_error_says_format_and_place(tmp_path, lacks):
    folder = None if lacks == "folder" else write(tmp_path, **{lacks: None})
    with pytest.raises(FileNotFoundError, match=r"--data-dir .*stays\.csv \(stay_id, split.*credentialed.*physionet"):
        CLINICAL.run(Job("joint router", "softmax", 0, 1e-3, folder=folder))


def test_scales_are_those_of_the_training_stays(tmp_path):
    events = EVENTS + "c1,0,only-in-test,5\n"
    data = prepared(read_stays(write(tmp_path, events=events)))
    assert data.series.variables == ("lactate", "pulse")
    pulse = data.series.values[data.series.start[3], 1]  # of the test stay
    assert pulse == pytest.approx((100 - 71) / np.std([62, 80], ddof=1))
    assert data.x["notes"][:2].mean(0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert [part.tolist() for part in data.parts] == [[0, 1], [2], [3]]


def test_embeddings_without_training_stays_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"notes\.csv has 0 training stays"):
        prepared(read_stays(write(tmp_path, notes="stay_id,e0\nb1,1\n")))


@pytest.mark.parametrize("gate", ["laplace", "concatenation", "late fusion"])
def test_a_stay_is_answered_alike_alone_and_in_a_batch(tmp_path, gate):
    data = prepared(read_stays(cohort(tmp_path)))
    torch.manual_seed(0)
    model = ClinicalModel(gate, "per-modality", data).eval()
    rows = torch.arange(12)
    together = scores(model, data, rows, "cpu")
    alone = torch.cat([scores(model, data, row[None], "cpu") for row in rows])
    assert together.shape == (12, 1)
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("labels", [1, 25])
@pytest.mark.parametrize("variant", CLINICAL.variants)
def test_a_quick_job_moves_every_gate_and_repeats(tmp_path, variant, labels):
    job = Job(variant, "ls", 0, 1e-3, quick=True, folder=cohort(tmp_path, labels=labels))
    found = clinical.run(job)
    assert found == clinical.run(job)
    assert found["moved"]
    assert {"validation", "auroc", "auprc", "f1"} <= set(found)
    if variant != "joint router":
        assert np.array(found["routing"]).shape == (3, 8)
    assert ("information" in found) == (variant == "per-modality routers")
    assert set(clinical.run(job._replace(tuning=True))) == {"validation", "moved"}


@pytest.mark.parametrize("gate", ["laplace", "ss", "concatenation", "late fusion"])
def test_models_learn(tmp_path, gate):
    found = clinical.run(Job("per-modality routers", gate, 0, 3e-3, folder=cohort(tmp_path, n=400)))
    assert found["auroc"] > 0.85


def test_a_changed_file_is_read_anew(tmp_path):
    one = load(write(tmp_path))
    assert load(tmp_path) is one
    write(tmp_path, stays=STAYS.replace("a2,train,1", "a2,train,0"), notes=NOTES + "c1,0,100\n")
    assert load(tmp_path).y[1].item() == 0.0


def test_the_split_of_the_folder_is_kept_and_test_stays_train_nothing(tmp_path):
    job = Job("per-modality routers", "softmax", 0, 1e-3, quick=True, folder=cohort(tmp_path))
    before = clinical.run(job)
    notes = pd.read_csv(tmp_path / "notes.csv", dtype=str)
    split = pd.read_csv(tmp_path / "stays.csv", dtype=str).set_index("stay_id")["split"]
    notes.loc[split[notes["stay_id"]].to_numpy() == "test", "e0"] = "1000"
    notes.to_csv(tmp_path / "notes.csv", index=False)
    events = pd.read_csv(tmp_path / "events.csv", dtype=str)
    tested = np.flatnonzero(split[events["stay_id"]].to_numpy() == "test")
    events.loc[tested[0], "time"] = "50000"
    events.loc[tested[1], "variable"] = "new"
    events.to_csv(tmp_path / "events.csv", index=False)
    after = clinical.run(job)
    assert (before["validation"], before["loss"]) == (after["validation"], after["loss"])
    assert before["auroc"] != after["auroc"]


def test_a_label_of_one_value_in_a_part_is_told_and_all_of_them_refused(tmp_path):
    folder = cohort(tmp_path, labels=3)
    path = folder / "stays.csv"
    stays = pd.read_csv(path, dtype=str)
    names = [name for name in stays.columns if name not in ("stay_id", "split")]
    stays.loc[stays["split"] == "test", names[0]] = "0"
    stays.to_csv(path, index=False)
    job = Job("joint router", "softmax", 0, 1e-3, quick=True, folder=folder)
    said = f"the test stays have one value of the label {names[0]}: not learned or scored there"
    assert clinical.run(job)["notes"] == (said,)
    stays.loc[stays["split"] == "validation", names] = "1"
    stays.to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"stays\.csv: the \d+ stays of the part validation have one value of every"):
        clinical.run(job)


@pytest.mark.parametrize("harm", ["cut", "flipped", "not packed"])
def test_a_packed_file_that_is_not_whole_is_refused(tmp_path, harm):
    write(tmp_path, events=None)
    whole = bytearray(gzip.compress((EVENTS * 200).encode(), mtime=0))
    if harm == "flipped":
        whole[len(whole) // 2] ^= 255
    (tmp_path / "events.csv.gz").write_bytes({"cut": whole[:-20], "not packed": EVENTS.encode()}.get(harm, whole))
    with pytest.raises(ValueError, match=r"events\.csv\.gz is incomplete or not gzip-compressed"):
        read_stays(tmp_path)
