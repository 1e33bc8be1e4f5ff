"""The page of an experiment holds what was measured, in the right cells, and stands in a browser."""

import re
from dataclasses import replace

import pytest

from gatewise.experiments import EXPERIMENTS
from gatewise.experiments.experiment import Experiment, Job, Metric, Table
from gatewise.experiments.runner import run_experiment as run
from gatewise.experiments.store import read
from gatewise.report.experiment.front import write_front
from gatewise.report.experiment.write import page, write_experiment


def outcome(job):
    gain = {"ll": 0.2, "ss": 0.1, "softmax": 0.0, "dense": 0.0}[job.gate]
    return {
        "validation": 0.0,
        "accuracy": 0.5 + gain + 0.01 * (job.seed % 3),
        "moved": job.gate != "ss",
        "counts": [[3, 1], [0, 4]],
        "choice": [0, 0, 1, 1] if job.gate == "ll" else [[job.seed % 2, 0, 1, 1]],
    }


@pytest.fixture
def folder(tmp_path):
    run(TOY, tmp_path, seeds=6)
    return tmp_path


TOY = Experiment(
    "toy",
    "A toy <title>",
    "Why & what.",
    ("only",),
    ("softmax", "ss", "ll"),
    {"accuracy": Metric("test accuracy"), "nothing": Metric("never measured")},
    outcome,
    ("dense",),
    (0.1,),
    figures={"routing": Table("counts", ("$0$", "1"), "class")},
)


def test_cells_and_verdict(folder):
    html = page(TOY, *read(folder))
    rows = {name: row for row in table_rows(html) for name in re.findall(r'class="model[^>]*>(.*?)<', row)[:1]}
    assert "<span>0.610<br>[0.601, 0.619]" in rows["ss"]
    assert "+0.100 better<br>[+0.100, +0.100]" in rows["ss"]
    assert "better" not in rows["softmax"]
    assert "<li>only: <strong>supported</strong> (better in test accuracy, agreement of seeds)</li>" in html
    claims = [row for row in table_rows(html) if "more is better" in row]
    assert len(claims) == 2
    assert "+0.1000 [+0.1000, +0.1000]" in claims[0]
    assert "\N{CHECK MARK} better" in claims[0]
    assert "agreement of seeds [adjusted Rand index]: more is better" in claims[1]
    assert "A toy &lt;title&gt;" in html
    agreement = 'data-name="agreement of seeds [adjusted Rand index]" class="slope"><span>'
    assert f"{agreement}1.000<br>[1.000, 1.000]" in rows["ll"]
    assert f"{agreement}1.000" not in rows["softmax"]
    assert "a gate parameter of ss had no gradient or did not move" in html
    assert "THEORY" not in html


def table_rows(html):
    return re.findall(r"<tr>(<td class=.*?)</tr>", html)


def test_every_pair_of_hierarchies_is_compared(tmp_path):
    toy = replace(TOY, run=lambda job: outcome(job._replace(gate="ll" if job.gate == "sl" else job.gate)))
    run(toy, tmp_path, seeds=6, gates=("ss", "sl", "ll"))
    html = page(toy, *read(tmp_path))
    names = re.findall(r'<th scope="col">(\w\w \N{MINUS SIGN} \w\w)</th>', html)
    assert sorted(names) == ["ll \N{MINUS SIGN} ss", "sl \N{MINUS SIGN} ll", "sl \N{MINUS SIGN} ss"]
    (row,) = [row for row in table_rows(html) if 'words wrapped">test accuracy<' in row]
    assert row.count("+0.100 better") == 2
    assert row.count("+0.000 tie") == 1


def test_a_quick_run_and_few_seeds_have_no_intervals(tmp_path):
    run(TOY, tmp_path, quick=True)
    html = page(TOY, *read(tmp_path))
    assert "All were trained with the middle one of the learning rates" in html
    assert "+0.100 undecided</span>" in html
    assert not re.search(r"<br>\[[-+0-9]", html)
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL)


