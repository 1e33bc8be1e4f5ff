"""Running studies: equal stores however they are run, interrupted, damaged or resumed."""

import errno
import importlib
import importlib.util
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gatewise.runs.user_file import PICKLERS
from gatewise.theory import collect, quick
from gatewise.theory import load_study as load
from gatewise.theory import run_study as run
from gatewise.theory.store import lines_of, read

from ..covering import slow_rest

FILE = Path(__file__).with_name("small_study.py")


@pytest.fixture(scope="module")
def study():
    return load(f"{FILE}:study")


@pytest.fixture(scope="module")
def whole(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(study, folder)
    return folder


@pytest.fixture
def ran(whole, tmp_path):
    """A folder of one's own with the records of the whole run."""
    return Path(shutil.copytree(whole, tmp_path / "ran"))


def test_a_store_holds_every_fit_and_is_judged(study, whole):
    contents = read(whole)
    assert len(contents.records) == study.fits() == 32
    assert contents.faults == ()
    result = collect(study, whole)
    assert result.missing == 0
    assert result.changed == ()
    assert "3 sizes" in result.verdicts[0].reason
    assert "A small study: 32 fits" in result.text()


def test_two_workers_give_the_same_store_with_a_score_of_the_users(study, whole, tmp_path):
    run(study, tmp_path, workers=2)
    assert lines_of(tmp_path) == lines_of(whole)


def test_shards_of_one_folder_give_the_same_store(study, whole, tmp_path):
    for part in (1, 2, 3):
        run(study, tmp_path, shard=(part, 3))
    assert len(list(tmp_path.glob("records-*-of-3.jsonl"))) == 3
    assert lines_of(tmp_path) == lines_of(whole)


def test_what_is_there_is_not_run_again(study, ran):
    before = (ran / "records.jsonl").read_bytes()
    run(study, ran, resume=True)
    assert (ran / "records.jsonl").read_bytes() == before


@pytest.mark.parametrize("resume", [True, False])
def test_records_without_a_header_belong_to_no_study(study, ran, resume):
    (ran / "study.json").unlink()
    with pytest.raises(ValueError, match=r"has records but no study.json"):
        run(study, ran, resume=resume)


@pytest.mark.parametrize("cut", [1, 40, 5000])
def test_a_torn_last_line_is_dropped_and_run_again(study, whole, ran, cut):
    path = ran / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert "torn" in read(ran).faults[-1]
    run(study, ran, resume=True)
    assert read(ran).faults == ()
    assert lines_of(ran) == lines_of(whole)


def test_a_damaged_record_is_named_and_never_used(study, whole, ran):
    path = ran / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace('"hellinger": 0.', '"hellinger": 1.')
    path.write_text("".join(lines))
    found = read(ran)
    assert found.faults == ("records.jsonl, line 4: damaged, not used",)
    assert len(found.records) == 31
    run(study, ran, resume=True)
    assert lines_of(ran) == lines_of(whole)
    assert "line 4: damaged" in collect(study, ran).text()


def test_another_study_is_refused_and_named(study, whole):
    other = replace(study, seed=1)
    with pytest.raises(ValueError, match="different: seed"):
        run(other, whole, resume=True)
    with pytest.raises(ValueError, match="resume it"):
        run(study, whole)


def test_a_fit_on_the_floor_of_a_scale_is_an_optimum_of_its_box_and_certified(study, tmp_path):
    """The truth has standard deviations .3 and .4; the box begins at .35."""
    floor = replace(study.arms[0], model=replace(study.arms[0].model, min_scale=0.35), sizes=(400,), replicates=4)
    run(replace(study, arms=(floor,), claims=()), tmp_path)
    records = list(read(tmp_path).records.values())
    assert {record["status"] for record in records} == {"unsound"}
    assert all(record["certified"] for record in records)


def test_a_fit_with_a_starved_expert_is_not_certified(study, tmp_path):
    """Six experts of three parameters each on fifteen rows."""
    arm = study.arms[0]
    model = replace(arm.model, mixture=replace(arm.model.mixture, branching=(6,)))
    crowded = replace(arm, model=model, sizes=(15,), replicates=2, losses=("softmax",), rbar=7)
    run(replace(study, arms=(crowded,), claims=()), tmp_path)
    records = list(read(tmp_path).records.values())
    assert {record["status"] for record in records} == {"unsound"}
    assert not any(record["certified"] for record in records)


def test_changed_claims_are_told(study, whole):
    eased = replace(study, claims=tuple(replace(claim, tolerance=9.0) for claim in study.claims))
    assert collect(eased, whole).changed == ("the claims were changed after the first run: plain, loss exact",)


def test_a_field_that_claims_have_since_got_is_no_change(study, ran):
    path = ran / "study.json"
    held = json.loads(path.read_text())
    del held["claims"][0]["probe"]
    path.write_text(json.dumps(held))
    assert collect(study, ran).changed == ()


def test_other_instructions_are_named_with_the_remedy(study, whole, monkeypatch):
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "NONE")
    with pytest.raises(ValueError, match=r"instructions \(\w+ there, NONE here\).*ATEN_CPU_CAPABILITY"):
        run(study, whole, resume=True)
    result = collect(study, whole)  # records of another machine can be judged, and say what made them
    assert result.made["engine"]["instructions"] != "NONE"
    assert result.made["fingerprint"] == json.loads((whole / "study.json").read_text())["fingerprint"]


