"""Jobs are run once, in a store that survives being torn, and compared in pairs."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import adjusted_rand_score
from typer.testing import CliRunner

from gatewise.cli import app
from gatewise.experiments import EXPERIMENTS, Experiment, Job, Metric, gates_of
from gatewise.experiments import run_experiment as run
from gatewise.experiments.compare import (
    TUNING_SEEDS,
    Interval,
    agreement,
    at_chosen_rates,
    difference,
    gates_in,
    interval,
    verdicts,
    word,
)
from gatewise.experiments.store import HEADER, RECORDS, TIMES, Record, lines, read, seconds, store
from gatewise.report.experiment.write import page, write_experiment


def outcome(job):
    """The best rate is .1; "ll" is better than "ss" by one, with noise that seeds share."""
    noise = float(np.random.default_rng(job.seed).normal())
    gain = 1.0 if job.gate == "ll" else 0.0
    return {"validation": -abs(job.rate - 0.1), "error": noise - gain, "rate": job.rate, "moved": True}


@pytest.fixture
def calls():
    return []


@pytest.fixture
def toy(calls):
    def spied(job):
        calls.append(job)
        return outcome(job)

    measures = {"error": Metric("error", more=False), "rate": Metric("rate", more=None)}
    return Experiment("toy", "Toy", "Why.", ("a", "b"), ("ss", "ll"), measures, spied, ("dense",), (0.01, 0.1, 1.0))


def test_every_model_chooses_its_rate_on_validation_with_an_equal_budget(toy, calls, tmp_path):
    run(toy, tmp_path, seeds=3)
    assert len(calls) == 2 * 3 * (3 * 2 + 3)
    assert {job.rate for job in calls if not job.tuning} == {0.1}
    assert {job.seed for job in calls if job.tuning} == set(TUNING_SEEDS)
    assert not {job.seed for job in calls if not job.tuning} & set(TUNING_SEEDS)


def test_a_run_goes_on_where_it_stood(toy, calls, tmp_path):
    run(toy, tmp_path, seeds=1)
    first = list(lines(tmp_path))
    calls.clear()
    run(toy, tmp_path, seeds=2, resume=True)
    assert [job.seed for job in calls] == [1] * 6
    assert set(first) < set(lines(tmp_path))


def test_an_interrupted_run_keeps_what_ended(toy, tmp_path):
    def stop(job):
        if job.gate == "ll":
            raise KeyboardInterrupt
        return outcome(job)

    with pytest.raises(KeyboardInterrupt):
        run(replace(toy, run=stop), tmp_path, seeds=2)
    assert {record.gate for record in read(tmp_path)[0]} == {"dense", "ss"}
    run(toy, tmp_path, seeds=2, resume=True)
    assert len(read(tmp_path)[0]) == 2 * 3 * 8


def test_workers_store_what_one_process_stores(tmp_path):
    for name, workers in (("one", 1), ("two", 2)):
        run(EXPERIMENTS["quadrants"], tmp_path / name, gates=("ss",), quick=True, workers=workers)
    assert list(lines(tmp_path / "one")) == list(lines(tmp_path / "two"))


def test_processor_times_stand_beside_the_records_and_survive_being_torn(toy, tmp_path):
    run(toy, tmp_path, seeds=1, quick=True)
    assert 0.0 <= seconds(tmp_path) < 5.0
    with (tmp_path / TIMES).open("a") as file:
        file.write('{"key": "x", "seconds": 60.0}\n{"torn')
    assert 60.0 <= seconds(tmp_path) < 65.0
    assert "1.0 min of processor time" in write_experiment(toy, tmp_path).read_text("utf-8")


def test_progress_counts_every_job_once(toy, tmp_path):
    told = []
    run(toy, tmp_path, seeds=2, listener=lambda done, total, job: told.append((done, total)))
    assert told == [(i, 48) for i in range(1, 49)]
    run(toy, tmp_path, seeds=3, resume=True, listener=lambda done, total, job: told.append((done, total)))
    assert told[-1] == (54, 54)


def test_a_torn_line_is_named_and_run_again(toy, calls, tmp_path):
    run(toy, tmp_path, seeds=1, quick=True)
    path = tmp_path / RECORDS
    whole = sorted(path.read_text().splitlines())
    path.write_text("\n".join(path.read_text().splitlines())[:-20])
    records, faults = read(tmp_path)
    assert len(records) == 5
    assert faults == [f"{RECORDS}, line 6: torn, not used"]
    calls.clear()
    run(toy, tmp_path, seeds=1, quick=True, resume=True)
    assert len(calls) == 1
    assert sorted(line for line in path.read_text().splitlines() if line in whole) == whole


def test_a_folder_belongs_to_one_experiment(toy, tmp_path):
    run(toy, tmp_path, seeds=1, quick=True)
    held = json.loads((tmp_path / HEADER).read_text())
    (tmp_path / HEADER).write_text(json.dumps(held | {"torch": "0.0"}))
    with pytest.raises(ValueError, match=r"other settings: torch \(0.0 there"):
        run(toy, tmp_path, seeds=1, quick=True, resume=True)
    (tmp_path / HEADER).write_text(json.dumps(held))
    with pytest.raises(ValueError, match="continue with --resume"):
        run(toy, tmp_path, seeds=1, quick=True)
    with pytest.raises(ValueError, match="give another folder"):
        run(toy, tmp_path, seeds=1, resume=True)
    with pytest.raises(ValueError, match="give another folder"):
        run(replace(toy, name="other"), tmp_path, seeds=1, quick=True, resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"gates": ("sx",)}, "gate 'sx' is unknown: the names are"), ({"variants": ("c",)}, "variant 'c' is unknown")],
)
def test_unknown_names_are_told_before_anything_runs(toy, calls, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(toy, tmp_path, **options)
    assert not calls


def test_gates_are_names_or_letters():
    assert gates_of("sl") == ("softmax", "laplace")
    assert gates_of("ga") == ("sigmoid", "activation-dense-to-sparse")
    assert gates_of("cosine") == ("cosine",)


def test_the_key_holds_all_that_a_result_depends_on():
    job = Job("a", "ll", 3, 0.01)
    others = [job._replace(**change) for change in ({"variant": "b"}, {"gate": "ss"}, {"seed": 4}, {"rate": 0.02})]
    others += [job._replace(quick=True), job._replace(tuning=True)]
    assert len({one.key() for one in (job, *others)}) == 7


def test_arrays_are_stored_as_lists(toy, tmp_path):
    run(replace(toy, run=lambda job: {**outcome(job), "list": np.arange(3)}), tmp_path, seeds=1, quick=True)
    assert read(tmp_path)[0][0].outcome["list"] == [0, 1, 2]


def record(gate, seed, error):
    key = Job("a", gate, seed, 0.1).key()
    return Record("a", gate, seed, 0.1, False, key, {"error": error})


def test_intervals_are_those_of_student():
    found = interval([1.0, 2.0, 4.0])
    low, high = stats.t.interval(0.95, 2, np.mean([1, 2, 4]), stats.sem([1, 2, 4]))
    assert found == pytest.approx((7 / 3, low, high, 3))
    assert np.isnan(interval([1.0]).low)


def test_differences_are_paired_by_seed():
    records = [record("ll", seed, 10 * seed + 1.0) for seed in range(4)]
    records += [record("ss", seed, 10.0 * seed) for seed in (3, 2, 1)]
    assert difference(records, "a", "ll", "ss", "error") == pytest.approx((1.0, 1.0, 1.0, 3))


@pytest.mark.parametrize(
    ("found", "more", "said"),
    [
        (Interval(1.0, 0.5, 1.5, 10), True, "better"),
        (Interval(1.0, 0.5, 1.5, 10), False, "worse"),
        (Interval(1.0, 0.5, 1.5, 10), None, "higher"),
        (Interval(-1.0, -1.5, -0.5, 10), False, "better"),
        (Interval(1.0, -0.5, 2.5, 10), True, "tie"),
        (Interval(1.0, 0.5, 1.5, 4), True, "undecided"),
    ],
)
def test_words(found, more, said):
    assert word(found, more) == said


def test_the_verdict_falls_whichever_way(toy, tmp_path):
    run(toy, tmp_path, seeds=6)
    records, _ = read(tmp_path)
    assert [(variant, name, said) for variant, name, said, _ in verdicts(toy, records)] == [
        ("a", "error", "better"),
        ("b", "error", "better"),
    ]
    turned = replace(toy, claim=("ss", "ll", "the other way"))
    assert {said for _, _, said, _ in verdicts(turned, records)} == {"worse"}
    assert gates_in(toy, records, "a") == ["dense", "ss", "ll"]


def test_appending_cuts_a_torn_line_off_first(tmp_path):
    (tmp_path / RECORDS).write_text('{"torn')
    store(tmp_path, record("ll", 0, 1.0), 2.5)
    assert [json.loads(line)[1]["gate"] for line in (tmp_path / RECORDS).read_text().splitlines()] == ["ll"]


def same(name, gate):
    experiment = EXPERIMENTS[name]
    job = Job(experiment.variants[0], gate, 0, experiment.rates[1], quick=True)
    return experiment.run(job), experiment.run(job)


@pytest.mark.parametrize(
    ("name", "gate"),
    [("quadrants", "ll"), ("quadrants", "sigmoid"), ("quadrants", "dense"), ("temperature", "dense-to-sparse")],
)
def test_two_runs_with_one_seed_are_equal_and_gates_move(name, gate):
    one, two = same(name, gate)
    assert json.dumps(one, default=list) == json.dumps(two, default=list)
    assert one["moved"]
    assert set(EXPERIMENTS[name].measures) - set(one) <= ({"information", "disagreement"} if gate == "dense" else set())


def test_other_data_do_not_go_on(toy, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "stays.csv").write_text("1")
    run(toy, tmp_path / "out", seeds=1, quick=True, data=data)
    run(toy, tmp_path / "out", seeds=2, quick=True, data=data, resume=True)
    (data / "stays.csv").write_text("2")
    with pytest.raises(ValueError, match="other settings: data"):
        run(toy, tmp_path / "out", seeds=2, quick=True, data=data, resume=True)


def test_rates_may_be_added_and_only_the_best_of_all_is_shown(toy, calls, tmp_path):
    few = replace(toy, rates=(1.0, 3.0))
    run(few, tmp_path, seeds=3)
    run(toy, tmp_path, seeds=2, resume=True)
    records = read(tmp_path)[0]
    assert {record.rate for record in records if not record.tuning} == {1.0, 0.1}
    kept, words = at_chosen_rates(toy, records)
    assert {record.rate for record in kept if not record.tuning} == {0.1}
    assert words[0] == "3 runs of dense (a) left out: at another rate than 0.1, which is chosen now"
    html = page(toy, records)
    assert words[0] in html
    assert 'data-name="rate">0.1<' in html
    assert 'data-name="seeds">2<' in html
    assert at_chosen_rates(few, records)[0] != kept


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "is damaged"), ("{}", "is damaged"), ("[]", "is damaged"), (b"\xff", "is damaged"), (None, "has no exp")],
)
def test_a_damaged_header_is_told_with_file_and_remedy(toy, tmp_path, content, said):
    run(toy, tmp_path, seeds=1, quick=True)
    if content is None:
        (tmp_path / HEADER).unlink()
    else:
        (tmp_path / HEADER).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=said):
        run(toy, tmp_path, seeds=1, quick=True, resume=True)
    result = CliRunner().invoke(app, ["experiment", "report", str(tmp_path)])
    assert result.exit_code == 2
    assert "experiment.json" in result.output


@pytest.mark.parametrize("field", ["outcome", "key", "rate", "seed", "variant", "tuning"])
def test_lines_that_are_no_records_are_named(toy, tmp_path, field):
    run(toy, tmp_path, seeds=1, quick=True)
    with (tmp_path / RECORDS).open("ab") as file:
        file.write(b"\n\xff\n" + json.dumps(record("ll", 0, 1.0)._asdict() | {field: None}).encode() + b"\n")
    with (tmp_path / TIMES).open("ab") as file:
        file.write(b"\xff\n")
    records, faults = read(tmp_path)
    assert len(records) == 6
    assert [words.split(":")[0] for words in faults] == [f"{RECORDS}, line {n}" for n in (8, 9)]
    write_experiment(toy, tmp_path)


def test_two_processes_do_not_run_into_one_folder(toy, tmp_path):
    with pytest.raises(ValueError, match="being written by another process"):
        run(replace(toy, run=lambda job: run(toy, tmp_path, quick=True, resume=True)), tmp_path, quick=True)


def test_a_file_or_the_page_of_another_is_not_run_into(toy, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is, or lies under, a file"):
        run(toy, tmp_path / "file", quick=True)
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(ValueError, match="holds another page"):
        run(toy, tmp_path, quick=True)
    assert (tmp_path / "index.html").read_text() == "mine"


@pytest.mark.parametrize("device", ["banana", "meta:3:4"])
def test_a_device_that_cannot_be_used_leaves_nothing_behind(toy, tmp_path, device):
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used .*: give cpu, or cuda"):
        run(toy, tmp_path / "out", quick=True, device=device)
    assert not (tmp_path / "out").exists()


def test_names_given_twice_run_once(toy, calls, tmp_path):
    run(toy, tmp_path, seeds=1, gates=("ss", "ss"), variants=("a", "a"), quick=True)
    assert len(calls) == 2


def test_the_agreement_of_seeds_is_the_mean_over_pairs_with_the_interval_of_the_jackknife():
    rng = np.random.default_rng(0)
    choices = {seed: rng.integers(0, 3, 60) for seed in range(6)}
    choices[5] = choices[4]
    found = agreement(choices)
    pairs = {(i, j): adjusted_rand_score(choices[i], choices[j]) for i, j in combinations(range(6), 2)}
    assert np.mean(list(found.values())) == pytest.approx(np.mean(list(pairs.values())))
    without = np.mean([value for pair, value in pairs.items() if 2 not in pair])
    assert found[2] == pytest.approx(6 * np.mean(list(pairs.values())) - 5 * without)
    assert agreement({3: [0, 1]}) == {}
    assert agreement({3: [0, 1], 4: [5, 2]}) == {3: 1.0, 4: 1.0}


def test_gates_of_two_levels_have_names():
    assert gates_of("sigmoid/cosine") == ("sigmoid", "cosine")
    with pytest.raises(ValueError, match="outer/inner"):
        gates_of("sigmoid/nothing")


def test_the_agreement_of_seeds_is_compared_over_the_seeds_that_both_have():
    rng = np.random.default_rng(0)
    same = {seed: [0, 1, 2, 0, 1, 2] for seed in range(6)}
    more = {**same, **{seed: rng.integers(0, 3, 6).tolist() for seed in range(6, 12)}}
    made = [
        Record("a", gate, seed, 0.1, False, f"{gate} {seed}", {"choice": choice})
        for gate, found in (("ss", same), ("ll", more))
        for seed, choice in found.items()
    ]
    assert difference(made, "a", "ll", "ss", "choice") == (0.0, 0.0, 0.0, 6)
    assert agreement({0: [0, 1], 1: [0, 1, 2]}) == {}


def test_a_refused_process_leaves_the_header_of_the_running_one(toy, tmp_path):
    def intrudes(job):
        with pytest.raises(ValueError, match="being written by another process"):
            run(replace(toy, name="other"), tmp_path, seeds=1)
        return outcome(job)

    run(replace(toy, run=intrudes), tmp_path, seeds=1, quick=True)
    assert json.loads((tmp_path / HEADER).read_text())["experiment"] == "toy"


def test_a_folder_within_the_data_is_no_part_of_them(toy, tmp_path):
    (tmp_path / "stays.csv").write_text("1")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a").write_text("1")
    options = {"seeds": 1, "quick": True, "data": tmp_path, "origin": "mine.py:toy"}
    run(toy, tmp_path / "out", **options)
    run(toy, tmp_path / "out", resume=True, **options)
    (tmp_path / "parts" / "a").write_text("2")
    with pytest.raises(ValueError, match="other settings: data"):
        run(toy, tmp_path / "out", resume=True, **options)


def test_two_different_records_of_one_job_are_refused(toy, tmp_path):
    one = record("ll", 0, 1.0)
    for given in (one, one):
        store(tmp_path, given, 1.0)
    assert read(tmp_path) == ([one], [])  # the same twice is one record
    store(tmp_path, one._replace(outcome={"validation": 5.0, "error": 5.0}), 1.0)
    with pytest.raises(
        ValueError, match=r"two different records of the job .*, in the lines 2 and 3: remove the wrong"
    ):
        read(tmp_path)