def test_a_rate_at_the_end_of_those_tried_is_told(tmp_path):
    def best_is_large(job):
        return {**outcome(job), "validation": job.rate if job.gate == "ll" else -abs(job.rate - 0.1)}

    toy = replace(TOY, run=best_is_large, rates=(0.01, 0.1, 1.0))
    run(toy, tmp_path, seeds=2)
    html = page(toy, *read(tmp_path))
    assert "the largest rate tried, 1, was the best for ll (only)" in html
    assert "smallest rate" not in html


def test_all_variants_stand_in_one_table(tmp_path):
    toy = replace(TOY, variants=("one", "two"))
    run(toy, tmp_path, seeds=6)
    html = page(toy, *read(tmp_path))
    part = html[html.index('id="overview"') :]
    assert part.index('words">two<') < part.index(
        'data-name="ll" class="slope"><span>0.710<br>\N{PLUS-MINUS SIGN} 0.009<', part.index('words">two<')
    )


def test_variants_are_compared_with_the_base(tmp_path):
    def better_in_two(job):
        found = outcome(job)
        return {**found, "accuracy": found["accuracy"] + 0.1 * (job.variant == "two") * (job.gate == "ll")}

    toy = replace(TOY, variants=("one", "two"), run=better_in_two, base="one")
    run(toy, tmp_path, seeds=6)
    html = page(toy, *read(tmp_path))
    part = html[html.index('id="changes"') : html.index('id="variant-0"')]
    (row,) = table_rows(part)
    assert "Paired differences from one" in part
    assert "two" in row
    assert row.count("+0.100 better<br>[+0.100, +0.100]") == 1
    assert row.count("+0.000 tie") == 3
    assert 'id="changes"' not in page(replace(toy, base=""), *read(tmp_path))
    with pytest.raises(ValueError, match="base='three' is not one of its variants: one; two"):
        replace(toy, base="three")


@pytest.fixture
def front(folder, tmp_path):
    run(replace(TOY, name="other"), tmp_path / "other", seeds=5, quick=True)
    path = tmp_path / "front" / "experiments.html"
    write_front([(folder, TOY), (tmp_path / "other", replace(TOY, name="other"))], path)
    return path


def test_the_front_page_has_the_verdict_of_each_experiment_and_names_quick_runs(front):
    html = front.read_text("utf-8")
    first, second = table_rows(html)[-2:]
    assert '<a href="../index.html">toy</a>' in first
    assert "supported: better in test accuracy, agreement of seeds" in first
    assert '<a href="../other/index.html">other</a>' in second
    assert "other: short runs (--quick), a smoke test that decides nothing" in html
    with pytest.raises(ValueError, match="of no experiments"):
        write_front([], front)


@pytest.mark.browser
def test_the_front_page_stands_in_a_browser(front, browser):
    for width in (1280, 390):
        browser.set_window_size(width, 900)
        browser.get(front.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no finished run of toy"):
        write_experiment(TOY, tmp_path)


@pytest.mark.browser
def test_the_page_stands_in_a_browser(folder, browser):
    path = write_experiment(TOY, folder)
    for width in (1280, 800, 390):
        browser.set_window_size(width, 900)
        browser.get(path.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert len(browser.find_elements("css selector", "figure svg")) == 2
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


def test_a_real_quick_run_has_a_page(tmp_path):
    experiment = EXPERIMENTS["temperature"]
    run(experiment, tmp_path, seeds=1, gates=("softmax",), quick=True)
    html = page(experiment, *read(tmp_path))
    assert "a smoke test that decides nothing" in html
    assert Job("x", "softmax", 0, 0.1).key() not in html


def test_a_variant_whose_runs_all_diverge_and_a_baseline_that_is_gone_have_a_page(tmp_path):
    def diverges(job):
        if job.variant == "two":
            raise FloatingPointError("the loss is nan")
        return outcome(job)

    toy = replace(TOY, variants=("one", "two"), run=diverges)
    run(toy, tmp_path, seeds=6)
    html = page(replace(toy, baselines=()), *read(tmp_path))
    assert "the loss was not finite with 6 seeds of dense (two): left out" in html
    assert ">dense<" in html