def test_records_of_another_truth_are_not_judged(study, whole):
    moved = replace(study, arms=(study.arms[0], replace(study.arms[1], data=study.arms[0].data)))
    with pytest.raises(ValueError, match="arm 'own' changed after the run"):
        collect(moved, whole)
    more = replace(study, arms=(*study.arms, replace(study.arms[0], name="new")))
    assert collect(more, whole).missing == 24


def test_a_full_disk_is_told_and_keeps_what_had_ended(study, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=r"records\.jsonl cannot be written \(No space.*before is kept: make room"):
        run(study, tmp_path)


def test_a_study_may_import_files_beside_it_and_its_workers_need_not(tmp_path):
    (tmp_path / "beside_it.py").write_text(FILE.read_text())
    (tmp_path / "mine.py").write_text("from beside_it import study\n")
    found = load(f"{tmp_path / 'mine.py'}:study")
    pickler = importlib.import_module(next(filter(importlib.util.find_spec, PICKLERS)))
    pickled = pickler.dumps(found)
    del sys.modules["beside_it"]
    assert pickle.loads(pickled).arms[1].model == found.arms[1].model  # noqa: S301
    assert str(tmp_path) not in sys.path


def test_more_replicates_extend_a_folder(study, whole, ran):
    more = replace(study, arms=(replace(study.arms[0], replicates=12), study.arms[1]))
    run(more, ran, resume=True)
    result = collect(more, ran)
    assert result.missing == 0
    assert result.changed == ("sizes or replicates were changed after the first run: plain",)
    assert set(lines_of(whole)) < set(lines_of(ran))


def test_blocks_of_another_size_are_refused(study, whole):
    with pytest.raises(ValueError, match="blocks of 4"):
        run(replace(study, arms=(replace(study.arms[0], replicates=10), study.arms[1])), whole, resume=True)


def test_the_quick_tier_is_another_study(study, whole, tmp_path):
    few = quick(study)
    assert few.fits() == 8
    run(few, tmp_path)
    assert collect(few, tmp_path).missing == 0


def test_starts_near_the_truth_record_their_distance(study, whole):
    frame = collect(study, whole).frame
    near = frame[frame["arm"] == "own"]
    assert near["start"].between(1e-3, 2.0).all()
    assert near["moved"].between(1e-3, 5.0).all()
    assert frame[frame["arm"] == "plain"]["start"].isna().all()


def test_two_writers_of_one_folder_are_refused(study, whole):
    from gatewise.theory.store import writing

    with writing(whole, ""), pytest.raises(ValueError, match="another process"), writing(whole, ""):
        pass


@pytest.mark.parametrize(
    ("where", "words"),
    [("nowhere.py:study", "no file"), (f"{FILE}:truth", "has study"), ("study", "no file")],
)
def test_a_study_that_is_not_there(where, words):
    with pytest.raises(ValueError, match=words):
        load(where)


def killed_and_resumed(folder, whole, moments):
    """Kill a run after each of some seconds, resume it to the end, and compare the stores."""
    code = "import sys; from gatewise.theory import load_study, run_study as run; "
    code += "run(load_study(sys.argv[1]), sys.argv[2], resume=True)"
    command = [sys.executable, "-c", code, f"{FILE}:study", str(folder)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for seconds in moments:
        process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE)
        begun = time.monotonic()
        while not (folder / "records.jsonl").exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert time.monotonic() - begun < 60
    subprocess.run(command, env=env, check=True)
    assert lines_of(folder) == lines_of(whole)


WORKER = """
import os, sys, time
from pathlib import Path
from gatewise.runs.workers import spread

def work(i):
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(300)

for _ in spread(work, range(4), 2, ordered=sys.argv[2] == "ordered"):
    pass
"""


@pytest.mark.skipif(os.name != "posix", reason="a process keeps the number of its parent")
@pytest.mark.parametrize("order", slow_rest(["ordered", "as they end"], ["ordered"]))
def test_workers_end_when_their_parent_is_killed(tmp_path, order):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WORKER, str(tmp_path), order]
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        pids = [int(path.name) for path in tmp_path.iterdir()]
        if len(pids) == 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(400):
        left = [pid for pid in pids if alive(pid)]
        if not left:
            break
        time.sleep(0.05)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert len(pids) == 2
    assert not left


def alive(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_kill_and_resume(whole, tmp_path):
    killed_and_resumed(tmp_path, whole, (0.3,))


@pytest.mark.slow
def test_kill_at_twenty_random_moments_and_resume(whole, tmp_path):
    draw = random.Random(0)
    for number in range(20):
        killed_and_resumed(tmp_path / str(number), whole, (draw.uniform(0.0, 3.0),))


def test_the_folder_says_what_made_it(whole):
    held = json.loads((whole / "study.json").read_text())
    assert held["study"] == "small"
    assert held["engine"]["dtype"] == "float64"
    assert len(held["claims"]) == 1


@pytest.mark.parametrize("text", ["{}", "", '{"study": "small"'])
def test_a_damaged_description_is_named(study, ran, text):
    (ran / "study.json").write_text(text)
    with pytest.raises(ValueError, match=r"study\.json is damaged"):
        run(study, ran, resume=True)


def test_a_damaged_log_costs_nothing_but_times(study, ran):
    (ran / "log.jsonl").write_text('{"cpu": \nnothing\n')
    assert collect(study, ran).cpu == 0.0


def test_a_file_is_no_folder(study, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="give a folder"):
            run(study, folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (", "line 1: SyntaxError"),
        ("\nimport nothing_of_this_name", "line 2: ModuleNotFoundError"),
        ("raise ValueError('boom')", "line 1: ValueError: boom"),
        ("x = 1", "it has none"),
        ("import torch\ntorch.ones(2) + torch.ones(3)", "line 2: RuntimeError"),
        ("\n\n1 / 0", "line 3: ZeroDivisionError"),
    ],
)
def test_faults_of_a_users_file_are_told_with_their_line(tmp_path, text, words):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(ValueError, match=words):
        load(f"{file}:study")
    with pytest.raises(ValueError, match=r"mine\.py:NAME"):
        load(str(file))


def test_sizes_that_have_not_been_run_are_told(study, ran):
    path = ran / "records.jsonl"
    lines = [line for line in path.read_text().splitlines(keepends=True) if '"key": ["plain", 400' not in line]
    path.write_text("".join(lines))
    result = collect(study, ran)
    assert result.missing == 8
    assert result.verdicts[0].reason == "1 of 3 sizes have not been run"
